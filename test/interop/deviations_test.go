package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDeviations shows what is easily done otherwise, as other servers do, and
// confuses clients.
func TestDeviations(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.imap(t, "")
	const (
		subject = "=?iso-8859-1?q?gr=FC=DFe?="
		name    = "=?utf-8?b?SsO8cmdlbg==?="
		encoded = "From: " + name + " <j@example.org>\r\nSubject: " + subject + "\r\nDate: Mon, 2 Mar 2020 23:30:00 -0800\r\n"
		bare    = "Subject: bare\r\n\r\nA needle in text.\r\n"
		parts   = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\nX-Y: z\r\n\r\n<p>\r\n--b\r\n\r\nplain\r\n--b--\r\n"
	)
	for _, msg := range []string{encoded + "\r\nx\r\n", bare, parts} {
		p.append("Inbox", msg)
	}
	p.ok("SELECT Inbox")
	found := func(want []int, format string, args ...any) {
		t.Helper()
		if got := p.search(format, args...); !slices.Equal(got, want) {
			t.Errorf("SEARCH "+format+": got %v, want %v", append(args, got, want)...)
		}
	}

	t.Run("ENVELOPE has encoded-words as they are", func(t *testing.T) {
		env := p.fetch(1, "ENVELOPE")["ENVELOPE"].([]any)
		if env[1] != subject || env[2].([]any)[0].([]any)[0] != name {
			t.Errorf("got %v", env)
		}
	})
	t.Run("MIME of a part ends with its blank line", func(t *testing.T) {
		got := p.fetch(3, "BODY.PEEK[1.MIME] BODY.PEEK[2.MIME] BODY.PEEK[2]")
		if got["BODY[1.MIME]"] != "Content-Type: text/html\r\nX-Y: z\r\n\r\n" || got["BODY[2.MIME]"] != "\r\n" || got["BODY[2]"] != "plain" {
			t.Errorf("got %q", got)
		}
		if got := p.bytes(1, "BODY.PEEK[1.MIME]"); got != "\r\n" {
			t.Errorf("of a message without fields about MIME: got %q", got)
		}
	})
	t.Run("keys about the Date field compare days only", func(t *testing.T) {
		found([]int{1}, "UID 1 SENTSINCE 2-Mar-2020 SENTON 2-Mar-2020 SENTBEFORE 3-Mar-2020")
		found(nil, "UID 1 OR SENTSINCE 3-Mar-2020 OR SENTON 3-Mar-2020 OR SENTON 1-Mar-2020 SENTBEFORE 2-Mar-2020")
	})
	t.Run("SEARCH looks at decoded text", func(t *testing.T) {
		found([]int{1}, "CHARSET UTF-8 SUBJECT {4+}\r\nGRÜ")
		found([]int{1}, "CHARSET UTF-8 FROM {7+}\r\njürgen")
		found([]int{1}, "CHARSET UTF-8 TEXT {7+}\r\njürgen")
		found([]int{1}, "CHARSET UTF-8 HEADER From {7+}\r\njürgen")
	})
	t.Run("SEARCH BODY looks into messages without MIME fields", func(t *testing.T) {
		found([]int{2}, "BODY needle")
		found([]int{2}, `TEXT "A NEEDLE in"`)
		found([]int{3}, "BODY plain")
		found(nil, "BODY Content-Type")
	})
	t.Run("UIDs that nothing has are no mistake", func(t *testing.T) {
		for _, command := range []string{"UID FETCH 100:200 FLAGS", "UID STORE 100 +FLAGS (x)", "UID COPY 100:200 Sent", "UID MOVE 100 Sent", "UID EXPUNGE 100:200", "UID SEARCH UID 100"} {
			for _, r := range p.ok("%s", command) {
				if len(r) > 2 && (r[2] == atom("FETCH") || r[2] == atom("EXPUNGE")) {
					t.Errorf("%s: got %v", command, r)
				}
			}
		}
		p.refused("BAD", "FETCH 100 FLAGS")
	})
	t.Run("nothing is changed in a mailbox after EXAMINE", func(t *testing.T) {
		p.ok("EXAMINE Inbox")
		for _, command := range []string{`STORE 1 +FLAGS (\Deleted)`, `UID STORE 1 FLAGS.SILENT ()`, "EXPUNGE", "UID EXPUNGE 1", "MOVE 1 Sent", "UID MOVE 1 Sent"} {
			p.refused("NO ", "%s", command)
		}
		p.ok("FETCH 1 BODY[]")
		if got := p.fetch(1, "FLAGS")["FLAGS"]; fmt.Sprint(got) != "[]" {
			t.Errorf("flags are %v", got)
		}
		p.ok("COPY 1 Sent")
		p.ok("SELECT Inbox")
	})
	t.Run("UNSELECT and CLOSE without a mailbox are mistakes", func(t *testing.T) {
		p.ok("UNSELECT")
		p.refused("BAD", "UNSELECT")
		p.refused("BAD", "CLOSE")
		p.refused("BAD", "FETCH 1 FLAGS")
		p.ok("SELECT Inbox")
		p.refused("NO [NONEXISTENT]", "SELECT Missing")
		p.refused("BAD", "UNSELECT") // A failed SELECT leaves none.
		p.ok("SELECT Inbox")
	})
	t.Run("creating what is there has a code", func(t *testing.T) {
		for _, name := range []string{"Sent", "INBOX", "inbox"} {
			p.refused("NO [ALREADYEXISTS]", "CREATE %s", name)
		}
	})
	t.Run("a keyword is told of before its use", func(t *testing.T) {
		other := s.imap(t, "Inbox")
		for n, session := range []*imapPeer{p, other} {
			command := "NOOP" // The other learns of it so.
			if n == 0 {
				command = "STORE 1 +FLAGS ($New)"
			}
			known := false
			for _, r := range session.ok("%s", command) {
				text := strings.ToLower(fmt.Sprint(r))
				known = known || r[1] == atom("FLAGS") && strings.Contains(text, "$new")
				if len(r) > 2 && r[2] == atom("FETCH") && strings.Contains(text, "$new") && !known {
					t.Errorf("session %d: keyword is used in %v, and was not told of", n, r)
				}
			}
			if !known {
				t.Errorf("session %d was not told of the keyword", n)
			}
		}
	})
}

// TestStrayFiles puts files where those of the next messages will be, as a crash
// can leave them, and has messages come nevertheless.
func TestStrayFiles(t *testing.T) {
	t.Parallel()
	s := start(t)
	large := "Subject: large\r\n\r\n" + strings.Repeat("0123456789\r\n", 200000)
	s.smtp(t).deliver("Subject: first\r\n\r\nhello\r\n")
	s.imap(t, "").append("Inbox", "Subject: second\r\n\r\nhello\r\n")
	s.kill()

	var last int64
	var dir string
	paths, err := filepath.Glob(filepath.Join(s.dir, "data", "accounts", "mox", "msg", "*", "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("got message files %q, %v", paths, err)
	}
	for _, path := range paths {
		id, err := strconv.ParseInt(filepath.Base(path), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if id > last {
			last, dir = id, filepath.Dir(path)
		}
	}
	for id := last + 1; id < last+50; id++ {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(id)), bytes.Repeat([]byte("stray"), 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.run()

	out := s.smtp(t)
	p := s.imap(t, "")
	for i := range 10 {
		out.deliver(fmt.Sprintf("Subject: delivered %d\r\n\r\nhello\r\n", i))
		p.append("Inbox", fmt.Sprintf("Subject: appended %d\r\n\r\nhello\r\n", i))
	}
	out.deliver(large)
	p.append("Inbox", large)
	if got := p.ok("SELECT Inbox"); !slices.ContainsFunc(got, func(r response) bool { return slices.Equal(r, response{atom("*"), atom("24"), atom("EXISTS")}) }) {
		t.Errorf("got %v, want 24 messages", got)
	}
	for uid := 1; uid <= 24; uid++ {
		if got := p.bytes(uid, "BODY.PEEK[]"); !strings.HasSuffix(got, "hello\r\n") && !strings.HasSuffix(got, large) {
			t.Errorf("message %d is %q", uid, got[:min(len(got), 1000)])
		}
	}
}

package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// curl runs curl against the server and returns what it prints: the mailbox data
// that IMAP has, or with -v the conversation.
type curl struct {
	t *testing.T
	s *server
}

// run runs curl and wants it to succeed.
func (c curl) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("curl %q: %v\n%s", args, err, out)
	}
	return out
}

func (c curl) try(args ...string) (string, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(c.t, "curl"), append([]string{"-sS", "--max-time", fmt.Sprint(patience.Seconds())}, args...)...)
	cmd.Dir = c.s.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// imap runs a command, or fetches what the URL names.
func (c curl) imap(path string, args ...string) string {
	c.t.Helper()
	return c.run(append([]string{"-u", login + ":" + password, "imap://" + c.s.address(portIMAP) + "/" + path}, args...)...)
}

func (c curl) want(what, got string, want ...string) {
	c.t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			c.t.Errorf("%s: got %q, want %q in it", what, got, w)
		}
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := curl{t, s}
	const msg = "From: Me <me@example.org>\r\nTo: mox@localhost\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nFirst mail.\r\n.dots\r\n..\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Second part.\r\n--b--\r\n"
	file := filepath.Join(s.dir, "hello.eml")
	if err := os.WriteFile(file, []byte(msg), 0o600); err != nil {
		t.Fatal(err)
	}
	smtp := []string{"smtp://" + s.address(portSMTP) + "/client.example", "--mail-from", "me@example.org", "--mail-rcpt", login}
	send := func(args ...string) []string { return slices.Concat(smtp, []string{"-T", file}, args) }

	c.run(send()...)
	c.run(send("--mail-rcpt", "other@elsewhere.example")...)
	got := c.run(send("--ssl-reqd", "--cacert", s.cert(), "-v")...)
	c.want("STARTTLS", got, "STARTTLS", "SSL connection using TLSv1.3", "SSL certificate verify ok")
	for _, ip := range []string{"temperror", "permerror", "rcpttopermerror"} {
		if out, err := c.try(slices.Concat(smtp[:3], []string{"--mail-rcpt", ip + "@localhost", "-T", file})...); err == nil {
			t.Errorf("mail to %s: got %s, want an error", ip, out)
		}
	}
	c.want("VRFY", c.run("smtp://"+s.address(portSMTP), "--mail-rcpt", "mox", "-X", "VRFY mox"), "252")
	c.want("NOOP", c.run("smtp://"+s.address(portSMTP), "-X", "NOOP"), "")
	c.want("HELP", c.run("smtp://"+s.address(portSMTP), "-X", "HELP"), "214")

	c.want("LIST", c.imap(""), `"/" INBOX`, `\Sent) "/" Sent`, `\Archive) "/" Archive`)
	c.want("EXAMINE", c.imap("", "-X", "EXAMINE INBOX"), "* 4 EXISTS", "UIDVALIDITY")
	c.want("STATUS", c.imap("", "-X", "STATUS INBOX (MESSAGES UNSEEN SIZE)"), "* STATUS", "MESSAGES 4", "UNSEEN 4")
	c.want("FETCH by URL", c.imap("INBOX;MAILINDEX=1"), "Return-Path: <me@example.org>\r\n", msg)
	c.want("FETCH by UID", c.imap("INBOX;UID=2"), msg)
	if got := c.imap("INBOX;UID=2;SECTION=1"); got != "First mail.\r\n.dots\r\n.." {
		t.Errorf("section 1: got %q", got)
	}
	c.want("section TEXT", c.imap("INBOX;UID=2;SECTION=TEXT"), "--b--\r\n")
	c.want("section HEADER", c.imap("INBOX;UID=2;SECTION=HEADER.FIELDS%20(SUBJECT)"), "Subject: Hello\r\n\r\n")
	c.want("FETCH by command", c.imap("INBOX", "-X", "FETCH 1:* (FLAGS ENVELOPE)"), "* 1 FETCH", `\Seen`, `"Hello"`, "* 4 FETCH")
	c.want("SEARCH by URL", c.imap("INBOX?SUBJECT%20hello"), "* SEARCH 1 2 3 4")
	c.want("SEARCH", c.imap("INBOX", "-X", "SEARCH TEXT second SEEN"), "* SEARCH 1 2\r\n")
	c.want("STORE", c.imap("INBOX", "-X", `STORE 3 +FLAGS (\Deleted $Work)`), "* 3 FETCH", `\Deleted`, "$work")
	c.want("COPY", c.imap("INBOX", "-X", "COPY 1:2 Archive", "-v"), "COPYUID")
	c.want("EXPUNGE", c.imap("INBOX", "-X", "EXPUNGE"), "* 3 EXPUNGE")

	c.imap("", "-X", "CREATE Lists/Work")
	c.want("APPEND", c.imap("Lists/Work", "-T", file, "-v"), "APPENDUID")
	if got := c.imap("Lists/Work;MAILINDEX=1"); got != msg {
		t.Errorf("appended: got %q", got)
	}
	c.want("LIST of a level", c.imap("", "-X", `LIST "" Lists/%`), "Lists/Work")
	c.imap("", "-X", "RENAME Lists/Work Work")
	c.want("renamed", c.imap("Work", "-X", "FETCH 1 RFC822.SIZE"), fmt.Sprintf("RFC822.SIZE %d", len(msg)))
	c.want("MOVE", c.imap("INBOX", "-X", "MOVE 1 Work", "-v"), "COPYUID", "* 1 EXPUNGE")
	c.want("SORT", c.imap("INBOX", "-X", "SORT (REVERSE ARRIVAL) UTF-8 SUBJECT hello"), "* SORT ")
	c.imap("", "-X", "UNSUBSCRIBE Work")
	if got := c.imap("", "-X", `LIST (SUBSCRIBED) "" *`); strings.Contains(got, `"/" Work`) {
		t.Errorf("subscribed: got %q", got)
	}
	c.imap("", "-X", "SUBSCRIBE Work")
	c.want("LSUB", c.imap("", "-X", `LSUB "" *`), `"/" Work`)
	c.imap("", "-X", "DELETE Work")
	if got := c.imap("", "-X", `LIST "" Work`); got != "" {
		t.Errorf("deleted: got %q", got)
	}
	if got, err := c.try("-u", login+":"+password, "imap://"+s.address(portIMAP)+"/Missing;MAILINDEX=1"); err == nil {
		t.Errorf("of a missing mailbox came %q", got)
	}
	if got, err := c.try("-u", login+":wrong", "imap://"+s.address(portIMAP)+"/"); err == nil {
		t.Errorf("with a wrong password came %q", got)
	}

	tls := []string{"--cacert", s.cert(), "-u", login + ":" + password}
	c.want("IMAPS", c.run(append(tls, "imaps://"+s.address(portIMAPS)+"/INBOX;UID=4", "-v")...), "SSL certificate verify ok", msg)
	c.want("IMAP with STARTTLS", c.run(append(tls, "--ssl-reqd", "imap://"+s.address(portIMAP)+"/INBOX;UID=4", "-v")...), "STARTTLS", "SSL certificate verify ok", msg)
	c.want("AUTHENTICATE", c.run(append(tls, "--login-options", "AUTH=PLAIN", "imaps://"+s.address(portIMAPS)+"/", "-v")...), "AUTHENTICATE PLAIN", "INBOX")
}

// readmeLine is an example with curl in the README, or what prepares one.
var readmeLine = regexp.MustCompile(`(?m)^ {4}((?:curl|printf) .*)$`)

// TestReadme tries the examples of the README in their order.
func TestReadme(t *testing.T) {
	t.Parallel()
	tool(t, "curl")
	s := start(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := readmeLine.FindAllSubmatch(readme, -1)
	if len(lines) < 6 {
		t.Fatalf("got %d lines with curl or printf in the README", len(lines))
	}
	port := regexp.MustCompile(`\blocalhost:(\d+)`)
	for _, m := range lines {
		line := port.ReplaceAllString(string(m[1]), s.ip+":$1")
		line = strings.ReplaceAll(line, "~/.config/mox-localserve", s.dir)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Dir = s.dir
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		if strings.Contains(line, "MAILINDEX=1") && !strings.HasSuffix(string(out), "Subject: Hello\r\n\r\nFirst mail.\r\n") {
			t.Errorf("%s: got %q", line, out)
		}
		if strings.Contains(line, "ENVELOPE") && !strings.Contains(string(out), "FETCH (FLAGS () ENVELOPE (") {
			t.Errorf("%s: got %q", line, out)
		}
	}
	sent := 0
	for _, m := range lines {
		if strings.Contains(string(m[1]), "-T hello.eml") {
			sent++
		}
	}
	p := s.imap(t, "Inbox")
	arrived := func() bool { // What a user sends goes through the queue.
		p.ok("NOOP")
		return len(p.search("SUBJECT Hello")) >= sent
	}
	if !eventually(arrived) || sent < 3 {
		t.Errorf("got messages %v, want those of %d lines: in plain text, with TLS and from a user", p.search("SUBJECT Hello"), sent)
	}
}

package main

import (
	"bytes"
	"errors"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

// testSubmitConfig returns settings without a server.
func testSubmitConfig() *config.SubmitClient {
	from, err := smtp.ParseAddress("user@example.org")
	admin, aerr := smtp.ParseAddress("admin@example.org")
	if errors.Join(err, aerr) != nil {
		return nil
	}
	return &config.SubmitClient{From: from, DefaultDestination: admin}
}

func TestComposeSendmail(t *testing.T) {
	t.Parallel()
	const ids = "Date: Sat, 03 Jan 2026 04:05:06 +0000\nMessage-ID: <1@x>\n" // So that there are none to be made up.
	long := strings.Repeat("0123456789", 100)
	for _, tc := range []struct {
		name, flags, in string
		want            string // Header and body, with LF; "RANDOM" is what there is no telling of.
		eightBit, utf8  bool
	}{
		{"a message", "a@x.org", ids + "To: a@x.org\nSubject: x\n\nhi\n",
			"From: <user@example.org>\n" + ids + "To: a@x.org\nSubject: x\n\nhi\n", false, false},
		{"CRLF", "a@x.org", strings.ReplaceAll(ids+"To: a@x.org\n\nhi\n", "\n", "\r\n"),
			"From: <user@example.org>\n" + ids + "To: a@x.org\n\nhi\n", false, false},
		{"CR", "a@x.org", ids + "To: a@x.org\n\n10%\r20%\r\r\nend",
			"From: <user@example.org>\n" + ids + "To: a@x.org\n\n10%\n20%\n\nend", false, false},
		{"what is missing", "a@x.org", "\nhi\n",
			"From: <user@example.org>\nTo: a@x.org\nDate: Fri, 02 Jan 2026 03:04:05 +0000\nMessage-ID: <RANDOM@example.org>\n\nhi\n", false, false},
		{"no header", "a@x.org", "hi there\n",
			"From: <user@example.org>\nTo: a@x.org\nDate: Fri, 02 Jan 2026 03:04:05 +0000\nMessage-ID: <RANDOM@example.org>\n\nhi there\n", false, false},
		{"nothing at all", "a@x.org", "",
			"From: <user@example.org>\nTo: a@x.org\nDate: Fri, 02 Jan 2026 03:04:05 +0000\nMessage-ID: <RANDOM@example.org>\n\n", false, false},
		{"a header without blank line", "a@x.org", ids + "To: a@x.org\nhi there: you\n",
			"From: <user@example.org>\n" + ids + "To: a@x.org\n\nhi there: you\n", false, false},
		{"a header only", "a@x.org", ids + "To: a@x.org\nSubject: x",
			"From: <user@example.org>\n" + ids + "To: a@x.org\nSubject: x\n\n", false, false},
		{"a line of a mailbox file", "a@x.org", "From root Fri Jan  2\n" + ids + "To: a@x.org\n\nhi\n",
			"From: <user@example.org>\n" + ids + "To: a@x.org\n\nhi\n", false, false},
		{"who it is from", "-FCron a@x.org", "From: root (Cron\n Daemon)\nReturn-Path: <x>\n" + ids + "To: a@x.org\n\nhi\n",
			"From: \"Cron\" <user@example.org>\n" + ids + "To: a@x.org\n\nhi\n", false, false},
		{"a name with everything", "-Fa\"b\\\n<x> a@x.org", ids + "To: a@x.org\n\nhi\n",
			"From: \"a\\\"b\\\\<x>\" <user@example.org>\n" + ids + "To: a@x.org\n\nhi\n", false, false},
		{"a name beyond ASCII", "-FJürgen a@x.org", ids + "To: a@x.org\n\nhi\n",
			"From: =?utf-8?q?J=C3=BCrgen?= <user@example.org>\n" + ids + "To: a@x.org\n\nhi\n", false, false},
		{"Bcc", "-t", ids + "To: a@x.org\nBcc: b@x.org,\n c@x.org\nResent-Bcc: d@x.org\n\nhi\n",
			"From: <user@example.org>\n" + ids + "To: a@x.org\n\nhi\n", false, false},
		{"Bcc only", "-t", ids + "Bcc: b@x.org\n\nhi\n",
			"From: <user@example.org>\nTo: undisclosed-recipients:;\n" + ids + "\nhi\n", false, false},
		{"Cc only", "-t", ids + "Cc: b@x.org\n\nhi\n",
			"From: <user@example.org>\n" + ids + "Cc: b@x.org\n\nhi\n", false, false},
		{"recipients that need not know of each other", "a@x.org b@x.org", ids + "\nhi\n",
			"From: <user@example.org>\nTo: undisclosed-recipients:;\n" + ids + "\nhi\n", false, false},
		{"folded fields", "a@x.org", ids + "To:\n a@x.org\nX: a\n\tb\n\nhi\n",
			"From: <user@example.org>\n" + ids + "To:\n a@x.org\nX: a\n\tb\n\nhi\n", false, false},
		{"a subject beyond ASCII", "a@x.org", ids + "To: a@x.org\nSubject: Größe\n\nhi\n",
			"From: <user@example.org>\n" + ids + "To: a@x.org\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\n\nhi\n", false, false},
		{"another field beyond ASCII", "a@x.org", ids + "To: Jürgen <a@x.org>\n\nhi\n",
			"From: <user@example.org>\n" + ids + "To: Jürgen <a@x.org>\n\nhi\n", true, true},
		{"a body beyond ASCII", "a@x.org", ids + "To: a@x.org\n\nhé\n",
			"From: <user@example.org>\n" + ids + "To: a@x.org\n\nhé\n", true, false},
		{"a line of 998", "a@x.org", ids + "To: a@x.org\n\n" + long[:998] + "\n",
			"From: <user@example.org>\n" + ids + "To: a@x.org\n\n" + long[:998] + "\n", false, false},
		{"a line of 999", "a@x.org", ids + "To: a@x.org\n\n" + long[:999] + "\n",
			"From: <user@example.org>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n" +
				ids + "To: a@x.org\n\n" + long[:999] + "\n", false, false},
		{"a line of 999, of known type", "a@x.org", ids + "To: a@x.org\nMime-Version: 1.0\nContent-Type: text/html; charset=latin1\nContent-Transfer-Encoding: 8bit\n\n\xe9=" + long + "\n",
			"From: <user@example.org>\nContent-Transfer-Encoding: quoted-printable\n" + ids +
				"To: a@x.org\nMime-Version: 1.0\nContent-Type: text/html; charset=latin1\n\n\xe9=" + long + "\n", false, false},
		{"a line of 999, of no charset", "a@x.org", ids + "To: a@x.org\n\n\xe9" + long + "\n",
			"From: <user@example.org>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n" +
				ids + "To: a@x.org\n\n\xe9" + long + "\n", false, false},
	} {
		f, err := parseSendmail(strings.Split(tc.flags, " "))
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		m, err := composeSendmail(testSubmitConfig(), f, []byte(tc.in), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		got := strings.ReplaceAll(plainText(t, m.text), "\r\n", "\n")
		if id := message.NewHeader(m.text).Get("Message-ID"); id != "<1@x>" {
			got = strings.Replace(got, strings.TrimSuffix(strings.TrimPrefix(id, "<"), "@example.org>"), "RANDOM", 1)
		}
		if got != tc.want || m.eightBit != tc.eightBit || m.smtputf8 != tc.utf8 {
			t.Errorf("%s: got %v, %v\n%s\nwant %v, %v\n%s", tc.name, m.eightBit, m.smtputf8, got, tc.eightBit, tc.utf8, tc.want)
		}
	}
}

// plainText returns a message with its body decoded if it is encoded.
func plainText(t *testing.T, text []byte) string {
	t.Helper()
	head, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	if !bytes.Contains(head, []byte("Content-Transfer-Encoding: quoted-printable")) {
		return string(text)
	}
	if longLine(body) || !isASCII(body) {
		t.Errorf("encoded as %q", body)
	}
	decoded, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
	if err != nil {
		t.Error(err)
	}
	return string(head) + "\r\n\r\n" + string(decoded)
}

// TestComposeMany shows the limit on recipients.
func TestComposeMany(t *testing.T) {
	t.Parallel()
	f := sendmailFlags{fromHeader: true}
	for _, n := range []int{sendmailRcptsMax, sendmailRcptsMax + 1} {
		var to strings.Builder
		for i := range n {
			to.WriteString("To: r" + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + "@x.org\n")
		}
		m, err := composeSendmail(testSubmitConfig(), f, []byte(to.String()), time.Now())
		if (err == nil) != (n <= sendmailRcptsMax) || err == nil && len(m.to) != n {
			t.Errorf("%d recipients: got %v", n, err)
		}
	}
}

// FuzzComposeSendmail checks that whatever a program writes, what is sent is a
// message: lines of CRLF within the limit, one From, which is ours, no Bcc, and the
// body that was written.
func FuzzComposeSendmail(f *testing.F) {
	f.Add("From: x\nTo: a@x.org\nBcc: b@x.org\nSubject: é\n\nhi\n.\n", "Name")
	f.Add("From x\nhi\r\rthere\n", "")
	f.Add("A:b\n c\nBCC : x\nbcc: y\n\n"+strings.Repeat("x", 1000), "\"\\\xff\r\nBcc: z")
	f.Fuzz(func(t *testing.T, in, name string) {
		m, err := composeSendmail(testSubmitConfig(), sendmailFlags{fromHeader: true, name: name, to: []string{"c@x.org"}}, []byte(in), time.Unix(0, 0))
		if err != nil {
			return
		}
		if strings.ContainsAny(strings.ReplaceAll(string(m.text), "\r\n", ""), "\r\n") || longLine(m.text) {
			t.Fatalf("%q became %q", in, m.text)
		}
		h := message.NewHeader(m.text)
		for _, name := range []string{"From", "Date", "Message-ID"} {
			if n := h.Count(name); n != 1 && (name == "From" || n == 0) {
				t.Fatalf("%q became a message with %d fields %s: %q", in, n, name, m.text)
			}
		}
		if h.Count("Bcc") > 0 || !strings.HasSuffix(h.Get("From"), "<user@example.org>") {
			t.Fatalf("%q, %q became %q", in, name, m.text)
		}
		if _, body := splitMail(crlf([]byte(in))); !longLine(body) && !bytes.HasSuffix(m.text, append([]byte("\r\n\r\n"), body...)) {
			t.Fatalf("body of %q became %q", in, m.text)
		}
	})
}

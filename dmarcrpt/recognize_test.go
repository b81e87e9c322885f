package dmarcrpt

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
)

const (
	subject = "Subject: Report Domain: example.com\n    Submitter: mail.receiver.example\n    Report-ID: <sample-ridtxt@example.com>\n"
	file    = `filename="mail.receiver.example!example.org!1013662812!1013749130.xml.gz"`
)

func TestRecognize(t *testing.T) {
	t.Parallel()
	mixed := func(head, typ, disposition string) string {
		return head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nThis is a report.\n" +
			"--x\nContent-Type: " + typ + "\nContent-Disposition: attachment; " + disposition + "\n\nH4sIAAAAAAAAAwMAAAAAAAAAAAA=\n--x--\n"
	}
	for _, tc := range []struct {
		name, text string
		want       string // Domain and submitter.
	}{
		{"subject, type and name", mixed(subject, "application/gzip", file), "example.org mail.receiver.example"},
		{"type and name", mixed("", "application/gzip", file), "example.org mail.receiver.example"},
		{"type and subject", mixed(subject, "application/zip", "filename=report"), "example.com mail.receiver.example"},
		{"plain", mixed(subject, "text/xml", "filename=a.xml"), "example.com mail.receiver.example"},
		{"a type that says nothing, with the name", mixed("", "application/octet-stream", file), "example.org mail.receiver.example"},
		{"a type that says nothing, with the subject", mixed(subject, "application/octet-stream", "filename=a.xml.gz"), ""},
		{"another type", mixed(subject, "image/png", file), ""},
		{"only the type", mixed("Subject: hello\n", "application/gzip", "filename=backup.gz"), ""},
		{"only the subject", subject + "\nhello\n", ""},
		{"the message is the report", subject + "Content-Type: application/gzip; name=x\n\nH4sI\n", "example.com mail.receiver.example"},
		{"about TLS, by its type", strings.Replace(mixed(subject, "application/gzip", file), "mixed;", "report; report-type=TLSRPT;", 1), ""},
		{"about TLS, by its name", mixed(subject, "application/gzip", strings.Replace(file, "xml", "json", 1)), ""},
		{"in a message that was sent on", "Content-Type: message/rfc822\n\n" + mixed(subject, "application/gzip", file), ""},
	} {
		text := strings.ReplaceAll(tc.text, "\n", "\r\n")
		part, err := message.Parse(strings.NewReader(text), int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		c, ok := Recognize(message.NewHeader([]byte(text)), &part)
		if got := strings.TrimSpace(c.Domain.ASCII + " " + c.Submitter.ASCII); got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: got %q, %t, want %q", tc.name, got, ok, tc.want)
		}
		if end := strings.HasPrefix(tc.want, "example.org"); end != (c.End.Unix() == 1013749130) {
			t.Errorf("%s: it ends at %v", tc.name, c.End)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	now := time.Unix(1013749130, 0)
	ours := func(d dns.Domain) bool { return d.ASCII == "example.org" }
	for _, tc := range []struct {
		name   string
		about  string
		end    time.Time
		passed bool
		want   error
	}{
		{"all well", "example.org", now, true, nil},
		{"it doesn't tell when", "example.org", time.Time{}, true, nil},
		{"a clock that is a minute ahead", "example.org", now.Add(time.Minute), true, nil},
		{"from the future", "example.org", now.Add(time.Minute + time.Second), true, ErrPeriod},
		{"about somebody else", "example.com", now, true, ErrDomain},
		{"from nobody known", "example.org", now, false, ErrNotAuthenticated},
	} {
		c := Claim{Domain: dns.Domain{ASCII: tc.about}, End: tc.end}
		if err := c.Check(tc.passed, ours, now); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

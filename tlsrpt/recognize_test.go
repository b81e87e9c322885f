package tlsrpt

import (
	"errors"
	"strings"
	"testing"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
)

// rfcReport is the example of RFC 8460, section 5.3.1, without what Content-Type can't
// have, and with the spaces that were only in the print.
const rfcReport = `From: tlsrpt@mail.sender.example.com
Date: Fri, May 09 2017 16:54:30 -0800
To: mts-sts-tlsrpt@example.net
Subject: Report Domain: example.net
    Submitter: mail.sender.example.com
    Report-ID: <735ff.e317+bf22029@example.net>
TLS-Report-Domain: example.net
TLS-Report-Submitter: mail.sender.example.com
MIME-Version: 1.0
Content-Type: multipart/report; report-type="tlsrpt";
    boundary="----=_NextPart_000_024E_01CC9B0A.AFE54C00"
Content-Language: en-us

This is a multipart message in MIME format.

------=_NextPart_000_024E_01CC9B0A.AFE54C00
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: 7bit

This is an aggregate TLS report from mail.sender.example.com

------=_NextPart_000_024E_01CC9B0A.AFE54C00
Content-Type: application/tlsrpt+gzip
Content-Transfer-Encoding: base64
Content-Disposition: attachment;
    filename="mail.sender.example!example.com!1013662812!1013749130.json.gz"

H4sIAAAAAAAAAwMAAAAAAAAAAAA=

------=_NextPart_000_024E_01CC9B0A.AFE54C00--
`

func TestRecognize(t *testing.T) {
	t.Parallel()
	without := func(lines string) string { return strings.Replace(rfcReport, lines, "", 1) }
	fields := "TLS-Report-Domain: example.net\nTLS-Report-Submitter: mail.sender.example.com\n"
	for _, tc := range []struct{ name, text, want string }{
		{"the example of the RFC", rfcReport, "example.net mail.sender.example.com"},
		{"without its own fields", without(fields), "example.com mail.sender.example"},
		{"without fields and name", strings.Replace(without(fields), "!1013662812", "", 1), "example.net mail.sender.example.com"},
		{"without the type of the whole", without(` report-type="tlsrpt";`), "example.net mail.sender.example.com"},
		{"without the type of its part", strings.Replace(rfcReport, "tlsrpt+gzip", "gzip", 1), "example.net mail.sender.example.com"},
		{"without both", strings.Replace(without(` report-type="tlsrpt";`), "tlsrpt+gzip", "gzip", 1), ""},
		{"only the report", "Content-Type: application/tlsrpt+json\n\n{}\n", " "},
		{"sent on", "Content-Type: message/rfc822\n\n" + rfcReport, ""},
		{"a letter with the fields", "TLS-Report-Domain: example.net\n\nhello\n", ""},
	} {
		text := strings.ReplaceAll(tc.text, "\n", "\r\n")
		part, err := message.Parse(strings.NewReader(text), int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		c, ok := Recognize(message.NewHeader([]byte(text)), &part)
		if got := c.Domain.ASCII + " " + c.Submitter.ASCII; ok != (tc.want != "") || ok && got != tc.want {
			t.Errorf("%s: got %q, %t, want %q", tc.name, got, ok, tc.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	domain := func(s string) dns.Domain { return dns.Domain{ASCII: s} }
	whole := func(d string) *dkim.Signature { return &dkim.Signature{Domain: domain(d), Length: -1} }
	ours := func(d dns.Domain) bool { return d == domain("example.net") }
	any := &dkim.Record{}
	for _, tc := range []struct {
		name  string
		about string
		sigs  []dkim.Evaluation
		want  error
	}{
		{"signed by the domain in From", "example.net", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("mail.sender.example"), Record: any}}, nil},
		{"signed by its organisation", "example.net", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("sender.example"), Record: any}}, nil},
		{"the second signature", "example.net", []dkim.Evaluation{{Result: dkim.Fail}, {Result: dkim.Pass, Signature: whole("sender.example"), Record: any}}, nil},
		{"with a key for reports too", "example.net", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("sender.example"), Record: &dkim.Record{Services: []string{"email", "TLSRPT"}}}}, nil},
		{"it doesn't tell whom it is about", "", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("sender.example"), Record: any}}, nil},
		{"no signature", "example.net", nil, ErrNotAuthenticated},
		{"a signature that fails", "example.net", []dkim.Evaluation{{Result: dkim.Fail, Signature: whole("sender.example"), Record: any}}, ErrNotAuthenticated},
		{"of somebody else", "example.net", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("evil.example"), Record: any}}, ErrNotAuthenticated},
		{"of one above the organisation", "example.net", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("example"), Record: any}}, ErrNotAuthenticated},
		{"of one below", "example.net", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("a.mail.sender.example"), Record: any}}, ErrNotAuthenticated},
		{"of a part of the message", "example.net", []dkim.Evaluation{{Result: dkim.Pass, Signature: &dkim.Signature{Domain: domain("sender.example"), Length: 10}, Record: any}}, ErrNotAuthenticated},
		{"with a key for letters only", "example.net", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("sender.example"), Record: &dkim.Record{Services: []string{"email"}}}}, ErrNotAuthenticated},
		{"about somebody else", "example.com", []dkim.Evaluation{{Result: dkim.Pass, Signature: whole("sender.example"), Record: any}}, ErrDomain},
	} {
		c := Claim{Domain: domain(tc.about)}
		if err := c.Check(tc.sigs, domain("mail.sender.example"), domain("sender.example"), ours); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

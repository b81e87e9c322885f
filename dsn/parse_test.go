package dsn

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

// parse parses a message and the notification it is.
func parse(t testing.TB, msg []byte) (*Report, error) {
	t.Helper()
	r := bytes.NewReader(msg)
	p, err := message.Parse(r, r.Size())
	if err != nil && !errors.Is(err, message.ErrMalformed) {
		t.Fatal(err)
	}
	return Parse(r, &p)
}

// zulu makes times comparable.
func zulu(r *Report) *Report {
	r.Arrival = r.Arrival.UTC()
	for i := range r.Recipients {
		s := &r.Recipients[i]
		s.LastTry, s.RetryUntil = s.LastTry.UTC(), s.RetryUntil.UTC()
	}
	return r
}

// TestExamples reads the examples of RFC 3464, appendix E. In the first, the
// lines of the header had been joined for printing; in the second, a delimiter and
// the stand-in for the original were indented.
func TestExamples(t *testing.T) {
	t.Parallel()
	internet := func(s string) Address { return Address{"rfc822", s} }
	for name, want := range map[string]Report{
		"simple.eml": {
			ReportingMTA: "cs.utk.edu",
			Recipients: []Status{{
				Original: internet("louisl@larry.slip.umd.edu"), Final: internet("louisl@larry.slip.umd.edu"),
				Action: Failed, Code: "4.0.0", DiagnosticType: "smtp", Diagnostic: "426 connection timed out",
				LastTry: time.Date(1994, 7, 7, 21, 15, 49, 0, time.UTC),
			}},
		},
		"multi-recipient.eml": {
			ReportingMTA: "cs.utk.edu",
			Recipients: []Status{
				{
					Original: internet("arathib@vnet.ibm.com"), Final: internet("arathib@vnet.ibm.com"), Action: Failed, Code: "5.0.0",
					RemoteMTA: "vnet.ibm.com", DiagnosticType: "smtp", Diagnostic: "550 'arathib@vnet.IBM.COM' is not a registered gateway user",
				},
				{Original: internet("johnh@hpnjld.njd.hp.com"), Final: internet("johnh@hpnjld.njd.hp.com"), Action: Delayed, Code: "4.0.0"},
				{
					Original: internet("wsnell@sdcc13.ucsd.edu"), Final: internet("wsnell@sdcc13.ucsd.edu"), Action: Failed, Code: "5.0.0",
					RemoteMTA: "sdcc13.ucsd.edu", DiagnosticType: "smtp", Diagnostic: "550 user unknown",
				},
			},
		},
		"gateway.eml": {
			ReportingMTA: "SYS30",
			Recipients:   []Status{{Final: Address{"unknown", "nair_s"}, Action: Failed, Code: "5.0.0"}},
		},
		"delayed.eml": {
			ReportingMTA: "sun2.nsfnet-relay.ac.uk",
			Recipients:   []Status{{Final: internet("thomas@de-montfort.ac.uk"), Action: Delayed, Code: "4.0.0"}},
		},
	} {
		msg, err := os.ReadFile(filepath.Join("testdata/rfc3464", name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := parse(t, msg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if raw := got.Original.Raw(); len(raw) > 0 {
			t.Errorf("%s: got original %q, which has no field", name, raw)
		}
		want.Original = got.Original
		if !reflect.DeepEqual(zulu(got), zulu(&want)) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// report makes a notification with a status.
func report(status string) []byte {
	return []byte("Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n" +
		"--b\r\n\r\nsorry\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" + status + "\r\n--b--\r\n")
}

// TestParseStatus reads single fields as they come.
func TestParseStatus(t *testing.T) {
	t.Parallel()
	const mta = "Reporting-MTA: dns; mx.example.com\r\n\r\n"
	const rcpt = "Final-Recipient: rfc822; a@example.org\r\n"
	final := Address{"rfc822", "a@example.org"}
	for _, c := range []struct {
		name, status string
		want         Status
	}{
		{"the least", mta + rcpt, Status{Final: final}},
		{"bare line feeds", strings.ReplaceAll(mta+rcpt, "\r", ""), Status{Final: final}},
		{"blank lines in front", "\r\n\r\n" + mta + "\r\n" + rcpt, Status{Final: final}},
		{"no fields of the message", rcpt + "Action: failed\r\n", Status{Final: final, Action: Failed}},
		{"names in any case", mta + "final-recipient:RFC822;a@example.org\r\nACTION: FAILED\r\n", Status{Final: final, Action: Failed}},
		{"brackets", mta + "Final-Recipient: rfc822; <a@example.org>\r\n", Status{Final: final}},
		{"a comment after an address", mta + "Final-Recipient: rfc822; a@example.org (Jo (x) \\)\r\n y)\r\n", Status{Final: final}},
		{"a comment before a type", mta + "Final-Recipient: (x) rfc822; a@example.org\r\n", Status{Final: final}},
		{"no type", mta + "Final-Recipient: a@example.org\r\n", Status{Final: Address{"", "a@example.org"}}},
		{"parentheses within quotes", mta + "Final-Recipient: rfc822; \"a(b\\\")\"@example.org\r\n", Status{Final: Address{"rfc822", `"a(b\")"@example.org`}}},
		{"a comment without end", mta + "Final-Recipient: rfc822; a((b)@example.org\r\n", Status{Final: Address{"rfc822", "a((b)@example.org"}}},
		{"an original recipient only", mta + "Original-Recipient: rfc822;b@example.org\r\n", Status{Original: Address{"rfc822", "b@example.org"}}},
		{"UTF-8 in 7 bits", mta + `Final-Recipient: utf-8; j\x{F6}rg\x{2B}\x{1F600}@example.org` + "\r\n", Status{Final: Address{"utf-8", "jörg+\U0001F600@example.org"}}},
		{"UTF-8 as it is", mta + "Final-Recipient: UTF-8; jörg@example.org\r\n", Status{Final: Address{"utf-8", "jörg@example.org"}}},
		{"encodings that are none", mta + `Final-Recipient: utf-8; \x{}\x{1}\x{D800}\x{110000}\x{0041F600}\x{41` + "\r\n", Status{Final: Address{"utf-8", `\x{}\x{1}\x{D800}\x{110000}\x{0041F600}\x{41`}}},
		{"an encoded line break", mta + `Final-Recipient: utf-8; a\x{0A}b` + "\r\n", Status{Final: Address{"utf-8", "a b"}}},
		{"an unknown action", mta + rcpt + "Action: lost\r\n", Status{Final: final}},
		{"an action with a comment", mta + rcpt + "Action: failed (at last)\r\n", Status{Final: final, Action: Failed}},
		{"a status with words", mta + rcpt + "Status: 5.1.1 no such user\r\n", Status{Final: final}},
		{"a host with its address", mta + rcpt + "Remote-MTA: dns; mx.example.org (192.0.2.1)\r\n", Status{Final: final, RemoteMTA: "mx.example.org"}},
		{"a diagnostic keeps its parentheses", mta + rcpt + "Diagnostic-Code: SMTP; 550 no (really)\r\n", Status{Final: final, DiagnosticType: "smtp", Diagnostic: "550 no (really)"}},
		{"a diagnostic without type", mta + rcpt + "Diagnostic-Code: 550 no; sorry\r\n", Status{Final: final, Diagnostic: "550 no; sorry"}},
		{"control characters", mta + rcpt + "Diagnostic-Code: smtp; 550\x00 \x1b[2Jno\r\n", Status{Final: final, DiagnosticType: "smtp", Diagnostic: "550   [2Jno"}},
		{"a date that is none", mta + rcpt + "Last-Attempt-Date: yesterday\r\n", Status{Final: final}},
		{"the date of the last try to come", mta + rcpt + "Will-Retry-Until: Sun, 10 Jul 1994 00:36:51 +0100\r\n", Status{Final: final, RetryUntil: time.Date(1994, 7, 9, 23, 36, 51, 0, time.UTC)}},
	} {
		got, err := parse(t, report(c.status))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if zulu(got); !reflect.DeepEqual(got.Recipients, []Status{c.want}) {
			t.Errorf("%s: got %+v, want %+v", c.name, got.Recipients, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := string(report("Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@example.org\r\n"))
	for _, c := range []struct{ name, msg string }{
		{"an ordinary message", original},
		{"a multipart of another kind", strings.Replace(good, "multipart/report", "multipart/mixed", 1)},
		{"another kind of report", strings.Replace(good, "report-type=delivery-status", "report-type=feedback-report", 1)},
		{"a report without status", strings.Replace(good, "message/delivery-status", "text/plain", 1)},
		{"a status in an unknown encoding", strings.Replace(good, "message/delivery-status", "message/delivery-status\r\nContent-Transfer-Encoding: x-uu", 1)},
		{"a status about nobody", strings.Replace(good, "Final-Recipient", "X-Recipient", 1)},
		{"an empty status", string(report(""))},
	} {
		if got, err := parse(t, []byte(c.msg)); !errors.Is(err, ErrNotDSN) || got != nil && len(got.Recipients) > 0 {
			t.Errorf("%s: got %+v, %v, want ErrNotDSN", c.name, got, err)
		}
	}
	if _, err := parse(t, []byte(strings.Replace(good, "; report-type=delivery-status", "", 1))); err != nil {
		t.Errorf("a report without type: %v", err)
	}
}

// TestParseLimits has more recipients than are read.
func TestParseLimits(t *testing.T) {
	t.Parallel()
	got, err := parse(t, report(strings.Repeat("\r\nFinal-Recipient: rfc822; a@example.org\r\n", recipientsMax+1)))
	if err != nil || len(got.Recipients) != recipientsMax {
		t.Errorf("got %d recipients, %v", len(got.Recipients), err)
	}
	long := report("Final-Recipient: rfc822; a@example.org\r\n\r\nX: " + strings.Repeat("x", statusSizeMax) + "\r\n\r\nFinal-Recipient: rfc822; b@example.org\r\n")
	got, err = parse(t, long)
	if err != nil || len(got.Recipients) != 1 {
		t.Errorf("got %d recipients of a status that is too large, %v", len(got.Recipients), err)
	}
}

// brokenReader fails at an offset.
type brokenReader struct {
	io.ReaderAt
	at int64
}

var errBroken = errors.New("broken")

func (r brokenReader) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > r.at {
		return 0, errBroken
	}
	return r.ReaderAt.ReadAt(b, off)
}

// TestParseReading shows that errors of reading are not taken for answers.
func TestParseReading(t *testing.T) {
	t.Parallel()
	m := failed(t)
	m.Full = true
	msg, err := m.Compose(false)
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(msg)
	p, err := message.Parse(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]int64{"status": p.Parts[1].BodyOffset + 1, "original": p.Parts[2].BodyOffset + 1} {
		if got, err := Parse(brokenReader{r, at}, &p); !errors.Is(err, errBroken) || got != nil {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// TestRoundTrip reads what Compose made, in all forms.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, utf8 := range []bool{false, true} {
		for _, full := range []bool{false, true} {
			for _, m := range []*Message{failed(t), international(t)} {
				m.Full = full
				checkRoundTrip(t, m, utf8)
			}
		}
	}
	got := checkRoundTrip(t, international(t), false)
	if subject := got.Original.Get("Subject"); subject != "lunch på torsdag" {
		t.Errorf("got subject %q of the original", subject)
	}
	if got.Recipients[0].Original != (Address{"utf-8", "jané+a@exämple.com"}) {
		t.Errorf("got original recipient %q", got.Recipients[0].Original)
	}
}

// checkRoundTrip checks that Parse finds what Compose was given.
func checkRoundTrip(t *testing.T, m *Message, utf8 bool) *Report {
	t.Helper()
	msg, err := m.Compose(utf8)
	if err != nil {
		t.Fatal(err)
	}
	checkForm(t, msg, utf8)
	got, err := parse(t, msg)
	if err != nil {
		t.Fatalf("%v, for %q", err, msg)
	}
	if got.ReportingMTA != m.ReportingMTA.ASCII || !got.Arrival.Equal(m.Arrival.Truncate(time.Second)) {
		t.Errorf("got reporting MTA %q and arrival %v of %q", got.ReportingMTA, got.Arrival, msg)
	}
	if len(got.Recipients) != min(len(m.Recipients), recipientsMax) {
		t.Fatalf("got %d recipients of %q", len(got.Recipients), msg)
	}
	for i, s := range got.Recipients {
		r := m.Recipients[i]
		if s.Final.Text != oneLine(r.Final.XString(utf8)) || s.Action != r.Action || s.Code != r.status() || s.RemoteMTA == "" != (r.RemoteMTA.IsZero() && r.RemoteIP == "") {
			t.Errorf("got recipient %+v of %q", s, msg)
		}
		if words := strings.Fields(oneLine(r.Diagnostic)); isASCII(r.Diagnostic) && s.Diagnostic != strings.Join(words, " ") {
			t.Errorf("got diagnostic %q of %q", s.Diagnostic, msg)
		}
		if !s.LastTry.Equal(r.LastTry) || s.RetryUntil.IsZero() == (r.Action == Delayed && !r.RetryUntil.IsZero()) {
			t.Errorf("got tries at %v and until %v of %q", s.LastTry, s.RetryUntil, msg)
		}
	}
	return got
}

// FuzzCompose checks that no text leads to a message of another form, and that
// Parse finds what was said.
func FuzzCompose(f *testing.F) {
	f.Add("jane", "lunch", "550 5.1.1 no such user", original, false)
	f.Add("ja né", "=?utf-8?q?x?=\r\nBcc: x", "\r\n\r\nAction: delivered\r\n.\r\n", "Subject: é\n\n--=_\n", true)
	f.Add(`j"\x{41}(`, "\x00\xff\u2028", "utf-8;\\x{0A}", "\xe9\r\rFrom ", false)
	f.Fuzz(func(t *testing.T, localpart, text, diagnostic, original string, utf8 bool) {
		lp, err := smtp.ParseLocalpart(smtp.Localpart(localpart).String())
		if err != nil || len(lp) > 64 || oneLine(string(lp)) != string(lp) {
			return // No localpart that is taken by anybody.
		}
		if len(diagnostic) > diagnosticMax || slices.ContainsFunc(strings.Fields(diagnostic), func(s string) bool { return len(s) > lineMax/2 }) {
			return // Would be cut.
		}
		path := smtp.Path{Localpart: lp, IPDomain: dns.IPDomain{Domain: domain(t, "exämple.org")}}
		m := failed(t)
		m.To, m.FromName, m.Subject, m.Text = path, text, text, text
		m.References, m.EnvelopeID, m.ReceivedFromMTA = text, text, text
		m.Recipients[0].Diagnostic = diagnostic
		m.Recipients = append(m.Recipients, Recipient{Final: path, Original: text, Action: Delayed, Status: text, RemoteIP: text, RemoteMTA: domain(t, "mx.example.com")})
		m.Original = []byte(original)
		checkRoundTrip(t, m, utf8)
		m.Full = true
		checkRoundTrip(t, m, utf8)
	})
}

// FuzzParse checks that what is read fits on lines and within the limits, and is
// no more than was there.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/rfc3464/*.eml")
	if err != nil || len(files) == 0 {
		f.Fatalf("got %q, %v", files, err)
	}
	golden, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range append(files, golden...) {
		msg, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := parse(t, msg)
		if err != nil {
			if !errors.Is(err, ErrNotDSN) {
				t.Errorf("got error %v from memory", err)
			}
			return
		}
		if n := len(got.Recipients); n == 0 || n > recipientsMax {
			t.Errorf("got %d recipients", n)
		}
		texts := []string{got.EnvelopeID, got.ReportingMTA, got.ReceivedFromMTA}
		for _, s := range got.Recipients {
			if s.Action != "" && s.Action.status() == "" || s.Code != "" && !isStatus(s.Code) {
				t.Errorf("got %+v", s)
			}
			texts = append(texts, s.Final.Type, s.Final.Text, s.Original.Type, s.Original.Text, s.RemoteMTA, s.DiagnosticType, s.Diagnostic)
		}
		for _, s := range texts {
			if s != printable(s) || len(s) > 3*len(msg) {
				t.Errorf("got %q", s)
			}
		}
	})
}

package dsn

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

var update = flag.Bool("update", false, "write golden files")

func parsePath(t testing.TB, s string) smtp.Path {
	t.Helper()
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a.Path()
}

func domain(t testing.TB, s string) dns.Domain {
	t.Helper()
	d, err := dns.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var testDate = time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))

const original = "From: <mjl@example.org>\r\nTo: <jane@example.com>\r\nSubject: lunch\r\nMessage-ID: <one@example.org>\r\n\r\nAt noon?\r\n"

// failed returns a notification of a failure, about one recipient.
func failed(t testing.TB) *Message {
	return &Message{
		From:         parsePath(t, "postmaster@mox.example.org"),
		To:           parsePath(t, "mjl@example.org"),
		MessageID:    "dsn1@mox.example.org",
		References:   "<one@example.org>",
		Subject:      "Not delivered: lunch",
		Date:         testDate,
		Text:         "Your message was not delivered to:\n\n\tjane@example.com\n",
		ReportingMTA: domain(t, "mox.example.org"),
		Arrival:      testDate.Add(-time.Hour),
		EnvelopeID:   "env id 1",
		Recipients: []Recipient{{
			Final:      parsePath(t, "jane@example.com"),
			Original:   "rfc822;Jane@example.com",
			Action:     Failed,
			Status:     "5.1.1",
			RemoteMTA:  domain(t, "mx.example.com"),
			RemoteIP:   "192.0.2.1",
			Diagnostic: "550-5.1.1 mailbox unavailable\n550 5.1.1 user has moved with no forwarding address",
			LastTry:    testDate.Add(-time.Minute),
		}},
		Original: []byte(original),
	}
}

// international returns a notification that needs UTF-8 in all places.
func international(t testing.TB) *Message {
	m := failed(t)
	m.From = parsePath(t, "postmästare@möx.example.org")
	m.FromName = "Postmästare"
	m.To = parsePath(t, "mjl@exämple.org")
	m.Subject = "Inte levererat: lunch på torsdag, om du har tid och lust, annars någon annan dag"
	m.Text = "Till jané@exämple.com gick det inte.\n"
	m.ReportingMTA = domain(t, "möx.example.org")
	m.Recipients = []Recipient{
		{Final: parsePath(t, "jané+a@exämple.com"), Original: `utf-8;jan\x{E9}\x{2B}a@exämple.com`, Action: Failed, Diagnostic: "550 okänd mottagare"},
		{Final: parsePath(t, "joe@exämple.com"), Action: Delayed, Status: "4.4.1", RemoteIP: "2001:db8::1", RetryUntil: testDate.Add(48 * time.Hour)},
	}
	m.Original = []byte("From: <mjl@exämple.org>\r\nSubject: lunch på torsdag\r\n\r\nKlockan tolv?\r\n")
	return m
}

// succeeded returns a notification of success, about one recipient.
func succeeded(t testing.TB, subject string, a Action) *Message {
	m := failed(t)
	m.Subject, m.Text = subject, "Your message has arrived at:\n\n\tjane@example.com\n"
	r := &m.Recipients[0]
	r.Action, r.Status = a, "2.1.5"
	if r.Diagnostic = "250 2.1.5 taken"; a != Relayed {
		r.RemoteMTA, r.RemoteIP, r.Diagnostic = dns.Domain{}, "", ""
	}
	return m
}

// TestGolden compares whole messages with those in testdata.
func TestGolden(t *testing.T) {
	t.Parallel()
	full := failed(t)
	full.Full = true
	delayed := failed(t)
	delayed.Original = nil
	delayed.Subject = "Delayed: lunch"
	delayed.ReceivedFromMTA = "laptop.example.org"
	delayed.Recipients[0].Action, delayed.Recipients[0].Status = Delayed, "4.4.1"
	delayed.Recipients[0].RetryUntil = testDate.Add(24 * time.Hour)
	fullUTF8 := international(t)
	fullUTF8.Full = true
	full8Bit := failed(t)
	full8Bit.Full, full8Bit.EightBit = true, true
	full8Bit.Original = []byte(strings.Replace(original, "\r\n\r\n", "\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n¿", 1))
	for _, c := range []struct {
		name string
		m    *Message
		utf8 bool
	}{
		{"delivered", succeeded(t, "Delivered: lunch", Delivered), false},
		{"expanded", succeeded(t, "Delivered: lunch", Expanded), false},
		{"relayed", succeeded(t, "Passed on: lunch", Relayed), false},
		{"full-8bit", full8Bit, false},
		{"failed", failed(t), false},
		{"full", full, false},
		{"delayed", delayed, false},
		{"international-7bit", international(t), false},
		{"international-utf8", international(t), true},
		{"international-full", fullUTF8, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.m.Compose(c.utf8)
			if err != nil {
				t.Fatal(err)
			}
			checkForm(t, got, c.utf8)
			name := "testdata/" + c.name + ".golden"
			if *update {
				if err := os.WriteFile(name, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs, run go test -update; got:\n%s", name, got)
			}
		})
	}
}

// checkForm checks what holds for all notifications: line breaks, line lengths,
// 7 bits, the fields of the header, and the number of parts.
func checkForm(t *testing.T, msg []byte, utf8 bool) {
	t.Helper()
	if hasOddLines(msg) || hasLongLine(msg) || bytes.IndexByte(msg, 0) >= 0 {
		t.Errorf("message has lines it must not have: %q", msg)
	}
	if !utf8 && !isASCII(string(msg)) && !strings.Contains(string(msg), "\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n") {
		t.Errorf("message is not 7-bit: %q", msg)
	}
	header := message.NewHeader(msg)
	if body := string(msg[len(header.Raw()):]); (header.Get("Content-Transfer-Encoding") == "8bit") == isASCII(body) {
		t.Errorf("message has 8 bits undeclared, or declares them in vain: %q", msg)
	}
	var names []string
	for f := range header.Fields() {
		names = append(names, f.Name)
	}
	once := slices.Compact(slices.Sorted(slices.Values(names)))
	allowed := strings.Fields("From To Subject Date Message-ID In-Reply-To References Auto-Submitted MIME-Version Content-Type Content-Transfer-Encoding")
	if len(once) != len(names) || slices.ContainsFunc(names, func(s string) bool { return !slices.Contains(allowed, s) }) {
		t.Errorf("got fields %q", names)
	}
	p, err := message.Parse(bytes.NewReader(msg), int64(len(msg)))
	if err != nil && len(p.Parts) < 3 {
		t.Errorf("parsing message: %v", err) // In a third part the original is what it is.
	}
	if p.Type != "MULTIPART" || p.Subtype != "REPORT" || len(p.Parts) < 2 || len(p.Parts) > 3 {
		t.Errorf("got %s/%s with %d parts", p.Type, p.Subtype, len(p.Parts))
	}
}

func TestComposeRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Message)
	}{
		{"no sender", func(m *Message) { m.From = smtp.Path{} }},
		{"a notification about a notification", func(m *Message) { m.To = smtp.Path{} }},
		{"no message-id", func(m *Message) { m.MessageID = "" }},
		{"no date", func(m *Message) { m.Date = time.Time{} }},
		{"no reporting MTA", func(m *Message) { m.ReportingMTA = dns.Domain{} }},
		{"no recipients", func(m *Message) { m.Recipients = nil }},
		{"a recipient without address", func(m *Message) { m.Recipients[0].Final = smtp.Path{} }},
		{"an unknown action", func(m *Message) { m.Recipients[0].Action = "lost" }},
	} {
		m := failed(t)
		c.change(m)
		if got, err := m.Compose(false); !errors.Is(err, ErrMessage) || got != nil {
			t.Errorf("%s: got error %v, want ErrMessage", c.name, err)
		}
	}
}

// TestFields changes one thing at a time, and looks for the line it makes. An
// empty line means that there is no field of the name in lack.
func TestFields(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		name   string
		change func(*Message)
		utf8   bool
		want   string
		lack   string
	}{
		{"a name for people", func(m *Message) { m.FromName = `Post "Master"` }, false, `From: "Post \"Master\"" <postmaster@mox.example.org>`, ""},
		{"a name with an encoded word is encoded again", func(m *Message) { m.FromName = "=?utf-8?q?x?=" }, true, "From: =?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3F=3D?= <postmaster@mox.example.org>", ""},
		{"a name of white space", func(m *Message) { m.FromName = " \r\n " }, false, `From: "Mail Delivery" <postmaster@mox.example.org>`, ""},
		{"a line break in the subject", func(m *Message) { m.Subject = "a\r\nBcc: <x@example.org>" }, false, "Subject: a Bcc: <x@example.org>", "\nBcc"},
		{"a line break of Unicode in the subject", func(m *Message) { m.Subject = "a\u2028b\u0085c" }, true, "Subject: a b c", ""},
		{"bytes that are not UTF-8", func(m *Message) { m.Subject = "a\xffb" }, true, "Subject: a\uFFFDb", ""},
		{"a subject without end", func(m *Message) { m.Subject = long }, false, " " + strings.Repeat("x", subjectMax), strings.Repeat("x", subjectMax+1)},
		{"no references", func(m *Message) { m.References = "" }, false, "Auto-Submitted: auto-replied", "In-Reply-To"},
		{"references without brackets", func(m *Message) { m.References = "one@example.org" }, false, "", "References"},
		{"references with white space", func(m *Message) { m.References = "<one@\r\nexample.org>" }, false, "", "References"},
		{"references that are too long", func(m *Message) { m.References = "<" + long + ">" }, false, "", "References"},
		{"references in UTF-8", func(m *Message) { m.References = "<é@example.org>" }, true, "References: <é@example.org>", ""},
		{"references in UTF-8, not allowed", func(m *Message) { m.References = "<é@example.org>" }, false, "", "References"},
		{"a message-id with brackets in it", func(m *Message) { m.MessageID = "a>b" }, false, "Message-ID: <a>", ""},

		{"no envelope id", func(m *Message) { m.EnvelopeID = "" }, false, "Reporting-MTA: dns; mox.example.org", "Original-Envelope-Id"},
		{"white space in an envelope id stays", func(m *Message) { m.EnvelopeID = "a  b" }, false, "Original-Envelope-Id: a  b", ""},
		{"an envelope id in 7 bits", func(m *Message) { m.EnvelopeID = "é" }, false, `Original-Envelope-Id: \x{E9}`, ""},
		{"no arrival", func(m *Message) { m.Arrival = time.Time{} }, false, "", "Arrival-Date"},
		{"a host name with a line break", func(m *Message) { m.ReceivedFromMTA = "a\r\n\r\nAction: delivered" }, false, "Received-From-MTA: dns; a Action: delivered", "\nAction: delivered"},

		{"a status that is none", func(m *Message) { m.Recipients[0].Status = "5.1" }, false, "Status: 5.0.0", ""},
		{"a status with leading zeros", func(m *Message) { m.Recipients[0].Status = "5.01.1" }, false, "Status: 5.0.0", ""},
		{"a status of another class", func(m *Message) { m.Recipients[0].Status = "3.1.1" }, false, "Status: 5.0.0", ""},
		{"success without status", func(m *Message) { m.Recipients[0].Status, m.Recipients[0].Action = "", Relayed }, false, "Status: 2.0.0", ""},
		{"nobody reached", func(m *Message) { m.Recipients[0].RemoteMTA, m.Recipients[0].RemoteIP = dns.Domain{}, "" }, false, "", "Remote-MTA"},
		{"only an address reached", func(m *Message) { m.Recipients[0].RemoteMTA, m.Recipients[0].RemoteIP = dns.Domain{}, "fe80::1%eth0" }, false, "Remote-MTA: dns; [IPv6:fe80::1]", ""},
		{"an address that is none", func(m *Message) { m.Recipients[0].RemoteIP = ")\r\n" }, false, "Remote-MTA: dns; mx.example.com\r\n", ""},
		{"no diagnostic", func(m *Message) { m.Recipients[0].Diagnostic = "" }, false, "", "Diagnostic-Code"},
		{"a diagnostic in 7 bits", func(m *Message) { m.Recipients[0].Diagnostic = "550 nö\x1b" }, false, `Diagnostic-Code: smtp; 550 n\x{F6}`, ""},
		{"a diagnostic without end", func(m *Message) { m.Recipients[0].Diagnostic = strings.Repeat(long, 3) }, false, " xxx", ""},
		{"no end of tries for a failure", func(m *Message) { m.Recipients[0].RetryUntil = testDate }, false, "", "Will-Retry-Until"},
		{"an ORCPT without type", func(m *Message) { m.Recipients[0].Original = "jane@example.com" }, false, "", "Original-Recipient"},
		{"an ORCPT of a strange type", func(m *Message) { m.Recipients[0].Original = "a b;jane" }, false, "", "Original-Recipient"},
		{"an ORCPT of type rfc822 in UTF-8", func(m *Message) { m.Recipients[0].Original = "rfc822;jané" }, false, `Original-Recipient: rfc822; jan\x{E9}`, ""},
		{"an ORCPT that hides a line break", func(m *Message) { m.Recipients[0].Original = `utf-8;a\x{0A}b` }, true, "Original-Recipient: utf-8; a b", ""},
		{"white space within quotes stays", func(m *Message) { m.Recipients[0].Final = parsePath(t, `"a  b"@example.com`) }, false, `Final-Recipient: rfc822; "a  b"@example.com`, ""},
		{"an address of UTF-8 that looks encoded", func(m *Message) { m.Recipients[0].Final = parsePath(t, `"é\\x{41}"@example.com`) }, true, `Final-Recipient: utf-8; "é\x{5C}\x{5C}x{41}"@example.com`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := failed(t)
			c.change(m)
			got, err := m.Compose(c.utf8)
			if err != nil {
				t.Fatal(err)
			}
			checkForm(t, got, c.utf8)
			if !strings.Contains(string(got), c.want) {
				t.Errorf("%q is not in %s", c.want, got)
			}
			if c.lack != "" && strings.Contains(string(got), c.lack) {
				t.Errorf("%q is in %s", c.lack, got)
			}
		})
	}
}

// TestAddressesOfHeader has senders and recipients that don't fit in a header.
func TestAddressesOfHeader(t *testing.T) {
	t.Parallel()
	long := smtp.Path{Localpart: smtp.Localpart(strings.Repeat("x", 1000)), IPDomain: dns.IPDomain{Domain: domain(t, "example.org")}}
	for _, c := range []struct {
		name string
		to   smtp.Path
		utf8 bool
		want string
	}{
		{"an address", parsePath(t, "mjl@example.org"), false, "<mjl@example.org>"},
		{"a quoted one", parsePath(t, `"m > l"@example.org`), false, `<"m > l"@example.org>`},
		{"the domain in ASCII", parsePath(t, "mjl@exämple.org"), false, "<mjl@xn--exmple-cua.org>"},
		{"the domain in Unicode", parsePath(t, "mjl@exämple.org"), true, "<mjl@exämple.org>"},
		{"a localpart that can't be in ASCII", parsePath(t, "mél@example.org"), false, "Internationalized Address =?utf-8?q?m=C3=A9l=40example=2Eorg?= Removed:;"},
		{"an address that is too long", long, true, "Internationalized Address =?utf-8?q?xxx"},
	} {
		m := failed(t)
		m.To = c.to
		got, err := m.Compose(c.utf8)
		if err != nil {
			t.Fatal(err)
		}
		checkForm(t, got, c.utf8)
		if to := message.NewHeader(got).Get("To"); !strings.HasPrefix(to, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, to, c.want)
		}
	}
}

// TestText looks at the part for people.
func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		utf8       bool
		want       part
	}{
		{"ASCII", "a\nb\n", false, part{"text/plain; charset=us-ascii", "", []byte("a\r\nb\r\n")}},
		{"no last line break", "a\r\nb", true, part{"text/plain; charset=us-ascii", "", []byte("a\r\nb\r\n")}},
		{"nothing", "", true, part{"text/plain; charset=us-ascii", "", nil}},
		{"control characters", "a\rb\x00c\n", false, part{"text/plain; charset=us-ascii", "", []byte("a b c\r\n")}},
		{"UTF-8", "é\n", true, part{"text/plain; charset=utf-8", "8bit", []byte("é\r\n")}},
		{"UTF-8 in 7 bits", "é\n", false, part{"text/plain; charset=utf-8", "quoted-printable", []byte("=C3=A9\r\n")}},
		{"the longest line", strings.Repeat("x", lineMax) + "\n", true, part{"text/plain; charset=us-ascii", "", []byte(strings.Repeat("x", lineMax) + "\r\n")}},
	} {
		got := textPart(c.text, c.utf8)
		if got.contentType != c.want.contentType || got.encoding != c.want.encoding || !bytes.Equal(got.body, c.want.body) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	got := textPart(strings.Repeat("x", lineMax+1)+"\n", true)
	if got.encoding != quotedPrintable || hasLongLine(got.body) {
		t.Errorf("got encoding %q of a long line", got.encoding)
	}
}

// TestOriginal looks at the part with what the sender sent.
func TestOriginal(t *testing.T) {
	t.Parallel()
	const header = "Subject: x\r\n\r\n"
	long := strings.Repeat("x", lineMax+1)
	for _, c := range []struct {
		name           string
		original       string
		full           bool
		utf8           bool
		typ, encoding  string
		bodyHasTheLast bool // The last word of original is in the part.
	}{
		{"the header section", header + "body", false, false, "text/rfc822-headers", "", false},
		{"all", header + "body", true, false, "message/rfc822", "", true},
		{"the longest line", header + long[1:] + "\r\nbody", true, false, "message/rfc822", "", true},
		{"too long a line", header + long + "\r\nbody", true, false, "text/rfc822-headers", "", false},
		{"a lone line feed", header + "a\nbody", true, false, "text/rfc822-headers", "", false},
		{"a lone carriage return", header + "a\rbody", true, false, "text/rfc822-headers", "", false},
		{"NUL", header + "a\x00 body", true, false, "text/rfc822-headers", "", false},
		{"too large", header + strings.Repeat("a\r\n", fullMax/3) + "body", true, false, "text/rfc822-headers", "", false},
		{"8 bits in the body, allowed", header + "\xe9 body", true, true, "message/rfc822", "8bit", true},
		{"8 bits in the body, not allowed", header + "\xe9 body", true, false, "text/rfc822-headers", "", false},
		{"UTF-8 in the header, allowed", "Subject: é\r\n\r\nbody", true, true, "message/global", "8bit", true},
		{"UTF-8 in the header, not allowed", "Subject: é\r\n\r\nbody", true, false, "message/global-headers", quotedPrintable, false},
		{"UTF-8 in a header section, allowed", "Subject: é\r\n\r\nbody", false, true, "message/global-headers", "8bit", false},
		{"8 bits that are not UTF-8", "Subject: \xe9\r\n\r\nbody", true, true, "text/rfc822-headers", quotedPrintable, false},
		{"a field that is too long", "Subject: " + long + "\r\n\r\nbody", true, true, "text/rfc822-headers", quotedPrintable, false},
		{"a field with NUL", "Subject: \x00\r\n\r\nbody", false, true, "text/rfc822-headers", quotedPrintable, false},
		{"a header section without body", "Subject: x\r\nX: last", false, false, "text/rfc822-headers", "", true},
		{"a header section without end", "Subject: " + strings.Repeat("x\r\n ", headersMax/4) + "\r\nX: last", false, false, "text/rfc822-headers", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := failed(t)
			m.Original, m.Full = []byte(c.original), c.full
			p := m.originalPart(c.utf8)
			if p.contentType != c.typ || p.encoding != c.encoding {
				t.Errorf("got %s in %q, want %s in %q", p.contentType, p.encoding, c.typ, c.encoding)
			}
			words := strings.Fields(c.original)
			if has := bytes.HasSuffix(bytes.TrimSpace(p.body), []byte(words[len(words)-1])); has != c.bodyHasTheLast {
				t.Errorf("got last word %t, want %t", has, c.bodyHasTheLast)
			}
			got, err := m.Compose(c.utf8)
			if err != nil {
				t.Fatal(err)
			}
			checkForm(t, got, c.utf8)
		})
	}
}

// TestOriginalEightBit has a path for 8 bits in bodies, and not in headers.
func TestOriginalEightBit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, original, typ, encoding string }{
		{"7 bits", "Subject: x\r\n\r\nbody", "message/rfc822", ""},
		{"8 bits in the body", "Subject: x\r\n\r\n\xe9", "message/rfc822", "8bit"},
		{"UTF-8 in the header", "Subject: é\r\n\r\nbody", "message/global-headers", quotedPrintable},
		{"8 bits in the header that are not UTF-8", "Subject: \xe9\r\n\r\nbody", "text/rfc822-headers", quotedPrintable},
	} {
		m := failed(t)
		m.Original, m.Full, m.EightBit = []byte(c.original), true, true
		if p := m.originalPart(false); p.contentType != c.typ || p.encoding != c.encoding {
			t.Errorf("%s: got %s in %q, want %s in %q", c.name, p.contentType, p.encoding, c.typ, c.encoding)
		}
		got, err := m.Compose(false)
		if err != nil {
			t.Fatal(err)
		}
		checkForm(t, got, false)
	}
}

// TestHeaderLines shows that nothing in a header section makes lines of its own.
func TestHeaderLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, msg, want string }{
		{"bare line feeds", "A: b\nC: d\n\nbody\n", "A: b\r\nC: d\r\n"},
		{"lone carriage returns", "A: b\rC: d\r\n\r\n", "A: b C: d\r\n"},
		{"whole fields", "A: b\r\nC: d\r\n " + strings.Repeat("x", headersMax), "A: b\r\n"},
		{"no header", "\r\nbody", ""},
	} {
		if got := string(headerLines([]byte(c.msg))); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestBoundary has a part with what the boundary would be.
func TestBoundary(t *testing.T) {
	t.Parallel()
	parts := []part{{body: []byte("a")}}
	first := boundary(parts)
	if again := boundary(parts); again != first {
		t.Errorf("got %q and %q for the same parts", first, again)
	}
	// A part can't hold the boundary it leads to, so the search is shown with a
	// part that holds what every boundary begins with.
	if got := boundary([]part{{body: []byte("--" + first)}}); got == first || strings.Contains(first, got) {
		t.Errorf("got %q, which is in a part", got)
	}
}

package smtp

import (
	"errors"
	"math"
	"strings"
	"testing"
)

var (
	strict   = ParseOptions{}
	tolerant = ParseOptions{Tolerant: true}
)

// outcome describes an error for the tables: empty if there is none.
func outcome(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	if !errors.As(err, &e) {
		return "not an *Error: " + err.Error()
	}
	return strings.Fields(e.Error())[0] + " " + e.Enhanced
}

func TestParseCommand(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ line, verb, args string }{
		{"NOOP", "NOOP", ""},
		{"noop", "NOOP", ""},
		{"Ehlo  x ", "EHLO", " x "},
		{"MAIL FROM:<>", "MAIL", "FROM:<>"},
		{"", "", ""},
		{" NOOP", "", "NOOP"},
		{"GET / HTTP/1.1", "GET", "/ HTTP/1.1"},
		{"N\x00P x", "", "N\x00P x"},
		{"\xff\xff", "", "\xff\xff"},
		{"EHLO\tx", "", "EHLO\tx"},
	} {
		if verb, args := ParseCommand(tc.line); verb != tc.verb || args != tc.args {
			t.Errorf("%q: got %q, %q", tc.line, verb, args)
		}
	}
}

func TestParseEHLO(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, args string
		opts       ParseOptions
		want, fail string
	}{
		{"a domain", "mx.example.org", strict, "mx.example.org", ""},
		{"one label", "localhost", strict, "localhost", ""},
		{"an IPv4 literal", "[10.0.0.1]", strict, "[10.0.0.1]", ""},
		{"an IPv6 literal", "[ipv6:2001:DB8::1]", strict, "[IPv6:2001:db8::1]", ""},
		{"nothing", "", strict, "", "501 5.5.4"},
		{"nothing, tolerant", "", tolerant, "", "501 5.5.4"},
		{"an address without brackets", "10.0.0.1", strict, "", "501 5.5.4"},
		{"an address without brackets, tolerant", "10.0.0.1", tolerant, "", ""},
		{"an underscore", "my_host", strict, "", "501 5.5.4"},
		{"an underscore, tolerant", "my_host", tolerant, "", ""},
		{"spaces around", " x.org ", strict, "", "501 5.5.4"},
		{"spaces around, tolerant", " x.org ", tolerant, "x.org", ""},
		{"two words", "my host", tolerant, "", "501 5.5.4"},
		{"an IPv4 address as IPv6", "[IPv6:10.0.0.1]", strict, "", "501 5.5.4"},
		{"an IPv6 address as IPv4", "[::1]", strict, "", "501 5.5.4"},
		{"a zone", "[IPv6:fe80::1%eth0]", strict, "", "501 5.5.4"},
		{"an open bracket", "[10.0.0.1", strict, "", "501 5.5.4"},
		{"beyond ASCII", "bücher.example", tolerant, "", "501 5.5.4"},
		{"a word of 255, tolerant", strings.Repeat("_", 255), tolerant, "", ""},
		{"a word of 256, tolerant", strings.Repeat("_", 256), tolerant, "", "501 5.5.4"},
	} {
		h, err := ParseEHLO(tc.args, tc.opts)
		if h.Name.String() != tc.want || outcome(err) != tc.fail || err == nil && h.Text != strings.TrimSpace(tc.args) {
			t.Errorf("%s: got %v, %q, %v", tc.name, h.Name, h.Text, err)
		}
	}
	if h, err := ParseHELO("x.org", strict); err != nil || h.Text != "x.org" {
		t.Errorf("HELO: %v, %v", h, err)
	}
}

func TestParseMailFrom(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64) + "@" + strings.Repeat(strings.Repeat("b", 61)+".", 3) + "bbb"
	for _, tc := range []struct {
		name, args string
		opts       ParseOptions
		want       MailFrom // Without path.
		path, fail string
	}{
		{"an address", "FROM:<a@x.org>", strict, MailFrom{Size: -1}, "a@x.org", ""},
		{"lower case", "from:<a@x.org>", strict, MailFrom{Size: -1}, "a@x.org", ""},
		{"the null path", "FROM:<>", strict, MailFrom{Size: -1}, "", ""},
		{"a literal", "FROM:<a@[10.0.0.1]>", strict, MailFrom{Size: -1}, "a@[10.0.0.1]", ""},
		{"a source route", "FROM:<@a.org,@b.org:c@x.org>", strict, MailFrom{Size: -1}, "c@x.org", ""},
		{"all parameters", "FROM:<a@x.org> SIZE=10 BODY=8bitmime smtputf8 AUTH=e+3Dmc2@example.com", strict, MailFrom{Size: 10, Body: "8BITMIME", SMTPUTF8: true, Auth: "e=mc2@example.com"}, "a@x.org", ""},
		{"an unknown user", "FROM:<> AUTH=<>", strict, MailFrom{Size: -1, Auth: "<>"}, "", ""},
		{"a size that fits no number", "FROM:<> SIZE=99999999999999999999", strict, MailFrom{Size: math.MaxInt64}, "", ""},
		{"a size of 21 digits", "FROM:<> SIZE=099999999999999999999", strict, MailFrom{}, "", "501 5.5.4"},
		{"a path of 256", "FROM:<" + long + ">", strict, MailFrom{Size: -1}, long, ""},
		{"a path of 257", "FROM:<" + long + "b>", strict, MailFrom{}, "", "501 5.1.7"},
		{"a localpart of 65", "FROM:<a" + long[:70] + ">", strict, MailFrom{}, "", "501 5.1.7"},
		{"a localpart of 65, tolerant", "FROM:<a" + long[:70] + ">", tolerant, MailFrom{Size: -1}, "a" + long[:70], ""},
		{"beyond ASCII with SMTPUTF8", "FROM:<é@x.org> SMTPUTF8", strict, MailFrom{Size: -1, SMTPUTF8: true}, "é@x.org", ""},
		{"beyond ASCII without SMTPUTF8", "FROM:<é@x.org>", strict, MailFrom{}, "", "553 5.6.7"},
		{"U-labels without SMTPUTF8", "FROM:<a@bücher.example>", tolerant, MailFrom{}, "", "553 5.6.7"},
		{"A-labels without SMTPUTF8", "FROM:<a@xn--bcher-kva.example>", strict, MailFrom{Size: -1}, "a@bücher.example", ""},

		{"nothing", "", strict, MailFrom{}, "", "501 5.1.7"},
		{"no colon", "FROM<a@x.org>", strict, MailFrom{}, "", "501 5.1.7"},
		{"RCPT's keyword", "TO:<a@x.org>", strict, MailFrom{}, "", "501 5.1.7"},
		{"a space behind the colon", "FROM: <a@x.org>", strict, MailFrom{}, "", "501 5.1.7"},
		{"a space behind the colon, tolerant", "FROM: <a@x.org>", tolerant, MailFrom{Size: -1}, "a@x.org", ""},
		{"two spaces before a parameter, tolerant", "FROM:<a@x.org>  SIZE=1 ", tolerant, MailFrom{Size: 1}, "a@x.org", ""},
		{"a space at the end", "FROM:<a@x.org> ", strict, MailFrom{}, "", "501 5.5.4"},
		{"no brackets", "FROM:a@x.org", strict, MailFrom{}, "", "501 5.1.7"},
		{"no brackets, tolerant", "FROM:a@x.org SIZE=1", tolerant, MailFrom{Size: 1}, "a@x.org", ""},
		{"nothing without brackets, tolerant", "FROM:", tolerant, MailFrom{}, "", "501 5.1.7"},
		{"dots at odd places", "FROM:<a..b.@x.org>", strict, MailFrom{}, "", "501 5.1.7"},
		{"dots at odd places, tolerant", "FROM:<a..b.@x.org>", tolerant, MailFrom{Size: -1}, `"a..b."@x.org`, ""},
		{"an open bracket", "FROM:<a@x.org", tolerant, MailFrom{}, "", "501 5.1.7"},
		{"no domain", "FROM:<postmaster>", tolerant, MailFrom{}, "", "501 5.1.7"},
		{"a domain that is none", "FROM:<a@-x.org>", tolerant, MailFrom{}, "", "501 5.1.7"},
		{"text behind the bracket", "FROM:<a@x.org>x", strict, MailFrom{}, "", "501 5.5.4"},
		{"a parameter twice", "FROM:<> SIZE=1 size=1", tolerant, MailFrom{}, "", "501 5.5.4"},
		{"an unknown parameter", "FROM:<> XFOO=1", tolerant, MailFrom{}, "", "555 5.5.4"},
		{"BINARYMIME", "FROM:<> BODY=BINARYMIME", tolerant, MailFrom{}, "", "501 5.5.4"},
		{"SIZE without number", "FROM:<> SIZE", strict, MailFrom{}, "", "501 5.5.4"},
		{"SIZE with an empty number", "FROM:<> SIZE=", strict, MailFrom{}, "", "501 5.5.4"},
		{"a negative SIZE", "FROM:<> SIZE=-1", strict, MailFrom{}, "", "501 5.5.4"},
		{"SMTPUTF8 with a value", "FROM:<> SMTPUTF8=1", strict, MailFrom{}, "", "501 5.5.4"},
		{"bad xtext", "FROM:<> AUTH=a+3d", strict, MailFrom{}, "", "501 5.5.4"},
		{"short xtext", "FROM:<> AUTH=a+3", strict, MailFrom{}, "", "501 5.5.4"},
		{"21 parameters", "FROM:<>" + strings.Repeat(" A", 21), strict, MailFrom{}, "", "501 5.5.4"},
	} {
		m, err := ParseMailFrom(tc.args, tc.opts)
		path := m.Path.String()
		m.Path = Path{}
		if m != tc.want || path != tc.path || outcome(err) != tc.fail {
			t.Errorf("%s: got %q, %+v, %v", tc.name, path, m, err)
		}
	}
}

func TestParseRcptTo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, args string
		opts       ParseOptions
		path, fail string
	}{
		{"an address", "TO:<a@x.org>", strict, "a@x.org", ""},
		{"postmaster", "TO:<PostMaster>", strict, "PostMaster", ""},
		{"postmaster at a domain", "TO:<postmaster@x.org>", strict, "postmaster@x.org", ""},
		{"a literal", "TO:<a@[IPv6:::1]>", strict, "a@[IPv6:::1]", ""},
		{"a source route", "TO:<@a.org:c@x.org>", strict, "c@x.org", ""},
		{"no brackets, tolerant", "TO: a@x.org", tolerant, "a@x.org", ""},

		{"the null path", "TO:<>", tolerant, "", "501 5.1.3"},
		{"another name without domain", "TO:<root>", tolerant, "", "501 5.1.3"},
		{"no domain without brackets", "TO:postmaster", tolerant, "", "501 5.1.3"},
		{"a source route without colon", "TO:<@a.org,c@x.org>", strict, "", "501 5.1.3"},
		{"MAIL's keyword", "FROM:<a@x.org>", strict, "", "501 5.1.3"},
		{"a parameter", "TO:<a@x.org> NOTIFY=NEVER", strict, "", "555 5.5.4"},
		{"a parameter without name", "TO:<a@x.org> =x", strict, "", "501 5.5.4"},
	} {
		r, err := ParseRcptTo(tc.args, tc.opts)
		if r.Path.String() != tc.path || outcome(err) != tc.fail || r.Unicode {
			t.Errorf("%s: got %+v, %v", tc.name, r, err)
		}
	}
	if r, err := ParseRcptTo("TO:<a@bücher.example>", strict); err != nil || !r.Unicode {
		t.Errorf("U-labels: got %+v, %v", r, err)
	}
}

func TestParseBDAT(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args string
		opts ParseOptions
		want Chunk
		fail string
	}{
		{"0", strict, Chunk{}, ""},
		{"86 LAST", strict, Chunk{86, true}, ""},
		{"86 last", strict, Chunk{86, true}, ""},
		{"99999999999999999999", strict, Chunk{math.MaxInt64, false}, ""},
		{" 1 ", tolerant, Chunk{1, false}, ""},
		{" 1", strict, Chunk{}, "501 5.5.4"},
		{"1 ", strict, Chunk{}, "501 5.5.4"},
		{"", strict, Chunk{}, "501 5.5.4"},
		{"-1", strict, Chunk{}, "501 5.5.4"},
		{"+1", strict, Chunk{}, "501 5.5.4"},
		{"0x10", strict, Chunk{}, "501 5.5.4"},
		{"1 FIRST", strict, Chunk{}, "501 5.5.4"},
		{"LAST", strict, Chunk{}, "501 5.5.4"},
	} {
		if c, err := ParseBDAT(tc.args, tc.opts); c != tc.want || outcome(err) != tc.fail {
			t.Errorf("%q: got %+v, %v", tc.args, c, err)
		}
	}
}

// FuzzCommand checks that what parses strictly parses the same when tolerant,
// that paths parse again from their written form, and that a refusal is safe to
// send.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		"EHLO [IPv6:::1]", "HELO x", "MAIL FROM:<a@x.org> SIZE=1 BODY=8BITMIME SMTPUTF8 AUTH=a+3D", "MAIL FROM:<@a,@b:\"c d\"@x.org>",
		"RCPT TO:<Postmaster>", "RCPT TO:<é@[10.0.0.1]> X=y", "BDAT 10 LAST", "BDAT 99999999999999999999",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		verb, args := ParseCommand(line)
		run := func(opts ParseOptions) (any, string, error) {
			switch verb {
			case "EHLO", "HELO":
				h, err := ParseEHLO(args, opts)
				return h, "", err
			case "MAIL":
				m, err := ParseMailFrom(args, opts)
				return m, "MAIL FROM:<" + m.Path.String() + "> SMTPUTF8", err
			case "RCPT":
				r, err := ParseRcptTo(args, opts)
				return r, "RCPT TO:<" + r.Path.String() + ">", err
			case "BDAT":
				c, err := ParseBDAT(args, opts)
				return c, "", err
			}
			return nil, "", nil
		}
		got, form, err := run(strict)
		lenient, _, lenientErr := run(tolerant)
		if err == nil && (lenientErr != nil || got != lenient) {
			t.Fatalf("%q: strict %v, tolerant %v, %v", line, got, lenient, lenientErr)
		}
		for _, err := range []error{err, lenientErr} {
			var e *Error
			if err == nil {
				continue
			}
			if !errors.As(err, &e) {
				t.Fatalf("%q: %v", line, err)
			}
			reply := AppendReply(nil, e.Code, e.Enhanced, e.Text)
			if n := strings.Count(string(reply), "\r\n"); n != 1 || len(reply) > replyLineMax+2 {
				t.Fatalf("%q: reply %q", line, reply)
			}
		}
		if err == nil && form != "" {
			_, args := ParseCommand(form)
			var path, again Path
			switch got := got.(type) {
			case MailFrom:
				m, err := ParseMailFrom(args, tolerant)
				path, again = got.Path, m.Path
				if err != nil {
					t.Fatalf("%q, written %q: %v", line, form, err)
				}
			case RcptTo:
				r, err := ParseRcptTo(args, tolerant)
				path, again = got.Path, r.Path
				if err != nil {
					t.Fatalf("%q, written %q: %v", line, form, err)
				}
			}
			if path != again {
				t.Fatalf("%q: path %v, written %q, read %v", line, path, form, again)
			}
		}
	})
}

func BenchmarkParseMailFrom(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseMailFrom("FROM:<someone@example.org> SIZE=10240 BODY=8BITMIME", strict); err != nil {
			b.Fatal(err)
		}
	}
}

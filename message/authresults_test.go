package message

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
)

// authResultsTests are fields in the form of their bytes and of their meaning.
// Written is how HeaderWriter has it, if not as in value.
var authResultsTests = []struct {
	name, value string
	want        AuthResults
}{
	// RFC 8601, appendix B, in its order.
	{"no authentication done", "example.org 1; none", AuthResults{ID: "example.org"}},
	{"one method", "example.com;\r\n          spf=pass smtp.mailfrom=example.net", AuthResults{"example.com", []AuthMethod{
		{Method: "spf", Result: "pass", Props: []AuthProp{{"smtp", "mailfrom", "example.net", ""}}},
	}}},
	{"two methods", "example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n spf=pass smtp.mailfrom=example.net", AuthResults{"example.com", []AuthMethod{
		{Method: "auth", Result: "pass", Comment: "cram-md5", Props: []AuthProp{{"smtp", "auth", "sender@example.net", ""}}},
		{Method: "spf", Result: "pass", Props: []AuthProp{{"smtp", "mailfrom", "example.net", ""}}},
	}}},
	{"iprev", "example.com; iprev=pass\r\n policy.iprev=192.0.2.200", AuthResults{"example.com", []AuthMethod{
		{Method: "iprev", Result: "pass", Props: []AuthProp{{"policy", "iprev", "192.0.2.200", ""}}},
	}}},
	{"reasons", "example.com;\r\n dkim=pass reason=\"good signature\"\r\n header.i=@mail-router.example.net;\r\n dkim=fail reason=\"bad signature\"\r\n header.i=@newyork.example.com", AuthResults{"example.com", []AuthMethod{
		{Method: "dkim", Result: "pass", Reason: "good signature", Props: []AuthProp{{"header", "i", "@mail-router.example.net", ""}}},
		{Method: "dkim", Result: "fail", Reason: "bad signature", Props: []AuthProp{{"header", "i", "@newyork.example.com", ""}}},
	}}},
	{"a very comment-heavy but perfectly legal example",
		"foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462",
		AuthResults{"foo.example.net", []AuthMethod{
			{Method: "dkim", Version: 1, Result: "fail", Comment: "Because I like it One yay wait for it", Props: []AuthProp{
				{"policy", "expired", "1362471462", "A dot can go here like that this surprised me as I wasn't expecting it"},
			}},
		}}},

	{"an experimental method", "example.com;\r\n foo=pass bar.baz=blob (2 of 3 tests OK)", AuthResults{"example.com", []AuthMethod{
		{Method: "foo", Result: "pass", Props: []AuthProp{{"bar", "baz", "blob", "2 of 3 tests OK"}}},
	}}},
	{"upper case", "Example.com; DKIM=Pass Header.D=Example.com", AuthResults{"Example.com", []AuthMethod{
		{Method: "dkim", Result: "pass", Props: []AuthProp{{"header", "d", "Example.com", ""}}},
	}}},
	{"a quoted name with what separates", `"exa;mple (x)" ; spf=none`, AuthResults{"exa;mple (x)", []AuthMethod{{Method: "spf", Result: "none"}}}},
	{"semicolons in comments and quotes", `a.example (b;) 1 (;); spf=fail (x; y \) z) reason="a;b \"c\"" smtp.helo=d`, AuthResults{"a.example", []AuthMethod{
		{Method: "spf", Result: "fail", Comment: "x; y ) z", Reason: `a;b "c"`, Props: []AuthProp{{"smtp", "helo", "d", ""}}},
	}}},
	{"a quoted local part", `a.example; spf=pass smtp.mailfrom="a b;"@b.example`, AuthResults{"a.example", []AuthMethod{
		{Method: "spf", Result: "pass", Props: []AuthProp{{"smtp", "mailfrom", `"a b;"@b.example`, ""}}},
	}}},
	{"an empty value", `a.example; spf=pass smtp.mailfrom="" smtp.helo=b`, AuthResults{"a.example", []AuthMethod{
		{Method: "spf", Result: "pass", Props: []AuthProp{{"smtp", "mailfrom", "", ""}, {"smtp", "helo", "b", ""}}},
	}}},

	// What isn't in the grammar.
	{"a semicolon at the end", "a.example; spf=pass;", AuthResults{"a.example", []AuthMethod{{Method: "spf", Result: "pass"}}}},
	{"values without quotes", "a.example; dkim=pass header.b=a/b+c=; spf=pass smtp.mailfrom=<>", AuthResults{"a.example", []AuthMethod{
		{Method: "dkim", Result: "pass", Props: []AuthProp{{"header", "b", "a/b+c=", ""}}},
		{Method: "spf", Result: "pass", Props: []AuthProp{{"smtp", "mailfrom", "<>", ""}}},
	}}},
	{"properties without type", "a.example; dmarc=fail action=none header.from=b.example;compauth=pass reason=100", AuthResults{"a.example", []AuthMethod{
		{Method: "dmarc", Result: "fail", Props: []AuthProp{{"", "action", "none", ""}, {"header", "from", "b.example", ""}}},
		{Method: "compauth", Result: "pass", Reason: "100"},
	}}},
	{"8 bits", "bücher.example; dkim=pass header.d=bücher.example (\xff)", AuthResults{"bücher.example", []AuthMethod{
		{Method: "dkim", Result: "pass", Props: []AuthProp{{"header", "d", "bücher.example", "\ufffd"}}},
	}}},
	{"none after others", "a.example; spf=pass; none", AuthResults{"a.example", []AuthMethod{{Method: "spf", Result: "pass"}}}},
}

func TestParseAuthResults(t *testing.T) {
	t.Parallel()
	for _, tc := range authResultsTests {
		got, err := ParseAuthResults(Field{Raw: []byte("X:" + tc.value)}.Value())
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, %v", tc.name, got, err)
		}
		var w HeaderWriter
		w.AuthResults(tc.want)
		if again, err := ParseAuthResults(Field{Raw: w.Bytes()}.Value()); err != nil || !reflect.DeepEqual(again, tc.want) {
			t.Errorf("%s: written as %q, and read as %+v, %v", tc.name, w.Bytes(), again, err)
		}
	}
}

func TestParseAuthResultsErrors(t *testing.T) {
	t.Parallel()
	pass := []AuthMethod{{Method: "spf", Result: "pass"}}
	many := "a.example" + strings.Repeat("; spf=pass", authMethodsMax+1)
	for _, tc := range []struct {
		name, value, want string
		left              []AuthMethod // What is read nevertheless.
	}{
		{"nothing", "", "offset 0: need who says it", nil},
		{"only a comment", "(a)", "need who says it", nil},
		{"an unknown version", "a.example 2; spf=pass", "need who says it", nil},
		{"a result at the start", "spf=pass; dkim=pass", "need who says it", nil},
		{"no result", "a.example; spf; spf=pass", "offset 14: need =", pass},
		{"a result without name", "a.example; =pass; spf=pass", "offset 11: need a method", pass},
		{"an empty result", "a.example; spf=; spf=pass", "offset 15: need a result", pass},
		{"a bad version of a method", "a.example; dkim/x=pass; spf=pass", "need the version of a method", pass},
		{"a property without value", "a.example; spf=pass; spf=pass smtp.mailfrom; dkim", "offset 43: need =", pass},
		{"a property without name", "a.example; spf=pass; spf=pass smtp.=a", "need the name of a property", pass},
		{"a property without type", "a.example; spf=pass; spf=pass .a=a", "need the type of a property", pass},
		{"rubbish with a semicolon within", `a.example; spf=pass; x=y !";" (;)`, "need the name of a property", pass},
		{"a name without end", "a.example; spf=pass; " + strings.Repeat("a", authKeywordMax+1) + "=pass", "need =", pass},
		{"too many properties", "a.example; spf=pass; spf=pass" + strings.Repeat(" a.b=c", authPropsMax+1), "need fewer properties", pass},
		{"too large", "a.example; spf=pass " + strings.Repeat(" ", authResultsSizeMax), "65556 bytes", nil},
	} {
		got, err := ParseAuthResults(tc.value)
		if !errors.Is(err, ErrAuthResults) || !strings.Contains(err.Error(), tc.want) || !reflect.DeepEqual(got.Methods, tc.left) {
			t.Errorf("%s: got %+v, %v", tc.name, got, err)
		}
	}
	if got, err := ParseAuthResults(many); err == nil || len(got.Methods) != authMethodsMax {
		t.Errorf("got %d results, %v", len(got.Methods), err)
	}
}

func TestAuthResultsWritten(t *testing.T) {
	t.Parallel()
	d, err := dns.ParseDomain("bücher.example")
	if err != nil {
		t.Fatal(err)
	}
	var w HeaderWriter
	w.AuthResults(AuthResults{"mail.example.org", []AuthMethod{
		{Method: "iprev", Result: "fail", Props: []AuthProp{{"policy", "iprev", "2001:db8::1", ""}}},
		{
			Method: "dkim", Result: "pass", Comment: "2048 bit rsa, (nested) \r\n dnssec",
			Props: []AuthProp{AuthDomain("header", "d", d, true), AuthDomain("header", "d", d, false), {"header", "b", "ab/d+4=", ""}},
		},
		{Method: "spf", Result: "temperror", Reason: "lookup of \"x\"\r\nBcc: failed", Props: []AuthProp{{"smtp", "mailfrom", "", ""}}},
		{Method: "dmarc", Result: "none", Reason: strings.Repeat(`"`, 2*authTextMax)},
	}})
	w.Field("X")
	want := strings.ReplaceAll(`Authentication-Results: mail.example.org; iprev=fail
 policy.iprev="2001:db8::1"; dkim=pass (2048 bit rsa, \(nested\) dnssec)
 header.d=xn--bcher-kva.example (bücher.example)
 header.d=xn--bcher-kva.example header.b="ab/d+4="; spf=temperror
 reason="lookup of \"x\" Bcc: failed" smtp.mailfrom=""; dmarc=none
 reason="`+strings.Repeat(`\"`, authTextMax)+`"
X:
`, "\n", "\r\n")
	if got := string(w.Bytes()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestAuthResultsID(t *testing.T) {
	t.Parallel()
	host := dns.Domain{ASCII: "mail.example.org"}
	for _, tc := range []struct{ name, field, want string }{
		{"ours", "Authentication-Results: mail.example.org; none", "mail.example.org"},
		{"in other case", "AUTHENTICATION-results : Mail.Example.ORG;none", "mail.example.org"},
		{"with a dot", "Authentication-Results: mail.example.org.; none", "mail.example.org"},
		{"quoted, with comments, folded", "Authentication-Results:\r\n (a;\r\n (b)) \"mail.\\example.org\" (c); none", "mail.example.org"},
		{"of an unknown version", "Authentication-Results: mail.example.org 17; none", "mail.example.org"},
		{"without a result", "Authentication-Results: mail.example.org", "mail.example.org"},
		{"of another", "Authentication-Results: mail.example.com; none", "mail.example.com"},
		{"beyond ASCII", "Authentication-Results: Bücher.example; none", "xn--bcher-kva.example"},
		{"no name", "Authentication-Results: A_B; none", "a_b"},
		{"nothing", "Authentication-Results:", ""},
		{"another field", "ARC-Authentication-Results: mail.example.org; none", ""},
	} {
		h := NewHeader([]byte(tc.field + "\r\n"))
		for f := range h.Fields() {
			if got := AuthResultsID(f); got != tc.want {
				t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
			}
		}
		forged := 0
		if tc.want == host.ASCII {
			forged = 1
		}
		if got := ForgedAuthResults(h, host); got != forged {
			t.Errorf("%s: got %d forged fields, want %d", tc.name, got, forged)
		}
	}
}

// FuzzParseAuthResults checks that what was read, even only in part, is read again
// in the same way from what is written of it, and that nothing gets out of its field.
func FuzzParseAuthResults(f *testing.F) {
	for _, tc := range authResultsTests {
		f.Add(tc.value)
	}
	f.Add("a;b=c(\\")
	f.Add("a;b=c \"\\\"@d")
	f.Fuzz(func(t *testing.T, value string) {
		a, err := ParseAuthResults(value)
		if a.ID == "" {
			if err == nil || a.Methods != nil {
				t.Fatalf("got %+v without an error", a)
			}
			return
		}
		var w HeaderWriter
		w.AuthResults(a)
		raw := w.Bytes()
		for line := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\r\n"), "\r\n") {
			if len(line) > lineLenMax || strings.ContainsAny(line, "\r\n") {
				t.Fatalf("bad line %q", line)
			}
		}
		if n := len(strings.Split(string(raw), "\r\n")) - 2; strings.Count(string(raw), "\r\n ") != n {
			t.Fatalf("got out of the field: %q", raw)
		}
		again, err := ParseAuthResults(Field{Raw: raw}.Value())
		if err != nil || !reflect.DeepEqual(again, a) {
			t.Fatalf("%q\nread as %+v\nwritten as %q\nread as %+v, %v", value, a, raw, again, err)
		}
	})
}

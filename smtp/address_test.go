package smtp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mjl-/mox/dns"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in  string
		localpart Localpart // Empty: refused, unless want is set.
		want      string    // String of the address.
	}{
		{"a simple address", "user@example.org", "user", "user@example.org"},
		{"case of the localpart is kept", "User@Example.ORG", "User", "User@example.org"},
		{"all special characters of an atom", "!#$%&'*+-/=?^_`{|}~@x.org", "!#$%&'*+-/=?^_`{|}~", "!#$%&'*+-/=?^_`{|}~@x.org"},
		{"dots", "a.b.c@x.org", "a.b.c", "a.b.c@x.org"},
		{"needless quotes", `"user"@x.org`, "user", "user@x.org"},
		{"a space in quotes", `"a b"@x.org`, "a b", `"a b"@x.org`},
		{"escapes", `"a\"b\\c\d"@x.org`, `a"b\cd`, `"a\"b\\cd"@x.org`},
		{"an @ in quotes", `"a@b"@x.org`, "a@b", `"a@b"@x.org`},
		{"an empty localpart in quotes", `""@x.org`, "", `""@x.org`},
		{"dots that need quotes", `".a..b."@x.org`, ".a..b.", `".a..b."@x.org`},
		{"characters beyond ASCII", "jürgen@bücher.example", "jürgen", "jürgen@bücher.example"},
		{"A-labels", "x@xn--bcher-kva.example", "x", "x@bücher.example"},
		{"a localpart of 64", strings.Repeat("a", 64) + "@x.org", Localpart(strings.Repeat("a", 64)), strings.Repeat("a", 64) + "@x.org"},

		{"a localpart of 65", strings.Repeat("a", 65) + "@x.org", "", ""},
		{"nothing", "", "", ""},
		{"no domain", "user", "", ""},
		{"an empty domain", "user@", "", ""},
		{"no localpart", "@x.org", "", ""},
		{"a dot first", ".a@x.org", "", ""},
		{"a dot last", "a.@x.org", "", ""},
		{"two dots", "a..b@x.org", "", ""},
		{"a space", "a b@x.org", "", ""},
		{"a control character in quotes", "\"a\tb\"@x.org", "", ""},
		{"an escaped control character", "\"a\\\tb\"@x.org", "", ""},
		{"an open quote", `"a@x.org`, "", ""},
		{"an escape at the end", `"a\`, "", ""},
		{"text behind", "a@x.org b", "", ""},
		{"brackets", "<a@x.org>", "", ""},
		{"a literal", "a@[10.0.0.1]", "", ""},
		{"bad UTF-8", "a\xff@x.org", "", ""},
		{"half a character", "a\xc3@x.org", "", ""},
		{"two addresses", "a@x.org@y.org", "", ""},
	} {
		a, err := ParseAddress(tc.in)
		if a.Localpart != tc.localpart || a.String() != tc.want || (err == nil) != (tc.want != "") || err != nil && !errors.Is(err, ErrAddress) {
			t.Errorf("%s: got %q, %q, %v", tc.name, a.Localpart, a.String(), err)
		}
	}
}

func TestParseLocalpart(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Localpart{"user": "user", `"a b"`: "a b", "é": "é"} {
		if lp, err := ParseLocalpart(in); err != nil || lp != want {
			t.Errorf("%s: got %q, %v", in, lp, err)
		}
	}
	for _, in := range []string{"", "a@b", "a b", `"a`, "a\r\n"} {
		if lp, err := ParseLocalpart(in); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: got %q, %v", in, lp, err)
		}
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	domain, err := dns.ParseDomain("bücher.example")
	if err != nil {
		t.Fatal(err)
	}
	at := func(lp Localpart, d dns.IPDomain) Path { return Path{Localpart: lp, IPDomain: d} }
	for _, tc := range []struct {
		name        string
		path        Path
		utf8, ascii string
		isAddress   bool
	}{
		{"null", Path{}, "", "", false},
		{"postmaster", at("postmaster", dns.IPDomain{}), "postmaster", "postmaster", false},
		{"a domain", at("a b", dns.IPDomain{Domain: domain}), `"a b"@bücher.example`, `"a b"@xn--bcher-kva.example`, true},
		{"IPv4", at("a", dns.IPDomain{IP: netip.MustParseAddr("10.0.0.1")}), "a@[10.0.0.1]", "a@[10.0.0.1]", false},
		{"IPv6", at("a", dns.IPDomain{IP: netip.MustParseAddr("::1")}), "a@[IPv6:::1]", "a@[IPv6:::1]", false},
	} {
		a, ok := tc.path.Address()
		if tc.path.String() != tc.utf8 || tc.path.XString(false) != tc.ascii || ok != tc.isAddress || ok && a.Path() != tc.path {
			t.Errorf("%s: got %q, %q, %v", tc.name, tc.path.String(), tc.path.XString(false), ok)
		}
	}
	if !(Path{}).IsZero() || !(Address{}).IsZero() || at("é", dns.IPDomain{}).IsASCII() || !at("e", dns.IPDomain{}).IsASCII() || (Address{}).String() != "" {
		t.Error("zero values or ASCII")
	}
}

// FuzzParseAddress checks that an address and its written form are the same,
// and that the form holds nothing that could end a line or a path.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"user@example.org", `"a\"b c"@x.org`, "jürgen@bücher.example", `""@x`, `"\>\<"@x.org`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		for _, form := range []string{a.String(), a.XString(false)} {
			if again, err := ParseAddress(form); err != nil || again != a {
				t.Fatalf("%q parsed to %v, its form %q to %v, %v", s, a, form, again, err)
			}
			if strings.ContainsAny(form, "\r\n\x00\t\x7f") || !utf8.ValidString(form) {
				t.Fatalf("%q has the form %q", s, form)
			}
			if r, err := ParseRcptTo("TO:<"+form+">", ParseOptions{}); err != nil || r.Path != a.Path() {
				t.Fatalf("%q as recipient: %v, %v", form, r, err)
			}
		}
	})
}

package dns

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseDomain(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", labelSizeMax)
	longest := label + "." + label + "." + label + "." + strings.Repeat("a", 61)
	for _, tc := range []struct {
		name, in       string
		ascii, unicode string // Both empty: refused.
	}{
		{"a simple name", "example.org", "example.org", ""},
		{"one label", "localhost", "localhost", ""},
		{"upper case", "Example.ORG", "example.org", ""},
		{"digits and hyphens", "3-com.9x.a1", "3-com.9x.a1", ""},
		{"hyphens in third and fourth place", "r3---sn.example", "r3---sn.example", ""},
		{"the Unicode form", "bücher.example", "xn--bcher-kva.example", "bücher.example"},
		{"the Unicode form in upper case", "BÜCHER.example", "xn--bcher-kva.example", "bücher.example"},
		{"the ASCII form", "xn--bcher-kva.example", "xn--bcher-kva.example", "bücher.example"},
		{"the ASCII form in upper case", "XN--BCHER-KVA.example", "xn--bcher-kva.example", "bücher.example"},
		{"a decomposed character", "bu\u0308cher.example", "xn--bcher-kva.example", "bücher.example"},
		{"full width dots", "a。example", "a.example", ""},
		{"right to left", "דוגמה.example", "xn--6dbbec0c.example", "דוגמה.example"},
		{"the longest label", label + ".org", label + ".org", ""},
		{"the longest name", longest, longest, ""},

		{"nothing", "", "", ""},
		{"a label of 64", label + "a.org", "", ""},
		{"a name of 254", longest + "a", "", ""},
		{"far too long", strings.Repeat("é.", 10000), "", ""},
		{"a dot at the end", "example.org.", "", ""},
		{"a dot at the start", ".example.org", "", ""},
		{"two dots", "example..org", "", ""},
		{"only a dot", ".", "", ""},
		{"a hyphen at the start", "-a.org", "", ""},
		{"a hyphen at the end", "a-.org", "", ""},
		{"an underscore", "_dmarc.example.org", "", ""},
		{"a space", "exa mple.org", "", ""},
		{"a line end", "example.org\r\n", "", ""},
		{"NUL", "a\x00.org", "", ""},
		{"bad UTF-8", "b\xff.org", "", ""},
		{"bad punycode", "xn--\x7f.org", "", ""},
		{"punycode of ASCII", "xn--abc-.org", "", ""},
		{"punycode of upper case", "xn--BCHER-kva8e.org", "", ""},
		{"an IPv4 address", "10.0.0.1", "", ""},
		{"an IPv6 address", "2001:db8::1", "", ""},
		{"a number in Unicode digits", "example.１２", "", ""},
		{"mixed directions", "aא.example", "", ""},
	} {
		d, err := ParseDomain(tc.in)
		if d != (Domain{tc.ascii, tc.unicode}) || (err == nil) != (tc.ascii != "") || err != nil && !errors.Is(err, ErrDomain) {
			t.Errorf("%s: got %q, %q, %v", tc.name, d.ASCII, d.Unicode, err)
		}
	}
}

func TestParseConfigDomain(t *testing.T) {
	t.Parallel()
	if d, err := ParseConfigDomain("bücher.example"); err != nil || d.ASCII != "xn--bcher-kva.example" {
		t.Errorf("got %v, %v", d, err)
	}
	if d, err := ParseConfigDomain("example.org"); err != nil || d.ASCII != "example.org" {
		t.Errorf("got %v, %v", d, err)
	}
	if _, err := ParseConfigDomain("xn--bcher-kva.example"); !errors.Is(err, ErrASCIIForm) || !strings.Contains(err.Error(), "bücher.example") {
		t.Errorf("got error %v", err)
	}
	if _, err := ParseConfigDomain("no such"); !errors.Is(err, ErrDomain) {
		t.Errorf("got error %v", err)
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	d, err := ParseDomain("bücher.example")
	if err != nil {
		t.Fatal(err)
	}
	plain := Domain{ASCII: "example.org"}
	for _, tc := range []struct{ name, got, want string }{
		{"readable name", d.Name(), "bücher.example"},
		{"name with UTF-8", d.XName(true), "bücher.example"},
		{"name without UTF-8", d.XName(false), "xn--bcher-kva.example"},
		{"both for a log", d.String(), "bücher.example/xn--bcher-kva.example"},
		{"ASCII name", plain.Name(), "example.org"},
		{"ASCII name with UTF-8", plain.XName(true), "example.org"},
		{"ASCII for a log", plain.String(), "example.org"},
		{"IPv4 literal", IPDomain{IP: netip.MustParseAddr("10.0.0.1")}.String(), "[10.0.0.1]"},
		{"IPv6 literal", IPDomain{IP: netip.MustParseAddr("2001:db8::1")}.XString(true), "[IPv6:2001:db8::1]"},
		{"domain of an IPDomain", IPDomain{Domain: d}.XString(false), "xn--bcher-kva.example"},
		{"domain of an IPDomain for a log", IPDomain{Domain: d}.String(), d.String()},
		{"nothing", IPDomain{}.String(), ""},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, tc.got, tc.want)
		}
	}
	if d.IsZero() || !(Domain{}).IsZero() || !(IPDomain{}).IsZero() || (IPDomain{Domain: d}).IsIP() {
		t.Error("zero values")
	}
}

// FuzzParseDomain checks that each form of a parsed name parses to the same
// name, and that the ASCII form is safe to send anywhere.
func FuzzParseDomain(f *testing.F) {
	for _, s := range []string{"example.org", "BÜCHER.example", "xn--bcher-kva.example", "a.1", "ﬁ.example", "xn--a", "ß.de", "a\u200cb.x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDomain(s)
		if err != nil {
			if !d.IsZero() {
				t.Fatalf("%q: %v with error %v", s, d, err)
			}
			return
		}
		if len(d.ASCII) > domainSizeMax || checkSyntax(d.ASCII) != nil || !utf8.ValidString(d.Unicode) || d.Unicode == d.ASCII {
			t.Fatalf("%q parsed to %q, %q", s, d.ASCII, d.Unicode)
		}
		for _, form := range []string{d.ASCII, d.Name(), strings.ToUpper(d.ASCII)} {
			if again, err := ParseDomain(form); err != nil || again != d {
				t.Fatalf("%q parsed to %v, its form %q to %v, %v", s, d, form, again, err)
			}
		}
	})
}

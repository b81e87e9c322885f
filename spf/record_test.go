package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// describe returns what a record means, in one line.
func describe(r Record) string {
	var words []string
	for _, d := range r.Directives {
		s := string(d.Qualifier) + " " + d.Mechanism
		switch d.Mechanism {
		case mechanismIP4, mechanismIP6:
			s += " " + d.Network.String()
		case mechanismA, mechanismMX:
			s += fmt.Sprintf(" %s/%d/%d", d.Domain, d.Bits4, d.Bits6)
		case mechanismAll:
		default:
			s += " " + d.Domain.String()
		}
		words = append(words, strings.TrimSpace(s))
	}
	if !r.Redirect.IsZero() {
		words = append(words, "redirect "+r.Redirect.String())
	}
	if !r.Explanation.IsZero() {
		words = append(words, "explanation "+r.Explanation.String())
	}
	for _, m := range r.Modifiers {
		words = append(words, m.Name+" is "+m.Value)
	}
	return strings.Join(words, ", ")
}

// TestParseRecord has records of RFC 7208, and others.
func TestParseRecord(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", "v=spf1", ""},
		{"spaces only", "v=spf1   ", ""},
		{"section 3.1", "v=spf1 +mx a:colo.example.com/28 -all", "pass mx /32/128, pass a colo.example.com/28/128, fail all"},
		{"section 3.5", "v=spf1 a:A.EXAMPLE.COM -all", "pass a A.EXAMPLE.COM/32/128, fail all"},
		{"section 4.7", "v=spf1 +mx redirect=_spf.example.com", "pass mx /32/128, redirect _spf.example.com"},
		{"section 5.2", "v=spf1 include:example.com include:example.org -all", "pass include example.com, pass include example.org, fail all"},
		{"section 5.7", "v=spf1 exists:%{ir}.%{l1r+-}._spf.%{d} -all", "pass exists %{ir}.%{l1r+-}._spf.%{d}, fail all"},
		{"section 6.2", "v=spf1 mx -all exp=explain._spf.%{d}", "pass mx /32/128, fail all, explanation explain._spf.%{d}"},
		{"section 7.3", "v=spf1 -exists:%{ir}.sbl.example.org", "fail exists %{ir}.sbl.example.org"},
		{"appendix A.4", "v=spf1 mx/26 exists:%{l}._spf.%{d} -all", "pass mx /26/128, pass exists %{l}._spf.%{d}, fail all"},
		{"all qualifiers and mechanisms", "v=spf1 +a -mx ~ptr ?ip4:192.0.2.7/24 ip6:2001:DB8::7/32 all", "pass a /32/128, fail mx /32/128, softfail ptr, neutral ip4 192.0.2.0/24, pass ip6 2001:db8::/32, pass all"},
		{"upper case", "V=SPF1 +MX -ALL REDIRECT=a.example EXP=b.example", "pass mx /32/128, fail all, redirect a.example, explanation b.example"},
		{"both prefix lengths", "v=spf1 a/24//64 mx//0 a:a.example/0//128", "pass a /24/64, pass mx /32/0, pass a a.example/0/128"},
		{"slashes in a domain", "v=spf1 a:a/24.b//c.example/8", "pass a a/24.b//c.example/8/128"},
		{"a dot at the end", "v=spf1 ptr:a.example. include:%{d}.example.", "pass ptr a.example., pass include %{d}.example."},
		{"addresses without prefix lengths", "v=spf1 ip4:192.0.2.7 ip6:::1.2.3.4", "pass ip4 192.0.2.7/32, pass ip6 ::102:304/128"},
		{"unknown modifiers", "v=spf1 x.y-z_1=%{l}:/= ra=postmaster rp= -all", "fail all, x.y-z_1 is %{l}:/=, ra is postmaster, rp is "},
		{"a domain that is a macro", "v=spf1 include:%{d} exists:a%% a:%{D4r.-+,/_=}", "pass include %{d}, pass exists a%%, pass a %{D4r.-+,/_=}/32/128"},
		{"a number of parts beyond all", "v=spf1 include:%{d99999999999999999999}", "pass include %{d99999999999999999999}"},
		{"a top label with digits and hyphens", "v=spf1 a:x.1a-2", "pass a x.1a-2/32/128"},
	} {
		r, err := ParseRecord(tc.text)
		if got := describe(r); err != nil || got != tc.want {
			t.Errorf("%s: got %s, %v, want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text   string
		offset int // From 1, as in the message.
		reason string
	}{
		{"", 1, "v=spf1"},
		{"v=spf10", 1, "v=spf1"},
		{"v=spf1\t-all", 1, "v=spf1"},
		{"v=spf1 mx moo", 11, "unknown mechanism"},
		{"v=spf1 -", 9, "unknown mechanism"},
		{"v=spf1 --all", 9, "unknown mechanism"},
		{"v=spf1 all.", 8, "unknown mechanism"},
		{"v=spf1 -all:x", 12, "argument"},
		{"v=spf1 all/8", 11, "argument"},
		{"v=spf1 include", 15, "without a domain"},
		{"v=spf1 include:", 16, "no domain"},
		{"v=spf1 exists/8", 14, "without a domain"},
		{"v=spf1 ptr/8", 11, "without a domain"},
		{"v=spf1 a:foo", 10, "top level"},
		{"v=spf1 a:foo.12", 10, "top level"},
		{"v=spf1 a:foo.-x", 10, "top level"},
		{"v=spf1 a:foo.x-", 10, "top level"},
		{"v=spf1 a:foo..", 10, "top level"},
		{"v=spf1 a:%{d}com", 10, "top level"},
		{"v=spf1 a:a.example:8080", 10, "top level"},
		{"v=spf1 a/33", 9, "prefix length"},
		{"v=spf1 a/024", 9, "prefix length"},
		{"v=spf1 a//129", 9, "prefix length"},
		{"v=spf1 a/99999999999999999999", 9, "prefix length"},
		{"v=spf1 a/", 9, "without a domain"},
		{"v=spf1 a//64/24", 9, "without a domain"},
		{"v=spf1 ip4", 11, "without a network"},
		{"v=spf1 ip4:1.2.3", 12, "address"},
		{"v=spf1 ip4:1.2.3.04", 12, "address"},
		{"v=spf1 ip4:1.2.3.4/", 11, "no prefix length"},
		{"v=spf1 ip4:1.2.3.4/33", 11, "prefix length"},
		{"v=spf1 ip4:1.2.3.4/+3", 11, "prefix length"},
		{"v=spf1 ip4:::1", 12, "address"},
		{"v=spf1 ip6:1.2.3.4", 12, "address"},
		{"v=spf1 ip6:fe80::1%eth0", 12, "address"},
		{"v=spf1 =x", 8, "name of modifier"},
		{"v=spf1 1up=x", 8, "name of modifier"},
		{"v=spf1 x=%a", 10, "begins no macro"},
		{"v=spf1 x=a%{l", 11, "begins no macro"},
		{"v=spf1 x=%{}", 10, "without letter"},
		{"v=spf1 x=%{1}", 10, "unknown macro"},
		{"v=spf1 x=%{a}", 10, "unknown macro"},
		{"v=spf1 x=%{\x13}", 10, "unknown macro"},
		{"v=spf1 x=%{t}", 10, "outside of an explanation"},
		{"v=spf1 x=%{l0}", 10, "no parts"},
		{"v=spf1 x=%{l2x}", 10, "delimiter"},
		{"v=spf1 x=%{lr2}", 10, "delimiter"},
		{"v=spf1 redirect=a.example redirect=b.example", 27, "second redirect"},
		{"v=spf1 exp=a.example EXP=a.example", 22, "second exp"},
		{"v=spf1 redirect:a.example", 8, "unknown mechanism"},
		{"v=spf1 redirect=", 17, "no domain"},
		{"v=spf1 a:\x80.example", 10, "character"},
		{"v=spf1 a:a\tb.example", 11, "character"},
		{"v=spf1 mx\t-all", 8, "unknown mechanism"},
	} {
		_, err := ParseRecord(tc.text)
		e, ok := errors.AsType[*SyntaxError](err)
		if !ok || e.Offset+1 != tc.offset || !strings.Contains(e.Reason, tc.reason) {
			t.Errorf("%q: got %v, want %q at byte %d", tc.text, err, tc.reason, tc.offset)
		}
		for _, c := range fmt.Sprint(err) {
			if c < ' ' || c > '~' {
				t.Errorf("%q: error with character %q", tc.text, c)
			}
		}
	}
}

// rfcCheck is the message of the examples in RFC 7208, section 7.4.
func rfcCheck(ip string) *check {
	return &check{
		ip: netip.MustParseAddr(ip), localpart: "strong-bad", senderDomain: "email.example.com",
		hello: "mx.example.org", receiver: "unknown", namesKnown: true, names: []string{"mx.example.org."},
	}
}

func TestMacros(t *testing.T) {
	t.Parallel()
	const v4, v6 = "192.0.2.3", "2001:db8::cb01"
	for _, tc := range []struct{ ip, macros, want string }{
		{v4, "%{s}", "strong-bad@email.example.com"},
		{v4, "%{o}", "email.example.com"},
		{v4, "%{d}", "email.example.com"},
		{v4, "%{d4}", "email.example.com"},
		{v4, "%{d3}", "email.example.com"},
		{v4, "%{d2}", "example.com"},
		{v4, "%{d1}", "com"},
		{v4, "%{dr}", "com.example.email"},
		{v4, "%{d2r}", "example.email"},
		{v4, "%{l}", "strong-bad"},
		{v4, "%{l-}", "strong.bad"},
		{v4, "%{lr}", "strong-bad"},
		{v4, "%{lr-}", "bad.strong"},
		{v4, "%{l1r-}", "strong"},
		{v4, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{v4, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{v4, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{v4, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{v4, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{v6, "%{ir}.%{v}._spf.%{d2}", "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},

		{v4, "%{p}", "mx.example.org"},
		{v4, "%{h}", "mx.example.org"},
		{v6, "%{c}", "2001:db8::cb01"},
		{v4, "%{r} at %{t}", "unknown at 1767225600"},
		{v4, "%%%_%-", "% %20"},
		{v4, "%{S}", "strong-bad%40email.example.com"},
		{v4, "%{D99r.}", "com.example.email"},
		{v4, "%{O2-}", "email.example.com"},
		{v4, "%{l2.-+,/_=}", "strong.bad"},
	} {
		c := rfcCheck(tc.ip)
		c.now = c.now.AddDate(2025, 0, 0)
		parts, err := parseMacros(term{tc.macros, 0}, true)
		got := expand(parts, func(letter byte) string { return c.value(t.Context(), "email.example.com", letter) }, 1000)
		if err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v, want %q", tc.macros, got, err, tc.want)
		}
	}
}

// TestLongNames checks how names are shortened, and that memory is bounded.
func TestLongNames(t *testing.T) {
	t.Parallel()
	c := rfcCheck("192.0.2.3")
	long := strings.Repeat("abcdefghi.", 100)
	for _, tc := range []struct {
		name, spec string
		want       string // The end of the name.
		size       int
	}{
		{"a name of the largest size", strings.Repeat("a", 241) + ".example.com", "aaa.example.com", 253},
		{"one byte more", strings.Repeat("a", 242) + ".example.com", "example.com", 11},
		{"labels are dropped", long + "example.com", ".abcdefghi.example.com", 251},
		{"without any that fits", strings.Repeat("a", 300) + ".%{d}", "email.example.com", 17},
		{"one label", strings.Repeat("x", 1000) + "%%", "xxx%", 1001},
		{"a thousand macros", strings.Repeat("%{s}.", 1000) + "com", "strong-bad@email.example.com.com", 247},
	} {
		spec, err := parseDomainSpec(term{tc.spec, 0})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		got := c.target(t.Context(), "email.example.com", spec)
		if len(got) != tc.size || !strings.HasSuffix(got, tc.want) {
			t.Errorf("%s: got %d bytes %q", tc.name, len(got), got)
		}
	}
}

// FuzzParseRecord checks that a record means the same when it is written again
// with single spaces, that errors have a place in it and are printable, and that
// its domains expand to what is not too long.
func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{
		"v=spf1 +mx a:colo.example.com/28 -all", "v=spf1 exists:%{ir}.%{l1r+-}._spf.%{d} -all", "v=spf1 ip4:192.0.2.1/24 ip6:::1/0 ~all",
		"v=spf1 a:%{D2r.-}//64 exp=%{o}. redirect=a%%b.example x=%_%-", "v=spf1  \x00", "v=spf1 a:" + strings.Repeat("%{l}", 50) + ".x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecord(text)
		if e, ok := errors.AsType[*SyntaxError](err); ok {
			if e.Offset < 0 || e.Offset > len(text) || strings.ContainsFunc(e.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Fatalf("%q: %q at byte %d", text, e.Error(), e.Offset)
			}
			return
		} else if err != nil {
			t.Fatalf("%q: error of another kind: %v", text, err)
		}
		c := rfcCheck("192.0.2.3")
		again := []string{version}
		for _, d := range r.Directives {
			again = append(again, d.Text)
			if name := c.target(t.Context(), "a.example", d.Domain); strings.Contains(name, ".") && len(name) > 2*nameSizeMax {
				t.Fatalf("%q: %s expands to %d bytes", text, d.Text, len(name))
			}
		}
		for name, spec := range map[string]DomainSpec{"redirect": r.Redirect, "exp": r.Explanation} {
			if !spec.IsZero() {
				again = append(again, name+"="+spec.String())
			}
		}
		for _, m := range r.Modifiers {
			again = append(again, m.Name+"="+m.Value)
		}
		r2, err := ParseRecord(strings.Join(again, " "))
		if err != nil || describe(r2) != describe(r) {
			t.Fatalf("%q: got %s, again %s, %v", text, describe(r), describe(r2), err)
		}
	})
}

// FuzzExplanation checks that what parses expands to a bounded text.
func FuzzExplanation(f *testing.F) {
	f.Add("See http://%{d}/why.html?s=%{S}&i=%{I}")
	f.Add(strings.Repeat("%{s} ", 200))
	f.Add("%{c1r.}%%%")
	f.Fuzz(func(t *testing.T, text string) {
		parts, err := parseMacros(term{text, 0}, true)
		if err != nil {
			return
		}
		c := rfcCheck("2001:db8::cb01")
		got := expand(parts, func(letter byte) string { return c.value(t.Context(), "a.example", letter) }, -explanationSizeMax)
		if len(got) > explanationSizeMax {
			t.Fatalf("%q: %d bytes", text, len(got))
		}
		for i := range len(got) {
			if got[i] < ' ' || got[i] > '~' {
				t.Fatalf("%q: %q", text, got)
			}
		}
	})
}

package queue

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPath(t *testing.T) {
	t.Parallel()
	for s, domain := range map[string]string{
		"": "", "postmaster": "", "mjl@example.org": "example.org", `"a b"@example.org`: "example.org", "møx@bücher.example": "xn--bcher-kva.example",
		"x@[192.0.2.1]": "[192.0.2.1]", "x@[IPv6:2001:db8::1]": "[IPv6:2001:db8::1]",
	} {
		p, err := Path(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if p.String() != s || domainOf(p) != domain {
			t.Errorf("%q: got %q with domain %q", s, p.String(), domainOf(p))
		}
	}
	for _, s := range []string{"@example.org", "a b@example.org", "x@", "x@example.org>", "x@example.org> SIZE=1", "x@192.0.2.1"} {
		if p, err := Path(s); err == nil {
			t.Errorf("%q: got %+v, want an error", s, p)
		}
	}
}

// FuzzPath checks that what parses is the same when it is read from a row.
func FuzzPath(f *testing.F) {
	f.Add("mjl@example.org")
	f.Add(`"\"\\ "@bücher.example`)
	f.Add("x@[IPv6:2001:db8::1]")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Path(s)
		if err != nil {
			return
		}
		again, err := Path(p.String())
		if err != nil || again != p {
			t.Fatalf("%q: %+v is %+v, %v when read again", s, p, again, err)
		}
	})
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"short", "short"},
		{"line\r\nbreak\x00", "line  break "},
		{"bad \xff", "bad \uFFFD"},
		{strings.Repeat("a", 300), strings.Repeat("a", 200)},
		{strings.Repeat("a", 199) + "é", strings.Repeat("a", 199)},
	} {
		if got := cut(tc.in, textMax); got != tc.want || !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want %q", tc.in, got, tc.want)
		}
	}
}

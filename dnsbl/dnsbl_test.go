package dnsbl_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnsbl"
	"github.com/mjl-/mox/dnstest"
)

const zeros = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."

const zone = `
; A list of addresses of both kinds.
2.0.0.127.bl.example.     A    127.0.0.2
2.0.0.127.bl.example.     TXT  "for tests"
9.2.0.192.bl.example.     A    127.0.0.10
9.2.0.192.bl.example.     A    127.0.0.4
9.2.0.192.bl.example.     TXT  "see https://bl.example/?ip=192.0.2.9"
9.2.0.192.bl.example.     TXT  "a\010b\255"
8.2.0.192.bl.example.     A    127.0.0.2
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example. A 127.0.0.3

; One of IPv6 only.
2.0.0.0.0.0.f.7.f.f.f.f.` + zeros + `six.example. A 127.0.0.2

; One that was given up: everything is listed.
*.wild.example.           A    127.0.0.2
; And one whose domain was sold.
*.sold.example.           A    192.0.2.80
; One that does not answer over public resolvers.
*.refusing.example.       A    127.255.255.254
; One of IPv6 that lists everything.
*.0.f.7.f.f.f.f.` + zeros + `wild6.example. A 127.0.0.2
; And an empty one.
empty.example.            A    192.0.2.80
`

func resolver(t *testing.T, zone string) *dnstest.Resolver {
	r, err := dnstest.New(zone, "bl.example")
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("", "7.2.0.192.bl.example", dnstest.Temporary)
	r.Fail("TXT", "8.2.0.192.bl.example", dnstest.Temporary)
	r.Fail("", "2.0.0.127.broken.example", dnstest.Temporary)
	r.Fail("", "1.0.0.127.broken1.example", dnstest.Bogus)
	return r
}

func TestLookup(t *testing.T) {
	t.Parallel()
	r := resolver(t, zone)
	for _, tc := range []struct {
		name, zone, ip string
		codes          string // Empty: not listed.
		explanation    string
		authentic      bool
		err            error
	}{
		{"not listed", "bl.example", "192.0.2.1", "", "", true, nil},
		{"listed for two reasons", "bl.example", "192.0.2.9", "[127.0.0.4 127.0.0.10]", "a?b?; see https://bl.example/?ip=192.0.2.9", true, nil},
		{"in IPv6 form", "bl.example", "::ffff:192.0.2.9", "[127.0.0.4 127.0.0.10]", "a?b?; see https://bl.example/?ip=192.0.2.9", true, nil},
		{"listed, the explanation fails", "bl.example", "192.0.2.8", "[127.0.0.2]", "", true, nil},
		{"IPv6", "bl.example", "2001:db8::1", "[127.0.0.3]", "", true, nil},
		{"IPv6, not listed", "bl.example", "2001:db8::2", "", "", true, nil},
		{"a failure", "bl.example", "192.0.2.7", "", "", false, dns.ErrTemporary},
		{"an address that means nothing", "sold.example", "192.0.2.9", "", "", false, dnsbl.ErrAnswer},
		{"a refusal", "refusing.example", "192.0.2.9", "", "", false, dnsbl.ErrAnswer},
		{"a name that is too long", strings.Repeat("a.", 110) + "example", "2001:db8::1", "", "", false, dns.ErrName},
		{"no such list", "none.example", "192.0.2.9", "", "", false, nil},
	} {
		l, err := dnsbl.Lookup(t.Context(), r, dns.Domain{ASCII: tc.zone}, netip.MustParseAddr(tc.ip))
		codes := ""
		if len(l.Codes) > 0 {
			codes = fmt.Sprint(l.Codes)
		}
		if codes != tc.codes || l.Listed != (codes != "") || l.Explanation != tc.explanation || l.Authentic != tc.authentic || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %+v, %v", tc.name, l, err)
		}
	}
}

func TestCheckHealth(t *testing.T) {
	t.Parallel()
	r := resolver(t, zone)
	for _, tc := range []struct {
		name, zone string
		err        error
	}{
		{"it works", "bl.example", nil},
		{"it works, with IPv6 only", "six.example", nil},
		{"it lists everything", "wild.example", dnsbl.ErrHealth},
		{"it lists every IPv6 address", "wild6.example", dnsbl.ErrHealth},
		{"its domain was sold", "sold.example", dnsbl.ErrAnswer},
		{"it refuses", "refusing.example", dnsbl.ErrAnswer},
		{"it is empty", "empty.example", dnsbl.ErrHealth},
		{"it does not exist", "none.example", dnsbl.ErrHealth},
		{"the lookup of the entry for tests fails", "broken.example", dns.ErrTemporary},
		{"the lookup of nobody's entry fails", "broken1.example", dns.ErrBogus},
	} {
		if err := dnsbl.CheckHealth(t.Context(), r, dns.Domain{ASCII: tc.zone}); !errors.Is(err, tc.err) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.err)
		}
	}
}

// TestHugeExplanation has as much text as fits into an answer.
func TestHugeExplanation(t *testing.T) {
	t.Parallel()
	text := strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, 200)
	r := resolver(t, "1.2.0.192.bl.example. A 127.0.0.2\n1.2.0.192.bl.example. TXT "+text)
	l, err := dnsbl.Lookup(t.Context(), r, dns.Domain{ASCII: "bl.example"}, netip.MustParseAddr("192.0.2.1"))
	if err != nil || len(l.Explanation) != 800 {
		t.Errorf("got %d bytes, %v", len(l.Explanation), err)
	}
}

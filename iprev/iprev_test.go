package iprev_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/iprev"
)

const zone = `
1.2.0.192.in-addr.arpa.  PTR  mx.example.org.
mx.example.org.          A    192.0.2.1
mx.example.org.          A    192.0.2.9
2.2.0.192.in-addr.arpa.  PTR  mx.example.org.
3.2.0.192.in-addr.arpa.  PTR  nowhere.example.org.
4.2.0.192.in-addr.arpa.  PTR  broken.example.org.
4.2.0.192.in-addr.arpa.  PTR  four.example.net.
four.example.net.        A    192.0.2.4
5.2.0.192.in-addr.arpa.  PTR  broken.example.org.
5.2.0.192.in-addr.arpa.  PTR  mx.example.org.
6.2.0.192.in-addr.arpa.  PTR  bogus.example.org.
7.2.0.192.in-addr.arpa.  PTR  odd\032name.example.org.
8.2.0.192.in-addr.arpa.  PTR  alias.example.org.
alias.example.org.       CNAME eight.example.org.
eight.example.org.       A    192.0.2.8
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR MX6.example.org.
mx6.example.org.         AAAA 2001:db8::1
`

func TestCheck(t *testing.T) {
	t.Parallel()
	r, err := dnstest.New(zone, "example.org", "2.0.192.in-addr.arpa")
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("", "broken.example.org", dnstest.Temporary)
	r.Fail("", "bogus.example.org", dnstest.Bogus)
	r.Fail("", "10.2.0.192.in-addr.arpa", dnstest.Temporary)
	for _, tc := range []struct {
		name, ip  string
		result    iprev.Result
		host      string
		authentic bool
		err       error
	}{
		{"a name that leads back", "192.0.2.1", iprev.Pass, "mx.example.org", true, nil},
		{"in IPv6 form", "::ffff:192.0.2.1", iprev.Pass, "mx.example.org", true, nil},
		{"IPv6", "2001:db8::1", iprev.Pass, "mx6.example.org", false, nil},
		{"IPv6 with a zone", "2001:db8::1%eth0", iprev.Pass, "mx6.example.org", false, nil},
		{"over an alias", "192.0.2.8", iprev.Pass, "alias.example.org", true, nil},
		{"a name of somebody else", "192.0.2.2", iprev.Fail, "", true, iprev.ErrNotBack},
		{"a name without addresses", "192.0.2.3", iprev.Fail, "", true, iprev.ErrNotBack},
		{"a failure and a name that leads back", "192.0.2.4", iprev.Pass, "four.example.net", false, nil},
		{"a failure and a name that doesn't", "192.0.2.5", iprev.TempError, "", false, dns.ErrTemporary},
		{"a bogus answer", "192.0.2.6", iprev.TempError, "", false, dns.ErrBogus},
		{"a name that can't be looked up", "192.0.2.7", iprev.Fail, "", true, iprev.ErrNotBack},
		{"no names", "192.0.2.99", iprev.PermError, "", true, iprev.ErrNoNames},
		{"no names, for all we know", "198.51.100.1", iprev.PermError, "", false, iprev.ErrNoNames},
		{"a failure", "192.0.2.10", iprev.TempError, "", false, dns.ErrTemporary},
	} {
		got := iprev.Check(t.Context(), r, netip.MustParseAddr(tc.ip))
		if got.Result != tc.result || got.Name != tc.host || got.Authentic != tc.authentic || !errors.Is(got.Err, tc.err) {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
	if got := iprev.Check(t.Context(), r, netip.Addr{}); got.Result != iprev.PermError || !errors.Is(got.Err, iprev.ErrNoNames) {
		t.Errorf("no address: got %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := iprev.Check(ctx, r, netip.MustParseAddr("192.0.2.1")); got.Result != iprev.TempError {
		t.Errorf("out of time: got %+v", got)
	}
}

// TestManyNames has an address with so many names that to look up all would be of
// use to an attacker.
func TestManyNames(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "1.2.0.192.in-addr.arpa. PTR h%d.example.org.\n", i)
	}
	r, err := dnstest.New(b.String())
	if err != nil {
		t.Fatal(err)
	}
	if got := iprev.Check(t.Context(), r, netip.MustParseAddr("192.0.2.1")); got.Result != iprev.Fail {
		t.Errorf("got %+v", got)
	}
	lookups := 0
	for i := range 200 {
		lookups += r.Lookups("A", fmt.Sprintf("h%d.example.org", i))
	}
	if lookups != 10 {
		t.Errorf("looked up %d names, want 10", lookups)
	}
}

package dns

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("x", labelSizeMax)
	longest := strings.Repeat(label+".", 3) + label[:domainSizeMax-3*len(label)-3]
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"example.org.", true},
		{".", true},
		{"_25._tcp.MX.example.org.", true},
		{"a+b=c*/~.example.org.", true},
		{label + ".org.", true},
		{longest + ".", true},
		{"", false},
		{"example.org", false},
		{"..", false},
		{"a..org.", false},
		{".org.", false},
		{"x" + label + ".org.", false},
		{longest + "x.", false},
		{"a b.org.", false},
		{`a\046b.org.`, false},
		{"\u00e9.org.", false},
		{"a\x00.org.", false},
		{"a\x7f.org.", false},
	} {
		if err := CheckName(c.name); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%q: got error %v, want none: %t", c.name, err, c.ok)
		}
	}
}

func TestReverseName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ip, want string }{
		{"192.0.2.130", "130.2.0.192.in-addr.arpa."},
		{"::ffff:192.0.2.130", "130.2.0.192.in-addr.arpa."},
		// RFC 3596, section 2.5.
		{"4321:0:1:2:3:4:567:89ab", "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa."},
		{"fe80::1%eth0", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa."},
	} {
		got := ReverseName(netip.MustParseAddr(c.ip))
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.ip, got, c.want)
		}
		if err := CheckName(got); err != nil {
			t.Errorf("%s: %v", c.ip, err)
		}
	}
	if got := ReverseName(netip.Addr{}); got != "" {
		t.Errorf("got %q for no address", got)
	}
}

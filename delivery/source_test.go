package delivery

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/mjl-/mox/config"
)

// endpoints returns endpoints for SMTP on port 25 at addresses, and one that
// serves something else.
func endpoints(t *testing.T, addresses string) (list []config.Endpoint) {
	for _, s := range strings.Fields(addresses) {
		list = append(list, config.Endpoint{Service: config.ServiceSMTP, Hostname: mustDomain(t, "public.example"), Addr: netip.AddrPortFrom(netip.MustParseAddr(s), 25)})
	}
	return append(list, config.Endpoint{Service: config.ServiceIMAP, Hostname: mustDomain(t, "imap.example"), Addr: netip.MustParseAddrPort("192.0.2.99:143")})
}

func TestChooseSources(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, listen, v6, v4 string }{
		{"no listener", "", "", ""},
		{"one of each family", "192.0.2.1 2001:db8::1", "2001:db8::1", "192.0.2.1"},
		{"one family", "192.0.2.1", "", "192.0.2.1"},
		{"the same for two listeners", "192.0.2.1 192.0.2.1", "", "192.0.2.1"},
		{"two of a family", "192.0.2.1 192.0.2.2 2001:db8::1", "", ""},
		{"unspecified", "0.0.0.0 2001:db8::1", "", ""},
		{"unspecified IPv6", "192.0.2.1 ::", "", ""},
		{"loopback reaches nobody", "192.0.2.1 127.0.0.1 ::1 fe80::1", "", "192.0.2.1"},
		{"only loopback", "127.0.0.1", "", ""},
		{"mapped", "::ffff:192.0.2.1", "", "192.0.2.1"},
	} {
		s := chooseSources(endpoints(t, test.listen))
		for i, want := range []string{test.v6, test.v4} {
			if got := s[i]; want == "" && got.IsValid() || want != "" && got != netip.MustParseAddr(want) {
				t.Errorf("%s: got %v, want %q", test.name, got, want)
			}
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, listen string
		port         uint16
		names        string
		ours, others string
	}{
		{"explicit addresses", "192.0.2.1 2001:db8::1", 25, "host.example public.example", "192.0.2.1 2001:db8::1 ::ffff:192.0.2.1", "192.0.2.2 127.0.0.1 192.0.2.99"},
		{"all addresses", "0.0.0.0", 25, "host.example public.example", "127.0.0.1 127.0.0.2 ::1", "192.0.2.1"},
		{"loopback", "127.0.0.1", 25, "host.example public.example", "127.0.0.1", "127.0.0.2 192.0.2.1"},
		{"we send to another port", "192.0.2.1 0.0.0.0", 2525, "host.example", "", "192.0.2.1 127.0.0.1"},
	} {
		id := newIdentity(&config.Config{Hostname: mustDomain(t, "host.example"), Endpoints: endpoints(t, test.listen)}, test.port)
		for _, name := range []string{"host.example", "public.example", "imap.example", "other.example"} {
			if got, want := id.hasName(mustDomain(t, name)), strings.Contains(test.names, name); got != want {
				t.Errorf("%s: name %s is ours: %v, want %v", test.name, name, got, want)
			}
		}
		for _, ip := range strings.Fields(test.ours + " " + test.others) {
			if got, want := id.hasAddress(netip.MustParseAddr(ip)), strings.Contains(" "+test.ours+" ", " "+ip+" "); got != want {
				t.Errorf("%s: address %s is ours: %v, want %v", test.name, ip, got, want)
			}
		}
	}
}

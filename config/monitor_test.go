package config

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mjl-/mox/dns"
)

func TestMonitored(t *testing.T) {
	t.Parallel()
	lists := func(names ...string) (l []dns.Domain) {
		for _, name := range names {
			l = append(l, dns.Domain{ASCII: name})
		}
		return l
	}
	smtp := func(listener, ip string, names ...string) Endpoint {
		return Endpoint{Listener: listener, Service: ServiceSMTP, Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 25), Blocklists: lists(names...)}
	}
	c := Config{
		Dynamic: Dynamic{MonitorDNSBLs: []string{"a.example", "b.example"}},
		Static: Static{Listeners: map[string]Listener{
			"public": {}, "nat": {NATIPs: []string{"198.51.100.1", "2001:db8::1", "10.1.1.1"}}, "nated": {IPsNATed: true},
		}},
		Endpoints: []Endpoint{
			smtp("nat", "10.0.0.1", "d.example"),
			smtp("nated", "203.0.113.9"),
			smtp("public", "203.0.113.1", "c.example", "a.example"),
			smtp("public", "::ffff:203.0.113.1", "c.example", "a.example"),
			smtp("public", "::"),
			smtp("public", "127.0.0.1"),
			smtp("public", "192.168.1.1"),
			smtp("public", "fe80::1"),
			{Listener: "public", Service: ServiceIMAPS, Addr: netip.MustParseAddrPort("203.0.113.2:993")},
		},
	}
	if got := fmt.Sprint(c.MonitoredBlocklists()); got != "[a.example b.example c.example]" {
		t.Errorf("got lists %s", got)
	}
	if got := fmt.Sprint(c.PublicMailIPs()); got != "[198.51.100.1 2001:db8::1 203.0.113.1 ::]" {
		t.Errorf("got addresses %s", got)
	}
}

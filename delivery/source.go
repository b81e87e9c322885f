package delivery

import (
	"net/netip"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
)

// sources are the addresses connections are made from: at most one of each
// family. The zero value leaves it to the system.
type sources [2]netip.Addr // Index as for family.

// chooseSources returns the addresses that the configuration has for incoming
// mail, if they are explicit and at most one of each family: others know this
// server by them. Addresses that reach no further than this host or its link don't
// count.
func chooseSources(endpoints []config.Endpoint) sources {
	var s sources
	for _, e := range endpoints {
		ip := e.Addr.Addr().Unmap()
		if e.Service != config.ServiceSMTP || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			continue
		}
		had := s[family(ip)]
		if ip.IsUnspecified() || had.IsValid() && had != ip {
			return sources{}
		}
		s[family(ip)] = ip
	}
	return s
}

// identity is how others know this server: RFC 5321, section 5.1, wants mail not
// to be sent to itself.
type identity struct {
	names     map[dns.Domain]bool
	addresses map[netip.Addr]bool
	loopback  bool // All addresses of loopback are ours.
}

// newIdentity returns what the configuration says. Port is the one we send to: who
// listens on another is not reached by that.
func newIdentity(c *config.Config, port uint16) identity {
	id := identity{names: map[dns.Domain]bool{c.Hostname: true}, addresses: map[netip.Addr]bool{}}
	for _, e := range c.Endpoints {
		if e.Service != config.ServiceSMTP || e.Addr.Port() != port {
			continue
		}
		ip := e.Addr.Addr().Unmap()
		id.names[e.Hostname] = true
		if ip.IsUnspecified() {
			id.loopback = true
		} else {
			id.addresses[ip] = true
		}
	}
	return id
}

func (id identity) hasName(d dns.Domain) bool { return id.names[d] }

func (id identity) hasAddress(ip netip.Addr) bool {
	ip = ip.Unmap()
	return id.addresses[ip] || id.loopback && ip.IsLoopback()
}

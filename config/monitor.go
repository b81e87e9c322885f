package config

import (
	"net/netip"
	"slices"

	"github.com/mjl-/mox/dns"
)

// publicListener is the name of the listener that is reachable from outside.
const publicListener = "public"

// MonitoredBlocklists returns the lists in which our own addresses are to be looked
// up: those of MonitorDNSBLs, and those by which mail to the listener public is
// judged. Each is there once.
func (c *Config) MonitoredBlocklists() []dns.Domain {
	lists := parseDomains(c.Dynamic.MonitorDNSBLs)
	for _, e := range c.Endpoints {
		if e.Service == ServiceSMTP && e.Listener == publicListener {
			lists = append(lists, e.Blocklists...)
		}
	}
	return once(lists)
}

// PublicMailIPs returns the addresses from which we are seen to send mail, as far as
// they are configured: those of listeners for mail of other servers, or NATIPs if
// these are behind NAT. Private addresses are left out. Unspecified ones are not, and
// stand for all addresses of the host of their family.
func (c *Config) PublicMailIPs() (ips []netip.Addr) {
	for _, e := range c.Endpoints {
		if e.Service != ServiceSMTP {
			continue
		}
		l := c.Static.Listeners[e.Listener]
		if len(l.NATIPs) == 0 && !l.IPsNATed {
			ips = append(ips, e.Addr.Addr().Unmap())
		}
		for _, text := range l.NATIPs {
			if ip, err := netip.ParseAddr(text); err == nil {
				ips = append(ips, ip.Unmap())
			}
		}
	}
	return slices.DeleteFunc(once(ips), func(ip netip.Addr) bool { return !ip.IsUnspecified() && !IsPublic(ip) })
}

// IsPublic returns whether an address can be one that the world sees.
func IsPublic(ip netip.Addr) bool { return ip.IsGlobalUnicast() && !ip.IsPrivate() }

// once returns a list with each of its elements once, in the order they come.
func once[T comparable](list []T) (unique []T) {
	for _, v := range list {
		if !slices.Contains(unique, v) {
			unique = append(unique, v)
		}
	}
	return unique
}

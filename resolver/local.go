package resolver

import (
	"fmt"

	"github.com/mjl-/mox/dns"
)

// unsignedMax bounds the domains in Options.Unsigned.
const unsignedMax = 100

// localZones are zones that resolvers answer for by themselves, without signatures,
// as RFC 6303 and RFC 6761 have them do. The DNS proves of some that they do not
// exist, so that what such resolvers say would be bogus. (The networks for
// documentation have no hosts that send mail.)
var localZones = []string{
	"localhost.", "local.", "internal.",
	"0.in-addr.arpa.", "10.in-addr.arpa.", "127.in-addr.arpa.", "254.169.in-addr.arpa.", "168.192.in-addr.arpa.",
	"255.255.255.255.in-addr.arpa.",
	"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
	"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
	"d.f.ip6.arpa.", "8.e.f.ip6.arpa.", "9.e.f.ip6.arpa.", "a.e.f.ip6.arpa.", "b.e.f.ip6.arpa.",
}

// unsignedZones returns the names at which nothing is validated from there on, with
// why: domains of the configuration, and what is local.
func unsignedZones(domains []string) (map[string]string, error) {
	if len(domains) > unsignedMax {
		return nil, fmt.Errorf("%d of them, more than %d", len(domains), unsignedMax)
	}
	zones := map[string]string{}
	for _, name := range localZones {
		zones[name] = name + " is for local use only"
	}
	for i := 16; i < 32; i++ { // 172.16.0.0/12.
		name := fmt.Sprintf("%d.172.in-addr.arpa.", i)
		zones[name] = name + " is for local use only"
	}
	for i := 64; i < 128; i++ { // 100.64.0.0/10, RFC 7793.
		name := fmt.Sprintf("%d.100.in-addr.arpa.", i)
		zones[name] = name + " is for local use only"
	}
	for _, name := range domains {
		if err := dns.CheckName(name); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		name = lower(escape(name))
		zones[name] = name + " is not validated, by configuration"
	}
	return zones, nil
}

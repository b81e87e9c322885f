package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

const (
	// hostsMax bounds the mail exchangers tried in one attempt. RFC 5321, section
	// 5.1, wants at least two; the largest domains have about ten.
	hostsMax = 10

	// addressesMax bounds the addresses of a host that are tried in one attempt.
	// Others get their turn in a later one.
	addressesMax = 4
)

// target is a host that may take mail for a domain: a name, or for an address
// literal only an address.
type target struct {
	name dns.Domain
	ip   netip.Addr

	// How the name was found: the domain, and what there is to know of the answer
	// that it has, or lacks, MX records.
	nextHop dns.Domain
	mx      dns.Result
}

// String returns the name for people and for the queue.
func (t target) String() string {
	return dns.IPDomain{IP: t.ip, Domain: t.name}.XString(false)
}

// chooseHosts returns the hosts to try for a domain, in order, from what came of
// looking up its MX records (RFC 5321, section 5.1; RFC 7505 for the null MX).
// Hosts of the same preference are in random order.
//
// Self tells whether a name is ours. We then are a mail exchanger for a domain
// that isn't local: mail may go to those preferred to us only, or it could come
// back.
func chooseHosts(domain dns.Domain, mx []dns.MX, err error, self func(dns.Domain) bool, random *rand.Rand) ([]dns.Domain, *failure) {
	if err != nil && !errors.Is(err, dns.ErrNoData) {
		return nil, lookupFailure("mail servers of "+domain.Name(), err, &failure{
			code: smtp.CodeMailboxPermanent, enhanced: statusNoDomain, text: fmt.Sprintf("the domain %s doesn't exist", domain.Name()), permanent: true,
		})
	}
	if err != nil || len(mx) == 0 {
		if self(domain) {
			return nil, loopFailure(domain.Name())
		}
		return []dns.Domain{domain}, nil
	}
	if !slices.ContainsFunc(mx, func(r dns.MX) bool { return r.Host != "." }) {
		return nil, &failure{
			code: smtp.CodeDomainRefusesMail, enhanced: statusNullMX, text: fmt.Sprintf("the domain %s takes no mail (null MX)", domain.Name()), permanent: true,
		}
	}
	hosts, limit := usableHosts(mx, self)
	if len(hosts) == 0 {
		return nil, unroutable(fmt.Sprintf("the domain %s has MX records, but none with a valid name", domain.Name()))
	}
	random.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b exchanger) int { return cmp.Compare(a.preference, b.preference) })
	var names []dns.Domain
	for _, h := range hosts {
		if h.preference < limit && !slices.Contains(names, h.name) && len(names) < hostsMax {
			names = append(names, h.name)
		}
	}
	if len(names) == 0 {
		return nil, loopFailure(domain.Name())
	}
	return names, nil
}

// exchanger is an MX record with a parsed name.
type exchanger struct {
	preference int
	name       dns.Domain
}

// usableHosts returns the records with valid names, and the preference from which
// on they must not be used, because one of that preference is ours.
func usableHosts(mx []dns.MX, self func(dns.Domain) bool) (hosts []exchanger, limit int) {
	limit = 1 << 16 // Preferences have 16 bits.
	for _, r := range mx {
		name, err := parseHost(r.Host)
		if err != nil {
			continue
		}
		if self(name) {
			limit = min(limit, int(r.Preference))
		}
		hosts = append(hosts, exchanger{int(r.Preference), name})
	}
	return hosts, limit
}

// parseHost parses the absolute name of a host. Underscores are against the rules
// for names of hosts, and there are mail exchangers that have them.
func parseHost(s string) (dns.Domain, error) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if !strings.Contains(s, "_") {
		return dns.ParseDomain(s)
	}
	if _, err := dns.ParseDomain(strings.ReplaceAll(s, "_", "x")); err != nil {
		return dns.Domain{}, err
	}
	return dns.Domain{ASCII: s}, nil
}

// lookupFailure returns the failure for an error of a Resolver: none if there is
// certainly nothing.
func lookupFailure(what string, err error, none *failure) *failure {
	if dns.IsNone(err) || errors.Is(err, dns.ErrName) {
		none.err = err
		return none
	}
	f := &failure{enhanced: statusDNS, text: "looking up " + what + " failed for now", err: err}
	if errors.Is(err, dns.ErrBogus) {
		f.text = "looking up " + what + " gave answers that are not authentic (DNSSEC)"
	}
	return f
}

func unroutable(text string) *failure {
	return &failure{code: smtp.CodeMailboxPermanent, enhanced: statusUnroutable, text: text, permanent: true}
}

// loopFailure says that we are the host mail for a domain would go to. Hosts that
// are preferred to us may still take it.
func loopFailure(domain string) *failure {
	return &failure{
		code: smtp.CodeTransactionFailed, enhanced: statusLoop, permanent: true, elsewhere: true,
		text: fmt.Sprintf("mail for %s is to go to this server, which doesn't know the domain", domain),
	}
}

// orderAddresses returns the addresses of a host to try, in order. Families
// alternate, beginning with the one that was not tried last, or with IPv6 if none
// was (RFC 6724, section 2.1). Within a family the order is that of the answer
// (RFC 5321, section 5.1), with the address tried last at the end.
func orderAddresses(ips []netip.Addr, last netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	seen := map[netip.Addr]bool{}
	for _, ip := range ips {
		ip = ip.Unmap()
		if seen[ip] || !reachable(ip) {
			continue
		}
		seen[ip] = true
		families[family(ip)] = append(families[family(ip)], ip)
	}
	first := 0
	if last.IsValid() {
		first = 1 - family(last)
	}
	for i, list := range families {
		if at := slices.Index(list, last.Unmap()); at >= 0 {
			families[i] = append(slices.Delete(list, at, at+1), last.Unmap())
		}
	}
	a, b := families[first], families[1-first]
	var ordered []netip.Addr
	for i := range max(len(a), len(b)) {
		ordered = append(ordered, a[min(i, len(a)):min(i+1, len(a))]...)
		ordered = append(ordered, b[min(i, len(b)):min(i+1, len(b))]...)
	}
	return ordered[:min(len(ordered), addressesMax)]
}

// family returns 0 for IPv6 and 1 for IPv4.
func family(ip netip.Addr) int {
	if ip.Unmap().Is4() {
		return 1
	}
	return 0
}

// reachable tells whether an address can be that of a mail server. A connection to
// the unspecified address would be one to ourselves.
func reachable(ip netip.Addr) bool {
	return ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

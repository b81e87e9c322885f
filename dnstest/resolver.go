// Package dnstest is a DNS for tests: a dns.Resolver and a server on loopback that
// answer from the text of a zone, with failures on demand.
//
// The Resolver is that of package resolver, over a network in memory. So it follows
// aliases and ends lookups as the real one does, and it works in a bubble of
// testing/synctest. It keeps no answers: a change to the zone counts at once.
//
// A Tree is the DNS with DNSSEC, from a root of its own down, for those who validate.
package dnstest

import (
	"context"
	"net/netip"
	"sync"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/resolver"
)

// serverAddr is the address of the server in memory.
const serverAddr = "127.0.0.1:53"

// Resolver looks up records in a Zone, and counts that.
type Resolver struct {
	*Zone
	inner *resolver.Resolver

	mu      sync.Mutex
	lookups map[key]int
}

var _ dns.Resolver = (*Resolver)(nil)

// New returns a Resolver for the records in the text of a zone (see ParseZone).
// Answers about the authentic names, and all below them, are authentic; "." makes
// all so.
func New(zone string, authentic ...string) (*Resolver, error) {
	z, err := ParseZone(zone)
	if err != nil {
		return nil, err
	}
	for _, name := range authentic {
		z.SetAuthentic(name, true)
	}
	inner, err := resolver.New(resolver.Options{Mode: resolver.SystemAD, Servers: []string{serverAddr}, CacheSize: -1, Dial: z.Dial})
	if err != nil {
		return nil, err
	}
	return &Resolver{Zone: z, inner: inner, lookups: map[key]int{}}, nil
}

// Lookups returns how often a name was looked up, for records of a type as "MX",
// or of all types if it is empty. LookupIP for both kinds of addresses counts for
// each.
func (r *Resolver) Lookups(typ, name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return count(r.lookups, newKey(typ, name))
}

// count counts a lookup.
func (r *Resolver) count(name string, types ...uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, typ := range types {
		r.lookups[key{canonical(name), typ}]++
	}
}

// LookupIP implements dns.Resolver.
func (r *Resolver) LookupIP(ctx context.Context, network, host string) ([]netip.Addr, dns.Result, error) {
	if network != "ip6" {
		r.count(host, mdns.TypeA)
	}
	if network != "ip4" {
		r.count(host, mdns.TypeAAAA)
	}
	return r.inner.LookupIP(ctx, network, host)
}

// LookupMX implements dns.Resolver.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]dns.MX, dns.Result, error) {
	r.count(name, mdns.TypeMX)
	return r.inner.LookupMX(ctx, name)
}

// LookupTXT implements dns.Resolver.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, dns.Result, error) {
	r.count(name, mdns.TypeTXT)
	return r.inner.LookupTXT(ctx, name)
}

// LookupAddr implements dns.Resolver.
func (r *Resolver) LookupAddr(ctx context.Context, ip netip.Addr) ([]string, dns.Result, error) {
	r.count(dns.ReverseName(ip), mdns.TypePTR)
	return r.inner.LookupAddr(ctx, ip)
}

// LookupSRV implements dns.Resolver.
func (r *Resolver) LookupSRV(ctx context.Context, name string) ([]dns.SRV, dns.Result, error) {
	r.count(name, mdns.TypeSRV)
	return r.inner.LookupSRV(ctx, name)
}

// LookupTLSA implements dns.Resolver.
func (r *Resolver) LookupTLSA(ctx context.Context, name string) ([]dns.TLSA, dns.Result, error) {
	r.count(name, mdns.TypeTLSA)
	return r.inner.LookupTLSA(ctx, name)
}

// LookupNS implements dns.Resolver.
func (r *Resolver) LookupNS(ctx context.Context, name string) ([]string, dns.Result, error) {
	r.count(name, mdns.TypeNS)
	return r.inner.LookupNS(ctx, name)
}

// LookupCNAME implements dns.Resolver.
func (r *Resolver) LookupCNAME(ctx context.Context, name string) (string, dns.Result, error) {
	r.count(name, mdns.TypeCNAME)
	return r.inner.LookupCNAME(ctx, name)
}

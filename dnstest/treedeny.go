package dnstest

import (
	"bytes"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// denial is one link of the chain in which a zone denies what is not in it.
type denial struct {
	order  []byte // In which the chain is.
	record mdns.RR
}

// canonicalOrder returns bytes that order names as RFC 4034, section 6.1, has it:
// labels from the last to the first, in lower case, each ended by what is lower than
// all in it. (Zeros within labels would need more; tests have none.)
func canonicalOrder(name string) []byte {
	var wire [255]byte
	n, err := mdns.PackDomainName(canonical(name), wire[:], 0, nil, false)
	if err != nil {
		return nil
	}
	var labels [][]byte
	for i := 0; i < n && wire[i] > 0; i += 1 + int(wire[i]) {
		labels = append(labels, wire[i+1:i+1+int(wire[i])])
	}
	slices.Reverse(labels)
	var order []byte
	for _, l := range labels {
		order = append(append(order, l...), 0)
	}
	return order
}

// denials returns the chain of a zone.
func (z *treeZone) denials() (chain []denial) {
	for owner := range z.exists {
		types, delegation := z.typesOf(owner)
		switch {
		case z.below(owner) || z.NSEC3 == nil && len(types) == 0:
		case z.NSEC3 == nil:
			chain = append(chain, denial{canonicalOrder(owner), &mdns.NSEC{
				Hdr:        mdns.RR_Header{Name: owner, Rrtype: mdns.TypeNSEC, Class: mdns.ClassINET, Ttl: z.negativeTTL()},
				TypeBitMap: sorted(append(types, mdns.TypeNSEC, mdns.TypeRRSIG)),
			}})
		case z.NSEC3.OptOut && delegation && !slices.Contains(types, mdns.TypeDS):
		default:
			if len(types) > 0 && (!delegation || slices.Contains(types, mdns.TypeDS)) {
				types = append(types, mdns.TypeRRSIG)
			}
			chain = append(chain, z.hashedDenial(owner, types))
		}
	}
	slices.SortFunc(chain, func(a, b denial) int { return bytes.Compare(a.order, b.order) })
	for i := range chain {
		next := chain[(i+1)%len(chain)].record
		switch rr := chain[i].record.(type) {
		case *mdns.NSEC:
			rr.NextDomain = next.Header().Name
		case *mdns.NSEC3:
			rr.NextDomain = strings.ToUpper(mdns.SplitDomainName(next.Header().Name)[0])
		}
	}
	return chain
}

// hashedDenial returns a link with the hash of a name.
func (z *treeZone) hashedDenial(owner string, types []uint16) denial {
	hash := z.hash(owner)
	rr := &mdns.NSEC3{
		Hdr:  mdns.RR_Header{Name: strings.ToLower(hash) + "." + strings.TrimPrefix(z.name, "."), Rrtype: mdns.TypeNSEC3, Class: mdns.ClassINET, Ttl: z.negativeTTL()},
		Hash: mdns.SHA1, Iterations: z.NSEC3.Iterations, SaltLength: uint8(len(z.NSEC3.Salt) / 2), Salt: z.NSEC3.Salt,
		HashLength: 20, TypeBitMap: sorted(types),
	}
	if z.NSEC3.OptOut {
		rr.Flags = 1
	}
	return denial{[]byte(hash), rr}
}

// hash returns the hash of a name, in the alphabet that keeps the order.
func (z *treeZone) hash(name string) string {
	return mdns.HashName(name, mdns.SHA1, z.NSEC3.Iterations, z.NSEC3.Salt)
}

// typesOf returns the types that the zone vouches for at a name, and whether that
// is a delegation.
func (z *treeZone) typesOf(owner string) (types []uint16, delegation bool) {
	delegation = owner != z.name && z.records[owner][mdns.TypeNS] != nil
	for typ := range z.records[owner] {
		if !delegation || typ == mdns.TypeNS || typ == mdns.TypeDS {
			types = append(types, typ)
		}
	}
	return types, delegation
}

// below tells whether a name is below a delegation.
func (z *treeZone) below(name string) bool {
	for _, n := range ancestors(name)[1:] {
		if !mdns.IsSubDomain(z.name, n) || n == z.name {
			break
		}
		if z.records[n][mdns.TypeNS] != nil {
			return true
		}
	}
	return false
}

// negativeTTL is the TTL of what is about what is not there, RFC 2308, section 5.
func (z *treeZone) negativeTTL() uint32 {
	soa, ok := z.records[z.name][mdns.TypeSOA][0].(*mdns.SOA)
	if !ok {
		return ttlDefault
	}
	return min(soa.Hdr.Ttl, soa.Minttl)
}

func sorted(types []uint16) []uint16 {
	slices.Sort(types)
	return slices.Compact(types)
}

// link returns the link of the chain that matches a name, or else covers it.
func (z *treeZone) link(name string) (rr mdns.RR, matches bool) {
	order := canonicalOrder(name)
	if z.NSEC3 != nil {
		order = []byte(z.hash(name))
	}
	i, matches := slices.BinarySearchFunc(z.chain, order, func(d denial, order []byte) int { return bytes.Compare(d.order, order) })
	if !matches {
		i = (i - 1 + len(z.chain)) % len(z.chain)
	}
	return z.chain[i].record, matches
}

// encloser returns the lowest name above a name that is in the zone, and the name
// one label below that on the way (RFC 5155, section 1.3).
func (z *treeZone) encloser(name string) (closest, next string) {
	next = name
	for _, n := range ancestors(name) {
		if z.exists[n] {
			return n, next
		}
		next = n
	}
	return z.name, next
}

// proof returns the links that deny a type of a name, or the name, or that there is
// a better answer than that of a wildcard.
func (z *treeZone) proof(name string, wildcard, expanded bool) []mdns.RR {
	var list []mdns.RR
	put := func(name string) {
		if rr, _ := z.link(name); !slices.Contains(list, rr) {
			list = append(list, rr)
		}
	}
	closest, next := z.encloser(name)
	if z.NSEC3 != nil {
		// A name that is left out by opt-out has the proof of one that isn't there.
		for _, n := range ancestors(closest) {
			if _, ok := z.link(n); ok {
				closest = n
				break
			}
			next = n
		}
	}
	switch {
	case closest == name || z.NSEC3 == nil && z.exists[name]:
		put(name) // It has no such type. For an empty one, NSEC covers it.
	case expanded: // RFC 5155, section 7.2.6.
		put(next)
	default:
		if z.NSEC3 != nil {
			put(closest)
		}
		put(next)
		if wildcard {
			put("*." + strings.TrimPrefix(closest, "."))
		}
	}
	return list
}

package dnstest

import (
	"fmt"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// ttlDefault is the TTL of records for which the text has none, in seconds.
const ttlDefault = 300

// Failure is what becomes of questions for a name.
type Failure int

// The failures.
const (
	None      Failure = iota
	Temporary         // The server replies SERVFAIL.
	Timeout           // Nobody replies. Lookups end with their own limit.
	Bogus             // The server replies that the answer fails DNSSEC validation.
)

// Zone is what is known of the DNS: records, which of them are authentic, and
// failures. It need not be one zone in the sense of the standards. It may be
// changed at any time, and is safe for concurrent use.
type Zone struct {
	front

	// Guarded by the front's mutex.
	records   map[string]map[uint16][]mdns.RR // By owner, in lower case.
	authentic map[string]bool                 // By the name that is the top of it.
}

// key is a name in lower case, and a type, 0 for all.
type key struct {
	name string
	typ  uint16
}

// ParseZone parses records as in a zone file (RFC 1035, section 5). Names are
// relative to the root, so that the dot at their end may be left out.
func ParseZone(text string) (*Zone, error) {
	z := &Zone{front: newFront(), records: map[string]map[uint16][]mdns.RR{}, authentic: map[string]bool{}}
	return z, z.Set(text)
}

// Set adds records. They take the place of those of the same names and types.
func (z *Zone) Set(text string) error {
	added := map[string]map[uint16][]mdns.RR{}
	parser := mdns.NewZoneParser(strings.NewReader(text), ".", "")
	parser.SetDefaultTTL(ttlDefault)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		h := rr.Header()
		name := canonical(h.Name)
		if added[name] == nil {
			added[name] = map[uint16][]mdns.RR{}
		}
		added[name][h.Rrtype] = append(added[name][h.Rrtype], rr)
	}
	if err := parser.Err(); err != nil {
		return fmt.Errorf("parsing zone: %w", err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for name, types := range added {
		if z.records[name] == nil {
			z.records[name] = map[uint16][]mdns.RR{}
		}
		for typ, rrs := range types {
			z.records[name][typ] = rrs
		}
	}
	return nil
}

// Remove removes the records of a name, of a type as "MX", or of all types if it
// is empty.
func (z *Zone) Remove(typ, name string) {
	k := newKey(typ, name)
	z.mu.Lock()
	defer z.mu.Unlock()
	if k.typ != 0 {
		delete(z.records[k.name], k.typ)
	}
	if k.typ == 0 || len(z.records[k.name]) == 0 {
		delete(z.records, k.name)
	}
}

// SetAuthentic says whether answers about a name, and about all below it, are
// authentic. What is said of a lower name counts more. They are not if nothing is
// said.
func (z *Zone) SetAuthentic(name string, authentic bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.authentic[newKey("", name).name] = authentic
}

// count returns the number for a key, of all its types if it has none.
func count(counts map[key]int, k key) int {
	if k.typ != 0 {
		return counts[k]
	}
	n := 0
	for other, m := range counts {
		if other.name == k.name {
			n += m
		}
	}
	return n
}

// newKey returns a key for a name, with or without the dot at its end, and a type.
// An unknown type is as good as none: the zone has no records of it.
func newKey(typ, name string) key {
	return key{canonical(mdns.Fqdn(name)), mdns.StringToType[strings.ToUpper(typ)]}
}

// canonical returns a name in lower case, with what is odd escaped the one way
// there is for names in messages.
func canonical(name string) string {
	var wire [255]byte
	if _, err := mdns.PackDomainName(name, wire[:], 0, nil, false); err == nil {
		if again, _, err := mdns.UnpackDomainName(wire[:], 0); err == nil {
			name = again
		}
	}
	return strings.ToLower(name)
}

// isAuthentic tells whether answers about a name are authentic.
func (z *Zone) isAuthentic(name string) bool {
	for _, n := range ancestors(name) {
		if authentic, ok := z.authentic[n]; ok {
			return authentic
		}
	}
	return false
}

// ancestors returns a name and those above it, the root last.
func ancestors(name string) (names []string) {
	for _, i := range mdns.Split(name) {
		names = append(names, name[i:])
	}
	return append(names, ".")
}

// exists tells whether there is a name: with records, or with such names below it
// (RFC 8020).
func (z *Zone) exists(name string) bool {
	for owner := range z.records {
		if owner == name || name == "." || strings.HasSuffix(owner, "."+name) {
			return true
		}
	}
	return false
}

// owner returns the name whose records are those of name: itself, or a wildcard
// (RFC 4592, section 4.3.2). It is not ok if there is no such name.
func (z *Zone) owner(name string) (owner string, ok bool) {
	names := ancestors(name)
	i := slices.IndexFunc(names, z.exists)
	switch {
	case i < 0:
		return "", false
	case i == 0:
		return name, true
	}
	owner = "*." + strings.TrimPrefix(names[i], ".")
	return owner, z.records[owner] != nil
}

// soa returns the SOA record of the zone a name is in, if there is one.
func (z *Zone) soa(name string) []mdns.RR {
	for _, n := range ancestors(name) {
		if rrs := z.records[n][mdns.TypeSOA]; len(rrs) > 0 {
			return rrs[:1]
		}
	}
	return nil
}

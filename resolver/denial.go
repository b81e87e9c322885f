package resolver

import (
	"fmt"
	"slices"
	"time"

	mdns "github.com/miekg/dns"
)

// denial is the records of one zone with which it is proven that something does
// not exist. Their signatures are valid.
type denial struct {
	zone   string
	nsec   []*mdns.NSEC
	nsec3  []*mdns.NSEC3
	ttl    time.Duration // How long they may be kept.
	budget *budget
	hashed map[string]string // Names that were hashed, see nsec3.go.
}

// absence is what is proven not to exist.
type absence uint8

const (
	unproven absence = iota
	noName           // There is no such name.
	noData           // There are no such records, by a wildcard or not.
	noCut            // The name is not the top of a zone; names below may be.
	noCuts           // Neither it nor a name below is the top of a zone.
	unsigned         // The name is the top of a zone that is not signed, or may be.
	closer           // There is no name closer to the one asked for than the wildcard used.
)

// proven is the outcome of a proof.
type proven struct {
	what   absence
	optOut bool     // There may be delegations to unsigned zones in its place.
	shows  []string // Sentences.
}

// prove returns a proof with a sentence for it.
func prove(what absence, format string, args ...any) proven {
	return proven{what: what, shows: []string{fmt.Sprintf(format, args...)}}
}

// and adds a sentence.
func (p proven) and(format string, args ...any) proven {
	p.shows = append(slices.Clone(p.shows), fmt.Sprintf(format, args...))
	return p
}

// absent looks for the proof that there is no name, or that it has no records of a
// type. The error is errBudget.
func (d *denial) absent(name string, typ uint16) (proven, error) {
	if p := d.nsecAbsent(name, typ); p.what != unproven {
		return p, nil
	}
	return d.nsec3Absent(name, typ)
}

// notExpanded looks for the proof that records of the wildcard below encloser are
// rightly those of name, RFC 4035, section 5.3.4: that there is no name between.
func (d *denial) notExpanded(name, encloser string) (proven, error) {
	if c := d.covering(name); c != nil && !isWithin(lower(c.NextDomain), name) && d.encloserBy(c, name) == encloser {
		return prove(closer, "there is nothing between %s and %s, by which the wildcard applies", c.Hdr.Name, lower(c.NextDomain)), nil
	}
	return d.nsec3NotExpanded(name, encloser)
}

// cut looks for the proof that a name is not the top of a signed zone.
func (d *denial) cut(name string) (proven, error) {
	if p := d.nsecCut(name); p.what != unproven {
		return p, nil
	}
	return d.nsec3Cut(name)
}

// bits is the types that a NSEC or NSEC3 record says its name has.
type bits []uint16

func (b bits) has(typ uint16) bool { return slices.Contains(b, typ) }

// delegates tells whether the record is that of the zone above a delegation. It
// says nothing of other names or types than its own DS records, RFC 6840, section
// 4.1.
func (b bits) delegates() bool { return b.has(mdns.TypeNS) && !b.has(mdns.TypeSOA) }

// hides tells whether names below the record's are not in its zone, or not there
// as such: those below a delegation or a DNAME.
func (b bits) hides() bool { return b.delegates() || b.has(mdns.TypeDNAME) }

// lacks tells whether there are no records of a type, and no alias in their place.
func (b bits) lacks(typ uint16) bool {
	if b.has(typ) || b.has(mdns.TypeCNAME) {
		return false
	}
	if typ == mdns.TypeDS {
		return !b.has(mdns.TypeSOA) // Of the zone below, which knows nothing of them.
	}
	return !b.delegates()
}

// cut tells what the record of a name says of it as the top of a zone.
func (b bits) cut() absence {
	switch {
	case b.has(mdns.TypeDS), b.has(mdns.TypeSOA):
		return unproven
	case b.has(mdns.TypeNS):
		return unsigned
	case b.has(mdns.TypeCNAME), b.has(mdns.TypeDNAME):
		return noCuts
	}
	return noCut
}

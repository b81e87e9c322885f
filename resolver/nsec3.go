package resolver

import (
	"strings"

	mdns "github.com/miekg/dns"
)

// hashSize is the size of a hash as text: 160 bits, 5 in each character.
const hashSize = 32

// sameHashing returns the NSEC3 records of those given that count: with a known
// hash and flags (RFC 5155, sections 8.1 and 8.2), directly below the zone, and
// hashed as the first of them is.
func sameHashing(zone string, list []*mdns.NSEC3) (same []*mdns.NSEC3) {
	for _, r := range list {
		if r.Hash != mdns.SHA1 || r.Flags&^1 != 0 || parent(r.Hdr.Name) != zone || len(hashOf(r)) != hashSize || len(r.NextDomain) != hashSize {
			continue
		}
		if len(same) == 0 || r.Iterations == same[0].Iterations && r.Salt == same[0].Salt {
			same = append(same, r)
		}
	}
	return same
}

// hashOf returns the hash of the name a record is about.
func hashOf(r *mdns.NSEC3) string {
	label, _, _ := strings.Cut(r.Hdr.Name, ".")
	return strings.ToUpper(label)
}

// tooManyIterations tells whether names are hashed so often that the zone's proofs
// are taken as if it were not signed. The signatures of the records must have been
// verified before (RFC 9276, section 3.2).
func (d *denial) tooManyIterations() bool {
	return len(d.nsec3) > 0 && d.nsec3[0].Iterations > iterationsMax
}

// hash returns the hash of a name, as hashOf has it.
func (d *denial) hash(name string) (string, error) {
	if h, ok := d.hashed[name]; ok {
		return h, nil
	}
	if err := d.budget.hash(); err != nil {
		return "", err
	}
	r := d.nsec3[0]
	h := strings.ToUpper(mdns.HashName(name, r.Hash, r.Iterations, r.Salt))
	if d.hashed == nil {
		d.hashed = map[string]string{}
	}
	d.hashed[name] = h
	return h, nil
}

// matching3 returns the NSEC3 record of a name, or nil.
func (d *denial) matching3(name string) (*mdns.NSEC3, error) {
	h, err := d.hash(name)
	if err != nil {
		return nil, err
	}
	for _, r := range d.nsec3 {
		if hashOf(r) == h {
			return r, nil
		}
	}
	return nil, nil
}

// covering3 returns the NSEC3 record by which there is no name, or nil.
func (d *denial) covering3(name string) (*mdns.NSEC3, error) {
	h, err := d.hash(name)
	if err != nil {
		return nil, err
	}
	for _, r := range d.nsec3 {
		if coversHash(hashOf(r), strings.ToUpper(r.NextDomain), h) {
			return r, nil
		}
	}
	return nil, nil
}

// coversHash tells whether a hash is between two, of which the second is the first
// of the zone if it is not greater (RFC 5155, section 3.1.7).
func coversHash(owner, next, h string) bool {
	if owner < next {
		return owner < h && h < next
	}
	return h != owner && (owner < h || h < next)
}

// enclosed is the closest encloser proof of RFC 5155, section 7.2.1.
type enclosed struct {
	encloser string      // The longest ancestor that exists.
	next     string      // That with one label more, which does not.
	cover    *mdns.NSEC3 // By which it does not. Nil: there is no proof.
}

// enclose looks for the closest encloser of a name that has no record itself, RFC
// 5155, section 8.3.
func (d *denial) enclose(name string) (enclosed, error) {
	for next := name; isBelow(next, d.zone); next = parent(next) {
		above := parent(next)
		r, err := d.matching3(above)
		if err != nil {
			return enclosed{}, err
		}
		if r == nil {
			continue
		}
		if bits(r.TypeBitMap).hides() {
			return enclosed{}, nil
		}
		cover, err := d.covering3(next)
		return enclosed{above, next, cover}, err
	}
	return enclosed{}, nil
}

// shown begins a proof with what the closest encloser proof shows.
func (e enclosed) shown(what absence) proven {
	p := prove(what, "%s exists, and %s does not, by their hashes", e.encloser, e.next)
	if p.optOut = e.cover.Flags&1 != 0; p.optOut {
		p = p.and("%s may be delegated without signatures: the record leaves such names out", e.next)
	}
	return p
}

// nsec3Absent is absent for NSEC3, RFC 5155, sections 8.4 to 8.7.
func (d *denial) nsec3Absent(name string, typ uint16) (proven, error) {
	if len(d.nsec3) == 0 {
		return proven{}, nil
	}
	r, err := d.matching3(name)
	if err != nil {
		return proven{}, err
	}
	if r != nil {
		if bits(r.TypeBitMap).lacks(typ) {
			return prove(noData, "%s has no %s records, by the types of its hash", name, mdns.TypeToString[typ]), nil
		}
		return proven{}, nil
	}
	e, err := d.enclose(name)
	if err != nil || e.cover == nil {
		return proven{}, err
	}
	p := e.shown(noName)
	wild := wildcard(e.encloser)
	if r, err = d.matching3(wild); err != nil {
		return proven{}, err
	}
	if r != nil {
		if !bits(r.TypeBitMap).lacks(typ) {
			return proven{}, nil
		}
		p.what = noData
		return p.and("the wildcard %s has no %s records, by the types of its hash", wild, mdns.TypeToString[typ]), nil
	}
	c, err := d.covering3(wild)
	switch {
	case err != nil:
		return proven{}, err
	case c != nil:
		return p.and("there is no wildcard %s, by its hash", wild), nil
	case p.optOut: // Of unsigned delegations nothing more is proven, section 8.6.
		p.what = noData
		return p, nil
	}
	return proven{}, nil
}

// nsec3NotExpanded is notExpanded for NSEC3, RFC 5155, section 8.8.
func (d *denial) nsec3NotExpanded(name, encloser string) (proven, error) {
	if len(d.nsec3) == 0 || !isBelow(name, encloser) {
		return proven{}, nil
	}
	next := last(name, mdns.CountLabel(encloser)+1)
	cover, err := d.covering3(next)
	if err != nil || cover == nil {
		return proven{}, err
	}
	return enclosed{encloser, next, cover}.shown(closer), nil
}

// nsec3Cut is cut for NSEC3, RFC 5155, section 8.9.
func (d *denial) nsec3Cut(name string) (proven, error) {
	if len(d.nsec3) == 0 {
		return proven{}, nil
	}
	r, err := d.matching3(name)
	if err != nil {
		return proven{}, err
	}
	if r != nil {
		switch what := bits(r.TypeBitMap).cut(); what {
		case unsigned:
			return prove(what, "%s is delegated without DS records, by the types of its hash", name), nil
		case noCut, noCuts:
			return prove(what, "%s is not delegated, by the types of its hash", name), nil
		}
		return proven{}, nil
	}
	e, err := d.enclose(name)
	if err != nil || e.cover == nil {
		return proven{}, err
	}
	p := e.shown(noCuts)
	if p.optOut {
		p.what = unsigned
	}
	return p, nil
}

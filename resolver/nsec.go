package resolver

import (
	mdns "github.com/miekg/dns"
)

// matching returns the NSEC record of a name, or nil.
func (d *denial) matching(name string) *mdns.NSEC {
	for _, r := range d.nsec {
		if r.Hdr.Name == name {
			return r
		}
	}
	return nil
}

// covering returns an NSEC record by which there are no records of a name, or nil.
// There may be names below it, see isWithin of the next name.
func (d *denial) covering(name string) *mdns.NSEC {
	for _, r := range d.nsec {
		if covers(r.Hdr.Name, lower(r.NextDomain), name, d.zone) && !(isBelow(name, r.Hdr.Name) && bits(r.TypeBitMap).hides()) {
			return r
		}
	}
	return nil
}

// covers tells whether name is between owner and next, where the top of the zone
// comes after all others (RFC 4034, section 4.1.1).
func covers(owner, next, name, zone string) bool {
	switch {
	case !isWithin(name, zone), !isWithin(owner, zone), !isWithin(next, zone), compareNames(owner, name) >= 0:
		return false
	case next == zone:
		return true
	}
	return compareNames(name, next) < 0
}

// encloserBy returns the longest ancestor of a name that exists according to a
// record that covers it: one of both names of the record, or above them.
func (d *denial) encloserBy(r *mdns.NSEC, name string) string {
	a, b := common(name, r.Hdr.Name), common(name, lower(r.NextDomain))
	if mdns.CountLabel(b) > mdns.CountLabel(a) {
		return b
	}
	return a
}

// nsecAbsent is absent for NSEC, RFC 4035, section 5.4.
func (d *denial) nsecAbsent(name string, typ uint16) proven {
	if r := d.matching(name); r != nil {
		if bits(r.TypeBitMap).lacks(typ) {
			return prove(noData, "%s has no %s records, by its types", name, mdns.TypeToString[typ])
		}
		return proven{}
	}
	r := d.covering(name)
	if r == nil {
		return proven{}
	}
	if next := lower(r.NextDomain); isWithin(next, name) {
		return prove(noData, "%s has no records, only names below it: the next name is %s", name, next)
	}
	p := prove(noName, "there is nothing between %s and %s, where %s would be", r.Hdr.Name, lower(r.NextDomain), name)
	wild := wildcard(d.encloserBy(r, name))
	if m := d.matching(wild); m != nil {
		if !bits(m.TypeBitMap).lacks(typ) {
			return proven{}
		}
		p.what = noData
		return p.and("the wildcard %s has no %s records, by its types", wild, mdns.TypeToString[typ])
	}
	c := d.covering(wild)
	switch {
	case c == nil:
		return proven{}
	case isWithin(lower(c.NextDomain), wild):
		p.what = noData
		return p.and("the wildcard %s has no records, only names below it", wild)
	}
	return p.and("there is nothing between %s and %s, where the wildcard %s would be", c.Hdr.Name, lower(c.NextDomain), wild)
}

// nsecCut is cut for NSEC.
func (d *denial) nsecCut(name string) proven {
	if r := d.matching(name); r != nil {
		switch what := bits(r.TypeBitMap).cut(); what {
		case unsigned:
			return prove(what, "%s is delegated without DS records, by its types", name)
		case noCut, noCuts:
			return prove(what, "%s is not delegated, by its types", name)
		}
		return proven{}
	}
	r := d.covering(name)
	switch {
	case r == nil:
		return proven{}
	case isWithin(lower(r.NextDomain), name):
		return prove(noCut, "%s has no records, only names below it: the next name is %s", name, lower(r.NextDomain))
	}
	return prove(noCuts, "there is nothing between %s and %s, where %s would be", r.Hdr.Name, lower(r.NextDomain), name)
}

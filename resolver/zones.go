package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// zone is a zone, as far down as there are signatures. It is not changed.
type zone struct {
	name string
	keys []zoneKey // Nil: not signed, or in ways we do not know. So are all zones below.

	why      string        // It is not signed: a sentence.
	extended *dns.Extended // Also why, if there is a code for it.
}

func (z *zone) secure() bool { return z.keys != nil }

// tooOften is the zone of proofs for which names are hashed too often.
func tooOften(z *zone, d *denial) *zone {
	why := fmt.Sprintf("names in %s are hashed %d times more than once, and at most %d are supported", z.name, d.nsec3[0].Iterations, iterationsMax)
	return &zone{name: z.name, why: why, extended: &dns.Extended{Code: mdns.ExtendedErrorCodeUnsupportedNSEC3IterValue, Text: why}}
}

// cut is what is known of a name as the top of a zone.
type cut struct {
	zone *zone // Nil: it is none.
	end  bool  // Nor are names below it.
}

// typeCut is the type of questions for a cut, which no server is asked.
const typeCut = 0

// zoneOf returns the zone that a name is in: the lowest at or above it, or the first
// on the way there that is not signed. The error is a *bogusError, errBudget, or of
// the servers.
func (v *validation) zoneOf(ctx context.Context, name string) (*zone, error) {
	c, err := v.cut(ctx, nil, ".")
	if err != nil {
		return nil, err
	}
	z := c.zone
	for _, n := range pathTo(name, ".") {
		if !z.secure() {
			break
		}
		if c, err = v.cut(ctx, z, n); err != nil {
			return nil, err
		}
		if c.end {
			break
		}
		if c.zone != nil {
			z = c.zone
		}
	}
	return z, nil
}

// cut returns whether there is a zone at a name, which is below z. It comes from the
// cache, or is asked for once for all who wait.
func (v *validation) cut(ctx context.Context, z *zone, name string) (cut, error) {
	if why := v.r.unsigned[name]; why != "" {
		return cut{zone: &zone{name: name, why: why}}, nil
	}
	a, _, err := v.r.shared(ctx, question{name, typeCut}, func(ctx context.Context) (answer, error) {
		if z == nil {
			return v.root(ctx)
		}
		return v.delegation(ctx, z, name)
	})
	return a.cut, err
}

// root asks for the keys of the root.
func (v *validation) root(ctx context.Context) (answer, error) {
	a, err := v.keys(ctx, ".", "anchor", usableDS(v.r.anchors), v.r.anchors)
	if e := extendedOf(err); e != nil && e.Code == mdns.ExtendedErrorCodeRRSIGsMissing {
		err = bogus(e.Code, "%s: the server does not pass DNSSEC records on", e.Text)
	}
	return a, err
}

// keys asks for the keys of a zone with such DS records, of which list counts.
func (v *validation) keys(ctx context.Context, name, kind string, list, all []*mdns.DS) (answer, error) {
	return v.ask(ctx, question{name, mdns.TypeDNSKEY}, func(_ context.Context, rd *reading) (answer, error) {
		s := setOf(rd.m.Answer, name, mdns.TypeDNSKEY)
		step := rd.step(kind, name, mdns.TypeDNSKEY)
		keys, sig, err := rd.verifier(step).checkKeys(s, list)
		z := &zone{name: name, keys: usableKeys(keys)}
		step.set(s.records, sig.ttl)
		step.keys(keys, all)
		rd.r.trace.add(step, z, z, err)
		if err != nil {
			return answer{}, err
		}
		return answer{cut: cut{zone: z}, ttl: sig.ttl, authentic: true}, nil
	})
}

// usableKeys returns the keys whose signatures count. There is one at least: the
// one that has signed them.
func usableKeys(keys []zoneKey) (list []zoneKey) {
	for _, k := range keys {
		if k.usable() {
			list = append(list, k)
		}
	}
	return list
}

// delegation asks z whether a name is the top of a zone, and of a signed one; then
// for its keys.
func (v *validation) delegation(ctx context.Context, z *zone, name string) (answer, error) {
	var list []*mdns.DS
	a, err := v.ask(ctx, question{name, mdns.TypeDS}, func(_ context.Context, rd *reading) (answer, error) {
		list = nil
		s := setOf(rd.m.Answer, name, mdns.TypeDS)
		step := rd.step("delegation", name, mdns.TypeDS)
		var a answer
		var err error
		if len(s.records) > 0 {
			a, list, err = rd.delegated(step, z, s)
		} else {
			a, err = rd.notDelegated(step, z, name)
		}
		return a, err
	})
	if err != nil || a.cut != (cut{}) || len(list) == 0 {
		return a, err
	}
	k, err := v.keys(ctx, name, "keys", usableDS(list), list)
	k.ttl = min(k.ttl, a.ttl)
	return k, err
}

// delegated reads DS records. Without a cut in the answer they lead to keys.
func (rd *reading) delegated(step *Step, z *zone, s rrset) (a answer, list []*mdns.DS, err error) {
	if len(s.records) > delegationsMax {
		return a, nil, tooMany(delegationsMax, "DS records of "+s.name)
	}
	sig, err := rd.verifier(step).verify(z.name, z.keys, s)
	if err == nil && sig.expanded {
		err = bogus(mdns.ExtendedErrorCodeDNSBogus, "DS records of %s are those of a wildcard", s.name)
	}
	for _, rr := range s.records {
		if ds, ok := rr.(*mdns.DS); ok {
			list = append(list, ds)
		}
	}
	found := z
	if len(usableDS(list)) == 0 {
		found = unsupported(s.name, list)
		a.cut.zone = found
	}
	step.set(s.records, sig.ttl)
	step.delegation(list)
	rd.r.trace.add(step, z, found, err)
	if err != nil {
		return answer{}, nil, err
	}
	a.ttl, a.authentic = sig.ttl, true
	return a, list, nil
}

// unsupported is a zone with DS records none of which we can use.
func unsupported(name string, list []*mdns.DS) *zone {
	code := mdns.ExtendedErrorCodeUnsupportedDSDigestType
	for _, ds := range list {
		if !algorithmKnown(ds.Algorithm) {
			code = mdns.ExtendedErrorCodeUnsupportedDNSKEYAlgorithm
		}
	}
	why := "no DS record of " + name + " has an algorithm and a digest that we support"
	return &zone{name: name, why: why, extended: &dns.Extended{Code: code, Text: why}}
}

// notDelegated reads a reply without DS records.
func (rd *reading) notDelegated(step *Step, z *zone, name string) (answer, error) {
	if a, ok, err := rd.aliased(step, z, name); ok || err != nil {
		return a, err
	}
	d, err := rd.denial(step, z)
	var p proven
	c := cut{}
	switch {
	case err != nil:
	case d.tooManyIterations():
		c.zone = tooOften(z, d)
	default:
		p, err = d.cut(name)
		switch {
		case err != nil:
		case p.what == unproven:
			err = bogus(mdns.ExtendedErrorCodeNSECMissing, "no proof that %s has no DS records", name)
		case p.what == unsigned:
			c.zone = &zone{name: name, why: p.shows[len(p.shows)-1]}
		}
		c.end = p.what == noCuts
	}
	step.proof(d, p)
	rd.r.trace.add(step, z, cmp.Or(c.zone, z), err)
	if err != nil {
		return answer{}, err
	}
	return answer{cut: c, ttl: d.ttl, authentic: c.zone == nil}, nil
}

// aliased tells whether a reply has no DS records because a name is an alias, or
// below a DNAME: then it is not the top of a zone.
func (rd *reading) aliased(step *Step, z *zone, name string) (a answer, ok bool, err error) {
	s := setOf(rd.m.Answer, name, mdns.TypeCNAME)
	if d := dnameAbove(rd.m.Answer, name); len(d.records) > 0 {
		s = d
	}
	if len(s.records) == 0 {
		return a, false, nil
	}
	sig, err := rd.verifier(step).verify(z.name, z.keys, s)
	if err == nil && sig.expanded {
		err = rd.appliesTo(step, z, name, sig.encloser)
	}
	step.set(s.records, sig.ttl)
	rd.r.trace.add(step, z, z, err)
	return answer{cut: cut{end: true}, ttl: sig.ttl, authentic: true}, err == nil, err
}

// appliesTo looks for the proof that a wildcard applies to a name.
func (rd *reading) appliesTo(step *Step, z *zone, name, encloser string) error {
	d, err := rd.denial(step, z)
	if err != nil || d.tooManyIterations() {
		return err
	}
	p, err := d.notExpanded(name, encloser)
	if err == nil && p.what != closer {
		err = bogus(mdns.ExtendedErrorCodeNSECMissing, "no proof that the wildcard %s applies to %s", wildcard(encloser), name)
	}
	return err
}

// withServer puts the server into an error of validation that has none yet.
func withServer(err error, server string) error {
	var b *bogusError
	if errors.As(err, &b) && b.server == "" {
		return &bogusError{b.extended, server}
	}
	return err
}

// verifier returns what verifies signatures now, and notes them in a step.
func (v *validation) verifier(step *Step) verifier {
	w := verifier{budget: v.budget, now: time.Now()}
	if step != nil {
		w.notes = &step.Signatures
	}
	return w
}

package resolver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// bogusTTL is how long it is kept that an answer is bogus, RFC 4035, section 4.7:
// long enough not to ask again for each message, and short for who mends it.
const bogusTTL = 30 * time.Second

// validation is the validating side of one lookup.
type validation struct {
	r       *Resolver
	servers []server
	budget  *budget
}

// reading is one reply to a question, while it is validated.
type reading struct {
	*validation
	q      question
	m      *mdns.Msg
	server string
}

// ask asks a question, with the signatures, and has the reply read. If that is
// bogus, the other servers are asked too: theirs may be better, and if not they are
// no harm.
func (v *validation) ask(ctx context.Context, q question, read func(context.Context, *reading) (answer, error)) (answer, error) {
	servers := v.servers
	for {
		if err := v.budget.query(); err != nil {
			return answer{}, err
		}
		rep, err := v.r.ask(ctx, servers, q, true)
		if err != nil {
			return answer{}, err
		}
		normalize(rep.msg)
		a, err := read(ctx, &reading{v, q, rep.msg, rep.server.addr.String()})
		if err == nil && a.authentic {
			v.r.peers.passed(rep.server, time.Now())
		}
		err = withServer(err, rep.server.addr.String())
		servers = slices.DeleteFunc(slices.Clone(servers), func(s server) bool { return s == rep.server })
		if !errors.Is(err, dns.ErrBogus) || len(servers) == 0 {
			return a, err
		}
	}
}

// read returns what a reply says, as interpret does, and whether it is authentic.
func (rd *reading) read(ctx context.Context) (answer, error) {
	a := answer{name: rd.q.name, ttl: ttlMax, authentic: true, extended: extended(rd.m), server: rd.server}
	for {
		set := setOf(rd.m.Answer, a.name, rd.q.typ)
		if len(set.records) > 0 {
			a.records = set.records
			err := rd.exists(ctx, "answer", set, &a)
			if err == nil && rd.m.Rcode == mdns.RcodeNameError {
				err = rd.failed(errContradicts)
			}
			return a, err
		}
		alias := setOf(rd.m.Answer, a.name, mdns.TypeCNAME)
		if rd.q.typ == mdns.TypeCNAME || len(alias.records) == 0 {
			return rd.absent(ctx, a)
		}
		if err := rd.exists(ctx, "alias", alias, &a); err != nil {
			return answer{}, err
		}
		a.name = lower(alias.records[0].(*mdns.CNAME).Target)
		if a.aliases++; a.aliases > aliasesMax {
			return answer{}, rd.failed(errAliases)
		}
	}
}

// failed returns a failure of the reply that is not one of validation.
func (rd *reading) failed(cause error) error {
	return &failedError{server: rd.server, rcode: rd.m.Rcode, extended: extended(rd.m), cause: cause}
}

// exists takes a set that is there into account: an answer, or the next alias.
func (rd *reading) exists(ctx context.Context, kind string, s rrset, a *answer) error {
	if s.typ == mdns.TypeCNAME {
		if len(s.records) > 1 {
			return bogus(mdns.ExtendedErrorCodeDNSBogus, "%s is an alias of several names", s.name)
		}
		if d := dnameAbove(rd.m.Answer, s.name); len(d.records) > 0 {
			if err := synthesized(s, d); err != nil {
				return err
			}
			s = d
		}
	}
	a.ttl = min(a.ttl, recordsTTL(s.records))
	sig, z, err := rd.set(ctx, kind, s)
	if err != nil {
		return err
	}
	if !z.secure() {
		a.authentic = false
		return nil
	}
	a.ttl = min(a.ttl, sig.ttl)
	if !sig.expanded {
		return nil
	}
	if s.typ == mdns.TypeDNAME {
		return bogus(mdns.ExtendedErrorCodeDNSBogus, "%s is a DNAME of a wildcard", s.name)
	}
	return rd.notExpanded(z, s, sig.encloser, a)
}

// dnameAbove returns the DNAME by which a name is an alias.
func dnameAbove(section []mdns.RR, name string) rrset {
	for _, rr := range section {
		if d, ok := rr.(*mdns.DNAME); ok && isBelow(name, d.Hdr.Name) {
			return setOf(section, d.Hdr.Name, mdns.TypeDNAME)
		}
	}
	return rrset{}
}

// synthesized checks that a CNAME is the one that a DNAME makes, RFC 6672, section
// 5.3.1: it has no signature of its own.
func synthesized(cname, dname rrset) error {
	prefix := strings.TrimSuffix(cname.name, dname.name) // The root can't have a DNAME that applies: all names have others.
	target := dname.records[0].(*mdns.DNAME).Target
	if len(dname.records) > 1 || lower(cname.records[0].(*mdns.CNAME).Target) != prefix+strings.TrimPrefix(lower(target), ".") {
		return bogus(mdns.ExtendedErrorCodeDNSBogus, "%s is not an alias of what the DNAME of %s makes it", cname.name, dname.name)
	}
	return nil
}

// set validates a set. The zone is the one that has signed it, or the one that is
// not signed.
func (rd *reading) set(ctx context.Context, kind string, s rrset) (sig signed, z *zone, err error) {
	step := rd.step(kind, s.name, s.typ)
	defer func() {
		step.set(s.records, sig.ttl)
		rd.r.trace.add(step, z, z, err)
	}()
	for _, signer := range s.signers() {
		z, err = rd.zoneOf(ctx, signer)
		if err != nil || !z.secure() {
			return sig, z, err
		}
		if z.name != signer {
			err = bogus(mdns.ExtendedErrorCodeDNSBogus, "%s of %s is signed by %s, which is no zone", typeName(s.typ), s.name, signer)
			continue
		}
		sig, err = rd.verifier(step).verify(z.name, z.keys, s)
		if err == nil || !errors.Is(err, dns.ErrBogus) {
			return sig, z, err
		}
	}
	return sig, z, rd.orUnsigned(ctx, &z, s.name, s.typ, err)
}

// orUnsigned returns nil if a name proves to be in a zone that is not signed, which
// is put in z. Otherwise the error is err, or that there are no signatures.
func (rd *reading) orUnsigned(ctx context.Context, z **zone, name string, typ uint16, err error) error {
	if typ == mdns.TypeDS {
		name = parent(name)
	}
	found, zoneErr := rd.zoneOf(ctx, name)
	switch {
	case zoneErr != nil && err == nil:
		return zoneErr
	case zoneErr == nil && !found.secure():
		*z = found
		return nil
	case err == nil:
		*z = found
		return bogus(mdns.ExtendedErrorCodeRRSIGsMissing, "no signature comes with %s of %s, which is in the signed zone %s", typeName(typ), name, found.name)
	}
	return err
}

// notExpanded looks for the proof that a wildcard applies.
func (rd *reading) notExpanded(z *zone, s rrset, encloser string, a *answer) error {
	step := rd.step("denial", s.name, s.typ)
	d, err := rd.denial(step, z)
	var p proven
	if err == nil && d.tooManyIterations() {
		z = tooOften(z, d)
	} else if err == nil {
		p, err = d.notExpanded(s.name, encloser)
		if err == nil && p.what != closer {
			err = bogus(mdns.ExtendedErrorCodeNSECMissing, "no proof that the wildcard %s applies to %s", wildcard(encloser), s.name)
		}
	}
	step.proof(d, p)
	rd.r.trace.add(step, z, z, err)
	if err != nil {
		return err
	}
	a.ttl = min(a.ttl, d.ttl)
	a.authentic = a.authentic && z.secure() && !p.optOut
	return nil
}

// absent returns the answer of a reply that has no records of a.name.
func (rd *reading) absent(ctx context.Context, a answer) (answer, error) {
	a, err := a.without(rd.m)
	if err != nil {
		return answer{}, rd.failed(err)
	}
	if a.more {
		return a, nil
	}
	step := rd.step("denial", a.name, rd.q.typ)
	z, d, p, err := rd.denied(ctx, step, a.name, rd.q.typ)
	step.proof(d, p)
	rd.r.trace.add(step, z, z, err)
	switch {
	case err != nil:
		return answer{}, err
	case !z.secure():
		a.authentic = false
		return a, nil
	}
	a.ttl = min(a.ttl, d.ttl)
	a.authentic = a.authentic && !p.optOut
	a.none = dns.ErrNoData
	if p.what == noName { // Whatever the code says, which has no signature.
		a.none = dns.ErrNotFound
	}
	return a, nil
}

// denied validates that a name has no records of a type.
func (rd *reading) denied(ctx context.Context, step *Step, name string, typ uint16) (z *zone, d *denial, p proven, err error) {
	signer, ok := denialSigner(rd.m.Ns, name, typ)
	if !ok {
		return z, nil, p, rd.orUnsigned(ctx, &z, name, typ, nil)
	}
	z, err = rd.zoneOf(ctx, signer)
	switch {
	case err != nil || !z.secure():
		return z, nil, p, err
	case z.name != signer:
		err = bogus(mdns.ExtendedErrorCodeDNSBogus, "the proof is signed by %s, which is no zone", signer)
		return z, nil, p, rd.orUnsigned(ctx, &z, name, typ, err)
	}
	d, err = rd.denial(step, z)
	if err == nil && d.tooManyIterations() {
		return tooOften(z, d), d, p, nil
	}
	if err == nil {
		p, err = d.absent(name, typ)
	}
	if err == nil && p.what == unproven {
		err = bogus(mdns.ExtendedErrorCodeNSECMissing, "no proof that there is no %s of %s", typeName(typ), name)
	}
	if errors.Is(err, dns.ErrBogus) {
		err = rd.orUnsigned(ctx, &z, name, typ, err)
	}
	return z, d, p, err
}

// denialSigner returns the lowest zone that claims to have signed a proof about a
// name.
func denialSigner(section []mdns.RR, name string, typ uint16) (signer string, ok bool) {
	for _, rr := range section {
		sig, is := rr.(*mdns.RRSIG)
		if !is || sig.TypeCovered != mdns.TypeNSEC && sig.TypeCovered != mdns.TypeNSEC3 {
			continue
		}
		within := isWithin(name, sig.SignerName)
		if typ == mdns.TypeDS && name != "." {
			within = isBelow(name, sig.SignerName)
		}
		if within && (!ok || mdns.CountLabel(sig.SignerName) > mdns.CountLabel(signer)) {
			signer, ok = sig.SignerName, true
		}
	}
	return signer, ok
}

// denial returns the records for proofs that a reply has from a zone, and that are
// validly signed. The error is that of one that is not, if no other is.
func (rd *reading) denial(step *Step, z *zone) (*denial, error) {
	d := &denial{zone: z.name, ttl: ttlMax, budget: rd.budget}
	var first error
	var seen []rrset
	for _, rr := range rd.m.Ns {
		typ := rr.Header().Rrtype
		name := rr.Header().Name
		if typ != mdns.TypeNSEC && typ != mdns.TypeNSEC3 || !isWithin(name, z.name) || slices.ContainsFunc(seen, func(s rrset) bool { return s.name == name && s.typ == typ }) {
			continue
		}
		if len(seen) >= denialsMax {
			return nil, tooMany(denialsMax, "NSEC or NSEC3 records in one reply")
		}
		s := setOf(rd.m.Ns, name, typ)
		seen = append(seen, s)
		sig, err := rd.verifier(step).verify(z.name, z.keys, s)
		switch {
		case err != nil && !errors.Is(err, dns.ErrBogus):
			return nil, err
		case err != nil:
			if first == nil {
				first = err
			}
		case !sig.expanded: // One of a wildcard is about the wildcard only.
			d.add(s, sig.ttl)
		}
	}
	d.nsec3 = sameHashing(z.name, d.nsec3)
	if len(d.nsec) > 0 || len(d.nsec3) > 0 {
		return d, nil
	}
	if first == nil {
		first = bogus(mdns.ExtendedErrorCodeNSECMissing, "no proof from %s comes with the reply", z.name)
	}
	return nil, first
}

// add adds a set of records. There is one for each name; which of several counts
// does not matter, they are all signed.
func (d *denial) add(s rrset, ttl time.Duration) {
	d.ttl = min(d.ttl, ttl)
	for _, rr := range s.records {
		switch rr := rr.(type) {
		case *mdns.NSEC:
			d.nsec = append(d.nsec, rr)
		case *mdns.NSEC3:
			d.nsec3 = append(d.nsec3, rr)
		}
	}
}

// typeName returns the name of a type.
func typeName(typ uint16) string { return mdns.TypeToString[typ] }

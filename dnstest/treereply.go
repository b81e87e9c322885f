package dnstest

import (
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// reply returns the reply to a query, or nil for none.
func (t *Tree) reply(query *mdns.Msg) *mdns.Msg {
	t.total++
	m, ok := t.begin(query)
	if !ok {
		return m
	}
	opt := query.IsEdns0()
	a := answerer{tree: t, msg: m, typ: query.Question[0].Qtype, do: opt != nil && opt.Do() && !t.faults.Strip}
	failure := a.answer(query.Question[0].Name)
	if t.faults.Strip {
		m.Answer, m.Ns = strip(m.Answer), strip(m.Ns)
	}
	if t.faults.NoSOA {
		m.Ns = slices.DeleteFunc(m.Ns, func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypeSOA })
	}
	m.AuthenticatedData = t.faults.AD
	return failure.spoil(m)
}

// strip removes the records that a server which knows nothing of DNSSEC hides.
func strip(rrs []mdns.RR) []mdns.RR {
	return slices.DeleteFunc(rrs, func(rr mdns.RR) bool {
		switch rr.Header().Rrtype {
		case mdns.TypeRRSIG, mdns.TypeNSEC, mdns.TypeNSEC3, mdns.TypeDS, mdns.TypeDNSKEY:
			return true
		}
		return false
	})
}

// answerer makes one answer.
type answerer struct {
	tree *Tree
	msg  *mdns.Msg
	typ  uint16
	do   bool // With signatures and proofs.
}

// answer answers the question for a name, following aliases through the zones.
func (a *answerer) answer(name string) Failure {
	for range aliasesMax {
		k := key{canonical(name), a.typ}
		a.tree.queries[k]++
		if f := a.tree.failure(k); f != None {
			return f
		}
		z := a.tree.zoneOf(k.name, a.typ)
		if z.below(k.name) || k.name != z.name && a.typ != mdns.TypeDS && z.records[k.name][mdns.TypeNS] != nil {
			return Temporary // Delegated to a server that isn't there.
		}
		next := a.step(z, name, k)
		if next == "" || a.tree.faults.OneAlias {
			return None
		}
		name = next
	}
	return None
}

// step adds what a zone says about a name, and returns the name it is an alias of,
// if it is one.
func (a *answerer) step(z *treeZone, name string, k key) (next string) {
	d := a.tree.damage(z, k)
	if d == Missing || d == Denied {
		a.deny(z, k, d)
		return ""
	}
	if owner, rrs := z.dname(k.name); rrs != nil {
		a.put(z, owner, rrs)
		target := substitute(k.name, owner, rrs[0].(*mdns.DNAME).Target)
		a.msg.Answer = append(a.msg.Answer, &mdns.CNAME{
			Hdr:    mdns.RR_Header{Name: name, Rrtype: mdns.TypeCNAME, Class: mdns.ClassINET, Ttl: rrs[0].Header().Ttl},
			Target: target,
		})
		return a.unlessAsked(target)
	}
	owner := k.name
	if !z.exists[owner] {
		closest, _ := z.encloser(owner)
		owner = "*." + strings.TrimPrefix(closest, ".")
	}
	rrs := z.records[owner][a.typ]
	alias := z.records[owner][mdns.TypeCNAME]
	switch {
	case len(rrs) > 0:
	case len(alias) > 0:
		rrs, next = alias[:1], a.unlessAsked(alias[0].(*mdns.CNAME).Target)
	default:
		a.deny(z, k, d)
		return ""
	}
	a.put(z, name, rrs)
	if owner != k.name {
		a.prove(z, k.name, d, false, true)
	}
	return next
}

// unlessAsked returns the target of an alias, or nothing if the alias is all that
// was asked for.
func (a *answerer) unlessAsked(target string) string {
	if a.typ == mdns.TypeCNAME {
		return ""
	}
	return target
}

// put adds records of a zone to the answer, as those of name.
func (a *answerer) put(z *treeZone, name string, rrs []mdns.RR) {
	d := a.tree.damage(z, key{canonical(name), rrs[0].Header().Rrtype})
	a.msg.Answer = append(a.msg.Answer, a.tree.signed(z, name, rrs, a.do, d)...)
}

// deny says that there are no records, and proves it unless damage says otherwise.
func (a *answerer) deny(z *treeZone, k key, d Damage) {
	wildcard := "*"
	if closest, _ := z.encloser(k.name); closest != "." {
		wildcard += "." + closest
	}
	if d == Denied || !z.exists[k.name] && !z.exists[wildcard] {
		a.msg.Rcode = mdns.RcodeNameError
	}
	a.msg.Ns = append(a.msg.Ns, a.tree.signed(z, z.name, z.records[z.name][mdns.TypeSOA], a.do, d)...)
	a.prove(z, k.name, d, !z.exists[k.name], false)
}

// prove adds what proves the answer for a name, see treeZone.proof.
func (a *answerer) prove(z *treeZone, name string, d Damage, wildcard, expanded bool) {
	if !a.do || z.Unsigned || d == NoProof {
		return
	}
	proof := z.proof(name, wildcard, expanded)
	if d == WrongProof {
		rr, _ := z.link(z.name)
		proof = []mdns.RR{rr}
	}
	for _, rr := range proof {
		a.msg.Ns = append(a.msg.Ns, a.tree.signed(z, rr.Header().Name, []mdns.RR{rr}, true, d)...)
	}
}

// dname returns the name above a name that has all below it elsewhere, with its
// record.
func (z *treeZone) dname(name string) (owner string, rrs []mdns.RR) {
	for _, n := range ancestors(name)[1:] {
		if rrs := z.records[n][mdns.TypeDNAME]; len(rrs) > 0 && mdns.IsSubDomain(z.name, n) {
			return n, rrs[:1]
		}
		if n == z.name {
			break
		}
	}
	return "", nil
}

// substitute puts the target of a DNAME in the place of its owner, RFC 6672,
// section 2.2.
func substitute(name, owner, target string) string {
	prefix := strings.TrimSuffix(name, strings.TrimPrefix(owner, "."))
	return prefix + strings.TrimPrefix(target, ".")
}

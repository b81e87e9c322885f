package resolver

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// algorithmKnown tells whether we verify signatures of an algorithm. Those not
// known, among them those with SHA-1 (RFC 9905) and MD5, are as none: what is
// signed with no others is insecure.
func algorithmKnown(alg uint8) bool {
	switch alg {
	case mdns.RSASHA256, mdns.RSASHA512, mdns.ECDSAP256SHA256, mdns.ECDSAP384SHA384, mdns.ED25519:
		return true
	}
	return false
}

func algorithmName(alg uint8) string {
	if name := mdns.AlgorithmToString[alg]; name != "" {
		return name
	}
	return strconv.Itoa(int(alg))
}

// bogusError is what validation found wrong. It wraps dns.ErrBogus.
type bogusError struct {
	extended dns.Extended
	server   string // That replied so, if known.
}

func (e *bogusError) Error() string {
	if e.server == "" {
		return dns.ErrBogus.Error()
	}
	return fmt.Sprintf("%v: reply of %s", dns.ErrBogus, e.server)
}

func (e *bogusError) Unwrap() error { return dns.ErrBogus }

// bogus returns an error with a code of RFC 8914 and a text.
func bogus(code uint16, format string, args ...any) error {
	return &bogusError{extended: dns.Extended{Code: code, Text: fmt.Sprintf(format, args...)}}
}

// extendedOf returns the reason for a bogus answer, or nil.
func extendedOf(err error) *dns.Extended {
	var b *bogusError
	if errors.As(err, &b) {
		return &b.extended
	}
	return nil
}

// rrset is the records of a name and a type, with their signatures.
type rrset struct {
	name    string
	typ     uint16
	records []mdns.RR
	sigs    []*mdns.RRSIG
}

// setOf returns a set from a section of a message that went through normalize.
func setOf(section []mdns.RR, name string, typ uint16) rrset {
	s := rrset{name: name, typ: typ}
	for _, rr := range section {
		if h := rr.Header(); h.Name != name || h.Class != mdns.ClassINET {
			continue
		}
		if sig, ok := rr.(*mdns.RRSIG); ok && sig.TypeCovered == typ {
			s.sigs = append(s.sigs, sig)
		} else if rr.Header().Rrtype == typ {
			s.records = append(s.records, rr)
		}
	}
	return s
}

// normalize puts owners and signers in lower case.
func normalize(m *mdns.Msg) {
	for _, section := range [][]mdns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			rr.Header().Name = lower(rr.Header().Name)
			if sig, ok := rr.(*mdns.RRSIG); ok {
				sig.SignerName = lower(sig.SignerName)
			}
		}
	}
}

// signers returns the zones that may have signed the set and claim it: those that
// its name is in, the lowest first. DS records are signed by the zone above.
func (s rrset) signers() []string {
	var list []string
	for _, sig := range s.sigs {
		ok := isWithin(s.name, sig.SignerName)
		if s.typ == mdns.TypeDS && s.name != "." {
			ok = isBelow(s.name, sig.SignerName)
		}
		if ok && !slices.Contains(list, sig.SignerName) {
			list = append(list, sig.SignerName)
		}
	}
	slices.SortFunc(list, func(a, b string) int { return mdns.CountLabel(b) - mdns.CountLabel(a) })
	return list[:min(len(list), signersMax)]
}

// zoneKey is a key with its tag, which takes time to compute.
type zoneKey struct {
	*mdns.DNSKEY
	tag uint16
}

// usable tells whether signatures of a key count: it is for signing in the DNS
// (RFC 4034, section 2.1), not revoked (RFC 5011, section 2.1), and we know how.
func (k zoneKey) usable() bool {
	return k.Flags&mdns.ZONE != 0 && k.Flags&mdns.REVOKE == 0 && k.Protocol == 3 && algorithmKnown(k.Algorithm)
}

// signed is what a valid signature says of a set.
type signed struct {
	ttl time.Duration // How long it may be kept.

	// expanded tells that the records are those of the wildcard below encloser. It is
	// to be proven that there is nothing closer to the name.
	expanded bool
	encloser string
}

// verifier verifies signatures at a time.
type verifier struct {
	budget *budget
	now    time.Time
	notes  *[]TraceSignature // What was seen, if not nil.
}

// verify verifies that a set has a valid signature of a zone with such keys, RFC
// 4035, section 5.3. The error is a *bogusError or errBudget.
func (v verifier) verify(zone string, keys []zoneKey, s rrset) (signed, error) {
	if len(s.sigs) == 0 {
		return signed{}, bogus(mdns.ExtendedErrorCodeRRSIGsMissing, "no signature of %s of %s", mdns.TypeToString[s.typ], s.name)
	}
	var first error
	left := signaturesPerSet
	for _, sig := range s.sigs {
		tried, err := v.try(zone, keys, s, sig, &left)
		v.note(sig, tried, err)
		switch {
		case err == nil:
			return v.signed(s, sig), nil
		case !errors.Is(err, dns.ErrBogus):
			return signed{}, err
		case first == nil || tried:
			first = err // What fails last tells most.
		}
	}
	return signed{}, first
}

// try verifies one signature, with left more tries.
func (v verifier) try(zone string, keys []zoneKey, s rrset, sig *mdns.RRSIG, left *int) (tried bool, err error) {
	if err := checkSignature(zone, s, sig, v.now); err != nil {
		return false, err
	}
	what := signatureName{s, sig}
	candidates := 0
	for _, k := range keys {
		if k.tag != sig.KeyTag || k.Algorithm != sig.Algorithm || !k.usable() {
			continue
		}
		if candidates++; candidates > collisionsMax {
			return true, tooMany(collisionsMax, "keys of "+zone+" with one tag")
		}
		if *left--; *left < 0 {
			return true, tooMany(signaturesPerSet, "signatures to verify for one set")
		}
		if err := v.budget.signature(); err != nil {
			return true, err
		}
		if sig.Verify(k.DNSKEY, s.records) == nil {
			return true, nil
		}
	}
	if candidates > 0 {
		return true, bogus(mdns.ExtendedErrorCodeDNSBogus, "%s is wrong", what)
	}
	return false, keyMissing(keys, sig, what)
}

// signatureName names a signature in errors, of which there are few.
type signatureName struct {
	set rrset
	sig *mdns.RRSIG
}

func (n signatureName) String() string {
	return fmt.Sprintf("signature of %s of %s by key %d of %s", mdns.TypeToString[n.set.typ], n.set.name, n.sig.KeyTag, n.sig.SignerName)
}

// keyMissing tells why there is no key for a signature.
func keyMissing(keys []zoneKey, sig *mdns.RRSIG, what signatureName) error {
	for _, k := range keys {
		if k.tag == sig.KeyTag && k.Algorithm == sig.Algorithm && k.Flags&mdns.ZONE == 0 {
			return bogus(mdns.ExtendedErrorCodeNoZoneKeyBitSet, "%s, which is not for zones", what)
		}
	}
	return bogus(mdns.ExtendedErrorCodeDNSKEYMissing, "%s, which is not there, is revoked or is of no use here", what)
}

// checkSignature checks a signature but for its cryptography.
func checkSignature(zone string, s rrset, sig *mdns.RRSIG, now time.Time) error {
	what := signatureName{s, sig}
	at := uint32(now.Unix()) //nolint:gosec // Times wrap around, RFC 4034, section 3.1.5, and RFC 1982.
	switch {
	case sig.SignerName != zone:
		return bogus(mdns.ExtendedErrorCodeDNSBogus, "%s, but the zone is %s", what, zone)
	case int(sig.Labels) > countLabels(s.name):
		return bogus(mdns.ExtendedErrorCodeDNSBogus, "%s is for a name with %d labels", what, sig.Labels)
	case int(sig.Labels) < mdns.CountLabel(zone):
		return bogus(mdns.ExtendedErrorCodeDNSBogus, "%s is for a wildcard above the zone", what)
	case !algorithmKnown(sig.Algorithm):
		return bogus(mdns.ExtendedErrorCodeUnsupportedDNSKEYAlgorithm, "%s is of algorithm %s, which is not supported", what, algorithmName(sig.Algorithm))
	case int32(sig.Expiration-sig.Inception) < 0:
		return bogus(mdns.ExtendedErrorCodeSignatureExpiredBeforeValid, "%s ends before it begins", what)
	case int32(sig.Expiration-at) < 0:
		return bogus(mdns.ExtendedErrorCodeSignatureExpired, "%s was valid until %s", what, serialTime(sig.Expiration, now).Format(time.RFC3339))
	case int32(at-sig.Inception) < 0:
		return bogus(mdns.ExtendedErrorCodeSignatureNotYetValid, "%s is valid from %s on", what, serialTime(sig.Inception, now).Format(time.RFC3339))
	}
	return nil
}

// serialTime returns the time of a signature: of those it may mean, the one nearest
// to now.
func serialTime(t uint32, now time.Time) time.Time {
	at := now.Unix()
	return time.Unix(at+int64(int32(t-uint32(at))), 0).UTC() //nolint:gosec // As in checkSignature.
}

// signed returns what a valid signature says. Records last no longer than what it
// has for their TTL, and than itself (RFC 4035, section 5.3.3).
func (v verifier) signed(s rrset, sig *mdns.RRSIG) signed {
	ttl := recordsTTL(s.records)
	ttl = min(ttl, time.Duration(sig.OrigTtl)*time.Second, serialTime(sig.Expiration, v.now).Sub(v.now))
	r := signed{ttl: max(0, ttl)}
	if int(sig.Labels) < countLabels(s.name) {
		r.expanded, r.encloser = true, last(s.name, int(sig.Labels))
	}
	return r
}

// recordsTTL returns how long records may be kept.
func recordsTTL(records []mdns.RR) time.Duration {
	a := answer{ttl: ttlMax}
	a.limit(records)
	return a.ttl
}

// note keeps what was seen of a signature.
func (v verifier) note(sig *mdns.RRSIG, tried bool, err error) {
	if v.notes == nil {
		return
	}
	t := TraceSignature{
		Name: sig.Hdr.Name, Covers: mdns.TypeToString[sig.TypeCovered], Signer: sig.SignerName, KeyTag: sig.KeyTag, Algorithm: algorithmName(sig.Algorithm),
		Labels: sig.Labels, Inception: serialTime(sig.Inception, v.now), Expires: serialTime(sig.Expiration, v.now), Valid: err == nil, Tried: tried,
	}
	if e := extendedOf(err); e != nil {
		t.Why = e.Text
	} else if err != nil {
		t.Why = err.Error()
	}
	*v.notes = append(*v.notes, t)
}

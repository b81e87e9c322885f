package dnstest

import (
	"encoding/base64"
	"time"

	mdns "github.com/miekg/dns"
)

// Signatures hold from some time before to some time after the tree's time.
const (
	signedBefore = time.Hour
	signedFor    = 14 * 24 * time.Hour
)

// Damage is what is wrong with records of a Tree.
type Damage int

// The kinds of damage. Those of signatures concern the NSEC and NSEC3 records too,
// if a whole zone is damaged.
const (
	Whole            Damage = iota // Nothing.
	Expired                        // The signature held until an hour ago.
	NotYetValid                    // The signature holds from in an hour.
	WrongSignature                 // The signature is of something else.
	NoSignature                    // There is none.
	UnknownAlgorithm               // The signature is of an algorithm nobody knows.
	OfParent                       // The signature is by the zone above.
	WrongDigest                    // Of DS records: they are of other keys.
	Missing                        // The records are left out; the proof tells that they are there.
	Denied                         // As Missing, and the name is said not to be.
	NoProof                        // Answers that need a proof, with NSEC or NSEC3, come without.
	WrongProof                     // Such answers come with another, well signed proof.
)

// sigKey is what signatures are kept by.
type sigKey struct {
	zone, owner string
	typ         uint16
	damage      Damage
}

// signatures returns the signatures over records of one owner and type.
func (t *Tree) signatures(z *treeZone, rrs []mdns.RR, d Damage) []mdns.RR {
	if d == NoSignature || z.Unsigned {
		return nil
	}
	h := rrs[0].Header()
	id := sigKey{z.name, canonical(h.Name), h.Rrtype, d}
	if list, ok := t.sigs[id]; ok {
		return list
	}
	by := z
	if d == OfParent && z.parent != nil {
		by = z.parent
	}
	var list []mdns.RR
	use := SignsZone
	if h.Rrtype == mdns.TypeDNSKEY {
		use = SignsKeys
	}
	for _, k := range by.keys {
		if k.Use&use != 0 {
			list = append(list, t.sign(by, k, rrs, d)...)
		}
	}
	t.sigs[id] = list
	return list
}

// sign returns the signatures by a key: those of the zone's trap, and a right one.
func (t *Tree) sign(z *treeZone, k zoneKey, rrs []mdns.RR, d Damage) (list []mdns.RR) {
	sig := &mdns.RRSIG{
		Hdr:        mdns.RR_Header{Ttl: rrs[0].Header().Ttl},
		Algorithm:  k.Algorithm,
		KeyTag:     k.public.KeyTag(),
		SignerName: z.name,
		Inception:  uint32(t.now.Add(-signedBefore).Unix()),
		Expiration: uint32(t.now.Add(signedFor).Unix()),
	}
	switch d {
	case Expired:
		sig.Inception, sig.Expiration = uint32(t.now.Add(-signedFor).Unix()), uint32(t.now.Add(-time.Hour).Unix())
	case NotYetValid:
		sig.Inception = uint32(t.now.Add(time.Hour).Unix())
	}
	if err := k.write(sig, rrs); err != nil {
		return nil // Can't be, the key was made for it; and a missing signature does not go unnoticed.
	}
	switch d {
	case UnknownAlgorithm:
		sig.Algorithm = 200
	case WrongSignature:
		sig.Signature = base64.StdEncoding.EncodeToString(otherBytes(sig.Signature))
	}
	for range z.Trap.Signatures {
		wrong := mdns.Copy(sig).(*mdns.RRSIG)
		wrong.Signature = base64.StdEncoding.EncodeToString(otherBytes(sig.Signature))
		list = append(list, wrong)
	}
	return append(list, sig)
}

// write fills in a signature.
func (k zoneKey) write(sig *mdns.RRSIG, rrs []mdns.RR) error {
	if k.signer != nil {
		return sig.Sign(k.signer, rrs)
	}
	// The library fills in what does not depend on the algorithm only with one.
	known, err := generate(sig.SignerName, flagsZone, mdns.ECDSAP256SHA256)
	if err != nil {
		return err
	}
	sig.Algorithm = mdns.ECDSAP256SHA256
	err = sig.Sign(known.signer, rrs)
	sig.Algorithm = k.Algorithm
	return err
}

// otherBytes returns random bytes, as many as those in base64. The first one is
// as it was, so that numbers stay in the range that algorithms take.
func otherBytes(s string) []byte {
	old, _ := base64.StdEncoding.DecodeString(s) // It was made from bytes.
	b := random(len(old))
	if len(b) > 0 {
		b[0] = old[0]
	}
	return b
}

// signed returns records, with their signatures if the query asks for them, as
// records of name.
func (t *Tree) signed(z *treeZone, name string, rrs []mdns.RR, do bool, d Damage) []mdns.RR {
	if len(rrs) == 0 {
		return nil
	}
	if d == WrongDigest && rrs[0].Header().Rrtype == mdns.TypeDS {
		rrs = wrongDigests(rrs)
	}
	list := withOwner(rrs, name)
	if do {
		list = append(list, withOwner(t.signatures(z, rrs, d), name)...)
	}
	return list
}

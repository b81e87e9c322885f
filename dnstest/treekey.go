package dnstest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	mdns "github.com/miekg/dns"
)

const (
	// rsaBits is the size of RSA keys. Smaller ones would be refused.
	rsaBits = 2048

	flagsZone = 256 // DNSKEY flags, RFC 4034, section 2.1.1.
	flagsSEP  = 1

	// tagTries bounds the search for a key with a tag; about one in four fits.
	tagTries = 1000
)

// Use is what a key is for.
type Use uint8

// The uses of keys, to be combined.
const (
	Published Use = 1 << iota // It is among the DNSKEY records.
	SignsKeys                 // It signs the DNSKEY records.
	SignsZone                 // It signs all others.
	InParent                  // The zone above has its DS record.

	KSK = Published | SignsKeys | InParent
	ZSK = Published | SignsZone
	CSK = KSK | ZSK
)

// Key is a key of a zone. Algorithms and digests that can't be computed here are
// made of random bytes: they are unknown.
type Key struct {
	Label     string // The same label is the same key, for those of a zone with the same algorithm.
	Algorithm uint8  // Zero: 13, ECDSA P-256.
	Digest    uint8  // Of its DS record. Zero: 2, SHA-256.
	Use       Use    // Zero: CSK.
}

// secretKey tells keys apart.
type secretKey struct {
	zone string
	key  Key // Without Use and Digest.
}

// secret is a generated key. The signer is nil for unknown algorithms.
type secret struct {
	public *mdns.DNSKEY
	signer crypto.Signer
}

// zoneKey is a key of a zone, generated.
type zoneKey struct {
	Key
	secret
}

// makeKeys generates the keys of a zone that it doesn't have yet, and adds the
// records.
func (t *Tree) makeKeys(z *treeZone) error {
	specs := z.Keys
	if len(specs) == 0 {
		specs = []Key{{Label: "ksk", Use: KSK}, {Label: "zsk", Use: ZSK}}
	}
	z.keys = nil
	for _, k := range specs {
		if k.Algorithm == 0 {
			k.Algorithm = mdns.ECDSAP256SHA256
		}
		if k.Digest == 0 {
			k.Digest = mdns.SHA256
		}
		if k.Use == 0 {
			k.Use = CSK
		}
		s, err := t.secret(z, k)
		if err != nil {
			return err
		}
		z.keys = append(z.keys, zoneKey{k, s})
		if k.Use&(SignsKeys|SignsZone) != 0 {
			if err := z.addTrapKeys(s.public); err != nil {
				return err
			}
		}
		if k.Use&Published != 0 {
			z.add(s.public)
		}
	}
	return nil
}

// secret returns a key, generated if it isn't known.
func (t *Tree) secret(z *treeZone, k Key) (secret, error) {
	id := secretKey{z.name, Key{Label: k.Label, Algorithm: k.Algorithm}}
	if s, ok := t.secrets[id]; ok {
		return s, nil
	}
	flags := uint16(flagsZone)
	if k.Use&(SignsKeys|InParent) != 0 {
		flags |= flagsSEP
	}
	s, err := generate(z.name, flags, k.Algorithm)
	if err != nil {
		return secret{}, fmt.Errorf("generating key: %w", err)
	}
	t.secrets[id] = s
	return s, nil
}

// generate generates a key.
func generate(name string, flags uint16, algorithm uint8) (secret, error) {
	public := &mdns.DNSKEY{
		Hdr:   mdns.RR_Header{Name: name, Rrtype: mdns.TypeDNSKEY, Class: mdns.ClassINET, Ttl: ttlDefault},
		Flags: flags, Protocol: 3, Algorithm: algorithm,
	}
	bits := 0
	switch algorithm {
	case mdns.RSASHA1, mdns.RSASHA1NSEC3SHA1, mdns.RSASHA256, mdns.RSASHA512:
		bits = rsaBits
	case mdns.ECDSAP256SHA256, mdns.ED25519:
		bits = 256
	case mdns.ECDSAP384SHA384:
		bits = 384
	default:
		public.PublicKey = base64.StdEncoding.EncodeToString(random(64))
		return secret{public: public}, nil
	}
	private, err := public.Generate(bits)
	if err != nil {
		return secret{}, err
	}
	return secret{public, private.(crypto.Signer)}, nil
}

// random returns random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // It never fails.
	return b
}

// addTrapKeys adds keys with the tag of another.
func (z *treeZone) addTrapKeys(good *mdns.DNSKEY) error {
	for range z.Trap.Keys {
		k, err := sameTag(good)
		if err != nil {
			return err
		}
		z.add(k)
	}
	return nil
}

// sameTag returns another key with the tag of one. The tag is a sum in which the
// flags count (RFC 4034, appendix B), of which most are reserved, and ignored by
// who checks signatures. So a key that is good for calculating is found soon.
func sameTag(good *mdns.DNSKEY) (*mdns.DNSKEY, error) {
	const fixed, unset = flagsZone, 0x80 // 0x80 would mean that the key is revoked, RFC 5011.
	for range tagTries {
		s, err := generate(good.Hdr.Name, 0, good.Algorithm)
		if err != nil {
			return nil, err
		}
		k := s.public
		k.Flags = good.KeyTag() - k.KeyTag()
		for range 2 { // A carry may be in the way.
			if k.Flags&fixed != 0 && k.Flags&unset == 0 && k.KeyTag() == good.KeyTag() {
				return k, nil
			}
			k.Flags--
		}
	}
	return nil, fmt.Errorf("no key with tag %d found", good.KeyTag())
}

// delegationSigners returns the DS records for the keys of a zone.
func (z *treeZone) delegationSigners() (list []mdns.RR) {
	for _, k := range z.keys {
		if k.Use&InParent == 0 {
			continue
		}
		ds := k.public.ToDS(k.Digest)
		if ds == nil {
			ds = k.public.ToDS(mdns.SHA256)
			ds.DigestType, ds.Digest = k.Digest, hex.EncodeToString(random(32))
		}
		ds.Hdr.Ttl = ttlDefault
		for range z.Trap.DS {
			wrong := mdns.Copy(ds).(*mdns.DS)
			wrong.Digest = hex.EncodeToString(random(32))
			list = append(list, wrong)
		}
		list = append(list, ds)
	}
	return list
}

// wrongDigests returns DS records of which none is of a key.
func wrongDigests(rrs []mdns.RR) (list []mdns.RR) {
	for _, rr := range rrs {
		ds, ok := mdns.Copy(rr).(*mdns.DS)
		if ok {
			digest, _ := hex.DecodeString(ds.Digest) // It was made from bytes.
			ds.Digest = hex.EncodeToString(bytes.Repeat([]byte{0x5a}, len(digest)))
			list = append(list, ds)
		}
	}
	return list
}

package resolver

import (
	"strconv"
	"strings"

	mdns "github.com/miekg/dns"
)

// digestKnown tells whether we compute a digest of DS records.
func digestKnown(digest uint8) bool {
	return digest == mdns.SHA1 || digest == mdns.SHA256 || digest == mdns.SHA384
}

func digestName(digest uint8) string {
	if name := mdns.HashToString[digest]; name != "" {
		return name
	}
	return strconv.Itoa(int(digest))
}

// unusable tells why a DS record doesn't count among others. Empty: it does.
//
// SHA-1 is as good as the others for a digest of a key, for which nobody can make
// a second one, but does not count beside them (RFC 4509, section 3).
func unusable(ds *mdns.DS, all []*mdns.DS) string {
	switch {
	case !algorithmKnown(ds.Algorithm):
		return "algorithm is not supported"
	case !digestKnown(ds.DigestType):
		return "digest is not supported"
	case ds.DigestType != mdns.SHA1:
		return ""
	}
	for _, other := range all {
		if other.DigestType != mdns.SHA1 && algorithmKnown(other.Algorithm) && digestKnown(other.DigestType) {
			return "there are better digests than SHA1"
		}
	}
	return ""
}

// usableDS returns those that count. If there are none, the zone is as if it were
// not signed, RFC 4035, section 5.2, and RFC 6840, section 5.2.
func usableDS(all []*mdns.DS) (list []*mdns.DS) {
	for _, ds := range all {
		if unusable(ds, all) == "" {
			list = append(list, ds)
		}
	}
	return list
}

// entryKeys returns the keys that DS records lead to. The error is errBudget.
func entryKeys(keys []zoneKey, list []*mdns.DS) ([]zoneKey, error) {
	var entries []zoneKey
	for _, ds := range list {
		tried := 0
		for _, k := range keys {
			if k.tag != ds.KeyTag || k.Algorithm != ds.Algorithm || !k.usable() {
				continue
			}
			if tried++; tried > collisionsMax {
				return nil, tooMany(collisionsMax, "keys of "+k.Hdr.Name+" with one tag")
			}
			if matches(ds, k) {
				entries = append(entries, k)
			}
		}
	}
	return entries, nil
}

// matches tells whether a DS record is of a key.
func matches(ds *mdns.DS, k zoneKey) bool {
	made := k.ToDS(ds.DigestType)
	return made != nil && strings.EqualFold(made.Digest, ds.Digest)
}

// checkKeys returns the keys of a zone from its DNSKEY records, which a key that DS
// records lead to has signed (RFC 4035, section 5.2). The DS records all count.
func (v verifier) checkKeys(s rrset, list []*mdns.DS) (keys []zoneKey, sig signed, err error) {
	if len(s.records) == 0 {
		return nil, sig, bogus(mdns.ExtendedErrorCodeDNSKEYMissing, "%s has no keys, but DS records", s.name)
	}
	if len(s.records) > keysMax {
		return nil, sig, tooMany(keysMax, "keys of "+s.name)
	}
	for _, rr := range s.records {
		if k, ok := rr.(*mdns.DNSKEY); ok {
			keys = append(keys, zoneKey{k, k.KeyTag()})
		}
	}
	entries, err := entryKeys(keys, list)
	switch {
	case err != nil:
		return keys, sig, err
	case len(entries) == 0:
		return keys, sig, bogus(mdns.ExtendedErrorCodeDNSKEYMissing, "no key of %s is the one that its DS records, or trust anchors, name", s.name)
	}
	sig, err = v.verify(s.name, entries, s)
	if err == nil && sig.expanded {
		err = bogus(mdns.ExtendedErrorCodeDNSBogus, "keys of %s are those of a wildcard", s.name)
	}
	return keys, sig, err
}

// traceDS describes DS records, with the keys they lead to if those are known.
func traceDS(all []*mdns.DS, keys []zoneKey) (list []TraceDS) {
	for _, ds := range all {
		t := TraceDS{KeyTag: ds.KeyTag, Algorithm: algorithmName(ds.Algorithm), Digest: digestName(ds.DigestType), Why: unusable(ds, all)}
		t.Used = t.Why == ""
		for i, k := range keys[:min(len(keys), keysMax)] {
			t.Matches = t.Matches || i < keysMax && k.tag == ds.KeyTag && matches(ds, k)
		}
		list = append(list, t)
	}
	return list
}

// traceKeys describes keys.
func traceKeys(keys, entries []zoneKey) (list []TraceKey) {
	for _, k := range keys {
		t := TraceKey{
			KeyTag: k.tag, Algorithm: algorithmName(k.Algorithm), Bits: keyBits(k.DNSKEY),
			Zone: k.Flags&mdns.ZONE != 0, SEP: k.Flags&mdns.SEP != 0, Revoked: k.Flags&mdns.REVOKE != 0, Used: k.usable(),
		}
		for _, e := range entries {
			t.Entry = t.Entry || e.DNSKEY == k.DNSKEY
		}
		list = append(list, t)
	}
	return list
}

// keyBits returns the size of a key, of RSA that of its modulus. It is 0 if not
// known.
func keyBits(k *mdns.DNSKEY) int {
	switch k.Algorithm {
	case mdns.ECDSAP256SHA256, mdns.ED25519:
		return 256
	case mdns.ECDSAP384SHA384:
		return 384
	case mdns.RSASHA1, mdns.RSASHA1NSEC3SHA1, mdns.RSASHA256, mdns.RSASHA512:
		// An exponent of up to 3 bytes with its length is before it, RFC 3110, section 2.
		size := len(k.PublicKey)/4*3 - strings.Count(k.PublicKey, "=")
		return size / 64 * 64 * 8
	}
	return 0
}

package resolver

import (
	"crypto"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// signedAt is when signatures of these tests are made.
var signedAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// testKey is a key of a zone with its secret.
type testKey struct {
	*mdns.DNSKEY
	signer crypto.Signer
}

func newKey(t testing.TB, zone string, flags uint16, algorithm uint8) testKey {
	t.Helper()
	k := &mdns.DNSKEY{
		Hdr:   mdns.RR_Header{Name: zone, Rrtype: mdns.TypeDNSKEY, Class: mdns.ClassINET, Ttl: 3600},
		Flags: flags, Protocol: 3, Algorithm: algorithm,
	}
	bits := 256
	if algorithm == mdns.RSASHA1 {
		bits = 1024
	}
	secret, err := k.Generate(bits)
	if err != nil {
		t.Fatal(err)
	}
	return testKey{k, secret.(crypto.Signer)}
}

// sign signs records, for an hour before and after signedAt.
func (k testKey) sign(t testing.TB, s *rrset, change func(*mdns.RRSIG)) {
	t.Helper()
	sig := &mdns.RRSIG{
		Hdr:       mdns.RR_Header{Name: s.name, Rrtype: mdns.TypeRRSIG, Class: mdns.ClassINET, Ttl: 3600},
		Algorithm: k.Algorithm, KeyTag: k.KeyTag(), SignerName: k.Hdr.Name,
		Inception: uint32(signedAt.Add(-time.Hour).Unix()), Expiration: uint32(signedAt.Add(time.Hour).Unix()),
	}
	if change != nil {
		change(sig)
	}
	if err := sig.Sign(k.signer, s.records); err != nil {
		t.Fatal(err)
	}
	s.sigs = append(s.sigs, sig)
}

// set makes a set without signatures.
func set(t testing.TB, text string) rrset {
	t.Helper()
	rrs := records(t, text)
	return rrset{name: rrs[0].Header().Name, typ: rrs[0].Header().Rrtype, records: rrs}
}

// code returns what a verification found, as a code of RFC 8914, 0 if all is well.
func code(err error) int {
	switch e := extendedOf(err); {
	case e != nil:
		return int(e.Code)
	case err != nil:
		return -1
	}
	return 0
}

func TestVerify(t *testing.T) {
	t.Parallel()
	key, other := newKey(t, "example.", 256, mdns.ED25519), newKey(t, "example.", 257, mdns.ECDSAP256SHA256)
	noZone, revoked := newKey(t, "example.", 0, mdns.ED25519), newKey(t, "example.", 256|128, mdns.ED25519)
	org := newKey(t, "org.", 256, mdns.ED25519)
	sha1 := newKey(t, "example.", 256, mdns.RSASHA1)
	rightKeys := []testKey{key, other, noZone, revoked, sha1}
	const a = "x.example. 300 A 192.0.2.1\nx.example. 300 A 192.0.2.2"
	for _, c := range []struct {
		what   string
		text   string
		by     testKey
		change func(*mdns.RRSIG) // Before it is signed.
		spoil  func(*rrset)      // After.
		at     time.Duration
		keys   []testKey
		want   int
		ttl    time.Duration
	}{
		{what: "all is well", by: key, ttl: 5 * time.Minute},
		{what: "by a key that is for keys, too", by: other, ttl: 5 * time.Minute},
		{what: "its last second", by: key, at: time.Hour, ttl: 0},
		{what: "over", by: key, at: time.Hour + time.Second, want: 7},
		{what: "its first second", by: key, at: -time.Hour, ttl: 5 * time.Minute},
		{what: "not begun", by: key, at: -time.Hour - time.Second, want: 8},
		{what: "records last no longer than it", by: key, at: time.Hour - time.Minute, ttl: time.Minute},
		{what: "over before it begins", by: key, change: func(s *mdns.RRSIG) { s.Inception, s.Expiration = s.Expiration, s.Inception }, want: 25},
		{what: "a time that wraps around", by: key, at: time.Duration(1<<32) * time.Second, ttl: 5 * time.Minute},
		{what: "the TTL was made longer", by: key, spoil: func(s *rrset) {
			for _, rr := range s.records {
				rr.Header().Ttl = 86400
			}
		}, ttl: 5 * time.Minute},
		{what: "the TTL has become shorter", by: key, spoil: func(s *rrset) { s.records[1].Header().Ttl = 7 }, ttl: 7 * time.Second},
		{what: "a record left out", by: key, spoil: func(s *rrset) { s.records = s.records[1:] }, want: 6},
		{what: "a record added", by: key, spoil: func(s *rrset) { s.records = append(s.records, records(t, "x.example. 300 A 192.0.2.3")...) }, want: 6},
		{what: "a record twice", by: key, spoil: func(s *rrset) { s.records = append(s.records, s.records[0]) }, ttl: 5 * time.Minute},
		{what: "records in another order", by: key, spoil: func(s *rrset) { slices.Reverse(s.records) }, ttl: 5 * time.Minute},
		{what: "no signature", by: key, spoil: func(s *rrset) { s.sigs = nil }, want: 10},
		{what: "a signature of nothing", by: key, spoil: func(s *rrset) { s.sigs[0].Signature = "" }, want: 6},
		{what: "half a signature", by: other, spoil: func(s *rrset) { s.sigs[0].Signature = s.sigs[0].Signature[:44] }, want: 6},
		{what: "a key that is not there", by: key, keys: []testKey{other}, want: 9},
		{what: "a key that is not for zones", by: noZone, want: 11},
		{what: "a revoked key", by: revoked, want: 9},
		{what: "an algorithm with SHA-1", by: sha1, want: 1},
		{what: "of another zone", by: org, keys: []testKey{key, org}, want: 6},
		{what: "said to be of the zone, by another's key", by: org, spoil: func(s *rrset) { s.sigs[0].SignerName = "example." }, keys: []testKey{org}, want: 6},
		{what: "too many labels", by: key, spoil: func(s *rrset) { s.sigs[0].Labels = 3 }, want: 6},
		{what: "fewer labels than were signed", by: key, spoil: func(s *rrset) { s.sigs[0].Labels = 1 }, want: 6},
		{what: "a wildcard of the zone above", by: key, spoil: func(s *rrset) { s.sigs[0].Labels = 0 }, want: 6},
		{what: "of another type", by: key, spoil: func(s *rrset) { s.sigs[0].TypeCovered = mdns.TypeTXT }, want: 6},
		{what: "a wrong one before the right one", by: key, spoil: func(s *rrset) {
			wrong := *s.sigs[0]
			wrong.Signature = "AAAA"
			s.sigs = []*mdns.RRSIG{&wrong, s.sigs[0]}
		}, ttl: 5 * time.Minute},
		{what: "a name in other letters", text: "X.Example. 300 MX 10 MX.example.", by: key, spoil: func(s *rrset) {
			s.records[0].(*mdns.MX).Mx = "mx.EXAMPLE."
		}, ttl: 5 * time.Minute},
		{what: "a zone whose name is the end of the other's", text: "x.badexample. 300 A 192.0.2.1", by: key, want: 6},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			if c.text == "" {
				c.text = a
			}
			s := set(t, c.text)
			c.by.sign(t, &s, c.change)
			if c.spoil != nil {
				c.spoil(&s)
			}
			if c.keys == nil {
				c.keys = rightKeys
			}
			var keys []zoneKey
			for _, k := range c.keys {
				keys = append(keys, zoneKey{k.DNSKEY, k.KeyTag()})
			}
			m := &mdns.Msg{Answer: s.records}
			for _, sig := range s.sigs {
				m.Answer = append(m.Answer, sig)
			}
			normalize(m)
			s.name = lower(s.name)
			v := verifier{budget: &budget{}, now: signedAt.Add(c.at)}
			var notes []TraceSignature
			v.notes = &notes
			got, err := v.verify("example.", keys, s)
			if c.what == "a zone whose name is the end of the other's" {
				if len(s.signers()) != 0 {
					t.Errorf("got signers %q", s.signers())
				}
				return
			}
			if code(err) != c.want || err != nil && !errors.Is(err, dns.ErrBogus) || err == nil && (got.ttl != c.ttl || got.expanded) {
				t.Errorf("got %+v, %v, want %d, %v", got, err, c.want, c.ttl)
			}
			if len(notes) > len(s.sigs) || len(notes) > 0 && notes[len(notes)-1].Valid != (err == nil) {
				t.Errorf("got notes %+v", notes)
			}
		})
	}
}

// TestExpanded has records of a wildcard.
func TestExpanded(t *testing.T) {
	t.Parallel()
	key := newKey(t, "example.", 257, mdns.ED25519)
	keys := []zoneKey{{key.DNSKEY, key.KeyTag()}}
	for name, encloser := range map[string]string{
		"*.w.example.":   "", // The wildcard itself.
		"x.w.example.":   "w.example.",
		"y.x.w.example.": "w.example.",
		"*.x.w.example.": "w.example.",
	} {
		s := set(t, "*.w.example. 300 A 192.0.2.1")
		key.sign(t, &s, nil)
		s.name = name
		s.records[0].Header().Name, s.sigs[0].Hdr.Name = name, name
		got, err := verifier{budget: &budget{}, now: signedAt}.verify("example.", keys, s)
		if err != nil || got.expanded != (encloser != "") || got.encloser != encloser {
			t.Errorf("%s: got %+v, %v, want %q", name, got, err, encloser)
		}
	}
}

func TestSigners(t *testing.T) {
	t.Parallel()
	signatures := func(signers string) (list []*mdns.RRSIG) {
		for _, s := range strings.Fields(signers) {
			list = append(list, &mdns.RRSIG{SignerName: s})
		}
		return list
	}
	for _, c := range []struct {
		name    string
		typ     uint16
		signers string
		want    string
	}{
		{"x.example.", mdns.TypeA, "example.", "example."},
		{"x.example.", mdns.TypeA, "example. example.", "example."},
		{"x.example.", mdns.TypeA, ". x.example. example.", "x.example. example."},
		{"x.example.", mdns.TypeA, "org. y.x.example. badx.example. ample.", ""},
		{"x.example.", mdns.TypeDS, "x.example. example.", "example."},
		{".", mdns.TypeNS, ".", "."},
		{`a\.example.`, mdns.TypeA, "example. .", "."},
	} {
		if got := strings.Join(rrset{name: c.name, typ: c.typ, sigs: signatures(c.signers)}.signers(), " "); got != c.want {
			t.Errorf("%s %d, %s: got %s, want %s", c.name, c.typ, c.signers, got, c.want)
		}
	}
}

// TestDelegation has DS records of each kind.
func TestDelegation(t *testing.T) {
	t.Parallel()
	ksk, zsk := newKey(t, "example.", 257, mdns.ED25519), newKey(t, "example.", 256, mdns.ECDSAP256SHA256)
	ds := func(k testKey, digest uint8, change func(*mdns.DS)) *mdns.DS {
		d := k.ToDS(digest)
		if d == nil {
			d = k.ToDS(mdns.SHA256)
			d.DigestType = digest
		}
		if change != nil {
			change(d)
		}
		return d
	}
	wrong := func(d *mdns.DS) { d.Digest = strings.Repeat("ab", len(d.Digest)/2) }
	unknownAlgorithm := func(d *mdns.DS) { d.Algorithm = mdns.ED448 }
	for _, c := range []struct {
		what     string
		list     []*mdns.DS
		usable   int
		unsigned bool // Of the keys.
		want     int
	}{
		{"SHA-256", []*mdns.DS{ds(ksk, mdns.SHA256, nil)}, 1, false, 0},
		{"SHA-384", []*mdns.DS{ds(ksk, mdns.SHA384, nil)}, 1, false, 0},
		{"SHA-1 alone", []*mdns.DS{ds(ksk, mdns.SHA1, nil)}, 1, false, 0},
		{"SHA-1 beside a wrong SHA-256", []*mdns.DS{ds(ksk, mdns.SHA1, nil), ds(ksk, mdns.SHA256, wrong)}, 1, false, 9},
		{"SHA-1 beside SHA-256 of an unknown algorithm", []*mdns.DS{ds(ksk, mdns.SHA1, nil), ds(ksk, mdns.SHA256, unknownAlgorithm)}, 1, false, 0},
		{"GOST", []*mdns.DS{ds(ksk, mdns.GOST94, nil)}, 0, false, 9},
		{"SHA-512, which is not assigned", []*mdns.DS{ds(ksk, mdns.SHA512, nil)}, 0, false, 9},
		{"an unknown algorithm", []*mdns.DS{ds(ksk, mdns.SHA256, unknownAlgorithm)}, 0, false, 9},
		{"an old one beside the right one", []*mdns.DS{ds(ksk, mdns.SHA256, wrong), ds(ksk, mdns.SHA256, nil)}, 2, false, 0},
		{"of a key that has not signed", []*mdns.DS{ds(zsk, mdns.SHA256, nil)}, 1, false, 9},
		{"unsigned keys", []*mdns.DS{ds(ksk, mdns.SHA256, nil)}, 1, true, 10},
		{"in upper case", []*mdns.DS{ds(ksk, mdns.SHA256, func(d *mdns.DS) { d.Digest = strings.ToUpper(d.Digest) })}, 1, false, 0},
	} {
		s := rrset{name: "example.", typ: mdns.TypeDNSKEY, records: []mdns.RR{ksk.DNSKEY, zsk.DNSKEY}}
		if !c.unsigned {
			ksk.sign(t, &s, nil)
		}
		usable := usableDS(c.list)
		keys, _, err := verifier{budget: &budget{}, now: signedAt}.checkKeys(s, usable)
		if len(usable) != c.usable || code(err) != c.want || len(keys) != 2 {
			t.Errorf("%s: got %d usable, %v, want %d, %d", c.what, len(usable), err, c.usable, c.want)
		}
		if traced := traceDS(c.list, keys); len(traced) != len(c.list) {
			t.Errorf("%s: got %+v", c.what, traced)
		}
	}
	if _, _, err := (verifier{budget: &budget{}, now: signedAt}).checkKeys(rrset{name: "example."}, nil); code(err) != 9 {
		t.Errorf("no keys: got %v", err)
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	list, err := parseAnchors("")
	if err != nil || len(list) != 2 || list[0].KeyTag != 20326 || list[1].KeyTag != 38696 || len(usableDS(list)) != 2 {
		t.Errorf("got %v, %v", list, err)
	}
	one := strings.Split(strings.TrimSpace(anchorsDefault), "\n")[0]
	for text, ok := range map[string]bool{
		one:                              true,
		"; Comment.\n" + one + " ; Old.": true,
		strings.Replace(one, ". IN", ".\t172800\tIN", 1): true,
		strings.Replace(one, " 8 2 ", " 5 2 ", 1) + "\n": false, // Nothing we know.
		strings.Replace(one, " 8 2 ", " 5 2 ", 1) + one:  false,
		strings.Replace(one, " 8 2 ", " 8 3 ", 1):        false,
		strings.Replace(one, ". IN", "org. IN", 1):       false,
		". IN A 192.0.2.1":                                     false,
		"20326 8 2 " + strings.Repeat("ab", 32):                false,
		strings.Repeat(one+"\n", 11):                           false,
		strings.Repeat(one+"\n", 10):                           true,
		strings.Replace(one, " 8 2 ", " 5 2 ", 1) + "\n" + one: true,
	} {
		if err := CheckAnchors(text); (err == nil) != ok {
			t.Errorf("%q: got %v", text, err)
		}
		if _, err := New(Options{Anchors: text}); (err == nil) != ok {
			t.Errorf("%q: got %v from New", text, err)
		}
	}
	if _, err := New(Options{Mode: "strict"}); err == nil {
		t.Error("got no error for an unknown mode")
	}
}

// TestCompareNames has the example of RFC 4034, section 6.1.
func TestCompareNames(t *testing.T) {
	t.Parallel()
	ordered := []string{"example.", "a.example.", "yljkjljk.a.example.", "z.a.example.", "zabc.a.example.", "z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := compareNames(a, strings.ToUpper(b)), i-j; got < 0 != (want < 0) || got > 0 != (want > 0) {
				t.Errorf("%s and %s: got %d", a, b, got)
			}
		}
	}
	for _, c := range []struct{ got, want string }{
		{parent("a.b."), "b."}, {parent("b."), "."}, {parent("."), "."}, {parent(`a\.b.c.`), "c."},
		{last("a.b.c.", 2), "b.c."}, {last("a.b.c.", 0), "."}, {last("a.b.c.", 9), "a.b.c."}, {last(".", 1), "."},
		{strings.Join(pathTo("a.b.c.", "."), " "), "c. b.c. a.b.c."}, {strings.Join(pathTo("a.b.c.", "c."), " "), "b.c. a.b.c."}, {strings.Join(pathTo("c.", "c."), " "), ""},
		{common("x.a.b.", "y.A.b."), "a.b."}, {common("a.", "b."), "."}, {wildcard("."), "*."}, {wildcard("a."), "*.a."},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

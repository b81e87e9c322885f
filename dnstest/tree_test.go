package dnstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/resolver"
)

// treeText is a zone with one of each.
const treeText = `
@        MX    10 mx
mx       A     192.0.2.1
mx       AAAA  2001:db8::1
*.wild   TXT   "from a wildcard"
a.b.c    TXT   "deep"
www      CNAME mx
far      CNAME mx.example.net.
old      DNAME new
x.new    A     192.0.2.2
gone     CNAME nope
cut      NS    ns.elsewhere.invalid.
`

// treeNow is when the trees of tests are signed.
var treeNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newTree(t testing.TB, zones ...SignedZone) *Tree {
	t.Helper()
	tree, err := NewTree(treeNow, zones...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// ask asks a tree over a connection in memory, with DNSSEC.
func ask(t testing.TB, tree *Tree, name string, typ uint16) *mdns.Msg {
	t.Helper()
	c, err := tree.Dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	q := (&mdns.Msg{}).SetQuestion(name, typ)
	q.SetEdns0(1232, true)
	q.CheckingDisabled = true
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	b = make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	m := &mdns.Msg{}
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	return m
}

// problems tells what is wrong with the signatures of a reply, each set checked with
// the keys of its zone as they are. What should have none is in unsigned.
func problems(t testing.TB, tree *Tree, m *mdns.Msg) (list []string) {
	t.Helper()
	type set struct {
		name string
		typ  uint16
	}
	rrs := append(slices.Clone(m.Answer), m.Ns...)
	sets, sigs := map[set][]mdns.RR{}, map[set][]*mdns.RRSIG{}
	for _, rr := range rrs {
		h := rr.Header()
		if sig, ok := rr.(*mdns.RRSIG); ok {
			k := set{h.Name, sig.TypeCovered}
			sigs[k] = append(sigs[k], sig)
			continue
		}
		k := set{h.Name, h.Rrtype}
		sets[k] = append(sets[k], rr)
	}
	for k, rrs := range sets {
		what := fmt.Sprintf("%s %s", k.name, mdns.TypeToString[k.typ])
		if len(sigs[k]) == 0 {
			list = append(list, what+": no signature")
		}
		for _, sig := range sigs[k] {
			if !sig.ValidityPeriod(treeNow) {
				list = append(list, what+": time")
			}
			if !slices.ContainsFunc(ask(t, tree, sig.SignerName, mdns.TypeDNSKEY).Answer, func(rr mdns.RR) bool {
				key, ok := rr.(*mdns.DNSKEY)
				return ok && key.KeyTag() == sig.KeyTag && sig.Verify(key, rrs) == nil
			}) {
				list = append(list, what+": wrong signature")
			}
		}
	}
	slices.Sort(list)
	return list
}

// summary is a reply without signatures: code, and owners and types by section.
func summary(m *mdns.Msg) string {
	words := []string{strings.ToLower(mdns.RcodeToString[m.Rcode])}
	for _, rrs := range [][]mdns.RR{m.Answer, m.Ns} {
		for _, rr := range rrs {
			name := rr.Header().Name
			if rr.Header().Rrtype == mdns.TypeNSEC3 {
				name = ""
			}
			if rr.Header().Rrtype != mdns.TypeRRSIG {
				words = append(words, name+mdns.TypeToString[rr.Header().Rrtype])
			}
		}
	}
	return strings.Join(words, " ")
}

// TestTreeAnswers asks for what is there and what isn't, of a zone with NSEC
// records. All that is answered is signed.
func TestTreeAnswers(t *testing.T) {
	t.Parallel()
	tree := newTree(t,
		SignedZone{Name: "example", Text: treeText},
		SignedZone{Name: "example.net", Text: "mx A 192.0.2.3"},
		SignedZone{Name: "unsigned.example", Text: "@ A 192.0.2.4", Unsigned: true})
	for _, c := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"example.", mdns.TypeMX, "noerror example.MX"},
		{"Mx.Example.", mdns.TypeA, "noerror Mx.Example.A"},
		{"example.", mdns.TypeDS, "noerror example.DS"},
		{"example.", mdns.TypeDNSKEY, "noerror example.DNSKEY example.DNSKEY"},
		{".", mdns.TypeDS, "noerror .SOA .NSEC"},
		{"mx.example.", mdns.TypeMX, "noerror example.SOA mx.example.NSEC"},
		{"b.c.example.", mdns.TypeTXT, "noerror example.SOA example.NSEC"},
		{"nope.example.", mdns.TypeA, "nxdomain example.SOA x.new.example.NSEC example.NSEC"},
		{"z.wild.example.", mdns.TypeTXT, "noerror z.wild.example.TXT *.wild.example.NSEC"},
		{"y.z.wild.example.", mdns.TypeMX, "noerror example.SOA *.wild.example.NSEC"},
		{"www.example.", mdns.TypeA, "noerror www.example.CNAME mx.example.A"},
		{"www.example.", mdns.TypeCNAME, "noerror www.example.CNAME"},
		{"far.example.", mdns.TypeA, "noerror far.example.CNAME mx.example.net.A"},
		{"gone.example.", mdns.TypeA, "nxdomain gone.example.CNAME example.SOA x.new.example.NSEC example.NSEC"},
		{"unsigned.example.", mdns.TypeDS, "noerror example.SOA unsigned.example.NSEC"},
	} {
		m := ask(t, tree, c.name, c.typ)
		if got := summary(m); got != c.want {
			t.Errorf("%s %s: got %s\nwant %s", c.name, mdns.TypeToString[c.typ], got, c.want)
		}
		if list := problems(t, tree, m); len(list) > 0 {
			t.Errorf("%s %s: %q", c.name, mdns.TypeToString[c.typ], list)
		}
	}
	m := ask(t, tree, "x.old.example.", mdns.TypeA)
	if got := summary(m); got != "noerror old.example.DNAME x.old.example.CNAME x.new.example.A" {
		t.Errorf("DNAME: got %s", got)
	}
	if list := problems(t, tree, m); !slices.Equal(list, []string{"x.old.example. CNAME: no signature"}) {
		t.Errorf("DNAME: %q", list)
	}
	if got := summary(ask(t, tree, "unsigned.example.", mdns.TypeA)); got != "noerror unsigned.example.A" {
		t.Errorf("unsigned: got %s", got)
	}
	if m := ask(t, tree, "x.cut.example.", mdns.TypeA); m.Rcode != mdns.RcodeServerFailure {
		t.Errorf("delegated to nobody: got %s", summary(m))
	}
	if tree.Queries("A", "www.example") != 1 || tree.Total() < 20 {
		t.Errorf("got %d and %d queries", tree.Queries("A", "www.example"), tree.Total())
	}
}

// TestTreeNSEC3 checks that denials match and cover the names that RFC 5155, section
// 7.2, has for each.
func TestTreeNSEC3(t *testing.T) {
	t.Parallel()
	for _, p := range []NSEC3{{}, {Iterations: 5, Salt: "beef"}, {OptOut: true}} {
		tree := newTree(t,
			SignedZone{Name: "example", Text: treeText, NSEC3: &p},
			SignedZone{Name: "unsigned.example", Unsigned: true})
		direct := "unsigned.example."
		cover := ""
		if p.OptOut {
			direct, cover = "example.", "unsigned.example."
		}
		for _, c := range []struct {
			name           string
			typ            uint16
			matches, cover string // Names for which there must be such a record.
		}{
			{"mx.example.", mdns.TypeMX, "mx.example.", ""},
			{"b.c.example.", mdns.TypeTXT, "b.c.example.", ""},
			{"nope.example.", mdns.TypeA, "example.", "nope.example. *.example."},
			{"very.nope.b.c.example.", mdns.TypeA, "b.c.example.", "nope.b.c.example. *.b.c.example."},
			{"y.z.wild.example.", mdns.TypeTXT, "", "z.wild.example."},
			{"y.z.wild.example.", mdns.TypeMX, "wild.example. *.wild.example.", "z.wild.example."},
			{"unsigned.example.", mdns.TypeDS, direct, cover},
		} {
			m := ask(t, tree, c.name, c.typ)
			if list := problems(t, tree, m); len(list) > 0 {
				t.Errorf("%+v: %s: %q", p, c.name, list)
			}
			has := func(test func(*mdns.NSEC3) bool) bool {
				return slices.ContainsFunc(m.Ns, func(rr mdns.RR) bool {
					n, ok := rr.(*mdns.NSEC3)
					return ok && n.Iterations == p.Iterations && test(n)
				})
			}
			for _, name := range strings.Fields(c.matches) {
				if !has(func(n *mdns.NSEC3) bool { return n.Match(name) }) {
					t.Errorf("%+v: %s: nothing matches %s in %v", p, c.name, name, m.Ns)
				}
			}
			for _, name := range strings.Fields(c.cover) {
				if !has(func(n *mdns.NSEC3) bool { return n.Cover(name) }) {
					t.Errorf("%+v: %s: nothing covers %s in %v", p, c.name, name, m.Ns)
				}
			}
		}
	}
}

// TestTreeDamage has each kind of damage found where it is, and nowhere else.
func TestTreeDamage(t *testing.T) {
	t.Parallel()
	tree := newTree(t, SignedZone{Name: "example", Text: treeText})
	check := func(what, name string, typ uint16, wantSummary string, want ...string) {
		t.Helper()
		m := ask(t, tree, name, typ)
		if got := summary(m); got != wantSummary {
			t.Errorf("%s: got %s, want %s", what, got, wantSummary)
		}
		if got := problems(t, tree, m); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	const found = "noerror mx.example.A"
	for _, c := range []struct {
		damage  Damage
		summary string
		want    []string
	}{
		{Whole, found, nil},
		{Expired, found, []string{"mx.example. A: time"}},
		{NotYetValid, found, []string{"mx.example. A: time"}},
		{WrongSignature, found, []string{"mx.example. A: wrong signature"}},
		{UnknownAlgorithm, found, []string{"mx.example. A: wrong signature"}},
		{NoSignature, found, []string{"mx.example. A: no signature"}},
		{Missing, "noerror example.SOA mx.example.NSEC", nil},
		{Denied, "nxdomain example.SOA mx.example.NSEC", nil},
	} {
		tree.Damage("A", "mx.example", c.damage)
		check(fmt.Sprint("damage ", c.damage), "mx.example.", mdns.TypeA, c.summary, c.want...)
		check("other type", "mx.example.", mdns.TypeAAAA, "noerror mx.example.AAAA")
	}
	tree.Damage("A", "mx.example", Whole)
	tree.Damage("", "mx.example", NoProof)
	check("no proof", "mx.example.", mdns.TypeMX, "noerror example.SOA")
	tree.Damage("", "mx.example", WrongProof)
	check("wrong proof", "mx.example.", mdns.TypeMX, "noerror example.SOA example.NSEC")
	tree.Damage("", "mx.example", Whole)
	tree.DamageZone("example", Expired)
	check("whole zone", "example.", mdns.TypeMX, "noerror example.MX", "example. MX: time")
	check("zone above", "example.", mdns.TypeDS, "noerror example.DS")
	tree.DamageZone("example", Whole)

	ds := func() *mdns.DS {
		t.Helper()
		for _, rr := range ask(t, tree, "example.", mdns.TypeDS).Answer {
			if ds, ok := rr.(*mdns.DS); ok {
				return ds
			}
		}
		t.Fatal("no DS record")
		return nil
	}
	before := ds()
	tree.Damage("DS", "example", WrongDigest)
	if after := ds(); after.KeyTag != before.KeyTag || after.Digest == before.Digest {
		t.Errorf("got DS %v after %v", after, before)
	}
	tree.Damage("", "mx.example", OfParent)
	if sig, ok := ask(t, tree, "mx.example.", mdns.TypeA).Answer[1].(*mdns.RRSIG); !ok || sig.SignerName != "." {
		t.Errorf("got %v, want a signature by the root", sig)
	}
}

// TestTreeKeys signs with each algorithm, and changes keys.
func TestTreeKeys(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	for _, algorithm := range []uint8{mdns.RSASHA256, mdns.RSASHA512, mdns.ECDSAP256SHA256, mdns.ECDSAP384SHA384, mdns.ED25519} {
		z := SignedZone{Name: fmt.Sprintf("alg%d.example", algorithm), Text: "@ A 192.0.2.1", Keys: []Key{{Algorithm: algorithm, Digest: mdns.SHA384}}}
		if err := tree.Replace(z); err != nil {
			t.Fatal(err)
		}
		m := ask(t, tree, z.Name+".", mdns.TypeA)
		if list := problems(t, tree, m); len(list) > 0 || m.Answer[1].(*mdns.RRSIG).Algorithm != algorithm {
			t.Errorf("algorithm %d: %q in %v", algorithm, list, m.Answer)
		}
		keys := ask(t, tree, z.Name+".", mdns.TypeDNSKEY).Answer
		ds := ask(t, tree, z.Name+".", mdns.TypeDS).Answer
		if keys[0].(*mdns.DNSKEY).ToDS(mdns.SHA384).Digest != ds[0].(*mdns.DS).Digest {
			t.Errorf("algorithm %d: DS is not of the key", algorithm)
		}
	}

	roll := func(keys ...Key) (tags string) {
		t.Helper()
		if err := tree.Replace(SignedZone{Name: "example", Text: treeText, Keys: keys}); err != nil {
			t.Fatal(err)
		}
		m := ask(t, tree, "mx.example.", mdns.TypeA)
		for _, rr := range m.Answer[1:] {
			tags += fmt.Sprint(rr.(*mdns.RRSIG).KeyTag, " ")
		}
		if list := problems(t, tree, m); len(list) > 0 {
			t.Errorf("%+v: %q", keys, list)
		}
		return tags
	}
	ksk := Key{Label: "ksk", Use: KSK}
	first := roll(ksk, Key{Label: "1", Use: ZSK})
	published := roll(ksk, Key{Label: "1", Use: ZSK}, Key{Label: "2", Use: Published})
	double := roll(ksk, Key{Label: "1", Use: ZSK}, Key{Label: "2", Use: ZSK})
	second := roll(ksk, Key{Label: "1", Use: Published}, Key{Label: "2", Use: ZSK})
	if first != published || double != first+second || first == second {
		t.Errorf("got tags %q, %q, %q, %q", first, published, double, second)
	}
	if err := tree.Replace(SignedZone{Name: "example", Text: treeText, Keys: []Key{{Algorithm: 200, Digest: 100}}}); err != nil {
		t.Fatal(err)
	}
	if ds, ok := ask(t, tree, "example.", mdns.TypeDS).Answer[0].(*mdns.DS); !ok || ds.Algorithm != 200 || ds.DigestType != 100 {
		t.Errorf("unknown algorithm: got %v", ds)
	}
	if a := tree.Anchors(); len(a) != 1 || !strings.HasPrefix(a[0], ".\t300\tIN\tDS\t") {
		t.Errorf("got anchors %q", a)
	}
	for _, text := range []string{"@ A nonsense", "@ MX"} {
		if _, err := NewTree(treeNow, SignedZone{Name: "example", Text: text}); err == nil {
			t.Errorf("%s: got no error", text)
		}
	}
}

// TestTreeTrap has many keys of one tag, and many signatures.
func TestTreeTrap(t *testing.T) {
	t.Parallel()
	tree := newTree(t, SignedZone{Name: "example", Text: treeText, Trap: Trap{Keys: 10, Signatures: 20, DS: 5}})
	answer := ask(t, tree, "mx.example.", mdns.TypeA).Answer
	tag := answer[1].(*mdns.RRSIG).KeyTag
	if len(answer) != 1+21 {
		t.Errorf("got %d records, want 22", len(answer))
	}
	same := 0
	for _, rr := range ask(t, tree, "example.", mdns.TypeDNSKEY).Answer {
		if k, ok := rr.(*mdns.DNSKEY); ok && k.KeyTag() == tag {
			same++
			if k.Flags&mdns.ZONE == 0 || k.Flags&mdns.REVOKE != 0 {
				t.Errorf("got key with flags %x", k.Flags)
			}
		}
	}
	if same != 11 {
		t.Errorf("got %d keys with the tag, want 11", same)
	}
	if ds := ask(t, tree, "example.", mdns.TypeDS).Answer; len(ds) != 6+1 {
		t.Errorf("got %d records, want 6 of DS", len(ds))
	}
}

// TestTreeServer asks by way of the network, in memory and on loopback, with what
// can be wrong with servers.
func TestTreeServer(t *testing.T) {
	t.Parallel()
	tree := newTree(t, SignedZone{Name: "example", Text: treeText})
	s, err := tree.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &mdns.Client{}
	q := (&mdns.Msg{}).SetQuestion("mx.example.", mdns.TypeA)
	q.SetEdns0(1232, true)
	q.CheckingDisabled = true
	for _, faults := range []Faults{{}, {Strip: true}, {AD: true}, {Truncate: true}} {
		tree.SetFaults(faults)
		m, _, err := c.ExchangeContext(t.Context(), q, s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		want := 2
		switch {
		case faults.Strip:
			want = 1
		case faults.Truncate:
			want = 0
		}
		if len(m.Answer) != want || m.AuthenticatedData != faults.AD || m.Truncated != faults.Truncate || !m.CheckingDisabled {
			t.Errorf("%+v: got %v", faults, m)
		}
	}
	tree.SetFaults(Faults{Strip: true})
	if m := ask(t, tree, "nope.example.", mdns.TypeA); summary(m) != "nxdomain example.SOA" {
		t.Errorf("stripped: got %s", summary(m))
	}
	tree.Clear()

	synctest.Test(t, func(t *testing.T) {
		tree, err := NewTree(time.Now(), SignedZone{Name: "example", Text: treeText})
		if err != nil {
			t.Fatal(err)
		}
		r, err := resolver.New(resolver.Options{Mode: resolver.Validate, Anchors: strings.Join(tree.Anchors(), "\n"), Servers: []string{"127.0.0.1"}, CacheSize: -1, Dial: tree.Dial})
		if err != nil {
			t.Fatal(err)
		}
		if mxs, _, err := r.LookupMX(t.Context(), "example."); err != nil || len(mxs) != 1 {
			t.Errorf("got %v, %v", mxs, err)
		}
		tree.Fail("MX", "example", Timeout)
		if _, _, err := r.LookupMX(t.Context(), "example."); !errors.Is(err, dns.ErrTemporary) {
			t.Errorf("got %v of a server that does not answer", err)
		}
		tree.SetFaults(Faults{RefuseTCP: true})
		var refused *net.OpError
		if _, err := tree.Dial(t.Context(), "tcp", ""); !errors.As(err, &refused) {
			t.Errorf("got %v", err)
		}
	})
}

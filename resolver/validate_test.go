package resolver_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// signedText is what zones of the tests below have.
const signedText = `
@        MX    10 mx
mx       A     192.0.2.1
mx       AAAA  2001:db8::1
*.wild   TXT   "wild"
a.b.c    TXT   "deep"
www      CNAME mx
far      CNAME mx.nsec3.example.
odd      CNAME mx.plain.example.
lost     CNAME nope
old      DNAME new
x.new    A     192.0.2.2
`

// signedZones is a tree with a zone of each kind below "example.".
var signedZones = []dnstest.SignedZone{
	{Name: "example"},
	{Name: "nsec.example", Text: signedText},
	{Name: "nsec3.example", Text: signedText, NSEC3: &dnstest.NSEC3{Iterations: 2, Salt: "ab"}},
	{Name: "optout.example", Text: signedText, NSEC3: &dnstest.NSEC3{OptOut: true}},
	{Name: "plain.optout.example", Text: signedText, Unsigned: true},
	{Name: "often.example", Text: signedText, NSEC3: &dnstest.NSEC3{Iterations: 101}},
	{Name: "limit.example", Text: signedText, NSEC3: &dnstest.NSEC3{Iterations: 100}},
	{Name: "plain.example", Text: signedText, Unsigned: true},
	{Name: "signed.plain.example", Text: signedText},
	{Name: "lost.example", Text: signedText, NoDS: true},
	{Name: "rsa.example", Text: signedText, Keys: []dnstest.Key{{Algorithm: mdns.RSASHA256}}},
	{Name: "rsa512.example", Text: signedText, Keys: []dnstest.Key{{Algorithm: mdns.RSASHA512}}},
	{Name: "p384.example", Text: signedText, Keys: []dnstest.Key{{Algorithm: mdns.ECDSAP384SHA384, Digest: mdns.SHA384}}},
	{Name: "ed25519.example", Text: signedText, Keys: []dnstest.Key{{Algorithm: mdns.ED25519}}},
	{Name: "rsasha1.example", Text: signedText, Keys: []dnstest.Key{{Algorithm: mdns.RSASHA1}}},
	{Name: "ed448.example", Text: signedText, Keys: []dnstest.Key{{Algorithm: mdns.ED448}}},
	{Name: "digest.example", Text: signedText, Keys: []dnstest.Key{{Digest: 77}}},
	{Name: "sha1.example", Text: signedText, Keys: []dnstest.Key{{Digest: mdns.SHA1}}},
	{Name: "both.example", Text: signedText, Keys: []dnstest.Key{{Label: "a"}, {Label: "b", Algorithm: mdns.ED448}}},
	{Name: "deep.down.example", Text: signedText},
}

// damagedZones are those to damage.
var damagedZones = []dnstest.SignedZone{
	{Name: "example"},
	{Name: "nsec.example", Text: signedText},
	{Name: "nsec3.example", Text: signedText, NSEC3: &dnstest.NSEC3{Iterations: 2, Salt: "ab"}},
	{Name: "plain.nsec.example", Text: signedText, Unsigned: true},
	{Name: "plain.nsec3.example", Text: signedText, Unsigned: true},
	{Name: "plain.example", Text: signedText, Unsigned: true},
}

// treeNow is when signatures of trees are made, but for an hour.
var treeNow = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // Where time begins in a bubble.

func newTree(t testing.TB, now time.Time, zones ...dnstest.SignedZone) *dnstest.Tree {
	t.Helper()
	tree, err := dnstest.NewTree(now, zones...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// treeOptions are those to ask a tree.
func treeOptions(tree *dnstest.Tree) resolver.Options {
	return resolver.Options{Mode: resolver.Validate, Anchors: strings.Join(tree.Anchors(), "\n"), Servers: []string{"192.0.2.53"}, Dial: tree.Dial}
}

// lookUp looks up records of a type.
func lookUp(t testing.TB, r *resolver.Resolver, typ, name string) (n int, res dns.Result, err error) {
	t.Helper()
	switch typ {
	case "A", "AAAA":
		network := map[string]string{"A": "ip4", "AAAA": "ip6"}[typ]
		list, res, err := r.LookupIP(t.Context(), network, name)
		return len(list), res, err
	case "TXT":
		list, res, err := r.LookupTXT(t.Context(), name)
		return len(list), res, err
	case "MX":
		list, res, err := r.LookupMX(t.Context(), name)
		return len(list), res, err
	case "NS":
		list, res, err := r.LookupNS(t.Context(), name)
		return len(list), res, err
	case "TLSA":
		list, res, err := r.LookupTLSA(t.Context(), name)
		return len(list), res, err
	case "CNAME":
		_, res, err := r.LookupCNAME(t.Context(), name)
		return 1, res, err
	}
	t.Fatalf("type %s", typ)
	return 0, res, nil
}

// outcome names what a lookup ended with, as "secure ok" or "bogus 7".
func outcome(res dns.Result, err error) string {
	var e *dns.Error
	verdict := "insecure"
	if res.Authentic {
		verdict = "secure"
	}
	switch {
	case err == nil:
		return verdict + " ok"
	case errors.Is(err, dns.ErrNotFound):
		return verdict + " notfound"
	case errors.Is(err, dns.ErrNoData):
		return verdict + " nodata"
	case errors.Is(err, dns.ErrBogus) && errors.As(err, &e) && e.Extended != nil:
		return "bogus " + mdns.ExtendedErrorCodeToString[e.Extended.Code]
	}
	return "error " + err.Error()
}

// TestValidate looks up each kind of name in each kind of zone.
func TestValidate(t *testing.T) {
	t.Parallel()
	tree := newTree(t, treeNow, signedZones...)
	synctest.Test(t, func(t *testing.T) {
		r, _ := newResolver(t, treeOptions(tree))
		for _, c := range []struct{ typ, name, want string }{
			{"MX", "@", "ok"},
			{"NS", "@", "ok"},
			{"A", "mx.@", "ok"},
			{"TXT", "x.wild.@", "ok"},
			{"TXT", "y.x.wild.@", "ok"},
			{"TXT", "*.wild.@", "ok"},
			{"TXT", "a.b.c.@", "ok"},
			{"A", "www.@", "ok"},
			{"CNAME", "www.@", "ok"},
			{"A", "x.old.@", "ok"},
			{"CNAME", "x.old.@", "ok"},
			{"TXT", "mx.@", "nodata"},
			{"TXT", "@", "nodata"},
			{"TXT", "b.c.@", "nodata"},
			{"TXT", "c.@", "nodata"},
			{"TXT", "wild.@", "nodata"},
			{"A", "x.wild.@", "nodata"},
			{"TXT", "www.@", "nodata"},
			{"NS", "mx.@", "nodata"},
			{"CNAME", "mx.@", "nodata"},
			{"A", "nope.@", "notfound"},
			{"A", "x.nope.@", "notfound"},
			{"A", "x.mx.@", "notfound"},
			{"A", "zzz.@", "notfound"},
			{"A", "0.@", "notfound"},
			{"A", "lost.@", "notfound"},
			{"CNAME", "lost.@", "ok"},
			{"A", "y.old.@", "notfound"},
			{"TLSA", "_25._tcp.mx.@", "notfound"},
		} {
			for _, zone := range []struct{ name, want string }{
				{"nsec.example.", "secure"},
				{"nsec3.example.", "secure"},
				{"limit.example.", "secure"},
				{"rsa.example.", "secure"},
				{"rsa512.example.", "secure"},
				{"p384.example.", "secure"},
				{"ed25519.example.", "secure"},
				{"sha1.example.", "secure"},
				{"both.example.", "secure"},
				{"deep.down.example.", "secure"},
				{"optout.example.", "secure?"},
				{"often.example.", "secure?"},
				{"plain.example.", "insecure"},
				{"plain.optout.example.", "insecure"},
				{"signed.plain.example.", "insecure"},
				{"lost.example.", "insecure"},
				{"rsasha1.example.", "insecure"},
				{"ed448.example.", "insecure"},
				{"digest.example.", "insecure"},
			} {
				name := strings.ReplaceAll(c.name, "@", zone.name)
				_, res, err := lookUp(t, r, c.typ, name)
				got, want := outcome(res, err), zone.want+" "+c.want
				if verdict, uncertain := strings.CutSuffix(zone.want, "?"); uncertain {
					// What is not there can't be proven beyond doubt.
					want = verdict + " " + c.want
					denied := c.want == "nodata" && zone.name == "often.example." || c.want == "notfound" || strings.HasSuffix(c.name, "x.wild.@")
					// Whether the end of an alias is one is part of the answer.
					if denied || c.typ == "CNAME" && (zone.name == "often.example." || c.name == "lost.@") {
						want = "insecure " + c.want
					}
				}
				if got != want {
					t.Errorf("%s of %s: got %s, want %s", c.typ, name, got, want)
				}
			}
		}
		for _, c := range []struct{ typ, name, want string }{
			{"A", "far.nsec.example.", "secure ok"},
			{"A", "odd.nsec.example.", "insecure ok"},
			{"A", "far.plain.example.", "insecure ok"},
			{"A", "nope.example.", "secure notfound"},
			{"A", "down.example.", "secure nodata"},
			{"A", "nope.", "secure notfound"},
			{"NS", ".", "secure ok"},
			{"MX", ".", "secure nodata"},
			{"A", "nope.optout.example.", "insecure notfound"},
		} {
			_, res, err := lookUp(t, r, c.typ, c.name)
			if got := outcome(res, err); got != c.want {
				t.Errorf("%s of %s: got %s, want %s", c.typ, c.name, got, c.want)
			}
		}
	})
}

// TestDamage has something wrong in a zone, of each kind.
func TestDamage(t *testing.T) {
	t.Parallel()
	const (
		expired   = "bogus Signature Expired"
		notYet    = "bogus Signature Not Yet Valid"
		wrong     = "bogus DNSSEC Bogus"
		noKey     = "bogus DNSKEY Missing"
		noSig     = "bogus RRSIGs Missing"
		noProof   = "bogus NSEC Missing"
		algorithm = "bogus Unsupported DNSKEY Algorithm"
	)
	for _, c := range []struct {
		what      string
		typ, name string // What is damaged. With an empty type, a zone.
		damage    dnstest.Damage
		asked, of string
		want      string
	}{
		{what: "an expired signature", typ: "A", name: "mx.@", damage: dnstest.Expired, asked: "A", of: "mx.@", want: expired},
		{what: "a signature of the future", typ: "A", name: "mx.@", damage: dnstest.NotYetValid, asked: "A", of: "mx.@", want: notYet},
		{what: "a wrong signature", typ: "A", name: "mx.@", damage: dnstest.WrongSignature, asked: "A", of: "mx.@", want: wrong},
		{what: "no signature", typ: "A", name: "mx.@", damage: dnstest.NoSignature, asked: "A", of: "mx.@", want: noSig},
		{what: "a signature of an unknown algorithm", typ: "A", name: "mx.@", damage: dnstest.UnknownAlgorithm, asked: "A", of: "mx.@", want: algorithm},
		{what: "other records are whole", typ: "A", name: "mx.@", damage: dnstest.Expired, asked: "AAAA", of: "mx.@", want: "secure ok"},
		{what: "an alias of what is damaged", typ: "A", name: "mx.@", damage: dnstest.WrongSignature, asked: "A", of: "www.@", want: wrong},
		{what: "a damaged alias", typ: "CNAME", name: "www.@", damage: dnstest.NoSignature, asked: "A", of: "www.@", want: noSig},
		{what: "a damaged DNAME", typ: "DNAME", name: "old.@", damage: dnstest.NoSignature, asked: "A", of: "x.old.@", want: noSig},
		{what: "records left out", typ: "A", name: "mx.@", damage: dnstest.Missing, asked: "A", of: "mx.@", want: noProof},
		{what: "a name left out", typ: "A", name: "mx.@", damage: dnstest.Denied, asked: "A", of: "mx.@", want: noProof},
		{what: "an alias left out", typ: "A", name: "www.@", damage: dnstest.Missing, asked: "A", of: "www.@", want: noProof},
		{what: "no proof of no records", typ: "TXT", name: "mx.@", damage: dnstest.NoProof, asked: "TXT", of: "mx.@", want: noSig},
		{what: "another proof of no records", typ: "TXT", name: "mx.@", damage: dnstest.WrongProof, asked: "TXT", of: "mx.@", want: noProof},
		{what: "no proof of no name", typ: "A", name: "nope.@", damage: dnstest.NoProof, asked: "A", of: "nope.@", want: noSig},
		{what: "another proof of no name", typ: "A", name: "nope.@", damage: dnstest.WrongProof, asked: "A", of: "nope.@", want: noProof},
		{what: "no proof that a wildcard applies", typ: "TXT", name: "x.wild.@", damage: dnstest.NoProof, asked: "TXT", of: "x.wild.@", want: noProof},
		{what: "another proof that a wildcard applies", typ: "TXT", name: "x.wild.@", damage: dnstest.WrongProof, asked: "TXT", of: "x.wild.@", want: noProof},
		{what: "unsigned DS records", typ: "DS", name: "@", damage: dnstest.NoSignature, asked: "A", of: "mx.@", want: noSig},
		{what: "DS records signed by the zone below", typ: "DS", name: "@", damage: dnstest.OfParent, asked: "A", of: "mx.@", want: wrong},
		{what: "expired DS records", typ: "DS", name: "@", damage: dnstest.Expired, asked: "A", of: "mx.@", want: expired},
		{what: "DS records of other keys", typ: "DS", name: "@", damage: dnstest.WrongDigest, asked: "A", of: "mx.@", want: noKey},
		{what: "DS records left out", typ: "DS", name: "@", damage: dnstest.Missing, asked: "A", of: "mx.@", want: noProof},
		{what: "DS records denied", typ: "DS", name: "@", damage: dnstest.Denied, asked: "A", of: "mx.@", want: noProof},
		{what: "DS records without proof", typ: "DS", name: "plain.@", damage: dnstest.NoProof, asked: "A", of: "mx.plain.@", want: noProof},
		{what: "unsigned keys", typ: "DNSKEY", name: "@", damage: dnstest.NoSignature, asked: "A", of: "mx.@", want: noSig},
		{what: "keys left out", typ: "DNSKEY", name: "@", damage: dnstest.Missing, asked: "A", of: "mx.@", want: noKey},
		{what: "expired keys", typ: "DNSKEY", name: "@", damage: dnstest.Expired, asked: "A", of: "mx.@", want: expired},
		{what: "keys signed by the zone above", typ: "DNSKEY", name: "@", damage: dnstest.OfParent, asked: "A", of: "mx.@", want: wrong},
		{what: "a zone without signatures", name: "@", damage: dnstest.NoSignature, asked: "A", of: "nope.@", want: noSig},
		{what: "an expired zone", name: "@", damage: dnstest.Expired, asked: "A", of: "nope.@", want: expired},
		{what: "expired keys of the root", typ: "DNSKEY", name: ".", damage: dnstest.Expired, asked: "A", of: "mx.@", want: expired},
		{what: "no keys of the root", typ: "DNSKEY", name: ".", damage: dnstest.Missing, asked: "A", of: "mx.@", want: noKey},
		{what: "unsigned keys of the root", typ: "DNSKEY", name: ".", damage: dnstest.NoSignature, asked: "A", of: "mx.plain.example.", want: noSig},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t, treeNow, damagedZones...)
			for _, zone := range []string{"nsec.example.", "nsec3.example."} {
				at := func(name string) string { return strings.ReplaceAll(name, "@", zone) }
				if c.typ == "" {
					tree.DamageZone(at(c.name), c.damage)
				} else {
					tree.Damage(c.typ, at(c.name), c.damage)
				}
				synctest.Test(t, func(t *testing.T) {
					r, _ := newResolver(t, treeOptions(tree))
					for range 2 { // The second time from the cache.
						_, res, err := lookUp(t, r, c.asked, at(c.of))
						if got := outcome(res, err); got != c.want {
							t.Errorf("%s: got %s, want %s: %v", zone, got, c.want, err)
						}
					}
				})
			}
		})
	}
}

// TestUnsigned has domains that only our name server knows, beside those that
// standards have for local use.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	// The tree signs all; what is not validated is insecure all the same.
	tree := newTree(t, treeNow, dnstest.SignedZone{Name: "corp.example", Text: signedText}, dnstest.SignedZone{Name: "localhost", Text: "@ A 127.0.0.1"},
		dnstest.SignedZone{Name: "in-addr.arpa", Text: "1.0.0.127 PTR localhost.\n1.0.16.172 PTR a.example.\n1.0.32.172 PTR b.example."})
	for _, name := range []string{"mx.corp.example", "localhost", "1.0.0.127.in-addr.arpa", "1.0.16.172.in-addr.arpa"} {
		tree.Damage("", name, dnstest.NoSignature)
	}
	synctest.Test(t, func(t *testing.T) {
		opts := treeOptions(tree)
		opts.Unsigned = []string{"CORP.example."}
		r, err := resolver.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"mx.corp.example.": "insecure ok", "localhost.": "insecure ok", "nope.corp.example.": "insecure notfound", "nope.example.": "secure notfound"} {
			if _, res, err := lookUp(t, r, "A", name); outcome(res, err) != want {
				t.Errorf("%s: got %s, want %s", name, outcome(res, err), want)
			}
		}
		for ip, want := range map[string]string{"127.0.0.1": "insecure ok", "172.16.0.1": "insecure ok", "172.32.0.1": "secure ok"} {
			if _, res, err := r.LookupAddr(t.Context(), netip.MustParseAddr(ip)); outcome(res, err) != want {
				t.Errorf("%s: got %s, want %s", ip, outcome(res, err), want)
			}
		}
		tr, err := r.Trace(t.Context(), "mx.corp.example.", "A")
		if err != nil || tr.Verdict != resolver.Insecure || tr.Why != "corp.example. is not validated, by configuration" {
			t.Errorf("got %+v, %v", tr, err)
		}
	})
	for _, names := range [][]string{{"corp.example"}, {"a..b."}, make([]string, 101)} {
		if _, err := resolver.New(resolver.Options{Unsigned: names}); err == nil {
			t.Errorf("got no error for %q", names)
		}
	}
}

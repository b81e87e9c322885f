package resolver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// summary returns a trace as lines: its steps, and its end.
func summary(tr resolver.Trace) string {
	var b strings.Builder
	for _, s := range tr.Steps {
		fmt.Fprintf(&b, "%s %s %s in %q: %s", s.Kind, s.Name, s.Type, s.Zone, s.Verdict)
		if s.Proof != nil {
			fmt.Fprintf(&b, ", %d %s", len(s.Proof.Records), s.Proof.Kind)
		}
		if s.Extended != nil {
			fmt.Fprintf(&b, ", %d", s.Extended.Code)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s", tr.Verdict)
	return b.String()
}

func TestTrace(t *testing.T) {
	t.Parallel()
	const toNSEC = `anchor . DNSKEY in ".": secure
delegation example. DS in ".": secure
keys example. DNSKEY in "example.": secure
delegation nsec.example. DS in "example.": secure
keys nsec.example. DNSKEY in "nsec.example.": secure
`
	toNSEC3 := strings.ReplaceAll(toNSEC, "nsec.", "nsec3.")
	toExample := strings.Join(strings.SplitAfter(toNSEC, "\n")[:3], "")
	for _, c := range []struct {
		what      string
		damage    func(*dnstest.Tree)
		typ, name string
		steps     string
		why       string
	}{
		{what: "a signed name", typ: "a", name: "mx.nsec.example.", steps: toNSEC + `answer mx.nsec.example. A in "nsec.example.": secure
secure`, why: "all is signed"},
		{what: "a wildcard", typ: "TXT", name: "x.wild.nsec3.example.", steps: toNSEC3 + `answer x.wild.nsec3.example. TXT in "nsec3.example.": secure
denial x.wild.nsec3.example. TXT in "nsec3.example.": secure, 1 NSEC3
secure`, why: "all is signed"},
		{what: "a name that is not there", typ: "A", name: "nope.nsec.example.", steps: toNSEC + `denial nope.nsec.example. A in "nsec.example.": secure, 2 NSEC
secure`, why: "all is signed"},
		{what: "an unsigned zone", typ: "A", name: "mx.plain.example.", steps: toExample + `delegation plain.example. DS in "example.": insecure, 1 NSEC
answer mx.plain.example. A in "": insecure
insecure`, why: "plain.example. is delegated without DS records, by its types"},
		{what: "an alias to an unsigned zone", typ: "A", name: "odd.nsec.example.", steps: toNSEC + `alias odd.nsec.example. CNAME in "nsec.example.": secure
delegation plain.example. DS in "example.": insecure, 1 NSEC
answer mx.plain.example. A in "": insecure
insecure`, why: "plain.example. is delegated without DS records, by its types"},
		{what: "an expired signature", damage: func(tree *dnstest.Tree) { tree.Damage("A", "mx.nsec.example", dnstest.Expired) }, typ: "A", name: "mx.nsec.example.", steps: toNSEC + `delegation mx.nsec.example. DS in "nsec.example.": secure, 1 NSEC
answer mx.nsec.example. A in "nsec.example.": bogus, 7
bogus`, why: "signature of A of mx.nsec.example. by key "},
		{what: "keys that the parent doesn't know", damage: func(tree *dnstest.Tree) { tree.Damage("DS", "nsec.example", dnstest.WrongDigest) }, typ: "A", name: "mx.nsec.example.", steps: toExample + `delegation nsec.example. DS in "example.": secure
keys nsec.example. DNSKEY in "nsec.example.": bogus, 9
answer mx.nsec.example. A in "": bogus, 9
bogus`, why: "no key of nsec.example. is the one"},
		{what: "no answer", damage: func(tree *dnstest.Tree) { tree.Fail("", "mx.nsec.example", dnstest.Temporary) }, typ: "A", name: "mx.nsec.example.", steps: "", why: "looking up A of"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t, treeNow, damagedZones...)
			if c.damage != nil {
				c.damage(tree)
			}
			synctest.Test(t, func(t *testing.T) {
				r, err := resolver.New(treeOptions(tree))
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // Nothing comes from the cache.
					tr, err := r.Trace(t.Context(), c.name, c.typ)
					if err != nil {
						t.Fatal(err)
					}
					if got := summary(tr); got != c.steps {
						t.Errorf("got steps\n%s\nwant\n%s", got, c.steps)
					}
					if !strings.HasPrefix(tr.Why, c.why) || !tr.Validated || tr.Cost.Queries == 0 || tr.Name != c.name || tr.Type != strings.ToUpper(c.typ) {
						t.Errorf("got %+v", tr)
					}
				}
			})
		})
	}
}

// TestTraceDetails looks at all there is about one delegation.
func TestTraceDetails(t *testing.T) {
	t.Parallel()
	tree := newTree(t, treeNow, signedZones...)
	synctest.Test(t, func(t *testing.T) {
		r, err := resolver.New(treeOptions(tree))
		if err != nil {
			t.Fatal(err)
		}
		tr, err := r.Trace(t.Context(), "mx.both.example.", "A")
		if err != nil || tr.Err != nil || !tr.Result.Authentic || len(tr.Records) != 1 || len(tr.Steps) != 6 {
			t.Fatalf("got %+v, %v", tr, err)
		}
		anchor, keys, answer := tr.Steps[0], tr.Steps[4], tr.Steps[5]
		if len(anchor.DS) != 1 || !anchor.DS[0].Matches || !anchor.DS[0].Used || anchor.Server != "192.0.2.53:53" {
			t.Errorf("got anchor %+v", anchor)
		}
		if len(keys.DS) != 2 || !keys.DS[0].Matches || keys.DS[0].Algorithm != "ECDSAP256SHA256" || keys.DS[0].Digest != "SHA256" || keys.DS[1].Used || keys.DS[1].Why != "algorithm is not supported" {
			t.Errorf("got DS records %+v", keys.DS)
		}
		if len(keys.Keys) != 2 || !keys.Keys[0].Entry || !keys.Keys[0].Used || keys.Keys[0].Bits != 256 || !keys.Keys[0].SEP || keys.Keys[1].Used || keys.Keys[1].Algorithm != "ED448" {
			t.Errorf("got keys %+v", keys.Keys)
		}
		sig := answer.Signatures[0]
		if !sig.Valid || !sig.Tried || sig.Signer != "both.example." || sig.Labels != 3 || sig.Expires.Sub(sig.Inception).Hours() != 14*24+1 || answer.TTL == 0 {
			t.Errorf("got signature %+v", sig)
		}
	})
}

// TestTraceBelieved traces where nothing is validated.
func TestTraceBelieved(t *testing.T) {
	t.Parallel()
	tree := newTree(t, treeNow, damagedZones...)
	tree.SetFaults(dnstest.Faults{Strip: true, AD: true})
	for _, trust := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			opts := treeOptions(tree)
			opts.Mode, opts.TrustAD = resolver.Auto, trust
			r, err := resolver.New(opts)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := r.Trace(t.Context(), "nsec.example.", "MX")
			want := map[bool]string{true: "secure", false: "insecure"}[trust]
			if got := summary(tr); err != nil || got != `answer of a server nsec.example. MX in "": `+want+"\n"+want || tr.Validated {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	r, err := resolver.New(treeOptions(tree))
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []string{"", "ANY", "DNSKEY", "nope"} {
		if _, err := r.Trace(t.Context(), "example.", typ); !errors.Is(err, resolver.ErrType) {
			t.Errorf("%q: got %v", typ, err)
		}
	}
	if tr, err := r.Trace(t.Context(), "example", "MX"); err != nil || !errors.Is(tr.Err, dns.ErrName) {
		t.Errorf("got %+v, %v", tr, err)
	}
}

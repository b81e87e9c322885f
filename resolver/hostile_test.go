package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// costs collects what lookups cost.
type costs struct {
	mu   sync.Mutex
	last resolver.Cost
}

func (c *costs) observe(e resolver.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Kind == "lookup" {
		c.last = e.Cost
	}
}

// labels returns n labels with dots.
func labels(n int) string { return strings.Repeat("x.", n) }

// TestHostile looks up names in zones that were made to cost much. What counts is
// not how long it takes, but how much is done.
func TestHostile(t *testing.T) {
	t.Parallel()
	chain, dnames, many := "", "", ""
	for i := range 40 {
		chain += fmt.Sprintf("c%d CNAME c%d\n", i, i+1)
		dnames += fmt.Sprintf("d%d DNAME d%d\n", i, i+1)
	}
	for i := range 1500 {
		many += fmt.Sprintf("many A 10.0.%d.%d\n", i/256, i%256)
	}
	for _, c := range []struct {
		what   string
		zones  []dnstest.SignedZone
		damage func(*dnstest.Tree)
		typ    string
		name   string
		want   string
		most   resolver.Cost // That it may cost.
	}{
		{
			what:  "many keys with one tag, and many wrong signatures by them",
			zones: []dnstest.SignedZone{{Name: "trap", Text: "@ A 192.0.2.1", Trap: dnstest.Trap{Keys: 12, Signatures: 40}}},
			typ:   "A", name: "trap.", want: "more than", most: resolver.Cost{Queries: 4, Signatures: 12},
		},
		{
			what:  "a key or two with one tag, as it can happen, and some wrong signatures",
			zones: []dnstest.SignedZone{{Name: "trap", Text: "@ A 192.0.2.1", Trap: dnstest.Trap{Keys: 1, Signatures: 1}}},
			typ:   "A", name: "trap.", want: "secure ok", most: resolver.Cost{Queries: 4, Signatures: 16},
		},
		{
			what:  "many wrong signatures with one key",
			zones: []dnstest.SignedZone{{Name: "trap", Text: "@ A 192.0.2.1", Trap: dnstest.Trap{Signatures: 200}}},
			typ:   "A", name: "trap.", want: "more than 8 signatures", most: resolver.Cost{Queries: 4, Signatures: 12},
		},
		{
			what:  "many DS records",
			zones: []dnstest.SignedZone{{Name: "trap", Text: "@ A 192.0.2.1", Trap: dnstest.Trap{DS: 100}}},
			typ:   "A", name: "trap.", want: "more than 16 DS records", most: resolver.Cost{Queries: 3, Signatures: 3},
		},
		{
			what:  "many keys",
			zones: []dnstest.SignedZone{{Name: "trap", Text: "@ A 192.0.2.1", Keys: manyKeys(70)}},
			typ:   "A", name: "trap.", want: "more than", most: resolver.Cost{Queries: 4, Signatures: 12},
		},
		{
			what:  "names hashed very often",
			zones: []dnstest.SignedZone{{Name: "trap", Text: "@ A 192.0.2.1", NSEC3: &dnstest.NSEC3{Iterations: 2500}}},
			typ:   "A", name: labels(50) + "trap.", want: "insecure notfound", most: resolver.Cost{Queries: 4, Signatures: 8},
		},
		{
			what:  "a name with many labels, all of which are hashed",
			zones: []dnstest.SignedZone{{Name: "trap", Text: "@ A 192.0.2.1", NSEC3: &dnstest.NSEC3{Iterations: 100}}},
			typ:   "A", name: labels(120) + "trap.", want: "secure notfound", most: resolver.Cost{Queries: 4, Signatures: 8, Hashes: 124},
		},
		{
			what:   "an alias to it, from another such name",
			zones:  []dnstest.SignedZone{{Name: "trap", Text: "*.a CNAME " + labels(110) + "b", NSEC3: &dnstest.NSEC3{Iterations: 100}}},
			damage: func(tree *dnstest.Tree) { tree.SetFaults(dnstest.Faults{OneAlias: true}) },
			typ:    "A", name: labels(110) + "a.trap.", want: "secure notfound", most: resolver.Cost{Queries: 5, Signatures: 14, Hashes: resolver.HashesMax},
		},
		{
			what:   "an unsigned name with many labels, at each of which a zone may begin",
			zones:  []dnstest.SignedZone{{Name: "trap", Text: labels(119) + "x A 192.0.2.1"}},
			damage: func(tree *dnstest.Tree) { tree.Damage("A", labels(120)+"trap", dnstest.NoSignature) },
			typ:    "A", name: labels(120) + "trap.", want: "more than 80 questions", most: resolver.Cost{Queries: resolver.QueriesMax, Signatures: resolver.SignaturesMax},
		},
		{
			what:   "the same with hashed names",
			zones:  []dnstest.SignedZone{{Name: "trap", Text: labels(119) + "x A 192.0.2.1", NSEC3: &dnstest.NSEC3{Iterations: 100}}},
			damage: func(tree *dnstest.Tree) { tree.Damage("A", labels(120)+"trap", dnstest.NoSignature) },
			typ:    "A", name: labels(120) + "trap.", want: "more than 80 questions", most: resolver.Cost{Queries: resolver.QueriesMax, Signatures: resolver.SignaturesMax, Hashes: resolver.HashesMax},
		},
		{
			what:  "aliases without end in one reply",
			zones: []dnstest.SignedZone{{Name: "trap", Text: chain}},
			typ:   "A", name: "c0.trap.", want: "aliases", most: resolver.Cost{Queries: 4, Signatures: 24},
		},
		{
			what:   "aliases without end, each of its own",
			zones:  []dnstest.SignedZone{{Name: "trap", Text: chain}},
			damage: func(tree *dnstest.Tree) { tree.SetFaults(dnstest.Faults{OneAlias: true}) },
			typ:    "A", name: "c0.trap.", want: "aliases", most: resolver.Cost{Queries: 21, Signatures: 24},
		},
		{
			what:  "an alias of itself",
			zones: []dnstest.SignedZone{{Name: "trap", Text: "@ CNAME @"}},
			typ:   "A", name: "self.trap.", want: "secure notfound", most: resolver.Cost{Queries: 4, Signatures: 8},
		},
		{
			what:   "names moved without end",
			zones:  []dnstest.SignedZone{{Name: "trap", Text: dnames}},
			damage: func(tree *dnstest.Tree) { tree.SetFaults(dnstest.Faults{OneAlias: true}) },
			typ:    "A", name: "x.d0.trap.", want: "aliases", most: resolver.Cost{Queries: 21, Signatures: 24},
		},
		{
			what:  "a very large answer",
			zones: []dnstest.SignedZone{{Name: "trap", Text: many}},
			typ:   "A", name: "many.trap.", want: "secure ok", most: resolver.Cost{Queries: 4, Signatures: 4},
		},
		{
			what:  "a large answer with wrong signatures",
			zones: []dnstest.SignedZone{{Name: "trap", Text: many, Trap: dnstest.Trap{Signatures: 100}}},
			typ:   "A", name: "many.trap.", want: "more than 8 signatures", most: resolver.Cost{Queries: 4, Signatures: 12},
		},
		{
			what:   "a server that refers to others",
			damage: func(tree *dnstest.Tree) { tree.SetFaults(dnstest.Faults{NoSOA: true}) },
			zones:  []dnstest.SignedZone{{Name: "trap", Text: "x NS ns"}},
			typ:    "A", name: "x.trap.", want: "temporary", most: resolver.Cost{Queries: 1},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t, treeNow, c.zones...)
			if c.damage != nil {
				c.damage(tree)
			}
			synctest.Test(t, func(t *testing.T) {
				var spent costs
				opts := treeOptions(tree)
				opts.Observe = spent.observe
				r, err := resolver.New(opts)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, res, err := lookUp(t, r, c.typ, c.name)
				if got := outcome(res, err); !strings.Contains(got, c.want) {
					t.Errorf("got %s, want %s", got, c.want)
				}
				if err != nil && !dns.IsNone(err) && !errors.Is(err, dns.ErrTemporary) {
					t.Errorf("got error %v of another kind", err)
				}
				got := spent.last
				if got.Queries > c.most.Queries || got.Signatures > c.most.Signatures || got.Hashes > c.most.Hashes {
					t.Errorf("cost %+v, want at most %+v", got, c.most)
				}
				if got.Queries > tree.Total() || time.Since(start) > 30*time.Second {
					t.Errorf("counted %d queries of %d, took %v", got.Queries, tree.Total(), time.Since(start))
				}
			})
		})
	}
}

// manyKeys returns keys, of which one leads to the zone.
func manyKeys(n int) []dnstest.Key {
	keys := []dnstest.Key{{Label: "0", Use: dnstest.CSK}}
	for i := range n {
		keys = append(keys, dnstest.Key{Label: fmt.Sprint(i + 1), Algorithm: mdns.ED25519, Use: dnstest.Published})
	}
	return keys
}

// TestOthersBudget shows that who has no budget left does not spoil it for others
// that wait for the same answer.
func TestOthersBudget(t *testing.T) {
	t.Parallel()
	tree := newTree(t, treeNow, dnstest.SignedZone{Name: "trap", Text: labels(76) + "x A 192.0.2.1\nlong CNAME " + labels(76) + "x"})
	tree.Damage("A", labels(77)+"trap", dnstest.NoSignature)
	tree.SetFaults(dnstest.Faults{Delay: time.Millisecond, OneAlias: true})
	synctest.Test(t, func(t *testing.T) {
		r, err := resolver.New(treeOptions(tree))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		// The first has spent some on the alias, and has too little for the rest. The
		// second has enough to find that it is bogus.
		wg.Go(func() {
			if _, res, err := lookUp(t, r, "A", "long.trap."); !strings.Contains(outcome(res, err), "more than 80 questions") {
				t.Errorf("got %s", outcome(res, err))
			}
		})
		time.Sleep(20 * time.Millisecond)
		wg.Go(func() {
			if _, res, err := lookUp(t, r, "A", labels(77)+"trap."); outcome(res, err) != "bogus RRSIGs Missing" {
				t.Errorf("got %s", outcome(res, err))
			}
		})
		wg.Wait()
	})
}

// TestKeysOnce has many look up names of one zone at once.
func TestKeysOnce(t *testing.T) {
	t.Parallel()
	tree := newTree(t, treeNow, damagedZones...)
	tree.SetFaults(dnstest.Faults{Delay: time.Second})
	synctest.Test(t, func(t *testing.T) {
		r, err := resolver.New(treeOptions(tree))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if _, res, err := lookUp(t, r, "TXT", fmt.Sprintf("h%d.wild.nsec.example.", i)); outcome(res, err) != "secure ok" {
					t.Errorf("got %s", outcome(res, err))
				}
			})
		}
		wg.Wait()
		for _, name := range []string{".", "example.", "nsec.example."} {
			if n := tree.Queries("DNSKEY", name); n != 1 {
				t.Errorf("asked %d times for the keys of %s", n, name)
			}
		}
		if n := tree.Queries("DS", "nsec.example"); n != 1 {
			t.Errorf("asked %d times for DS records", n)
		}
	})
}

// TestLeaving has who looked up first leave, while another waits for the same: what
// is done then still counts for the first.
func TestLeaving(t *testing.T) {
	t.Parallel()
	tree := newTree(t, treeNow, damagedZones...)
	tree.SetFaults(dnstest.Faults{Delay: time.Second})
	synctest.Test(t, func(t *testing.T) {
		r, err := resolver.New(treeOptions(tree))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			if _, _, err := r.LookupMX(ctx, "nsec.example."); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() {
			if _, res, err := r.LookupMX(t.Context(), "nsec.example."); outcome(res, err) != "secure ok" {
				t.Errorf("got %s", outcome(res, err))
			}
		})
		wg.Wait()
		if n := tree.Queries("MX", "nsec.example"); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

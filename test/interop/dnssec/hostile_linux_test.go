package dnssec

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// What one lookup may cost, whatever a zone is made of.
const (
	queriesLimit    = 80
	signaturesLimit = 100
	hashesLimit     = 150
)

// hostile is a zone that wants lookups to be expensive, with those above it.
type hostile struct {
	name     string
	zones    []dnstest.SignedZone
	question question
}

// hostiles are the attacks: those that are known by names, and those on our limits.
func hostiles() []hostile {
	trap := func(name string, t dnstest.Trap) hostile {
		return hostile{name, []dnstest.SignedZone{{Name: "trap.example", Text: "@ A 192.0.2.1", Trap: t}}, question{"trap.example.", "A"}}
	}
	hashed := hostile{
		"a name of many labels, each hashed many times (CVE-2023-50868)",
		[]dnstest.SignedZone{{Name: "trap.example", Text: "@ A 192.0.2.1", NSEC3: &dnstest.NSEC3{Iterations: nsec3Iterations, Salt: strings.Repeat("ab", 255)}}},
		question{strings.Repeat("x.", 115) + "trap.example.", "A"},
	}
	chain := hostile{name: "aliases through many zones, with wrong signatures in all", question: question{"a.zone0.example.", "A"}}
	for i := range 16 { // So many are followed.
		chain.zones = append(chain.zones, dnstest.SignedZone{
			Name: fmt.Sprintf("zone%d.example", i), Text: fmt.Sprintf("a CNAME a.zone%d.example.", i+1), Trap: dnstest.Trap{Signatures: 3},
		})
	}
	labels := hostile{
		"a name of many labels, which have nothing but names below",
		[]dnstest.SignedZone{{Name: "trap.example", Text: strings.Repeat("x.", 110) + "x A 192.0.2.1"}},
		question{strings.Repeat("x.", 110) + "x.trap.example.", "A"},
	}
	return []hostile{
		trap("keys with one tag, and signatures for all (CVE-2023-50387)", dnstest.Trap{Keys: 25, Signatures: 100}),
		trap("more keys than anybody needs", dnstest.Trap{Keys: 100}),
		trap("signatures for a single key", dnstest.Trap{Signatures: 300}),
		trap("keys with one tag, for all of which there could be DS records", dnstest.Trap{Keys: 25, DS: 100}),
		deep("many zones below each other", dnstest.Trap{}),
		deep("such zones, with wrong signatures in all", dnstest.Trap{Signatures: 3}),
		hashed, chain, labels,
	}
}

// deep is many zones below each other.
func deep(what string, t dnstest.Trap) hostile {
	h := hostile{name: what}
	name := "example"
	for i := range 60 {
		name = fmt.Sprintf("%d.%s", i, name)
		h.zones = append(h.zones, dnstest.SignedZone{Name: name, Text: "@ A 192.0.2.1", Trap: t})
	}
	h.question = question{name + ".", "A"}
	return h
}

// TestHostile looks up names that are made to be expensive, over a real network. What
// it costs is bounded, nothing wrong is believed, and others have their answers.
func TestHostile(t *testing.T) {
	t.Parallel()
	for _, h := range hostiles() {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			h.test(t)
		})
	}
}

func (h hostile) test(t *testing.T) {
	good := dnstest.SignedZone{Name: "good.example", Text: "@ A 192.0.2.2"}
	tree, err := dnstest.NewTree(time.Now(), append(h.zones, good, dnstest.SignedZone{Name: "example"})...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tree.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r := newResolver(t, s.Addr, tree.Anchors())
	trace, err := r.Trace(t.Context(), h.question.name, h.question.typ)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v: %s: %s", trace.Cost, trace.Verdict, trace.Why)
	if c := trace.Cost; c.Queries == 0 || c.Queries > queriesLimit || c.Signatures > signaturesLimit || c.Hashes > hashesLimit {
		t.Errorf("it cost %+v", c)
	}
	// Replies that do not fit are asked for again over TCP.
	if n := tree.Total(); n > 2*queriesLimit {
		t.Errorf("the server was asked %d times", n)
	}
	if trace.Verdict == resolver.Insecure || trace.Err != nil && !errors.Is(trace.Err, dns.ErrTemporary) && !dns.IsNone(trace.Err) {
		t.Errorf("got %s, %v", trace.Verdict, trace.Err)
	}

	// Asking often for more of it does not cost more each time.
	before := tree.Total()
	const often = 20
	for i := range often {
		if got := ours(t.Context(), r, question{fmt.Sprintf("%d.%s", i, h.question.name), "MX"}); strings.HasPrefix(got.result, "insecure") {
			t.Errorf("got %s of a signed zone", got.result)
		}
	}
	if n := tree.Total() - before; n > 2*often*queriesLimit {
		t.Errorf("the server was asked %d times for %d names", n, often)
	}
	if got := ours(t.Context(), r, question{"good.example.", "A"}); got.result != "secure records" {
		t.Errorf("another zone: got %s (%s)", got.result, got.detail)
	}
}

package dmarc

import (
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
)

// name returns a domain for a test.
func name(t *testing.T, s string) dns.Domain {
	t.Helper()
	if s == "" {
		return dns.Domain{}
	}
	d, err := dns.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// zone returns a resolver for the text of a zone.
func zone(t *testing.T, text string) *dnstest.Resolver {
	t.Helper()
	r, err := dnstest.New(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	r := zone(t, `_dmarc.example.com. TXT "v=DMARC1; p=reject"`)
	e := Evaluate(t.Context(), r, Args{From: name(t, "example.com"), SPF: Identifier{name(t, "child.example.com"), "pass"}})
	if e.Result != ResultPass || e.SPF != Relaxed {
		t.Errorf("got %+v", e)
	}
}

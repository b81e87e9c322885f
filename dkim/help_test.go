package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// records is a dns.Resolver that has TXT records only. Names in fails get that error.
type records struct {
	dns.Resolver
	texts     map[string][]string
	fails     map[string]error
	authentic bool

	mu   sync.Mutex
	asks map[string]int
}

func (r *records) LookupTXT(_ context.Context, name string) ([]string, dns.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asks == nil {
		r.asks = map[string]int{}
	}
	r.asks[name]++
	res := dns.Result{Authentic: r.authentic, Name: name}
	switch texts, ok := r.texts[name]; {
	case r.fails[name] != nil:
		return nil, dns.Result{}, &dns.Error{Op: "TXT", Name: name, Err: r.fails[name]}
	case !ok:
		return nil, res, &dns.Error{Op: "TXT", Name: name, Err: dns.ErrNotFound}
	default:
		return texts, res, nil
	}
}

// toCRLF gives text the line ends of messages.
func toCRLF(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// testRSA returns the key of 1024 bits of RFC 8463, appendix A.1.
func testRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := ParseKey([]byte(readFile(t, "testdata/rfc8463/rsa.pem")))
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

func testEd25519() ed25519.PrivateKey { return ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", 32))) }

// text returns the record of a key.
func text(t testing.TB, key crypto.Signer) string {
	t.Helper()
	rec, err := NewRecord(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return rec.Text()
}

func parsePEM(t testing.TB, s string) any {
	t.Helper()
	block, _ := pem.Decode([]byte(s))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// now is when the tests take place.
func now() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func author() smtp.Address {
	return smtp.Address{Localpart: "mjl", Domain: dns.Domain{ASCII: "example.org"}}
}

func verify(t testing.TB, r dns.Resolver, msg string, opts VerifyOptions) []Evaluation {
	t.Helper()
	if opts.Now.IsZero() {
		opts.Now = now()
	}
	evaluations, err := Verify(t.Context(), r, strings.NewReader(msg), int64(len(msg)), opts)
	if err != nil {
		t.Fatal(err)
	}
	return evaluations
}

func sign(t testing.TB, msg string, selectors ...Selector) string {
	t.Helper()
	header, err := Sign(strings.NewReader(msg), int64(len(msg)), SignOptions{Author: author(), Selectors: selectors, Now: now()})
	if err != nil {
		t.Fatal(err)
	}
	return string(header) + msg
}

package dane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// testNow is when certificates are verified.
var testNow = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate, signed by parent or by itself. Change may change what
// is in it.
func issue(t testing.TB, name string, parent *issued, change ...func(*x509.Certificate)) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour), BasicConstraintsValid: true,
	}
	for _, f := range change {
		f(template)
	}
	signer, above := crypto.Signer(key), template
	if parent != nil {
		signer, above = parent.key, parent.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, key}
}

func authority(c *x509.Certificate) { c.IsCA = true }

func expired(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Minute) }

// named gives a certificate names.
func named(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

// tree is a server's certificate with those above it, and a stranger's.
type tree struct {
	root, middle, leaf, stranger *issued
}

func newTree(t testing.TB, change ...func(*x509.Certificate)) tree {
	t.Helper()
	root := issue(t, "root", nil, authority)
	middle := issue(t, "middle", root, authority)
	leaf := issue(t, "leaf", middle, append([]func(*x509.Certificate){named("mx.example.org")}, change...)...)
	return tree{root, middle, leaf, issue(t, "stranger", nil, authority)}
}

// chain returns certificates as a server presents them.
func chain(list ...*issued) (certs []*x509.Certificate) {
	for _, c := range list {
		certs = append(certs, c.Certificate)
	}
	return certs
}

func mustMake(t testing.TB, usage Usage, selector Selector, matching Matching, cert *issued) Record {
	t.Helper()
	r, err := MakeRecord(usage, selector, matching, cert.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

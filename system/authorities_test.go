package system

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
)

// TestRoots has authorities of the configuration: alone, and besides those of the
// system.
func TestRoots(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ours"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	if pool, err := roots(nil); pool != nil || err != nil {
		t.Errorf("nothing configured: got %v, %v", pool, err)
	}
	ours := x509.NewCertPool()
	ours.AddCert(cert)
	pool, err := roots(&config.Authorities{Certificates: []*x509.Certificate{cert}})
	if err != nil || !pool.Equal(ours) {
		t.Errorf("only ours: got %v, %v", pool, err)
	}
	both, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	both.AddCert(cert)
	pool, err = roots(&config.Authorities{Certificates: []*x509.Certificate{cert}, SystemToo: true})
	if err != nil || !pool.Equal(both) {
		t.Errorf("and those of the system: got %v", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Errorf("ours is not among them: %v", err)
	}
	// None is none, not those of the system.
	if pool, err = roots(&config.Authorities{}); err != nil || !pool.Equal(x509.NewCertPool()) {
		t.Errorf("no files were read: got %v, %v", pool, err)
	}
}

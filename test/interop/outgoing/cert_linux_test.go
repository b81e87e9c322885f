package outgoing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// Kinds of certificates that hosts show.
const (
	selfSigned   = ""             // Signed with itself.
	selfExpired  = "self-expired" // Likewise, expired, and with another name.
	fromCA       = "ca"           // With that of the CA after it.
	alone        = "alone"        // Without that.
	expired      = "expired"      // From the CA.
	otherName    = "other"        // From the CA, with another name.
	nameOfDomain = "domain"       // From the CA, with the name of the domain and not the host's.
	noTLS        = "none"
)

// issued is a key with its certificates.
type issued struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate // Its own first.
}

// issue makes a certificate with a name, signed by parent, or with itself if that is
// nil.
func issue(t *testing.T, parent *issued, template x509.Certificate, name string) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = serial, pkix.Name{CommonName: name}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	}
	if !template.IsCA {
		template.DNSNames = []string{name}
	}
	signer, signed := key, &template
	if parent != nil {
		signer, signed = parent.key, parent.chain[0]
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, signed, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	i := &issued{key, []*x509.Certificate{cert}}
	if parent != nil {
		i.chain = append(i.chain, parent.chain...)
	}
	return i
}

// newAuthority makes a CA.
func newAuthority(t *testing.T, name string) *issued {
	t.Helper()
	return issue(t, nil, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, name)
}

// newCert makes a certificate of a kind for a host of a domain.
func newCert(t *testing.T, ca *issued, kind, host, domain string) *issued {
	t.Helper()
	past := x509.Certificate{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	switch kind {
	case selfSigned, noTLS:
		return issue(t, nil, x509.Certificate{}, host)
	case selfExpired:
		return issue(t, nil, past, "other.example")
	case fromCA:
		return issue(t, ca, x509.Certificate{}, host)
	case alone:
		i := issue(t, ca, x509.Certificate{}, host)
		i.chain = i.chain[:1]
		return i
	case expired:
		return issue(t, ca, past, host)
	case otherName:
		return issue(t, ca, x509.Certificate{}, "other.example")
	case nameOfDomain:
		return issue(t, ca, x509.Certificate{}, domain)
	}
	t.Fatalf("no certificates of kind %q", kind)
	return nil
}

// pem returns the key and the certificates, in that order.
func (i *issued) pem(t *testing.T) string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})) + i.certs()
}

// certs returns the certificates as PEM.
func (i *issued) certs() string {
	var b strings.Builder
	for _, cert := range i.chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return b.String()
}

// tls returns it for a server.
func (i *issued) tls() tls.Certificate {
	c := tls.Certificate{PrivateKey: i.key}
	for _, cert := range i.chain {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// tlsa returns the content of a TLSA record, RFC 6698, section 2.1, about a
// certificate. It is computed here and not by package dane, which is tested.
func tlsa(t *testing.T, usage, selector, matching int, cert *x509.Certificate) string {
	t.Helper()
	data := cert.Raw
	if selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return fmt.Sprintf("%d %d %d %x", usage, selector, matching, data)
}

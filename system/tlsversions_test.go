package system

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
)

// writeRSA puts an RSA key and a certificate in the place of those of writeConfig.
func writeRSA(t *testing.T, dir string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"localhost.crt": {Type: "CERTIFICATE", Bytes: cert}, "localhost.key": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTLSVersions does handshakes with IMAP, with an RSA key.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	writeRSA(t, filepath.Dir(path))
	r := start(t, options(t, path))
	for _, test := range []struct {
		name    string
		version uint16
		suites  []uint16
		ok      bool
	}{
		// MUST 9051 11.1 #2: TLS 1.2 and newer can be spoken
		{"TLS 1.3", tls.VersionTLS13, nil, true},
		// MUST 9051 11.1 #3: with TLS 1.2, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 is there
		{"TLS 1.2, with the suite that all have", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, true},
		// MUST 9051 11.1: what RFC 8314 calls too old is refused
		{"TLS 1.1", tls.VersionTLS11, nil, false},
	} {
		c := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, MinVersion: test.version, MaxVersion: test.version, CipherSuites: test.suites}
		conn, err := r.handshake(t, config.ServiceIMAPS, c)
		if (err == nil) != test.ok {
			t.Errorf("%s: got %v", test.name, err)
		}
		if err == nil {
			if state := conn.ConnectionState(); state.Version != test.version || test.suites != nil && state.CipherSuite != test.suites[0] {
				t.Errorf("%s: got %x, suite %x", test.name, state.Version, state.CipherSuite)
			}
			_ = conn.Close()
		}
	}
}

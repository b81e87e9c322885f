package sasl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"
)

// signedBy returns a certificate signed by itself.
func signedBy(t *testing.T, key crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func ecdsaKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// connect returns the states of both ends of a TLS connection, of one version if
// that is not 0.
func connect(t *testing.T, version uint16, client *tls.Config) (theirs, ours tls.ConnectionState) {
	t.Helper()
	server := &tls.Config{Certificates: []tls.Certificate{signedBy(t, ecdsaKey(t, elliptic.P256()))}}
	return connectTo(t, server, version, client)
}

func connectTo(t *testing.T, server *tls.Config, version uint16, client *tls.Config) (theirs, ours tls.ConnectionState) {
	t.Helper()
	if client == nil {
		client = &tls.Config{}
	}
	client.InsecureSkipVerify, client.ServerName = true, "localhost"
	client.MinVersion, client.MaxVersion = version, version
	a, b := net.Pipe()
	done := make(chan error, 1)
	s := tls.Server(b, server)
	go func() {
		err := s.HandshakeContext(t.Context())
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
	}()
	c := tls.Client(a, client)
	err := c.HandshakeContext(t.Context())
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // With it come session tickets.
	}
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	theirs, ours = c.ConnectionState(), s.ConnectionState()
	_, _ = a.Close(), b.Close()
	return theirs, ours
}

// TestBindings compares the bindings of both ends, and with those of another
// connection to the same server.
func TestBindings(t *testing.T) {
	t.Parallel()
	cert := signedBy(t, ecdsaKey(t, elliptic.P256()))
	server := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, test := range []struct {
		version uint16
		binding string
		size    int // 0: there is none.
		own     bool
		best    string
	}{
		{tls.VersionTLS13, bindExporter, 32, true, bindExporter},
		{tls.VersionTLS13, bindUnique, 0, false, bindExporter},
		{tls.VersionTLS13, bindEndPoint, 32, false, bindExporter},
		{tls.VersionTLS12, bindExporter, 0, false, bindUnique},
		{tls.VersionTLS12, bindUnique, 12, true, bindUnique},
		{tls.VersionTLS12, bindEndPoint, 32, false, bindUnique},
		{tls.VersionTLS13, "tls-unheard-of", 0, false, bindExporter},
	} {
		theirs, ours := connectTo(t, server, test.version, nil)
		others, _ := connectTo(t, server, test.version, nil)
		c, s, o := ClientChannel(&theirs), &Channel{State: &ours, Certificate: cert.Leaf}, ClientChannel(&others)
		got, err := c.Binding(test.binding)
		if len(got) != test.size || (err == nil) != (test.size > 0) || err != nil && !errors.Is(err, ErrChannelBinding) {
			t.Errorf("%x, %s: got %x, %v", test.version, test.binding, got, err)
		}
		if own, _ := s.Binding(test.binding); !bytes.Equal(own, got) {
			t.Errorf("%x, %s: server has %x, client %x", test.version, test.binding, own, got)
		}
		if other, _ := o.Binding(test.binding); test.size > 0 && bytes.Equal(other, got) == test.own {
			t.Errorf("%x, %s: another connection has %x, this %x", test.version, test.binding, other, got)
		}
		if c.best() != test.best || !c.CanBind() {
			t.Errorf("%x: best is %q, want %q", test.version, c.best(), test.best)
		}
	}
}

// TestNoBinding shows channels without.
func TestNoBinding(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*Channel{
		"no TLS":                     ClientChannel(nil),
		"before the handshake":       ClientChannel(&tls.ConnectionState{Version: tls.VersionTLS13}),
		"resumed, without RFC 7627":  {State: &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true}},
		"the zero channel":           {},
		"no certificate and no name": {State: &tls.ConnectionState{Version: tls.VersionTLS11, HandshakeComplete: true}},
	} {
		if c.CanBind() {
			t.Errorf("%s: can be bound to by %q", name, c.best())
		}
	}
}

// TestUniqueResumed shows that a session resumed with the extended master secret
// has a tls-unique of its own.
func TestUniqueResumed(t *testing.T) {
	t.Parallel()
	server := &tls.Config{Certificates: []tls.Certificate{signedBy(t, ecdsaKey(t, elliptic.P256()))}}
	client := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	var before []byte
	for i := range 2 {
		theirs, ours := connectTo(t, server, tls.VersionTLS12, client)
		if theirs.DidResume != (i == 1) {
			t.Fatalf("connection %d: resumed %v", i, theirs.DidResume)
		}
		got, err := ClientChannel(&theirs).Binding(bindUnique)
		own, ownErr := (&Channel{State: &ours}).Binding(bindUnique)
		if err != nil || ownErr != nil || !bytes.Equal(got, own) || bytes.Equal(got, before) {
			t.Errorf("connection %d: got %x and %x, %v, %v; before %x", i, got, own, err, ownErr, before)
		}
		before = got
	}
}

// TestEndPoint shows which hash is used for which signature, RFC 5929, section
// 4.1.
func TestEndPoint(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		key  crypto.Signer
		size int
	}{
		{"SHA-256", ecdsaKey(t, elliptic.P256()), 32},
		{"SHA-384", ecdsaKey(t, elliptic.P384()), 48},
		{"SHA-512", ecdsaKey(t, elliptic.P521()), 64},
		{"no hash", ed, 0},
	} {
		cert := signedBy(t, test.key).Leaf
		if got := endPoint(cert); len(got) != test.size {
			t.Errorf("%s: got %x", test.name, got)
		}
	}
	old := &x509.Certificate{Raw: []byte("certificate"), SignatureAlgorithm: x509.SHA1WithRSA}
	if want := sha256.Sum256(old.Raw); !bytes.Equal(endPoint(old), want[:]) {
		t.Errorf("SHA-1: got %x, want SHA-256", endPoint(old))
	}
}

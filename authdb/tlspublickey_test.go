package authdb

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// certificate returns a certificate of a key, signed by itself, in DER.
func certificate(t *testing.T, key crypto.Signer, name string) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: start}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestKeyTypes adds keys of each kind, and some that can't be.
func TestKeyTypes(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	ec := func(curve elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		der      []byte
		account  string
		wantType string // Empty: ErrKey.
		wantName string
	}{
		{"Ed25519", certificate(t, newKey(t), "laptop"), "anna", "ed25519", "laptop"},
		{"P-256", certificate(t, ec(elliptic.P256()), ""), "anna", "ecdsap256", ""},
		{"P-384", certificate(t, ec(elliptic.P384()), "a\nb"), "anna", "ecdsap384", "a?b"},
		{"RSA", certificate(t, r, strings.Repeat("n", 300)), "anna", "rsa2048", strings.Repeat("n", fieldMax)},
		{"no certificate", []byte("x"), "anna", "", ""},
		{"a certificate that is too large", make([]byte, certificateMax+1), "anna", "", ""},
		{"no account", certificate(t, newKey(t), "laptop"), "", "", ""},
	} {
		k, err := db.AddTLSPublicKey(t.Context(), TLSPublicKey{CertDER: test.der, Account: test.account, LoginAddress: "anna@example.org"})
		if (err != nil) != (test.wantType == "") || err != nil && !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %v", test.name, err)
		}
		if err == nil && (k.Type != test.wantType || k.Name != test.wantName) {
			t.Errorf("%s: got type %q, name %q", test.name, k.Type, k.Name)
		}
	}
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), rsaBitsMin-2), E: 65537}
	if _, err := keyType(weak); !errors.Is(err, ErrKey) {
		t.Errorf("a weak RSA key: got %v", err)
	}
	if _, err := keyType("key"); !errors.Is(err, ErrKey) {
		t.Errorf("a key of an unknown kind: got %v", err)
	}
}

// TestTLSPublicKeys walks some keys through their lives.
func TestTLSPublicKeys(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	var keys []TLSPublicKey
	for i, account := range []string{"anna", "bert", "anna"} {
		key := newKey(t)
		der := certificate(t, key, "from the certificate")
		k, err := db.AddTLSPublicKey(t.Context(), TLSPublicKey{
			Fingerprint: "ignored", CertDER: der, Account: account, LoginAddress: account + "@example.org",
			Name: fmt.Sprint("key ", i), NoPreauth: i == 1, Created: start.Add(-time.Duration(i) * time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(spki); k.Fingerprint != base64.RawURLEncoding.EncodeToString(sum[:]) {
			t.Errorf("key %d: got fingerprint %q", i, k.Fingerprint)
		}
		// Another certificate with the same key is the same key, for whomever.
		other := TLSPublicKey{CertDER: certificate(t, key, "other"), Account: "carl", LoginAddress: "carl@example.org"}
		if _, err := db.AddTLSPublicKey(t.Context(), other); !errors.Is(err, ErrKeyExists) {
			t.Errorf("key %d again: got %v", i, err)
		}
		keys = append(keys, k)
	}
	list := func(account string) (names string) {
		t.Helper()
		found, err := db.TLSPublicKeys(t.Context(), account)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range found {
			names += k.Name + ", "
		}
		return names
	}
	for account, want := range map[string]string{"anna": "key 2, key 0, ", "bert": "key 1, ", "carl": "", "": "key 2, key 1, key 0, "} {
		if got := list(account); got != want {
			t.Errorf("keys of %q: got %s, want %s", account, got, want)
		}
	}
	k, err := db.TLSPublicKey(t.Context(), keys[1].Fingerprint)
	if err != nil || k.Account != "bert" || !k.NoPreauth || k.LoginAddress != "bert@example.org" || !k.Created.Equal(keys[1].Created) {
		t.Errorf("got %+v, %v", k, err)
	}
	for _, absent := range []string{"", "x", keys[1].Fingerprint + "="} {
		if k, err := db.TLSPublicKey(t.Context(), absent); !errors.Is(err, ErrNoKey) {
			t.Errorf("getting %q: got %+v, %v", absent, k, err)
		}
		if err := db.RemoveTLSPublicKey(t.Context(), absent); !errors.Is(err, ErrNoKey) {
			t.Errorf("removing %q: got %v", absent, err)
		}
	}
	if err := db.RemoveTLSPublicKey(t.Context(), keys[1].Fingerprint); err != nil {
		t.Error(err)
	}
	if got := list(""); got != "key 2, key 0, " {
		t.Errorf("after removing one: got %s", got)
	}
	if n, err := db.RemoveTLSPublicKeys(t.Context(), "anna"); n != 2 || err != nil {
		t.Errorf("removing those of an account: got %d, %v", n, err)
	}
	if got := list(""); got != "" {
		t.Errorf("after removing all: got %s", got)
	}
}

// TestKeysMax adds keys to an account until it has enough.
func TestKeysMax(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	add := func() error {
		_, err := db.AddTLSPublicKey(t.Context(), TLSPublicKey{CertDER: certificate(t, newKey(t), "x"), Account: "anna", LoginAddress: "a@example.org"})
		return err
	}
	before := db.file.Stats()
	for i := range keysMax {
		if err := add(); err != nil {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	if err := add(); !errors.Is(err, ErrKey) {
		t.Errorf("one more: got %v, want ErrKey", err)
	}
	if after := db.file.Stats(); after.PlanTableScan != before.PlanTableScan {
		t.Errorf("adding scans the table: got stats %+v, before %+v", after, before)
	}
}

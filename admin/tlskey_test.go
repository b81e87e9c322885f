package admin

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// newCertificate returns a certificate in PEM, with a common name.
func newCertificate(t *testing.T, name string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}))
}

// addKey registers a new key for a login address.
func (w *world) addKey(t *testing.T, address string) TLSPublicKey {
	t.Helper()
	k, err := w.TLSPublicKeyAdd(t.Context(), TLSPublicKeyAddRequest{LoginAddress: address, Certificate: newCertificate(t, "a key")})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTLSPublicKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.use(t, dynamic)
	ctx, cert := t.Context(), newCertificate(t, "from the certificate")
	first := w.addKey(t, "BERT+x@example.org")
	if first.Account != "bert" || first.LoginAddress != "bert@example.org" || first.Name != "a key" || first.Type != "ed25519" || first.NoIMAPPreauth || first.Created.IsZero() {
		t.Errorf("got %+v", first)
	}
	second, err := w.TLSPublicKeyAdd(ctx, TLSPublicKeyAddRequest{"anna@example.org", "laptop", true, cert})
	if err != nil || second.Name != "laptop" || !second.NoIMAPPreauth {
		t.Fatalf("got %+v, %v", second, err)
	}
	for _, test := range []struct {
		name string
		req  TLSPublicKeyAddRequest
		code Code
		text string
	}{
		{"the same again", TLSPublicKeyAddRequest{"bert@example.org", "", false, cert}, User, "this key is registered already"},
		{"an alias", TLSPublicKeyAddRequest{"team@example.org", "", false, cert}, NotFound, "team@example.org is not an address of an account"},
		{"another's domain", TLSPublicKeyAddRequest{"x@other.example", "", false, cert}, NotFound, `no domain "other.example"`},
		{"not an address", TLSPublicKeyAddRequest{"x", "", false, cert}, User, `"x" is not an address`},
		{"a catchall", TLSPublicKeyAddRequest{"@bücher.example", "", false, cert}, User, "is a catchall address"},
		{"not PEM", TLSPublicKeyAddRequest{"anna@example.org", "", false, "x"}, User, "no certificate in PEM form"},
		{"two certificates", TLSPublicKeyAddRequest{"anna@example.org", "", false, cert + cert}, User, "exactly one certificate"},
		{"a private key", TLSPublicKeyAddRequest{"anna@example.org", "", false, strings.ReplaceAll(cert, pemCertificate, "PRIVATE KEY")}, User, "private keys must not leave"},
		{"not a certificate", TLSPublicKeyAddRequest{"anna@example.org", "", false, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, User, "TLS public key is not possible"},
	} {
		_, err := w.TLSPublicKeyAdd(ctx, test.req)
		wantError(t, test.name, err, test.code, test.text)
	}
	got, err := w.TLSPublicKeyGet(ctx, TLSPublicKeyRequest{second.Fingerprint})
	want := second
	want.Certificate = cert
	if err != nil || got != want {
		t.Errorf("get: got %+v, %v", got, err)
	}
	for account, want := range map[string][]string{"": {first.Fingerprint, second.Fingerprint}, "anna": {second.Fingerprint}, "bert": {first.Fingerprint}} {
		list, err := w.TLSPublicKeyList(ctx, TLSPublicKeyListRequest{account})
		var got []string
		for _, k := range list.Keys {
			got = append(got, k.Fingerprint)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("list of %q: got %v, %v", account, got, err)
		}
	}
	_, err = w.TLSPublicKeyList(ctx, TLSPublicKeyListRequest{"carl"})
	wantError(t, "list of nobody", err, NotFound, `no account "carl"`)
	removed, err := w.TLSPublicKeyRemove(ctx, TLSPublicKeyRequest{first.Fingerprint})
	if err != nil || removed != first || !slices.Equal(w.ended, []string{"bert"}) {
		t.Errorf("remove: got %+v, %v, and sessions ended of %v", removed, err, w.ended)
	}
	_, err = w.TLSPublicKeyRemove(ctx, TLSPublicKeyRequest{first.Fingerprint})
	wantError(t, "remove again", err, NotFound, "no TLS public key")
	_, err = w.TLSPublicKeyGet(ctx, TLSPublicKeyRequest{""})
	wantError(t, "get nothing", err, NotFound, `no TLS public key ""`)
	list, err := w.TLSPublicKeyList(ctx, TLSPublicKeyListRequest{"bert"})
	if text, jerr := json.Marshal(list); err != nil || jerr != nil || string(text) != `{"keys":[]}` {
		t.Errorf("list of nothing: got %s, %v", text, err)
	}
}

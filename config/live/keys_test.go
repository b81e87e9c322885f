package live

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newPair returns the texts of a certificate with a serial number, and its key.
func newPair(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"mail.example.org"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// serial returns the serial number of the certificate in use.
func serial(c *Config) int64 {
	return c.Current().Endpoints[0].TLS.Certificates[0].Leaf.SerialNumber.Int64()
}

// TestReloadKeys changes the files of a key and its certificate, some of which can
// no longer be read.
func TestReloadKeys(t *testing.T) {
	t.Parallel()
	path := write(t)
	dir := filepath.Dir(path)
	oldCert, oldKey := newPair(t, 1)
	newCert, newKey := newPair(t, 2)
	for _, test := range []struct {
		name      string
		cert, key string
		forbidden string // Files that can't be read, part of their names.
		serial    int64
		err       string // Part of it.
		applied   bool   // The rest of the reload takes effect.
	}{
		{"nothing changes", oldCert, oldKey, "", 1, "", true},
		{"both change", newCert, newKey, "", 2, "", true},
		{"both change, and can't be read", newCert, newKey, "a.", 1, "a.key: permission denied", true},
		{"both change, and the key can't be read", newCert, newKey, "a.key", 1, "a.key: permission denied\nLet that user read", true},
		{"both change, and the certificate can't be read", newCert, newKey, "a.crt", 1, "a.crt: permission denied", true},
		{"the key can't be read, and the certificate is the same", oldCert, oldKey, "a.key", 1, "", true},
		{"only the certificate changes", newCert, oldKey, "", 1, "private key does not match", false},
		{"the key is gone", newCert, "", "", 1, "no such file", false},
	} {
		put(t, filepath.Join(dir, "domains.conf"), dynamic)
		put(t, filepath.Join(dir, "a.crt"), oldCert)
		put(t, filepath.Join(dir, "a.key"), oldKey)
		c, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "a.crt"), test.cert)
		put(t, filepath.Join(dir, "a.key"), test.key)
		if test.key == "" {
			if err := os.Remove(filepath.Join(dir, "a.key")); err != nil {
				t.Fatal(err)
			}
		}
		c.readFile = forbid(test.forbidden)
		put(t, filepath.Join(dir, "domains.conf"), dynamic+"\tb:\n\t\tDomain: example.org\n")
		before := c.Current()
		err = c.Reload(t.Context())
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.err)
		}
		if _, ok := errors.AsType[*KeysError](err); ok != (err != nil && test.applied) {
			t.Errorf("%s: got error %T", test.name, err)
		}
		if applied := c.Current() != before; applied != test.applied || serial(c) != test.serial {
			t.Errorf("%s: took effect: %v, certificate %d; want %v, %d", test.name, applied, serial(c), test.applied, test.serial)
		}
		if !test.applied {
			put(t, filepath.Join(dir, "domains.conf"), dynamic) // As it was read.
		}
		// Whatever is in the files, other changes can be made.
		if err := c.Update(t.Context(), add("c")); err != nil || serial(c) != test.serial {
			t.Errorf("%s: after an update: %v, certificate %d", test.name, err, serial(c))
		}
	}
}

// forbid returns what reads files, except those with some text in their names.
func forbid(text string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if text != "" && strings.Contains(filepath.Base(name), text) {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
		}
		return os.ReadFile(name)
	}
}

// TestInherited gives contents of files that are not there to read.
func TestInherited(t *testing.T) {
	t.Parallel()
	path := write(t)
	cert, key := newPair(t, 7)
	if _, err := Open(path, Options{Inherited: map[string][]byte{"a.crt": []byte(cert)}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without key: got %v", err)
	}
	c, err := Open(path, Options{Inherited: map[string][]byte{"a.crt": []byte(cert), "a.key": []byte(key), "other": nil}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), add("b")); err != nil || serial(c) != 7 {
		t.Errorf("updating: got %v, certificate %d", err, serial(c))
	}
	c.readFile = forbid("a.")
	if err := c.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "restart the server") || serial(c) != 7 {
		t.Errorf("reloading: got %v, certificate %d", err, serial(c))
	}
}

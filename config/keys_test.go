package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"testing/fstest"
)

func pemFile(kind string, raw []byte) *fstest.MapFile {
	return &fstest.MapFile{Data: pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})}
}

// authorityFile returns the certificate of an authority.
func authorityFile(t *testing.T, name string) *fstest.MapFile {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile("CERTIFICATE", raw)
}

// keyFile returns a key in PKCS #8.
func keyFile(t *testing.T, key crypto.PrivateKey) *fstest.MapFile {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile("PRIVATE KEY", raw)
}

// TestKeyFiles gives the example of the documentation files of several kinds.
func TestKeyFiles(t *testing.T) {
	t.Parallel()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := x509.MarshalECPrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	const (
		ca   = "ca.pem"
		eab  = "eab.key"
		host = "hostkeys/mail.example.org.ecdsap256.pem"
		dkim = "dkim/2030a._domainkey.example.org.rsa2048.pem"
	)
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	certificate := authorityFile(t, "one")
	two := &fstest.MapFile{Data: append(authorityFile(t, "two").Data, authorityFile(t, "three").Data...)}
	exampleStatic, exampleDynamic := examples(t)
	for _, test := range []struct {
		name string
		file string
		data *fstest.MapFile // Nil: absent.
		want string          // Its end.
	}{
		{"all is well", ca, certificate, ""},
		{"an authority that isn't there", ca, nil, "TLS.CA.CertFiles[0]: open ca.pem: file does not exist"},
		{"two authorities in a file", ca, two, ""},
		{"half an authority", ca, pemFile("CERTIFICATE", []byte("x")), "*"},
		{"an authority that is a key", ca, keyFile(t, p256), "TLS.CA.CertFiles[0]: no certificate in ca.pem"},
		{"no key for an authority", eab, nil, "KeyFile: open eab.key: file does not exist"},
		{"a key for an authority in no base64", eab, text("a+b"), "KeyFile: eab.key is not in base64 for URLs"},
		{"no host key", host, nil, "HostPrivateKeyFiles[0]: reading key: open " + host + ": file does not exist"},
		{"a host key in no PEM", host, text("x"), "HostPrivateKeyFiles[0]: reading key " + host + ": no PEM block"},
		{"a certificate for a host key", host, certificate, `"CERTIFICATE" is not a private key`},
		{"an old form of ECDSA", host, pemFile("EC PRIVATE KEY", ec), ""},
		{"a broken host key", host, pemFile("PRIVATE KEY", []byte("x")), "*"},
		{"a DKIM key of Ed25519", dkim, keyFile(t, ed), ""},
		{"a DKIM key in the form of RSA", dkim, pemFile("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa2048)), ""},
		{"a DKIM key of ECDSA", dkim, keyFile(t, p256), "PrivateKeyFile: need an RSA or Ed25519 key"},
		{"no DKIM key", dkim, nil, "file does not exist"},
	} {
		files := fstest.MapFS{
			ca: certificate, eab: text("YQ\n"), host: keyFile(t, p256), dkim: keyFile(t, rsa2048), test.file: test.data,
		}
		if test.data == nil {
			delete(files, test.file)
		}
		_, err := Load([]byte(exampleStatic), []byte(exampleDynamic), files)
		var got []string
		for line := range strings.Lines(others(err)) {
			if !strings.Contains(line, "Listeners.nat.TLS") { // Certificates have a test of their own.
				got = append(got, line)
			}
		}
		if s := strings.Join(got, ""); test.want == "" && s != "" || !strings.HasSuffix(strings.TrimSpace(s), strings.TrimSuffix(test.want, "*")) || len(got) > 1 {
			t.Errorf("%s: got:\n%s\nwant at its end: %s", test.name, s, test.want)
		}
	}
}

// TestAuthorities has the certificates of all files, and tells whether those of the
// system are meant too.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	two := &fstest.MapFile{Data: append(authorityFile(t, "two").Data, authorityFile(t, "three").Data...)}
	files := fstest.MapFS{"one": authorityFile(t, "one"), "two": two}
	for _, test := range []struct {
		name   string
		ca     *CA
		system bool
		want   string
	}{
		{"nothing is configured", nil, false, "none"},
		{"only those of files", &CA{CertFiles: []string{"two", "one"}}, false, "two three one"},
		{"and those of the system", &CA{AdditionalToSystem: true, CertFiles: []string{"one"}}, true, "one"},
		{"as if nothing were configured", &CA{AdditionalToSystem: true}, true, ""},
	} {
		c := &checker{config: &Config{}, files: files}
		c.authorities(c.static("TLS.CA"), test.ca)
		got := []string{"none"}
		if a := c.config.Authorities; a != nil {
			got = nil
			for _, cert := range a.Certificates {
				got = append(got, cert.Subject.CommonName)
			}
			if a.SystemToo != test.system {
				t.Errorf("%s: got %v for those of the system", test.name, a.SystemToo)
			}
		}
		if strings.Join(got, " ") != test.want || len(c.problems) > 0 {
			t.Errorf("%s: got %q and %v, want %q", test.name, got, c.problems, test.want)
		}
	}
}

// TestHostKeyWarnings tells of keys that are of no use for the host.
func TestHostKeyWarnings(t *testing.T) {
	t.Parallel()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"p256": keyFile(t, p256), "p384": keyFile(t, p384), "rsa": keyFile(t, rsa2048)}
	for _, test := range []struct {
		names, want string
	}{
		{"p256 rsa", ""},
		{"p256", "there is no RSA key"},
		{"rsa", "there is no ECDSA key"},
		{"p256 rsa p384", "p384 is ignored"},
	} {
		c := &checker{config: &Config{}, files: files}
		c.hostKeys(c.static("x"), strings.Fields(test.names))
		got := c.config.Warnings.Error()
		if !strings.Contains(got, test.want) || test.want == "" && got != "" || len(c.problems) != 0 {
			t.Errorf("%s: got %q and problems %v, want %q", test.names, got, c.problems, test.want)
		}
	}
}

// TestDKIMHash shows that the kind of key decides about the hash.
func TestDKIMHash(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{files: fstest.MapFS{"key": keyFile(t, ed)}}
	if _, err := c.dkimKey(Selector{PrivateKeyFile: "key", Hash: "sha1"}); err == nil {
		t.Error("Ed25519 with sha1 is accepted")
	}
	if _, err := c.dkimKey(Selector{PrivateKeyFile: "key"}); err != nil {
		t.Errorf("Ed25519: got %v", err)
	}
}

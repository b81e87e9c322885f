package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mjl-/mox/dkim"
)

// tlsVersions are the values of MinVersion.
var tlsVersions = map[string]uint16{
	"":        tls.VersionTLS12,
	"TLSv1.0": tls.VersionTLS10,
	"TLSv1.1": tls.VersionTLS11,
	"TLSv1.2": tls.VersionTLS12,
	"TLSv1.3": tls.VersionTLS13,
}

// hostKeyBits is the size of RSA keys of a host.
const hostKeyBits = 2048

func loadKeyCert(files fs.FS, kc KeyCert) (tls.Certificate, error) {
	cert, err := fs.ReadFile(files, kc.CertFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading certificate: %w", err)
	}
	key, err := fs.ReadFile(files, kc.KeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key and certificate %s: %w", kc.CertFile, err)
	}
	return pair, nil
}

// loadPrivateKey reads a private key in one of the forms that are in use, without
// a password.
func loadPrivateKey(files fs.FS, name string) (crypto.PrivateKey, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("reading key %s: no PEM block", name)
	}
	var key crypto.PrivateKey
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		err = fmt.Errorf("%q is not a private key", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", name, err)
	}
	return key, nil
}

// hostKeys checks the keys for certificates of a host, of which only two kinds
// can be used.
func (c *checker) hostKeys(s scope, names []string) {
	var rsaKeys, ecdsaKeys int
	for i, name := range names {
		key, err := loadPrivateKey(c.files, name)
		if !s.item(i).is(err) {
			continue
		}
		switch key := key.(type) {
		case *rsa.PrivateKey:
			if key.N.BitLen() == hostKeyBits {
				rsaKeys++
				continue
			}
		case *ecdsa.PrivateKey:
			if key.Curve == elliptic.P256() {
				ecdsaKeys++
				continue
			}
		}
		s.item(i).warn("%s is ignored: only RSA with %d bits and ECDSA with P-256 are used", name, hostKeyBits)
	}
	switch {
	case len(names) == 0:
	case rsaKeys == 0:
		s.warn("there is no RSA key, which some servers need")
	case ecdsaKeys == 0:
		s.warn("there is no ECDSA key, which is faster")
	}
}

// dkimKey reads the key of a selector. Its hash has to go with it.
func (c *checker) dkimKey(sel Selector) (crypto.Signer, error) {
	key, err := loadPrivateKey(c.files, sel.PrivateKeyFile)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if n := key.N.BitLen(); n < dkim.KeyBitsMin {
			return nil, fmt.Errorf("RSA key of %d bits is too short, need %d", n, dkim.KeyBitsMin)
		}
		return key, nil
	case ed25519.PrivateKey:
		if sel.Hash == "sha1" {
			return nil, errors.New("an Ed25519 key needs sha256")
		}
		return key, nil
	}
	return nil, errors.New("need an RSA or Ed25519 key")
}

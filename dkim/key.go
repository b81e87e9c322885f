package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
)

// keyBits is the size of new RSA keys. Larger ones don't fit into one answer of DNS
// over UDP everywhere.
const keyBits = 2048

// GenerateRSA makes an RSA key of 2048 bits.
func GenerateRSA(random io.Reader) (*rsa.PrivateKey, error) { return rsa.GenerateKey(random, keyBits) }

// GenerateEd25519 makes an Ed25519 key.
func GenerateEd25519(random io.Reader) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(random)
	return key, err
}

// FormatKey returns a private key as PEM of PKCS #8, with a line in front for
// people. It is text by which readers of PEM find their place (RFC 7468, section 2).
func FormatKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	note := "Ed25519"
	if key, ok := key.(*rsa.PrivateKey); ok {
		note = fmt.Sprintf("RSA of %d bits", key.N.BitLen())
	}
	text := []byte("Private key for DKIM, " + note + ". Keep it secret.\n")
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...), nil
}

// ParseKey parses a private key in PEM: RSA or Ed25519 in PKCS #8, or RSA in PKCS #1.
func ParseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("parsing key: no PEM block")
	}
	var key any
	var err error
	if block.Type == "RSA PRIVATE KEY" {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("parsing key: %w", err)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("parsing key: %w: %T", ErrAlgorithm, key)
}

package dkim

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sizes of RSA keys in bits.
const (
	// KeyBitsMin is of RFC 8301, section 3.2.
	KeyBitsMin = 1024

	// KeyBitsMax bounds the time for a verification. RFC 8301 asks for 4096.
	KeyBitsMax = 8192
)

// errNoRecord means that a text is not a key of this version, and none that was
// meant to be.
var errNoRecord = errors.New("not a DKIM key")

// ParseRecord parses a TXT record. Errors wrap ErrRecord, or ErrKeySize.
func ParseRecord(text string) (*Record, error) {
	tags, err := ParseTags(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if version, ok := tags.Get("v"); ok && version != "DKIM1" {
		return nil, fmt.Errorf("%w: %w: version %q", ErrRecord, errNoRecord, shorten(version))
	} else if ok && tags.list[0].name != "v" {
		return nil, fmt.Errorf("%w: the version must come first", ErrRecord)
	}
	r := &reader{tags: tags}
	rec := &Record{Hashes: r.list("h"), KeyType: "rsa", Notes: r.quotedPrintable("n"), Services: r.list("s"), Flags: r.list("t")}
	if k, ok := tags.Get("k"); ok {
		rec.KeyType = k
	}
	if p, ok := tags.Get("p"); !ok {
		r.fail("no tag p")
	} else if p != "" {
		rec.Key = r.base64("p")
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, r.err)
	}
	if err := rec.parseKey(); err != nil {
		return nil, err
	}
	return rec, nil
}

// parseKey makes Public of Key.
func (rec *Record) parseKey() error {
	switch {
	case len(rec.Key) == 0:
		return nil
	case rec.KeyType == "ed25519" && len(rec.Key) == ed25519.PublicKeySize:
		rec.Public = ed25519.PublicKey(rec.Key)
		return nil
	case rec.KeyType == "ed25519":
		return fmt.Errorf("%w: %d bytes", ErrRecord, len(rec.Key))
	case rec.KeyType != "rsa":
		return nil // CheckKey refuses it.
	}
	public, err := parseRSA(rec.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if bits := public.N.BitLen(); bits < KeyBitsMin || bits > KeyBitsMax {
		return fmt.Errorf("%w: %d bits", ErrKeySize, bits)
	}
	rec.Public = public
	return nil
}

// parseRSA parses a public key as it is found in DNS, or as RFC 6376, section 3.6.1,
// describes it.
func parseRSA(der []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return public, nil
}

// NewRecord returns the record for a public key, an *rsa.PublicKey or
// ed25519.PublicKey.
func NewRecord(public any) (*Record, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, fmt.Errorf("encoding key: %w", err)
		}
		return &Record{KeyType: "rsa", Hashes: []string{"sha256"}, Key: der, Public: key}, nil
	case ed25519.PublicKey:
		return &Record{KeyType: "ed25519", Key: key, Public: key}, nil
	}
	return nil, fmt.Errorf("%w: %T", ErrAlgorithm, public)
}

// Text returns the record as it is published.
func (rec *Record) Text() string {
	b := []byte("v=DKIM1")
	list := func(name string, items []string) {
		if items != nil {
			b = append(b, ';')
			b = append(b, name...)
			b = append(b, '=')
			b = append(b, strings.Join(items, ":")...)
		}
	}
	list("h", rec.Hashes)
	if rec.KeyType != "rsa" {
		list("k", []string{rec.KeyType})
	}
	if rec.Notes != "" {
		b = appendQuoted(append(b, ";n="...), rec.Notes, false)
	}
	list("s", rec.Services)
	list("t", rec.Flags)
	b = append(b, ";p="...)
	return string(base64.StdEncoding.AppendEncode(b, rec.Key))
}

// Bits returns the size of the key, 0 if it was revoked.
func (rec *Record) Bits() int {
	switch key := rec.Public.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen()
	case ed25519.PublicKey:
		return 8 * len(key)
	}
	return 0
}

// Testing returns whether the domain is only testing DKIM (RFC 6376, section 3.6.1).
func (rec *Record) Testing() bool { return hasFold(rec.Flags, "y") }

// Allows returns whether the key may be used for a service, such as "tlsrpt" (RFC
// 8460, section 3).
func (rec *Record) Allows(service string) bool {
	return rec.Services == nil || hasFold(rec.Services, "*") || hasFold(rec.Services, service)
}

// hasFold compares in any case, as the grammar of the standards does.
func hasFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(item string) bool { return strings.EqualFold(item, s) })
}

// CheckKey returns ErrRevoked or ErrKeyUse unless the key is one for s, and for a
// service, such as "email".
func (s *Signature) CheckKey(rec *Record, service string) error {
	typ, hash, _ := strings.Cut(s.Algorithm, "-")
	switch {
	case len(rec.Key) == 0:
		return ErrRevoked
	case !strings.EqualFold(rec.KeyType, typ):
		return fmt.Errorf("%w: type is %q", ErrKeyUse, shorten(rec.KeyType))
	case rec.Hashes != nil && !hasFold(rec.Hashes, hash):
		return fmt.Errorf("%w: not with %s", ErrKeyUse, hash)
	case !rec.Allows(service):
		return fmt.Errorf("%w: not for %s", ErrKeyUse, service)
	case hasFold(rec.Flags, "s") && s.identityDomain != s.Domain && !s.identityDomain.IsZero():
		return fmt.Errorf("%w: not for identities below the domain", ErrKeyUse)
	}
	return nil
}

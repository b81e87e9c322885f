package dane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// chainMax bounds the certificates of a server that are looked at. Chains have two
// or three.
const chainMax = 10

var (
	// ErrMismatch means that no record is about what the server has shown. It may be
	// somebody else, or its records were not renewed with its certificate: the
	// connection must not be used, and a later one may do.
	ErrMismatch = errors.New("dane: no TLSA record matches the certificate")

	// ErrNoRecords means that there is nothing to verify with.
	ErrNoRecords = errors.New("dane: no usable TLSA records")

	// ErrNoCertificate means that the server has shown none.
	ErrNoCertificate = errors.New("dane: no certificate")
)

// Verifier verifies what a server shows. It is a value, and safe for concurrent
// use.
type Verifier struct {
	Records []Record // As from Usable.

	// Names are those of the server, in A-labels, as in Finding.Names. The certificate
	// must have one of them, except for DANE-EE.
	Names []string

	Now time.Time // Of all but DANE-EE, certificates must be valid then.

	// Roots are the common CAs, for PKIX-TA and PKIX-EE. Nil: those of the system.
	Roots *x509.CertPool
}

// VerifyConnection verifies a connection, for tls.Config with InsecureSkipVerify.
func (v Verifier) VerifyConnection(cs tls.ConnectionState) error {
	_, err := v.Verify(cs.PeerCertificates)
	return err
}

// Verify verifies a chain as a server presents it, its own certificate first. It
// returns the record by which it is good. Errors are ErrMismatch, ErrNoRecords or
// ErrNoCertificate, or wrap one of package x509 for a certificate that a record is
// about but that is not valid or has another name.
func (v Verifier) Verify(chain []*x509.Certificate) (Record, error) {
	switch {
	case len(chain) == 0:
		return Record{}, ErrNoCertificate
	case len(v.Records) == 0:
		return Record{}, ErrNoRecords
	}
	chain = chain[:min(len(chain), chainMax)]
	for _, r := range v.Records {
		if r.Usage == DANEEE && r.matches(chain[0]) {
			return r, nil
		}
	}
	problem := ErrMismatch
	for _, verify := range []func([]*x509.Certificate) (Record, error){v.verifyAnchored, v.verifyPKIX} {
		r, err := verify(chain)
		if err == nil {
			return r, nil
		}
		if problem == ErrMismatch { //nolint:errorlint // Only if there is nothing better to tell.
			problem = err
		}
	}
	return Record{}, problem
}

// matches tells whether a record is about a certificate, RFC 6698, section 2.1.
func (r Record) matches(cert *x509.Certificate) bool {
	part := cert.Raw
	if r.Selector == SPKI {
		part = cert.RawSubjectPublicKeyInfo
	}
	return bytes.Equal(r.Data, associate(r.Matching, part))
}

// anchor is a certificate that DANE-TA records make trusted.
type anchor struct {
	cert   *x509.Certificate
	record Record
}

// verifyAnchored verifies by DANE-TA records: the chain must end in an anchor of
// one of them.
func (v Verifier) verifyAnchored(chain []*x509.Certificate) (Record, error) {
	anchors := v.anchors(chain)
	if len(anchors) == 0 {
		return Record{}, ErrMismatch
	}
	roots := x509.NewCertPool()
	for _, a := range anchors {
		roots.AddCert(a.cert)
	}
	chains, err := v.paths(chain, roots)
	if err != nil {
		return Record{}, err
	}
	for _, path := range chains {
		top := path[len(path)-1]
		i := slices.IndexFunc(anchors, func(a anchor) bool { return bytes.Equal(a.cert.Raw, top.Raw) })
		if i >= 0 {
			return anchors[i].record, nil
		}
	}
	return Record{}, ErrMismatch
}

// anchors returns what DANE-TA records make trusted: certificates of the chain
// which they are about, and those that are in the records themselves. A
// certificate is no anchor for itself, unless it has signed itself.
func (v Verifier) anchors(chain []*x509.Certificate) (list []anchor) {
	for _, r := range v.Records {
		if r.Usage != DANETA {
			continue
		}
		for i, cert := range chain {
			if (i > 0 || signsItself(cert)) && r.matches(cert) {
				list = append(list, anchor{cert, r})
			}
		}
		if r.Matching == Full {
			list = append(list, r.anchors(chain)...)
		}
	}
	return list
}

// signsItself tells whether a certificate is self-signed.
func signsItself(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawSubject, cert.RawIssuer) && cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// anchors returns the anchors within a record with a whole certificate or key.
//
// A key has no name. It stands for whatever issuer is said to have signed one of
// the certificates: whether it has is found when the chain is verified (RFC 7671,
// section 5.2.3).
func (r Record) anchors(chain []*x509.Certificate) (list []anchor) {
	if r.Selector == Cert {
		cert, err := x509.ParseCertificate(r.Data)
		if err != nil || bytes.Equal(cert.Raw, chain[0].Raw) {
			return nil
		}
		return []anchor{{cert, r}}
	}
	key, algorithm := parseKey(r.Data)
	if algorithm == x509.UnknownPublicKeyAlgorithm {
		return nil
	}
	for _, cert := range chain {
		list = append(list, anchor{&x509.Certificate{
			Raw:                     slices.Concat(r.Data, cert.RawIssuer), // Never parsed, but tells anchors apart.
			RawSubject:              cert.RawIssuer,
			RawSubjectPublicKeyInfo: r.Data,
			PublicKey:               key,
			PublicKeyAlgorithm:      algorithm,
			NotAfter:                forever,
		}, r})
	}
	return list
}

// forever is when a key in a record expires: its record does.
var forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// parseKey returns a public key and its algorithm, unknown if it can't sign
// certificates, or not in a way that is known.
func parseKey(spki []byte) (any, x509.PublicKeyAlgorithm) {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, x509.UnknownPublicKeyAlgorithm
	}
	switch key.(type) {
	case *rsa.PublicKey:
		return key, x509.RSA
	case *ecdsa.PublicKey:
		return key, x509.ECDSA
	case ed25519.PublicKey:
		return key, x509.Ed25519
	}
	return nil, x509.UnknownPublicKeyAlgorithm
}

// verifyPKIX verifies by the other usages: the chain must be valid by common CAs,
// and the records can only narrow that.
func (v Verifier) verifyPKIX(chain []*x509.Certificate) (Record, error) {
	if !slices.ContainsFunc(v.Records, func(r Record) bool { return r.Usage <= PKIXEE }) {
		return Record{}, ErrMismatch
	}
	chains, err := v.paths(chain, v.Roots)
	if err != nil {
		return Record{}, err
	}
	for _, r := range v.Records {
		if r.Usage == PKIXEE && r.matches(chain[0]) {
			return r, nil
		}
		for _, path := range chains {
			if r.Usage == PKIXTA && slices.ContainsFunc(path[1:], r.matches) {
				return r, nil
			}
		}
	}
	return Record{}, ErrMismatch
}

// paths returns the valid paths from the server's certificate to a root, if it has
// one of the names.
func (v Verifier) paths(chain []*x509.Certificate, roots *x509.CertPool) ([][]*x509.Certificate, error) {
	others := x509.NewCertPool()
	for _, cert := range chain[1:] {
		others.AddCert(cert)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: v.Now})
	if err != nil {
		return nil, fmt.Errorf("dane: %w", err)
	}
	return paths, checkNames(chain[0], v.Names)
}

// checkNames checks that a certificate has one of names. Its common name counts if
// it has no others (RFC 7672, section 3.2.3).
func checkNames(cert *x509.Certificate, names []string) error {
	has := &x509.Certificate{DNSNames: cert.DNSNames}
	if len(has.DNSNames) == 0 {
		has.DNSNames = []string{cert.Subject.CommonName}
	}
	for _, name := range names {
		if has.VerifyHostname(name) == nil {
			return nil
		}
	}
	return fmt.Errorf("dane: %w", x509.HostnameError{Certificate: cert, Host: strings.Join(names, ", ")})
}

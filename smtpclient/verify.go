package smtpclient

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/dane"
)

// Check is what to do about one way to verify a server.
type Check int

// The checks.
const (
	CheckNot      Check = iota // It is not verified that way.
	CheckOnly                  // It is, and errors are told but ignored.
	CheckRequired              // It is, and an error is ErrTLS.
)

// Verify says how a server is verified. The ways are independent of each other:
// each that is required must succeed.
type Verify struct {
	PKIX Check // By common CAs: RootCAs of the TLSConfig, those of the system if it is nil.

	// Name is the one the certificate must have for PKIX. Empty: ServerName of the
	// TLSConfig, which for DANE can be another.
	Name string

	DANE Check

	// TLSA has the Records and Names for DANE. Other fields don't count.
	TLSA dane.Verifier
}

// Verified is what came of verifying a server.
type Verified struct {
	PKIX, DANE Proof
	Record     dane.Record // By which it is good, for DANE.
}

// Proof is what came of one way.
type Proof struct {
	Checked bool
	Err     error // Why it is not good. Wraps an error of package x509 or dane.
}

// Good tells whether the server was verified.
func (p Proof) Good() bool { return p.Checked && p.Err == nil }

// VerifyError is within the ErrTLS of a server that was not verified as required.
type VerifyError struct{ Verified Verified }

// Error tells the reasons.
func (e *VerifyError) Error() string { return fmt.Sprintf("verifying certificate: %v", e.reasons()) }

// Unwrap returns the reasons.
func (e *VerifyError) Unwrap() error { return e.reasons() }

func (e *VerifyError) reasons() error { return errors.Join(e.Verified.PKIX.Err, e.Verified.DANE.Err) }

// Verified returns what came of verifying the server, the zero value in plain text
// or if Options have no Verify.
func (c *Client) Verified() Verified { return c.verified }

// tlsConfig returns the configuration for a handshake.
func (c *Client) tlsConfig() *tls.Config {
	v := c.opts.Verify
	if v == nil {
		return c.opts.TLSConfig
	}
	config := c.opts.TLSConfig.Clone()
	config.InsecureSkipVerify = true // It is done here instead, also of sessions that are resumed.
	config.VerifyPeerCertificate = nil
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		c.verified = v.verify(cs.PeerCertificates, config, time.Now())
		if v.PKIX == CheckRequired && c.verified.PKIX.Err != nil || v.DANE == CheckRequired && c.verified.DANE.Err != nil {
			return &VerifyError{c.verified}
		}
		return nil
	}
	return config
}

// verify verifies what a server has shown.
func (v *Verify) verify(chain []*x509.Certificate, config *tls.Config, now time.Time) (result Verified) {
	if v.PKIX != CheckNot {
		result.PKIX = Proof{true, verifyPKIX(chain, cmp.Or(v.Name, config.ServerName), config.RootCAs, now)}
	}
	if v.DANE != CheckNot {
		verifier := v.TLSA
		verifier.Now = now
		result.DANE.Checked = true
		result.Record, result.DANE.Err = verifier.Verify(chain)
	}
	return result
}

// verifyPKIX verifies a chain as crypto/tls does.
func verifyPKIX(chain []*x509.Certificate, name string, roots *x509.CertPool, now time.Time) error {
	if len(chain) == 0 || name == "" {
		return errors.New("smtpclient: no certificate, or no name for it")
	}
	others := x509.NewCertPool()
	for _, cert := range chain[1:] {
		others.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, DNSName: name, CurrentTime: now})
	return err
}

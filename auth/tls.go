package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/mox/authdb"
)

// keyTime bounds looking up a client's key within a handshake.
const keyTime = 10 * time.Second

// errUnknownKey ends a handshake: the client gets the alert bad_certificate.
var errUnknownKey = errors.New("auth: key of client certificate is not registered")

// shownKey is the key of the context of a handshake for where to put the
// certificate that is shown.
type shownKey struct{}

// shown is the certificate that a handshake has shown.
type shown struct{ cert *x509.Certificate }

// Handshake does a server's TLS handshake, and returns the certificate it has
// shown, for Conn. That is nil if the config of the connection is not one of
// ClientCertificates or BindCertificate.
func Handshake(ctx context.Context, c *tls.Conn) (*x509.Certificate, error) {
	var s shown
	if err := c.HandshakeContext(context.WithValue(ctx, shownKey{}, &s)); err != nil {
		return nil, err
	}
	return s.cert, nil
}

// Key returns what identifies the key of a TLS client's certificate, for Attempt.
// Empty without.
func Key(state *tls.ConnectionState) string {
	if cert := (Conn{TLS: state}).certificate(); cert != nil {
		return authdb.Fingerprint(cert)
	}
	return ""
}

// ClientCertificates returns a copy of base that asks clients for a certificate,
// and fails the handshake for one whose key is not registered, also when a
// session is resumed. Handshake knows the certificate that it shows. The copy
// has its own ticket keys; it is to be made once for a listener.
func (a *Authenticator) ClientCertificates(base *tls.Config) *tls.Config {
	return perConnection(base, func(hello *tls.ClientHelloInfo, c *tls.Config) {
		verify := c.VerifyConnection
		c.ClientAuth = tls.RequestClientCert
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if verify != nil {
				if err := verify(state); err != nil {
					return err
				}
			}
			return a.verifyKey(hello, state)
		}
	})
}

// BindCertificate returns a copy of base with which Handshake knows the
// certificate that it shows, for listeners without client certificates.
func (a *Authenticator) BindCertificate(base *tls.Config) *tls.Config {
	return perConnection(base, func(*tls.ClientHelloInfo, *tls.Config) {})
}

// perConnection returns a copy of base that is copied again for each connection,
// and changed there. Ticket keys remain those of the first copy.
func perConnection(base *tls.Config, change func(*tls.ClientHelloInfo, *tls.Config)) *tls.Config {
	if base == nil {
		return nil
	}
	outer := base.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := base
		if base.GetConfigForClient != nil {
			other, err := base.GetConfigForClient(hello)
			if err != nil {
				return nil, err
			}
			if other != nil {
				c = other
			}
		}
		c = c.Clone()
		if err := fixCertificate(c, hello); err != nil {
			return nil, err
		}
		change(hello, c)
		return c, nil
	}
	return outer
}

// fixCertificate has c show the certificate that it would choose for a client,
// and puts it where Handshake finds it. In a resumed session none is shown; it is
// that of the session, unless that was replaced since.
//
// Without any, package tls refuses the client, with the alert for that.
func fixCertificate(c *tls.Config, hello *tls.ClientHelloInfo) error {
	cert, err := choose(c, hello)
	if err != nil || cert == nil {
		return err
	}
	c.Certificates, c.GetCertificate = []tls.Certificate{*cert}, nil
	if s, ok := hello.Context().Value(shownKey{}).(*shown); ok {
		if s.cert = cert.Leaf; s.cert == nil && len(cert.Certificate) > 0 {
			s.cert, err = x509.ParseCertificate(cert.Certificate[0])
		}
	}
	return err
}

// choose returns the certificate for a client, as package tls chooses it, nil if
// there is none.
func choose(c *tls.Config, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.GetCertificate != nil && (len(c.Certificates) == 0 || hello.ServerName != "") {
		cert, err := c.GetCertificate(hello)
		if cert != nil || err != nil {
			return cert, err
		}
	}
	if len(c.Certificates) == 0 {
		return nil, nil
	}
	if len(c.Certificates) == 1 {
		return &c.Certificates[0], nil
	}
	i := slices.IndexFunc(c.Certificates, func(cert tls.Certificate) bool { return hello.SupportsCertificate(&cert) == nil })
	return &c.Certificates[max(i, 0)], nil
}

// verifyKey refuses a client's certificate whose key is not registered.
func (a *Authenticator) verifyKey(hello *tls.ClientHelloInfo, state tls.ConnectionState) error {
	key := Key(&state)
	if key == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(hello.Context(), keyTime)
	defer cancel()
	_, err := a.opts.DB.TLSPublicKey(ctx, key)
	if errors.Is(err, authdb.ErrNoKey) {
		a.log.InfoContext(ctx, "unknown key of client certificate", "remote", hello.Conn.RemoteAddr(), "fingerprint", key)
		return fmt.Errorf("%w: %s", errUnknownKey, key)
	}
	return err
}

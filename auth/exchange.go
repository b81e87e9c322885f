package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
)

var (
	// ErrMechanism means there is no such mechanism, or not on this connection.
	ErrMechanism = errors.New("auth: mechanism is not available")

	// ErrNeedTLS means the mechanism would show the password to others on the way.
	ErrNeedTLS = errors.New("auth: mechanism needs TLS")

	errNotBuilt = errors.New("auth: not built yet")
)

// Conn is what mechanisms need to know of a connection.
type Conn struct {
	TLS      *tls.ConnectionState // Nil: plain text.
	Hostname string               // Ours, for CRAM-MD5.
	Plain    bool                 // Passwords may be sent in plain text.
	CRAMMD5  bool                 // CRAM-MD5 is offered.
}

// Mechanisms returns the SASL mechanisms for a connection, as announced: best
// first, empty as long as TLS has to come before.
func (a *Authenticator) Mechanisms(c Conn) []string { return nil }

// Exchange is one SASL exchange of a connection. It is for one goroutine.
type Exchange struct{}

// Begin begins an exchange. Attempt.Mechanism is set from mechanism, in any case
// of letters. The error is ErrMechanism, ErrNeedTLS or ErrLimited.
func (a *Authenticator) Begin(attempt Attempt, c Conn, mechanism string) (*Exchange, error) {
	return nil, errNotBuilt
}

// Next takes the client's next message, nil if it has sent none yet, and returns
// the challenge for it. When done, Login has who it is. If done comes with a
// challenge, the server's last words are to be sent before the outcome (SMTP,
// IMAP: as a challenge that is answered by an empty response).
//
// The error is one of Password's, or sasl.ErrMessage, sasl.ErrAuthorization,
// sasl.ErrChannelBinding. The exchange is over then, and the failure counted,
// recorded and delayed.
func (e *Exchange) Next(ctx context.Context, resp []byte) (challenge []byte, done bool, err error) {
	return nil, false, errNotBuilt
}

// Cancel ends an exchange that the client cancelled.
func (e *Exchange) Cancel(ctx context.Context) {}

// Login returns who logged in, when the exchange is done.
func (e *Exchange) Login() Login { return Login{} }

// PublicKeyLogin is a login by a registered key of a TLS client certificate.
type PublicKeyLogin struct {
	Login
	NoPreauth bool // The user wants to log in by command all the same.
}

// PublicKey checks the key of a client certificate. The TLS handshake has proved
// that the client has it; nothing else of the certificate matters. Errors are as
// those of Password.
func (a *Authenticator) PublicKey(ctx context.Context, attempt Attempt, cert *x509.Certificate) (PublicKeyLogin, error) {
	return PublicKeyLogin{}, errNotBuilt
}

// ClientCertificates returns a copy of base that asks clients for a certificate,
// and fails the handshake for one whose key is not registered.
func (a *Authenticator) ClientCertificates(base *tls.Config) *tls.Config { return base }

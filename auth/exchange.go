package auth

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/sasl"
)

var (
	// ErrMechanism means there is no such mechanism, or not on this connection.
	ErrMechanism = errors.New("auth: mechanism is not available")

	// ErrNeedTLS means the mechanism would show the password to others on the way.
	ErrNeedTLS = errors.New("auth: mechanism needs TLS")

	errOver = errors.New("auth: exchange is over")
)

// Conn is what mechanisms need to know of a connection.
type Conn struct {
	TLS      *tls.ConnectionState // Nil: plain text.
	Hostname string               // Ours, for CRAM-MD5.
	Plain    bool                 // Passwords may be sent in plain text.
	CRAMMD5  bool                 // CRAM-MD5 is offered.

	// Certificate is the one we have shown, as Handshake returns it. Nil: not known,
	// and channels can't be bound to it.
	Certificate *x509.Certificate
}

// channel returns the TLS connection for channel binding, nil for none.
func (c Conn) channel() *sasl.Channel {
	if c.TLS == nil {
		return nil
	}
	return &sasl.Channel{State: c.TLS, Certificate: c.Certificate}
}

// certificate returns the client's, nil for none.
func (c Conn) certificate() *x509.Certificate {
	if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return nil
	}
	return c.TLS.PeerCertificates[0]
}

// usable tells whether logins are possible at all before TLS.
func (c Conn) usable() bool { return c.TLS != nil || c.Plain }

// offersPlus tells whether the mechanisms with channel binding are announced.
// They are without TLS too, where none can use them: a client that has TLS with
// somebody in between would see that there is something it can't use.
func (c Conn) offersPlus() bool { return c.TLS == nil || c.channel().CanBind() }

// offers tells whether a mechanism is announced.
func (c Conn) offers(mechanism string) bool {
	switch mechanism {
	case sasl.External:
		return c.certificate() != nil
	case sasl.SCRAM256Plus, sasl.SCRAM1Plus:
		return c.offersPlus()
	case sasl.CRAMMD5:
		return c.CRAMMD5
	}
	return true
}

// mechanisms are all there are, best first.
var mechanisms = []string{
	sasl.External, sasl.SCRAM256Plus, sasl.SCRAM256, sasl.SCRAM1Plus, sasl.SCRAM1, sasl.CRAMMD5, sasl.Plain, sasl.Login,
}

// Mechanisms returns the SASL mechanisms for a connection, as announced: best
// first, empty as long as TLS has to come before.
func (a *Authenticator) Mechanisms(c Conn) (names []string) {
	if !c.usable() {
		return nil
	}
	for _, name := range mechanisms {
		if c.offers(name) {
			names = append(names, name)
		}
	}
	return names
}

// Exchange is one SASL exchange of a connection. It is for one goroutine.
type Exchange struct {
	a       *Authenticator
	attempt Attempt
	conn    Conn
	server  sasl.Server
	scram   scramUser // What was found for SCRAM.
	over    bool
	login   Login
}

// Begin begins an exchange. Attempt.Mechanism is set from mechanism, in any case
// of letters, and Attempt.Key from the connection. The error is ErrMechanism,
// ErrNeedTLS or ErrLimited.
//
// An exchange that doesn't come to its end, as when the connection is lost, must
// be ended by Cancel.
func (a *Authenticator) Begin(attempt Attempt, c Conn, mechanism string) (*Exchange, error) {
	e := &Exchange{a: a, attempt: attempt, conn: c}
	name := strings.ToUpper(mechanism)
	var err error
	if e.server, err = a.newServer(c, name); err != nil {
		return nil, err
	}
	e.attempt.Mechanism = strings.ToLower(name)
	e.attempt.Key = Key(c.TLS)
	if !a.allowed(e.attempt) {
		a.metrics.limited(e.attempt)
		return nil, ErrLimited
	}
	return e, nil
}

// newServer returns the state machine of a mechanism.
func (a *Authenticator) newServer(c Conn, name string) (sasl.Server, error) {
	var s sasl.Server
	switch name {
	case sasl.External:
		s = &sasl.ExternalServer{}
	case sasl.SCRAM256Plus, sasl.SCRAM1Plus, sasl.SCRAM256, sasl.SCRAM1:
		h := crypto.SHA256
		if name == sasl.SCRAM1 || name == sasl.SCRAM1Plus {
			h = crypto.SHA1
		}
		plus := strings.HasSuffix(name, "-PLUS")
		if plus && c.usable() && !c.channel().CanBind() {
			return nil, ErrMechanism
		}
		s = &sasl.SCRAMServer{Hash: h, Plus: plus, Rand: a.opts.Rand, Channel: c.channel(), PlusOffered: c.offersPlus()}
	case sasl.CRAMMD5:
		challenge, err := cramChallenge(a.opts.Rand, c.Hostname)
		if err != nil {
			return nil, err
		}
		s = &sasl.CRAMMD5Server{Challenge: challenge}
	case sasl.Plain:
		s = &sasl.PlainServer{}
	case sasl.Login:
		s = &sasl.LoginServer{}
	default:
		return nil, ErrMechanism
	}
	if !c.usable() {
		return nil, ErrNeedTLS
	}
	if !c.offers(name) {
		return nil, ErrMechanism
	}
	return s, nil
}

// cramChallenge returns a challenge that was not used before (RFC 2195, section
// 2).
func cramChallenge(random io.Reader, hostname string) (string, error) {
	b := make([]byte, 8)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("making challenge: %w", err)
	}
	return fmt.Sprintf("<%s.%d@%s>", hex.EncodeToString(b), time.Now().UnixNano(), hostname), nil
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
	if e.over {
		return nil, false, errOver
	}
	if s, ok := e.server.(*sasl.SCRAMServer); ok {
		s.Lookup = func(user string) (sasl.SCRAMUser, error) { return e.findSCRAM(ctx, s.Hash, user) }
		if e.scram.found {
			return e.finishSCRAM(ctx, s, resp)
		}
	}
	challenge, done, err = e.server.Next(resp)
	if err == nil && !done {
		return challenge, false, nil
	}
	e.over = true
	if errors.Is(err, ErrBusy) {
		return nil, false, err
	}
	login, err := e.a.try(ctx, e.attempt, func() outcome {
		if err != nil {
			return e.failed(err)
		}
		return e.check(ctx)
	})
	e.login = login
	return nil, err == nil, err
}

// check looks at what the client has claimed.
func (e *Exchange) check(ctx context.Context) outcome {
	switch s := e.server.(type) {
	case *sasl.PlainServer:
		return e.a.check(ctx, e.attempt, s.Username, s.Password)
	case *sasl.LoginServer:
		return e.a.check(ctx, e.attempt, s.Username, s.Password)
	case *sasl.CRAMMD5Server:
		return e.a.checkCRAM(ctx, e.attempt, s)
	case *sasl.ExternalServer:
		return e.a.checkExternal(ctx, e.attempt, s.Authorize)
	}
	return outcome{result: authdb.Error, err: fmt.Errorf("auth: no check for mechanism %s", e.server.Name())}
}

// failed returns the outcome for an error of a mechanism.
func (e *Exchange) failed(err error) outcome {
	o := outcome{login: e.scram.login, user: e.scram.user, result: authdb.Error, err: err}
	switch {
	case errors.Is(err, sasl.ErrProof):
		o.err, o.result = ErrBadCredentials, authdb.BadPassword
		if !e.scram.known {
			o.result = authdb.BadUser
		}
	case errors.Is(err, sasl.ErrChannelBinding):
		o.result = authdb.BadChanBind
	case errors.Is(err, sasl.ErrAuthorization):
		o.result = authdb.BadCreds
	case errors.Is(err, sasl.ErrMessage):
		o.result = authdb.BadProtocol
	}
	return o
}

// Cancel ends an exchange that the client cancelled, or that was broken off. It
// is recorded as such and is not a failure. After the end it does nothing.
func (e *Exchange) Cancel(ctx context.Context) {
	if e.over {
		return
	}
	e.over = true
	e.a.note(ctx, e.attempt, outcome{login: e.scram.login, user: e.scram.user, result: authdb.Aborted})
}

// Login returns who logged in, when the exchange is done.
func (e *Exchange) Login() Login { return e.login }

// checkExternal checks the key of the client's certificate, and whether it may be
// whom it asks to be: any address of its account.
func (a *Authenticator) checkExternal(ctx context.Context, attempt Attempt, authorize string) outcome {
	key, o := a.checkKey(ctx, attempt)
	if o.err != nil || authorize == "" {
		return o
	}
	as, known := lookup(a.opts.Config(), authorize)
	if !known || as.Account != key.Account {
		o.user, o.result, o.err = authorize, authdb.BadCreds, sasl.ErrAuthorization
		return o
	}
	o.login.Address, o.login.Given = as.Address, as.Given
	return o
}

// PublicKeyLogin is a login by a registered key of a TLS client certificate.
type PublicKeyLogin struct {
	Login
	NoPreauth bool // The user wants to log in by command all the same.
}

// PublicKey checks the key of a client certificate. The TLS handshake has proved
// that the client has it; nothing else of the certificate matters. Errors are as
// those of Password.
func (a *Authenticator) PublicKey(ctx context.Context, attempt Attempt, cert *x509.Certificate) (PublicKeyLogin, error) {
	attempt.Mechanism, attempt.Key = mechanismKey, authdb.Fingerprint(cert)
	var key authdb.TLSPublicKey
	login, err := a.try(ctx, attempt, func() (o outcome) {
		key, o = a.checkKey(ctx, attempt)
		return o
	})
	return PublicKeyLogin{login, key.NoPreauth}, err
}

// checkKey finds the account of the key that the client has shown, which still
// must have the address that the key was registered for.
func (a *Authenticator) checkKey(ctx context.Context, attempt Attempt) (authdb.TLSPublicKey, outcome) {
	key, err := a.opts.DB.TLSPublicKey(ctx, attempt.Key)
	switch {
	case errors.Is(err, authdb.ErrNoKey):
		return key, outcome{result: authdb.BadCreds, err: ErrBadCredentials}
	case err != nil:
		return key, outcome{result: authdb.Error, err: err}
	}
	o := outcome{user: key.LoginAddress}
	login, known := lookup(a.opts.Config(), key.LoginAddress)
	if !known || login.Account != key.Account {
		o.result, o.err = authdb.BadCreds, ErrBadCredentials
		return key, o
	}
	o.login = login
	return key, a.admit(ctx, attempt, o)
}

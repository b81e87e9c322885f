package imapserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/sasl"
)

// Authenticator checks logins: an *auth.Authenticator.
type Authenticator interface {
	Password(ctx context.Context, a auth.Attempt, user, password string) (auth.Login, error)
}

// plainLogin reports whether a password may be sent as it is.
func (s *session) plainLogin() bool { return s.tls != "" || s.listener.PlainLogin }

// startTLSCommand answers STARTTLS itself, since the reply must go out before
// the handshake, and leaves the session without a reply.
func (s *session) startTLSCommand(context.Context, command, nothing) (imap.Response, error) {
	switch {
	case s.tls != "":
		return imap.Response{}, imap.Bad("TLS is on already")
	case s.listener.TLS == nil:
		return imap.Response{}, imap.Bad("TLS is not available")
	}
	s.upgrade = true
	return imap.OK("", "begin TLS now"), nil
}

// startTLS does a handshake. What came in plain text after the command is taken
// as its beginning: it can't be taken for a command under TLS.
func (s *session) startTLS(ctx context.Context) error {
	if n := s.in.Buffered(); n > 0 {
		early := make([]byte, n)
		if _, err := io.ReadFull(s.in, early); err != nil {
			return err
		}
		s.conn.Conn = prefixedConn{s.conn.Conn, io.MultiReader(bytes.NewReader(early), s.conn.Conn)}
	}
	s.in.Release()
	t := tls.Server(s.conn.Conn, s.listener.TLS)
	limited, cancel := context.WithTimeout(ctx, tlsMax)
	defer cancel()
	if err := t.HandshakeContext(limited); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	state := t.ConnectionState()
	s.conn.Conn, s.tls = t, tls.VersionName(state.Version)+" "+tls.CipherSuiteName(state.CipherSuite)
	s.in = s.newReader(ctx)
	s.log.Debug("tls", "tls", s.tls, "server_name", state.ServerName)
	return nil
}

// loginRequest is a parsed LOGIN.
type loginRequest struct{ login, password string }

// parseLogin parses the arguments of LOGIN, RFC 9051, section 9:
//
//	login = "LOGIN" SP userid SP password
func parseLogin(d *imap.Decoder) (req loginRequest) {
	d.SP()
	req.login = d.AString()
	d.SP()
	req.password = d.AString()
	return req
}

func (s *session) loginCommand(ctx context.Context, _ command, req loginRequest) (imap.Response, error) {
	if err := s.checkPrivacy(); err != nil {
		return imap.Response{}, err
	}
	return s.authenticated(ctx, "login", req.login, req.password)
}

func (s *session) checkPrivacy() error {
	if s.plainLogin() {
		return nil
	}
	return imap.No("PRIVACYREQUIRED", "start TLS first")
}

// authenticateRequest is a parsed AUTHENTICATE.
type authenticateRequest struct {
	mechanism  string // In upper case.
	initial    string // Initial response in base64, or "=" for an empty one.
	hasInitial bool
}

// parseAuthenticate parses the arguments of AUTHENTICATE, RFC 9051, section 9:
//
//	authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp]
func parseAuthenticate(d *imap.Decoder) (req authenticateRequest) {
	d.SP()
	req.mechanism = d.Word()
	if d.TakeSP() {
		req.initial, req.hasInitial = d.Rest(), true
	}
	return req
}

func (s *session) authenticate(ctx context.Context, _ command, req authenticateRequest) (imap.Response, error) {
	if req.mechanism != "PLAIN" {
		return imap.Response{}, imap.No("CANNOT", "mechanism is not supported")
	}
	if err := s.checkPrivacy(); err != nil {
		return imap.Response{}, err
	}
	m := &sasl.PlainServer{}
	if err := s.exchange(m, req); err != nil {
		return imap.Response{}, err
	}
	return s.authenticated(ctx, "plain", m.Username, m.Password)
}

// exchange carries the messages of a mechanism until it is done.
func (s *session) exchange(m sasl.Server, req authenticateRequest) error {
	var resp []byte
	var err error
	if req.hasInitial {
		if resp, err = decodeResponse(req.initial, true); err != nil {
			return err
		}
	}
	for {
		challenge, done, err := m.Next(resp)
		switch {
		case errors.Is(err, sasl.ErrAuthorization):
			return imap.No("AUTHORIZATIONFAILED", "no authorization for another user")
		case errors.Is(err, sasl.ErrMessage):
			return imap.Bad("malformed authentication message")
		case err != nil:
			return err
		case done:
			return nil
		}
		if resp, err = s.challenge(challenge); err != nil {
			return err
		}
	}
}

// challenge sends a challenge and reads the response to it.
func (s *session) challenge(challenge []byte) ([]byte, error) {
	s.out.Raw("+ ", base64.StdEncoding.EncodeToString(challenge)).CRLF()
	if err := s.out.Flush(); err != nil {
		return nil, err
	}
	s.level = logfmt.LevelTraceAuth
	line, err := s.readLine()
	if err != nil {
		s.lost = err
		return nil, err
	}
	return decodeResponse(line, false)
}

// decodeResponse decodes what a client sends in an exchange. "*" cancels it,
// "=" is an empty initial response.
func decodeResponse(s string, initial bool) ([]byte, error) {
	switch {
	case s == "*" && !initial:
		return nil, imap.Bad("authentication was cancelled")
	case s == "=" && initial:
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, imap.Bad("malformed base64")
	}
	return append([]byte{}, b...), nil
}

// authenticated checks a login and opens its account.
func (s *session) authenticated(ctx context.Context, mechanism, login, password string) (imap.Response, error) {
	s.level = logfmt.LevelTrace
	who, err := s.server.opts.Auth.Password(ctx, auth.Attempt{
		CID: s.cid, Protocol: "imap", Mechanism: mechanism, RemoteIP: s.ip, LocalIP: localIP(s.raw), TLS: s.tls,
	}, login, password)
	if err != nil {
		return imap.Response{}, s.loginFailed(err)
	}
	account, err := s.server.opts.Accounts.Account(ctx, who.Account)
	if err != nil {
		return imap.Response{}, fmt.Errorf("opening account %q: %w", who.Account, err)
	}
	s.account, s.watch = account, account.Watch()
	s.log = s.log.With("account", who.Account)
	s.log.Info("login", "login", who.Address, "mechanism", mechanism, "tls", s.tls)
	s.conn.readUntil, s.conn.readMax, s.conn.writeMax = time.Time{}, idleMax, writeMax
	return imap.OK("CAPABILITY "+s.capabilities(), "logged in"), nil
}

// loginFailed counts a failed login and returns what the client hears: not
// whether it was the name or the password. Many end the session.
func (s *session) loginFailed(err error) error {
	var disabled *auth.DisabledError
	var e *imap.Error
	switch {
	case errors.Is(err, auth.ErrBadCredentials):
		e = imap.No("AUTHENTICATIONFAILED", "login or password is wrong")
	case errors.As(err, &disabled):
		e = imap.No("", "%s", disabled.Reason) // With a code clients would ask for another password.
	case errors.Is(err, auth.ErrLimited):
		e = imap.No("LIMIT", "too many failed logins from your network, try later")
		s.failures = failedLoginsMax
	case errors.Is(err, auth.ErrBusy):
		e = imap.No("UNAVAILABLE", "too many logins at the moment")
	default:
		return fmt.Errorf("checking login: %w", err)
	}
	e.Err = err
	s.failures++
	if s.failures >= failedLoginsMax {
		s.out.Response("*", imap.Response{Type: "BYE", Text: "too many failed logins"})
		s.ended = true
	}
	return e
}

// localIP returns the address a connection came to.
func localIP(nc net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(nc.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

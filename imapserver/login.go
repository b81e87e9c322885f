package imapserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/sasl"
)

// Authenticator checks logins: an *auth.Authenticator.
type Authenticator interface {
	Password(ctx context.Context, a auth.Attempt, user, password string) (auth.Login, error)
	Mechanisms(c auth.Conn) []string
	Begin(a auth.Attempt, c auth.Conn, mechanism string) (*auth.Exchange, error)
	PublicKey(ctx context.Context, a auth.Attempt, cert *x509.Certificate) (auth.PublicKeyLogin, error)
}

// plainLogin reports whether a password may be sent as it is.
func (s *session) plainLogin() bool { return s.secure.TLS != nil || s.secure.Plain }

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

// attempt describes a login for package auth, which begins now.
func (s *session) attempt(mechanism string) auth.Attempt {
	s.began = s.server.sessions.Now()
	return auth.Attempt{
		CID: s.cid, Protocol: "imap", Mechanism: mechanism, Key: auth.Key(s.secure.TLS),
		RemoteIP: s.ip, LocalIP: localIP(s.raw), TLS: s.tls,
	}
}

func (s *session) loginCommand(ctx context.Context, _ command, req loginRequest) (imap.Response, error) {
	if !s.plainLogin() {
		return imap.Response{}, imap.No("PRIVACYREQUIRED", "start TLS first")
	}
	s.level = logfmt.LevelTrace
	who, err := s.server.opts.Auth.Password(ctx, s.attempt("login"), req.login, req.password)
	if err != nil {
		return imap.Response{}, s.loginFailed(err)
	}
	return s.loggedIn(ctx, who, "login")
}

// loggedIn replies to who has logged in.
func (s *session) loggedIn(ctx context.Context, who auth.Login, mechanism string) (imap.Response, error) {
	if err := s.enter(ctx, who, strings.ToLower(mechanism)); err != nil {
		return imap.Response{}, err
	}
	return imap.OK("CAPABILITY "+s.capabilities(), "logged in"), nil
}

// enter opens the account of who has logged in. What was needed for that alone is
// forgotten.
func (s *session) enter(ctx context.Context, who auth.Login, mechanism string) error {
	account, err := s.server.opts.Accounts.Account(ctx, who.Account)
	if err != nil {
		return fmt.Errorf("opening account %q: %w", who.Account, err)
	}
	leave, ok := s.server.sessions.Enter(who.Account, s.began, s)
	if !ok {
		return errors.Join(imap.No("UNAVAILABLE", "logins have changed, try again"), account.Close())
	}
	s.leave = leave
	s.account, s.watch = account, account.Watch()
	s.watch.OnSignal(s.conn.wake)
	s.switchOff(who.Account)
	s.secure = auth.Conn{} // A third of a KiB that few need again: secured makes it anew.
	s.log = s.log.With("account", who.Account)
	s.log.Info("login", "login", who.Address, "mechanism", mechanism, "tls", s.tls)
	s.conn.readUntil, s.conn.readMax, s.conn.writeMax = time.Time{}, idleMax, writeMax
	return nil
}

// loginFailed counts a failed login and returns what the client hears: not
// whether it was the name or the password. Many end the session.
func (s *session) loginFailed(err error) error {
	var disabled *auth.DisabledError
	var e *imap.Error
	switch {
	case errors.Is(err, sasl.ErrMessage):
		return &imap.Error{Response: imap.Bad("malformed authentication message").Response, Err: err}
	case errors.Is(err, sasl.ErrAuthorization):
		e = imap.No("AUTHORIZATIONFAILED", "no authorization for another user")
	case errors.Is(err, sasl.ErrChannelBinding):
		e = imap.No("AUTHENTICATIONFAILED", "the connection is not what you take it for")
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

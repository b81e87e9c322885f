package smtpserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/lineio"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
)

// Authenticator checks logins: an *auth.Authenticator.
type Authenticator interface {
	Allowed(remote netip.Addr) bool
	Mechanisms(c auth.Conn) []string
	Begin(a auth.Attempt, c auth.Conn, mechanism string) (*auth.Exchange, error)
	PublicKey(ctx context.Context, a auth.Attempt, cert *x509.Certificate) (auth.PublicKeyLogin, error)
}

// authConn describes the connection for package auth.
func (s *session) authConn() auth.Conn {
	return auth.Conn{
		TLS: s.peer.TLS, Certificate: s.shown, Hostname: s.listener.Hostname.ASCII, Plain: s.listener.PlainLogin, CRAMMD5: s.listener.CRAMMD5,
	}
}

// attempt describes a login for package auth, which begins now.
func (s *session) attempt() auth.Attempt {
	s.authBegan = s.server.logins.Now()
	a := auth.Attempt{CID: s.cid, Protocol: "smtp", Key: auth.Key(s.peer.TLS), RemoteIP: s.peer.IP, LocalIP: s.peer.LocalIP}
	if s.peer.TLS != nil {
		a.TLS = tls.VersionName(s.peer.TLS.Version) + " " + tls.CipherSuiteName(s.peer.TLS.CipherSuite)
	}
	return a
}

// authLine returns the line of EHLO with the mechanisms, or nothing if there are
// none.
func (s *session) authLine() string {
	if !s.listener.Submission {
		return ""
	}
	names := s.server.opts.Auth.Mechanisms(s.authConn())
	if len(names) == 0 {
		return ""
	}
	return "\nAUTH " + strings.Join(names, " ")
}

// preauthenticate logs in the owner of a client certificate. An error ends the
// connection; who can't log in this way may still do so by command.
func (s *session) preauthenticate(ctx context.Context) error {
	if !s.listener.Submission || s.peer.TLS == nil || len(s.peer.TLS.PeerCertificates) == 0 {
		return nil
	}
	login, err := s.server.opts.Auth.PublicKey(ctx, s.attempt(), s.peer.TLS.PeerCertificates[0])
	switch {
	case errors.Is(err, auth.ErrLimited):
		return authError(err)
	case err != nil:
		s.log.DebugContext(ctx, "client certificate", "err", err)
	case !login.NoPreauth:
		s.byKey = true
		return s.loggedIn(ctx, login.Login, "tlsclientauth")
	}
	return nil
}

// auth logs in, RFC 4954, section 4. Who has logged in by a client certificate
// can do so again, with another address of the account.
func (s *session) auth(ctx context.Context, req smtp.Auth) (reply, error) {
	switch {
	case !s.listener.Submission:
		return reply{}, smtp.Errorf(smtp.CodeNotImplemented, smtp.DetailBadCommand, "mail of users is taken on other ports")
	case s.login != nil && !s.byKey:
		return reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "you are logged in")
	case s.tx != nil:
		return reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "not while a message is being sent")
	case !s.peer.Extended:
		return reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "EHLO comes first")
	case req.Mechanism == sasl.CRAMMD5 && req.Initial != nil:
		// RFC 4954, section 4: its client does not begin.
		return reply{}, smtp.Errorf(smtp.CodeBadParameter, smtp.DetailSecurity, "no initial response with this mechanism")
	}
	e, err := s.server.opts.Auth.Begin(s.attempt(), s.authConn(), req.Mechanism)
	if err != nil {
		return reply{}, s.authFailed(ctx, err)
	}
	if err := s.exchange(ctx, e, req.Initial); err != nil {
		e.Cancel(ctx) // Unless it is over already.
		return reply{}, s.authFailed(ctx, err)
	}
	s.byKey = false
	if err := s.loggedIn(ctx, e.Login(), strings.ToLower(req.Mechanism)); err != nil {
		return reply{}, err
	}
	return reply{code: smtp.CodeAuthOK, enhanced: "2.7.0", text: "logged in"}, nil
}

// loggedIn notes who has logged in. An error ends the connection.
func (s *session) loggedIn(ctx context.Context, login auth.Login, mechanism string) error {
	if s.leave != nil { // By a certificate, before.
		s.leave()
		s.leave = nil
	}
	leave, ok := s.server.logins.Enter(login.Account, s.authBegan, s)
	if !ok {
		return smtp.Errorf(smtp.CodeUnavailable, smtp.DetailSecurity, "logins have changed, please try again").Closing()
	}
	s.leave = leave
	s.login = &login
	s.authFailures = 0
	s.setFast()
	if !s.byKey {
		s.shown = nil // Nobody can log in any more.
	}
	s.log.InfoContext(ctx, "login", "account", login.Account, "login", login.Address.String(), "mechanism", mechanism)
	return nil
}

// exchange carries the messages of a mechanism until it is done.
func (s *session) exchange(ctx context.Context, e *auth.Exchange, resp []byte) error {
	for {
		challenge, done, err := e.Next(ctx, resp)
		if err != nil {
			return err
		}
		if done && challenge == nil {
			return nil
		}
		// The last words of a mechanism are a challenge too, since SMTP has no place
		// for them in its reply.
		if resp, err = s.challenge(ctx, challenge); err != nil {
			return err
		}
		if done && len(resp) > 0 {
			return smtp.Errorf(smtp.CodeBadParameter, smtp.DetailSecurity, "authentication was complete")
		}
		if done {
			return nil
		}
	}
}

// challenge sends a challenge and reads the response to it.
func (s *session) challenge(ctx context.Context, challenge []byte) ([]byte, error) {
	s.scratch = append(s.scratch[:0], "334 "...)
	s.scratch = append(base64.StdEncoding.AppendEncode(s.scratch, challenge), "\r\n"...)
	if err := s.writeScratch(ctx); err != nil {
		return nil, err
	}
	line, err := s.waitLine(ctx, smtp.AuthLineMax, logfmt.LevelTraceAuth)
	switch {
	case errors.Is(err, lineio.ErrTooLong):
		return nil, smtp.Errorf(smtp.CodeBadCommand, smtp.DetailAuthLineTooLong, "line is longer than %d bytes", smtp.AuthLineMax).Closing()
	case err != nil:
		return nil, err
	case line == "*":
		return nil, smtp.Errorf(smtp.CodeBadParameter, smtp.DetailSecurity, "authentication was cancelled")
	}
	return smtp.ParseAuthResponse(line)
}

// authReplies gives the reply for each error of a login. RFC 4954, sections 4
// and 6.
var authReplies = []struct {
	err    error
	reply  *smtp.Error
	failed bool // The client has guessed wrong.
}{
	{auth.ErrMechanism, smtp.Errorf(smtp.CodeParamNotSupported, smtp.DetailBadArguments, "mechanism is not available"), false},
	{auth.ErrNeedTLS, smtp.Errorf(smtp.CodeEncryptionNeeded, smtp.DetailAuthNeedsEncrypted, "start TLS first"), false},
	{auth.ErrLimited, smtp.Errorf(smtp.CodeUnavailable, smtp.DetailSecurity, "too many failed logins, please try again later").Closing(), false},
	{auth.ErrBusy, smtp.Errorf(smtp.CodeTempAuth, smtp.DetailSecurity, "too many logins at once, please try again"), false},
	{auth.ErrBadCredentials, smtp.Errorf(smtp.CodeBadCredentials, smtp.DetailBadCredentials, "user or password is wrong"), true},
	{sasl.ErrAuthorization, smtp.Errorf(smtp.CodeBadCredentials, smtp.DetailBadCredentials, "no authorization for another user"), true},
	{sasl.ErrChannelBinding, smtp.Errorf(smtp.CodeBadCredentials, smtp.DetailIntegrity, "the connection is not what you take it for"), true},
	{sasl.ErrMessage, smtp.Errorf(smtp.CodeBadCredentials, smtp.DetailSecurity, "malformed authentication message"), true},
}

// authFailed returns the error for a login that failed, and slows down who
// guesses.
func (s *session) authFailed(ctx context.Context, err error) error {
	for _, r := range authReplies {
		if r.failed && errors.Is(err, r.err) {
			if s.authFailures++; s.authFailures >= authFailuresSlow {
				s.setSlow()
			}
		}
	}
	if errors.Is(err, sasl.ErrChannelBinding) {
		s.log.WarnContext(ctx, "somebody may be between us and a client", "remote", s.peer.IP.String(), "err", err)
	}
	return authError(err)
}

// authError returns the refusal for an error of a login. Trouble of our own is
// told apart from wrong credentials, so that no client asks for another password.
func authError(err error) error {
	if _, ok := errors.AsType[*smtp.Error](err); ok || isGone(err) || isInterrupt(err) || errors.Is(err, context.Canceled) {
		return err
	}
	if disabled, ok := errors.AsType[*auth.DisabledError](err); ok {
		return smtp.Errorf(smtp.CodeAccountDisabled, smtp.DetailAccountDisabled, "%s", disabled.Reason).Because(err)
	}
	for _, r := range authReplies {
		if errors.Is(err, r.err) {
			return r.reply.Because(err)
		}
	}
	return smtp.Errorf(smtp.CodeTempAuth, smtp.DetailSecurity, "logins can't be checked now, please try again later").Because(fmt.Errorf("%w: %w", errTrouble, err))
}

// errTrouble is the cause of refusals for trouble of our own.
var errTrouble = errors.New("smtpserver: trouble of our own")

// elideAuth leaves out what a client says of itself in an AUTH command.
func elideAuth(line string) string {
	words := strings.Fields(line)
	if len(words) < 3 || !strings.EqualFold(words[0], "AUTH") {
		return line
	}
	return words[0] + " " + words[1] + " ***"
}

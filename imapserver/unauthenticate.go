package imapserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/imap"
)

// tlsLayer is the TLS of a connection, if there is any.
type tlsLayer struct {
	conn *tls.Conn
	cert *x509.Certificate // That we have shown. Nil: not known.
}

// secured returns what logging in needs to know of the connection. A certificate of
// the client is part of it also for the second login on a connection (RFC 8437,
// section 4.2).
func (s *session) secured() auth.Conn {
	l := s.listener
	c := auth.Conn{Hostname: l.Hostname, Plain: l.PlainLogin, CRAMMD5: l.CRAMMD5, Certificate: s.layer.cert}
	if s.layer.conn != nil {
		state := s.layer.conn.ConnectionState()
		c.TLS = &state
	}
	return c
}

// beginNotAuthenticated makes the session wait for a login, with the limits of that.
// Its failed logins and mistakes count on.
func (s *session) beginNotAuthenticated() {
	s.log = s.server.opts.Log.With("cid", cid.Format(s.cid))
	s.secure = s.secured()
	s.conn.readUntil = time.Now().Add(preauthMax)
	s.conn.readMax, s.conn.writeMax = preauthIdle, preauthWrite
}

// leaveAccount gives back what the session holds of an account, if it has logged in.
func (s *session) leaveAccount() {
	if s.sel != nil {
		s.unselect()
	}
	if s.watch != nil {
		s.watch.Close()
	}
	if s.account != nil {
		if err := s.account.Close(); err != nil {
			s.log.Error("closing account", "err", err)
		}
		s.leave()
	}
	s.watch, s.account, s.leave = nil, nil, nil
}

// unauthenticate makes the connection one that has not logged in, but for TLS (RFC
// 8437, section 3): nothing of one user is left for the next. It is never answered
// with NO.
func (s *session) unauthenticate(context.Context, command, nothing) (imap.Response, error) {
	s.log.Info("logged out by unauthenticate")
	s.leaveAccount()
	s.forgetLogin()
	s.beginNotAuthenticated()
	s.afterReply = s.endCompression
	return imap.OK("", "log in again"), nil
}

// forgetLogin resets what clients have turned on, and what is so for an account.
// TestForgetLogin knows the fields that stay.
func (s *session) forgetLogin() {
	s.rev2, s.utf8, s.condstore, s.qresync, s.uidOnly = false, false, false, false, false
	s.expunged, s.byNumber = false, false
	s.metadata, s.notify = metadataState{}, notifyState{}
	s.off, s.out.Off, s.out.UTF8 = nil, nil, false
}

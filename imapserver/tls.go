package imapserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/imap"
)

// startTLSCommand answers STARTTLS itself, since the reply must go out before
// the handshake, and leaves the session without a reply.
func (s *session) startTLSCommand(context.Context, command, nothing) (imap.Response, error) {
	switch {
	case s.tls != "":
		return imap.Response{}, imap.Bad("TLS is on already")
	case s.listener.TLS == nil:
		return imap.Response{}, imap.Bad("TLS is not available")
	}
	s.afterReply = s.startTLS
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
	cert, err := auth.Handshake(limited, t)
	if err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	s.layer = tlsLayer{t, cert}
	s.secure = s.secured()
	state := s.secure.TLS
	s.conn.Conn, s.tls = t, tls.VersionName(state.Version)+" "+tls.CipherSuiteName(state.CipherSuite)
	s.in = s.newReader(ctx)
	s.log.Debug("tls", "tls", s.tls, "server_name", state.ServerName)
	return nil
}

// preauthenticate logs in a client that has shown a certificate with a registered
// key, unless its user doesn't want that. Whatever else is the matter, the client
// is heard: it may log in in another way, and is told then what is wrong.
func (s *session) preauthenticate(ctx context.Context) {
	if s.secure.TLS == nil || len(s.secure.TLS.PeerCertificates) == 0 {
		return
	}
	who, err := s.server.opts.Auth.PublicKey(ctx, s.attempt(""), s.secure.TLS.PeerCertificates[0])
	if err == nil && !who.NoPreauth {
		err = s.enter(ctx, who.Login, "preauth")
	}
	if err != nil {
		s.log.Info("no login by TLS client certificate", "err", err)
	}
}

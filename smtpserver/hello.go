package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/mjl-/mox/smtp"
)

// bindHello joins the parser of EHLO and HELO to a handler. What users' programs
// say there doesn't matter: many don't know their name, and others say anything.
func bindHello(run func(*session, context.Context, smtp.Hello) (reply, error)) func(*session, context.Context, string) (reply, error) {
	return func(s *session, ctx context.Context, args string) (reply, error) {
		h, err := smtp.ParseEHLO(args, s.parseOptions())
		if err != nil && s.listener.Submission && !s.server.opts.Pedantic {
			h, err = smtp.Hello{Text: "unknown"}, nil
		}
		if err != nil {
			return reply{}, err
		}
		if !s.listener.Submission {
			if err := s.server.opts.Receiver.CheckHello(ctx, &s.peer, h); err != nil {
				return reply{}, err
			}
		}
		return run(s, ctx, h)
	}
}

// ehlo answers with the extensions we have, RFC 5321, section 4.1.1.1. It ends a
// transaction, as RSET does.
func (s *session) ehlo(ctx context.Context, h smtp.Hello) (reply, error) {
	s.reset(ctx)
	s.peer.Hello, s.peer.Extended = h, true
	text := s.listener.Hostname.XName(false) + "\nPIPELINING\n" + fmt.Sprintf("SIZE %d", s.listener.MessageSizeMax)
	if s.listener.TLS != nil && s.peer.TLS == nil {
		text += "\nSTARTTLS"
	}
	text += s.authLine() + "\nENHANCEDSTATUSCODES\n8BITMIME\nCHUNKING\n" + fmt.Sprintf("LIMITS RCPTMAX=%d", recipientsMax) + s.extensionLines(time.Now()) + "\nSMTPUTF8\nHELP"
	return reply{code: smtp.CodeOK, text: text}, nil
}

// helo is for clients without extensions.
func (s *session) helo(ctx context.Context, h smtp.Hello) (reply, error) {
	s.reset(ctx)
	s.peer.Hello, s.peer.Extended = h, false
	return reply{code: smtp.CodeOK, text: s.listener.Hostname.XName(false)}, nil
}

// startTLS goes over to TLS, RFC 3207. What was said before is forgotten: nobody
// knows who said it.
func (s *session) startTLS(ctx context.Context, _ nothing) (reply, error) {
	switch {
	case s.peer.TLS != nil:
		return reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "TLS is active already")
	case s.login != nil:
		return reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "you are logged in")
	case s.listener.TLS == nil:
		return reply{}, smtp.Errorf(smtp.CodeNotImplemented, smtp.DetailBadCommand, "TLS is not offered")
	}
	r := reply{code: smtp.CodeReady, enhanced: "2.0.0", text: "go ahead"}
	if err := s.write(ctx, r); err != nil {
		return reply{}, err
	}
	if err := s.handshake(ctx); err != nil {
		return reply{}, err
	}
	s.reset(ctx)
	s.peer.Hello, s.peer.Extended = smtp.Hello{}, false
	r.written = true
	return r, s.preauthenticate(ctx)
}

// handshake puts TLS above the connection.
func (s *session) handshake(ctx context.Context) error {
	deliver := s.listener.kind() == kindDeliver
	if deliver {
		s.server.metrics.starttls.Inc()
	}
	state, cert, err := s.wire.startTLS(ctx, s.listener.TLS)
	if err != nil {
		if deliver {
			s.server.metrics.starttlsErr.WithLabelValues(handshakeReason(err)).Inc()
		}
		return gone{fmt.Errorf("TLS handshake: %w", err)} // There is no way to tell the peer.
	}
	s.peer.TLS, s.shown = state, cert
	s.log.DebugContext(ctx, "tls", "version", tls.VersionName(state.Version), "cipher", tls.CipherSuiteName(state.CipherSuite), "sni", state.ServerName)
	return nil
}

func handshakeReason(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errorTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed):
		return errorIO
	}
	return errorOther
}

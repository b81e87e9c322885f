package smtpserver

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/lineio"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
)

// session is one connection. Its methods are for the goroutine that serves it, but
// for End and Abort.
type session struct {
	// Constant after newSession.
	server   *Server
	listener Listener
	cid      int64
	log      *slog.Logger
	wire     *wire
	start    time.Time
	cancel   context.CancelFunc // Set by group.serve.

	peer   receive.Peer
	shown  *x509.Certificate // That we have shown, if known.
	spoken bool              // A known command has come.

	login        *auth.Login // Nil before a login.
	byKey        bool        // It was by a client certificate, and one by command may follow.
	authFailures int         // Logins that failed since.
	authBegan    int64       // When the last attempt to log in began, for auth.Sessions.
	leave        func()      // Takes it out of Server.logins, nil before a login.

	tx    transaction // Nil outside a transaction.
	chunk *chunks     // A message that comes by BDAT, nil before the first.

	scratch  []byte // For replies.
	errors   int    // Replies of 4xx and 5xx.
	bad      int    // Transactions without a delivery.
	messages int    // Delivered.
	refusals int    // Traced.
}

func newSession(srv *Server, conn net.Conn, l Listener) *session {
	s := &session{server: srv, listener: l, cid: srv.opts.CIDs.Next(), wire: newWire(conn), start: time.Now()}
	s.peer = receive.Peer{CID: s.cid, IP: addrOf(conn.RemoteAddr()), LocalIP: addrOf(conn.LocalAddr()), Hostname: l.Hostname}
	s.peer.NoTLS = l.TLS == nil
	s.peer.Blocklists, s.peer.FirstTimeDelay = l.Blocklists, l.FirstTimeDelay
	s.peer.Exempt = srv.opts.Exempt(s.peer.IP)
	s.log = srv.log.With("cid", cid.Format(s.cid))
	return s
}

// addrOf returns the IP of an address, and that of the host itself for a
// connection in memory.
func addrOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return ap.Addr().Unmap()
}

// serve speaks with the peer until the connection ends.
func (s *session) serve(ctx context.Context) {
	s.server.metrics.connections.WithLabelValues(s.listener.kind()).Inc()
	s.log.InfoContext(ctx, "connection", "kind", s.listener.kind(), "listener", s.listener.Name, "remote", s.peer.IP.String(), "local", s.peer.LocalIP.String())
	defer func() {
		if v := recover(); v != nil {
			s.log.ErrorContext(ctx, "panic in session", "panic", v, "stack", string(debug.Stack()))
			s.server.metrics.errors.WithLabelValues(errorPanic).Inc()
			if s.server.opts.Panicked != nil {
				s.server.opts.Panicked()
			}
		}
		s.reset(ctx)
		s.setFast()
		if err := s.wire.conn.Close(); err != nil {
			s.log.DebugContext(ctx, "closing connection", "err", err)
		}
		if s.leave != nil {
			s.leave()
		}
	}()
	err := s.converse(ctx)
	attrs := []any{"messages", s.messages, "errors", s.errors, "took", time.Since(s.start)}
	if err != nil && !errors.Is(err, io.EOF) {
		attrs = append(attrs, "err", err)
	}
	s.log.InfoContext(ctx, "connection ended", attrs...)
}

// End makes the session end when it next waits for a command.
func (s *session) End() { s.wire.interrupt(false, errEnded) }

// Abort makes it end now.
func (s *session) Abort() {
	s.cancel()
	s.wire.interrupt(true, errEnded)
}

// turnAway answers a connection that is not served.
func (s *session) turnAway(why string) {
	if s.listener.Implicit {
		return // It would have to be said within TLS, which costs what a connection costs.
	}
	if s.wire.raw.SetDeadline(time.Now().Add(turnAwayWait)) != nil {
		return
	}
	e := smtp.Errorf(smtp.CodeUnavailable, smtp.DetailSecurity, "%s, please try again later", why)
	_, _ = s.wire.raw.Write(s.appendError(nil, e)) // The connection is closed in any case.
}

// greet begins the conversation.
func (s *session) greet(ctx context.Context) error {
	if s.listener.Implicit {
		if err := s.handshake(ctx); err != nil {
			return err
		}
	}
	if err := s.preauthenticate(ctx); err != nil {
		if _, err := s.answer(ctx, unknownCommand, reply{}, err, s.start); err != nil {
			return err
		}
		s.wire.linger()
		return errClosed
	}
	greeting := s.listener.Hostname.XName(false) + " ESMTP"
	if s.server.opts.Product != "" {
		greeting += " " + s.server.opts.Product
	}
	return s.write(ctx, reply{code: smtp.CodeReady, text: greeting})
}

// converse greets and answers commands. It returns nil after QUIT.
func (s *session) converse(ctx context.Context) error {
	if err := s.greet(ctx); err != nil {
		return err
	}
	for {
		line, err := s.readLine(ctx)
		start := time.Now()
		name, r := unknownCommand, reply{}
		if err == nil {
			name, r, err = s.dispatch(ctx, line)
		}
		if isGone(err) {
			return err
		}
		r, err = s.answer(ctx, name, r, err, start)
		if err != nil {
			return err
		}
		if r.close && name == "QUIT" {
			return s.wire.w.Flush()
		}
		if r.close {
			s.wire.linger()
			return errClosed
		}
	}
}

// errClosed means that we ended the connection with a reply that says why.
var errClosed = errors.New("closed with a reply")

// readLine waits for the next command.
func (s *session) readLine(ctx context.Context) (string, error) {
	line, err := s.waitLine(ctx, lineSizeMax, logfmt.LevelTrace)
	if errors.Is(err, lineio.ErrTooLong) {
		return "", smtp.Errorf(smtp.CodeBadCommand, smtp.DetailSyntax, "line is longer than %d bytes", lineSizeMax).Closing()
	}
	return line, err
}

// waitLine waits for a line of at most max bytes. It is in the log from level
// on. The error is ErrTooLong, or for the peer.
func (s *session) waitLine(ctx context.Context, max int, level slog.Level) (string, error) {
	c := s.wire
	c.wait, c.until, c.command = commandWait, time.Time{}, true
	defer func() { c.command = false }()
	if err := c.r.Wait(); err != nil {
		return "", timeoutError(err)
	}
	line, err := c.r.ReadLine(max)
	s.traceLine(ctx, level, string(line), err)
	switch {
	case errors.Is(err, lineio.ErrTooLong):
		return "", err
	case errors.Is(err, lineio.ErrBareCR), errors.Is(err, lineio.ErrBareLF):
		// What follows may be a part of the line for a client, put there by someone
		// else. It must not be run as a command.
		return "", smtp.Errorf(smtp.CodeBadCommand, smtp.DetailSyntax, "lines end with CR LF, and neither comes alone").Closing()
	case err != nil:
		return "", timeoutError(err)
	}
	// Most connections wait for long at the end of a group of commands.
	text := string(line)
	c.r.Release()
	return text, nil
}

// traceLine logs what came, without credentials unless these are asked for too.
func (s *session) traceLine(ctx context.Context, level slog.Level, line string, err error) {
	switch {
	case !s.log.Enabled(ctx, logfmt.LevelTrace):
		return
	case s.log.Enabled(ctx, logfmt.LevelTraceAuth):
	case level == logfmt.LevelTraceAuth:
		line = "***"
	default:
		line = elideAuth(line)
	}
	s.log.Log(ctx, logfmt.LevelTrace, "RC", "line", line, "err", err)
}

// timeoutError turns the end of a deadline into a reply.
func timeoutError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return smtp.Errorf(smtp.CodeUnavailable, smtp.DetailConnection, "timeout").Because(err).Closing()
	}
	return err
}

// answer writes the reply of a command, or the one for its error, and returns
// what it wrote.
func (s *session) answer(ctx context.Context, name string, r reply, err error, start time.Time) (reply, error) {
	if err == nil {
		s.done(ctx, name, r, start, nil)
		if r.written {
			return r, nil
		}
		return r, s.write(ctx, r)
	}
	e, ours := errorFor(err)
	if ours {
		s.server.metrics.errors.WithLabelValues(errorInternal).Inc()
		s.log.ErrorContext(ctx, "command failed", "cmd", name, "err", err)
	}
	if s.errors++; s.errors > errorsMax && !e.Close {
		s.server.metrics.errors.WithLabelValues(errorLimit).Inc()
		e = smtp.Errorf(smtp.CodeUnavailable, smtp.DetailSecurity, "too many errors").Because(e).Closing()
	}
	r = reply{code: e.Code, enhanced: e.Enhanced, close: e.Close}
	s.done(ctx, name, r, start, err)
	s.scratch = s.appendError(s.scratch[:0], e)
	return r, s.writeScratch(ctx)
}

// done counts and logs a command.
func (s *session) done(ctx context.Context, name string, r reply, start time.Time, err error) {
	took := time.Since(start)
	s.server.metrics.command(s.listener.kind(), name, r, took)
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.DebugContext(ctx, "command", "kind", s.listener.kind(), "cmd", name, "reply", r.code, "ecode", r.enhanced, "took", took, "err", err)
	}
}

// write adds a reply to what is sent when we next wait.
func (s *session) write(ctx context.Context, r reply) error {
	s.scratch = smtp.AppendReply(s.scratch[:0], r.code, r.enhanced, r.text)
	return s.writeScratch(ctx)
}

func (s *session) writeScratch(ctx context.Context) error {
	if s.log.Enabled(ctx, logfmt.LevelTrace) {
		s.log.Log(ctx, logfmt.LevelTrace, "LS", "line", string(bytes.TrimRight(s.scratch, "\r\n")))
	}
	_, err := s.wire.w.Write(s.scratch)
	if cap(s.scratch) > 1024 {
		s.scratch = nil
	}
	return err
}

// appendError appends an error reply. Its end names the connection in a way
// that only the administrator understands.
func (s *session) appendError(b []byte, e *smtp.Error) []byte {
	return smtp.AppendReply(b, e.Code, e.Enhanced, e.Text+" ("+s.server.opts.Opaque(s.cid)+")")
}

// reset ends the transaction, if there is one.
func (s *session) reset(ctx context.Context) {
	if s.chunk != nil {
		if err := s.chunk.spool.Close(); err != nil {
			s.log.ErrorContext(ctx, "dropping message", "err", err)
		}
	}
	s.tx, s.chunk = nil, nil
}

// fail ends the transaction as one that brought nothing.
func (s *session) fail(ctx context.Context) {
	s.bad++
	s.reset(ctx)
}

// setSlow slows down a peer that sends what we don't take. If too many are slow it is
// sent away when it has this reply: were it not slowed down, those who can fill up
// the places could guess as fast as they like. Whoever else is hit can try again.
func (s *session) setSlow() {
	if s.peer.Exempt || s.wire.slow {
		return
	}
	if n := s.server.metrics.sleepers.Add(1); n > s.server.opts.SleepersMax {
		s.server.metrics.sleepers.Add(-1)
		s.server.metrics.errors.WithLabelValues(errorSleepers).Inc()
		s.wire.interrupt(false, errCrowded)
		return
	}
	s.wire.slow = true
}

// setFast ends that.
func (s *session) setFast() {
	if s.wire.slow {
		s.wire.slow = false
		s.server.metrics.sleepers.Add(-1)
	}
}

func (s *session) parseOptions() smtp.ParseOptions {
	return smtp.ParseOptions{Tolerant: !s.server.opts.Pedantic, Extensions: s.extensions()}
}

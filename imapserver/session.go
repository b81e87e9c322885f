package imapserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/lineio"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/store"
)

// state says what a session may do (RFC 9051, section 3). As a set of bits it
// says in which states a command is legal.
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated
	selected

	anyState = notAuthenticated | authenticated | selected
	loggedIn = authenticated | selected
)

// session is one client's connection. It belongs to the goroutine that runs
// serve; only End, Abort and conn.interrupt may be called from others.
type session struct {
	server   *Server
	listener Listener
	log      *slog.Logger
	raw      net.Conn // Under conn, and under TLS if there is any.
	cancel   context.CancelFunc
	conn     *conn
	in       *lineio.Reader
	out      *imap.Encoder
	ip       netip.Addr
	cid      int64

	tls    string    // Version and cipher, empty without TLS.
	secure auth.Conn // What logging in needs to know of the connection; empty afterwards.
	layer  tlsLayer  // For the next login.
	rev2   bool      // ENABLE IMAP4rev2 was given.

	condstore bool // Mod-sequences come with all flags (RFC 7162, section 3.1).
	qresync   bool // ENABLE QRESYNC was given: who went is told by UID.
	utf8      bool // ENABLE UTF8=ACCEPT was given (RFC 9755).
	uidOnly   bool // ENABLE UIDONLY was: there are no sequence numbers (RFC 9586).
	expunged  bool // The command that runs removed messages.
	byNumber  bool // It names messages by their sequence numbers, which so must stay.

	level    slog.Level // At which the bytes of this command are traced.
	commands int        // Commands read so far.
	tag      string     // Of the command that runs.
	badCount int        // BAD replies before login.
	failures int        // Failed logins.
	ended    bool       // The session ends after the reply.
	lost     error      // The connection failed within a command: there is nobody to reply to.
	began    int64      // When the last attempt to log in began, for auth.Sessions.

	metadata metadataState // What was enabled of METADATA.

	// afterReply changes the connection once the reply is sent. Nil: nothing changes.
	afterReply func(context.Context) error

	unread     *imap.Literal // Announced by the command that runs, and not read yet.
	progressed progressState

	// After login.
	account *store.Account
	watch   *store.Watch
	sel     *selection // Nil if no mailbox is selected.
	notify  notifyState
	off     imap.Off // Capabilities switched off for the account.
	leave   func()   // Takes it out of Server.sessions.
}

func newSession(server *Server, nc net.Conn, l Listener, ip netip.Addr) *session {
	s := &session{server: server, listener: l, raw: nc, conn: newConn(nc, &server.pieces), ip: ip, cid: server.opts.CIDs.Next(), level: logfmt.LevelTrace}
	s.out = imap.NewEncoder(s.conn, &server.buffers)
	s.beginNotAuthenticated()
	return s
}

// state returns the state of the session.
func (s *session) state() state {
	switch {
	case s.account == nil:
		return notAuthenticated
	case s.sel == nil:
		return authenticated
	}
	return selected
}

// serve runs the session until the client or the server ends it. It recovers
// from panics: they cost one client its connection and are logged and counted.
func (s *session) serve(ctx context.Context) {
	start := time.Now()
	s.log.Info("connection", "remote", s.ip, "listener", s.listener.Name, "service", s.listener.service())
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic", "value", fmt.Sprint(v), "stack", string(debug.Stack()))
			if s.server.opts.Panicked != nil {
				s.server.opts.Panicked()
			}
		}
		s.close()
		s.log.Info("connection closed", "took", time.Since(start), "received", s.conn.received.Load(), "sent", s.conn.sent.Load())
	}()
	if err := s.begin(ctx); err != nil {
		s.log.Info("connection not begun", "err", err)
		return
	}
	for !s.ended {
		if err := s.next(ctx); err != nil {
			s.bye(err)
			return
		}
	}
}

// begin does the TLS handshake, if the listener wants it, and greets.
func (s *session) begin(ctx context.Context) error {
	if tcp, ok := s.raw.(*net.TCPConn); ok {
		cfg := net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive / 10}
		if err := tcp.SetKeepAliveConfig(cfg); err != nil {
			return fmt.Errorf("setting keep-alive: %w", err)
		}
	}
	s.in = s.newReader(ctx)
	s.conn.sentTee = func(p []byte) { s.trace(ctx, "sent", p) }
	if s.listener.Implicit {
		if err := s.startTLS(ctx); err != nil {
			return err
		}
		s.preauthenticate(ctx)
	}
	greeting := imap.OK("CAPABILITY "+s.capabilities(), "ready")
	if s.account != nil {
		greeting.Type = "PREAUTH"
	}
	s.out.Response("*", greeting)
	return s.out.Flush()
}

func (s *session) newReader(ctx context.Context) *lineio.Reader {
	return lineio.NewReader(s.conn, lineio.Options{Tee: func(p []byte) { s.trace(ctx, "received", p) }})
}

// End makes the session end when it next waits for a command.
func (s *session) End() { s.conn.interrupt(errEnded) }

// Abort makes it end now.
func (s *session) Abort() {
	s.cancel()
	_ = s.raw.Close() // The session sees an error, if there is any.
}

// close gives back what the session holds.
func (s *session) close() {
	s.leaveAccount()
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Debug("closing connection", "err", err)
	}
}

// bye ends a session that can't go on, and tells the client if it is there.
func (s *session) bye(err error) {
	var e *imap.Error
	var r imap.Response
	switch {
	case errors.Is(err, errStopping):
		r = imap.Response{Type: "BYE", Code: "UNAVAILABLE", Text: "server is shutting down"}
	case errors.Is(err, errEnded):
		r = imap.Response{Type: "BYE", Text: "this session was ended by the administrator"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		r = imap.Response{Type: "BYE", Text: "connection was idle for too long"}
	case errors.As(err, &e):
		r = e.Response
	default:
		s.log.Debug("connection ended", "err", err)
		return
	}
	s.log.Info("ending session", "reason", r.Text)
	s.conn.writeMax = byeMax
	s.out.Response("*", r)
	if err := s.out.Flush(); err != nil {
		s.log.Debug("sending bye", "err", err)
	}
}

// next waits for a command, runs it and replies. An error ends the session; an
// *imap.Error is told to the client as BYE.
//
// It is the bottom of the stack of a session that waits: what a command needs
// is in run, so that it is gone while waiting.
func (s *session) next(ctx context.Context) error {
	if err := s.await(ctx); err != nil {
		if errors.Is(err, io.EOF) {
			s.ended = true
			return nil
		}
		return err
	}
	if s.account != nil {
		s.conn.readMax = commandMax
	}
	err := s.run(ctx)
	if s.account != nil {
		s.conn.readMax = idleMax
	}
	return err
}

// run reads a command, runs it and replies.
func (s *session) run(ctx context.Context) error {
	text, err := s.readCommand()
	var tooBig *tooBigError
	switch {
	case errors.As(err, &tooBig):
		return s.reply(tooBig.tag, tooBig.response())
	case err != nil:
		return err
	}
	start := time.Now()
	s.beginProgress(start)
	tag, name, resp := s.execute(ctx, text)
	if s.lost != nil {
		return s.lost
	}
	if err := s.afterUnread(); err != nil {
		return err
	}
	if err := s.reply(tag, resp); err != nil {
		return err
	}
	took := time.Since(start)
	s.server.metrics.command(name, strings.ToLower(resp.Type), took)
	s.log.Debug("command", "cmd", name, "result", resp.Type, "code", resp.Code, "took", took)
	if change := s.afterReply; change != nil {
		s.afterReply = nil
		return change(ctx)
	}
	return s.tooManyBad(name, resp)
}

// execute finds the command of a text and runs it. The name is for logs and
// metrics.
func (s *session) execute(ctx context.Context, text string) (tag, name string, resp imap.Response) {
	d := s.decoder(text)
	tag, name, cmd, err := s.lookup(d)
	s.tag = tag
	if err == nil {
		resp, err = cmd.run(s, ctx, cmd, d)
	}
	if err != nil {
		resp = statusFor(err)
		s.logFailure(ctx, name, resp, err)
	}
	if s.account != nil {
		s.announce(ctx, cmd.bySeq || s.byNumber)
		if s.expunged && s.sel != nil && resp.Type == "OK" && resp.Code == "" {
			resp.Code = s.highest() // RFC 7162, sections 3.2.7 and 3.2.9.
		}
		s.expunged, s.byNumber = false, false
	}
	return tag, name, resp
}

func (s *session) decoder(text string) *imap.Decoder {
	d := imap.NewDecoder(text)
	d.UTF8, d.NoCharset, d.Pedantic, d.Off = s.out.UTF8, s.utf8, s.server.opts.Pedantic, s.off
	return d
}

// logFailure logs an error that a command ended with: at error level if it is
// our fault, as the end of a connection is not.
func (s *session) logFailure(ctx context.Context, name string, resp imap.Response, err error) {
	level := slog.LevelDebug
	if resp.Code == "SERVERBUG" && s.lost == nil {
		level = slog.LevelError
	}
	s.log.Log(ctx, level, "command failed", "cmd", name, "err", err)
}

// reply writes the tagged response: the only place that does.
func (s *session) reply(tag string, resp imap.Response) error {
	s.out.Response(tag, resp)
	return s.out.Flush()
}

// tooManyBad ends a session that speaks something else than IMAP.
func (s *session) tooManyBad(name string, resp imap.Response) error {
	s.commands++
	if s.account != nil || resp.Type != "BAD" {
		return nil
	}
	if s.commands == 1 && name == unknownCommand {
		return imap.Bye("", "this is an IMAP server")
	}
	s.badCount++
	if s.badCount >= badCommandsMax {
		return imap.Bye("", "too many bad commands")
	}
	return nil
}

// trace logs bytes of the connection, if the level for them is on. Of those
// with credentials or messages only the number is logged at the first level.
func (s *session) trace(ctx context.Context, direction string, p []byte) {
	switch {
	case s.log.Enabled(ctx, s.level):
		s.log.Log(ctx, s.level, "wire", "direction", direction, "data", string(p))
	case s.level < logfmt.LevelTrace && s.log.Enabled(ctx, logfmt.LevelTrace):
		s.log.Log(ctx, logfmt.LevelTrace, "wire", "direction", direction, "elided", len(p))
	}
}

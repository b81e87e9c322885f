// Package smtpserver takes mail over SMTP (RFC 5321): from other servers, and on
// listeners for submission from users (RFC 6409, RFC 8314).
//
// It speaks the protocol: limits, waiting, TLS, what is a command and where a
// message ends. Who a user is, package auth knows; where a message goes, and
// whether it is taken, packages receive and submit. Package system makes one
// Server and calls Serve for each listener.
//
// A command is a row in the table of command.go: a pure parser from package
// smtp, a method of session that returns what to reply or an error, and one
// place that writes it.
package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/submit"
	"github.com/mjl-/mox/trace"
)

// Options is what a Server needs. Fields are required unless said otherwise.
type Options struct {
	Log      *slog.Logger
	Receiver *receive.Receiver
	CIDs     *cid.Counter

	// Opaque returns the form of a connection id that ends each error reply:
	// cid.Key.Seal.
	Opaque func(cid int64) string

	// Auth and Submitter are for listeners for submission. Nil: there are none.
	Auth      Authenticator
	Submitter *submit.Submitter

	// Trace is told what is refused before a message is there. Nil: nothing is.
	Trace *trace.Log

	// Registerer gets the metrics mox_smtpserver_*. Nil: none.
	Registerer prometheus.Registerer

	// Panicked is called when a session died of a panic, after it was logged. Nil:
	// nothing else is done.
	Panicked func()

	// Connections bounds connections by address. Nil: no limit.
	Connections ConnectionLimit

	// Exempt tells addresses without limits on connections and transactions, and
	// without waiting. Nil: none.
	Exempt func(ip netip.Addr) bool

	// Pedantic refuses what peers send against the grammar, also where the mail
	// would get through.
	Pedantic bool

	// Extensions are announced, with their parameters of MAIL and RCPT. They ask
	// something of who sends the message on, who must honour it. Zero: none.
	Extensions smtp.Extensions

	// Product is named in the greeting. Empty: not named.
	Product string

	// ConnectionsMax bounds the connections of all addresses together. Zero: 5000.
	ConnectionsMax int64

	// SleepersMax bounds the sessions in slow mode. Beyond it who would be slowed down
	// is sent away. Zero: 500.
	SleepersMax int64

	// Grace is how long running commands may take when the server stops. Zero: 3 s.
	Grace time.Duration
}

// ConnectionLimit counts connections by the address they come from.
type ConnectionLimit interface {
	// Open reports whether one more connection from ip is fine, and counts it.
	Open(now time.Time, ip netip.Addr) bool
	// Close is called for each connection that Open allowed.
	Close(ip netip.Addr)
}

// Listener is how connections of one listening socket are treated.
type Listener struct {
	Name     string // For logs.
	Hostname dns.Domain

	// TLS is for STARTTLS, or for the whole connection if Implicit. Nil: it is not
	// offered. For submission it should be a config of auth's ClientCertificates or
	// BindCertificate.
	TLS *tls.Config

	// Implicit means connections begin with TLS, as on port 465.
	Implicit bool

	// RequireTLS refuses mail of other servers until they have begun TLS. It is not for
	// hosts that the world sends mail to (RFC 3207, section 4).
	RequireTLS bool

	// NoRequireTLS keeps REQUIRETLS of Options.Extensions back.
	NoRequireTLS bool

	// Submission means mail is taken from users who have logged in, for anyone, and
	// not from other servers.
	Submission bool

	// PlainLogin allows logins without TLS.
	PlainLogin bool

	// CRAMMD5 offers the mechanism, for old clients.
	CRAMMD5 bool

	Blocklists     []dns.Domain  // As in receive.Peer.
	FirstTimeDelay time.Duration // As in receive.Peer.

	// MessageSizeMax bounds a message in bytes, as it is on the wire without dots
	// that were stuffed. Zero: 100 MiB.
	MessageSizeMax int64
}

// kind returns the name of the service for metrics and logs.
func (l Listener) kind() string {
	switch {
	case l.Submission && l.Implicit:
		return kindSubmissions
	case l.Submission:
		return kindSubmission
	}
	return kindDeliver
}

// check returns an error for a listener that can't be served.
func (l Listener) check(opts Options) error {
	if (l.Implicit || l.RequireTLS) && l.TLS == nil || l.Submission && (opts.Auth == nil || opts.Submitter == nil) {
		return fmt.Errorf("smtpserver: listener %q lacks what it needs", l.Name)
	}
	return nil
}

// Server serves SMTP. It is safe for concurrent use.
type Server struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	logins  auth.Sessions // Of users who have logged in.
}

// New returns a server. It starts nothing.
func New(opts Options) (*Server, error) {
	if opts.Log == nil || opts.Receiver == nil || opts.CIDs == nil || opts.Opaque == nil {
		return nil, errors.New("smtpserver: missing option")
	}
	if opts.Exempt == nil {
		opts.Exempt = func(netip.Addr) bool { return false }
	}
	if opts.ConnectionsMax <= 0 {
		opts.ConnectionsMax = connectionsMaxDefault
	}
	if opts.SleepersMax <= 0 {
		opts.SleepersMax = sleepersMaxDefault
	}
	if opts.Grace <= 0 {
		opts.Grace = graceDefault
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, err
	}
	return &Server{opts: opts, log: opts.Log.With("pkg", "smtpserver"), metrics: m}, nil
}

// Serve accepts connections from ln and serves them until ctx is done or
// accepting fails. It then closes ln, tells sessions that wait for a command 421,
// lets running commands end in the grace time, cancels the others, and returns
// when all sessions have ended. The error is nil if ctx is done. For a listener
// that lacks something it returns an error at once.
func (srv *Server) Serve(ctx context.Context, ln net.Listener, l Listener) error {
	if err := l.check(srv.opts); err != nil {
		return err
	}
	if l.MessageSizeMax <= 0 {
		l.MessageSizeMax = messageSizeMaxDefault
	}
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()

	g := &group{server: srv, sessions: map[*session]struct{}{}}
	err := srv.accept(ctx, ln, func(conn net.Conn) {
		g.running.Go(func() { g.serve(hard, conn, l) })
	})
	_ = ln.Close() // It is closed already, or broken.
	g.end(srv.opts.Grace, cancel)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// EndAccount ends the sessions of an account: they are told 421, and are gone when
// it returns, which takes little more than the grace time. Who is just logging in
// has to do so again. It is for when logins have changed: who shall stay out is
// kept out by Auth.
func (srv *Server) EndAccount(account string) {
	ended, left := srv.logins.End(account, srv.opts.Grace)
	if left > 0 {
		srv.log.Error("sessions of account do not end", "account", account, "sessions", left)
	}
	srv.log.Info("sessions of account ended", "account", account, "sessions", ended-left)
}

// accept calls serve for each connection until ctx is done or ln is broken.
func (srv *Server) accept(ctx context.Context, ln net.Listener, serve func(net.Conn)) error {
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			serve(conn)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return err
		default:
			srv.log.ErrorContext(ctx, "accepting connection", "err", err)
			select {
			case <-ctx.Done():
				return err
			case <-time.After(acceptRetryAfter):
			}
		}
	}
}

// group is the sessions of one call of Serve.
type group struct {
	server  *Server
	running sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	sessions map[*session]struct{}
}

// serve runs a session on a new connection, unless limits forbid it.
func (g *group) serve(ctx context.Context, conn net.Conn, l Listener) {
	srv := g.server
	defer func() { _ = conn.Close() }() // Closed by the session already, when all is well.
	s := newSession(srv, conn, l)
	if limit := srv.opts.Connections; limit != nil && !s.peer.Exempt {
		if !limit.Open(time.Now(), s.peer.IP) {
			srv.metrics.refused()
			s.turnAway("too many connections from your network")
			return
		}
		defer limit.Close(s.peer.IP)
	}
	if l.Submission && !s.peer.Exempt && !srv.opts.Auth.Allowed(s.peer.IP) {
		srv.metrics.refused()
		s.turnAway("too many failed logins from your network")
		return
	}
	ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	ok := g.add(s)
	defer g.remove(s)
	if !ok {
		srv.metrics.refused()
		s.turnAway("too many connections")
		return
	}
	s.serve(ctx)
}

// add takes a session in, and tells it if the server is stopping. It returns
// false if there are too many.
func (g *group) add(s *session) bool {
	open := g.server.metrics.opened(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sessions[s] = struct{}{}
	if g.stopping {
		s.wire.interrupt(false, errStopping)
	}
	return open <= g.server.opts.ConnectionsMax
}

func (g *group) remove(s *session) {
	g.server.metrics.opened(-1)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, s)
}

// end ends all sessions, and returns when the last one is gone.
func (g *group) end(grace time.Duration, cancel func()) {
	g.interrupt(false)
	done := make(chan struct{})
	go func() {
		g.running.Wait()
		close(done)
	}()
	for _, step := range []func(){
		func() { cancel(); g.interrupt(true) },
		g.close,
	} {
		timer := time.NewTimer(grace)
		select {
		case <-done:
			timer.Stop()
			return
		case <-timer.C:
			step()
		}
	}
	<-done
}

// interrupt makes sessions end when they next wait for a command, or if now is
// set when they wait for anything.
func (g *group) interrupt(now bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopping = true
	for s := range g.sessions {
		s.wire.interrupt(now, errStopping)
	}
}

// close closes the connections of sessions that don't end by themselves.
func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.sessions {
		_ = s.wire.raw.Close() // The session sees an error, if there is any.
	}
}

package imapserver

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
	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// Options has what a Server needs.
type Options struct {
	Log      *slog.Logger
	Accounts Accounts      // Where the mail is: a *store.Dir.
	Auth     Authenticator // Checks logins.
	CIDs     *cid.Counter  // Connection ids for the log. Nil: a counter of its own.

	// Connections bounds connections by address. Nil: no limit.
	Connections ConnectionLimit

	// Registerer gets the metrics mox_imap_*. Nil: none.
	Registerer prometheus.Registerer

	// Panicked is called when a session died of a panic, after it was logged. Nil:
	// nothing else is done.
	Panicked func()

	// Version is told to clients by ID. Empty: not told.
	Version string

	// Inboxes returns the names of the mailboxes that new mail of an account is
	// delivered to, which "inboxes" of RFC 5465 stands for. Nil: all.
	Inboxes func(account string) []string

	// Canonical returns the form of an address that is the same for all spellings that
	// reach the same mailbox. Nil: each is its own.
	Canonical func(smtp.Address) smtp.Address

	// AdminURI is where users reach the administrator, as in "mailto:…". Clients are
	// told of it. Empty: not.
	AdminURI string

	// Pedantic refuses what clients send against the grammar. Otherwise much of
	// it is understood.
	Pedantic bool

	// AppendSizeMax is the largest message in bytes that a client can append. Zero:
	// 4 GiB less one, which is what IMAP4rev1 can express.
	AppendSizeMax int64

	// Disabled returns the names of capabilities that clients of an account are not
	// offered. It is asked at each login. Nil: none.
	Disabled func(account string) []string

	// TextIndex is asked by SEARCH. Nil: there is none, and all messages are read.
	TextIndex TextIndex

	// Grace is how long running commands may take when the server stops. Zero: 3 s.
	Grace time.Duration
}

// Accounts opens accounts. The caller closes them.
type Accounts interface {
	Account(ctx context.Context, name string) (*store.Account, error)
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
	Name string

	// TLS is for STARTTLS, or for the whole connection if Implicit. Nil: there is
	// no TLS. It should be a config of auth's ClientCertificates or BindCertificate.
	TLS *tls.Config

	// Implicit means connections begin with TLS, as on port 993.
	Implicit bool

	// PlainLogin allows logins with a password without TLS.
	PlainLogin bool

	// CRAMMD5 offers the mechanism, for old clients.
	CRAMMD5 bool

	// Hostname is ours, as told to clients that log in with CRAM-MD5.
	Hostname string
}

func (l Listener) service() string {
	if l.Implicit {
		return "imaps"
	}
	return "imap"
}

// Server serves IMAP. It is safe for concurrent use.
type Server struct {
	opts     Options
	metrics  *metrics
	sessions auth.Sessions // That have logged in.
	commands map[string]command
	buffers  imap.Buffers // Output buffers of sessions that are busy.
	pieces   sync.Pool    // For conn.

	compression compression
	scans       chan struct{} // See newScans.
}

// New returns a server. It starts nothing.
func New(opts Options) (*Server, error) {
	if opts.Log == nil || opts.Accounts == nil || opts.Auth == nil {
		return nil, errors.New("imapserver: Log, Accounts and Auth must be set")
	}
	if opts.Canonical == nil {
		opts.Canonical = func(a smtp.Address) smtp.Address { return a }
	}
	if opts.CIDs == nil {
		opts.CIDs = cid.NewCounter(time.Now())
	}
	if opts.AppendSizeMax <= 0 || opts.AppendSizeMax > appendSizeMax {
		opts.AppendSizeMax = appendSizeMax
	}
	if opts.Grace <= 0 {
		opts.Grace = 3 * time.Second
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	opts.Log = opts.Log.With("pkg", "imapserver")
	return &Server{opts: opts, metrics: m, commands: commands(), scans: newScans()}, nil
}

// Serve accepts connections from ln and serves them until ctx is done or
// accepting fails. It then closes ln, tells sessions that wait for a command
// BYE, lets running commands end in the grace time, cancels the others, and
// returns when all sessions have ended. The error is nil if ctx is done.
func (s *Server) Serve(ctx context.Context, ln net.Listener, l Listener) error {
	if l.Implicit && l.TLS == nil {
		return errors.New("imapserver: listener with implicit TLS has no TLS config")
	}
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()

	var running sync.WaitGroup
	own := &ownSessions{server: s, all: map[*session]struct{}{}}
	err := s.accept(ctx, ln, func(nc net.Conn) {
		running.Go(func() { own.serve(hard, nc, l) })
	})
	_ = ln.Close() // It is closed already, or broken.

	own.interrupt()
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	grace := time.NewTimer(s.opts.Grace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
		cancel()
		own.close()
		<-done
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// EndAccount ends the sessions of an account: they are told BYE, and are gone when
// it returns, which takes little more than the grace time. Who is just logging in
// has to do so again. It is for when logins have changed: who shall stay out is
// kept out by Auth.
func (s *Server) EndAccount(account string) {
	ended, left := s.sessions.End(account, s.opts.Grace)
	if left > 0 {
		s.opts.Log.Error("sessions of account do not end", "account", account, "sessions", left)
	}
	s.opts.Log.Info("sessions of account ended", "account", account, "sessions", ended-left)
}

// acceptRetry is the pause after a failure to accept, as when the process has
// too many files open.
const acceptRetry = 100 * time.Millisecond

// accept calls serve for each connection until ctx is done or ln is broken.
func (s *Server) accept(ctx context.Context, ln net.Listener, serve func(net.Conn)) error {
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			serve(nc)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return err
		default:
			s.opts.Log.Error("accepting connection", "err", err)
			select {
			case <-ctx.Done():
				return err
			case <-time.After(acceptRetry):
			}
		}
	}
}

// ownSessions are the sessions of one call of Serve.
type ownSessions struct {
	server *Server

	mu          sync.Mutex
	interrupted bool
	all         map[*session]struct{}
}

// serve runs a session on a new connection, unless limits forbid it.
func (o *ownSessions) serve(ctx context.Context, nc net.Conn, l Listener) {
	s := o.server
	defer func() { _ = nc.Close() }() // Closed by the session already, when all is well.
	ip := remoteIP(nc)
	if !s.allow(ip) {
		s.metrics.refused.WithLabelValues("limit").Inc()
		refuse(nc, l, imap.Response{Type: "BYE", Code: "LIMIT", Text: "too many connections from your network"})
		return
	}
	if limit := s.limitFor(ip); limit != nil {
		defer limit.Close(ip)
	}
	s.metrics.connections.WithLabelValues(l.service()).Inc()
	open := s.metrics.open.WithLabelValues(l.service())
	open.Inc()
	defer open.Dec()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ses := newSession(s, nc, l, ip)
	ses.cancel = cancel
	o.mu.Lock()
	o.all[ses] = struct{}{}
	if o.interrupted {
		ses.conn.interrupt(errStopping)
	}
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		delete(o.all, ses)
		o.mu.Unlock()
	}()
	ses.serve(ctx)
}

// interrupt makes sessions end when they next wait for a command.
func (o *ownSessions) interrupt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.interrupted = true
	for ses := range o.all {
		ses.conn.interrupt(errStopping)
	}
}

// close closes the connections of sessions that did not end by themselves.
func (o *ownSessions) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for ses := range o.all {
		_ = ses.raw.Close() // The session sees an error, if there is any.
	}
}

// limitFor returns the limit that holds for ip. Loopback has none: proxies and
// other programs of the machine come from there.
func (s *Server) limitFor(ip netip.Addr) ConnectionLimit {
	if ip.IsLoopback() {
		return nil
	}
	return s.opts.Connections
}

func (s *Server) allow(ip netip.Addr) bool {
	limit := s.limitFor(ip)
	return limit == nil || limit.Open(time.Now(), ip)
}

// refuse tells a client why there will be no session. Under TLS that would cost
// a handshake, so the connection is only closed.
func refuse(nc net.Conn, l Listener, r imap.Response) {
	if l.Implicit {
		return
	}
	if err := nc.SetDeadline(time.Now().Add(byeMax)); err != nil {
		return
	}
	_, _ = nc.Write([]byte(r.Line() + "\r\n")) // The connection is closed in any case.
}

// remoteIP returns the address of the client; that of a connection in memory is
// taken for loopback.
func remoteIP(nc net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return ap.Addr().Unmap()
}

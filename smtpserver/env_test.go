package smtpserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// env is a Server with a receiver and a store of its own, and connections in
// memory. The accounts are alice and bob.
type env struct {
	t        testing.TB
	server   *Server
	store    *store.Dir
	dir      string
	listener Listener
	pipes    *pipeListener
	users    *users // Nil unless the listener is for submission.
	panics   int
	receiver *receive.Receiver
	registry *prometheus.Registry
	remote   string
	cancel   context.CancelFunc
	served   chan error
}

// settings is what differs between tests.
type settings struct {
	pedantic, localserve, exempt, plain bool
	sizeMax                             int64
	free                                int64 // Bytes on the disk of the queue. Zero: enough.
	connections                         ConnectionLimit
	connectionsMax                      int64
	quota                               int64
	log                                 *slog.Logger
	change                              func(*Options)
	remote                              string // Address of the peer. Empty: it is a program on this host.
	resolver                            dns.Resolver
	extensions                          bool // All of smtp.Extensions.
	sleepersMax                         int64

	dynamic    *config.Dynamic // Nil: testConfig.
	blocklists []dns.Domain
	firstTime  time.Duration
	hurried    bool // Nobody is slowed down.

	submission, implicit, plainLogin, cramMD5, requireTLS bool
	strict                                                bool // Logins from loopback have limits too.
}

var testConfig = config.Dynamic{
	Domains: map[string]config.Domain{
		"example.org":      {LocalpartCatchallSeparator: "+", Aliases: map[string]config.Alias{"list": {Addresses: []string{"alice@example.org", "bob@example.org"}, PostPublic: true}}},
		"bücher.example":   {},
		"all.example":      {},
		"disabled.example": {Disabled: true},
	},
	Accounts: map[string]config.Account{
		"alice": {Domain: "example.org", Destinations: map[string]config.Destination{"alice@example.org": {}, "jürgen@bücher.example": {}, "x@disabled.example": {}}},
		"bob":   {Domain: "example.org", Destinations: map[string]config.Destination{"bob@example.org": {}, "@all.example": {}, "gone@example.org": {SMTPError: "550 moved away"}}},
		"mox":   {Domain: "example.org"},
		"carol": {Domain: "example.org", MaxOutgoingMessagesPerDay: 3, MaxFirstTimeRecipientsPerDay: 2, Destinations: map[string]config.Destination{"carol@example.org": {}}},
		"dave":  {Domain: "example.org", LoginDisabled: "on leave until spring", Destinations: map[string]config.Destination{"dave@example.org": {}}},
	},
}

func newEnv(t testing.TB, set settings) *env {
	t.Helper()
	e := &env{t: t, dir: t.TempDir(), registry: prometheus.NewRegistry(), pipes: newPipeListener(), served: make(chan error, 1), remote: set.remote}
	log := set.log
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	dynamic := testConfig
	if set.dynamic != nil {
		dynamic = *set.dynamic
	}
	cfg, err := config.Check(config.Static{
		DataDir: e.dir, LogLevel: "info", Hostname: "mx.example.org", Postmaster: config.Postmaster{Account: "mox", Mailbox: "Inbox"},
		HostTLSRPT: &config.HostTLSRPT{Account: "mox", Mailbox: "TLSRPT", Localpart: "tlsreports"},
	}, dynamic, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.store, err = store.Open(t.Context(), store.Options{
		Dir: e.dir, Log: log, SegmentSize: 4 << 20, QuotaSize: func(string) int64 { return set.quota }, JunkParams: cfg.JunkParams,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range cfg.Accounts() {
		n := store.NewAccount{}
		if set.submission {
			n.Credentials = []store.Credential{credential(t)}
		}
		a, err := e.store.Create(t.Context(), name, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ropts := receive.Options{
		Store: e.store, Config: func() *config.Config { return cfg }, Log: log, Registerer: e.registry, TempDir: filepath.Join(e.dir, "tmp"),
	}
	ropts.Resolver = set.resolver
	if set.localserve {
		ropts.Specials, ropts.CatchAllAccount = true, "mox"
	}
	if e.receiver, err = receive.New(ropts); err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Log: log, Receiver: e.receiver, CIDs: cid.NewCounter(time.Now()), Opaque: func(int64) string { return "id" }, Registerer: e.registry,
		Panicked: func() { e.panics++ }, Exempt: func(netip.Addr) bool { return set.exempt }, Pedantic: set.pedantic, Product: "mox",
		Connections: set.connections, ConnectionsMax: set.connectionsMax, SleepersMax: set.sleepersMax,
	}
	if set.extensions {
		opts.Extensions = smtp.Extensions{RequireTLS: true, FutureRelease: true, DSN: true}
	}
	if set.submission {
		e.users = newUsers(e, set, cfg, log)
		opts.Auth, opts.Submitter = e.users.auth, e.users.submitter
	}
	if set.change != nil {
		set.change(&opts)
	}
	if e.server, err = New(opts); err != nil {
		t.Fatal(err)
	}
	if set.hurried {
		e.server.opts.SleepersMax = -1
	}
	e.listener = Listener{
		Name: "test", Hostname: dns.Domain{ASCII: "mx.example.org"}, MessageSizeMax: set.sizeMax,
		Submission: set.submission, Implicit: set.implicit, PlainLogin: set.plainLogin, CRAMMD5: set.cramMD5,
		RequireTLS: set.requireTLS, Blocklists: set.blocklists, FirstTimeDelay: set.firstTime,
	}
	if !set.plain {
		e.listener.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	}
	if set.submission {
		e.listener.TLS = e.users.auth.ClientCertificates(e.listener.TLS)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e.cancel = cancel
	go func() { e.served <- e.server.Serve(ctx, e.pipes, e.listener) }()
	return e
}

// close stops the server, and checks that nothing is left of its work.
func (e *env) close() {
	e.t.Helper()
	e.cancel()
	if err := <-e.served; err != nil {
		e.t.Errorf("serve: %v", err)
	}
	if e.users != nil {
		e.users.close()
	}
	if err := e.store.Close(); err != nil {
		e.t.Error(err)
	}
	if e.panics != 0 {
		e.t.Errorf("%d panics", e.panics)
	}
	if n := e.server.metrics.open.Load(); n != 0 {
		e.t.Errorf("%d connections are counted as open", n)
	}
	if n := e.server.metrics.sleepers.Load(); n != 0 {
		e.t.Errorf("%d sessions are counted as slow", n)
	}
	if names, err := filepath.Glob(filepath.Join(e.dir, "tmp", "*")); err != nil || len(names) > 0 {
		e.t.Errorf("temporary files are left: %v, %v", names, err)
	}
}

// messages returns the contents of an account's Inbox.
func (e *env) messages(account string) (list []string) {
	e.t.Helper()
	a, err := e.store.Account(e.t.Context(), account)
	if err != nil {
		e.t.Fatal(err)
	}
	defer a.Close()
	a.WaitDurable(e.t.Context())
	var ids []int64
	err = a.View(e.t.Context(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		for uid := store.UID(1); uid < mb.UIDNext; uid++ {
			m, err := tx.Message(mb.ID, uid)
			if err != nil {
				return err
			}
			ids = append(ids, m.EmailID)
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	for _, id := range ids {
		f, err := a.OpenMessage(id)
		if err != nil {
			e.t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			e.t.Fatal(err)
		}
		list = append(list, string(b))
	}
	return list
}

// dial returns the client's side of a new connection.
func (e *env) dial(string) net.Conn {
	client, server := net.Pipe()
	if e.remote != "" {
		server = remoteConn{server, e.remote}
	}
	e.pipes.conns <- server
	return client
}

// remoteConn is a connection from an address.
type remoteConn struct {
	net.Conn
	ip string
}

func (c remoteConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.ip), 2525))
}

// pipeListener is a net.Listener for connections in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	errs   chan error // Returned by Accept.
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{}), errs: make(chan error)}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func certificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// oneConnection is a limit of one connection at a time.
type oneConnection struct {
	mu   sync.Mutex
	open int
}

func (o *oneConnection) Open(time.Time, netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open > 0 {
		return false
	}
	o.open++
	return true
}

func (o *oneConnection) Close(netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open--
}

var errAccept = errors.New("too many open files")

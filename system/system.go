// Package system builds a whole server from its configuration, runs it and stops
// it. It is the only place where the parts meet: each gets, by name, what it
// needs, and none gets the System.
//
// It decides nothing about mail. The program makes one System; tests make
// several in one process, each with its own files, listeners and log.
package system

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/delivery"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/hooks"
	"github.com/mjl-/mox/imapserver"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/metrics"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/ratelimit"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpserver"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/submit"
	"github.com/mjl-/mox/tlsrptdb"
	"github.com/mjl-/mox/trace"
)

// CIDKeyName is the file in the data directory with the key for connection ids
// in replies.
const CIDKeyName = "receivedid.key"

// product is how servers name themselves to peers.
const product = "mox"

// GraceDefault is how long sessions may go on with their command when the server
// stops. Mail programs and senders try again; longer would delay a restart.
const GraceDefault = 3 * time.Second

// abortTime is how long sessions get to return after they were cancelled.
const abortTime = time.Second

// The journals of a server for trying things out have small segments, so that they
// take little room and start quickly. Those of deliveries go some at a time: each
// time all files of the data directory are synced.
const (
	localSegment = 4 << 20
	cleanBytes   = 64 << 20
)

// Limits on connections, by network.
var (
	connectionRate = ratelimit.Window{Period: time.Minute, Limits: [...]int64{300, 900, 2700}}
	connectionOpen = [...]int64{30, 90, 270}
)

// Options is what a System needs. Fields are optional unless said otherwise.
type Options struct {
	Config *live.Config // Required, with TLS keys loaded.

	// Log takes log lines, one in each Write. Required.
	Log io.Writer

	// Levels of the log. Nil: those of the configuration.
	Levels *logfmt.Levels

	// Local makes a server for trying things out. Nil: an ordinary one.
	Local *Local

	// Version is told to clients that ask.
	Version string

	// Pedantic, as if the configuration had it.
	Pedantic bool

	// Offline binds no sockets: for commands that work on the data.
	Offline bool

	// Listen makes listeners. Nil: sockets.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)

	// Dial connects to other servers, from a local address if that is valid. Nil:
	// TCP.
	Dial func(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error)

	// Resolver answers questions about other domains. Nil: asks name servers as the
	// configuration has it.
	Resolver dns.Resolver

	// RemotePort is where other servers listen. Zero: 25.
	RemotePort uint16

	// Roots are the authorities by which other servers and the hosts of MTA-STS policies
	// are verified. Nil: those of the configuration.
	Roots *x509.CertPool

	// Grace is how long running commands may take when the server stops. Zero:
	// GraceDefault.
	Grace time.Duration

	// Rand is where keys come from. Nil: crypto/rand.Reader.
	Rand io.Reader

	// FastDKIMKeys is as in admin.Options, for tests.
	FastDKIMKeys bool

	// Faults is armed by tests.
	Faults *fault.Set

	// Store, Queue and Delivery change options of those, in tests.
	Store    func(*store.Options)
	Queue    func(*queue.Options)
	Delivery func(*delivery.Options)
}

// Local is what a server for trying things out does besides: it takes mail for
// any address, fails for recipients with special names (see package receive),
// and sets no limits to peers on loopback.
type Local struct {
	Account  string // Gets mail for addresses that are not configured.
	Password string // Of accounts that are made because they have no data yet.
}

// System is everything a running server owns. It is built by New in the order of
// its fields and closed in reverse. It is passed to nobody.
type System struct {
	opts     Options
	registry *prometheus.Registry
	panics   *metrics.Panics
	log      *slog.Logger
	lock     *Lock
	bound    []Bound
	cidKey   cid.Key
	cids     *cid.Counter
	logins   *authdb.DB
	policies *mtastsdb.DB
	trace    *trace.Log // Nil: nothing is kept.
	results  *tlsrptdb.ResultDB
	accounts *store.Dir
	queue    *queue.DB
	backup   *backup.Backup
	keeper   *admin.Keeper
	auth     *auth.Authenticator
	receiver *receive.Receiver
	submit   *submit.Submitter
	delivery *delivery.Sender
	hooks    atomic.Pointer[hooks.Caller] // Nil until it is made: accounts are opened before.

	policyCache *mtastsdb.Cache
	fetches     *loop.Group // Of policies.
	endFetches  func() error
	tlsResults  *tlsrptdb.Collector

	blocklists *blocklists
	smtp       *smtpserver.Server
	imap       *imapserver.Server
	metrics    *metrics.Server
	refused    *prometheus.CounterVec // TLS handshakes, by listener.

	serving atomic.Bool
}

// Bound is an endpoint with its listener.
type Bound struct {
	config.Endpoint
	ln net.Listener
}

// Address returns the address it listens on.
func (b Bound) Address() net.Addr { return b.ln.Addr() }

// New builds a System: it locks the data directory, binds sockets and opens
// files, but serves nothing yet. If it fails, nothing of it is left. The error
// is a *RunningError if another process has the data directory.
func New(ctx context.Context, opts Options) (*System, error) {
	if opts.Config == nil || opts.Log == nil {
		return nil, errors.New("system: missing option")
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Dial == nil {
		opts.Dial = dial
	}
	if opts.Listen == nil {
		opts.Listen = new(net.ListenConfig).Listen
	}
	if opts.Grace <= 0 {
		opts.Grace = GraceDefault
	}
	s := &System{opts: opts, registry: prometheus.NewRegistry()}
	for _, step := range []func(context.Context) error{
		s.openLog, s.watchConfig, s.openDir, s.bind, s.openKeys, s.openStores, s.openQueue, s.makeBackup, s.keepAccounts, s.makeMail, s.makeTLSMetrics, s.makeServers,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// dir returns a path in the data directory.
func (s *System) dir(elem ...string) string {
	return filepath.Join(append([]string{s.opts.Config.DataDir()}, elem...)...)
}

func (s *System) current() *config.Config { return s.opts.Config.Current() }

// openLog makes the logger for all parts, and the counters that go with it.
func (s *System) openLog(context.Context) error {
	if s.opts.Levels == nil {
		levels, err := ConfigLevels(s.current().Static)
		if err != nil {
			return err
		}
		s.opts.Levels = levels
	}
	handler, err := metrics.CountLines(s.registry, logfmt.New(s.opts.Log, s.opts.Levels))
	if err != nil {
		return err
	}
	s.log = slog.New(handler)
	s.panics, err = metrics.NewPanics(s.registry, "auth", "ctl", "delivery", "hooks", "imapserver", "smtpserver", "system")
	return err
}

// ConfigLevels returns the levels of the log that a configuration asks for.
func ConfigLevels(c config.Static) (*logfmt.Levels, error) {
	level, err := logfmt.ParseLevel(c.LogLevel)
	if err != nil {
		return nil, err
	}
	levels := logfmt.NewLevels(level)
	for pkg, name := range c.PackageLogLevels {
		level, err := logfmt.ParseLevel(name)
		if err != nil {
			return nil, err
		}
		levels.SetPackage(pkg, level)
	}
	return levels, nil
}

func (s *System) openDir(context.Context) error {
	if err := atomicfile.MkdirAll(s.dir(), 0o750); err != nil {
		return fmt.Errorf("making data directory: %w", err)
	}
	var err error
	if s.lock, err = LockDataDir(s.dir()); err != nil {
		return err
	}
	return backup.CheckRestored(s.dir())
}

// bind makes the listeners. From then on connections wait to be accepted.
func (s *System) bind(ctx context.Context) error {
	if s.opts.Offline {
		return nil
	}
	for _, e := range s.current().Endpoints {
		ln, err := s.opts.Listen(ctx, e.Network(), e.Addr.String())
		if err != nil {
			return fmt.Errorf("listening for %s: %w", e.Service, err)
		}
		s.bound = append(s.bound, Bound{e, ln})
	}
	return nil
}

// openKeys reads the key for connection ids, or makes it.
func (s *System) openKeys(context.Context) error {
	s.cids = cid.NewCounter(time.Now())
	path := s.dir(CIDKeyName)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if s.cidKey, err = cid.NewKey(s.opts.Rand); err != nil {
			return err
		}
		return atomicfile.WriteFile(path, s.cidKey[:], 0o640)
	} else if err != nil {
		return fmt.Errorf("reading key for connection ids: %w", err)
	}
	if s.cidKey, err = cid.ParseKey(text); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

func (s *System) openStores(ctx context.Context) error {
	var err error
	if s.logins, err = authdb.Open(s.dir("auth.db")); err != nil {
		return err
	}
	if s.policies, err = mtastsdb.Open(s.dir("mtasts.db")); err != nil {
		return err
	}
	if s.results, err = tlsrptdb.OpenResults(s.dir("tlsrptresult.db")); err != nil {
		return err
	}
	if err := s.openTrace(); err != nil {
		return err
	}
	counters, err := newStoreMetrics(s.registry)
	if err != nil {
		return err
	}
	background := context.WithoutCancel(ctx)
	opts := store.Options{
		Dir:           s.dir(),
		Log:           s.log.With("pkg", "store"),
		Faults:        s.opts.Faults,
		Rand:          s.opts.Rand,
		Removed:       func(accountID string) (bool, error) { return s.logins.IsRemoved(background, accountID) },
		QuotaSize:     func(account string) int64 { return s.current().QuotaSize(account) },
		QuotaMessages: func(account string) int64 { return s.current().QuotaMessages(account) },
		JunkRules:     func(account string) store.JunkRules { return junkRules(s.current(), account) },
		Observe:       counters.observe,

		JunkParams: func(account string) (junk.Params, bool) { return s.current().JunkParams(account) },
		CleanBytes: cleanBytes,
		Arrived:    s.arrived,
	}
	if s.opts.Local != nil {
		opts.SegmentSize = localSegment
	}
	if s.opts.Store != nil {
		s.opts.Store(&opts)
	}
	if s.accounts, err = store.Open(ctx, opts); err != nil {
		return err
	}
	return s.removeSpools()
}

// junkRules returns what a configuration says about marking mail of an account.
func junkRules(c *config.Config, account string) store.JunkRules {
	flags := c.JunkFlags(account)
	return store.JunkRules{
		Automatic: flags.Enabled, Junk: flags.Junk, Neutral: flags.Neutral, NotJunk: flags.NotJunk,
		KeepRejects: c.Dynamic.Accounts[account].KeepRejects,
	}
}

// removeSpools removes what a crash left of messages that were coming in. Nobody
// was promised anything about them.
func (s *System) removeSpools() error {
	left, err := filepath.Glob(s.dir("tmp", "receive-*"))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		return fmt.Errorf("removing messages left by a crash: %w", err)
	}
	return nil
}

// makeMail makes what mail goes through, in and out. None of it starts anything.
func (s *System) makeMail(ctx context.Context) error {
	if err := s.makeResolver(); err != nil {
		return err
	}
	var err error
	if s.opts.Roots == nil {
		if s.opts.Roots, err = roots(s.current().Authorities); err != nil {
			return err
		}
	}
	received := receive.Options{
		Store: s.accounts, Queue: s.queue, Config: s.current, Log: s.log, Registerer: s.registry, CIDKey: s.cidKey, TempDir: s.dir("tmp"),
		Thresholds: s.current().Thresholds(), Trace: s.trace,
	}
	submitted := submit.Options{
		Config: s.current, Accounts: s.accounts, Queue: s.queue, Log: s.log, Registerer: s.registry, CIDKey: s.cidKey, Rand: s.opts.Rand,
		Pedantic: s.opts.Pedantic || s.current().Static.Pedantic, Trace: s.trace,
	}
	if s.opts.Local == nil {
		received.Resolver = s.opts.Resolver
	} else {
		received.CatchAllAccount, received.Specials, received.Exempt = s.opts.Local.Account, true, netip.Addr.IsLoopback
		submitted.CatchAllAccount, submitted.Specials, submitted.Unlimited = s.opts.Local.Account, true, true
	}
	if s.receiver, err = receive.New(received); err != nil {
		return err
	}
	if s.submit, err = submit.New(submitted); err != nil {
		return err
	}
	if err := s.makePolicies(ctx); err != nil {
		return err
	}
	s.tlsResults = tlsrptdb.NewCollector(s.results, s.log.With("pkg", "tlsrptdb"))
	q := s.current().Queue()
	opts := delivery.Options{
		Queue: s.queue, Receiver: s.receiver, Resolver: s.opts.Resolver, Policies: s.policyCache, TLSResults: s.tlsResults, Roots: s.opts.Roots, Config: s.current, Log: s.log, Registerer: s.registry,
		CIDs: s.cids, Rand: s.opts.Rand, Panicked: s.panics.In("delivery"), Dial: s.opts.Dial, Port: s.opts.RemotePort, Schedule: s.schedule(),
		Workers: int(q.Deliveries + q.LocalDeliveries), Trace: s.trace,
	}
	if s.opts.Delivery != nil {
		s.opts.Delivery(&opts)
	}
	if s.delivery, err = delivery.New(opts); err != nil {
		return err
	}
	if err := s.makeHooks(); err != nil {
		return err
	}
	s.blocklists, err = newBlocklists(s)
	return err
}

// honoured are the extensions of SMTP that ask something of those who send a message
// on, and that delivery does what they ask for. The others must not be announced: a
// sender who asks for one and gets no refusal relies on it.
var honoured = smtp.Extensions{
	RequireTLS:    true,
	FutureRelease: true,
	DSN:           true,
}

// makeServers makes all that serves clients. None of them starts anything.
func (s *System) makeServers(context.Context) error {
	var err error
	exempt := func(netip.Addr) bool { return false }
	if s.opts.Local != nil {
		exempt = netip.Addr.IsLoopback
	}
	s.auth, err = auth.New(auth.Options{
		Config: s.current, Accounts: s.accounts, DB: s.logins, Log: s.log, Registerer: s.registry, Rand: s.opts.Rand,
		LoopbackExempt: s.opts.Local != nil, DecoyKey: s.decoyKey(),
	})
	if err != nil {
		return err
	}
	pedantic := s.opts.Pedantic || s.current().Static.Pedantic
	s.smtp, err = smtpserver.New(smtpserver.Options{
		Log: s.log, Receiver: s.receiver, Submitter: s.submit, Auth: s.auth, CIDs: s.cids, Opaque: s.cidKey.Seal,
		Registerer: s.registry, Panicked: s.panics.In("smtpserver"),
		Connections: ratelimit.NewConnections(connectionRate, connectionOpen, exempt), Exempt: exempt,
		Pedantic: pedantic, Product: product, Grace: s.opts.Grace, Extensions: honoured, Trace: s.trace,
	})
	if err != nil {
		return err
	}
	s.imap, err = imapserver.New(imapserver.Options{
		Log: s.log, Accounts: s.accounts, Auth: s.auth, CIDs: s.cids, Registerer: s.registry, Panicked: s.panics.In("imapserver"),
		Connections: ratelimit.NewConnections(connectionRate, connectionOpen, exempt),
		Pedantic:    pedantic, Version: s.opts.Version, Grace: s.opts.Grace,
		Canonical: func(a smtp.Address) smtp.Address { return s.current().Canonical(a) },
		AdminURI:  "mailto:postmaster@" + s.current().Static.Hostname,
		Inboxes:   func(account string) []string { return s.current().Inboxes(account) },
		Disabled:  func(account string) []string { return s.current().IMAPDisabled(account) },
	})
	if err != nil {
		return err
	}
	s.metrics, err = metrics.New(metrics.Options{Log: s.log, Registry: s.registry, Ready: s.ready})
	return err
}

// decoyKey returns the key for what unknown users are shown in place of a salt:
// the same after a restart, or it would tell them from users.
func (s *System) decoyKey() []byte {
	h := hmac.New(sha256.New, s.cidKey[:])
	h.Write([]byte("salts of unknown users"))
	return h.Sum(nil)
}

// ready tells whether connections are served and mail can be taken.
func (s *System) ready(context.Context) error {
	if !s.serving.Load() {
		return errors.New("stopping")
	}
	return errors.Join(s.accounts.Err(), s.queue.Err())
}

// Bound returns what the System listens on.
func (s *System) Bound() []Bound { return s.bound }

// Registry returns the metrics.
func (s *System) Registry() *prometheus.Registry { return s.registry }

// Accounts returns the store, for tests and commands that work on it directly.
func (s *System) Accounts() *store.Dir { return s.accounts }

// Queue returns the queue, likewise.
func (s *System) Queue() *queue.DB { return s.queue }

// Close closes everything that is open. Serve must have returned.
func (s *System) Close() error {
	var errs []error
	s.opts.Config.OnReload(nil)
	if s.endFetches != nil {
		errs = append(errs, s.endFetches()) // Serve has done so before, if it ran.
	}
	if s.keeper != nil {
		s.opts.Config.OnChange(nil)
	}
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	if s.accounts != nil {
		errs = append(errs, s.accounts.Close())
	}
	errs = append(errs, s.trace.Close())
	if s.results != nil {
		errs = append(errs, s.results.Close())
	}
	if s.policies != nil {
		errs = append(errs, s.policies.Close())
	}
	if s.logins != nil {
		errs = append(errs, s.logins.Close())
	}
	for _, b := range s.bound {
		if err := b.ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Unlock())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	return nil
}

// newGroup returns a group for work of the System. It counts and logs panics.
func (s *System) newGroup(ctx context.Context) *loop.Group {
	panicked := s.panics.In("system")
	return loop.New(ctx, func(p loop.Panic) {
		panicked()
		s.log.ErrorContext(ctx, "panic", "task", p.Name, "err", p.Value, "stack", string(p.Stack))
	})
}

//go:build unix

package crashtest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/system"
)

// server is what a whole System needs, beside its data.
type server struct {
	Config string // Path of mox.conf.
	Port   uint16 // Of the sink.
}

// userNames are the accounts of a System that get and send mail, beside those of
// the store. The first one sends; all are members of the alias list.
var userNames = []string{"alice", "bob", "carol"}

const (
	localDomain = "crash.example"
	password    = "correct horse"
)

// Messages that fail for now are tried again every second, the shortest wait there
// is, and none is given up.
const staticConfig = `DataDir: %s
LogLevel: error
Hostname: mx.crash.example
Listeners:
	local:
		IPs:
			- 127.0.0.1
		SMTP:
			Enabled: true
			NoSTARTTLS: true
		Submission:
			Enabled: true
			NoRequireSTARTTLS: true
Postmaster:
	Account: alice
	Mailbox: Postmaster
Queue:
	RetryWaits:
		- 1s
	RetryEvery: 1s
	GiveUpAfter: 24h
	NoticeAfter: -1s
`

const dynamicConfig = `Domains:
	crash.example:
		Aliases:
			list:
				Addresses:
					- alice@crash.example
					- bob@crash.example
					- carol@crash.example
				PostPublic: true
Accounts:
	alice:
		Domain: crash.example
		Destinations:
			alice@crash.example: nil
	bob:
		Domain: crash.example
		Destinations:
			bob@crash.example: nil
	carol:
		Domain: crash.example
		Destinations:
			carol@crash.example: nil
			queue-550@crash.example: nil
`

// sinkZone is what others have in the DNS.
const sinkZone = `remote.example. MX 10 sink.remote.example.
sink.remote.example. A 127.0.0.1
`

// writeConfig writes the configuration of a System with its data in dataDir.
func writeConfig(t *testing.T, dataDir string) (path string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"mox.conf": fmt.Sprintf(staticConfig, dataDir), "domains.conf": dynamicConfig} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "mox.conf")
}

// options returns those of a System. Its listeners are anywhere on loopback.
func (s server) options(log *os.File) (system.Options, error) {
	c, err := live.Open(s.Config, live.Options{})
	if err != nil {
		return system.Options{}, err
	}
	zone, err := dnstest.New(sinkZone)
	if err != nil {
		return system.Options{}, err
	}
	return system.Options{
		Config: c, Log: log, Resolver: zone, RemotePort: s.Port, Grace: time.Second,
		Local: &system.Local{Password: password}, // For no limits on loopback, and special addresses.
		Listen: func(ctx context.Context, network, _ string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
		},
		Store: func(o *store.Options) {
			as := storeOptions("", nil)
			o.SegmentSize, o.CleanBytes, o.DiskFree = as.SegmentSize, as.CleanBytes, as.DiskFree
		},
		Queue: func(o *queue.Options) {
			o.Local = func(domain string) bool { return domain == localDomain }
			o.DiskFree, o.LogSize, o.InlineMax = storeOptions("", nil).DiskFree, 256<<10, 16<<10
			o.KeepRetired = func(string) time.Duration { return 24 * time.Hour } // They tell of attempts.
		},
	}, nil
}

// running is a System that serves, in this process.
type running struct {
	*system.System
	cancel context.CancelFunc
	served chan error // Has one value when Serve has returned.
}

// run makes a System and serves. Who calls stops it.
func (s server) run(ctx context.Context, change func(*system.Options)) (*running, error) {
	opts, err := s.options(os.Stderr)
	if err != nil {
		return nil, err
	}
	if change != nil {
		change(&opts)
	}
	sys, err := system.New(ctx, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &running{System: sys, cancel: cancel, served: make(chan error, 1)}
	go func() { r.served <- sys.Serve(ctx) }()
	return r, nil
}

// stop stops serving. The stores stay open until Close.
func (r *running) stop() error {
	r.cancel()
	return <-r.served
}

// address returns where a service listens.
func (r *running) address(service config.Service) string {
	for _, b := range r.Bound() {
		if b.Service == service {
			return b.Address().String()
		}
	}
	return ""
}

// newSystem makes a store as newStore does, and what a System has beside it.
func newSystem(t *testing.T, dir string) *ledger {
	t.Helper()
	l := newStore(t, dir)
	sink := newSink(t)
	l.mail = newMailLedger(server{Config: writeConfig(t, dir), Port: sink.port()}, sink)
	if err := addUsers(t.Context(), dir, testLog(t)); err != nil {
		t.Fatal(err)
	}
	opts, err := l.mail.server.options(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	opts.Offline = true
	s, err := system.New(t.Context(), opts) // Makes the account that logs in.
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

// addUsers makes the accounts that don't log in: a password takes time to make.
func addUsers(ctx context.Context, dir string, log *slog.Logger) error {
	d, err := store.Open(ctx, storeOptions(dir, log))
	if err != nil {
		return err
	}
	for _, name := range userNames[1:] {
		a, err := d.Create(ctx, name, store.NewAccount{})
		if err != nil {
			return err
		}
		if err := a.Close(); err != nil {
			return err
		}
	}
	return d.Close()
}

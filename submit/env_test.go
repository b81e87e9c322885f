package submit

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// env is a Submitter with a store and a queue of its own. The accounts are
// alice, bob and mox.
type env struct {
	*Submitter
	t        *testing.T
	dir      string
	store    *store.Dir
	queue    *queue.DB
	log      *bytes.Buffer
	registry *prometheus.Registry
	free     int64 // What the disk has free for the queue.
	change   func(*Options)
}

var testConfig = config.Dynamic{
	Domains: map[string]config.Domain{
		"example.org": {LocalpartCatchallSeparator: "+", Aliases: map[string]config.Alias{
			"team": {Addresses: []string{"alice@example.org"}, AllowMsgFrom: true},
			"list": {Addresses: []string{"alice@example.org", "bob@example.org"}, PostPublic: true},
		}},
		"all.example":      {},
		"disabled.example": {Disabled: true},
		"bücher.example":   {},
	},
	Accounts: map[string]config.Account{
		"alice": {Domain: "example.org", Destinations: map[string]config.Destination{
			"alice@example.org": {}, "jürgen@bücher.example": {}, "x@disabled.example": {},
		}},
		"bob": {
			Domain: "example.org", MaxOutgoingMessagesPerDay: 10, MaxFirstTimeRecipientsPerDay: 3,
			Destinations: map[string]config.Destination{
				"bob@example.org": {}, "@all.example": {}, "gone@example.org": {SMTPError: "550 moved away"},
			},
		},
		"mox": {Domain: "example.org"},
	},
}

func newEnv(t *testing.T, change func(*Options)) *env {
	t.Helper()
	e := &env{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, free: 1 << 40, change: change}
	e.start()
	t.Cleanup(e.stop)
	for _, name := range []string{"alice", "bob", "mox"} {
		a, err := e.store.Create(t.Context(), name, store.NewAccount{})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// start opens all.
func (e *env) start() {
	e.t.Helper()
	discard := slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg, err := config.Check(config.Static{
		DataDir: e.dir, LogLevel: "info", Hostname: "mx.example.org", Postmaster: config.Postmaster{Account: "mox", Mailbox: "Postmaster"},
	}, testConfig, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if e.store, err = store.Open(e.t.Context(), store.Options{Dir: e.dir, Log: discard, SegmentSize: 4 << 20}); err != nil {
		e.t.Fatal(err)
	}
	e.queue, err = queue.Open(e.t.Context(), queue.Options{
		LogSize: 1 << 20, Dir: filepath.Join(e.dir, "queue"), Log: discard, Rand: rand.Reader, Schedule: queue.DefaultSchedule(), Local: cfg.DeliversHere,
		DiskFree: func() (int64, error) { return e.free, nil },
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.registry = prometheus.NewRegistry()
	opts := Options{
		Config: func() *config.Config { return cfg }, Accounts: e.store, Queue: e.queue, Log: slog.New(slog.NewTextHandler(e.log, nil)),
		Registerer: e.registry, Rand: zeros{},
	}
	if e.change != nil {
		e.change(&opts)
	}
	if e.Submitter, err = New(opts); err != nil {
		e.t.Fatal(err)
	}
}

// stop closes all.
func (e *env) stop() {
	e.t.Helper()
	if err := e.queue.Close(); err != nil && !errors.Is(err, queue.ErrClosed) {
		e.t.Error(err)
	}
	if err := e.store.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
		e.t.Error(err)
	}
}

// restart writes down what was sent, as Serve does at its end, and opens all anew.
func (e *env) restart() {
	e.t.Helper()
	ctx, cancel := context.WithCancel(e.t.Context())
	cancel()
	e.Serve(ctx)
	e.stop()
	e.start()
}

// zeros is a source of Message-IDs that are known before.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// begin returns a transaction of an account, from an address or the null sender.
func (e *env) begin(account, from string) *Transaction {
	e.t.Helper()
	tx := &Transaction{Size: -1, Peer: &Peer{
		CID: 255, Account: account, IP: netip.MustParseAddr("192.0.2.77"), Hostname: testHost, Protocol: "ESMTPSA",
	}}
	if from != "" {
		tx.MailFrom = path(e.t, from)
	}
	return tx
}

// path parses a path without brackets; "postmaster" has no domain.
func path(t *testing.T, s string) smtp.Path {
	t.Helper()
	r, err := smtp.ParseRcptTo("TO:<"+s+">", smtp.ParseOptions{})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return r.Path
}

// send goes through a whole transaction. The message has bare LF, which becomes
// CRLF. The error is the first.
func (e *env) send(tx *Transaction, content string, to ...string) ([]queue.Message, error) {
	e.t.Helper()
	if err := e.Sender(e.t.Context(), tx); err != nil {
		return nil, err
	}
	for _, rcpt := range to {
		p := path(e.t, rcpt)
		if err := e.Recipient(e.t.Context(), tx, p); err != nil {
			return nil, err
		}
		tx.Rcpts = append(tx.Rcpts, p)
	}
	content = strings.ReplaceAll(content, "\n", "\r\n")
	return e.Submit(e.t.Context(), tx, strings.NewReader(content), int64(len(content)))
}

// queued returns a message as it will be sent, with bare LF.
func (e *env) queued(m queue.Message) string {
	e.t.Helper()
	r, err := e.queue.OpenContent(e.t.Context(), m.ID)
	if err != nil {
		e.t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		e.t.Error(err)
	}
	if int64(len(b)) != m.Size {
		e.t.Errorf("message of %d bytes has size %d in the queue", len(b), m.Size)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// count returns how many messages wait in the queue.
func (e *env) count() (n int64) {
	for _, k := range e.queue.Stats().Messages {
		n += k
	}
	return n
}

// counted returns the results counted.
func (e *env) counted() map[string]float64 {
	e.t.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		e.t.Fatal(err)
	}
	results := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			results[m.GetLabel()[0].GetValue()] += m.GetCounter().GetValue()
		}
	}
	return results
}

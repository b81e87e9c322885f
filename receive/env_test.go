package receive

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// env is a Receiver with a store of its own. The accounts are alice, bob, carol
// and mox.
type env struct {
	*Receiver
	t     *testing.T
	store *store.Dir
	dir   string
	log   *bytes.Buffer
	quota map[string]int64 // Set before use.

	faults      *fault.Set // Of the store.
	queueFaults *fault.Set
	queued      int // Contents that were handed over.
}

var testConfig = config.Dynamic{
	Domains: map[string]config.Domain{
		"example.org": {
			LocalpartCatchallSeparators: []string{"+", "--"},
			Aliases: map[string]config.Alias{
				"list":    {Addresses: []string{"alice@example.org", "bob@example.org", "gone@example.org"}, PostPublic: true},
				"members": {Addresses: []string{"alice@example.org", "bob@example.org"}},
				"self":    {Addresses: []string{"alice@example.org"}, PostPublic: true},
				"nobody":  {Addresses: []string{"gone@example.org"}, PostPublic: true},
			},
		},
		"all.example":      {},
		"case.example":     {LocalpartCaseSensitive: true},
		"disabled.example": {Disabled: true},
		"bücher.example":   {},
	},
	Accounts: map[string]config.Account{
		"alice": {Domain: "example.org", Destinations: map[string]config.Destination{
			"alice@example.org": {}, "alice.too@example.org": {Mailbox: "Too"}, "jürgen@bücher.example": {},
		}},
		"bob": {Domain: "example.org", Destinations: map[string]config.Destination{
			"bob@example.org": {}, "Bob@case.example": {}, "x@disabled.example": {},
			"gone@example.org":  {SMTPError: "550 moved away"},
			"later@example.org": {SMTPError: "421 on holiday"},
		}},
		"carol": {Domain: "all.example", Destinations: map[string]config.Destination{"@all.example": {Mailbox: "All"}}},
		"mox":   {Domain: "example.org"},
	},
}

func newEnv(t *testing.T, change func(*Options)) *env {
	t.Helper()
	e := &env{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, quota: map[string]int64{}, faults: fault.New()}
	cfg, err := config.Check(config.Static{
		DataDir: e.dir, LogLevel: "info", Hostname: "mx.example.org", Postmaster: config.Postmaster{Account: "mox", Mailbox: "Postmaster"},
	}, testConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.store, err = store.Open(t.Context(), store.Options{
		Dir: e.dir, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), SegmentSize: 4 << 20, Faults: e.faults,
		QuotaSize: func(name string) int64 { return e.quota[name] },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.store.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range cfg.Accounts() {
		a, err := e.store.Create(t.Context(), name, store.NewAccount{})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	opts := Options{
		Store: e.store, Config: func() *config.Config { return cfg }, Log: slog.New(slog.NewTextHandler(e.log, nil)),
		Registerer: prometheus.NewRegistry(), TempDir: filepath.Join(e.dir, "tmp"),
	}
	if change != nil {
		change(&opts)
	}
	if e.Receiver, err = New(opts); err != nil {
		t.Fatal(err)
	}
	return e
}

// begin returns a transaction from a peer elsewhere.
func (e *env) begin(from string) *Transaction {
	tx := &Transaction{Peer: &Peer{
		CID: 255, IP: netip.MustParseAddr("192.0.2.1"), LocalIP: netip.MustParseAddr("2001:db8::25"), Hostname: domain(e.t, "mx.example.org"),
		Hello: smtp.Hello{Name: dns.IPDomain{Domain: domain(e.t, "client.example")}, Text: "client.example"}, Extended: true,
	}, Size: -1}
	if from != "" {
		tx.MailFrom = path(e.t, from)
	}
	return tx
}

// send resolves the recipients and delivers the message. The error is the first.
func (e *env) send(tx *Transaction, content string, to ...string) error {
	e.t.Helper()
	for _, rcpt := range to {
		r, err := e.Resolve(e.t.Context(), tx, path(e.t, rcpt))
		if err != nil {
			return err
		}
		tx.Rcpts = append(tx.Rcpts, r)
	}
	s := e.NewSpool(tx.Size)
	for b := []byte(content); len(b) > 0; {
		n := min(len(b), 10000)
		if _, err := s.Write(b[:n]); err != nil {
			e.t.Fatal(err)
		}
		b = b[n:]
	}
	err := e.Deliver(e.t.Context(), tx, s)
	if cerr := s.Close(); cerr != nil {
		e.t.Error(cerr)
	}
	if names, gerr := filepath.Glob(filepath.Join(e.dir, "tmp", "*")); gerr != nil || len(names) > 0 {
		e.t.Errorf("temporary files are left: %v, %v", names, gerr)
	}
	return err
}

// handover returns a message of the queue. Each recipient has its address and
// the key of its row, with a space between.
func (e *env) handover(from, content string, to ...string) Handover {
	e.t.Helper()
	e.queued++
	h := Handover{CID: 255, File: filepath.Join(e.dir, fmt.Sprint("queued-", e.queued)), Size: int64(len(content)), Prefix: []byte("Received: by x; now\r\n")}
	if from != "" {
		h.MailFrom = path(e.t, from)
	}
	if err := os.WriteFile(h.File, []byte(content), 0o600); err != nil {
		e.t.Fatal(err)
	}
	for _, s := range to {
		address, key, _ := strings.Cut(s, " ")
		h.To = append(h.To, HandoverRcpt{Path: path(e.t, address), Key: key})
	}
	return h
}

// handOver hands a message over, and returns the outcome of each recipient with
// the accounts that have a key for it.
func (e *env) handOver(h Handover) string {
	e.t.Helper()
	var list []string
	for _, res := range e.HandOver(e.t.Context(), h) {
		s := outcome(res.Err)
		for _, k := range res.Keys {
			s += " " + k.Account
		}
		list = append(list, s)
	}
	return strings.Join(list, ", ")
}

// withQueue is newEnv with a queue, of which the faults are those of the store.
func withQueue(t *testing.T) *env {
	t.Helper()
	faults := fault.New()
	db, err := queue.Open(t.Context(), queue.Options{
		LogSize: 1 << 20, Dir: filepath.Join(t.TempDir(), "queue"), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Rand: rand.Reader, Faults: faults,
		Schedule: queue.DefaultSchedule(), Local: func(domain string) bool { return strings.HasSuffix(domain, "example.org") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		failed := db.Err() != nil
		if err := db.Close(); err != nil && !failed {
			t.Error(err)
		}
	})
	e := newEnv(t, func(o *Options) { o.Queue = db })
	e.queueFaults = faults
	return e
}

// inQueue returns what the queue holds, with its content.
func (e *env) inQueue() (list []queue.Message, contents []string) {
	e.t.Helper()
	list, err := e.opts.Queue.List(e.t.Context(), queue.Filter{}, queue.Sort{By: "queued"})
	if err != nil {
		e.t.Fatal(err)
	}
	for i, m := range list {
		if list[i], err = e.opts.Queue.Get(e.t.Context(), m.ID); err != nil { // With its prefix.
			e.t.Fatal(err)
		}
		r, err := e.opts.Queue.OpenContent(e.t.Context(), m.ID)
		if err != nil {
			e.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			e.t.Fatal(err)
		}
		contents = append(contents, string(b))
	}
	return list, contents
}

// count returns the number of messages that accounts have in Inbox, for alice,
// bob and carol.
func (e *env) count() [3]int {
	e.t.Helper()
	return [3]int{len(e.mailbox("alice", "Inbox")), len(e.mailbox("bob", "Inbox")), len(e.mailbox("carol", "Inbox"))}
}

// got is a message as an account has it.
type got struct {
	prefix, content string
	email           store.Email
	flags           store.Flags
}

// mailbox returns the messages of a mailbox, none if it does not exist.
func (e *env) mailbox(account, name string) (list []got) {
	e.t.Helper()
	a, err := e.store.Account(e.t.Context(), account)
	if err != nil {
		e.t.Fatal(err)
	}
	defer a.Close()
	a.WaitDurable(e.t.Context())
	err = a.View(e.t.Context(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox(name)
		if err != nil {
			return nil
		}
		for uid := store.UID(1); uid < mb.UIDNext; uid++ {
			m, err := tx.Message(mb.ID, uid)
			if err != nil {
				return err
			}
			email, err := tx.Email(m.EmailID)
			if err != nil {
				return err
			}
			list = append(list, got{prefix: string(email.Prefix), email: email, flags: m.Flags()})
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	for i, g := range list {
		f, err := a.OpenMessage(g.email.ID)
		if err != nil {
			e.t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil {
			e.t.Fatal(err)
		}
		f.Close()
		list[i].content = string(b)
	}
	return list
}

func domain(t *testing.T, s string) dns.Domain {
	d, err := dns.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// path parses a path, with "postmaster" for the one without domain.
func path(t *testing.T, s string) smtp.Path {
	r, err := smtp.ParseRcptTo("TO:<"+s+">", smtp.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Path
}

package delivery

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// env is a Sender with queue, accounts and receiver of its own, in a bubble of
// virtual time. Other servers are peers, reached in memory. The accounts are alice
// and bob, our domain is example.org.
type env struct {
	*testing.T
	*Sender
	queue    *queue.DB
	store    *store.Dir
	registry *prometheus.Registry
	zone     *dnstest.Resolver
	peers    map[string]*peer // By address, with its port unless that is 25. Others refuse connections; nil ones don't answer.
	panics   int
	full     atomic.Bool // The disk of the accounts.
	hosts    policyHosts
	db       *mtastsdb.DB
	fetches  *loop.Group

	mu     sync.Mutex
	log    bytes.Buffer
	dialed []string // Addresses, in order.
	conns  sync.WaitGroup

	cancel context.CancelFunc
	served chan error
}

var testConfig = config.Dynamic{
	Domains: map[string]config.Domain{
		"example.org": {Aliases: map[string]config.Alias{
			"list":    {Addresses: []string{"alice@example.org", "bob@example.org"}, PostPublic: true},
			"private": {Addresses: []string{"bob@example.org"}, PostPublic: true},
		}},
		"disabled.example": {Disabled: true},
	},
	Accounts: map[string]config.Account{
		"alice": {Domain: "example.org", Destinations: map[string]config.Destination{"alice@example.org": {}, "älice@example.org": {}}},
		"bob":   {Domain: "example.org", Destinations: map[string]config.Destination{"bob@example.org": {}, "busy@example.org": {SMTPError: "421 on holiday"}, "gone@example.org": {SMTPError: "550 moved away"}}},
		"mox":   {Domain: "example.org"},
	},
}

// run runs a test with an env whose Sender serves.
func run(t *testing.T, test func(e *env), change ...func(*Options)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, change...)
		e.serve()
		defer e.close() // Also after Fatal: what runs would keep the bubble.
		test(e)
	})
}

func newEnv(t *testing.T, change ...func(*Options)) *env {
	t.Helper()
	dir := t.TempDir()
	e := &env{T: t, registry: prometheus.NewRegistry(), peers: map[string]*peer{}, cancel: func() {}}
	log := slog.New(slog.NewTextHandler(logWriter{e}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg, err := config.Check(config.Static{
		DataDir: dir, LogLevel: "info", Hostname: "mx.example.org", Postmaster: config.Postmaster{Account: "mox", Mailbox: "Postmaster"},
		Listeners: map[string]config.Listener{"public": {IPs: []string{"192.0.2.100"}, SMTP: config.SMTP{Enabled: true, NoSTARTTLS: true}}},
	}, testConfig, nil)
	check(t, err)
	e.zone, err = dnstest.New("", "other.example")
	check(t, err)
	e.store, err = store.Open(t.Context(), store.Options{
		Dir: dir, Log: log, SegmentSize: 4 << 20, QuotaSize: func(string) int64 { return 0 }, DiskFree: e.diskFree,
	})
	check(t, err)
	for _, name := range cfg.Accounts() {
		a, err := e.store.Create(t.Context(), name, store.NewAccount{})
		check(t, err)
		check(t, a.Close())
	}
	receiver, err := receive.New(receive.Options{
		Store: e.store, Config: func() *config.Config { return cfg }, Log: log, Registerer: e.registry, TempDir: filepath.Join(dir, "tmp"),
	})
	check(t, err)
	opts := Options{
		Receiver: receiver, Resolver: e.zone, Config: func() *config.Config { return cfg }, Log: log, Registerer: e.registry,
		Policies: e.policies(dir, log),
		CIDs:     cid.NewCounter(time.Now()), Rand: rand.Reader, Panicked: func() { e.panics++ }, Dial: e.dial, Schedule: testSchedule, Workers: 10,
	}
	e.queue, err = queue.Open(t.Context(), queue.Options{
		LogSize: 1 << 20, Dir: filepath.Join(dir, "queue"), Log: log, Rand: rand.Reader, Schedule: testSchedule,
		Local: func(domain string) bool { return domain == "example.org" },
	})
	check(t, err)
	opts.Queue = e.queue
	for _, f := range change {
		f(&opts)
	}
	e.Sender, err = New(opts)
	check(t, err)
	return e
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// diskFree returns how much room there is for accounts.
func (e *env) diskFree() (int64, error) {
	if e.full.Load() {
		return 0, nil
	}
	return 1 << 40, nil
}

// serve starts deliveries.
func (e *env) serve() {
	ctx, cancel := context.WithCancel(e.Context())
	e.cancel, e.served = cancel, make(chan error, 1)
	go func() { e.served <- e.Serve(ctx, 3*time.Second) }()
}

// stop stops them.
func (e *env) stop() {
	e.Helper()
	if e.served == nil {
		return
	}
	e.cancel()
	if err := <-e.served; err != nil {
		e.Errorf("serve: %v", err)
	}
	e.served = nil
}

// close stops everything, and checks that nothing went wrong.
func (e *env) close() {
	e.Helper()
	e.stop()
	e.conns.Wait()
	e.fetches.Stop()
	check(e.T, e.fetches.Wait(e.Context()))
	check(e.T, e.db.Close())
	check(e.T, e.queue.Close())
	check(e.T, e.store.Close())
	if e.panics != 0 {
		e.Errorf("%d panics:\n%s", e.panics, e.logged())
	}
}

// logWriter takes log lines.
type logWriter struct{ *env }

func (w logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (e *env) logged() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log.String()
}

// wantLog checks that a line of the log has all words.
func (e *env) wantLog(words ...string) {
	e.Helper()
next:
	for line := range strings.Lines(e.logged()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		return
	}
	e.Errorf("no line of the log has %q:\n%s", words, e.logged())
}

// dial connects to a peer.
func (e *env) dial(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp" {
		return nil, fmt.Errorf("dialing %s %s: %w", network, address, err)
	}
	host := ap.Addr().String()
	if ap.Port() != 25 {
		host = address
	}
	if want := ap.Addr().Is4() && !ap.Addr().IsLoopback(); want != local.IsValid() || want && local.String() != "192.0.2.100" {
		return nil, fmt.Errorf("dialing %s from %s", address, local)
	}
	e.mu.Lock()
	e.dialed = append(e.dialed, host)
	p, ok := e.peers[host]
	e.mu.Unlock()
	if !ok {
		return nil, errors.New("connection refused")
	}
	if p == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	e.conns.Go(func() { p.serve(server) })
	return client, nil
}

// records adds records to the DNS, separated by "; ".
func (e *env) records(text string) {
	e.Helper()
	check(e.T, e.zone.Set(strings.ReplaceAll(text, "; ", "\n")))
}

// dials returns the addresses dialed since the last call.
func (e *env) dials() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := strings.Join(e.dialed, " ")
	e.dialed = nil
	return s
}

const testContent = "From: <alice@example.org>\r\nSubject: greetings\r\nMessage-ID: <1@example.org>\r\n\r\nHello,\r\n.\r\nbye\r\n"

// newMessage returns a message of alice to recipients.
func newMessage(to ...string) queue.New {
	n := queue.New{Account: "alice", MailFrom: mustPath("alice@example.org"), MessageID: "<1@example.org>", Subject: "greetings"}
	for _, rcpt := range to {
		n.To = append(n.To, queue.NewRcpt{Path: mustPath(rcpt), Prefix: []byte("Received: by test\r\n")})
	}
	return n
}

func mustPath(s string) smtp.Path {
	p, err := queue.Path(s)
	if err != nil {
		panic(err)
	}
	return p
}

// send queues a message.
func (e *env) send(n queue.New) []queue.Message {
	e.Helper()
	return e.sendContent(n, testContent)
}

// sendContent queues a message with another content.
func (e *env) sendContent(n queue.New, content string) []queue.Message {
	e.Helper()
	c, err := e.queue.NewContent(e.Context(), int64(len(content)), strings.NewReader(content))
	check(e.T, err)
	n.Content = c
	list, err := e.queue.Add(e.Context(), n)
	check(e.T, err)
	return list
}

// wait waits until all is done that can be done now.
func (e *env) wait() { synctest.Wait() }

// settle lets d pass, and waits until all is done.
func (e *env) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// settleHandovers waits until hand-overs are recorded. The queue lets that wait for
// other changes.
func (e *env) settleHandovers() { e.settle(time.Second) }

// get returns a message of the queue.
func (e *env) get(id int64) queue.Message {
	e.Helper()
	m, err := e.queue.Get(e.Context(), id)
	check(e.T, err)
	return m
}

// left returns how many messages are in the queue.
func (e *env) left() (n int64) {
	for _, count := range e.queue.Stats().Messages {
		n += count
	}
	return n
}

// inbox returns the messages of an account's Inbox.
func (e *env) inbox(account string) []string {
	e.Helper()
	list, _ := e.mailbox(account, "Inbox")
	return list
}

// mailbox returns the messages of a mailbox, and how many of them were not seen.
func (e *env) mailbox(account, name string) (list []string, unseen int) {
	e.Helper()
	a, err := e.store.Account(e.Context(), account)
	check(e.T, err)
	defer a.Close()
	a.WaitDurable(e.Context())
	var emails []store.Email
	err = a.View(e.Context(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox(name)
		if err != nil {
			return err
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
			if m.Flags()&store.FlagSeen == 0 {
				unseen++
			}
			emails = append(emails, email)
		}
		return nil
	})
	check(e.T, err)
	for _, email := range emails {
		f, err := a.OpenMessage(email.ID)
		check(e.T, err)
		b, err := io.ReadAll(f)
		f.Close()
		check(e.T, err)
		list = append(list, string(b))
	}
	return list, unseen
}

// notices returns the notifications in an account's Inbox, as "action status
// recipient", sorted.
func (e *env) notices(account string) (list []string) {
	e.Helper()
	for _, content := range e.inbox(account) {
		r := parseNotice(e.T, content)
		if r == nil {
			continue
		}
		for _, s := range r.Recipients {
			list = append(list, fmt.Sprintf("%s %s %s", s.Action, s.Code, s.Final.Text))
		}
	}
	slices.Sort(list)
	return list
}

// parseNotice returns a notification, nil for other messages.
func parseNotice(t *testing.T, content string) *dsn.Report {
	t.Helper()
	p, err := message.Parse(strings.NewReader(content), int64(len(content)))
	check(t, err)
	r, err := dsn.Parse(strings.NewReader(content), &p)
	if errors.Is(err, dsn.ErrNotDSN) {
		return nil
	}
	check(t, err)
	return r
}

// wantNotices checks what alice was told.
func (e *env) wantNotices(want ...string) {
	e.Helper()
	if got := e.notices("alice"); !slices.Equal(got, want) {
		e.Errorf("got notifications %q, want %q", got, want)
	}
}

// counter returns the sum of a metric over the labels, "name=value".
func (e *env) counter(name string, labels ...string) (sum float64) {
	e.Helper()
	families, err := e.registry.Gather()
	check(e.T, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			have := map[string]bool{}
			for _, p := range m.GetLabel() {
				have[p.GetName()+"="+p.GetValue()] = true
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !have[l] }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/tlsrptdb"
	"github.com/mjl-/mox/trace"
)

// world is a server's files, open as a server has them.
type world struct {
	t        testing.TB
	dir      string // Has config/ and data/.
	change   func(*Options)
	faults   *fault.Set
	store    *store.Dir
	queue    *queue.DB
	logins   *authdb.DB
	policies *mtastsdb.DB
	results  *tlsrptdb.ResultDB
	trace    *trace.Log
	backup   *Backup
	log      *syncBuffer
	metrics  *prometheus.Registry

	mu    sync.Mutex
	notes []Note
}

// accountNames are the accounts of a world, and of its configuration.
var accountNames = []string{"a", "b"}

// newWorld makes a world with accounts. What is open at the end is closed.
func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), change: change}
	must(t, os.Mkdir(filepath.Join(w.dir, "config"), 0o750))
	writeConfig(t, filepath.Join(w.dir, "config"))
	w.start()
	for _, name := range accountNames {
		a, err := w.store.Create(t.Context(), name, store.NewAccount{})
		must(t, err)
		must(t, a.Close())
	}
	t.Cleanup(func() {
		if w.store != nil {
			w.stop()
		}
	})
	return w
}

// writeConfig writes the two files of a configuration with example.org.
func writeConfig(t testing.TB, dir string) {
	t.Helper()
	static := "DataDir: ../data\nLogLevel: info\nHostname: mail.example.org\n" +
		"Listeners:\n\tpublic:\n\t\tIPs:\n\t\t\t- 127.0.0.1\nPostmaster:\n\tAccount: a\n\tMailbox: Inbox\n"
	dynamic := "Domains:\n\texample.org: nil\nAccounts:\n"
	for _, name := range accountNames {
		dynamic += fmt.Sprintf("\t%s:\n\t\tDomain: example.org\n\t\tDestinations:\n\t\t\t%[1]s@example.org: nil\n", name)
	}
	must(t, os.WriteFile(filepath.Join(dir, config.StaticName), []byte(static), 0o640))
	must(t, os.WriteFile(filepath.Join(dir, config.DynamicName), []byte(dynamic), 0o640))
}

func (w *world) data(elem ...string) string {
	return filepath.Join(append([]string{w.dir, "data"}, elem...)...)
}

// queueOptions are for the queue of a data directory.
func queueOptions(dir string, log *slog.Logger) queue.Options {
	return queue.Options{
		Dir: filepath.Join(dir, "queue"), Log: log, Rand: rand.Reader, Schedule: queue.DefaultSchedule(),
		Local: func(domain string) bool { return domain == "example.org" },
	}
}

// start opens the files, and makes them if they are not there.
func (w *world) start() {
	w.t.Helper()
	w.log, w.faults, w.metrics = &syncBuffer{}, fault.New(), prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(w.log, nil))
	must(w.t, os.MkdirAll(w.data(), 0o750))
	if _, err := os.Stat(w.data("receivedid.key")); err != nil {
		must(w.t, os.WriteFile(w.data("receivedid.key"), []byte(cidKey), 0o640))
	}
	var err error
	w.logins, err = authdb.Open(w.data("auth.db"))
	must(w.t, err)
	w.policies, err = mtastsdb.Open(w.data(policiesName))
	must(w.t, err)
	w.results, err = tlsrptdb.OpenResults(w.data(tlsResultsName))
	must(w.t, err)
	w.trace, err = trace.Open(trace.Options{Dir: w.data(tracesName), KeepFor: 24 * time.Hour, SizeMax: 1 << 20, Log: log})
	must(w.t, err)
	w.store, err = store.Open(w.t.Context(), store.Options{Dir: w.data(), Log: log, SegmentSize: 4 << 20, Faults: w.faults})
	must(w.t, err)
	opts := queueOptions(w.data(), log)
	opts.Faults = w.faults
	w.queue, err = queue.Open(w.t.Context(), opts)
	must(w.t, err)
	w.open(log)
}

// open makes the Backup.
func (w *world) open(log *slog.Logger) {
	w.t.Helper()
	c, err := live.Open(filepath.Join(w.dir, "config", config.StaticName), live.Options{WithoutKeys: true})
	must(w.t, err)
	opts := Options{
		Config: c, Accounts: w.store, Queue: w.queue, Logins: w.logins, Policies: w.policies, TLSResults: w.results, DataDir: w.data(), Log: log, Version: "v1.2.3", Registerer: w.metrics,
	}
	if w.change != nil {
		w.change(&opts)
	}
	w.backup, err = New(opts)
	must(w.t, err)
}

// stop closes the files and verifies them.
func (w *world) stop() {
	w.t.Helper()
	must(w.t, errors.Join(w.queue.Close(), w.store.Close(), w.policies.Close(), w.results.Close(), w.trace.Close(), w.logins.Close()))
	w.store = nil
}

// run makes a backup, with the context of the test.
func (w *world) run(dest string) (Result, error) {
	return w.runContext(w.t.Context(), dest)
}

func (w *world) runContext(ctx context.Context, dest string) (Result, error) {
	w.mu.Lock()
	w.notes = nil
	w.mu.Unlock()
	return w.backup.Run(ctx, dest, func(n Note) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.notes = append(w.notes, n)
	})
}

// complete makes a backup that must be complete, and returns where it is.
func (w *world) complete() (string, Result) {
	w.t.Helper()
	dest := filepath.Join(w.t.TempDir(), "backup")
	res, err := w.run(dest)
	if err != nil || !res.Complete || len(res.Problems) > 0 {
		w.t.Fatalf("got %+v, %v", res, err)
	}
	return dest, res
}

// warnings are those of the last backup, a line each.
func (w *world) warnings() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, n := range w.notes {
		if n.Warning {
			fmt.Fprintln(&b, n.Message)
		}
	}
	return b.String()
}

// deliver delivers text to Inbox of accounts.
func (w *world) deliver(text string, names ...string) error {
	analysis, err := store.Analyze(strings.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	dl := store.Delivery{Content: w.store.ContentBytes([]byte(text)), Analysis: analysis, Received: time.Now()}
	for _, name := range names {
		a, err := w.store.Account(w.t.Context(), name)
		if err != nil {
			return err
		}
		defer a.Close()
		dl.To = append(dl.To, store.Recipient{Account: a})
	}
	return w.store.Deliver(w.t.Context(), dl)
}

// hand delivers to an account with a key, as the queue does.
func (w *world) hand(key, name string) error {
	a, err := w.store.Account(w.t.Context(), name)
	if err != nil {
		return err
	}
	defer a.Close()
	text := message(100)
	analysis, err := store.Analyze(strings.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	defer a.WaitDurable(w.t.Context())
	return w.store.Deliver(w.t.Context(), store.Delivery{
		Content: w.store.ContentBytes([]byte(text)), Analysis: analysis, Received: time.Now(), To: []store.Recipient{{Account: a, Key: key}},
	})
}

// add queues text for recipients.
func (w *world) add(text string, rcpts ...string) error {
	c, err := w.queue.NewContent(w.t.Context(), int64(len(text)), strings.NewReader(text))
	if err != nil {
		return err
	}
	n := queue.New{Account: "a", Content: c, MessageID: "<id@example.org>"}
	if n.MailFrom, err = queue.Path("a@example.org"); err != nil {
		return err
	}
	for _, rcpt := range rcpts {
		to := queue.NewRcpt{}
		if to.Path, err = queue.Path(rcpt); err != nil {
			return err
		}
		n.To = append(n.To, to)
	}
	_, err = w.queue.Add(w.t.Context(), n)
	return err
}

// inbox returns the texts in Inbox of an account, and its UIDVALIDITY.
func (w *world) inbox(name string) (texts []string, uidValidity uint32) {
	w.t.Helper()
	a, err := w.store.Account(w.t.Context(), name)
	must(w.t, err)
	defer a.Close()
	a.WaitDurable(w.t.Context())
	err = a.View(w.t.Context(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		uidValidity = mb.UIDValidity
		for uid := store.UID(1); uid < mb.UIDNext; uid++ {
			m, err := tx.Message(mb.ID, uid)
			if errors.Is(err, store.ErrExpunged) {
				continue
			} else if err != nil {
				return err
			}
			f, err := a.OpenMessage(m.EmailID)
			if err != nil {
				return err
			}
			text, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			texts = append(texts, string(text))
		}
		return nil
	})
	must(w.t, err)
	return texts, uidValidity
}

// queued describes the messages in the queue: recipient and state.
func (w *world) queued() string {
	w.t.Helper()
	list, err := w.queue.List(w.t.Context(), queue.Filter{}, queue.Sort{})
	must(w.t, err)
	var s []string
	for _, m := range list {
		s = append(s, m.Rcpt+" "+string(m.State))
	}
	slices.Sort(s)
	return strings.Join(s, ", ")
}

// verify fails unless a data directory that nobody has open is whole.
func verify(t testing.TB, dir string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	must(t, store.Verify(t.Context(), store.Options{Dir: dir, Log: log}, store.VerifyOptions{
		Content: true, Temp: t.TempDir(), Report: func(p store.Problem) { t.Errorf("%s: %v", dir, p) },
	}))
	for _, err := range queue.CheckDir(t.Context(), queueOptions(dir, log)) {
		t.Errorf("%s: queue: %v", dir, err)
	}
}

// restored restores a backup beside it, opens it and returns it.
func (w *world) restored(backup string) (*world, Restored) {
	w.t.Helper()
	r := &world{t: w.t, dir: w.t.TempDir()}
	opts := restoreOptions(w.t, backup, r.data())
	opts.ConfigDir = filepath.Join(r.dir, "config")
	res, err := Restore(w.t.Context(), opts)
	if err != nil || len(res.Problems) > 0 {
		w.t.Fatalf("restoring: got %+v, %v", res, err)
	}
	verify(w.t, r.data())
	r.start()
	w.t.Cleanup(func() {
		if r.store != nil {
			r.stop()
		}
	})
	return r, res
}

// restoreOptions are for restoring without a word.
func restoreOptions(t testing.TB, backup, data string) RestoreOptions {
	return RestoreOptions{
		Backup: backup, DataDir: data, Log: slog.New(slog.DiscardHandler), Note: func(Note) {},
		Lock: func(dir string) (func() error, error) {
			if _, err := os.Stat(dir); err != nil {
				t.Errorf("locked is what is not there: %v", err)
			}
			return func() error { return nil }, nil
		},
	}
}

// filesOf returns the contents of all files below dir.
func filesOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(text)
		return err
	})
	must(t, err)
	return files
}

// metric returns the value of a metric, with this value of its label if it has one.
func (w *world) metric(name, label string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	must(w.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	w.t.Errorf("no metric %s %s", name, label)
	return 0
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// cidKey has the size that it must have.
const cidKey = "0123456789abcdef01234567"

func message(n int) string {
	return fmt.Sprintf("From: <x@example.org>\r\nSubject: %d\r\n\r\ntext\r\n", n)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

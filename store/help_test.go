package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/internal/fault"
)

// world is a data directory that a test opens, crashes and opens again.
type world struct {
	t      testing.TB
	dir    string
	change func(*Options)
	faults *fault.Set
	armed  func(*fault.Set) // Called before the store opens; may be nil.
	broken bool             // What is there when it stops is not whole.
	d      *Dir
	open   map[string]*Account
}

// newWorld makes a data directory with accounts. What is open at the end is
// checked and closed.
func newWorld(t testing.TB, change func(*Options), accounts ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), change: change}
	w.start()
	for _, name := range accounts {
		a, err := w.d.Create(t.Context(), name, NewAccount{})
		if err != nil {
			t.Fatal(err)
		}
		w.open[name] = a
	}
	t.Cleanup(func() {
		if w.d != nil {
			check(t, w.d)
			w.stop()
		}
	})
	return w
}

// start opens the directory.
func (w *world) start() {
	w.t.Helper()
	w.faults = fault.New()
	if w.armed != nil {
		w.armed(w.faults)
	}
	w.open = map[string]*Account{}
	w.d = testDir(w.t, w.dir, func(o *Options) {
		o.Faults = w.faults
		if w.change != nil {
			w.change(o)
		}
	})
}

// stop closes what is open.
func (w *world) stop() {
	w.t.Helper()
	for _, a := range w.open {
		if err := a.Close(); err != nil {
			w.t.Error(err)
		}
	}
	if err := w.d.Close(); err != nil {
		w.t.Error(err)
	}
	w.d = nil
	for line := range strings.Lines(verify(w.t, w.dir, w.change)) {
		if w.broken {
			break
		}
		if !strings.Contains(line, "could not be applied") && !strings.HasPrefix(line, "warning: ") {
			w.t.Errorf("stopped: %s", line)
		}
	}
}

// restart closes and opens.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

// account returns an open account.
func (w *world) account(name string) *Account {
	w.t.Helper()
	if a := w.open[name]; a != nil {
		return a
	}
	a, err := w.d.Account(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.open[name] = a
	return a
}

// analysis returns that of a content.
func analysis(t testing.TB, content []byte) Analysis {
	t.Helper()
	an, err := Analyze(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return an
}

// deliver delivers to Inbox of accounts.
func (w *world) deliver(content []byte, names ...string) {
	w.t.Helper()
	var to []*Account
	for _, name := range names {
		to = append(to, w.account(name))
	}
	if err := deliver(w.t, w.d, content, "", to...); err != nil {
		w.t.Fatal(err)
	}
}

// deliverFile is deliver with the content in a file of the journal.
func (w *world) deliverFile(content []byte, names ...string) error {
	w.t.Helper()
	c, err := w.d.ContentFile(w.t.Context(), int64(len(content)), bytes.NewReader(content))
	if err != nil {
		return err
	}
	an, err := Analyze(c.ReaderAt(), c.Size())
	if err != nil {
		w.t.Fatal(err)
	}
	dl := Delivery{Content: c, Analysis: an, Received: time.Now()}
	for _, name := range names {
		dl.To = append(dl.To, Recipient{Account: w.account(name)})
	}
	return errors.Join(w.d.Deliver(w.t.Context(), dl), c.Discard())
}

// hold makes the next hit of a fault point wait. reached is closed when it does;
// release lets it and all later ones go on with an error or none.
func (w *world) hold(point string) (reached <-chan struct{}, release func(error)) {
	at, free := make(chan struct{}), make(chan struct{})
	var once, freeOnce sync.Once
	var result error
	w.faults.Arm(point, func() error {
		once.Do(func() { close(at) })
		<-free
		return result
	})
	release = func(err error) {
		freeOnce.Do(func() {
			result = err
			w.faults.Disarm(point)
			close(free)
		})
	}
	w.t.Cleanup(func() { release(nil) })
	return at, release
}

// crashed returns a world as a kill -9 would leave this one now. It must not
// write meanwhile.
func (w *world) crashed() *world {
	w.t.Helper()
	c := &world{t: w.t, dir: w.t.TempDir(), change: w.change}
	if err := os.CopyFS(c.dir, os.DirFS(w.dir)); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if c.d != nil {
			check(w.t, c.d)
			c.stop()
		}
	})
	return c
}

// inbox returns the contents of an account's Inbox.
func (w *world) inbox(name string) []string {
	w.t.Helper()
	return contents(w.t, w.account(name), "Inbox")
}

// wantInbox fails unless the Inbox has these contents, in this order, after
// their prefixes.
func (w *world) wantInbox(name string, want ...[]byte) {
	w.t.Helper()
	got := w.inbox(name)
	for range 20 { // A wait is at most a second, which a busy machine may pass.
		if len(got) >= len(want) || w.account(name).isFailing() {
			break
		}
		got = w.inbox(name)
	}
	if len(got) != len(want) {
		w.t.Fatalf("account %s has %d messages, want %d", name, len(got), len(want))
	}
	for i := range want {
		if !bytes.HasSuffix([]byte(got[i]), want[i]) {
			w.t.Errorf("account %s, message %d: got %.200q, want %.200q", name, i, got[i], want[i])
		}
	}
}

// files returns the names in a directory below the data directory.
func (w *world) files(path ...string) []string {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(append([]string{w.dir}, path...)...))
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// email returns the Email of the nth message of Inbox, from 0.
func (w *world) email(name string, n int) Email {
	w.t.Helper()
	a := w.account(name)
	a.WaitDurable(w.t.Context())
	var e Email
	err := a.View(w.t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		uids, err := tx.uids(mb.ID)
		if err != nil {
			return err
		}
		m, err := tx.Message(mb.ID, uids[n])
		if err != nil {
			return err
		}
		e, err = tx.Email(m.EmailID)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// stick makes applying to an account fail as a broken disk would. mend ends it.
func (w *world) stick(name string) (mend func()) {
	w.t.Helper()
	msg := filepath.Join(w.dir, "accounts", name, "msg")
	if err := errors.Join(os.Rename(msg, msg+".away"), os.WriteFile(msg, nil, 0o600)); err != nil {
		w.t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := errors.Join(os.Remove(msg), os.Rename(msg+".away", msg)); err != nil {
			w.t.Error(err)
		}
	})
}

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// expunge removes messages of Inbox.
func expunge(t testing.TB, a *Account, uids ...UID) {
	t.Helper()
	err := a.Update(context.WithoutCancel(t.Context()), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		_, err = tx.Expunge(&mb, uids)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// readFile returns the content of a file.
func readFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	return string(data), err
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRule12Target: between accept and apply the mailbox may have moved.
func TestRule12Target(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(tx *Tx) error
		want   string // Where it goes.
	}{
		{"nothing has changed for it", func(tx *Tx) error { return tx.Subscribe("Inbox/x") }, "Lists/go"},
		{"renamed", func(tx *Tx) error { return tx.RenameMailbox("Lists/go", "Other") }, "Other"},
		{"its parent renamed", func(tx *Tx) error { return tx.RenameMailbox("Lists", "Other") }, "Other/go"},
		{"deleted", func(tx *Tx) error { return tx.DeleteMailbox("Lists/go") }, "Lists/go"},
		{"deleted and made again", func(tx *Tx) error {
			if err := tx.DeleteMailbox("Lists/go"); err != nil {
				return err
			}
			_, err := tx.CreateMailbox("Lists/go", UseNone)
			return err
		}, "Lists/go"},
		{"renamed, and another has its name", func(tx *Tx) error {
			if err := tx.RenameMailbox("Lists/go", "Other"); err != nil {
				return err
			}
			_, err := tx.CreateMailbox("Lists/go", UseNone)
			return err
		}, "Other"},
		{"deleted with its parent", func(tx *Tx) error {
			return errors.Join(tx.DeleteMailbox("Lists/go"), tx.DeleteMailbox("Lists"))
		}, "Lists/go"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a")
			a := w.account("a")
			err := a.Update(t.Context(), func(tx *Tx) error {
				_, err := tx.CreateMailbox("Lists/go", UseNone)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			// The change is in the transaction after that of the held commit, which has
			// only this record: the next deliveries come behind the change.
			reached, release := w.hold(FaultCommitBefore)
			changed := make(chan error)
			go func() { changed <- a.Update(t.Context(), func(tx *Tx) error { return tc.change(tx) }) }()
			<-reached
			msg := testMessage(0, "x")
			if err := deliver(t, w.d, msg, "Lists/go", a); err != nil {
				t.Fatal(err)
			}
			release(nil)
			if err := <-changed; err != nil {
				t.Fatal(err)
			}
			if got := contents(t, a, tc.want); len(got) != 1 || !bytes.HasSuffix([]byte(got[0]), msg) {
				t.Errorf("%s has %q", tc.want, got)
			}
		})
	}
}

// TestRule12Missing: a mailbox that never was is made, with its parents.
func TestRule12Missing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	for range 3 {
		if err := deliver(t, w.d, testMessage(0, "x"), "New/sub/box", a); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(contents(t, a, "New/sub/box")); n != 3 {
		t.Errorf("%d messages", n)
	}
	// It is found by id from now on.
	a.mu.Lock()
	ids := fmt.Sprint(len(a.boxes), a.boxes["New/sub/box"] > 0, a.boxes["New"] > 0)
	a.mu.Unlock()
	if ids != "4 true true" {
		t.Errorf("boxes: %s", ids)
	}
}

// TestRule12Accounts: records for an account that was removed are dropped, those
// for one that nobody knows are kept.
func TestRule12Accounts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		lose func(c *world) // What happens to account b.
		kept int
	}{
		{"removed", func(c *world) {
			c.change = func(o *Options) { o.Removed = func(string) (bool, error) { return true, nil } }
		}, 0},
		{"gone", func(*world) {}, 2},
		{"gone, others were removed", func(c *world) {
			c.change = func(o *Options) { o.Removed = func(id string) (bool, error) { return id == "other", nil } }
		}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a", "b")
			reached, release := w.hold(FaultApplied)
			inline, large := testMessage(0, "x"), testMessage(1, "y")
			w.deliver(inline, "a", "b")
			if err := w.deliverFile(large, "a", "b"); err != nil {
				t.Fatal(err)
			}
			<-reached
			c := w.crashed()
			release(nil)
			if err := os.RemoveAll(filepath.Join(c.dir, "accounts", "b")); err != nil {
				t.Fatal(err)
			}
			tc.lose(c)
			for range 2 {
				c.start()
				c.wantInbox("a", inline, large)
				var names []string
				for _, name := range c.files("journal", "failed") {
					if !strings.HasSuffix(name, ".content") {
						names = append(names, name)
					}
				}
				if len(names) != tc.kept {
					t.Errorf("failed has %v", names)
				}
				c.stop()
			}
		})
	}
}

// TestRule12AskingFails: without an answer the store does not open.
func TestRule12AskingFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	w.deliver(testMessage(0, "x"), "a")
	w.account("a").WaitDurable(t.Context())
	w.stop()
	if err := os.RemoveAll(filepath.Join(w.dir, "accounts", "a")); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	d, err := Open(t.Context(), Options{Dir: w.dir, Log: testLog(t), SegmentSize: 1 << 20, Removed: func(string) (bool, error) { return false, boom }})
	if !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if err == nil {
		t.Error(d.Close())
	}
}

// TestRemove: intake stops, what was accepted is applied, sessions are told, then
// everything goes; the name can be used again.
func TestRemove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	a := w.account("a")
	id := a.ID()
	reached, release := w.hold(FaultApplied)
	w.deliver(testMessage(0, "x"), "a", "b")
	<-reached
	failed := filepath.Join(w.dir, "journal", "failed", "9-"+id+"-9")
	if err := errors.Join(os.WriteFile(failed, nil, 0o600), os.WriteFile(failed+".content", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	removed := make(chan error)
	go func() { removed <- w.d.Remove(t.Context(), "a", a.ID()) }()
	eventually(t, "intake stops", func() bool { return errors.Is(deliver(t, w.d, testMessage(1, "x"), "", a), ErrNoAccount) })
	if _, err := w.d.Account(t.Context(), "a"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("opening: got %v", err)
	}
	if err := w.d.Remove(t.Context(), "a", id); !errors.Is(err, ErrNoAccount) {
		t.Errorf("removing twice: got %v", err)
	}
	select {
	case err := <-removed:
		t.Errorf("removed before its records are applied: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	release(nil)
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if err := a.View(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("viewing: got %v", err)
	}
	if err := a.Update(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("updating: got %v", err)
	}
	if _, err := a.Stage(t.Context(), 1, strings.NewReader("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("staging: got %v", err)
	}
	if err := w.d.EraseRemoved(t.Context(), id); err != nil {
		t.Error(err)
	}
	for _, left := range [][]string{w.files("journal", "failed"), w.files("tmp")} {
		if len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	if names, err := w.d.Accounts(); err != nil || fmt.Sprint(names) != "[b]" {
		t.Errorf("accounts are %v, %v", names, err)
	}
	delete(w.open, "a")
	again, err := w.d.Create(t.Context(), "a", NewAccount{})
	if err != nil {
		t.Fatal(err)
	}
	w.open["a"] = again
	if again.ID() == id {
		t.Error("the new account has the id of the old one")
	}
	w.wantInbox("a")
	w.wantInbox("b", testMessage(0, "x"))
	// Records of the old one are still in the journal.
	w.change = func(o *Options) { o.Removed = func(of string) (bool, error) { return of == id, nil } }
	w.restart()
	w.wantInbox("a")
	if err := errors.Join(w.d.Remove(t.Context(), "a", id), w.d.EraseRemoved(t.Context(), id)); err != nil {
		t.Errorf("removing what is not there any more: got %v", err)
	}
	w.wantInbox("a")
}

// TestRemoveWithDeliveryUnderWay: a delivery that is being written when its
// account is removed ends in order.
func TestRemoveWithDeliveryUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Removed = func(string) (bool, error) { return true, nil } }, "a", "b")
	a, b := w.account("a"), w.account("b")
	reached, release := w.hold("journal: batch, before it is written")
	delivered := make(chan error)
	go func() { delivered <- deliver(t, w.d, testMessage(0, "x"), "", a, b) }()
	<-reached
	removed := make(chan error)
	go func() { removed <- w.d.Remove(t.Context(), "a", a.ID()) }()
	select {
	case err := <-removed:
		t.Errorf("removed with a delivery under way: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	release(nil)
	if err := errors.Join(<-delivered, <-removed); err != nil {
		t.Error(err)
	}
	delete(w.open, "a")
	w.wantInbox("b", testMessage(0, "x"))
}

// TestAccountNames: a name is a file name everywhere.
func TestAccountNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	for _, name := range []string{"", "..", ".a", "a.", "A", "a/b", "a b", "ä", "-a", strings.Repeat("x", 65), "a\x00"} {
		if _, err := w.d.Create(t.Context(), name, NewAccount{}); !errors.Is(err, ErrAccountName) {
			t.Errorf("creating %q: got %v", name, err)
		}
		if _, err := w.d.Account(t.Context(), name); !errors.Is(err, ErrNoAccount) {
			t.Errorf("opening %q: got %v", name, err)
		}
	}
	for _, name := range []string{"b", "a.b-c_d", "0", strings.Repeat("x", 64)} {
		a, err := w.d.Create(t.Context(), name, NewAccount{})
		if err != nil {
			t.Errorf("creating %q: %v", name, err)
			continue
		}
		w.open[name] = a
	}
	if _, err := w.d.Create(t.Context(), "a", NewAccount{}); !errors.Is(err, ErrAccountExists) {
		t.Errorf("creating again: %v", err)
	}
}

// TestIdleAccounts: accounts nobody uses are closed, and opened again when asked
// for, with all they had.
func TestIdleAccounts(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 8 {
		names = append(names, fmt.Sprint("account", i))
	}
	w := newWorld(t, func(o *Options) { o.OpenAccountsMax = 2 }, names...)
	w.restart()
	for round := range 3 {
		for _, name := range names {
			a, err := w.d.Account(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			err = deliver(t, w.d, testMessage(round, "x"), "", a)
			a.WaitDurable(t.Context())
			if err := errors.Join(err, a.Close()); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range names {
		a, err := w.d.Account(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(contents(t, a, "Inbox")); n != 3 {
			t.Errorf("account %s has %d messages", name, n)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if n := len(w.d.accounts); n > 4 { // Those that have something pending stay.
		t.Errorf("%d accounts are open", n)
	}
}

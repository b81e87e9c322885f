package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// removedIDs are the accounts noted as removed, as authdb has them.
type removedIDs struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (r *removedIDs) mark(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[id] = true
}

func (r *removedIDs) is(id string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[id], nil
}

// newRemovalWorld makes a data directory in which accounts can be noted as removed.
func newRemovalWorld(t *testing.T, accounts ...string) (*world, *removedIDs) {
	t.Helper()
	r := &removedIDs{ids: map[string]bool{}}
	return newWorld(t, func(o *Options) { o.Removed = r.is }, accounts...), r
}

// TestRemoveRefused: what is not to be removed for certain stays.
func TestRemoveRefused(t *testing.T) {
	t.Parallel()
	w, r := newRemovalWorld(t, "a", "b")
	a, b := w.account("a"), w.account("b")
	r.mark(b.ID())
	for _, tc := range []struct {
		name, account, id string
		want              error
	}{
		{"not noted as removed", "a", a.ID(), ErrNotRemoved},
		{"no id", "a", "", nil},
		{"not an id", "a", "../accounts/a", nil},
	} {
		for _, err := range []error{w.d.Remove(t.Context(), tc.account, tc.id), w.d.EraseRemoved(t.Context(), tc.id)} {
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v", tc.name, err)
			}
		}
	}
	if err := w.d.Remove(t.Context(), "a", b.ID()); err != nil {
		t.Errorf("another account of the name: got %v, want nothing to do", err)
	}
	w.deliver(testMessage(0, "x"), "a", "b")
	w.wantInbox("a", testMessage(0, "x"))
	w.wantInbox("b", testMessage(0, "x"))
}

// TestRemoveFailing: an account that can't apply its records is removed with them,
// and they hold the journal no more.
func TestRemoveFailing(t *testing.T) {
	t.Parallel()
	for _, aside := range []bool{false, true} {
		w, r := newRemovalWorld(t, "a", "b")
		a := w.account("a")
		mend := w.stick("a")
		w.deliver(testMessage(0, "x"), "a", "b")
		eventually(t, "applying fails", a.isFailing)
		if aside {
			if err := w.d.putAside(a); err != nil {
				t.Fatal(err)
			}
		}
		r.mark(a.ID())
		if err := w.d.Remove(t.Context(), "a", a.ID()); err != nil {
			t.Fatal(err)
		}
		delete(w.open, "a")
		eventually(t, "nothing waits", func() bool { return w.d.backlog.bytes() == 0 && w.d.tracker.through() == w.d.journal.Head() })
		eventually(t, "nothing is aside", func() bool { return len(w.files("journal", "aside")) == 0 })
		if err := w.d.EraseRemoved(t.Context(), a.ID()); err != nil {
			t.Error(err)
		}
		if left := w.files("tmp"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		w.restart()
		w.wantInbox("b", testMessage(0, "x"))
		_ = mend // What it would mend is gone.
	}
}

// TestRemoveCrash: wherever removing is broken off, it is finished by doing it
// again, and other accounts lose nothing, nor does a new one of the name.
func TestRemoveCrash(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"", FaultRemoveShut, FaultRemoveMoved, FaultRemoveErase} {
		t.Run(fmt.Sprintf("at %q", point), func(t *testing.T) {
			t.Parallel()
			w, r := newRemovalWorld(t, "a", "b")
			w.deliver(testMessage(0, "x"), "a", "b")
			w.wantInbox("a", testMessage(0, "x"))
			w.wantInbox("b", testMessage(0, "x"))
			id := w.account("a").ID()
			kept := kept{seq: 9, accountID: id, lastID: 9, data: []byte("x")}
			other := kept
			other.accountID = w.account("b").ID()
			if err := errors.Join(w.d.keepRecord(failedDir, kept), w.d.keepRecord(failedDir, other)); err != nil {
				t.Fatal(err)
			}
			r.mark(id)
			crashed := w.crashed()
			if point != "" {
				reached, release := w.hold(point)
				done := make(chan error, 1)
				go func() { done <- errors.Join(w.d.Remove(t.Context(), "a", id), w.d.EraseRemoved(t.Context(), id)) }()
				<-reached
				crashed = w.crashed()
				release(nil)
				if err := <-done; err != nil {
					t.Error(err)
				}
			} else if err := errors.Join(w.d.Remove(t.Context(), "a", id), w.d.EraseRemoved(t.Context(), id)); err != nil {
				t.Error(err)
			}
			delete(w.open, "a")
			crashed.start()
			if err := errors.Join(crashed.d.Remove(t.Context(), "a", id), crashed.d.EraseRemoved(t.Context(), id)); err != nil {
				t.Error(err)
			}
			for _, each := range []*world{w, crashed} {
				each.wantInbox("b", testMessage(0, "x"))
				if left := each.files("tmp"); len(left) > 0 {
					t.Errorf("left in tmp: %v", left)
				}
				if left := each.files("journal", "failed"); len(left) != 1 || left[0] != other.name() {
					t.Errorf("kept: %v", left)
				}
				if err := os.Remove(filepath.Join(each.dir, "journal", "failed", other.name())); err != nil {
					t.Error(err)
				}
				if has, err := each.d.HasData("a"); has || err != nil {
					t.Errorf("has data: %v, %v", has, err)
				}
				a, err := each.d.Create(t.Context(), "a", NewAccount{})
				if err != nil {
					t.Fatal(err)
				}
				each.open["a"] = a
				if err := each.d.Remove(t.Context(), "a", id); err != nil {
					t.Errorf("once more: %v", err)
				}
				each.restart()
				each.wantInbox("a")
				each.deliver(testMessage(1, "x"), "a", "b")
				each.wantInbox("a", testMessage(1, "x"))
			}
		})
	}
}

// TestRemoveFails: when the directory can't be moved the account is still there,
// and can be removed later.
func TestRemoveFails(t *testing.T) {
	t.Parallel()
	w, r := newRemovalWorld(t, "a")
	w.deliver(testMessage(0, "x"), "a")
	id := w.account("a").ID()
	r.mark(id)
	boom := errors.New("boom")
	w.faults.Arm(FaultRemoveShut, func() error { return boom })
	if err := w.d.Remove(t.Context(), "a", id); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	delete(w.open, "a")
	w.wantInbox("a", testMessage(0, "x"))
	w.faults.Disarm(FaultRemoveShut)
	if err := errors.Join(w.d.Remove(t.Context(), "a", id), w.d.EraseRemoved(t.Context(), id)); err != nil {
		t.Error(err)
	}
	delete(w.open, "a")
	if names, err := w.d.Accounts(); len(names) > 0 || err != nil {
		t.Errorf("accounts: %v, %v", names, err)
	}
}

// TestRemoveDuringCopy: a copy has an account whole, or not at all.
func TestRemoveDuringCopy(t *testing.T) {
	t.Parallel()
	w, r := newRemovalWorld(t, "a", "b")
	for round := range 10 {
		a := w.account("a")
		for i := range 30 {
			w.deliver(testMessage(i, "x"), "a")
		}
		a.WaitDurable(t.Context())
		r.mark(a.ID())
		var copying sync.WaitGroup
		dst := t.TempDir()
		var res CopyResult
		var err error
		copying.Go(func() { res, err = w.d.CopyTo(t.Context(), dst, CopyOptions{}) })
		if rerr := w.d.Remove(t.Context(), "a", a.ID()); rerr != nil {
			t.Error(rerr)
		}
		copying.Wait()
		if err != nil || len(res.Problems) > 0 {
			t.Errorf("round %d: got %v, %v", round, res.Problems, err)
		}
		has, herr := os.Stat(filepath.Join(dst, "accounts", "a"))
		if (herr == nil) != (res.Accounts == 2) || herr == nil && !has.IsDir() {
			t.Errorf("round %d: copied %d accounts, a: %v", round, res.Accounts, herr)
		}
		delete(w.open, "a")
		if w.open["a"], err = w.d.Create(t.Context(), "a", NewAccount{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEraseRemovedStops: erasing a large account ends when it shall, and goes on
// later.
func TestEraseRemovedStops(t *testing.T) {
	t.Parallel()
	w, r := newRemovalWorld(t, "a")
	w.deliver(testMessage(0, "x"), "a")
	a := w.account("a")
	a.WaitDurable(t.Context())
	r.mark(a.ID())
	if err := w.d.Remove(t.Context(), "a", a.ID()); err != nil {
		t.Fatal(err)
	}
	delete(w.open, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.d.EraseRemoved(ctx, a.ID()); err == nil {
		t.Error("when it shall stop: got no error")
	}
	if left := w.files("tmp"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if err := w.d.EraseRemoved(t.Context(), a.ID()); err != nil {
		t.Error(err)
	}
	if left := w.files("tmp"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

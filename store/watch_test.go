package store

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
)

// opened says whether the file of an Email can be opened.
func opened(t testing.TB, a *Account, emailID int64) bool {
	t.Helper()
	f, err := a.OpenMessage(emailID)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	} else if err != nil {
		t.Error(err)
		return false
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	return true
}

// TestErase: a file stays while a session that may read it has not been told that
// its message is gone, however it learns of that.
func TestErase(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		told func(w *Watch)
	}{
		{"it takes the changes", func(w *Watch) { w.Take(TakeAll) }},
		{"it selects nothing", func(w *Watch) { w.Unselect() }},
		{"it ends", func(w *Watch) { w.Close() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a")
			a := w.account("a")
			w.deliver(testMessage(0, "x"), "a")
			id := w.email("a", 0).ID
			first, sel := selectInbox(t, a)
			second, _ := selectInbox(t, a)
			elsewhere := a.Watch() // Nothing selected.
			defer elsewhere.Close()
			expunge(t, a, 1)
			if used := a.Usage().Size; used != 0 {
				t.Errorf("it still counts: %d bytes", used)
			}
			first.Take(TakeNoExpunge)
			second.Take(TakeAll)
			w.wantInbox("a") // Time for the writer.
			if err := setFlags(a, FlagSeen); err != nil {
				t.Error(err)
			}
			if !opened(t, a, id) {
				t.Error("erased before all sessions were told")
			}
			if e := sel.Entries([]UID{1}, nil); len(e) != 1 || e[0].EmailID != id {
				t.Errorf("entry is %+v", e)
			}
			err := a.View(t.Context(), func(tx *Tx) error {
				_, err := tx.Email(id)
				return err
			})
			if err != nil {
				t.Errorf("its row: %v", err)
			}
			tc.told(first)
			eventually(t, "it is erased", func() bool { return !opened(t, a, id) })
			eventually(t, "its rows are removed", func() bool {
				err := a.View(t.Context(), func(tx *Tx) error {
					_, err := tx.Email(id)
					return err
				})
				return errors.Is(err, ErrExpunged)
			})
		})
	}
}

// TestEraseDeletedMailbox: the messages of a deleted mailbox can be read while a
// session has it selected, though it was told, and their rows are gone.
func TestEraseDeletedMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	update := func(fn func(tx *Tx) error) {
		t.Helper()
		if err := a.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	var mb Mailbox
	update(func(tx *Tx) error {
		made, err := tx.CreateMailbox("box", UseNone)
		if err == nil {
			mb = made[0]
		}
		return err
	})
	m, err := appendTo(t, a, "box", testMessage(0, "x"), AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watch := a.Watch()
	defer watch.Close()
	sel, err := watch.Select(t.Context(), mb.ID)
	if err != nil {
		t.Fatal(err)
	}
	update(func(tx *Tx) error { return tx.DeleteMailbox("box") })
	eventually(t, "the rows are gone", func() bool {
		used := a.Usage().Size
		return used == 0
	})
	for _, when := range []string{"before it is told", "after it is told", "after more was done"} {
		e := sel.Entries(sel.UIDs(), nil)
		if len(e) != 1 || e[0].EmailID != m.EmailID || !opened(t, a, m.EmailID) {
			t.Errorf("%s: got %+v", when, e)
		}
		err := a.View(t.Context(), func(tx *Tx) error {
			_, err := tx.Email(m.EmailID)
			_, err2 := tx.Structure(m.EmailID)
			return errors.Join(err, err2)
		})
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
		watch.Take(TakeNoExpunge)
		watch.Take(TakeAll)
		w.deliver(testMessage(1, "x"), "a")
		a.WaitDurable(t.Context())
	}
	watch.Unselect()
	eventually(t, "the file is gone", func() bool { return !opened(t, a, m.EmailID) })
}

// TestEraseLast: the file goes with the last of its messages, also over a restart
// and a failure to unlink it.
func TestEraseLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	w.deliver(testMessage(0, "x"), "a")
	id := w.email("a", 0).ID
	err := a.Update(t.Context(), func(tx *Tx) error {
		if _, err := tx.CreateMailbox("copies", UseNone); err != nil {
			return err
		}
		src, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		dst, err := tx.Mailbox("copies")
		if err != nil {
			return err
		}
		if _, err = tx.Copy(&src, &dst, []UID{1}); err != nil {
			return err
		}
		_, err = tx.Expunge(&src, []UID{1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	a = w.account("a")
	if n := len(contents(t, a, "copies")); n != 1 || !opened(t, a, id) {
		t.Errorf("%d copies", n)
	}
	w.faults.ArmNth(FaultEraseUnlink, 1, func() error { return errors.New("crash") })
	err = a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("copies")
		if err != nil {
			return err
		}
		_, err = tx.Expunge(&mb, []UID{1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is unlinked", func() bool { return !opened(t, a, id) })
	check(t, w.d)
	w.restart()
	a = w.account("a")
	eventually(t, "its row is removed", func() bool { ok, err := a.hasEmail(t.Context(), id); return !ok && err == nil })
}

// TestOverflow: a session that does not listen, and of which the list was cut,
// finds all changes by comparing.
func TestOverflow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	var uids []UID
	for i := range 40 {
		m, err := appendTo(t, a, "Inbox", testMessage(i, "x"), AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		uids = append(uids, m.UID)
	}
	slow, sel := selectInbox(t, a)
	told := slices.Clone(sel.UIDs())
	quick, quickSel := selectInbox(t, a)
	rng := rand.New(rand.NewPCG(1, 1))
	next := 40
	for round := range 3 {
		for i := 0; i <= pendingMax/len(uids); i++ { // A flag change of each, each time.
			err := a.Update(t.Context(), func(tx *Tx) error {
				mb, err := tx.Mailbox("Inbox")
				if err != nil {
					return err
				}
				_, err = tx.SetFlags(&mb, uids, FlagChange{Op: FlagsReplace, Flags: Flags(1 + i%2)})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		gone := uids[rng.IntN(len(uids))]
		expunge(t, a, gone)
		m, err := appendTo(t, a, "Inbox", testMessage(next, "x"), AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		next++
		quick.Take(TakeAll)

		changes := slow.Take(TakeNoExpunge)
		told = follow(t, told, changes)
		for _, c := range changes {
			if c.Kind == MessageRemoved {
				t.Error("told of a removal when none may be")
			}
		}
		if e := sel.Entries([]UID{gone}, nil); len(e) != 1 || !opened(t, a, e[0].EmailID) {
			t.Errorf("expunged and not told: %+v", e)
		}
		changes = slow.Take(TakeAll)
		told = follow(t, told, changes)
		uids = append(slices.DeleteFunc(uids, func(uid UID) bool { return uid == gone }), m.UID)
		if !slices.Equal(told, uids) || !slices.Equal(sel.UIDs(), uids) || !slices.Equal(quickSel.UIDs(), uids) {
			t.Fatalf("round %d: told %v, want %v", round, told, uids)
		}
		compareRows(t, a, sel)
		if changes := slow.Take(TakeAll); len(changes) > 0 {
			t.Errorf("told again: %d changes", len(changes))
		}
	}
}

// follow does with changes what a client does.
func follow(t testing.TB, told []UID, changes []Change) []UID {
	t.Helper()
	for _, c := range changes {
		switch {
		case c.Kind == MessageRemoved && c.Seq >= 1 && c.Seq <= len(told) && told[c.Seq-1] == c.Entry.UID:
			told = slices.Delete(told, c.Seq-1, c.Seq)
		case c.Kind == MessageAdded && c.Seq == len(told)+1:
			told = append(told, c.Entry.UID)
		case c.Kind == FlagsChanged && c.Seq >= 1 && c.Seq <= len(told) && told[c.Seq-1] == c.Entry.UID:
		default:
			t.Errorf("can't follow %+v with %d messages", c, len(told))
		}
	}
	return told
}

// compareRows compares a selection with the rows of Inbox.
func compareRows(t testing.TB, a *Account, sel *Selection) {
	t.Helper()
	entries := sel.Entries(sel.UIDs(), nil)
	err := a.View(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		if int(mb.Total) != len(entries) {
			t.Errorf("%d entries, the mailbox has %d", len(entries), mb.Total)
		}
		for _, e := range entries {
			m, err := tx.Message(mb.ID, e.UID)
			if err != nil {
				return fmt.Errorf("UID %d: %w", e.UID, err)
			}
			if e != entryOf(&m) {
				t.Errorf("entry is %+v, row gives %+v", e, entryOf(&m))
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOwnFlagChanges: who changes flags is not told of it, others are.
func TestOwnFlagChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	w.deliver(testMessage(0, "x"), "a")
	w.wantInbox("a", testMessage(0, "x"))
	mine, _ := selectInbox(t, a)
	other, sel := selectInbox(t, a)
	err := a.UpdateFrom(t.Context(), mine, func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		_, err = tx.SetFlags(&mb, []UID{1}, FlagChange{Op: FlagsAdd, Flags: FlagSeen})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if changes := mine.Take(TakeAll); len(changes) > 0 {
		t.Errorf("told its own change: %+v", changes)
	}
	<-other.Signal()
	changes := other.Take(TakeAll)
	if len(changes) != 1 || changes[0].Kind != FlagsChanged || changes[0].Entry.Flags() != FlagSeen || changes[0].Seq != 1 {
		t.Errorf("got %+v", changes)
	}
	compareRows(t, a, sel)
}

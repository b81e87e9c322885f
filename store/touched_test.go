package store

import (
	"slices"
	"testing"
)

// TestTouched: all changes of flags are kept, whoever made them, until they are asked
// for; and who is gone is known before Take tells it.
func TestTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	for range 3 {
		w.deliver(testMessage(0, "x"), "a")
	}
	watch, sel := selectInbox(t, a)
	flag := func(from *Watch, flags Flags, uids ...UID) {
		t.Helper()
		err := a.UpdateFrom(t.Context(), from, func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			if err == nil {
				_, err = tx.SetFlags(&mb, uids, FlagChange{Op: FlagsReplace, Flags: flags})
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(name string, all bool, uids ...UID) {
		t.Helper()
		if got, lost := watch.Touched(); !slices.Equal(got, uids) || lost != all {
			t.Errorf("%s: got %d, %v", name, got, lost)
		}
	}
	flag(watch, FlagSeen, 1)
	want("not asked for", false)
	watch.KeepTouched(true)
	flag(watch, FlagSeen, 2, 3)
	flag(nil, FlagFlagged, 3, 1)
	watch.Take(TakeAll)
	watch.KeepTouched(true) // Changes nothing.
	want("by itself and by others", false, 1, 2, 3)
	want("asked for again", false)

	expunge(t, a, 2)
	if got := watch.Gone(); got != nil {
		t.Errorf("gone before Take: %d", got)
	}
	watch.Take(TakeNoExpunge)
	if got := watch.Gone(); !slices.Equal(got, []UID{2}) || !slices.Contains(sel.UIDs(), 2) {
		t.Errorf("held back: %d of %d", got, sel.UIDs())
	}
	watch.Take(TakeAll)
	if got := watch.Gone(); got != nil {
		t.Errorf("told: %d", got)
	}

	for n := range UID(pendingMax) {
		watch.touched.note(n)
	}
	if watch.touched.lost || len(watch.touched.uids) != pendingMax {
		t.Errorf("%d kept", len(watch.touched.uids))
	}
	flag(nil, FlagAnswered, 1)
	want("more than is kept", true)
	flag(nil, FlagDraft, 3)
	want("after that", false, 3)
	flag(nil, FlagSeen, 3)
	watch.KeepTouched(false)
	want("not asked for any more", false)
}

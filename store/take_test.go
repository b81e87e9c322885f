package store

import (
	"fmt"
	"strings"
	"testing"
)

// TestTake: what a session is told of what others and itself did, step by step.
func TestTake(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, nil)
	next := 0
	add := func(n int) {
		for range n {
			next++
			if _, err := appendTo(t, a, "Inbox", testMessage(next, "x"), AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var id int64
	change := func(w *Watch, fn func(*Tx, *Mailbox) error) {
		err := a.UpdateFrom(t.Context(), w, func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			if err != nil {
				return err
			}
			id = mb.ID
			return fn(tx, &mb)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	flag := func(w *Watch, flags Flags, uids ...UID) {
		change(w, func(tx *Tx, mb *Mailbox) error {
			_, err := tx.SetFlags(mb, uids, FlagChange{Op: FlagsAdd, Flags: flags})
			return err
		})
	}
	expunge := func(w *Watch, uids ...UID) {
		change(w, func(tx *Tx, mb *Mailbox) error { _, err := tx.Expunge(mb, uids); return err })
	}
	add(5)
	flag(nil, 0, 1)
	w := a.Watch()
	defer w.Close()
	sel, err := w.Select(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func()
		mode TakeMode
		want string
		uids string
	}{
		{"nothing", func() {}, TakeAll, "", "[1 2 3 4 5]"},
		{"flags of others", func() { flag(nil, FlagSeen, 2, 4) }, TakeAll, "flags 2=2, flags 4=4", "[1 2 3 4 5]"},
		{"flags of its own are answered already", func() { flag(w, FlagSeen, 1) }, TakeAll, "", "[1 2 3 4 5]"},
		{"flags that stay the same", func() { flag(nil, FlagSeen, 1) }, TakeAll, "", "[1 2 3 4 5]"},
		{"removals wait where numbers must stay, additions come", func() { expunge(nil, 2, 4); add(1) }, TakeNoExpunge, "add 6=6", "[1 2 3 4 5 6]"},
		{"then they are told, highest first", func() {}, TakeAll, "remove 4=4, remove 2=2", "[1 3 5 6]"},
		{"removals of its own are told too", func() { expunge(w, 1) }, TakeAll, "remove 1=1", "[3 5 6]"},
		{"what came and went in between is not told", func() { add(1); expunge(nil, 7) }, TakeAll, "", "[3 5 6]"},
		{
			"all at once, with numbers as they are after the removals",
			func() { expunge(nil, 5); add(2); flag(nil, FlagFlagged, 6) }, TakeAll, "remove 2=5, add 3=8, add 4=9, flags 2=6", "[3 6 8 9]",
		},
	} {
		step.do()
		changes := w.Take(step.mode)
		var told []string
		for _, c := range changes {
			if kind := map[ChangeKind]string{MessageAdded: "add", MessageRemoved: "remove", FlagsChanged: "flags"}[c.Kind]; kind != "" {
				told = append(told, fmt.Sprintf("%s %d=%d", kind, c.Seq, c.Entry.UID))
			}
		}
		if got := strings.Join(told, ", "); got != step.want {
			t.Errorf("%s: told %q, want %q", step.name, got, step.want)
		}
		if got := fmt.Sprint(sel.UIDs()); got != step.uids {
			t.Errorf("%s: knows %s, want %s", step.name, got, step.uids)
		}
	}
}

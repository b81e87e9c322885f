package store

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/journal"
)

// flagsWorld is an account with n messages in Inbox, and two sessions that have it
// selected.
func flagsWorld(t *testing.T, n int) (w *world, own, other *Watch, sel *Selection) {
	t.Helper()
	w = newWorld(t, nil, "a")
	var want [][]byte
	for i := range n {
		want = append(want, testMessage(i, "x"))
		w.deliver(want[i], "a")
	}
	w.wantInbox("a", want...)
	own, sel = selectInbox(t, w.account("a"))
	other, _ = selectInbox(t, w.account("a"))
	return w, own, other, sel
}

// add adds flags to messages of Inbox, for a session.
func (w *world) add(from *Watch, flags Flags, uids ...UID) FlagResult {
	w.t.Helper()
	res, err := w.account("a").SetFlags(w.t.Context(), from, from.selected, uids, FlagChange{Op: FlagsAdd, Flags: flags})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// written returns the messages as they are in the database, also if that is behind.
func (w *world) written() (list []Message) {
	w.t.Helper()
	err := w.account("a").ViewContent(w.t.Context(), func(tx *Tx) (err error) {
		list, err = bstore.QueryTx[Message](tx.b).SortAsc("UID").List()
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// inboxFlags returns the flags of all messages of Inbox, with what mailbox and account
// say.
func (w *world) inboxFlags() (flags []Flags, mb Mailbox) {
	w.t.Helper()
	err := w.account("a").View(w.t.Context(), func(tx *Tx) error {
		var err error
		if mb, err = tx.Mailbox("Inbox"); err != nil {
			return err
		}
		list, err := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{MailboxID: mb.ID}).SortAsc("UID").List()
		for _, m := range list {
			flags = append(flags, m.Flags())
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return flags, mb
}

// pendingFlags returns how many records of flags wait for their rows.
func (w *world) pendingFlags() (n int) {
	for _, it := range w.account("a").pendingItems() {
		if it.isFlags() {
			n++
		}
	}
	return n
}

func TestFlagsAreToldBeforeTheyAreWritten(t *testing.T) {
	t.Parallel()
	w, own, other, sel := flagsWorld(t, 3)
	before := sel.HighestModSeq()
	res := w.add(own, FlagSeen, 1, 2, 9)
	if len(res.Entries) != 2 || res.Entries[1].Flags() != FlagSeen || res.Entries[0].ModSeq <= before || !res.Changed[0] {
		t.Fatalf("result %+v", res)
	}
	if w.pendingFlags() != 1 || w.written()[0].Flags() != 0 {
		t.Fatalf("%d records wait, row has %v", w.pendingFlags(), w.written()[0].Flags())
	}
	if e := sel.Entries([]UID{1, 2, 3}, nil); e[0].Flags() != FlagSeen || e[2].Flags() != 0 {
		t.Errorf("entries %+v", e)
	}
	if changes := own.Take(TakeAll); len(changes) != 0 {
		t.Errorf("own session is told %+v", changes)
	}
	changes := other.Take(TakeAll)
	if len(changes) != 2 || changes[0].Kind != FlagsChanged || changes[0].Entry.ModSeq != res.Entries[0].ModSeq {
		t.Errorf("other session is told %+v", changes)
	}

	// Who reads rows has them written first.
	flags, mb := w.inboxFlags()
	if !slices.Equal(flags, []Flags{FlagSeen, FlagSeen, 0}) || mb.Unseen != 1 || mb.UnseenFrom != 3 || mb.ModSeq != res.Entries[0].ModSeq {
		t.Errorf("flags %v, mailbox %+v", flags, mb)
	}
	if w.pendingFlags() != 0 {
		t.Error("still pending")
	}
	if changes := other.Take(TakeAll); len(changes) != 0 {
		t.Errorf("other session is told again: %+v", changes)
	}
}

func TestFlagsThatStayTheSameAreNotLogged(t *testing.T) {
	t.Parallel()
	w, own, _, _ := flagsWorld(t, 2)
	first := w.add(own, FlagSeen, 1)
	res := w.add(own, FlagSeen, 1)
	if w.pendingFlags() != 1 || res.Changed[0] || res.Entries[0].ModSeq != first.Entries[0].ModSeq {
		t.Errorf("%d records, result %+v", w.pendingFlags(), res)
	}
	a := w.account("a")
	res, err := a.SetFlags(t.Context(), own, own.selected, []UID{1, 2}, FlagChange{Op: FlagsReplace, Flags: FlagFlagged, UnchangedSince: first.Entries[0].ModSeq - 1})
	if err != nil || !slices.Equal(res.Modified, []UID{1}) || len(res.Entries) != 1 {
		t.Errorf("result %+v, %v", res, err)
	}
}

// TestFlagsSurviveACrash: what was answered is there after a kill, whether or not it
// was written to the rows, with its ModSeq.
func TestFlagsSurviveACrash(t *testing.T) {
	t.Parallel()
	w, own, _, sel := flagsWorld(t, 3)
	w.add(own, FlagSeen, 1, 2, 3)
	w.add(own, FlagFlagged, 2)
	res := w.add(own, FlagDeleted, 3)
	if w.pendingFlags() != 3 {
		t.Fatalf("%d records wait", w.pendingFlags())
	}
	highest := sel.HighestModSeq()
	if now := w.account("a").hub.newest(); now != highest+3 || res.Entries[0].ModSeq != now {
		t.Errorf("ModSeq %d after %d, result %+v", now, highest, res)
	}
	c := w.crashed()
	c.start()
	flags, mb := c.inboxFlags()
	if !slices.Equal(flags, []Flags{FlagSeen, FlagSeen | FlagFlagged, FlagSeen | FlagDeleted}) || mb.Unseen != 0 || mb.Deleted != 1 || mb.ModSeq != res.Entries[0].ModSeq {
		t.Errorf("flags %v, mailbox %+v", flags, mb)
	}
	if got := c.written()[1].ModSeq; got != res.Entries[0].ModSeq-1 {
		t.Errorf("message 2 has ModSeq %d", got)
	}
	// What comes next has a higher one, though the rows were behind.
	c.deliver(testMessage(9, "y"), "a")
	c.account("a").WaitDurable(t.Context())
	if list := c.written(); len(list) != 4 || list[3].ModSeq <= res.Entries[0].ModSeq {
		t.Errorf("%d messages, the last %+v", len(list), list[len(list)-1])
	}
}

// TestDeliveryBetweenFlags: deliveries and flags are applied in the order in which they
// came, and mod-sequences never come in another order than they are told.
func TestDeliveryBetweenFlags(t *testing.T) {
	t.Parallel()
	w, own, other, _ := flagsWorld(t, 1)
	w.add(own, FlagSeen, 1)
	w.deliver(testMessage(5, "y"), "a")
	w.add(own, FlagFlagged, 1)
	w.account("a").WaitDurable(t.Context())
	var told []int64
	changes := other.Take(TakeAll)
	for _, c := range changes {
		told = append(told, c.Entry.ModSeq)
	}
	list := w.written()
	if len(list) != 2 || len(told) != 2 || told[0] == told[1] {
		t.Fatalf("messages %+v, told %v", list, told)
	}
	c := w.crashed()
	c.start()
	flags, mb := c.inboxFlags()
	if !slices.Equal(flags, []Flags{FlagSeen | FlagFlagged, 0}) || mb.Total != 2 || mb.Unseen != 1 {
		t.Errorf("flags %v, mailbox %+v", flags, mb)
	}
}

// TestDeliveryAfterFlags: a delivery does not wait as long as flags can.
func TestDeliveryAfterFlags(t *testing.T) {
	t.Parallel()
	w, own, other, _ := flagsWorld(t, 1)
	w.add(own, FlagSeen, 1)
	if w.pendingFlags() != 1 {
		t.Fatal("not logged")
	}
	<-other.Signal()
	other.Take(TakeAll)
	w.deliver(testMessage(5, "y"), "a")
	<-other.Signal()
	if changes := other.Take(TakeAll); len(changes) != 1 || changes[0].Kind != MessageAdded || w.pendingFlags() != 0 {
		t.Errorf("told %+v, %d records wait", changes, w.pendingFlags())
	}
}

// TestFlagsThatNeedRows: what is more than bits of the array is written to the rows at
// once.
func TestFlagsThatNeedRows(t *testing.T) {
	t.Parallel()
	w, own, _, _ := flagsWorld(t, 2)
	a := w.account("a")
	inbox := boxID(t, a, "Inbox")
	for _, tc := range []struct {
		name   string
		box    int64
		change FlagChange
		logged bool
		err    error
	}{
		{"a flag", inbox, FlagChange{Op: FlagsAdd, Flags: FlagFlagged}, true, nil},
		{"marked as junk", inbox, FlagChange{Op: FlagsAdd, Flags: FlagJunk}, false, nil},
		{"a keyword that is new", inbox, FlagChange{Op: FlagsAdd, Keywords: []string{"new"}}, false, nil},
		{"a keyword", inbox, FlagChange{Op: FlagsRemove, Keywords: []string{"new"}}, true, nil},
		{"no junk any more", inbox, FlagChange{Op: FlagsReplace}, false, nil},
		{"no such mailbox", 999, FlagChange{Op: FlagsAdd, Flags: FlagSeen}, false, ErrNoMailbox},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, err := a.SetFlags(t.Context(), own, tc.box, []UID{1, 2}, tc.change)
			if !errors.Is(err, tc.err) || err == nil && len(res.Entries) != 2 {
				t.Fatalf("result %+v, %v", res, err)
			}
			if got := w.pendingFlags() > 0; got != tc.logged {
				t.Errorf("logged: %v", got)
			}
			w.inboxFlags() // Writes what waits.
		})
	}
	if flags, _ := w.inboxFlags(); !slices.Equal(flags, []Flags{0, 0}) {
		t.Errorf("flags %v", flags)
	}
}

// TestFlagsThatFollowersWant: who has not selected the mailbox is told what its row has.
func TestFlagsThatFollowersWant(t *testing.T) {
	t.Parallel()
	w, own, _, _ := flagsWorld(t, 2)
	follower := w.account("a").Watch()
	defer follower.Close()
	follower.Follow(NewFilter([]Rule{{Scope: ScopeAll, Events: EventFlags | EventMessages}}))
	w.add(own, FlagSeen, 1)
	if news := follower.News(); len(news.Mailboxes) != 1 || news.Mailboxes[0].Mailbox.Unseen != 1 || w.pendingFlags() != 0 {
		t.Errorf("news %+v, %d records wait", news, w.pendingFlags())
	}
	follower.Follow(NewFilter([]Rule{{Scope: ScopeAll, Events: EventMessages}}))
	if w.add(own, FlagSeen, 2); w.pendingFlags() != 1 {
		t.Error("not logged")
	}
}

// TestUpdateSeesFlags: a transaction has the changes that were answered before it.
func TestUpdateSeesFlags(t *testing.T) {
	t.Parallel()
	w, own, other, _ := flagsWorld(t, 3)
	w.add(own, FlagDeleted, 1, 3)
	a := w.account("a")
	var gone []UID
	err := a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		gone, err = tx.ExpungeDeleted(&mb, []UID{1, 2, 3})
		return err
	})
	if err != nil || !slices.Equal(gone, []UID{1, 3}) {
		t.Fatalf("removed %v, %v", gone, err)
	}
	last := int64(0)
	changes := other.Take(TakeAll)
	for _, c := range changes {
		if c.Kind != MessageRemoved {
			t.Errorf("told %+v", c)
		}
		last = max(last, c.Entry.ModSeq)
	}
	if res := w.add(own, FlagSeen, 1, 2, 3); len(res.Entries) != 1 || res.Entries[0].UID != 2 {
		t.Errorf("result %+v", res)
	}
}

// TestFlagsOfADeletedMailbox: they are not logged, and those that were don't bring it
// back.
func TestFlagsOfADeletedMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	err := a.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.CreateMailbox("Old", UseNone)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := deliver(t, w.d, testMessage(1, "x"), "Old", a); err != nil {
		t.Fatal(err)
	}
	a.WaitDurable(t.Context())
	watch, _ := selectBox(t, a, "Old")
	old := boxID(t, a, "Old")
	if _, err := a.SetFlags(t.Context(), watch, old, []UID{1}, FlagChange{Op: FlagsAdd, Flags: FlagSeen}); err != nil {
		t.Fatal(err)
	}
	if w.pendingFlags() != 1 {
		t.Fatal("not logged")
	}
	err = a.Update(t.Context(), func(tx *Tx) error { return tx.DeleteMailbox("Old") })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.SetFlags(t.Context(), watch, old, []UID{1}, FlagChange{Op: FlagsAdd, Flags: FlagFlagged}); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("got %v", err)
	}
}

// TestRule10FlagsAfterCommitError: changes that were answered, and are not in the rows
// when a commit fails, are told again once they are.
func TestRule10FlagsAfterCommitError(t *testing.T) {
	t.Parallel()
	w, own, other, sel := flagsWorld(t, 2)
	w.add(own, FlagSeen, 1)
	boom := errors.New("boom")
	w.faults.ArmNth(FaultCommitBefore, 1, func() error { return boom })
	a := w.account("a")
	// It writes the pending change first, and that fails.
	if err := setFlags(a, FlagFlagged, 2); !errors.Is(err, ErrBusy) {
		t.Fatalf("got %v", err)
	}
	eventually(t, "flags are written", func() bool { return w.pendingFlags() == 0 && !a.isFailing() })
	flags, mb := w.inboxFlags()
	if !slices.Equal(flags, []Flags{FlagSeen, 0}) || mb.Unseen != 1 {
		t.Errorf("flags %v, mailbox %+v", flags, mb)
	}
	if e := sel.Entries([]UID{1}, nil); e[0].Flags() != FlagSeen {
		t.Errorf("entry %+v", e)
	}
	other.Take(TakeAll)
	if w.add(own, FlagAnswered, 1); w.pendingFlags() != 1 {
		t.Error("not logged any more")
	}
}

// TestFlagsTogether: changes of several sessions that wait together are one record, and
// each sees those before it.
func TestFlagsTogether(t *testing.T) {
	t.Parallel()
	w, own, other, _ := flagsWorld(t, 2)
	a := w.account("a")
	inbox := boxID(t, a, "Inbox")
	group := make([]*update, 3)
	for i, c := range []FlagChange{{Op: FlagsAdd, Flags: FlagSeen}, {Op: FlagsAdd, Flags: FlagFlagged}, {Op: FlagsRemove, Flags: FlagSeen}} {
		group[i] = &update{origin: []*Watch{own, other, own}[i], flags: &flagUpdate{mailboxID: inbox, uids: []UID{1, 2}[:2-i%2], change: c}, done: make(chan struct{})}
	}
	l := newFlagLog(a, true)
	for _, u := range group {
		if !l.add(u) {
			t.Fatal("not taken")
		}
	}
	var got [][]Flags
	for _, u := range group {
		var flags []Flags
		for _, e := range u.flags.result.Entries {
			flags = append(flags, e.Flags())
		}
		got = append(got, flags)
	}
	if want := [][]Flags{{FlagSeen, FlagSeen}, {FlagSeen | FlagFlagged}, {FlagFlagged, 0}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(l.changes) != 3 || len(l.changes[0].runs) != 1 || l.changes[0].runs[0].n != 2 {
		t.Errorf("record %+v", l.changes)
	}
}

func TestFlagsRecord(t *testing.T) {
	t.Parallel()
	r := &record{
		rcpts: []recordRcpt{{accountID: "id", account: "name"}},
		changes: []flagsRecord{
			{1, 77, []flagRun{{1, 10, 3}, {11, 1, 4}, {4_000_000_000, 5, 1 << 61}}},
			{2, 78, []flagRun{{5, 1, 0}}},
		},
	}
	data := slices.Concat(r.encode()...)
	got, err := decodeRecord(&journal.Entry{Seq: 5, Type: recordDelivery, Data: data})
	if err != nil || !reflect.DeepEqual(got.changes, r.changes) || !reflect.DeepEqual(got.rcpts, r.rcpts) || got.seq != 5 || got.messages() != 17 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if err := checkRecord(got); err != nil {
		t.Error(err)
	}
	for n := range data {
		if _, err := decodeRecord(&journal.Entry{Type: recordDelivery, Data: data[:n]}); !errors.Is(err, errRecord) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	if _, err := decodeRecord(&journal.Entry{Type: recordDelivery, Data: append(slices.Clone(data), 0)}); !errors.Is(err, errRecord) {
		t.Errorf("a byte more: %v", err)
	}
}

func FuzzFlagsRecord(f *testing.F) {
	r := &record{rcpts: []recordRcpt{{accountID: "id", account: "name"}}, changes: []flagsRecord{{1, 77, []flagRun{{1, 10, 3}, {11, 1, 4}}}}}
	f.Add(slices.Concat(r.encode()...)[1:])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeRecord(&journal.Entry{Type: recordDelivery, Data: append([]byte{flagsForm}, data...)})
		if err != nil {
			return
		}
		again, err := decodeRecord(&journal.Entry{Type: recordDelivery, Data: slices.Concat(got.encode()...)})
		if err != nil || !reflect.DeepEqual(got.changes, again.changes) {
			t.Errorf("%+v became %+v, %v", got.changes, again, err)
		}
	})
}

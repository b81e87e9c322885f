package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// selectInbox registers a session that has Inbox selected.
func selectInbox(t testing.TB, a *Account) (*Watch, *Selection) {
	t.Helper()
	return selectBox(t, a, "Inbox")
}

func selectBox(t testing.TB, a *Account, name string) (*Watch, *Selection) {
	t.Helper()
	w := a.Watch()
	t.Cleanup(w.Close)
	s, err := w.Select(t.Context(), boxID(t, a, name))
	if err != nil {
		t.Fatal(err)
	}
	return w, s
}

func boxID(t testing.TB, a *Account, name string) (id int64) {
	t.Helper()
	err := a.View(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox(name)
		id = mb.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// setFlags sets flags of messages of Inbox.
func setFlags(a *Account, flags Flags, uids ...UID) error {
	return a.Update(context.Background(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		_, err = tx.SetFlags(&mb, uids, FlagChange{Op: FlagsReplace, Flags: flags})
		return err
	})
}

// TestRule10CommitError: the functions get the error and are not run again, the
// sessions see what is there, and records are applied after all, once.
func TestRule10CommitError(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		point    string
		happened bool
	}{{FaultCommitBefore, false}, {FaultCommitAfter, true}} {
		t.Run(strings.ReplaceAll(tc.point, ":", ""), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a")
			a := w.account("a")
			first := testMessage(0, "x")
			w.deliver(first, "a")
			w.wantInbox("a", first)
			watch, sel := selectInbox(t, a)
			boom := errors.New("boom")

			// An Update.
			runs := 0
			w.faults.ArmNth(tc.point, 1, func() error { return boom })
			err := a.Update(t.Context(), func(tx *Tx) error {
				runs++
				mb, err := tx.Mailbox("Inbox")
				if err != nil {
					return err
				}
				_, err = tx.SetFlags(&mb, []UID{1}, FlagChange{Op: FlagsAdd, Flags: FlagSeen})
				return err
			})
			if !errors.Is(err, boom) || runs != 1 {
				t.Errorf("got %v after %d runs", err, runs)
			}
			watch.Take(TakeAll)
			if e := sel.Entries([]UID{1}, nil); (e[0].Flags() == FlagSeen) != tc.happened {
				t.Errorf("session has flags %v", e[0].Flags())
			}

			// An append: its file stays if the commit happened.
			second := testMessage(1, "y")
			w.faults.ArmNth(tc.point, 1, func() error { return boom })
			if _, err := appendTo(t, a, "Inbox", second, AppendOptions{}); !errors.Is(err, boom) {
				t.Errorf("appending: got %v", err)
			}
			want := [][]byte{first}
			if tc.happened {
				want = append(want, second)
			}
			w.wantInbox("a", want...)
			check(t, w.d)

			// Records.
			w.faults.ArmNth(tc.point, 1, func() error { return boom })
			third := testMessage(2, "z")
			w.deliver(third, "a")
			eventually(t, "it is applied", func() bool { return len(w.inbox("a")) == len(want)+1 })
			eventually(t, "it is no longer pending", func() bool { return len(a.pendingItems()) == 0 })
			w.wantInbox("a", append(want, third)...)
			watch.Take(TakeAll)
			if n := len(sel.UIDs()); n != len(want)+1 {
				t.Errorf("session has %d messages, want %d", n, len(want)+1)
			}
			if used := a.Usage().Size; used != sizeOf(t, a) {
				t.Errorf("usage is %d, want %d", used, sizeOf(t, a))
			}
			w.restart()
			w.wantInbox("a", append(want, third)...)
		})
	}
}

// sizeOf returns the size in the account's row.
func sizeOf(t testing.TB, a *Account) (size int64) {
	t.Helper()
	if err := a.View(t.Context(), func(tx *Tx) error { size = tx.row.Size; return nil }); err != nil {
		t.Error(err)
	}
	return size
}

// TestRule10Resync: after a commit that happened and returned an error, sessions
// learn of all of it, those too whose mailbox it has deleted.
func TestRule10Resync(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	err := a.Update(t.Context(), func(tx *Tx) error {
		for _, name := range []string{"gone", "other"} {
			if _, err := tx.CreateMailbox(name, UseNone); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := appendTo(t, a, "gone", testMessage(0, "x"), AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	goneWatch, goneSel := selectBox(t, a, "gone")
	inboxWatch, inboxSel := selectInbox(t, a)
	otherWatch, otherSel := selectBox(t, a, "other")
	for _, o := range []*Watch{goneWatch, inboxWatch, otherWatch} {
		o.Take(TakeAll)
		o.Follow(NewFilter([]Rule{{Scope: ScopeAll, Events: EventNames}}))
	}
	boom := errors.New("boom")
	w.faults.ArmNth(FaultCommitAfter, 1, func() error { return boom })
	err = a.Update(t.Context(), func(tx *Tx) error { return tx.DeleteMailbox("gone") })
	if !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	for _, o := range []*Watch{goneWatch, inboxWatch, otherWatch} {
		select {
		case <-o.Signal():
		default:
			t.Error("a session got no signal")
		}
		if o.Take(TakeAll); !o.News().Lost {
			t.Error("a session does not know that it missed changes of mailboxes")
		}
	}
	if n := len(goneSel.UIDs()); n != 0 {
		t.Errorf("deleted mailbox still has %d messages", n)
	}
	w.deliver(testMessage(1, "x"), "a")
	if _, err := appendTo(t, a, "other", testMessage(2, "x"), AppendOptions{}); err != nil {
		t.Error(err)
	}
	a.WaitDurable(t.Context())
	inboxWatch.Take(TakeAll)
	otherWatch.Take(TakeAll)
	if len(inboxSel.UIDs()) != 1 || len(otherSel.UIDs()) != 1 {
		t.Errorf("sessions have %v and %v", inboxSel.UIDs(), otherSel.UIDs())
	}
}

// TestRule10ResyncSelecting: sessions that select while the database is opened
// again stay true.
func TestRule10ResyncSelecting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	w.deliver(testMessage(0, "x"), "a")
	w.wantInbox("a", testMessage(0, "x"))
	id := boxID(t, a, "Inbox")
	boom := errors.New("boom")
	var n int
	var mu sync.Mutex
	w.faults.Arm(FaultCommitAfter, func() error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n%3 == 0 {
			return boom
		}
		return nil
	})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for j := range 40 {
				o := a.Watch()
				s, err := o.Select(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				if err := setFlags(a, Flags(1+(i+3*j)%30), 1); err != nil && !errors.Is(err, boom) {
					t.Error(err)
				}
				o.Take(TakeAll)
				var row Message
				err = a.View(t.Context(), func(tx *Tx) error {
					var err error
					row, err = tx.Message(id, 1)
					return err
				})
				// A snapshot may be ahead of an array that is being filled again, for a moment.
				e := s.Entries([]UID{1}, nil)
				for range 1000 {
					if len(e) == 1 && e[0].ModSeq >= row.ModSeq {
						break
					}
					time.Sleep(5 * time.Millisecond)
					e = s.Entries([]UID{1}, e[:0])
				}
				if err != nil || len(e) != 1 || e[0].ModSeq < row.ModSeq {
					t.Errorf("array has %+v, row %+v, error %v", e, row, err)
				}
				o.Close()
			}
		})
	}
	wg.Wait()
	w.faults.Disarm(FaultCommitAfter)
}

// TestRule19Unseen: nor are commits that clients don't see.
func TestRule19Unseen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	msg := testMessage(0, "x")
	keyed := Delivery{Content: w.d.ContentBytes(msg), Analysis: analysis(t, msg), Received: time.Now(), To: []Recipient{{Account: a, Key: "k"}}}
	if err := w.d.Deliver(t.Context(), keyed); err != nil {
		t.Fatal(err)
	}
	w.wantInbox("a", msg)
	for _, tc := range []struct {
		name   string
		change func() error
		read   func() (string, error)
		want   string
	}{
		{"a password", func() error {
			return a.SetPassword(t.Context(), Credential{Kind: "password", Scopes: []string{"imap"}})
		}, func() (string, error) {
			list, err := a.Credentials(t.Context())
			return fmt.Sprint(len(list)), err
		}, "1"},
		{"a hand-over that is forgotten", func() error { return a.ConfirmHandover(t.Context(), []string{"k"}) }, func() (string, error) {
			got, err := a.HandedOver(t.Context(), "k")
			return fmt.Sprint(got), err
		}, "false"},
	} {
		reached, release := w.hold(FaultCommitAfter)
		changed, seen := make(chan error, 1), make(chan string, 1)
		go func() { changed <- tc.change() }()
		<-reached
		go func() {
			got, err := tc.read()
			if err != nil {
				t.Error(err)
			}
			seen <- got
		}()
		select {
		case got := <-seen:
			t.Errorf("%s: seen before it is durable: %s", tc.name, got)
		case <-time.After(100 * time.Millisecond):
		}
		release(nil)
		if err := <-changed; err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if got := <-seen; got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestRule19NotShownBeforeDurable: a commit that is in the database and not yet
// published is not shown.
func TestRule19NotShownBeforeDurable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	w.deliver(testMessage(0, "x"), "a")
	w.wantInbox("a", testMessage(0, "x"))
	watch, sel := selectInbox(t, a)
	reached, release := w.hold(FaultCommitAfter)
	w.deliver(testMessage(1, "x"), "a")
	<-reached

	viewed := make(chan int64, 1)
	go func() {
		err := a.View(t.Context(), func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			viewed <- mb.Total
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}()
	selected := make(chan int, 1)
	go func() {
		o := a.Watch()
		defer o.Close()
		s, err := o.Select(t.Context(), boxID(t, a, "Inbox"))
		if err != nil {
			t.Error(err)
			return
		}
		selected <- len(s.UIDs())
	}()
	time.Sleep(100 * time.Millisecond)
	select {
	case n := <-viewed:
		t.Errorf("a snapshot with %d messages was shown", n)
	case n := <-selected:
		t.Errorf("a selection with %d messages was shown", n)
	case <-watch.Signal():
		t.Error("a session was told")
	default:
	}
	if changes := watch.Take(TakeAll); len(changes) > 0 || len(sel.UIDs()) != 1 {
		t.Errorf("session was told %+v", changes)
	}
	// Who gives up waiting is let go.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := a.View(ctx, func(*Tx) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	release(nil)
	if n := <-viewed; n != 2 {
		t.Errorf("%d messages after publication", n)
	}
	if n := <-selected; n != 2 {
		t.Errorf("%d messages selected after publication", n)
	}
}

// TestGroups: of functions joined in one transaction, one that fails or panics
// after it wrote leaves nothing, and does no harm to the others.
func TestGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	boom := errors.New("boom")
	made := func(name string, then func() error) func(*Tx) error {
		return func(tx *Tx) error {
			if _, err := tx.CreateMailbox(name, UseNone); err != nil {
				return err
			}
			return then()
		}
	}
	ok := func() error { return nil }
	reached, release := w.hold(FaultCommitBefore)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Update(t.Context(), made("first", ok)); err != nil {
			t.Error(err)
		}
	})
	<-reached
	for i := range 10 {
		wg.Go(func() {
			if err := a.Update(t.Context(), made(fmt.Sprint("good", i), ok)); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := a.Update(t.Context(), made(fmt.Sprint("bad", i), func() error { return boom })); !errors.Is(err, boom) {
				t.Errorf("got %v", err)
			}
		})
		wg.Go(func() {
			defer func() {
				if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "oh no") || !strings.Contains(fmt.Sprint(v), "TestGroups") {
					t.Errorf("recovered %.100v", v)
				}
			}()
			_ = a.Update(t.Context(), made(fmt.Sprint("panic", i), func() error { panic("oh no") }))
			t.Error("no panic")
		})
		wg.Go(func() {
			err := a.Update(t.Context(), func(tx *Tx) error {
				_, err := tx.Mailbox("none")
				return err
			})
			if !errors.Is(err, ErrNoMailbox) {
				t.Errorf("got %v", err)
			}
		})
	}
	eventually(t, "they wait", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.updates) == 40 })
	release(nil)
	wg.Wait()
	var names []string
	err := a.View(t.Context(), func(tx *Tx) error {
		boxes, err := tx.Mailboxes()
		for _, mb := range boxes {
			names = append(names, mb.Name)
		}
		return err
	})
	want := "[Inbox first good0 good1 good2 good3 good4 good5 good6 good7 good8 good9]"
	if err != nil || fmt.Sprint(names) != want {
		t.Errorf("mailboxes are %v, error %v", names, err)
	}
}

// TestUpdateAlone: a function that fails alone leaves nothing either, its staged
// file goes when it is discarded, and one that only reads makes no commit.
func TestUpdateAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	boom := errors.New("boom")
	msg := testMessage(0, "x")
	s, err := a.Stage(t.Context(), int64(len(msg)), bytes.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	err = a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		if _, err := tx.Append(&mb, s, AppendOptions{}); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(s.Discard(), s.Discard()); err != nil {
		t.Error(err)
	}
	if names := w.files("accounts", "a", "msg", "a"); len(names) > 0 {
		t.Errorf("files %v are left", names)
	}
	commits := w.faults.Hits(FaultCommitBefore)
	if err := a.Update(t.Context(), func(*Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if n := w.faults.Hits(FaultCommitBefore); n != commits {
		t.Errorf("%d commits for nothing", n-commits)
	}
	w.wantInbox("a")
	if _, err := a.Stage(t.Context(), 10, strings.NewReader("short")); err == nil {
		t.Error("content shorter than said was staged")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Update(ctx, func(*Tx) error { t.Error("it ran"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestRule10FilesSyncFails: an error before the commit leaves the database open
// and nothing done.
func TestRule10FilesSyncFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	w.faults.ArmNth(FaultFilesSynced, 1, func() error { return syscall.EIO })
	if _, err := appendTo(t, a, "Inbox", testMessage(0, "x"), AppendOptions{}); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
	w.wantInbox("a")
	m, err := appendTo(t, a, "Inbox", testMessage(1, "x"), AppendOptions{})
	if err != nil || m.UID != 1 {
		t.Errorf("got UID %d, %v", m.UID, err)
	}
	if uids := []UID{m.UID}; !slices.Equal(uids, []UID{1}) {
		t.Errorf("got %v", uids)
	}
}

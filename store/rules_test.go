package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mjl-/mox/journal"
)

// TestRule2Quota: what is reserved counts like what is used.
func TestRule2Quota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.QuotaSize = func(name string) int64 {
			if name == "small" {
				return 10_000
			}
			return 0
		}
	}, "small", "large")
	small, large := w.account("small"), w.account("large")
	big := testMessage(1, strings.Repeat("x", 6000))
	reached, release := w.hold(FaultApplied)
	w.deliver(big, "small")
	<-reached

	var refused *RecipientError
	err := deliver(t, w.d, big, "", large, small)
	if !errors.Is(err, ErrOverQuota) || !errors.As(err, &refused) || refused.Index != 1 {
		t.Errorf("delivering beyond the quota: got %v", err)
	}
	if used := large.Usage().Size; used != 0 {
		t.Errorf("the other recipient has %d bytes reserved", used)
	}
	if err := small.CheckQuota(int64(len(big))); !errors.Is(err, ErrOverQuota) {
		t.Errorf("checking: got %v", err)
	}
	release(nil)
	w.wantInbox("small", big)
	if _, err := appendTo(t, small, "Inbox", big, AppendOptions{}); !errors.Is(err, ErrOverQuota) {
		t.Errorf("appending beyond the quota: got %v", err)
	}
	if u := small.Usage(); u != (Usage{w.email("small", 0).Size, 10_000, 1, 0}) {
		t.Errorf("usage is %+v", u)
	}
	expunge(t, small, 1)
	if used := small.Usage().Size; used != 0 {
		t.Errorf("empty account uses %d bytes", used)
	}
	w.deliver(big, "small")
	w.wantInbox("large")
}

// TestRule2DiskRoom: pending bytes need room twice over, and some is spared.
func TestRule2DiskRoom(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	w := newWorld(t, func(o *Options) { o.DiskFree = func() (int64, error) { return free.Load(), nil } }, "a")
	a := w.account("a")
	msg := testMessage(1, "x")
	size := int64(len(msg))
	reached, release := w.hold(FaultApplied)
	for _, step := range []struct {
		name string
		free int64
		want error
	}{
		{"a byte is missing", 2*size + diskSpare - 1, ErrDiskFull},
		{"there is just room", 2*size + diskSpare, nil},
		{"what waits needs room too", 2*size + diskSpare, ErrDiskFull},
		{"room for both", 4*size + diskSpare, nil},
	} {
		free.Store(step.free)
		if err := deliver(t, w.d, msg, "", a); !errors.Is(err, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.want)
		}
		if step.want == nil {
			<-reached
		}
	}
	release(nil)
	free.Store(diskSpare)
	if _, err := a.Stage(t.Context(), size, bytes.NewReader(msg)); !errors.Is(err, ErrDiskFull) {
		t.Errorf("staging: got %v", err)
	}
	w.wantInbox("a", msg, msg)
}

// TestRule2OddStrings: nothing in a message or an address can make an apply fail.
func TestRule2OddStrings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	long := strings.Repeat("long ", 20_000)
	var want [][]byte
	for _, header := range []string{
		"Subject: a\x00b\r\nMessage-ID: <nul\x00@example.org>\r\n",
		"Subject: " + long + "\r\nMessage-ID: <" + strings.Repeat("x", 3000) + "@example.org>\r\n",
		"Subject: \xff\xfe\r\nMessage-ID: <\xff@example.org>\r\nReferences: <\xff@example.org> <a\x00@b>\r\n",
		"Subject: =?utf-8?q?" + strings.Repeat("=E2=82=AC", 400) + "?=\r\n",
		"Subject:\r\nMessage-ID:\r\n", "\x00\x00\x00", "",
	} {
		msg := []byte(header + "\r\nbody\r\n")
		an, err := Analyze(bytes.NewReader(msg), int64(len(msg)))
		if err != nil {
			t.Fatal(err)
		}
		dl := Delivery{
			Content: w.d.ContentBytes(msg), Analysis: an, Received: time.Now(),
			Facts: Facts{EHLO: "\x00\xff", MailFrom: long, RemoteIP: "\x00"},
			To:    []Recipient{{Account: w.account("a"), RcptTo: "\x00" + long, Reason: "\x00"}},
		}
		if err := w.d.Deliver(t.Context(), dl); err != nil {
			t.Fatal(err)
		}
		if _, err := appendTo(t, w.account("a"), "Inbox", msg, AppendOptions{}); err != nil {
			t.Errorf("appending: %v", err)
		}
		want = append(want, msg, msg)
		w.account("a").WaitDurable(t.Context())
	}
	w.wantInbox("a", want...)
	for i := range want {
		e := w.email("a", i)
		for _, s := range []string{e.MessageID, e.Subject, e.Facts.RcptTo} {
			if len(s) > 512 || strings.Contains(s, "\x00") {
				t.Errorf("message %d has %d bytes %.50q", i, len(s), s)
			}
		}
	}
}

// TestRule2Refusals: what can't be applied is refused, and nothing stays taken.
func TestRule2Refusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	msg := testMessage(1, "x")
	for _, tc := range []struct {
		name string
		rcpt Recipient
		want error
	}{
		{"NUL in the mailbox", Recipient{Mailbox: "a\x00b"}, ErrMailboxName},
		{"a mailbox too long", Recipient{Mailbox: strings.Repeat("x", mailboxNameMax+1)}, ErrMailboxName},
		{"a keyword that is none", Recipient{Keywords: []string{"a b"}}, ErrKeyword},
		{"a keyword not in its form", Recipient{Keywords: []string{"Work"}}, ErrKeyword},
		{"a prefix too long", Recipient{Prefix: make([]byte, PrefixMax+1)}, nil},
	} {
		tc.rcpt.Account = w.account("b")
		err := w.d.Deliver(t.Context(), Delivery{Content: w.d.ContentBytes(msg), To: []Recipient{{Account: w.account("a")}, tc.rcpt}})
		var refused *RecipientError
		if !errors.As(err, &refused) || refused.Index != 1 || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
		for _, name := range []string{"a", "b"} {
			if used := w.account(name).Usage().Size; used != 0 {
				t.Errorf("%s: account %s has %d bytes reserved", tc.name, name, used)
			}
		}
	}
	if n := w.d.backlog.bytes(); n != 0 {
		t.Errorf("%d bytes of the backlog are taken", n)
	}
	if err := w.d.Deliver(t.Context(), Delivery{Content: w.d.ContentBytes(msg)}); err == nil {
		t.Error("delivered to nobody")
	}
	if err := w.d.Deliver(t.Context(), Delivery{Content: w.d.ContentBytes(make([]byte, InlineMax+1)), To: []Recipient{{Account: w.account("a")}}}); err == nil {
		t.Error("a content too large for memory was taken")
	}
}

// TestRule3IDs: ids only grow, over restarts, refused deliveries and strays.
func TestRule3IDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	last := int64(0)
	next := func(what string) {
		t.Helper()
		n := len(w.inbox("a"))
		w.deliver(testMessage(n, "x"), "a")
		if id := w.email("a", n).ID; id <= last {
			t.Errorf("%s: id %d after %d", what, id, last)
		}
		last = w.account("a").lastID.Load()
	}
	next("at first")
	next("again")
	w.restart()
	next("after a restart")

	expunge(t, w.account("a"), 3)
	eventually(t, "the file is erased", func() bool { return len(w.files("accounts", "a", "msg", "a")) == 2 })
	w.restart()
	next("after the newest was erased")

	reached, release := w.hold(journal.FaultBatchBeforeWrite)
	done := make(chan error)
	go func() { done <- deliver(t, w.d, testMessage(90, "x"), "", w.account("a")) }()
	<-reached
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := w.d.Deliver(ctx, Delivery{Content: w.d.ContentBytes(testMessage(91, "x")), To: []Recipient{{Account: w.account("a")}}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("delivery with a context that has ended: got %v", err)
	}
	release(nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	next("after a delivery that was given up")

	stray := filepath.Join(w.dir, "accounts", "a", "msg", "a", fmt.Sprint(last+500))
	w.stop()
	if err := os.WriteFile(stray, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	last += 500
	next("after a stray")
	if _, err := os.Stat(stray); !os.IsNotExist(err) {
		t.Errorf("stray file is still there: %v", err)
	}

	s, err := w.account("a").Stage(t.Context(), 3, strings.NewReader("a\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := w.crashed()
	c.start()
	n := len(c.inbox("a"))
	c.deliver(testMessage(n, "x"), "a")
	if id := c.email("a", n).ID; id <= s.id {
		t.Errorf("id %d after a crash, staged was %d", id, s.id)
	}
	if err := s.Discard(); err != nil {
		t.Error(err)
	}
}

// TestRule4PathFound: what stands at a message's path is not trusted, and as it
// may be shared with a backup it is not changed.
func TestRule4PathFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		file bool
		also string // A second account.
	}{
		{"inline", false, ""}, {"in a file", true, ""}, {"inline for two", false, "b"}, {"in a file for two", true, "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a", "b")
			a := w.account("a")
			path := a.messagePath(a.lastID.Load() + 1)
			backup := filepath.Join(t.TempDir(), "backup")
			err := errors.Join(
				os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(backup, []byte("torn"), 0o600), os.Link(backup, path),
			)
			if err != nil {
				t.Fatal(err)
			}
			names := strings.Fields("a " + tc.also)
			msg := testMessage(1, "x")
			if tc.file {
				err = w.deliverFile(msg, names...)
			} else {
				w.deliver(msg, names...)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				w.wantInbox(name, msg)
			}
			if data, err := os.ReadFile(backup); err != nil || string(data) != "torn" {
				t.Errorf("backup is %q, %v", data, err)
			}
		})
	}
}

// TestRule4SharedContent: accounts have links to one file, of the journal or
// made for it.
func TestRule4SharedContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b", "c")
	w.deliver(testMessage(0, "x"), "a", "b")
	w.deliver(testMessage(1, "x"), "a")
	if err := w.deliverFile(testMessage(2, "x"), "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	info := func(name string, n int) os.FileInfo {
		t.Helper()
		fi, err := os.Stat(w.account(name).messagePath(w.email(name, n).ID))
		if err != nil {
			t.Fatal(err)
		}
		return fi
	}
	if !os.SameFile(info("a", 0), info("b", 0)) {
		t.Error("inline content is not shared")
	}
	if !os.SameFile(info("a", 2), info("b", 1)) || !os.SameFile(info("a", 2), info("c", 0)) {
		t.Error("content of a file is not shared")
	}
	if names := w.files("journal", "files"); len(names) != 1 {
		t.Errorf("journal has files %v, want that of the record", names)
	}
}

// TestRule4LinksFail: with the accounts on another file system content is copied.
func TestRule4LinksFail(t *testing.T) {
	t.Parallel()
	other, err := os.MkdirTemp("/dev/shm", "mox-store-test-")
	if err != nil {
		t.Skipf("no second file system: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	dir := t.TempDir()
	if err := os.Symlink(other, filepath.Join(dir, "accounts")); err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(dir, "probe")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(probe, filepath.Join(other, "probe")); !errors.Is(err, syscall.EXDEV) {
		t.Skipf("no second file system: %v", err)
	}
	w := &world{t: t, dir: dir}
	w.start()
	for _, name := range []string{"a", "b"} {
		a, err := w.d.Create(t.Context(), name, NewAccount{})
		if err != nil {
			t.Fatal(err)
		}
		w.open[name] = a
	}
	msg, large := testMessage(0, "x"), testMessage(1, "y")
	w.deliver(msg, "a", "b")
	if err := w.deliverFile(large, "a", "b"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		w.wantInbox(name, msg, large)
	}
	check(t, w.d)
	w.stop()
}

// TestRule4Order: an account's records are applied in sequence order, and at most
// 100 in a commit when an Update waits.
func TestRule4Order(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	reached, release := w.hold(FaultApplied)
	var want [][]byte
	for i := range 350 {
		want = append(want, testMessage(i, "x"))
		w.deliver(want[i], "a")
	}
	<-reached
	var sizes []int
	applied := w.faults.Hits(FaultApplied) - 1
	w.faults.Arm(FaultCommitBefore, func() error {
		n := w.faults.Hits(FaultApplied)
		sizes = append(sizes, n-applied)
		applied = n
		return nil
	})
	updated := make(chan error, 2)
	for range 2 { // One runs with the first commit, at the latest; the other waits.
		go func() {
			updated <- a.Update(t.Context(), func(tx *Tx) error { tx.nextModSeq(); return nil })
		}()
	}
	eventually(t, "the updates wait", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.updates) == 2 })
	release(nil)
	if err := errors.Join(<-updated, <-updated); err != nil {
		t.Error(err)
	}
	w.wantInbox("a", want...)
	w.faults.Disarm(FaultCommitBefore)
	a.View(t.Context(), func(*Tx) error { return nil })
	if len(sizes) < 2 || sizes[1] > applyMaxWaiting {
		t.Errorf("commits had %v records", sizes)
	}
}

// TestRule6Segments: a segment goes with its files, only after its records are
// applied in every account and the accounts' files are synced.
func TestRule6Segments(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.SegmentSize = 64 << 10 }, "a", "b")
	segments := func() int { return len(w.d.journal.Segments()) }
	unsynced := errors.New("sync failed")
	w.faults.Arm(FaultCleanSynced, func() error { return unsynced })
	var want [][]byte
	add := func(names ...string) {
		t.Helper()
		n := len(want)
		want = append(want, testMessage(n, strings.Repeat("y", 8000)))
		if n%4 == 0 {
			if err := w.deliverFile(want[n], names...); err != nil {
				t.Fatal(err)
			}
			return
		}
		w.deliver(want[n], names...)
	}
	for range 40 {
		add("a", "b")
	}
	w.wantInbox("a", want...)
	w.wantInbox("b", want...)
	if n := segments(); n < 4 {
		t.Errorf("%d segments: some went without a sync", n)
	}
	if n := w.faults.Hits(journal.FaultRemoveBefore); n > 0 {
		t.Errorf("removing was begun %d times", n)
	}

	w.faults.Disarm(FaultCleanSynced)
	mend := w.stick("b")
	defer mend()
	w.faults.Arm(journal.FaultRemoveBefore, func() error {
		if w.faults.Hits(FaultCleanSynced) == 0 {
			t.Error("removed without a sync")
		}
		return nil
	})
	add("b")
	stuck := w.d.journal.Head()
	for range 40 {
		add("a")
	}
	eventually(t, "segments are removed", func() bool { return w.d.journal.Segments()[0].First > 1 })
	if s := w.d.journal.Segments()[0]; s.First > stuck {
		t.Errorf("first segment is %+v, record %d is not applied", s, stuck)
	}
	mend()
	eventually(t, "all is applied", func() bool { return w.d.backlog.bytes() == 0 })
	for range 10 {
		add("a", "b")
	}
	eventually(t, "all but the last are removed", func() bool { return segments() <= 2 })
	eventually(t, "their files are removed", func() bool { return len(w.files("journal", "files")) <= 6 })
}

// TestRule6DurableNotHanded: a record that is durable, and of which its accounts
// have not heard yet, holds its segment.
func TestRule6DurableNotHanded(t *testing.T) {
	t.Parallel()
	var tr tracker
	tr.push(1, 1)
	tr.done(1)
	if n := tr.through(); n != 1 {
		t.Errorf("all that was handed out is applied, through %d", n)
	}
	// The journal's head may be 2 now.
	tr.push(3, 2)
	if n := tr.through(); n != 2 {
		t.Errorf("through %d, record 3 is not applied", n)
	}
	tr.done(3)
	if n := tr.through(); n != 2 {
		t.Errorf("through %d, record 3 is applied in one of two accounts", n)
	}
	tr.done(3)
	if n := tr.through(); n != 3 {
		t.Errorf("through %d", n)
	}
}

// TestRule9JournalFails: after an error of writing nothing more is taken, the
// process is told, and a restart finds what is on disk.
func TestRule9JournalFails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		point string
		file  bool
		there int // Of the refused message after the restart.
	}{
		{journal.FaultBatchBeforeWrite, false, 0},
		{journal.FaultBatchBeforeSync, false, 1}, // In the page cache, which survives here.
		{journal.FaultBatchAfterSync, false, 1},
		{journal.FaultBatchAfterSync, true, 1},
	} {
		t.Run(fmt.Sprint(tc.point, tc.file), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a", "b")
			first, second := testMessage(0, "x"), testMessage(1, "x")
			w.deliver(first, "a", "b")
			eio := fmt.Errorf("write: %w", syscall.EIO)
			w.faults.Arm(tc.point, func() error { return eio })
			send := func() error {
				if tc.file {
					return w.deliverFile(second, "a", "b")
				}
				return deliver(t, w.d, second, "", w.account("a"), w.account("b"))
			}
			if err := send(); !errors.Is(err, journal.ErrFailed) || !errors.Is(err, syscall.EIO) {
				t.Errorf("got %v", err)
			}
			select {
			case <-w.d.Failed():
			case <-time.After(10 * time.Second):
				t.Error("Failed is not closed")
			}
			if err := w.d.Err(); !errors.Is(err, syscall.EIO) {
				t.Errorf("Err is %v", err)
			}
			w.faults.Disarm(tc.point)
			if err := deliver(t, w.d, second, "", w.account("a")); !errors.Is(err, journal.ErrFailed) {
				t.Errorf("a later delivery got %v", err)
			}
			if used := w.account("a").Usage().Size; used != w.email("a", 0).Size {
				t.Errorf("%d bytes are reserved", used)
			}
			// What users do goes on: it needs no journal.
			if _, err := appendTo(t, w.account("a"), "Inbox", testMessage(2, "x"), AppendOptions{}); err != nil {
				t.Error(err)
			}
			w.restart()
			for _, name := range []string{"a", "b"} {
				n := 0
				for _, s := range w.inbox(name) {
					if strings.HasSuffix(s, string(second)) {
						n++
					}
				}
				if n != tc.there {
					t.Errorf("account %s has the message %d times, want %d", name, n, tc.there)
				}
			}
		})
	}
}

// TestRule13Visible: after WaitDurable a delivery is there, and in a quiet server
// it is within 10 ms in any case.
func TestRule13Visible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	watch := a.Watch()
	defer watch.Close()
	var inboxID int64
	err := a.View(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		inboxID = mb.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Select(t.Context(), inboxID); err != nil {
		t.Fatal(err)
	}
	best := time.Hour
	for i := range 20 {
		w.deliver(testMessage(i, "x"), "a")
		at := time.Now()
		<-watch.Signal()
		best = min(best, time.Since(at))
		if changes := watch.Take(TakeAll); len(changes) != 1 || changes[0].Kind != MessageAdded {
			t.Errorf("got %+v", changes)
		}
	}
	if best > 10*time.Millisecond {
		t.Errorf("visible after %v at best", best)
	}
	for i := range 50 {
		w.deliver(testMessage(100+i, "x"), "a")
		if n := len(w.inbox("a")); n != 21+i { // It calls WaitDurable.
			t.Fatalf("%d messages after delivery %d", n, i)
		}
	}
}

// TestRule13Bounded: the wait is at most a second, and none while applying fails.
func TestRule13Bounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	reached, release := w.hold(FaultApplied)
	w.deliver(testMessage(0, "x"), "a")
	<-reached
	at := time.Now()
	a.WaitDurable(t.Context())
	if took := time.Since(at); took < 900*time.Millisecond {
		t.Errorf("waited %v", took)
	}
	release(syscall.EIO)
	eventually(t, "applying fails", a.isFailing)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	a.WaitDurable(ctx)
	if ctx.Err() != nil && a.isFailing() {
		t.Error("waited though applying fails")
	}
	eventually(t, "it is applied after all", func() bool { return len(w.inbox("a")) == 1 })
}

// TestRule4TriedAgain: a file placed by an apply that failed later, which may be
// a link to the very file it is made from, leaves nothing behind.
func TestRule4TriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	w.faults.ArmNth(FaultFilePlaced, 1, func() error { return syscall.EIO })
	msg := testMessage(0, "x")
	if err := w.deliverFile(msg, "a", "b"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		eventually(t, "it is applied", func() bool { return len(w.inbox(name)) == 1 })
		if names := w.files("accounts", name, "msg", "a"); len(names) != 1 {
			t.Errorf("account %s has files %v", name, names)
		}
	}
}

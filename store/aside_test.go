package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/journal"
)

// stuckWorld is one in which account "stuck" has 10 records put aside, and "b"
// goes on. It must be made in a bubble.
func stuckWorld(t *testing.T) (w *world, mend func(), want [][]byte) {
	t.Helper()
	w = newWorld(t, func(o *Options) { o.SegmentSize = 64 << 10 }, "stuck", "b")
	mend = w.stick("stuck")
	for i := range 10 {
		want = append(want, testMessage(i, strings.Repeat("x", 3000)))
		if i%3 == 0 {
			if err := w.deliverFile(want[i], "stuck", "b"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		w.deliver(want[i], "stuck", "b")
	}
	for i := range 30 {
		w.deliver(testMessage(100+i, strings.Repeat("y", 8000)), "b")
	}
	if first := w.d.journal.Segments()[0].First; first != 1 {
		t.Errorf("first segment begins with %d, but record 1 is not applied", first)
	}
	time.Sleep(5 * time.Minute)
	eventually(t, "the segments go", func() bool { return len(w.d.journal.Segments()) <= 2 })
	if n := len(asideNames(w)); n != 10 {
		t.Errorf("%d records aside", n)
	}
	if n := w.d.backlog.bytes(); n != 0 {
		t.Errorf("backlog has %d bytes", n)
	}
	return w, mend, want
}

// asideNames returns the records put aside.
func asideNames(w *world) (names []string) {
	for _, name := range w.files("journal", "aside") {
		if !strings.HasSuffix(name, ".content") {
			names = append(names, name)
		}
	}
	return names
}

// TestRule17Aside: a stuck account does not pin the segments of others; what was
// put aside is applied first when it goes on.
func TestRule17Aside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, mend, want := stuckWorld(t)
		last := testMessage(50, "the last")
		w.deliver(last, "stuck")
		mend()
		time.Sleep(time.Minute)
		w.wantInbox("stuck", append(want, last)...)
		eventually(t, "aside is empty", func() bool { return len(w.files("journal", "aside")) == 0 })
		if used := w.account("stuck").Usage().Size; used != sizeOf(t, w.account("stuck")) {
			t.Errorf("usage is %d", used)
		}
	})
}

// TestRule17AsideRestart: the same over a restart, and with a crash after that.
func TestRule17AsideRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, mend, want := stuckWorld(t)
		w.broken = true // Which mend ends.
		w.stop()
		w.broken = false
		mend()
		w.start()
		last := testMessage(50, "the last")
		w.deliver(last, "stuck")
		want = append(want, last)
		w.account("stuck").WaitDurable(t.Context())
		w.wantInbox("stuck", want...)
		eventually(t, "aside is empty", func() bool { return len(w.files("journal", "aside")) == 0 })
		w.restart()
		w.wantInbox("stuck", want...)
	})
}

// TestRule17AsideUnsynced: a record that was put aside goes only after the file
// that was made of it is on disk; a start after a crash looks at that file.
func TestRule17AsideUnsynced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, mend, want := stuckWorld(t)
		w.faults.Arm(FaultCleanSynced, func() error { return errors.New("sync failed") })
		mend()
		time.Sleep(time.Minute)
		w.wantInbox("stuck", want...)
		if n := len(asideNames(w)); n != 10 {
			t.Fatalf("%d records aside, of 10 whose files may not be on disk", n)
		}
		c := w.crashed()
		for i := range want {
			path := filepath.Join(c.dir, "accounts", "stuck", "msg", "a", fmt.Sprint(w.email("stuck", i).ID))
			err := os.Remove(path)
			if i%2 == 0 {
				err = errors.Join(err, os.WriteFile(path, []byte("torn"), 0o600))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		w.faults.Disarm(FaultCleanSynced)
		c.start()
		c.wantInbox("stuck", want...)
		eventually(t, "aside is empty", func() bool { return len(c.files("journal", "aside")) == 0 })
	})
}

// TestRule14AsideInBackup: a backup has what was put aside, also what is applied
// while it runs.
func TestRule14AsideInBackup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, mend, want := stuckWorld(t)
		dst := filepath.Join(t.TempDir(), "backup")
		// The account's database is copied by now, and the journal not.
		w.faults.ArmNth(FaultBackup, 1, func() error {
			mend()
			time.Sleep(time.Minute)
			w.wantInbox("stuck", want...)
			return nil
		})
		if _, err := w.d.CopyTo(t.Context(), dst, CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "aside is empty", func() bool { return len(w.files("journal", "aside")) == 0 })
		c := &world{t: t, dir: dst}
		c.start()
		c.wantInbox("stuck", want...)
		check(t, c.d)
		c.stop()
	})
}

// TestRule17AsidePoison: a record put aside can be poison too.
func TestRule17AsidePoison(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, mend, _ := stuckWorld(t)
		w.faults.Arm(FaultApplied, func() error { return errors.New("boom") })
		mend()
		time.Sleep(10 * time.Minute)
		w.faults.Disarm(FaultApplied)
		last := testMessage(50, "the last")
		w.deliver(last, "stuck")
		time.Sleep(time.Minute)
		w.wantInbox("stuck", last)
		failed := w.files("journal", "failed")
		if len(failed) != 14 {
			t.Errorf("failed has %v", failed)
		}
		for _, name := range failed {
			if err := os.Remove(filepath.Join(w.dir, "journal", "failed", name)); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestRule17Backlog: what is accepted and not applied is bounded; who waits too
// long for room is sent away.
func TestRule17Backlog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.BacklogMax = 10_000 }, "a")
		a := w.account("a")
		mend := w.stick("a")
		msg := testMessage(0, strings.Repeat("x", 4000))
		w.deliver(msg, "a")
		w.deliver(msg, "a")
		at := time.Now()
		if err := deliver(t, w.d, msg, "", a); !errors.Is(err, ErrBusy) || time.Since(at) != backlogWait {
			t.Errorf("got %v after %v", err, time.Since(at))
		}
		done := make(chan error)
		go func() { done <- deliver(t, w.d, msg, "", a) }()
		mend() // The next try comes soon.
		if err := <-done; err != nil {
			t.Errorf("after room was made: %v", err)
		}
		a.WaitDurable(t.Context())
		w.wantInbox("a", msg, msg, msg)
		huge := testMessage(1, strings.Repeat("x", 20_000))
		w.deliver(huge, "a") // One alone fits always.
		w.wantInbox("a", msg, msg, msg, huge)
	})
}

// TestRule18: a hand-over happens once, however often the queue tries.
func TestRule18(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	msg := testMessage(0, "x")
	send := func(w *world, key string) error {
		return w.d.Deliver(t.Context(), Delivery{Content: w.d.ContentBytes(msg), Analysis: analysis(t, msg), Received: time.Now(), To: []Recipient{{Account: w.account("a"), Key: key}}})
	}
	handedOver := func(w *world, key string, want bool) {
		t.Helper()
		got, err := w.account("a").HandedOver(t.Context(), key)
		if err != nil || got != want {
			t.Errorf("handed over %s: %v, %v", key, got, err)
		}
	}
	handedOver(w, "k1", false)
	reached, release := w.hold(FaultCommitBefore)
	if err := send(w, "k1"); err != nil {
		t.Fatal(err)
	}
	<-reached
	if err := send(w, "k1"); !errors.Is(err, ErrHandoverPending) {
		t.Errorf("while it is pending: got %v", err)
	}
	c := w.crashed()
	release(nil)
	for _, w := range []*world{w, c} { // The same after a crash.
		if w == c {
			c.start()
		}
		handedOver(w, "k1", true)
		used := w.account("a").Usage().Size
		if err := send(w, "k1"); err != nil {
			t.Errorf("a retry: got %v", err)
		}
		w.wantInbox("a", msg)
		if n := w.account("a").Usage().Size; n != used {
			t.Errorf("the retry takes %d bytes", n-used)
		}
		expunge(t, w.account("a"), 1) // The key does not depend on the Email.
		w.restart()
		handedOver(w, "k1", true)
		if err := send(w, "k1"); err != nil {
			t.Error(err)
		}
		w.wantInbox("a")
		if err := w.account("a").ConfirmHandover(t.Context(), []string{"k1", "unknown"}); err != nil {
			t.Error(err)
		}
		handedOver(w, "k1", false)
		if err := errors.Join(send(w, "k2"), send(w, "k3")); err != nil {
			t.Error(err)
		}
		w.wantInbox("a", msg, msg)
	}
	twice := Delivery{Content: w.d.ContentBytes(msg), To: []Recipient{{Account: w.account("a"), Key: "k9"}, {Account: w.account("a"), Key: "k9"}}}
	if err := w.d.Deliver(t.Context(), twice); !errors.Is(err, ErrHandoverPending) {
		t.Errorf("the same key twice: %v", err)
	}
	if err := send(w, "k9"); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// TestRule18Failing: the queue is not kept waiting by an account that is stuck,
// and a key is known though its record is aside, also after a restart.
func TestRule18Failing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.SegmentSize = 64 << 10 }, "a", "b")
		mend := w.stick("a")
		msg := testMessage(0, "x")
		send := func() error {
			return w.d.Deliver(t.Context(), Delivery{Content: w.d.ContentBytes(msg), Analysis: analysis(t, msg), Received: time.Now(), To: []Recipient{{Account: w.account("a"), Key: "k"}}})
		}
		pending := func(when string) {
			t.Helper()
			if _, err := w.account("a").HandedOver(t.Context(), "k"); !errors.Is(err, ErrHandoverPending) {
				t.Errorf("%s: asked, got %v", when, err)
			}
			if err := send(); !errors.Is(err, ErrHandoverPending) {
				t.Errorf("%s: sent, got %v", when, err)
			}
		}
		if err := send(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		pending("at first")
		for i := range 20 {
			w.deliver(testMessage(i, strings.Repeat("x", 8000)), "b")
		}
		time.Sleep(5*time.Minute + 10*time.Second) // Not at the moment of a retry, which may come after the mending.
		if n := len(asideNames(w)); n != 1 {
			t.Errorf("%d records aside", n)
		}
		pending("aside")
		mend()
		w.stop()
		w.armed = func(s *fault.Set) { s.Arm(FaultFilePlaced, func() error { return syscall.EIO }) }
		w.start()
		w.account("a")
		time.Sleep(time.Second)
		pending("after a restart")
		w.faults.Disarm(FaultFilePlaced)
		time.Sleep(time.Minute)
		w.wantInbox("a", msg)
		if ok, err := w.account("a").HandedOver(t.Context(), "k"); !ok || err != nil {
			t.Errorf("got %v, %v", ok, err)
		}
	})
}

// TestContentLink: a message file of the queue is taken without writing it again.
func TestContentLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	msg := testMessage(0, "x")
	path := filepath.Join(w.dir, "queued")
	if err := os.WriteFile(path, msg, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := w.d.ContentLink(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, c.Size())
	if _, err := c.ReaderAt().ReadAt(got, 0); err != nil || !bytes.Equal(got, msg) {
		t.Errorf("content is %q, %v", got, err)
	}
	if err := w.d.Deliver(t.Context(), Delivery{Content: c, Analysis: analysis(t, msg), Received: time.Now(), To: []Recipient{{Account: w.account("a")}}}); err != nil {
		t.Fatal(err)
	}
	w.wantInbox("a", msg)
	queued, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(w.account("a").messagePath(w.email("a", 0).ID)); err != nil || !os.SameFile(fi, queued) {
		t.Errorf("not the same file: %v", err)
	}
	if c, err = w.d.ContentFile(t.Context(), 3, strings.NewReader("abc")); err != nil {
		t.Fatal(err)
	}
	if err := c.Discard(); err != nil {
		t.Error(err)
	}
	if names := w.files("journal", "files"); len(names) != 1 {
		t.Errorf("journal has files %v", names)
	}
	if _, err := w.d.ContentFile(t.Context(), 4, strings.NewReader("abc")); err == nil {
		t.Error("a content shorter than said was taken")
	}
	if r, err := journal.Verify(t.Context(), filepath.Join(w.dir, "journal"), nil); err != nil || len(r.Problems) > 0 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

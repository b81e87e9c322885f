package queue

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestFullDisk has the disk full at each point where something is written, while a
// message comes, is about to be delivered and has been: nothing is lost, nothing is
// delivered twice, and all goes on in the same process when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, point := range []string{FaultContentWritten, FaultContentSynced, FaultFiled, FaultCommitBefore} {
		for _, size := range []int{10, 200 << 10} { // In the log, or in a file first.
			t.Run(fmt.Sprint(point, " ", size), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { testFullDisk(t, point, size) })
			})
		}
	}
}

func testFullDisk(t *testing.T, point string, size int) {
	w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, change: func(o *Options) { o.InlineMax = 16 << 10 }}
	w.start()
	var full atomic.Bool
	w.faults.Arm(point, func() error {
		if full.Load() {
			return &syscallError{syscall.ENOSPC}
		}
		return nil
	})
	content := strings.Repeat("x", size)
	w.add(content, "mjl@example.org", "a@remote.example", "b@other.example", "c@local.example")
	running := w.next()
	full.Store(true)
	accepted := map[string]bool{"a": true, "b": true, "c": true}
	for _, rcpt := range []string{"d", "e"} {
		_, err := w.tryAdd(content, message(t, "mjl@example.org", rcpt+"@remote.example"))
		if accepted[rcpt] = err == nil; err != nil && !errors.Is(err, ErrDiskFull) {
			t.Errorf("adding while it is full: %v", err)
		}
	}
	delivered := map[string]int{}
	deliver := func(work *Work) {
		for _, m := range work.Messages {
			delivered[m.Rcpt[:1]]++
		}
		w.finish(work, ok()) // No error, whatever is on disk.
	}
	deliver(running)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			work, err := w.db.Next(t.Context())
			if errors.Is(err, ErrClosed) {
				return
			} else if err != nil {
				t.Errorf("next: %v", err)
				return
			}
			deliver(work)
		}
	}()
	time.Sleep(time.Minute)
	if err := w.db.Err(); err != nil {
		t.Fatalf("the queue has failed: %v", err)
	}
	if got := strings.Count(w.log.String(), "level=ERROR"); got > 1 {
		t.Errorf("%d errors logged in a minute:\n%s", got, w.log)
	}
	full.Store(false)
	time.Sleep(10 * fullRetry)
	w.add(content, "mjl@example.org", "f@remote.example")
	accepted["f"] = true
	time.Sleep(10 * fullRetry)
	if left := w.list(Filter{}); len(left) != 0 {
		t.Errorf("left are %s", rcpts(left))
	}
	for rcpt, want := range accepted {
		if n := delivered[rcpt]; want && n != 1 || !want && n != 0 {
			t.Errorf("%s was accepted: %v, and delivered %d times", rcpt, want, n)
		}
	}
	w.check()
	w.stop()
	<-done
}

// syscallError is an error as package os has it.
type syscallError struct{ err error }

func (e *syscallError) Error() string { return "write x: " + e.err.Error() }
func (e *syscallError) Unwrap() error { return e.err }

// TestFullStop stops while the disk is full: what was delivered and is not on record is
// delivered again, which is told, and all else is as it was.
func TestFullStop(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	w.start()
	w.add("content", "mjl@example.org", "a@remote.example", "b@other.example")
	work := w.next()
	w.faults.Arm(FaultCommitBefore, func() error { return syscall.ENOSPC })
	w.finish(work, ok())
	if err := w.db.Finish(t.Context(), work, nil); !errors.Is(err, ErrLease) {
		t.Errorf("finished again: got %v", err)
	}
	if got := w.db.Stats(); got.Messages[Delivering] != 1 || got.Messages[Waiting] != 1 {
		t.Errorf("got %+v", got)
	}
	w.stop()
	if !strings.Contains(w.log.String(), "deliveries are not on record") {
		t.Errorf("logged %s", w.log)
	}
	w.start()
	if got := w.states(); got != "a waiting, b waiting" {
		t.Errorf("got %s", got)
	}
	w.check()
	w.stop()
}

// TestFullQuick has attempts begin before they are on record, which there is no room
// for: they count all the same.
func TestFullQuick(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, change: func(o *Options) { o.Cautious = -1 }}
	w.start()
	w.add("content", "mjl@example.org", "a@remote.example")
	w.add("content", "mjl@example.org", "b@other.example")
	var full atomic.Bool
	w.faults.Arm(FaultCommitBefore, func() error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	full.Store(true)
	work := w.next() // There is another, so it does not wait.
	w.finish(work, Report{Retry: true, Next: time.Now().Add(time.Hour), Result: Result{Error: "busy", Start: time.Now()}})
	full.Store(false)
	w.db.payOwed()
	m, err := w.db.Get(t.Context(), work.Messages[0].ID)
	if err != nil || m.Attempts != 1 || len(m.Results) != 1 || m.Results[0].Error != "busy" || m.State != Waiting {
		t.Errorf("got %+v, %v", m, err)
	}
	w.check()
	w.stop()
}

package queue

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mjl-/mox/atomicfile"
)

// smallDisk mounts a file system of some bytes, and returns its directory.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("skipped: needs root, to mount a file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("skipped: mounting a file system: %v", err) // As in a container.
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes all room there is, but for some bytes, until it is removed.
func fillDisk(t *testing.T, dir string, left int64) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	room, err := atomicfile.Free(dir)
	errorless(t, err)
	f, err := os.Create(name)
	errorless(t, err)
	for block := make([]byte, 4096); room > left; room -= int64(len(block)) {
		if _, err = f.Write(block); err != nil {
			break
		}
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	errorless(t, f.Close())
	return func() { errorless(t, os.Remove(name)) }
}

// TestSmallDisk has a disk of a few MiB become full, some times, with more or less
// room left, while mail comes and goes: what was accepted is delivered, once, in the
// same process, and what is found on the disk meanwhile is whole.
func TestSmallDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 8<<20)
	w := &world{t: t, dir: filepath.Join(dir, "queue"), log: &bytes.Buffer{}, change: func(o *Options) {
		o.InlineMax = 8 << 10
		o.DiskFree = func() (int64, error) {
			free, err := atomicfile.Free(dir)
			return free + diskSpare, err // Nothing is spared, so that writing fails.
		}
	}}
	w.start()
	accepted, delivered := map[string]bool{}, map[string]int{}
	add := func() (refused bool) {
		rcpt := fmt.Sprintf("r%d@%s.example", len(accepted), []string{"remote", "other", "local"}[rand.IntN(3)])
		_, err := w.tryAdd(strings.Repeat("x", []int{10, 4 << 10, 20 << 10}[rand.IntN(3)]), message(t, "mjl@example.org", rcpt))
		if err != nil && !errors.Is(err, ErrDiskFull) {
			t.Errorf("adding: %v", err)
		}
		accepted[rcpt] = err == nil
		return err != nil
	}
	deliver := func(n int) {
		for range n {
			w.db.mu.Lock()
			w.db.full.until = time.Time{} // So that it need not wait.
			w.db.mu.Unlock()
			work, err := w.db.tryNext(t.Context())
			if err != nil {
				t.Errorf("next: %v", err)
			}
			if work == nil {
				return
			}
			for _, m := range work.Messages {
				delivered[m.Rcpt]++
			}
			w.finish(work, ok())
		}
	}
	refusals := 0
	for round := range 6 {
		for range 20 {
			add()
		}
		deliver(10)
		free := fillDisk(t, dir, int64(round%3)*16<<10)
		for range 40 {
			if add() {
				refusals++
			}
			deliver(1)
		}
		if err := w.db.Err(); err != nil {
			t.Fatalf("round %d: the queue has failed: %v", round, err)
		}
		free()
		w.db.payOwed()
		if add() {
			t.Errorf("round %d: refused though there is room", round)
		}
		c := w.crashed()
		c.start()
		c.check()
	}
	deliver(1000)
	w.db.payOwed()
	deliver(1000)
	if left := w.list(Filter{}); len(left) != 0 || refusals == 0 {
		t.Errorf("left are %s, %d were refused", rcpts(left), refusals)
	}
	for rcpt, ok := range accepted {
		if n := delivered[rcpt]; ok && n != 1 || !ok && n != 0 {
			t.Errorf("%s was accepted: %v, and delivered %d times", rcpt, ok, n)
		}
	}
	w.check()
	w.stop()
}

// TestSmallDiskCommit has no room for the pages of a large change: nothing of it is
// done, and all of it when there is room.
func TestSmallDiskCommit(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 8<<20)
	w := &world{t: t, dir: filepath.Join(dir, "queue"), log: &bytes.Buffer{}}
	w.change = func(o *Options) { o.DiskFree = func() (int64, error) { return 1 << 40, nil } }
	w.start()
	var to []string
	for i := range 2000 {
		to = append(to, fmt.Sprintf("r%d@remote.example", i))
	}
	w.add("content", "mjl@example.org", to...)
	w.flush()
	free := fillDisk(t, dir, 0)
	before, err := w.db.sequence()
	errorless(t, err)
	if held, err := w.db.Hold(t.Context(), Filter{}); !errors.Is(err, ErrDiskFull) || len(held) != 0 || w.db.Err() != nil {
		t.Errorf("held %d, %v", len(held), err)
	}
	if _, held, err := w.db.AddHoldRule(t.Context(), HoldRule{}); held != 0 || err != nil && !errors.Is(err, ErrDiskFull) {
		t.Errorf("a rule held %d, %v", held, err)
	}
	after, err := w.db.sequence()
	errorless(t, err)
	if got := w.db.Stats().Messages; got[Held] != 0 || got[Waiting] != 2000 || after > before+1 {
		t.Errorf("got %v, commit %d after %d", got, after, before)
	}
	w.check()
	if work, err := w.db.tryNext(t.Context()); work != nil && len(work.Messages) > 100 || err != nil {
		t.Errorf("next: got %+v, %v", work, err)
	} else if work != nil {
		w.finish(work, Report{Retry: true, Next: time.Now()})
	}
	free()
	w.db.payOwed()
	if held, err := w.db.Hold(t.Context(), Filter{}); err != nil || len(held) != 2000 {
		t.Errorf("with room: held %d, %v", len(held), err)
	}
	w.check()
	w.restart()
	if got := w.db.Stats().Messages; got[Held] != 2000 {
		t.Errorf("after a restart: %v", got)
	}
	w.check()
	w.stop()
}

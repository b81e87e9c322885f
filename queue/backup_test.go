package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCopyTo copies a queue while one of its messages is delivered: its content is
// in the copy, and goes when the copy is done.
func TestCopyTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example")
	w.add("content", "mjl@example.org", "b@remote.example", "x@local.example")
	dst := filepath.Join(t.TempDir(), "backup", "queue")
	reached, release := w.hold(FaultBackup)
	var res CopyResult
	done := make(chan error)
	go func() {
		var err error
		res, err = w.db.CopyTo(t.Context(), dst)
		done <- err
	}()
	reached()
	for range 3 {
		w.finish(w.next(), ok())
	}
	if n := w.files(); n != 2 {
		t.Errorf("%d files are left while the backup runs", n)
	}
	w.check()
	w.add("content", "mjl@example.org", "later@remote.example")
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.flush()
	if res != (CopyResult{3, 2, 14}) || w.files() != 1 {
		t.Errorf("got %+v, %d files left", res, w.files())
	}
	c := &world{t: t, dir: dst}
	c.start()
	if got := c.describe(); got != "a waiting 0, b waiting 0, x waiting 0" {
		t.Errorf("the copy has %s", got)
	}
	c.check()
	for range 3 {
		c.finish(c.next(), ok())
	}
	c.stop()
	if got := w.describe(); got != "later waiting 0" {
		t.Errorf("left is %s", got)
	}
	if _, err := w.db.CopyTo(t.Context(), dst); err == nil {
		t.Error("copying over a copy: got no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.faults.Arm(FaultBackup, func() error { cancel(); return nil })
	if _, err := w.db.CopyTo(ctx, dst+"2"); !errors.Is(err, context.Canceled) {
		t.Errorf("context ended: got %v", err)
	}
}

func TestLinkOrCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	errorless(t, os.WriteFile(src, []byte("content"), 0o600))
	errorless(t, linkOrCopy(src, filepath.Join(dir, "dst")))
	if err := linkOrCopy(src, filepath.Join(dir, "dst")); !errors.Is(err, os.ErrExist) {
		t.Errorf("there already: got %v", err)
	}
	if err := linkOrCopy(filepath.Join(dir, "absent"), filepath.Join(dir, "dst2")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no source: got %v", err)
	}
}

// TestCheck damages a queue in each way that Check knows.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(tx *tx, r *messageRow, c *contentRow) error
		want   string
	}{
		{"nothing", func(*tx, *messageRow, *contentRow) error { return nil }, ""},
		{"content counts wrong", func(tx *tx, _ *messageRow, c *contentRow) error { c.Messages++; return tx.update(c) }, "content 1 has 2 messages, and says 3"},
		{"content gone", func(tx *tx, _ *messageRow, c *contentRow) error { return tx.delete(c) }, "message 1: no content 1"},
		{"prefix gone", func(tx *tx, r *messageRow, _ *contentRow) error { return tx.delete(&prefixRow{ID: r.PrefixID}) }, "prefix 1 is missing"},
		{"prefix of nobody", func(tx *tx, _ *messageRow, _ *contentRow) error { return tx.insert(&prefixRow{}) }, "prefix 2 belongs to no content"},
		{"prefix of another", func(tx *tx, r *messageRow, _ *contentRow) error { r.PrefixID = 100; return tx.update(r) }, "message 1: no prefix 100"},
		{"message gone", func(tx *tx, r *messageRow, _ *contentRow) error { return tx.delete(r) }, "2 messages are in the schedule, not 1"},
		{"message nobody knows", func(tx *tx, r *messageRow, _ *contentRow) error { n := *r; n.ID = 0; return tx.insert(&n) }, "message 3 is not in the schedule"},
		{"no key", func(tx *tx, r *messageRow, _ *contentRow) error { r.M.Key = ""; return tx.update(r) }, "message 1 is not whole"},
		{"another state", func(tx *tx, r *messageRow, _ *contentRow) error { r.M.State = Held; return tx.update(r) }, `message 1 with state "held"`},
		{"delivering without lease", func(tx *tx, r *messageRow, _ *contentRow) error { r.M.State = Delivering; return tx.update(r) }, `message 1 with state "delivering"`},
		{"another domain", func(tx *tx, r *messageRow, _ *contentRow) error { r.M.Domain = "x"; return tx.update(r) }, "message 1 is not the one"},
		{"another size", func(tx *tx, r *messageRow, _ *contentRow) error { r.M.Size++; return tx.update(r) }, "counted 56 bytes, there are 57"},
		{"another size of the content", func(tx *tx, _ *messageRow, c *contentRow) error { c.Size++; return tx.update(c) }, "content file has 7 bytes, not 8"},
		{"other bytes", func(tx *tx, _ *messageRow, c *contentRow) error { c.CRC++; return tx.update(c) }, "content file has CRC"},
		{"another name", func(tx *tx, _ *messageRow, c *contentRow) error { c.Name = "00/x"; return tx.update(c) }, "belongs to no message"},
		{"suppression of nobody", func(tx *tx, _ *messageRow, _ *contentRow) error {
			return tx.suppress(Suppression{Address: "x@y.example"})
		}, "is not whole"},
		{"suppression of no address", func(tx *tx, _ *messageRow, _ *contentRow) error {
			return tx.suppress(Suppression{Account: "mjl", Address: "X+y@z.example", Created: tx.now})
		}, "is not whole"},
		{"suppression nobody counted", func(tx *tx, _ *messageRow, _ *contentRow) error {
			return tx.insert(&suppressionRow{ID: rowKey("mjl", "x@y.example"), Account: "mjl", S: Suppression{Account: "mjl", Address: "x@y.example", Created: tx.now}})
		}, "of what was learned"},
		{"history without failure", func(tx *tx, _ *messageRow, _ *contentRow) error {
			tx.counts.histories++
			return tx.insert(&historyRow{ID: rowKey("mjl", "x@y.example"), Account: "mjl", Address: "x@y.example", Last: tx.now, Past: []pastDelivery{{1, false}}})
		}, "history of deliveries"},
		{"id of a message that is not there", func(tx *tx, _ *messageRow, _ *contentRow) error {
			return tx.putFromID(newFromIDRow(&Message{ID: 7, Account: "mjl", FromID: "id"}))
		}, "of message 7, which is not in the queue"},
		{"id without row", func(tx *tx, r *messageRow, _ *contentRow) error { r.M.FromID = "id"; return tx.update(r) }, "message 1 has a sender whose id is not known"},
		{"retired, but not", func(tx *tx, _ *messageRow, _ *contentRow) error { return tx.insert(&retiredRow{ID: 9}) }, "retired message 9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, dir: t.TempDir()}
			w.start()
			w.add("content", "mjl@example.org", "a@remote.example", "b@remote.example")
			w.flush()
			err := w.db.commit(&change{run: func(tx *tx) error {
				r, c := messageRow{ID: 1}, contentRow{ID: 1}
				if err := tx.Get(&r, &c); err != nil {
					return err
				}
				return tc.damage(tx, &r, &c)
			}})
			if err != nil {
				t.Fatal(err)
			}
			problems := errors.Join(w.db.Check(t.Context())...)
			if tc.want == "" && problems != nil || tc.want != "" && (problems == nil || !strings.Contains(problems.Error(), tc.want)) {
				t.Errorf("got %v, want %q", problems, tc.want)
			}
			w.stop()
		})
	}
}

// TestCheckDir checks a queue that nobody has open, whole and damaged.
func TestCheckDir(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example")
	opts := w.db.opts
	w.stop()
	if problems := CheckDir(t.Context(), opts); len(problems) > 0 {
		t.Errorf("got %v", problems)
	}
	opts.Dir = t.TempDir()
	errorless(t, os.WriteFile(filepath.Join(opts.Dir, indexFile), []byte("no database"), 0o600))
	if problems := CheckDir(t.Context(), opts); len(problems) == 0 {
		t.Error("got no problems")
	}
}

// TestConcurrent has everything happen at once. In the end each recipient has got
// its message once, and nothing is left.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const adders, each, workers = 6, 25, 8
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	delivered, added := map[string]int{}, map[string]bool{}
	total, allAdded := 0, false
	done := make(chan struct{})
	var adding, working sync.WaitGroup
	for a := range adders {
		adding.Go(func() {
			for i := range each {
				to := []string{"a@remote.example", "b@remote.example", "x@local.example"}[:1+(a+i)%3]
				n := message(t, fmt.Sprintf("s%d@example.org", a), to...)
				n.Hold = i%5 == 0
				messages, err := w.tryAdd("content", n)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, m := range messages {
					added[m.Key] = true
				}
				total += len(messages)
				mu.Unlock()
			}
		})
	}
	for range workers {
		working.Go(func() {
			for {
				work, err := w.db.Next(ctx)
				if errors.Is(err, context.Canceled) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				var all []Report
				mu.Lock()
				for _, m := range work.Messages {
					r := Report{ID: m.ID, Retry: rand.IntN(3) == 0, Next: time.Now()}
					if !r.Retry {
						r.Result.OK = true
						delivered[m.Key]++
						total--
					}
					all = append(all, r)
				}
				mu.Unlock()
				if err := w.db.Finish(ctx, work, all); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Go(func() { // An administrator, and a backup.
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			var ids []int64
			held, err := w.db.List(t.Context(), Filter{State: Held}, Sort{})
			for _, m := range held {
				ids = append(ids, m.ID)
			}
			_, rerr := w.db.Reschedule(t.Context(), Filter{From: "@example.org"}, func(Message) time.Time { return time.Now() })
			err = errors.Join(err, rerr, w.db.Release(t.Context(), ids))
			if i%10 == 0 {
				_, cerr := w.db.CopyTo(t.Context(), filepath.Join(t.TempDir(), "copy"))
				err = errors.Join(err, cerr)
			}
			if i%7 == 0 {
				err = errors.Join(err, errors.Join(w.db.Check(t.Context())...))
			}
			mu.Lock()
			over := allAdded && total == 0
			mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if over {
				close(done)
			}
			w.db.Stats()
		}
	})
	adding.Wait()
	mu.Lock()
	allAdded = true
	mu.Unlock()
	<-done
	cancel()
	working.Wait()
	for key := range added {
		if delivered[key] != 1 {
			t.Errorf("a message was delivered %d times", delivered[key])
		}
	}
	if n := len(w.list(Filter{})); n != 0 || w.files() != 0 {
		t.Errorf("%d messages and %d files are left", n, w.files())
	}
}

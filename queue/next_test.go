package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestNextTiming follows a message that fails until it is given up, on a clock
// that jumps when everybody waits: each attempt comes at its time, and another
// message does not disturb it.
func TestNextTiming(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Rand = zeroJitter{} })
		start := time.Now()
		w.add("content", "mjl@example.org", "a@remote.example")
		n := message(t, "mjl@example.org", "b@other.example")
		n.NotBefore = start.Add(30 * 24 * time.Hour)
		if _, err := w.tryAdd("content", n); err != nil {
			t.Fatal(err)
		}
		want := []float64{0, 7.5, 22.5, 52.5, 112.5, 232.5, 472.5, 952.5, 1672.5, 2392.5, 3112.5, 3832.5, 4552.5, 5272.5, 5760}
		for i, minutes := range want {
			work := w.next()
			m := work.Messages[0]
			if got := time.Since(start); m.Rcpt != "a@remote.example" || got.Round(time.Second) != time.Duration(minutes*float64(time.Minute)) {
				t.Fatalf("attempt %d to %s after %s, want %v minutes", i+1, m.Rcpt, got, minutes)
			}
			time.Sleep(time.Second) // An attempt takes its time.
			next, giveUp := w.db.opts.Schedule.Next(m.Attempts, m.Queued, m.LastAttempt, 0)
			if giveUp != (i == len(want)-1) {
				t.Fatalf("attempt %d: give up %v", i+1, giveUp)
			}
			w.finish(work, Report{Retry: !giveUp, Next: next, Result: Result{Error: "busy"}})
			if i == 3 {
				w.restart()
			}
		}
		work := w.next()
		if got := time.Since(start); rcpts(work.Messages) != "b@other.example" || got != 30*24*time.Hour {
			t.Errorf("got %s after %s", rcpts(work.Messages), got)
		}
		w.finish(work, ok())
	})
}

// zeroJitter is randomness of which the jitter is almost none.
type zeroJitter struct{}

// Read returns 0x7f for the jitter, and other bytes for keys and names.
func (zeroJitter) Read(p []byte) (int, error) {
	if len(p) == 2 {
		p[0], p[1] = 0x7f, 0xff
		return 2, nil
	}
	for i := range p {
		p[i] = byte(rand.Int())
	}
	return len(p), nil
}

// TestNextWaits has many callers wait, and wakes them in all the ways there are.
func TestNextWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.DestinationMax = 1 })
		got := make(chan *Work, 100)
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				for {
					work, err := w.db.Next(ctx)
					if errors.Is(err, context.Canceled) {
						return
					} else if err != nil {
						t.Errorf("got %v", err)
						return
					}
					got <- work
				}
			})
		}
		none := func(when string) {
			t.Helper()
			synctest.Wait()
			select {
			case work := <-got:
				t.Errorf("%s: got %s", when, rcpts(work.Messages))
			default:
			}
		}
		one := func(when, want string) *Work {
			t.Helper()
			synctest.Wait()
			select {
			case work := <-got:
				if rcpts(work.Messages) != want {
					t.Errorf("%s: got %s, want %s", when, rcpts(work.Messages), want)
				}
				return work
			default:
				t.Fatalf("%s: got nothing, want %s", when, want)
				return nil
			}
		}
		none("at first")
		w.add("content", "mjl@example.org", "a@remote.example")
		first := one("added", "a@remote.example")
		w.add("content", "anna@example.org", "b@remote.example")
		none("the destination is full")
		w.finish(first, Report{Retry: true, Next: time.Now().Add(time.Minute)})
		w.finish(one("the destination has room", "b@remote.example"), ok())
		none("not due")
		time.Sleep(59 * time.Second)
		none("a second before")
		time.Sleep(time.Second)
		again := one("due", "a@remote.example")
		w.finish(again, Report{Retry: true, Next: time.Now().Add(time.Hour)})
		none("not due again")
		if _, err := w.db.Reschedule(ctx, Filter{}, func(Message) time.Time { return time.Now() }); err != nil {
			t.Fatal(err)
		}
		w.finish(one("rescheduled", "a@remote.example"), Report{Retry: true, Next: time.Now().Add(time.Hour)})
		if _, err := w.db.FailNow(ctx, Filter{}, "reason"); err != nil {
			t.Fatal(err)
		}
		w.finish(one("failed", "a@remote.example"), Report{})
		n := message(t, "mjl@example.org", "held@remote.example")
		n.Hold = true
		held, err := w.tryAdd("content", n)
		if err != nil {
			t.Fatal(err)
		}
		none("held")
		if err := w.db.Release(ctx, []int64{held[0].ID}); err != nil {
			t.Fatal(err)
		}
		w.finish(one("released", "held@remote.example"), ok())
		cancel()
		callers.Wait()
		w.add("content", "mjl@example.org", "c@remote.example")
		none("nobody asks")
		w.finish(w.next(), ok())
		if _, err := w.db.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestLeaseOver has deliveries that never end: their messages are tried again, as
// if the process had died.
func TestLeaseOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
		w.start()
		w.add("content", "mjl@example.org", "a@remote.example", "x@local.example")
		start := time.Now()
		lost := []*Work{w.next(), w.next()}
		for range 2 {
			work := w.next()
			passed, m := time.Since(start), work.Messages[0]
			// The remote one has its time from the first attempt, the local one from the
			// end of the lease.
			if work.Local && (passed < leaseTime+400*time.Second || passed > leaseTime+500*time.Second) || !work.Local && passed != leaseTime || m.Attempts != 2 {
				t.Errorf("got %+v after %s", work, passed)
			}
			w.finish(work, ok())
		}
		for _, work := range lost {
			if err := w.db.Finish(t.Context(), work, reports(work, ok())); !errors.Is(err, ErrLease) {
				t.Errorf("finishing what is over: got %v", err)
			}
		}
		if n := strings.Count(w.log.String(), "has not ended in time"); n != 2 || len(w.list(Filter{})) != 0 {
			t.Errorf("logged %q", w.log)
		}
		w.check()
		w.stop()
	})
}

// TestFinalAttempt has the process die in each attempt: that does not make for more
// attempts than the schedule has, and in the end the sender is told.
func TestFinalAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		start := time.Now()
		w.add("content", "mjl@example.org", "a@remote.example")
		for attempts := 0; ; attempts++ {
			work := w.next()
			if work.Fail == "" {
				w.restart() // Without a word of what came of it.
				continue
			}
			passed := time.Since(start)
			if work.Fail != attemptsOver || attempts != 15 || passed < after(96, 0) || passed > after(98, 0) {
				t.Errorf("got %+v after %s and %d attempts", work, passed, attempts)
			}
			w.finish(work, Report{Result: Result{Error: work.Fail}})
			break
		}
		if n := len(w.list(Filter{})); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// TestSameWork has messages of one content and domain that can't go together.
func TestSameWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	n := message(t, "mjl@example.org", "a@remote.example", "b@remote.example", "c@remote.example", "d@remote.example", "e@remote.example")
	n.To[1].Prefix = []byte("X: other\r\n")
	n.Hold = true
	added, err := w.tryAdd("content", n)
	if err != nil {
		t.Fatal(err)
	}
	w.flush()
	no := false
	var ids []int64
	err = w.db.commit(&change{run: func(tx *tx) error {
		ids = nil
		for i, m := range added {
			r := messageRow{ID: m.ID}
			if err := tx.Get(&r); err != nil {
				return err
			}
			switch i {
			case 2:
				r.M.Transport = "relay"
			case 3:
				r.M.RequireTLS = &no
			}
			if err := tx.update(&r); err != nil {
				return err
			}
			ids = append(ids, m.ID)
		}
		return nil
	}})
	if err == nil {
		err = w.db.Release(t.Context(), ids)
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 4 {
		work := w.next()
		got = append(got, rcpts(work.Messages))
		w.finish(work, ok())
	}
	all := strings.Join(got, ", ")
	for _, want := range []string{"a@remote.example e@remote.example", "b@remote.example", "c@remote.example", "d@remote.example"} {
		if !strings.Contains(all, want) {
			t.Errorf("got %s", all)
		}
	}
}

// TestAttemptsUnderLoad: when more is due, deliveries begin before their attempts are
// on disk, and what came of them is written in order all the same. A place at a
// destination is free when a delivery has ended, not when that is written.
func TestAttemptsUnderLoad(t *testing.T) {
	t.Parallel()
	for name, cautious := range map[string]time.Duration{"just opened": time.Hour, "open for long": time.Nanosecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) { o.DestinationMax, o.Cautious = 1, cautious })
			const messages = 20
			for i := range messages {
				w.add("content", "s@example.org", fmt.Sprintf("r%d@remote.example", i))
			}
			for i := range messages {
				work := w.next()
				if len(work.Messages) != 1 || work.Messages[0].Attempts != 1 || work.Messages[0].State != Delivering {
					t.Fatalf("got %+v", work.Messages)
				}
				f, err := work.Open()
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(f); string(got) != "content" || err != nil {
					t.Fatalf("content %q, %v", got, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				report := Report{Result: Result{OK: true, Code: 250}}
				if i%3 == 0 {
					report = Report{Retry: true, Next: time.Now().Add(time.Hour), Result: Result{Error: "later", Code: 450}}
				}
				w.finish(work, report)
			}
			for _, m := range w.list(Filter{}) {
				if m.Attempts != 1 || len(m.Results) != 1 || m.Results[0].Error != "later" || m.State != Waiting {
					t.Errorf("got %+v", m)
				}
			}
			if n := len(w.list(Filter{})); n != (messages+2)/3 {
				t.Errorf("%d messages are left", n)
			}
		})
	}
}

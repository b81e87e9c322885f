package queue

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestFutureRelease waits for messages with a time of release: they come then, held
// ones when they are released after it, and from then on the schedule counts.
func TestFutureRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		start := time.Now()
		for i, days := range []int{60, 1, 30} {
			n := message(t, "mjl@example.org", fmt.Sprintf("%c@remote.example", 'a'+i))
			n.NotBefore, n.FutureRelease = start.Add(time.Duration(days)*day), fmt.Sprintf("for;%d", days*24*3600)
			n.Hold = days == 30
			if m, err := w.tryAdd("content", n); err != nil || !m[0].NextAttempt.Equal(n.NotBefore) || m[0].FutureRelease != n.FutureRelease {
				t.Fatalf("got %+v, %v", m, err)
			}
		}
		w.restart()
		time.AfterFunc(40*day, func() {
			if _, err := w.db.Unhold(t.Context(), Filter{}); err != nil {
				t.Error(err)
			}
		})
		for _, want := range []struct {
			rcpt  string
			after time.Duration
			since time.Duration // From when on the schedule counts.
		}{{"b@remote.example", day, day}, {"c@remote.example", 40 * day, 40*day - lateMax}, {"a@remote.example", 60 * day, 60 * day}} {
			work := w.next()
			m := work.Messages[0]
			if got := time.Since(start); m.Rcpt != want.rcpt || got != want.after || m.Counted().Sub(start) != want.since || !m.Queued.Equal(start) {
				t.Errorf("%s after %s, counted from %s on, want %+v", m.Rcpt, got, m.Counted().Sub(start), want)
			}
			if next, over := w.db.opts.Schedule.Next(m.Attempts, m.Counted(), w.db.Now(), 0); over || next.Sub(w.db.Now()) != 450*time.Second {
				t.Errorf("%s: the next attempt is after %s, over %v", m.Rcpt, next.Sub(w.db.Now()), over)
			}
			w.finish(work, ok())
		}
	})
}

// TestFutureQuota fills what an account may have of messages with a time of release.
func TestFutureQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	send := func(from string, n int, future bool) error {
		var to []string
		for i := range n {
			to = append(to, fmt.Sprintf("a%d@remote.example", i))
		}
		msg := message(t, from, to...)
		if future {
			msg.NotBefore, msg.FutureRelease = time.Now().Add(time.Hour), "for;3600"
		}
		_, err := w.tryAdd("content", msg)
		return err
	}
	errorless(t, send("anna@example.org", FutureMax-1, true))
	if err := send("anna@example.org", 2, true); !errors.Is(err, ErrFutureQuota) {
		t.Errorf("one more than may be: got %v", err)
	}
	errorless(t, send("anna@example.org", 1, true))
	for _, restarted := range []bool{false, true} {
		if restarted {
			w.restart()
		}
		if err := w.db.CheckFuture("anna", 1); !errors.Is(err, ErrFutureQuota) {
			t.Errorf("restarted %v: got %v", restarted, err)
		}
		errorless(t, send("anna@example.org", 1, false))
		errorless(t, send("bert@example.org", 1, true))
		w.check()
	}
	if _, err := w.db.Drop(t.Context(), Filter{Account: "anna", Max: 2}); err != nil {
		t.Error(err)
	}
	errorless(t, w.db.CheckFuture("anna", 2))
	if err := w.db.CheckFuture("anna", 3); !errors.Is(err, ErrFutureQuota) {
		t.Errorf("got %v", err)
	}
}

package queue

import (
	"crypto/rand"
	"log/slog"
	"testing"
	"time"
)

// TestShift has the clock set back and forward while the queue is closed: what waits
// is older or younger by that, and nothing else changes. What comes to be in the
// future is set right when the queue is opened.
func TestShift(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.KeepRetired = func(string) time.Duration { return time.Hour } })
	w.add("content", "mjl@example.org", "a@remote.example")
	w.finish(w.next(), ok())
	w.add("content", "mjl@example.org", "b@remote.example")
	before := w.list(Filter{})[0]
	retired, err := w.db.Get(t.Context(), before.ID-1)
	errorless(t, err)
	opts := w.db.opts
	w.stop()
	errorless(t, Shift(t.Context(), opts, -3*time.Hour))
	w.start()
	after := w.list(Filter{})[0]
	if got := after.Queued.Sub(before.Queued); got != -3*time.Hour || !after.LastAttempt.IsZero() || after.Key != before.Key {
		t.Errorf("clock set forward: queued %v later, got %+v", got, after)
	}
	if again, err := w.db.Get(t.Context(), retired.ID); err != nil || again.RetiredAt.Sub(retired.RetiredAt) != -3*time.Hour {
		t.Errorf("retired message, clock set forward: got %v, %v, want 3 hours before %v", again.RetiredAt, err, retired.RetiredAt)
	}
	errorless(t, w.db.Purge(t.Context(), time.Now()))
	if _, err := w.db.Get(t.Context(), retired.ID); err == nil {
		t.Error("a message retired three hours ago is kept for longer than one")
	}
	w.stop()
	errorless(t, Shift(t.Context(), opts, 10*time.Hour))
	w.start()
	if got := w.list(Filter{})[0]; got.Queued.After(time.Now()) || got.Queued.Before(before.Queued) {
		t.Errorf("clock set back: queued %v, want now", got.Queued)
	}
}

// TestShiftLearned moves what was learned of recipients too.
func TestShiftLearned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.send("mjl@example.org", "gone@remote.example", noUser)
	w.send("mjl@example.org", "often@remote.example", spam)
	w.addFromID("mjl@example.org", "id", "bob@remote.example")
	w.finish(w.next(), ok())
	if _, err := w.db.Suppress(t.Context(), "mjl", path(t, "never@remote.example"), ""); err != nil {
		t.Fatal(err)
	}
	errorless(t, w.db.Purge(t.Context(), time.Now()))
	if c := w.db.counts; c.fromIDs != 1 || c.histories != 1 || c.suppressions["mjl"] != 2 {
		t.Errorf("counted %+v", c)
	}
	opts := w.db.opts
	w.stop()
	errorless(t, Shift(t.Context(), opts, -suppressCertain))
	w.start()
	w.trustClock() // As if it had gone on so for a day.
	errorless(t, w.db.Purge(t.Context(), time.Now()))
	if c := w.db.counts; c.fromIDs != 0 || c.histories != 0 || w.suppressed("mjl") != "never@remote.example!" {
		t.Errorf("a year later: counted %+v, list is %s", c, w.suppressed("mjl"))
	}
}

// TestShiftNothing shows that there must be a queue.
func TestShiftNothing(t *testing.T) {
	t.Parallel()
	if err := Shift(t.Context(), Options{Dir: t.TempDir() + "/absent", Log: slog.New(slog.DiscardHandler), Rand: rand.Reader}, time.Hour); err == nil {
		t.Error("got no error")
	}
}

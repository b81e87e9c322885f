package queue

import (
	"errors"
	"testing"
	"time"
)

// TestSetTransport chooses a transport for messages that are only in the log, for one
// that is being delivered, and for those that were held. It is there after a restart.
func TestSetTransport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@one.example", "b@two.example")
	work := w.next()
	changed, err := w.db.SetTransport(t.Context(), Filter{To: "@one.example"}, "relay")
	if err != nil || rcpts(changed) != "a@one.example" || changed[0].Transport != "relay" {
		t.Fatalf("got %+v, %v", changed, err)
	}
	if changed, err = w.db.SetTransport(t.Context(), Filter{}, "relay"); err != nil || rcpts(changed) != "b@two.example" {
		t.Fatalf("got %+v, %v", changed, err)
	}
	if _, err := w.db.SetTransport(t.Context(), Filter{State: Retired}, ""); !errors.Is(err, ErrFilter) {
		t.Errorf("retired messages: got %v", err)
	}
	// The attempt that runs was made without, the next one will be with it.
	if work.Messages[0].Transport != "" {
		t.Errorf("got %+v", work.Messages[0])
	}
	w.finish(work, Report{Retry: true, Next: time.Now(), Result: Result{Transport: "direct"}})
	w.restart()
	relay := "relay"
	if got := w.list(Filter{Transport: &relay}); len(got) != 2 {
		t.Errorf("got %s after a restart", rcpts(got))
	}
	for range 2 {
		work := w.next()
		if m := work.Messages[0]; m.Transport != "relay" || len(m.Results) == 2 && m.Results[0].Transport != "direct" {
			t.Errorf("got %+v", m)
		}
		w.finish(work, ok())
	}
}

// TestSameTransport has messages of one content to one domain that go different ways:
// they are not one piece of work.
func TestSameTransport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	n := message(t, "mjl@example.org", "a@one.example", "b@one.example")
	n.Hold = true
	list, err := w.tryAdd("content", n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.SetTransport(t.Context(), Filter{IDs: []int64{list[1].ID}}, "relay"); err != nil {
		t.Fatal(err)
	}
	if err := w.db.Release(t.Context(), []int64{list[0].ID, list[1].ID}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", "relay"} {
		work := w.next()
		if len(work.Messages) != 1 || work.Messages[0].Transport != want {
			t.Errorf("got %+v, want transport %q", work.Messages, want)
		}
		w.finish(work, ok())
	}
}

package queue

import (
	"errors"
	"io"
	"testing"
	"time"
)

// TestLife follows a message to three recipients from Add to its end.
func TestLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	added := w.add("content", "mjl@example.org", "a@remote.example", "x@local.example", "b@remote.example")
	if len(added) != 3 || w.files() != 1 {
		t.Fatalf("got %d messages, %d files", len(added), w.files())
	}
	got := map[bool]string{}
	works := []*Work{w.next(), w.next()}
	for _, work := range works {
		got[work.Local] = rcpts(work.Messages)
		m := work.Messages[0]
		if m.Attempts != 1 || m.State != Delivering || string(m.Prefix) == "" || work.Fail != "" {
			t.Errorf("got work %+v", work)
		}
	}
	if got[true] != "x@local.example" || got[false] != "a@remote.example b@remote.example" {
		t.Errorf("got %v", got)
	}
	for _, work := range works {
		if work.Local {
			w.finish(work, ok())
			continue
		}
		retry := Report{Retry: true, Next: time.Now(), Result: Result{Error: "busy"}}
		w.finish(work, retry)
	}
	again := w.next()
	if rcpts(again.Messages) != "a@remote.example b@remote.example" || again.Messages[0].Attempts != 2 || len(again.Messages[0].Results) != 2 {
		t.Errorf("got %+v", again)
	}
	r, err := w.db.OpenContent(t.Context(), again.Messages[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(data) != "Received: from test\r\ncontent" {
		t.Errorf("got content %q, %v", data, err)
	}
	w.finish(again, ok())
	if n := len(w.list(Filter{})); n != 0 || w.files() != 0 {
		t.Errorf("got %d messages, %d files", n, w.files())
	}
}

package queue

import "testing"

// TestProvisional takes messages that were provisional, and released or not, over
// a restart.
func TestProvisional(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	add := func(to string, change func(*New)) int64 {
		n := message(t, "alice@example.org", to)
		change(&n)
		list, err := w.tryAdd("content", n)
		if err != nil {
			t.Fatal(err)
		}
		if list[0].State != Held {
			t.Errorf("%s: got state %v, want held", to, list[0].State)
		}
		return list[0].ID
	}
	add("one@example.net", func(n *New) { n.Provisional = true })
	released := add("two@example.net", func(n *New) { n.Provisional = true })
	held := add("three@example.net", func(n *New) { n.Hold = true })
	if err := w.db.Release(t.Context(), []int64{released}); err != nil {
		t.Fatal(err)
	}
	w.restart()
	got := map[int64]State{}
	for _, m := range w.list(Filter{}) {
		got[m.ID] = m.State
	}
	if len(got) != 2 || got[released] != Waiting || got[held] != Held {
		t.Errorf("got %v, want the released one waiting and the held one", got)
	}
	if n := w.files(); n != 2 {
		t.Errorf("got %d content files, want 2", n)
	}
}

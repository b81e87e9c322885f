package store

import (
	"slices"
	"testing"
	"time"
)

func TestHandoverKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	want := func(when string, keys ...string) {
		t.Helper()
		if got, err := a.HandoverKeys(t.Context()); err != nil || !slices.Equal(got, keys) {
			t.Errorf("%s: got %q, %v, want %q", when, got, err, keys)
		}
	}
	want("nothing handed over")
	for _, key := range []string{"k2", "k1", ""} {
		msg := testMessage(0, key)
		dl := Delivery{Content: w.d.ContentBytes(msg), Analysis: analysis(t, msg), Received: time.Now(), To: []Recipient{{Account: a, Key: key}}}
		if err := w.d.Deliver(t.Context(), dl); err != nil {
			t.Fatal(err)
		}
	}
	a.WaitDurable(t.Context())
	want("two of three came from the queue", "k1", "k2")
	if err := a.ConfirmHandover(t.Context(), []string{"k1"}); err != nil {
		t.Fatal(err)
	}
	want("one confirmed", "k2")
}

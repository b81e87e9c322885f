package store

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSent records what an account sends over some days, restarts, and asks.
func TestSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	to := func(address string, hours int) SentTo { return SentTo{address, at(hours), at(hours)} }
	record := func(to []SentTo, hours []SentHour, from int64) {
		t.Helper()
		if err := w.account("a").RecordSent(t.Context(), to, hours, from); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("x", 502) + "@b.example"
	record([]SentTo{to("x@b.example", 0), to("y@b.example", 1)}, []SentHour{{100, 2, 2}}, 76)
	record([]SentTo{to("x@b.example", 2), {long + "x", at(2), at(2)}, {"", at(2), at(2)}, to(long, 2)}, []SentHour{{100, 3, 3}, {102, 1, 0}}, 78)
	record([]SentTo{to("y@b.example", 25)}, nil, 101)
	w.restart()

	asked := []string{"x@b.example", "y@b.example", "X@b.example", "", long, long + "x"}
	for account, want := range map[string][]bool{
		"a": {true, true, false, false, true, false},
		"b": make([]bool, 6),
	} {
		if got, err := w.account(account).HasSentTo(t.Context(), asked); err != nil || !slices.Equal(got, want) {
			t.Errorf("account %s has sent to %q: got %v, %v, want %v", account, asked, got, err, want)
		}
	}
	for from, want := range map[int64][]SentHour{100: {{102, 1, 0}}, 102: {{102, 1, 0}}, 103: nil} {
		if got, err := w.account("a").SentHours(t.Context(), from); err != nil || !slices.Equal(got, want) {
			t.Errorf("hours from %d: got %v, %v, want %v", from, got, err, want)
		}
	}
	for address, want := range map[string][2]int{"x@b.example": {0, 0}, "y@b.example": {1, 25}} {
		s := SentTo{Address: address}
		if err := w.account("a").View(t.Context(), func(tx *Tx) error { return getSentTo(tx, &s) }); err != nil {
			t.Fatal(err)
		}
		if !s.First.Equal(at(want[0])) || !s.Last.Equal(at(want[1])) {
			t.Errorf("%s: got %v and %v, want hours %v", address, s.First, s.Last, want)
		}
	}
}

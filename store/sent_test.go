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
		"a": {true, true, true, false, true, false},
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

// TestSentTo asks for domains of addresses that were sent to.
func TestSentTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	first, last := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
	deep := strings.Repeat("x.", 20) + "deep.example"
	to := []SentTo{{"Bob@mail.B.example", first, last}, {"y@b.example", first, first}, {"z@[192.0.2.1]", first, first}, {"u@" + deep, first, first}}
	if err := w.account("a").RecordSent(t.Context(), to, nil, 0); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name                 string
		address, domain, org string
		want                 Sent
	}{
		{"known in all", "bob@mail.b.example", "mail.b.example", "b.example", Sent{last, last, last}},
		{"another at the domain", "c@mail.b.example", "mail.b.example", "b.example", Sent{Domain: last, Org: last}},
		{"another domain of the organisation", "c@web.b.example", "web.b.example", "b.example", Sent{Org: last}},
		{"the domain above", "c@b.example", "b.example", "b.example", Sent{Domain: first, Org: last}},
		{"an organisation with the end of its name", "c@bb.example", "bb.example", "bb.example", Sent{}},
		{"a stranger without organisation", "c@c.example", "c.example", "", Sent{}},
		{"nobody", "", "", "", Sent{}},
		{"eight levels", "", "", "x.x.x.x.x.x.deep.example", Sent{Org: first}},
		{"nine levels", "", "", "x.x.x.x.x.x.x.deep.example", Sent{}},
		{"the whole of a deep domain", "", deep, "", Sent{Domain: first}},
		{"an address literal", "z@[192.0.2.1]", "[192.0.2.1]", "", Sent{Address: first}},
	} {
		got, err := w.account("a").SentTo(t.Context(), tc.address, tc.domain, tc.org)
		if err != nil || !got.Address.Equal(tc.want.Address) || !got.Domain.Equal(tc.want.Domain) || !got.Org.Equal(tc.want.Org) {
			t.Errorf("%s: got %v, %v, want %v", tc.name, got, err, tc.want)
		}
	}
}

package trace

import (
	"slices"
	"strings"
	"testing"
)

func TestGroup(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		events []Event
		want   string // Texts of each group, groups divided by ";".
	}{
		{"none", nil, ""},
		{"by Message-ID", []Event{{Text: "a", MessageID: "1"}, {Text: "b", MessageID: "2"}, {Text: "c", MessageID: "1"}}, "a c; b"},
		{"by id in the queue", []Event{{Text: "a", Rcpts: []Rcpt{{"", 1}, {"", 2}}}, {Text: "b", Rcpts: []Rcpt{{"", 3}}}, {Text: "c", Rcpts: []Rcpt{{"", 2}}}}, "a c; b"},
		{"an event joins two groups", []Event{{Text: "a", MessageID: "1"}, {Text: "b", Rcpts: []Rcpt{{"", 1}}}, {Text: "c", MessageID: "1", Rcpts: []Rcpt{{"", 1}}}}, "a b c"},
		{"by connection only without another", []Event{{Text: "a", CID: 1}, {Text: "b", CID: 1}, {Text: "c", CID: 1, MessageID: "1"}, {Text: "d", CID: 1, MessageID: "2"}}, "a b; c; d"},
		{"a number is no Message-ID", []Event{{Text: "a", MessageID: "1"}, {Text: "b", Rcpts: []Rcpt{{"", 1}}}, {Text: "c", CID: 1}}, "a; b; c"},
	} {
		var groups []string
		for _, g := range Group(test.events) {
			groups = append(groups, strings.Join(texts(g), " "))
		}
		if got := strings.Join(groups, "; "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestGroupAll shows that each event is in one group, whatever joins them.
func TestGroupAll(t *testing.T) {
	t.Parallel()
	var events []Event
	for i := range int64(1000) {
		events = append(events, Event{CID: CID(i % 7), Rcpts: []Rcpt{{"", i % 13}, {"", i % 31}}, Size: i})
	}
	var all []int64
	for _, g := range Group(events) {
		if !slices.IsSortedFunc(g, func(a, b Event) int { return int(a.Size - b.Size) }) {
			t.Error("a group is not in the order of events")
		}
		for _, e := range g {
			all = append(all, e.Size)
		}
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != len(events) {
		t.Errorf("%d events of %d", len(all), len(events))
	}
}

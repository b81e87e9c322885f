package resolver

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestCache walks one cache through steps, in seconds from the first.
func TestCache(t *testing.T) {
	t.Parallel()
	q := func(name string) question { return question{name, 1} }
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := cache{max: 3 * (entryCost + 4)}
	var old int64
	for _, step := range []struct {
		what string
		at   int
		do   func(now time.Time)
		want string // Names found after it.
	}{
		{"empty", 0, func(time.Time) {}, ""},
		{"kept", 0, func(now time.Time) { c.put(q("a."), answer{name: "a.", ttl: 10 * time.Second}, 0, now) }, "a."},
		{"not to be kept", 0, func(now time.Time) { c.put(q("b."), answer{name: "b."}, 0, now) }, "a."},
		{"its last moment", 9, func(time.Time) {}, "a."},
		{"too old", 10, func(time.Time) {}, ""},
		{"three", 10, func(now time.Time) {
			for _, name := range []string{"a.", "b.", "c."} {
				c.put(q(name), answer{name: name, ttl: time.Minute}, 0, now)
			}
		}, "a. b. c."},
		{"a fourth puts out the one not used for the longest", 11, func(now time.Time) {
			c.get(q("a."), now)
			c.put(q("d."), answer{name: "d.", ttl: time.Minute}, 0, now)
		}, "a. c. d."},
		{"one again", 12, func(now time.Time) { c.put(q("d."), answer{name: "d.", ttl: 2 * time.Minute}, 0, now) }, "a. c. d."},
		{"one that is larger than all", 12, func(now time.Time) {
			c.put(q("e."), answer{name: strings.Repeat("e", int(c.max)), ttl: time.Minute}, 0, now)
		}, "a. c. d."},
		{"one lasts longer", 80, func(time.Time) {}, "d."},
		{"forgotten", 80, func(now time.Time) { _, old, _ = c.get(q("x."), now); c.clear() }, ""},
		{"an answer from before", 80, func(now time.Time) { c.put(q("a."), answer{name: "a.", ttl: time.Minute}, old, now) }, ""},
		{"an answer from after", 80, func(now time.Time) { c.put(q("b."), answer{name: "b.", ttl: time.Minute}, old+1, now) }, "b."},
	} {
		now := start.Add(time.Duration(step.at) * time.Second)
		step.do(now)
		var names []string
		for _, name := range []string{"a.", "b.", "c.", "d.", "e."} {
			if a, _, ok := c.get(q(name), now); ok {
				names = append(names, a.name)
			}
		}
		if got := strings.Join(names, " "); got != step.want {
			t.Errorf("%s: got %q, want %q", step.what, got, step.want)
		}
		if int(c.used) != len(c.entries)*(entryCost+4) || len(c.entries) != c.order.Len() {
			t.Errorf("%s: got %d bytes for %d entries, %d in order", step.what, c.used, len(c.entries), c.order.Len())
		}
	}
	none := cache{max: -1}
	none.put(q("a."), answer{name: "a.", ttl: time.Minute}, 0, start)
	if _, _, ok := none.get(q("a."), start); ok {
		t.Error("a cache for nothing keeps something")
	}
}

// TestCacheBounded puts in more than there is room for.
func TestCacheBounded(t *testing.T) {
	t.Parallel()
	c := cache{max: 100_000}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rrs := records(t, "x. 60 TXT \""+strings.Repeat("x", 200)+"\"")
	for i := range 10_000 {
		c.put(question{fmt.Sprintf("h%d.", i), 16}, answer{name: "x.", records: rrs, ttl: time.Hour}, 0, now)
	}
	if c.used > c.max || len(c.entries) < 50 || len(c.entries) > 300 {
		t.Errorf("got %d entries of %d bytes", len(c.entries), c.used)
	}
}

package config

import (
	"strings"
	"testing"
	"time"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		queue   Queue
		problem string // Part of it, empty if all is well.
	}{
		{"nothing set", Queue{}, ""},
		{"all set", Queue{[]time.Duration{time.Second}, time.Minute, time.Hour, time.Second, 1, 2, 10_000}, ""},
		{"no notice", Queue{NoticeAfter: -1}, ""},
		{"a wait of zero", Queue{RetryWaits: []time.Duration{time.Minute, 0}}, "Queue.RetryWaits[1]: a wait can't be zero"},
		{"a wait that is too short", Queue{RetryWaits: []time.Duration{time.Second - 1}}, "Queue.RetryWaits[0]: need 1s to"},
		{"the most waits", Queue{RetryWaits: waits(100)}, ""},
		{"too many waits", Queue{RetryWaits: waits(101)}, "more than 100"},
		{"never again", Queue{RetryEvery: -time.Hour}, "Queue.RetryEvery"},
		{"giving up next year", Queue{GiveUpAfter: 365 * 24 * time.Hour}, "Queue.GiveUpAfter"},
		{"too many at a time", Queue{Deliveries: 10_001}, "Queue.Deliveries: need 1 to 10000"},
		{"fewer than none", Queue{DomainDeliveries: -1}, "Queue.DomainDeliveries"},
		{"fewer than none at home", Queue{LocalDeliveries: -1}, "Queue.LocalDeliveries"},
	} {
		c := &checker{config: &Config{Static: Static{Queue: tc.queue}}}
		c.queue()
		got := ""
		if err := c.problems.err(); err != nil {
			got = err.Error()
		}
		if got != "" && tc.problem == "" || !strings.Contains(got, tc.problem) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.problem)
		}
	}
}

func waits(n int) []time.Duration {
	list := make([]time.Duration, n)
	for i := range list {
		list[i] = time.Minute
	}
	return list
}

func TestQueueDefaults(t *testing.T) {
	t.Parallel()
	c := &Config{Static: Static{Queue: Queue{NoticeAfter: -1, Deliveries: 7}}}
	q := c.Queue()
	if len(q.RetryWaits) != 7 || q.RetryWaits[0] != 450*time.Second || q.GiveUpAfter != 96*time.Hour || q.NoticeAfter != 0 || q.Deliveries != 7 || q.LocalDeliveries != 200 {
		t.Errorf("got %+v", q)
	}
	if c.Static.Queue.RetryWaits != nil {
		t.Error("the configuration itself was changed")
	}
}

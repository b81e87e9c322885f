package delivery

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/queue"
)

// testQueued is when the messages of these tests were queued, and testSchedule
// when they are tried: after 0, 10, 30 and 60 minutes, then hourly, the last time
// after 4 hours. The notice is due after an hour.
var (
	testQueued   = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	testSchedule = queue.Schedule{
		Waits: []time.Duration{10 * time.Minute, 20 * time.Minute, 30 * time.Minute},
		Every: time.Hour, GiveUpAfter: 4 * time.Hour, NoticeAfter: time.Hour,
	}
)

func TestDecide(t *testing.T) {
	t.Parallel()
	temporary := &failure{code: 451, enhanced: "4.2.1", text: "later", reply: "451 4.2.1 later", elsewhere: true}
	permanent := &failure{code: 550, enhanced: "5.1.1", text: "no"}
	permanent.permanent = true
	policy := &failure{code: 550, enhanced: "5.7.1", text: "blocked", permanent: true}
	unverified := noRequireTLS("nothing tells how to verify the server")
	stopped := &failure{enhanced: "4.3.2", text: "stopped", interrupted: true}
	for _, test := range []struct {
		name     string
		message  queue.Message
		after    time.Duration // When the attempt ended.
		try      try
		result   string
		next     time.Duration // Of the next attempt.
		notice   dsn.Action
		upcoming []time.Duration
	}{
		{"delivered", queue.Message{Attempts: 1}, 0, try{}, "delivered", 0, "", nil},
		{"refused", queue.Message{Attempts: 1}, 0, try{failure: permanent}, "failed", 0, dsn.Failed, nil},
		{"refused after days", queue.Message{Attempts: 9}, 3 * time.Hour, try{failure: permanent}, "failed", 0, dsn.Failed, nil},
		{"not now", queue.Message{Attempts: 1}, 0, try{failure: temporary}, "delayed", 10 * time.Minute, "", []time.Duration{10 * time.Minute, 30 * time.Minute, time.Hour}},
		{"the time counts from the end of the attempt", queue.Message{Attempts: 1}, 5 * time.Minute, try{failure: temporary}, "delayed", 15 * time.Minute, "",
			[]time.Duration{15 * time.Minute, 35 * time.Minute, 65 * time.Minute}},
		{"the attempt at which the notice is due", queue.Message{Attempts: 4}, time.Hour, try{failure: temporary}, "delayed", 2 * time.Hour, dsn.Delayed,
			[]time.Duration{2 * time.Hour, 3 * time.Hour, 4 * time.Hour}},
		{"told already", queue.Message{Attempts: 5, DelayTold: true}, 2 * time.Hour, try{failure: temporary}, "delayed", 3 * time.Hour, "",
			[]time.Duration{3 * time.Hour, 4 * time.Hour}},
		{"the next is the last", queue.Message{Attempts: 6, DelayTold: true}, 3 * time.Hour, try{failure: temporary}, "delayed", 4 * time.Hour, "", []time.Duration{4 * time.Hour}},
		{"the last one", queue.Message{Attempts: 7, DelayTold: true}, 4 * time.Hour, try{failure: temporary}, "failed", 0, dsn.Failed, nil},
		{"long after the last", queue.Message{Attempts: 7}, 50 * time.Hour, try{failure: temporary}, "failed", 0, dsn.Failed, nil},
		{"refused over one of two families", queue.Message{Attempts: 1}, 0, try{failure: policy, dualStack: true}, "delayed", 10 * time.Minute, "",
			[]time.Duration{10 * time.Minute, 30 * time.Minute, time.Hour}},
		{"refused over the other too", queue.Message{Attempts: 2}, 0, try{failure: policy, dualStack: true}, "failed", 0, dsn.Failed, nil},
		{"refused over the only family", queue.Message{Attempts: 1}, 0, try{failure: policy}, "failed", 0, dsn.Failed, nil},
		{"TLS is required, which no other family can help", queue.Message{Attempts: 1}, 0, try{failure: unverified, dualStack: true}, "failed", 0, dsn.Failed, nil},
		{"refused for another reason", queue.Message{Attempts: 1}, 0, try{failure: permanent, dualStack: true}, "failed", 0, dsn.Failed, nil},
		{"broken off as we stop", queue.Message{Attempts: 1}, 0, try{failure: stopped}, "delayed", 0, "", nil},
		{"broken off at the last attempt", queue.Message{Attempts: 7}, 4 * time.Hour, try{failure: stopped}, "delayed", 4 * time.Hour, "", nil},
	} {
		for _, from := range []string{"a@example.org", ""} {
			m := test.message
			m.ID, m.MailFrom, m.Queued, m.DialedIP = 7, from, testQueued, "192.0.2.7"
			tr := test.try
			tr.start, tr.end = testQueued.Add(test.after-time.Second), testQueued.Add(test.after)
			v := decide(&m, tr, testSchedule, 0)
			notice := test.notice
			if from == "" {
				notice = "" // Nobody is told of notifications that fail.
			}
			if v.result() != test.result || v.notice != notice || v.report.DelayTold != (notice == dsn.Delayed) {
				t.Errorf("%s, from %q: got %s, notice %q, told %v, want %s, %q", test.name, from, v.result(), v.notice, v.report.DelayTold, test.result, notice)
			}
			if r := v.report; r.ID != 7 || r.Retry != (test.result == "delayed") || r.Retry && !r.Next.Equal(testQueued.Add(test.next)) || r.DialedIP != "192.0.2.7" {
				t.Errorf("%s, from %q: got %+v, want next after %s", test.name, from, r, test.next)
			}
			var upcoming []time.Duration
			for _, at := range v.upcoming {
				upcoming = append(upcoming, at.Sub(testQueued))
			}
			if !slices.Equal(upcoming, test.upcoming) {
				t.Errorf("%s, from %q: got upcoming %v, want %v", test.name, from, upcoming, test.upcoming)
			}
			if r := v.report.Result; r.OK != (test.result == "delivered") || r.Took != time.Second || r.Permanent != (v.failure != nil && v.failure.permanent) {
				t.Errorf("%s, from %q: got %+v", test.name, from, r)
			}
		}
	}
}

// TestDecideAll checks that by the schedule each message has an end, that the
// sender is told of a delay once at most, and that what was said of the next
// attempts is what happens.
func TestDecideAll(t *testing.T) {
	t.Parallel()
	for name, schedule := range map[string]queue.Schedule{"of the tests": testSchedule, "default": queue.DefaultSchedule()} {
		m := queue.Message{MailFrom: "a@example.org", Queued: testQueued}
		at, notices := testQueued, 0
		var promised []time.Time
		for {
			m.Attempts++
			v := decide(&m, try{start: at, end: at, failure: &failure{enhanced: "4.4.1", text: "no"}}, schedule, 0)
			if !v.report.Retry {
				if want := testQueued.Add(schedule.GiveUpAfter); !at.Equal(want) || v.notice != dsn.Failed {
					t.Errorf("%s: gave up at %s with notice %q, want %s", name, at, v.notice, want)
				}
				break
			}
			if v.notice == dsn.Delayed {
				notices++
				m.DelayTold = true
			}
			if len(promised) > 1 && !promised[1].Equal(v.report.Next) {
				t.Errorf("%s: attempt %d is at %s, not at %s as was said", name, m.Attempts+1, v.report.Next, promised[1])
			}
			promised, at = v.upcoming, v.report.Next
			if m.Attempts > 1000 {
				t.Fatalf("%s: no end", name)
			}
		}
		if notices != 1 {
			t.Errorf("%s: %d notices of delay, want 1", name, notices)
		}
	}
}

func TestPostpone(t *testing.T) {
	t.Parallel()
	later := testQueued.Add(time.Hour)
	failed := verdict{notice: dsn.Failed, failure: &failure{}}
	failed.postpone(later)
	if r := failed.report; failed.notice != "" || !r.Retry || !r.Next.Equal(later) {
		t.Errorf("got %+v for a failed message", failed)
	}
	delayed := verdict{notice: dsn.Delayed, failure: &failure{}, report: queue.Report{Retry: true, Next: testQueued, DelayTold: true}}
	delayed.postpone(later)
	if r := delayed.report; delayed.notice != "" || !r.Retry || !r.Next.Equal(testQueued) || r.DelayTold {
		t.Errorf("got %+v for a delayed message", delayed)
	}
}

func TestWithoutAttempt(t *testing.T) {
	t.Parallel()
	over := queue.Message{Attempts: 3, Queued: testQueued, LastAttempt: testQueued.Add(4 * time.Hour)}
	told := over
	told.Results = []queue.Result{{Enhanced: "4.1.1", Error: "oldest"}, {Code: 451, Enhanced: "4.2.1", Error: "full: 451 4.2.1 full"}, {Error: "died"}}
	for _, test := range []struct {
		name         string
		m            queue.Message
		status, text string
		code         int
	}{
		{"an administrator", queue.Message{Attempts: 1, Queued: testQueued, LastAttempt: testQueued}, "5.0.0", "cancelled by an administrator: why", 554},
		{"an administrator, before the first attempt", queue.Message{Queued: testQueued}, "5.0.0", "cancelled by an administrator: why", 554},
		{"died in the last attempt", over, "4.4.7", "why", 0},
		{"died in the last attempt, the one before is known", told, "4.2.1", "why. The one before: full: 451 4.2.1 full", 451},
	} {
		f := withoutAttempt(&test.m, testSchedule, "why")
		if f.enhanced != test.status || f.text != test.text || f.code != test.code || !f.permanent {
			t.Errorf("%s: got %+v, want %+v", test.name, f, test)
		}
	}
}

func TestResultOf(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr("2001:db8::1")
	f := &failure{code: 550, enhanced: "5.1.1", text: "mx refused it", reply: "550 5.1.1 no\nreally", permanent: true}
	for _, test := range []struct {
		name string
		try  try
		want queue.Result
	}{
		{"delivered", try{host: mustDomain(t, "mx.example.org"), ip: ip}, queue.Result{OK: true, Code: 250, Enhanced: "2.0.0", RemoteMTA: "mx.example.org", RemoteIP: "2001:db8::1"}},
		{"handed over", try{}, queue.Result{OK: true, Code: 250, Enhanced: "2.0.0"}},
		{"refused", try{failure: f, host: mustDomain(t, "mx.example.org"), ip: ip},
			queue.Result{Code: 550, Enhanced: "5.1.1", Error: "mx refused it: 550 5.1.1 no / really", Permanent: true, RemoteMTA: "mx.example.org", RemoteIP: "2001:db8::1"}},
		{"an address literal", try{failure: f, ip: ip},
			queue.Result{Code: 550, Enhanced: "5.1.1", Error: "mx refused it: 550 5.1.1 no / really", Permanent: true, RemoteMTA: "[IPv6:2001:db8::1]", RemoteIP: "2001:db8::1"}},
		{"not reached", try{failure: &failure{enhanced: "4.4.1", text: "nobody there"}}, queue.Result{Enhanced: "4.4.1", Error: "nobody there"}},
	} {
		if got := resultOf(test.try); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}

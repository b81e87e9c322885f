package delivery

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/trace"
)

// TestLocal hands a message over to accounts of ours.
func TestLocal(t *testing.T) {
	run(t, func(e *env) {
		e.send(newMessage("alice@example.org", "bob@example.org"))
		e.settleHandovers()
		for _, account := range []string{"alice", "bob"} {
			if got := e.inbox(account); len(got) != 1 || got[0] != testContent {
				e.Errorf("%s has %q", account, got)
			}
		}
		if e.left() != 0 || e.dials() != "" {
			e.Errorf("%d messages are left", e.left())
		}
		e.wantLog("msg=delivery", "result=delivered", "transport=local", "rcptto=bob@example.org", "cid=")
		if got := e.counter("mox_queue_delivery_duration_seconds", "transport=local", "result=delivered"); got != 2 {
			e.Errorf("got %v deliveries counted", got)
		}
		// The accounts forget the keys, soon.
		e.settle(confirmInterval + time.Second)
		keys, err := e.queue.Unconfirmed(e.Context(), 10)
		if err != nil || len(keys) != 0 {
			e.Errorf("got keys %v, %v", keys, err)
		}
	})
}

// TestLocalFailures has recipients of ours that can't have the message, now or
// ever.
func TestLocalFailures(t *testing.T) {
	run(t, func(e *env) {
		list := e.send(newMessage("nobody@example.org", "gone@example.org", "busy@example.org", "bob@example.org"))
		e.settleHandovers()
		e.wantNotices("failed 5.1.1 gone@example.org", "failed 5.1.1 nobody@example.org")
		if got := e.inbox("bob"); len(got) != 1 {
			e.Errorf("bob has %d messages", len(got))
		}
		r := e.get(list[2].ID).Results
		if len(r) != 1 || r[0].Code != 451 || r[0].Permanent || !strings.Contains(r[0].Error, "on holiday") {
			e.Errorf("got results %+v", r)
		}
		e.settle(5 * time.Hour)
		e.wantNotices("delayed 4.3.0 busy@example.org", "failed 4.3.0 busy@example.org", "failed 5.1.1 gone@example.org", "failed 5.1.1 nobody@example.org")
		if got := e.inbox("bob"); len(got) != 1 || e.left() != 0 {
			e.Errorf("bob has %d messages, %d are left", len(got), e.left())
		}
	})
}

// TestManyHandedOver checks that keys are confirmed before their time when there
// are many.
func TestManyHandedOver(t *testing.T) {
	run(t, func(e *env) {
		e.settle(time.Second) // The first confirmation is over.
		e.handed.Add(confirmMax - 1)
		e.send(newMessage("bob@example.org"))
		e.settle(2 * confirmTick)
		keys, err := e.queue.Unconfirmed(e.Context(), 10)
		if err != nil || len(keys) != 0 {
			e.Errorf("got keys %v, %v", keys, err)
		}
	})
}

// TestConfirmLater checks that keys are confirmed after a restart too, in several
// rounds.
func TestConfirmLater(t *testing.T) {
	run(t, func(e *env) {
		e.stop()
		e.send(newMessage("bob@example.org"))
		w, err := e.queue.Next(e.Context())
		check(e.T, err)
		var keys []queue.Handed
		for i := range confirmMax + 10 {
			keys = append(keys, queue.Handed{Account: "bob", Key: strings.Repeat("k", i+1)})
		}
		check(e.T, e.queue.Finish(e.Context(), w, []queue.Report{{ID: w.Messages[0].ID, Result: queue.Result{OK: true}, Handed: keys}}))
		left, err := e.queue.Unconfirmed(e.Context(), 2*confirmMax)
		if err != nil || len(left) != len(keys) {
			e.Fatalf("got %d keys, %v, want %d", len(left), err, len(keys))
		}
		e.serve()
		e.settleHandovers()
		if left, err = e.queue.Unconfirmed(e.Context(), 10); err != nil || len(left) != 0 {
			e.Errorf("got %d keys, %v", len(left), err)
		}
	})
}

// TestAlias checks that a message for an alias reaches its members once, also if
// one attempt more is made.
func TestAlias(t *testing.T) {
	run(t, func(e *env) {
		n := newMessage("list@example.org")
		n.MailFrom = mustPath("someone@elsewhere.example")
		e.stop()
		e.send(n)
		w, err := e.queue.Next(e.Context())
		check(e.T, err)
		tries := e.handOver(e.Context(), 1, w)
		if f := tries[0].failure; f != nil || len(tries[0].handed) == 0 {
			e.Errorf("got %+v", tries[0])
		}
		check(e.T, e.queue.Finish(e.Context(), w, nil)) // As if the process had died.
		e.serve()
		e.settle(time.Hour)
		for _, account := range []string{"alice", "bob"} {
			if got := e.inbox(account); len(got) > 1 || account == "bob" && len(got) != 1 {
				e.Errorf("%s has %d messages", account, len(got))
			}
		}
		if e.left() != 0 {
			e.Errorf("%d messages are left", e.left())
		}
		if got := slices.Compact(e.notices("alice")); len(got) != 0 {
			e.Errorf("got notifications %q", got)
		}
	})
}

// TestReturnedAndNotRecorded has the process die when a sender was told that a
// message failed, and before that was recorded: it is not delivered then, though it
// could be, and the sender is not told again.
func TestReturnedAndNotRecorded(t *testing.T) {
	run(t, func(e *env) {
		e.stop()
		e.send(newMessage("bob@example.org", "alice@example.org"))
		w, err := e.queue.Next(e.Context())
		check(e.T, err)
		m := &w.Messages[0]
		v := decide(m, try{start: time.Now(), end: time.Now(), failure: &failure{code: 550, enhanced: "5.1.1", text: "no such address", permanent: true}}, e.opts.Schedule, 0)
		_, err = e.notify(e.Context(), w, m, v, new(trace.Notice))
		check(e.T, err)
		check(e.T, e.queue.Finish(e.Context(), w, nil)) // As if the process had died.
		e.started = time.Now()
		e.serve()
		e.settle(time.Hour)
		if got := e.inbox("bob"); len(got) != 0 {
			e.Errorf("bob has %d messages", len(got))
		}
		e.wantNotices("failed 5.1.1 bob@example.org")
		delivered := 0
		for _, text := range e.inbox("alice") {
			if text == testContent {
				delivered++
			}
		}
		if delivered != 1 || e.left() != 0 {
			e.Errorf("alice has %d, %d are left", delivered, e.left())
		}
		e.wantLog("returned to its sender by a process that ended before")
		e.settle(2 * confirmInterval)
		keys, err := e.queue.Unconfirmed(e.Context(), 10)
		if err != nil || len(keys) != 0 {
			e.Errorf("got keys %v, %v", keys, err)
		}
	})
}

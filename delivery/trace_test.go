package delivery

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/trace"
)

// runTraced is run with traces, that are read with steps.
func runTraced(t *testing.T, test func(e *env, steps func(id int64) []trace.Event)) {
	t.Helper()
	dir := t.TempDir()
	var l *trace.Log
	run(t, func(e *env) {
		defer func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(e, func(id int64) []trace.Event {
			found, err := l.Lookup(e.Context(), trace.Query{ID: id})
			check(e.T, err)
			return found.Events
		})
	}, func(o *Options) {
		var err error
		l, err = trace.Open(trace.Options{Dir: filepath.Join(dir, "trace"), KeepFor: 30 * 24 * time.Hour, SizeMax: 1 << 20, Log: slog.New(slog.DiscardHandler)})
		check(t, err)
		o.Trace = l
	})
}

// TestTracedAttempts follows a message: the first server can't be reached and the
// second doesn't want it yet; later it is refused for good, and its sender told. What
// the queue keeps of each attempt is the same.
func TestTracedAttempts(t *testing.T) {
	runTraced(t, func(e *env, steps func(int64) []trace.Event) {
		_, second := e.twoHosts(&peer{answers: map[string][]string{"": {"421 4.3.2 busy", "drop"}}})
		second.answers = map[string][]string{"RCPT": {"451 4.7.1 later", "550 5.1.1 no such user"}}
		m := e.send(newMessage("bob@other.example"))[0]
		e.wait()
		list := steps(m.ID)
		if len(list) != 1 || list[0].Kind != trace.Attempted || list[0].MessageID != "1@example.org" || list[0].Account != "alice" {
			t.Fatalf("got %+v", list)
		}
		a := list[0].Attempt
		if a.Number != 1 || a.Result != trace.ResultDelayed || a.Host != "mx2.other.example" || a.IP != "198.51.100.2" || a.Code != 451 || a.Enhanced != "4.7.1" || a.Next.IsZero() ||
			a.Transport != "direct" || a.TLS != tlsNone || a.Policy != whyOpportunistic || a.Cause != "" {
			t.Errorf("first attempt: got %+v", a)
		}
		if len(a.Tried) != 1 || a.Tried[0].Host != "mx.other.example" || !strings.HasSuffix(a.Tried[0].Error, "421 4.3.2 busy") {
			t.Errorf("tried: got %+v", a.Tried)
		}
		if r := e.get(m.ID).Results[0]; r.Transport != a.Transport || r.TLS != a.TLS || r.Policy != a.Policy {
			t.Errorf("the queue has %+v", r)
		}
		time.Sleep(time.Until(a.Next) + time.Minute)
		e.wait()
		list = steps(m.ID)
		if len(list) != 3 || list[1].Attempt == nil || list[2].Notice == nil {
			t.Fatalf("got %+v", list)
		}
		if a := list[1].Attempt; a.Number != 2 || a.Result != trace.ResultFailed || !a.Permanent || a.Code != 550 || !a.Next.IsZero() || len(a.Tried) != 1 || a.Tried[0].Cause == "" {
			t.Errorf("second attempt: got %+v", a)
		}
		if n := list[2].Notice; n.Action != string(dsn.Failed) || n.To != "alice@example.org" || n.MessageID == "" || n.QueueID != 0 || n.Error != "" {
			t.Errorf("told: got %+v", n)
		}
	})
}

// TestTracedOthers checks what is traced of messages that go to accounts, of those that
// an administrator cancels, and of one from elsewhere, whose sender is told by mail.
func TestTracedOthers(t *testing.T) {
	runTraced(t, func(e *env, steps func(int64) []trace.Event) {
		m := e.send(newMessage("bob@example.org"))[0]
		e.settleHandovers()
		list := steps(m.ID)
		if len(list) != 1 || list[0].Attempt.Transport != "local" || list[0].Attempt.Result != trace.ResultDelivered || list[0].Attempt.IP != "" {
			t.Errorf("local: got %+v", list)
		}

		e.oneHost(&peer{answers: map[string][]string{"RCPT": {"451 4.7.1 later"}}})
		n := newMessage("eve@other.example")
		n.Account, n.MailFrom = "", mustPath("carol@other.example")
		m = e.send(n)[0]
		e.wait()
		_, err := e.queue.FailNow(e.Context(), queue.Filter{IDs: []int64{m.ID}}, "enough")
		check(e.T, err)
		e.wait()
		list = steps(m.ID)
		if len(list) != 3 {
			t.Fatalf("cancelled: got %+v", list)
		}
		if a := list[1].Attempt; a.Result != trace.ResultFailed || !strings.Contains(a.Error, "enough") || a.Host != "" {
			t.Errorf("cancelled: got %+v", a)
		}
		if n := list[2].Notice; n.QueueID == 0 || n.To != "carol@other.example" || len(steps(n.QueueID)) < 2 {
			t.Errorf("told: got %+v, of which there is %+v", n, steps(n.QueueID))
		}
	})
}

// TestTracedSuccess checks that senders who are told of success have that in the trace.
func TestTracedSuccess(t *testing.T) {
	runTraced(t, func(e *env, steps func(int64) []trace.Event) {
		e.oneHost(&peer{})
		n := newMessage("bob@other.example")
		n.To[0].DSN.Notify = "SUCCESS"
		m := e.send(n)[0]
		e.settle(time.Second)
		list := steps(m.ID)
		if len(list) != 2 || list[1].Notice == nil || list[1].Notice.Action != string(dsn.Relayed) || list[1].Notice.MessageID == "" {
			t.Errorf("got %+v", list)
		}
	})
}

// TestTriedBounded shows that an attempt at many hosts doesn't make a trace of any
// size.
func TestTriedBounded(t *testing.T) {
	t.Parallel()
	var one try
	for range 3 * triedMax {
		one.tried(place{}, &failure{err: errors.New("no")})
	}
	if len(one.before) != triedMax {
		t.Errorf("got %d", len(one.before))
	}
}

package submit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	l := limits{messages: 10, firstTime: 3}
	for _, tc := range []struct {
		name     string
		limits   limits
		total    store.SentHour
		n, first int64
		want     error
	}{
		{"nothing sent", l, store.SentHour{}, 1, 1, nil},
		{"all at once", l, store.SentHour{}, 10, 3, nil},
		{"one message too many", l, store.SentHour{}, 11, 0, ErrMessageLimit},
		{"one first time too many", l, store.SentHour{}, 4, 4, ErrRecipientLimit},
		{"the last message", l, store.SentHour{Messages: 9, FirstTime: 3}, 1, 0, nil},
		{"the last first time", l, store.SentHour{Messages: 2, FirstTime: 2}, 1, 1, nil},
		{"a first time too many", l, store.SentHour{Messages: 3, FirstTime: 3}, 1, 1, ErrRecipientLimit},
		{"to known ones when there are no first times left", l, store.SentHour{Messages: 5, FirstTime: 5}, 1, 0, nil},
		{"messages count first", l, store.SentHour{Messages: 10, FirstTime: 3}, 1, 1, ErrMessageLimit},
		{"no limits", limits{}, store.SentHour{Messages: 1e6, FirstTime: 1e6}, 1e3, 1e3, nil},
	} {
		err := tc.limits.decide(tc.total, tc.n, tc.first)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
		if e, ok := errors.AsType[*smtp.Error](err); tc.want != nil && (!ok || e.Code != 451 || e.Enhanced != "4.7.1") {
			t.Errorf("%s: got %v, want 451 4.7.1", tc.name, err)
		}
	}
}

// bobs is a message that bob may send. His limits are 10 messages and 3 first
// times.
const bobs = "From: bob@example.org\n\nhi\n"

// TestLimits sends over days, with restarts. Each step sees what those before it
// have sent.
func TestLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		sent := newSent(e.store, e.Submitter.log, time.Now)
		serving.Go(func() { sent.serve(ctx) })
		defer serving.Wait()
		defer cancel()
		l := limits{messages: 10, firstTime: 3}
		for _, step := range []struct {
			name    string
			wait    time.Duration // Before it.
			restart bool
			to      string
			undo    bool
			want    error
			full    bool // Nothing more may be sent then.
		}{
			{"first time", 0, false, "a b", false, nil, false},
			{"again, known already", 0, false, "a b a", false, nil, false},
			{"two first times too many", 0, false, "c d", false, ErrRecipientLimit, false},
			{"the last first time, not sent after all", 0, false, "c", true, nil, false},
			{"the last first time", 0, false, "c", false, nil, false},
			{"to known ones", time.Second, false, "a b c", false, nil, false},
			{"after a restart, still known", 10 * time.Second, true, "a", false, nil, true},
			{"after a restart, counted", 10 * time.Second, true, "a", false, ErrMessageLimit, true},
			{"almost a day later", 23 * time.Hour, false, "a", false, ErrMessageLimit, true},
			{"almost a day later, after a restart", 0, true, "d", false, ErrMessageLimit, true},
			{"a day and an hour later", 2 * time.Hour, true, "a d e f", false, nil, false},
			{"and one more", 0, false, "g", false, ErrRecipientLimit, false},
			{"a week later, all are still known", 7 * 24 * time.Hour, false, "a b c d e f", false, nil, false},
			{"a week later, first times", 0, false, "g h i", false, nil, false},
		} {
			time.Sleep(step.wait)
			if step.restart {
				cancel()
				serving.Wait()
				ctx, cancel = context.WithCancel(t.Context())
				sent = newSent(e.store, e.Submitter.log, time.Now)
				serving.Go(func() { sent.serve(ctx) })
			}
			undo, err := sent.add(ctx, "bob", strings.Fields(step.to), time.Now(), l)
			if !errors.Is(err, step.want) {
				t.Errorf("%s: got %v, want %v", step.name, err, step.want)
			}
			if step.undo {
				undo()
			}
			if err := sent.check(ctx, "bob", l); (err != nil) != step.full {
				t.Errorf("%s: then checking gives %v, want an error: %v", step.name, err, step.full)
			}
		}
		cancel()
	})
}

// TestForget checks that a new account of a name has sent nothing, whatever the one
// before has that was not written down yet.
func TestForget(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	now := time.Now()
	if _, err := e.sent.add(t.Context(), "alice", []string{"x@b.example"}, now, limits{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		forget string
		want   int64
	}{{"bob", 1}, {"alice", 0}, {"alice", 0}} {
		e.Forget(step.forget)
		b, err := e.sent.lock(t.Context(), "alice", now)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.total(now).Messages; got != step.want || len(b.known) != int(step.want) {
			t.Errorf("after forgetting %s: %d messages and %d addresses are known, want %d", step.forget, got, len(b.known), step.want)
		}
		b.mu.Unlock()
	}
}

// TestForgotten checks that accounts that send nothing take no memory, and that
// addresses that are written down make room for others.
func TestForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var serving sync.WaitGroup
		defer serving.Wait()
		sent := newSent(e.store, e.Submitter.log, time.Now)
		serving.Go(func() { sent.serve(ctx) })
		add := func(from, n int) {
			t.Helper()
			var to []string
			for i := range n {
				to = append(to, fmt.Sprintf("%d@b.example", from+i))
			}
			if _, err := sent.add(ctx, "alice", to, time.Now(), limits{}); err != nil {
				t.Fatal(err)
			}
		}
		known := func() int {
			b, err := sent.lock(ctx, "alice", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			defer b.mu.Unlock()
			return len(b.known)
		}
		add(0, knownMax-1)
		add(knownMax, 10)
		if got := known(); got != knownMax {
			t.Errorf("%d addresses are in memory, want no more than %d", got, knownMax)
		}
		time.Sleep(2 * recordEvery)
		add(0, 1)
		add(2*knownMax, 10)
		if got := known(); got != 11 {
			t.Errorf("%d addresses are in memory after the others were written, want 11", got)
		}
		time.Sleep(forgetAfter + 2*recordEvery)
		sent.mu.Lock()
		if len(sent.byName) != 0 {
			t.Errorf("%d accounts are in memory, want none", len(sent.byName))
		}
		sent.mu.Unlock()
		if b, err := sent.lock(ctx, "alice", time.Now()); err != nil {
			t.Error(err)
		} else {
			if got := b.total(time.Now()).Messages; got != knownMax-1+10+11 {
				t.Errorf("counted %d messages", got)
			}
			b.mu.Unlock()
		}
		cancel()
	})
}

// TestSentTogether has many send at once, and none is lost.
func TestSentTogether(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var serving, sending sync.WaitGroup
	for range 3 {
		serving.Go(func() {
			for ctx.Err() == nil {
				e.sent.recordAll(t.Context())
				e.sent.mu.Lock()
				b := e.sent.byName["bob"]
				e.sent.mu.Unlock()
				if b != nil {
					e.sent.forget(b, func() bool {
						to, hours := b.changes(time.Now())
						return len(to)+len(hours) == 0
					})
				}
			}
		})
	}
	now := time.Now()
	for i := range 8 {
		sending.Go(func() {
			for j := range 20 {
				if _, err := e.sent.add(ctx, "bob", []string{fmt.Sprint(i, "@", j), "x@b.example"}, now, limits{1000, 1000}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	cancel()
	serving.Wait()
	e.restart()
	b, err := e.sent.lock(t.Context(), "bob", now)
	if err != nil {
		t.Fatal(err)
	}
	defer b.mu.Unlock()
	if got := b.total(now); got.Messages != 320 || got.FirstTime != 161 {
		t.Errorf("counted %+v, want 320 messages, 161 of them to new addresses", got)
	}
}

// TestSubmitLimits sends through a Submitter, where the limits are those of the
// configuration.
func TestSubmitLimits(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	send := func(account, content string, to ...string) error {
		_, err := e.send(e.begin(account, ""), content, to...)
		return err
	}
	checkError(t, "as many first times as may be", send("bob", bobs, "Alice@example.org", "a@b.example", "x@[192.0.2.1]"), "", nil)
	checkError(t, "one more", send("bob", bobs, "c@b.example"), "451 4.7.1 your account has sent to as many new addresses as it may in a day: 3", ErrRecipientLimit)
	checkError(t, "another spelling of a known one", send("bob", bobs, "ALICE+x@example.org"), "", nil)
	e.restart()
	for range 6 {
		checkError(t, "to known ones", send("bob", bobs, "x@[192.0.2.1]"), "", nil)
	}
	checkError(t, "too many messages", send("bob", bobs, "a@b.example"), "451 4.7.1 your account has sent as many messages as it may in a day: 10", ErrMessageLimit)
	checkError(t, "another account", send("alice", whole, "c@b.example"), "", nil)
	if got := e.counted()["messagelimit"]; got != 0 {
		t.Errorf("counted %v, want none: it was refused before the message came", got)
	}
	tx := e.begin("bob", "")
	tx.Rcpts = []smtp.Path{path(t, "a@b.example")}
	_, err := e.Submit(t.Context(), tx, strings.NewReader("From: bob@example.org\r\n\r\n"), 25)
	checkError(t, "too many messages, found out at the end", err, "451 4.7.1", ErrMessageLimit)

	e.opts.Unlimited = true
	for range 20 {
		checkError(t, "without limits", send("bob", bobs, "d@b.example", "e@b.example"), "", nil)
	}
}

// TestRecordFails checks that what can't be written is kept and logged, and that
// an account that is gone is forgotten.
func TestRecordFails(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	for _, account := range []string{"alice", "bob"} {
		if _, err := e.sent.add(t.Context(), account, []string{"x@b.example"}, time.Now(), limits{}); err != nil {
			t.Fatal(err)
		}
	}
	e.sent.recordAll(t.Context())
	if len(e.sent.byName) != 2 || e.log.Len() > 0 {
		t.Errorf("%d accounts are in memory, want 2; log %s", len(e.sent.byName), e.log)
	}
	if _, err := e.sent.add(t.Context(), "nobody", []string{"x@b.example"}, time.Now(), limits{}); !errors.Is(err, store.ErrNoAccount) {
		t.Errorf("an account that isn't there: got %v", err)
	}
	if _, err := e.sent.add(t.Context(), "alice", []string{"y@b.example"}, time.Now(), limits{}); err != nil {
		t.Fatal(err)
	}
	if err := e.store.Close(); err != nil {
		t.Fatal(err)
	}
	e.sent.recordAll(t.Context())
	if !strings.Contains(e.log.String(), "recording what account has sent") || !e.sent.byName["alice"].known["y@b.example"].changed {
		t.Errorf("closed store: got log %s", e.log)
	}
}

// TestLimitsClock has the clock set back after an account has sent all it may: by
// hours it waits longer, by years it is not shut out.
func TestLimitsClock(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	l := limits{messages: 1}
	now := time.Now()
	for _, restart := range []bool{false, true} {
		s := newSent(e.store, e.Submitter.log, func() time.Time { return now })
		if !restart {
			if _, err := s.add(t.Context(), "bob", []string{"x@b.example"}, now, l); err != nil {
				t.Fatal(err)
			}
			s.recordAll(t.Context())
		}
		for off, want := range map[time.Duration]error{
			0: ErrMessageLimit, time.Hour: ErrMessageLimit, -time.Hour: ErrMessageLimit, -24 * time.Hour: ErrMessageLimit,
			26 * time.Hour: nil, -26 * time.Hour: nil, 10 * 365 * 24 * time.Hour: nil, -10 * 365 * 24 * time.Hour: nil,
		} {
			b, err := s.lock(t.Context(), "bob", now.Add(off))
			if err != nil {
				t.Fatal(err)
			}
			if got := l.decide(b.total(now.Add(off)), 1, 0); !errors.Is(got, want) {
				t.Errorf("restarted %v, clock off by %s: got %v, want %v", restart, off, got, want)
			}
			b.mu.Unlock()
		}
	}
}

package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/webhook"
)

// withHooks makes accounts have webhooks: "mjl" for all events, "final" for those
// that end a message's way, "none" for none. What is retired is kept for an hour.
func withHooks(o *Options) {
	o.Webhook = func(account string, event webhook.Event) (string, bool) {
		switch account {
		case "none":
			return "", false
		case "final":
			return "http://final.example", event == webhook.EventDelivered || event == webhook.EventFailed
		}
		return "http://" + account + ".example", true
	}
	o.KeepRetiredHooks = func(string) time.Duration { return time.Hour }
	o.KeepRetired = func(string) time.Duration { return time.Hour }
}

// hooks returns hooks, as lines of their events, messages and outcomes.
func (w *world) hooks(f HookFilter) string {
	w.t.Helper()
	list, err := w.db.Hooks(w.t.Context(), f, Sort{By: "queued"})
	errorless(w.t, err)
	var lines []string
	for _, h := range list {
		line := fmt.Sprintf("%d %s %s %d", h.ID, h.Account, h.Event, h.QueueMsgID+h.EmailID)
		if h.Outcome != "" {
			line += " " + string(h.Outcome)
		}
		if h.SupersededBy != 0 {
			line += fmt.Sprintf(" by %d", h.SupersededBy)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

// wantHooks fails unless these hooks wait, and these are retired.
func (w *world) wantHooks(when, waiting, retired string) {
	w.t.Helper()
	if got := w.hooks(HookFilter{}); got != waiting {
		w.t.Errorf("%s: %q wait, want %q", when, got, waiting)
	}
	if got := w.hooks(HookFilter{Retired: true}); got != retired {
		w.t.Errorf("%s: %q are retired, want %q", when, got, retired)
	}
}

// nextHook returns the next hook, which must be due.
func (w *world) nextHook() *HookWork {
	w.t.Helper()
	work, err := w.db.NextHook(w.t.Context())
	errorless(w.t, err)
	return work
}

// finishHook ends a call.
func (w *world) finishHook(work *HookWork, r HookResult) {
	w.t.Helper()
	errorless(w.t, w.db.FinishHook(w.t.Context(), work, r))
}

// called and unanswered are what comes of calls.
func called() HookResult     { return HookResult{Start: time.Now(), Code: 200, OK: true} }
func unanswered() HookResult { return HookResult{Start: time.Now(), Code: 500, Error: "500 no"} }

// report is what came of an attempt, with what is told of it.
func report(event webhook.Event) Report {
	switch event {
	case webhook.EventDelivered:
		r := ok()
		r.Event = event
		return r
	case webhook.EventDelayed:
		return Report{Retry: true, Event: event, Result: Result{Start: time.Now(), Code: 451, Enhanced: "4.3.0", Error: "later"}}
	}
	return Report{Event: event, Result: Result{Start: time.Now(), Code: 550, Enhanced: "5.1.1", Error: "no such user", Permanent: true}}
}

// TestHooks follows hooks about messages from the report to when they are forgotten.
func TestHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHooks)
	n := message(t, "mjl@example.org", "a@remote.example")
	n.Extra = map[string]string{"order": "17"}
	_, err := w.tryAdd("content", n)
	errorless(t, err)
	w.finish(w.next(), report(webhook.EventFailed))
	w.wantHooks("failed", "1 mjl failed 1", "")

	work := w.nextHook()
	h := work.Hook
	if h.URL != "http://mjl.example" || h.Attempts != 1 || h.MessageID != "<1@example.org>" || h.Subject != "test" || h.Extra["order"] != "17" {
		t.Errorf("got %+v", h)
	}
	var got webhook.Outgoing
	errorless(t, json.Unmarshal(h.Payload, &got))
	want := webhook.Outgoing{
		Event: webhook.EventFailed, QueueMsgID: 1, MessageID: "<1@example.org>", Subject: "test", WebhookQueued: h.Submitted.UTC(),
		SMTPCode: 550, SMTPEnhancedCode: "5.1.1", Error: "no such user", Extra: map[string]string{"order": "17"},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("payload: got %+v, want %+v", got, want)
	}
	stored, err := w.db.GetHook(t.Context(), 1, false)
	if err != nil || !stored.Calling || stored.Results[0].Error != hookRunning || !bytes.Equal(stored.Payload, h.Payload) {
		t.Errorf("while it runs: got %+v, %v", stored, err)
	}
	if s := w.db.HookStats(); s != (HookStats{Calling: 1}) {
		t.Errorf("while it runs: got %+v", s)
	}
	w.finishHook(work, unanswered())
	stored, err = w.db.GetHook(t.Context(), 1, false)
	if err != nil || stored.Calling || len(stored.Results) != 1 || stored.Results[0].Code != 500 || !stored.NextAttempt.After(time.Now().Add(50*time.Second)) {
		t.Errorf("refused: got %+v, %v", stored, err)
	}
	if err := w.db.FinishHook(t.Context(), work, called()); !errors.Is(err, ErrLease) {
		t.Errorf("finished twice: %v", err)
	}
	_, err = w.db.RescheduleHooks(t.Context(), HookFilter{}, func(Hook) time.Time { return time.Now() })
	errorless(t, err)
	w.finishHook(w.nextHook(), called())
	w.wantHooks("called", "", "1 mjl failed 1 called")
	if _, err := w.db.GetHook(t.Context(), 1, false); !errors.Is(err, ErrNoHook) {
		t.Errorf("one that is retired: %v", err)
	}
	w.restart()
	w.wantHooks("after a restart", "", "1 mjl failed 1 called")
	errorless(t, w.db.PurgeHooks(t.Context(), time.Now().Add(59*time.Minute)))
	w.wantHooks("before its time", "", "1 mjl failed 1 called")
	errorless(t, w.db.PurgeHooks(t.Context(), time.Now().Add(61*time.Minute)))
	w.wantHooks("after its time", "", "")
}

// TestHookEvents says who is told of what.
func TestHookEvents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, from, to string
		report         Report
		want           string
	}{
		{"delivered to another server", "mjl", "a@remote.example", report(webhook.EventDelivered), "1 mjl delivered 1"},
		{"handed over", "mjl", "a@local.example", report(webhook.EventDelivered), "1 mjl delivered 1"},
		{"nothing to tell", "mjl", "a@remote.example", ok(), ""},
		{"delayed", "mjl", "a@remote.example", report(webhook.EventDelayed), "1 mjl delayed 1"},
		{"delayed, and only ends are to be told", "final", "a@remote.example", report(webhook.EventDelayed), ""},
		{"failed, likewise", "final", "a@remote.example", report(webhook.EventFailed), "1 final failed 1"},
		{"without a webhook", "none", "a@remote.example", report(webhook.EventFailed), ""},
		{"handed over, without a webhook", "none", "a@local.example", report(webhook.EventDelivered), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, withHooks)
			w.add("content", test.from+"@example.org", test.to)
			w.finish(w.next(), test.report)
			w.wantHooks(test.name, test.want, "")
			w.restart()
			w.wantHooks("after a restart", test.want, "")
		})
	}
}

// TestHooksCanceled tells of what administrators do to messages.
func TestHooksCanceled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHooks)
	w.add("content", "mjl@example.org", "a@remote.example")
	_, err := w.db.Drop(t.Context(), Filter{})
	errorless(t, err)
	w.wantHooks("dropped", "1 mjl canceled 1", "")

	w.add("content", "mjl@example.org", "b@remote.example")
	work := w.next()
	_, err = w.db.Drop(t.Context(), Filter{})
	errorless(t, err)
	w.finish(work, report(webhook.EventDelayed))
	w.wantHooks("dropped during an attempt", "1 mjl canceled 1, 2 mjl canceled 2", "")

	n := message(t, "mjl@example.org", "c@remote.example")
	n.Provisional = true
	_, err = w.tryAdd("content", n)
	errorless(t, err)
	_, err = w.db.Drop(t.Context(), Filter{})
	errorless(t, err)
	w.wantHooks("of a message that nobody was told is taken", "1 mjl canceled 1, 2 mjl canceled 2", "")
}

// TestHooksSuperseded: the newest that is known of a message is told.
func TestHooksSuperseded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHooks)
	w.add("content", "mjl@example.org", "a@remote.example")
	w.finish(w.next(), report(webhook.EventDelayed))
	retry := func() *Work {
		_, err := w.db.Reschedule(t.Context(), Filter{}, func(Message) time.Time { return time.Now() })
		errorless(t, err)
		return w.next()
	}
	w.finish(retry(), report(webhook.EventDelayed))
	w.wantHooks("delayed again", "2 mjl delayed 1", "1 mjl delayed 1 superseded by 2")

	call := w.nextHook()
	w.finish(retry(), report(webhook.EventDelivered))
	w.wantHooks("delivered during a call", "3 mjl delivered 1", "1 mjl delayed 1 superseded by 2, 2 mjl delayed 1 superseded by 3")
	w.finishHook(call, called())
	late, err := w.db.GetHook(t.Context(), 2, true)
	if err != nil || len(late.Results) != 1 || !late.Results[0].OK || late.LastActivity.Before(late.RetiredAt) {
		t.Errorf("the result that came late: got %+v, %v", late, err)
	}

	// What says nothing about the message takes nothing's place, and nothing takes its.
	tell := func(e webhook.Event) {
		errorless(t, w.db.commit(&change{run: func(tx *tx) error {
			return tx.tell(&Message{ID: 1, Account: "mjl"}, HookEvent{Event: e, DSN: true})
		}}))
	}
	tell(webhook.EventUnrecognized)
	tell(webhook.EventFailed)
	w.wantHooks("an answer, then a failure", "4 mjl unrecognized 1, 5 mjl failed 1",
		"1 mjl delayed 1 superseded by 2, 2 mjl delayed 1 superseded by 3, 3 mjl delivered 1 superseded by 5")
	w.check()
}

// TestHookTiming follows a hook in a bubble: attempts to an address that is down.
func TestHookTiming(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { withHooks(o); o.Rand = zeroJitter{} })
		start := time.Now()
		errorless(t, w.db.AddIncoming(t.Context(), []NewIncoming{{Account: "mjl", EmailID: 7}}))
		want := []float64{0, 1, 3, 7, 14.5, 29.5, 59.5, 119.5, 239.5, 479.5, 959.5, 1919.5}
		for i, minutes := range want {
			work := w.nextHook()
			if got := time.Since(start).Round(time.Second); work.Hook.Attempts != int64(i+1) || got != time.Duration(minutes*float64(time.Minute)) {
				t.Fatalf("attempt %d after %s, want %v minutes", work.Hook.Attempts, got, minutes)
			}
			w.finishHook(work, unanswered())
			if i == 4 {
				w.restart()
			}
		}
		w.wantHooks("at the end", "", "1 mjl incoming 7 failed")
	})
}

// TestHookJitter: waits differ by a hundredth at most.
func TestHookJitter(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	for i, wait := range hookWaits() {
		for _, jitter := range []float64{-2, -1, 0, 1, 2} {
			next, over := nextHookAttempt(int64(i+1), now, jitter)
			if off := next.Sub(now) - wait; over || off.Abs() > wait/100 || jitter < 0 && off >= 0 || jitter > 0 && off <= 0 {
				t.Errorf("attempt %d, jitter %v: after %v, over %v", i+1, jitter, next.Sub(now), over)
			}
		}
	}
	if _, over := nextHookAttempt(int64(len(hookWaits())+1), now, 0); !over {
		t.Error("there is an attempt after the last")
	}
}

// TestHooksRun gives out one call for an address at a time, and a bounded number.
func TestHooksRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, change: func(o *Options) { withHooks(o); o.HooksMax = 2 }}
		w.start()
		got := make(chan *HookWork, 100)
		go func() {
			for {
				work, err := w.db.NextHook(t.Context())
				if err != nil {
					return
				}
				got <- work
			}
		}()
		one := func(when, want string) (work *HookWork) {
			t.Helper()
			synctest.Wait()
			text := ""
			select {
			case work = <-got:
				text = fmt.Sprintf("%s %d", work.Hook.Account, work.Hook.EmailID)
			default:
			}
			if text != want {
				t.Fatalf("%s: got %q, want %q", when, text, want)
			}
			return work
		}
		add := func(account string, id int64) {
			errorless(t, w.db.AddIncoming(t.Context(), []NewIncoming{{Account: account, EmailID: id}, {Account: "none", EmailID: id}}))
		}
		one("at first", "")
		add("a", 1)
		first := one("added", "a 1")
		add("a", 2)
		one("the address has a call", "")
		add("b", 1)
		second := one("another address", "b 1")
		add("c", 1)
		one("as many as can be run", "")
		add("a", 2) // It waits already.
		w.finishHook(second, called())
		third := one("there is room", "c 1")
		w.finishHook(first, unanswered())
		fourth := one("the address is free, and has another", "a 2")
		w.finishHook(third, called())
		w.finishHook(fourth, called())
		one("it is not time", "")
		time.Sleep(2 * time.Minute)
		w.finishHook(one("it is time", "a 1"), called())
		one("none is left", "")

		add("a", 3)
		lost := one("one that will not end", "a 3")
		time.Sleep(hookLease + 2*time.Minute)
		again := one("its time is over", "a 3")
		if err := w.db.FinishHook(t.Context(), lost, called()); !errors.Is(err, ErrLease) {
			t.Errorf("the one that did not end: %v", err)
		}
		w.finishHook(again, called())
		if !strings.Contains(w.log.String(), "has not ended in time") {
			t.Errorf("logged %q", w.log)
		}
		w.check()
		w.stop()
	})
}

// TestHookAddresses follows what the configuration says of addresses.
func TestHookAddresses(t *testing.T) {
	t.Parallel()
	url := "http://one.example"
	w := newWorld(t, func(o *Options) {
		withHooks(o)
		o.Webhook = func(string, webhook.Event) (string, bool) { return url, url != "" }
	})
	for id := range int64(3) {
		errorless(t, w.db.AddIncoming(t.Context(), []NewIncoming{{Account: "mjl", EmailID: 1 + id}}))
	}
	url = "http://two.example"
	work := w.nextHook()
	if work.Hook.URL != url || work.Hook.Attempts != 1 {
		t.Errorf("got %+v", work.Hook)
	}
	w.check()
	w.finishHook(work, called())
	w.finishHook(w.nextHook(), called())
	url = ""
	w.db.mu.Lock()
	l := w.db.hooks.schedule.lease(time.Now())
	w.db.mu.Unlock()
	if work, err := w.db.beginHook(l); work != nil || err != nil {
		t.Errorf("without an address: got %+v, %v", work, err)
	}
	w.wantHooks("without an address", "", "1 mjl incoming 1 called, 2 mjl incoming 2 called, 3 mjl incoming 3 canceled")
}

// TestHooksCrowded: an address that is down does not fill the disk.
func TestHooksCrowded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { withHooks(o); o.HooksPerAccount, o.HooksRetiredMax = 3, 4 })
	add := func(account string, ids ...int64) {
		t.Helper()
		var list []NewIncoming
		for _, id := range ids {
			list = append(list, NewIncoming{Account: account, EmailID: id})
		}
		errorless(t, w.db.AddIncoming(t.Context(), list))
	}
	add("a", 1, 2)
	add("b", 1)
	add("a", 3)
	w.wantHooks("as many as can be", "1 a incoming 1, 2 a incoming 2, 3 b incoming 1, 4 a incoming 3", "")
	call := w.nextHook()
	add("a", 4, 5)
	w.wantHooks("two more", "3 b incoming 1, 4 a incoming 3, 5 a incoming 4, 6 a incoming 5", "1 a incoming 1 crowded, 2 a incoming 2 crowded")
	if call.Hook.ID != 1 {
		t.Fatalf("called %d", call.Hook.ID)
	}
	w.check()
	w.finishHook(call, called())
	w.check()
	add("a", 6, 7, 8)
	w.restart()
	w.wantHooks("three more, in one commit", "3 b incoming 1, 7 a incoming 6, 8 a incoming 7, 9 a incoming 8",
		"1 a incoming 1 crowded, 2 a incoming 2 crowded, 4 a incoming 3 crowded, 5 a incoming 4 crowded, 6 a incoming 5 crowded")
	errorless(t, w.db.PurgeHooks(t.Context(), time.Now()))
	if got := w.hooks(HookFilter{Retired: true}); strings.HasPrefix(got, "1 ") || strings.Count(got, ",") != 3 {
		t.Errorf("too many were kept: %q", got)
	}
}

// TestHooksChanged is what an administrator can do.
func TestHooksChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHooks)
	for id := range int64(4) {
		errorless(t, w.db.AddIncoming(t.Context(), []NewIncoming{{Account: []string{"a", "b"}[id%2], EmailID: 1 + id}}))
	}
	call := w.nextHook()
	now := time.Now()
	changed, err := w.db.RescheduleHooks(t.Context(), HookFilter{}, func(h Hook) time.Time {
		if h.ID == 4 {
			return time.Time{}
		}
		return now.Add(time.Hour)
	})
	errorless(t, err)
	if got := hookIDs(changed); call.Hook.ID != 1 || got != "2 3" {
		t.Errorf("changed %s; %d is called, 4 was not to be", got, call.Hook.ID)
	}
	for _, test := range []struct {
		name   string
		filter HookFilter
		want   string
	}{
		{"all", HookFilter{}, "1 2 3 4"},
		{"ids", HookFilter{IDs: []int64{4, 2, 2, 9}}, "2 4"},
		{"no ids", HookFilter{IDs: []int64{}}, ""},
		{"an account", HookFilter{Account: "a"}, "1 3"},
		{"an event", HookFilter{Event: webhook.EventFailed}, ""},
		{"a time", HookFilter{NextAttempt: TimeFilter{At: now.Add(30 * time.Minute)}}, "2 3"},
		{"when it was queued", HookFilter{Submitted: TimeFilter{At: now.Add(-time.Hour), Before: true}}, ""},
		{"some", HookFilter{Max: 3}, "1 2 3"},
		{"retired", HookFilter{Retired: true}, ""},
	} {
		list, err := w.db.Hooks(t.Context(), test.filter, Sort{By: "queued"})
		if got := hookIDs(list); got != test.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", test.name, got, err, test.want)
		}
	}
	changed, err = w.db.CancelHooks(t.Context(), HookFilter{Max: 2}, "enough")
	if got := hookIDs(changed); got != "1 2" || err != nil {
		t.Errorf("canceled %q, %v", got, err)
	}
	w.finishHook(call, called())
	w.wantHooks("two are canceled", "3 a incoming 3, 4 b incoming 4", "1 a incoming 1 canceled, 2 b incoming 2 canceled")
	h, err := w.db.GetHook(t.Context(), 1, true)
	if err != nil || len(h.Results) != 3 || h.Results[1].Error != "enough" || !h.Results[2].OK {
		t.Errorf("canceled during a call: got %+v, %v", h, err)
	}
	w.check()

	for _, f := range []HookFilter{{Retired: true}, {Event: "read"}, {Max: -1}} {
		if _, err := w.db.CancelHooks(t.Context(), f, "x"); !errors.Is(err, ErrFilter) {
			t.Errorf("canceling %+v: %v", f, err)
		}
	}
	for _, by := range []string{"size", "lastactivity"} {
		if _, err := w.db.Hooks(t.Context(), HookFilter{}, Sort{By: by}); !errors.Is(err, ErrFilter) {
			t.Errorf("order by %s: %v", by, err)
		}
	}
}

func hookIDs(list []Hook) string {
	var ids []string
	for _, h := range list {
		ids = append(ids, fmt.Sprint(h.ID))
	}
	return strings.Join(ids, " ")
}

// TestHookFinal: one that there is nothing to tell of any more is not tried again.
func TestHookFinal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHooks)
	errorless(t, w.db.AddIncoming(t.Context(), []NewIncoming{{Account: "a", EmailID: 1}}))
	w.finishHook(w.nextHook(), HookResult{Start: time.Now(), Error: "gone", Final: true})
	w.wantHooks("gone", "", "1 a incoming 1 canceled")
}

// TestHookClock: times that were written while the clock was wrong are set right.
func TestHookClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHooks)
	errorless(t, w.db.AddIncoming(t.Context(), []NewIncoming{{Account: "a", EmailID: 1}, {Account: "b", EmailID: 2}}))
	w.finishHook(w.nextHook(), unanswered())
	far := time.Now().Add(100 * 24 * time.Hour)
	_, err := w.db.RescheduleHooks(t.Context(), HookFilter{IDs: []int64{2}}, func(Hook) time.Time { return far })
	errorless(t, err)
	w.stop()
	opts := Options{Dir: w.dir, Log: w.logger(), Rand: zeroJitter{}, LogSize: 64 << 10}
	errorless(t, Shift(t.Context(), opts, 20*time.Hour))
	w.start()
	list, err := w.db.Hooks(t.Context(), HookFilter{}, Sort{By: "queued"})
	errorless(t, err)
	now := time.Now()
	for _, h := range list {
		if h.Submitted.After(now) || h.LastAttempt.After(now) {
			t.Errorf("hook %d is of the future: %+v", h.ID, h)
		}
	}
	if list[0].NextAttempt.After(now.Add(17*time.Hour)) || !list[1].NextAttempt.After(far) {
		t.Errorf("next attempts at %v, and at %v as was chosen", list[0].NextAttempt, list[1].NextAttempt)
	}
}

// TestHookCrash kills the process at the commit of each operation: what is told of a
// message is there if and only if what came of the message is.
func TestHookCrash(t *testing.T) {
	t.Parallel()
	for _, op := range []struct {
		name          string
		prepare       func(w *world) any
		run           func(w *world, prepared any) error
		before, after string // Messages that wait; hooks that wait, with attempts; hooks that are retired.
	}{
		{
			"deliver", func(w *world) any { return w.next() },
			func(w *world, p any) error {
				return w.db.Finish(w.t.Context(), p.(*Work), reports(p.(*Work), report(webhook.EventDelivered)))
			},
			"1; ; ", "0; delivered 0; ",
		},
		{
			"delay", func(w *world) any { return w.next() },
			func(w *world, p any) error {
				return w.db.Finish(w.t.Context(), p.(*Work), reports(p.(*Work), report(webhook.EventDelayed)))
			},
			"1; ; ", "1; delayed 0; ",
		},
		{
			"drop", func(*world) any { return nil },
			func(w *world, _ any) error { _, err := w.db.Drop(w.t.Context(), Filter{}); return err },
			"1; ; ", "0; canceled 0; ",
		},
		{
			"begin a call", func(w *world) any { w.finish(w.next(), report(webhook.EventFailed)); return nil },
			func(w *world, _ any) error { _, err := w.db.NextHook(w.t.Context()); return err },
			"0; failed 0; ", "0; failed 1; ",
		},
		{
			"end a call", func(w *world) any { w.finish(w.next(), report(webhook.EventFailed)); return w.nextHook() },
			func(w *world, p any) error { return w.db.FinishHook(w.t.Context(), p.(*HookWork), called()) },
			"0; failed 1; ", "0; ; failed called",
		},
		{
			"end a call without success", func(w *world) any { w.finish(w.next(), report(webhook.EventFailed)); return w.nextHook() },
			func(w *world, p any) error { return w.db.FinishHook(w.t.Context(), p.(*HookWork), unanswered()) },
			"0; failed 1; ", "0; failed 1; ",
		},
		{
			"supersede", func(w *world) any {
				w.finish(w.next(), report(webhook.EventDelayed))
				_, err := w.db.Reschedule(w.t.Context(), Filter{}, func(Message) time.Time { return time.Now() })
				errorless(w.t, err)
				return w.next()
			},
			func(w *world, p any) error {
				return w.db.Finish(w.t.Context(), p.(*Work), reports(p.(*Work), report(webhook.EventDelivered)))
			},
			"1; delayed 0; ", "0; delivered 0; delayed superseded",
		},
		{
			"cancel", func(w *world) any { w.finish(w.next(), report(webhook.EventFailed)); return nil },
			func(w *world, _ any) error { _, err := w.db.CancelHooks(w.t.Context(), HookFilter{}, "x"); return err },
			"0; failed 0; ", "0; ; failed canceled",
		},
	} {
		for _, point := range []string{FaultCommitBefore, FaultCommitAfter} {
			t.Run(op.name+"/"+point, func(t *testing.T) {
				t.Parallel()
				w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, change: withHooks}
				w.start()
				w.add("content", "mjl@example.org", "a@remote.example")
				w.flush()
				prepared := op.prepare(w)
				reached, release := w.hold(point)
				result := make(chan error)
				go func() { result <- op.run(w, prepared) }()
				reached()
				crashed := w.crashed()
				release()
				errorless(t, <-result)
				w.check()
				w.stop()
				want := op.before
				if point == FaultCommitAfter {
					want = op.after
				}
				for range 2 {
					crashed.start()
					crashed.check()
					if got := crashed.hookState(); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					crashed.stop()
				}
			})
		}
	}
}

// hookState says how many messages wait, and which hooks there are.
func (w *world) hookState() string {
	w.t.Helper()
	var lists [2][]string
	for i, retired := range []bool{false, true} {
		list, err := w.db.Hooks(w.t.Context(), HookFilter{Retired: retired}, Sort{})
		errorless(w.t, err)
		for _, h := range list {
			what := fmt.Sprint(h.Attempts)
			if retired {
				what = string(h.Outcome)
			}
			lists[i] = append(lists[i], string(h.Event)+" "+what)
		}
		slices.Sort(lists[i])
	}
	return fmt.Sprintf("%d; %s; %s", len(w.list(Filter{})), strings.Join(lists[0], ", "), strings.Join(lists[1], ", "))
}

// TestHookFinalAttemptCrash: one whose process died during the last attempt is given
// up, and not called for ever.
func TestHookFinalAttemptCrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withHooks)
		errorless(t, w.db.AddIncoming(t.Context(), []NewIncoming{{Account: "a", EmailID: 1}}))
		for range hookWaits() {
			w.finishHook(w.nextHook(), unanswered())
		}
		if work := w.nextHook(); work.Hook.Attempts != 12 {
			t.Fatalf("attempt %d", work.Hook.Attempts)
		}
		c := w.crashed()
		w.stop()
		c.log = &bytes.Buffer{}
		c.start()
		time.Sleep(time.Hour)
		if work, err := c.db.tryNextHook(t.Context()); work != nil || err != nil {
			t.Errorf("got %+v, %v", work, err)
		}
		c.wantHooks("after the last attempt", "", "1 a incoming 1 failed")
		c.stop()
	})
}

// TestHookBackup copies hooks, and finds what is wrong with some.
func TestHookBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHooks)
	errorless(t, w.db.AddIncoming(t.Context(), []NewIncoming{{Account: "a", EmailID: 1}, {Account: "b", EmailID: 2}}))
	w.finishHook(w.nextHook(), called())
	copied := &world{t: t, dir: t.TempDir() + "/copy", change: withHooks}
	_, err := w.db.CopyTo(t.Context(), copied.dir)
	errorless(t, err)
	copied.start()
	copied.check()
	copied.wantHooks("a copy", "2 b incoming 2", "1 a incoming 1 called")
	for _, test := range []struct {
		name string
		run  func(tx *tx) error
		want string
	}{
		{"one that tells nothing", func(tx *tx) error {
			return tx.update(&hookRow{ID: 2, H: Hook{Account: "b", Event: webhook.EventFailed, Submitted: tx.now, NextAttempt: tx.now}})
		}, "webhook 2 is not whole"},
		{"one without event", func(tx *tx) error {
			return tx.update(&hookRow{ID: 2, H: Hook{Account: "b", EmailID: 2, Submitted: tx.now, NextAttempt: tx.now}})
		}, "webhook 2 is not whole"},
		{"another one", func(tx *tx) error {
			return tx.update(&hookRow{ID: 2, H: Hook{Account: "b", Event: webhook.EventIncoming, EmailID: 3, Submitted: tx.now, NextAttempt: tx.now}})
		}, "webhook 2 is not the one in the schedule"},
		{"one that memory doesn't know", func(tx *tx) error {
			return tx.insert(&hookRow{H: Hook{Account: "b", Event: webhook.EventIncoming, EmailID: 4, Submitted: tx.now, NextAttempt: tx.now}})
		}, "is not in the schedule"},
		{"a retired one without outcome", func(tx *tx) error {
			return tx.update(&hookRetiredRow{ID: 1, Until: tx.now, H: Hook{Account: "a", Event: webhook.EventIncoming}})
		}, `retired webhook 1 has outcome ""`},
	} {
		errorless(t, copied.db.commit(&change{run: test.run}))
		found := false
		for _, err := range copied.db.Check(t.Context()) {
			found = found || strings.Contains(err.Error(), test.want)
		}
		if !found {
			t.Errorf("%s is not found", test.name)
		}
	}
	copied.stop()
}

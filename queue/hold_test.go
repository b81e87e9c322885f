package queue

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/bstore"
)

// TestHoldRuleMatch shows which messages rules are about: all fields that are set
// must match, for messages that come and for those that are there.
func TestHoldRuleMatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name                       string
		rule                       HoldRule
		account, sender, recipient string
		want                       bool
	}{
		{"no field is about all", HoldRule{}, "anna", "example.org", "remote.example", true},
		{"no field is about notifications too", HoldRule{}, "", "", "remote.example", true},
		{"the account", HoldRule{Account: "anna"}, "anna", "example.org", "remote.example", true},
		{"another account", HoldRule{Account: "anna"}, "bert", "example.org", "remote.example", false},
		{"an account, and a message of none", HoldRule{Account: "anna"}, "", "", "remote.example", false},
		{"the sender's domain", HoldRule{SenderDomain: "example.org"}, "anna", "example.org", "remote.example", true},
		{"a domain above the sender's", HoldRule{SenderDomain: "example.org"}, "anna", "sub.example.org", "remote.example", false},
		{"a sender's domain, and the null sender", HoldRule{SenderDomain: "example.org"}, "anna", "", "remote.example", false},
		{"the recipient's domain", HoldRule{RecipientDomain: "remote.example"}, "anna", "example.org", "remote.example", true},
		{"another recipient's domain", HoldRule{RecipientDomain: "remote.example"}, "anna", "example.org", "other.example", false},
		{"the sender's domain as that of the recipient", HoldRule{RecipientDomain: "example.org"}, "anna", "example.org", "remote.example", false},
		{"two of two", HoldRule{Account: "anna", RecipientDomain: "remote.example"}, "anna", "example.org", "remote.example", true},
		{"one of two", HoldRule{Account: "anna", RecipientDomain: "remote.example"}, "anna", "example.org", "other.example", false},
		{"three of three", HoldRule{Account: "anna", SenderDomain: "example.org", RecipientDomain: "remote.example"}, "anna", "example.org", "remote.example", true},
		{"two of three", HoldRule{Account: "anna", SenderDomain: "example.org", RecipientDomain: "remote.example"}, "bert", "example.org", "remote.example", false},
	} {
		from := ""
		if tc.sender != "" {
			from = "x@" + tc.sender
		}
		queued := tc.rule.matchMessage(&Message{Account: tc.account, MailFrom: from, Rcpt: "y@" + tc.recipient, Domain: tc.recipient})
		if got := tc.rule.match(tc.account, tc.sender, tc.recipient); got != tc.want || queued != tc.want {
			t.Errorf("%s: got %v, and %v for one that is queued", tc.name, got, queued)
		}
	}
}

// states describes messages: their first letter, state, and why they are held.
func (w *world) states() string {
	w.t.Helper()
	list, err := w.db.List(w.t.Context(), Filter{}, Sort{By: "queued"})
	errorless(w.t, err)
	var all []string
	for _, m := range list {
		s := fmt.Sprintf("%.1s %s", m.Rcpt, m.State)
		if m.HoldReason != "" {
			s += fmt.Sprintf(" %s %d", m.HoldReason, m.HoldRule)
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// TestHoldRules holds messages that were there and that come, also in the log
// alone, over restarts, and leaves them held when the rule goes.
func TestHoldRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "anna@example.org", "a@remote.example", "b@other.example", "c@local.example")
	w.restart()
	w.add("content", "bert@example.org", "d@remote.example") // In the log alone.
	rule, held, err := w.db.AddHoldRule(t.Context(), HoldRule{Account: "anna", RecipientDomain: "Remote.Example"})
	if err != nil || held != 1 || rule.ID != 1 || rule.RecipientDomain != "remote.example" || rule.Added.IsZero() {
		t.Fatalf("got %+v, %d held, %v", rule, held, err)
	}
	w.add("content", "anna@example.org", "e@remote.example", "f@other.example")
	w.add("content", "bert@example.org", "g@remote.example")
	const want = "a held rule 1, b waiting, c waiting, d waiting, e held rule 1, f waiting, g waiting"
	c := w.crashed()
	for _, world := range []*world{w, c} {
		if world == c {
			c.start()
		}
		if got := world.states(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := world.db.HoldRules(); len(got) != 1 || !got[0].same(rule) || got[0].ID != 1 {
			t.Errorf("got %+v", got)
		}
	}
	if _, _, err := w.db.AddHoldRule(t.Context(), HoldRule{Account: "anna", RecipientDomain: "remote.example"}); !errors.Is(err, ErrHoldRule) || !strings.Contains(err.Error(), "rule 1 is about the same messages") {
		t.Errorf("the same again: got %v", err)
	}
	errorless(t, w.db.RemoveHoldRule(t.Context(), 1))
	if err := w.db.RemoveHoldRule(t.Context(), 1); !errors.Is(err, ErrNoHoldRule) {
		t.Errorf("removed again: got %v", err)
	}
	w.add("content", "anna@example.org", "h@remote.example")
	if got := w.states(); got != want+", h waiting" {
		t.Errorf("after the rule was removed: got %s", got)
	}
	w.restart()
	if len(w.db.HoldRules()) != 0 {
		t.Errorf("rules %+v are back", w.db.HoldRules())
	}
	if rule, held, err := w.db.AddHoldRule(t.Context(), HoldRule{}); err != nil || rule.ID != 2 || held != 6 {
		t.Errorf("a rule about all: got %+v, %d, %v", rule, held, err)
	}
	if released, err := w.db.Unhold(t.Context(), Filter{}); err != nil || len(released) != 8 || w.db.Stats().Messages[Held] != 0 {
		t.Errorf("released %d, %v", len(released), err)
	}
	w.restart()
	if got := w.db.Stats().Messages[Held]; got != 0 {
		t.Errorf("%d messages that were released are held again", got)
	}
}

// TestHoldRuleRunning holds a message that is being delivered when that fails, and
// leaves alone what has another reason: one that is to fail, one that an
// administrator holds, one whose sender was not answered.
func TestHoldRuleRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "anna@example.org", "a@remote.example", "b@remote.example")
	work := w.next()
	by := w.add("content", "anna@example.org", "c@remote.example", "d@remote.example")
	_, err := w.db.Hold(t.Context(), Filter{IDs: []int64{by[0].ID}})
	errorless(t, err)
	_, err = w.db.FailNow(t.Context(), Filter{IDs: []int64{by[1].ID}}, "reason")
	errorless(t, err)
	n := message(t, "anna@example.org", "e@remote.example")
	n.Provisional = true
	provisional, err := w.tryAdd("content", n)
	errorless(t, err)
	if _, held, err := w.db.AddHoldRule(t.Context(), HoldRule{}); err != nil || held != 3 {
		t.Fatalf("held %d, %v", held, err)
	}
	if late, err := w.tryAdd("content", n); err != nil || late[0].State != Held || late[0].HoldReason != HeldByRule {
		t.Errorf("a provisional one that comes: got %+v, %v", late, err)
	}
	crashed := w.crashed()
	all := reports(work, Report{Retry: true})
	all[0] = Report{ID: all[0].ID, Result: Result{OK: true}}
	errorless(t, w.db.Finish(t.Context(), work, all))
	const want = "b held rule 1, c held administrator 0, d waiting, e held rule 1, e held rule 1"
	if got := w.states(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	errorless(t, w.db.Release(t.Context(), []int64{provisional[0].ID}))
	released, err := w.db.Unhold(t.Context(), Filter{})
	if err != nil || rcpts(released) != "b@remote.example c@remote.example e@remote.example e@remote.example" {
		t.Errorf("released %s, %v", rcpts(released), err)
	}
	// The last one is provisional, and not released: it stays held.
	if got := w.states(); got != "b waiting, c waiting, d waiting, e waiting, e held provisional 0" {
		t.Errorf("got %s", got)
	}
	if again, err := w.db.Unhold(t.Context(), Filter{}); err != nil || len(again) != 0 {
		t.Errorf("released again %s, %v", rcpts(again), err)
	}
	crashed.start() // Those provisional go, with a rule or without.
	if got := crashed.states(); got != "a held rule 1, b held rule 1, c held administrator 0, d waiting" {
		t.Errorf("after a crash: got %s", got)
	}
}

// TestHoldRulesRefused shows rules that can't be, and how many can.
func TestHoldRulesRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, r := range map[string]HoldRule{
		"no domain": {SenderDomain: "not a domain"}, "an address": {RecipientDomain: "x@example.org"}, "only a dot": {RecipientDomain: "."},
		"line ends": {Account: "a\r\nb"}, "too long": {Account: strings.Repeat("a", holdTextMax+1)},
	} {
		if _, _, err := w.db.AddHoldRule(t.Context(), r); !errors.Is(err, ErrHoldRule) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, r := range []HoldRule{{RecipientDomain: "[192.0.2.1]"}, {SenderDomain: "bücher.example"}} {
		if got, _, err := w.db.AddHoldRule(t.Context(), r); err != nil || got.SenderDomain != "" && got.SenderDomain != "xn--bcher-kva.example" {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	err := w.db.db.Write(t.Context(), func(tx *bstore.Tx) error {
		for i := range HoldRulesMax - 3 {
			if err := tx.Insert(&holdRuleRow{Rule: HoldRule{Account: fmt.Sprint("a", i)}}); err != nil {
				return err
			}
		}
		return nil
	})
	errorless(t, err)
	_, _, last := w.db.AddHoldRule(t.Context(), HoldRule{Account: "last"})
	_, _, more := w.db.AddHoldRule(t.Context(), HoldRule{Account: "more"})
	if last != nil || !errors.Is(more, ErrHoldRule) {
		t.Errorf("the last one: %v, one more: %v", last, more)
	}
}

// TestHoldRuleInterrupted has the process die when a rule is made and messages
// are not held yet: the next start does it, and so does who adds the rule again.
func TestHoldRuleInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "anna@example.org", "a@remote.example")
	w.flush()
	reached, release := w.hold(FaultCommitAfter)
	done := make(chan error)
	go func() {
		_, _, err := w.db.AddHoldRule(t.Context(), HoldRule{Account: "anna"})
		done <- err
	}()
	reached()
	c := w.crashed()
	release()
	errorless(t, <-done)
	c.start()
	if got := c.states(); got != "a held rule 1" {
		t.Errorf("after the start: got %s", got)
	}
	if len(c.db.pendingRules) != 0 {
		t.Error("the rule is applied again")
	}
	c.restart()
	_, err := c.db.Unhold(t.Context(), Filter{})
	errorless(t, err)
	c.restart()
	if got := c.states(); got != "a waiting" {
		t.Errorf("at the next start: got %s", got)
	}
	errorless(t, c.db.db.Update(t.Context(), &holdRuleRow{ID: 1, Rule: HoldRule{Account: "anna"}, Pending: true}))
	if rule, held, err := c.db.AddHoldRule(t.Context(), HoldRule{Account: "anna"}); err != nil || rule.ID != 1 || held != 1 || len(c.db.HoldRules()) != 1 {
		t.Errorf("adding it again: got %+v, %d, %v", rule, held, err)
	}
}

// TestHoldRuleMeanwhile adds a rule while others add messages: each that matches is
// held in the end, whether it came before or after.
func TestHoldRuleMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var adding sync.WaitGroup
	for range 8 {
		adding.Go(func() {
			for range 10 {
				if _, err := w.tryAdd("content", message(t, "anna@example.org", "a@remote.example", "b@other.example")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, rule := range []HoldRule{{RecipientDomain: "first.example"}, {Account: "nobody"}, {RecipientDomain: "remote.example"}} {
		added, _, err := w.db.AddHoldRule(t.Context(), rule)
		errorless(t, err)
		if rule.RecipientDomain != "remote.example" {
			errorless(t, w.db.RemoveHoldRule(t.Context(), added.ID))
		}
	}
	adding.Wait()
	for _, m := range w.list(Filter{}) {
		if (m.State == Held) != (m.Domain == "remote.example") {
			t.Fatalf("%s is %s", m.Rcpt, m.State)
		}
	}
	if n := len(w.db.oldRules); n != 0 {
		t.Errorf("%d old sets of rules are kept", n)
	}
}

// TestHoldReasons shows the other reasons for which messages are held.
func TestHoldReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	n := message(t, "anna@example.org", "a@remote.example", "b@local.example")
	n.Hold = true
	_, err := w.tryAdd("content", n)
	errorless(t, err)
	w.add("content", "anna@example.org", "c@remote.example", "d@local.example")
	opts := w.db.opts
	w.stop()
	if held, err := HoldRemote(t.Context(), opts); err != nil || held != 1 {
		t.Errorf("restored: held %d, %v", held, err)
	}
	w.start()
	if got := w.states(); got != "a held asked 0, b held asked 0, c held restored 0, d waiting" {
		t.Errorf("got %s", got)
	}
	dropped, err := w.db.Drop(t.Context(), Filter{State: Held})
	if err != nil || len(dropped) != 3 || dropped[0].HoldReason != "" {
		t.Errorf("dropped %+v, %v", dropped, err)
	}
}

// TestSetRequireTLS changes what is asked of TLS, also of a message that is being
// delivered.
func TestSetRequireTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "anna@example.org", "a@remote.example")
	work := w.next()
	w.add("content", "anna@example.org", "b@remote.example")
	yes, no := true, false
	for _, tc := range []struct {
		set  *bool
		want int
	}{{&no, 2}, {&yes, 2}, {&yes, 0}, {nil, 2}, {nil, 0}, {&yes, 2}} {
		got, err := w.db.SetRequireTLS(t.Context(), Filter{}, tc.set)
		if err != nil || len(got) != tc.want {
			t.Errorf("got %d changed, %v, want %d", len(got), err, tc.want)
		}
	}
	w.finish(work, Report{Retry: true, Next: time.Now()})
	w.restart()
	for _, m := range w.list(Filter{}) {
		if m.RequireTLS == nil || !*m.RequireTLS || m.State != Waiting {
			t.Errorf("got %+v", m)
		}
	}
	if got := w.next().Messages[0]; got.RequireTLS == nil || !*got.RequireTLS {
		t.Errorf("delivered as %+v", got)
	}
}

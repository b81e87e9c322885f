package queue

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/bstore"
)

// retire adds rows of retired messages, as letters with an account each, one an hour
// after the other, the last one at at.
func (w *world) retire(at time.Time, letters string, accounts ...string) {
	w.t.Helper()
	err := w.db.db.Write(w.t.Context(), func(tx *bstore.Tx) error {
		for i, letter := range letters {
			account := accounts[i%len(accounts)]
			when := at.Add(-time.Duration(len(letters)-1-i) * time.Hour).Round(0)
			outcome := []Outcome{Delivered, Failed, Dropped}[i%3]
			m := Message{
				Key: strings.Repeat("0", 32), State: Retired, Outcome: outcome, Account: account, MailFrom: account + "@example.org",
				Rcpt: string(letter) + "@remote.example", Domain: "remote.example", Queued: when.Add(-time.Hour), RetiredAt: when,
			}
			if err := tx.Insert(&retiredRow{ID: int64(1000 + letter), Account: account, LastActivity: when, M: m}); err != nil {
				return err
			}
		}
		return nil
	})
	errorless(w.t, err)
	w.db.kept.Add(int64(len(letters)))
}

// retiredLetters lists retired messages by the first letter of their recipients.
func (w *world) retiredLetters(f Filter, s Sort) string {
	w.t.Helper()
	f.State = Retired
	list, err := w.db.List(w.t.Context(), f, s)
	errorless(w.t, err)
	var b strings.Builder
	for _, m := range list {
		b.WriteString(m.Rcpt[:1])
	}
	return b.String()
}

// TestListRetired lists with each field of a filter, in each order.
func TestListRetired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.retire(midnight, "abcdef", "anna", "bert")
	yes, no, other := true, false, "other"
	for _, tc := range []struct {
		name   string
		filter Filter
		sort   Sort
		want   string
	}{
		{"all", Filter{}, Sort{}, "abcdef"},
		{"the latest first", Filter{}, Sort{Desc: true}, "fedcba"},
		{"by when they were queued", Filter{}, Sort{By: "queued"}, "abcdef"},
		{"the latest two", Filter{Max: 2}, Sort{By: "lastactivity", Desc: true}, "fe"},
		{"the last queued two", Filter{Max: 2}, Sort{By: "queued", Desc: true}, "fe"},
		{"of an account", Filter{Account: "anna"}, Sort{}, "ace"},
		{"of an account by when they were queued, the latest first", Filter{Account: "anna"}, Sort{By: "queued", Desc: true}, "eca"},
		{"the latest of an account", Filter{Account: "bert", Max: 1}, Sort{Desc: true}, "f"},
		{"from a sender", Filter{From: "bert@example.org"}, Sort{}, "bdf"},
		{"to a recipient", Filter{To: "c@remote.example"}, Sort{}, "c"},
		{"to a domain", Filter{To: "@other.example"}, Sort{}, ""},
		{"delivered", Filter{Success: &yes}, Sort{}, "ad"},
		{"not delivered", Filter{Success: &no}, Sort{}, "bcef"},
		{"active since", Filter{LastActivity: TimeFilter{At: midnight.Add(-2 * time.Hour)}}, Sort{}, "ef"},
		{"not active since", Filter{LastActivity: TimeFilter{At: midnight.Add(-2 * time.Hour), Before: true}}, Sort{}, "abc"},
		{"of an account and not active since", Filter{Account: "bert", LastActivity: TimeFilter{At: midnight.Add(-2 * time.Hour), Before: true}}, Sort{Desc: true}, "b"},
		{"queued before", Filter{Submitted: TimeFilter{At: midnight.Add(-4 * time.Hour), Before: true}}, Sort{}, "ab"},
		{"by a transport", Filter{Transport: &other}, Sort{}, ""},
		{"some ids", Filter{IDs: []int64{1000 + 'e', 1000 + 'b', 7}}, Sort{}, "be"},
		{"some ids, the latest first", Filter{IDs: []int64{1000 + 'b', 1000 + 'e'}}, Sort{Desc: true}, "eb"},
	} {
		if got := w.retiredLetters(tc.filter, tc.sort); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	for name, list := range map[string]struct {
		f Filter
		s Sort
	}{
		"waiting by last activity":  {Filter{}, Sort{By: "lastactivity"}},
		"retired by next attempt":   {Filter{State: Retired}, Sort{By: "nextattempt"}},
		"waiting that succeeded":    {Filter{Success: &yes}, Sort{}},
		"waiting that were active":  {Filter{LastActivity: TimeFilter{At: midnight}}, Sort{}},
		"retired without a maximum": {Filter{State: Retired, Max: -1}, Sort{}},
	} {
		if _, err := w.db.List(t.Context(), list.f, list.s); !errors.Is(err, ErrFilter) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	m, err := w.db.Get(t.Context(), 1000+'f')
	if err != nil || !m.LastActivity.Equal(midnight) || m.State != Retired {
		t.Errorf("got %+v, %v", m, err)
	}
}

// TestRetiredPlans counts what lists and Purge read among many retired messages.
func TestRetiredPlans(t *testing.T) {
	t.Parallel()
	keep := 1000 * time.Hour
	w := newWorld(t, func(o *Options) {
		o.KeepRetired = func(account string) time.Duration { return map[string]time.Duration{"a0": time.Hour}[account] + keep }
	})
	var letters strings.Builder
	for i := range 1000 {
		letters.WriteRune(rune('a' + i))
	}
	now := time.Now()
	w.retire(now, letters.String(), "a0", "a1", "a2", "a3")
	errorless(t, w.db.Purge(t.Context(), now)) // Which counts them, once.
	for name, tc := range map[string]struct {
		f    Filter
		sort Sort
		most uint
	}{
		"the latest":                     {Filter{Max: 10}, Sort{Desc: true}, 30},
		"the oldest":                     {Filter{Max: 10}, Sort{}, 30},
		"the last queued":                {Filter{Max: 10}, Sort{By: "queued", Desc: true}, 30},
		"the latest of an account":       {Filter{Max: 10, Account: "a1"}, Sort{Desc: true}, 30},
		"those before a time":            {Filter{Max: 10, LastActivity: TimeFilter{now.Add(-500 * time.Hour), true}}, Sort{Desc: true}, 30},
		"of an account before a time":    {Filter{Max: 10, Account: "a1", LastActivity: TimeFilter{now.Add(-500 * time.Hour), true}}, Sort{Desc: true}, 30},
		"the latest to one of many":      {Filter{Max: 2, To: string(rune('a'+990)) + "@remote.example"}, Sort{Desc: true}, 3000},
		"the latest of those since then": {Filter{LastActivity: TimeFilter{At: now.Add(-10*time.Hour - time.Minute)}}, Sort{Desc: true}, 40},
	} {
		before := w.db.db.Stats()
		w.retiredLetters(tc.f, tc.sort)
		s := w.db.db.Stats().Sub(before)
		if read := s.Records.Get + s.Records.Cursor + s.Index.Cursor; s.Sort > 0 || read > tc.most {
			t.Errorf("%s: %d read, %+v", name, read, s)
		}
	}
	before := w.db.db.Stats()
	errorless(t, w.db.Purge(t.Context(), now))
	if s := w.db.db.Stats().Sub(before); s.PlanTableScan > 0 || s.Sort > 0 || s.Records.Get+s.Records.Cursor+s.Index.Cursor > 60 {
		t.Errorf("purge: %+v", s)
	}
}

// TestPurge removes retired messages when their account wants to keep them no
// longer, whatever it wanted when they were retired, over restarts and in parts.
func TestPurge(t *testing.T) {
	t.Parallel()
	keep := map[string]time.Duration{"": 4 * time.Hour, "anna": 2 * time.Hour, "bert": 5 * time.Hour}
	w := newWorld(t, func(o *Options) {
		o.KeepRetired = func(account string) time.Duration { return keep[account] }
		o.RetiredMax = 5
	})
	now := time.Now()
	w.retire(now, "abcdefghi", "anna", "bert", "")
	step := func(name, want string) {
		t.Helper()
		errorless(t, w.db.Purge(t.Context(), now))
		if got := w.retiredLetters(Filter{}, Sort{}); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		w.restart()
	}
	w.restart()
	step("at first", "efhi") // anna's g is just old enough.
	step("again", "efhi")
	keep["bert"] = time.Hour + time.Minute
	step("bert's are kept for less", "fhi")
	keep["bert"] = 100 * time.Hour
	keep[""] = 0
	step("those of nobody are kept no more", "h")
	now = now.Add(1000 * time.Hour)
	keep["bert"] = 2000 * time.Hour
	step("long after", "h")
	w.retire(now, "klmnopq", "bert")
	step("more than there may be", "mnopq")
	step("as many as there may be", "mnopq")
	w.retire(now.Add(time.Hour), "r", "bert")
	step("one more", "nopqr")
}

// TestPurgeMany removes more than one part at a time.
func TestPurgeMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.RetiredMax = 100 })
	err := w.db.db.Write(t.Context(), func(tx *bstore.Tx) error {
		for i := range 2*chunkMax + 150 {
			m := Message{State: Retired, Outcome: Failed, RetiredAt: midnight, Rcpt: fmt.Sprint(i)}
			if err := tx.Insert(&retiredRow{ID: int64(i + 1), Account: "anna", LastActivity: midnight.Add(time.Duration(i)), M: m}); err != nil {
				return err
			}
		}
		return nil
	})
	errorless(t, err)
	w.db.opts.KeepRetired = func(string) time.Duration { return time.Hour }
	errorless(t, w.db.Purge(t.Context(), midnight.Add(time.Minute)))
	if got, err := w.db.List(t.Context(), Filter{State: Retired}, Sort{}); err != nil || len(got) != 100 || got[0].ID != 2*chunkMax+51 {
		t.Errorf("got %d, %v", len(got), err)
	}
	errorless(t, w.db.Purge(t.Context(), midnight.Add(2*time.Hour)))
	if got := w.list(Filter{State: Retired}); len(got) != 0 {
		t.Errorf("%d are left", len(got))
	}
}

package queue

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestList has a few messages that differ in each field, and selects among them:
// all fields of a filter that are set must match.
func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.KeepRetired = func(string) time.Duration { return time.Hour } })
	start := time.Now().Add(-time.Hour)
	var ids []int64
	put := func(account, from, to, transport string) {
		n := message(t, "x@example.org", to)
		n.Account, n.MailFrom = account, path(t, from)
		added, err := w.tryAdd("content", n)
		if err != nil {
			t.Fatal(err)
		}
		id := added[0].ID
		ids = append(ids, id)
		w.flush()
		// What Add would not set.
		err = w.db.commit(&change{run: func(tx *tx) error {
			r := messageRow{ID: id}
			if err := tx.Get(&r); err != nil {
				return err
			}
			r.M.Queued = start.Add(time.Duration(id) * time.Minute)
			r.M.NextAttempt = start.Add(-time.Duration(id) * time.Minute)
			r.M.Transport = transport
			return tx.update(&r)
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("anna", "Anna@sub.example.org", "1@other.example", "")
	w.finish(w.next(), ok())
	put("", "", "2@local.example", "")
	delivering := w.next()
	put("anna", "anna@example.org", "3@remote.example", "")
	put("bob", "bob@example.org", "4@remote.example", "relay")
	put("bob", "bob@bücher.example", "5@REMOTE.example", "")
	put("bob", "bob@example.org", "6@bücher.example", "")
	none, relay := "", "relay"
	for _, tc := range []struct {
		name string
		f    Filter
		s    Sort
		want string // First letters of the recipients.
	}{
		{"all, the next one first", Filter{}, Sort{}, "65432"},
		{"the last one first", Filter{}, Sort{Desc: true}, "23456"},
		{"the oldest first", Filter{}, Sort{By: "queued"}, "23456"},
		{"the newest first", Filter{}, Sort{By: "queued", Desc: true}, "65432"},
		{"at most two", Filter{Max: 2}, Sort{}, "65"},
		{"more than there are", Filter{Max: 200}, Sort{}, "65432"},
		{"an account", Filter{Account: "bob"}, Sort{}, "654"},
		{"an account nobody has", Filter{Account: "x"}, Sort{}, ""},
		{"a sender", Filter{From: "bob@example.org"}, Sort{}, "64"},
		{"a sender in other letters", Filter{From: "ANNA@EXAMPLE.ORG"}, Sort{}, "3"},
		{"a sender's domain, not those below", Filter{From: "@example.org"}, Sort{}, "643"},
		{"an international domain", Filter{From: "@bücher.example"}, Sort{}, "5"},
		{"an international domain in its ASCII form", Filter{From: "@xn--bcher-kva.example"}, Sort{}, "5"},
		{"a sender there", Filter{From: "bob@xn--bcher-kva.example"}, Sort{}, "5"},
		{"the null sender", Filter{From: "<>"}, Sort{}, "2"},
		{"a recipient", Filter{To: "5@remote.example"}, Sort{}, "5"},
		{"a recipient's domain", Filter{To: "@remote.example"}, Sort{}, "543"},
		{"a recipient's international domain", Filter{To: "@BÜCHER.example"}, Sort{}, "6"},
		{"sender and recipient", Filter{From: "@example.org", To: "@remote.example"}, Sort{}, "43"},
		{"sender, recipient and account", Filter{From: "@example.org", To: "@remote.example", Account: "bob"}, Sort{}, "4"},
		{"sender that matches and recipient that does not", Filter{From: "@example.org", To: "@nowhere.example"}, Sort{}, ""},
		{"being delivered", Filter{State: Delivering}, Sort{}, "2"},
		{"waiting", Filter{State: Waiting}, Sort{}, "6543"},
		{"held", Filter{State: Held}, Sort{}, ""},
		{"retired", Filter{State: Retired}, Sort{}, "1"},
		{"retired, of an account", Filter{State: Retired, Account: "bob"}, Sort{}, ""},
		{"ids", Filter{IDs: []int64{ids[5], ids[2], ids[2], ids[0], 1000}}, Sort{}, "63"},
		{"ids of retired ones", Filter{IDs: ids, State: Retired}, Sort{}, "1"},
		{"no ids", Filter{IDs: []int64{}}, Sort{}, ""},
		{"ids and account", Filter{IDs: ids[1:4], Account: "anna"}, Sort{}, "3"},
		{"queued before", Filter{Submitted: TimeFilter{start.Add(4 * time.Minute), true}}, Sort{}, "32"},
		{"queued after", Filter{Submitted: TimeFilter{start.Add(4 * time.Minute), false}}, Sort{}, "65"},
		{"due before", Filter{NextAttempt: TimeFilter{start.Add(-4 * time.Minute), true}}, Sort{}, "65"},
		{"due after", Filter{NextAttempt: TimeFilter{start.Add(-4 * time.Minute), false}}, Sort{}, "32"},
		{"a transport", Filter{Transport: &relay}, Sort{}, "4"},
		{"no transport", Filter{Transport: &none}, Sort{}, "6532"},
	} {
		got, err := w.db.List(t.Context(), tc.f, tc.s)
		var letters strings.Builder
		for _, m := range got {
			letters.WriteByte(m.Rcpt[0])
			if m.Prefix != nil {
				t.Errorf("%s: got a prefix", tc.name)
			}
		}
		if err != nil || letters.String() != tc.want {
			t.Errorf("%s: got %q, %v; want %q", tc.name, letters.String(), err, tc.want)
		}
	}
	for name, f := range map[string]Filter{
		"no address": {From: "example.org"}, "no domain": {To: "@"}, "two addresses": {To: "a@example.org b@example.org"},
		"no state": {State: "sleeping"}, "less than none": {Max: -1},
	} {
		if _, err := w.db.List(t.Context(), f, Sort{}); !errors.Is(err, ErrFilter) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := w.db.List(t.Context(), Filter{}, Sort{By: "size"}); !errors.Is(err, ErrFilter) {
		t.Errorf("order: got %v", err)
	}
	m, err := w.db.Get(t.Context(), ids[1])
	if err != nil || m.State != Delivering {
		t.Errorf("got %+v, %v", m, err)
	}
	w.finish(delivering, ok())
}

// TestEditMax changes no more messages than the filter allows.
func TestEditMax(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example", "b@remote.example", "c@remote.example")
	if got, err := w.db.Drop(t.Context(), Filter{Max: 2}); err != nil || rcpts(got) != "a@remote.example b@remote.example" {
		t.Errorf("got %s, %v", rcpts(got), err)
	}
	if got := rcpts(w.list(Filter{})); got != "c@remote.example" {
		t.Errorf("left is %s", got)
	}
}

// TestPlans checks that queries that run often do not look at all rows.
func TestPlans(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.KeepRetired = func(string) time.Duration { return time.Hour } })
	for range 20 {
		w.add("content", "mjl@example.org", "x@local.example")
		r := ok()
		r.Handed = []Handed{{"a", w.list(Filter{})[0].Key}}
		w.finish(w.next(), r)
	}
	w.add("content", "mjl@example.org", "a@remote.example")
	errorless(t, w.db.Purge(t.Context(), time.Now())) // Which counts them, once.
	for name, fn := range map[string]func() error{
		"Stats": func() error { w.db.Stats(); return nil },
		"Unconfirmed": func() error {
			_, err := w.db.Unconfirmed(t.Context(), 5)
			return err
		},
		"Purge": func() error { return w.db.Purge(t.Context(), time.Now()) },
		"Suppressed": func() error {
			_, _, err := w.db.Suppressed(t.Context(), "mjl", path(t, "a@remote.example"))
			return err
		},
		"Answered": func() error {
			a, err := w.db.Answered(t.Context(), Answer{Account: "mjl", MessageID: "<1@example.org>", Rcpts: []string{"x@local.example"}, Key: "key", Event: AnswerFailed})
			if err == nil && a.Message.ID == 0 {
				err = ErrNoMessage
			}
			return err
		},
		"Answered, unknown": func() error {
			_, err := w.db.Answered(t.Context(), Answer{Account: "mjl", MessageID: "<2@example.org>", Rcpts: []string{"x@local.example"}, Key: "key", Event: AnswerFailed})
			return err
		},
	} {
		before := w.db.db.Stats()
		err := fn()
		s := w.db.db.Stats().Sub(before)
		if err != nil || s.PlanTableScan > 1 || s.Records.Get+s.Records.Cursor > 15 || name == "Purge" && s.PlanTableScan > 0 {
			t.Errorf("%s: %v, %+v", name, err, s)
		}
	}
}

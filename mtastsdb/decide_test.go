package mtastsdb

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/mtasts"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at returns a time so many hours after the start.
func at(hours float64) time.Time {
	return start.Add(time.Duration(math.Round(hours * float64(time.Hour))))
}

func policyText(mode mtasts.Mode, maxAge string) string {
	return "version: STSv1\nmode: " + string(mode) + "\nmx: mx.a.example\nmax_age: " + maxAge + "\n"
}

// held returns an entry with a policy of two days, fetched and used at the start.
func held(mode mtasts.Mode) Entry {
	text := policyText(mode, "172800")
	p, _ := mtasts.ParsePolicy(text) // TestDB checks it.
	e := Entry{Domain: "a.example"}.withPolicy(p, text, "1", start)
	e.Used = start
	return e
}

// failed returns an entry after a fetch for the record with an id failed.
func failed(e Entry, id string, hours float64) Entry {
	e = e.withFailure(mtasts.ErrFetch, "", id, at(hours))
	if e.Used.IsZero() {
		e.Used = at(hours)
	}
	return e
}

func TestDecide(t *testing.T) {
	t.Parallel()
	none, enforce := Entry{Domain: "a.example"}, held(mtasts.Enforce)
	backoff := Backoff.Hours()
	for _, test := range []struct {
		name   string
		entry  Entry
		answer Answer
		hours  float64
		want   Action
	}{
		{"nothing is known, and there is no record", none, Answer{Absent, ""}, 0, None},
		{"nothing is known, and DNS fails", none, Answer{Unknown, ""}, 0, Defer},
		{"nothing is known, and there is a record", none, Answer{Present, "1"}, 0, Fetch},

		{"a policy, and its record", enforce, Answer{Present, "1"}, 1, Use},
		{"a policy, and a new record", enforce, Answer{Present, "2"}, 1, Fetch},
		{"a policy, and DNS fails", enforce, Answer{Unknown, ""}, 1, Use},
		{"a policy, and its record is gone", enforce, Answer{Absent, ""}, 1, Use},
		{"a policy to its last moment", enforce, Answer{Absent, ""}, 48 - 1e-9, Use},
		{"a policy for testing whose record is gone", held(mtasts.Testing), Answer{Absent, ""}, 1, Use},
		{"a policy that there is none", held(mtasts.None), Answer{Present, "1"}, 1, Use},
		{"a policy that there is none, and a new record", held(mtasts.None), Answer{Present, "2"}, 1, Fetch},
		{"a policy from the future", enforce, Answer{Absent, ""}, -1, Use},

		{"a policy that has expired, and its record", enforce, Answer{Present, "1"}, 48, Fetch},
		{"a policy that has expired, and DNS fails", enforce, Answer{Unknown, ""}, 48, Defer},
		{"a policy that has expired, and no record", enforce, Answer{Absent, ""}, 48, None},

		{"a failure a moment ago", failed(none, "1", 1), Answer{Present, "1"}, 1, None},
		{"the last moment of backing off", failed(none, "1", 1), Answer{Present, "1"}, 1 + backoff - 1e-9, None},
		{"a failure some time ago", failed(none, "1", 1), Answer{Present, "1"}, 1 + backoff, Fetch},
		{"a failure with the record before", failed(none, "1", 1), Answer{Present, "2"}, 1, Fetch},
		{"a failure in the future", failed(none, "1", 1), Answer{Present, "1"}, 0, Fetch},
		{"a failure, and DNS fails", failed(none, "1", 1), Answer{Unknown, ""}, 1, Defer},
		{"a failure, and the record is gone", failed(none, "1", 1), Answer{Absent, ""}, 1, None},
		{"a policy, and a failure to get the new one", failed(enforce, "2", 1), Answer{Present, "2"}, 1, Use},
		{"a policy, and a failure to get the new one some time ago", failed(enforce, "2", 1), Answer{Present, "2"}, 1 + backoff, Fetch},
		{"a policy, and a failure to refresh it", failed(enforce, "1", 1), Answer{Present, "1"}, 1, Use},
		{"a policy that expired, and a failure to refresh it", failed(enforce, "1", 48), Answer{Present, "1"}, 48, None},
	} {
		if got := test.entry.Decide(test.answer, at(test.hours)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestDecideDue(t *testing.T) {
	t.Parallel()
	enforce := held(mtasts.Enforce)
	unused := enforce
	unused.Updated, unused.ValidUntil = at(180*24-1), at(200*24)
	for _, test := range []struct {
		name  string
		entry Entry
		hours float64
		want  Action
	}{
		{"a policy that is fresh", enforce, 12 - 1e-9, Keep},
		{"a policy that was not updated for long", enforce, 12, Fetch},
		{"a policy that has expired", enforce, 100, Fetch},
		{"a policy from the future", enforce, -1, Fetch},
		{"a policy that there is none", held(mtasts.None), 12, Fetch},
		{"a policy nobody asked for, yet", unused, 180*24 - 1e-9, Keep},
		{"a policy nobody asks for", unused, 180 * 24, Remove},
		{"a failure", failed(Entry{}, "1", 0), 0, Keep},
		{"a failure that is over", failed(Entry{}, "1", 0), 1, Remove},
		{"a failure to refresh", failed(enforce, "1", 13), 13, Fetch},
	} {
		if got := test.entry.DecideDue(at(test.hours)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestDecideRefresh(t *testing.T) {
	t.Parallel()
	enforce := held(mtasts.Enforce)
	for _, test := range []struct {
		name   string
		entry  Entry
		answer Answer
		hours  float64
		want   Action
	}{
		{"its record", enforce, Answer{Present, "1"}, 13, Fetch},
		{"a new record", enforce, Answer{Present, "2"}, 13, Fetch},
		{"its record, and a failure a moment ago", failed(enforce, "1", 13), Answer{Present, "1"}, 13, Keep},
		{"DNS fails", enforce, Answer{Unknown, ""}, 13, Keep},
		{"no record, and a policy in force", enforce, Answer{Absent, ""}, 13, Keep},
		{"no record, and a policy for testing", held(mtasts.Testing), Answer{Absent, ""}, 13, Keep},
		{"no record, as the policy said", held(mtasts.None), Answer{Absent, ""}, 13, Remove},
		{"DNS fails, and a policy that there is none", held(mtasts.None), Answer{Unknown, ""}, 13, Keep},
		{"no record, and a policy that has expired", enforce, Answer{Absent, ""}, 48, Remove},
		{"DNS fails, and a policy that has expired", enforce, Answer{Unknown, ""}, 48, Keep},
		{"a record, and a policy that has expired", enforce, Answer{Present, "1"}, 48, Fetch},
	} {
		if got := test.entry.DecideRefresh(test.answer, at(test.hours)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// TestOutcomes shows what is kept of a fetch.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	e := held(mtasts.Enforce)
	again := e.withPolicy(e.Policy, e.Text, "2", at(24))
	if !again.Inserted.Equal(start) || !again.ValidUntil.Equal(at(72)) || again.RecordID != "2" || !again.Used.Equal(start) {
		t.Errorf("fetched again: got %+v", again)
	}
	f := e.withFailure(errors.Join(mtasts.ErrWebPKI, errors.New(strings.Repeat("\u00e9", failureTextMax))), strings.Repeat("\u00e9", failedPolicyMax), "2", at(1))
	if !f.Holds(at(2)) || f.RecordID != "1" || f.Failure != mtasts.FailureWebPKI || len(f.FailureText) > failureTextMax {
		t.Errorf("failed with a policy in force: got %+v", f)
	}
	if f = f.withPolicy(e.Policy, e.Text, "2", at(2)); f.BacksOff("2", at(2)) || f.FailureText != "" {
		t.Errorf("fetched after a failure: got %+v", f)
	}
	if f = e.withFailure(mtasts.ErrFetch, "", "1", at(48)); f.Text != "" || f.RecordID != "" || !f.Used.Equal(start) {
		t.Errorf("failed with a policy that has expired: got %+v", f)
	}
}

package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestBaseAddress says which addresses are the same.
func TestBaseAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"bob@remote.example", "bob@remote.example"},
		{"Bob@Remote.Example", "bob@remote.example"},
		{"bob+lists@remote.example", "bob@remote.example"},
		{"bob+a+b@remote.example", "bob@remote.example"},
		{"anna-maria@remote.example", "anna-maria@remote.example"},
		{"anna.maria@remote.example", "anna.maria@remote.example"},
		{"+bob@remote.example", "+bob@remote.example"},
		{`"b o+b"@remote.example`, `"b o"@remote.example`},
		{"bob@[192.0.2.1]", "bob@[192.0.2.1]"},
		{"Älice@xn--bcher-kva.example", "älice@bücher.example"},
	} {
		if got := BaseAddress(path(t, tc.in)); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.in, got, tc.want)
		}
	}
}

// FuzzBaseAddress checks that the form of a form is itself, and a path.
func FuzzBaseAddress(f *testing.F) {
	f.Add("bob+x@remote.example")
	f.Add(`"a\"+"@[IPv6:::1]`)
	f.Add("İ+@bücher.example")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Path(s)
		if err != nil || p.IsZero() || p.IPDomain.IsZero() {
			return
		}
		base := BaseAddress(p)
		again, err := Path(base)
		if err != nil || BaseAddress(again) != base {
			t.Errorf("%q: %q, and then %q, %v", s, base, BaseAddress(again), err)
		}
	})
}

// suppressed returns the list of an account: address, "!" if by hand.
func (w *world) suppressed(account string) string {
	w.t.Helper()
	list, err := w.db.Suppressions(context.Background(), account)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, s := range list {
		text := s.Address
		if s.Manual {
			text += "!"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// send queues a message to a remote recipient, and ends its attempt.
func (w *world) send(from, to string, r Report) Message {
	w.t.Helper()
	w.add("content", from, to)
	work := w.next()
	w.finish(work, r)
	return work.Messages[0]
}

// refused is the report of a failure for good.
func refused(code int64, enhanced, command string) Report {
	return Report{Result: Result{Code: code, Enhanced: enhanced, Permanent: true, Error: "refused"}, Replied: command}
}

// noUser and spam are replies about the recipient, and of which that is not certain.
var noUser, spam = refused(550, "5.1.1", "RCPT"), refused(554, "5.7.1", "DATA")

// TestSuppress walks the list of an account through what people do.
func TestSuppress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.send("mjl@example.org", "gone@remote.example", noUser)
	for _, step := range []struct {
		name string
		do   func() error
		want error
		list string
	}{
		{"one came by itself", func() error { return nil }, nil, "gone@remote.example"},
		{"another is added", func() error {
			_, err := w.db.Suppress(t.Context(), "mjl", path(t, "Bob+x@remote.example"), "asked")
			return err
		}, nil, "bob@remote.example! gone@remote.example"},
		{"again, in another spelling", func() error {
			_, err := w.db.Suppress(t.Context(), "mjl", path(t, "bob@remote.example"), "")
			return err
		}, ErrSuppressed, "bob@remote.example! gone@remote.example"},
		{"the first is to stay", func() error {
			_, err := w.db.Suppress(t.Context(), "mjl", path(t, "gone@remote.example"), "")
			return err
		}, nil, "bob@remote.example! gone@remote.example!"},
		{"one is removed", func() error {
			_, err := w.db.Unsuppress(t.Context(), "mjl", path(t, "BOB@remote.example"))
			return err
		}, nil, "gone@remote.example!"},
		{"again", func() error {
			_, err := w.db.Unsuppress(t.Context(), "mjl", path(t, "bob@remote.example"))
			return err
		}, ErrNotSuppressed, "gone@remote.example!"},
		{"another account has none", func() error {
			_, err := w.db.Unsuppress(t.Context(), "other", path(t, "gone@remote.example"))
			return err
		}, ErrNotSuppressed, "gone@remote.example!"},
	} {
		if err := step.do(); !errors.Is(err, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.want)
		}
		if got := w.suppressed("mjl"); got != step.list {
			t.Errorf("%s: list is %s, want %s", step.name, got, step.list)
		}
		w.restart()
	}
	if s, found, err := w.db.Suppressed(t.Context(), "mjl", path(t, "gone+x@remote.example")); err != nil || !found || !s.Manual {
		t.Errorf("got %+v, %v, %v", s, found, err)
	}
	if _, found, err := w.db.Suppressed(t.Context(), "other", path(t, "gone@remote.example")); err != nil || found {
		t.Errorf("of another account: %v, %v", found, err)
	}
}

// TestLearn says what the results of deliveries do to the list. The steps of a case
// come one after the other; mjl is the account unless a step says another.
func TestLearn(t *testing.T) {
	t.Parallel()
	type step struct {
		from string
		r    Report
	}
	retry := Report{Retry: true, Next: time.Now().Add(time.Hour), Result: Result{Code: 550, Enhanced: "5.1.1"}, Replied: "RCPT"}
	expired := Report{Result: Result{Code: 451, Enhanced: "4.1.1"}, Replied: "RCPT"}
	timeout := Report{Result: Result{Enhanced: "4.4.1", Permanent: true}}
	big := refused(552, "5.3.4", "MAIL")
	for _, tc := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"no such mailbox", []step{{"", noUser}}, "bob@remote.example"},
		{"for another account", []step{{"other@example.org", noUser}}, ""},
		{"once for another reason", []step{{"", spam}}, ""},
		{"twice", []step{{"", spam}, {"", spam}}, ""},
		{"three times", []step{{"", spam}, {"", spam}, {"", spam}}, "bob@remote.example"},
		{"three times, of several accounts", []step{{"", spam}, {"other@example.org", spam}, {"", spam}}, ""},
		{"three times, one of them delivered", []step{{"", spam}, {"", ok()}, {"", spam}, {"", spam}}, ""},
		{"three times after that", []step{{"", spam}, {"", ok()}, {"", spam}, {"", spam}, {"", spam}}, "bob@remote.example"},
		{"three times, one too large", []step{{"", spam}, {"", big}, {"", spam}}, ""},
		{"that one is left out", []step{{"", spam}, {"", big}, {"", spam}, {"", spam}}, "bob@remote.example"},
		{"tried again", []step{{"", retry}, {"", retry}, {"", retry}}, ""},
		{"given up after temporary failures", []step{{"", expired}, {"", expired}, {"", expired}}, ""},
		{"no connection", []step{{"", timeout}, {"", timeout}, {"", timeout}}, ""},
		{"a failure of ours", []step{{"", refused(550, "5.1.1", "")}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			for i, s := range tc.steps {
				from, to := s.from, "Bob@remote.example"
				if from == "" {
					from = "mjl@example.org"
				}
				if i%2 == 1 {
					to = "bob+x@remote.example"
				}
				w.send(from, to, s.r)
				w.check()
			}
			if got := w.suppressed("mjl"); got != tc.want {
				t.Errorf("list is %q, want %q", got, tc.want)
			}
		})
	}
}

// TestLearnNot checks that local recipients, cancelled messages and notifications
// teach nothing.
func TestLearnNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.send("mjl@example.org", "bob@local.example", noUser)
	w.add("content", "mjl@example.org", "bob@remote.example")
	if _, err := w.db.FailNow(t.Context(), Filter{}, "by hand"); err != nil {
		t.Fatal(err)
	}
	w.finish(w.next(), noUser)
	n := message(t, "mjl@example.org", "bob@remote.example")
	n.Account = ""
	if _, err := w.tryAdd("content", n); err != nil {
		t.Fatal(err)
	}
	w.finish(w.next(), noUser)
	if got := w.suppressed(""); got != "" {
		t.Errorf("list is %s", got)
	}
}

// TestSuppressionEnds checks how long an address stays on the list, and that what it
// was on it for counts no more.
func TestSuppressionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer func() { w.check(); w.stop() }()
		w.send("mjl@example.org", "gone@remote.example", noUser)
		for range 3 {
			w.send("mjl@example.org", "often@remote.example", spam)
		}
		if _, err := w.db.Suppress(t.Context(), "mjl", path(t, "never@remote.example"), ""); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			after time.Duration
			want  string
		}{
			{0, "gone@remote.example never@remote.example! often@remote.example"},
			{suppressRepeated - time.Nanosecond, "gone@remote.example never@remote.example! often@remote.example"},
			{time.Nanosecond, "gone@remote.example never@remote.example!"},
			{suppressCertain - suppressRepeated, "never@remote.example!"},
		} {
			time.Sleep(step.after)
			if got := w.suppressed("mjl"); got != step.want {
				t.Errorf("list is %s, want %s", got, step.want)
			}
			if err := w.db.Purge(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			if got := w.suppressed("mjl"); got != step.want {
				t.Errorf("after purging: list is %s, want %s", got, step.want)
			}
		}
		if c := w.db.counts; c.suppressions["mjl"] != 1 || c.histories != 0 {
			t.Errorf("counted %+v", c)
		}
		w.send("mjl@example.org", "often@remote.example", spam)
		if got := w.suppressed("mjl"); got != "never@remote.example!" {
			t.Errorf("after one more failure the list is %s", got)
		}
		time.Sleep(historyKeep + time.Nanosecond)
		if err := w.db.Purge(t.Context(), time.Now()); err != nil || w.db.counts.histories != 0 {
			t.Errorf("counted %+v, %v", w.db.counts, err)
		}
	})
}

// TestUnsuppressForgets forgets the failures that led to the list with the address on it.
func TestUnsuppressForgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for range 3 {
		w.send("mjl@example.org", "bob@remote.example", spam)
	}
	if _, err := w.db.Unsuppress(t.Context(), "mjl", path(t, "bob@remote.example")); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", "", "bob@remote.example"} {
		w.send("mjl@example.org", "bob@remote.example", spam)
		if got := w.suppressed("mjl"); got != want {
			t.Errorf("after %d more failures: list is %s, want %s", i+1, got, want)
		}
	}
}

// TestTooManySuppressions says which go when there are too many.
func TestTooManySuppressions(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	list := []Suppression{
		{Address: "d", Created: at(4)}, {Address: "a", Created: at(1), Manual: true}, {Address: "c", Created: at(2)}, {Address: "b", Created: at(2)},
	}
	for _, tc := range []struct {
		most int
		want string
	}{{5, ""}, {4, ""}, {3, "b"}, {2, "b c"}, {1, "b c d"}, {0, "b c d"}} {
		var got []string
		for _, s := range tooMany(slices.Clone(list), tc.most) {
			got = append(got, s.Address)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("at most %d: %s go, want %s", tc.most, got, tc.want)
		}
	}
}

// TestSuppressionsMax fills the list of an account.
func TestSuppressionsMax(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	err := w.db.commit(&change{run: func(tx *tx) error {
		for i := range suppressionsMax {
			s := Suppression{Account: "mjl", Address: fmt.Sprintf("a%d@remote.example", i), Created: tx.now.Round(0), Until: tx.now.Round(0).Add(time.Hour + time.Duration(i))}
			if err := tx.suppress(s); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Suppress(t.Context(), "mjl", path(t, "bob@remote.example"), ""); !errors.Is(err, ErrSuppressions) {
		t.Errorf("one more: got %v", err)
	}
	w.send("mjl@example.org", "bob@remote.example", noUser)
	if n := w.db.suppressionCount("mjl"); n != suppressionsMax+1 {
		t.Errorf("%d, want one more than there may be", n)
	}
	if err := w.db.Purge(t.Context(), time.Now()); err != nil || w.db.suppressionCount("mjl") != suppressionsMax {
		t.Errorf("%d after purging, %v", w.db.suppressionCount("mjl"), err)
	}
	w.restart()
	if n := w.db.suppressionCount("mjl"); n != suppressionsMax {
		t.Errorf("counted %d at start", n)
	}
	if n, err := w.db.ForgetAccount(t.Context(), "mjl"); err != nil || n != suppressionsMax || w.suppressed("") != "" {
		t.Errorf("forgot %d, %v", n, err)
	}
}

// TestForgetAccount removes what belongs to an account, and nothing else.
func TestForgetAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, from := range []string{"mjl@example.org", "other@example.org"} {
		w.send(from, "gone@remote.example", noUser)
		w.send(from, "often@remote.example", spam)
		w.addFromID(from, "id", "bob@remote.example")
		w.finish(w.next(), ok())
	}
	if n, err := w.db.ForgetAccount(t.Context(), "mjl"); err != nil || n != 1 {
		t.Errorf("forgot %d, %v", n, err)
	}
	if c := w.db.counts; c.fromIDs != 1 || c.histories != 1 || len(c.suppressions) != 1 || w.suppressed("") != "gone@remote.example" {
		t.Errorf("left are %+v", c)
	}
}

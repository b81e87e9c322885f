package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
)

func domain(t testing.TB, name string) dns.Domain {
	t.Helper()
	d, err := dns.ParseDomain(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// keepAll keeps retired messages for an hour.
func keepAll(o *Options) { o.KeepRetired = func(string) time.Duration { return time.Hour } }

// took is the report of a delivery to a server.
func took() Report {
	r := ok()
	r.Result.RemoteMTA = "mx1.hoster.example"
	return r
}

// TestCredible says which domains can tell of a message to bob@mail.remote.example that
// mx1.hoster.example took.
func TestCredible(t *testing.T) {
	t.Parallel()
	m := Message{Domain: "mail.remote.example", Results: []Result{
		{RemoteMTA: "refused.example"}, {OK: true, RemoteMTA: "mx1.hoster.example"}, {OK: true, RemoteMTA: "told.example", Answer: AnswerRelayed},
	}}
	for _, tc := range []struct {
		verified string
		want     bool
	}{
		{"mail.remote.example", true},
		{"remote.example", true},
		{"out.remote.example", true},
		{"hoster.example", true},
		{"mx9.hoster.example", true},
		{"other.example", false},
		{"notremote.example", false},
		{"example", false},
		{"refused.example", false}, // It did not take the message.
		{"told.example", false},    // An answer said so.
	} {
		if got := credible([]dns.Domain{domain(t, "elsewhere.example"), domain(t, tc.verified)}, &m); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.verified, got, tc.want)
		}
	}
	if credible(nil, &m) || credible([]dns.Domain{{}}, &m) {
		t.Error("nobody is credible")
	}
	// Names below which anybody can register one.
	m = Message{Domain: "co.uk", Results: []Result{{OK: true, RemoteMTA: "[192.0.2.1]"}}}
	if credible([]dns.Domain{domain(t, "evil.co.uk")}, &m) || !credible([]dns.Domain{domain(t, "co.uk")}, &m) {
		t.Error("a public suffix is taken for an organisation")
	}
}

// TestAnswered says what answers do to a message from mjl to bob that was delivered.
func TestAnswered(t *testing.T) {
	t.Parallel()
	remote := []dns.Domain{domain(t, "out.remote.example")}
	stranger := []dns.Domain{domain(t, "evil.example")}
	bounce := Answer{
		Account: "mjl", MessageID: "<1@example.org>", Rcpts: []string{"BOB@remote.example"}, Event: AnswerFailed, Enhanced: "5.1.1", Error: "no such user", Verified: remote,
	}
	with := func(change func(a *Answer)) Answer {
		a := bounce
		change(&a)
		return a
	}
	for _, tc := range []struct {
		name    string
		a       Answer
		want    Answered // Message is found if its ID is 1.
		outcome Outcome
		list    string
	}{
		{"from where it went", bounce, Answered{Message: Message{ID: 1}, Event: AnswerFailed, Suppressing: true}, Failed, "bob@remote.example"},
		{"from the server that took it", with(func(a *Answer) { a.Verified = []dns.Domain{domain(t, "hoster.example")} }),
			Answered{Message: Message{ID: 1}, Event: AnswerFailed, Suppressing: true}, Failed, "bob@remote.example"},
		{"from a stranger", with(func(a *Answer) { a.Verified = stranger }), Answered{Message: Message{ID: 1}, Event: AnswerUnrecognized, Claimed: true}, Delivered, ""},
		{"from nobody", with(func(a *Answer) { a.Verified = nil }), Answered{Message: Message{ID: 1}, Event: AnswerUnrecognized, Claimed: true}, Delivered, ""},
		{"by the envelope id", with(func(a *Answer) { a.MessageID, a.EnvelopeID = "", "env 1" }),
			Answered{Message: Message{ID: 1}, Event: AnswerFailed, Suppressing: true}, Failed, "bob@remote.example"},
		{"by the original recipient", with(func(a *Answer) { a.Rcpts = []string{"not an address", "x@elsewhere.example", "bob+y@remote.example"} }),
			Answered{Message: Message{ID: 1}, Event: AnswerFailed, Suppressing: true}, Failed, "bob@remote.example"},
		{"by the sender's address, from a stranger", Answer{Account: "mjl", FromID: "Id", Event: AnswerFailed, Enhanced: "5.1.1", Verified: stranger},
			Answered{Message: Message{ID: 1}, Event: AnswerFailed, Suppressing: true}, Failed, "bob@remote.example"},
		{"by the sender's address, for a reason that may pass", Answer{Account: "mjl", FromID: "id", Event: AnswerFailed, Enhanced: "5.7.1"},
			Answered{Message: Message{ID: 1}, Event: AnswerFailed}, Failed, ""},
		{"no notification", Answer{Account: "mjl", FromID: "id", Event: AnswerUnrecognized}, Answered{Message: Message{ID: 1}, Event: AnswerUnrecognized}, Delivered, ""},
		{"delayed", with(func(a *Answer) { a.Event, a.Enhanced = AnswerDelayed, "4.2.2" }), Answered{Message: Message{ID: 1}, Event: AnswerDelayed}, Delivered, ""},
		{"relayed", with(func(a *Answer) { a.Event, a.Enhanced = AnswerRelayed, "2.0.0" }), Answered{Message: Message{ID: 1}, Event: AnswerRelayed}, Delivered, ""},

		{"of another account", with(func(a *Answer) { a.Account = "other" }), Answered{Event: AnswerFailed}, Delivered, ""},
		{"about another recipient", with(func(a *Answer) { a.Rcpts = []string{"carol@remote.example"} }), Answered{Event: AnswerFailed}, Delivered, ""},
		{"about another message", with(func(a *Answer) { a.MessageID = "<2@example.org>" }), Answered{Event: AnswerFailed}, Delivered, ""},
		{"about nothing", with(func(a *Answer) { a.MessageID = "" }), Answered{Event: AnswerFailed}, Delivered, ""},
		{"with an id that nobody has", with(func(a *Answer) { a.FromID = "other" }), Answered{Event: AnswerFailed}, Delivered, ""},
		{"with the id of another account", Answer{Account: "other", FromID: "id", Event: AnswerFailed}, Answered{Event: AnswerFailed}, Delivered, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, keepAll)
			n := newFromID(t, "mjl@example.org", "id", "Bob@remote.example")
			n.DSN.EnvelopeID = "env 1"
			if _, err := w.tryAdd("content", n); err != nil {
				t.Fatal(err)
			}
			w.finish(w.next(), took())
			tc.a.Key, tc.a.Received = "key", time.Now()
			got, err := w.db.Answered(t.Context(), tc.a)
			if err != nil {
				t.Fatal(err)
			}
			known := got.Message.ID == 1
			got.Message = Message{ID: got.Message.ID}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			w.restart()
			m, err := w.db.Get(t.Context(), 1)
			if err != nil || m.Outcome != tc.outcome || known != (len(m.Results) == 2) || known != m.LastActivity.After(m.RetiredAt) {
				t.Errorf("message is %+v, %v", m, err)
			}
			if known {
				if r := m.Results[1]; r.Answer != tc.a.Event || r.Claimed != tc.want.Claimed || r.Enhanced != tc.a.Enhanced {
					t.Errorf("result is %+v", r)
				}
			}
			if list := w.suppressed("mjl"); list != tc.list {
				t.Errorf("list is %q, want %q", list, tc.list)
			}
			again, err := w.db.Answered(t.Context(), tc.a)
			if err != nil || again.Again != known || again.Suppressing || again.Event != tc.want.Event || again.Claimed != tc.want.Claimed {
				t.Errorf("again: got %+v, %v", again, err)
			}
			if m, err = w.db.Get(t.Context(), 1); err != nil || known != (len(m.Results) == 2) {
				t.Errorf("again: message is %+v, %v", m, err)
			}
		})
	}
}

// TestAnsweredWhileSending has a server return a message before it is noted that it
// took it. The attempt ends as it would have.
func TestAnsweredWhileSending(t *testing.T) {
	t.Parallel()
	for _, fromID := range []string{"", "id"} {
		w := newWorld(t, keepAll)
		n := message(t, "mjl@example.org", "bob@remote.example")
		if fromID != "" {
			n = newFromID(t, "mjl@example.org", fromID, "bob@remote.example")
		}
		if _, err := w.tryAdd("content", n); err != nil {
			t.Fatal(err)
		}
		work := w.next()
		a, err := w.db.Answered(t.Context(), Answer{
			Account: "mjl", FromID: fromID, MessageID: "<1@example.org>", Rcpts: []string{"bob@remote.example"}, Key: "key", Received: time.Now(),
			Event: AnswerFailed, Enhanced: "5.1.1", Verified: []dns.Domain{domain(t, "remote.example")},
		})
		if err != nil || a.Message.ID != work.Messages[0].ID || a.Event != AnswerFailed || !a.Suppressing {
			t.Errorf("got %+v, %v", a, err)
		}
		w.finish(work, took())
		m, err := w.db.Get(t.Context(), a.Message.ID)
		if err != nil || len(m.Results) != 2 || m.Results[0].Answer != AnswerFailed || !m.Results[1].OK || m.Results[1].Answer != "" {
			t.Errorf("message is %+v, %v", m, err)
		}
		if list := w.suppressed("mjl"); list != "bob@remote.example" {
			t.Errorf("list is %q", list)
		}
	}
}

// TestAnsweredNotKept checks that an id alone keeps what became of a message whose
// account keeps none.
func TestAnsweredNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.addFromID("mjl@example.org", "id", "bob@remote.example")
	w.finish(w.next(), took())
	a := Answer{Account: "mjl", FromID: "id", Key: "key", Received: time.Now(), Event: AnswerFailed, Enhanced: "5.1.1"}
	for i, again := range []bool{false, true} {
		got, err := w.db.Answered(t.Context(), a)
		if err != nil || got.Message.Subject != "test" || got.Message.Outcome != Failed || got.Again != again {
			t.Errorf("%d: got %+v, %v", i, got, err)
		}
		w.restart()
	}
	bounce := Answer{Account: "mjl", MessageID: "<1@example.org>", Rcpts: []string{"bob@remote.example"}, Key: "other", Event: AnswerFailed}
	if got, err := w.db.Answered(t.Context(), bounce); err != nil || got.Message.ID != 0 {
		t.Errorf("by its Message-ID: got %+v, %v", got, err)
	}
}

// TestReturnedAgain has a server take three messages and return each: that counts as
// three failures.
func TestReturnedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i, want := range []bool{false, false, true} {
		id := fmt.Sprintf("id%d", i)
		w.addFromID("mjl@example.org", id, "bob@remote.example")
		w.finish(w.next(), took())
		a, err := w.db.Answered(t.Context(), Answer{Account: "mjl", FromID: id, Key: "key", Received: time.Now(), Event: AnswerFailed, Enhanced: "5.7.1"})
		if err != nil || a.Suppressing != want {
			t.Errorf("message %d: got %+v, %v", i, a, err)
		}
	}
}

// TestAnswersMax sends more answers than are kept.
func TestAnswersMax(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.addFromID("mjl@example.org", "id", "bob@remote.example")
	w.finish(w.next(), took())
	var last Answered
	for i := range 3 * answersMax {
		var err error
		a := Answer{Account: "mjl", FromID: "id", Key: fmt.Sprint(i), Received: time.Now(), Event: AnswerUnrecognized, Error: string(make([]byte, 10000))}
		if last, err = w.db.Answered(t.Context(), a); err != nil || last.Again {
			t.Fatalf("got %+v, %v", last, err)
		}
	}
	r := last.Message.Results
	if len(r) != answersMax+1 || r[0].Answer != "" || r[answersMax].Key != fmt.Sprint(3*answersMax-1) || len(r[1].Error) > resultErrorMax {
		t.Errorf("kept are %+v", r)
	}
}

// TestAnswersCrash looks for an answer after the process was killed in the middle of
// noting it: it is there as a whole or not at all, and once when it comes again.
func TestAnswersCrash(t *testing.T) {
	t.Parallel()
	for _, point := range []string{FaultCommitBefore, FaultCommitAfter} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, keepAll)
			w.addFromID("mjl@example.org", "id", "bob@remote.example")
			w.finish(w.next(), took())
			a := Answer{Account: "mjl", FromID: "id", Key: "key", Received: time.Now(), Event: AnswerFailed, Enhanced: "5.1.1"}
			c := w.crashed()
			w.check()
			w.stop()
			c.log = nil
			c.start()
			defer func() { c.check(); c.stop(); c.db = nil }()
			var killed *world
			c.faults.Arm(point, func() error { killed = c.crashed(); return nil })
			if _, err := c.db.Answered(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			killed.start()
			defer func() { killed.check(); killed.stop(); killed.db = nil }()
			m, err := killed.db.Get(t.Context(), 1)
			noted := point == FaultCommitAfter
			if err != nil || noted != (len(m.Results) == 2) || noted != (m.Outcome == Failed) || noted != (killed.suppressed("mjl") != "") {
				t.Errorf("%s: message is %+v, %v", point, m, err)
			}
			got, err := killed.db.Answered(t.Context(), a)
			if err != nil || got.Again != noted || len(got.Message.Results) != 2 || killed.suppressed("mjl") != "bob@remote.example" {
				t.Errorf("%s: again: got %+v, %v", point, got, err)
			}
		})
	}
}

package queue

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newFromID returns a New with a FromID for each recipient: the id, and a letter for
// those after the first.
func newFromID(t testing.TB, from, id string, to ...string) New {
	t.Helper()
	n := message(t, from, to...)
	local, domain, _ := strings.Cut(from, "@")
	for i := range n.To {
		n.To[i].FromID = id + strings.Repeat("x", i)
		n.To[i].MailFrom = path(t, local+"+"+n.To[i].FromID+"@"+domain)
	}
	return n
}

func (w *world) addFromID(from, id string, to ...string) []Message {
	w.t.Helper()
	messages, err := w.tryAdd("content", newFromID(w.t, from, id, to...))
	if err != nil {
		w.t.Fatal(err)
	}
	return messages
}

// TestFromIDOnce walks an id through the life of its message: nobody else of the
// account gets it meanwhile.
func TestFromIDOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer func() { w.check(); w.stop() }()
		taken := func(when string, want error) {
			t.Helper()
			_, err := w.tryAdd("content", newFromID(t, "mjl@example.org", "ID", "bob@remote.example"))
			if !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", when, err, want)
			}
		}
		w.addFromID("mjl@example.org", "id", "bob@remote.example")
		w.addFromID("other@example.org", "id", "bob@remote.example")
		taken("in the log", ErrFromID)
		w.flush()
		if len(w.db.claims) != 0 {
			t.Errorf("%d ids are noted that have rows", len(w.db.claims))
		}
		taken("with rows", ErrFromID)
		w.finish(w.next(), ok())
		w.finish(w.next(), ok())
		taken("retired, and not kept", ErrFromID)
		w.restart()
		time.Sleep(fromIDKeep)
		if err := w.db.Purge(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		taken("in its last moment", ErrFromID)
		time.Sleep(time.Second)
		if err := w.db.Purge(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		taken("forgotten", nil)
	})
}

// TestFromIDFails checks that an id is free again when its message was not added.
func TestFromIDFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	n := newFromID(t, "mjl@example.org", "id", "bob@remote.example", "carol@remote.example")
	n.To[1].FromID, n.To[1].MailFrom = "id", n.To[0].MailFrom
	if _, err := w.tryAdd("content", n); !errors.Is(err, ErrFromID) {
		t.Errorf("the same id for two: got %v", err)
	}
	n.To[1].FromID = "other"
	if _, err := w.tryAdd("content", n); err == nil || errors.Is(err, ErrFromID) {
		t.Errorf("an id that is not in the address: got %v", err)
	}
	w.addFromID("mjl@example.org", "id", "bob@remote.example", "carol@remote.example")
	w.addFromID("mjl@example.org", "id2", "bob@remote.example")
	if _, err := w.tryAdd("content", newFromID(t, "mjl@example.org", "i", "a@remote.example", "b@remote.example", "c@remote.example")); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestFromIDRace adds messages with one id at once: one of them gets it.
func TestFromIDRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	errs := make([]error, 10)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			_, errs[i] = w.tryAdd("content", newFromID(t, "mjl@example.org", "id", "bob@remote.example"))
		})
	}
	all.Wait()
	added := 0
	for _, err := range errs {
		if err == nil {
			added++
		} else if !errors.Is(err, ErrFromID) {
			t.Error(err)
		}
	}
	if added != 1 {
		t.Errorf("%d were added", added)
	}
}

// TestFromIDWork checks that recipients with senders of their own are not sent to
// together, and that each has its own.
func TestFromIDWork(t *testing.T) {
	t.Parallel()
	for _, domain := range []string{"remote.example", "local.example"} {
		w := newWorld(t, nil)
		w.addFromID("mjl@example.org", "id", "a@"+domain, "b@"+domain, "c@"+domain)
		want := map[string]string{"a@" + domain: "mjl+id@example.org", "b@" + domain: "mjl+idx@example.org", "c@" + domain: "mjl+idxx@example.org"}
		if got := w.list(Filter{From: "mjl@example.org"}); len(got) != 3 {
			t.Errorf("%d are listed as from their sender", len(got))
		}
		for range 3 {
			work := w.next()
			if m := work.Messages[0]; len(work.Messages) != 1 || m.MailFrom != want[m.Rcpt] || m.BaseFrom != "mjl@example.org" {
				t.Errorf("got %d messages, %+v", len(work.Messages), m)
			}
			w.finish(work, ok())
		}
	}
}

// TestFromIDHandedOver checks that ids of messages that never had rows are kept, also
// when the process dies.
func TestFromIDHandedOver(t *testing.T) {
	t.Parallel()
	for _, keep := range []time.Duration{0, time.Hour, 100 * 24 * time.Hour} {
		w := newWorld(t, func(o *Options) { o.KeepRetired = func(string) time.Duration { return keep } })
		w.addFromID("mjl@example.org", "id", "a@local.example", "b@local.example")
		w.finish(w.next(), ok())
		w.finish(w.next(), ok())
		c := w.crashed()
		c.start()
		for _, w := range []*world{w, c} {
			a, err := w.db.Answered(t.Context(), Answer{Account: "mjl", FromID: "ID", Key: "1", Event: AnswerUnrecognized, Received: time.Now()})
			if err != nil || a.Message.Rcpt != "a@local.example" || a.Again {
				t.Errorf("kept for %s: got %+v, %v", keep, a, err)
			}
			if _, err := w.tryAdd("content", newFromID(t, "mjl@example.org", "idx", "bob@remote.example")); !errors.Is(err, ErrFromID) {
				t.Errorf("kept for %s: got %v", keep, err)
			}
		}
	}
}

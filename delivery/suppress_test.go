package delivery

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
)

// TestSuppressed has a server refuse a recipient: the next message to it fails without
// a connection, and the notification tells what to do about it. Others of the message
// get it, and so does the recipient from other accounts, and later.
func TestSuppressed(t *testing.T) {
	run(t, func(e *env) {
		p := &peer{answers: map[string][]string{"RCPT gone": {"550 5.1.1 no such user", ""}}}
		e.oneHost(p)
		e.send(newMessage("gone@other.example"))
		e.wait()
		e.wantNotices("failed 5.1.1 gone@other.example")
		s, found, err := e.queue.Suppressed(e.Context(), "alice", mustPath("gone@other.example"))
		if err != nil || !found || s.Message != 1 || s.Code != 550 || s.Enhanced != "5.1.1" || s.Manual {
			t.Errorf("suppression is %+v, %v, %v", s, found, err)
		}
		e.dials()

		e.send(newMessage("Gone+x@other.example"))
		e.wait()
		if got := e.dials(); got != "" {
			t.Errorf("connected to %s", got)
		}
		e.wantNotices("failed 5.1.1 gone@other.example", "failed 5.7.1 Gone+x@other.example")
		inbox := e.inbox("alice")
		if text := strings.Join(strings.Fields(inbox[len(inbox)-1]), " "); !strings.Contains(text, "mox queue suppress remove alice gone@other.example") || !strings.Contains(text, "no such user") {
			t.Errorf("notification is\n%s", inbox[len(inbox)-1])
		}

		e.send(newMessage("gone@other.example", "bob@other.example"))
		other := newMessage("gone@other.example")
		other.Account, other.MailFrom = "bob", mustPath("bob@example.org")
		e.wait()
		e.send(other)
		e.wait()
		if got := p.summary(); got != "alice@example.org: bob@other.example; bob@example.org: gone@other.example" {
			t.Errorf("got %s", got)
		}

		_, err = e.queue.Unsuppress(e.Context(), "alice", mustPath("gone@other.example"))
		check(e.T, err)
		e.send(newMessage("gone@other.example"))
		e.wait()
		if got := p.mails(); len(got) != 3 {
			t.Errorf("got %s", p.summary())
		}
	})
}

// TestNotSuppressed says which failures are held against nobody.
func TestNotSuppressed(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers map[string][]string
		after   time.Duration
		three   string // Who is suppressed after three such messages.
	}{
		{"greylisted until it is given up", map[string][]string{"RCPT": {"450 4.1.1 later"}}, testSchedule.GiveUpAfter + time.Hour, ""},
		{"connection lost", map[string][]string{"RCPT": {"drop"}}, testSchedule.GiveUpAfter + time.Hour, ""},
		{"message too large", map[string][]string{".": {"552 5.3.4 too large"}}, time.Second, ""},
		{"taken for spam", map[string][]string{".": {"554 5.7.1 spam"}}, time.Second, "bob@other.example"},
		{"sent away at once", map[string][]string{"": {"554 5.7.1 go away"}}, time.Second, "bob@other.example"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				e.oneHost(&peer{answers: test.answers})
				list := func() (names []string) {
					all, err := e.queue.Suppressions(e.Context(), "")
					check(e.T, err)
					for _, s := range all {
						names = append(names, s.Address)
					}
					return names
				}
				for range 2 {
					e.send(newMessage("bob@other.example"))
					e.settle(test.after)
				}
				if got := list(); len(got) != 0 {
					t.Errorf("after two messages the list has %s", got)
				}
				e.send(newMessage("bob@other.example"))
				e.settle(test.after)
				if got := strings.Join(list(), " "); got != test.three {
					t.Errorf("after three messages the list has %s, want %s", got, test.three)
				}
				if e.left() != 0 {
					t.Errorf("%d messages are left", e.left())
				}
			})
		})
	}
}

// TestSuppressedUnknown checks that a message waits when it can't be looked up
// whether its recipient is suppressed, with a result that says so.
func TestSuppressedUnknown(t *testing.T) {
	run(t, func(e *env) {
		ctx, cancel := context.WithCancelCause(e.Context())
		cancel(errors.New("disk is on fire"))
		a := &attempt{sender: e.Sender}
		r := &rcpt{Message: &queue.Message{Account: "alice", Rcpt: "bob@other.example"}, path: mustPath("bob@other.example")}
		if f := a.suppressed(ctx, r); f == nil || f.permanent || !f.ours || f.interrupted || f.enhanced != statusOurs {
			t.Errorf("got %+v", f)
		}
		ctx, cancel = context.WithCancelCause(e.Context())
		cancel(errInterrupted)
		if f := a.suppressed(ctx, r); f == nil || f.permanent || !f.interrupted {
			t.Errorf("when stopping: got %+v", f)
		}
		if f := a.suppressed(ctx, &rcpt{Message: &queue.Message{}}); f != nil {
			t.Errorf("for a notification: got %+v", f)
		}
	})
}

// TestSuppressedHere checks that mail between users of this server is not a matter
// of the list.
func TestSuppressedHere(t *testing.T) {
	run(t, func(e *env) {
		_, err := e.queue.Suppress(e.Context(), "alice", mustPath("bob@example.org"), "")
		check(e.T, err)
		e.send(newMessage("bob@example.org"))
		e.settleHandovers()
		if got := e.inbox("bob"); len(got) != 1 {
			t.Errorf("bob has %d messages", len(got))
		}
	})
}

// TestSuppressedByRelay has a server of the configuration refuse three messages: what
// it knows of the recipient counts, and not that it takes no mail from us.
func TestSuppressedByRelay(t *testing.T) {
	transport := config.Transport{SMTP: &config.TransportSMTP{Host: "relay.example", NoSTARTTLS: true}}
	for reply, want := range map[string]string{"550 5.7.1 relaying denied": "", "550 no": "", "550 5.1.1 no such user": "bob@other.example"} {
		t.Run(reply, func(t *testing.T) {
			run(t, func(e *env) {
				e.records("relay.example A 203.0.113.5")
				e.peers["203.0.113.5"] = &peer{answers: map[string][]string{"RCPT": {reply}}}
				for range 3 {
					e.send(newMessage("bob@other.example"))
					e.settle(time.Minute)
				}
				list, err := e.queue.Suppressions(e.Context(), "alice")
				check(e.T, err)
				if e.left() != 0 || len(list) > 1 || (len(list) == 1) != (want != "") || want != "" && list[0].Address != want {
					e.Errorf("%d messages are left, the list is %+v", e.left(), list)
				}
			}, withTransports(t, map[string]config.Transport{"relay": transport}, toAll("relay")))
		})
	}
}

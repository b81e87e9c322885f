package delivery

import (
	"strings"
	"testing"
	"time"
)

// twoHosts makes other.example have a second mail server, which takes all.
func (e *env) twoHosts(p *peer) (first, second *peer) {
	e.oneHost(p)
	e.records("other.example MX 10 mx.other.example; other.example MX 20 mx2.other.example; mx2.other.example A 198.51.100.2")
	e.peers["198.51.100.2"] = &peer{}
	return p, e.peers["198.51.100.2"]
}

// TestStages has a server refuse, fall silent, hang up and talk nonsense at each
// point of a conversation. For a domain with one server it shows what is recorded
// of that, for one with two whether the second is asked.
func TestStages(t *testing.T) {
	t.Parallel()
	const both = "EHLO HELO" // Commands that get the answer.
	for _, test := range []struct {
		name, command, answer string
		status                string // That is recorded. The first digit tells whether it is final.
		second                bool   // The second server is asked.
	}{
		{"the server is busy", "", "421 4.3.2 busy", "4.3.2", true},
		{"the server takes no mail at all", "", "521 5.3.2 no mail here", "5.3.2", true},
		{"the server doesn't want us", "", "554 go away", "5.0.0", true},
		{"no greeting, connection closed", "", "drop", "4.4.2", true},
		{"no greeting", "", "stall", "4.4.2", true},
		{"the greeting is none", "", "noise", "4.5.0", true},
		{"EHLO and HELO refused", both, "550 5.7.1 who are you", "5.7.1", true},
		{"EHLO refused for now", both, "451 4.3.0 not yet", "4.3.0", true},
		{"EHLO, connection closed", "EHLO", "drop", "4.4.2", true},
		{"EHLO, no answer", "EHLO", "stall", "4.4.2", true},
		{"MAIL refused", "MAIL", "550 5.7.1 not from you", "5.7.1", false},
		{"MAIL refused for now", "MAIL", "451 4.7.1 try again", "4.7.1", true},
		{"MAIL, going away", "MAIL", "421 4.3.2 going down", "4.3.2", true},
		{"MAIL, connection closed", "MAIL", "drop", "4.4.2", true},
		{"MAIL, no answer", "MAIL", "stall", "4.4.2", true},
		{"RCPT refused", "RCPT", "550 5.1.1 no such user", "5.1.1", false},
		{"RCPT refused for now", "RCPT", "450 4.2.1 later", "4.2.1", true},
		{"RCPT, connection closed", "RCPT", "drop", "4.4.2", true},
		{"RCPT, no answer", "RCPT", "stall", "4.4.2", true},
		{"RCPT, nonsense", "RCPT", "noise", "4.5.0", true},
		{"DATA refused", "DATA", "554 5.6.0 no", "5.6.0", false},
		{"DATA refused for now", "DATA", "451 4.3.0 no", "4.3.0", true},
		{"DATA, connection closed", "DATA", "drop", "4.4.2", true},
		{"DATA, no answer", "DATA", "stall", "4.4.2", true},
		{"message refused", ".", "554 5.7.1 spam", "5.7.1", false},
		{"message refused for now", ".", "452 4.3.1 disk full", "4.3.1", true},
		{"message, connection closed", ".", "drop", "4.4.2", false},
		{"message, no answer", ".", "stall", "4.4.2", false},
		{"message, nonsense", ".", "noise", "4.4.2", false},
	} {
		answers := func() map[string][]string {
			m := map[string][]string{}
			for verb := range strings.SplitSeq(test.command, " ") {
				m[verb] = []string{test.answer}
			}
			return m
		}
		// All time-outs are over then, and the second attempt has not begun.
		past := time.Minute
		if test.answer == "stall" {
			past = 11 * time.Minute
		}
		final := test.status[0] == '5'
		maybeSent := test.command == "." && !strings.Contains(test.answer, " ")
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				p := e.oneHost(&peer{answers: answers()})
				list := e.send(newMessage("one@other.example"))
				e.settle(past)
				if final {
					e.wantNotices("failed " + test.status + " one@other.example")
					if n := e.left(); n != 0 {
						e.Errorf("%d messages are left", n)
					}
				} else {
					e.wantNotices()
					m := e.get(list[0].ID)
					r := m.Results[len(m.Results)-1]
					if m.Attempts != 1 || r.Enhanced != test.status || r.Permanent || r.OK || r.RemoteMTA != "mx.other.example" || r.RemoteIP != "198.51.100.1" {
						e.Errorf("got %d attempts, result %+v, want status %s", m.Attempts, r, test.status)
					}
				}
				if got := e.counter("mox_queue_maybe_sent_total"); got > 0 != maybeSent {
					e.Errorf("got %v messages that may have been sent, want %v", got, maybeSent)
				}
				if p.connections != 1 {
					e.Errorf("got %d connections", p.connections)
				}
			})
		})
		t.Run(test.name+", two servers", func(t *testing.T) {
			run(t, func(e *env) {
				_, second := e.twoHosts(&peer{answers: answers()})
				e.send(newMessage("one@other.example"))
				e.settle(past)
				if got := second.connections > 0; got != test.second {
					e.Errorf("second server asked: %v, want %v", got, test.second)
				}
				if left, want := e.left(), int64(0); test.second && left != want || test.second && len(second.mails()) != 1 {
					e.Errorf("got %d messages left, second server has %q", left, second.summary())
				}
				if final && !test.second {
					e.wantNotices("failed " + test.status + " one@other.example")
				} else {
					e.wantNotices()
				}
			})
		})
	}
}

// TestMaybeSent has a server take a message and lose the connection before it says
// so. The message comes twice, and not three times.
func TestMaybeSent(t *testing.T) {
	run(t, func(e *env) {
		p, second := e.twoHosts(&peer{answers: map[string][]string{".": {"drop", ""}}})
		e.send(newMessage("one@other.example"))
		e.settle(time.Minute)
		if len(p.mails()) != 1 || e.left() != 1 {
			e.Errorf("got %d messages, %d left", len(p.mails()), e.left())
		}
		e.settle(24 * time.Hour)
		if len(p.mails()) != 2 || len(second.mails()) != 0 || e.left() != 0 {
			e.Errorf("got %d and %d messages, %d left", len(p.mails()), len(second.mails()), e.left())
		}
	})
}

// TestPartial has a server take some recipients, refuse others for good and for
// now: each gets what is due to it.
func TestPartial(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{extensions: "PIPELINING", answers: map[string][]string{
			"RCPT gone": {"550 5.1.1 no such user"}, "RCPT busy": {"450 4.2.1 later", ""},
		}})
		e.send(newMessage("one@other.example", "gone@other.example", "busy@other.example", "two@other.example"))
		e.settle(time.Minute)
		if got, want := p.summary(), "alice@example.org: one@other.example two@other.example"; got != want {
			e.Errorf("got %q, want %q", got, want)
		}
		e.wantNotices("failed 5.1.1 gone@other.example")
		e.settle(time.Hour)
		if got, want := p.summary(), "alice@example.org: one@other.example two@other.example; alice@example.org: busy@other.example"; got != want {
			e.Errorf("got %q, want %q", got, want)
		}
		e.wantNotices("failed 5.1.1 gone@other.example")
		if n := e.left(); n != 0 {
			e.Errorf("%d messages are left", n)
		}
	})
}

// TestTransactions has servers take few recipients at a time: each still gets the
// message once, at the first attempt.
func TestTransactions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		peer        *peer
		want        string
		connections int
	}{
		{"a limit that is announced", &peer{extensions: "LIMITS RCPTMAX=2"}, "a@x b@x; c@x d@x; e@x", 1},
		{"452 at the third", &peer{answers: map[string][]string{"RCPT c": {"452 4.5.3 too many", ""}, "RCPT d": {"452 4.5.3 too many", ""}, "RCPT e": {"452 4.5.3 too many", ""}}},
			"a@x b@x; c@x d@x e@x", 1},
		{"552 at the third, as in old servers", &peer{answers: map[string][]string{"RCPT c": {"552 too many", ""}}}, "a@x b@x d@x e@x; c@x", 1},
		{"one message for each connection", &peer{extensions: "LIMITS RCPTMAX=2 MAILMAX=1"}, "a@x b@x; c@x d@x; e@x", 3},
		{"the server closes after a message", &peer{extensions: "LIMITS RCPTMAX=3", answers: map[string][]string{".": {"taken"}}}, "a@x b@x c@x; d@x e@x", 2},
		{"the server has enough after a message", &peer{extensions: "LIMITS RCPTMAX=3", answers: map[string][]string{"MAIL": {"", "421 4.7.0 enough", ""}}}, "a@x b@x c@x; d@x e@x", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				p := e.oneHost(test.peer)
				e.send(newMessage("a@other.example", "b@other.example", "c@other.example", "d@other.example", "e@other.example"))
				e.settle(time.Minute)
				got := strings.ReplaceAll(strings.ReplaceAll(p.summary(), "alice@example.org: ", ""), "@other.example", "@x")
				if got != test.want || p.connections != test.connections {
					e.Errorf("got %q in %d connections, want %q in %d", got, p.connections, test.want, test.connections)
				}
				if n := e.left(); n != 0 {
					e.Errorf("%d messages are left", n)
				}
				e.wantNotices()
			})
		})
	}
}

// TestTooManyConversations checks that a server that takes one recipient for each
// connection does not get connections without end.
func TestTooManyConversations(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{extensions: "LIMITS RCPTMAX=1 MAILMAX=1"})
		var to []string
		for c := 'a'; c < 'a'+conversationsMax+2; c++ {
			to = append(to, string(c)+"@other.example")
		}
		e.send(newMessage(to...))
		e.settle(time.Minute)
		if p.connections != conversationsMax || len(p.mails()) != conversationsMax || e.left() != 2 {
			e.Errorf("got %d messages in %d connections, %d left", len(p.mails()), p.connections, e.left())
		}
		e.settle(time.Hour)
		if len(p.mails()) != len(to) || e.left() != 0 {
			e.Errorf("got %d messages, %d left", len(p.mails()), e.left())
		}
	})
}

// TestOverQuotaIsNotTooMany checks that mailboxes without room are not tried again
// and again in the same attempt.
func TestOverQuotaIsNotTooMany(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{answers: map[string][]string{"RCPT full": {"552 5.2.2 mailbox full"}, "RCPT slow": {"452 4.2.2 mailbox full"}}})
		e.send(newMessage("one@other.example", "full@other.example", "slow@other.example"))
		e.settle(time.Minute)
		if got, want := p.summary(), "alice@example.org: one@other.example"; got != want {
			e.Errorf("got %q, want %q", got, want)
		}
		e.wantNotices("failed 5.2.2 full@other.example")
		if n := e.left(); n != 1 {
			e.Errorf("%d messages are left, want 1", n)
		}
	})
}

package delivery

import (
	"testing"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/smtp"
)

// TestFutureRelease sends messages at the time that their sender has chosen, to
// another server and to one of ours, and not before.
func TestFutureRelease(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{})
		hold := smtp.Hold{For: 24 * time.Hour}
		n := newMessage("one@other.example", "bob@example.org")
		n.NotBefore, n.FutureRelease = time.Now().Add(hold.For), hold.String()
		id := e.send(n)[0].ID
		e.settle(hold.For - time.Second)
		if m := e.get(id); len(p.mails()) != 0 || len(e.inbox("bob")) != 0 || m.Attempts != 0 || m.FutureRelease != "for;86400" {
			t.Fatalf("sent before its time: %+v", m)
		}
		e.settle(2 * time.Second)
		if got := p.summary(); got != "alice@example.org: one@other.example" || len(e.inbox("bob")) != 1 {
			t.Errorf("got %s, bob has %d", got, len(e.inbox("bob")))
		}
	})
}

// TestFutureReleaseFails has a message fail that was held for a day: attempts go on
// for as long as for any other, the sender is told of the delay and of the end, and
// what was asked for is in the notifications.
func TestFutureReleaseFails(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{answers: map[string][]string{"RCPT": {"450 4.2.1 not now"}}})
		hold := smtp.Hold{Until: time.Now().Add(24 * time.Hour).UTC()}
		n := newMessage("one@other.example")
		n.NotBefore, n.FutureRelease = hold.Until, hold.String()
		queued := time.Now()
		id := e.send(n)[0].ID
		e.settle(24*time.Hour + time.Second)
		if m := e.get(id); m.Attempts != 1 || len(e.inbox("alice")) != 0 {
			t.Fatalf("after the first attempt: %+v", m)
		}
		e.settle(testSchedule.GiveUpAfter + time.Hour)
		e.wantNotices("delayed 4.2.1 one@other.example", "failed 4.2.1 one@other.example")
		for _, content := range e.inbox("alice") {
			r := parseNotice(t, content)
			if r.FutureRelease != "until;2000-01-02T00:00:00Z" || !r.Arrival.Equal(queued) {
				t.Errorf("got %+v", r)
			}
			if until := r.Recipients[0].RetryUntil; r.Recipients[0].Action == dsn.Delayed && !until.Equal(hold.Until.Add(testSchedule.GiveUpAfter)) {
				t.Errorf("retried until %s", until)
			}
		}
	})
}

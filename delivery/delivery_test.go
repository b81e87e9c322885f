package delivery

import (
	"strings"
	"testing"
)

// oneHost makes peers the only addresses of the only mail server of other.example.
func (e *env) oneHost(p *peer) *peer {
	e.records("other.example MX 10 mx.other.example; mx.other.example A 198.51.100.1")
	e.peers["198.51.100.1"] = p
	return p
}

// TestSend walks a message for two recipients to another server, and looks at
// what is left of it.
func TestSend(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{extensions: "PIPELINING,SIZE 1000000,8BITMIME,ENHANCEDSTATUSCODES"})
		list := e.send(newMessage("one@other.example", "two@other.example"))
		e.wait()
		if got, want := p.summary(), "alice@example.org: one@other.example two@other.example"; got != want {
			e.Errorf("got %q, want %q", got, want)
		}
		if got, want := p.mails()[0].data, "Received: by test\r\n"+testContent; got != want {
			e.Errorf("got message %q, want %q", got, want)
		}
		if n := e.left(); n != 0 {
			e.Errorf("%d messages are left in the queue", n)
		}
		e.wantNotices()
		e.wantLog("msg=delivery", "result=delivered", "account=alice", "rcptto=two@other.example", "domain=other.example",
			"host=mx.other.example", "ip=198.51.100.1", "code=250", "tls=none", "attempt=1", "cid=", `reply="250 2.0.0 taken as 1234"`)
		for name, want := range map[string]float64{
			"mox_queue_connection_total": 1, "mox_queue_delivery_duration_seconds": 2, "mox_queue_destinations_total": 1,
			"mox_queue_destinations_authentic_total": 1, "mox_queue_maybe_sent_total": 0, "mox_queue_hold": 0,
		} {
			if got := e.counter(name); got != want {
				e.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
		if got := e.counter("mox_smtpclient_command_duration_seconds", "cmd=RCPT", "code=250"); got != 2 {
			e.Errorf("got %v RCPT counted, want 2", got)
		}
		if list[0].ContentID != list[1].ContentID {
			e.Errorf("got contents %d and %d", list[0].ContentID, list[1].ContentID)
		}
	})
}

// TestNullSenderToLiteral checks that a message from the null sender and to an address
// literal gets through as well.
func TestNullSenderToLiteral(t *testing.T) {
	run(t, func(e *env) {
		p := &peer{}
		e.peers["2001:db8::1"] = p
		n := newMessage("one@[IPv6:2001:db8::1]")
		n.Account, n.MailFrom = "", mustPath("")
		e.send(n)
		e.wait()
		if got, want := p.summary(), ": one@[IPv6:2001:db8::1]"; got != want {
			e.Errorf("got %q, want %q", got, want)
		}
		if !strings.HasPrefix(p.mails()[0].data, "Received: by test\r\nFrom: ") {
			e.Errorf("got message %q", p.mails()[0].data)
		}
	})
}

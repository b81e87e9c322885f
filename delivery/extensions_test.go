package delivery

import (
	"strings"
	"testing"
	"time"
)

// TestTLS shows what is done about TLS with servers that have it, don't, or have
// it broken.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	for _, test := range []struct {
		name      string
		answers   map[string][]string
		ext       string
		want      string // What the server has.
		dialed    string
		fallbacks float64
		mode      string
	}{
		{"it has none", nil, "PIPELINING", "alice@example.org: one@other.example", "198.51.100.1", 0, "none"},
		{"it has, with a certificate of its own", nil, "STARTTLS", "alice@example.org: one@other.example (tls)", "198.51.100.1", 0, "unverified"},
		{"not now", map[string][]string{"STARTTLS": {"454 4.7.0 no TLS now"}}, "STARTTLS", "alice@example.org: one@other.example", "198.51.100.1 198.51.100.1", 1, "none"},
		{"the handshake breaks off", map[string][]string{"handshake": {"drop"}}, "STARTTLS", "alice@example.org: one@other.example", "198.51.100.1 198.51.100.1", 1, "none"},
		{"STARTTLS breaks off", map[string][]string{"STARTTLS": {"drop"}}, "STARTTLS", "alice@example.org: one@other.example", "198.51.100.1 198.51.100.1", 1, "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				p := e.oneHost(&peer{extensions: test.ext, cert: cert, answers: test.answers})
				e.send(newMessage("one@other.example"))
				e.settle(time.Minute)
				if got := p.summary(); got != test.want {
					e.Errorf("got %q, want %q", got, test.want)
				}
				if got := e.dials(); got != test.dialed {
					e.Errorf("got connections to %q, want %q", got, test.dialed)
				}
				if got := e.counter("mox_queue_plaintext_fallback_total"); got != test.fallbacks {
					e.Errorf("got %v fallbacks, want %v", got, test.fallbacks)
				}
				e.wantLog("msg=delivery", "result=delivered", "tls="+test.mode)
				if got := e.counter("mox_queue_delivery_duration_seconds", "tlsmode="+test.mode, "result=delivered", "transport=direct", "attempt=1"); got != 1 {
					e.Errorf("got %v deliveries counted", got)
				}
			})
		})
	}
}

// TestTLSBrokenTwice checks that a server that fails without TLS too is not tried
// again and again.
func TestTLSBrokenTwice(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{extensions: "STARTTLS", cert: certificate(e.T), answers: map[string][]string{"handshake": {"drop"}, "MAIL": {"drop"}}})
		e.send(newMessage("one@other.example"))
		e.settle(time.Minute)
		if p.connections != 2 || e.left() != 1 {
			e.Errorf("got %d connections, %d messages left", p.connections, e.left())
		}
	})
}

// TestExtensions has messages that need something of a server: those of a domain
// may differ.
func TestExtensions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		first, second string // Extensions of the servers.
		utf8, eight   bool
		to            string
		want          string // Server that has the message, or the failure.
	}{
		{"too large for all", "SIZE 10", "SIZE 20", false, false, "one", "5.3.4"},
		{"too large for one", "SIZE 10", "SIZE 1000", false, false, "one", "second"},
		{"no limit", "SIZE 0", "", false, false, "one", "first"},
		{"internationalised, none can", "8BITMIME", "PIPELINING", true, true, "one", "5.6.7"},
		{"internationalised, one can", "8BITMIME", "8BITMIME,SMTPUTF8", true, true, "one", "second"},
		{"an address beyond ASCII", "8BITMIME", "8BITMIME,SMTPUTF8", false, false, "ünü", "second"},
		{"8 bits, as if the server could", "PIPELINING", "8BITMIME", false, true, "one", "first"},
		{"CHUNKING", "CHUNKING", "", false, false, "one", "first"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				first, second := e.twoHosts(&peer{extensions: test.first})
				second.extensions = test.second
				n := newMessage(test.to + "@other.example")
				n.SMTPUTF8, n.EightBit = test.utf8, test.eight
				e.send(n)
				e.settle(time.Minute)
				var got []string
				for name, p := range map[string]*peer{"first": first, "second": second} {
					for _, m := range p.mails() {
						got = append(got, name)
						if m.data != "Received: by test\r\n"+testContent {
							e.Errorf("%s server has %q", name, m.data)
						}
					}
				}
				for _, n := range e.notices("alice") {
					got = append(got, strings.Fields(n)[1])
				}
				if s := strings.Join(got, " "); s != test.want || e.left() != 0 {
					e.Errorf("got %q, %d left, want %q", s, e.left(), test.want)
				}
			})
		})
	}
}

// TestSettings has messages that can't be sent for what they are.
func TestSettings(t *testing.T) {
	t.Parallel()
	t.Run("TLS is required", func(t *testing.T) {
		run(t, func(e *env) {
			e.oneHost(&peer{extensions: "STARTTLS,REQUIRETLS", cert: certificate(t)})
			n, yes := newMessage("one@other.example"), true
			n.RequireTLS = &yes
			e.send(n)
			e.wait()
			e.wantNotices("failed 5.7.30 one@other.example")
			if got := e.counter("mox_queue_requiretls_unsupported_total", "reason=nopolicy"); got != 1 || e.dials() != "" {
				e.Errorf("got %v counted", got)
			}
		})
	})
	t.Run("the domain of the sender is disabled", func(t *testing.T) {
		run(t, func(e *env) {
			p := e.oneHost(&peer{})
			n := newMessage("one@other.example")
			n.MailFrom = mustPath("alice@disabled.example")
			list := e.send(n)
			e.wait()
			if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != "4.7.1" || p.connections != 0 {
				e.Errorf("got results %+v", r)
			}
		})
	})
}

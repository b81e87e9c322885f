package delivery

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtpclient"
)

// sendAtOnce queues messages for user1, user2, … of a domain that are all due at
// the same time.
func (e *env) sendAtOnce(n int, domain string) {
	e.Helper()
	var ids []int64
	for i := range n {
		m := newMessage(fmt.Sprintf("user%d@%s", i+1, domain))
		m.Hold = true
		for _, queued := range e.send(m) {
			ids = append(ids, queued.ID)
		}
	}
	check(e.T, e.queue.Release(e.Context(), ids))
}

// seen returns how many connections a peer had, and how often a verb was said.
func (p *peer) seen(verb string) (connections, commands int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.commands {
		if c == verb {
			commands++
		}
	}
	return p.connections, commands
}

const burst = 40

func TestMessagesShareConnections(t *testing.T) {
	run(t, func(e *env) {
		e.records("other.example. MX 10 mx.other.example.; mx.other.example. A 192.0.2.1")
		p := &peer{}
		e.peers["192.0.2.1"] = p
		e.sendAtOnce(burst, "other.example")
		e.settle(0)
		if got := len(p.mails()); got != burst {
			e.Fatalf("%d of %d messages arrived:\n%s", got, burst, e.logged())
		}
		connections, hellos := p.seen("EHLO")
		if connections > 5 || hellos != connections {
			e.Errorf("%d connections with %d EHLO, for at most 5 deliveries at a time", connections, hellos)
		}
		if reused := e.counter("mox_queue_connection_reused_total"); int(reused) != burst-connections {
			e.Errorf("%v times a connection was used again, of %d messages over %d", reused, burst, connections)
		}
		e.settle(idleMax + idleTick)
		if _, quits := p.seen("QUIT"); quits != connections || e.pool.count != 0 {
			e.Errorf("%d of %d connections were ended with QUIT, %d are kept", quits, connections, e.pool.count)
		}
	})
}

func TestOneMessageLeavesNoConnection(t *testing.T) {
	run(t, func(e *env) {
		e.records("other.example. MX 10 mx.other.example.; mx.other.example. A 192.0.2.1")
		p := &peer{}
		e.peers["192.0.2.1"] = p
		e.sendAtOnce(1, "other.example")
		e.settle(0)
		if _, quits := p.seen("QUIT"); quits != 1 {
			e.Errorf("%d times QUIT right after the only message", quits)
		}
	})
}

// TestConnectionWasOver has servers that want no second message in a connection,
// and tell so in their ways. Each message arrives at once all the same, by its
// first attempt, and nobody is told of a delay.
func TestConnectionWasOver(t *testing.T) {
	for name, peerOf := range map[string]func() *peer{
		"closes after a message":            func() *peer { return &peer{answers: map[string][]string{".": {"taken"}}} },
		"says 421 to the second MAIL":       func() *peer { return &peer{again: map[string]string{"MAIL": "421 4.3.2 enough"}} },
		"refuses the second MAIL for now":   func() *peer { return &peer{again: map[string]string{"MAIL": "452 4.3.1 one at a time"}} },
		"refuses the second MAIL for good":  func() *peer { return &peer{again: map[string]string{"MAIL": "503 5.5.1 sender already given"}} },
		"drops the connection at RCPT":      func() *peer { return &peer{again: map[string]string{"RCPT": "drop"}} },
		"announces one message a time":      func() *peer { return &peer{extensions: "LIMITS MAILMAX=1"} },
		"says what is no SMTP after a mail": func() *peer { return &peer{again: map[string]string{"MAIL": "noise"}} },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(e *env) {
				e.records("other.example. MX 10 mx.other.example.; mx.other.example. A 192.0.2.1")
				p := peerOf()
				e.peers["192.0.2.1"] = p
				e.sendAtOnce(burst, "other.example")
				e.settle(0)
				var to []string
				for _, m := range p.mails() {
					to = append(to, m.to)
				}
				slices.Sort(to)
				if n := len(slices.Compact(to)); n != burst || n != len(to) {
					e.Fatalf("%d messages arrived, to %d of %d:\n%s", len(to), n, burst, e.logged())
				}
				if left := e.left(); left != 0 {
					e.Errorf("%d messages wait", left)
				}
				e.wantNotices()
			})
		})
	}
}

func TestConnectionsEndWithTheSender(t *testing.T) {
	run(t, func(e *env) {
		e.records("other.example. MX 10 mx.other.example.; mx.other.example. A 192.0.2.1")
		p := &peer{}
		e.peers["192.0.2.1"] = p
		e.sendAtOnce(burst, "other.example")
		e.settle(time.Millisecond)
		e.stop()
		connections, quits := p.seen("QUIT")
		if connections == 0 || quits != connections {
			e.Errorf("%d of %d connections were ended", quits, connections)
		}
		if e.pool.put(&conversation{}, time.Now()) {
			e.Error("a conversation was kept after the end")
		}
	})
}

// TestDemandsDivideConnections: no message goes by a connection of which less was
// demanded, or something else.
func TestDemandsDivideConnections(t *testing.T) {
	t.Parallel()
	base := demands{tlsPolicy: tlsPolicy{mode: smtpclient.TLSOpportunistic, pkix: smtpclient.CheckOnly}}
	record := dane.Record{Usage: 3, Selector: 1, Matching: 1, Data: []byte{1}}
	other := dane.Record{Usage: 3, Selector: 1, Matching: 1, Data: []byte{2}}
	all := map[string]demands{"opportunistic": base}
	vary := func(name string, change func(*demands)) {
		d := base
		change(&d)
		all[name] = d
	}
	vary("plain", func(d *demands) { d.mode = smtpclient.TLSSkip })
	vary("required", func(d *demands) { d.mode = smtpclient.TLSRequired })
	vary("pkix", func(d *demands) { d.pkix = smtpclient.CheckRequired })
	vary("dane", func(d *demands) { d.dane = smtpclient.CheckRequired })
	vary("a record", func(d *demands) { d.finding.Records = []dane.Record{record} })
	vary("another record", func(d *demands) { d.finding.Records = []dane.Record{other} })
	vary("two records", func(d *demands) { d.finding.Records = []dane.Record{record, other} })
	vary("a name", func(d *demands) { d.finding.Names = []string{"a.example"} })
	vary("a base", func(d *demands) { d.finding.Base = dns.Domain{ASCII: "a.example"} })
	seen := map[string]string{}
	for name, d := range all {
		if before, ok := seen[d.fingerprint()]; ok {
			t.Errorf("%s is as good as %s", name, before)
		}
		seen[d.fingerprint()] = name
	}
	swapped := all["two records"]
	swapped.finding.Records = []dane.Record{other, record}
	if swapped.fingerprint() != all["two records"].fingerprint() {
		t.Error("the order of records makes a difference")
	}
}

func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	var p pool
	now := time.Now()
	key := func(i int) poolKey { return poolKey{ip: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})} }
	for i := range poolMax {
		if !p.put(&conversation{key: key(i)}, now) {
			t.Fatalf("conversation %d was not kept", i)
		}
	}
	if p.put(&conversation{key: key(1)}, now) {
		t.Errorf("more than %d are kept", poolMax)
	}
	if p.take(key(7), now.Add(idleMax)) != nil {
		t.Error("one that was idle for too long was given out")
	}
	if c := p.take(key(7), now.Add(idleMax-1)); c == nil || c.key != key(7) {
		t.Errorf("got %v", c)
	}
	if p.take(key(7), now) != nil {
		t.Error("one was given out twice")
	}
	if !p.put(&conversation{key: key(7)}, now.Add(1)) || len(p.expired(now.Add(idleMax-1))) != 0 {
		t.Error("conversations end too early")
	}
	if n := len(p.expired(now.Add(idleMax))); n != poolMax-1 || p.count != 1 || len(p.idle) != 1 {
		t.Errorf("%d expired, %d are left in %d lists", n, p.count, len(p.idle))
	}
	if n := len(p.end()); n != 1 || p.put(&conversation{}, now) {
		t.Errorf("%d at the end, or more is kept afterwards", n)
	}
}

// TestLaterAttemptsChooseTheirAddress: a message that was refused at one address is
// not sent there again because another message left a connection.
func TestLaterAttemptsChooseTheirAddress(t *testing.T) {
	t.Parallel()
	s := &Sender{metrics: newTestMetrics(t), opts: Options{SessionTimeout: time.Minute}}
	ips := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	for _, test := range []struct {
		name     string
		attempts int64
		fresh    bool
		idle     netip.Addr
		want     bool
	}{
		{"the first address", 1, false, ips[0], true},
		{"another address, first attempt", 1, false, ips[1], true},
		{"the first address, later attempt", 2, false, ips[0], true},
		{"another address, later attempt", 2, false, ips[1], false},
		{"a new one is wanted", 1, true, ips[0], false},
	} {
		a := newTestAttempt(s, &queue.Message{Attempts: test.attempts, Domain: "other.example"})
		a.fresh = test.fresh
		target := target{name: dns.Domain{ASCII: "mx.other.example"}}
		s.pool = pool{}
		s.pool.put(&conversation{key: a.keyFor(target, test.idle, demands{})}, time.Now())
		c := a.reuse(t.Context(), target, ips, demands{})
		if (c != nil) != test.want {
			t.Errorf("%s: reused: %v", test.name, c != nil)
		}
		if c != nil {
			c.cancel()
		}
	}
}

func newTestMetrics(t *testing.T) *metrics {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), func() queue.Stats { return queue.Stats{} })
	check(t, err)
	return m
}

// newTestAttempt returns an attempt for one message that goes nowhere.
func newTestAttempt(s *Sender, m *queue.Message) *attempt {
	return &attempt{sender: s, log: slog.New(slog.DiscardHandler), config: &config.Config{}, rcpts: []*rcpt{{Message: m}}}
}

package system

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/loop"
)

const blocklistZone = `
2.0.0.127.a.example.    A    127.0.0.2
2.0.0.127.b.example.    A    127.0.0.2
1.113.0.203.b.example.  A    127.0.0.4
1.113.0.203.b.example.  TXT  "spam seen"
*.wild.example.         A    127.0.0.2
`

// monitor is a monitor in a bubble.
type monitor struct {
	*blocklists
	t           *testing.T
	dns         *dnstest.Resolver
	current     atomic.Pointer[config.Config]
	outgoing    atomic.Int64
	log         bytes.Buffer // Read after the bubble waits.
	hostAddrs   []netip.Addr
	hostAddrErr error
}

// newMonitor returns a monitor of two addresses, one of them given as that of the host.
func newMonitor(t *testing.T, lists ...string) *monitor {
	r, err := dnstest.New(blocklistZone)
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{t: t, dns: r}
	m.monitor(lists...)
	m.hostAddrs = []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::2")}
	m.blocklists = &blocklists{
		config: m.current.Load, resolver: r, connections: m.outgoing.Load, log: slog.New(slog.NewTextHandler(&m.log, nil)),
		addresses: func() ([]netip.Addr, error) { return m.hostAddrs, m.hostAddrErr },
		gauge:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "mox_dnsbl_ips_success"}, []string{"zone", "ip"}),
		health:    map[dns.Domain]blocklistHealth{}, status: map[blocklistKey]admin.Blocklist{},
	}
	return m
}

// monitor changes the lists.
func (m *monitor) monitor(lists ...string) {
	m.current.Store(&config.Config{
		Dynamic:   config.Dynamic{MonitorDNSBLs: lists},
		Endpoints: []config.Endpoint{{Service: config.ServiceSMTP, Addr: netip.MustParseAddrPort("203.0.113.2:25")}, {Service: config.ServiceSMTP, Addr: netip.MustParseAddrPort("0.0.0.0:25")}},
	})
}

// values returns the metric, by address and list.
func (m *monitor) values() map[string]float64 {
	reg := prometheus.NewRegistry()
	reg.MustRegister(m.gauge)
	families, err := reg.Gather()
	if err != nil {
		m.t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			values[metric.GetLabel()[0].GetValue()+" "+metric.GetLabel()[1].GetValue()] = metric.GetGauge().GetValue()
		}
	}
	return values
}

// lookups checks how often an address was looked up in a list so far.
func (m *monitor) lookups(what, name string, want int) {
	m.t.Helper()
	synctest.Wait()
	if got := m.dns.Lookups("A", name); got != want {
		m.t.Errorf("%s: %d lookups of %s, want %d", what, got, name, want)
	}
}

// TestBlocklistsDue runs the monitor for some hours.
func TestBlocklistsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor(t, "a.example")
		g := loop.New(t.Context(), nil)
		start := time.Now()
		g.Every("blocklists", loop.Schedule{Interval: blocklistsEvery}, m.look)
		const first, second = "1.113.0.203.a.example", "2.113.0.203.a.example"
		until := func(d time.Duration) { time.Sleep(time.Until(start.Add(d))) }

		m.lookups("at once", first, 1)
		m.lookups("not so fast", second, 0)
		until(time.Second)
		m.lookups("a second later", second, 1)
		until(2*time.Hour + 50*time.Minute)
		m.lookups("within three hours", first, 1)
		until(3*time.Hour + 6*time.Minute)
		m.lookups("after three hours", first, 2)
		m.lookups("the health, within four hours", "2.0.0.127.a.example", 1)
		m.outgoing.Store(blocklistConnections - 1)
		until(4 * time.Hour)
		m.lookups("with 99 connections", first, 2)
		m.outgoing.Store(blocklistConnections)
		until(4*time.Hour + 6*time.Minute)
		m.lookups("with one more", first, 3)
		m.lookups("the health, after four hours", "2.0.0.127.a.example", 2)
		m.monitor("a.example", "b.example")
		until(4*time.Hour + 12*time.Minute)
		m.lookups("with another list", first, 4)
		m.monitor()
		until(8 * time.Hour)
		m.lookups("without lists", first, 4)
		if s := m.Status(); len(s) != 0 || len(m.values()) != 0 {
			t.Errorf("without lists: got %+v", s)
		}
		g.Stop()
		if err := g.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestBlocklistsStatus looks at what is told.
func TestBlocklistsStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor(t, "wild.example", "b.example", "a.example")
		m.dns.Fail("", "2.113.0.203.a.example", dnstest.Temporary)
		m.look(t.Context())
		var got []string
		for _, s := range m.Status() {
			got = append(got, s.Zone+" "+s.IP+" "+map[bool]string{true: "listed", false: "fine"}[s.Listed]+" "+s.Explanation+" "+s.Error)
		}
		for i, want := range []string{
			"a.example 203.0.113.1 fine  ", "a.example 203.0.113.2 fine  looking up A", "b.example 203.0.113.1 listed spam seen ", "b.example 203.0.113.2 fine  ",
			"wild.example 203.0.113.1 fine  dnsbl: list does not work", "wild.example 203.0.113.2 fine  dnsbl: list does not work",
		} {
			if i >= len(got) || !strings.HasPrefix(got[i], want) {
				t.Errorf("status %d: got %q, want %q", i, got, want)
			}
		}
		if got, want := m.values(), map[string]float64{
			"203.0.113.1 a.example": 1, "203.0.113.2 a.example": -1, "203.0.113.1 b.example": 0, "203.0.113.2 b.example": 1,
			"203.0.113.1 wild.example": -1, "203.0.113.2 wild.example": -1,
		}; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		m.lookups("a list that does not work is asked nothing", "1.113.0.203.wild.example", 0)
		m.lookups("and looked at once in a round", "1.0.0.127.wild.example", 1)
		if log := m.log.String(); !strings.Contains(log, `level=WARN msg="an address of ours is in a blocklist" zone=b.example ip=203.0.113.1 explanation="spam seen"`) {
			t.Errorf("log %s", log)
		}

		// Three hours later it is off the list.
		m.dns.Remove("", "1.113.0.203.b.example")
		time.Sleep(blocklistAge)
		m.look(t.Context())
		if log := m.log.String(); !strings.Contains(log, `msg="an address of ours is no longer in a blocklist" zone=b.example ip=203.0.113.1`) {
			t.Errorf("log %s", log)
		}
		m.lookups("one that does not work is looked at in each round", "1.0.0.127.wild.example", 2)
	})
}

// TestBlocklistsEnd ends a round while it waits, and has more addresses than are
// looked up.
func TestBlocklistsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor(t, "a.example")
		m.hostAddrErr = errors.New("no permission")
		for i := range 2 * blocklistLookupsMax {
			m.hostAddrs = append(m.hostAddrs, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
		}
		if n := len(m.keys()); n != blocklistLookupsMax {
			t.Errorf("got %d lookups", n)
		}
		if log := m.log.String(); !strings.Contains(log, `msg="not all addresses are looked up in blocklists" wanted=2002 max=1000`) || !strings.Contains(log, "no permission") {
			t.Errorf("log %s", log)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		m.look(ctx)
		if s := m.Status(); len(s) != 2 {
			t.Errorf("got %d", len(s))
		}
	})
}

// TestInterfaceAddrs is about the real host, which has at least its own loopback.
func TestInterfaceAddrs(t *testing.T) {
	t.Parallel()
	ips, err := interfaceAddrs()
	if err != nil || len(ips) == 0 {
		t.Errorf("got %v, %v", ips, err)
	}
}

package resolver_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// modes collects the events of kind mode.
type modes struct {
	mu   sync.Mutex
	list []string
}

func (m *modes) observe(e resolver.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Kind == "mode" {
		m.list = append(m.list, e.Result)
	}
}

func (m *modes) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.list, " ")
}

// TestAuto walks mode auto through what servers do, in one resolver.
func TestAuto(t *testing.T) {
	t.Parallel()
	tree := newTree(t, treeNow, damagedZones...)
	synctest.Test(t, func(t *testing.T) {
		var events modes
		opts := treeOptions(tree)
		opts.Mode, opts.Servers, opts.TrustAD, opts.Observe = resolver.Auto, []string{"192.0.2.1"}, true, events.observe
		r, err := resolver.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		// Each name is asked for once, so that nothing but keys comes from the cache.
		check := func(what, name, want, mode string) {
			t.Helper()
			_, res, err := lookUp(t, r, "TXT", name)
			if got := outcome(res, err); !strings.HasPrefix(got, want) {
				t.Errorf("%s: got %s, want %s", what, got, want)
			}
			if got := events.String(); got != mode {
				t.Errorf("%s: got modes %q, want %q", what, got, mode)
			}
			if st := r.Status(); st.Validating != strings.HasSuffix(mode, "validating") || st.Stripped.IsZero() != !strings.HasSuffix(mode, "stripped") {
				t.Errorf("%s: got status %+v", what, st)
			}
		}
		tree.SetFaults(dnstest.Faults{Strip: true, AD: true})
		check("a server that strips, and is trusted", "a.wild.nsec.example.", "secure ok", "stripped")
		tree.SetFaults(dnstest.Faults{Strip: true})
		check("it does not know what is authentic", "b.wild.nsec.example.", "insecure ok", "stripped")
		tree.SetFaults(dnstest.Faults{})
		check("it has become better, unnoticed", "c.wild.nsec.example.", "insecure ok", "stripped")
		time.Sleep(5 * time.Minute)
		if tr, err := r.Trace(t.Context(), "c.wild.nsec.example.", "TXT"); err != nil || tr.Verdict != resolver.Secure {
			t.Errorf("got %+v, %v", tr, err)
		}
		check("what was kept from before a trace found it out is forgotten", "c.wild.nsec.example.", "secure ok", "stripped validating")
		check("it passes all on", "d.wild.nsec.example.", "secure ok", "stripped validating")
		tree.Damage("", "e.wild.nsec.example", dnstest.NoSignature)
		check("one answer is stripped", "e.wild.nsec.example.", "bogus RRSIGs Missing", "stripped validating")
		tree.SetFaults(dnstest.Faults{Strip: true, AD: true})
		check("all are, by who says that all is well", "f.wild.nsec.example.", "bogus", "stripped validating")
		time.Sleep(23 * time.Hour)
		check("for hours", "g.wild.nsec.example.", "bogus", "stripped validating")
		time.Sleep(time.Hour)
		check("for a day", "h.wild.nsec.example.", "secure ok", "stripped validating stripped")
		if st := r.Status(); len(st.Servers) != 1 || st.Servers[0] != (resolver.ServerStatus{Addr: "192.0.2.1:53", Trusted: true, DNSSEC: "strips"}) || time.Since(st.Stripped) != 0 {
			t.Errorf("got status %+v", st)
		}
	})
}

// TestAutoServers has servers of different kinds in mode auto.
func TestAutoServers(t *testing.T) {
	t.Parallel()
	good := newTree(t, treeNow, damagedZones...)
	plain := newTree(t, treeNow, damagedZones...)
	plain.SetFaults(dnstest.Faults{Strip: true, AD: true})
	old := newTree(t, treeNow, damagedZones...)
	old.SetFaults(dnstest.Faults{NoEDNS: true})
	quiet := newTree(t, treeNow)
	quiet.SetFaults(dnstest.Faults{Drop: 1 << 20, RefuseTCP: true})
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		tree := map[string]*dnstest.Tree{"192.0.2.1:53": good, "192.0.2.2:53": plain, "192.0.2.3:53": quiet, "127.0.0.2:53": plain, "192.0.2.4:53": old}[address]
		return tree.Dial(ctx, network, address)
	}
	for _, c := range []struct {
		what, servers, want string
		mode                string
	}{
		{"one that passes", "192.0.2.1", "secure ok", "validating"},
		{"one that strips", "192.0.2.2", "insecure ok", "stripped"},
		{"one that strips, on loopback", "127.0.0.2", "secure ok", "stripped"},
		{"one that knows no EDNS", "192.0.2.4", "insecure ok", "stripped"},
		{"one that is silent", "192.0.2.3", "error", ""},
		{"the second passes", "192.0.2.2 192.0.2.1", "secure ok", "validating"},
		{"one on loopback strips, the other passes", "127.0.0.2 192.0.2.1", "secure ok", "validating"},
		{"the second passes, the first is silent", "192.0.2.3 192.0.2.1", "secure ok", "validating"},
		{"the second strips, the first is silent", "192.0.2.3 192.0.2.2", "insecure ok", "stripped"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var events modes
				r, err := resolver.New(resolver.Options{Anchors: strings.Join(good.Anchors(), "\n"), Servers: strings.Fields(c.servers), Dial: dial, Observe: events.observe})
				if err != nil {
					t.Fatal(err)
				}
				_, res, err := lookUp(t, r, "MX", "nsec.example.")
				if got := outcome(res, err); c.want != "error" && got != c.want || c.want == "error" && !errors.Is(err, dns.ErrTemporary) {
					t.Errorf("got %s", got)
				}
				if got := events.String(); got != c.mode {
					t.Errorf("got modes %q, want %q", got, c.mode)
				}
			})
		})
	}
}

// TestServerStopsPassing shows that a server which strips is not asked in place of
// one that doesn't reply any more.
func TestServerStopsPassing(t *testing.T) {
	t.Parallel()
	good := newTree(t, treeNow, damagedZones...)
	plain := newTree(t, treeNow, damagedZones...)
	plain.SetFaults(dnstest.Faults{Strip: true, AD: true})
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return map[string]*dnstest.Tree{"192.0.2.1:53": good, "127.0.0.2:53": plain}[address].Dial(ctx, network, address)
	}
	synctest.Test(t, func(t *testing.T) {
		r, err := resolver.New(resolver.Options{Anchors: strings.Join(good.Anchors(), "\n"), Servers: []string{"192.0.2.1", "127.0.0.2"}, Dial: dial})
		if err != nil {
			t.Fatal(err)
		}
		if _, res, err := lookUp(t, r, "MX", "nsec.example."); err != nil || !res.Authentic {
			t.Fatalf("got %+v, %v", res, err)
		}
		good.SetFaults(dnstest.Faults{Drop: 1 << 20, RefuseTCP: true})
		if _, res, err := lookUp(t, r, "MX", "nsec3.example."); !errors.Is(err, dns.ErrTemporary) || res.Authentic {
			t.Errorf("got %+v, %v", res, err)
		}
	})
}

// TestOtherServer has a server whose answers are bogus, and one that is well.
func TestOtherServer(t *testing.T) {
	t.Parallel()
	good, bad := newTree(t, treeNow, damagedZones...), newTree(t, treeNow, damagedZones...)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return map[string]*dnstest.Tree{"192.0.2.1:53": bad, "192.0.2.2:53": good}[address].Dial(ctx, network, address)
	}
	synctest.Test(t, func(t *testing.T) {
		r, err := resolver.New(resolver.Options{Mode: resolver.Validate, Anchors: strings.Join(good.Anchors(), "\n"), Servers: []string{"192.0.2.1", "192.0.2.2"}, Dial: dial})
		if err != nil {
			t.Fatal(err)
		}
		if _, res, err := lookUp(t, r, "MX", "nsec.example."); err != nil || !res.Authentic {
			t.Errorf("got %+v, %v", res, err)
		}
	})
}

// TestCheck looks at servers of each kind.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what     string
		opts     func(*resolver.Options)
		faults   dnstest.Faults
		signed   time.Duration // After now.
		root     resolver.Verdict
		dnssec   string
		problems string // The first words of each.
	}{
		{what: "all is well", root: resolver.Secure, dnssec: "passes"},
		{what: "no TCP", faults: dnstest.Faults{RefuseTCP: true}, root: resolver.Secure, dnssec: "passes", problems: "Name server 192.0.2.53:53 does not reply over TCP"},
		{what: "stripped", faults: dnstest.Faults{Strip: true}, root: resolver.Bogus, dnssec: "strips", problems: "Name server 192.0.2.53:53 does not pass DNSSEC records on|No answer is taken as authentic"},
		{what: "stripped by who is trusted", opts: func(o *resolver.Options) { o.TrustAD = true }, faults: dnstest.Faults{Strip: true, AD: true}, root: resolver.Bogus, dnssec: "strips", problems: "Name server 192.0.2.53:53 does not pass DNSSEC records on|Answers are not validated here, but"},
		{what: "silent", faults: dnstest.Faults{Drop: 100}, dnssec: "unknown", problems: "Name server 192.0.2.53:53 does not reply|No name server replies"},
		{what: "the clock is behind", signed: 30 * 24 * time.Hour, root: resolver.Bogus, dnssec: "passes", problems: "The clock is likely wrong, by at least 719h0m0s: signatures of the root are of the future"},
		{what: "the clock is ahead", signed: -30 * 24 * time.Hour, root: resolver.Bogus, dnssec: "passes", problems: "The clock is likely wrong, by at least 384h0m0s: signatures of the root are over"},
		{what: "another root", opts: func(o *resolver.Options) { o.Anchors = "" }, root: resolver.Bogus, dnssec: "passes", problems: "The keys of the root do not validate, so that all answers are bogus: no key of . is"},
		{what: "the system's, not trusted", opts: func(o *resolver.Options) { o.Mode = resolver.SystemAD }, root: resolver.Secure, dnssec: "passes", problems: "No answer is taken as authentic"},
		{what: "the system's, trusted", opts: func(o *resolver.Options) { o.Mode, o.TrustAD = resolver.SystemAD, true }, faults: dnstest.Faults{AD: true}, root: resolver.Secure, dnssec: "passes"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t, treeNow.Add(c.signed))
			tree.SetFaults(c.faults)
			synctest.Test(t, func(t *testing.T) {
				opts := treeOptions(tree)
				opts.Mode = resolver.Auto
				if c.opts != nil {
					c.opts(&opts)
				}
				r, err := resolver.New(opts)
				if err != nil {
					t.Fatal(err)
				}
				got := r.Check(t.Context())
				if got.Root != c.root || (got.Err == nil) != (c.root == resolver.Secure) || len(got.Servers) != 1 || got.Servers[0].DNSSEC != c.dnssec || got.Servers[0].AD != c.faults.AD {
					t.Errorf("got %+v", got)
				}
				want := strings.FieldsFunc(c.problems, func(r rune) bool { return r == '|' })
				if len(got.Problems) != len(want) {
					t.Fatalf("got problems %q", got.Problems)
				}
				for i, p := range got.Problems {
					if !strings.HasPrefix(p, want[i]) {
						t.Errorf("got problem %q, want %q", p, want[i])
					}
				}
			})
		})
	}
}

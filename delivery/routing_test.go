package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/mjl-/mox/dnstest"
)

// TestRouting shows what becomes of a message by what DNS has for its domain.
// 198.51.100.1 and .2 are servers that take it; .3 refuses connections, .4 does
// not answer.
func TestRouting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		zone   string // Of other.example, as for env.records.
		fail   map[string]dnstest.Failure
		dialed string
		status string // Of the failure, if there is one.
		took   time.Duration
	}{
		{"one server", "other.example MX 10 a; a A 198.51.100.1", nil, "198.51.100.1", "", 0},
		{"the domain itself", "other.example A 198.51.100.1", nil, "198.51.100.1", "", 0},
		{"the domain is an alias", "other.example CNAME b; b MX 10 a; a A 198.51.100.1", nil, "198.51.100.1", "", 0},
		{"the domain is an alias of one without servers", "other.example CNAME b; b A 198.51.100.1", nil, "198.51.100.1", "", 0},
		{"the server is an alias, which must not be", "other.example MX 10 a; a CNAME b; b A 198.51.100.1", nil, "198.51.100.1", "", 0},
		{"no server and no address", "other.example TXT x", nil, "", "5.4.4", 0},
		{"no such domain", "", nil, "", "5.1.2", 0},
		{"an alias of nothing", "other.example CNAME b", nil, "", "5.1.2", 0},
		{"null MX", "other.example MX 0 .; other.example A 198.51.100.1", nil, "", "5.1.10", 0},
		{"the lookup fails", "other.example MX 10 a", map[string]dnstest.Failure{"other.example": dnstest.Temporary}, "", "4.4.3", 0},
		{"the lookup has no answer", "other.example MX 10 a", map[string]dnstest.Failure{"other.example": dnstest.Timeout}, "", "4.4.3", lookupTimeout},
		{"the lookup is bogus", "other.example MX 10 a", map[string]dnstest.Failure{"other.example": dnstest.Bogus}, "", "4.4.3", 0},
		{"the best refuses connections", "other.example MX 20 b; other.example MX 10 a; a A 198.51.100.3; b A 198.51.100.2", nil, "198.51.100.3 198.51.100.2", "", 0},
		{"the best doesn't answer", "other.example MX 20 b; other.example MX 10 a; a A 198.51.100.4; b A 198.51.100.2", nil, "198.51.100.4 198.51.100.2", "", 30 * time.Second},
		{"the address of one family doesn't answer", "other.example MX 10 a; a AAAA 2001:db8::4; a A 198.51.100.1", nil, "2001:db8::4 198.51.100.1", "", 15 * time.Second},
		{"the address of one family refuses connections", "other.example MX 10 a; a AAAA 2001:db8::3; a A 198.51.100.1", nil, "2001:db8::3 198.51.100.1", "", 0},
		{"the best has no address", "other.example MX 10 a; other.example MX 20 b; b A 198.51.100.2", nil, "198.51.100.2", "", 0},
		{"the best has an unknown address", "other.example MX 10 a; other.example MX 20 b; b A 198.51.100.2", map[string]dnstest.Failure{"a": dnstest.Temporary}, "198.51.100.2", "", 0},
		{"no server has an address", "other.example MX 10 a; other.example MX 20 b", nil, "", "5.4.4", 0},
		{"no server has an address, one perhaps later", "other.example MX 10 a; other.example MX 20 b", map[string]dnstest.Failure{"a": dnstest.Temporary}, "", "4.4.3", 0},
		{"nobody is reached", "other.example MX 10 a; other.example MX 20 b; a A 198.51.100.3; b A 198.51.100.3", nil, "198.51.100.3 198.51.100.3", "4.4.1", 0},
		{"we are the server, by name", "other.example MX 10 mx.example.org; mx.example.org A 198.51.100.1", nil, "", "5.4.6", 0},
		{"we are the server, by address", "other.example MX 10 a; other.example MX 20 b; a A 192.0.2.100; b A 198.51.100.2", nil, "", "5.4.6", 0},
		{"we are the second server, by address", "other.example MX 10 a; other.example MX 20 b; other.example MX 30 c; a A 198.51.100.3; b A 192.0.2.100; c A 198.51.100.2", nil,
			"198.51.100.3", "4.4.1", 0},
		{"an address that is nobody's", "other.example MX 10 a; a A 0.0.0.0", nil, "", "5.4.4", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				for i := 1; i <= 2; i++ {
					e.peers[fmt.Sprintf("198.51.100.%d", i)] = &peer{}
				}
				e.peers["198.51.100.4"], e.peers["2001:db8::4"] = nil, nil
				e.records(test.zone)
				for name, f := range test.fail {
					e.zone.Fail("", name, f)
				}
				list := e.send(newMessage("one@other.example"))
				e.settle(test.took)
				if got := e.dials(); got != test.dialed {
					e.Errorf("got connections to %q, want %q", got, test.dialed)
				}
				switch {
				case test.status == "" || test.status[0] == '5':
					if n := e.left(); n != 0 {
						e.Errorf("%d messages are left", n)
					}
				default:
					if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != test.status || r[0].Error == "" {
						e.Errorf("got results %+v, want %s", r, test.status)
					}
				}
				if test.status != "" && test.status[0] == '5' {
					e.wantNotices("failed " + test.status + " one@other.example")
				} else {
					e.wantNotices()
				}
			})
		})
	}
}

// TestOtherFamily has a server that refuses us over IPv6 only: the second attempt
// is made over IPv4.
func TestOtherFamily(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(nil)
		e.records("mx.other.example AAAA 2001:db8::1")
		e.peers["2001:db8::1"] = &peer{answers: map[string][]string{"RCPT": {"550 5.7.1 no reverse name"}}}
		p := &peer{}
		e.peers["198.51.100.1"] = p
		list := e.send(newMessage("one@other.example"))
		e.wait()
		if m := e.get(list[0].ID); m.DialedIP != "2001:db8::1" || m.Results[0].Code != 550 || m.Results[0].Permanent {
			e.Errorf("got %+v", m)
		}
		e.settle(time.Hour)
		if got, want := e.dials(), "2001:db8::1 198.51.100.1"; got != want || len(p.mails()) != 1 {
			e.Errorf("got connections to %q, want %q", got, want)
		}
		e.wantNotices()
	})
}

// TestOtherFamilyRefusesToo checks that it ends there.
func TestOtherFamilyRefusesToo(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{answers: map[string][]string{"RCPT": {"550 5.7.1 no"}}})
		e.records("mx.other.example AAAA 2001:db8::1")
		e.peers["2001:db8::1"] = p
		e.send(newMessage("one@other.example"))
		e.settle(time.Hour)
		if p.connections != 2 || e.left() != 0 {
			e.Errorf("got %d connections, %d messages left", p.connections, e.left())
		}
		e.wantNotices("failed 5.7.1 one@other.example")
	})
}

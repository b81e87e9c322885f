package outgoing

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mjl-/mox/test/interop/netns"
)

const (
	// patience is how long anything may take that normally takes less than a few
	// seconds. The machine may be busy with other tests.
	patience = 60 * time.Second

	nameserver = netns.Nameserver
)

// world is all of the small internet.
type world struct {
	dir         string
	ca, otherCA *issued // The first is trusted by all programs, the other by none.
	rows        []*row
	servers     []*server
	postfix     string          // Its directory.
	sending     string          // Address that it sends from.
	anchor      string          // DS record of the root.
	hasty       map[string]bool // By address with port.

	addresses int // That were given.
}

// TestOutgoing sends to each of the domains.
func TestOutgoing(t *testing.T) { netns.Run(t, testOutgoing) }

func testOutgoing(t *testing.T, dir string) {
	w := newWorld(t, dir)
	t.Run("from", func(t *testing.T) {
		for _, s := range w.servers {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.start(t, w)
				w.testServer(t, s)
			})
		}
	})
}

// testServer has a server send to all domains that are for it.
func (w *world) testServer(t *testing.T, s *server) {
	t.Run("to", func(t *testing.T) {
		for _, r := range w.rows {
			if r.sentBy(s) {
				t.Run(r.name, func(t *testing.T) {
					t.Parallel()
					w.check(t, s, r)
				})
			}
		}
		if s == w.servers[0] {
			t.Run("and Postfix sends", func(t *testing.T) { w.testPostfixSends(t, s) })
		}
	})
	s.checkNotices(t, w.rows)
}

// sentBy tells whether a server sends the message of a row: each in this process does
// if what becomes of it hangs on what is authentic, so that each way to know is tried.
func (r *row) sentBy(s *server) bool {
	if s.alone {
		return slices.Contains(aloneRows, r.domain)
	}
	return s.mode == "validate" || slices.ContainsFunc(r.hosts, func(h host) bool { return h.tlsa != "" }) || strings.Contains(r.records, "TLSA") || len(r.bogus) > 0
}

// newWorld makes the world, and runs it until the test ends.
func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{dir: dir, hasty: map[string]bool{}, rows: allRows()}
	w.ca, w.otherCA = newAuthority(t, "Test CA"), newAuthority(t, "Other CA")
	// For all that trusts the CAs of the system. It is read once, later.
	for name, path := range map[string]string{"SSL_CERT_FILE": w.write(t, "roots.pem", w.ca.certs()), "SSL_CERT_DIR": "/nonexistent"} {
		if err := os.Setenv(name, path); err != nil { //nolint:usetesting // For subtests that are parallel.
			t.Fatal(err)
		}
	}
	w.servers = []*server{
		{name: "validating", mode: "validate", ip4: netip.MustParseAddr("192.0.2.1"), ip6: netip.MustParseAddr("2001:db8::1")},
		{name: "alone", alone: true, ip4: netip.MustParseAddr("192.0.2.3"), ip6: netip.MustParseAddr("2001:db8::3")},
		{name: "trusting", mode: "system-ad", ip4: netip.MustParseAddr("192.0.2.2"), ip6: netip.MustParseAddr("2001:db8::2")},
	}
	names := map[string]bool{}
	var test, unsigned string
	var bogus []string
	for _, r := range w.rows {
		if names[r.domain] || names[r.name] {
			t.Fatalf("two rows are %q or have the domain %s", r.name, r.domain)
		}
		names[r.domain], names[r.name] = true, true
		r.prepare(t, w)
		for line := range strings.Lines(r.zone(t, w)) {
			if owner, _, _ := strings.Cut(line, " "); strings.HasSuffix(owner, ".unsigned.test.") {
				unsigned += line
			} else {
				test += line
			}
		}
		for _, rrset := range r.bogus {
			bogus = append(bogus, r.expand(rrset))
		}
	}
	w.sending = w.newIP(4)
	test += "postfix TXT \"v=spf1 ip4:" + w.sending + " -all\"\npostfix MX 10 mx.postfix\nmx.postfix A " + w.sending + "\n"
	for _, s := range w.servers {
		s.cert = newCert(t, w.ca, selfSigned, s.name+".test", "")
		test += s.zone(t, w)
	}
	w.addAddresses(t)
	w.startDNS(t, test, unsigned, bogus)
	w.startPostfix(t)
	w.startPeers(t)
	return w
}

// newIP returns an address of a family that nobody has. Those given have a number
// each.
func (w *world) newIP(family int) string {
	w.addresses++
	ip4 := [4]byte{198, 18}
	binary.BigEndian.PutUint16(ip4[2:], uint16(w.addresses))
	if family == 4 {
		return netip.AddrFrom4(ip4).String()
	}
	return fmt.Sprintf("2001:db8:25::%x", w.addresses)
}

// addAddresses makes all addresses those of this host.
func (w *world) addAddresses(t *testing.T) {
	t.Helper()
	var b strings.Builder
	for _, s := range w.servers {
		fmt.Fprintf(&b, "address add %s/32 dev lo\naddress add %s/128 dev lo nodad\n", s.ip4, s.ip6)
	}
	for _, r := range w.rows {
		for _, e := range r.ends() {
			bits := "/32 dev lo"
			if strings.Contains(e.ip, ":") {
				bits = "/128 dev lo nodad"
			}
			fmt.Fprintf(&b, "address add %s%s\n", e.ip, bits)
		}
		if r.sts != nil && r.sts.ip != "" {
			fmt.Fprintf(&b, "address add %s/32 dev lo\n", r.sts.ip)
		}
	}
	fmt.Fprintf(&b, "address add %s/32 dev lo\n", w.sending)
	netns.Command(t, []byte(b.String()), netns.Program(t, "ip"), "-batch", "-")
}

// startPeers starts what is not Postfix.
func (w *world) startPeers(t *testing.T) {
	t.Helper()
	for _, r := range w.rows {
		if r.sts != nil {
			r.sts.start(t, w, r.fqdn())
		}
		for _, e := range r.ends() {
			if e.hasty {
				w.hasty[net.JoinHostPort(e.ip, "25")] = true
			}
			switch {
			case e.silent:
				holeAt(t, net.JoinHostPort(e.ip, "25"))
			case e.script != nil:
				e.serve(t)
			}
		}
	}
}

// holeAt makes an address one that answers nothing until the test ends: as if
// nobody was on the way, connections to it are neither made nor refused. There is a
// place for one that waits to be accepted, which is taken.
func holeAt(t *testing.T, address string) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	controlErr := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) })
	if controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
}

// eventually waits until ok returns true, and returns whether it did within the
// time that all must be done in.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

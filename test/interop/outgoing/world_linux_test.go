package outgoing

import (
	"cmp"
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

	gosmtp "github.com/emersion/go-smtp"

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
	hasty       map[string]bool // By address with port.

	addresses int // That were given.
}

// TestOutgoing sends to each of the domains.
func TestOutgoing(t *testing.T) { netns.Run(t, testOutgoing) }

func testOutgoing(t *testing.T, dir string) {
	w := newWorld(t, dir)
	t.Run("all", func(t *testing.T) {
		for _, s := range w.servers {
			for _, r := range w.rows {
				if s.mode != "system-ad" || r.usesDNSSEC() {
					t.Run(s.name+"/"+r.name, func(t *testing.T) {
						t.Parallel()
						w.check(t, s, r)
					})
				}
			}
		}
	})
}

// usesDNSSEC tells whether what becomes of the row hangs on what is authentic, so
// that each way to know is tried.
func (r *row) usesDNSSEC() bool {
	return slices.ContainsFunc(r.hosts, func(h host) bool { return h.tlsa != "" }) || strings.Contains(r.records, "TLSA") || len(r.bogus) > 0
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
	for _, s := range w.servers {
		s.cert = newCert(t, w.ca, selfSigned, s.name+".test", "")
		test += s.zone(t, w)
	}
	w.addAddresses(t)
	anchor := w.startDNS(t, test, unsigned, bogus)
	w.startPostfix(t)
	w.startPeers(t)
	for _, s := range w.servers {
		s.start(t, w, anchor)
	}
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

// check sends a message from a server to the domain of a row, and holds what becomes
// of it against what is wanted.
func (w *world) check(t *testing.T, s *server, r *row) {
	t.Helper()
	id := s.name + "-" + strings.ReplaceAll(r.domain, ".", "-")
	to := id + "@" + r.fqdn()
	header := ""
	if r.tlsRequiredNo {
		header = "TLS-Required: No\r\n"
	}
	msg := s.newMail(id, header)
	s.submit(t, gosmtp.MailOptions{RequireTLS: r.requireTLS}, msg, to)
	connections, number := 0, 0
	for i, want := range r.want {
		if i > 0 {
			s.retry(t, to)
		}
		number++
		got := s.attempted(t, to, number)
		for ; r.greylisted && i > 0 && got.enhanced == r.want[0].status && number < 1000; number++ {
			connections += want.connections
			s.retry(t, to)
			got = s.attempted(t, to, number+1)
		}
		want.check(t, s, r, to, got)
		connections += want.connections
	}
	w.checkEnds(t, s, r, id, msg, connections)
}

// check holds an attempt against what is wanted.
func (w want) check(t *testing.T, s *server, r *row, to string, got attempt) {
	t.Helper()
	result := "delivered"
	switch {
	case w.tls != "":
	case w.status[0] == '5' && !w.softened:
		result = "failed"
	default:
		result = "delayed"
	}
	if got.result != result || w.tls != "" && got.tls != w.tls || w.tls == "" && (got.enhanced != w.status || got.code != w.code) || !strings.Contains(got.reason, w.reason) || w.policy != "" && got.policy != w.policy {
		t.Errorf("got %+v, want %+v", got, w)
	}
	if host := w.hostName(r); got.host != host {
		t.Errorf("got host %q, want %q", got.host, host)
	}
	if family := 6 - 2*min(1, strings.Count(got.ip, ".")); w.family != 0 && family != w.family {
		t.Errorf("got address %s, want one of IPv%d", got.ip, w.family)
	}
	left := s.queued(t, to)
	if result != "delayed" {
		if len(left) > 0 {
			t.Errorf("still in the queue: %+v", left)
		}
		return
	}
	if len(left) != 1 || len(left[0].Results) == 0 {
		t.Fatalf("not in the queue, or without results: %+v", left)
	}
	if a := left[0].Results[len(left[0].Results)-1]; a.Permanent || a.OK || a.Enhanced != w.status || a.Code != w.code || !strings.Contains(a.Error, w.reason) || a.RemoteMTA != got.host {
		t.Errorf("the queue has %+v, want %+v", a, w)
	}
}

// hostName returns the name of the host that is wanted.
func (w want) hostName(r *row) string {
	name, whole := strings.CutPrefix(w.host, "=")
	switch {
	case w.host == "-":
		return ""
	case whole:
		return name
	}
	return cmp.Or(w.host, "mx") + "." + r.fqdn()
}

// checkEnds holds what the other side has seen against what is wanted.
func (w *world) checkEnds(t *testing.T, s *server, r *row, id, msg string, connections int) {
	t.Helper()
	copies, last := r.copies, r.want[len(r.want)-1]
	if copies == 0 && last.tls != "" {
		copies = 1
	}
	// What Postfix does and writes comes a moment later.
	if !eventually(func() bool { return w.connections(t, s, r) >= connections && len(w.messages(t, s, r, id)) >= copies }) {
		t.Error("the other side has seen less than it should")
	}
	if got := w.connections(t, s, r); got != connections {
		t.Errorf("got %d connections, want %d", got, connections)
	}
	list := w.messages(t, s, r, id)
	if len(list) != copies {
		t.Errorf("the domain has %d messages, want %d", len(list), copies)
	}
	for _, m := range list {
		if !strings.HasSuffix(m.text, msg) {
			t.Errorf("the domain has %q, want %q at its end", m.text, msg)
		}
		if last.tls != "" && m.secure != (last.tls != plain) {
			t.Errorf("the message came with TLS: %v", m.secure)
		}
		if r.requireTLS && !strings.Contains(m.mail, " REQUIRETLS") {
			t.Errorf("got MAIL %s, want REQUIRETLS", m.mail)
		}
	}
}

// connections returns how many a server has made to the ends of a row.
func (w *world) connections(t *testing.T, s *server, r *row) (n int) {
	t.Helper()
	for _, e := range r.ends() {
		switch {
		case e.postfix:
			n += w.postfixConnections(t, e, s.ip4, s.ip6)
		case e.script != nil:
			n += e.script.of(s.ip4, s.ip6).connections
		}
	}
	return n
}

// messages returns what the ends of a row have from a server.
func (w *world) messages(t *testing.T, s *server, r *row, id string) (list []taken) {
	t.Helper()
	for _, e := range r.ends() {
		if e.script != nil {
			list = append(list, e.script.of(s.ip4, s.ip6).messages...)
		}
	}
	for _, m := range w.postfixMessages(t, r.fqdn(), "Message-ID: <"+id+"@") {
		list = append(list, taken{secure: strings.Contains(m, " with ESMTPS "), text: strings.ReplaceAll(m, "\n", "\r\n")})
	}
	return list
}

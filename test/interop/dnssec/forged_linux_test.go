package dnssec

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/resolver"
)

// proxy is between a resolver and its server, over UDP and TCP. What it forges is
// sent before the server's reply, over UDP only: who can't see the query can't get
// into a TCP connection.
type proxy struct {
	server string
	udp    net.PacketConn
	tcp    net.Listener

	// forge returns replies to a query.
	forge func(query *mdns.Msg) []*mdns.Msg
	wg    sync.WaitGroup
}

// newProxy starts a proxy, and returns its address.
func newProxy(t *testing.T, server string, forge func(*mdns.Msg) []*mdns.Msg) string {
	t.Helper()
	p := &proxy{server: server, forge: forge}
	addr := newAddr()
	var err error
	if p.udp, err = net.ListenPacket("udp", addr); err != nil {
		t.Fatal(err)
	}
	if p.tcp, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	p.wg.Go(p.serveUDP)
	p.wg.Go(p.serveTCP)
	t.Cleanup(func() {
		if err := errors.Join(p.udp.Close(), p.tcp.Close()); err != nil {
			t.Error(err)
		}
		p.wg.Wait()
	})
	return addr
}

func (p *proxy) serveUDP() {
	buf := make([]byte, 64<<10)
	for {
		n, client, err := p.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		packet := slices.Clone(buf[:n])
		p.wg.Go(func() { p.relayUDP(packet, client) })
	}
}

// relayUDP answers a query: with what is forged, and then with the reply.
func (p *proxy) relayUDP(packet []byte, client net.Addr) {
	query := &mdns.Msg{}
	if err := query.Unpack(packet); err != nil {
		return
	}
	for _, m := range p.forge(query) {
		if b, err := m.Pack(); err == nil {
			_, _ = p.udp.WriteTo(b, client)
		}
	}
	conn, err := net.Dial("udp", p.server)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 64<<10)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return
	}
	if _, err := conn.Write(packet); err != nil {
		return
	}
	if n, err := conn.Read(buf); err == nil {
		_, _ = p.udp.WriteTo(buf[:n], client)
	}
}

func (p *proxy) serveTCP() {
	for {
		client, err := p.tcp.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.relayTCP(client) })
	}
}

// relayTCP passes on what is sent, until one of both ends it.
func (p *proxy) relayTCP(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	end := time.Now().Add(patience)
	if errors.Join(client.SetDeadline(end), server.SetDeadline(end)) != nil {
		return
	}
	p.wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
}

// forgedIP is the address of those who forge.
const forgedIP = "203.0.113.66"

// poison returns a reply that says what who forges it would like.
func poison(query *mdns.Msg) *mdns.Msg {
	m := (&mdns.Msg{}).SetReply(query)
	m.RecursionAvailable, m.AuthenticatedData = true, true
	m.SetEdns0(1232, true)
	if q := query.Question[0]; q.Qtype == mdns.TypeA {
		m.Answer = []mdns.RR{&mdns.A{Hdr: mdns.RR_Header{Name: q.Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 3600}, A: net.ParseIP(forgedIP)}}
	}
	return m
}

// guesses are the replies of who does not see queries.
func guesses(query *mdns.Msg) (list []*mdns.Msg) {
	for i := range uint16(3) {
		m := poison(query)
		m.Id += 1 + i
		list = append(list, m)
	}
	other := poison(query)
	other.Question[0].Name = "www." + other.Question[0].Name
	return append(list, other)
}

// inPlace returns what replaces replies to questions of a type, from who sees them
// and is quicker.
func inPlace(typ uint16) func(*mdns.Msg) []*mdns.Msg {
	return func(query *mdns.Msg) []*mdns.Msg {
		if query.Question[0].Qtype != typ {
			return nil
		}
		return []*mdns.Msg{poison(query)}
	}
}

// testForged has replies forged: by who has to guess, which changes nothing; and by
// who sees all, and can only make answers bogus.
func testForged(t *testing.T, w *world, server, other string) {
	t.Helper()
	// With opt-out, anybody can add what looks like a zone that is not signed, RFC
	// 5155, section 12.2: so not those.
	signed := []string{"nsec.example.", "nsec3.example.", "b-nsec3.example.", "k-nsec.example."}
	var some []question
	for _, q := range w.questions {
		if slices.ContainsFunc(signed, func(zone string) bool { return strings.HasSuffix(q.name, "."+zone) }) && !strings.Contains(q.name, "sub.") {
			some = append(some, q)
		}
	}
	fresh := func(forge func(*mdns.Msg) []*mdns.Msg) *resolver.Resolver {
		return newResolver(t, newProxy(t, server, forge), w.anchors)
	}
	compare(t, fresh(guesses), other, some)

	for name, typ := range map[string]uint16{"answers": mdns.TypeA, "no delegation": mdns.TypeDS, "no keys": mdns.TypeDNSKEY} {
		r := fresh(inPlace(typ))
		bogus := 0
		for _, q := range some {
			switch got := ours(t.Context(), r, q); {
			case strings.Contains(got.detail, forgedIP):
				t.Errorf("%s: %s of %s: got what was forged", name, q.typ, q.name)
			case got.result == "bogus":
				bogus++
			case !same(got, theirs(t.Context(), other, q)):
				t.Errorf("%s: %s of %s: got %s (%s)", name, q.typ, q.name, got.result, got.detail)
			}
		}
		if want := 20; bogus < want {
			t.Errorf("%s: got %d bogus answers of %d, want at least %d", name, bogus, len(some), want)
		}
	}
}

package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// udpSize is the size of replies we ask for over UDP, in bytes. It fits in
	// packets that are not fragmented anywhere, as RFC 9715 and others recommend.
	udpSize = 1232

	// udpBuffer is the size of the largest datagram we take: some do not care for
	// what they are asked.
	udpBuffer = 4096

	// straysMax bounds the datagrams that are no reply to our query, in one
	// exchange. They may be late replies; so many are an attempt to guess.
	straysMax = 20
)

var errStray = errors.New("reply to another question")

// query is a message to be sent, with its question as it must come back.
type query struct {
	msg *mdns.Msg
}

// form is how a query is written, and how long a reply may take over UDP.
type form struct {
	edns      bool // RFC 6891.
	mixedCase bool
	secure    bool // Asks for signatures (RFC 3225), and for bogus answers too.
	timeout   time.Duration
}

// newQuery returns a query with a random id, and letters in random case: whoever
// wants to forge a reply without seeing the query must guess both, and the port.
// The AD bit asks for that of the reply (RFC 6840, section 5.7).
func newQuery(q question, form form) query {
	var random [2 + nameTextMax/8 + 1]byte
	_, _ = rand.Read(random[:]) // It never fails.
	name := q.name
	if form.mixedCase {
		name = mixCase(name, random[2:])
	}
	m := &mdns.Msg{
		MsgHdr:   mdns.MsgHdr{Id: binary.BigEndian.Uint16(random[:]), RecursionDesired: true, AuthenticatedData: true},
		Question: []mdns.Question{{Name: name, Qtype: q.typ, Qclass: mdns.ClassINET}},
	}
	if form.edns {
		m.SetEdns0(udpSize, form.secure)
	}
	m.CheckingDisabled = form.secure // RFC 4035, section 3.2.2.
	return query{m}
}

// nameTextMax is the size of the longest name in its form for reading: each of
// 255 bytes can take 4.
const nameTextMax = 4 * 255

// mixCase returns name with letters in the case that bits tell. What comes after
// a backslash is no letter.
func mixCase(name string, bits []byte) string {
	b := []byte(name)
	for i, c := range b {
		if c >= 'a' && c <= 'z' && i/8 < len(bits) && bits[i/8]>>(i%8)&1 != 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// verdict is what a message received is to a query.
type verdict uint8

const (
	stray     verdict = iota // No reply to it.
	otherCase                // A reply to it but for the case of letters.
	truncated                // A reply that is not complete.
	right                    // The reply.
)

func (v verdict) String() string {
	return [...]string{"stray", "case", "truncated", "answer"}[v]
}

// match tells what a message received is. The Msg is set for otherCase and right.
func (q query) match(packet []byte) (*mdns.Msg, verdict) {
	const response, truncation = 1 << 7, 1 << 1 // In the third byte, RFC 1035, section 4.1.1.
	if len(packet) < 12 || binary.BigEndian.Uint16(packet) != q.msg.Id || packet[2]&response == 0 {
		return nil, stray
	}
	if packet[2]&truncation != 0 {
		return nil, truncated // The rest may end anywhere.
	}
	m := &mdns.Msg{}
	if err := m.Unpack(packet); err != nil || m.Opcode != mdns.OpcodeQuery || !isWhole(m, packet) {
		return nil, stray
	}
	if len(m.Question) == 0 && m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError {
		return m, right // Servers may not get as far as the question.
	}
	if len(m.Question) != 1 {
		return nil, stray
	}
	got, want := m.Question[0], q.msg.Question[0]
	switch {
	case got == want:
		return m, right
	case got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name):
		return m, otherCase
	}
	return nil, stray
}

// isWhole tells whether m has all that packet should have. Unpack lets records be
// missing at the end, and lets a record have no data, which would be one without
// an address or a name.
func isWhole(m *mdns.Msg, packet []byte) bool {
	for i, records := range [][]mdns.RR{m.Answer, m.Ns, m.Extra} {
		if len(records) != int(binary.BigEndian.Uint16(packet[6+2*i:])) { // RFC 1035, section 4.1.1.
			return false
		}
		for _, rr := range records {
			if rr.Header().Rdlength == 0 && rr.Header().Rrtype != mdns.TypeOPT {
				return false
			}
		}
	}
	return true
}

// transfer sends a query, and receives what is a reply to it.
func (r *Resolver) transfer(ctx context.Context, network string, addr netip.AddrPort, q query) (*mdns.Msg, verdict, error) {
	packet, err := q.msg.Pack()
	if err != nil {
		return nil, stray, fmt.Errorf("composing query: %w", err)
	}
	conn, err := r.dial(ctx, network, addr.String())
	if err != nil {
		return nil, stray, err
	}
	// All that matters was received.
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		return transferTCP(conn, packet, q)
	}
	return transferUDP(conn, packet, q)
}

// transferUDP passes over datagrams that are strays.
func transferUDP(conn net.Conn, packet []byte, q query) (*mdns.Msg, verdict, error) {
	if _, err := conn.Write(packet); err != nil {
		return nil, stray, err
	}
	buf := make([]byte, udpBuffer)
	for range straysMax {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, stray, err
		}
		if m, verdict := q.match(buf[:n]); verdict != stray {
			return m, verdict, nil
		}
	}
	return nil, stray, nil
}

// transferTCP has the length before each message, RFC 1035, section 4.2.2.
func transferTCP(conn net.Conn, packet []byte, q query) (*mdns.Msg, verdict, error) {
	packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	if _, err := conn.Write(packet); err != nil {
		return nil, stray, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, stray, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, stray, err
	}
	m, verdict := q.match(buf)
	return m, verdict, nil
}

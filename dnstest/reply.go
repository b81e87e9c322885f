package dnstest

import (
	"bytes"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// udpSizeDefault is the size of the largest UDP reply to a query without EDNS, in
	// bytes, RFC 1035, section 4.2.1.
	udpSizeDefault = 512

	// aliasesMax bounds the CNAMEs in one reply. It is more than anybody should
	// follow.
	aliasesMax = 30
)

// Faults is what is wrong with the server, for all names. The zero value is
// nothing.
type Faults struct {
	Drop      int           // So many queries over UDP get no reply.
	Delay     time.Duration // Before each reply.
	Truncate  bool          // Replies over UDP are truncated, and empty.
	RefuseTCP bool          // There is no TCP.
	LowerCase bool          // Questions come back in lower case.
	NoEDNS    bool          // Queries with EDNS are an error of format.
	OneAlias  bool          // A reply has no more than one CNAME, and nothing behind it.
	NoSOA     bool          // Replies have no SOA.

	// Forgeries come before each reply over UDP, ForgeriesTCP over TCP. With
	// OnlyForged nothing else comes.
	Forgeries, ForgeriesTCP []Forgery
	OnlyForged              bool
}

// Forgery is a packet that is no good reply.
type Forgery int

// The forgeries.
const (
	WrongID Forgery = iota
	WrongName
	WrongType
	WrongCase
	Echo    // The query itself.
	Garbage // With the right id.
	Short   // Less than a header.
)

// SetFaults changes what is wrong with the server.
func (z *Zone) SetFaults(f Faults) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.faults = f
}

// handle returns the packets with which the server replies to a query, and when.
func (z *Zone) handle(packet []byte, network string) (replies [][]byte, delay time.Duration) {
	query := &mdns.Msg{}
	if err := query.Unpack(packet); err != nil || len(query.Question) != 1 || query.Response {
		return nil, 0
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	udp := network == "udp"
	if udp && z.faults.Drop > 0 {
		z.faults.Drop--
		return nil, 0
	}
	m := z.reply(query)
	if m == nil {
		return nil, 0
	}
	forgeries := z.faults.Forgeries
	if udp {
		z.fit(query, m)
	} else {
		forgeries = z.faults.ForgeriesTCP
	}
	good, err := m.Pack()
	if err != nil {
		return nil, 0
	}
	for _, f := range forgeries {
		replies = append(replies, f.forge(query, m, packet))
	}
	if !z.faults.OnlyForged {
		replies = append(replies, good)
	}
	return replies, z.faults.Delay
}

// fit truncates a reply to what the query allows over UDP.
func (z *Zone) fit(query, m *mdns.Msg) {
	size := udpSizeDefault
	if opt := query.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
	}
	m.Truncate(size)
	if z.faults.Truncate {
		m.Truncated = true
		m.Answer, m.Ns = nil, nil
	}
}

// reply returns the reply of a server that looks up names for others, or nil for
// none.
func (z *Zone) reply(query *mdns.Msg) *mdns.Msg {
	m := (&mdns.Msg{}).SetReply(query)
	m.RecursionAvailable = true
	opt := query.IsEdns0()
	if opt != nil && z.faults.NoEDNS {
		m.Rcode = mdns.RcodeFormatError
		return m
	}
	if opt != nil {
		m.SetEdns0(opt.UDPSize(), opt.Do())
	}
	asked := query.Question[0]
	if z.faults.LowerCase {
		m.Question = []mdns.Question{{Name: strings.ToLower(asked.Name), Qtype: asked.Qtype, Qclass: asked.Qclass}}
	}
	failure, authentic := z.answer(m, asked)
	m.AuthenticatedData = authentic && (query.AuthenticatedData || opt != nil && opt.Do())
	switch failure {
	case Timeout:
		return nil
	case Temporary, Bogus:
		m.Rcode = mdns.RcodeServerFailure
		m.Answer, m.Ns, m.AuthenticatedData = nil, nil, false
		if failure == Bogus && opt != nil {
			own := m.IsEdns0()
			own.Option = append(own.Option, &mdns.EDNS0_EDE{InfoCode: mdns.ExtendedErrorCodeDNSBogus, ExtraText: "made bogus"})
		}
	}
	return m
}

// answer puts the answer to a question into m, following aliases.
func (z *Zone) answer(m *mdns.Msg, q mdns.Question) (f Failure, authentic bool) {
	authentic = true
	name := q.Name
	for range aliasesMax {
		k := key{strings.ToLower(name), q.Qtype}
		z.queries[k]++
		if f := z.failure(k); f != None {
			return f, false
		}
		authentic = authentic && z.isAuthentic(k.name)
		owner, ok := z.owner(k.name)
		if !ok {
			m.Rcode = mdns.RcodeNameError
		}
		rrs := z.records[owner][k.typ]
		alias := z.records[owner][mdns.TypeCNAME]
		if len(rrs) > 0 || len(alias) == 0 {
			m.Answer = append(m.Answer, withOwner(rrs, name)...)
			if len(rrs) == 0 && !z.faults.NoSOA {
				m.Ns = append(m.Ns, z.soa(k.name)...)
			}
			return None, authentic
		}
		m.Answer = append(m.Answer, withOwner(alias[:1], name)...)
		name = alias[0].(*mdns.CNAME).Target
		if z.faults.OneAlias {
			return None, authentic
		}
	}
	return None, authentic
}

// withOwner returns copies of records with another owner, as of wildcards, and
// with the case of the question.
func withOwner(rrs []mdns.RR, name string) (list []mdns.RR) {
	for _, rr := range rrs {
		rr = mdns.Copy(rr)
		rr.Header().Name = name
		list = append(list, rr)
	}
	return list
}

// forge returns a packet made from a query and its reply. What the forged reply
// says is that there is no such name.
func (f Forgery) forge(query, reply *mdns.Msg, packet []byte) []byte {
	m := reply.Copy()
	m.Rcode, m.Answer, m.Ns, m.Truncated = mdns.RcodeNameError, nil, nil, false
	q := &m.Question[0]
	switch f {
	case WrongID:
		m.Id++
	case WrongName:
		q.Name = "x." + q.Name
	case WrongType:
		q.Qtype ^= 1
	case WrongCase:
		q.Name = swapCase(query.Question[0].Name)
	case Echo:
		return slices.Clone(packet)
	case Garbage:
		return append(append(slices.Clone(packet[:2]), 0x80), bytes.Repeat([]byte{0xff}, 20)...)
	case Short:
		return packet[:2:2]
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// swapCase returns a name with each letter in the other case.
func swapCase(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r ^ ('a' - 'A')
		}
		return r
	}, name)
}

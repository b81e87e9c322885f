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
	Strip     bool          // Of a Tree: all that is DNSSEC is left out.
	AD        bool          // Of a Tree: all answers are said to be authentic.

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

// handle implements backend.
func (z *Zone) handle(packet []byte, network string) (replies [][]byte, delay time.Duration) {
	return z.front.handle(packet, network, z.reply)
}

// reply returns the reply of a server that looks up names for others, or nil for
// none.
func (z *Zone) reply(query *mdns.Msg) *mdns.Msg {
	m, ok := z.begin(query)
	if !ok {
		return m
	}
	failure, authentic := z.answer(m, query.Question[0])
	opt := query.IsEdns0()
	m.AuthenticatedData = authentic && (query.AuthenticatedData || opt != nil && opt.Do())
	return failure.spoil(m)
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

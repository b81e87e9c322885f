package resolver

import (
	"errors"
	"fmt"
	"strings"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

const (
	// aliasesMax bounds the CNAMEs followed in one lookup. A loop ends here too.
	aliasesMax = 16

	// ttlMax bounds how long an answer is kept, RFC 8767, section 4, and RFC 2181,
	// section 8.
	ttlMax = 24 * time.Hour

	// negativeTTLMax bounds how long it is kept that there is nothing, RFC 2308,
	// section 5.
	negativeTTLMax = 3 * time.Hour
)

// Why a reply is no answer. They come with dns.ErrTemporary.
var (
	errAliases      = fmt.Errorf("more than %d aliases, or a loop of them", aliasesMax)
	errNotRecursive = errors.New("server refers to others, and does not look up names itself")
	errContradicts  = errors.New("reply has records of a name it says not to exist")
)

// question is what a server is asked: a name in lower case, and a type.
type question struct {
	name string
	typ  uint16
}

// answer is what a reply says to a question.
type answer struct {
	records   []mdns.RR // All of the type asked for, and of name.
	name      string    // The one asked for, or the last of the aliases, in lower case.
	aliases   int       // Followed to name.
	none      error     // ErrNotFound or ErrNoData for name, if so.
	more      bool      // The reply says nothing about name: it is to be asked for.
	authentic bool
	extended  *dns.Extended
	server    string
	ttl       time.Duration // How long it may be kept. Zero: not at all.

	cut    cut   // Of a question for one, all that is set besides ttl.
	failed error // What is kept is that the answer is bogus.
}

// interpret returns what a reply to q says. The reply has succeeded or says that
// there is no such name. Only records of the name asked for, and of those it is
// an alias of, count: the rest is not what was asked for, and may be somebody's
// attempt to have it believed.
//
// For the type CNAME no aliases are followed.
func interpret(q question, m *mdns.Msg) (answer, error) {
	a := answer{name: q.name, ttl: ttlMax, extended: extended(m)}
	for {
		a.records = owned(m.Answer, a.name, q.typ)
		if len(a.records) > 0 || q.typ == mdns.TypeCNAME {
			break
		}
		alias := owned(m.Answer, a.name, mdns.TypeCNAME)
		if len(alias) == 0 {
			break
		}
		if a.aliases++; a.aliases > aliasesMax {
			return answer{}, errAliases
		}
		a.limit(alias[:1])
		a.name = lower(alias[0].(*mdns.CNAME).Target)
	}
	if len(a.records) == 0 {
		return a.without(m)
	}
	if m.Rcode == mdns.RcodeNameError {
		return answer{}, errContradicts
	}
	a.limit(a.records)
	return a, nil
}

// without returns the answer of a reply that has no records of a.name.
func (a answer) without(m *mdns.Msg) (answer, error) {
	ttl, ok := negativeTTL(m.Ns, a.name)
	switch {
	case m.Rcode == mdns.RcodeNameError: // Of the last alias, RFC 6604, section 3.
		a.none = dns.ErrNotFound
	case ok:
		a.none = dns.ErrNoData
	case a.aliases > 0:
		a.more = true
		return a, nil
	case !m.RecursionAvailable || hasType(m.Ns, mdns.TypeNS): // A referral, RFC 2308, section 2.2.
		return answer{}, errNotRecursive
	default:
		a.none = dns.ErrNoData
	}
	a.ttl = min(a.ttl, ttl)
	return a, nil
}

// limit makes the answer last no longer than records. A TTL with the highest bit
// counts as zero, RFC 2181, section 8.
func (a *answer) limit(records []mdns.RR) {
	for _, rr := range records {
		ttl := rr.Header().Ttl
		if ttl > 1<<31-1 {
			ttl = 0
		}
		a.ttl = min(a.ttl, time.Duration(ttl)*time.Second)
	}
}

// owned returns the records of a name and type.
func owned(records []mdns.RR, name string, typ uint16) (list []mdns.RR) {
	for _, rr := range records {
		h := rr.Header()
		if h.Rrtype == typ && h.Class == mdns.ClassINET && strings.EqualFold(h.Name, name) {
			list = append(list, rr)
		}
	}
	return list
}

func hasType(records []mdns.RR, typ uint16) bool {
	for _, rr := range records {
		if rr.Header().Rrtype == typ {
			return true
		}
	}
	return false
}

// negativeTTL returns how long it may be kept that name has no records, from the
// SOA record of its zone (RFC 2308, section 5). It is not ok without one.
func negativeTTL(authority []mdns.RR, name string) (ttl time.Duration, ok bool) {
	for _, rr := range authority {
		if soa, is := rr.(*mdns.SOA); is && soa.Hdr.Class == mdns.ClassINET && mdns.IsSubDomain(lower(soa.Hdr.Name), name) {
			a := answer{ttl: min(negativeTTLMax, time.Duration(soa.Minttl)*time.Second)}
			a.limit([]mdns.RR{soa})
			return a.ttl, true
		}
	}
	return 0, false
}

// extended returns the first extended error of a reply, RFC 8914, or nil.
func extended(m *mdns.Msg) *dns.Extended {
	opt := m.IsEdns0()
	if opt == nil {
		return nil
	}
	for _, o := range opt.Option {
		if e, ok := o.(*mdns.EDNS0_EDE); ok {
			return &dns.Extended{Code: e.InfoCode, Text: e.ExtraText}
		}
	}
	return nil
}

// isBogus tells whether an extended error means that validation failed: DNSSEC
// Bogus to NSEC Missing, RFC 8914, sections 4.7 to 4.13.
func isBogus(e *dns.Extended) bool {
	return e != nil && e.Code >= mdns.ExtendedErrorCodeDNSBogus && e.Code <= mdns.ExtendedErrorCodeNSECMissing
}

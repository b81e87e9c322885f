package dnstest

import (
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// front is what a Zone and a Tree have in common as servers. It is safe for
// concurrent use.
type front struct {
	mu       sync.Mutex
	failures map[key]Failure
	queries  map[key]int
	faults   Faults
}

func newFront() front {
	return front{failures: map[key]Failure{}, queries: map[key]int{}}
}

// SetFaults changes what is wrong with the server.
func (f *front) SetFaults(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// Fail makes questions for a name fail, of a type as "MX", or of all types if it
// is empty. With None they don't any more.
func (f *front) Fail(typ, name string, failure Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures[newKey(typ, name)] = failure
}

// Clear ends all failures and faults.
func (f *front) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = map[key]Failure{}
	f.faults = Faults{}
}

// Queries returns how often a name was asked for by way of the network, real or
// not: with repetitions, and also as what another is an alias of. Typ is as in
// Fail.
func (f *front) Queries(typ, name string) int {
	k := newKey(typ, name)
	f.mu.Lock()
	defer f.mu.Unlock()
	return count(f.queries, k)
}

func (f *front) refusesTCP() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults.RefuseTCP
}

// failure returns what becomes of a question.
func (f *front) failure(k key) Failure {
	if failure := f.failures[k]; failure != None {
		return failure
	}
	return f.failures[key{name: k.name}]
}

// handle returns the packets with which the server replies to a query, and when.
// The reply is nil for none, and made with f locked.
func (f *front) handle(packet []byte, network string, reply func(*mdns.Msg) *mdns.Msg) (replies [][]byte, delay time.Duration) {
	query := &mdns.Msg{}
	if err := query.Unpack(packet); err != nil || len(query.Question) != 1 || query.Response {
		return nil, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	udp := network == "udp"
	if udp && f.faults.Drop > 0 {
		f.faults.Drop--
		return nil, 0
	}
	m := reply(query)
	if m == nil {
		return nil, 0
	}
	forgeries := f.faults.Forgeries
	if udp {
		f.fit(query, m)
	} else {
		forgeries = f.faults.ForgeriesTCP
	}
	good, err := m.Pack()
	if err != nil {
		return nil, 0
	}
	for _, forgery := range forgeries {
		replies = append(replies, forgery.forge(query, m, packet))
	}
	if !f.faults.OnlyForged {
		replies = append(replies, good)
	}
	return replies, f.faults.Delay
}

// fit truncates a reply to what the query allows over UDP.
func (f *front) fit(query, m *mdns.Msg) {
	size := udpSizeDefault
	if opt := query.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
	}
	m.Truncate(size)
	if f.faults.Truncate {
		m.Truncated = true
		m.Answer, m.Ns = nil, nil
	}
}

// begin returns a reply without answer. It is not ok if there is to be none.
func (f *front) begin(query *mdns.Msg) (m *mdns.Msg, ok bool) {
	m = (&mdns.Msg{}).SetReply(query)
	m.RecursionAvailable = true
	m.CheckingDisabled = query.CheckingDisabled
	opt := query.IsEdns0()
	if opt != nil && f.faults.NoEDNS {
		m.Rcode = mdns.RcodeFormatError
		return m, false
	}
	if opt != nil {
		m.SetEdns0(opt.UDPSize(), opt.Do())
	}
	if f.faults.LowerCase {
		m.Question[0].Name = strings.ToLower(m.Question[0].Name)
	}
	return m, true
}

// spoil returns what comes of a reply: nil for none.
func (f Failure) spoil(m *mdns.Msg) *mdns.Msg {
	switch f {
	case Timeout:
		return nil
	case Temporary, Bogus:
		m.Rcode = mdns.RcodeServerFailure
		m.Answer, m.Ns, m.AuthenticatedData = nil, nil, false
		if opt := m.IsEdns0(); f == Bogus && opt != nil {
			opt.Option = append(opt.Option, &mdns.EDNS0_EDE{InfoCode: mdns.ExtendedErrorCodeDNSBogus, ExtraText: "made bogus"})
		}
	}
	return m
}

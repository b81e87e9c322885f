package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

const (
	// rounds is how often each server is asked that does not answer.
	rounds = 3

	// udpTimeout is the wait for a reply in the first round. It doubles with each
	// round: servers need seconds for names they do not know yet.
	udpTimeout = 2 * time.Second

	// tcpTimeout bounds connecting, asking and answering over TCP.
	tcpTimeout = 5 * time.Second

	// exchangesMax bounds exchanges at a time, and so the sockets and memory.
	exchangesMax = 256

	// slowFor is how long a server that did not reply is asked after the others.
	slowFor = 30 * time.Second

	// traitFor is how long it is remembered what a server can't do. It may be
	// replaced by a better one.
	traitFor = time.Hour
)

// failedError is a failure that a server replied with. It wraps
// dns.ErrTemporary or dns.ErrBogus.
type failedError struct {
	server   string
	rcode    int
	extended *dns.Extended
	cause    error // If not the code.
}

func (e *failedError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%v: reply of %s: %v", e.Unwrap(), e.server, e.cause)
	}
	name := mdns.RcodeToString[e.rcode]
	if name == "" {
		name = fmt.Sprintf("code %d", e.rcode)
	}
	return fmt.Sprintf("%v: %s replied %s", e.Unwrap(), e.server, name)
}

func (e *failedError) Unwrap() error {
	if isBogus(e.extended) && e.cause == nil {
		return dns.ErrBogus
	}
	return dns.ErrTemporary
}

// traits is what was learned of a server.
type traits struct {
	slowUntil   time.Time
	noEDNSUntil time.Time
	noCaseUntil time.Time // It does not keep the case of letters in questions.
}

// ask asks the servers until one answers. Those that do not reply are asked again,
// those that reply with a failure are not.
//
// A server that says the answer is bogus ends it: another may not know, and
// would give us what we must not take.
func (r *Resolver) ask(ctx context.Context, servers []server, q question) (answer, error) {
	if len(servers) == 0 {
		return answer{}, errNoServers
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return answer{}, fmt.Errorf("%w: waiting for a free slot: %w", dns.ErrTemporary, context.Cause(ctx))
	}
	servers = r.order(servers, time.Now())
	var failed error
	for round := range rounds {
		var silent []server
		for _, s := range servers {
			a, err := r.askServer(ctx, s, q, udpTimeout<<round)
			if err == nil || errors.Is(err, dns.ErrBogus) || ctx.Err() != nil {
				return a, err
			}
			var reply *failedError
			if !errors.As(err, &reply) {
				silent = append(silent, s)
			}
			if failed == nil || reply != nil {
				failed = err // What a server says tells more than that another is silent.
			}
		}
		if len(silent) == 0 {
			break
		}
		servers = silent
	}
	return answer{}, failed
}

// order returns the servers with those last that did not reply lately.
func (r *Resolver) order(servers []server, now time.Time) []server {
	slow := func(s server) int {
		if now.Before(r.known(s).slowUntil) {
			return 1
		}
		return 0
	}
	servers = slices.Clone(servers)
	slices.SortStableFunc(servers, func(a, b server) int { return cmp.Compare(slow(a), slow(b)) })
	return servers
}

// known returns the traits of a server.
func (r *Resolver) known(s server) traits {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.traits[s.addr]
}

// learn changes the traits of a server.
func (r *Resolver) learn(s server, change func(*traits)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.traits[s.addr]
	change(&t)
	if t == (traits{}) {
		delete(r.traits, s.addr)
		return
	}
	if len(r.traits) > 2*serversMax { // The configuration has changed.
		r.traits = map[netip.AddrPort]traits{}
	}
	r.traits[s.addr] = t
}

// askServer asks one server once. The error is a *failedError, or of the network
// and wraps dns.ErrTemporary.
func (r *Resolver) askServer(ctx context.Context, s server, q question, timeout time.Duration) (answer, error) {
	m, err := r.exchange(ctx, s, q, timeout)
	if err != nil && ctx.Err() != nil {
		return answer{}, fmt.Errorf("%w: asking %s: %w", dns.ErrTemporary, s.addr, context.Cause(ctx))
	}
	if err != nil {
		r.learn(s, func(t *traits) { t.slowUntil = time.Now().Add(slowFor) })
		return answer{}, fmt.Errorf("%w: asking %s: %w", dns.ErrTemporary, s.addr, err)
	}
	r.learn(s, func(t *traits) { t.slowUntil = time.Time{} })
	failed := &failedError{server: s.addr.String(), rcode: m.Rcode, extended: extended(m)}
	if m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError {
		return answer{}, failed
	}
	a, err := interpret(q, m)
	if err != nil {
		failed.cause = err
		return answer{}, failed
	}
	a.server = failed.server
	a.authentic = s.trusted && m.AuthenticatedData
	return a, nil
}

// exchange gets a reply from a server: over UDP, and if that can't carry it or
// can't be trusted, over TCP; without EDNS if the server does not know that.
func (r *Resolver) exchange(ctx context.Context, s server, q question, timeout time.Duration) (*mdns.Msg, error) {
	now := time.Now()
	known := r.known(s)
	form := form{edns: !now.Before(known.noEDNSUntil), mixedCase: !now.Before(known.noCaseUntil)}
	m, err := r.udpThenTCP(ctx, s, newQuery(q, form), timeout)
	if err != nil || !form.edns || m.Rcode != mdns.RcodeFormatError && m.Rcode != mdns.RcodeNotImplemented || m.IsEdns0() != nil {
		return m, err
	}
	form.edns = false
	again, err := r.udpThenTCP(ctx, s, newQuery(q, form), timeout)
	if err != nil {
		return m, nil // The failure it replied with stands.
	}
	if again.Rcode != m.Rcode {
		r.learn(s, func(t *traits) { t.noEDNSUntil = now.Add(traitFor) })
	}
	return again, nil
}

// udpThenTCP gets the reply to a query.
func (r *Resolver) udpThenTCP(ctx context.Context, s server, query query, timeout time.Duration) (*mdns.Msg, error) {
	m, verdict, err := r.once(ctx, "udp", s, query, timeout)
	if err != nil || verdict == right {
		return m, err
	}
	m, verdict, err = r.once(ctx, "tcp", s, query, tcpTimeout)
	switch {
	case err != nil:
		return nil, err
	case verdict == otherCase:
		// Nobody could forge this but the server: that is how it is.
		r.learn(s, func(t *traits) { t.noCaseUntil = time.Now().Add(traitFor) })
		return m, nil
	case verdict != right:
		return nil, errStray
	}
	return m, nil
}

// once makes one exchange, and has it counted. If there is no error, the verdict
// is about the last message received.
func (r *Resolver) once(ctx context.Context, network string, s server, query query, timeout time.Duration) (*mdns.Msg, verdict, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, verdict, err := r.transfer(ctx, network, s.addr, query)
	result := verdict.String()
	switch {
	case err != nil:
		result = "error"
	case verdict == right && m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError:
		result = "failure"
	}
	r.observe(Event{Kind: "exchange", Type: mdns.TypeToString[query.msg.Question[0].Qtype], Result: result, Network: network, Took: time.Since(start)})
	return m, verdict, err
}

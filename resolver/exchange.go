package resolver

import (
	"context"
	"errors"
	"fmt"
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

// replied is what a server said to a question.
type replied struct {
	msg    *mdns.Msg
	answer answer // What it says, as far as nothing is validated.
	server server
}

// ask asks the servers until one answers. Those that do not reply are asked again,
// those that reply with a failure are not.
//
// A server that says the answer is bogus ends it: another may not know, and
// would give us what we must not take. A secure question asks for the signatures,
// and for the answer also if the server thinks that it is bogus.
func (r *Resolver) ask(ctx context.Context, servers []server, q question, secure bool) (replied, error) {
	if len(servers) == 0 {
		return replied{}, errNoServers
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return replied{}, fmt.Errorf("%w: waiting for a free slot: %w", dns.ErrTemporary, context.Cause(ctx))
	}
	servers = r.peers.order(servers, time.Now())
	var failed error
	for round := range rounds {
		var silent []server
		for _, s := range servers {
			rep, err := r.askServer(ctx, s, q, form{secure: secure, timeout: udpTimeout << round})
			if err == nil || errors.Is(err, dns.ErrBogus) || ctx.Err() != nil {
				return rep, err
			}
			var failure *failedError
			if !errors.As(err, &failure) {
				silent = append(silent, s)
			}
			if failed == nil || failure != nil {
				failed = err // What a server says tells more than that another is silent.
			}
		}
		if len(silent) == 0 {
			break
		}
		servers = silent
	}
	return replied{}, failed
}

// askServer asks one server once. The error is a *failedError, or of the network
// and wraps dns.ErrTemporary.
func (r *Resolver) askServer(ctx context.Context, s server, q question, form form) (replied, error) {
	m, err := r.exchange(ctx, s, q, form)
	if err != nil && ctx.Err() != nil {
		return replied{}, fmt.Errorf("%w: asking %s: %w", dns.ErrTemporary, s.addr, context.Cause(ctx))
	}
	if err != nil {
		r.peers.learn(s, func(t *traits) { t.slowUntil = time.Now().Add(slowFor) })
		return replied{}, fmt.Errorf("%w: asking %s: %w", dns.ErrTemporary, s.addr, err)
	}
	r.peers.learn(s, func(t *traits) { t.slowUntil = time.Time{} })
	failed := &failedError{server: s.addr.String(), rcode: m.Rcode, extended: extended(m)}
	if m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError {
		return replied{}, failed
	}
	a, err := interpret(q, m)
	if err != nil {
		failed.cause = err
		return replied{}, failed
	}
	a.server = failed.server
	a.authentic = s.trusted && m.AuthenticatedData
	return replied{m, a, s}, nil
}

// exchange gets a reply from a server: over UDP, and if that can't carry it or
// can't be trusted, over TCP; without EDNS if the server does not know that.
func (r *Resolver) exchange(ctx context.Context, s server, q question, form form) (*mdns.Msg, error) {
	now := time.Now()
	known := r.peers.known(s)
	form.edns, form.mixedCase = form.secure || !now.Before(known.noEDNSUntil), !now.Before(known.noCaseUntil)
	m, err := r.udpThenTCP(ctx, s, newQuery(q, form), form.timeout)
	if err != nil || !form.edns || form.secure || m.Rcode != mdns.RcodeFormatError && m.Rcode != mdns.RcodeNotImplemented || m.IsEdns0() != nil {
		return m, err
	}
	form.edns = false
	again, err := r.udpThenTCP(ctx, s, newQuery(q, form), form.timeout)
	if err != nil {
		return m, nil // The failure it replied with stands.
	}
	if again.Rcode != m.Rcode {
		r.peers.learn(s, func(t *traits) { t.noEDNSUntil = now.Add(traitFor) })
	}
	return again, nil
}

// udpThenTCP gets the reply to a query.
func (r *Resolver) udpThenTCP(ctx context.Context, s server, query query, timeout time.Duration) (*mdns.Msg, error) {
	m, verdict, err := r.attempt(ctx, "udp", s, query, timeout)
	if err != nil || verdict == right {
		return m, err
	}
	m, verdict, err = r.attempt(ctx, "tcp", s, query, tcpTimeout)
	switch {
	case err != nil:
		return nil, err
	case verdict == otherCase:
		// Nobody could forge this but the server: that is how it is.
		r.peers.learn(s, func(t *traits) { t.noCaseUntil = time.Now().Add(traitFor) })
		return m, nil
	case verdict != right:
		return nil, errStray
	}
	return m, nil
}

// attempt makes one exchange, and has it counted. If there is no error, the verdict
// is about the last message received.
func (r *Resolver) attempt(ctx context.Context, network string, s server, query query, timeout time.Duration) (*mdns.Msg, verdict, error) {
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

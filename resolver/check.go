package resolver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// Status is how a Resolver works now.
type Status struct {
	Mode Mode // As configured.

	// Validating tells whether answers are validated by ourselves. Always so in
	// mode validate, never in system-ad. In mode auto it is false until the first
	// lookup, and while no server passes DNSSEC records on.
	Validating bool

	// Stripped tells that mode auto found only servers that do not pass DNSSEC
	// records on, since when. Answers are authentic then only if a trusted server
	// says so.
	Stripped time.Time

	Servers []ServerStatus
}

// ServerStatus is what is known of a server.
type ServerStatus struct {
	Addr    string // With port.
	Trusted bool   // Its AD bit counts, in mode system-ad and what auto falls back to.
	DNSSEC  string // "passes", "strips" or "unknown".
	Slow    bool   // It did not reply lately, and is asked after the others.
}

// Checked is what Check found.
type Checked struct {
	Status Status

	// Servers has a line for each server, in their order.
	Servers []CheckedServer

	// Root is whether the keys of the root validate with our trust anchors.
	Root Verdict
	Err  error // Why not. It can be of the network.

	// Clock is not zero if a wrong clock is likely to be the reason: how far it is
	// off at least, positive if it is ahead.
	Clock time.Duration

	Problems []string // Sentences for the operator. None if all is well.
}

// CheckedServer is a server, as it replies.
type CheckedServer struct {
	ServerStatus
	Err      error         // It does not reply, or can't.
	Took     time.Duration // For the first reply.
	AD       bool          // It validates by itself: it sets AD for the root's keys.
	TCP      bool          // It replies over TCP too.
	EDNS     bool
	Extended *dns.Extended // Of the first reply.
}

// Status returns how the Resolver works now. It asks no server.
func (r *Resolver) Status() Status {
	now := time.Now()
	servers, changed := r.config.current(now)
	if changed {
		r.cache.clear()
	}
	st := Status{Mode: r.mode, Validating: r.mode == Validate}
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	if r.mode == Auto {
		st.Validating = r.peers.found && r.peers.stripped.IsZero()
		st.Stripped = r.peers.stripped
	}
	for _, s := range servers {
		t := r.peers.traits[s.addr]
		st.Servers = append(st.Servers, ServerStatus{Addr: s.addr.String(), Trusted: s.trusted, DNSSEC: t.practice(now).String(), Slow: now.Before(t.slowUntil)})
	}
	return st
}

// Check asks the servers what they can, and validates the keys of the root. It
// takes as long as they do, at most lookupMax.
func (r *Resolver) Check(ctx context.Context) Checked {
	ctx, cancel := context.WithTimeout(ctx, lookupMax)
	defer cancel()
	servers, changed := r.config.current(time.Now())
	if changed {
		r.cache.clear()
	}
	c := Checked{Servers: make([]CheckedServer, len(servers))}
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { c.Servers[i] = r.checkServer(ctx, s) })
	}
	alone := r.alone()
	v := &validation{alone, servers, &budget{}}
	z, err := v.zoneOf(ctx, ".")
	wg.Wait()
	c.Err = err
	switch {
	case err == nil && z.secure():
		c.Root = Secure
	case errors.Is(err, dns.ErrBogus):
		c.Root, c.Clock = Bogus, clockOff(alone.trace.steps, time.Now())
	}
	c.Status = r.Status()
	c.Problems = c.problems()
	return c
}

// checkServer asks a server for the keys of the root in several ways.
func (r *Resolver) checkServer(ctx context.Context, s server) CheckedServer {
	q := question{".", mdns.TypeDNSKEY}
	c := CheckedServer{ServerStatus: ServerStatus{Addr: s.addr.String(), Trusted: s.trusted, DNSSEC: unknown.String()}}
	start := time.Now()
	m, err := r.exchange(ctx, s, q, form{secure: true, timeout: udpTimeout})
	c.Took = time.Since(start)
	if err != nil {
		c.Err, c.Slow = err, true
		return c
	}
	does, _ := practiceOf(m)
	c.DNSSEC, c.EDNS, c.Extended = does.String(), m.IsEdns0() != nil, extended(m)
	if m, err := r.exchange(ctx, s, q, form{timeout: udpTimeout}); err == nil {
		c.AD = m.AuthenticatedData
	}
	query := newQuery(q, form{edns: true, secure: true})
	_, verdict, err := r.attempt(ctx, "tcp", s, query, tcpTimeout)
	c.TCP = err == nil && (verdict == right || verdict == otherCase)
	return c
}

// clockOff returns how far the clock is off if that explains why no signature over
// the keys of the root is valid: positive if it is ahead. These are renewed long
// before they end, so old ones are hardly ever seen.
func clockOff(steps []Step, now time.Time) (off time.Duration) {
	for _, step := range steps {
		for _, sig := range step.Signatures {
			d := time.Duration(0)
			switch {
			case sig.Valid:
				return 0
			case now.After(sig.Expires):
				d = now.Sub(sig.Expires)
			case now.Before(sig.Inception):
				d = now.Sub(sig.Inception)
			}
			if d != 0 && (off == 0 || d.Abs() < off.Abs()) {
				off = d
			}
		}
	}
	return off
}

// problems tells the operator what is not as it should be.
func (c Checked) problems() (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	replies, passing, authentic := 0, 0, 0
	for _, s := range c.Servers {
		if s.Err != nil {
			say("Name server %s does not reply: %v.", s.Addr, s.Err)
			continue
		}
		replies++
		if s.DNSSEC == passes.String() {
			passing++
		}
		if s.Trusted && s.AD {
			authentic++
		}
		if !s.TCP {
			say("Name server %s does not reply over TCP: large answers can't be had from it.", s.Addr)
		}
		if s.DNSSEC == strips.String() && c.Status.Mode != SystemAD {
			say("Name server %s does not pass DNSSEC records on.", s.Addr)
		}
	}
	switch {
	case replies == 0:
		say("No name server replies: no mail can be sent.")
	case c.Status.Mode == SystemAD && authentic == 0, c.Status.Mode == Auto && passing == 0 && authentic == 0:
		say("No answer is taken as authentic, so that DANE can't protect mail: run a validating resolver on this machine, as unbound, or use name servers that pass DNSSEC records on.")
	case c.Status.Mode == Auto && passing == 0:
		say("Answers are not validated here, but authentic if a trusted name server says so.")
	}
	switch {
	case c.Status.Mode == SystemAD, passing == 0:
	case c.Clock > 0:
		say("The clock is likely wrong, by at least %v: signatures of the root are over. Until it is right all answers are bogus.", c.Clock.Round(time.Minute))
	case c.Clock < 0:
		say("The clock is likely wrong, by at least %v: signatures of the root are of the future. Until it is right all answers are bogus.", c.Clock.Abs().Round(time.Minute))
	case c.Root == Bogus:
		say("The keys of the root do not validate, so that all answers are bogus: %v.", c.why())
	}
	return list
}

// why returns the reason that the root's keys do not validate.
func (c Checked) why() string {
	if e := extendedOf(c.Err); e != nil {
		return e.Text
	}
	return c.Err.Error()
}

package resolver

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// slowFor is how long a server that did not reply is asked after the others.
	slowFor = 30 * time.Second

	// traitFor is how long it is remembered what a server can't do. It may be
	// replaced by a better one.
	traitFor = time.Hour

	// passesFor is how long a server that passed DNSSEC records on must go on with it
	// in mode auto. If it stops, its answers are bogus: an attacker who strips records
	// could do that too. After this time without an authentic answer it is looked
	// anew, and mail goes on: messages wait for longer in queues.
	passesFor = 24 * time.Hour

	// stripsFor is how long it is remembered that a server strips DNSSEC records.
	// FailsFor is for one that fails to say: it may have just started.
	stripsFor = 5 * time.Minute
	failsFor  = 30 * time.Second

	// probeRounds is how often a server is asked whether it does.
	probeRounds = 2
)

// traits is what was learned of a server.
type traits struct {
	slowUntil   time.Time
	noEDNSUntil time.Time
	noCaseUntil time.Time // It does not keep the case of letters in questions.
	passesUntil time.Time // It passes DNSSEC records on.
	stripsUntil time.Time // It does not.
	silentUntil time.Time // It did not reply when asked that.
}

// peers is what was learned of the servers. It is safe for concurrent use.
type peers struct {
	mu     sync.Mutex
	traits map[netip.AddrPort]traits

	// Of mode auto.
	found    bool      // It was found out what the servers do.
	stripped time.Time // Since when none passes DNSSEC records on. Zero: one does.
}

// order returns the servers with those last that did not reply lately.
func (p *peers) order(servers []server, now time.Time) []server {
	slow := func(s server) int {
		if now.Before(p.known(s).slowUntil) {
			return 1
		}
		return 0
	}
	servers = slices.Clone(servers)
	slices.SortStableFunc(servers, func(a, b server) int { return cmp.Compare(slow(a), slow(b)) })
	return servers
}

// known returns the traits of a server.
func (p *peers) known(s server) traits {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.traits[s.addr]
}

// learn changes the traits of a server.
func (p *peers) learn(s server, change func(*traits)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.traits[s.addr]
	change(&t)
	if t == (traits{}) {
		delete(p.traits, s.addr)
		return
	}
	if len(p.traits) > 2*serversMax { // The configuration has changed.
		p.traits = map[netip.AddrPort]traits{}
	}
	p.traits[s.addr] = t
}

// passed is told of a server with an authentic answer.
func (p *peers) passed(s server, now time.Time) {
	p.learn(s, func(t *traits) {
		t.passesUntil, t.stripsUntil, t.silentUntil = now.Add(passesFor), time.Time{}, time.Time{}
	})
}

// settle notes whether we validate, and tells whether that has changed, or was not
// known.
func (p *peers) settle(validates bool, now time.Time) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed = !p.found || p.stripped.IsZero() != validates
	p.found = true
	switch {
	case validates:
		p.stripped = time.Time{}
	case changed:
		p.stripped = now
	}
	return changed
}

// practice is what a server does with DNSSEC records.
type practice uint8

const (
	unknown practice = iota
	passes
	strips
	silent // It did not reply, just now.
)

func (p practice) String() string { return [...]string{"unknown", "passes", "strips", "unknown"}[p] }

// practice returns what a server does at a time.
func (t traits) practice(now time.Time) practice {
	switch {
	case now.Before(t.passesUntil):
		return passes
	case now.Before(t.stripsUntil):
		return strips
	case now.Before(t.silentUntil):
		return silent
	}
	return unknown
}

// decide returns the servers to ask in mode auto, and whether what they reply is
// validated: those that pass DNSSEC records on, if there are any. Otherwise all, if
// one is known to strip. It is not ok if nothing is known.
//
// Servers that strip are not asked in place of others that do not reply: who can
// silence those could so have us believe what is not signed.
func decide(servers []server, practices []practice) (use []server, validates, ok bool) {
	stripped := false
	for i, s := range servers {
		if practices[i] == passes {
			use = append(use, s)
		}
		stripped = stripped || practices[i] == strips
	}
	if len(use) > 0 {
		return use, true, true
	}
	return servers, false, stripped
}

// choose returns the servers to ask, and whether what they reply is validated.
func (r *Resolver) choose(ctx context.Context, servers []server) (use []server, validates bool, err error) {
	if r.mode != Auto || len(servers) == 0 {
		return servers, r.mode == Validate, nil
	}
	practices := r.practices(ctx, servers)
	use, validates, ok := decide(servers, practices)
	if !ok { // As the lookup itself would end.
		return servers, true, nil
	}
	if r.peers.settle(validates, time.Now()) {
		r.forget()
		result := "stripped"
		if validates {
			result = "validating"
		}
		r.observe(Event{Kind: "mode", Result: result})
	}
	return use, validates, nil
}

// practices returns what each server does, asking those of which it is not known.
// If no other answers, it also asks those that were silent.
func (r *Resolver) practices(ctx context.Context, servers []server) []practice {
	list := make([]practice, len(servers))
	now := time.Now()
	known := false
	for i, s := range servers {
		list[i] = r.peers.known(s).practice(now)
		known = known || list[i] == passes || list[i] == strips
	}
	var wg sync.WaitGroup
	for i, s := range servers {
		if list[i] == unknown || list[i] == silent && !known {
			wg.Go(func() { list[i] = r.probe(ctx, s) })
		}
	}
	wg.Wait()
	return list
}

// typeProbe is the type of questions for what a server does, which is not asked so.
const typeProbe = 0

// probe asks a server for the keys of the root, once for all who wait, and remembers
// whether signatures came with them.
func (r *Resolver) probe(ctx context.Context, s server) practice {
	// The name is none: it has no dot at its end.
	_, err := r.flights.do(ctx, question{s.addr.String(), typeProbe}, func(ctx context.Context) (answer, error) {
		found, last := r.probeServer(ctx, s)
		if ctx.Err() != nil {
			return answer{}, nil
		}
		now := time.Now()
		r.peers.learn(s, func(t *traits) {
			switch found {
			case passes:
				t.passesUntil, t.stripsUntil, t.silentUntil = now.Add(last), time.Time{}, time.Time{}
			case strips:
				t.passesUntil, t.stripsUntil, t.silentUntil = time.Time{}, now.Add(last), time.Time{}
			default:
				t.silentUntil = now.Add(last)
			}
		})
		return answer{}, nil
	})
	if err != nil {
		return unknown
	}
	return r.peers.known(s).practice(time.Now())
}

// probeServer asks a server for the keys of the root, and returns for how long what
// it found is to be remembered.
func (r *Resolver) probeServer(ctx context.Context, s server) (practice, time.Duration) {
	for round := range probeRounds {
		m, err := r.exchange(ctx, s, question{".", mdns.TypeDNSKEY}, form{secure: true, timeout: udpTimeout << round})
		if err == nil {
			return practiceOf(m)
		}
	}
	return silent, slowFor
}

// practiceOf tells from the reply to a question for the keys of the root whether
// DNSSEC records are passed on. A failure counts as stripping: many old servers have
// no other answer to what they do not know.
func practiceOf(m *mdns.Msg) (practice, time.Duration) {
	normalize(m)
	s := setOf(m.Answer, ".", mdns.TypeDNSKEY)
	switch {
	case len(s.records) > 0 && len(s.sigs) > 0:
		return passes, passesFor
	case m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError:
		return strips, failsFor
	}
	return strips, stripsFor
}

package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

const (
	// attemptTimeout bounds an attempt with all its hosts. Conversations have their
	// own limits; this one is for a domain with many hosts that are all slow.
	attemptTimeout = time.Hour

	// lookupTimeout bounds the lookup of the hosts of a domain, and of the addresses
	// of one.
	lookupTimeout = time.Minute
)

// attempt is one attempt to send a message to other servers, for all recipients
// that are due. Its methods are the steps, in their order. It is for one
// goroutine.
type attempt struct {
	sender   *Sender
	work     *queue.Work
	log      *slog.Logger
	config   *config.Config // For the whole attempt.
	sources  sources
	identity identity
	random   *rand.Rand

	transport string     // Name of the way, by override or routes; empty for the usual one.
	way       config.Way // All recipients go.
	known     bool       // There is such a way.

	fresh  bool   // No conversation of another message is wanted.
	domain string // For people.
	policy domainPolicy
	seen   []tlsSession // For reports.
	rcpts  []*rcpt
	at     place
	dialed netip.Addr
}

// rcpt is one recipient of an attempt.
type rcpt struct {
	*queue.Message
	index   int // In the work.
	path    smtp.Path
	settled bool // No other host is asked in this attempt.
	try     try
}

// place is where an attempt is at the moment.
type place struct {
	host      dns.Domain // Set when it was reached.
	ip        netip.Addr // Likewise.
	local     netip.Addr // Our side of the connection. Zero if it is not known.
	hello     string     // How the host has named itself.
	tls       string
	dualStack bool
	security  security
	version   string     // Of TLS, with the cipher suite.
	from      netip.Addr // Our side, whatever it is.
}

// send makes an attempt to send w to other servers. It returns what came of it by
// message.
func (s *Sender) send(ctx context.Context, w *queue.Work, log *slog.Logger) []try {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	c := s.opts.Config()
	tries := make([]try, len(w.Messages))
	for _, p := range parties(c, w) {
		a := &attempt{sender: s, work: w, log: log, config: c, sources: chooseSources(c.Endpoints), random: s.random()}
		a.choose(p)
		a.run(ctx)
		a.reportTLS(time.Now())
		for _, r := range a.rcpts {
			if !r.settled && r.try.failure == nil {
				r.try.failure = ours(errors.New("attempt ended without a result"))
			}
			r.try.dialed, r.try.transport, r.try.relayed = a.dialed, a.label(), a.way.Relay != nil
			tries[r.index] = r.try
		}
	}
	return tries
}

// run makes the attempt.
func (a *attempt) run(ctx context.Context) {
	for _, r := range a.rcpts {
		f := a.check(r)
		if f == nil {
			f = a.suppressed(ctx, r)
		}
		if f != nil {
			a.record([]*rcpt{r}, f)
		}
	}
	if len(a.pending()) == 0 {
		return
	}
	leave, f := a.enter(ctx)
	if f != nil {
		a.record(a.pending(), f)
		return
	}
	defer leave()
	hosts, f := a.hosts(ctx)
	if f == nil {
		f = a.getPolicy(ctx)
	}
	if f != nil {
		a.record(a.pending(), f)
		return
	}
	for _, host := range hosts {
		if !a.try(ctx, host) || len(a.pending()) == 0 {
			return
		}
	}
}

// check returns why no attempt can be made for a recipient.
func (a *attempt) check(r *rcpt) *failure {
	var err error
	if r.path, err = queue.Path(r.Rcpt); err != nil {
		return ours(err)
	}
	from, err := queue.Path(r.MailFrom)
	if err != nil {
		return ours(err)
	}
	if d := from.IPDomain.Domain; !d.IsZero() && a.config.Dynamic.Domains[d.Name()].Disabled {
		return &failure{code: smtp.CodeLocalError, enhanced: statusDisabled, text: fmt.Sprintf("the domain %s of the sender is disabled", d.Name())}
	}
	return a.refused()
}

// hosts returns the hosts to try, in order.
func (a *attempt) hosts(ctx context.Context) ([]target, *failure) {
	where := a.pending()[0].path.IPDomain
	if hosts, ok := a.relay(); ok {
		a.domain = hosts[0].String()
		return hosts, nil
	}
	if where.IsIP() {
		a.domain = where.String()
		return []target{{ip: where.IP}}, nil
	}
	a.domain = where.Domain.Name()
	lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	mx, result, err := a.sender.opts.Resolver.LookupMX(lookup, where.Domain.Absolute())
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return nil, classify(a.domain, errInterrupted)
	}
	a.sender.metrics.destination(result.Authentic)
	names, f := chooseHosts(where.Domain, mx, err, a.identity.hasName, a.random)
	a.log.DebugContext(ctx, "mail servers", "domain", where.Domain.String(), "records", len(mx), "hosts", len(names), "authentic", result.Authentic, "err", err)
	var hosts []target
	for _, name := range names {
		hosts = append(hosts, target{name: name, nextHop: where.Domain, mx: result})
	}
	return hosts, f
}

// try sends to one host what is pending. It returns false if hosts after it must
// not be tried.
func (a *attempt) try(ctx context.Context, t target) bool {
	a.at, a.fresh = place{}, false
	todo := a.pending()
	if f := a.outside(ctx, t); f != nil {
		a.record(todo, f)
		return true
	}
	ips, result, f := a.addresses(ctx, t)
	if f != nil {
		f = a.excuse(f)
		a.record(todo, f)
		return f.enhanced != statusLoop // They would send it back to us.
	}
	known := a.promised(ctx, t, result)
	for range conversationsMax {
		c, f := a.connect(ctx, t, ips, known)
		if f != nil {
			a.record(todo, f)
			return true
		}
		todo = a.converse(c, todo)
		a.leave(ctx, c)
		if len(todo) == 0 {
			return true
		}
		ips = []netip.Addr{a.at.ip}
	}
	a.record(todo, &failure{
		enhanced: statusLost, elsewhere: true, text: t.String() + " takes so few recipients at a time that not all had their turn",
	})
	return true
}

// pending returns the recipients for which another host may be asked.
func (a *attempt) pending() []*rcpt { return unsettled(a.rcpts) }

// unsettled returns those of list that are not settled.
func unsettled(list []*rcpt) (rest []*rcpt) {
	for _, r := range list {
		if !r.settled {
			rest = append(rest, r)
		}
	}
	return rest
}

// record notes what came of recipients at the place where the attempt is: a
// failure, or nil if they have the message.
func (a *attempt) record(list []*rcpt, f *failure) {
	for _, r := range list {
		if f != nil {
			r.try.tried(a.at, f)
			worst := combine(r.try.failure, f)
			r.settled = r.settled || !f.elsewhere
			if worst != f {
				continue // The place stays that of the failure.
			}
		} else {
			r.settled = true
		}
		r.try.failure = f
		r.try.version, r.try.from = a.at.version, a.at.from
		r.try.host, r.try.ip, r.try.tls, r.try.dualStack = a.at.host, a.at.ip, a.at.tls, a.at.dualStack
		r.try.security = a.at.security
	}
}

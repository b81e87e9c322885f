package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/smtpclient"
)

// dialTCP makes a TCP connection, from local if it is valid.
func dialTCP(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error) {
	var d net.Dialer
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return d.DialContext(ctx, network, address)
}

// conversation is a connection with a host, ready for transactions.
//
// It comes from attempt.connect, and attempt.leave ends its use: between them it
// is used by one attempt, afterwards perhaps by another (pool.go).
type conversation struct {
	*smtpclient.Client
	target
	ctx    context.Context // Of its use: bounds its time.
	cancel context.CancelFunc
	log    *slog.Logger // Of the attempt that uses it.

	key       poolKey
	at        place // As it was when it was made.
	made      time.Time
	idleSince time.Time
	uses      int   // By attempts before this one.
	reused    bool  // Until its first transaction for this attempt.
	sent      int64 // Transactions, in all.
}

func (c *conversation) close(ctx context.Context) {
	if err := c.Close(); err != nil {
		c.log.DebugContext(ctx, "closing connection", "host", c.String(), "err", err)
	}
}

// connect returns a conversation with a host at one of ips, in their order. It
// goes on with the next address if one can't be reached, but not when what answers
// there is no use: that is the host's answer.
//
// Known is what the host promises. A conversation that another message has left is
// as good as a new one, if what is demanded of it is the same.
func (a *attempt) connect(ctx context.Context, t target, ips []netip.Addr, known promise) (*conversation, *failure) {
	evidence := a.evidence(t, known)
	policy := decideTLS(evidence)
	decided := a.security(evidence, policy, known)
	a.at.security = decided
	if policy.refuse != nil {
		return nil, a.refusal(ctx, t, policy, known)
	}
	if c := a.reuse(ctx, t, ips, demands{policy, known.finding}); c != nil {
		a.at.security = a.at.security.decidedAgain(decided)
		a.sawReused(t, evidence, c)
		return c, nil
	}
	conn, ip, err := a.dial(ctx, t, ips)
	if err != nil {
		return nil, a.dialFailure(ctx, t, err)
	}
	c, err := a.greet(ctx, conn, t, ip, demands{policy, known.finding})
	a.sawSession(t, evidence, known, c, err)
	a.countWaived(evidence, c, err)
	if !errors.Is(err, smtpclient.ErrTLS) || !policy.fallback || ctx.Err() != nil {
		return c, a.conversationFailure(ctx, t, err)
	}
	a.sender.metrics.fallbacks.Inc()
	a.log.InfoContext(ctx, "tls failed, trying without", "host", t.String(), "ip", ip.String(), "err", err)
	evidence.failed = true
	policy = decideTLS(evidence)
	a.at.security.why = policy.why
	conn, ip, err = a.dial(ctx, t, []netip.Addr{ip})
	if err != nil {
		return nil, a.dialFailure(ctx, t, err)
	}
	c, err = a.greet(ctx, conn, t, ip, demands{policy, known.finding})
	return c, a.conversationFailure(ctx, t, err)
}

// serverName is the name for TLS.
func serverName(t target) string {
	if t.ip.IsValid() {
		return t.ip.String()
	}
	return t.name.ASCII
}

// dial connects to the first of ips that can be reached, within the time for
// connecting: each gets an equal part of what is left.
func (a *attempt) dial(ctx context.Context, t target, ips []netip.Addr) (net.Conn, netip.Addr, error) {
	deadline := time.Now().Add(a.sender.opts.ConnectTimeout)
	var errs []error
	for i, ip := range ips {
		left := time.Until(deadline) / time.Duration(len(ips)-i)
		address := netip.AddrPortFrom(ip, a.port()).String()
		a.dialed = ip
		start := time.Now()
		one, cancel := context.WithTimeout(ctx, left)
		conn, err := a.open(one, address, a.local(ip))
		result := connectResult(ctx, err)
		cancel()
		a.sender.metrics.connections.WithLabelValues(result).Inc()
		a.log.DebugContext(ctx, "connecting", "host", t.String(), "ip", ip.String(), "local", a.local(ip).String(),
			"result", result, "took", time.Since(start), "err", err)
		if err == nil {
			a.sender.connected.Add(1)
			return conn, ip, nil
		}
		errs = append(errs, fmt.Errorf("connecting to %s: %w", address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, netip.Addr{}, errors.Join(errs...)
}

// connectResult returns the value of the label for an attempt to connect.
func connectResult(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return resultOK
	case ctx.Err() != nil:
		return resultCanceled
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return resultTimeout
	}
	return resultError
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// dialFailure returns the failure for a host none of whose addresses answers.
func (a *attempt) dialFailure(ctx context.Context, t target, err error) *failure {
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return classify(t.String(), errInterrupted)
	}
	if errors.Is(err, errProxy) {
		return ours(err) // Other hosts are behind it too.
	}
	return &failure{enhanced: statusNoAnswer, text: "no connection with " + t.String() + " could be made", elsewhere: true, err: err}
}

// conversationFailure returns the failure for an error of a conversation, nil for
// none.
func (a *attempt) conversationFailure(ctx context.Context, t target, err error) *failure {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, errInterrupted) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return a.excuse(classify(t.String(), err))
}

// greet begins a conversation on conn.
func (a *attempt) greet(ctx context.Context, conn net.Conn, t target, ip netip.Addr, d demands) (*conversation, error) {
	ctx, cancel := context.WithTimeout(ctx, a.sender.opts.SessionTimeout)
	c := &conversation{target: t, ctx: ctx, cancel: cancel, log: a.log, key: a.keyFor(t, ip, d), made: time.Now()}
	a.at.ip, a.at.host, a.at.tls = ip, t.name, tlsNone
	a.at.local, a.at.hello, a.at.from = localIP(conn), "", sourceOf(conn)
	opts := smtpclient.Options{Hello: a.hello(), Observe: a.sender.metrics.command, Named: func(name string) { a.at.hello = name }}
	d.options(&opts, t, a.sender.opts.Roots)
	a.prepare(&opts)
	if a.log.Enabled(ctx, logfmt.LevelTrace) {
		opts.Trace = c.trace
	}
	var err error
	setup, done := context.WithTimeout(ctx, a.setupTime())
	defer done()
	if c.Client, err = smtpclient.New(setup, conn, opts); err != nil {
		cancel()
		a.at.security.failed(err)
		return nil, err
	}
	a.at.tls, a.at.version = d.protection(c.Client), tlsVersion(c.TLS())
	a.at.security.verified(c.Verified())
	c.at = a.at
	a.log.DebugContext(ctx, "conversation", "host", t.String(), "ip", ip.String(), "tls", a.at.tls, "reason", d.why, "pkix_err", c.Verified().PKIX.Err)
	return c, nil
}

// trace logs a line.
func (c *conversation) trace(sent bool, line string) {
	prefix := "RC"
	if sent {
		prefix = "LC"
	}
	c.log.Log(c.ctx, logfmt.LevelTrace, "smtp", "prefix", prefix, "line", line)
}

// addresses returns where a host can be reached, in order, and what there is to know
// of that answer.
func (a *attempt) addresses(ctx context.Context, t target) ([]netip.Addr, dns.Result, *failure) {
	found, result := []netip.Addr{t.ip}, dns.Result{}
	if !t.ip.IsValid() {
		var err error
		if found, result, err = a.lookupIP(ctx, t); errors.Is(context.Cause(ctx), errInterrupted) {
			return nil, result, classify(t.String(), errInterrupted)
		} else if err != nil {
			f := lookupFailure("addresses of "+t.String(), err, unroutable("the mail server "+t.String()+" has no address"))
			f.elsewhere = true
			return nil, result, f
		}
	}
	if slices.ContainsFunc(found, a.identity.hasAddress) {
		return nil, result, loopFailure(a.domain)
	}
	has := len(found) > 0
	found = a.permitted(found)
	a.at.dualStack = a.way.Relay == nil && slices.ContainsFunc(found, is4) && !allAre4(found)
	ips := orderAddresses(found, a.lastDialed())
	if len(ips) == 0 {
		return nil, result, a.noAddress(t, has)
	}
	return ips, result, nil
}

func is4(ip netip.Addr) bool { return family(ip) == 1 }

func allAre4(ips []netip.Addr) bool {
	return !slices.ContainsFunc(ips, func(ip netip.Addr) bool { return !is4(ip) })
}

func (a *attempt) lookupIP(ctx context.Context, t target) ([]netip.Addr, dns.Result, error) {
	if a.isLocalhost(t) {
		return localhost, dns.Result{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return a.sender.opts.Resolver.LookupIP(ctx, "ip", t.name.Absolute())
}

// lastDialed returns the address tried last in the attempt before, the zero value
// for none.
func (a *attempt) lastDialed() netip.Addr {
	ip, _ := netip.ParseAddr(a.work.Messages[0].DialedIP) // Empty, or written by us.
	return ip
}

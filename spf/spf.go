// Package spf tells whether a host may send mail for a domain: the Sender Policy
// Framework, RFC 7208.
//
// It parses records, and evaluates them with one dns.Resolver for one message: no
// cache, no retry, no clock. What a result means for the message, its callers
// decide: the receiving server and the commands for administrators.
package spf

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// Result is the outcome of an evaluation, RFC 7208, section 2.6.
type Result string

// The results.
const (
	None      Result = "none"      // The domain has no policy, or there is no domain.
	Neutral   Result = "neutral"   // The domain says nothing about the host.
	Pass      Result = "pass"      // The host may send for the domain.
	Fail      Result = "fail"      // It may not.
	SoftFail  Result = "softfail"  // It probably may not.
	TempError Result = "temperror" // A lookup failed for now. Anyone can cause that.
	PermError Result = "permerror" // The policy can't be understood, or asks too much.
)

// Identity is what was evaluated.
type Identity string

// The identities.
const (
	MailFrom Identity = "mailfrom" // The domain of the reverse-path.
	Hello    Identity = "helo"     // The name given with EHLO, for a null reverse-path (section 2.4).
)

// Args is what is known of a message when its sender is checked.
type Args struct {
	RemoteIP netip.Addr
	Hello    dns.IPDomain

	// MailFrom is the reverse-path. For the null path the evaluation is about
	// postmaster at Hello.
	MailFrom smtp.Path

	// LocalHostname is ours, for explanations. Zero: "unknown".
	LocalHostname dns.Domain

	// Now is for explanations.
	Now time.Time
}

// Evaluation is a result with what it is about, and why.
type Evaluation struct {
	Result   Result
	Identity Identity

	// Domain was evaluated. It is zero if there is none, as for an address literal.
	Domain dns.Domain

	// Mechanism is the directive that matched, as it stands in the record of Domain or
	// of where that redirects to: "-all". It is "default" if none did, and empty without
	// a record.
	Mechanism string

	// Explanation is what the domain has to say about a Fail: printable ASCII, at
	// most 800 bytes. It is from a stranger, and has to be shown as such.
	Explanation string

	// Authentic means that all answers of DNS that led to the result were.
	Authentic bool

	// Problem is why the result is TempError, PermError or None, nil for others.
	Problem error
}

// Verify evaluates the policy of the sender of a message (section 4). It looks up
// at most 123 names, and it is for the caller to bound the time with ctx: section
// 4.6.4 asks for at least 20 seconds. When ctx is done the result is TempError.
func Verify(ctx context.Context, resolver dns.Resolver, args Args) Evaluation {
	e := Evaluation{Identity: MailFrom, Domain: args.MailFrom.IPDomain.Domain}
	localpart := string(args.MailFrom.Localpart)
	if args.MailFrom.IsZero() {
		e.Identity, e.Domain, localpart = Hello, args.Hello.Domain, ""
	}
	if e.Domain.IsZero() || !args.RemoteIP.IsValid() {
		e.Result, e.Problem = None, ErrDomain
		return e
	}
	c := check{
		resolver:     resolver,
		ip:           args.RemoteIP,
		localpart:    localpart,
		senderDomain: e.Domain.ASCII,
		hello:        args.Hello.XString(false),
		receiver:     args.LocalHostname.ASCII,
		now:          args.Now,
	}
	c.run(ctx, e.Domain.ASCII, &e)
	return e
}

// run evaluates, with the defaults for what is not known.
func (c *check) run(ctx context.Context, domain string, e *Evaluation) {
	if c.localpart == "" {
		c.localpart = "postmaster" // Section 4.3.
	}
	if c.receiver == "" {
		c.receiver = "unknown" // Section 7.3.
	}
	c.ip, c.authentic = c.ip.Unmap().WithZone(""), true
	o := c.host(ctx, domain)
	e.Result, e.Mechanism, e.Problem = o.result, o.mechanism, o.problem
	e.Authentic = c.authentic && o.result != TempError
	if o.result == Fail {
		e.Explanation = c.explain(ctx, o)
	}
}

// Lookup returns the record of a domain, and its text if there is exactly one that
// claims to be a record. The error is one of Resolver, ErrNoRecord, ErrRecords, or a
// *SyntaxError.
func Lookup(ctx context.Context, resolver dns.Resolver, domain dns.Domain) (text string, record Record, res dns.Result, err error) {
	return lookup(ctx, resolver, domain.Absolute())
}

// lookup is Lookup for any absolute name.
func lookup(ctx context.Context, resolver dns.Resolver, name string) (text string, record Record, res dns.Result, err error) {
	texts, res, err := resolver.LookupTXT(ctx, name)
	if err != nil {
		return "", Record{}, res, err
	}
	first := slices.IndexFunc(texts, isRecord)
	if first < 0 {
		return "", Record{}, res, ErrNoRecord
	}
	if slices.ContainsFunc(texts[first+1:], isRecord) {
		return "", Record{}, res, ErrRecords
	}
	record, err = ParseRecord(texts[first])
	return texts[first], record, res, err
}

package dmarc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mjl-/mox/dns"
)

// ErrNoFrom means that a message doesn't have exactly one domain in From. There is
// no policy for it then; to refuse such mail is for others (RFC 9989, section 11.5).
var ErrNoFrom = errors.New("no domain in From to evaluate DMARC for")

// errIdentifier is why DMARC is not known if SPF or DKIM isn't.
var errIdentifier = errors.New("SPF or DKIM failed temporarily for a domain that could be aligned")

// Result is the outcome, as in Authentication-Results (RFC 9989, section 9.2).
type Result string

// The results.
const (
	ResultNone      Result = "none"      // No record applies.
	ResultPass      Result = "pass"      // The use of the domain is authorised.
	ResultFail      Result = "fail"      // It is not. See Evaluation.Policy.
	ResultTemperror Result = "temperror" // Not known now: a lookup failed, here, for SPF or for DKIM.
	ResultPermerror Result = "permerror" // Not known: the record says nothing.
)

// Alignment is how close a domain that SPF or DKIM verified is to that in From.
type Alignment int

// The alignments, from the weakest.
const (
	NotAligned Alignment = iota
	Relaxed              // Both have the same organisational domain.
	Strict               // Both are the same.
)

// String returns the name of an alignment.
func (a Alignment) String() string { return [...]string{"none", "relaxed", "strict"}[a] }

// Identifier is a domain that SPF or DKIM spoke about.
type Identifier struct {
	Domain dns.Domain
	Result string // "pass" and "temperror" count, and nothing else.
}

// Args are what is known of a message.
type Args struct {
	// From is the domain of the one address in From.
	From dns.Domain

	// SPF is the domain of MAIL FROM, or that of HELO if MAIL FROM is null, with
	// SPF's result for it.
	SPF Identifier

	// DKIM are the domains of signatures, with their results.
	DKIM []Identifier
}

// Evaluation is what DMARC says about a message.
type Evaluation struct {
	Result Result

	// Policy is to be applied to a message with ResultFail: Published, or one step
	// milder while the owner tests. It is None with all other results.
	Policy Policy

	// Published is what the owner of the domain says for it: "p", "sp" or "np" of the
	// record, as it applies to From. Empty if not known.
	Published Policy

	Record       *Record    // The one that applies, nil if none does.
	RecordDomain dns.Domain // Where it is: From's domain, or one above it.
	RecordText   string

	// OrgDomain is the organisational domain of From. Zero if it is not known, after
	// an error.
	OrgDomain dns.Domain

	// SPF and DKIM are how close the domains that pass are, whether or not there is
	// a record, and whether or not it wants them to be the same. SPFPass and DKIMPass
	// tell whether that is enough for the record.
	SPF, DKIM         Alignment
	SPFPass, DKIMPass bool
	DKIMDomain        dns.Domain // The signing domain that DKIM is about, zero for none.

	// Authentic means that all answers about policy and organisations were protected
	// by DNSSEC. It says nothing about those for SPF and DKIM.
	Authentic bool

	// Err is why the result is ResultTemperror or ResultPermerror, nil otherwise, but
	// for ErrNoFrom. It can hold text from the DNS of the sender.
	Err error
}

// Rejects tells whether the policy asks to refuse the message: we have no place
// for suspicious mail but a refusal, so quarantine counts as reject.
func (e Evaluation) Rejects() bool { return e.Policy == Reject || e.Policy == Quarantine }

// Evaluate looks up the policy for the domain in From, and tells whether SPF or
// DKIM authorised its use.
//
// A domain can only be aligned if it is the organisational domain of From or below
// it. So nothing is looked up for others, and no failure in their DNS matters: a
// stranger could cause that.
func Evaluate(ctx context.Context, r dns.Resolver, args Args) Evaluation {
	if args.From.IsZero() {
		return Evaluation{Result: ResultNone, Policy: None, Err: ErrNoFrom}
	}
	e := evaluator{walker: newWalker(r), args: args, eval: Evaluation{Policy: None}}
	e.discover(ctx)
	e.align(ctx)
	e.conclude(ctx)
	e.eval.Authentic = e.walker.authentic
	return e.eval
}

// evaluator is an evaluation under way.
type evaluator struct {
	walker *walker
	args   Args
	eval   Evaluation
	found  *Found // The record that applies.
	org    string // Of From, empty if not known.

	unknown error // Why not finding alignment is not final, if it is not.
}

// discover finds the record that applies, and the organisational domain.
func (e *evaluator) discover(ctx context.Context) {
	from := e.args.From.ASCII
	t, err := e.walker.walk(ctx, from)
	if err != nil {
		e.unknown = err
	} else {
		e.org = t.org
		e.eval.OrgDomain = withForms(t.org)
	}
	if e.found = t.policy(from); e.found != nil {
		e.eval.Record, e.eval.RecordDomain, e.eval.RecordText = &e.found.Record, e.found.Domain, e.found.Text
	}
}

// align finds how close the verified domains are to that in From.
func (e *evaluator) align(ctx context.Context) {
	var strictSPF, strictDKIM bool
	if e.found != nil {
		strictSPF, strictDKIM = e.found.Record.StrictSPF, e.found.Record.StrictDKIM
	}
	e.eval.SPF, _ = e.closest(ctx, []Identifier{e.args.SPF}, strictSPF)
	e.eval.DKIM, e.eval.DKIMDomain = e.closest(ctx, e.args.DKIM, strictDKIM)
	e.eval.SPFPass = e.eval.SPF == Strict || e.eval.SPF == Relaxed && !strictSPF
	e.eval.DKIMPass = e.eval.DKIM == Strict || e.eval.DKIM == Relaxed && !strictDKIM
}

// closest returns the alignment of the closest of the domains that pass, and that
// domain. It notes what can't be known now, and would have mattered.
func (e *evaluator) closest(ctx context.Context, ids []Identifier, strict bool) (Alignment, dns.Domain) {
	from := e.args.From
	if i := slices.IndexFunc(ids, func(id Identifier) bool { return id.Result == "pass" && id.Domain == from }); i >= 0 {
		return Strict, from
	}
	for _, id := range ids {
		same := id.Domain == from
		if id.Domain.IsZero() || !same && (e.org == "" || !within(id.Domain.ASCII, e.org)) {
			continue
		}
		switch {
		case id.Result == "temperror" && (same || !strict):
			e.unknown = errIdentifier
		case id.Result == "pass" && e.related(ctx, id.Domain):
			return Relaxed, id.Domain
		}
	}
	return NotAligned, dns.Domain{}
}

// related tells whether a domain has the same organisational domain as From.
func (e *evaluator) related(ctx context.Context, d dns.Domain) bool {
	t, err := e.walker.walk(ctx, d.ASCII)
	if err != nil && !errors.Is(err, errLookups) {
		e.unknown = err
	}
	return err == nil && t.org == e.org
}

// conclude sets the result, and for a message that fails the policy.
func (e *evaluator) conclude(ctx context.Context) {
	eval := &e.eval
	switch {
	case e.found == nil && e.org != "":
		eval.Result = ResultNone
	case e.found != nil && e.found.Err != nil:
		eval.Result, eval.Err = ResultPermerror, e.found.Err
	case e.found != nil && (eval.SPFPass || eval.DKIMPass):
		eval.Result = ResultPass
	case e.unknown != nil:
		eval.Result, eval.Err = ResultTemperror, e.unknown
	default:
		eval.Result = ResultFail
	}
	if e.found == nil || e.found.Err != nil {
		return
	}
	published, err := e.published(ctx)
	if err != nil {
		if eval.Result == ResultFail {
			eval.Result, eval.Err = ResultTemperror, err
		}
		return
	}
	eval.Published = published
	if eval.Result == ResultFail {
		eval.Policy = published
		if e.found.Record.Testing {
			eval.Policy = published.milder()
		}
	}
}

// published returns the policy of the record for the domain in From. Only if it
// makes a difference is it looked up whether that domain exists.
func (e *evaluator) published(ctx context.Context) (Policy, error) {
	r := e.found.Record
	if e.found.Domain == e.args.From {
		return r.Policy, nil
	}
	if r.forSubdomain(true) == r.forSubdomain(false) || e.eval.Result != ResultFail {
		return r.forSubdomain(true), nil
	}
	exists, err := e.exists(ctx)
	return r.forSubdomain(exists), err
}

// exists tells whether the domain in From exists: whether there are records of any
// type at the name or below it (RFC 9989, section 3.2.13, and RFC 8020).
func (e *evaluator) exists(ctx context.Context) (bool, error) {
	name := e.args.From.Absolute()
	_, result, err := e.walker.resolver.LookupMX(ctx, name)
	switch {
	case errors.Is(err, dns.ErrNotFound):
		e.walker.authentic = e.walker.authentic && result.Authentic
		return result.Name != "" && result.Name != name, nil // At least an alias is there.
	case err != nil && !dns.IsNone(err):
		return false, fmt.Errorf("looking whether the domain in From exists: %w", err)
	}
	e.walker.authentic = e.walker.authentic && result.Authentic
	return true, nil
}

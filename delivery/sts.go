package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/queue"
)

// policyTimeout bounds the time to get the MTA-STS policy of a domain: one lookup and
// one request, and others that may be before it.
const policyTimeout = 2 * time.Minute

// domainPolicy is what is known of the MTA-STS policy of a domain that mail goes to.
// The zero value is for what can have none: addresses without a name.
type domainPolicy struct {
	mtasts.Policy // With mode none if there is none.

	asked    bool
	evidence mtastsdb.Evidence
	err      error // Why it is not known. The message then goes only if it needs no TLS.
}

// says returns what the policy says of a host, by its name in the MX record, or of the
// domain itself if it has no such records.
func (p domainPolicy) says(host dns.Domain) stsEvidence {
	switch p.Mode {
	case mtasts.Enforce:
		return stsEvidence{stsEnforce, p.Matches(host)}
	case mtasts.Testing:
		return stsEvidence{stsTesting, p.Matches(host)}
	}
	return stsEvidence{}
}

// getPolicy gets the policy of the domain that the recipients have, once for the
// attempt. Where aliases lead to doesn't count: who can forge those would choose the
// policy (RFC 8461, section 3.1).
//
// If it is not known whether there is one, nothing may be sent: an attacker may have
// seen to that.
func (a *attempt) getPolicy(ctx context.Context) *failure {
	domain := a.pending()[0].path.IPDomain.Domain
	if a.sender.opts.Policies == nil || a.way.Relay != nil || domain.IsZero() {
		return nil
	}
	get, cancel := context.WithTimeout(ctx, policyTimeout)
	defer cancel()
	p := domainPolicy{asked: true}
	p.Policy, p.evidence, p.err = a.sender.opts.Policies.Get(get, domain)
	a.policy = p
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return classify(a.domain, errInterrupted)
	}
	ev := p.evidence
	a.log.DebugContext(ctx, "mta-sts policy", "domain", domain.String(), "mode", string(p.Mode), "source", string(ev.Source),
		"record_id", ev.Found.Record.ID, "failure", string(ev.Failure), "err", p.err)
	switch {
	case p.err == nil:
		return nil
	case (tlsEvidence{requireTLS: a.pending()[0].RequireTLS}).waives():
		a.sender.metrics.ignored(ignoredPolicyUnknown)
		return nil
	}
	a.at = place{security: security{why: whyPolicyUnknown, sts: a.policy.mode()}}
	return policyFailure(a.domain, ev, p.err)
}

// policyFailure returns the failure for a policy that is not known.
func policyFailure(domain string, ev mtastsdb.Evidence, err error) *failure {
	if byDNS := ev.RecordErr != nil && errors.Is(err, ev.RecordErr); !byDNS && !errors.Is(err, context.DeadlineExceeded) {
		return ours(err) // The disk, or there are too many of them.
	}
	f := &failure{enhanced: statusDNS, text: "whether the domain " + domain + " has an MTA-STS policy can't be found out for now", err: err}
	if errors.Is(err, dns.ErrBogus) {
		f.text += ": answers are not authentic (DNSSEC)"
	}
	return f
}

// outside returns the failure for a host that is not in an enforced policy. It is
// asked before anything is looked up for the host: what DNS says of it counts for
// nothing, also if it is that mail would come back to us.
func (a *attempt) outside(ctx context.Context, t target) *failure {
	evidence := a.evidence(t, promise{})
	policy := decideTLS(evidence)
	if policy.why != whyNotInPolicy {
		return nil
	}
	a.at.security = a.security(evidence, policy, promise{})
	a.sawOutside(t, evidence)
	return a.refusal(ctx, t, policy, promise{})
}

// evidence returns what is known of a host that is to be connected to.
func (a *attempt) evidence(t target, known promise) tlsEvidence {
	first := a.pending()[0]
	e := tlsEvidence{via: a.via(), dane: known.evidence, requireTLS: demandsTLS(first.Message), report: first.Report == queue.DMARCReport}
	if !t.ip.IsValid() {
		e.sts = a.policy.says(t.name)
	}
	return e
}

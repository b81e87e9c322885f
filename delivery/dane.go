package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtpclient"
)

// promise is what a host promises about TLS by its TLSA records.
type promise struct {
	asked    bool
	evidence daneEvidence
	finding  dane.Finding
	err      error // Why it is unknown.
}

// promised looks up the TLSA records of a host, whose addresses were found with
// result.
func (a *attempt) promised(ctx context.Context, t target, addresses dns.Result) promise {
	if a.way.Relay != nil || t.ip.IsValid() {
		return promise{}
	}
	path := dane.Path{NextHop: t.nextHop, MX: t.mx, Host: t.name, Addresses: addresses, Port: a.sender.opts.Port}
	lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	finding, err := dane.Lookup(lookup, a.sender.opts.Resolver, path, dane.SMTPUsages()...)
	p := promise{asked: true, finding: finding, err: err}
	switch {
	case err != nil:
		p.evidence = daneUnknown
	case len(finding.Records) > 0:
		p.evidence = daneUsable
	case finding.Applies:
		p.evidence = daneUnusable
	}
	a.sender.metrics.promise(p.evidence)
	if p.evidence != daneNone {
		a.log.DebugContext(ctx, "tlsa records", "host", t.String(), "base", finding.Base.String(), "usable", len(finding.Records), "err", err)
	}
	return p
}

// refusal returns the failure of a policy that refuses a host.
func (a *attempt) refusal(ctx context.Context, t target, policy tlsPolicy, p promise) *failure {
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return classify(t.String(), errInterrupted)
	}
	a.sawUnknown(t, p)
	a.log.DebugContext(ctx, "host refused", "host", t.String(), "reason", policy.why, "err", p.err)
	f := *policy.refuse
	f.text = t.String() + ": " + f.text
	f.err = p.err
	if f.enhanced == statusNoRequireTLS {
		a.sender.metrics.requireTLS.WithLabelValues(requireTLSNoPolicy).Inc()
	}
	return &f
}

// demands are what is demanded of a connection, with what it is verified by.
type demands struct {
	tlsPolicy
	finding dane.Finding
}

// options sets what opts say of TLS.
func (d demands) options(opts *smtpclient.Options, t target, roots *x509.CertPool) {
	opts.TLS = d.mode
	if d.mode == smtpclient.TLSSkip {
		return
	}
	name := serverName(t)
	opts.TLSConfig = &tls.Config{ServerName: name, RootCAs: roots}
	opts.Verify = &smtpclient.Verify{PKIX: d.pkix, Name: name, DANE: d.dane}
	if d.finding.Applies {
		// By which it chooses its certificate: RFC 7672, section 8.1.
		opts.TLSConfig.ServerName = d.finding.Base.ASCII
		opts.Verify.TLSA = dane.Verifier{Records: d.finding.Records, Names: d.finding.Names}
	}
}

// protection is the value of the label "tlsmode" for a conversation: what was
// demanded of it, and kept. That a certificate was good by chance protects nobody.
func (d demands) protection(c *smtpclient.Client) string {
	switch {
	case c.TLS() == nil:
		return tlsNone
	case d.pkix == smtpclient.CheckRequired && d.dane == smtpclient.CheckRequired:
		return tlsBoth
	case d.dane == smtpclient.CheckRequired:
		return tlsDANE
	case d.pkix == smtpclient.CheckRequired:
		return tlsPKIX
	}
	return tlsUnverified
}

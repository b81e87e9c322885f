package receive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mjl-/mox/arc"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dmarc"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/iprev"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/spf"
	"github.com/mjl-/mox/store"
)

// checkWait bounds each check of a message that asks DNS. What is not known by
// then counts as a temporary failure of DNS.
const checkWait = time.Minute

// investigation is what was found out about a message, once for all its
// recipients. Without a resolver there is nothing but the author.
type investigation struct {
	from    smtp.Address // The one address in From, zero if there is not exactly one.
	checked bool         // The rest was looked for.

	spf     spf.Evaluation
	reverse iprev.Evaluation // Not for the queue.
	dkim    []dkim.Evaluation
	arc     arc.Evaluation
	dmarc   dmarc.Evaluation

	own   []dns.Domain // Of a user of this server, who is known.
	facts store.Facts  // What is kept of it, but for what is different for each recipient.
}

// checkSPF evaluates SPF for the sender of a transaction, once.
func (r *Receiver) checkSPF(ctx context.Context, t *Transaction) spf.Evaluation {
	if t.spf != nil {
		return *t.spf
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	start := time.Now()
	e := spf.Verify(ctx, r.opts.Resolver, spf.Args{
		RemoteIP: t.Peer.IP, Hello: t.Peer.Hello.Name, MailFrom: t.MailFrom, LocalHostname: t.Peer.Hostname, Now: time.Now(),
	})
	took(r.metrics.spf, start, string(e.Result))
	t.spf = &e
	return e
}

// investigate finds out who sent a message. An error is one of reading it; what
// DNS doesn't tell is evidence too.
func (r *Receiver) investigate(ctx context.Context, t *Transaction, l *letter, content io.ReaderAt, size int64) (*investigation, error) {
	i := &investigation{from: l.from}
	defer func() { i.facts = i.newFacts(t) }()
	if r.opts.Resolver == nil || !t.Peer.IP.IsValid() {
		return i, nil
	}
	i.checked = true
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	var all sync.WaitGroup
	var dkimErr, arcErr error
	now := time.Now()
	all.Go(func() { i.spf = r.checkSPF(ctx, t) })
	if !t.Peer.IP.IsLoopback() { // Those have no names that say anything.
		all.Go(func() {
			i.reverse = iprev.Check(ctx, r.opts.Resolver, t.Peer.IP)
			r.metrics.reverse.WithLabelValues(string(i.reverse.Result)).Inc()
		})
	}
	all.Go(func() {
		i.dkim, dkimErr = dkim.Verify(ctx, r.opts.Resolver, content, size, dkim.VerifyOptions{Now: now})
		took(r.metrics.dkim, now, bestOf(i.dkim))
	})
	if l.header.Count("ARC-Seal") > 0 {
		all.Go(func() { i.arc, arcErr = arc.Verify(ctx, r.opts.Resolver, content, size, arc.Options{Now: now}) })
	}
	all.Wait()
	for _, err := range []error{dkimErr, arcErr} {
		if err != nil && !errors.Is(err, dkim.ErrHeader) {
			return i, fmt.Errorf("checking signatures: %w", err)
		}
	}
	if !i.from.IsZero() {
		start := time.Now()
		i.dmarc = dmarc.Evaluate(ctx, r.opts.Resolver, i.dmarcArgs())
		took(r.metrics.dmarc, start, string(i.dmarc.Result))
	}
	return i, nil
}

// dmarcArgs returns what SPF and DKIM found, for DMARC.
func (i *investigation) dmarcArgs() dmarc.Args {
	args := dmarc.Args{From: i.from.Domain, SPF: dmarc.Identifier{Domain: i.spf.Domain, Result: string(i.spf.Result)}}
	for _, e := range i.dkim {
		if e.Signature != nil {
			args.DKIM = append(args.DKIM, dmarc.Identifier{Domain: e.Signature.Domain, Result: string(e.Result)})
		}
	}
	return args
}

// validation returns how far the domain in From is verified.
func (i *investigation) validation() screen.Validation {
	best := max(i.dmarc.SPF, i.dmarc.DKIM)
	switch {
	case best == dmarc.Strict:
		return screen.ValidationStrict
	case i.dmarc.Result == dmarc.ResultPass:
		return screen.ValidationDMARC
	case best == dmarc.Relaxed:
		return screen.ValidationRelaxed
	}
	return screen.ValidationNone
}

// newFacts returns what is kept of where the message comes from.
func (i *investigation) newFacts(t *Transaction) store.Facts {
	p := t.Peer
	f := store.Facts{
		EHLO: p.Hello.Text, HelloDomain: p.Hello.Name.Domain.ASCII, MailFrom: t.MailFrom.String(), CID: p.CID, Validation: int(i.validation()), DKIM: i.signers(),
	}
	if p.IP.IsValid() {
		f.RemoteIP = p.IP.String()
	}
	if p.LocalIP.IsValid() {
		f.LocalIP = p.LocalIP.String()
	}
	if p.TLS != nil {
		f.TLSVersion, f.TLSCipher = p.TLS.Version, p.TLS.CipherSuite
	}
	if !i.from.IsZero() {
		f.From, f.FromOrg = strings.ToLower(i.from.XString(false)), cmp.Or(i.dmarc.OrgDomain.ASCII, i.from.Domain.ASCII)
	}
	if i.spf.Result == spf.Pass {
		f.MailFromVerified, f.HelloVerified = i.spf.Identity == spf.MailFrom, i.spf.Identity == spf.Hello
	}
	return f
}

// signers returns the domains with a signature that passes, each once.
func (i *investigation) signers() (domains []string) {
	for _, e := range i.dkim {
		if e.Result != dkim.Pass {
			continue
		}
		if d := e.Signature.Domain.ASCII; !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return domains
}

// verifiedDomains returns what SPF or DKIM verified.
func (i *investigation) verifiedDomains() []dns.Domain {
	domains := i.own
	for _, e := range i.dkim {
		if e.Result == dkim.Pass && !slices.Contains(domains, e.Signature.Domain) {
			domains = append(domains, e.Signature.Domain)
		}
	}
	if i.spf.Result == spf.Pass && !slices.Contains(domains, i.spf.Domain) {
		domains = append(domains, i.spf.Domain)
	}
	return domains
}

// dmarcEvidence returns what DMARC found, for a decision.
func (i *investigation) dmarcEvidence() screen.DMARC {
	return screen.DMARC{Result: string(i.dmarc.Result), Reject: i.dmarc.Rejects()}
}

// arcEvidence returns what the last sealer of a chain found, if the chain is whole.
func (i *investigation) arcEvidence() screen.ARC {
	if i.arc.Result != arc.Pass || len(i.arc.Sets) == 0 {
		return screen.ARC{}
	}
	last := i.arc.Sets[len(i.arc.Sets)-1]
	return screen.ARC{Sealer: last.Domain.ASCII, Passed: sealedAuthentic(last.Results, i.from.Domain)}
}

// sealedAuthentic tells whether the results of a sealer say that the domain in
// From was authentic when the message came to it.
func sealedAuthentic(results string, from dns.Domain) bool {
	if from.IsZero() {
		return false
	}
	r, _ := message.ParseAuthResults(results) // What is malformed is left out.
	for _, m := range r.Methods {
		if m.Result != "pass" {
			continue
		}
		if m.Method == "dmarc" && strings.EqualFold(m.Prop("header", "from"), from.ASCII) || m.Method == "dkim" && strings.EqualFold(m.Prop("header", "d"), from.ASCII) {
			return true
		}
	}
	return false
}

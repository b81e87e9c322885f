package delivery

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtpclient"
	"github.com/mjl-/mox/tlsrpt"
	"github.com/mjl-/mox/tlsrptdb"
)

// What is kept of a policy for reports is at most this: lines and records of others,
// repeated for each day.
const (
	policyLinesMax = 30
	policyLineMax  = 300 // Bytes. A TLSA record with a digest has 140.
)

// tlsSession is what came of TLS with a host, in one connection, or why none was made.
type tlsSession struct {
	host  string // As in the MX record, in A-labels.
	stage tlsStage
	err   error // Of TLS, or of looking up the TLSA records.

	sts      stsEvidence
	known    promise
	verified smtpclient.Verified

	// As reports have them. Empty: not known.
	hello, sendingIP, receivingIP string
}

// tlsStage is how far a session got.
type tlsStage int

const (
	tlsOutside    tlsStage = iota // No connection: the host is not in an enforced policy.
	tlsUnknown                    // No connection: what TLSA records say can't be found out.
	tlsMissing                    // The host doesn't offer STARTTLS.
	tlsBroken                     // TLS failed, before there was a certificate to verify.
	tlsBegun                      // There was a certificate, good or not.
	tlsAgain                      // As tlsBegun, for an earlier message.
	tlsStageCount = iota
)

// tlsResults returns what is to be told of the sessions of an attempt (RFC 8460, section
// 4): under the domain that mail is for, by its MTA-STS policy, and under each host, by
// its TLSA records.
//
// Each policy is judged by itself: a host that is verified by its TLSA records and has
// no certificate of a common authority is a success under one and a failure under the
// other. Where there is no policy it is a success to have TLS, with any certificate.
func tlsResults(domain string, p domainPolicy, sessions []tlsSession) (list []tlsrptdb.Results) {
	add := func(host string, policy tlsrpt.Policy, failures []tlsrpt.Failure) {
		list = append(list, newResults(domain, host, policy, failures))
	}
	missing := p.missing()
	if missing != nil {
		add("", p.reported(domain), missing)
	}
	for _, s := range sessions {
		if failures, counts := s.underDomain(p); counts && (missing == nil || p.holds()) {
			add("", p.reported(domain), failures)
		}
		if failures, counts := s.underHost(); counts {
			add(s.host, s.reported(), failures)
		}
	}
	return list
}

// newResults returns what came of one session under a policy: of a host, or of the
// domain if that is empty.
func newResults(domain, host string, policy tlsrpt.Policy, failures []tlsrpt.Failure) tlsrptdb.Results {
	r := tlsrpt.Result{Policy: policy, Failures: failures}
	if len(failures) == 0 {
		r.Summary.Success = 1
	} else {
		r.Summary.Failure = 1
	}
	all := tlsrptdb.Results{PolicyDomain: domain, RecipientDomain: domain, Policies: []tlsrpt.Result{r}}
	if host != "" {
		all.PolicyDomain, all.Host = host, true
	}
	return all
}

// holds tells whether there is a policy that asks for something.
func (p domainPolicy) holds() bool { return p.Mode == mtasts.Enforce || p.Mode == mtasts.Testing }

// missing returns the failure to get the policy that the domain says it has, nil if it
// was got. One that was got before can be in force.
func (p domainPolicy) missing() []tlsrpt.Failure {
	if p.err != nil || p.evidence.Failure == "" {
		return nil
	}
	return []tlsrpt.Failure{{Type: tlsrpt.ResultType(p.evidence.Failure), Sessions: 1}}
}

// reported returns the policy of a domain as reports have it: also one that has a
// mistake, with it.
func (p domainPolicy) reported(domain string) tlsrpt.Policy {
	r := tlsrpt.Policy{Type: tlsrpt.PolicyNone, Domain: domain}
	text := p.evidence.Text
	switch {
	case p.holds():
		r.Type = tlsrpt.PolicySTS
		for _, m := range p.MX[:min(len(p.MX), policyLinesMax)] {
			r.MXHost = append(r.MXHost, m.String())
		}
	case p.missing() != nil:
		r.Type, text = tlsrpt.PolicySTS, p.evidence.FailedPolicy
	default:
		return r
	}
	for line := range strings.Lines(text) {
		if line = bounded(strings.TrimSpace(line), policyLineMax); line != "" && len(r.String) < policyLinesMax {
			r.String = append(r.String, line)
		}
	}
	return r
}

// underDomain returns what failed in a session by the policy of the domain. It doesn't
// count if it says nothing about that.
func (s tlsSession) underDomain(p domainPolicy) (failures []tlsrpt.Failure, counts bool) {
	if p.err != nil || s.stage == tlsUnknown {
		return nil, false
	}
	if s.sts.mode != stsNone && !s.sts.matches {
		failures = append(failures, s.failure(tlsrpt.ValidationFailure, tlsrpt.ReasonMXMismatch))
	}
	switch s.stage {
	case tlsMissing, tlsBroken:
		failures = append(failures, s.broken())
	case tlsBegun, tlsAgain:
		if proof := s.verified.PKIX; s.sts.mode != stsNone && proof.Checked && proof.Err != nil {
			failures = append(failures, s.failure(tlsrpt.CertificateFailure(proof.Err)))
		}
	}
	return failures, true
}

// underHost does the same by the TLSA records of the host. Who goes over a connection
// that is there already has no session of his own.
func (s tlsSession) underHost() (failures []tlsrpt.Failure, counts bool) {
	if !s.known.asked || s.stage == tlsOutside || s.stage == tlsAgain {
		return nil, false
	}
	switch {
	case s.stage == tlsUnknown:
		failures = append(failures, s.failure(tlsrpt.DNSSECInvalid, tlsrpt.DNSReason(s.err)))
	case s.stage == tlsMissing || s.stage == tlsBroken:
		failures = append(failures, s.broken())
	case s.known.evidence == daneUsable && s.verified.DANE.Checked && s.verified.DANE.Err != nil:
		failures = append(failures, s.failure(tlsrpt.CertificateFailure(s.verified.DANE.Err)))
	}
	if s.known.evidence == daneUnusable {
		failures = append(failures, s.failure(tlsrpt.TLSAInvalid, tlsrpt.ReasonAllUnusable))
	}
	return failures, true
}

// reported returns the policy of a host as reports have it.
func (s tlsSession) reported() tlsrpt.Policy {
	r := tlsrpt.Policy{Type: tlsrpt.PolicyNone, Domain: s.host}
	if s.known.evidence == daneNone {
		return r
	}
	r.Type = tlsrpt.PolicyTLSA
	for _, record := range s.known.finding.All {
		text := fmt.Sprintf("%d %d %d %x", record.Usage, record.Selector, record.Matching, record.Data)
		r.String = append(r.String, bounded(text, policyLineMax))
	}
	slices.Sort(r.String) // Answers have them in any order.
	r.String = r.String[:min(len(r.String), policyLinesMax)]
	return r
}

// broken returns why there is no TLS.
func (s tlsSession) broken() tlsrpt.Failure {
	if s.stage == tlsMissing {
		return s.failure(tlsrpt.STARTTLSNotSupported, "")
	}
	alert, isAlert := smtpclient.Alert(s.err)
	_, isReply := errors.AsType[*smtpclient.Reply](s.err)
	reason := tlsrpt.ReasonHandshake
	switch {
	case isAlert:
		reason = tlsrpt.AlertReason(alert)
	case isReply:
		reason = tlsrpt.ReasonRefused
	case errors.Is(s.err, io.EOF), errors.Is(s.err, io.ErrUnexpectedEOF), errors.Is(s.err, smtpclient.ErrLost):
		reason = tlsrpt.ReasonLost
	}
	return s.failure(tlsrpt.ValidationFailure, reason)
}

// failure returns a failure of a session.
func (s tlsSession) failure(typ tlsrpt.ResultType, reason string) tlsrpt.Failure {
	return tlsrpt.Failure{
		Type: typ, SendingIP: s.sendingIP, MXHost: s.host, MXHello: s.hello, ReceivingIP: s.receivingIP, Sessions: 1, Reason: reason,
	}
}

// stageOf returns how far a connection got, by what smtpclient.New returned. What says
// nothing about TLS doesn't count: that it ended before, or took too long.
func stageOf(hasTLS bool, err error) (stage tlsStage, counts bool) {
	_, isUnverified := errors.AsType[*smtpclient.VerifyError](err)
	switch {
	case err == nil && hasTLS, isUnverified:
		return tlsBegun, true
	case err == nil, errors.Is(err, smtpclient.ErrNoTLS):
		return tlsMissing, true
	case errors.Is(err, smtpclient.ErrTLS) && !isTimeout(err):
		return tlsBroken, true
	}
	return 0, false
}

// localIP returns our address of a connection if others can know us by it.
func localIP(conn net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if ip := ap.Addr().Unmap(); err == nil && ip.IsGlobalUnicast() && !ip.IsPrivate() {
		return ip
	}
	return netip.Addr{}
}

// sawSession notes a connection with a host that was to have TLS.
func (a *attempt) sawSession(t target, e tlsEvidence, known promise, c *conversation, err error) {
	stage, counts := stageOf(err == nil && c.TLS() != nil, err)
	if !counts || e.via != viaMX {
		return
	}
	s := tlsSession{host: t.name.ASCII, stage: stage, err: err, sts: e.sts, known: known, hello: a.at.hello, receivingIP: a.at.ip.String()}
	if a.at.local.IsValid() && a.way.Proxy == nil {
		s.sendingIP = a.at.local.String()
	}
	if unverified, ok := errors.AsType[*smtpclient.VerifyError](err); ok {
		s.verified = unverified.Verified
	} else if err == nil {
		s.verified = c.Verified()
	}
	a.seen = append(a.seen, s)
}

// sawReused notes that mail goes over a connection that is there already.
func (a *attempt) sawReused(t target, e tlsEvidence, c *conversation) {
	a.sawSession(t, e, promise{}, c, nil)
	if n := len(a.seen); n > 0 && a.seen[n-1].stage == tlsBegun {
		a.seen[n-1].stage = tlsAgain
	}
}

// sawOutside notes a host that is not in an enforced policy.
func (a *attempt) sawOutside(t target, e tlsEvidence) {
	a.seen = append(a.seen, tlsSession{host: t.name.ASCII, stage: tlsOutside, sts: e.sts})
}

// sawUnknown notes a host whose TLSA records could not be looked up. That nobody
// answered in time says nothing about them.
func (a *attempt) sawUnknown(t target, known promise) {
	if known.evidence == daneUnknown && !isTimeout(known.err) {
		a.seen = append(a.seen, tlsSession{host: t.name.ASCII, stage: tlsUnknown, err: known.err, known: known})
	}
}

// reportTLS hands over what is to be told of an attempt. Of reports about TLS nothing is
// (RFC 8460, section 3), of those of DMARC only what failed.
func (a *attempt) reportTLS(now time.Time) {
	first := a.rcpts[0]
	domain := first.path.IPDomain.Domain
	if a.sender.opts.TLSResults == nil || a.config.Static.NoOutgoingTLSReports || domain.IsZero() || first.Report == queue.TLSReport {
		return
	}
	list := tlsResults(domain.ASCII, a.policy, a.seen)
	if first.Report == queue.DMARCReport {
		list = slices.DeleteFunc(list, func(r tlsrptdb.Results) bool { return r.Policies[0].Summary.Failure == 0 })
	}
	if len(list) > 0 {
		a.sender.opts.TLSResults.Note(now, list)
	}
}

package delivery

import (
	"errors"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtpclient"
)

// requestsTLS tells whether the server is asked to require TLS in turn. For messages
// that don't insist on that it is only asked if it has the extension and was verified,
// as the RFC has it (section 2).
func (a *attempt) requestsTLS(c *conversation, m *queue.Message) bool {
	if !requiresTLS(m) {
		return false
	}
	isVerified := a.at.tls == tlsPKIX || a.at.tls == tlsDANE || a.at.tls == tlsBoth
	return demandsTLS(m) != nil || c.Extensions().RequireTLS && isVerified
}

// Values of the label "ignored" for messages that need no TLS: what would have kept
// them back.
const (
	ignoredPolicyUnknown = "mtastslookup" // Whether the domain has a policy could not be found out.
	ignoredNotInPolicy   = "mtastsmx"     // The host is not in an enforced policy.
	ignoredDANEUnknown   = "danelookup"   // TLSA records could not be looked up.
	ignoredBadTLS        = "badtls"       // TLS failed, or is not there.
	ignoredCertificate   = "certificate"  // It is not good.
)

var ignoredAll = []string{ignoredPolicyUnknown, ignoredNotInPolicy, ignoredDANEUnknown, ignoredBadTLS, ignoredCertificate}

// waived returns what was ignored for a message that needs no TLS when it was connected
// to a host, "" for nothing. Err is that of TLS, after which it goes without.
func (e tlsEvidence) waived(c *smtpclient.Client, err error) string {
	if !e.waives() {
		return ""
	}
	e.requireTLS, e.failed = nil, false
	p := decideTLS(e)
	switch {
	case p.refuse != nil && p.why == whyNotInPolicy:
		return ignoredNotInPolicy
	case p.refuse != nil && p.why == whyUnknown:
		return ignoredDANEUnknown
	case p.mode == smtpclient.TLSRequired && (err != nil || c != nil && c.TLS() == nil):
		return ignoredBadTLS
	case c == nil:
		return ""
	}
	v := c.Verified()
	if p.pkix == smtpclient.CheckRequired && v.PKIX.Err != nil || p.dane == smtpclient.CheckRequired && v.DANE.Err != nil {
		return ignoredCertificate
	}
	return ""
}

// countWaived counts what was ignored in connecting to a host.
func (a *attempt) countWaived(e tlsEvidence, c *conversation, err error) {
	var client *smtpclient.Client
	if c != nil {
		client = c.Client
	}
	if err != nil && !errors.Is(err, smtpclient.ErrTLS) {
		return
	}
	if what := e.waived(client, err); what != "" {
		a.sender.metrics.ignored(what)
	}
}

package delivery

import (
	"crypto/tls"

	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

// tlsEvidence is what is known when a connection is to be made. DANE (the TLSA
// records of the host) and MTA-STS (the policy of the domain) will have their
// places here.
type tlsEvidence struct {
	name string // Of the host, in A-labels, or its address.

	// requireTLS is that of the message: true as for REQUIRETLS, false as for
	// "TLS-Required: No" (RFC 8689). Nil: neither.
	requireTLS *bool

	// failed says that TLS has failed with this host in this attempt.
	failed bool
}

// tlsPolicy is what is demanded of a connection.
type tlsPolicy struct {
	mode   smtpclient.TLSMode
	config *tls.Config // Nil if mode is TLSSkip.

	// fallback allows to go on in plain text with a new connection when TLS fails:
	// ask again, with that as evidence.
	fallback bool

	// refuse is not nil if nothing may be sent over any connection.
	refuse *failure
}

// decideTLS returns what to demand of a connection. Without anything that promises
// TLS it is opportunistic (RFC 7435): who can't be verified can still be spoken
// to in secret, and a server whose TLS is broken gets its mail in plain text, as
// it would without TLS.
func decideTLS(e tlsEvidence) tlsPolicy {
	switch {
	case e.requireTLS != nil && *e.requireTLS:
		// Nothing here can verify a server yet, so the demand can't be met.
		return tlsPolicy{refuse: &failure{
			code: smtp.CodeMailboxPermanent, enhanced: statusNoRequireTLS, permanent: true,
			text: "the message must be sent with verified TLS (REQUIRETLS), which is not supported",
		}}
	case e.failed:
		return tlsPolicy{mode: smtpclient.TLSSkip}
	}
	config := &tls.Config{ServerName: e.name, InsecureSkipVerify: true}
	return tlsPolicy{mode: smtpclient.TLSOpportunistic, config: config, fallback: true}
}

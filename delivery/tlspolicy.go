package delivery

import (
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

// tlsEvidence is what is known when a connection is to be made. The zero value is
// that of a mail exchanger of which nothing is known.
type tlsEvidence struct {
	via  tlsVia
	dane daneEvidence
	sts  stsEvidence

	// requireTLS is that of the message: true as for REQUIRETLS, false as for
	// "TLS-Required: No" (RFC 8689). Nil: neither.
	requireTLS *bool

	// report says that the message is a report of ours about mail of others. They are
	// not worth sending where TLS is broken.
	report bool

	// failed says that TLS has failed with this host in this attempt.
	failed bool
}

// tlsVia is the way that mail goes.
type tlsVia int

const (
	viaMX         tlsVia = iota // To a mail exchanger, whoever that is.
	viaImmediate                // To a configured server, over TLS from the beginning.
	viaSTARTTLS                 // To one, with STARTTLS.
	viaUnverified               // Likewise, without verifying it.
	viaPlain                    // To one, without TLS.
	tlsViaCount   = iota
)

// daneEvidence is what the TLSA records of a host say, RFC 7672, section 2.2.
type daneEvidence int

const (
	daneNone          daneEvidence = iota // There are none, or nothing makes them authentic.
	daneUnknown                           // Looking them up failed: an attacker may have seen to that.
	daneUnusable                          // None can be used. They promise TLS, and don't tell how to verify it.
	daneUsable                            // The host must be verified by them.
	daneEvidenceCount = iota
)

// stsEvidence is what the MTA-STS policy of a domain says of a host, RFC 8461.
type stsEvidence struct {
	mode    stsMode
	matches bool // The host is one of those in the policy.
}

// stsMode is the mode of a policy.
type stsMode int

const (
	stsNone      stsMode = iota // There is none, or it says so.
	stsTesting                  // Failures are told to the domain, and ignored.
	stsEnforce                  // Hosts must be in the policy, and have a good certificate.
	stsModeCount = iota
)

// tlsPolicy is what is demanded of a connection.
type tlsPolicy struct {
	mode smtpclient.TLSMode
	pkix smtpclient.Check // A certificate of a common CA, for the name of the host.
	dane smtpclient.Check

	// fallback allows to go on in plain text with a new connection when TLS fails:
	// ask again, with that as evidence.
	fallback bool

	// refuse is not nil if nothing may be sent over any connection.
	refuse *failure

	why string // For the log: a value of why….

	// domainPolicy and hostPolicy are the policy-types under which results are told to
	// the recipient's domain and to the host's (RFC 8460, section 4.4). Empty: to
	// nobody.
	domainPolicy, hostPolicy string
}

// What decided.
const (
	whyOpportunistic = "opportunistic"      // Nothing promises TLS.
	whyNotRequired   = "tls-not-required"   // The message says that it needs none.
	whyDANE          = "dane"               // TLSA records.
	whyUnusable      = "dane-unusable"      // TLSA records that can't be used.
	whyUnknown       = "dane-unknown"       // TLSA records could not be looked up.
	whySTS           = "mta-sts"            // An enforced policy.
	whyBoth          = "dane-and-mta-sts"   // Each is demanded.
	whyNotInPolicy   = "mta-sts-mismatch"   // The host is not in an enforced policy.
	whyPolicyUnknown = "mta-sts-unknown"    // Whether there is a policy could not be found out.
	whyNoPolicy      = "requiretls-nothing" // The message requires TLS where nothing says how to verify it.
	whyFailed        = "tls-failed"         // It did, and may.
	whyTransport     = "transport"          // The configuration says so.
)

// Types of policies, RFC 8460, section 4.4.
const (
	policyTLSA = "tlsa"
	policySTS  = "sts"
	policyNone = "no-policy-found"
)

// decideTLS returns what to demand of a connection.
//
// Without anything that promises TLS it is opportunistic (RFC 7435): who can't be
// verified can still be spoken to in secret, and a server whose TLS is broken gets
// its mail in plain text, as it would without TLS. DANE and MTA-STS each promise
// more, and each must be fulfilled: neither makes up for a failure of the other
// (RFC 8461, section 2). A message that needs no TLS has its way (RFC 8689, section
// 4.1), except with a server that the configuration makes demands of.
func decideTLS(e tlsEvidence) tlsPolicy {
	if e.via != viaMX {
		return e.decideTransport()
	}
	p := e.decideMX()
	p.domainPolicy, p.hostPolicy = policyNone, policyNone
	if e.sts.mode != stsNone {
		p.domainPolicy = policySTS
	}
	if e.dane != daneNone {
		p.hostPolicy = policyTLSA
	}
	if e.failed && p.fallback {
		p.mode, p.pkix, p.dane, p.fallback, p.why = smtpclient.TLSSkip, smtpclient.CheckNot, smtpclient.CheckNot, false, whyFailed
	}
	return p
}

// requires tells whether the message must not be sent without verified TLS, and
// waives whether it needs none.
func (e tlsEvidence) requires() bool { return e.requireTLS != nil && *e.requireTLS }
func (e tlsEvidence) waives() bool   { return e.requireTLS != nil && !*e.requireTLS }

// decideMX decides for a mail exchanger with which TLS has not failed.
func (e tlsEvidence) decideMX() tlsPolicy {
	// Whether a certificate is good is found out in any case, for reports.
	p := tlsPolicy{mode: smtpclient.TLSOpportunistic, pkix: smtpclient.CheckOnly, fallback: !e.report, why: whyOpportunistic}
	if e.dane == daneUsable {
		p.dane = smtpclient.CheckOnly
	}
	if e.waives() {
		p.fallback, p.why = true, whyNotRequired
		return p
	}
	if refuse, why := e.refuse(); refuse != nil {
		return tlsPolicy{refuse: refuse, why: why}
	}
	enforced := e.sts.mode == stsEnforce
	if enforced {
		p.pkix, p.why = smtpclient.CheckRequired, whySTS
	}
	switch {
	case e.dane == daneUsable && enforced:
		p.dane, p.why = smtpclient.CheckRequired, whyBoth
	case e.dane == daneUsable:
		p.dane, p.why = smtpclient.CheckRequired, whyDANE
	case e.dane == daneUnusable && !enforced:
		p.why = whyUnusable
	}
	if enforced || e.dane != daneNone {
		p.mode, p.fallback = smtpclient.TLSRequired, false
	}
	return p
}

// refuse returns why nothing may be sent to a mail exchanger, nil if it may.
func (e tlsEvidence) refuse() (*failure, string) {
	enforced := e.sts.mode == stsEnforce
	switch {
	case e.dane == daneUnknown:
		return &failure{enhanced: statusDNS, elsewhere: true, text: "what the mail server promises by DANE can't be looked up for now"}, whyUnknown
	case enforced && !e.sts.matches:
		return &failure{enhanced: statusTLS, elsewhere: true, text: "the mail server is not one of those in the MTA-STS policy of the domain"}, whyNotInPolicy
	case e.requires() && !enforced && e.dane != daneUsable:
		return noRequireTLS("neither DANE nor MTA-STS tells how to verify the mail server"), whyNoPolicy
	}
	return nil, ""
}

// noRequireTLS is the failure of a message that requires TLS, RFC 8689, section
// 4.2.1. Another host may have what this one lacks.
func noRequireTLS(reason string) *failure {
	return &failure{
		code: smtp.CodeMailboxPermanent, enhanced: statusNoRequireTLS, permanent: true, elsewhere: true,
		text: "the message must be sent with verified TLS (REQUIRETLS), but " + reason,
	}
}

// decideTransport decides for a server that is configured. DANE and MTA-STS are
// not for those.
func (e tlsEvidence) decideTransport() tlsPolicy {
	p := tlsPolicy{mode: smtpclient.TLSRequired, pkix: smtpclient.CheckRequired, why: whyTransport}
	switch e.via {
	case viaImmediate:
		p.mode = smtpclient.TLSImmediate
	case viaUnverified:
		p.pkix = smtpclient.CheckOnly
	case viaPlain:
		p.mode, p.pkix = smtpclient.TLSSkip, smtpclient.CheckNot
	}
	if e.requires() && p.pkix != smtpclient.CheckRequired {
		return tlsPolicy{refuse: noRequireTLS("the server it goes to is not verified"), why: whyTransport}
	}
	return p
}

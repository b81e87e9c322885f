package tlsrpt

import (
	"slices"
	"time"
)

// Report is what a server tells the owner of a domain of its connections with that
// domain's servers, in JSON (RFC 8460, section 4.4).
type Report struct {
	Organization string    `json:"organization-name"`
	DateRange    DateRange `json:"date-range"`
	Contact      string    `json:"contact-info"` // An email address.
	ID           string    `json:"report-id"`
	Policies     []Result  `json:"policies"`
}

// DateRange is the time that a report is about: a day of UTC, from its first to its
// last second.
type DateRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// Result is what came of connections for which a policy was applied.
type Result struct {
	Policy   Policy    `json:"policy"`
	Summary  Summary   `json:"summary"`
	Failures []Failure `json:"failure-details,omitempty"`
}

// PolicyType is the kind of a policy.
type PolicyType string

// The types (RFC 8460, section 4.4).
const (
	PolicyTLSA PolicyType = "tlsa"            // DANE, of a host.
	PolicySTS  PolicyType = "sts"             // MTA-STS, of a domain.
	PolicyNone PolicyType = "no-policy-found" // Nothing promises TLS.
)

// Policy is what a server, or all servers of a domain, promise of TLS.
type Policy struct {
	Type   PolicyType `json:"policy-type"`
	String []string   `json:"policy-string,omitempty"` // Lines of the MTA-STS policy, or the TLSA records.
	Domain string     `json:"policy-domain"`           // Whose it is, in A-labels: for TLSA the host.
	MXHost []string   `json:"mx-host,omitempty"`       // Patterns of the MTA-STS policy, in A-labels.
}

// Equal tells whether two policies are the same.
func (p Policy) Equal(other Policy) bool {
	return p.Type == other.Type && p.Domain == other.Domain && slices.Equal(p.String, other.String) && slices.Equal(p.MXHost, other.MXHost)
}

// Summary counts sessions: those that did as the policy has it, and those that did
// not.
type Summary struct {
	Success int64 `json:"total-successful-session-count"`
	Failure int64 `json:"total-failure-session-count"`
}

// ResultType is what went wrong.
type ResultType string

// The types (RFC 8460, section 4.3).
const (
	STARTTLSNotSupported    ResultType = "starttls-not-supported"
	CertificateHostMismatch ResultType = "certificate-host-mismatch"
	CertificateExpired      ResultType = "certificate-expired"
	CertificateNotTrusted   ResultType = "certificate-not-trusted"
	ValidationFailure       ResultType = "validation-failure" // Anything else.
	TLSAInvalid             ResultType = "tlsa-invalid"       // None of the records can be used.
	DNSSECInvalid           ResultType = "dnssec-invalid"     // The records could not be had, with DNSSEC.
	DANERequired            ResultType = "dane-required"      // The sender insists on DANE.
	STSPolicyFetchError     ResultType = "sts-policy-fetch-error"
	STSPolicyInvalid        ResultType = "sts-policy-invalid"
	STSWebPKIInvalid        ResultType = "sts-webpki-invalid"
)

// ResultTypes returns all types.
func ResultTypes() []ResultType {
	return []ResultType{
		STARTTLSNotSupported, CertificateHostMismatch, CertificateExpired, CertificateNotTrusted, ValidationFailure,
		TLSAInvalid, DNSSECInvalid, DANERequired, STSPolicyFetchError, STSPolicyInvalid, STSWebPKIInvalid,
	}
}

// Failure is something that went wrong, in so many sessions. Fields that are not known
// are empty.
type Failure struct {
	Type        ResultType `json:"result-type"`
	SendingIP   string     `json:"sending-mta-ip,omitempty"`
	MXHost      string     `json:"receiving-mx-hostname,omitempty"`
	MXHello     string     `json:"receiving-mx-helo,omitempty"`
	ReceivingIP string     `json:"receiving-ip,omitempty"`
	Sessions    int64      `json:"failed-session-count"`
	Info        string     `json:"additional-information,omitempty"` // A URI.
	Reason      string     `json:"failure-reason-code,omitempty"`
}

// FailuresMax bounds the failures of a Result that differ in more than their number:
// servers can have any name, and come from many addresses. Those beyond are only in
// the summary.
const FailuresMax = 100

// Add adds what came of other connections, for the same policy.
func (r *Result) Add(other Result) {
	r.Summary.Success += other.Summary.Success
	r.Summary.Failure += other.Summary.Failure
	for _, f := range other.Failures {
		r.addFailure(f)
	}
}

func (r *Result) addFailure(f Failure) {
	for i := range r.Failures {
		same := r.Failures[i]
		same.Sessions = f.Sessions
		if same == f {
			r.Failures[i].Sessions += f.Sessions
			return
		}
	}
	if len(r.Failures) < FailuresMax {
		r.Failures = append(r.Failures, f)
	}
}

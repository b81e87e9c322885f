package tlsrpt

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dns"
)

// Reasons say more than a ResultType. RFC 8460, section 4.3.3, leaves their form to
// us. Those here come from closed sets: what others write is not repeated.
const (
	ReasonMXMismatch  = "mtasts-policy-mx-mismatch"    // The host is not in the MTA-STS policy.
	ReasonAllUnusable = "all-unusable-records+ignored" // No TLSA record can be used, and mail went on.
	ReasonNoMatch     = "no-matching-tlsa-record"      // No TLSA record is about the certificate.
	ReasonRefused     = "starttls-refused"             // STARTTLS was announced, and answered with another reply.
	ReasonLost        = "tls-connection-lost"          // In the handshake.
	ReasonHandshake   = "tls-handshake-failed"         // In another way.
)

// alertNames are the names of alerts (RFC 8446, section 6, and those before).
var alertNames = map[uint8]string{
	0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow", 30: "decompression_failure",
	40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
	45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
	51: "decrypt_error", 60: "export_restriction", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
	86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension",
	111: "certificate_unobtainable", 112: "unrecognized_name", 113: "bad_certificate_status_response", 114: "bad_certificate_hash_value",
	115: "unknown_psk_identity", 116: "certificate_required", 120: "no_application_protocol", 121: "ech_required",
}

// AlertReason returns the reason for an alert of TLS.
func AlertReason(alert uint8) string {
	name := alertNames[alert]
	if name == "" {
		name = "unknown"
	}
	return fmt.Sprintf("tls-alert-%d-%s", alert, name)
}

// DNSReason returns the reason in an error of a lookup, "" if it has none (RFC 8914).
func DNSReason(err error) string {
	e, ok := errors.AsType[*dns.Error](err)
	if !ok || e.Extended == nil {
		return ""
	}
	name := e.Extended.Name()
	if name == "" {
		name = "unknown"
	}
	return fmt.Sprintf("dns-extended-error-%d-%s", e.Extended.Code, strings.ReplaceAll(strings.ToLower(name), " ", "-"))
}

// invalidReasons are the reasons for certificates that are not valid. Those expired
// have a type of their own.
var invalidReasons = map[x509.InvalidReason]string{
	x509.NotAuthorizedToSign:           "issuer-may-not-sign",
	x509.CANotAuthorizedForThisName:    "issuer-not-for-this-name",
	x509.TooManyIntermediates:          "too-many-intermediates",
	x509.IncompatibleUsage:             "certificate-not-for-servers",
	x509.NameMismatch:                  "issuer-name-mismatch",
	x509.NameConstraintsWithoutSANs:    "name-constraints-without-names",
	x509.UnconstrainedName:             "name-not-constrained",
	x509.TooManyConstraints:            "too-many-constraints",
	x509.CANotAuthorizedForExtKeyUsage: "issuer-not-for-servers",
	x509.NoValidChains:                 "no-valid-chain",
}

// CertificateFailure returns what an error of verifying a certificate is, by common
// authorities or TLSA records: one of package x509 or dane.
func CertificateFailure(err error) (ResultType, string) {
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isName := errors.AsType[x509.HostnameError](err)
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	switch {
	case errors.Is(err, dane.ErrMismatch):
		return CertificateNotTrusted, ReasonNoMatch
	case isInvalid && invalid.Reason == x509.Expired:
		return CertificateExpired, ""
	case isName:
		return CertificateHostMismatch, ""
	case isInvalid:
		return CertificateNotTrusted, invalidReasons[invalid.Reason]
	case isUnknown:
		return CertificateNotTrusted, "unknown-authority"
	}
	return CertificateNotTrusted, "certificate-not-verified"
}

// Package mtasts has MTA-STS, RFC 8461: the record by which a domain says that it
// has a policy, the policy, which says that mail for the domain goes over verified
// TLS and to which hosts, and how both are got.
//
// LookupRecord and Fetch make one lookup and one request, through interfaces, and
// keep nothing. Whether to make them, and what a failure means, is for package
// mtastsdb: who can stop DNS or HTTPS can hide a policy that was never seen, but not
// one that is kept (section 10.2).
package mtasts

import (
	"errors"
	"fmt"
)

var (
	// ErrNoRecord means that a domain has no record, or one that is not a record of
	// MTA-STS, or several, which is the same (RFC 8461, section 3.1). A policy that is
	// kept stays in force.
	ErrNoRecord = errors.New("no MTA-STS record")

	// ErrRecord means that there is a record with a mistake. It counts as none.
	ErrRecord = errors.New("invalid MTA-STS record")

	// ErrFetch means that a policy could not be fetched: nobody answered, or not with
	// a policy.
	ErrFetch = errors.New("fetching MTA-STS policy")

	// ErrWebPKI means that whoever answered could not show that it is the policy host,
	// with a certificate that is valid for its name.
	ErrWebPKI = errors.New("certificate of MTA-STS policy host")

	// ErrPolicy means that a text was fetched that is no policy.
	ErrPolicy = errors.New("invalid MTA-STS policy")
)

// Failure is why there is no policy, in the words of reports about TLS (RFC 8460,
// section 4.3.2.2).
type Failure string

// The failures.
const (
	FailureFetch  Failure = "sts-policy-fetch-error"
	FailureWebPKI Failure = "sts-webpki-invalid"
	FailurePolicy Failure = "sts-policy-invalid"
)

// FailureOf returns what an error of Fetch is in reports, "" for none.
func FailureOf(err error) Failure {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrWebPKI):
		return FailureWebPKI
	case errors.Is(err, ErrPolicy):
		return FailurePolicy
	}
	return FailureFetch
}

// SyntaxError is a mistake in a record or a policy.
type SyntaxError struct {
	Line   int    // Of a policy, from 1. Zero for a record, which is one.
	Column int    // In bytes from the start of the line or record, from 1.
	Text   string // What is wrong. Of the policy or record it has only printable ASCII.
	kind   error
}

// Error tells what is wrong, and where.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%v: byte %d: %s", e.kind, e.Column, e.Text)
	}
	return fmt.Sprintf("%v: line %d, byte %d: %s", e.kind, e.Line, e.Column, e.Text)
}

// Unwrap returns ErrRecord or ErrPolicy.
func (e *SyntaxError) Unwrap() error { return e.kind }

// isName tells whether s is the name of a field, of this or a later standard (RFC
// 8461, sections 3.1 and 3.2).
func isName(s string) bool {
	if s == "" || len(s) > nameSizeMax || !alphanumeric(s[0]) {
		return false
	}
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// nameSizeMax bounds the name of a field in bytes (RFC 8461, section 3.1).
const nameSizeMax = 32

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

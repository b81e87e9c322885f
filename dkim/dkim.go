// Package dkim verifies and makes signatures of DomainKeys Identified Mail: RFC
// 6376, with the algorithms of RFC 8301 and RFC 8463 and the internationalised
// mail of RFC 8616.
//
// Verify evaluates all signatures of a message for package receive, a Signer makes
// them for package submit, and package arc uses the parts for its own kinds of
// signatures. Keys are looked up through a dns.Resolver, once, without cache or
// retry. Bodies are streamed: of no message more than the header is in memory.
package dkim

import (
	"errors"
	"time"

	"github.com/mjl-/mox/dns"
)

// Result is the outcome for one signature, as in Authentication-Results (RFC 8601,
// section 2.7.1).
type Result string

// The results.
const (
	None      Result = "none"      // Not verified, but the key is only being tested (t=y): as if not signed.
	Pass      Result = "pass"      // Verified, and acceptable.
	Fail      Result = "fail"      // The body or the header is not what was signed.
	Policy    Result = "policy"    // Not acceptable to us; it was not verified.
	Neutral   Result = "neutral"   // Not used by this package.
	Temperror Result = "temperror" // The key could not be looked up now.
	Permerror Result = "permerror" // The signature or the key can't be used.
)

// Causes of results other than Pass, in Evaluation.Err.
var (
	ErrSyntax     = errors.New("dkim: malformed signature")
	ErrVersion    = errors.New("dkim: unknown version of signature")
	ErrAlgorithm  = errors.New("dkim: algorithm is not acceptable")
	ErrCanon      = errors.New("dkim: unknown canonicalisation")
	ErrQuery      = errors.New("dkim: no known method to look up the key")
	ErrFrom       = errors.New("dkim: From field is not signed")
	ErrIdentity   = errors.New("dkim: identity is not in the domain")
	ErrExpired    = errors.New("dkim: signature has expired")
	ErrSuffix     = errors.New("dkim: domain is a public suffix")
	ErrPolicy     = errors.New("dkim: signature is not acceptable")
	ErrTooMany    = errors.New("dkim: too many signatures")
	ErrNoRecord   = errors.New("dkim: no key in DNS")
	ErrRecords    = errors.New("dkim: several keys in DNS under one name")
	ErrRecord     = errors.New("dkim: malformed key in DNS")
	ErrRevoked    = errors.New("dkim: key was revoked")
	ErrKeyUse     = errors.New("dkim: key is not for such signatures")
	ErrKeySize    = errors.New("dkim: size of key is not acceptable")
	ErrBody       = errors.New("dkim: body is not what was signed")
	ErrSignature  = errors.New("dkim: header is not what was signed")
	ErrBodyLength = errors.New("dkim: body is shorter than what was signed")
)

// ErrHeader means that a message has a header section that is not looked at: it is
// larger than 1 MiB, or has more than 10,000 fields. Callers treat the message as
// one without signatures.
var ErrHeader = errors.New("dkim: header is too large")

// Canonicalization is what is done to a message before it is hashed, RFC 6376,
// section 3.4. The zero value is simple/simple.
type Canonicalization struct {
	HeaderRelaxed bool
	BodyRelaxed   bool
}

// String returns c as in a signature, such as "relaxed/simple".
func (c Canonicalization) String() string {
	names := map[bool]string{false: "simple", true: "relaxed"}
	return names[c.HeaderRelaxed] + "/" + names[c.BodyRelaxed]
}

// Signature is a parsed DKIM-Signature field, RFC 6376, section 3.5.
type Signature struct {
	Algorithm string // "rsa-sha256", "ed25519-sha256" or "rsa-sha1".
	Canon     Canonicalization
	Domain    dns.Domain // Who takes responsibility.
	Selector  string     // In A-labels, lower case. It may have underscores, and be a number.
	Identity  string     // The agent or user, decoded, as "user@domain" or "@domain".
	Headers   []string   // Names of signed fields, as written, in order.
	Length    int64      // Bytes of the canonical body that are signed, -1 for all.
	Time      time.Time  // Of signing. Zero if not told.
	Expires   time.Time  // Zero if not told.
	BodyHash  []byte
	Signature []byte

	identityDomain dns.Domain
	queries        []string // Methods to look up the key. Nil: dns/txt.
	tags           Tags
	raw            []byte // The field.
}

// Record is a key as published in DNS, RFC 6376, section 3.6.1.
type Record struct {
	Hashes   []string // Acceptable hashes, "sha256". Nil: all.
	KeyType  string   // "rsa" or "ed25519".
	Notes    string   // For people. Not to be shown unquoted.
	Key      []byte   // As published. Empty: revoked.
	Services []string // "email", or "*" for all. Nil: all.
	Flags    []string // "y" for testing, "s" for the same domain in Identity.

	// Public is an *rsa.PublicKey or ed25519.PublicKey, nil if revoked.
	Public any
}

// Evaluation is what is known of a signature after verification.
type Evaluation struct {
	Result    Result
	Signature *Signature // Nil if the field could not be parsed.
	Record    *Record    // Nil if it could not be looked up.
	Authentic bool       // The answer with the key, or that there is none, is protected by DNSSEC.
	Err       error      // Why Result is not Pass.

	// Skipped is set in one last Evaluation, with Result Policy and ErrTooMany: the
	// number of signatures that were not looked at.
	Skipped int
}

// VerifyOptions says how to verify.
type VerifyOptions struct {
	Now time.Time

	// Policy returns why a signature is not acceptable. Nil: DefaultPolicy.
	Policy func(*Signature) error

	// Service is what the key must be for (RFC 6376, section 3.6.1), such as "tlsrpt".
	// Empty: "email".
	Service string

	// IgnoreTestMode keeps results of keys that are only being tested.
	IgnoreTestMode bool
}

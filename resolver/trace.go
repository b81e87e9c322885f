package resolver

import (
	"time"

	"github.com/mjl-/mox/dns"
)

// Verdict is what DNSSEC says of an answer, or of a part of it.
type Verdict string

// The verdicts, RFC 4033, section 5. What can't be told, because a server does
// not answer or a budget is used up, has none.
const (
	Secure   Verdict = "secure"   // Signed, from a trust anchor on.
	Insecure Verdict = "insecure" // Proven not to be signed, or signed in ways we do not know.
	Bogus    Verdict = "bogus"    // It should be signed, and is not, or wrongly.
)

// Trace is how a lookup came to its result, as (*Resolver).Trace(ctx, name, type)
// returns it. It is for people: what its texts say may change.
type Trace struct {
	Name string // As asked for, absolute.
	Type string // "A", "MX", ….

	// Validated tells whether we validated. If not, the mode is system-ad, or auto
	// with servers that do not pass DNSSEC records on: there is one step for each
	// answer then, and Result.Authentic is what a trusted server said.
	Validated bool

	Steps   []Step  // In the order in which they were made.
	Verdict Verdict // Of the answer as a whole. Empty: unknown, see Err.
	Why     string  // A sentence.

	Records []string   // Of the answer, as in a zone file.
	Result  dns.Result // As the lookup returns it.
	Err     error      // A *dns.Error, also if there are no records.
	Cost    Cost
	Took    time.Duration
}

// Step is one of: "anchor" (the keys of the root, against the trust anchors),
// "delegation" (whether a name is the top of a zone, and of a signed one: DS
// records, or the proof that there are none), "keys" (the keys of a zone, against
// its DS records), "answer", "alias" (a CNAME, or the DNAME it is from), and
// "denial" (the proof that something does not exist, also beside records of a
// wildcard). If nothing is validated, all are "answer of a server".
type Step struct {
	Kind    string
	Name    string // Whose records are looked at.
	Type    string // Of the records; of those that are not there, for a denial.
	Zone    string // With whose keys. Empty: none.
	Server  string // Address and port of who gave the records.
	Verdict Verdict
	Why     string // A sentence.

	// Extended is why it is bogus, or why it is insecure if it is signed, in terms
	// of RFC 8914.
	Extended *dns.Extended

	Records    []string // As in a zone file, without signatures.
	TTL        time.Duration
	DS         []TraceDS        // Of delegation and anchor.
	Keys       []TraceKey       // Of keys and anchor.
	Signatures []TraceSignature // Over the records, or over the records of the proof.
	Proof      *TraceProof
}

// TraceDS is a DS record or a trust anchor.
type TraceDS struct {
	KeyTag    uint16
	Algorithm string // "ECDSAP256SHA256", or the number of an unknown one.
	Digest    string // "SHA256", or the number of an unknown one.
	Used      bool   // It counts.
	Why       string // If it does not.
	Matches   bool   // A key has this digest. Only set for anchors and after the keys were fetched.
}

// TraceKey is a key of a zone.
type TraceKey struct {
	KeyTag    uint16
	Algorithm string
	Bits      int  // Of the public key: the modulus of RSA, the curve of others. Zero: unknown.
	Zone      bool // The flag that it is for signing records at all.
	SEP       bool // The flag that a DS record should lead to it.
	Revoked   bool
	Entry     bool // A DS record, or a trust anchor, leads to it.
	Used      bool // Signatures made with it count.
}

// TraceSignature is an RRSIG record.
type TraceSignature struct {
	Name      string // Owner, with Covers the records it is over.
	Covers    string // Type.
	Signer    string
	KeyTag    uint16
	Algorithm string
	Labels    uint8
	Inception time.Time
	Expires   time.Time
	Valid     bool
	Tried     bool   // The cryptography was done. False: it was not needed, or could not help.
	Why       string // If it was tried or looked at, and is not valid.
}

// TraceProof is the proof that something does not exist.
type TraceProof struct {
	Kind    string   // "NSEC" or "NSEC3".
	Records []string // As in a zone file.
	Shows   []string // Sentences: what follows from which record.
	OptOut  bool     // There may be unsigned delegations that the proof does not name.
}

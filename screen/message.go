package screen

import "time"

// Message is the evidence about a message, for one recipient, once it was read.
// The zero value has nothing for and nothing against it.
type Message struct {
	Now    time.Time
	Sender Sender

	// Ours says that a user of this server sent the message, after logging in: no
	// server of others had to vouch for it.
	Ours bool

	Mailbox string // Where it is meant to go, by the address and its rules.

	// What the recipient's rules say.
	ListDomain       string // The rule's list domain, if SPF or DKIM verified it.
	Forwarded        bool   // From another mailbox of the user. Sender is without the forwarder.
	AuthRequired     string // What to tell senders that are not verified, "" to take their mail.
	Introbox         string // Where mail of senders without reputation goes in place of Inbox.
	RejectsTo        string // Where refused mail goes in place of being refused.
	FirstWait        time.Duration
	SubjectPass      SubjectPass
	SubjectPassOffer string // The token to offer, "" if there is none to be had.

	DMARC  DMARC
	ARC    ARC
	Report Report

	SPF     string // Result for MAIL FROM, as in RFC 7208, section 2.6; "" if it was not asked for.
	Reverse string // Result of iprev, RFC 8601, section 2.7.3; "" if it was not asked for.
	Plain   bool   // The peer didn't use TLS, though it could.
	NotToMe bool   // The recipient is not in To or Cc.

	Histories Histories
	SentTo    SentTo

	// Asked for only if the decision needs them, see Verdict.Needs.
	Content    *Content
	Blocklists *Blocklists
}

// DMARC is the result of DMARC, and what the domain in From asks for.
type DMARC struct {
	Result string // "none", "pass", "fail", "temperror", "permerror".
	Reject bool   // It fails, and the policy in force asks to quarantine or reject.
}

// ARC is what servers on the way found, RFC 8617, if their seals are whole.
type ARC struct {
	Sealer string // Domain of the last seal, "" without a chain that passes.
	Passed bool   // The sealer found that DMARC passed, or a signature of the domain in From.
}

// Report is what kind of report for us a message is.
type Report string

// The reports, if they are authenticated as reports must be.
const (
	NoReport    Report = ""
	DMARCReport Report = "dmarc"
	TLSReport   Report = "tlsrpt"
)

// SentTo is whom the account has written to.
type SentTo struct {
	Address, Domain, Org bool // The address in From, another of its domain, of its organisation.
}

// SubjectPass is what is known about a token in the subject.
type SubjectPass int

// What is known.
const (
	PassOff     SubjectPass = iota // The account does not give tokens.
	PassAbsent                     // There is none, or one that is not good.
	PassPresent                    // It is good.
)

// Content is what the junk filter says.
type Content struct {
	Off         bool    // The account has none.
	Probability float64 // Of being junk.
	Significant bool    // The filter has learned enough.
	Threshold   float64 // Of the account, varied a little by chance so that nobody can probe it.
	Words       string  // Those that counted the most, for people.
}

// Blocklists is what the lists in DNS say about the peer's address.
type Blocklists struct {
	Listed []string // Zones that have it.
	Text   string   // What the first one says of it, for people.
}

// Needs is evidence that a decision is waiting for, since it costs more than the rest.
type Needs int

// The needs.
const (
	NeedsNothing Needs = iota
	NeedsContent
	NeedsBlocklists
)

// Step is one step of a decision, for people.
type Step struct {
	Name    string `json:"name"`
	Finding string `json:"finding"`
	Effect  string `json:"effect,omitempty"`
}

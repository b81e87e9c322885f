package trace

import (
	"time"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/screen"
)

// Kind is what an event is about.
type Kind string

// The kinds. Each says which parts of an Event it has.
const (
	Submitted Kind = "submitted" // A message of a user was queued. Peer, Submission.
	Queued    Kind = "queued"    // A message of our own, or a copy for later, was queued. Text says what it is.
	Received  Kind = "received"  // A message of another server was judged. Peer, Evidence; Refusal if nobody has it.
	Judged    Kind = "judged"    // What that meant for one recipient in one account. Verdict.
	Refused   Kind = "refused"   // A sender, recipient or message was refused, before it was judged. Peer, Refusal.
	Attempted Kind = "attempted" // An attempt to deliver to one recipient. Attempt.
	Notified  Kind = "notified"  // The sender was told what became of it. Notice.
	Answered  Kind = "answered"  // A notification of another server came about it. Answer.
	Changed   Kind = "changed"   // An administrator, or a rule, changed it in the queue. Change.
	Gap       Kind = "gap"       // Events are missing. Missing.
)

// Event is one step on the way of a message, or of a message that did not come to
// be. What is unknown, or doesn't apply, is empty.
//
// Texts are from outside, also with control characters, and bounded: who shows
// them to people has to see to that.
type Event struct {
	Time time.Time `json:"time"` // Zero in Append: now.
	Kind Kind      `json:"kind"`
	CID  CID       `json:"cid,omitzero"` // Of the connection or delivery, as in the log.

	MessageID string `json:"messageId,omitempty"` // Without angle brackets.
	From      string `json:"from"`                // Sender of the envelope; empty for the null sender.
	Base      string `json:"base,omitempty"`      // The same without the id of the message in it, if it has one (FromIDLoginAddresses).
	Rcpts     []Rcpt `json:"rcpts,omitempty"`     // That it is about: all of the message, or one.
	Account   string `json:"account,omitempty"`   // Of the user who has sent it; for Judged, who it is for.
	Subject   string `json:"subject,omitempty"`
	Size      int64  `json:"size,omitempty"` // Bytes.

	Peer       *Peer       `json:"peer,omitempty"`
	Submission *Submission `json:"submission,omitempty"`
	Evidence   *Evidence   `json:"evidence,omitempty"`
	Verdict    *Verdict    `json:"verdict,omitempty"`
	Refusal    *Refusal    `json:"refusal,omitempty"`
	Attempt    *Attempt    `json:"attempt,omitempty"`
	Notice     *Notice     `json:"notice,omitempty"`
	Answer     *Answer     `json:"answer,omitempty"`
	Change     *Change     `json:"change,omitempty"`
	Missing    *Missing    `json:"missing,omitempty"`

	Text string `json:"text,omitempty"` // For people.
}

// CID is the id of a connection or delivery. Its text is that of the log.
type CID int64

// String returns the id as the log has it.
func (c CID) String() string { return cid.Format(int64(c)) }

// MarshalText returns the id as the log has it.
func (c CID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText parses the id as the log has it.
func (c *CID) UnmarshalText(text []byte) error {
	v, err := ParseCID(string(text))
	*c = v
	return err
}

// Rcpt is a recipient.
type Rcpt struct {
	Address string `json:"address"`
	QueueID int64  `json:"queueId,omitempty"` // Of its message in the queue.
}

// Peer is who a message came from.
type Peer struct {
	IP       string `json:"ip,omitempty"`
	LocalIP  string `json:"localIp,omitempty"` // That it connected to.
	Hello    string `json:"hello,omitempty"`   // What it calls itself.
	Protocol string `json:"protocol,omitempty"`
	TLS      string `json:"tls,omitempty"` // Version and cipher suite, empty for none.
}

// Submission is how a message of a user came.
type Submission struct {
	Login      string      `json:"login"`                // Address that was logged in with.
	Header     string      `json:"header"`               // The address in From.
	Signatures []Signature `json:"signatures,omitempty"` // Of DKIM, that were added.
	SignError  string      `json:"signError,omitempty"`  // Why there are none though there should be.
	RequireTLS *bool       `json:"requireTls,omitempty"`
	NotBefore  time.Time   `json:"notBefore,omitzero"` // That the sender has asked for (FUTURERELEASE).
	Held       bool        `json:"held,omitempty"`     // It was held at once, for some of its recipients at least.
	HoldRule   int64       `json:"holdRule,omitempty"` // By this rule.
}

// Signature is a signature of DKIM.
type Signature struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm,omitempty"`
}

// Evidence is what was found out about a message.
type Evidence struct {
	Header         string                  `json:"header,omitempty"` // The address in From.
	Authentication []screen.Authentication `json:"authentication,omitempty"`
	Forged         int                     `json:"forged,omitempty"` // Fields of the message that say to be our results.
}

// Verdict is what was decided for one recipient in one account.
type Verdict struct {
	Action      string        `json:"action"` // As screen.Action.
	Reason      screen.Reason `json:"reason"`
	Explanation string        `json:"explanation,omitempty"`
	Steps       []screen.Step `json:"steps,omitempty"`
	Rule        string        `json:"rule,omitempty"`    // The ruleset of the recipient that matches.
	Mailbox     string        `json:"mailbox,omitempty"` // Where it is: for a message that was refused, where it is kept.
	Delivered   bool          `json:"delivered"`         // It is in Mailbox, and not only kept there.
	Reply       string        `json:"reply,omitempty"`   // For its sender, if it is refused.
	Wait        time.Duration `json:"wait,omitempty"`    // Nanoseconds, before the reply.
}

// Refusal is why something was refused.
type Refusal struct {
	Stage  string `json:"stage"`            // "mail", "rcpt" or "data".
	Reply  string `json:"reply"`            // What the sender reads.
	Reason string `json:"reason,omitempty"` // As screen.Reason, or that of package submit.
	Text   string `json:"text,omitempty"`   // For people; may name what the sender must not know.
}

// Results of an attempt.
const (
	ResultDelivered = "delivered"
	ResultDelayed   = "delayed"
	ResultFailed    = "failed"
)

// Attempt is an attempt to deliver.
type Attempt struct {
	Number    int64         `json:"number"`
	Took      time.Duration `json:"took"` // Nanoseconds.
	Transport string        `json:"transport"`
	Host      string        `json:"host,omitempty"`
	IP        string        `json:"ip,omitempty"`
	LocalIP   string        `json:"localIp,omitempty"`
	TLS       string        `json:"tls,omitempty"`       // How the connection was protected: "none", "unverified", "pkix", "dane" or "pkix+dane".
	Version   string        `json:"version,omitempty"`   // Of TLS, with the cipher suite.
	Policy    string        `json:"policy,omitempty"`    // What decided about TLS, in a word.
	STS       string        `json:"sts,omitempty"`       // Mode of the domain's MTA-STS policy, "unknown" if it could not be had.
	STSMatch  bool          `json:"stsMatch,omitempty"`  // The host is in that policy.
	DANE      string        `json:"dane,omitempty"`      // What the host's TLSA records say: "none", "unknown", "unusable" or "usable".
	PKIXError string        `json:"pkixError,omitempty"` // Why its certificate is not good by common authorities, also where that doesn't matter.
	DANEError string        `json:"daneError,omitempty"` // Likewise by TLSA records, or why those are unknown.
	TLSError  string        `json:"tlsError,omitempty"`  // Why TLS failed, also if the message went without.
	Result    string        `json:"result"`              // One of Result….
	Code      int64         `json:"code,omitempty"`
	Enhanced  string        `json:"enhanced,omitempty"`
	Reply     string        `json:"reply,omitempty"` // Of the server, that took it.
	Error     string        `json:"error,omitempty"` // For people, with the server's reply if there was one.
	Permanent bool          `json:"permanent,omitempty"`
	Cause     string        `json:"cause,omitempty"` // What went wrong, for administrators: it has more than the sender is told.
	Tried     []Tried       `json:"tried,omitempty"` // Other failures in this attempt, as at hosts before, in their order.
	Next      time.Time     `json:"next,omitzero"`   // The next attempt, if there is one.
}

// Tried is a failure in an attempt that does not count, because of what came of other
// hosts.
type Tried struct {
	Host   string `json:"host,omitempty"`
	IP     string `json:"ip,omitempty"`
	TLS    string `json:"tls,omitempty"`
	Policy string `json:"policy,omitempty"`
	Error  string `json:"error"`
	Cause  string `json:"cause,omitempty"`
}

// Notice is a notification to the sender.
type Notice struct {
	Action    string `json:"action"` // As in RFC 3464: failed, delayed, delivered, relayed, expanded.
	To        string `json:"to"`
	MessageID string `json:"messageId,omitempty"`
	QueueID   int64  `json:"queueId,omitempty"` // If it goes to another server.
	Error     string `json:"error,omitempty"`   // Why it could not be made.
}

// Answer is a notification of another server.
type Answer struct {
	Action     string `json:"action"` // As in RFC 3464, or "unrecognized".
	Status     string `json:"status,omitempty"`
	Diagnostic string `json:"diagnostic,omitempty"`
	MessageID  string `json:"messageId,omitempty"`  // Of the notification.
	RemoteMTA  string `json:"remoteMta,omitempty"`  // That said so.
	Claimed    bool   `json:"claimed,omitempty"`    // Nothing vouches for what it says, so that it counts for nothing.
	Suppressed bool   `json:"suppressed,omitempty"` // The address is on the account's suppression list now.
}

// Change is a change of a message in the queue, with what holds after it.
type Change struct {
	What       string    `json:"what"`         // As "held", "released", "dropped", "rescheduled".
	By         string    `json:"by,omitempty"` // Who.
	State      string    `json:"state,omitempty"`
	Next       time.Time `json:"next,omitzero"` // The next attempt.
	Transport  string    `json:"transport,omitempty"`
	RequireTLS *bool     `json:"requireTls,omitempty"`
}

// Missing says that there are no events about some time before.
type Missing struct {
	Events  int64 `json:"events,omitempty"`  // So many could not be kept: there were too many at a time, or the disk failed.
	Restart bool  `json:"restart,omitempty"` // The process before did not end in order: its last seconds may be missing.
}

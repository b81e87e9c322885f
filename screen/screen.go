// Package screen decides about incoming messages: whether to accept one, put it
// in another mailbox, slow its sender down, defer or refuse it.
//
// A decision is a pure function of evidence that others have gathered, for one
// message and one recipient, with a reason from a closed set and an explanation
// for people. The package looks nothing up, waits for nothing and stores
// nothing; package receive gathers the evidence and carries the verdict out.
package screen

import (
	"fmt"
	"time"
)

// ReceivedMax is the number of Received fields a message may have. With more it
// is going in circles: RFC 5321, section 6.3, asks for a limit of at least 100.
const ReceivedMax = 100

// UnknownWait slows down who guesses addresses, before each refusal from the
// second on.
const UnknownWait = time.Second

// Recipient is what kind of recipient a message has.
type Recipient int

// Kinds of recipients. Unknown is the zero value, so that a forgotten lookup
// refuses.
const (
	Unknown  Recipient = iota // The domain is ours, the address doesn't exist.
	Foreign                   // The domain is not ours.
	Known                     // An address of an account.
	Alias                     // An address that stands for others.
	CatchAll                  // Taken for an account, though the address doesn't exist.
	Special                   // A test recipient, that fails as its name says.
)

// Evidence is what is known about a message and one of its recipients. Zero
// values are those of a message nobody has looked at yet, as at RCPT.
type Evidence struct {
	Recipient      Recipient
	SpecialCode    int  // The reply that a Special recipient asks for.
	DomainDisabled bool // The recipient's domain takes no mail for now.
	Refusal        *Refusal

	NullSender  bool // The message is a notification (RFC 5321, section 4.5.5).
	OtherRcpts  int  // Recipients accepted in the transaction before.
	UnknownsNow int  // Unknown recipients the connection has tried before.

	Received int // Received fields in the header.

	NotMember bool // The alias takes mail from its members only, and this is none.

	OverQuota bool // The account has no room for the message.
	RateOver  bool // The network has sent the account more than its share.

	SenderUnverified bool // SPF doesn't pass for MAIL FROM, so that nobody could be told of a failure.

	Message    *Message   // Nil until it was read, and where nothing is to be found out about it.
	Thresholds Thresholds // For Message.
}

// Refusal is what the configuration of an address says to those who write to it.
type Refusal struct {
	Code     int
	Enhanced string
	Text     string
}

// Action is what happens with a message.
type Action int

// The actions. Refuse is the zero value, so that a forgotten decision refuses.
const (
	Refuse  Action = iota // 5xx
	Defer                 // 4xx
	Slow                  // Accept, after Verdict.Wait.
	Mailbox               // Accept, though it was refused, into Verdict.Mailbox.
	Accept
)

// String returns the action's name for logs and metrics.
func (a Action) String() string {
	return [...]string{"refuse", "defer", "slow", "mailbox", "accept"}[a]
}

// Accepts returns whether the message is delivered.
func (a Action) Accepts() bool { return a >= Slow }

// Reason is why. The names are stored with messages and are labels of metrics.
type Reason string

// The reasons: a closed set, see Reasons.
const (
	NoBadSignals    Reason = "no-bad-signals"
	ListMember      Reason = "alias"
	TakenByCatchAll Reason = "catch-all"
	UnknownUser     Reason = "unknown-user"
	UnknownDomain   Reason = "unknown-domain"
	DisabledDomain  Reason = "domain-disabled"
	Configured      Reason = "address-refused"
	TestRecipient   Reason = "special-recipient"
	Backscatter     Reason = "null-sender-recipients"
	MailLoop        Reason = "mail-loop"
	MembersOnly     Reason = "members-only"
	NoRoom          Reason = "over-quota"
	HighRate        Reason = "high-rate"
	UnverifiedMany  Reason = "unverified-recipients"

	// Of messages that were read. Reputations have the names of their methods.
	ListAllow         Reason = "list-allow"
	DMARCPolicy       Reason = "dmarc-policy"
	AuthRequired      Reason = "msg-auth-required"
	LocalUser         Reason = "local-user"
	Reporting         Reason = "reporting"
	SPFPolicy         Reason = "spf-policy"
	ReverseName       Reason = "iprev"
	SubjectPassed     Reason = "subjectpass"
	SubjectPassGiven  Reason = "give-subjectpass"
	JunkContent       Reason = "junk-content"
	JunkContentStrict Reason = "junk-content-strict"
	Blocklisted       Reason = "dns-blocklisted"
)

// Reasons returns all reasons, for metrics.
func Reasons() []Reason {
	return []Reason{
		NoBadSignals, ListMember, TakenByCatchAll, UnknownUser, UnknownDomain, DisabledDomain, Configured,
		TestRecipient, Backscatter, MailLoop, MembersOnly, NoRoom, HighRate, UnverifiedMany,
		ListAllow, DMARCPolicy, AuthRequired, LocalUser, Reporting, SPFPolicy, ReverseName, SubjectPassed, SubjectPassGiven,
		JunkContent, JunkContentStrict, Blocklisted,
		Reason(MethodFromAddress), Reason(MethodToAddress), Reason(MethodFromDomain), Reason(MethodFromOrg), Reason(MethodSigner),
		Reason(MethodIP1), Reason(MethodIP2), Reason(MethodIP3),
	}
}

// Verdict is a decision.
type Verdict struct {
	Action      Action
	Reason      Reason
	Explanation string // For the log and the recipient; may name what the sender must not know.

	// Needs is the evidence that is missing. Unless it is NeedsNothing there is no
	// decision yet: Decide is asked again with it.
	Needs Needs

	Method Method // By which a reputation was found, "" if none was looked for.
	Steps  []Step // How it came about.

	Wait     time.Duration // Before the answer, zero for none.
	Mailbox  string        // Where it goes in place of the intended mailbox, "" for that.
	Destined string        // The mailbox it would have gone to otherwise, if that counts later.
	Seen     bool          // It needs not to be read.
	List     bool          // From a mailing list.
	Reject   bool          // It is delivered, though it was refused.
	Keep     bool          // Refused mail that the recipient may want to see.
	SlowDown bool          // The peer is to be slowed down.
	Override string        // Why DMARC's policy was not followed.

	// For Defer and Refuse.
	Code     int
	Enhanced string
	Text     string // For the sender.
}

// Decide decides. The order is that of certainty: what can't be delivered at
// all first, what a sender may try again last.
func Decide(e Evidence) Verdict {
	switch {
	case e.Recipient == Special && e.SpecialCode != 0:
		return refuse(TestRecipient, e.SpecialCode, "0.0", "as the recipient asks for", "test recipient")
	case e.DomainDisabled:
		return refuse(DisabledDomain, 450, "2.1", "no mail is taken for this domain now", "the domain is disabled in the configuration")
	case e.Recipient == Unknown:
		v := refuse(UnknownUser, 550, "1.1", "no such address", "the address doesn't exist")
		if e.UnknownsNow > 0 {
			v.Wait = UnknownWait
		}
		return v
	case e.Recipient == Foreign:
		return refuse(UnknownDomain, 550, "1.1", "no mail is taken for this domain", "not a domain of this server")
	case e.Refusal != nil:
		r := e.Refusal
		return Verdict{Action: actionOf(r.Code), Reason: Configured, Explanation: "refused by the configuration of the address", Code: r.Code, Enhanced: r.Enhanced, Text: r.Text}
	case e.NullSender && e.OtherRcpts > 0:
		return refuse(Backscatter, 452, "5.3", "one recipient at a time for the null sender", "notifications are for one recipient")
	case e.SenderUnverified && e.OtherRcpts > 0:
		return refuse(UnverifiedMany, 452, "5.3", "one recipient at a time for senders that SPF does not verify", "a failure for one of several recipients could be told to nobody")
	case e.Received > ReceivedMax:
		return refuse(MailLoop, 550, "4.6", "message is going in circles", fmt.Sprintf("%d Received fields, more than %d", e.Received, ReceivedMax))
	case e.NotMember:
		return refuse(MembersOnly, 550, "7.2", "only members may send to this address", "the author is not a member of the alias")
	case e.RateOver:
		return refuse(HighRate, 452, "2.2", "too many messages now", "the sender's network has exceeded its rate for the account")
	case e.OverQuota:
		return refuse(NoRoom, 452, "2.2", "mailbox is full", "the account is over its quota")
	case e.Message != nil:
		return analyze(e.Message, e.Thresholds)
	}
	return accept(e)
}

// decided returns whether there is a decision, or evidence is missing.
func (v Verdict) decided() bool { return v.Reason != "" || v.Needs != NeedsNothing }

func accept(e Evidence) Verdict {
	v := Verdict{Action: Accept, Reason: NoBadSignals, Explanation: "nothing speaks against it"}
	switch e.Recipient {
	case Alias:
		v.Reason, v.Explanation = ListMember, "sent to an alias"
	case CatchAll:
		v.Reason, v.Explanation = TakenByCatchAll, "the address doesn't exist, its domain takes all"
	}
	return v
}

func refuse(reason Reason, code int, detail, text, explanation string) Verdict {
	return Verdict{
		Action: actionOf(code), Reason: reason, Explanation: explanation,
		Code: code, Enhanced: string(rune('0'+code/100)) + "." + detail, Text: text,
	}
}

func actionOf(code int) Action {
	if code < 500 {
		return Defer
	}
	return Refuse
}

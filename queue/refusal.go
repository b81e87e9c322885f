package queue

import "strings"

// RepliedRelay is in place of a command for replies of a server that the operator has
// chosen, for mail to all domains. It refuses recipients because it does not know the
// sender, or is not for us: that says nothing about them.
const RepliedRelay = "relay"

// refusal is a failure for good, as a server told it.
type refusal struct {
	code     int64  // Of the reply, 0 if none is known.
	enhanced string // Enhanced status code, empty if none is known.

	// command is the one that the reply answered, as "RCPT". Empty if that is not
	// known, as for notifications.
	command string
}

// blame is whom a failure is about.
type blame int

const (
	blameNobody    blame = iota // The message, its sender, or something on the way.
	blameUnclear                // It may be the recipient: a matter of whether it repeats.
	blameRecipient              // The recipient takes no mail, for certain.
)

// certain are the enhanced status codes, without their class, that say that an
// address takes no mail: RFC 3463, sections 3.2 and 3.3, and RFC 7505. They are there to
// tell this from other reasons.
var certain = map[string]bool{"1.1": true, "1.2": true, "1.3": true, "1.6": true, "1.10": true, "2.1": true}

// vague are those that servers use with a reply code that says more.
var vague = map[string]bool{"": true, "0.0": true, "1.0": true, "2.0": true, "4.1": true, "5.0": true}

// aside are those about something else than the recipient: the sender's address,
// the size, the time that has passed.
var aside = map[string]bool{"1.7": true, "1.8": true, "2.3": true, "3.4": true, "4.7": true}

// blame returns whom a failure is about.
//
// A reply code alone, as 550, is only about the recipient if it answers RCPT:
// otherwise servers refuse messages or clients with it. 5.7.1 is what most say to
// what they take for spam, and to addresses of senders on a list of theirs, so that
// it is not certain (docs/decisions/0028).
func (r refusal) blame() blame {
	class, detail, _ := strings.Cut(r.enhanced, ".")
	switch {
	case r.code != 0 && r.code/100 != 5, class == "4", aside[detail], strings.HasPrefix(detail, "6."):
		return blameNobody
	case certain[detail]:
		return blameRecipient
	}
	switch r.code {
	case 500, 501, 502, 503, 504, 530, 534, 535, 538: // Of how we speak (RFC 5321, section 4.2.2; RFC 4954, section 6).
		return blameNobody
	case 552: // Too large, or the mailbox is full: the enhanced code tells.
		if vague[detail] {
			return blameNobody
		}
	case 521, 550, 551, 553, 556:
		if r.command == "RCPT" && vague[detail] {
			return blameRecipient
		}
	}
	if r.command == RepliedRelay {
		return blameNobody
	}
	return blameUnclear
}

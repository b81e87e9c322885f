// Package dsn has delivery status notifications (RFC 3464, 6533): the messages
// that tell a sender what became of another one. Message composes ours; Parse
// reads those of others.
//
// Whom to tell, and when, is not decided here. Package delivery does for what
// was queued, and package receive for what was just received.
package dsn

import (
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// ErrMessage means that a Message lacks what each notification must have. It is
// a mistake of the caller.
var ErrMessage = errors.New("dsn: incomplete message")

// Action is what became of a message for a recipient, RFC 3464, section 2.3.3.
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed"
	Expanded  Action = "expanded"
)

// status returns the enhanced status code that says no more than the action,
// empty for what is no action.
func (a Action) status() string {
	switch a {
	case Failed:
		return "5.0.0"
	case Delayed:
		return "4.0.0"
	case Delivered, Relayed, Expanded:
		return "2.0.0"
	}
	return ""
}

// Message is a notification to be composed. Texts may hold anything: what does
// not belong in its place is left out, cut or encoded by Compose.
type Message struct {
	From     smtp.Path // Who sends the notification, as postmaster@<hostname>.
	FromName string    // For people. Empty: "Mail Delivery".
	To       smtp.Path // Who sent the message this is about.

	MessageID  string // Of the notification, without angle brackets.
	References string // Message-ID of the message this is about, with angle brackets. Empty: none.
	Subject    string
	Date       time.Time
	Text       string // For people, lines ending in "\n".

	ReportingMTA    dns.Domain
	ReceivedFromMTA string // Name of the host the message came from. Empty: not told.
	Arrival         time.Time
	EnvelopeID      string // ENVID, RFC 3461, decoded. Empty: none.
	FutureRelease   string // Future-Release-Request, RFC 4865, section 5.1.2. Empty: none.

	Recipients []Recipient // At least one.

	// Original is the message this is about. Its header section is returned, at
	// most 128 KiB of it, and all of the message if Full is set and it can be
	// returned unchanged: it is no larger than 10 MiB, has no overlong lines or
	// lone line breaks, and no 8 bits unless Compose may write them. Empty: nothing
	// is returned.
	Original []byte
	Full     bool

	// EightBit says that the path has 8BITMIME: a message with 8 bits in its body
	// alone can be returned as a whole though the rest is 7-bit.
	EightBit bool
}

// Recipient is what a notification says of one recipient.
type Recipient struct {
	Final      smtp.Path
	Original   string // As ORCPT of RFC 3461 with its xtext decoded, "rfc822;user@example.org". Empty: none.
	Action     Action
	Status     string     // Enhanced status code, "5.1.1". If it is none, one is made from Action.
	RemoteMTA  dns.Domain // That refused. Zero: nobody was reached.
	RemoteIP   string     // Of it, for its comment. Empty: not told.
	Diagnostic string     // Reply of RemoteMTA with its code, "\n" between lines. Empty: none.
	LastTry    time.Time  // Zero: never.
	RetryUntil time.Time  // Action Delayed only.
}

// check returns ErrMessage for what can't be composed.
func (m *Message) check() error {
	switch {
	case m.From.IsZero() || m.To.IsZero():
		return fmt.Errorf("%w: needs a sender and a recipient", ErrMessage)
	case m.MessageID == "" || m.Date.IsZero() || m.ReportingMTA.IsZero():
		return fmt.Errorf("%w: needs a message-id, a date and a reporting MTA", ErrMessage)
	case len(m.Recipients) == 0:
		return fmt.Errorf("%w: is about no recipient", ErrMessage)
	}
	for _, r := range m.Recipients {
		if r.Action.status() == "" || r.Final.IsZero() {
			return fmt.Errorf("%w: action %q for recipient %q", ErrMessage, r.Action, r.Final)
		}
	}
	return nil
}

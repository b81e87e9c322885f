// Package dsn has delivery status notifications (RFC 3464, 6533): the messages
// that tell a sender what became of another one.
package dsn

import (
	"errors"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

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

// Message is a notification.
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

	Recipients []Recipient // At least one.

	// Original is the message this is about: its header section, or all of it if
	// Full.
	Original []byte
	Full     bool
}

// Recipient is what a notification says of one recipient.
type Recipient struct {
	Final      smtp.Path
	Original   string // As ORCPT of RFC 3461, "rfc822;user@example.org". Empty: none.
	Action     Action
	Status     string     // Enhanced status code, "5.1.1".
	RemoteMTA  dns.Domain // That refused. Zero: nobody was reached.
	RemoteIP   string     // Of it, for its comment. Empty: not told.
	Diagnostic string     // Reply of RemoteMTA with its code, "\n" between lines. Empty: none.
	LastTry    time.Time  // Zero: never.
	RetryUntil time.Time  // Action Delayed only.
}

// Compose returns the message with CRLF line ends. With utf8 it is the
// internationalised form of RFC 6533, for a path that has SMTPUTF8 all the way;
// otherwise it is 7-bit, whatever the addresses are.
func (m *Message) Compose(utf8 bool) ([]byte, error) {
	return nil, errors.New("dsn: not built yet")
}

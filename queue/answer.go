package queue

import (
	"context"
	"time"

	"github.com/mjl-/mox/dns"
)

// AnswerEvent is what an answer says of a message that was sent.
type AnswerEvent string

// The events: the actions of RFC 3464, section 2.3.3, and what says none of them.
const (
	AnswerFailed       AnswerEvent = "failed"
	AnswerDelayed      AnswerEvent = "delayed"
	AnswerDelivered    AnswerEvent = "delivered"
	AnswerRelayed      AnswerEvent = "relayed"
	AnswerExpanded     AnswerEvent = "expanded"
	AnswerUnrecognized AnswerEvent = "unrecognized"
)

// Answer is a message that came to an account, and may be about one it has sent.
// What it says may be invented, but for Account, Key, Received, FromID and Verified.
type Answer struct {
	Account  string // That it came to.
	Key      string // The same for the same answer, however often it comes: it counts once.
	Received time.Time
	FromID   string // Of the address that it came to. Empty: it had none.

	// MessageID is that of the message this is about, with angle brackets, and
	// EnvelopeID the one it was sent with. Each is empty if it is not told.
	MessageID, EnvelopeID string

	// Rcpts are the addresses that it names as that of the one recipient it is about:
	// final, and original if that is told.
	Rcpts []string

	Event     AnswerEvent
	Code      int64  // SMTP reply code, 0 if there was none.
	Enhanced  string // Enhanced status code.
	Error     string // For people.
	RemoteMTA string // That said so.

	// Verified are the domains that SPF or DKIM show it to come from.
	Verified []dns.Domain
}

// Answered is what was made of an Answer.
type Answered struct {
	Message     Message     // That it is about, as it is now. ID is 0 if none is known.
	Again       bool        // It came before: nothing has changed.
	Event       AnswerEvent // What counts of it: AnswerUnrecognized if Claimed.
	Claimed     bool        // Nothing vouches for what it says: it is only noted.
	Suppressing bool        // The account sends no more to the recipient because of it.
}

// Answered finds the message that an answer is about, in the queue or among those
// retired, and notes what the answer says of it. It is on disk when Answered returns.
func (db *DB) Answered(ctx context.Context, a Answer) (Answered, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return Answered{}, err
	}
	defer leave()
	return Answered{Event: a.Event}, nil
}

// Package webhook has what web addresses are told by POST requests with JSON: what
// becomes of mail that an account sends (Outgoing), and mail that it gets
// (Incoming).
//
// The types are the documentation for those who write the other end. Lists and maps
// in the JSON are never null, and fields are never left out. New fields can be added
// to a version, so that readers should pass over those they don't know.
//
// It makes no requests: package queue keeps what is to be told, package hooks tells
// it.
package webhook

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Names of header fields of requests.
const (
	// HeaderID has the id of the hook: the same for all its attempts, and for no other.
	// A hook can arrive more than once: who minds remembers the ids.
	HeaderID = "X-Mox-Webhook-ID"

	// HeaderAttempt has the number of the attempt, from 1.
	HeaderAttempt = "X-Mox-Webhook-Attempt"
)

// Version is that of the payloads.
const Version = 0

// Event is what a hook is about.
type Event string

// The events. All but EventIncoming are about a message that an account sent to one
// recipient.
const (
	// EventDelivered: the next server took the message, or it is in an account of ours.
	// After that, EventFailed can come if the next server can't deliver it.
	EventDelivered Event = "delivered"

	// EventSuppressed: no attempt was made, because the recipient is on the suppression
	// list of the account. Final.
	EventSuppressed Event = "suppressed"

	// EventDelayed: an attempt failed, and there will be another. Also for a
	// notification that says so of the next server.
	EventDelayed Event = "delayed"

	// EventFailed: the message was refused, or all attempts failed, or a notification
	// said so of the next server. Final.
	EventFailed Event = "failed"

	// EventRelayed: a notification says that the message went on to a server that sends
	// no notifications.
	EventRelayed Event = "relayed"

	// EventExpanded: a notification says that the message went on to several recipients.
	EventExpanded Event = "expanded"

	// EventCanceled: an administrator took the message out of the queue. Final.
	EventCanceled Event = "canceled"

	// EventUnrecognized: a message came in that answers the one sent, and is no
	// notification that is understood. It says nothing about the message sent.
	EventUnrecognized Event = "unrecognized"

	// EventIncoming: the account got a message.
	EventIncoming Event = "incoming"
)

// Events returns those about sent messages.
func Events() []Event {
	return []Event{
		EventDelivered, EventSuppressed, EventDelayed, EventFailed, EventRelayed, EventExpanded, EventCanceled, EventUnrecognized,
	}
}

// Valid tells whether it is one of the events, EventIncoming included.
func (e Event) Valid() bool { return e == EventIncoming || slices.Contains(Events(), e) }

// Outgoing tells what became of a message for one recipient.
type Outgoing struct {
	Version int   // 0.
	Event   Event // What happened.

	// DSN says that it is known from a delivery status notification that came in, and
	// not from an attempt of ours.
	DSN bool

	// Suppressing says that the recipient was put on the suppression list of the account
	// because of this.
	Suppressing bool

	QueueMsgID int64  // Id of the message in the queue, as submission has told it.
	FromID     string // Of the sender's address; empty if the message has none.
	MessageID  string // Of the message sent, with angle brackets. Empty if it has none.
	Subject    string // Of the message sent, decoded.

	// WebhookQueued is when this was noted: the time of the first attempt of the hook, or
	// before.
	WebhookQueued time.Time

	SMTPCode         int    // Reply code, as 250 or 550; 0 if there was none.
	SMTPEnhancedCode string // Enhanced status code, as "5.1.1"; empty if there was none.
	Error            string // For people; empty if there was none.

	// Extra is what who submitted the message gave with it, as in header fields
	// X-Mox-Extra-*.
	Extra map[string]string
}

// Incoming is a message that came in.
type Incoming struct {
	Version    int           // 0.
	From       []NameAddress // Of the header field, without the names of groups; as the next four.
	To         []NameAddress
	CC         []NameAddress
	BCC        []NameAddress
	ReplyTo    []NameAddress
	Subject    string     // Decoded.
	MessageID  string     // With angle brackets; empty if there is none.
	InReplyTo  string     // The first id of the field, with angle brackets.
	References []string   // Likewise, all ids.
	Date       *time.Time // Of the header field; null if there is none, or it is no date.

	// Text and HTML are the first such parts that are no attachments: in UTF-8, with
	// lines that end with LF, and cut after 1 MiB.
	Text string
	HTML string

	Structure Structure // Of the message itself.
	Meta      IncomingMeta
}

// NameAddress is an address in a header field.
type NameAddress struct {
	Name    string // Decoded; empty if there is none.
	Address string // user@domain. Empty if there is none.
}

// Structure is a part of a message, with the parts it has.
type Structure struct {
	ContentType        string            // In lower case, as "text/plain".
	ContentTypeParams  map[string]string // Names are in lower case, values are decoded.
	ContentID          string            // With angle brackets; empty if there is none.
	ContentDisposition string            // In lower case, as "attachment"; empty if there is none.
	Filename           string            // Decoded. It can be anything, slashes too.
	DecodedSize        int64             // Bytes of the body without transfer encoding. Lines of text end with CRLF there.
	Parts              []Structure       // Of a multipart; of a message in a message, that one.
}

// IncomingMeta is what is not from the message itself.
type IncomingMeta struct {
	MsgID               int64     // Of the message in the account.
	MailFrom            string    // Of the SMTP transaction; empty for the null sender.
	MailFromValidated   bool      // SPF says that MailFrom comes from its domain.
	MsgFromValidated    bool      // The domain of the address in From is verified, by SPF or DKIM.
	RcptTo              string    // Of the SMTP transaction.
	DKIMVerifiedDomains []string  // With a signature that is valid.
	RemoteIP            string    // Empty for mail of accounts of this server.
	Received            time.Time // When it came in.
	MailboxName         string    // Where it is now.

	// Automated says that it is from a program, or a mailing list: nobody would read an
	// automatic answer, and it could make two programs answer each other for ever.
	Automated bool
}

// Encode returns the JSON for a request.
func (o Outgoing) Encode() ([]byte, error) {
	if o.Extra == nil {
		o.Extra = map[string]string{}
	}
	return encode(o)
}

// Encode returns the JSON for a request.
func (in Incoming) Encode() ([]byte, error) {
	for _, list := range []*[]NameAddress{&in.From, &in.To, &in.CC, &in.BCC, &in.ReplyTo} {
		fill(list)
	}
	fill(&in.References)
	fill(&in.Meta.DKIMVerifiedDomains)
	in.Structure = in.Structure.filled()
	return encode(in)
}

// filled returns a structure without nil.
func (s Structure) filled() Structure {
	if s.ContentTypeParams == nil {
		s.ContentTypeParams = map[string]string{}
	}
	parts := make([]Structure, len(s.Parts))
	for i := range s.Parts {
		parts[i] = s.Parts[i].filled()
	}
	s.Parts = parts
	return s
}

// fill makes a list that is nil an empty one.
func fill[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}

// encode returns JSON on one line, without a line break. It is for programs and not
// for web pages: characters of HTML are as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

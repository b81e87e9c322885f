// Package queue keeps messages that wait to go out: one row for each recipient,
// one file for the content of all recipients of a message. Both come later than the
// message, which is in a log first (log.go).
//
// It decides when something is due and for whom (schedule.go), and keeps what
// became of each attempt. Sending is done by package delivery.
package queue

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/webhook"
)

var (
	// ErrClosed means the queue is being closed.
	ErrClosed = errors.New("queue: closed")

	// ErrNoMessage means there is no such message, or no more.
	ErrNoMessage = errors.New("queue: no such message")

	// ErrDiskFull means there is no room for the message now. The sender should
	// try again later: 452 4.3.1.
	ErrDiskFull = errors.New("queue: not enough disk space")

	// ErrFailed means that something could not be written or synced. Nothing is
	// retried on files of which it is not known what is on disk: the process must
	// stop in order, and a restart finds out. See DB.Failed.
	ErrFailed = errors.New("queue: writing failed")

	// ErrLease means that work was finished before, or its lease was over.
	ErrLease = errors.New("queue: lease is over")
)

// State is where a message stands.
type State string

// The states.
const (
	Waiting    State = "waiting"    // For NextAttempt.
	Held       State = "held"       // Until somebody releases it.
	Delivering State = "delivering" // Leased to a delivery of this process.
	Retired    State = "retired"    // Delivered, failed or dropped.
)

// Message is a message for one recipient.
type Message struct {
	ID        int64
	ContentID int64  // The same for all recipients of a message.
	Key       string // Random, for hand-overs (journal.md, rule 18). Never reused.
	State     State

	Queued      time.Time
	Since       time.Time // From then on the schedule counts: see Counted.
	NextAttempt time.Time // While waiting or held. During an attempt, when the next would be if the process died.
	LastAttempt time.Time
	LeaseUntil  time.Time // While delivering.
	DelayTold   bool      // The sender was told of the delay.

	Account   string // Of the sender. Empty: none of ours, as for a notification to somebody else.
	MailFrom  string // smtp.Path.String(), empty for the null sender. With FromID in it, if there is one.
	FromID    string // In MailFrom, unique among what the account has sent: answers tell by it which message they are about. Empty for none.
	BaseFrom  string // MailFrom without FromID. Empty without one.
	Rcpt      string // Likewise.
	Domain    string // Of Rcpt: A-labels without final dot, or an address literal.
	MessageID string // With angle brackets, empty if there is none.
	Subject   string // Decoded, cut, for lists.

	SMTPUTF8 bool
	EightBit bool
	Size     int64  // Of Prefix and content together.
	Prefix   []byte `bstore:"-"` // Header fields in front of the content, for this recipient. Not in lists.

	RequireTLS *bool             // As REQUIRETLS or TLS-Required: No ask for it; nil: neither.
	Transport  string            // Chosen for it, see SetTransport. Empty: routes decide.
	Extra      map[string]string // What who submitted it gave with it, for webhooks.

	FutureRelease string // For how long or until when the sender wanted it held: smtp.Hold.String(). Empty: not at all.

	// What the sender asked for about notifications, RFC 3461.
	EnvelopeID   string      // ENVID, decoded. Empty if not given.
	Return       string      // RET, empty if not given.
	Notify       smtp.Notify // Empty if not given.
	OriginalRcpt string      // ORCPT, decoded: type, ";" and address. Empty if not given.

	// Report says that this is a report about mail that we send to its domain: "tls"
	// or "dmarc". Empty: it is not. Nobody waits for one, so that of its failure only
	// the postmaster is told, quietly.
	Report string

	Attempts  int64
	Results   []Result // Of the last ResultsMax attempts, the newest last.
	DialedIP  string   // Last address tried, so that the next attempt begins with another.
	Outcome   Outcome  // When retired.
	RetiredAt time.Time

	// HoldReason says why it is held, or will be when the attempt that is running does
	// not retire it. HoldRule is the id of the rule that holds it.
	HoldReason HoldReason
	HoldRule   int64

	LastActivity time.Time // When it was retired, or the last answer to it came. Zero before.
}

// Values of Message.Report.
const (
	TLSReport   = "tls"   // RFC 8460. It must arrive also where TLS is broken.
	DMARCReport = "dmarc" // RFC 7489, section 7.2.
)

// ResultsMax bounds the results kept of a message.
const ResultsMax = 20

// Result is what came of one attempt.
type Result struct {
	Start     time.Time
	Took      time.Duration
	OK        bool
	Code      int64  // SMTP reply code, 0 if there was none.
	Enhanced  string // Enhanced status code, as "4.4.1".
	Error     string // For people, with the remote's reply if there was one.
	RemoteMTA string // Host name of it, empty if none was reached.
	RemoteIP  string
	Permanent bool
	Transport string // Name of the one by which it went; without a route "direct", and "local" to accounts here.
	TLS       string // How the connection was protected, as "unverified" or "dane". Empty if there was none.
	Policy    string // What decided about TLS, in a word.

	// Answer is what a message told that came later, as a notification of the server
	// that took this one: then the rest is what it says. Empty for an attempt.
	Answer  AnswerEvent
	Claimed bool   // Nothing vouches for the answer, so that it counts for nothing.
	Key     string // Of the answer.
}

// Outcome is how a message left the queue.
type Outcome string

// The outcomes.
const (
	Delivered Outcome = "delivered"
	Failed    Outcome = "failed"
	Dropped   Outcome = "dropped" // By an administrator, without notification.
)

// Options is what a queue needs. Fields are required unless said otherwise.
type Options struct {
	Dir    string // <data>/queue, made if it is not there. Contents are below it.
	Log    *slog.Logger
	Faults *fault.Set // Nil: none.
	Rand   io.Reader  // For keys and file names.

	// Schedule says when there is another attempt.
	Schedule Schedule

	// Local tells whether a domain (Message.Domain) is ours: its messages are
	// handed over and not sent. Asked each time a message gets its turn.
	Local func(domain string) bool

	// DeliveriesMax bounds remote deliveries at a time, DestinationMax those to one
	// domain, LocalMax hand-overs at a time. Zero: 100, 5, 200.
	DeliveriesMax, DestinationMax, LocalMax int

	// KeepRetired is how long retired messages of an account stay as rows, without
	// content. Zero: they are removed at once. Asked when a message is retired, and again
	// when Purge looks at it.
	KeepRetired func(account string) time.Duration // Nil: zero for all.

	// RetiredMax bounds the retired messages that are kept: beyond it Purge removes the
	// oldest. Zero: 2,000,000.
	RetiredMax int

	// Webhook returns the address to be told of an event about mail of an account, false
	// if there is none. Asked when there is something to tell, and when it is told. Nil:
	// none has one.
	Webhook func(account string, event webhook.Event) (url string, ok bool)

	// KeepRetiredHooks is how long what came of hooks is kept. Zero: it is not kept.
	KeepRetiredHooks func(account string) time.Duration // Nil: zero for all.

	// HooksMax bounds calls at a time, HooksPerAccount the hooks of an account that wait,
	// HooksRetiredMax those that are kept. Zero: 10, 10,000, 200,000.
	HooksMax, HooksPerAccount, HooksRetiredMax int

	// DiskFree returns the bytes free for contents. Nil: asks the system.
	DiskFree func() (int64, error)

	// LogSize is the size of a segment of the log, in bytes. Zero: 16 MiB. There are
	// two at least. InlineMax is the largest content in bytes that goes into it, and
	// not into a file of its own first. Zero: 1 MiB.
	LogSize, InlineMax int64

	// ClockMistake returns how far the clock of the computer is off, for tests: package
	// time can't be told another time of day. Nil: not at all.
	ClockMistake func() time.Duration

	// Cautious is for how long after the queue was opened attempts are on disk before
	// they begin, also if there are many. Zero: 10 s.
	Cautious time.Duration

	// Observe is told what is worth counting. Nil: nobody is.
	Observe func(Event)
}

// Event is something worth counting.
type Event struct {
	Kind    string // "added", "delivered", "failed", "delayed", "dropped", "retired"; "webhook queued", "webhook " and a HookOutcome.
	Account string
}

// New is a message to be queued.
type New struct {
	Account            string
	MailFrom           smtp.Path
	SMTPUTF8           bool
	EightBit           bool
	Content            *Content
	MessageID, Subject string
	Extra              map[string]string // At most ExtraMax bytes.
	RequireTLS         *bool
	NotBefore          time.Time // By the clock of the computer. FUTURERELEASE; zero: at once.
	FutureRelease      string    // As in Message.
	DSN                smtp.MailDSN
	Report             string // As that of Message.
	Hold               bool   // State Held, until Release.
	Provisional        bool   // The same, and dropped if the process ends before: what it belongs to was not answered.
	To                 []NewRcpt
}

// NewRcpt is one recipient of a New.
type NewRcpt struct {
	Path   smtp.Path
	Prefix []byte
	DSN    smtp.RcptDSN

	// FromID, if not empty, is part of MailFrom, which then takes the place of that of
	// the message.
	FromID   string
	MailFrom smtp.Path
}

// Work is what is to be delivered in one go: all due messages of one content to
// one domain, with the same settings.
type Work struct {
	Local    bool      // To be handed over.
	Messages []Message // At least one. Attempts counts this one already.
	Data     []byte    // The content, if it is in memory: it must not be changed.
	File     string    // Else its path, valid until Finish. If Local, it is on disk.
	Size     int64     // Of the content.
	Fail     string    // Not empty: make no attempt, fail for this reason.

	lease *lease
}

// Reader reads a content.
type Reader interface {
	io.Reader
	io.ReaderAt
	io.Closer
}

// Open opens the content, which is without Prefix.
func (w *Work) Open() (Reader, error) {
	if w.Data != nil {
		return inMemory{bytes.NewReader(w.Data)}, nil
	}
	return os.Open(w.File)
}

// inMemory is a Reader of bytes.
type inMemory struct{ *bytes.Reader }

// Close does nothing.
func (inMemory) Close() error { return nil }

// Report is what came of Work for one of its messages.
type Report struct {
	ID     int64
	Result Result

	// Retry says that another attempt is to be made at Next. Otherwise the message
	// is retired, as delivered if Result.OK and as failed if not.
	Retry     bool
	Next      time.Time
	DelayTold bool // The sender was told of the delay now.
	DialedIP  string

	// Event is what a webhook of the account is told of this. Empty: nothing.
	Event webhook.Event

	// Replied is the command for which the server has refused the recipient with
	// Result.Code, "connect" for its greeting, or RepliedRelay. Empty if the failure is no such reply:
	// then it says nothing about the recipient.
	Replied string

	// Handed are the keys given to accounts for it. They are kept, also over a
	// crash, until Confirmed.
	Handed []Handed

	// Notice is for the sender of a message that is retired as delivered. It may be
	// about others of the same Work too. Nil: none.
	Notice *Notice
}

// Handed is a key that an account has for a message.
type Handed struct{ Account, Key string }

// Filter selects messages; fields that are set must all match.
type Filter struct {
	IDs                    []int64
	Account                string
	From, To               string // An address, or "@domain" for all of a domain. For From, "<>" is the null sender.
	State                  State  // Empty: all but retired.
	Submitted, NextAttempt TimeFilter
	Transport              *string
	Held                   *bool // Held, or not.

	// For State Retired only.
	LastActivity TimeFilter
	Success      *bool // Delivered, or not.

	Max int // Zero: no maximum. Of a list its first ones, of changes the oldest messages.
}

// TimeFilter selects by a time: before (if Before) or after At. The zero value
// selects all.
type TimeFilter struct {
	At     time.Time
	Before bool
}

// Sort is the order of a list.
type Sort struct {
	By   string // "nextattempt" (also if empty) or "queued"; of retired ones "lastactivity" (also if empty) or "queued".
	Desc bool
}

// Stats is what the queue holds.
type Stats struct {
	Messages map[State]int64 // Not those retired.
	Oldest   time.Time       // Queued time of the oldest, zero if empty.
	Bytes    int64
}

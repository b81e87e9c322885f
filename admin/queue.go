package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

const (
	// queueListMax bounds the messages of one list, at some 1 KiB each.
	queueListMax = 20_000

	// filterIDsMax bounds the ids of a filter.
	filterIDsMax = 10_000
)

// failReason is told to the senders of messages that QueueFail gave up.
const failReason = "delivery was cancelled by an administrator"

// QueueFilter selects messages in the queue. What is set must all match;
// without anything all do.
type QueueFilter struct {
	IDs         []int64 `json:"ids,omitzero"`         // An empty list is none of them.
	Account     string  `json:"account,omitempty"`    // Name of the sender's.
	From        string  `json:"from,omitempty"`       // An address, "@domain" for all of a domain, or "<>" for notifications.
	To          string  `json:"to,omitempty"`         // An address, or "@domain".
	Submitted   When    `json:"submitted,omitzero"`   // As ">-1h": in the last hour.
	NextAttempt When    `json:"nextAttempt,omitzero"` // As "<1h": in the next hour, or due.
	Hold        *bool   `json:"hold,omitempty"`       // Held, or not.
	Transport   *string `json:"transport,omitempty"`  // Chosen for it. Empty: none was, routes decide.
	Max         int     `json:"max,omitempty"`        // Take at most so many. 0: no maximum.
}

// QueueMessage is a message in the queue, for one recipient. Times that do not
// apply are left out.
type QueueMessage struct {
	ID          int64          `json:"id"`
	ContentID   int64          `json:"contentId"` // The same for all recipients of a message.
	State       queue.State    `json:"state"`     // waiting, held or delivering.
	Account     string         `json:"account"`   // Of the sender, empty if it is none of ours.
	From        string         `json:"from"`      // Empty for the null sender, of notifications.
	To          string         `json:"to"`
	Domain      string         `json:"domain"` // Of To, in ASCII.
	MessageID   string         `json:"messageId"`
	Subject     string         `json:"subject"`
	Size        int64          `json:"size"` // Bytes.
	Queued      time.Time      `json:"queued"`
	NextAttempt time.Time      `json:"nextAttempt,omitzero"`
	LastAttempt time.Time      `json:"lastAttempt,omitzero"`
	LeaseUntil  time.Time      `json:"leaseUntil,omitzero"` // While it is being delivered.
	DelayTold   bool           `json:"delayTold"`           // The sender was told of the delay.
	Attempts    int64          `json:"attempts"`
	Results     []QueueAttempt `json:"results"` // Of the last attempts, the newest last.
	DialedIP    string         `json:"dialedIp,omitempty"`
	Transport   string         `json:"transport"` // Chosen for it. Empty: routes decide.
	SMTPUTF8    bool           `json:"smtputf8"`
	EightBit    bool           `json:"eightBit"`
	RequireTLS  *bool          `json:"requireTls"` // Null: the sender said nothing.
	EnvelopeID  string         `json:"envelopeId,omitempty"`
	FromID      string         `json:"fromId,omitempty"` // In From, by which answers tell which message they are about.

	FutureRelease string `json:"futureRelease,omitempty"` // For how long or until when the sender wants it held: "for;" and seconds, "until;" and a time.

	HoldReason queue.HoldReason `json:"holdReason,omitempty"` // Why it is held, or will be when the attempt that is running fails.
	HoldRule   int64            `json:"holdRule,omitempty"`   // Id of the rule that holds it.
	Return     string           `json:"return,omitempty"`     // RET of RFC 3461, and the next two.
	Notify     smtp.Notify      `json:"notify,omitempty"`

	OriginalRcpt string `json:"originalRcpt,omitempty"`
}

// QueueAttempt is what came of one attempt.
type QueueAttempt struct {
	Start     time.Time `json:"start"`
	TookMS    int64     `json:"tookMs"` // Milliseconds.
	OK        bool      `json:"ok"`
	Permanent bool      `json:"permanent"`
	Code      int64     `json:"code,omitempty"`     // Of the reply.
	Enhanced  string    `json:"enhanced,omitempty"` // As "4.4.1".
	Error     string    `json:"error,omitempty"`
	RemoteMTA string    `json:"remoteMta,omitempty"` // Host name.
	RemoteIP  string    `json:"remoteIp,omitempty"`
	TLS       string    `json:"tls,omitempty"`       // How the connection was protected: "none", "unverified", "pkix", "dane" or "pkix+dane".
	Policy    string    `json:"policy,omitempty"`    // What decided about TLS, in a word.
	Transport string    `json:"transport,omitempty"` // By which it went: "direct" or "local" if it was none of those configured.

	// Answer is what a message told that came in later, as "failed" in a notification.
	// Empty for an attempt. Claimed: nothing vouches for it, so that it counts for nothing.
	Answer  string `json:"answer,omitempty"`
	Claimed bool   `json:"claimed,omitempty"`
}

// LastError returns what the last attempt failed of, empty if none did.
func (m QueueMessage) LastError() string {
	if len(m.Results) == 0 {
		return ""
	}
	return m.Results[len(m.Results)-1].Error
}

// QueueListRequest is for QueueList.
type QueueListRequest struct {
	Filter QueueFilter `json:"filter"`
	Sort   string      `json:"sort,omitempty"` // "nextattempt" (also if empty) or "queued".
	Asc    bool        `json:"asc,omitempty"`  // The earliest first, otherwise the latest.
}

// QueueList is a list of messages.
type QueueList struct {
	Messages []QueueMessage `json:"messages"`
	More     bool           `json:"more"` // There are more than one list can have.
}

// QueueList returns messages that have not left the queue.
func (a *Admin) QueueList(ctx context.Context, req QueueListRequest) (QueueList, error) {
	f, err := a.queueFilter(req.Filter)
	if err != nil {
		return QueueList{}, err
	}
	if f.Max == 0 || f.Max > queueListMax {
		f.Max = queueListMax + 1
	}
	messages, err := a.opts.Queue.List(ctx, f, queue.Sort{By: req.Sort, Desc: !req.Asc})
	if err != nil {
		return QueueList{}, queueError("listing queue", err)
	}
	list := QueueList{Messages: []QueueMessage{}, More: len(messages) > queueListMax}
	for _, m := range messages[:min(len(messages), queueListMax)] {
		list.Messages = append(list.Messages, queueMessage(m))
	}
	return list, nil
}

func queueMessage(m queue.Message) QueueMessage {
	q := QueueMessage{
		ID: m.ID, ContentID: m.ContentID, State: m.State,
		Account: m.Account, From: m.MailFrom, To: m.Rcpt, Domain: m.Domain, MessageID: m.MessageID, Subject: m.Subject, Size: m.Size,
		Queued: m.Queued.UTC(), NextAttempt: utc(m.NextAttempt), LastAttempt: utc(m.LastAttempt), LeaseUntil: utc(m.LeaseUntil), DelayTold: m.DelayTold,
		Attempts: m.Attempts, Results: []QueueAttempt{}, DialedIP: m.DialedIP, Transport: m.Transport,
		SMTPUTF8: m.SMTPUTF8, EightBit: m.EightBit, RequireTLS: m.RequireTLS, EnvelopeID: m.EnvelopeID, FromID: m.FromID,
		FutureRelease: m.FutureRelease, HoldReason: m.HoldReason, HoldRule: m.HoldRule, Return: m.Return, Notify: m.Notify, OriginalRcpt: m.OriginalRcpt,
	}
	for _, r := range m.Results {
		q.Results = append(q.Results, QueueAttempt{
			Start: r.Start.UTC(), TookMS: r.Took.Milliseconds(), OK: r.OK, Permanent: r.Permanent,
			Code: r.Code, Enhanced: r.Enhanced, Error: r.Error, RemoteMTA: r.RemoteMTA, RemoteIP: r.RemoteIP, TLS: r.TLS, Policy: r.Policy, Transport: r.Transport,
			Answer: string(r.Answer), Claimed: r.Claimed,
		})
	}
	return q
}

// utc returns t in UTC. The zero value stays as it is, to be left out.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// QueueScheduleRequest is for QueueSchedule.
type QueueScheduleRequest struct {
	Filter  QueueFilter `json:"filter"`
	Delay   Duration    `json:"delay"`
	FromNow bool        `json:"fromNow,omitempty"` // Delay counts from now, otherwise from the next attempt.
}

// QueueChanged is what an operation on the queue changed.
type QueueChanged struct {
	Changed int     `json:"changed"` // Number of messages.
	IDs     []int64 `json:"ids"`
}

// QueueSchedule changes when the next attempt is. Messages that are being
// delivered are not changed.
func (a *Admin) QueueSchedule(ctx context.Context, req QueueScheduleRequest) (QueueChanged, error) {
	delay := time.Duration(req.Delay)
	next := func(m queue.Message) time.Time {
		if req.FromNow || m.NextAttempt.IsZero() {
			return a.opts.Queue.Now().Add(delay)
		}
		return m.NextAttempt.Add(delay)
	}
	return a.change(ctx, "messages rescheduled", req.Filter, func(f queue.Filter) ([]queue.Message, error) {
		return a.opts.Queue.Reschedule(ctx, f, next)
	})
}

// QueueRequest is for operations on messages without more parameters.
type QueueRequest struct {
	Filter QueueFilter `json:"filter"`
}

// QueueFail gives up messages: their senders are told.
func (a *Admin) QueueFail(ctx context.Context, req QueueRequest) (QueueChanged, error) {
	return a.change(ctx, "messages failed", req.Filter, func(f queue.Filter) ([]queue.Message, error) {
		return a.opts.Queue.FailNow(ctx, f, failReason)
	})
}

// QueueHold keeps messages from being tried. Those that are being delivered are held
// when that ends.
func (a *Admin) QueueHold(ctx context.Context, req QueueRequest) (QueueChanged, error) {
	return a.change(ctx, "messages held", req.Filter, func(f queue.Filter) ([]queue.Message, error) {
		return a.opts.Queue.Hold(ctx, f)
	})
}

// QueueUnhold makes held messages wait for their next attempt, at the time it had.
func (a *Admin) QueueUnhold(ctx context.Context, req QueueRequest) (QueueChanged, error) {
	return a.change(ctx, "messages released", req.Filter, func(f queue.Filter) ([]queue.Message, error) {
		return a.opts.Queue.Unhold(ctx, f)
	})
}

// QueueRequireTLSRequest is for QueueRequireTLS.
type QueueRequireTLSRequest struct {
	Filter     QueueFilter `json:"filter"`
	RequireTLS *bool       `json:"requireTls"` // True as REQUIRETLS, false as "TLS-Required: No", null neither.
}

// QueueRequireTLS changes what is asked of TLS for messages, from their next attempt
// on.
func (a *Admin) QueueRequireTLS(ctx context.Context, req QueueRequireTLSRequest) (QueueChanged, error) {
	return a.change(ctx, "TLS of messages", req.Filter, func(f queue.Filter) ([]queue.Message, error) {
		return a.opts.Queue.SetRequireTLS(ctx, f, req.RequireTLS)
	})
}

// QueueDrop removes messages, and tells nobody.
func (a *Admin) QueueDrop(ctx context.Context, req QueueRequest) (QueueChanged, error) {
	return a.change(ctx, "messages dropped", req.Filter, func(f queue.Filter) ([]queue.Message, error) {
		return a.opts.Queue.Drop(ctx, f)
	})
}

// change calls fn with a filter, logs what it did as msg, and returns it.
func (a *Admin) change(ctx context.Context, msg string, filter QueueFilter, fn func(queue.Filter) ([]queue.Message, error)) (QueueChanged, error) {
	f, err := a.queueFilter(filter)
	if err != nil {
		return QueueChanged{}, err
	}
	messages, err := fn(f)
	if err != nil {
		return QueueChanged{}, queueError("changing queue", err)
	}
	traceChanges(a.opts.Trace, changeName(msg), by, messages)
	changed := QueueChanged{Changed: len(messages), IDs: []int64{}}
	for _, m := range messages {
		changed.IDs = append(changed.IDs, m.ID)
		a.log.DebugContext(ctx, "message changed", "change", msg, "id", m.ID, "account", m.Account)
	}
	a.log.InfoContext(ctx, "queue changed", "change", msg, "messages", len(messages))
	return changed, nil
}

// queueError adds what was done, unless it is the request that is wrong: that says
// all itself.
func queueError(doing string, err error) error {
	if errors.Is(err, queue.ErrFilter) {
		return err
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// QueueDumpRequest is for QueueDump.
type QueueDumpRequest struct {
	ID int64 `json:"id"`
}

// QueueContent is a message as it will be sent. Who gets it must Close it.
type QueueContent struct {
	Size int64 // Bytes.
	io.ReadCloser
}

// QueueDump opens a message that is in the queue.
func (a *Admin) QueueDump(ctx context.Context, req QueueDumpRequest) (QueueContent, error) {
	if a.opts.Queue == nil {
		return QueueContent{}, errNoQueue
	}
	if req.ID <= 0 {
		return QueueContent{}, noMessage(req.ID, queue.ErrNoMessage)
	}
	m, err := a.opts.Queue.Get(ctx, req.ID)
	if err != nil {
		return QueueContent{}, noMessage(req.ID, err)
	}
	r, err := a.opts.Queue.OpenContent(ctx, req.ID)
	if err != nil {
		return QueueContent{}, noMessage(req.ID, err)
	}
	return QueueContent{m.Size, r}, nil
}

func noMessage(id int64, err error) error {
	if errors.Is(err, queue.ErrNoMessage) {
		return &Error{Code: NotFound, Message: fmt.Sprintf("no message %d in the queue", id)}
	}
	return fmt.Errorf("opening message %d: %w", id, err)
}

var errNoQueue = &Error{Code: Unavailable, Message: "this server has no queue"}

// queueFilter returns f as the queue takes it.
func (a *Admin) queueFilter(f QueueFilter) (queue.Filter, error) {
	if a.opts.Queue == nil {
		return queue.Filter{}, errNoQueue
	}
	now := a.opts.Queue.Now()
	filter := queue.Filter{
		IDs: f.IDs, Account: f.Account, From: f.From, To: f.To, Transport: f.Transport, Max: f.Max, Held: f.Hold,
		Submitted: f.Submitted.filter(now), NextAttempt: f.NextAttempt.filter(now),
	}
	if len(f.IDs) > filterIDsMax {
		return queue.Filter{}, userError("more than %d ids", filterIDsMax)
	}
	for _, id := range f.IDs {
		if id <= 0 {
			return queue.Filter{}, userError("%d is not the id of a message", id)
		}
	}
	return filter, nil
}

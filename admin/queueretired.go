package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/queue"
)

// QueueRetiredFilter selects messages that have left the queue. What is set must all
// match; without anything all do.
type QueueRetiredFilter struct {
	IDs          []int64 `json:"ids,omitzero"`          // An empty list is none of them.
	Account      string  `json:"account,omitempty"`     // Name of the sender's.
	From         string  `json:"from,omitempty"`        // An address, "@domain" for all of a domain, or "<>" for notifications.
	To           string  `json:"to,omitempty"`          // An address, or "@domain".
	Submitted    When    `json:"submitted,omitzero"`    // As ">-1h": in the last hour.
	LastActivity When    `json:"lastActivity,omitzero"` // Likewise.
	Transport    *string `json:"transport,omitempty"`   // Empty: the default way.
	Result       string  `json:"result,omitempty"`      // "success" or "failure".
	Max          int     `json:"max,omitempty"`         // Take at most so many. 0: no maximum.
}

// QueueRetiredMessage is a message that has left the queue.
type QueueRetiredMessage struct {
	QueueMessage

	Outcome      queue.Outcome `json:"outcome"` // delivered, failed, or dropped by an administrator.
	Retired      time.Time     `json:"retired"`
	LastActivity time.Time     `json:"lastActivity"` // When it was retired, or the last answer to it came.
	KeptUntil    time.Time     `json:"keptUntil"`    // As its account wants it now.
}

// QueueRetiredListRequest is for QueueRetiredList.
type QueueRetiredListRequest struct {
	Filter QueueRetiredFilter `json:"filter"`
	Sort   string             `json:"sort,omitempty"` // "lastactivity" (also if empty) or "queued".
	Asc    bool               `json:"asc,omitempty"`  // The earliest first, otherwise the latest.
}

// QueueRetiredList is a list of messages.
type QueueRetiredList struct {
	Messages []QueueRetiredMessage `json:"messages"`
	More     bool                  `json:"more"` // There are more than one list can have.
}

// QueueRetiredList returns messages that have left the queue, of accounts that keep
// them.
func (a *Admin) QueueRetiredList(ctx context.Context, req QueueRetiredListRequest) (QueueRetiredList, error) {
	f, err := a.retiredFilter(req.Filter)
	if err != nil {
		return QueueRetiredList{}, err
	}
	if f.Max == 0 || f.Max > queueListMax {
		f.Max = queueListMax + 1
	}
	messages, err := a.opts.Queue.List(ctx, f, queue.Sort{By: req.Sort, Desc: !req.Asc})
	if err != nil {
		return QueueRetiredList{}, queueError("listing retired messages", err)
	}
	list := QueueRetiredList{Messages: []QueueRetiredMessage{}, More: len(messages) > queueListMax}
	for _, m := range messages[:min(len(messages), queueListMax)] {
		list.Messages = append(list.Messages, a.queueRetiredMessage(m))
	}
	return list, nil
}

func (a *Admin) queueRetiredMessage(m queue.Message) QueueRetiredMessage {
	r := QueueRetiredMessage{QueueMessage: queueMessage(m), Outcome: m.Outcome, Retired: m.RetiredAt.UTC(), LastActivity: m.LastActivity.UTC()}
	r.NextAttempt = time.Time{} // There is none.
	r.KeptUntil = r.LastActivity.Add(a.opts.Queue.KeepRetired(m.Account))
	return r
}

// retiredFilter returns f as the queue takes it.
func (a *Admin) retiredFilter(f QueueRetiredFilter) (queue.Filter, error) {
	filter, err := a.queueFilter(QueueFilter{
		IDs: f.IDs, Account: f.Account, From: f.From, To: f.To, Submitted: f.Submitted, Transport: f.Transport, Max: f.Max,
	})
	if err != nil {
		return filter, err
	}
	filter.State, filter.LastActivity = queue.Retired, f.LastActivity.filter(a.opts.Queue.Now())
	switch f.Result {
	case "":
	case "success", "failure":
		success := f.Result == "success"
		filter.Success = &success
	default:
		return filter, userError("result %q is neither success nor failure", f.Result)
	}
	return filter, nil
}

// QueueRetiredGetRequest is for QueueRetiredGet.
type QueueRetiredGetRequest struct {
	ID int64 `json:"id"` // That it had in the queue.
}

// QueueRetiredGet returns a message that has left the queue.
func (a *Admin) QueueRetiredGet(ctx context.Context, req QueueRetiredGetRequest) (QueueRetiredMessage, error) {
	if a.opts.Queue == nil {
		return QueueRetiredMessage{}, errNoQueue
	}
	m, err := queue.Message{}, queue.ErrNoMessage
	if req.ID > 0 {
		m, err = a.opts.Queue.Get(ctx, req.ID)
	}
	switch {
	case errors.Is(err, queue.ErrNoMessage):
		return QueueRetiredMessage{}, &Error{Code: NotFound, Message: fmt.Sprintf("no retired message %d", req.ID)}
	case err != nil:
		return QueueRetiredMessage{}, fmt.Errorf("looking up retired message %d: %w", req.ID, err)
	case m.State != queue.Retired:
		return QueueRetiredMessage{}, &Error{Code: NotFound, Message: fmt.Sprintf("message %d is in the queue", req.ID)}
	}
	return a.queueRetiredMessage(m), nil
}

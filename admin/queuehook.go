package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/webhook"
)

// cancelReason is noted with webhooks that QueueWebhookCancel gave up.
const cancelReason = "canceled by an administrator"

// WebhookFilter selects calls of webhooks. What is set must all match; without
// anything all do.
type WebhookFilter struct {
	IDs         []int64       `json:"ids,omitzero"` // An empty list is none of them.
	Account     string        `json:"account,omitempty"`
	Event       webhook.Event `json:"event,omitempty"`       // As "delivered" or "incoming".
	Submitted   When          `json:"submitted,omitzero"`    // As ">-1h": in the last hour.
	NextAttempt When          `json:"nextAttempt,omitzero"`  // Of those that wait, as "<1h": in the next hour, or due.
	LastActive  When          `json:"lastActivity,omitzero"` // Of those that are retired.
	Max         int           `json:"max,omitempty"`         // Take at most so many. 0: no maximum.
}

// Webhook is a call of a webhook that waits, or is retired. Times that do not apply
// are left out.
type Webhook struct {
	ID          int64             `json:"id"`
	Account     string            `json:"account"`
	Event       webhook.Event     `json:"event"`
	URL         string            `json:"url"`
	QueueMsgID  int64             `json:"queueMsgId,omitempty"` // Of the message sent that it is about.
	FromID      string            `json:"fromId,omitempty"`
	EmailID     int64             `json:"emailId,omitempty"` // Of the message in the account that came in.
	MessageID   string            `json:"messageId"`
	Subject     string            `json:"subject"`
	Extra       map[string]string `json:"extra,omitempty"`
	Submitted   time.Time         `json:"submitted"`
	NextAttempt time.Time         `json:"nextAttempt,omitzero"` // Not of those that are retired.
	LastAttempt time.Time         `json:"lastAttempt,omitzero"`
	Attempts    int64             `json:"attempts"`
	Calling     bool              `json:"calling"` // A call runs now.
	Results     []WebhookAttempt  `json:"results"` // Of the last attempts, the newest last.

	Outcome      queue.HookOutcome `json:"outcome,omitempty"` // called, failed, superseded, canceled or crowded. Empty while it waits.
	LastActivity time.Time         `json:"lastActivity,omitzero"`
	SupersededBy int64             `json:"supersededBy,omitempty"` // The call that tells what this one would have, and more.

	// Payload is what is told. Only of one alone, and not of an incoming message: that
	// is read when the call is made.
	Payload json.RawMessage `json:"payload,omitempty"`
}

// WebhookAttempt is what came of one attempt.
type WebhookAttempt struct {
	Start    time.Time `json:"start"`
	TookMS   int64     `json:"tookMs"` // Milliseconds.
	URL      string    `json:"url"`
	OK       bool      `json:"ok"`
	Code     int64     `json:"code,omitempty"` // HTTP status.
	Error    string    `json:"error,omitempty"`
	Response string    `json:"response,omitempty"` // The begin of the body.
}

// LastError returns what the last attempt failed of, empty if none did.
func (h Webhook) LastError() string {
	if len(h.Results) == 0 {
		return ""
	}
	return h.Results[len(h.Results)-1].Error
}

// WebhookListRequest is for QueueWebhookList and QueueWebhookRetiredList.
type WebhookListRequest struct {
	Filter WebhookFilter `json:"filter"`
	Sort   string        `json:"sort,omitempty"` // "nextattempt" or, of those retired, "lastactivity", also if empty; or "queued".
	Asc    bool          `json:"asc,omitempty"`  // The earliest first, otherwise the latest.
}

// WebhookList is a list of calls.
type WebhookList struct {
	Webhooks []Webhook `json:"webhooks"`
	More     bool      `json:"more"` // There are more than one list can have.
}

// QueueWebhookList returns calls of webhooks that wait.
func (a *Admin) QueueWebhookList(ctx context.Context, req WebhookListRequest) (WebhookList, error) {
	return a.listWebhooks(ctx, req, false)
}

// QueueWebhookRetiredList returns calls of webhooks that do not wait any more.
func (a *Admin) QueueWebhookRetiredList(ctx context.Context, req WebhookListRequest) (WebhookList, error) {
	return a.listWebhooks(ctx, req, true)
}

func (a *Admin) listWebhooks(ctx context.Context, req WebhookListRequest, retired bool) (WebhookList, error) {
	f, err := a.webhookFilter(req.Filter, retired)
	if err != nil {
		return WebhookList{}, err
	}
	if f.Max == 0 || f.Max > queueListMax {
		f.Max = queueListMax + 1
	}
	hooks, err := a.opts.Queue.Hooks(ctx, f, queue.Sort{By: req.Sort, Desc: !req.Asc})
	if err != nil {
		return WebhookList{}, queueError("listing webhooks", err)
	}
	list := WebhookList{Webhooks: []Webhook{}, More: len(hooks) > queueListMax}
	for _, h := range hooks[:min(len(hooks), queueListMax)] {
		list.Webhooks = append(list.Webhooks, webhookOf(h))
	}
	return list, nil
}

func webhookOf(h queue.Hook) Webhook {
	w := Webhook{
		ID: h.ID, Account: h.Account, Event: h.Event, URL: h.URL, QueueMsgID: h.QueueMsgID, FromID: h.FromID, EmailID: h.EmailID,
		MessageID: h.MessageID, Subject: h.Subject, Extra: h.Extra, Submitted: h.Submitted.UTC(), LastAttempt: utc(h.LastAttempt),
		Attempts: h.Attempts, Calling: h.Calling, Results: []WebhookAttempt{}, Outcome: h.Outcome, LastActivity: utc(h.LastActivity),
		SupersededBy: h.SupersededBy, Payload: h.Payload,
	}
	if h.Outcome == "" {
		w.NextAttempt = utc(h.NextAttempt)
	}
	for _, r := range h.Results {
		w.Results = append(w.Results, WebhookAttempt{
			Start: r.Start.UTC(), TookMS: r.Took.Milliseconds(), URL: r.URL, OK: r.OK, Code: r.Code, Error: r.Error, Response: r.Response,
		})
	}
	return w
}

// WebhookScheduleRequest is for QueueWebhookSchedule.
type WebhookScheduleRequest struct {
	Filter  WebhookFilter `json:"filter"`
	Delay   Duration      `json:"delay"`
	FromNow bool          `json:"fromNow,omitempty"` // Delay counts from now, otherwise from the next attempt.
}

// QueueWebhookSchedule changes when the next attempt is. Calls that run are not
// changed.
func (a *Admin) QueueWebhookSchedule(ctx context.Context, req WebhookScheduleRequest) (QueueChanged, error) {
	delay := time.Duration(req.Delay)
	next := func(h queue.Hook) time.Time {
		if req.FromNow || h.NextAttempt.IsZero() {
			return a.opts.Queue.Now().Add(delay)
		}
		return h.NextAttempt.Add(delay)
	}
	return a.changeWebhooks(ctx, "webhooks rescheduled", req.Filter, func(f queue.HookFilter) ([]queue.Hook, error) {
		return a.opts.Queue.RescheduleHooks(ctx, f, next)
	})
}

// WebhookRequest is for operations on calls without more parameters.
type WebhookRequest struct {
	Filter WebhookFilter `json:"filter"`
}

// QueueWebhookCancel gives up calls: no further attempt is made.
func (a *Admin) QueueWebhookCancel(ctx context.Context, req WebhookRequest) (QueueChanged, error) {
	return a.changeWebhooks(ctx, "webhooks canceled", req.Filter, func(f queue.HookFilter) ([]queue.Hook, error) {
		return a.opts.Queue.CancelHooks(ctx, f, cancelReason)
	})
}

// changeWebhooks calls fn with a filter, logs what it did as msg, and returns it.
func (a *Admin) changeWebhooks(ctx context.Context, msg string, filter WebhookFilter, fn func(queue.HookFilter) ([]queue.Hook, error)) (QueueChanged, error) {
	f, err := a.webhookFilter(filter, false)
	if err != nil {
		return QueueChanged{}, err
	}
	hooks, err := fn(f)
	if err != nil {
		return QueueChanged{}, queueError("changing webhooks", err)
	}
	changed := QueueChanged{Changed: len(hooks), IDs: []int64{}}
	for _, h := range hooks {
		changed.IDs = append(changed.IDs, h.ID)
	}
	a.log.InfoContext(ctx, "queue changed", "change", msg, "webhooks", len(hooks))
	return changed, nil
}

// WebhookGetRequest is for QueueWebhookGet and QueueWebhookRetiredGet.
type WebhookGetRequest struct {
	ID int64 `json:"id"`
}

// QueueWebhookGet returns a call that waits, with all there is to know of it.
func (a *Admin) QueueWebhookGet(ctx context.Context, req WebhookGetRequest) (Webhook, error) {
	return a.getWebhook(ctx, req.ID, false)
}

// QueueWebhookRetiredGet returns a call that does not wait any more, likewise.
func (a *Admin) QueueWebhookRetiredGet(ctx context.Context, req WebhookGetRequest) (Webhook, error) {
	return a.getWebhook(ctx, req.ID, true)
}

func (a *Admin) getWebhook(ctx context.Context, id int64, retired bool) (Webhook, error) {
	if a.opts.Queue == nil {
		return Webhook{}, errNoQueue
	}
	err := queue.ErrNoHook
	var h queue.Hook
	if id > 0 {
		h, err = a.opts.Queue.GetHook(ctx, id, retired)
	}
	switch {
	case errors.Is(err, queue.ErrNoHook) && retired:
		return Webhook{}, &Error{Code: NotFound, Message: fmt.Sprintf("no retired webhook %d", id)}
	case errors.Is(err, queue.ErrNoHook):
		return Webhook{}, &Error{Code: NotFound, Message: fmt.Sprintf("no webhook %d in the queue", id)}
	case err != nil:
		return Webhook{}, err
	}
	return webhookOf(h), nil
}

// webhookFilter returns f as the queue takes it.
func (a *Admin) webhookFilter(f WebhookFilter, retired bool) (queue.HookFilter, error) {
	if a.opts.Queue == nil {
		return queue.HookFilter{}, errNoQueue
	}
	switch {
	case len(f.IDs) > filterIDsMax:
		return queue.HookFilter{}, userError("more than %d ids", filterIDsMax)
	case retired && f.NextAttempt != (When{}):
		return queue.HookFilter{}, userError("retired webhooks have no next attempt")
	case !retired && f.LastActive != (When{}):
		return queue.HookFilter{}, userError("only retired webhooks have a last activity")
	}
	for _, id := range f.IDs {
		if id <= 0 {
			return queue.HookFilter{}, userError("%d is not the id of a webhook", id)
		}
	}
	now := a.opts.Queue.Now()
	return queue.HookFilter{
		IDs: f.IDs, Retired: retired, Account: f.Account, Event: f.Event, Submitted: f.Submitted.filter(now),
		NextAttempt: f.NextAttempt.filter(now), LastActivity: f.LastActive.filter(now), Max: f.Max,
	}, nil
}

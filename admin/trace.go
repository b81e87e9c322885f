package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/trace"
)

// by is who changes messages in the queue.
const by = "administrator"

// traceQueryMax bounds what is asked for, in bytes.
const traceQueryMax = 2000

// QueueTraceRequest is for QueueTrace. One of Query and CID must be given.
type QueueTraceRequest struct {
	Query string    `json:"query,omitempty"` // Id of a message in the queue, Message-ID, or address of a sender or recipient.
	CID   string    `json:"cid,omitempty"`   // Id of a connection or delivery, as in the log.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	Max   int       `json:"max,omitempty"` // Events, the newest. 0: as many as there can be.
}

// QueueTraceResult is what there is about messages.
type QueueTraceResult struct {
	Events  []trace.Event `json:"events"`         // In the order of time.
	Gaps    []trace.Event `json:"gaps"`           // Where events are missing, in the time of those above.
	More    bool          `json:"more,omitempty"` // There are older ones.
	KeepFor string        `json:"keepFor"`        // How long events are kept, as 720h0m0s.
}

// QueueTrace returns the way of messages: what came, what was decided about it, each
// attempt to deliver it, what its sender was told.
func (a *Admin) QueueTrace(ctx context.Context, req QueueTraceRequest) (QueueTraceResult, error) {
	if a.opts.Trace == nil {
		return QueueTraceResult{}, &Error{Code: Unavailable, Message: "this server keeps no traces of messages: see Trace in mox.conf"}
	}
	q, err := traceQuery(req)
	if err != nil {
		return QueueTraceResult{}, err
	}
	found, err := a.opts.Trace.Lookup(ctx, q)
	if err != nil {
		return QueueTraceResult{}, err
	}
	res := QueueTraceResult{Events: []trace.Event{}, Gaps: []trace.Event{}, More: found.More, KeepFor: a.opts.Config().Trace().KeepFor.String()}
	res.Events = append(res.Events, found.Events...)
	for _, g := range found.Gaps {
		if !found.More || len(found.Events) == 0 || !g.Time.Before(found.Events[0].Time) {
			res.Gaps = append(res.Gaps, g)
		}
	}
	return res, nil
}

// traceQuery parses a request.
func traceQuery(req QueueTraceRequest) (q trace.Query, err error) {
	q = trace.Query{Since: req.Since, Until: req.Until, Max: req.Max}
	switch {
	case (req.Query == "") == (req.CID == ""):
		return q, userError("one of query and cid is needed")
	case len(req.Query) > traceQueryMax:
		return q, userError("query of %d bytes, more than %d", len(req.Query), traceQueryMax)
	case req.Max < 0 || req.Max > trace.EventsMax:
		return q, userError("a maximum of %d events: need 1 to %d, or 0 for all", req.Max, trace.EventsMax)
	case !req.Until.IsZero() && req.Until.Before(req.Since):
		return q, userError("until is before since")
	case req.CID != "":
		if q.CID, err = trace.ParseCID(req.CID); err != nil {
			return q, userError("%v", err)
		}
		return q, nil
	}
	if strings.Trim(req.Query, "0123456789") == "" {
		if q.ID, err = strconv.ParseInt(req.Query, 10, 64); err != nil || q.ID == 0 {
			return q, userError("%s is not the id of a message", req.Query)
		}
		return q, nil
	}
	q.MessageID = req.Query
	if !strings.HasPrefix(req.Query, "<") {
		q.Address = traceAddress(req.Query)
	}
	return q, nil
}

// traceAddress returns an address as traces have it, as far as it is one.
func traceAddress(s string) string {
	if a, err := smtp.ParseAddress(s); err == nil {
		return a.String()
	}
	return s // An address literal, or postmaster.
}

// changesMax is how many changes are traced at a time, so that memory for others is
// left.
const changesMax = 4000

// traceChanges adds a change to the traces of messages, as they are after it.
func traceChanges(log *trace.Log, what, who string, messages []queue.Message) {
	for i, m := range messages {
		if i%changesMax == changesMax-1 {
			log.Flush()
		}
		c := &trace.Change{What: what, By: who, State: string(m.State), Transport: m.Transport, RequireTLS: m.RequireTLS}
		if m.State == queue.Waiting || m.State == queue.Held {
			c.Next = m.NextAttempt
		}
		log.Append(trace.Event{
			Kind: trace.Changed, MessageID: m.MessageID, From: m.MailFrom, Base: m.BaseFrom, Account: m.Account, Rcpts: []trace.Rcpt{{Address: m.Rcpt, QueueID: m.ID}}, Change: c,
		})
	}
}

// changeName returns what a change is called in traces, given its name in the log.
func changeName(msg string) string {
	if msg == "TLS of messages" {
		return "what is asked of TLS changed"
	}
	return strings.TrimPrefix(msg, "messages ")
}

// traceHeld adds to the traces of messages that a rule holds them, which was added now.
func (a *Admin) traceHeld(ctx context.Context, rule queue.HoldRule) {
	if a.opts.Trace == nil {
		return
	}
	held := true
	list, err := a.opts.Queue.List(ctx, queue.Filter{Held: &held, Account: rule.Account}, queue.Sort{})
	if err != nil {
		a.log.WarnContext(ctx, "listing messages held by a rule for their traces", "id", rule.ID, "err", err)
	}
	list = slices.DeleteFunc(list, func(m queue.Message) bool { return m.HoldRule != rule.ID })
	traceChanges(a.opts.Trace, "held", fmt.Sprintf("hold rule %d", rule.ID), list)
}

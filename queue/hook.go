package queue

import (
	"errors"
	"time"

	"github.com/mjl-/mox/webhook"
)

// Hooks are calls of web addresses that tell what became of messages, and of those
// that came in (package webhook). They wait in the same database, so that they are
// written in the same commit as what they tell. Package hooks makes the calls.
//
// A hook is called at least once, unless it is given up: a process that dies between
// the call and the note of it calls again.

// ErrNoHook means there is no such hook, or no more.
var ErrNoHook = errors.New("queue: no such webhook")

const (
	// hooksMaxDefault bounds calls at a time. To one address there is one at a time.
	hooksMaxDefault = 10

	// hooksAccountDefault bounds the hooks of an account that wait, at some 2 KiB each.
	// An address that is down must not fill the disk: the oldest are given up.
	hooksAccountDefault = 10_000

	// hooksTotalMax bounds those of all accounts together: each takes some 300 bytes
	// of memory.
	hooksTotalMax = 100_000

	// hooksRetiredMax bounds the retired hooks of all accounts that are kept. Of more,
	// the oldest go.
	hooksRetiredMax = 200_000

	// hookLease is longer than any call takes. It is for those that never end, because
	// of a mistake.
	hookLease = 10 * time.Minute

	// hookTextMax bounds what is kept of the error and of the response of an attempt,
	// in bytes each.
	hookTextMax = 1000

	// hookJitterPart: a wait is at most this part of it longer or shorter.
	hookJitterPart = 100
)

// hookWaits are the times between attempts. After the last of them one more is made,
// 12 in all, within about 32 hours.
func hookWaits() []time.Duration {
	return []time.Duration{
		time.Minute, 2 * time.Minute, 4 * time.Minute, 450 * time.Second, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour,
	}
}

// nextHookAttempt returns when there is another attempt after this many, of which
// the last was at last, or that it was the final one. jitter is from -1 to 1.
func nextHookAttempt(attempts int64, last time.Time, jitter float64) (next time.Time, giveUp bool) {
	waits := hookWaits()
	if attempts > int64(len(waits)) {
		return time.Time{}, true
	}
	wait := waits[max(attempts, 1)-1]
	return last.Add(wait + time.Duration(min(max(jitter, -1), 1)*float64(wait/hookJitterPart))), false
}

// Hook is a call that waits to be made, or is retired.
type Hook struct {
	ID      int64
	Account string
	Event   webhook.Event
	URL     string // When it was queued; of the last attempt, if there was one.

	QueueMsgID int64  // Of the message that it is about, 0 for EventIncoming.
	FromID     string // Likewise, as Message.FromID.
	MessageID  string
	Subject    string
	Extra      map[string]string
	EmailID    int64  // Of the message in the account, for EventIncoming.
	Payload    []byte // JSON. Empty for EventIncoming: it is made when it is called.

	Submitted   time.Time
	NextAttempt time.Time // During a call, when the next would be if the process died.
	LastAttempt time.Time
	Attempts    int64
	Results     []HookResult // Of the last ResultsMax attempts, the newest last.
	Calling     bool         `bstore:"-"` // A call runs.

	Outcome      HookOutcome // When retired.
	RetiredAt    time.Time
	LastActivity time.Time // When it was retired; later if a call ended after that.
	SupersededBy int64     // Id of the hook that tells what this one would have, and more.
}

// HookResult is what came of one attempt.
type HookResult struct {
	Start    time.Time
	Took     time.Duration
	URL      string
	OK       bool
	Code     int64  // Status of HTTP, 0 if there was no response.
	Error    string // Empty if OK.
	Response string // The begin of the body.
	Final    bool   // Not OK, and another attempt does not help: there is nothing to tell any more.
}

// HookOutcome is how a hook left the queue.
type HookOutcome string

// The outcomes.
const (
	HookCalled     HookOutcome = "called"
	HookFailed     HookOutcome = "failed"     // The last attempt failed.
	HookSuperseded HookOutcome = "superseded" // There is a newer one for the message.
	HookCanceled   HookOutcome = "canceled"   // By an administrator, or there is nothing to call any more.
	HookCrowded    HookOutcome = "crowded"    // Too many were waiting.
)

// HookEvent is what is to be told about a message.
type HookEvent struct {
	Event       webhook.Event
	DSN         bool // It is known from a notification that came in.
	Suppressing bool // The recipient was put on the suppression list.
	Code        int64
	Enhanced    string
	Error       string
}

// NewIncoming is a message that came in, to be told.
type NewIncoming struct {
	Account   string
	EmailID   int64
	MessageID string // With angle brackets.
	Subject   string
}

// HookFilter selects hooks; fields that are set must all match.
type HookFilter struct {
	IDs                                  []int64
	Retired                              bool // Those that are retired, and not those that wait.
	Account                              string
	Event                                webhook.Event
	Submitted, NextAttempt, LastActivity TimeFilter // LastActivity of those retired, NextAttempt of the others.
	Max                                  int        // Zero: no maximum. Of a list its first ones, of changes the oldest hooks.
}

// HookStats is what waits.
type HookStats struct {
	Waiting int64
	Calling int64
}

// hookRow is a hook that is not retired. It has no index: what is due is known in
// memory.
type hookRow struct {
	ID     int64
	H      Hook
	Chosen bool // NextAttempt was chosen by a person.
}

// hookRetiredRow is a retired hook that is kept for a while.
type hookRetiredRow struct {
	ID    int64     `bstore:"noauto"` // That it had.
	Until time.Time `bstore:"index"`
	H     Hook
}

// hook returns the hook of a row.
func (r *hookRow) hook() Hook {
	h := r.H
	h.ID = r.ID
	return h
}

// hook returns the hook of a row.
func (r *hookRetiredRow) hook() Hook {
	h := r.H
	h.ID = r.ID
	return h
}

// addResult adds a result to those kept.
func (h *Hook) addResult(res HookResult) {
	res.Start = res.Start.Round(0)
	res.Error, res.Response = cut(res.Error, hookTextMax), cut(res.Response, hookTextMax)
	h.Results = append(h.Results, res)
	if n := len(h.Results); n > ResultsMax {
		h.Results = h.Results[n-ResultsMax:]
	}
}

package mtastsdb

import (
	"errors"
	"strings"
	"time"

	"github.com/mjl-/mox/mtasts"
)

const (
	// Backoff is the time after a failed fetch in which the policy of the same record
	// is not asked for again (RFC 8461, section 3.3: five minutes or longer).
	Backoff = 5 * time.Minute

	// UnusedMax is how long an entry is kept for which nobody asks.
	UnusedMax = 180 * 24 * time.Hour

	// updatedAge is how old a policy gets before it is refreshed.
	updatedAge = 12 * time.Hour

	// usedGrain is the exactness of Entry.Used. To be exact would cost a sync for
	// each message sent.
	usedGrain = 24 * time.Hour

	// failureTextMax bounds what is kept of an error in bytes.
	failureTextMax = 500

	// failedPolicyMax bounds what is kept of a text that is no policy in bytes. Policies
	// have a few lines.
	failedPolicyMax = 2000
)

// Answer is what DNS says about the record of a domain.
type Answer struct {
	Status Status
	ID     string // Of the record, for Present.
}

// Status is whether there is a record.
type Status int

// The possibilities.
const (
	Unknown Status = iota // DNS fails.
	Absent                // There is none that counts.
	Present
)

// newAnswer returns what the outcome of mtasts.LookupRecord means.
func newAnswer(found mtasts.Found, err error) Answer {
	switch {
	case err == nil:
		return Answer{Present, found.Record.ID}
	case errors.Is(err, mtasts.ErrNoRecord), errors.Is(err, mtasts.ErrRecord):
		return Answer{Status: Absent}
	}
	return Answer{}
}

// Action is what is to be done for a domain.
type Action string

// The actions. The last two are only for refreshing.
const (
	Use   Action = "use"   // The policy of the entry.
	Fetch Action = "fetch" // Then use the new policy, or else what there is.
	None  Action = "none"  // Go on as if the domain had no policy.
	Defer Action = "defer" // Nothing is known. There may be a policy.

	Keep   Action = "keep"
	Remove Action = "remove"
)

// Holds tells whether the entry has a policy that applies at a time.
func (e Entry) Holds(now time.Time) bool { return e.Text != "" && now.Before(e.ValidUntil) }

// BacksOff tells whether fetching the policy of the record with this id failed a
// short time ago. A failure in the future, of a clock that was wrong, doesn't count.
func (e Entry) BacksOff(id string, now time.Time) bool {
	return !e.Failed.IsZero() && e.FailedID == id && !now.Before(e.Failed) && now.Before(e.Failed.Add(Backoff))
}

// Decide says what to do for mail to the domain of an entry.
//
// A policy that applies is used whatever DNS says, unless that has another one: the
// record may vanish by an attack, and the owner of the domain has other ways to end a
// policy (RFC 8461, section 8.3).
func (e Entry) Decide(a Answer, now time.Time) Action {
	holds := e.Holds(now)
	switch {
	case a.Status == Present && (!holds || a.ID != e.RecordID) && !e.BacksOff(a.ID, now):
		return Fetch
	case holds:
		return Use
	case a.Status == Unknown:
		return Defer
	}
	return None
}

// DecideDue says what to do with an entry when it is looked at once a day: Keep,
// Remove, or Fetch, which means to ask DNS and then DecideRefresh.
func (e Entry) DecideDue(now time.Time) Action {
	switch {
	case now.Sub(e.Used) >= UnusedMax:
		return Remove
	case e.Text == "" && !e.BacksOff(e.FailedID, now):
		return Remove // Who sends there next asks anew.
	case e.Text == "" || now.Sub(e.Updated) < updatedAge && !e.Updated.After(now):
		return Keep
	}
	return Fetch
}

// DecideRefresh says what to do with an entry that is due: Keep, Remove or Fetch.
// A policy is fetched also if its record is as before, so that its time begins
// anew: else an attacker would only have to wait for its end.
func (e Entry) DecideRefresh(a Answer, now time.Time) Action {
	switch {
	case a.Status == Present && !e.BacksOff(a.ID, now):
		return Fetch
	case a.Status == Absent && (!e.Holds(now) || e.Policy.Mode == mtasts.None):
		return Remove
	}
	return Keep
}

// decideForced says what to do when somebody wants the entry to be refreshed, where
// action would be done otherwise: Fetch, Remove, Keep, or Defer if nothing is known.
func (e Entry) decideForced(a Answer, action Action) Action {
	switch {
	case a.Status == Present:
		return Fetch
	case a.Status == Unknown:
		return Defer
	case e.Text == "" && e.Failed.IsZero():
		return Keep // There is nothing to remove.
	}
	return action
}

// withPolicy returns the entry after a policy was fetched for the record with an id.
func (e Entry) withPolicy(p mtasts.Policy, text, id string, now time.Time) Entry {
	n := Entry{
		Domain: e.Domain, Text: text, Policy: p, RecordID: id,
		Inserted: e.Inserted, Updated: now, ValidUntil: now.Add(p.MaxAge), Used: e.Used,
	}
	if e.Inserted.IsZero() {
		n.Inserted = now
	}
	return n
}

// withFailure returns the entry after fetching failed. A policy that applies stays.
// Text is what was fetched, if anything.
func (e Entry) withFailure(err error, text, id string, now time.Time) Entry {
	if !e.Holds(now) {
		e = Entry{Domain: e.Domain, Used: e.Used}
	}
	e.Failed, e.FailedID, e.Failure = now, id, mtasts.FailureOf(err)
	e.FailureText, e.FailedPolicy = cut(err.Error(), failureTextMax), cut(text, failedPolicyMax)
	return e
}

// cut returns the beginning of a text, without what is not UTF-8.
func cut(text string, sizeMax int) string {
	return strings.ToValidUTF8(text[:min(len(text), sizeMax)], "")
}

// isUsed tells whether Used is to be set: it was a while ago, or by a wrong clock.
func (e Entry) isUsed(now time.Time) bool {
	return now.Sub(e.Used) >= usedGrain || e.Used.After(now)
}

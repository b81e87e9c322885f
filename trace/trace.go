// Package trace keeps the way of each message: how it came, what was decided about
// it, each attempt to deliver it, and what became of it, as events in the order in
// which they happened. They are for administrators, who ask about a message when
// somebody misses it.
//
// Events go into a log of their own, bounded in age and size. It is not a record of
// truth: nothing waits for it, and nothing is decided by what it has. A crash may lose
// its last seconds, and a flood some of its events; it then says so.
package trace

import (
	"context"
	"strconv"
	"time"
)

// Log is a log of events. It is safe for concurrent use. Nil is a log that keeps
// nothing.
type Log struct{}

// Append adds an event. It never waits for the disk: beyond what memory holds, events
// are dropped and counted. The event must not be changed afterwards.
func (l *Log) Append(e Event) {}

// Query says which events are wanted. Exactly one of ID, MessageID, Address and CID
// is set.
type Query struct {
	ID        int64  // Of a message in the queue.
	MessageID string // With or without angle brackets.
	Address   string // Of a sender or recipient, whatever its case.
	CID       CID

	Since, Until time.Time // Zero: no bound.
	Max          int       // Events, the newest. Zero: EventsMax.
}

// EventsMax bounds what Lookup returns.
const EventsMax = 10_000

// Found is what there is to a Query.
type Found struct {
	Events []Event // In the order of time.
	Gaps   []Event // Of kind Gap, in the time of the query.
	More   bool    // There are older ones.
}

// Lookup returns the events for a query. It looks at those that were appended
// before it was called.
func (l *Log) Lookup(ctx context.Context, q Query) (Found, error) { return Found{}, nil }

func parseCID(s string) (CID, error) {
	v, err := strconv.ParseInt(s, 16, 64)
	return CID(v), err
}

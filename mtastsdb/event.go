package mtastsdb

import (
	"time"

	"github.com/mjl-/mox/mtasts"
)

// Event is something worth counting.
type Event struct {
	Kind   string        // EventGet or EventFetch.
	Result string        // One of GetResults or FetchResults.
	Took   time.Duration // Of a fetch.
}

// The kinds of events.
const (
	EventGet   = "get"   // Somebody asked for a policy.
	EventFetch = "fetch" // A policy was asked for at its host.
)

// Results that are neither a Source nor a Failure.
const (
	resultOK    = "ok"
	resultError = "error"
)

// GetResults returns the results that events of the kind EventGet can have: where the
// policy came from, or "error" if it is not known.
func GetResults() []string {
	return []string{string(Cached), string(Fetched), string(NoPolicy), string(Failing), resultError}
}

// FetchResults returns those of EventFetch: "ok", or why there is no policy.
func FetchResults() []string {
	return []string{resultOK, string(mtasts.FailureFetch), string(mtasts.FailureWebPKI), string(mtasts.FailurePolicy)}
}

// fetchEvent returns the event of a fetch that ended with err.
func fetchEvent(err error, took time.Duration) Event {
	e := Event{Kind: EventFetch, Result: resultOK, Took: took}
	if err != nil {
		e.Result = string(mtasts.FailureOf(err))
	}
	return e
}

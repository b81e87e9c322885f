package delivery

import "github.com/mjl-/mox/webhook"

// event returns what a webhook of the sender's account is told of an attempt, empty
// if there is nothing to tell.
func (v *verdict) event() webhook.Event {
	f := v.failure
	switch {
	case f == nil:
		return webhook.EventDelivered
	case f.interrupted:
		return "" // Nothing was learned.
	case v.report.Retry:
		return webhook.EventDelayed
	case f.canceled:
		return webhook.EventCanceled
	case f.suppressed:
		return webhook.EventSuppressed
	}
	return webhook.EventFailed
}

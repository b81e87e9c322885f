package delivery

import (
	"testing"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/webhook"
)

// TestEvents tells webhooks what came of attempts.
func TestEvents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		failure *failure
		retry   bool
		want    webhook.Event
	}{
		{"delivered", nil, false, webhook.EventDelivered},
		{"refused for good", &failure{enhanced: "5.1.1", permanent: true}, false, webhook.EventFailed},
		{"refused for now, tried again", &failure{enhanced: "4.3.0"}, true, webhook.EventDelayed},
		{"refused for now, for the last time", &failure{enhanced: "4.3.0"}, false, webhook.EventFailed},
		{"refused for good, and its sender could not be told", &failure{enhanced: "5.1.1", permanent: true}, true, webhook.EventDelayed},
		{"to whom the account doesn't send", &failure{enhanced: "5.1.1", permanent: true, suppressed: true}, false, webhook.EventSuppressed},
		{"we stopped", &failure{enhanced: "4.3.2", interrupted: true}, true, ""},
		{"an administrator gave it up", withoutAttempt(&queue.Message{}, queue.DefaultSchedule(), "enough"), false, webhook.EventCanceled},
		{"its time was over", withoutAttempt(&queue.Message{Attempts: 1, LastAttempt: time.Now()}, queue.DefaultSchedule(), "too late"), false, webhook.EventFailed},
	} {
		v := verdict{failure: test.failure, report: queue.Report{Retry: test.retry}}
		if got := v.event(); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

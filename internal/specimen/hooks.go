package specimen

import (
	"context"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/webhook"
)

// hookURL is where the account Main has its webhooks.
const hookURL = "https://hooks.remote.example/mail"

// webhookOf returns the address of a webhook.
func webhookOf(account string, _ webhook.Event) (string, bool) { return hookURL, account == Main }

// callHooks leaves what an outgoing and an incoming webhook have: hooks that were
// called, one that waits after an attempt, and others that wait for their first. The
// messages before have left them.
func (s *specimen) callHooks(ctx context.Context, q *queue.DB) error {
	err := q.AddIncoming(ctx, []queue.NewIncoming{{Account: Main, EmailID: 1, MessageID: "<1@remote.example>", Subject: "to all"}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	for i := range 2 {
		w, err := q.NextHook(ctx)
		if err != nil {
			return err
		}
		r := queue.HookResult{Start: s.now, Took: time.Second, URL: hookURL, Code: 204, OK: true}
		if i > 0 {
			r.OK, r.Code, r.Error, r.Response = false, 503, "503 Service Unavailable", "later"
		}
		if err := q.FinishHook(ctx, w, r); err != nil {
			return err
		}
	}
	return nil
}

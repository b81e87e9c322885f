package config

import (
	"slices"
	"time"

	"github.com/mjl-/mox/webhook"
)

// Webhook returns the address that is to be told of an event about mail of an account,
// and the value of the header field Authorization for it; false if there is none.
func (c *Config) Webhook(account string, event webhook.Event) (url, authorization string, ok bool) {
	a := c.Dynamic.Accounts[account]
	if event == webhook.EventIncoming {
		if h := a.IncomingWebhook; h != nil {
			return h.URL, h.Authorization, true
		}
		return "", "", false
	}
	h := a.OutgoingWebhook
	if h == nil || len(h.Events) > 0 && !slices.Contains(h.Events, string(event)) {
		return "", "", false
	}
	return h.URL, h.Authorization, true
}

// KeepRetiredWebhooks returns how long it is kept what became of calls for an account.
func (c *Config) KeepRetiredWebhooks(account string) time.Duration {
	return c.Dynamic.Accounts[account].KeepRetiredWebhookPeriod
}

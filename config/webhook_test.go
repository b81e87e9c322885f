package config

import (
	"testing"

	"github.com/mjl-/mox/webhook"
)

// TestWebhook asks for the addresses of accounts with different webhooks.
func TestWebhook(t *testing.T) {
	t.Parallel()
	const sent, received = "https://hooks.example.org/sent", "https://hooks.example.org/received"
	c := &Config{Dynamic: Dynamic{Accounts: map[string]Account{
		"all":  {OutgoingWebhook: &OutgoingWebhook{URL: sent, Authorization: "Basic eA=="}},
		"some": {OutgoingWebhook: &OutgoingWebhook{URL: sent, Events: []string{"failed"}}, IncomingWebhook: &IncomingWebhook{URL: received, Authorization: "Bearer y"}},
		"none": {},
	}}}
	for _, test := range []struct {
		account   string
		event     webhook.Event
		want      string
		authorize string
	}{
		{"all", webhook.EventDelivered, sent, "Basic eA=="},
		{"all", webhook.EventUnrecognized, sent, "Basic eA=="},
		{"all", webhook.EventIncoming, "", ""},
		{"some", webhook.EventFailed, sent, ""},
		{"some", webhook.EventDelivered, "", ""},
		{"some", webhook.EventIncoming, received, "Bearer y"},
		{"none", webhook.EventFailed, "", ""},
		{"none", webhook.EventIncoming, "", ""},
		{"unknown", webhook.EventFailed, "", ""},
	} {
		url, authorization, ok := c.Webhook(test.account, test.event)
		if url != test.want || authorization != test.authorize || ok != (test.want != "") {
			t.Errorf("%s, %s: got %q, %q, %v, want %q, %q", test.account, test.event, url, authorization, ok, test.want, test.authorize)
		}
	}
}

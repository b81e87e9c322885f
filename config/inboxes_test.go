package config

import (
	"slices"
	"testing"
)

// TestInboxes checks that each setting that names a mailbox for new mail is
// found, for its account only.
func TestInboxes(t *testing.T) {
	t.Parallel()
	c := Config{
		Static: Static{
			Postmaster: Postmaster{Account: "a", Mailbox: "Postmaster"},
			HostTLSRPT: &HostTLSRPT{Account: "b", Mailbox: "HostTLS"},
		},
		Dynamic: Dynamic{
			Domains: map[string]Domain{"example.org": {
				DMARC:  &DMARC{Account: "b", Mailbox: "DMARC"},
				TLSRPT: &TLSRPT{Account: "a", Mailbox: "TLS"},
			}},
			Accounts: map[string]Account{"a": {
				RejectsMailbox: "Rejects", Introbox: "New",
				Destinations: map[string]Destination{
					"x@example.org": {},
					"y@example.org": {Mailbox: "Y", Rulesets: []Ruleset{{Mailbox: "Lists", AcceptRejectsToMailbox: "Perhaps"}}},
				},
			}},
		},
	}
	for account, want := range map[string][]string{
		"a":      {"Inbox", "Lists", "New", "Perhaps", "Postmaster", "TLS", "Y"},
		"b":      {"DMARC", "HostTLS", "Inbox"},
		"absent": {"Inbox"},
	} {
		if got := c.Inboxes(account); !slices.Equal(got, want) {
			t.Errorf("account %s: got %q", account, got)
		}
	}
}

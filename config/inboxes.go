package config

import (
	"maps"
	"slices"
)

// Inboxes returns the names of the mailboxes that mail for an account may be put
// into, sorted, Inbox always among them. The one for refused mail is not: that was
// never delivered.
func (c *Config) Inboxes(account string) []string {
	set := map[string]bool{"Inbox": true}
	a := c.Dynamic.Accounts[account]
	set[a.Introbox] = true
	for _, d := range a.Destinations {
		set[d.Mailbox] = true
		for _, r := range d.Rulesets {
			set[r.Mailbox], set[r.AcceptRejectsToMailbox] = true, true
		}
	}
	add := func(owner, mailbox string) {
		if owner == account {
			set[mailbox] = true
		}
	}
	add(c.Static.Postmaster.Account, c.Static.Postmaster.Mailbox)
	if r := c.Static.HostTLSRPT; r != nil {
		add(r.Account, r.Mailbox)
	}
	for _, d := range c.Dynamic.Domains {
		if d.DMARC != nil {
			add(d.DMARC.Account, d.DMARC.Mailbox)
		}
		if d.TLSRPT != nil {
			add(d.TLSRPT.Account, d.TLSRPT.Mailbox)
		}
	}
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}

package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/webhook"
)

// junkWordsMax bounds how many words are looked at of a message.
const junkWordsMax = 10_000

// webhookURLMax bounds the address of a webhook in bytes: what servers take.
const webhookURLMax = 4000

// moreOfAccounts checks what is not about addresses.
func (c *checker) moreOfAccounts() {
	for _, name := range slices.Sorted(maps.Keys(c.config.Dynamic.Accounts)) {
		a := c.config.Dynamic.Accounts[name]
		s := c.dynamic("Accounts").in(name)
		s.webhooks(a)
		for i, address := range a.FromIDLoginAddresses {
			s.in("FromIDLoginAddresses").item(i).fromID(name, address)
		}
		s.in("KeepRetiredMessagePeriod").period(a.KeepRetiredMessagePeriod)
		s.in("KeepRetiredWebhookPeriod").period(a.KeepRetiredWebhookPeriod)
		s.in("LoginDisabled").text(a.LoginDisabled)
		s.in("SubjectPass.Period").period(a.SubjectPass.Period)
		s.rejects(a)
		c.config.junkFlags[name] = compileJunkFlags(a.AutomaticJunkFlags)
		s.in("AutomaticJunkFlags.JunkMailboxRegexp").lowerRegexp(a.AutomaticJunkFlags.JunkMailboxRegexp)
		s.in("AutomaticJunkFlags.NeutralMailboxRegexp").lowerRegexp(a.AutomaticJunkFlags.NeutralMailboxRegexp)
		s.in("AutomaticJunkFlags.NotJunkMailboxRegexp").lowerRegexp(a.AutomaticJunkFlags.NotJunkMailboxRegexp)
		if a.JunkFilter != nil {
			s.in("JunkFilter").junkFilter(a.JunkFilter)
		}
		s.in("MaxOutgoingMessagesPerDay").notNegative(a.MaxOutgoingMessagesPerDay)
		s.in("MaxFirstTimeRecipientsPerDay").notNegative(a.MaxFirstTimeRecipientsPerDay)
		s.capabilities(a.IMAPCapabilitiesDisabled)
		c.config.routes.accounts[name] = s.in("Routes").routes(a.Routes)
		for _, address := range slices.Sorted(maps.Keys(a.Destinations)) {
			s := s.in("Destinations").in(address)
			d := a.Destinations[address]
			s.in("MessageAuthRequiredSMTPError").text(d.MessageAuthRequiredSMTPError)
			if len(d.Rulesets) > listMax {
				s.in("Rulesets").bad("more than %d", listMax)
			}
			for i, r := range d.Rulesets {
				s.in("Rulesets").item(i).ruleset(r)
			}
		}
	}
}

func (s scope) webhooks(a Account) {
	if h := a.OutgoingWebhook; h != nil {
		s := s.in("OutgoingWebhook")
		s.in("URL").webhookURL(h.URL)
		s.in("Authorization").headerValue(h.Authorization)
		var known []string
		for _, e := range webhook.Events() {
			known = append(known, string(e))
		}
		s.in("Events").oneOf(h.Events, known)
	}
	if h := a.IncomingWebhook; h != nil {
		s := s.in("IncomingWebhook")
		s.in("URL").webhookURL(h.URL)
		s.in("Authorization").headerValue(h.Authorization)
	}
}

// webhookURL checks the address of a webhook. It is in lists and in the log, so that
// it has no password.
func (s scope) webhookURL(text string) {
	u := s.url(text)
	switch {
	case u == nil:
	case len(text) > webhookURLMax:
		s.bad("more than %d bytes", webhookURLMax)
	case u.User != nil:
		s.bad("must not have a user or password: they go into Authorization")
	case u.Fragment != "":
		s.bad("must not have a fragment")
	}
}

// headerValue checks the value of a header field of HTTP (RFC 9110, section 5.5).
func (s scope) headerValue(text string) {
	if !isPrintable(strings.ReplaceAll(text, "\t", " ")) || strings.TrimSpace(text) != text {
		s.bad("need printable ASCII characters without space around them")
	}
}

// fromID checks a login address that makes senders of its own.
func (s scope) fromID(account, address string) {
	a, err := smtp.ParseAddress(address)
	if !s.is(err) {
		return
	}
	d, ok := s.c.config.domains[a.Domain]
	if !ok {
		s.bad("no domain %q", a.Domain.Name())
		return
	}
	if len(d.separators) == 0 {
		s.bad("domain %q has no catchall separator", a.Domain.Name())
	}
	base := smtp.Address{Localpart: d.canonical(a.Localpart), Domain: a.Domain}
	a.Localpart = d.fold(a.Localpart)
	if owner, _, err := s.c.config.Login(base); err != nil || owner != account {
		s.bad("%s is not an address of the account", address)
		return
	}
	if room := s.c.config.FromIDRoom(base); len(d.separators) > 0 && room < FromIDSizeMin {
		s.bad("%s is too long: %d bytes are needed after a separator, and there is room for %d", base, FromIDSizeMin, room)
	}
	key := addressKey(a)
	if s.c.config.fromIDs[key] != "" {
		s.bad("%s is named twice", address)
	}
	s.c.config.fromIDs[key] = account
}

// rejects checks the mailboxes for mail that is not quite welcome.
func (s scope) rejects(a Account) {
	if a.RejectsMailbox != "" {
		s.in("RejectsMailbox").otherMailbox(a.RejectsMailbox)
	}
	if a.Introbox != "" {
		s.in("Introbox").otherMailbox(a.Introbox)
		if a.Introbox == a.RejectsMailbox {
			s.in("Introbox").bad("must not be RejectsMailbox")
		}
	}
}

func (s scope) junkFilter(f *JunkFilter) {
	s.in("Threshold").fraction(f.Threshold, 1)
	s.in("MaxPower").fraction(f.MaxPower, 0.5)
	s.in("IgnoreWords").fraction(f.IgnoreWords, 0.5)
	s.in("TopWords").words(f.TopWords)
	s.in("RareWords").words(f.RareWords)
	if !f.Onegrams && !f.Twograms && !f.Threegrams {
		s.warn("without Onegrams, Twograms and Threegrams no word is looked at")
	}
}

func (s scope) words(n int64) {
	if n < 0 || n > junkWordsMax {
		s.bad("need 0 to %d", junkWordsMax)
	}
}

// capabilities checks names of IMAP extensions.
func (s scope) capabilities(names []string) {
	s = s.in("IMAPCapabilitiesDisabled")
	for i, name := range names {
		if name == "" || len(name) > textMax || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`(){%*"\]`, c) }) {
			s.item(i).bad("%+q is not a name of an IMAP extension", name)
		} else if strings.EqualFold(name, "IMAP4rev1") {
			s.item(i).bad("%s is no extension, and can't be switched off", name)
		}
	}
	s.once(names)
}

func (s scope) ruleset(r Ruleset) {
	if r.SMTPMailFromRegexp == "" && r.MsgFromRegexp == "" && r.VerifiedDomain == "" && len(r.HeadersRegexp) == 0 {
		s.bad("need at least one of the conditions SMTPMailFromRegexp, MsgFromRegexp, VerifiedDomain and HeadersRegexp")
	}
	s.in("SMTPMailFromRegexp").lowerRegexp(r.SMTPMailFromRegexp)
	s.in("MsgFromRegexp").lowerRegexp(r.MsgFromRegexp)
	if r.VerifiedDomain != "" {
		s.in("VerifiedDomain").domain(r.VerifiedDomain)
	}
	for _, name := range slices.Sorted(maps.Keys(r.HeadersRegexp)) {
		s := s.in("HeadersRegexp").in(name)
		s.lowerRegexp(name)
		s.lowerRegexp(r.HeadersRegexp[name])
	}
	if r.IsForward {
		if r.SMTPMailFromRegexp == "" || r.VerifiedDomain == "" {
			s.in("IsForward").bad("needs SMTPMailFromRegexp and VerifiedDomain")
		}
		if r.ListAllowDomain != "" {
			s.in("IsForward").bad("cannot be set together with ListAllowDomain")
		}
	}
	if r.ListAllowDomain != "" {
		s.in("ListAllowDomain").domain(r.ListAllowDomain)
	}
	if r.AcceptRejectsToMailbox != "" {
		s.in("AcceptRejectsToMailbox").otherMailbox(r.AcceptRejectsToMailbox)
	}
	s.in("Mailbox").mailbox(r.Mailbox)
}

// completeAddresses gives addresses of accounts that are without domain, as they
// were in old files, that of their account.
func completeAddresses(d *Dynamic, lines map[string]int) (warnings Problems) {
	for name, a := range d.Accounts {
		for address, dest := range a.Destinations {
			if strings.Contains(address, "@") || a.Domain == "" {
				continue
			}
			full := address + "@" + a.Domain
			if _, ok := a.Destinations[full]; ok {
				continue // Is refused.
			}
			path := "Accounts." + name + ".Destinations."
			lines[path+full] = lines[path+address]
			delete(a.Destinations, address)
			a.Destinations[full] = dest
			warnings = append(warnings, &Problem{DynamicName, lines[path+full], path + address, fmt.Errorf("an address without domain is deprecated, %s is used", full)})
		}
	}
	return warnings
}

package config

import (
	"time"

	"github.com/mjl-/mox/junk"
)

// Account is a user, or several people that share mailboxes.
type Account struct {
	OutgoingWebhook              *OutgoingWebhook       `sconf:"optional" sconf-doc:"Web address that is told what becomes of mail that the account sends."`
	IncomingWebhook              *IncomingWebhook       `sconf:"optional" sconf-doc:"Web address that is told of mail that the account gets. Not of mail that is refused, nor of notifications of which OutgoingWebhook is told."`
	FromIDLoginAddresses         []string               `sconf:"optional" sconf-doc:"Addresses of the account: mail that is sent after logging in with one of them gets a sender (MAIL FROM) of its own for each recipient, with the first catchall separator of its domain and a random text. Notifications and other answers then tell which message they are about, and nobody can invent them. An address can have a catchall separator too, so that only those who log in with that spelling use this. Some greylisting servers take such senders for new ones each time."`
	KeepRetiredMessagePeriod     time.Duration          `sconf:"optional" sconf-doc:"How long to keep what became of messages that left the queue. If absent, not at all."`
	KeepRetiredWebhookPeriod     time.Duration          `sconf:"optional" sconf-doc:"How long to keep what became of calls to web addresses. If absent, not at all."`
	LoginDisabled                string                 `sconf:"optional" sconf-doc:"If not empty, nobody can log in, and this text tells why. Mail is still accepted. At most 256 printable ASCII characters."`
	Domain                       string                 `sconf-doc:"Domain of the account, one of those above."`
	Description                  string                 `sconf:"optional" sconf-doc:"For people who read this file."`
	FullName                     string                 `sconf:"optional" sconf-doc:"Name of the user."`
	Destinations                 map[string]Destination `sconf:"optional" sconf-doc:"Addresses of the account, and what happens with mail for each. An address is of one account only, has no catchall separator, and is given as user@domain. With @domain alone it is the catchall address, for which mail for all other addresses of the domain is accepted. A value of nil is enough for most."`
	SubjectPass                  SubjectPass            `sconf:"optional" sconf-doc:"Tell senders whose mail was refused as junk a text with which it gets through."`
	QuotaMessageSize             int64                  `sconf:"optional" sconf-doc:"Limit in bytes for all messages of the account together, in place of the one in mox.conf. Negative for no limit, whatever that one is."`
	QuotaMessageCount            int64                  `sconf:"optional" sconf-doc:"Limit to the number of messages in all mailboxes of the account, in place of the one in mox.conf. Negative for no limit, whatever that one is."`
	RejectsMailbox               string                 `sconf:"optional" sconf-doc:"Mailbox where mail that was refused is kept for a while, for example Rejects. Not Inbox."`
	KeepRejects                  bool                   `sconf:"optional" sconf-doc:"Don't remove mail from RejectsMailbox by itself."`
	Introbox                     string                 `sconf:"optional" sconf-doc:"Mailbox for mail from senders who are not known yet, in place of Inbox. Not Inbox, and not RejectsMailbox."`
	AutomaticJunkFlags           AutomaticJunkFlags     `sconf:"optional" sconf-doc:"Mark mail as junk or not by the mailbox that it is moved to, for those who don't mark it themselves. Names are compared in lower case, in the order below. If exactly two of the three are set, the third is for all the rest."`
	JunkFilter                   *JunkFilter            `sconf:"optional" sconf-doc:"Tell junk by its words, from mail that was marked as junk or not. It decides nothing before 50 messages that are not junk were marked. If absent, words are not looked at; a filter that is there goes on learning."`
	MaxOutgoingMessagesPerDay    int64                  `sconf:"optional" sconf-doc:"Limit for messages that the account sends in 24 hours. A message to several recipients counts for each of them. It bounds the harm that somebody can do who got hold of the password. If zero, 1000."`
	MaxFirstTimeRecipientsPerDay int64                  `sconf:"optional" sconf-doc:"Limit for recipients that the account has never sent to before, in 24 hours. If zero, 200."`
	NoFirstTimeSenderDelay       bool                   `sconf:"optional" sconf-doc:"Don't let mail from senders without reputation wait."`
	NoCustomPassword             bool                   `mox:"always" sconf:"optional" sconf-doc:"Users can't choose their passwords, but only get new ones that are made for them."`
	IMAPCapabilitiesDisabled     []string               `sconf:"optional" sconf-doc:"Extensions of IMAP that are not offered after logging in, for mail programs that have trouble with them: names as in CAPABILITY, without what is behind an equals sign for all of a kind. What is built on one of them is off too: with CONDSTORE also QRESYNC. Commands and options of these are unknown. A change is seen by those who log in after it. IMAP4rev1 can't be named: it is what is left."`
	Routes                       []Route                `sconf:"optional" sconf-doc:"How mail of this account is sent on. Routes of its domain come after these, then those of all."`
}

// OutgoingWebhook is a web address for what becomes of mail.
type OutgoingWebhook struct {
	URL           string   `sconf-doc:"Address to POST JSON to, with http or https. It can be one of this host or of the network it is in."`
	Authorization string   `sconf:"optional" sconf-doc:"Value of the header field Authorization, for example Basic and a space and the base64 of user:password."`
	Events        []string `sconf:"optional" sconf-doc:"What to tell of: delivered, suppressed, delayed, failed, relayed, expanded, canceled, unrecognized. If absent, all."`
}

// IncomingWebhook is a web address for mail that comes in.
type IncomingWebhook struct {
	URL           string `sconf-doc:"Address to POST to."`
	Authorization string `sconf:"optional" sconf-doc:"Value of the header field Authorization."`
}

// Destination says what happens with mail for an address.
type Destination struct {
	Mailbox                      string    `sconf:"optional" sconf-doc:"Mailbox for the mail, made when needed. If absent, Inbox."`
	Rulesets                     []Ruleset `sconf:"optional" sconf-doc:"Other mailboxes for some mail. The first whose conditions all hold is taken."`
	SMTPError                    string    `sconf:"optional" sconf-doc:"Refuse mail with this: 421 for now, or 550 for good, then a space and a text for the sender. Mailbox and Rulesets can't be set with it."`
	MessageAuthRequiredSMTPError string    `sconf:"optional" sconf-doc:"Refuse mail whose sender is not verified by SPF or DKIM with this text, of at most 256 printable ASCII characters."`
	FullName                     string    `sconf:"optional" sconf-doc:"Name of the user at this address, if it is not that of the account."`
}

// Ruleset chooses a mailbox for mail that fulfils all its conditions, of which it
// has one at least.
type Ruleset struct {
	SMTPMailFromRegexp string            `sconf:"optional" sconf-doc:"Condition: the sender in MAIL FROM matches, in lower case."`
	MsgFromRegexp      string            `sconf:"optional" sconf-doc:"Condition: the address in From matches, in lower case."`
	VerifiedDomain     string            `sconf:"optional" sconf-doc:"Condition: the mail is from this domain or one below it, verified by SPF or DKIM."`
	HeadersRegexp      map[string]string `sconf:"optional" sconf-doc:"Condition: for each line here the header has a field whose name and value match, in lower case. For example ^list-id$: <golang-nuts[.]googlegroups[.]com>."`

	IsForward              bool   `sconf:"optional" sconf-doc:"The mail is forwarded from another mailbox of the user: junk in it is not held against the forwarding server. Needs SMTPMailFromRegexp and VerifiedDomain."`
	ListAllowDomain        string `sconf:"optional" sconf-doc:"The mail is from a mailing list of this domain: if that is verified it is accepted, whatever else speaks against it."`
	AcceptRejectsToMailbox string `sconf:"optional" sconf-doc:"Put mail that would be refused as junk into this mailbox. Not Inbox."`

	Mailbox string `sconf-doc:"Mailbox for the mail, made when needed."`
	Comment string `sconf:"optional" sconf-doc:"For people who read this file."`
}

// SubjectPass is how senders can prove that a person is behind refused mail.
type SubjectPass struct {
	Period time.Duration `sconf:"optional" sconf-doc:"How long the text is valid, for example 12h. If absent, none is given."`
}

// AutomaticJunkFlags marks mail by its mailbox.
type AutomaticJunkFlags struct {
	Enabled              bool
	JunkMailboxRegexp    string `sconf:"optional" sconf-doc:"For example ^(junk|spam)."`
	NeutralMailboxRegexp string `sconf:"optional" sconf-doc:"For example ^(inbox|neutral|postmaster|dmarc|tlsrpt|rejects)."`
	NotJunkMailboxRegexp string `sconf:"optional"`
}

// DefaultJunkFilter returns the filter that new accounts have.
func DefaultJunkFilter() *JunkFilter {
	return &JunkFilter{Threshold: 0.95, Onegrams: true, MaxPower: 0.01, TopWords: 10, IgnoreWords: 0.1, RareWords: 2}
}

// Params returns how the filter looks at words. Threshold is for who decides.
func (f *JunkFilter) Params() junk.Params {
	p := junk.Params{MaxPower: f.MaxPower, IgnoreWords: f.IgnoreWords, TopWords: int(f.TopWords), RareWords: int(f.RareWords)}
	for _, g := range []struct {
		set   bool
		grams junk.Grams
	}{{f.Onegrams, junk.OneGrams}, {f.Twograms, junk.TwoGrams}, {f.Threegrams, junk.ThreeGrams}} {
		if g.set {
			p.Grams |= g.grams
		}
	}
	return p
}

// JunkFilter is how junk is told by its words.
type JunkFilter struct {
	Threshold   float64 `sconf-doc:"Probability from which mail is junk, between 0 and 1. For example 0.95."`
	Onegrams    bool    `sconf:"optional" sconf-doc:"Look at single words. When this or one of the next two is changed, the filter is trained again, in the background; until then it works as before."`
	Twograms    bool    `sconf:"optional" sconf-doc:"Look at pairs of words."`
	Threegrams  bool    `sconf:"optional" sconf-doc:"Look at three words in a row."`
	MaxPower    float64 `sconf:"optional" sconf-doc:"How little a word can be short of certain, between 0 and 0.5. With 0.01 no word says more than 0.99. If zero, 0.01."`
	TopWords    int64   `sconf:"optional" sconf-doc:"How many of the words that say most are looked at, of junk and of other mail. If zero, 10."`
	IgnoreWords float64 `sconf:"optional" sconf-doc:"How far from undecided a word must be to be looked at, between 0 and 0.5. For example 0.1."`
	RareWords   int64   `sconf:"optional" sconf-doc:"Words that were in no more messages than this say less. For example 2."`
}

package config

// Dynamic is the content of domains.conf. Changes to it take effect while the
// server runs.
type Dynamic struct {
	Domains  map[string]Domain  `sconf:"optional" sconf-doc:"NOTE: This file is in sconf format. Indentation must be with tabs, one for each level. Comments must be on lines of their own. Values are not quoted.\n\n\nDomains for which mail is accepted, by name. Internationalised names are written in Unicode."`
	Accounts map[string]Account `sconf:"optional" sconf-doc:"Accounts, by name. Each has its own mailboxes, password and addresses. Names are of a-z and 0-9, with dashes, dots and underscores inside, at most 64 characters. An account is not renamed by changing its name here: its data is stored under the name."`
}

// Domain is a domain for which mail is accepted.
type Domain struct {
	Disabled                    bool             `sconf:"optional" sconf-doc:"Refuse mail for this domain for now, so that senders try again later. Users can still log in with its addresses."`
	Description                 string           `sconf:"optional" sconf-doc:"For people who read this file."`
	LocalpartCatchallSeparator  string           `sconf:"optional" sconf-doc:"If not empty, what comes after it in the part before the @ does not matter: with +, mail for you+shop@ goes to you@."`
	LocalpartCatchallSeparators []string         `sconf:"optional" sconf-doc:"Like LocalpartCatchallSeparator, for several. The one that comes first in an address counts. Only one of the two can be set."`
	LocalpartCaseSensitive      bool             `sconf:"optional" sconf-doc:"Tell upper and lower case apart in the part before the @. Few senders expect that."`
	Aliases                     map[string]Alias `sconf:"optional" sconf-doc:"Addresses that stand for several others, by the part before the @."`
}

// Alias is an address that stands for several others.
type Alias struct {
	Addresses    []string `sconf-doc:"Addresses that get a copy. They must be addresses of accounts here, and not aliases."`
	PostPublic   bool     `sconf:"optional" sconf-doc:"Take mail from anyone. If false, only from an address that is one of the above."`
	AllowMsgFrom bool     `sconf:"optional" sconf-doc:"Let accounts with one of the above addresses send mail from the alias, as they can from their own addresses."`
}

// Account is a user, or several people that share mailboxes.
type Account struct {
	LoginDisabled                string                 `sconf:"optional" sconf-doc:"If not empty, nobody can log in, and this text tells why. Mail is still accepted. At most 256 printable ASCII characters."`
	Domain                       string                 `sconf-doc:"Domain of the account, one of those above."`
	Description                  string                 `sconf:"optional" sconf-doc:"For people who read this file."`
	FullName                     string                 `sconf:"optional" sconf-doc:"Name of the user."`
	Destinations                 map[string]Destination `sconf:"optional" sconf-doc:"Addresses of the account, and what happens with mail for each. An address is of one account only, has no catchall separator, and is given as user@domain. With @domain alone it is the catchall address, for which mail for all other addresses of the domain is accepted. A value of nil is enough for most."`
	QuotaMessageSize             int64                  `sconf:"optional" sconf-doc:"Limit in bytes for all messages of the account together, in place of the one in mox.conf. Negative for no limit, whatever that one is."`
	MaxOutgoingMessagesPerDay    int64                  `sconf:"optional" sconf-doc:"Limit for messages that the account sends in 24 hours. A message to several recipients counts for each of them. It bounds the harm that somebody can do who got hold of the password. If zero, 1000."`
	MaxFirstTimeRecipientsPerDay int64                  `sconf:"optional" sconf-doc:"Limit for recipients that the account has never sent to before, in 24 hours. If zero, 200."`
}

// Destination says what happens with mail for an address.
type Destination struct {
	Mailbox   string `sconf:"optional" sconf-doc:"Mailbox for the mail, made when needed. If absent, Inbox."`
	SMTPError string `sconf:"optional" sconf-doc:"Refuse mail with this: 421 for now, or 550 for good, then a space and a text for the sender. Mailbox can't be set with it."`
}

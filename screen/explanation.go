package screen

import "time"

// Explanation is a decision about a message for one place, with all it depends on,
// for people.
type Explanation struct {
	Rcpt    string `json:"rcpt"`
	Account string `json:"account,omitempty"` // Empty if it doesn't come so far.

	// The envelope, as given or as found in the header of the message.
	MailFrom string    `json:"mailFrom"` // Empty for the null sender.
	IP       string    `json:"ip,omitempty"`
	Hello    string    `json:"hello,omitempty"`
	TLS      bool      `json:"tls"`
	At       time.Time `json:"at"`
	Found    bool      `json:"found"` // The envelope is from the header.

	From           string           `json:"from,omitempty"` // The one address in From.
	Authentication []Authentication `json:"authentication"`
	Forged         int              `json:"forged,omitempty"` // Fields of the message that say to be our results.
	Rule           *RuleMatch       `json:"rule,omitempty"`

	Steps       []Step `json:"steps"`
	Action      string `json:"action"`
	Reason      Reason `json:"reason"`
	Explanation string `json:"explanation"`
	Mailbox     string `json:"mailbox,omitempty"` // Where it goes.
	Rejects     string `json:"rejects,omitempty"` // Where it is kept though it is refused.
	Wait        string `json:"wait,omitempty"`    // Before the reply.
	Reply       string `json:"reply"`             // To the sender.
}

// Authentication is one result about who sent a message.
type Authentication struct {
	Method string `json:"method"`
	Result string `json:"result"`
	About  string `json:"about,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// RuleMatch is the ruleset of the recipient that matches a message.
type RuleMatch struct {
	Index   int    `json:"index"` // From 0.
	Comment string `json:"comment,omitempty"`
	Mailbox string `json:"mailbox"`
}

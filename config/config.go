// Package config has the two configuration files: their settings with the
// documentation of each, reading and writing them, checking them as a whole, and
// the questions that are asked of them while the server runs.
//
// It opens no files: texts come in as bytes, certificates through an fs.FS.
// Package config/live holds the current configuration of a server and changes
// it; package system builds a server from it.
//
// There are also settings for what the program doesn't do yet: they are checked,
// and refused by name. See marks.
package config

import (
	"crypto/tls"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/junk"
)

// Config is a configuration that was checked, with what is asked of it worked
// out. It is immutable and safe for concurrent use.
type Config struct {
	// The files as read. Not to be changed: maps are shared.
	Static  Static
	Dynamic Dynamic

	// Warnings are settings that hardly do what was meant. They should be shown to
	// the operator.
	Warnings Problems

	Hostname  dns.Domain
	Endpoints []Endpoint // By listener, then service, then address.

	// Authorities are those of TLS.CA. Nil: those of the system.
	Authorities *Authorities

	staticLines map[string]int // Of mox.conf, by path; nil from Check.

	hostnames    map[dns.Domain]bool // Of the server and its listeners.
	domains      map[dns.Domain]domain
	destinations map[string]destination // By canonical address, see addressKey.
	aliases      map[string]alias       // Likewise.
	signing      map[dns.Domain][]dkim.Selector
	junkFlags    map[string]JunkFlags // By account.
	fromIDs      map[string]string    // Accounts of FromIDLoginAddresses, by address without its spelling.
	ways         map[string]Way       // By name.
	routes       routes
}

// Service is what runs at an endpoint.
type Service string

// The services. The names are used in logs and metrics.
const (
	ServiceSMTP        Service = "smtp"
	ServiceSubmission  Service = "submission"
	ServiceSubmissions Service = "submissions"
	ServiceIMAP        Service = "imap"
	ServiceIMAPS       Service = "imaps"
	ServiceMetrics     Service = "metrics"
)

// Endpoint is an address to listen on.
type Endpoint struct {
	Listener string // Its name in mox.conf.
	Service  Service
	Addr     netip.AddrPort
	Hostname dns.Domain // For greetings and the like.

	// TLS is what mox.conf has for the listener, nil if it has nothing. For
	// ServiceIMAPS and ServiceSubmissions it is set and connections begin with it;
	// for the others it is for STARTTLS.
	TLS *TLSFiles

	MaxMessageSize   int64 // ServiceSMTP, ServiceSubmission, ServiceSubmissions: in bytes.
	PlainLogins      bool  // ServiceIMAP, ServiceSubmission: passwords are taken without TLS.
	StartTLSDisabled bool  // ServiceSMTP: NoSTARTTLS.
	StartTLSRequired bool  // ServiceSMTP: RequireSTARTTLS.
	TicketsDisabled  bool  // ServiceSMTP: no TLS session tickets are given.

	Blocklists     []dns.Domain  // ServiceSMTP: of addresses that send spam.
	FirstTimeDelay time.Duration // ServiceSMTP: for mail of senders without reputation.
}

// Network returns what to listen with: for one family of addresses only, since the
// other is another endpoint.
func (e Endpoint) Network() string {
	if e.Addr.Addr().Is4() {
		return "tcp4"
	}
	return "tcp6"
}

// TLSFiles is the checked TLS section of a listener.
type TLSFiles struct {
	Certificates []tls.Certificate // Empty if the configuration was checked without its files.
	MinVersion   uint16

	ClientAuthDisabled bool // Clients are not asked for certificates.
}

// Load parses and checks both files. The error, if any, is Problems, all that
// could be found. Files is as for Check.
func Load(static, dynamic []byte, files fs.FS) (*Config, error) {
	s, lines, problems := parse[Static](StaticName, static)
	if !problems.malformed() {
		return loadWith(s, lines, problems, dynamic, files)
	}
	// What can be said about the other file without it.
	d, dynamicLines, dynamicProblems := parse[Dynamic](DynamicName, dynamic)
	problems = append(problems, dynamicProblems...)
	if !dynamicProblems.malformed() {
		completeAddresses(&d, dynamicLines)
		_, checked := check(Static{}, d, files, StaticName)
		checked.locate(DynamicName, dynamicLines)
		problems = append(problems, checked...)
	}
	return nil, problems.err()
}

// Reload is Load with the mox.conf that c was loaded from.
func (c *Config) Reload(dynamic []byte, files fs.FS) (*Config, error) {
	return loadWith(c.Static, c.staticLines, nil, dynamic, files)
}

// loadWith goes on with a mox.conf that was read.
func loadWith(s Static, lines map[string]int, problems Problems, dynamic []byte, files fs.FS) (*Config, error) {
	d, dynamicLines, dynamicProblems := parse[Dynamic](DynamicName, dynamic)
	problems = append(problems, dynamicProblems...)
	var warnings Problems
	var without []string
	if dynamicProblems.malformed() {
		d, without = Dynamic{}, []string{DynamicName}
	} else {
		warnings = completeAddresses(&d, dynamicLines)
	}
	c, checked := check(s, d, files, without...)
	c.Warnings, c.staticLines = append(c.Warnings, warnings...), lines
	for _, ps := range []Problems{checked, c.Warnings} {
		ps.locate(StaticName, lines)
		ps.locate(DynamicName, dynamicLines)
	}
	c.Warnings.sort()
	problems = append(problems, checked...)
	if err := problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Accounts returns the names of all accounts, sorted.
func (c *Config) Accounts() []string {
	return slices.Sorted(maps.Keys(c.Dynamic.Accounts))
}

// QuotaSize returns the limit for all messages of an account together, in bytes;
// zero is no limit.
func (c *Config) QuotaSize(account string) int64 {
	return quota(c.Dynamic.Accounts[account].QuotaMessageSize, c.Static.QuotaMessageSize)
}

// QuotaMessages returns how many messages an account may have; zero is any number.
func (c *Config) QuotaMessages(account string) int64 {
	return quota(c.Dynamic.Accounts[account].QuotaMessageCount, c.Static.QuotaMessageCount)
}

// quota returns the limit of an account, or that of all if it has none of its own.
func quota(own, all int64) int64 {
	if own == 0 {
		own = all
	}
	return max(0, own)
}

// JunkParams returns how an account's junk filter looks at words, false if it has
// none.
func (c *Config) JunkParams(account string) (junk.Params, bool) {
	f := c.Dynamic.Accounts[account].JunkFilter
	if f == nil {
		return junk.Params{}, false
	}
	return f.Params(), true
}

// MaxOutgoing returns how many messages an account may send in 24 hours, where a
// message to several recipients counts for each of them, and how many of them may
// go to addresses it has never sent to.
func (c *Config) MaxOutgoing(account string) (messages, firstTime int64) {
	a := c.Dynamic.Accounts[account]
	messages, firstTime = a.MaxOutgoingMessagesPerDay, a.MaxFirstTimeRecipientsPerDay
	if messages == 0 {
		messages = maxOutgoingMessagesDefault
	}
	if firstTime == 0 {
		firstTime = maxFirstTimeRecipientsDefault
	}
	return messages, firstTime
}

// User returns what to run as after start as root: the name of a user, or a
// number for user and group.
func (c *Config) User() string {
	if c.Static.User == "" {
		return userDefault
	}
	return c.Static.User
}

// keepOfRemoved is how long what became of messages is kept whose account is gone:
// an administrator may still be asked about them.
const keepOfRemoved = 7 * 24 * time.Hour

// KeepRetired returns how long it is kept what became of messages that an account
// has sent. An empty name is no account of ours: of those nothing is kept.
func (c *Config) KeepRetired(account string) time.Duration {
	if a, ok := c.Dynamic.Accounts[account]; ok || account == "" {
		return a.KeepRetiredMessagePeriod
	}
	return keepOfRemoved
}

// LoginDisabled returns the reason why nobody can log in to an account, empty if
// it is open or doesn't exist.
func (c *Config) LoginDisabled(account string) string {
	return c.Dynamic.Accounts[account].LoginDisabled
}

// IMAPDisabled returns the names of the extensions of IMAP that clients of an account
// are not offered, as they were written. They must not be changed.
func (c *Config) IMAPDisabled(account string) []string {
	return c.Dynamic.Accounts[account].IMAPCapabilitiesDisabled
}

// MailboxUse is a mailbox that new accounts have, with its special use of RFC
// 6154, as "Sent", or empty.
type MailboxUse struct {
	Name string
	Use  string
}

// InitialMailboxes returns the mailboxes of new accounts besides Inbox.
func (c *Config) InitialMailboxes() []MailboxUse {
	initial := c.Static.InitialMailboxes
	uses := initial.uses()
	if len(uses) == 0 && len(initial.Regular) == 0 && len(c.Static.DefaultMailboxes) == 0 {
		uses = InitialMailboxes{SpecialUse: SpecialUse{"Sent", "Archive", "Trash", "Drafts", "Junk"}}.uses()
	}
	for _, name := range slices.Concat(initial.Regular, c.Static.DefaultMailboxes) {
		uses = append(uses, MailboxUse{Name: name})
	}
	return uses
}

func (m InitialMailboxes) uses() (uses []MailboxUse) {
	for _, u := range []MailboxUse{
		{m.SpecialUse.Sent, "Sent"},
		{m.SpecialUse.Archive, "Archive"},
		{m.SpecialUse.Trash, "Trash"},
		{m.SpecialUse.Draft, "Drafts"},
		{m.SpecialUse.Junk, "Junk"},
	} {
		if u.Name != "" {
			uses = append(uses, u)
		}
	}
	return uses
}

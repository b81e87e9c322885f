package config

// Static is the content of mox.conf. Changes to it need a restart.
type Static struct {
	DataDir          string              `sconf-doc:"NOTE: This file is in sconf format. Indentation must be with tabs, one for each level. Comments must be on lines of their own. Values are not quoted.\n\n\nDirectory where all data is stored: accounts with their messages, the delivery journal, login attempts. If this is a relative path, it is relative to the directory of mox.conf."`
	LogLevel         string              `sconf-doc:"Least severe level that is logged: error, warn, info, debug, trace, traceauth, tracedata. From trace on, what protocols say on the wire is logged; credentials with traceauth only, message data with tracedata only."`
	PackageLogLevels map[string]string   `sconf:"optional" sconf-doc:"Levels for packages of the program, in place of LogLevel. For example smtpserver, imapserver, receive, store, auth."`
	User             string              `sconf:"optional" sconf-doc:"User to run as after start as root: a name, or a number that is then used for user and group. If absent, mox. Without effect if started as another user."`
	NoFixPermissions bool                `sconf:"optional" sconf-doc:"Leave owners and permissions of files alone at start. If false, those of the configuration and the data directory are corrected at start as root."`
	Hostname         string              `sconf-doc:"Full name of this host, e.g. mail.example.org. Used in greetings and in Received headers, and mail for postmaster at this name is taken. Not necessarily a domain with accounts."`
	Pedantic         bool                `sconf:"optional" sconf-doc:"Refuse whatever breaks a protocol, also where mail gets through if it is tolerated."`
	AllowCRAMMD5     bool                `sconf:"optional" sconf-doc:"Offer CRAM-MD5 for logging in, for old mail programs. It works with passwords that are set while this is on: for it, a secret is stored with which one can log in. The other mechanisms are better."`
	Listeners        map[string]Listener `sconf-doc:"Groups of addresses with the services that run on them. The names are for logs and metrics; the one reachable from outside is commonly called public."`
	Postmaster       Postmaster          `sconf-doc:"Where mail goes for postmaster without domain, for postmaster at the hostnames above, and for postmaster of any domain where that address is not configured otherwise. Every mail server must take this mail."`
	InitialMailboxes InitialMailboxes    `sconf:"optional" sconf-doc:"Mailboxes that new accounts start with, besides Inbox. If absent: Sent, Archive, Trash, Drafts and Junk, with those uses."`
	Queue            Queue               `sconf:"optional" sconf-doc:"How mail of users is sent on. What is absent here has values that suit most."`
	QuotaMessageSize int64               `sconf:"optional" sconf-doc:"Limit in bytes for all messages of an account together, unless the account has its own. Copies of a message in several mailboxes count once. Zero is no limit."`
}

// Listener is a group of addresses and the services on them.
type Listener struct {
	IPs                []string    `sconf-doc:"Addresses to listen on. Use 0.0.0.0 for all IPv4 and :: for all IPv6 addresses."`
	Hostname           string      `sconf:"optional" sconf-doc:"Name for greetings on these addresses, if it is not the hostname of the whole server."`
	TLS                *TLS        `sconf:"optional" sconf-doc:"Certificates. Services that need TLS can only be enabled with it."`
	SMTPMaxMessageSize int64       `sconf:"optional" sconf-doc:"Limit in bytes for a message that comes in over SMTP, from other servers or from users. If zero, 104857600 (100 MiB)."`
	SMTP               SMTP        `sconf:"optional" sconf-doc:"Incoming mail from other servers."`
	Submission         Submission  `sconf:"optional" sconf-doc:"Mail that users send, with STARTTLS. The service below should be preferred."`
	Submissions        Submissions `sconf:"optional" sconf-doc:"Mail that users send, over TLS."`
	IMAP               IMAP        `sconf:"optional" sconf-doc:"Reading mail, with STARTTLS. The service below should be preferred."`
	IMAPS              IMAPS       `sconf:"optional" sconf-doc:"Reading mail, over TLS."`
	MetricsHTTP        MetricsHTTP `sconf:"optional" sconf-doc:"Metrics for Prometheus at /metrics, and health at /livez and /readyz. Not authenticated, so not for addresses that the world can reach."`
}

// TLS is what the services of a listener need to speak TLS.
type TLS struct {
	KeyCerts           []KeyCert `sconf-doc:"Keys with their certificates. A client that asks for a server name gets the first for that name. One that asks for none gets the first for the hostname of the listener; so does one that asks for another name at the service SMTP, while the others refuse it. Files that change are read again when the configuration is reloaded."`
	MinVersion         string    `sconf:"optional" sconf-doc:"Lowest version accepted: TLSv1.0, TLSv1.1, TLSv1.2 or TLSv1.3. If absent, TLSv1.2."`
	ClientAuthDisabled bool      `sconf:"optional" sconf-doc:"Don't ask mail programs for a certificate. Users then can't log in with TLS keys, but programs that take offence at being asked can connect."`
}

// KeyCert names the files of a key and its certificate.
type KeyCert struct {
	CertFile string `sconf-doc:"PEM file with the certificate, followed by intermediate certificates. A relative path is relative to the directory of mox.conf."`
	KeyFile  string `sconf-doc:"PEM file with the private key."`
}

// SMTP is the service for mail from other servers.
type SMTP struct {
	Enabled                   bool
	Port                      int64 `sconf:"optional" sconf-doc:"If zero, 25."`
	NoSTARTTLS                bool  `sconf:"optional" sconf-doc:"Don't offer STARTTLS. Mail then travels in plain text, so only for testing."`
	TLSSessionTicketsDisabled *bool `sconf:"optional" sconf-doc:"Don't give session tickets, with which other servers could reconnect with less work. If absent, true: some large senders break off when they get one."`
}

// Submission is the service for sending mail that begins in plain text.
type Submission struct {
	Enabled           bool
	Port              int64 `sconf:"optional" sconf-doc:"If zero, 587."`
	NoRequireSTARTTLS bool  `sconf:"optional" sconf-doc:"Allow logins without TLS. Passwords then travel in plain text, so only for testing."`
}

// Submissions is the service for sending mail over TLS.
type Submissions struct {
	Enabled bool
	Port    int64 `sconf:"optional" sconf-doc:"If zero, 465."`
}

// IMAP is the service for reading mail that begins in plain text.
type IMAP struct {
	Enabled           bool
	Port              int64 `sconf:"optional" sconf-doc:"If zero, 143."`
	NoRequireSTARTTLS bool  `sconf:"optional" sconf-doc:"Allow logins without TLS. Passwords then travel in plain text, so only for testing."`
}

// IMAPS is the service for reading mail over TLS.
type IMAPS struct {
	Enabled bool
	Port    int64 `sconf:"optional" sconf-doc:"If zero, 993."`
}

// MetricsHTTP is the service for monitoring.
type MetricsHTTP struct {
	Enabled bool
	Port    int64 `sconf:"optional" sconf-doc:"If zero, 8010."`
}

// Postmaster is where mail for the operator goes.
type Postmaster struct {
	Account string
	Mailbox string `sconf-doc:"For example Postmaster or Inbox. It is made when needed."`
}

// InitialMailboxes are made with a new account.
type InitialMailboxes struct {
	SpecialUse SpecialUse `sconf:"optional" sconf-doc:"Mailboxes for the special uses that mail programs look for."`
	Regular    []string   `sconf:"optional" sconf-doc:"Other mailboxes. A name with slashes also makes those above it."`
}

// SpecialUse has the names of mailboxes for the uses of RFC 6154, empty for none.
type SpecialUse struct {
	Sent    string `sconf:"optional"`
	Archive string `sconf:"optional"`
	Trash   string `sconf:"optional"`
	Draft   string `sconf:"optional"`
	Junk    string `sconf:"optional"`
}

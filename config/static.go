package config

import "time"

// Static is the content of mox.conf. Changes to it need a restart.
//
// Fields stand in the order in which people read of them. What a field's mark
// means is told at marks.
type Static struct {
	DataDir                         string               `sconf-doc:"NOTE: This file is in sconf format. Indentation must be with tabs, one for each level. Comments must be on lines of their own. Values are not quoted.\n\n\nDirectory where all data is stored: accounts with their messages, the delivery journal, login attempts. If this is a relative path, it is relative to the directory of mox.conf."`
	LogLevel                        string               `sconf-doc:"Least severe level that is logged: error, warn, info, debug, trace, traceauth, tracedata. From trace on, what protocols say on the wire is logged; credentials with traceauth only, message data with tracedata only."`
	PackageLogLevels                map[string]string    `sconf:"optional" sconf-doc:"Levels for packages of the program, in place of LogLevel. For example smtpserver, imapserver, receive, store, auth."`
	User                            string               `sconf:"optional" sconf-doc:"User to run as after start as root: a name, or a number that is then used for user and group. If absent, mox. Without effect if started as another user."`
	NoFixPermissions                bool                 `sconf:"optional" sconf-doc:"Leave owners and permissions of files alone at start. If false, those of the configuration and the data directory are corrected at start as root."`
	Hostname                        string               `sconf-doc:"Full name of this host, e.g. mail.example.org. Used in greetings and in Received headers, and mail for postmaster at this name is taken. Not necessarily a domain with accounts."`
	CheckUpdates                    bool                 `mox:"later" sconf:"optional" sconf-doc:"Look once in 24 hours whether there is a new version, and tell the postmaster."`
	Pedantic                        bool                 `sconf:"optional" sconf-doc:"Refuse whatever breaks a protocol, also where mail gets through if it is tolerated."`
	AllowCRAMMD5                    bool                 `sconf:"optional" sconf-doc:"Offer CRAM-MD5 for logging in, for old mail programs. It works with passwords that are set while this is on: for it, a secret is stored with which one can log in. The other mechanisms are better."`
	Resolver                        Resolver             `sconf:"optional" sconf-doc:"How names are looked up in DNS. Mail is protected by what DNSSEC tells to be authentic. The command dns check shows how it goes."`
	TLS                             StaticTLS            `sconf:"optional" sconf-doc:"How certificates of others are verified."`
	ACME                            map[string]ACME      `mox:"later" sconf:"optional" sconf-doc:"Authorities that give out certificates automatically, by a name for TLS.ACME of listeners, for example letsencrypt."`
	AdminPasswordFile               string               `mox:"later" sconf:"optional" sconf-doc:"File with a hash of the password for the administrator's pages, as the setadminpassword command writes it. A relative path is relative to the directory of mox.conf."`
	Listeners                       map[string]Listener  `sconf-doc:"Groups of addresses with the services that run on them. The names are for logs and metrics; the one reachable from outside is called public, and is the one that checks of the set-up look at."`
	Postmaster                      Postmaster           `sconf-doc:"Where mail goes for postmaster without domain, for postmaster at the hostnames above, and for postmaster of any domain where that address is not configured otherwise. Every mail server must take this mail."`
	HostTLSRPT                      *HostTLSRPT          `sconf:"optional" sconf-doc:"Where reports go about TLS connections to this host."`
	InitialMailboxes                InitialMailboxes     `sconf:"optional" sconf-doc:"Mailboxes that new accounts start with, besides Inbox. If absent: Sent, Archive, Trash, Drafts and Junk, with those uses."`
	DefaultMailboxes                []string             `sconf:"optional" sconf-doc:"Deprecated, for InitialMailboxes: mailboxes without special uses that new accounts start with, besides Inbox. Only one of the two can be set."`
	Transports                      map[string]Transport `sconf:"optional" sconf-doc:"Other ways to send mail than directly to the servers of its domain, by a name for routes. A transport has one of the settings below, or none to send directly."`
	NoOutgoingDMARCReports          bool                 `mox:"always" sconf:"optional" sconf-doc:"Don't send reports about mail that was received to domains that ask for them with DMARC."`
	NoOutgoingTLSReports            bool                 `sconf:"optional" sconf-doc:"Don't collect what comes of TLS with the servers of other domains, to be reported to those who ask for it with TLSRPT. This version doesn't send the reports yet; mox tlsrpt results shows what is collected."`
	OutgoingTLSReportsForAllSuccess bool                 `mox:"later" sconf:"optional" sconf-doc:"Send reports about TLS connections also if all of them went well. If false, only if there was a failure."`
	Queue                           Queue                `sconf:"optional" sconf-doc:"How mail of users is sent on. What is absent here has values that suit most."`
	Trace                           Trace                `sconf:"optional" sconf-doc:"What is kept of the way of each message, for the command queue trace: who has sent it, what was decided about it and why, each attempt to deliver it. No content."`
	Screening                       Screening            `sconf:"optional" sconf-doc:"Figures by which mail from other servers is judged. They fit most, and all of them can be left out."`
	QuotaMessageSize                int64                `sconf:"optional" sconf-doc:"Limit in bytes for all messages of an account together, unless the account has its own. Copies of a message in several mailboxes count once. Zero is no limit."`
	QuotaMessageCount               int64                `sconf:"optional" sconf-doc:"Limit to the number of messages in all mailboxes of an account together, unless the account has its own. A copy of a message in another mailbox counts as one more. Zero is no limit."`
}

// StaticTLS is about TLS with others.
type StaticTLS struct {
	CA *CA `sconf:"optional" sconf-doc:"Authorities whose certificates are trusted, by servers that mail is sent to and by web sites. If absent, those of the system."`
}

// CA names authorities.
type CA struct {
	AdditionalToSystem bool     `sconf:"optional" sconf-doc:"Trust those of the system too."`
	CertFiles          []string `sconf:"optional" sconf-doc:"PEM files with certificates of authorities, which the user that mox runs as can read. Relative paths are relative to the directory of mox.conf."`
}

// ACME is an authority that gives out certificates by RFC 8555.
type ACME struct {
	DirectoryURL           string                  `sconf-doc:"Where the authority is found, for example https://acme-v02.api.letsencrypt.org/directory."`
	RenewBefore            time.Duration           `sconf:"optional" sconf-doc:"How long before its end a certificate is renewed. If absent, 720h (30 days)."`
	ContactEmail           string                  `sconf-doc:"Address that the authority can write to."`
	Port                   int64                   `sconf:"optional" sconf-doc:"Port at which the authority's question for proof arrives, if that is not 443 because something forwards it."`
	IssuerDomainName       string                  `sconf:"optional" sconf-doc:"Name of the authority in CAA records. For Let's Encrypt it is known."`
	ExternalAccountBinding *ExternalAccountBinding `sconf:"optional" sconf-doc:"What ties the account made there to one that exists with the authority."`
}

// ExternalAccountBinding is that of RFC 8555, section 7.3.4.
type ExternalAccountBinding struct {
	KeyID   string `sconf-doc:"Name of the key, from the authority."`
	KeyFile string `sconf-doc:"File with the key, in base64 for URLs without padding. A relative path is relative to the directory of mox.conf."`
}

// Postmaster is where mail for the operator goes.
type Postmaster struct {
	Account string
	Mailbox string `sconf-doc:"For example Postmaster or Inbox. It is made when needed."`
}

// HostTLSRPT is where TLS reports about the host go.
type HostTLSRPT struct {
	Account   string
	Mailbox   string `sconf-doc:"For example TLSRPT. It is made when needed."`
	Localpart string `sconf-doc:"Part before the @ of the address for reports, at the hostname above. Only ASCII."`
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

// Transport is a way to send mail: the one that is set, or directly.
type Transport struct {
	Submissions *TransportSMTP   `sconf:"optional" sconf-doc:"To another server as its user, over TLS."`
	Submission  *TransportSMTP   `sconf:"optional" sconf-doc:"To another server as its user, with STARTTLS."`
	SMTP        *TransportSMTP   `sconf:"optional" sconf-doc:"To another server, as from one server to the next."`
	Socks       *TransportSocks  `sconf:"optional" sconf-doc:"Directly, but through a SOCKS5 proxy, so that mail comes from its addresses."`
	Direct      *TransportDirect `sconf:"optional" sconf-doc:"Directly, but over one version of IP only."`
	Fail        *TransportFail   `sconf:"optional" sconf-doc:"Not at all: delivery fails at once."`
}

// TransportSMTP is a server to hand mail to.
type TransportSMTP struct {
	Host                       string         `sconf-doc:"Name or IP address of the server. Its certificate must be valid for it, unless that is not verified."`
	Port                       int64          `sconf:"optional" sconf-doc:"If zero, 465 for Submissions, 587 for Submission, 25 for SMTP."`
	STARTTLSInsecureSkipVerify bool           `sconf:"optional" sconf-doc:"Don't verify the server's certificate after STARTTLS. Not for Submissions."`
	NoSTARTTLS                 bool           `sconf:"optional" sconf-doc:"Don't use TLS, so that passwords and mail travel in plain text. Not for Submissions."`
	Auth                       *TransportAuth `sconf:"optional" sconf-doc:"How to log in. If absent, mail is sent without."`
}

// TransportAuth is how to log in to a server.
type TransportAuth struct {
	Username   string
	Password   string
	Mechanisms []string `sconf:"optional" sconf-doc:"Mechanisms that may be used; the first that the server offers is. If absent: SCRAM-SHA-256-PLUS, SCRAM-SHA-256, SCRAM-SHA-1-PLUS, SCRAM-SHA-1, CRAM-MD5. Those with -PLUS need TLS, and make sure that nobody is between. PLAIN sends the password as it is, and is only used if it is named."`
}

// TransportSocks is a proxy.
type TransportSocks struct {
	Address        string   `sconf-doc:"Host and port of the proxy, for example localhost:1080."`
	RemoteIPs      []string `sconf-doc:"Addresses from which connections through the proxy come. They belong in SPF records."`
	RemoteHostname string   `sconf-doc:"Name of those addresses, used in EHLO."`
}

// TransportDirect chooses between the versions of IP.
type TransportDirect struct {
	DisableIPv4 bool `sconf:"optional" sconf-doc:"Don't use IPv4."`
	DisableIPv6 bool `sconf:"optional" sconf-doc:"Don't use IPv6. Only one of the two can be set."`
}

// TransportFail is what the sender is told.
type TransportFail struct {
	SMTPCode    int64  `sconf:"optional" sconf-doc:"From 400 to 499 for a failure for now, from 500 to 599 for good. If zero, 554."`
	SMTPMessage string `sconf:"optional" sconf-doc:"Reason, at most 256 printable ASCII characters. If absent, one that says that sending is not possible."`
}

package config

import "time"

// Listener is a group of addresses and the services on them.
type Listener struct {
	IPs                []string    `sconf-doc:"Addresses to listen on. Use 0.0.0.0 for all IPv4 and :: for all IPv6 addresses."`
	NATIPs             []string    `sconf:"optional" sconf-doc:"Public addresses that are forwarded to those above, if this host is behind NAT. For checks of the set-up."`
	IPsNATed           bool        `sconf:"optional" sconf-doc:"Deprecated, for NATIPs: the addresses above are not the public ones, and are not checked. Only one of the two can be set."`
	Hostname           string      `sconf:"optional" sconf-doc:"Name for greetings on these addresses, if it is not the hostname of the whole server."`
	TLS                *TLS        `sconf:"optional" sconf-doc:"Certificates. Services that need TLS can only be enabled with it."`
	SMTPMaxMessageSize int64       `sconf:"optional" sconf-doc:"Limit in bytes for a message that comes in over SMTP, from other servers or from users. If zero, 104857600 (100 MiB)."`
	SMTP               SMTP        `sconf:"optional" sconf-doc:"Incoming mail from other servers."`
	Submission         Submission  `sconf:"optional" sconf-doc:"Mail that users send, with STARTTLS. The service below should be preferred."`
	Submissions        Submissions `sconf:"optional" sconf-doc:"Mail that users send, over TLS."`
	IMAP               IMAP        `sconf:"optional" sconf-doc:"Reading mail, with STARTTLS. The service below should be preferred."`
	IMAPS              IMAPS       `sconf:"optional" sconf-doc:"Reading mail, over TLS."`
	AccountHTTP        Web         `mox:"later" sconf:"optional" sconf-doc:"Pages where users change their settings, in plain text: for addresses that only this machine or a proxy can reach. The path is / if absent, the port 80."`
	AccountHTTPS       Web         `mox:"later" sconf:"optional" sconf-doc:"Pages where users change their settings. The path is / if absent, the port 443."`
	AdminHTTP          Web         `mox:"later" sconf:"optional" sconf-doc:"The administrator's pages, in plain text: for addresses that only this machine or a proxy can reach. The path is /admin/ if absent, the port 80."`
	AdminHTTPS         Web         `mox:"later" sconf:"optional" sconf-doc:"The administrator's pages. The path is /admin/ if absent, the port 443."`
	WebmailHTTP        Web         `mox:"later" sconf:"optional" sconf-doc:"Reading and sending mail in a browser, in plain text: for addresses that only this machine or a proxy can reach. The path is /webmail/ if absent, the port 80."`
	WebmailHTTPS       Web         `mox:"later" sconf:"optional" sconf-doc:"Reading and sending mail in a browser. The path is /webmail/ if absent, the port 443."`
	WebAPIHTTP         Web         `mox:"later" sconf:"optional" sconf-doc:"Sending and processing mail by programs, in plain text: for addresses that only this machine or a proxy can reach. The path is /webapi/ if absent, the port 80."`
	WebAPIHTTPS        Web         `mox:"later" sconf:"optional" sconf-doc:"Sending and processing mail by programs. The path is /webapi/ if absent, the port 443."`
	MetricsHTTP        MetricsHTTP `sconf:"optional" sconf-doc:"Metrics for Prometheus at /metrics, and health at /livez and /readyz. Not authenticated, so not for addresses that the world can reach."`
	PprofHTTP          PprofHTTP   `mox:"later" sconf:"optional" sconf-doc:"Profiles of the running program at /debug/pprof/. Not authenticated, so not for addresses that the world can reach."`
	AutoconfigHTTPS    WebDomain   `mox:"later" sconf:"optional" sconf-doc:"Settings for mail programs, at autoconfig.<domain>."`
	MTASTSHTTPS        WebDomain   `mox:"later" sconf:"optional" sconf-doc:"MTA-STS policies of domains, at mta-sts.<domain>."`
	WebserverHTTP      Webserver   `mox:"later" sconf:"optional" sconf-doc:"What WebHandlers and WebDomainRedirects in domains.conf have, in plain text. The port is 80 if absent."`
	WebserverHTTPS     Webserver   `mox:"later" sconf:"optional" sconf-doc:"What WebHandlers and WebDomainRedirects in domains.conf have. The port is 443 if absent."`
}

// TLS is what the services of a listener need to speak TLS.
type TLS struct {
	ACME                string    `mox:"later" sconf:"optional" sconf-doc:"Get certificates from this authority, one of those under ACME above. Exactly one of this and KeyCerts is set."`
	KeyCerts            []KeyCert `sconf:"optional" sconf-doc:"Keys with their certificates. A client that asks for a server name gets the first for that name. One that asks for none gets the first for the hostname of the listener; so does one that asks for another name at the service SMTP, while the others refuse it. Files that change are read again when the configuration is reloaded."`
	MinVersion          string    `sconf:"optional" sconf-doc:"Lowest version accepted: TLSv1.0, TLSv1.1, TLSv1.2 or TLSv1.3. If absent, TLSv1.2."`
	HostPrivateKeyFiles []string  `mox:"later" sconf:"optional" sconf-doc:"PEM files with private keys, RSA with 2048 bits and ECDSA with P-256, for certificates of the hostname from ACME. As they stay the same they can be published for DANE, so there should be one of each kind. Relative paths are relative to the directory of mox.conf."`
	ClientAuthDisabled  bool      `sconf:"optional" sconf-doc:"Don't ask mail programs for a certificate. Users then can't log in with TLS keys, but programs that take offence at being asked can connect."`
}

// KeyCert names the files of a key and its certificate.
type KeyCert struct {
	CertFile string `sconf-doc:"PEM file with the certificate, followed by intermediate certificates. A relative path is relative to the directory of mox.conf."`
	KeyFile  string `sconf-doc:"PEM file with the private key."`
}

// SMTP is the service for mail from other servers.
type SMTP struct {
	Enabled                   bool
	Port                      int64          `sconf:"optional" sconf-doc:"If zero, 25."`
	NoSTARTTLS                bool           `sconf:"optional" sconf-doc:"Don't offer STARTTLS. Mail then travels in plain text, so only for testing."`
	RequireSTARTTLS           bool           `sconf:"optional" sconf-doc:"Refuse mail that comes without TLS. Some servers can't send it then."`
	NoRequireTLS              bool           `sconf:"optional" sconf-doc:"Don't offer REQUIRETLS, with which a sender asks for verified TLS on all of the way."`
	DNSBLs                    []string       `sconf:"optional" sconf-doc:"Lists in DNS of addresses that send spam, for example sbl.spamhaus.org. Mail from senders without reputation is refused if its address is in one."`
	FirstTimeSenderDelay      *time.Duration `sconf:"optional" sconf-doc:"How long mail from a sender without reputation waits for its answer, which costs spammers time. If absent, 15s; 0s for not at all."`
	TLSSessionTicketsDisabled *bool          `sconf:"optional" sconf-doc:"Don't give session tickets, with which other servers could reconnect with less work. If absent, true: some large senders break off when they get one."`
}

// Submission is the service for sending mail that begins in plain text.
type Submission struct {
	Enabled           bool
	Port              int64 `sconf:"optional" sconf-doc:"If zero, 587."`
	NoRequireSTARTTLS bool  `sconf:"optional" sconf-doc:"Allow logins without TLS. Passwords then travel in plain text, so only for testing."`
}

// Submissions is the service for sending mail over TLS.
type Submissions struct {
	Enabled        bool
	Port           int64 `sconf:"optional" sconf-doc:"If zero, 465."`
	EnabledOnHTTPS bool  `mox:"later" sconf:"optional" sconf-doc:"Also at port 443, for clients that ask for smtp in the TLS handshake: for networks where other ports are closed."`
}

// IMAP is the service for reading mail that begins in plain text.
type IMAP struct {
	Enabled           bool
	Port              int64 `sconf:"optional" sconf-doc:"If zero, 143."`
	NoRequireSTARTTLS bool  `sconf:"optional" sconf-doc:"Allow logins without TLS. Passwords then travel in plain text, so only for testing."`
}

// IMAPS is the service for reading mail over TLS.
type IMAPS struct {
	Enabled        bool
	Port           int64 `sconf:"optional" sconf-doc:"If zero, 993."`
	EnabledOnHTTPS bool  `mox:"later" sconf:"optional" sconf-doc:"Also at port 443, for clients that ask for imap in the TLS handshake: for networks where other ports are closed."`
}

// Web is a service with pages of our own.
type Web struct {
	Enabled   bool
	Port      int64  `sconf:"optional"`
	Path      string `sconf:"optional" sconf-doc:"Where the pages are, with a slash at the start and at the end."`
	Forwarded bool   `sconf:"optional" sconf-doc:"A proxy forwards the requests: believe what it says in X-Forwarded-For and X-Forwarded-Proto about where they come from. Not for addresses that others than the proxy can reach."`
}

// MetricsHTTP is the service for monitoring.
type MetricsHTTP struct {
	Enabled bool
	Port    int64 `sconf:"optional" sconf-doc:"If zero, 8010."`
}

// PprofHTTP is the service for looking into the program.
type PprofHTTP struct {
	Enabled bool
	Port    int64 `sconf:"optional" sconf-doc:"If zero, 8011."`
}

// WebDomain is a service at a name below each domain.
type WebDomain struct {
	Enabled   bool
	Port      int64 `sconf:"optional" sconf-doc:"If zero, 443."`
	NonTLS    bool  `sconf:"optional" sconf-doc:"Speak plain HTTP, since a proxy in front speaks TLS."`
	Forwarded bool  `sconf:"optional" sconf-doc:"A proxy forwards the requests: believe what it says in X-Forwarded-For and X-Forwarded-Proto about where they come from."`
}

// Webserver is a service for sites that are configured.
type Webserver struct {
	Enabled           bool
	Port              int64 `sconf:"optional"`
	RateLimitDisabled bool  `sconf:"optional" sconf-doc:"Answer any number of requests of a client."`
}

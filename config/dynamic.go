package config

import "time"

// Dynamic is the content of domains.conf. Changes to it take effect while the
// server runs.
type Dynamic struct {
	Domains            map[string]Domain  `sconf:"optional" sconf-doc:"NOTE: This file is in sconf format. Indentation must be with tabs, one for each level. Comments must be on lines of their own. Values are not quoted.\n\n\nDomains for which mail is accepted, by name. Internationalised names are written in Unicode."`
	Accounts           map[string]Account `sconf:"optional" sconf-doc:"Accounts, by name. Each has its own mailboxes, password and addresses. Names are of a-z and 0-9, with dashes, dots and underscores inside, at most 64 characters. An account is not renamed by changing its name here: its data is stored under the name."`
	WebDomainRedirects map[string]string  `mox:"later" sconf:"optional" sconf-doc:"Names of web sites, each with the name that its visitors are sent to."`
	WebHandlers        []WebHandler       `mox:"later" sconf:"optional" sconf-doc:"What the web server answers. The first that matches a request does."`
	Routes             []Route            `sconf:"optional" sconf-doc:"How mail is sent on, of accounts and domains without a route for it. The first that matches is taken; if none does, mail is sent directly."`
	MonitorDNSBLs      []string           `sconf:"optional" sconf-doc:"Lists in DNS of addresses that send spam, in which our own addresses are looked up now and then, besides those in SMTP of the listener public."`
}

// Domain is a domain for which mail is accepted.
type Domain struct {
	Disabled                    bool             `sconf:"optional" sconf-doc:"Refuse mail for this domain for now, so that senders try again later. Users can still log in with its addresses."`
	Description                 string           `sconf:"optional" sconf-doc:"For people who read this file."`
	ClientSettingsDomain        string           `mox:"later" sconf:"optional" sconf-doc:"Name of this host for the settings of mail programs, in place of its hostname, for example mail.example.org. With a name for each domain, domains can move to other hosts. It must be a CNAME of the hostname or have its addresses."`
	LocalpartCatchallSeparator  string           `sconf:"optional" sconf-doc:"If not empty, what comes after it in the part before the @ does not matter: with +, mail for you+shop@ goes to you@."`
	LocalpartCatchallSeparators []string         `sconf:"optional" sconf-doc:"Like LocalpartCatchallSeparator, for several. The one that comes first in an address counts. Only one of the two can be set."`
	LocalpartCaseSensitive      bool             `sconf:"optional" sconf-doc:"Tell upper and lower case apart in the part before the @. Few senders expect that."`
	DKIM                        DKIM             `sconf:"optional" sconf-doc:"Signatures of mail from this domain."`
	DMARC                       *DMARC           `sconf:"optional" sconf-doc:"Where reports go that others send about mail from this domain. The address belongs into the domain's DMARC record."`
	TLSRPT                      *TLSRPT          `sconf:"optional" sconf-doc:"Where reports go that others send about TLS connections for this domain. The address belongs into the domain's TLSRPT record."`
	MTASTS                      *MTASTS          `mox:"later" sconf:"optional" sconf-doc:"Policy by which others send mail for this domain over verified TLS. Needs MTASTSHTTPS in a listener."`
	Routes                      []Route          `sconf:"optional" sconf-doc:"How mail from this domain is sent on, of accounts without a route for it."`
	Aliases                     map[string]Alias `sconf:"optional" sconf-doc:"Addresses that stand for several others, by the part before the @."`
}

// DKIM is how mail is signed, RFC 6376.
type DKIM struct {
	Selectors map[string]Selector `sconf:"optional" sconf-doc:"Keys, by the name under which their public part is found in DNS, at <name>._domainkey.<domain>."`
	Sign      []string            `sconf:"optional" sconf-doc:"Selectors to sign with. Others are there to be used later, or were used before."`
}

// Selector is a key and how it signs.
type Selector struct {
	Hash             string           `sconf:"optional" sconf-doc:"sha256, or the insecure sha1. If absent, sha256."`
	Canonicalization Canonicalization `sconf:"optional" sconf-doc:"What may change on the way."`
	Headers          []string         `sconf:"optional" sconf-doc:"Header fields that are signed, From among them. If absent: From, To, Cc, Bcc, Reply-To, References, In-Reply-To, Subject, Date, Message-Id, Content-Type."`
	DontSealHeaders  bool             `sconf:"optional" sconf-doc:"Let others add further fields of those names. If false, that breaks the signature."`
	Expiration       time.Duration    `sconf:"optional" sconf-doc:"How long signatures are valid, for example 72h. If absent, for ever."`
	PrivateKeyFile   string           `sconf-doc:"PEM file with the private key in PKCS #8: RSA of at least 1024 bits, or Ed25519. A relative path is relative to the directory of mox.conf."`
}

// Canonicalization is what may change in a signed message.
type Canonicalization struct {
	HeaderRelaxed bool `sconf:"optional" sconf-doc:"White space and case of names in the header."`
	BodyRelaxed   bool `sconf:"optional" sconf-doc:"White space in the body."`
}

// DMARC is where aggregate reports go.
type DMARC struct {
	Localpart string `sconf-doc:"Part before the @ of the address for reports. Only ASCII."`
	Domain    string `sconf:"optional" sconf-doc:"Domain of that address, one of those here, if it is another one."`
	Account   string
	Mailbox   string `sconf-doc:"For example DMARC. It is made when needed."`
}

// TLSRPT is where TLS reports go.
type TLSRPT struct {
	Localpart string `sconf-doc:"Part before the @ of the address for reports. Only ASCII."`
	Domain    string `sconf:"optional" sconf-doc:"Domain of that address, one of those here, if it is another one."`
	Account   string
	Mailbox   string `sconf-doc:"For example TLSRPT. It is made when needed."`
}

// MTASTS is a policy of RFC 8461.
type MTASTS struct {
	PolicyID string        `sconf-doc:"Changes with each change of the policy, there and in DNS: at most 32 letters and digits."`
	Mode     string        `sconf-doc:"enforce, testing or none."`
	MaxAge   time.Duration `sconf-doc:"How long others may keep the policy, for example 24h. At most a year."`
	MX       []string      `sconf:"optional" sconf-doc:"Hosts that take mail for the domain; *.example.org for all of one level. If absent, the hostname of this server."`
}

// Alias is an address that stands for several others.
type Alias struct {
	Addresses    []string `sconf-doc:"Addresses that get a copy. They must be addresses of accounts here, and not aliases."`
	PostPublic   bool     `sconf:"optional" sconf-doc:"Take mail from anyone. If false, only from an address that is one of the above."`
	ListMembers  bool     `mox:"later" sconf:"optional" sconf-doc:"Let members see the others, on the pages with their settings."`
	AllowMsgFrom bool     `sconf:"optional" sconf-doc:"Let accounts with one of the above addresses send mail from the alias, as they can from their own addresses."`
}

// Route says how mail is sent on. Conditions that are absent hold for all.
type Route struct {
	FromDomain      []string `sconf:"optional" sconf-doc:"Domains of the sender in MAIL FROM. With a dot in front, the domain and all below it."`
	ToDomain        []string `sconf:"optional" sconf-doc:"Domains of the recipient, likewise."`
	MinimumAttempts int64    `sconf:"optional" sconf-doc:"Only after so many attempts to deliver, by whatever transport."`
	Transport       string   `sconf-doc:"One of Transports in mox.conf."`
}

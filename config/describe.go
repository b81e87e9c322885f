package config

import (
	"fmt"
	"reflect"
	"time"
)

// DescribeStatic returns an example of mox.conf in which each setting appears,
// with its documentation.
func DescribeStatic() ([]byte, error) {
	return describe(Static{
		DataDir:          "../data",
		LogLevel:         "info",
		PackageLogLevels: map[string]string{"imapserver": "debug"},
		User:             userDefault,
		NoFixPermissions: true,
		Hostname:         "mail.example.org",
		CheckUpdates:     true,
		Pedantic:         true,
		AllowCRAMMD5:     true,
		Resolver: Resolver{
			Mode: "auto", Servers: []string{"127.0.0.1", "192.0.2.53:53"}, TrustAD: true, Unsigned: []string{"corp.example"},
			TrustAnchors: []string{
				"20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
				"38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
			},
		},
		TLS: StaticTLS{&CA{AdditionalToSystem: true, CertFiles: []string{"ca.pem"}}},
		ACME: map[string]ACME{
			"letsencrypt": {
				DirectoryURL:           "https://acme-v02.api.letsencrypt.org/directory",
				RenewBefore:            30 * 24 * time.Hour,
				ContactEmail:           "admin@example.org",
				Port:                   443,
				IssuerDomainName:       "letsencrypt.org",
				ExternalAccountBinding: &ExternalAccountBinding{KeyID: "name", KeyFile: "eab.key"},
			},
		},
		AdminPasswordFile: "adminpasswd",
		Listeners:         describedListeners(),
		Postmaster:        Postmaster{"admin", "Postmaster"},
		HostTLSRPT:        &HostTLSRPT{Account: "admin", Mailbox: "TLSRPT", Localpart: "tlsreports"},
		InitialMailboxes: InitialMailboxes{
			SpecialUse: SpecialUse{"Sent", "Archive", "Trash", "Drafts", "Junk"},
			Regular:    []string{"Lists"},
		},
		Transports:                      describedTransports(),
		NoOutgoingDMARCReports:          true,
		NoOutgoingTLSReports:            true,
		OutgoingTLSReportsForAllSuccess: true,
		Queue:                           DefaultQueue(),
		Trace:                           DefaultTrace(),
		Screening: Screening{
			AddressWindow: 26280 * time.Hour, DomainWindow: 17520 * time.Hour, SignerWindow: 4368 * time.Hour, NetworkWindow: 2184 * time.Hour,
			DomainGood: 0.8, DomainLocalparts: 3, SignerGood: 0.1, SignerBad: 0.9, NetworkGood: 0.25, NetworkBad: 0.75, NetworkSure: 0.1, NetworkMin: []int{2, 5, 10},
			JunkStrict: 0.25, JunkVariation: 0.05, TrustedMessages: 3,
		},
		QuotaMessageSize:  10 << 30,
		QuotaMessageCount: 1_000_000,
	})
}

func describedListeners() map[string]Listener {
	return map[string]Listener{
		"internal": {
			IPs:           []string{"127.0.0.1", "::1"},
			Hostname:      "localhost",
			SMTP:          SMTP{Enabled: true, Port: 1025, NoSTARTTLS: true},
			Submission:    Submission{Enabled: true, Port: 587, NoRequireSTARTTLS: true},
			IMAP:          IMAP{Enabled: true, Port: 143, NoRequireSTARTTLS: true},
			AccountHTTP:   Web{Enabled: true, Port: 80, Path: "/"},
			AdminHTTP:     Web{Enabled: true, Port: 80, Path: "/admin/"},
			WebmailHTTP:   Web{Enabled: true, Port: 80, Path: "/webmail/"},
			WebAPIHTTP:    Web{Enabled: true, Port: 80, Path: "/webapi/"},
			MetricsHTTP:   MetricsHTTP{Enabled: true, Port: 8010},
			PprofHTTP:     PprofHTTP{Enabled: true, Port: 8011},
			WebserverHTTP: Webserver{Enabled: true, Port: 80},
		},
		"nat": {
			IPs:      []string{"10.0.0.1"},
			IPsNATed: true,
			TLS: &TLS{
				KeyCerts:           []KeyCert{{"mail.example.org-chain.crt", "mail.example.org.key"}},
				MinVersion:         "TLSv1.2",
				ClientAuthDisabled: true,
			},
			IMAPS:           IMAPS{Enabled: true, Port: 993},
			AutoconfigHTTPS: WebDomain{Enabled: true, Port: 81, NonTLS: true, Forwarded: true},
			MTASTSHTTPS:     WebDomain{Enabled: true, Port: 81, NonTLS: true, Forwarded: true},
		},
		"public": {
			IPs:                []string{"192.0.2.1", "2001:db8::1"},
			NATIPs:             []string{"198.51.100.1"},
			TLS:                &TLS{ACME: "letsencrypt", HostPrivateKeyFiles: []string{"hostkeys/mail.example.org.ecdsap256.pem"}},
			SMTPMaxMessageSize: maxMessageSizeDefault,
			SMTP: SMTP{
				Enabled:                   true,
				Port:                      25,
				RequireSTARTTLS:           true,
				NoRequireTLS:              true,
				DNSBLs:                    []string{"sbl.spamhaus.org", "bl.spamcop.net"},
				FirstTimeSenderDelay:      new(15 * time.Second),
				TLSSessionTicketsDisabled: new(true),
			},
			Submissions:     Submissions{Enabled: true, Port: 465, EnabledOnHTTPS: true},
			IMAPS:           IMAPS{Enabled: true, Port: 993, EnabledOnHTTPS: true},
			AccountHTTPS:    Web{Enabled: true, Port: 443, Path: "/account/"},
			AdminHTTPS:      Web{Enabled: true, Port: 443, Path: "/admin/"},
			WebmailHTTPS:    Web{Enabled: true, Port: 443, Path: "/webmail/", Forwarded: true},
			WebAPIHTTPS:     Web{Enabled: true, Port: 443, Path: "/webapi/"},
			AutoconfigHTTPS: WebDomain{Enabled: true, Port: 443},
			MTASTSHTTPS:     WebDomain{Enabled: true, Port: 443},
			WebserverHTTP:   Webserver{Enabled: true, Port: 80},
			WebserverHTTPS:  Webserver{Enabled: true, Port: 443, RateLimitDisabled: true},
		},
	}
}

func describedTransports() map[string]Transport {
	return map[string]Transport{
		"relay": {Submissions: &TransportSMTP{
			Host: "smtp.example.com", Port: 465,
			Auth: &TransportAuth{Username: "user", Password: "a long password", Mechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}},
		}},
		"relay-starttls": {Submission: &TransportSMTP{Host: "smtp.example.com", Port: 587, STARTTLSInsecureSkipVerify: true}},
		"next":           {SMTP: &TransportSMTP{Host: "10.0.0.2", Port: 25, NoSTARTTLS: true}},
		"proxy":          {Socks: &TransportSocks{Address: "localhost:1080", RemoteIPs: []string{"192.0.2.9"}, RemoteHostname: "proxy.example.org"}},
		"ipv4":           {Direct: &TransportDirect{DisableIPv6: true}},
		"ipv6":           {Direct: &TransportDirect{DisableIPv4: true}},
		"never":          {Fail: &TransportFail{SMTPCode: 554, SMTPMessage: "sending to this domain is not allowed"}},
	}
}

// DescribeDynamic returns an example of domains.conf in which each setting
// appears, with its documentation. It goes with that of DescribeStatic.
func DescribeDynamic() ([]byte, error) {
	return describe(Dynamic{
		Domains:            describedDomains(),
		Accounts:           describedAccounts(),
		WebDomainRedirects: map[string]string{"www.example.org": "example.org"},
		WebHandlers:        describedWebHandlers(),
		Routes: []Route{
			{FromDomain: []string{"example.org"}, ToDomain: []string{".example.com"}, MinimumAttempts: 2, Transport: "relay"},
		},
		MonitorDNSBLs: []string{"sbl.spamhaus.org"},
	})
}

func describedDomains() map[string]Domain {
	return map[string]Domain{
		"example.org": {
			Description:                "The family's domain",
			ClientSettingsDomain:       "mail.example.org",
			LocalpartCatchallSeparator: "+",
			DKIM: DKIM{
				Selectors: map[string]Selector{
					"2030a": {
						Hash:             "sha256",
						Canonicalization: Canonicalization{HeaderRelaxed: true, BodyRelaxed: true},
						Headers:          []string{"From", "To", "Subject", "Date", "Message-Id"},
						DontSealHeaders:  true,
						Expiration:       72 * time.Hour,
						PrivateKeyFile:   "dkim/2030a._domainkey.example.org.rsa2048.pem",
					},
				},
				Sign: []string{"2030a"},
			},
			DMARC:  &DMARC{Localpart: "dmarcreports", Account: "admin", Mailbox: "DMARC"},
			TLSRPT: &TLSRPT{Localpart: "tlsreports", Account: "admin", Mailbox: "TLSRPT"},
			MTASTS: &MTASTS{PolicyID: "20300101T120000", Mode: "enforce", MaxAge: 24 * time.Hour, MX: []string{"mail.example.org"}},
			Routes: []Route{{ToDomain: []string{"example.com"}, Transport: "ipv4"}},
			Aliases: map[string]Alias{
				"family": {Addresses: []string{"anna@example.org", "admin@example.org"}, PostPublic: true, ListMembers: true, AllowMsgFrom: true},
			},
		},
		"example.net": {
			Disabled:                    true,
			LocalpartCatchallSeparators: []string{"+", "--"},
			LocalpartCaseSensitive:      true,
			DMARC:                       &DMARC{Localpart: "dmarcreports", Domain: "example.org", Account: "admin", Mailbox: "DMARC"},
			TLSRPT:                      &TLSRPT{Localpart: "tlsreports", Domain: "example.org", Account: "admin", Mailbox: "TLSRPT"},
		},
	}
}

func describedAccounts() map[string]Account {
	return map[string]Account{
		"admin": {
			Domain:      "example.org",
			Description: "Takes what is not for a person",
			FullName:    "Ada Admin",
			Destinations: map[string]Destination{
				"admin@example.org": {FullName: "The postmaster"},
				"@example.org":      {Mailbox: "Catchall", MessageAuthRequiredSMTPError: "this address needs mail that passes SPF or DKIM"},
			},
			QuotaMessageSize:             -1,
			QuotaMessageCount:            -1,
			MaxOutgoingMessagesPerDay:    maxOutgoingMessagesDefault,
			MaxFirstTimeRecipientsPerDay: maxFirstTimeRecipientsDefault,
			NoFirstTimeSenderDelay:       true,
			Routes:                       []Route{{Transport: "proxy"}},
		},
		"anna": {
			OutgoingWebhook:          &OutgoingWebhook{URL: "https://hooks.example.org/sent", Authorization: "Basic dXNlcjpwYXNz", Events: []string{"delivered", "failed"}},
			IncomingWebhook:          &IncomingWebhook{URL: "https://hooks.example.org/received", Authorization: "Basic dXNlcjpwYXNz"},
			FromIDLoginAddresses:     []string{"anna@example.org"},
			KeepRetiredMessagePeriod: 72 * time.Hour,
			KeepRetiredWebhookPeriod: 72 * time.Hour,
			LoginDisabled:            "on leave until spring",
			Domain:                   "example.org",
			Destinations: map[string]Destination{
				"anna@example.org": {Rulesets: []Ruleset{
					{
						SMTPMailFromRegexp: "^anna@example[.]com$", VerifiedDomain: "example.com", IsForward: true,
						Mailbox: "Forwarded", Comment: "The address from before",
					},
					{
						MsgFromRegexp: "@lists[.]example[.]net$", HeadersRegexp: map[string]string{"^list-id$": "<golang-nuts[.]googlegroups[.]com>"},
						ListAllowDomain: "lists.example.net", AcceptRejectsToMailbox: "Lists/Rejects", Mailbox: "Lists",
					},
				}},
				"anna.old@example.org": {SMTPError: "550 this address is no longer in use"},
			},
			SubjectPass:    SubjectPass{12 * time.Hour},
			RejectsMailbox: "Rejects",
			KeepRejects:    true,
			Introbox:       "Introductions",
			AutomaticJunkFlags: AutomaticJunkFlags{
				Enabled:              true,
				JunkMailboxRegexp:    "^(junk|spam)",
				NeutralMailboxRegexp: "^(inbox|introductions|neutral|rejects)",
				NotJunkMailboxRegexp: "^(archive|lists)",
			},
			JunkFilter: &JunkFilter{
				Threshold: 0.95, Onegrams: true, Twograms: true, Threegrams: true,
				MaxPower: 0.01, TopWords: 10, IgnoreWords: 0.1, RareWords: 2,
			},
			NoCustomPassword:         true,
			IMAPCapabilitiesDisabled: []string{"METADATA"},
		},
	}
}

func describedWebHandlers() []WebHandler {
	return []WebHandler{
		{
			LogName: "files", Domain: "example.org", PathRegexp: "^/static/", DontRedirectPlainHTTP: true, Compress: true,
			WebStatic: &WebStatic{
				StripPrefix: "/static/", Root: "web/static", ListFiles: true, ContinueNotFound: true,
				ResponseHeaders: map[string]string{"Cache-Control": "max-age=3600"},
			},
		},
		{
			Domain: "example.org", PathRegexp: "^/old/",
			WebRedirect: &WebRedirect{BaseURL: "https://new.example.org", OrigPathRegexp: "^/old/(.*)", ReplacePath: "/new/$1", StatusCode: 307},
		},
		{
			Domain: "example.org", PathRegexp: "^/app/",
			WebForward: &WebForward{StripPath: true, URL: "http://127.0.0.1:8888/", ResponseHeaders: map[string]string{"X-Frame-Options": "deny"}},
		},
		{
			Domain: "example.org", PathRegexp: "^/webmail/",
			WebInternal: &WebInternal{BasePath: "/webmail/", Service: "webmail"},
		},
	}
}

func describe(example any) ([]byte, error) {
	w := writer{docs: true}
	w.fields(reflect.ValueOf(example), 0, false)
	if w.err != nil {
		return nil, fmt.Errorf("describing configuration: %w", w.err)
	}
	return w.text.Bytes(), nil
}

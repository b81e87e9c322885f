package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// examples returns the two examples of the documentation without it.
func examples(t testing.TB) (static, dynamic string) {
	t.Helper()
	describedStatic, err := DescribeStatic()
	if err != nil {
		t.Fatal(err)
	}
	describedDynamic, err := DescribeDynamic()
	if err != nil {
		t.Fatal(err)
	}
	strip := func(text []byte) string {
		var b strings.Builder
		for line := range strings.Lines(string(text)) {
			if content := strings.TrimSpace(line); content != "" && !strings.HasPrefix(content, "#") {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	return strip(describedStatic), strip(describedDynamic)
}

// others returns problems but those that something isn't supported yet, without
// their lines.
func others(err error) string {
	var lines []string
	problems, _ := errors.AsType[Problems](err)
	for _, p := range problems {
		if !errors.Is(p, ErrLater) {
			lines = append(lines, p.Path+": "+p.Err.Error())
		}
	}
	return strings.Join(lines, "\n")
}

// TestMistakes changes one thing in the examples of the documentation, which have
// all settings, and compares what is said besides that they aren't supported.
func TestMistakes(t *testing.T) {
	t.Parallel()
	exampleStatic, exampleDynamic := examples(t)
	for _, test := range []struct {
		name     string
		old, new string // In either file, each time.
		want     string // Lines.
	}{
		{"nothing changed", "", "", ""},

		// mox.conf.
		{"no authority is trusted", "AdditionalToSystem: true\n\t\tCertFiles:\n\t\t\t- ca.pem\n", "AdditionalToSystem: false\n", "TLS.CA: nobody would be trusted, need CertFiles or AdditionalToSystem"},
		{"an authority without TLS", "DirectoryURL: https:", "DirectoryURL: http:", "ACME.letsencrypt.DirectoryURL: need https"},
		{"an authority that isn't a web site", "DirectoryURL: https:", "DirectoryURL: ftp:", "ACME.letsencrypt.DirectoryURL: need a URL with http or https and a host"},
		{"a contact that isn't an address", "ContactEmail: admin@example.org", "ContactEmail: admin", `ACME.letsencrypt.ContactEmail: "admin" is not an address`},
		{"an ACME port too large", "Port: 443\n\t\tIssuer", "Port: 70000\n\t\tIssuer", "ACME.letsencrypt.Port: port 70000 is not 0 to 65535"},
		{"a negative time for renewing", "RenewBefore: 720h0m0s", "RenewBefore: -1h", "ACME.letsencrypt.RenewBefore: need 0s to 87600h0m0s"},
		{"an issuer that isn't a domain", "IssuerDomainName: letsencrypt.org", "IssuerDomainName: -", "ACME.letsencrypt.IssuerDomainName: invalid domain name: label \"-\""},
		{"a key without name", "KeyID: name", "KeyID: ", "ACME.letsencrypt.ExternalAccountBinding.KeyID: must not be empty"},
		{"reports about the host for nobody", "HostTLSRPT:\n\tAccount: admin", "HostTLSRPT:\n\tAccount: nobody", `HostTLSRPT.Account: no account "nobody" in domains.conf`},
		{"reports about the host to a name not in ASCII", "Localpart: tlsreports\nI", "Localpart: ü\nI", "HostTLSRPT.Localpart: must be ASCII"},
		{"mailboxes in two ways", "InitialMailboxes:\n", "DefaultMailboxes:\n\t- Other\nInitialMailboxes:\n", "DefaultMailboxes: cannot be set together with InitialMailboxes"},
		{"a transport of two kinds", "\tnever:\n", "\tnever:\n\t\tDirect:\n\t\t\tDisableIPv4: true\n", "Transports.never: only one kind can be set, there are: Direct, Fail"},
		{"a transport with a story for a name", "\tnever:\n", "\t" + strings.Repeat("n", 65) + ":\n", "Transports." + strings.Repeat("n", 65) + ": a name of more than 64 bytes"},
		{"plain text where TLS is always", "\t\t\tHost: smtp.example.com\n\t\t\tPort: 465\n", "\t\t\tHost: smtp.example.com\n\t\t\tPort: 465\n\t\t\tNoSTARTTLS: true\n",
			"Transports.relay.Submissions: NoSTARTTLS and STARTTLSInsecureSkipVerify cannot be set, it is always over TLS"},
		{"TLS that isn't and isn't verified", "STARTTLSInsecureSkipVerify: true", "STARTTLSInsecureSkipVerify: true\n\t\t\tNoSTARTTLS: true", "Transports.relay-starttls.Submission: NoSTARTTLS and STARTTLSInsecureSkipVerify cannot both be set"},
		{"a transport to nowhere", "Host: 10.0.0.2", "Host: 10.0.0.2.", "Transports.next.SMTP.Host: "},
		{"a transport to all", "Host: 10.0.0.2", "Host: 0.0.0.0", `Transports.next.SMTP.Host: "0.0.0.0" is not the address of a server`},
		{"channels to bind where there are none", "Port: 25\n\t\t\tNoSTARTTLS: true\n", "Port: 25\n\t\t\tNoSTARTTLS: true\n\t\t\tAuth:\n\t\t\t\tUsername: u\n\t\t\t\tPassword: p\n\t\t\t\tMechanisms:\n\t\t\t\t\t- SCRAM-SHA-1-PLUS\n",
			"Transports.next.SMTP.Auth.Mechanisms: those that end with -PLUS need TLS, and NoSTARTTLS is set"},
		{"a transport's port", "Port: 465\n\t\t\tAuth", "Port: -1\n\t\t\tAuth", "Transports.relay.Submissions.Port: port -1 is not 0 to 65535"},
		{"a login without name", "Username: user", "Username: ", "Transports.relay.Submissions.Auth.Username: must not be empty"},
		{"a login without password", "Password: a long password", "Password: ", "Transports.relay.Submissions.Auth.Password: must not be empty"},
		{"a password that ends a line", "Password: a long password", "Password: a\x01b", "Transports.relay.Submissions.Auth.Password: need at most 1024 bytes of UTF-8 without control characters"},
		{"a mechanism that isn't one", "- SCRAM-SHA-256\n", "- SCRAM\n", `Transports.relay.Submissions.Auth.Mechanisms[1]: "SCRAM" is not one of: SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 CRAM-MD5 PLAIN`},
		{"a mechanism twice", "- SCRAM-SHA-256\n", "- SCRAM-SHA-256-PLUS\n", `Transports.relay.Submissions.Auth.Mechanisms[1]: "SCRAM-SHA-256-PLUS" is named twice`},
		{"a proxy without port", "Address: localhost:1080", "Address: localhost", `Transports.proxy.Socks.Address: "localhost" is not a host with a port`},
		{"a proxy at IPv6 without brackets", "Address: localhost:1080", "Address: ::1:1080", `Transports.proxy.Socks.Address: "::1:1080" is not a host with a port`},
		{"a proxy at IPv6", "Address: localhost:1080", "Address: [::1]:1080", ""},
		{"a proxy at no port", "Address: localhost:1080", "Address: 127.0.0.1:0", `Transports.proxy.Socks.Address: "127.0.0.1:0" is not a host with a port`},
		{"a proxy's address that isn't one", "- 192.0.2.9", "- proxy", `Transports.proxy.Socks.RemoteIPs[0]: "proxy" is not an IP address`},
		{"neither version of IP", "\tipv4:\n\t\tDirect:\n", "\tipv4:\n\t\tDirect:\n\t\t\tDisableIPv4: true\n", "Transports.ipv4.Direct: DisableIPv4 and DisableIPv6 cannot both be set"},
		{"a failure that is success", "SMTPCode: 554", "SMTPCode: 250", "Transports.never.Fail.SMTPCode: need 400 to 599"},
		{"a failure in Unicode", "SMTPMessage: sending", "SMTPMessage: ü", "Transports.never.Fail.SMTPMessage: need at most 256 printable ASCII characters"},

		{"mail of tomorrow", "AddressWindow: 26280h0m0s", "AddressWindow: -1h", "Screening.AddressWindow: cannot be negative"},
		{"more than all of the mail", "DomainGood: 0.8", "DomainGood: 80", "Screening.DomainGood: need 0 to 1"},
		{"more addresses than are kept", "DomainLocalparts: 3", "DomainLocalparts: 21", "Screening.DomainLocalparts: need 0 to 20"},
		{"a network too few", "\t\t- 10\n", "", "Screening.NetworkMin: need 3 numbers"},
		{"a network without mail", "\t\t- 10\n", "\t\t- 0\n", "Screening.NetworkMin[2]: need 1 to 50"},

		// Listeners.
		{"NAT in two ways", "NATIPs:\n\t\t\t- 198.51.100.1\n", "NATIPs:\n\t\t\t- 198.51.100.1\n\t\tIPsNATed: true\n", "Listeners.public.IPsNATed: cannot be set together with NATIPs"},
		{"loopback behind NAT", "- 198.51.100.1", "- ::ffff:127.0.0.1", `Listeners.public.NATIPs[0]: "::ffff:127.0.0.1" is not a public IP address`},
		{"a file and ACME", "\t\t\tACME: letsencrypt\n", "\t\t\tACME: letsencrypt\n\t\t\tKeyCerts:\n\t\t\t\t-\n\t\t\t\t\tCertFile: a\n\t\t\t\t\tKeyFile: a\n", "Listeners.public.TLS.KeyCerts: cannot be set together with ACME"},
		{"neither a file nor ACME", "\t\t\tACME: letsencrypt\n", "", "Listeners.public.TLS.KeyCerts: need at least one key with certificate, or ACME"},
		{"an authority that isn't there", "\t\t\tACME: letsencrypt\n", "\t\t\tACME: other\n", `Listeners.public.TLS.ACME: no "other" under ACME`},
		{"TLS required and not offered", "NoSTARTTLS: true\n\t\tSub", "NoSTARTTLS: true\n\t\t\tRequireSTARTTLS: true\n\t\tSub", "Listeners.internal.SMTP.RequireSTARTTLS: cannot be set together with NoSTARTTLS"},
		{"a list of senders twice", "- bl.spamcop.net", "- SBL.spamhaus.org", "Listeners.public.SMTP.DNSBLs[1]: SBL.spamhaus.org is named twice"},
		{"a delay that senders don't wait for", "FirstTimeSenderDelay: 15s", "FirstTimeSenderDelay: 6m", "Listeners.public.SMTP.FirstTimeSenderDelay: need 0s to 5m0s"},
		{"a path without slash", "Path: /account/", "Path: account/", "Listeners.public.AccountHTTPS.Path: must start with a slash"},
		{"a port of the web too large", "Port: 8011", "Port: 65536", "Listeners.internal.PprofHTTP.Port: port 65536 is not 0 to 65535"},
		{"a port with and without TLS", "\t\tMTASTSHTTPS:\n\t\t\tEnabled: true\n\t\t\tPort: 81\n\t\t\tNonTLS: true\n", "\t\tMTASTSHTTPS:\n\t\t\tEnabled: true\n\t\t\tPort: 81\n",
			"Listeners.nat.MTASTSHTTPS: port 81 cannot be with TLS for one and without for another: AutoconfigHTTPS uses it too"},
		{"all that needs TLS", "\t\tTLS:\n\t\t\tACME: letsencrypt\n\t\t\tHostPrivateKeyFiles:\n\t\t\t\t- hostkeys/mail.example.org.ecdsap256.pem\n", "",
			"Listeners.public: a TLS section is needed for: SMTP without NoSTARTTLS, Submissions, IMAPS, AccountHTTPS, AdminHTTPS, WebmailHTTPS, WebAPIHTTPS, " +
				"AutoconfigHTTPS, MTASTSHTTPS, WebserverHTTPS, Submissions.EnabledOnHTTPS, IMAPS.EnabledOnHTTPS"},

		// Domains.
		{"a name for clients in ASCII form", "ClientSettingsDomain: mail.example.org", "ClientSettingsDomain: xn--mwe-sna.example", "Domains.example.org.ClientSettingsDomain: "},
		{"a hash that isn't one", "Hash: sha256", "Hash: md5", `Domains.example.org.DKIM.Selectors.2030a.Hash: "md5" is not sha256 or sha1`},
		{"From isn't signed", "- From\n", "- Sender\n", "Domains.example.org.DKIM.Selectors.2030a.Headers: From must be signed"},
		{"a header field that can't be", "- Subject\n", "- Sub ject\n", `Domains.example.org.DKIM.Selectors.2030a.Headers[2]: "Sub ject" is not a name of a header field`},
		{"a signature that ended before", "Expiration: 72h0m0s", "Expiration: -1s", "Domains.example.org.DKIM.Selectors.2030a.Expiration: need 0s to 87600h0m0s"},
		{"no file with the key", "PrivateKeyFile: dkim/2030a._domainkey.example.org.rsa2048.pem", "PrivateKeyFile: ", "Domains.example.org.DKIM.Selectors.2030a.PrivateKeyFile: must not be empty"},
		{"a selector that can't be in DNS", "2030a:\n", "2030a:\n\t\t\t\t\tPrivateKeyFile: x\n\t\t\t\t2030_a:\n", "Domains.example.org.DKIM.Selectors.2030_a: selector must be a name in DNS: "},
		{"a selector that isn't there", "\t\t\t\t- 2030a\n", "\t\t\t\t- 2030b\n", `Domains.example.org.DKIM.Sign[0]: no selector "2030b"`},
		{"a selector twice", "\t\t\t\t- 2030a\n", "\t\t\t\t- 2030a\n\t\t\t\t- 2030a\n", `Domains.example.org.DKIM.Sign[1]: "2030a" is named twice`},
		{"reports to a domain that isn't here", "Localpart: dmarcreports\n\t\t\tDomain: example.org", "Localpart: dmarcreports\n\t\t\tDomain: example.com", `Domains.example.net.DMARC.Domain: no domain "example.com"`},
		{"reports to nobody", "Localpart: dmarcreports\n\t\t\tDomain: example.org\n\t\t\tAccount: admin", "Localpart: dmarcreports\n\t\t\tDomain: example.org\n\t\t\tAccount: x", `Domains.example.net.DMARC.Account: no account "x" in domains.conf`},
		{"reports to an address with separator", "Localpart: dmarcreports\n\t\t\tDomain", "Localpart: dmarc+reports\n\t\t\tDomain", "Domains.example.net.DMARC.Localpart: must not have a catchall separator of its domain"},
		{"reports to somebody else's address", "Localpart: tlsreports\n\t\t\tDomain", "Localpart: Anna\n\t\t\tDomain", `Domains.example.net.TLSRPT.Localpart: address is that of anna@example.org in account "anna"`},
		{"reports to an alias", "Localpart: tlsreports\n\t\t\tDomain", "Localpart: family\n\t\t\tDomain", "Domains.example.net.TLSRPT.Localpart: address is that of an alias"},
		{"a policy without id", "PolicyID: 20300101T120000", "PolicyID: ", "Domains.example.org.MTASTS.PolicyID: need 1 to 32 letters and digits"},
		{"a policy with a sign in its id", "PolicyID: 20300101T120000", "PolicyID: a-b", "Domains.example.org.MTASTS.PolicyID: need 1 to 32 letters and digits"},
		{"a policy with a mode that isn't one", "Mode: enforce", "Mode: test", `Domains.example.org.MTASTS.Mode: "test" is not one of: none testing enforce`},
		{"a policy for ever", "MaxAge: 24h0m0s", "MaxAge: 10000h", "Domains.example.org.MTASTS.MaxAge: need 0s to 8766h0m0s"},
		{"a policy that names nobody", "MX:\n\t\t\t\t- mail.example.org", "MX:\n\t\t\t\t- *", "Domains.example.org.MTASTS.MX[0]: "},
		{"a policy for all below", "MX:\n\t\t\t\t- mail.example.org", "MX:\n\t\t\t\t- *.example.org", ""},
		{"a policy that nobody tells", "\t\tMTASTSHTTPS:\n\t\t\tEnabled: true", "\t\tMTASTSHTTPS:\n\t\t\tEnabled: false", "Domains.example.org.MTASTS: no listener in mox.conf has MTASTSHTTPS"},
		{"a route to all with a dot", "- .example.com", "- .", "Routes[0].ToDomain[0]: a dot alone is no domain; for all domains leave out the list"},
		{"a route to what is no domain", "- .example.com", "- ..example.com", "Routes[0].ToDomain[0]: "},
		{"a route to an internationalised domain in ASCII", "- .example.com", "- .xn--mwe-sna.example", "Routes[0].ToDomain[0]: "},
		{"a route after less than no attempts", "MinimumAttempts: 2", "MinimumAttempts: -2", "Routes[0].MinimumAttempts: must not be negative"},
		{"a route over nothing", "Transport: ipv4", "Transport: ipv5", `Domains.example.org.Routes[0].Transport: no transport "ipv5" in mox.conf`},
		{"an account's route over nothing", "Transport: proxy", "Transport: none", `Accounts.admin.Routes[0].Transport: no transport "none" in mox.conf`},
		{"a list for ourselves twice", "MonitorDNSBLs:\n", "MonitorDNSBLs:\n\t- sbl.spamhaus.org\n", "MonitorDNSBLs[1]: sbl.spamhaus.org is named twice"},

		// Accounts.
		{"a hook that isn't on the web", "URL: https://hooks.example.org/sent", "URL: mailto:a@example.org", "Accounts.anna.OutgoingWebhook.URL: need a URL with http or https and a host"},
		{"a hook for nothing that happens", "- delivered\n", "- read\n", `Accounts.anna.OutgoingWebhook.Events[0]: "read" is not one of: delivered suppressed delayed failed relayed expanded canceled unrecognized`},
		{"a hook with something in the header", "Authorization: Basic dXNlcjpwYXNz\n\t\t\tEvents", "Authorization: ü\n\t\t\tEvents", "Accounts.anna.OutgoingWebhook.Authorization: need printable ASCII characters without space around them"},
		{"a hook for mail that isn't on the web", "URL: https://hooks.example.org/received", "URL: hooks", "Accounts.anna.IncomingWebhook.URL: need a URL with http or https and a host"},
		{"a hook with a password", "URL: https://hooks.example.org/sent", "URL: https://user:pass@hooks.example.org/sent", "Accounts.anna.OutgoingWebhook.URL: must not have a user or password: they go into Authorization"},
		{"a hook in the middle of a page", "URL: https://hooks.example.org/sent", "URL: https://hooks.example.org/sent#here", "Accounts.anna.OutgoingWebhook.URL: must not have a fragment"},
		{"a hook far away", "URL: https://hooks.example.org/received", "URL: https://hooks.example.org/" + strings.Repeat("r", 4000), "Accounts.anna.IncomingWebhook.URL: more than 4000 bytes"},
		{"a hook for something twice", "- delivered\n", "- delivered\n\t\t\t\t- delivered\n", `Accounts.anna.OutgoingWebhook.Events[1]: "delivered" is named twice`},
		{"a sender of somebody else", "FromIDLoginAddresses:\n\t\t\t- anna@", "FromIDLoginAddresses:\n\t\t\t- admin@", "Accounts.anna.FromIDLoginAddresses[0]: admin@example.org is not an address of the account"},
		{"a sender in a domain without separator", "\t\tLocalpartCatchallSeparator: +\n", "", `Accounts.anna.FromIDLoginAddresses[0]: domain "example.org" has no catchall separator`},
		{"a sender with a separator", "FromIDLoginAddresses:\n\t\t\t- anna@", "FromIDLoginAddresses:\n\t\t\t- Anna+ids@", ""},
		{"a sender twice, in two spellings", "FromIDLoginAddresses:\n\t\t\t- anna@example.org", "FromIDLoginAddresses:\n\t\t\t- anna@example.org\n\t\t\t- ANNA@example.org", "Accounts.anna.FromIDLoginAddresses[1]: ANNA@example.org is named twice"},
		{"kept for less than no time", "KeepRetiredWebhookPeriod: 72h0m0s", "KeepRetiredWebhookPeriod: -1h", "Accounts.anna.KeepRetiredWebhookPeriod: need 0s to 87600h0m0s"},
		{"rejects in Inbox", "RejectsMailbox: Rejects", "RejectsMailbox: INBOX", "Accounts.anna.RejectsMailbox: must not be Inbox"},
		{"new senders among rejects", "Introbox: Introductions", "Introbox: Rejects", "Accounts.anna.Introbox: must not be RejectsMailbox"},
		{"a regexp that isn't one", "JunkMailboxRegexp: ^(junk|spam)\n", "JunkMailboxRegexp: ^(junk\n", "Accounts.anna.AutomaticJunkFlags.JunkMailboxRegexp: error parsing regexp: missing closing ): `^(junk`"},
		{"a regexp that never matches", "JunkMailboxRegexp: ^(junk|spam)\n", "JunkMailboxRegexp: ^Junk\n", `Accounts.anna.AutomaticJunkFlags.JunkMailboxRegexp: upper case in "^Junk" never matches, since text is compared in lower case`},
		{"a class in upper case", "JunkMailboxRegexp: ^(junk|spam)\n", "JunkMailboxRegexp: ^\\S+junk\n", ""},
		{"a probability beyond certain", "Threshold: 0.95", "Threshold: 1.1", "Accounts.anna.JunkFilter.Threshold: need 0 to 1"},
		{"no number", "MaxPower: 0.01", "MaxPower: NaN", "Accounts.anna.JunkFilter.MaxPower: need 0 to 0.5"},
		{"all words ignored", "IgnoreWords: 0.1", "IgnoreWords: 0.6", "Accounts.anna.JunkFilter.IgnoreWords: need 0 to 0.5"},
		{"fewer than no words", "TopWords: 10\n", "TopWords: -10\n", "Accounts.anna.JunkFilter.TopWords: need 0 to 10000"},
		{"an extension that isn't a word", "- METADATA", "- META DATA", `Accounts.anna.IMAPCapabilitiesDisabled[0]: "META DATA" is not a name of an IMAP extension`},
		{"the protocol itself switched off", "- METADATA", "- imap4rev1", `Accounts.anna.IMAPCapabilitiesDisabled[0]: imap4rev1 is no extension, and can't be switched off`},
		{"a ruleset for all mail", "\t\t\t\t\t\tMsgFromRegexp: @lists[.]example[.]net$\n\t\t\t\t\t\tHeadersRegexp:\n\t\t\t\t\t\t\t^list-id$: <golang-nuts[.]googlegroups[.]com>\n", "",
			"Accounts.anna.Destinations.anna@example.org.Rulesets[1]: need at least one of the conditions SMTPMailFromRegexp, MsgFromRegexp, VerifiedDomain and HeadersRegexp"},
		{"a header in upper case", "^list-id$", "^List-Id$", `Accounts.anna.Destinations.anna@example.org.Rulesets[1].HeadersRegexp.^List-Id$: upper case in "^List-Id$" never matches, since text is compared in lower case`},
		{"forwarding that isn't verified", "\t\t\t\t\t\tVerifiedDomain: example.com\n", "", "Accounts.anna.Destinations.anna@example.org.Rulesets[0].IsForward: needs SMTPMailFromRegexp and VerifiedDomain"},
		{"forwarding and a list", "IsForward: true", "IsForward: true\n\t\t\t\t\t\tListAllowDomain: example.com", "Accounts.anna.Destinations.anna@example.org.Rulesets[0].IsForward: cannot be set together with ListAllowDomain"},
		{"rejects of a list in Inbox", "AcceptRejectsToMailbox: Lists/Rejects", "AcceptRejectsToMailbox: Inbox", "Accounts.anna.Destinations.anna@example.org.Rulesets[1].AcceptRejectsToMailbox: must not be Inbox"},
		{"a ruleset without mailbox", "Mailbox: Forwarded", "Mailbox: ", "Accounts.anna.Destinations.anna@example.org.Rulesets[0].Mailbox: mailbox name must not be empty"},
		{"rulesets and an error", "\t\t\tanna@example.org:\n", "\t\t\tanna@example.org:\n\t\t\t\tSMTPError: 550 gone\n", "Accounts.anna.Destinations.anna@example.org.SMTPError: cannot be set together with Mailbox or Rulesets"},
		{"a text for senders in Unicode", "this address needs", "diese Adresse braucht für", "Accounts.admin.Destinations.@example.org.MessageAuthRequiredSMTPError: need at most 256 printable ASCII characters"},

		// The web.
		{"a site that leads to itself", "www.example.org: example.org", "www.example.org: WWW.example.org", "WebDomainRedirects.www.example.org: leads to itself"},
		{"a site twice", "\twww.example.org: example.org\n", "\twww.example.org: example.org\n\tWWW.example.org: example.org\n", "WebDomainRedirects.www.example.org: is configured twice, in different spellings"},
		{"a path that begins anywhere", "PathRegexp: ^/app/", "PathRegexp: /app/", "WebHandlers[2].PathRegexp: must begin with ^"},
		{"an answer of two kinds", "\t\tWebInternal:\n", "\t\tWebStatic:\n\t\t\tRoot: x\n\t\tWebInternal:\n", "WebHandlers[3]: need exactly one of WebStatic, WebRedirect, WebForward and WebInternal"},
		{"files without directory", "Root: web/static", "Root: ", "WebHandlers[0].WebStatic.Root: must not be empty"},
		{"a prefix without slash", "StripPrefix: /static/", "StripPrefix: static/", "WebHandlers[0].WebStatic.StripPrefix: must start with a slash"},
		{"a header field that can't be added", "Cache-Control: max", "Cache Control: max", `WebHandlers[0].WebStatic.ResponseHeaders.Cache Control: "Cache Control" is not a name of a header field`},
		{"a site with a path", "BaseURL: https://new.example.org", "BaseURL: https://new.example.org/x", "WebHandlers[1].WebRedirect.BaseURL: must not have a path, query or fragment"},
		{"a path replaced by nothing", "\t\t\tReplacePath: /new/$1\n", "", "WebHandlers[1].WebRedirect: need both of OrigPathRegexp and ReplacePath, or none"},
		{"a redirect that is success", "StatusCode: 307", "StatusCode: 200", "WebHandlers[1].WebRedirect.StatusCode: need 300 to 399"},
		{"pages that aren't there", "Service: webmail", "Service: mail", `WebHandlers[3].WebInternal.Service: "mail" is not one of: admin account webmail webapi`},
		{"pages without slash", "BasePath: /webmail/", "BasePath: /webmail", "WebHandlers[3].WebInternal.BasePath: need a path with a slash at the start and at the end"},
		{"a server to ask that isn't on the web", "URL: http://127.0.0.1:8888/", "URL: 127.0.0.1", "WebHandlers[2].WebForward.URL: need a URL with http or https and a host"},
	} {
		static := strings.ReplaceAll(exampleStatic, test.old, test.new)
		dynamic := strings.ReplaceAll(exampleDynamic, test.old, test.new)
		if test.old == "" {
			static, dynamic = exampleStatic, exampleDynamic
		} else if static == exampleStatic && dynamic == exampleDynamic {
			t.Errorf("%s: nothing to replace", test.name)
		}
		_, err := Load([]byte(static), []byte(dynamic), nil)
		got := others(err)
		if got != test.want && !(strings.HasSuffix(test.want, ": ") && strings.HasPrefix(got, test.want) && !strings.Contains(got, "\n")) {
			t.Errorf("%s: got:\n%s\nwant:\n%s", test.name, got, test.want)
		}
	}
}

// TestNoWebserver has sites, and no listener for them.
func TestNoWebserver(t *testing.T) {
	t.Parallel()
	exampleStatic, exampleDynamic := examples(t)
	static, err := ParseStatic([]byte(exampleStatic))
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range static.Listeners {
		l.WebserverHTTP, l.WebserverHTTPS = Webserver{}, Webserver{}
		static.Listeners[name] = l
	}
	dynamic, err := ParseDynamic([]byte(exampleDynamic))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Check(static, dynamic, nil)
	want := "WebDomainRedirects: no listener in mox.conf has WebserverHTTP or WebserverHTTPS\n" +
		"WebHandlers: no listener in mox.conf has WebserverHTTP or WebserverHTTPS"
	if got := others(err); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestLater has every setting that is not supported yet, and expects each to be
// named once, with its line.
func TestLater(t *testing.T) {
	t.Parallel()
	static, dynamic := examples(t)
	_, err := Load([]byte(static), []byte(dynamic), nil)
	problems, _ := errors.AsType[Problems](err)
	got := map[string]int{}
	for _, p := range problems {
		if p.Line == 0 {
			t.Errorf("%v has no line", p)
		}
		got[p.Path]++
	}
	for _, path := range []string{
		"ACME", "Listeners.public.TLS.ACME", "Listeners.internal.AdminHTTP",
		"Domains.example.org.Aliases.family.ListMembers", "WebHandlers",
	} {
		if got[path] != 1 {
			t.Errorf("%s: got %d problems, want one", path, got[path])
		}
	}
	for _, path := range []string{"ACME.letsencrypt", "TLS", "Transports", "Routes", "Accounts.admin.Routes", "Domains.example.org.Routes", "NoOutgoingTLSReports", "Accounts.anna.KeepRetiredMessagePeriod", "Accounts.anna.OutgoingWebhook", "Accounts.anna.IncomingWebhook", "Accounts.anna.IMAPCapabilitiesDisabled", "Accounts.anna.KeepRetiredWebhookPeriod"} {
		if got[path] != 0 {
			t.Errorf("%s: got %d problems, want none", path, got[path])
		}
	}
}

// TestWarnings checks what is said about settings that hardly do what was meant.
func TestWarnings(t *testing.T) {
	t.Parallel()
	dynamic := strings.Replace(testDynamic, "gone@example.org", "gone", 1)
	c, err := Load([]byte(testStatic), []byte(strings.Replace(dynamic, "Domain: möwe.example", "Domain: example.org", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "domains.conf:30: Accounts.anna.Destinations.gone: an address without domain is deprecated, gone@example.org is used"
	if got := c.Warnings.Error(); got != want {
		t.Errorf("got warnings %s, want %s", got, want)
	}
	if _, ok := c.Dynamic.Accounts["anna"].Destinations["gone@example.org"]; !ok {
		t.Errorf("got destinations %v", c.Dynamic.Accounts["anna"].Destinations)
	}

	static, dynamic := examples(t)
	static = strings.Replace(static, "Path: /account/", "Path: /account", 1)
	dynamic = strings.NewReplacer("Hash: sha256", "Hash: sha1", "\t\t\tOnegrams: true\n\t\t\tTwograms: true\n\t\t\tThreegrams: true\n", "").Replace(dynamic)
	s, err := ParseStatic([]byte(static))
	if err != nil {
		t.Fatal(err)
	}
	d, err := ParseDynamic([]byte(dynamic))
	if err != nil {
		t.Fatal(err)
	}
	c, _ = check(s, d, nil)
	want = "domains.conf: Domains.example.org.DKIM.Selectors.2030a.Hash: sha1 is insecure, and many servers don't accept it\n" +
		"domains.conf: Accounts.anna.JunkFilter: without Onegrams, Twograms and Threegrams no word is looked at\n" +
		"mox.conf: Listeners.public.AccountHTTPS.Path: a slash at the end is missing, /account/ is used"
	got := strings.Split(c.Warnings.Error(), "\n")
	slices.Sort(got)
	wants := strings.Split(want, "\n")
	slices.Sort(wants)
	if !slices.Equal(got, wants) {
		t.Errorf("got warnings:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
}

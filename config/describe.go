package config

import (
	"bytes"
	"fmt"

	"github.com/mjl-/sconf"
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
		Pedantic:         true,
		AllowCRAMMD5:     true,
		Listeners: map[string]Listener{
			"internal": {
				IPs:         []string{"127.0.0.1", "::1"},
				Hostname:    "localhost",
				SMTP:        SMTP{Enabled: true, Port: 1025, NoSTARTTLS: true},
				Submission:  Submission{Enabled: true, Port: 587, NoRequireSTARTTLS: true},
				IMAP:        IMAP{Enabled: true, Port: 143, NoRequireSTARTTLS: true},
				MetricsHTTP: MetricsHTTP{Enabled: true, Port: 8010},
			},
			"public": {
				IPs: []string{"192.0.2.1", "2001:db8::1"},
				TLS: &TLS{
					KeyCerts:           []KeyCert{{"mail.example.org-chain.crt", "mail.example.org.key"}},
					MinVersion:         "TLSv1.2",
					ClientAuthDisabled: true,
				},
				SMTPMaxMessageSize: maxMessageSizeDefault,
				SMTP:               SMTP{Enabled: true, Port: 25, TLSSessionTicketsDisabled: new(true)},
				Submissions:        Submissions{Enabled: true, Port: 465},
				IMAPS:              IMAPS{Enabled: true, Port: 993},
			},
		},
		Postmaster: Postmaster{"admin", "Postmaster"},
		InitialMailboxes: InitialMailboxes{
			SpecialUse: SpecialUse{"Sent", "Archive", "Trash", "Drafts", "Junk"},
			Regular:    []string{"Lists"},
		},
		Queue:            DefaultQueue(),
		QuotaMessageSize: 10 << 30,
	})
}

// DescribeDynamic returns an example of domains.conf in which each setting
// appears, with its documentation. It goes with that of DescribeStatic.
func DescribeDynamic() ([]byte, error) {
	return describe(Dynamic{
		Domains: map[string]Domain{
			"example.org": {
				Description:                "The family's domain",
				LocalpartCatchallSeparator: "+",
				Aliases: map[string]Alias{
					"family": {Addresses: []string{"anna@example.org", "admin@example.org"}, PostPublic: true, AllowMsgFrom: true},
				},
			},
			"example.net": {
				Disabled:                    true,
				LocalpartCatchallSeparators: []string{"+", "--"},
				LocalpartCaseSensitive:      true,
			},
		},
		Accounts: map[string]Account{
			"admin": {
				Domain:      "example.org",
				Description: "Takes what is not for a person",
				FullName:    "Ada Admin",
				Destinations: map[string]Destination{
					"admin@example.org": {},
					"@example.org":      {Mailbox: "Catchall"},
				},
				QuotaMessageSize:             -1,
				MaxOutgoingMessagesPerDay:    maxOutgoingMessagesDefault,
				MaxFirstTimeRecipientsPerDay: maxFirstTimeRecipientsDefault,
			},
			"anna": {
				LoginDisabled: "on leave until spring",
				Domain:        "example.org",
				Destinations: map[string]Destination{
					"anna@example.org":     {},
					"anna.old@example.org": {SMTPError: "550 this address is no longer in use"},
				},
			},
		},
	})
}

func describe(example any) ([]byte, error) {
	var b bytes.Buffer
	if err := sconf.WriteDocs(&b, example); err != nil {
		return nil, fmt.Errorf("describing configuration: %w", err)
	}
	return b.Bytes(), nil
}

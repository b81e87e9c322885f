package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const testStatic = `DataDir: ../data
LogLevel: info
Hostname: mail.example.org
Listeners:
	public:
		IPs:
			- 127.0.0.1
			- ::1
		Hostname: mx.example.org
		TLS:
			KeyCerts:
				-
					CertFile: mx.crt
					KeyFile: mx.key
		SMTP:
			Enabled: true
		IMAPS:
			Enabled: true
			Port: 1993
# Comments are fine.
Postmaster:
	Account: admin
	Mailbox: Postmaster
`

const testDynamic = `Domains:
	example.org:
		LocalpartCatchallSeparators:
			- +
			- --
		Aliases:
			all:
				Addresses:
					- anna@example.org
					- Admin@example.org
				PostPublic: true
			team:
				Addresses:
					- anna@example.org
	möwe.example:
		LocalpartCaseSensitive: true
	off.example:
		Disabled: true
Accounts:
	admin:
		Domain: example.org
		Destinations:
			admin@example.org: nil
			@möwe.example:
				Mailbox: Nest
	anna:
		Domain: möwe.example
		Destinations:
			anna@example.org: nil
			gone@example.org:
				SMTPError: 550 gone away
			later@example.org:
				SMTPError: 421 come back
			Anna@möwe.example:
				Mailbox: Birds
			"a b"@example.org: nil
			on@off.example: nil
			josé@example.org: nil
			postmaster@möwe.example:
				Mailbox: Post
		QuotaMessageSize: 1000
`

func load(t *testing.T) *Config {
	t.Helper()
	c, err := Load([]byte(testStatic), []byte(testDynamic), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestProblems changes one thing in valid files and compares all that is said.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		old, new string // In either file.
		want     string // Lines; empty for no problem.
	}{
		{"nothing changed", "", "", ""},
		{"line ends of Windows", "\n", "\r\n", ""},

		// The form of the files.
		{"an unknown setting", "LogLevel: info\n", "LogLevel: info\nLogLevels: info\n", "mox.conf:3: LogLevels: unknown setting"},
		{"a setting of a later version", "Postmaster:\n", "CheckUpdates: true\nPostmaster:\n", "mox.conf:21: CheckUpdates: not supported by this version yet"},
		{"unknown settings at several depths", "\t\tSMTP:\n\t\t\tEnabled: true\n", "\t\tSMTP:\n\t\t\tEnabled: true\n\t\t\tDNSBLX:\n\t\t\t\t- a.example\n\t\tWebServerHTTP:\n\t\t\tEnabled: true\n",
			"mox.conf:17: Listeners.public.SMTP.DNSBLX: unknown setting\nmox.conf:19: Listeners.public.WebServerHTTP: unknown setting"},
		{"an unknown setting in a list", "\t\t\t\t\tKeyFile: mx.key\n", "\t\t\t\t\tKeyFile: mx.key\n\t\t\t\t\tX: 1\n", "mox.conf:15: Listeners.public.TLS.KeyCerts[0].X: unknown setting"},
		{"an unknown setting and a wrong value", "LogLevel: info\n", "LogLevel: loud\nX: 1\n",
			"mox.conf:2: LogLevel: unknown level \"loud\", need one of: error warn info debug trace traceauth tracedata\nmox.conf:3: X: unknown setting"},
		{"a setting twice", "LogLevel: info\n", "LogLevel: info\nLogLevel: info\n", "mox.conf:3: duplicate key in struct"},
		{"spaces for a tab", "\tAccount: admin\n", "    Account: admin\n", `mox.conf:22: expected indent`},
		{"not UTF-8", "mx.key", "mx\xff.key", "mox.conf: not a text in UTF-8"},
		{"a NUL", "mx.key", "mx\x00.key", "mox.conf: not a text in UTF-8"},
		{"a missing setting", "DataDir: ../data\n", "", "mox.conf:22: missing required key \"DataDir\""},
		{"not a number", "Port: 1993", "Port: imaps", `mox.conf:19: parsing integer: strconv.ParseInt: parsing "imaps": invalid syntax`},

		// mox.conf.
		{"no data directory", "DataDir: ../data", "DataDir: ", "mox.conf:1: DataDir: must not be empty"},
		{"an unknown package level", "LogLevel: info\n", "LogLevel: info\nPackageLogLevels:\n\tstore: all\n", "mox.conf:4: PackageLogLevels.store: unknown level \"all\", need one of: error warn info debug trace traceauth tracedata"},
		{"a hostname in ASCII form", "Hostname: mail.example.org", "Hostname: xn--mwe-sna.example", "mox.conf:3: Hostname: "},
		{"a postmaster without account", "Account: admin", "Account: nobody", `mox.conf:22: Postmaster.Account: no account "nobody" in domains.conf`},
		{"a postmaster without mailbox", "Mailbox: Postmaster", "Mailbox: ", "mox.conf:23: Postmaster.Mailbox: mailbox name must not be empty"},
		{"a negative quota of messages", "LogLevel: info\n", "LogLevel: info\nQuotaMessageCount: -1\n", "mox.conf:3: QuotaMessageCount: must not be negative"},
		{"a negative quota", "LogLevel: info\n", "LogLevel: info\nQuotaMessageSize: -1\n", "mox.conf:3: QuotaMessageSize: must not be negative"},
		{"initial mailboxes", "Postmaster:\n", "InitialMailboxes:\n\tSpecialUse:\n\t\tSent: Out//box\n\t\tDraft: Inbox\n\tRegular:\n\t\t- inbox/x\n\t\t- A\n\t\t- A\nPostmaster:\n",
			"mox.conf:23: InitialMailboxes.SpecialUse.Sent: mailbox name \"Out//box\" has an empty part\n" +
				"mox.conf:24: InitialMailboxes.SpecialUse.Draft: Inbox is always made, and mailboxes below it are not made here\n" +
				"mox.conf:26: InitialMailboxes.Regular[0]: Inbox is always made, and mailboxes below it are not made here\n" +
				"mox.conf:28: InitialMailboxes.Regular[2]: mailbox \"A\" is named twice"},
		{"no address", "- ::1", "- localhost", `mox.conf:8: Listeners.public.IPs[1]: "localhost" is not an IP address`},
		{"an address twice", "- ::1", "- ::ffff:127.0.0.1", "mox.conf:15: Listeners.public.SMTP: address 127.0.0.1:25 is used by Listeners.public.SMTP already\n" +
			"mox.conf:17: Listeners.public.IMAPS: address 127.0.0.1:1993 is used by Listeners.public.IMAPS already"},
		{"a port too large", "Port: 1993", "Port: 65536", "mox.conf:19: Listeners.public.IMAPS.Port: port 65536 is not 0 to 65535"},
		{"a message too large", "\t\tSMTP:\n", "\t\tSMTPMaxMessageSize: 2147483649\n\t\tSMTP:\n", "mox.conf:15: Listeners.public.SMTPMaxMessageSize: need 0 to 2147483648"},
		{"no TLS section", "\t\tTLS:\n\t\t\tKeyCerts:\n\t\t\t\t-\n\t\t\t\t\tCertFile: mx.crt\n\t\t\t\t\tKeyFile: mx.key\n", "\t\tSubmission:\n\t\t\tEnabled: true\n\t\tSubmissions:\n\t\t\tEnabled: true\n\t\tIMAP:\n\t\t\tEnabled: true\n",
			"mox.conf:5: Listeners.public: a TLS section is needed for: SMTP without NoSTARTTLS, Submission without NoRequireSTARTTLS, Submissions, IMAP without NoRequireSTARTTLS, IMAPS"},
		{"no TLS section, and none needed", "\t\tTLS:\n\t\t\tKeyCerts:\n\t\t\t\t-\n\t\t\t\t\tCertFile: mx.crt\n\t\t\t\t\tKeyFile: mx.key\n\t\tSMTP:\n\t\t\tEnabled: true\n\t\tIMAPS:\n\t\t\tEnabled: true\n\t\t\tPort: 1993\n",
			"\t\tSubmission:\n\t\t\tEnabled: true\n\t\t\tNoRequireSTARTTLS: true\n", ""},
		{"submission on a port that is used", "\t\tSMTP:\n", "\t\tSubmission:\n\t\t\tEnabled: true\n\t\t\tPort: 25\n\t\tSMTP:\n",
			"mox.conf:15: Listeners.public.Submission: address 127.0.0.1:25 is used by Listeners.public.SMTP already\n" +
				"mox.conf:15: Listeners.public.Submission: address [::1]:25 is used by Listeners.public.SMTP already"},
		{"a wrong TLS version", "\t\tTLS:\n", "\t\tTLS:\n\t\t\tMinVersion: 1.2\n", `mox.conf:11: Listeners.public.TLS.MinVersion: "1.2" is not one of TLSv1.0, TLSv1.1, TLSv1.2, TLSv1.3`},

		// domains.conf.
		{"a domain in ASCII form", "\tmöwe.example:\n", "\txn--mwe-sna.example:\n", "domains.conf:15: Domains.xn--mwe-sna.example: "},
		{"a domain in two spellings", "\toff.example:\n", "\tExample.org: nil\n\toff.example:\n", "domains.conf:2: Domains.example.org: domain is configured twice, in different spellings"},
		{"separators in two ways", "\t\tLocalpartCatchallSeparators:\n", "\t\tLocalpartCatchallSeparator: -\n\t\tLocalpartCatchallSeparators:\n", "domains.conf:4: Domains.example.org.LocalpartCatchallSeparators: cannot be set together with LocalpartCatchallSeparator"},
		{"a separator twice", "- --", "- +", `domains.conf:2: Domains.example.org: separator "+" is named twice`},
		{"a separator that cannot be", "- --", "- @", `domains.conf:2: Domains.example.org: separator "@": need 1 to 8 printable ASCII characters, not space, @ or quote`},
		{"an account name that cannot be a directory", "\tanna:\n", "\t../anna:\n", `domains.conf:26: Accounts.../anna: account name "../anna": need a-z and 0-9, with dashes, dots and underscores inside, at most 64`},
		{"an account in a domain that isn't here", "Domain: möwe.example", "Domain: a.example", `domains.conf:27: Accounts.anna.Domain: no domain "a.example"`},
		{"a login text too long", "\t\tQuotaMessageSize: 1000\n", "\t\tLoginDisabled: " + strings.Repeat("x", 257) + "\n", "domains.conf:41: Accounts.anna.LoginDisabled: need at most 256 printable ASCII characters"},
		{"limits below nothing", "\t\tQuotaMessageSize: 1000\n", "\t\tMaxOutgoingMessagesPerDay: -1\n\t\tMaxFirstTimeRecipientsPerDay: -1\n",
			"domains.conf:41: Accounts.anna.MaxOutgoingMessagesPerDay: must not be negative\ndomains.conf:42: Accounts.anna.MaxFirstTimeRecipientsPerDay: must not be negative"},
		{"an address of no domain here", "gone@example.org", "gone@a.example", `domains.conf:30: Accounts.anna.Destinations.gone@a.example: no domain "a.example"`},
		{"not an address", "gone@example.org", "gone@", "domains.conf:30: Accounts.anna.Destinations.gone@: "},
		{"an address with a separator", "gone@example.org", "go+ne@example.org", "domains.conf:30: Accounts.anna.Destinations.go+ne@example.org: address must not have a catchall separator of its domain"},
		{"an address of two accounts", "gone@example.org", "ADMIN@example.org", `domains.conf:30: Accounts.anna.Destinations.ADMIN@example.org: address is that of admin@example.org in account "admin" too`},
		{"a catchall of two accounts", "gone@example.org", "@möwe.example", `domains.conf:30: Accounts.anna.Destinations.@möwe.example: address is that of @möwe.example in account "admin" too`},
		{"case that counts", "gone@example.org", "anna@möwe.example", ""},
		{"a mailbox not in normal form", "Mailbox: Nest", "Mailbox: Ne\u0301st", `domains.conf:25: Accounts.admin.Destinations.@möwe.example.Mailbox: mailbox name "Ne\u0301st" is not in Unicode normal form C`},
		{"a mailbox with a wildcard", "Mailbox: Nest", "Mailbox: Ne*st", `domains.conf:25: Accounts.admin.Destinations.@möwe.example.Mailbox: mailbox name "Ne*st" has a character that is not allowed`},
		{"another error code", "550 gone away", "554 gone away", `domains.conf:31: Accounts.anna.Destinations.gone@example.org.SMTPError: code "554" is not 421 or 550`},
		{"an error without text", "550 gone away", "550", "domains.conf:31: Accounts.anna.Destinations.gone@example.org.SMTPError: need 421 or 550, a space and a text of at most 256 printable ASCII characters"},
		{"an error and a mailbox", "SMTPError: 550 gone away", "SMTPError: 550 gone away\n\t\t\t\tMailbox: X", "domains.conf:31: Accounts.anna.Destinations.gone@example.org.SMTPError: cannot be set together with Mailbox or Rulesets"},
		{"an alias like an address", "\t\t\tteam:\n", "\t\t\tANNA:\n", `domains.conf:12: Domains.example.org.Aliases.ANNA: address is that of anna@example.org in account "anna" too`},
		{"an alias in two spellings", "\t\t\tteam:\n", "\t\t\tAll:\n", "domains.conf:7: Domains.example.org.Aliases.all: alias is configured twice, in different spellings"},
		{"an alias with a separator", "\t\t\tteam:\n", "\t\t\tte+am:\n", "domains.conf:12: Domains.example.org.Aliases.te+am: address must not have a catchall separator of its domain"},
		{"a member that isn't here", "- Admin@example.org", "- gonzo@example.org", "domains.conf:10: Domains.example.org.Aliases.all.Addresses[1]: gonzo@example.org is not an address of an account"},
		{"a member that is an alias", "- Admin@example.org", "- team@example.org", "domains.conf:10: Domains.example.org.Aliases.all.Addresses[1]: team@example.org is not an address of an account"},
		{"a member twice", "- Admin@example.org", "- ANNA@example.org", "domains.conf:10: Domains.example.org.Aliases.all.Addresses[1]: ANNA@example.org is named twice"},
		{"a catchall as member", "- Admin@example.org", "- @möwe.example", "domains.conf:10: Domains.example.org.Aliases.all.Addresses[1]: a catchall address cannot be a member"},
		{"one file cannot be read", "Mailbox: Nest\n\tanna:", "Mailbox: Ne*st\n anna:", "domains.conf:26: key in struct starting with space (perhaps mixed tab/space indenting)"},
		{"problems in both files", "admin", "boss", "domains.conf:10: Domains.example.org.Aliases.all.Addresses[1]: Admin@example.org is not an address of an account"},
	} {
		if !strings.Contains(testStatic+testDynamic, test.old) {
			t.Errorf("%s: nothing to replace", test.name)
			continue
		}
		static := strings.ReplaceAll(testStatic, test.old, test.new)
		dynamic := strings.ReplaceAll(testDynamic, test.old, test.new)
		if test.old == "" {
			static, dynamic = testStatic, testDynamic
		}
		_, err := Load([]byte(static), []byte(dynamic), nil)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want && !(strings.HasSuffix(test.want, ": ") && strings.HasPrefix(got, test.want)) {
			t.Errorf("%s: got:\n%s\nwant:\n%s", test.name, got, test.want)
		}
	}
}

func TestProblemsUnwrap(t *testing.T) {
	t.Parallel()
	_, err := ParseStatic([]byte(testStatic + "X: 1\n"))
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want one that is ErrUnknown", err)
	}
	if p, ok := errors.AsType[*Problem](err); !ok || p.Line != 24 || p.Path != "X" {
		t.Errorf("got problem %+v", p)
	}
	if _, err := ParseDynamic([]byte(testDynamic)); err != nil {
		t.Error(err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	c := load(t)
	if c.Hostname.ASCII != "mail.example.org" {
		t.Errorf("got hostname %v", c.Hostname)
	}
	if got := c.Accounts(); !reflect.DeepEqual(got, []string{"admin", "anna"}) {
		t.Errorf("got accounts %v", got)
	}
	var got []string
	for _, e := range c.Endpoints {
		if e.Listener != "public" || e.Hostname.ASCII != "mx.example.org" || e.TLS.MinVersion != tls.VersionTLS12 {
			t.Errorf("got endpoint %+v", e)
		}
		got = append(got, string(e.Service)+" "+e.Addr.String())
	}
	want := []string{"smtp 127.0.0.1:25", "smtp [::1]:25", "imaps 127.0.0.1:1993", "imaps [::1]:1993"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got endpoints %q, want %q", got, want)
	}
	if c.Endpoints[0].MaxMessageSize != 100*1024*1024 {
		t.Errorf("got message limit %d, want the default", c.Endpoints[0].MaxMessageSize)
	}
	for account, want := range map[string]int64{"admin": 0, "anna": 1000, "other": 0} {
		if got := c.QuotaSize(account); got != want {
			t.Errorf("quota of %s: got %d, want %d", account, got, want)
		}
	}
}

func TestQuotaSize(t *testing.T) {
	t.Parallel()
	c := &Config{
		Static: Static{QuotaMessageSize: 10, QuotaMessageCount: 1},
		Dynamic: Dynamic{Accounts: map[string]Account{
			"a": {}, "b": {QuotaMessageSize: 20, QuotaMessageCount: 2}, "c": {QuotaMessageSize: -1, QuotaMessageCount: -1, LoginDisabled: "no"},
		}},
	}
	for account, want := range map[string][2]int64{"a": {10, 1}, "b": {20, 2}, "c": {}} {
		if got := [2]int64{c.QuotaSize(account), c.QuotaMessages(account)}; got != want {
			t.Errorf("%s: got %d, want %d", account, got, want)
		}
	}
	if c.LoginDisabled("c") != "no" || c.LoginDisabled("a") != "" || c.LoginDisabled("none") != "" {
		t.Error("LoginDisabled is not that of the account")
	}
}

// TestSubmissionEndpoints checks what the two services for users listen on.
func TestSubmissionEndpoints(t *testing.T) {
	t.Parallel()
	static := strings.Replace(testStatic, "\t\tSMTP:\n\t\t\tEnabled: true\n",
		"\t\tSMTPMaxMessageSize: 1000\n\t\tSubmission:\n\t\t\tEnabled: true\n\t\t\tNoRequireSTARTTLS: true\n\t\tSubmissions:\n\t\t\tEnabled: true\n\t\t\tPort: 1465\n", 1)
	c, err := Load([]byte(static), []byte(testDynamic), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range c.Endpoints {
		got = append(got, fmt.Sprint(e.Service, " ", e.Addr, " ", e.MaxMessageSize, " ", e.PlainLogins, " ", e.TLS != nil))
	}
	want := []string{
		"submission 127.0.0.1:587 1000 true true", "submission [::1]:587 1000 true true",
		"submissions 127.0.0.1:1465 1000 false true", "submissions [::1]:1465 1000 false true",
		"imaps 127.0.0.1:1993 0 false true", "imaps [::1]:1993 0 false true",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got endpoints %q, want %q", got, want)
	}
}

// TestListenerSettings checks what services get to know of their settings.
func TestListenerSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                  string
		old, new              string
		tickets, certificates bool
	}{
		{"as it is usual", "", "", false, true},
		{"tickets on port 25", "\t\tSMTP:\n", "\t\tSMTP:\n\t\t\tTLSSessionTicketsDisabled: false\n", true, true},
		{"no tickets on port 25", "\t\tSMTP:\n", "\t\tSMTP:\n\t\t\tTLSSessionTicketsDisabled: true\n", false, true},
		{"no client certificates", "\t\tTLS:\n", "\t\tTLS:\n\t\t\tClientAuthDisabled: true\n", false, false},
	} {
		c, err := Load([]byte(strings.Replace(testStatic, test.old, test.new, 1)), []byte(testDynamic), nil)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		e := c.Endpoints[0]
		if e.Service != ServiceSMTP || e.TicketsDisabled == test.tickets || e.TLS.ClientAuthDisabled == test.certificates {
			t.Errorf("%s: got %+v, %+v", test.name, e, *e.TLS)
		}
	}
	if got := (&Config{Static: Static{User: "mail"}}).User() + (&Config{}).User(); got != "mailmox" {
		t.Errorf("got users %q", got)
	}
}

func TestMaxOutgoing(t *testing.T) {
	t.Parallel()
	c := &Config{Dynamic: Dynamic{Accounts: map[string]Account{"a": {}, "b": {MaxOutgoingMessagesPerDay: 20}, "c": {MaxFirstTimeRecipientsPerDay: 3}}}}
	for account, want := range map[string][2]int64{"a": {1000, 200}, "b": {20, 200}, "c": {1000, 3}} {
		messages, firstTime := c.MaxOutgoing(account)
		if got := [2]int64{messages, firstTime}; got != want {
			t.Errorf("%s: got %d, want %d", account, got, want)
		}
	}
}

func TestKeepRetired(t *testing.T) {
	t.Parallel()
	c := &Config{Dynamic: Dynamic{Accounts: map[string]Account{"a": {KeepRetiredMessagePeriod: time.Hour}, "b": {}}}}
	for account, want := range map[string]time.Duration{"a": time.Hour, "b": 0, "": 0, "gone": 168 * time.Hour} {
		if got := c.KeepRetired(account); got != want {
			t.Errorf("%s: got %v, want %v", account, got, want)
		}
	}
}

func TestInitialMailboxes(t *testing.T) {
	t.Parallel()
	c := &Config{}
	want := []MailboxUse{{"Sent", "Sent"}, {"Archive", "Archive"}, {"Trash", "Trash"}, {"Drafts", "Drafts"}, {"Junk", "Junk"}}
	if got := c.InitialMailboxes(); !reflect.DeepEqual(got, want) {
		t.Errorf("not configured: got %v, want %v", got, want)
	}
	c.Static.InitialMailboxes = InitialMailboxes{SpecialUse{Junk: "Spam"}, []string{"Lists"}}
	want = []MailboxUse{{"Spam", "Junk"}, {"Lists", ""}}
	if got := c.InitialMailboxes(); !reflect.DeepEqual(got, want) {
		t.Errorf("configured: got %v, want %v", got, want)
	}
	c.Static.InitialMailboxes, c.Static.DefaultMailboxes = InitialMailboxes{}, []string{"Sent"}
	want = []MailboxUse{{"Sent", ""}}
	if got := c.InitialMailboxes(); !reflect.DeepEqual(got, want) {
		t.Errorf("as in old files: got %v, want %v", got, want)
	}
}

// TestCertificates loads a key from files, and some that don't go.
func TestCertificates(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile := &fstest.MapFile{Data: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})}
	keyFile := &fstest.MapFile{Data: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})}

	c, err := Load([]byte(testStatic), []byte(testDynamic), fstest.MapFS{"mx.crt": certFile, "mx.key": keyFile})
	if err != nil {
		t.Fatal(err)
	}
	if certs := c.Endpoints[0].TLS.Certificates; len(certs) != 1 || certs[0].Leaf.DNSNames[0] != "mx.example.org" {
		t.Errorf("got certificates %v", certs)
	}
	for _, test := range []struct {
		name  string
		files fstest.MapFS
		want  string
	}{
		{"no certificate", fstest.MapFS{"mx.key": keyFile}, "mox.conf:12: Listeners.public.TLS.KeyCerts[0]: reading certificate: open mx.crt: "},
		{"no key", fstest.MapFS{"mx.crt": certFile}, "mox.conf:12: Listeners.public.TLS.KeyCerts[0]: reading key: open mx.key: "},
		{"the wrong way round", fstest.MapFS{"mx.crt": keyFile, "mx.key": certFile}, "mox.conf:12: Listeners.public.TLS.KeyCerts[0]: key and certificate mx.crt: "},
	} {
		_, err := Load([]byte(testStatic), []byte(testDynamic), test.files)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s...", test.name, err, test.want)
		}
	}
}

// TestFormat writes what was read, and values the form of the file cannot hold.
func TestFormat(t *testing.T) {
	t.Parallel()
	c := load(t)
	static, err := FormatStatic(c.Static)
	if err != nil {
		t.Fatal(err)
	}
	dynamic, err := FormatDynamic(c.Dynamic)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(static, dynamic, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Static, c.Static) || !reflect.DeepEqual(again.Dynamic, c.Dynamic) {
		t.Errorf("read again: got\n%s\n%s", static, dynamic)
	}
	if text, err := FormatDynamic(Dynamic{}); err != nil || len(text) != 0 {
		t.Errorf("empty: got %q, %v", text, err)
	}
	for _, account := range []Account{{Description: "a\nb"}, {Description: "a\r"}, {Destinations: map[string]Destination{"#x": {}}}, {Destinations: map[string]Destination{`"a:b"@example.org`: {}}}} {
		if text, err := FormatDynamic(Dynamic{Accounts: map[string]Account{"a": account}}); err == nil {
			t.Errorf("%+v: got %q, want an error", account, text)
		}
	}
}

// FuzzLoad checks that what is valid can be written and read again, and is then
// the same, and that each problem has a file.
func FuzzLoad(f *testing.F) {
	f.Add(testStatic, testDynamic)
	f.Add(strings.ReplaceAll(testStatic, "\n", "\r\n"), "")
	exampleStatic, exampleDynamic := examples(f)
	f.Add(exampleStatic, testDynamic)
	f.Add(testStatic, exampleDynamic)
	f.Add("a:\n\t-\n\t\t- \n", "Domains:\n\t\t\tx: nil\n")
	f.Add("Listeners:\n\t#\n\tx:\n\t\tIPs:\n- 1\n", "Accounts:\n\ta:\n\t\tDestinations:\n\t\t\t: nil\n")
	f.Fuzz(func(t *testing.T, static, dynamic string) {
		c, err := Load([]byte(static), []byte(dynamic), nil)
		if err != nil {
			problems, ok := errors.AsType[Problems](err)
			if !ok || len(problems) == 0 {
				t.Fatalf("got error %#v, want problems", err)
			}
			for _, p := range problems {
				if p.File != StaticName && p.File != DynamicName {
					t.Fatalf("got problem %+v without file", p)
				}
			}
			return
		}
		text, err := FormatDynamic(c.Dynamic)
		if err != nil {
			return // For instance a domain ".", which the parser of files and of names see differently.
		}
		again, err := Load([]byte(static), text, nil)
		if err != nil {
			t.Fatalf("written:\n%s\nread again: %v", text, err)
		}
		if !reflect.DeepEqual(again.aliases, c.aliases) || len(again.destinations) != len(c.destinations) || !reflect.DeepEqual(again.domains, c.domains) {
			t.Fatalf("written:\n%s\ndiffers", text)
		}
	})
}

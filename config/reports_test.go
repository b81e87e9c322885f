package config

import (
	"errors"
	"strings"
	"testing"
)

// reportsOf returns files with addresses for reports: of the host, of example.org in
// its own domain, and of another domain there too.
func reportsOf(dmarc, other string) (static, dynamic string) {
	static = testStatic + "HostTLSRPT:\n\tAccount: admin\n\tMailbox: TLSRPT\n\tLocalpart: Tls-Reports\n"
	settings := "\texample.org:\n\t\tDMARC:\n" + dmarc + "\t\tTLSRPT:\n\t\t\tLocalpart: TLSreports\n\t\t\tAccount: admin\n\t\t\tMailbox: TLSRPT\n"
	dynamic = strings.Replace(testDynamic, "\texample.org:\n", settings, 1)
	return static, strings.Replace(dynamic, "\toff.example:\n", "\toff.example:\n\t\tTLSRPT:\n"+other, 1)
}

const (
	dmarcReports = "\t\t\tLocalpart: dmarc\n\t\t\tAccount: admin\n\t\t\tMailbox: DMARC\n"
	otherReports = "\t\t\tLocalpart: dmarc\n\t\t\tDomain: example.org\n\t\t\tAccount: admin\n\t\t\tMailbox: DMARC\n"
)

func TestReportAddresses(t *testing.T) {
	t.Parallel()
	static, dynamic := reportsOf(dmarcReports, otherReports)
	c, err := Load([]byte(static), []byte(dynamic), nil)
	if err != nil || len(c.Warnings) > 0 {
		t.Fatal(err, c)
	}
	for _, tc := range []struct {
		name, address, want string
		err                 error
	}{
		{"of a domain", "tlsreports+x@example.org", "tlsreports@example.org: admin/TLSRPT tls", nil},
		{"of two domains and for both kinds", "DMARC@example.org", "dmarc@example.org: admin/DMARC dmarc tls", nil},
		{"of the host", "TLS-reports@mail.example.org", "tls-reports@mail.example.org: admin/TLSRPT tls", nil},
		{"of the host with a separator, which it doesn't have", "tls-reports+x@mail.example.org", "", ErrNoDomain},
		{"another at the host", "dmarc@mail.example.org", "", ErrNoDomain},
		{"at a listener's name", "tls-reports@mx.example.org", "", ErrNoDomain},
		{"an address that is for none", "anna@example.org", "anna@example.org: anna/Inbox", nil},
	} {
		target, err := c.Resolve(parsePath(t, tc.address))
		if !errors.Is(err, tc.err) || err == nil && describeTarget(target) != tc.want {
			t.Errorf("%s: got %s, %v, want %q", tc.name, describeTarget(target), err, tc.want)
		}
	}
}

func TestReportAddressesShared(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, old, new string
		want           string // Problems.
		warning        string
	}{
		{
			"an address of the account, with another mailbox", "Localpart: dmarc\n\t\t\tAccount", "Localpart: Admin\n\t\t\tAccount", "",
			`domains.conf:4: Domains.example.org.DMARC.Localpart: all mail for admin@example.org goes to "DMARC", not only reports: Mailbox and Rulesets of the address don't count`,
		},
		{
			"two kinds to different mailboxes", "Domain: example.org\n\t\t\tAccount: admin\n\t\t\tMailbox: DMARC", "Domain: example.org\n\t\t\tAccount: admin\n\t\t\tMailbox: X",
			`domains.conf:27: Domains.off.example.TLSRPT.Localpart: address is for other reports, which go to "DMARC" in account "admin"`, "",
		},
		{
			"an address of somebody else", "Localpart: dmarc\n\t\t\tAccount", "Localpart: josé\n\t\t\tAccount",
			"domains.conf:4: Domains.example.org.DMARC.Localpart: must be ASCII\n" +
				`domains.conf:4: Domains.example.org.DMARC.Localpart: address is that of josé@example.org in account "anna"`, "",
		},
		{
			"an address that refuses mail", "Localpart: dmarc\n\t\t\tAccount: admin", "Localpart: gone\n\t\t\tAccount: anna",
			`domains.conf:4: Domains.example.org.DMARC.Localpart: address refuses mail, by its SMTPError`, "",
		},
	} {
		static, dynamic := reportsOf(dmarcReports, otherReports)
		changed := strings.Replace(dynamic, tc.old, tc.new, 1)
		c, err := Load([]byte(static), []byte(changed), nil)
		got, warning := "", ""
		if err != nil {
			got = err.Error()
		} else if len(c.Warnings) > 0 {
			warning = c.Warnings[0].Error()
		}
		if changed == dynamic || got != tc.want || warning != tc.warning {
			t.Errorf("%s: got\n%s\nwarning %s", tc.name, got, warning)
		}
	}
}

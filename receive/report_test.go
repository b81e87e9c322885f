package receive

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/screen"
)

// tlsReport is a report about TLS, from a domain about another.
func tlsReport(from, about string) string {
	return strings.ReplaceAll(`From: <tls@`+from+`>
To: <tls@example.org>
Subject: Report Domain: `+about+` Submitter: `+from+` Report-ID: <1@x>
TLS-Report-Domain: `+about+`
TLS-Report-Submitter: `+from+`
Message-ID: <1@x>
MIME-Version: 1.0
Content-Type: multipart/report; report-type="tlsrpt"; boundary=b

--b
Content-Type: text/plain

a report
--b
Content-Type: application/tlsrpt+json

{}
--b--
`, "\n", "\r\n")
}

// TestTLSReports checks which messages to an address for reports about TLS are
// taken for one, by their signatures.
func TestTLSReports(t *testing.T) {
	t.Parallel()
	key := "p=" + base64.StdEncoding.EncodeToString(judgedKey.Public().(ed25519.PublicKey))
	letter := text("tls@only.example", "a letter")
	for _, tc := range []struct {
		name, services, content string
		want                    screen.Reason
		result                  string // In Authentication-Results.
		problem                 string
	}{
		{"a key for everything", "", tlsReport("only.example", "example.org"), screen.Reporting, "dkim=pass", ""},
		{"a key for such reports only", "s=tlsrpt; ", tlsReport("only.example", "example.org"), screen.Reporting, "dkim=permerror", ""},
		{"a key for letters only", "s=email; ", tlsReport("only.example", "example.org"), screen.NoBadSignals, "dkim=pass", "without signature"},
		{"a key for something else", "s=other; ", tlsReport("only.example", "example.org"), screen.NoBadSignals, "dkim=permerror", "without signature"},
		{"about somebody else", "s=tlsrpt; ", tlsReport("only.example", "elsewhere.example"), screen.NoBadSignals, "dkim=permerror", "not ours"},
		{"a letter with a key for reports", "s=tlsrpt; ", letter, screen.NoBadSignals, "dkim=permerror", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, err := dnstest.New(judgedZone() + `k._domainkey.only.example. TXT "v=DKIM1; k=ed25519; ` + tc.services + key + "\"\nonly.example. MX 10 mx.good.example.\n")
			if err != nil {
				t.Fatal(err)
			}
			j := &judged{dns: r}
			j.env = newEnv(t, func(o *Options) {
				o.Resolver = r
				d := o.Config().Dynamic
				domains := map[string]config.Domain{}
				for name, domain := range d.Domains {
					domains[name] = domain
				}
				own := domains["example.org"]
				own.TLSRPT = &config.TLSRPT{Localpart: "tls", Account: "alice", Mailbox: "TLSRPT"}
				domains["example.org"], d.Domains = own, domains
				cfg, err := config.Check(o.Config().Static, d, nil)
				if err != nil {
					t.Fatal(err)
				}
				o.Config = func() *config.Config { return cfg }
			})
			m := mail{mailFrom: "tls@soft.example", content: tc.content, signed: []string{"only.example"}}
			if got := j.deliver(m, "tls@example.org"); got != "ok" {
				t.Fatalf("got %s\n%s", got, j.log)
			}
			got := j.last("TLSRPT")
			if got.email.Facts.Reason != string(tc.want) || !strings.Contains(got.prefix, tc.result) {
				t.Errorf("reason %s, %s", got.email.Facts.Reason, got.prefix)
			}
			if _, problem, _ := strings.Cut(got.prefix, "X-Mox-TLSReport-Error:"); (tc.problem != "") != (problem != "") || !strings.Contains(strings.Join(strings.Fields(problem), " "), tc.problem) {
				t.Errorf("problem: %s", got.prefix)
			}
		})
	}
}

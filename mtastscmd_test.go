package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/mtasts"
)

const mtastsZone = `
_mta-sts.org     TXT   "v=STSv1; id=20260101;"
_mta-sts.alias   CNAME _mta-sts.org
_mta-sts.bad     TXT   "v=STSv1; id=?\027"
_mta-sts.two     TXT   "v=STSv1; id=1"
_mta-sts.two     TXT   "v=STSv1; id=2"
_mta-sts.cert    TXT   "v=STSv1; id=1"
_mta-sts.html    TXT   "v=STSv1; id=1"
_mta-sts.unreached TXT "v=STSv1; id=1"
mta-sts.unreached  TXT "no addresses"
`

// policyHosts answers as some hosts do.
type policyHosts struct{}

func (policyHosts) Get(_ context.Context, r mtasts.Request) (mtasts.Response, error) {
	switch r.Host {
	case "mta-sts.cert.example":
		return mtasts.Response{}, fmt.Errorf("%w: expired", mtasts.ErrWebPKI)
	case "mta-sts.html.example":
		return mtasts.Response{Status: 200, ContentType: "text/plain", Body: []byte("<p>\x1b[31m")}, nil
	}
	return mtasts.Response{Status: 200, ContentType: "text/plain", Body: []byte("version: STSv1\nmode: testing\nmx: a.example\nmx: *.b.example\nmax_age: 86400\n")}, nil
}

func TestMTASTSLookup(t *testing.T) {
	t.Parallel()
	tree, addr := serveTree(t, dnstest.SignedZone{Name: "example", Text: mtastsZone})
	tree.SetFaults(dnstest.Faults{AD: true})
	tree.Fail("", "_mta-sts.broken.example", dnstest.Temporary)
	none := filepath.Join(t.TempDir(), "none.conf")
	const policy = "\tmode: testing\n\tmx: a.example\n\tmx: *.b.example\n\tmax_age: 86400 (24h0m0s)\n"
	for _, c := range []struct {
		name, args     string
		getter         mtasts.Getter
		code           int
		stdout, stderr string // Begins.
	}{
		{"a policy", "org.example", policyHosts{}, 0, "record of org.example, with DNSSEC:\n\t\"v=STSv1; id=20260101;\"\npolicy at https://mta-sts.org.example/.well-known/mta-sts.txt:\n" + policy, ""},
		{"an alias", "alias.example.", policyHosts{}, 0, "record of _mta-sts.org.example., with DNSSEC:\n\t\"v=STSv1; id=20260101;\"\npolicy at https://mta-sts.alias.example/.well-known/mta-sts.txt:\n", ""},
		{"as JSON", "-json org.example", policyHosts{}, 0, `{"Domain":"org.example","Alias":"","Record":"v=STSv1; id=20260101;","ID":"20260101","DNSSEC":true,` +
			`"URL":"https://mta-sts.org.example/.well-known/mta-sts.txt","Text":"version: STSv1\nmode: testing\nmx: a.example\nmx: *.b.example\nmax_age: 86400\n",` +
			`"Mode":"testing","MX":["a.example","*.b.example"],"MaxAge":86400,"Failure":"","Error":""}`, ""},
		{"no record", "none.example", policyHosts{}, 1, "error: no MTA-STS record: looking up TXT of \"_mta-sts.none.example.\": ", ""},
		{"several records", "two.example", policyHosts{}, 1, "error: no MTA-STS record: there are 2, and none counts\n", ""},
		{"a bad record", "bad.example", policyHosts{}, 1, "record of bad.example, with DNSSEC:\n\t\"v=STSv1; id=?\\x1b\"\nerror: invalid MTA-STS record: byte 13: id \"?\\x1b\" is not", ""},
		{"DNS fails", "broken.example", policyHosts{}, 1, "error: looking for an MTA-STS record: ", ""},
		{"a wrong certificate", "cert.example", policyHosts{}, 1, "record of cert.example, with DNSSEC:\n\t\"v=STSv1; id=1\"\nno policy at https://mta-sts.cert.example/.well-known/mta-sts.txt\nerror: certificate of MTA-STS policy host: expired\n", ""},
		{"no policy", "html.example", policyHosts{}, 1, "record of html.example, with DNSSEC:\n\t\"v=STSv1; id=1\"\nno policy at https://mta-sts.html.example/.well-known/mta-sts.txt\nerror: invalid MTA-STS policy: line 1, byte 1: \"<p>\\x1b[31m\" is not", ""},
		{"no policy, as JSON", "-json cert.example", policyHosts{}, 1, `{"Domain":"cert.example","Alias":"","Record":"v=STSv1; id=1","ID":"1","DNSSEC":true,"URL":"https://mta-sts.cert.example/.well-known/mta-sts.txt",` +
			`"Text":"","Mode":"","MX":[],"MaxAge":0,"Failure":"sts-webpki-invalid","Error":"certificate of MTA-STS policy host: expired"}`, ""},
		{"a host without addresses", "unreached.example", nil, 1, "record of unreached.example, with DNSSEC:\n\t\"v=STSv1; id=1\"\nno policy at https://mta-sts.unreached.example/.well-known/mta-sts.txt\n" +
			"error: fetching MTA-STS policy: asking mta-sts.unreached.example: looking up ", ""},
		{"no domain", "", nil, 2, "", "usage: mox mtasts lookup "},
		{"not a domain", "x..y", nil, 2, "", "mox: invalid domain name"},
	} {
		var stdout, stderr bytes.Buffer
		inv := &invocation{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getter: c.getter}
		args := append([]string{"-config", none, "mtasts", "lookup", "-server", addr, "-mode", "system-ad"}, strings.Fields(c.args)...)
		code := inv.main(t.Context(), args, func(string) string { return "" })
		if code != c.code || !strings.HasPrefix(stdout.String(), c.stdout) || !strings.HasPrefix(stderr.String(), c.stderr) || (c.stderr == "") != (stderr.Len() == 0) {
			t.Errorf("%s: got %d, %s%s, want %d, %s%s", c.name, code, &stdout, &stderr, c.code, c.stdout, c.stderr)
		}
	}
}

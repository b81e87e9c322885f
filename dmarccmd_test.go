package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/smtp"
)

const dmarcZone = `
_dmarc.org          TXT   "v=DMARC1; p=reject; sp=quarantine; x=y; t=maybe; rua=mailto:a@org.example,mailto:b@red.example!1m,mailto:c@blue.example,https://org.example/"
org                 TXT   "v=spf1 ip4:192.0.2.1 -all"
sub.org             TXT   "v=spf1 ip4:192.0.2.1 -all"
_dmarc.bad          TXT   "v=DMARC1; p=\027[31m"
_dmarc.quiet        TXT   "v=DMARC1; p=none"
org.example._report._dmarc.red TXT "v=DMARC1; rua=mailto:d@red.example"
`

// dmarcSigned returns a message with a signature by sub.org.example, and a zone with its key.
func dmarcSigned(t *testing.T) (text, zone string) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	text = "From: Anna <anna@org.example>\r\nSubject: hello\r\n\r\nhello\r\n"
	header, err := dkim.Sign(strings.NewReader(text), int64(len(text)), dkim.SignOptions{
		Author:    smtp.Address{Localpart: "anna", Domain: dns.Domain{ASCII: "sub.org.example"}},
		Selectors: []dkim.Selector{{Name: "s", Key: key, Hash: "sha256"}}, Now: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("not a key")
	}
	zone = dmarcZone + "s._domainkey.sub.org TXT \"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public) + "\"\n"
	// As a file has it.
	return strings.ReplaceAll(string(header)+text, "\r\n", "\n"), zone
}

func TestDMARCCommands(t *testing.T) {
	t.Parallel()
	signed, zone := dmarcSigned(t)
	unsigned := "From: Anna <anna@org.example>\n\nhello\n"
	tree, addr := serveTree(t, dnstest.SignedZone{Name: "example", Text: zone})
	tree.SetFaults(dnstest.Faults{AD: true})
	tree.Fail("", "_dmarc.broken.example", dnstest.Temporary)
	none := filepath.Join(t.TempDir(), "none.conf")
	const record = "\t\"v=DMARC1; p=reject; sp=quarantine; x=y; t=maybe; rua=mailto:a@org.example,mailto:b@red.example!1m,mailto:c@blue.example,https://org.example/\"\n" +
		"understood as:\n\t\"v=DMARC1; p=reject; sp=quarantine; rua=mailto:a@org.example,mailto:b@red.example!1m,mailto:c@blue.example,https://org.example/\"\n" +
		"without effect: at offset 42: tag t: \"maybe\" is not one of n, y\norganisational domain: org.example\n"
	for _, c := range []struct {
		name, args, stdin string
		code              int
		stdout, stderr    string // Begins.
	}{
		{"a policy", "lookup org.example.", "", 0, "record of org.example for org.example, with DNSSEC:\n" + record + "policy for mail that fails: reject\n", ""},
		{"the policy of the organisation", "lookup a.b.org.example", "", 0, "record of org.example for a.b.org.example, with DNSSEC:\n" + record + "policy for mail that fails: quarantine\n", ""},
		{"no policy", "lookup none.example", "", 1, "organisational domain: none.example\nerror: no DMARC record\n", ""},
		{"a policy with an error", "lookup bad.example", "", 1, "record of bad.example for bad.example, with DNSSEC:\n\t\"v=DMARC1; p=\\x1b[31m\"\n", ""},
		{"a failure", "lookup a.broken.example", "", 1, "error: looking for a DMARC record: looking up TXT of \"_dmarc.broken.example.\": ", ""},
		{"as JSON", "lookup -json quiet.example", "", 0, `{"Domain":"quiet.example","Org":"quiet.example","RecordAt":"quiet.example","Text":"v=DMARC1; p=none","Record":"v=DMARC1; p=none","Policy":"none","Problems":[],"DNSSEC":true,"Error":""}`, ""},

		{"a message that passes by both", "verify 192.0.2.1 x@sub.org.example mail.example", signed, 0,
			"from: org.example\nspf: pass for sub.org.example, alignment relaxed, with DNSSEC\ndkim: pass for sub.org.example, alignment relaxed, with DNSSEC\n" +
				"record of org.example for org.example, with DNSSEC:\n" + record + "dmarc: pass\n", ""},
		{"a message that passes by its signature, without SPF", "verify 192.0.2.9 - -", signed, 0,
			"from: org.example\ndkim: pass for sub.org.example, alignment relaxed, with DNSSEC\n", ""},
		{"a null sender", "verify 192.0.2.1 - org.example", unsigned, 0, "from: org.example\nspf: pass for org.example, alignment strict, with DNSSEC\n", ""},
		{"a message that was changed", "verify 192.0.2.9 x@org.example mail.example", strings.Replace(signed, "\nhello", "\nHello", 1), 1,
			"from: org.example\nspf: fail for org.example, alignment none, with DNSSEC\ndkim: fail for sub.org.example, alignment none, with DNSSEC\n\tdkim: body", ""},
		{"a message without a policy", "verify 192.0.2.9 - -", strings.Replace(unsigned, "org.example", "none.example", 1), 0, "from: none.example\norganisational domain: none.example\ndmarc: none\n", ""},
		{"a message that fails, as JSON", "verify -json 192.0.2.9 - -", unsigned, 1,
			`{"From":"org.example","SPF":{"Domain":"","Result":"","Aligned":"none","DNSSEC":false,"Error":""},"DKIM":[],"Result":"fail","Policy":"reject","Record":{"Domain":"org.example"`, ""},
		{"two addresses in From", "verify 192.0.2.9 - -", "From: a@org.example, b@org.example\n\n", 1, "", "mox: message does not have exactly one address in From"},
		{"two From fields", "verify 192.0.2.9 - -", "From: a@org.example\nFrom: a@org.example\n\n", 1, "", "mox: message does not have exactly one address in From"},
		{"no domain in From", "verify 192.0.2.9 - -", "From: a@[192.0.2.1]\n\n", 1, "", "mox: domain in From: invalid domain name"},
		{"not an address", "verify x - -", unsigned, 2, "", "mox: \"x\" is not an IP address\n"},
		{"not a sender", "verify 192.0.2.1 x mail.example", unsigned, 2, "", "mox: \"x\" is not an address\n"},
		{"not a name", "verify 192.0.2.1 - x..y", unsigned, 2, "", "mox: invalid domain name"},
		{"too few arguments", "verify 192.0.2.1", unsigned, 2, "", "usage: mox dmarc verify "},

		{"addresses for reports", "checkreportaddrs sub.org.example", "", 1,
			"mailto:a@org.example, of the same organisation, with DNSSEC: reports go to mailto:a@org.example\n" +
				"mailto:b@red.example!1m, of another organisation, with DNSSEC: reports go to mailto:d@red.example\n" +
				"mailto:c@blue.example: no reports: destination does not take reports for this domain\nhttps://org.example/: no reports: not a mailto: address\n", ""},
		{"as JSON", "checkreportaddrs -json org.example", "", 1, `[{"URI":"mailto:a@org.example","External":false,"Send":["mailto:a@org.example"],"DNSSEC":true,"Error":""},`, ""},
		{"no addresses", "checkreportaddrs quiet.example", "", 0, "the record asks for no reports\n", ""},
		{"no record", "checkreportaddrs none.example", "", 1, "", "mox: none.example: no DMARC record\n"},
		{"a record that can't be found", "checkreportaddrs broken.example", "", 1, "", "mox: looking for a DMARC record: "},
		{"no domain", "checkreportaddrs", "", 2, "", "usage: mox dmarc checkreportaddrs "},
		{"not a domain", "lookup x..y", "", 2, "", "mox: invalid domain name"},
	} {
		words := strings.Fields(c.args)
		all := append([]string{"-config", none, "dmarc", words[0], "-server", addr, "-mode", "system-ad"}, words[1:]...)
		for i, word := range all {
			if word == "-" {
				all[i] = ""
			}
		}
		var stdout, stderr bytes.Buffer
		inv := &invocation{stdin: strings.NewReader(c.stdin), stdout: &stdout, stderr: &stderr}
		code := inv.main(t.Context(), all, func(string) string { return "" })
		if code != c.code || !strings.HasPrefix(stdout.String(), c.stdout) || !strings.HasPrefix(stderr.String(), c.stderr) || (c.stderr == "") != (stderr.Len() == 0) {
			t.Errorf("%s: got %d, %s%s, want %d, %s%s", c.name, code, &stdout, &stderr, c.code, c.stdout, c.stderr)
		}
	}
}

func TestReadDiagnosed(t *testing.T) {
	t.Parallel()
	got, err := readDiagnosed(strings.NewReader("a\nb\r\n\n"))
	if err != nil || string(got) != "a\r\nb\r\n\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	failure := errors.New("disk on fire")
	if _, err := readDiagnosed(iotest.ErrReader(failure)); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}

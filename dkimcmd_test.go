package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dnstest"
)

// runWith is run with standard input.
func runWith(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	inv := &invocation{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}
	code = inv.main(t.Context(), args, func(string) string { return "" })
	return code, out.String(), errs.String()
}

// TestDKIMCommands makes keys, signs with them, and verifies that.
func TestDKIMCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	zone := "revoked._domainkey.org TXT \"v=DKIM1; p=\"\n"
	for _, kind := range []string{"genrsa", "gened25519"} {
		_, key, stderr := run(t, "dkim", kind)
		if _, err := dkim.ParseKey([]byte(key)); err != nil {
			t.Fatalf("%s: got %q, %q, %v", kind, key, stderr, err)
		}
		put(kind+".pem", key)
		code, record, stderr := runWith(t, key, "dkim", "txt")
		record, ok := strings.CutPrefix(record, "<selector>._domainkey.<domain>.\tIN\tTXT\t\"v=DKIM1;")
		if code != 0 || !ok {
			t.Fatalf("%s: got %d, %q, %q", kind, code, record, stderr)
		}
		zone += kind + "._domainkey.org TXT \"v=DKIM1;" + record
	}
	_, addr := serveTree(t, dnstest.SignedZone{Name: "example", Text: zone})
	config := put("mox.conf", "DataDir: data\nLogLevel: info\nHostname: mx.org.example\nPostmaster:\n\tAccount: mox\n\tMailbox: Inbox\nListeners:\n\tlocal:\n\t\tIPs:\n\t\t\t- 127.0.0.1\n")
	put("domains.conf", `Domains:
	org.example:
		DKIM:
			Selectors:
				genrsa:
					PrivateKeyFile: genrsa.pem
					Expiration: 1h
				gened25519:
					PrivateKeyFile: gened25519.pem
			Sign:
				- genrsa
				- gened25519
	quiet.example: nil
Accounts:
	mox:
		Domain: org.example
`)
	const text = "From: Anna <anna@org.example>\nSubject: hello\n\nhello\n"
	code, signed, stderr := runWith(t, text, "-config", config, "dkim", "sign", "-")
	if code != 0 || !strings.HasSuffix(signed, text) || strings.Contains(signed, "\r") {
		t.Fatalf("sign: got %d, %q, %q", code, signed, stderr)
	}
	msg := put("signed.eml", signed)

	verify := func(args ...string) (int, string, string) {
		return run(t, append([]string{"-config", config, "dkim", "verify", "-server", addr, "-mode", "system-ad"}, args...)...)
	}
	code, stdout, stderr := verify(msg)
	for _, want := range []string{
		"pass: domain org.example, selector genrsa, \"rsa-sha256\", simple/simple, identity \"anna@org.example\"\n\tkey of 2048 bits, without DNSSEC\n\tsigned: \"From From To",
		"\texpires ", "pass: domain org.example, selector gened25519, ", "key of 256 bits",
	} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("verify: got %d, %q, %q, want %q", code, stdout, stderr, want)
		}
	}
	_, stdout, _ = verify("-json", msg)
	var report dkimReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || len(report.Signatures) != 2 || report.Signatures[1].Expires != nil || report.Signatures[0].Result != "pass" {
		t.Errorf("JSON: got %s, %v", stdout, err)
	}
	if code, stdout, _ := verify(put("changed.eml", strings.Replace(signed, "Subject: hello", "Subject: ho", 1))); code != 1 || strings.Count(stdout, "fail: ") != 2 {
		t.Errorf("a changed message: got %d, %q", code, stdout)
	}
	if code, stdout, _ := verify(put("plain.eml", text)); code != 1 || stdout != "the message is not signed\n" {
		t.Errorf("a message without signature: got %d, %q", code, stdout)
	}

	for _, c := range []struct {
		name, stdin, args string
		code              int
		stdout, stderr    string // Parts.
	}{
		{"a key", "", "dkim lookup -server ADDR -mode system-ad genrsa org.example", 0, "genrsa._domainkey.org.example., without DNSSEC:\n\t\"v=DKIM1;h=sha256;p=", ""},
		{"its size", "", "dkim lookup -server ADDR -mode system-ad genrsa org.example.", 0, "key: rsa, 2048 bits\n", ""},
		{"a revoked key", "", "dkim lookup -server ADDR -mode system-ad revoked org.example", 1, "error: \"dkim: key was revoked\"\n", ""},
		{"no key", "", "dkim lookup -server ADDR -mode system-ad x org.example", 1, "error: \"dkim: no key in DNS", ""},
		{"not a selector", "", "dkim lookup a..b org.example", 2, "", "\"a..b\" is not a selector"},
		{"not a domain", "", "dkim lookup a b_c", 2, "", "invalid domain name"},
		{"no domain", "", "dkim lookup a", 2, "", "usage: mox dkim lookup "},
		{"no message", "", "dkim verify", 2, "", "usage: mox dkim verify "},
		{"a message that isn't there", "", "dkim verify no.eml", 1, "", "opening message"},
		{"not a key", "x", "dkim txt", 1, "", "no PEM block"},
		{"a domain without selectors", "From: a@quiet.example\n\n", "dkim sign -", 1, "", "no selectors to sign mail from quiet.example with"},
		{"a domain that isn't ours", "From: a@elsewhere.example\n\n", "dkim sign -", 1, "", "no selectors to sign mail from elsewhere.example with"},
		{"no From", "To: a@quiet.example\n\n", "dkim sign -", 1, "", "exactly one address in From"},
		{"no chain", text, "arc verify -", 0, "chain: none\n", ""},
		{"a broken chain", "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.example; s=y; b=AAAA\n" + text, "arc verify -", 1, "chain: fail\nerror: \"arc: set is not complete: instance 1\"\ninstance 1, sealed by x.example, without DNSSEC\n", ""},
	} {
		args := append([]string{"-config", config}, strings.Fields(strings.ReplaceAll(c.args, "ADDR", addr))...)
		code, stdout, stderr := runWith(t, c.stdin, args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: got %d, %q, %q", c.name, code, stdout, stderr)
		}
	}
	if err := os.Remove(filepath.Join(dir, "genrsa.pem")); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runWith(t, text, "-config", config, "dkim", "sign", "-"); code != 1 || !strings.Contains(stderr, "genrsa.PrivateKeyFile: reading key") {
		t.Errorf("without the key: got %d, %q", code, stderr)
	}
}

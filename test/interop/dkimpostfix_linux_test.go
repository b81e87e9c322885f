package interop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/resolver"
)

// milterAddress is where OpenDKIM serves Postfix.
const milterAddress = "127.0.0.1:8891"

// opendkimConf signs mail from postfix.test, and verifies what others have signed.
const opendkimConf = `Mode sv
Domain postfix.test
Selector sel
KeyFile DIR/opendkim.key
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
Socket inet:8891@127.0.0.1
InternalHosts 127.0.0.0/8
ResolverConfiguration DIR/opendkim.unbound
RequireSafeKeys false
AuthservID mx.postfix.test
AlwaysAddARHeader yes
UserID root
`

// opendkimDNS has it ask the one name server there is, for a zone that otherwise
// nobody has.
const opendkimDNS = `server:
	do-not-query-localhost: no
	local-zone: "test." nodefault
forward-zone:
	name: "."
	forward-addr: ` + nameserver + `
`

// TestDKIMPostfix has a Postfix with OpenDKIM and a server of ours exchange mail that
// each of them signs, and the other verifies.
func TestDKIMPostfix(t *testing.T) { inNetwork(t, testDKIMPostfix) }

func testDKIMPostfix(t *testing.T, dir string) {
	w, p := newWorld(t, dir, nil), newPostfix(t, dir)
	s := newSigners(t, dir)
	added, err := w.admin.DomainAdd(t.Context(), admin.DomainAddRequest{Domain: "signed.test", Account: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := dkim.NewRecord(s.selectors["rsa"].Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	records := append(added.DNSRecords, admin.DNSRecord{Name: "_dmarc.postfix.test.", Type: "TXT", Value: "v=DMARC1; p=reject"}, admin.DNSRecord{Name: "sel._domainkey.postfix.test.", Type: "TXT", Value: text.Text()})
	addRecords(t, dir, records)
	startOpenDKIM(t, dir, s.opendkimKey(t, "rsa"))
	addToFile(t, filepath.Join(p.dir, "etc", "main.cf"), "smtpd_milters = inet:"+milterAddress+"\n")
	p.start(t)

	p.relay(t, "odd@postfix.test", gosmtp.MailOptions{}, newMail("odd@postfix.test", "theirs", oddBody), address("bob"))
	got := w.received(t, "bob", "Subject: mail theirs")
	for _, want := range []string{"\r\nDKIM-Signature: ", "dkim=pass", "header.d=postfix.test", "spf=pass", "dmarc=pass", "policy.dmarc=none"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %q", want, short(got))
		}
	}
	testForgedPostfix(t)
	r, err := resolver.New(resolver.Options{CacheSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	list, err := dkim.Verify(t.Context(), r, strings.NewReader(got), int64(len(got)), dkim.VerifyOptions{Now: time.Now()})
	if err != nil || len(list) != 1 || list[0].Result != dkim.Pass {
		t.Errorf("from Postfix: got %+v, %v", list, err)
	}

	from := added.Address
	if err := w.submitFrom(t, "bob", from, gosmtp.MailOptions{}, newMail(from, "ours", oddBody), "x@postfix.test"); err != nil {
		t.Fatal(err)
	}
	got = p.received(t, "x@postfix.test", "Subject: mail ours")
	if !strings.Contains(got, "Authentication-Results: mx.postfix.test;\r\n\tdkim=pass (2048-bit key") || !strings.Contains(got, "header.d=signed.test") {
		t.Errorf("to Postfix: got %q", short(got))
	}
}

// testForgedPostfix sends us mail that says it is from Postfix, as its domain does not
// want it.
func testForgedPostfix(t *testing.T) {
	t.Helper()
	c, err := gosmtp.Dial(ourIP + ":25")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = transact(c, "x@plain.test", gosmtp.MailOptions{}, newMail("odd@postfix.test", "forged", oddBody), address("bob"))
	if se, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || se.Code != 550 || se.EnhancedCode != (gosmtp.EnhancedCode{5, 7, 26}) {
		t.Errorf("forged: got %v", err)
	}
}

// addRecords adds records to the zone of the name server, and waits until it has them.
func addRecords(t *testing.T, dir string, records []admin.DNSRecord) {
	t.Helper()
	var text string
	for _, rec := range records {
		text += rec.Name + " " + rec.Type
		for part := range slices.Chunk([]byte(rec.Value), 200) {
			text += fmt.Sprintf(" %q", part)
		}
		text += "\n"
	}
	addToFile(t, filepath.Join(dir, "test.zone"), text)
	pid, err := os.ReadFile(filepath.Join(dir, "nsd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := resolver.New(resolver.Options{CacheSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	has := func() bool {
		if err := syscall.Kill(n, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		_, _, err := r.LookupTXT(t.Context(), records[len(records)-1].Name)
		return err == nil
	}
	if !eventually(has) {
		t.Fatal("the name server does not take new records")
	}
}

// addToFile adds text to a file.
func addToFile(t *testing.T, path, text string) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(old, text...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// startOpenDKIM starts the milter with a key, until the test ends.
func startOpenDKIM(t *testing.T, dir, key string) {
	t.Helper()
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"opendkim.key": string(text), "opendkim.conf": strings.ReplaceAll(opendkimConf, "DIR", dir), "opendkim.unbound": opendkimDNS,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	cmd := exec.Command(sbin(t, "opendkim"), "-f", "-x", filepath.Join(dir, "opendkim.conf"))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // It has nothing to lose.
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("OpenDKIM: %s", out.String())
		}
	})
	listens := func() bool {
		conn, err := net.DialTimeout("tcp", milterAddress, patience)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}
	if !eventually(listens) {
		t.Fatal("OpenDKIM does not listen")
	}
}

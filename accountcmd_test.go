package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// command runs a command for a localserve, and returns what it prints.
func (l *local) command(t *testing.T, stdin string, args ...string) (code int, output string) {
	t.Helper()
	var out bytes.Buffer
	inv := &invocation{stdin: strings.NewReader(stdin), stdout: &out, stderr: &out}
	code = inv.main(t.Context(), append([]string{"-config", filepath.Join(l.dir, "mox.conf")}, args...), func(string) string { return "" })
	return code, out.String()
}

// must is command for one that must succeed.
func (l *local) must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	code, output := l.command(t, stdin, args...)
	if code != exitOK {
		t.Fatalf("mox %s: exit %d, %s", strings.Join(args, " "), code, output)
	}
	return output
}

// conversation is a client's connection of which lines are compared.
type conversation struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

// talk connects to a localserve, over TLS if config is not nil.
func (l *local) talk(t *testing.T, port int, config *tls.Config) *conversation {
	t.Helper()
	conn, err := net.DialTimeout("tcp", l.address(port), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	return &conversation{conn, t, bufio.NewReader(conn)}
}

// want sends a line, unless it is empty, and reads lines until one begins with
// want. It fails for one that is another answer to the line.
func (c *conversation) want(line, want string) {
	c.t.Helper()
	if line != "" {
		if _, err := io.WriteString(c, line+"\r\n"); err != nil {
			c.t.Fatalf("%s: %v", line, err)
		}
	}
	tag, _, _ := strings.Cut(line, " ")
	for {
		got, err := c.in.ReadString('\n')
		if strings.HasPrefix(got, want) {
			return
		}
		if err != nil || strings.HasPrefix(got, tag+" ") && tag != "" || len(got) > 3 && got[0] >= '4' && got[0] <= '5' && got[3] == ' ' {
			c.t.Fatalf("%s: got %q, %v, want %q", line, got, err, want)
		}
	}
}

// wantEnd fails unless the server has closed the connection.
func (c *conversation) wantEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 {
		c.t.Errorf("got %q, %v, want the end", rest, err)
	}
}

// plain64 is the argument of AUTH PLAIN.
func plain64(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// logins returns connections that are logged in, one of each kind.
func (l *local) logins(t *testing.T, user, password string) (imap, submission *conversation) {
	t.Helper()
	imap, submission = l.talk(t, localIMAP, nil), l.talk(t, localSubmission, nil)
	imap.want("", "* OK")
	imap.want("a LOGIN "+user+` "`+password+`"`, "a OK")
	submission.want("", "220 ")
	submission.want("EHLO [127.0.0.1]", "250 ")
	submission.want("AUTH PLAIN "+plain64(user, password), "235 ")
	return imap, submission
}

// ended checks that both were told that they end.
func ended(imap, submission *conversation) {
	imap.t.Helper()
	imap.want("", "* BYE this session was ended by the administrator")
	submission.want("", "421 4.7.0 this session was ended by the administrator")
	imap.wantEnd()
	submission.wantEnd()
}

// TestAccountLife takes an account through its life by commands, while it is in
// use: added, disabled, enabled, with other passwords, removed and added anew.
func TestAccountLife(t *testing.T) {
	t.Parallel()
	l := newLocal(t)
	l.start(t, "-ip", l.ip)
	const user = "anna@localhost"
	l.must(t, "", "config", "account", "add", "anna", user)
	send(t, l.address(localSMTP), user)
	if out := l.must(t, "correct horse\n", "setaccountpassword", "anna"); out != "password of account anna set\n" {
		t.Errorf("setaccountpassword: got %s", out)
	}
	imap, submission := l.logins(t, user, "correct horse")
	imap.want("b SELECT Inbox", "* 1 EXISTS")

	l.must(t, "", "config", "account", "disable", "anna", "see you in spring")
	imap.want("", "b OK")
	ended(imap, submission)
	send(t, l.address(localSMTP), user)
	c := l.talk(t, localIMAP, nil)
	c.want("", "* OK")
	c.want(`a LOGIN `+user+` "correct horse"`, "a NO see you in spring")
	c = l.talk(t, localSubmission, nil)
	c.want("", "220 ")
	c.want("EHLO [127.0.0.1]", "250 ")
	c.want("AUTH PLAIN "+plain64(user, "correct horse"), "525 5.7.13 see you in spring")

	l.must(t, "", "config", "account", "enable", "anna")
	imap, submission = l.logins(t, user, "correct horse")
	l.must(t, "battery staple\n", "setaccountpassword", "anna")
	ended(imap, submission)

	imap, submission = l.logins(t, user, "battery staple")
	imap.want("b SELECT Inbox", "* 2 EXISTS")
	imap.want("", "b OK")
	out := l.must(t, "", "config", "account", "rm", "anna")
	if !strings.HasPrefix(out, "account anna removed\n") {
		t.Errorf("rm: got %s", out)
	}
	ended(imap, submission)
	if _, err := os.Stat(filepath.Join(l.dir, "data", "accounts", "anna")); !os.IsNotExist(err) {
		t.Errorf("its data: %v", err)
	}

	l.must(t, "", "config", "account", "add", "anna", user)
	if code, out := l.command(t, "", "config", "account", "add", "anna", user); code != exitError {
		t.Errorf("added twice: got %d, %s", code, out)
	}
	l.must(t, "correct horse\n", "setaccountpassword", "anna")
	imap, _ = l.logins(t, user, "correct horse")
	imap.want("b SELECT Inbox", "* 0 EXISTS")
	out = l.must(t, "", "status")
	for _, want := range []string{"accounts   2\n", "hostname   localhost\n", "listening  imaps " + l.address(localIMAPS) + " (local)\n", "backup     none was made\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("status has no %q:\n%s", want, out)
		}
	}
	l.stop(t)
}

// TestAccountByEditor adds and removes an account in domains.conf by hand.
func TestAccountByEditor(t *testing.T) {
	t.Parallel()
	l := newLocal(t)
	l.start(t, "-ip", l.ip)
	path := filepath.Join(l.dir, "domains.conf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(more string) {
		t.Helper()
		if err := os.WriteFile(path, append(text[:len(text):len(text)], more...), 0o600); err != nil {
			t.Fatal(err)
		}
		l.must(t, "", "config", "domain", "enable", "localhost") // Takes in what was edited.
	}
	edit("\tbert:\n\t\tDomain: localhost\n\t\tDestinations:\n\t\t\tbert@localhost: nil\n")
	l.eventually(t, "its data is made", func() bool {
		code, _ := l.command(t, "correct horse\n", "setaccountpassword", "bert")
		return code == exitOK
	})
	imap, submission := l.logins(t, "bert@localhost", "correct horse")
	edit("")
	ended(imap, submission)
	want := "warning    account bert is not in domains.conf, but its data is there: put it back, or remove it with: mox config account rm bert\n"
	if out := l.must(t, "", "status"); !strings.Contains(out, want) {
		t.Errorf("status has no %q:\n%s", want, out)
	}
	if code, out := l.command(t, "", "config", "account", "add", "bert", "bert@localhost"); code != exitError || !strings.Contains(out, "is still there") {
		t.Errorf("added anew: got %d, %s", code, out)
	}
	if out := l.must(t, "", "config", "account", "rm", "bert"); out != "data of account bert removed\nits files are being erased\n" {
		t.Errorf("rm: got %s", out)
	}
	l.eventually(t, "all is well", func() bool { return !strings.Contains(l.must(t, "", "status"), "warning") })
	l.stop(t)
}

// eventually waits until ok returns true.
func (l *local) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// TestTLSPublicKeyLife makes a key by command, lets it log in and removes it.
func TestTLSPublicKeyLife(t *testing.T) {
	t.Parallel()
	l := newLocal(t)
	l.start(t, "-ip", l.ip)
	stem := filepath.Join(t.TempDir(), "laptop")
	code, out := l.command(t, "", "config", "tlspubkey", "gen", stem)
	files, err := filepath.Glob(stem + ".*Z.ed25519privatekey-certificate.pem")
	if code != exitOK || err != nil || len(files) != 1 {
		t.Fatalf("gen: got %d, %s, files %v, %v", code, out, files, err)
	}
	both, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(both, both)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true} //nolint:gosec // Of the server nothing is at stake.
	fingerprint := strings.TrimSpace(out[strings.LastIndex(out, ": ")+2:])

	unknown := l.talk(t, localIMAPS, config)
	if line, err := unknown.in.ReadString('\n'); err == nil {
		t.Errorf("a key that is not registered: got %q", line)
	}
	added := l.must(t, string(both), "config", "tlspubkey", "add", "mox@localhost")
	if want := fmt.Sprintf("TLS public key %s added for mox@localhost of account mox\n", fingerprint); added != want {
		t.Errorf("add: got %s, want %s", added, want)
	}
	imap, submission := l.talk(t, localIMAPS, config), l.talk(t, localSubmissions, config)
	imap.want("", "* PREAUTH")
	submission.want("", "220 ")
	submission.want("EHLO [127.0.0.1]", "250 ")
	submission.want("MAIL FROM:<mox@localhost>", "250 ")

	list := l.must(t, "", "config", "tlspubkey", "list", "mox")
	if want := fingerprint + "  ed25519  laptop  mox  mox@localhost\n"; list != want {
		t.Errorf("list: got %q, want %q", list, want)
	}
	pem := string(both[strings.Index(string(both), "-----BEGIN CERTIFICATE"):])
	if got := l.must(t, "", "config", "tlspubkey", "get", "--", fingerprint); !strings.HasSuffix(got, "\n\n"+pem) || !strings.Contains(got, "IMAP preauth  true\n") {
		t.Errorf("get: got %s", got)
	}
	if code, out := l.command(t, string(both), "config", "tlspubkey", "add", "mox@localhost"); code != exitError || out != "mox: this key is registered already\n" {
		t.Errorf("add again: got %d, %s", code, out)
	}
	l.must(t, "", "config", "tlspubkey", "rm", "--", fingerprint)
	ended(imap, submission)
	l.must(t, string(both), "config", "tlspubkey", "add", "-no-imap-preauth", "mox@localhost", "my laptop")
	imap = l.talk(t, localIMAPS, config)
	imap.want("", "* OK")
	imap.want("a AUTHENTICATE EXTERNAL =", "a OK")
	l.stop(t)
}

// TestTLSPubkeyGen shows the files, and that none is overwritten.
func TestTLSPubkeyGen(t *testing.T) {
	t.Parallel()
	k, err := newLoginKey("x", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stem := filepath.Join(t.TempDir(), "x.now")
	names, err := k.write(stem)
	if err != nil || len(names) != 3 {
		t.Fatalf("got %v, %v", names, err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 && info.Mode().Perm() != 0o666 {
			t.Errorf("%s: got %v, %v", name, info, err)
		}
	}
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := k.write(stem); !errors.Is(err, os.ErrExist) {
		t.Errorf("where a file is: got %v", err)
	}
	if _, err := os.Stat(names[0]); !os.IsNotExist(err) {
		t.Errorf("a part was left: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":           "",
		"a private key":     string(k.private),
		"two certificates":  string(k.certificate) + string(k.certificate),
		"more than is read": strings.Repeat("x", certificateInputMax) + string(k.certificate),
	} {
		if got, err := readCertificate(strings.NewReader(text)); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got, err := readCertificate(strings.NewReader("about it\n" + string(k.private) + string(k.certificate))); err != nil || got != string(k.certificate) {
		t.Errorf("both: got %q, %v", got, err)
	}
}

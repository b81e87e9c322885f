package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

func TestParseSendmail(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args string // "''" is an empty one.
		want sendmailFlags
		err  string
	}{
		{"a recipient", "a@x.org", sendmailFlags{to: []string{"a@x.org"}}, ""},
		{"several", "a@x.org b@x.org root", sendmailFlags{to: []string{"a@x.org", "b@x.org", "root"}}, ""},
		{"from the header", "-t", sendmailFlags{fromHeader: true}, ""},
		{"both", "-t a@x.org", sendmailFlags{fromHeader: true, to: []string{"a@x.org"}}, ""},
		{"as cron does", "-FCronDaemon -i -odi -oem -oi -t -f root", sendmailFlags{fromHeader: true, dots: true, name: "CronDaemon"}, ""},
		{"flags in one", "-tiv", sendmailFlags{fromHeader: true, dots: true, verbose: true}, ""},
		{"a value behind flags in one", "-tiFName", sendmailFlags{fromHeader: true, dots: true, name: "Name"}, ""},
		{"-oi", "-oi a", sendmailFlags{dots: true, to: []string{"a"}}, ""},
		{"-o i", "-o i a", sendmailFlags{dots: true, to: []string{"a"}}, ""},
		{"values that are no recipients", "-f b@x.org -r c@x.org -O x=y -B 8BITMIME -L x -X log a", sendmailFlags{to: []string{"a"}}, ""},
		{"the null sender", "-f '' a", sendmailFlags{nullSender: true, to: []string{"a"}}, ""},
		{"the null sender in brackets", "-r<> a", sendmailFlags{nullSender: true, to: []string{"a"}}, ""},
		{"flags behind recipients", "a -i", sendmailFlags{dots: true, to: []string{"a"}}, ""},
		{"the end of flags", "-i -- -t", sendmailFlags{dots: true, to: []string{"-t"}}, ""},
		{"a configuration", "-C x.conf a", sendmailFlags{config: "x.conf", to: []string{"a"}}, ""},
		{"flags nobody knows", "-zZG a", sendmailFlags{to: []string{"a"}}, ""},
		{"debugging", "-d0-99.1 a", sendmailFlags{to: []string{"a"}}, ""},
		{"-bm", "-bm a", sendmailFlags{to: []string{"a"}}, ""},
		{"the queue", "-q30m", sendmailFlags{nothing: true}, ""},
		{"the queue, listed", "-bp", sendmailFlags{other: true, queue: true}, ""},
		{"aliases, made", "-bi", sendmailFlags{other: true}, ""},
		{"aliases", "-I", sendmailFlags{nothing: true}, ""},

		{"notifications", "-N delay,Success -R hdrs -Vid+1 a", sendmailFlags{notify: "SUCCESS,DELAY", dsn: smtp.MailDSN{Return: "HDRS", EnvelopeID: "id+1"}, to: []string{"a"}}, ""},
		{"no notifications", "-Nnever -RFULL a", sendmailFlags{notify: smtp.NotifyNever, dsn: smtp.MailDSN{Return: "FULL"}, to: []string{"a"}}, ""},
		{"notifications of something else", "-N read a", sendmailFlags{}, `-N can't have the value "read"`},
		{"notifications never and sometimes", "-N never,delay a", sendmailFlags{}, `-N can't have the value "never,delay"`},
		{"a part of the message", "-R body a", sendmailFlags{}, `-R can't have the value "body"`},
		{"an id beyond ASCII", "-V ü a", sendmailFlags{}, `-V can't have the value "ü"`},
		{"no id", "-V '' a", sendmailFlags{}, `-V can't have the value ""`},
		{"the longest id", "-V " + strings.Repeat("x", 100) + " a", sendmailFlags{dsn: smtp.MailDSN{EnvelopeID: strings.Repeat("x", 100)}, to: []string{"a"}}, ""},
		{"an id that is too long", "-V " + strings.Repeat("x", 101) + " a", sendmailFlags{}, `-V can't have the value "` + strings.Repeat("x", 101) + `"`},

		{"nothing", "", sendmailFlags{}, "no recipients, and no -t"},
		{"flags only", "-i", sendmailFlags{}, "no recipients, and no -t"},
		{"SMTP on standard input", "-bs", sendmailFlags{}, "-bs is not possible: this program only submits messages"},
		{"a daemon", "-bd -q1h", sendmailFlags{}, "-bd is not possible: this program only submits messages"},
		{"no value", "a -f", sendmailFlags{}, "-f needs a value"},
	} {
		args := strings.Fields(tc.args)
		for i, arg := range args {
			args[i] = strings.ReplaceAll(arg, "''", "")
		}
		got, err := parseSendmail(args)
		if text := fmt.Sprint(err); !reflect.DeepEqual(got, tc.want) || (err != nil) != (tc.err != "") || err != nil && text != tc.err {
			t.Errorf("%s: got %+v, %v, want %+v, %s", tc.name, got, err, tc.want, tc.err)
		}
		if _, ok := errors.AsType[*usageError](err); err != nil && !ok {
			t.Errorf("%s: got %T", tc.name, err)
		}
	}
}

func TestCommandArgs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, argv string
		setgid     bool
		want       string
		refused    bool
	}{
		{"as mox", "mox version", false, "version", false},
		{"as mox with a path", "/usr/bin/mox sendmail x", false, "sendmail x", false},
		{"as sendmail", "sendmail -t", false, "sendmail -t", false},
		{"as sendmail with a path", "/usr/sbin/sendmail serve", false, "sendmail serve", false},
		{"as sendmail with another group", "/usr/sbin/sendmail -config x", true, "sendmail -config x", false},
		{"as mox with another group, sendmail", "mox sendmail -t", true, "sendmail -t", false},
		{"as mox with another group", "mox config test", true, "", true},
		{"as mox with another group and flags", "mox -cpuprof x sendmail", true, "", true},
		{"as mox with another group and nothing", "mox", true, "", true},
	} {
		args, err := commandArgs(strings.Fields(tc.argv), tc.setgid)
		if strings.Join(args, " ") != tc.want || errors.Is(err, errSetgid) != tc.refused {
			t.Errorf("%s: got %q, %v", tc.name, args, err)
		}
	}
	if args, err := commandArgs(nil, false); len(args) > 0 || err != nil {
		t.Errorf("no arguments at all: got %q, %v", args, err)
	}
}

func TestReadSendmail(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, tc := range []struct {
		name, in string
		dots     bool
		want     string
	}{
		{"to the end", "a\nb\n", false, "a\nb\n"},
		{"to a dot", "a\n.\nb\n", false, "a\n"},
		{"to a dot with CRLF", "a\r\n.\r\nb\r\n", false, "a\r\n"},
		{"to a dot at the end", "a\n.", false, "a\n"},
		{"a dot first", ".\na\n", false, ""},
		{"dots that are none", "..\n. \n.a\n", false, "..\n. \n.a\n"},
		{"beyond a dot", "a\n.\nb\n.", true, "a\n.\nb\n."},
		{"long lines", long + "\n.\nx", false, long + "\n"},
		{"a dot at the end of a long line", long + ".\n", false, long + ".\n"},
		{"nothing", "", false, ""},
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(tc.in), "by the byte": iotest.OneByteReader(strings.NewReader(tc.in))} {
			if got, err := readSendmail(r, tc.dots); err != nil || string(got) != tc.want {
				t.Errorf("%s, %s: got %q, %v", tc.name, name, got, err)
			}
		}
	}
	if _, err := readSendmail(iotest.ErrReader(errors.New("broken")), false); err == nil {
		t.Error("no error for a reader that is broken")
	}
	if _, err := readSendmail(&io.LimitedReader{R: endless{}, N: sendmailSizeMax + 1}, true); !errors.Is(err, errSendmailSize) {
		t.Errorf("a message that is too large: got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSendmailLogins submits in all ways to connect and log in.
func TestSendmailLogins(t *testing.T) {
	t.Parallel()
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	public, err := x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(seed).Public())
	if err != nil {
		t.Fatal(err)
	}
	shown := "EXTERNAL " + base64.StdEncoding.EncodeToString(public)
	pemFile := filepath.Join(t.TempDir(), "cert.pem")
	writeSubmitPEM(t, pemFile, seed)
	for _, tc := range []struct {
		name      string
		immediate bool
		change    func(*config.Submit)
		want      string
	}{
		{"TLS", true, func(*config.Submit) {}, "SCRAM-SHA-256-PLUS"},
		{"STARTTLS", false, func(s *config.Submit) { s.TLS, s.STARTTLS = false, true }, "SCRAM-SHA-256-PLUS"},
		{"plain text", false, func(s *config.Submit) { s.TLS = false }, "SCRAM-SHA-256"},
		{"a password in plain text", false, func(s *config.Submit) { s.TLS, s.AuthMethod = false, "PLAIN" }, "PLAIN"},
		{"PLAIN", true, func(s *config.Submit) { s.AuthMethod = "PLAIN" }, "PLAIN"},
		{"a key", true, func(s *config.Submit) {
			s.Password, s.ClientAuthEd25519PrivateKey = "", base64.RawURLEncoding.EncodeToString(seed)
		}, shown},
		{"a certificate", true, func(s *config.Submit) { s.Password, s.ClientAuthCertPrivateKeyPEMFile = "", pemFile }, shown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newSubmitServer(t, tc.immediate)
			h := newSender(t, b, tc.change)
			h.sent("Subject: x\n\nhi\n", "a@example.org")
			messages, logins := b.take()
			if len(messages) != 1 || !slices.Equal(logins, []string{tc.want}) {
				t.Errorf("got %+v, login %q, want %q", messages, logins, tc.want)
			}
		})
	}
}

// writeSubmitPEM writes a certificate with its key.
func writeSubmitPEM(t *testing.T, path string, seed []byte) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(seed)
	cert, err := composeCertificate(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSendmailRecipients shows who gets what.
func TestSendmailRecipients(t *testing.T) {
	t.Parallel()
	b := newSubmitServer(t, true)
	h := newSender(t, b, func(*config.Submit) {})
	for _, tc := range []struct {
		name, text string
		args       []string
		from       string
		to         string
	}{
		{"one", "Subject: x\n\nhi\n", []string{"a@example.org"}, "user@example.org", "a@example.org"},
		{"several, one of them twice", "\nhi\n", []string{"a@example.org", "b@example.org", "a@example.org"}, "user@example.org", "a@example.org b@example.org"},
		{"a list", "\nhi\n", []string{"Anna <a@example.org>, b@example.org"}, "user@example.org", "a@example.org b@example.org"},
		{"a local user", "\nhi\n", []string{"root"}, "user@example.org", "admin@example.org"},
		{"from the header", "To: a@example.org, root\nCc: Group: b@example.org;\nBcc: c@example.org\n\nhi\n", []string{"-t"}, "user@example.org", "a@example.org admin@example.org b@example.org c@example.org"},
		{"from both", "To: a@example.org\n\nhi\n", []string{"-t", "b@example.org"}, "user@example.org", "b@example.org a@example.org"},
		{"sent again", "Resent-To: b@example.org\nTo: a@example.org\n\nhi\n", []string{"-t"}, "user@example.org", "b@example.org"},
		{"without a sender", "\nhi\n", []string{"-f", "", "a@example.org"}, "", "a@example.org"},
		{"a sender that is not ours", "\nhi\n", []string{"-f", "root@host", "a@example.org"}, "user@example.org", "a@example.org"},
	} {
		h.sent(tc.text, tc.args...)
		messages, _ := b.take()
		if len(messages) != 1 || messages[0].from != tc.from || strings.Join(messages[0].to, " ") != tc.to {
			t.Errorf("%s: got %+v", tc.name, messages)
		}
	}

	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("r%d@example.org", i))
	}
	h.sent("\nhi\n", many...)
	messages, _ := b.take()
	var to []string
	for _, m := range messages {
		to = append(to, m.to...)
		if m.text != messages[0].text {
			t.Errorf("got another text for %q", m.to)
		}
	}
	if len(messages) != 3 || !slices.Equal(to, many) {
		t.Errorf("many recipients: got %d messages to %q", len(messages), to)
	}
}

// TestSendmailFailures shows what is kept of messages that can't be sent.
func TestSendmailFailures(t *testing.T) {
	t.Parallel()
	b := newSubmitServer(t, true)
	h := newSender(t, b, func(*config.Submit) {})

	// One of three.
	kept := h.notSent("nobody@example.org: RCPT: 550 5.1.1 no such user", "Subject: x\n\nhi\n", "a@example.org", "nobody@example.org", "b@example.org")
	if messages, _ := b.take(); len(messages) != 1 || len(messages[0].to) != 2 {
		t.Errorf("got %+v", messages)
	}
	head, rest, _ := strings.Cut(kept, "From: <user@example.org>\n")
	if why := message.NewHeader([]byte(kept)).Get("X-Moxsubmit-Error"); !strings.Contains(why, "550 5.1.1 no such user") || !strings.HasSuffix(head, "X-Moxsubmit-Recipients: nobody@example.org\n") || !strings.HasSuffix(rest, "Subject: x\n\nhi\n") || strings.Contains(kept, "\r") {
		t.Errorf("kept %q", kept)
	}
	// What was kept can be sent, and has nothing of the failure then.
	h.sent(kept, "-i", "a@example.org")
	if messages, _ := b.take(); len(messages) != 1 || strings.Contains(messages[0].text, "Moxsubmit") || !strings.HasSuffix(messages[0].text, "Subject: x\r\n\r\nhi\r\n") {
		t.Errorf("got %+v", messages)
	}

	for _, tc := range []struct {
		name, reason, text string
		args               []string
		recipients         string // As kept, empty for no field.
	}{
		{"refused as a whole", "a@example.org: DATA: 554 5.7.1 spam\nb@example.org: DATA: 554 5.7.1 spam", "\nspam\n", []string{"a@example.org", "b@example.org"}, "a@example.org, b@example.org"},
		{"no recipients in the header", "no recipients", "To: undisclosed:;\n\nhi\n", []string{"-t"}, ""},
		{"a recipient that is none", `recipient "a@b..org"`, "\nhi\n", []string{"a@b..org"}, "a@b..org"},
		{"an empty recipient", `"" is not a recipient`, "\nhi\n", []string{""}, ""},
		{"a name without address", `recipient "Anna Ö" has no address`, "To: Anna Ö\n\nhi\n", []string{"-t"}, ""},
		{"a header line that is too long", "X-Long has a line of more than 998 bytes", "X-Long: " + strings.Repeat("x", 991) + "\n\nhi\n", []string{"a@example.org"}, "a@example.org"},
		{"a line that can't be encoded", "could be encoded", "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("x", 999) + "\n", []string{"a@example.org"}, "a@example.org"},
	} {
		kept := h.notSent(tc.reason, tc.text, tc.args...)
		field := "X-Moxsubmit-Recipients: " + tc.recipients + "\n"
		if !strings.HasPrefix(kept, "X-Moxsubmit-Error: ") || strings.Contains(kept, field) != (tc.recipients != "") || !strings.HasSuffix(kept, strings.TrimPrefix(tc.text, "\n")) {
			t.Errorf("%s: kept %q", tc.name, kept)
		}
	}
	if messages, _ := b.take(); len(messages) > 0 {
		t.Errorf("got %+v", messages)
	}
}

// TestSendmailNoServer shows what happens without configuration or server.
func TestSendmailNoServer(t *testing.T) {
	t.Parallel()
	b := newSubmitServer(t, true)
	h := newSender(t, b, func(s *config.Submit) { s.Password = "wrong" })
	h.notSent("AUTH: 454", "\nhi\n", "a@example.org")

	bs := newSubmitServer(t, false)
	h = newSender(t, bs, func(s *config.Submit) { s.TLS, s.STARTTLS = false, true })
	h.env.roots = x509.NewCertPool()
	h.notSent("certificate signed by unknown authority", "\nhi\n", "a@example.org")

	h = newSender(t, bs, func(s *config.Submit) { s.TLS, s.STARTTLS, s.TLSInsecureSkipVerify = false, true, true })
	h.env.roots = x509.NewCertPool()
	h.sent("\nhi\n", "a@example.org")

	h = newSender(t, b, func(s *config.Submit) { s.AuthMethod = "CRAM-MD5" })
	h.notSent("no common mechanism", "\nhi\n", "a@example.org")

	h = newSender(t, b, func(s *config.Submit) { s.Password, s.ClientAuthCertPrivateKeyPEMFile = "", "none.pem" })
	h.notSent("client certificate: ", "\nhi\n", "a@example.org")

	h = newSender(t, b, func(s *config.Submit) { s.Port = int64(unusedPort(t)) })
	h.notSent("submitting to 127.0.0.1: ", "\nhi\n", "a@example.org")

	h = newSender(t, b, func(*config.Submit) {})
	if err := os.WriteFile(h.env.config, []byte("Nope: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.notSent("moxsubmit.conf:1: Nope: unknown setting", "\nhi\n", "a@example.org")
	h.env.config += ".none"
	h.notSent("reading configuration: ", "\nhi\n", "a@example.org")

	// Without DefaultDestination there is nobody to get mail for local users.
	h = newSender(t, b, func(s *config.Submit) { s.DefaultDestination = "" })
	h.notSent("there is no DefaultDestination", "\nhi\n", "root")

	// Nowhere to keep it.
	h = newSender(t, b, func(s *config.Submit) { s.Password = "wrong" })
	h.env.home = filepath.Join(h.env.config, "x")
	if code, _, stderr := h.run("\nhi\n", "a@example.org"); code != 1 || !strings.Contains(stderr, "the message is lost: ") {
		t.Errorf("nowhere to keep it: got %d, %s", code, stderr)
	}
	if messages, _ := b.take(); len(messages) > 0 {
		t.Errorf("got %+v", messages)
	}
}

// unusedPort returns a port that nobody listens on.
func unusedPort(t *testing.T) int {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return ln.Addr().(*net.TCPAddr).Port
}

// TestSendmailRequireTLS shows both ways to say how much TLS matters.
func TestSendmailRequireTLS(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		value              string
		requireTLS, header bool
	}{{"yes", true, false}, {"no", false, true}, {"", false, true}} {
		b := newSubmitServer(t, true)
		h := newSender(t, b, func(s *config.Submit) { s.RequireTLS = tc.value })
		h.sent("TLS-Required: No\n\nhi\n", "a@example.org")
		messages, _ := b.take()
		if len(messages) != 1 || messages[0].requireTLS != tc.requireTLS || strings.Count(messages[0].text, "TLS-Required: No\r\n") != map[bool]int{true: 1}[tc.header] {
			t.Errorf("RequireTLS %q: got %+v", tc.value, messages)
		}
	}
}

// TestSendmailNotify checks that what is asked for about notifications gets to a
// server that has DSN.
func TestSendmailNotify(t *testing.T) {
	t.Parallel()
	b := newSubmitServer(t, true)
	h := newSender(t, b, func(*config.Submit) {})
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "  []"},
		{"all", []string{"-N", "success,failure", "-R", "full", "-V", "my id=1"}, "FULL my id=1 [SUCCESS FAILURE]"},
		{"never", []string{"-N", "never"}, "  [NEVER]"},
	} {
		h.sent("hi\n", append(tc.args, "a@example.org")...)
		if messages, _ := b.take(); len(messages) != 1 || messages[0].asked != tc.want {
			t.Errorf("%s: got %+v, want %q", tc.name, messages, tc.want)
		}
	}
}

// TestSendmailUsage shows what is refused before a message is read, and what there
// is nothing to do for.
func TestSendmailUsage(t *testing.T) {
	t.Parallel()
	b := newSubmitServer(t, true)
	h := newSender(t, b, func(*config.Submit) {})
	for _, args := range []string{"", "-bs", "-i", "-f"} {
		code, _, stderr := h.run("\nhi\n", strings.Fields(args)...)
		if code != 2 || !strings.Contains(stderr, "usage: mox sendmail ") {
			t.Errorf("%q: got %d, %q", args, code, stderr)
		}
	}
	for _, args := range []string{"-q", "-bi", "-I", "-bi a@example.org"} {
		h.sent("\nhi\n", strings.Fields(args)...)
	}
	if code, stdout, stderr := h.run("\nhi\n", "-bp", "a@example.org"); code != 0 || stdout != "Mail queue is empty\n" || stderr != "" {
		t.Errorf("-bp: got %d, %q, %q", code, stdout, stderr)
	}
	h.env.setgid = true
	if code, _, stderr := h.run("\nhi\n", "-C", h.env.config, "a@example.org"); code != 2 || !strings.Contains(stderr, "-C is not possible") {
		t.Errorf("-C with the rights of another group: got %d, %q", code, stderr)
	}
	if messages, _ := b.take(); len(messages) > 0 || len(h.failed()) > 0 {
		t.Errorf("got %+v", messages)
	}
}

// TestSendmailProgram runs the program by the name of sendmail.
func TestSendmailProgram(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs symbolic links")
	}
	b := newSubmitServer(t, true)
	h := newSender(t, b, func(s *config.Submit) { s.TLSInsecureSkipVerify = true })
	link := filepath.Join(t.TempDir(), "sendmail")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		code int
		want string // In what is printed.
	}{
		{"-v a@example.org", 0, ">>> RCPT TO:<a@example.org>"},
		{"nobody@example.org", 1, "the message is kept in " + h.home},
		{"-version", 2, "usage: mox sendmail "},
	} {
		cmd := exec.CommandContext(t.Context(), link, append([]string{"-C", h.env.config}, strings.Fields(tc.args)...)...)
		cmd.Env = append(os.Environ(), asProgram+"=1", "HOME="+h.home)
		cmd.Stdin = strings.NewReader("Subject: x\n\nhi\n")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != tc.code || !strings.Contains(string(out), tc.want) || strings.Contains(string(out), "c2VjcmV0") {
			t.Errorf("sendmail %s: got %v, %s", tc.args, err, out)
		}
	}
	if messages, _ := b.take(); len(messages) != 1 || len(h.failed()) != 1 {
		t.Errorf("got %+v", messages)
	}
}

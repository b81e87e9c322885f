package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/admin"
)

// Addresses of others that mail goes through.
const (
	socksIP  = "127.0.0.7" // The proxy's.
	socksOut = "127.0.0.8" // From which its connections come.
	sinkOnly = "127.0.0.9" // A sink that takes anything.
)

// relayPassword is that of users at Postfix.
const relayPassword = "staple battery"

// relayMaster is more of master.cf: services for users, who are asked about at
// Dovecot. Nobody else is let in.
const relayMaster = postfixIP + `:587 inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
` + relayOptions + postfixIP + `:465 inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
` + relayOptions + postfixIP + `:2525 inet n - n - - smtpd
  -o smtpd_tls_security_level=none
` + relayOptions + plainIP + `:587 inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
` + relayOptions + brokenTLSIP + `:587 inet n - n - - smtpd
  -o smtpd_tls_security_level=none
` + relayOptions

const relayOptions = `  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_type=dovecot
  -o smtpd_sasl_path=DIR/auth
  -o smtpd_sasl_authenticated_header=yes
  -o smtpd_sasl_security_options=noanonymous
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
`

// relayDovecot is dovecot.conf of a Dovecot that knows users for Postfix and does
// nothing else. Those of other names log in by other mechanisms.
const relayDovecot = `base_dir = DIR/run
log_path = DIR/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
passdb {
  driver = passwd-file
  args = DIR/users
}
service auth {
  unix_listener POSTFIX/auth {
    mode = 0666
  }
}
`

// transports is more of mox.conf.
const transports = `TLS:
	CA:
		CertFiles:
			- relays.pem
Transports:
	submission:
		Submission:
			Host: mx.postfix.test
			Auth:
				Username: user
				Password: ` + relayPassword + `
	submissions:
		Submissions:
			Host: mx.postfix.test
			Auth:
				Username: user
				Password: ` + relayPassword + `
				Mechanisms:
					- SCRAM-SHA-1-PLUS
					- SCRAM-SHA-1
	plain:
		SMTP:
			Host: 127.0.0.2
			Port: 2525
			NoSTARTTLS: true
			Auth:
				Username: user
				Password: ` + relayPassword + `
				Mechanisms:
					- CRAM-MD5
	shown:
		Submission:
			Host: mx.postfix.test
			Auth:
				Username: user
				Password: ` + relayPassword + `
				Mechanisms:
					- PLAIN
	unverified:
		Submission:
			Host: mx.plain.test
			STARTTLSInsecureSkipVerify: true
			Auth:
				Username: user
				Password: ` + relayPassword + `
	wrong:
		Submission:
			Host: mx.postfix.test
			Auth:
				Username: user
				Password: not the battery
	anonymous:
		Submission:
			Host: mx.postfix.test
	othername:
		Submission:
			Host: mx.plain.test
	notls:
		Submission:
			Host: mx.brokentls.test
	bound:
		Submissions:
			Host: mox.test
			Auth:
				Username: alice@mox.test
				Password: ` + password + `
	boundonly:
		Submission:
			Host: mox.test
			Auth:
				Username: alice@mox.test
				Password: ` + password + `
				Mechanisms:
					- SCRAM-SHA-1-PLUS
	boundwrong:
		Submissions:
			Host: mox.test
			Auth:
				Username: alice@mox.test
				Password: not mine
	sink:
		SMTP:
			Host: ` + sinkOnly + `
			NoSTARTTLS: true
	proxy:
		Socks:
			Address: ` + socksIP + `:1080
			RemoteIPs:
				- ` + socksOut + `
			RemoteHostname: proxy.test
	noproxy:
		Socks:
			Address: ` + deadIP + `:1080
			RemoteIPs:
				- ` + socksOut + `
			RemoteHostname: proxy.test
	later:
		Fail:
			SMTPCode: 450
			SMTPMessage: not yet
	never:
		Fail:
			SMTPMessage: not from here
`

// TestTransports sends through others: a Postfix that asks Dovecot who may, a sink, a
// proxy, and a server of ours.
func TestTransports(t *testing.T) { inNetwork(t, testTransports) }

func testTransports(t *testing.T, dir string) {
	w, p := newWorld(t, dir, nil), newPostfix(t, dir)
	p.addRelay(t)
	startDovecotAuth(t, dir, p)
	p.start(t)
	startMicrosocks(t)
	sunk := startSMTPSink(t, dir)
	w.useTransports(t, p)

	r := &relaying{world: w, postfix: p}
	t.Run("transports", func(t *testing.T) {
		for _, test := range []struct{ name, with, login, tls string }{
			{"submission", "with ESMTPSA id", "SCRAM-SHA-256", "pkix"},
			{"submissions", "with ESMTPSA id", "SCRAM-SHA-1", "pkix"},
			{"shown", "with ESMTPSA id", "PLAIN", "pkix"},
			{"unverified", "with ESMTPSA id", "SCRAM-SHA-256", "unverified"},
			{"plain", "with ESMTPA id", "CRAM-MD5", "none"},
			{"proxy", "from proxy.test (unknown [" + socksOut + "])", "", "unverified"},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				r.sent(t, test.name, test.with, test.login, test.tls)
			})
		}
		for _, test := range []struct{ name, status, text string }{
			{"wrong", "4.3.5", "mx.postfix.test, which takes mail for this server, doesn't let it log in"},
			{"othername", "4.7.5", "mx.plain.test has a certificate that is not good: it has another name"},
			{"notls", "4.7.5", "no TLS with mx.brokentls.test"},
			{"noproxy", "4.3.0", "trouble at the sending server"},
			{"later", "4.7.1", "not yet"},
			{"boundwrong", "4.3.5", "mox.test, which takes mail for this server, doesn't let it log in"},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				r.waits(t, test.name, test.status, test.text)
			})
		}
		t.Run("refused", r.testRefused)
		t.Run("never", r.testNever)
		t.Run("bound", func(t *testing.T) { r.testBound(t, "bound", "SCRAM-SHA-256-PLUS") })
		t.Run("bound with SHA-1", func(t *testing.T) { r.testBound(t, "boundonly", "SCRAM-SHA-1-PLUS") })
		t.Run("sink", func(t *testing.T) { r.testSink(t, sunk) })
		t.Run("by route", r.testByRoute)
	})
	log := w.log(t)
	for _, secret := range []string{"staple", "battery", "not mine"} {
		if strings.Contains(log, secret) || strings.Contains(fmt.Sprint(w.queued(t, "")), secret) {
			t.Errorf("the password %q is in the log, or in the queue", secret)
		}
	}
}

// relaying is a world with a Postfix that sends on.
type relaying struct {
	*world
	postfix *postfix
}

// addRelay adds services for users, and domains for the transports.
func (p *postfix) addRelay(t *testing.T) {
	t.Helper()
	etc := filepath.Join(p.dir, "etc")
	text, err := os.ReadFile(filepath.Join(etc, "main.cf"))
	if err != nil {
		t.Fatal(err)
	}
	main := strings.NewReplacer(
		"virtual_mailbox_domains = ", "virtual_mailbox_domains = regexp:"+etc+"/routes, ", "virtual_mailbox_maps = ", "virtual_mailbox_maps = regexp:"+etc+"/routes, ",
	).Replace(string(text))
	master, err := os.ReadFile(filepath.Join(etc, "master.cf"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"main.cf": main, "master.cf": string(master) + strings.ReplaceAll(relayMaster, "DIR", p.dir), "routes": "/[.]route[.]test$/ all/\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// startDovecotAuth starts a Dovecot that knows the users of a Postfix.
func startDovecotAuth(t *testing.T, dir string, p *postfix) {
	t.Helper()
	dir = filepath.Join(dir, "auth")
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "dovecot.conf")
	for path, text := range map[string]string{
		conf:                        strings.NewReplacer("DIR", dir, "POSTFIX", p.dir).Replace(relayDovecot),
		filepath.Join(dir, "users"): "user:{PLAIN}" + relayPassword + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, exec.Command(sbin(t, "dovecot"), "-F", "-c", conf))
	if !eventually(func() bool { _, err := os.Stat(filepath.Join(p.dir, "auth")); return err == nil }) {
		text, err := os.ReadFile(filepath.Join(dir, "dovecot.log"))
		t.Fatalf("Dovecot does not start: %v\n%s", err, text)
	}
}

// run runs a program until the test ends.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // It may be gone: then the test has failed.
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", cmd.Path, out.String())
		}
	})
}

// startMicrosocks starts a proxy.
func startMicrosocks(t *testing.T) {
	t.Helper()
	run(t, exec.Command(sbin(t, "microsocks"), "-i", socksIP, "-p", "1080", "-b", socksOut))
	waitListens(t, socksIP+":1080")
}

func waitListens(t *testing.T, address string) {
	t.Helper()
	listens := func() bool {
		conn, err := net.DialTimeout("tcp", address, patience)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	if !eventually(listens) {
		t.Fatalf("nobody listens at %s", address)
	}
}

// startSMTPSink starts Postfix's sink, and returns the directory where it has each
// message in a file.
func startSMTPSink(t *testing.T, dir string) string {
	t.Helper()
	dir = filepath.Join(dir, "sunk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // Port 25 needs root, which it then is no more.
		t.Fatal(err)
	}
	cmd := exec.Command(sbin(t, "smtp-sink"), "-u", "postfix", "-d", "%M.", sinkOnly+":25", "10")
	cmd.Dir = dir
	run(t, cmd)
	waitListens(t, sinkOnly+":25")
	return dir
}

// useTransports starts the server again with transports. Mail for each domain with
// the name of one goes that way.
func (w *world) useTransports(t *testing.T, p *postfix) {
	t.Helper()
	w.stop(t)
	var authorities []byte
	for _, path := range []string{filepath.Join(p.dir, "etc", "mx.postfix.test.crt"), filepath.Join(w.dir, "mox.test.crt")} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		authorities = append(authorities, text...)
	}
	routes := "Routes:\n"
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+):$`).FindAllStringSubmatch(strings.SplitN(transports, "Transports:", 2)[1], -1) {
		if !strings.HasPrefix(m[1], "bound") || m[1] == "boundwrong" {
			routes += "\t-\n\t\tToDomain:\n\t\t\t- ." + m[1] + ".route.test\n\t\tTransport: " + m[1] + "\n"
		}
	}
	routes += "\t-\n\t\tToDomain:\n\t\t\t- aonly.test\n\t\tMinimumAttempts: 1\n\t\tTransport: submission\n"
	routes += "\t-\n\t\tToDomain:\n\t\t\t- plain.test\n\t\t\t- aonly.test\n\t\tFromDomain:\n\t\t\t- mox.test\n\t\tTransport: later\n"
	for name, text := range map[string]string{"relays.pem": string(authorities), "mox.conf": worldConfig + transports, "domains.conf": worldDomains + routes} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"wrong", "othername", "notls", "noproxy", "boundwrong"} {
		w.logOK = append(w.logOK, regexp.MustCompile(`m=delivery .*result=delayed .*transport=`+name+` `))
	}
	w.serve(t, nil)
}

// sent sends a message by the route of a transport, to an address that Postfix knows.
func (r *relaying) sent(t *testing.T, transport, with, login, tls string) {
	t.Helper()
	to := transport + "@known." + transport + ".route.test"
	msg := newMail(address("alice"), transport, oddBody)
	r.submit(t, "alice", gosmtp.MailOptions{}, msg, to)
	before := r.postfix.wantWhole(t, to, transport, msg)
	r.gone(t, to)
	if !strings.Contains(before, with) || login != "" && !strings.Contains(before, "(Authenticated sender: user)") {
		t.Errorf("got %q before the message, want %q there", before, with)
	}
	delivered := regexp.MustCompile(`m=delivery .*result=delivered .*rcptto=` + regexp.QuoteMeta(to) + ` .*transport=` + transport + ` .*tls=` + tls + ` `)
	if log := r.log(t); len(delivered.FindAllString(log, -1)) != 1 {
		t.Errorf("no line in the log for %s", delivered)
	}
	if login != "" && !strings.Contains(r.postfix.log(), "sasl_method="+login+", sasl_username=user") {
		t.Errorf("nobody has logged in at Postfix by %s", login)
	}
}

// waits sends a message that has to wait, and wants a result.
func (r *relaying) waits(t *testing.T, transport, status, text string) {
	t.Helper()
	to := transport + "@known." + transport + ".route.test"
	r.submit(t, "alice", gosmtp.MailOptions{}, newMail(address("alice"), transport, "Hello.\r\n"), to)
	if a := r.waiting(t, to, 1); a.Permanent || a.Enhanced != status || a.Error != text || a.Transport != transport {
		t.Errorf("got %+v, want %s %s", a, status, text)
	}
	if got := r.postfix.messages(t, to, ""); len(got) != 0 {
		t.Errorf("Postfix has %d messages", len(got))
	}
}

// testRefused sends without the login that Postfix wants. It refuses recipients, for
// good: that is what it says of each message.
func (r *relaying) testRefused(t *testing.T) {
	t.Parallel()
	const to = "anonymous@known.anonymous.route.test"
	r.submit(t, "alice", gosmtp.MailOptions{}, newMail(address("alice"), "anonymous", "Hello.\r\n"), to)
	r.gone(t, to)
	r.wantFailed(t, "alice", "anonymous", to, "5.7.1")
}

func (r *relaying) testNever(t *testing.T) {
	t.Parallel()
	const to = "never@known.never.route.test"
	r.submit(t, "alice", gosmtp.MailOptions{}, newMail(address("alice"), "never", "Hello.\r\n"), to)
	r.gone(t, to)
	if got := r.wantFailed(t, "alice", "never", to, "5.7.1"); !strings.Contains(got.Text, "not from here") {
		t.Errorf("got %+v", got)
	}
}

// choose lets what waits for a recipient go by a transport at once.
func (r *relaying) choose(t *testing.T, to, transport string) {
	t.Helper()
	changed, err := r.admin.QueueTransport(t.Context(), admin.QueueTransportRequest{Filter: admin.QueueFilter{To: to}, Transport: transport})
	if err != nil || changed.Changed != 1 {
		t.Fatalf("choosing a transport: %+v, %v", changed, err)
	}
	r.retry(t, to)
}

// testBound has the server log in at itself, with channel binding. What it submits
// there waits, and then goes to Postfix.
func (r *relaying) testBound(t *testing.T, transport, mechanism string) {
	t.Parallel()
	to := transport + "@plain.test"
	msg := newMail(address("alice"), transport, "Hello.\r\n")
	r.submit(t, "alice", gosmtp.MailOptions{}, msg, to)
	if a := r.waiting(t, to, 1); a.Enhanced != "4.7.1" || a.Transport != "later" {
		t.Errorf("got %+v", a)
	}
	r.choose(t, to, transport)
	var again []admin.QueueMessage
	submitted := func() bool {
		again = r.queued(t, to)
		return len(again) == 1 && again[0].Transport == "" && again[0].Attempts == 1
	}
	if !eventually(submitted) {
		t.Fatalf("it was not submitted again: %+v", again)
	}
	// Once more by the usual way would be "later" again.
	r.choose(t, to, "proxy")
	got := r.postfix.received(t, to, "Message-ID: <"+transport+"@")
	if n := strings.Count(got, "by mox.test "); n != 2 {
		t.Errorf("it went through the server %d times, want 2:\n%s", n, short(got))
	}
	r.gone(t, to)
	if login := regexp.MustCompile(`(?im)m=login .* mechanism=` + mechanism + `$`); !login.MatchString(r.log(t)) {
		t.Errorf("nobody has logged in by %s", mechanism)
	}
}

// testSink has a message go to a server that is not asked for in DNS.
func (r *relaying) testSink(t *testing.T, sunk string) {
	t.Parallel()
	const to = "sink@known.sink.route.test"
	r.submit(t, "alice", gosmtp.MailOptions{}, newMail(address("alice"), "sink", "Hello.\r\n"), to)
	r.gone(t, to)
	found := func() bool {
		files, err := filepath.Glob(filepath.Join(sunk, "*"))
		if err != nil || len(files) != 1 {
			return false
		}
		text, err := os.ReadFile(files[0])
		return err == nil && strings.Contains(string(text), "X-Rcpt-Args: <"+to+">")
	}
	if !eventually(found) {
		t.Error("the sink doesn't have it")
	}
}

// testByRoute has a message wait by one route, and go by another after an attempt.
func (r *relaying) testByRoute(t *testing.T) {
	t.Parallel()
	const to = "byroute@aonly.test"
	msg := newMail(address("bob"), "byroute", "Hello.\r\n")
	r.submit(t, "bob", gosmtp.MailOptions{}, msg, to)
	if a := r.waiting(t, to, 1); a.Transport != "later" {
		t.Errorf("got %+v", a)
	}
	r.retry(t, to)
	if before := r.postfix.wantWhole(t, to, "byroute", msg); !strings.Contains(before, "(Authenticated sender: user)") {
		t.Errorf("got %q before the message", before)
	}
	r.gone(t, to)
	if _, err := r.admin.QueueTransport(context.Background(), admin.QueueTransportRequest{Transport: "nowhere"}); err == nil {
		t.Error("a transport was chosen that isn't there")
	}
}

package interop

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/resolver"
	"github.com/mjl-/mox/system"
)

// Addresses in a world. Ours is 127.0.0.1; Postfix has three, with TLS, with
// broken TLS and with none. Nobody is at the last.
const (
	ourIP       = "127.0.0.1"
	postfixIP   = "127.0.0.2"
	brokenTLSIP = "127.0.0.3"
	plainIP     = "127.0.0.4"
	deadIP      = "127.0.0.99"
)

// sinksMax is how many domains with sinks the zone has. That of sink number n is
// at 127.0.9.n.
const sinksMax = 80

// zone is the zone "test", which is all of DNS that the name server knows.
const zone = `$ORIGIN test.
$TTL 60
@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60
@ NS ns
ns A ` + nameserver + `
mox A ` + ourIP + `
mox MX 10 mox
mx.postfix A ` + postfixIP + `
postfix MX 10 mx.postfix
postfix TXT "v=spf1 ip4:127.0.0.0/8 -all"
strict MX 10 mx.postfix
alias CNAME postfix
several MX 20 mx.postfix
several MX 10 dead
several MX 15 gone
dead A ` + deadIP + `
aonly A ` + postfixIP + `
brokentls MX 10 mx.brokentls
mx.brokentls A ` + brokenTLSIP + `
plain MX 10 mx.plain
mx.plain A ` + plainIP + `
null MX 0 .
nohost MX 10 gone
*.route MX 10 mx.postfix
empty TXT "neither MX nor address"
`

// world is a server of ours in a network with DNS.
type world struct {
	dir    string
	system *system.System
	admin  *admin.Admin
	roots  *x509.CertPool
	logOK  []*regexp.Regexp   // Lines of warnings and errors that are expected.
	stop   func(t *testing.T) // Stops the server and looks at what it leaves.
}

// users are the accounts in a world, named as the part of their address before
// the @. They have the usual password.
var users = []string{"alice", "bob"}

const worldConfig = `DataDir: data
LogLevel: debug
Hostname: mox.test
Resolver:
	Mode: system-ad
Listeners:
	all:
		IPs:
			- ` + ourIP + `
		TLS:
			KeyCerts:
				-
					CertFile: mox.test.crt
					KeyFile: mox.test.key
		SMTP:
			Enabled: true
			FirstTimeSenderDelay: 0s
		Submission:
			Enabled: true
		Submissions:
			Enabled: true
		IMAP:
			Enabled: true
			NoRequireSTARTTLS: true
		MetricsHTTP:
			Enabled: true
			Port: ` + portMetrics + `
Postmaster:
	Account: alice
	Mailbox: Postmaster
`

const worldDomains = `Domains:
	mox.test: nil
Accounts:
	alice:
		Domain: mox.test
		NoFirstTimeSenderDelay: true
		Destinations:
			alice@mox.test: nil
	bob:
		Domain: mox.test
		NoFirstTimeSenderDelay: true
		Destinations:
			bob@mox.test: nil
`

// noDNSSEC is logged once, since the name server has no signed zones.
var noDNSSEC = regexp.MustCompile(`no name server passes dnssec records on`)

// newWorld starts a name server and a server of ours, which is checked when the
// test ends. Dial is that of its options.
func newWorld(t *testing.T, dir string, dial func(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error)) *world {
	t.Helper()
	startNSD(t, dir, "")
	w := &world{dir: filepath.Join(dir, "mox"), roots: x509.NewCertPool()}
	if err := os.Mkdir(w.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	w.roots.AppendCertsFromPEM(writeCert(t, w.dir, "mox.test"))
	for name, text := range map[string]string{"mox.conf": worldConfig, "domains.conf": worldDomains} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	w.serve(t, dial)
	for _, account := range users {
		if _, err := w.admin.SetPassword(t.Context(), admin.SetPasswordRequest{Account: account, Password: password}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// startNSD starts a name server with the zone and more records, and waits until it
// answers.
func startNSD(t *testing.T, dir, more string) {
	t.Helper()
	text := zone + more
	for n := 1; n <= sinksMax; n++ {
		text += fmt.Sprintf("s%d.sink MX 10 mx.s%d.sink\nmx.s%d.sink A %s\n", n, n, n, sinkIP(n))
	}
	conf := `server:
	ip-address: ` + nameserver + `@53
	username: ""
	chroot: ""
	database: ""
	zonesdir: "` + dir + `"
	pidfile: "` + dir + `/nsd.pid"
	xfrdfile: "` + dir + `/xfrd.state"
	zonelistfile: "` + dir + `/zone.list"
	logfile: "` + dir + `/nsd.log"
	server-count: 1
remote-control:
	control-enable: no
zone:
	name: "test."
	zonefile: "test.zone"
`
	for name, text := range map[string]string{"nsd.conf": conf, "test.zone": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(sbin(t, "nsd"), "-d", "-c", filepath.Join(dir, "nsd.conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // As if it was not there: it has nothing to lose.
		_ = cmd.Wait()
	})
	r, err := resolver.New(resolver.Options{CacheSize: -1, Mode: resolver.SystemAD})
	if err != nil {
		t.Fatal(err)
	}
	answers := func() bool {
		_, _, err = r.LookupMX(t.Context(), "mox.test.")
		return err == nil
	}
	if !eventually(answers) {
		text, _ := os.ReadFile(filepath.Join(dir, "nsd.log"))
		t.Fatalf("nsd: %v\n%s", err, text)
	}
}

// sinkIP returns the address of a sink.
func sinkIP(n int) string { return fmt.Sprintf("127.0.9.%d", n) }

// writeCert writes a key and a certificate for a name, signed with itself, to
// files of that name, and returns the certificate.
func writeCert(t *testing.T, dir, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for path, text := range map[string][]byte{
		name + ".crt": text,
		name + ".key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	} {
		if err := os.WriteFile(filepath.Join(dir, path), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

// serve runs the System until stop is called, or the test ends.
func (w *world) serve(t *testing.T, dial func(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error)) {
	t.Helper()
	c, err := live.Open(filepath.Join(w.dir, "mox.conf"), live.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Where server.checkLog looks for it.
	log, err := os.OpenFile(filepath.Join(w.dir, "localserve.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if w.system, err = system.New(ctx, system.Options{Config: c, Log: log, Dial: dial}); err != nil {
		cancel()
		t.Fatal(err)
	}
	if w.admin, err = w.system.Admin(cancel); err != nil {
		cancel()
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.system.Serve(ctx) }()
	w.stop = func(t *testing.T) {
		s := &server{t: t, ip: ourIP, dir: w.dir, logOK: append(w.logOK, noDNSSEC)}
		s.checkMetrics()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
		for _, err := range w.system.Queue().Check(context.Background()) {
			t.Errorf("queue: %v", err)
		}
		if err := w.system.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		s.checkLog()
		s.checkData()
		if t.Failed() {
			t.Logf("log of the server:\n%s", w.log(t))
		}
		w.stop = nil
	}
	t.Cleanup(func() {
		if w.stop != nil {
			w.stop(t)
		}
	})
}

// log returns the log of the server so far, without lines of little interest.
func (w *world) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "localserve.log"))
	if err != nil {
		t.Error(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, " pkg=imapserver ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// address returns that of a user.
func address(user string) string { return user + "@mox.test" }

// newMail returns a message that users of the world can send as it is, with
// CRLF line ends.
func newMail(from, id, body string) string {
	return "From: <" + from + ">\r\nTo: undisclosed-recipients:;\r\nSubject: mail " + id + "\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n" +
		"Message-ID: <" + id + "@client.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
}

// submit submits a message of a user.
func (w *world) submit(t *testing.T, user string, opts gosmtp.MailOptions, msg string, to ...string) {
	t.Helper()
	if err := w.submitFrom(t, user, address(user), opts, msg, to...); err != nil {
		t.Fatal(err)
	}
}

// submitFrom submits a message with go-smtp, over STARTTLS. A user logs in, and
// says that the message is from an address.
func (w *world) submitFrom(t *testing.T, user, from string, opts gosmtp.MailOptions, msg string, to ...string) error {
	t.Helper()
	conn, err := net.DialTimeout("tcp", ourIP+":587", patience)
	if err != nil {
		t.Fatal(err)
	}
	c, err := gosmtp.NewClientStartTLS(conn, &tls.Config{RootCAs: w.roots, ServerName: "mox.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", address(user), password)); err != nil {
		t.Fatal(err)
	}
	return send(c, from, opts, msg, to...)
}

// send sends a message with go-smtp, and says QUIT.
func send(c *gosmtp.Client, from string, opts gosmtp.MailOptions, msg string, to ...string) error {
	if err := transact(c, from, opts, msg, to...); err != nil {
		return err
	}
	return c.Quit()
}

// transact sends a message, and leaves the connection for others.
func transact(c *gosmtp.Client, from string, opts gosmtp.MailOptions, msg string, to ...string) error {
	if err := c.Mail(from, &opts); err != nil {
		return fmt.Errorf("MAIL: %w", err)
	}
	for _, rcpt := range to {
		if err := c.Rcpt(rcpt, nil); err != nil {
			return fmt.Errorf("RCPT: %w", err)
		}
	}
	data, err := c.Data()
	if err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	if _, err := data.Write([]byte(msg)); err != nil {
		return err
	}
	if err := data.Close(); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	return nil
}

// queued returns what the queue holds for a recipient.
func (w *world) queued(t *testing.T, to string) []admin.QueueMessage {
	t.Helper()
	list, err := w.admin.QueueList(t.Context(), admin.QueueListRequest{Filter: admin.QueueFilter{To: to}})
	if err != nil {
		t.Fatal(err)
	}
	return list.Messages
}

// gone waits until the queue holds nothing for a recipient: nothing will be sent
// any more.
func (w *world) gone(t *testing.T, to string) {
	t.Helper()
	if !eventually(func() bool { return len(w.queued(t, to)) == 0 }) {
		t.Fatalf("still in the queue: %+v", w.queued(t, to))
	}
}

// waiting waits until the only message for a recipient waits for another attempt
// after so many, and returns what the last ended with.
func (w *world) waiting(t *testing.T, to string, attempts int64) admin.QueueAttempt {
	t.Helper()
	waits := func() bool {
		list := w.queued(t, to)
		return len(list) == 1 && list[0].State == queue.Waiting && list[0].Attempts == attempts && len(list[0].Results) > 0
	}
	if !eventually(waits) {
		t.Fatalf("no message waits after %d attempts: %+v", attempts, w.queued(t, to))
	}
	results := w.queued(t, to)[0].Results
	return results[len(results)-1]
}

// retry lets what waits for a recipient be tried at once.
func (w *world) retry(t *testing.T, to string) {
	t.Helper()
	changed, err := w.admin.QueueSchedule(t.Context(), admin.QueueScheduleRequest{Filter: admin.QueueFilter{To: to}, FromNow: true})
	if err != nil || changed.Changed != 1 {
		t.Fatalf("scheduling: %+v, %v", changed, err)
	}
}

// inbox returns a client that has the Inbox of a user selected.
func (w *world) inbox(t *testing.T, user string) *imapPeer {
	t.Helper()
	conn := (&server{t: t, ip: ourIP}).dial(t, "143")
	p := &imapPeer{t: t, conn: conn, r: bufio.NewReader(conn)}
	p.response()
	p.ok("LOGIN %s %s", address(user), password)
	p.ok("SELECT Inbox")
	return p
}

// received waits for a message with some text to come to the Inbox of a user, and
// returns the only one.
func (w *world) received(t *testing.T, user, text string) string {
	t.Helper()
	p := w.inbox(t, user)
	defer p.conn.Close()
	var uids []int
	found := func() bool {
		p.ok("NOOP")
		uids = p.search("TEXT \"%s\"", text)
		return len(uids) > 0
	}
	if !eventually(found) {
		t.Fatalf("%s has no message with %q", user, text)
	}
	if len(uids) != 1 {
		t.Errorf("%s has %d messages with %q", user, len(uids), text)
	}
	return p.bytes(uids[0], "BODY.PEEK[]")
}

// count returns how many messages with some text are in the Inbox of a user.
func (w *world) count(t *testing.T, user, text string) int {
	t.Helper()
	p := w.inbox(t, user)
	defer p.conn.Close()
	return len(p.search("TEXT \"%s\"", text))
}

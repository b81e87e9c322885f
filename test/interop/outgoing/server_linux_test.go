package outgoing

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/delivery"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/system"
	"github.com/mjl-/mox/trace"
)

// password is that of alice, who sends all mail.
const password = "correct horse battery"

const serverConfig = `DataDir: ../data
LogLevel: debug
User: nobody
Hostname: NAME.test
RESOLVERListeners:
	public:
		IPs:
			- IP4
			- IP6
		TLS:
			KeyCerts:
				-
					CertFile: ../keys/server.crt
					KeyFile: ../keys/server.key
		SMTP:
			Enabled: true
			FirstTimeSenderDelay: 0s
		Submission:
			Enabled: true
		IMAP:
			Enabled: true
			NoRequireSTARTTLS: true
Postmaster:
	Account: alice
	Mailbox: Postmaster
`

const serverDomains = `Domains:
	NAME.test: nil
	verified.test: nil
	wrong.test: nil
	unusable.test: nil
Accounts:
	alice:
		Domain: NAME.test
		NoFirstTimeSenderDelay: true
		MaxFirstTimeRecipientsPerDay: 1000
		Destinations:
			alice@NAME.test: nil
			alice@verified.test: nil
			alice@wrong.test: nil
			alice@unusable.test: nil
`

// server is one of ours.
type server struct {
	name     string
	mode     string // Of its resolver. Empty: the default, with the system's name server.
	ip4, ip6 netip.Addr

	// alone says that it is a process of its own, as an operator runs it.
	alone bool

	dir     string
	cert    *issued
	program string         // If it is alone.
	system  *system.System // If it isn't.
	admin   *admin.Admin   // Likewise.
	log     serverLog

	mu     sync.Mutex
	client *gosmtp.Client
}

func (s *server) address() string { return "alice@" + s.name + ".test" }

// id is part of the Message-ID of its message for a row.
func (s *server) id(r *row) string { return s.name + "-" + strings.ReplaceAll(r.domain, ".", "-") }

// recipient is who that is for.
func (s *server) recipient(r *row) string {
	to := s.id(r) + "@" + r.fqdn()
	if r.utf8 {
		to = "ü-" + to
	}
	return to
}

// Times of a server that are shorter than those of RFC 5321, section 4.5.3.2, and
// haste is how many times shorter the others are for some ends.
const (
	connectTime = 8 * time.Second
	sessionTime = 15 * time.Second
	haste       = 100
)

// configure writes the configuration.
func (s *server) configure(t *testing.T, w *world) {
	t.Helper()
	s.dir = filepath.Join(w.dir, s.name)
	resolver := "Resolver:\n"
	if s.mode != "" {
		resolver += "\tMode: " + s.mode + "\n\tServers:\n\t\t- " + nameserver + "\n"
	}
	if s.mode != "system-ad" {
		resolver += "\tTrustAnchors:\n\t\t- " + w.anchor + "\n"
	}
	conf := strings.NewReplacer("NAME", s.name, "RESOLVER", resolver, "IP4", s.ip4.String(), "IP6", s.ip6.String())
	pem := s.cert.pem(t)
	for name, text := range map[string]string{
		"config/mox.conf": conf.Replace(serverConfig), "config/domains.conf": conf.Replace(serverDomains),
		"keys/server.key": strings.TrimSuffix(pem, s.cert.certs()), "keys/server.crt": s.cert.certs(),
	} {
		path := filepath.Join(s.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.Chmod(s.dir, 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil { //nolint:gosec // Others go through.
			t.Fatal(err)
		}
	}
}

func (s *server) config() string { return filepath.Join(s.dir, "config", "mox.conf") }

// start runs the server until the test ends, and looks at what it leaves.
func (s *server) start(t *testing.T, w *world) {
	t.Helper()
	s.configure(t, w)
	if s.alone {
		s.startAlone(t, w)
		return
	}
	c, err := live.Open(s.config(), live.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	opts := system.Options{Config: c, Log: &s.log, Dial: w.dial, Delivery: func(o *delivery.Options) {
		o.ConnectTimeout, o.SessionTimeout = connectTime, sessionTime
	}}
	if s.system, err = system.New(ctx, opts); err != nil {
		cancel()
		t.Fatal(err)
	}
	if s.admin, err = s.system.Admin(cancel); err != nil {
		cancel()
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.system.Serve(ctx) }()
	t.Cleanup(func() {
		if s.client != nil {
			_ = s.client.Close()
		}
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
		for _, err := range s.system.Queue().Check(context.Background()) {
			t.Errorf("queue: %v", err)
		}
		if err := s.system.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		s.checkLog(t)
	})
	if _, err := s.admin.SetPassword(t.Context(), admin.SetPasswordRequest{Account: "alice", Password: password}); err != nil {
		t.Fatal(err)
	}
}

// checkLog looks for errors, which are trouble of the server itself.
func (s *server) checkLog(t *testing.T) {
	t.Helper()
	text := s.log.text()
	for line := range strings.Lines(text) {
		if strings.Contains(line, " l=error ") || strings.Contains(line, password) {
			t.Errorf("log of %s: %s", s.name, line)
		}
	}
	if t.Failed() {
		t.Logf("log of %s:\n%s", s.name, text)
	}
}

// dial connects from local, with haste to ends that are for that.
func (w *world) dial(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error) {
	d := net.Dialer{}
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	conn, err := d.DialContext(ctx, network, address)
	if err == nil && w.hasty[address] {
		return hastyConn{conn}, nil
	}
	return conn, err
}

// hastyConn is a connection with deadlines that come sooner.
type hastyConn struct{ net.Conn }

func sooner(t time.Time) time.Time {
	if left := time.Until(t); left > 0 {
		return time.Now().Add(left / haste)
	}
	return t
}

func (c hastyConn) SetDeadline(t time.Time) error      { return c.Conn.SetDeadline(sooner(t)) }
func (c hastyConn) SetReadDeadline(t time.Time) error  { return c.Conn.SetReadDeadline(sooner(t)) }
func (c hastyConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(sooner(t)) }

// submit submits a message, over the connection that there is for it.
func (s *server) submit(t *testing.T, opts gosmtp.MailOptions, msg, to string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		s.client = s.login(t)
	}
	err := s.client.Mail(s.address(), &opts)
	if err == nil {
		err = s.client.Rcpt(to, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.client.Data()
	if err == nil {
		_, err = data.Write([]byte(msg))
	}
	if err == nil {
		err = data.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// login returns a client for submissions.
func (s *server) login(t *testing.T) *gosmtp.Client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(s.ip4, 587).String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.cert.chain[len(s.cert.chain)-1])
	c, err := gosmtp.NewClientStartTLS(conn, &tls.Config{RootCAs: roots, ServerName: s.name + ".test"})
	if err == nil {
		err = c.Auth(sasl.NewPlainClient("", s.address(), password))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// queued returns what the queue holds for a recipient.
func (s *server) queued(t *testing.T, to string) []admin.QueueMessage {
	t.Helper()
	if s.alone {
		var list []admin.QueueMessage
		s.ask(t, &list, "queue", "list", "-json", "-to", to)
		return list
	}
	list, err := s.admin.QueueList(t.Context(), admin.QueueListRequest{Filter: admin.QueueFilter{To: to}})
	if err != nil {
		t.Fatal(err)
	}
	return list.Messages
}

// retry lets what waits for a recipient be tried at once.
func (s *server) retry(t *testing.T, to string) {
	t.Helper()
	if s.alone {
		s.ask(t, nil, "queue", "schedule", "-to", to, "-now", "0s")
		return
	}
	changed, err := s.admin.QueueSchedule(t.Context(), admin.QueueScheduleRequest{Filter: admin.QueueFilter{To: to}, FromNow: true})
	if err != nil || changed.Changed != 1 {
		t.Fatalf("scheduling: %+v, %v", changed, err)
	}
}

// attempted waits for the end of an attempt to a recipient, and returns what an
// administrator reads of it.
func (s *server) attempted(t *testing.T, to string, number int) (a *trace.Attempt) {
	t.Helper()
	done := func() bool {
		left := s.queued(t, to)
		return len(left) == 0 || left[0].State == queue.Waiting && left[0].Attempts == int64(number)
	}
	if !eventually(done) {
		t.Fatalf("no end of attempt %d: %+v", number, s.queued(t, to))
	}
	found := func() bool {
		for _, e := range s.trace(t, to) {
			if e.Kind == trace.Attempted && e.Attempt.Number == int64(number) {
				a = e.Attempt
			}
		}
		return a != nil
	}
	if !eventually(found) {
		t.Fatalf("attempt %d is not in the trace", number)
	}
	return a
}

// trace returns what there is about a recipient.
func (s *server) trace(t *testing.T, to string) []trace.Event {
	t.Helper()
	if s.alone {
		var events []trace.Event
		s.ask(t, &events, "queue", "trace", "-json", to)
		return events
	}
	result, err := s.admin.QueueTrace(t.Context(), admin.QueueTraceRequest{Query: to})
	if err != nil || len(result.Gaps) > 0 || result.More {
		t.Fatalf("got trace %+v, %v", result, err)
	}
	return result.Events
}

// serverLog is the log of a server.
type serverLog struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write takes a line.
func (l *serverLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(line)
}

func (l *serverLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// newMail returns a message from a server's user.
func (s *server) newMail(id, header string) string {
	return fmt.Sprintf("From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: mail %s\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"+
		"Message-ID: <%[2]s@client.example>\r\n%s\r\nHello.\r\n.\r\n..dots\r\n", s.address(), id, header)
}

// zone returns the records of the server, and of domains of it whose exchanger has
// TLSA records. Of wrong.test they are about another, and of unusable.test they can't
// be used.
func (s *server) zone(t *testing.T, w *world) string {
	t.Helper()
	zone := fmt.Sprintf("%[1]s A %[2]s\n%[1]s AAAA %[3]s\n%[1]s MX 10 %[1]s\n", s.name, s.ip4, s.ip6)
	if s != w.servers[0] {
		return zone
	}
	for domain, record := range map[string]string{
		"verified": tlsa(t, 3, 1, 1, s.cert.chain[0]), "wrong": tlsa(t, 3, 1, 1, w.otherCA.chain[0]), "unusable": tlsa(t, 1, 1, 1, w.otherCA.chain[0]),
	} {
		zone += fmt.Sprintf("%[1]s MX 10 mx.%[1]s\nmx.%[1]s A %[2]s\n_25._tcp.mx.%[1]s TLSA %[3]s\n", domain, s.ip4, record)
	}
	return zone
}

package system

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

const static = `DataDir: data
LogLevel: debug
PackageLogLevels:
	store: info
Hostname: localhost
Listeners:
	local:
		IPs:
			- 127.0.0.1
		TLS:
			KeyCerts:
				-
					CertFile: localhost.crt
					KeyFile: localhost.key
		SMTP:
			Enabled: true
		IMAP:
			Enabled: true
			NoRequireSTARTTLS: true
		IMAPS:
			Enabled: true
		MetricsHTTP:
			Enabled: true
Postmaster:
	Account: mox
	Mailbox: Postmaster
`

const dynamic = `Domains:
	localhost: nil
Accounts:
	mox:
		Domain: localhost
		Destinations:
			mox@localhost: nil
	other:
		Domain: localhost
		Destinations:
			other@localhost: nil
`

// newCertificate returns the texts of a certificate for names, valid from an hour
// ago, and of its key.
func newCertificate(t *testing.T, until time.Time, names ...string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	cert, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// writeConfig makes a directory with a configuration and returns the path of
// mox.conf.
func writeConfig(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cert, key := newCertificate(t, time.Now().Add(90*24*time.Hour), "localhost")
	for name, text := range map[string][]byte{
		"localhost.crt": cert,
		"localhost.key": key,
		"mox.conf":      []byte(static),
		"domains.conf":  []byte(dynamic),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "mox.conf")
}

// logBuffer keeps log lines for a test to look at.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// options returns those of a server for trying things out, on ports of its own.
func options(t *testing.T, path string) Options {
	t.Helper()
	c, err := live.Open(path, live.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Config: c,
		Log:    &logBuffer{},
		Local:  &Local{Account: "mox", Password: "moxmoxmox"},
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return new(net.ListenConfig).Listen(ctx, network, net.JoinHostPort(host, "0"))
		},
		Store: func(o *store.Options) { o.SegmentSize = 1 << 20 },
		Queue: func(o *queue.Options) { o.LogSize = 1 << 20 },
	}
}

// running is a System that serves.
type running struct {
	*System
	stop func() error // Returns what Serve returned.
}

// start makes a System and serves until the test ends, or stop is called.
func start(t *testing.T, opts Options) *running {
	t.Helper()
	s, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var served, closed error
	go func() {
		defer close(done)
		served = s.Serve(ctx)
		closed = s.Close()
	}()
	r := &running{s, func() error {
		cancel()
		<-done
		if closed != nil {
			t.Errorf("closing: %v", closed)
		}
		return served
	}}
	t.Cleanup(func() { _ = r.stop() })
	r.wait(t, true)
	return r
}

// wait waits until the System serves, or doesn't any more.
func (r *running) wait(t *testing.T, serving bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); r.serving.Load() != serving; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still serving: %v", !serving)
		}
	}
}

func (r *running) address(service config.Service) string {
	for _, b := range r.Bound() {
		if b.Service == service {
			return b.Address().String()
		}
	}
	return ""
}

// deliver sends a message over SMTP with STARTTLS.
func (r *running) deliver(t *testing.T, to, subject string) {
	t.Helper()
	c, err := smtp.Dial(r.address(config.ServiceSMTP))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{ServerName: "unknown.example", InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(c.Mail("sender@remote.example"), c.Rcpt(to))
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(w, "From: <sender@remote.example>\r\nTo: <%s>\r\nSubject: %s\r\n\r\nHello.\r\n", to, subject)
	if err = errors.Join(err, w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
}

// imap sends commands and returns all that comes up to the last tagged reply.
func imap(t *testing.T, conn net.Conn, commands ...string) string {
	t.Helper()
	defer conn.Close()
	r := textproto.NewReader(bufio.NewReader(conn))
	line, err := r.ReadLine()
	all := line + "\n"
	for i, command := range commands {
		tag := fmt.Sprintf("a%d ", i)
		_, werr := fmt.Fprintf(conn, "%s%s\r\n", tag, command)
		err = errors.Join(err, werr)
		for err == nil {
			line, err = r.ReadLine()
			all += line + "\n"
			if strings.HasPrefix(line, tag) {
				break
			}
		}
	}
	if err != nil {
		t.Errorf("after %q: %v", all, err)
	}
	return all
}

func (r *running) dialIMAPS(t *testing.T) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", r.address(config.ServiceIMAPS), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// get asks the metrics listener.
func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + r.address(config.ServiceMetrics) + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestSystem delivers, reads, restarts and reads again.
func TestSystem(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	r := start(t, options(t, path))
	r.deliver(t, "mox@localhost", "one")
	r.deliver(t, "anyone@anywhere.example", "two")

	// SELECT waits for what was accepted before.
	got := imap(t, r.dialIMAPS(t), "LOGIN mox@localhost moxmoxmox", "SELECT Inbox", "UID FETCH 1:* (ENVELOPE)", `LIST "" *`)
	for _, want := range []string{"* 2 EXISTS", `"one"`, `"two"`, `(\HasNoChildren \Junk) "/" Junk`} {
		if !strings.Contains(got, want) {
			t.Errorf("session has no %s:\n%s", want, got)
		}
	}
	for _, test := range []struct{ path, want string }{
		{"/readyz", "ok\n"},
		{"/metrics", `mox_panic_total{pkg="smtpserver"} 0` + "\n"},
		{"/metrics", `mox_panic_total{pkg="imapserver"} 0` + "\n"},
		{"/metrics", `mox_authentication_total{kind="imap",result="ok",variant="login"} 1` + "\n"},
		{"/metrics", "\nmox_store_visible_seconds_count 2\n"},
		{"/metrics", "\nmox_journal_batch_records_sum 2\n"},
		{"/metrics", "\nprocess_start_time_seconds "},
	} {
		if code, body := r.get(t, test.path); code != 200 || !strings.Contains(body, test.want) {
			t.Errorf("%s: got %d without %q", test.path, code, test.want)
		}
	}

	_, err := New(t.Context(), options(t, path))
	if e, ok := errors.AsType[*RunningError](err); !ok || e.PID != os.Getpid() || e.Error() != fmt.Sprintf("server is running: pid %d", os.Getpid()) {
		t.Errorf("second system: got %v, want that one is running", err)
	}
	if err := r.stop(); err != nil {
		t.Errorf("stopped: got %v", err)
	}

	again := start(t, options(t, path))
	got = imap(t, again.dialIMAPS(t), "LOGIN mox@localhost moxmoxmox", "SELECT Inbox", "LOGOUT")
	if !strings.Contains(got, "* 2 EXISTS") {
		t.Errorf("after a restart:\n%s", got)
	}
	log := again.opts.Log.(*logBuffer).String()
	if strings.Contains(log, "moxmoxmox") || !strings.Contains(log, "m=serving pkg=system") {
		t.Errorf("got log:\n%s", log)
	}
	attempts, err := again.logins.LoginAttempts(t.Context(), "mox", 0)
	if err != nil || len(attempts) != 1 || attempts[0].Protocol != "imap" {
		t.Errorf("recorded logins: got %v, %v", attempts, err)
	}
}

// TestTwoSystems shows that nothing is shared: both have an account mox.
func TestTwoSystems(t *testing.T) {
	t.Parallel()
	one, two := start(t, options(t, writeConfig(t))), start(t, options(t, writeConfig(t)))
	one.deliver(t, "mox@localhost", "only one")
	for r, want := range map[*running]string{one: "* 1 EXISTS", two: "* 0 EXISTS"} {
		if got := imap(t, r.dialIMAPS(t), "LOGIN mox@localhost moxmoxmox", "SELECT Inbox"); !strings.Contains(got, want) {
			t.Errorf("want %s, got:\n%s", want, got)
		}
	}
}

// TestStop shows that sessions are told, and that one that doesn't go is cut.
func TestStop(t *testing.T) {
	t.Parallel()
	opts := options(t, writeConfig(t))
	opts.Grace = 500 * time.Millisecond
	r := start(t, opts)
	var d net.Dialer
	idle, err := d.DialContext(t.Context(), "tcp", r.address(config.ServiceIMAP))
	if err != nil {
		t.Fatal(err)
	}
	sending, err := d.DialContext(t.Context(), "tcp", r.address(config.ServiceSMTP))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(sending)
	for _, line := range []string{"", "EHLO [127.0.0.1]\r\n"} {
		if _, err := io.WriteString(sending, line); err != nil {
			t.Fatal(err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if err := r.stop(); err != nil {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > opts.Grace+abortTime+3*time.Second {
		t.Errorf("took %v", took)
	}
	all, err := io.ReadAll(idle)
	if err != nil || !strings.Contains(string(all), "* BYE ") {
		t.Errorf("IMAP: got %q, %v, want BYE", all, err)
	}
	rest, _ := io.ReadAll(in)
	if !strings.Contains(string(rest), "421 ") {
		t.Errorf("SMTP: got %q, want 421", rest)
	}
}

// TestListenerFails shows that the whole stops when a part can't serve.
func TestListenerFails(t *testing.T) {
	t.Parallel()
	r := start(t, options(t, writeConfig(t)))
	for _, b := range r.Bound() {
		if b.Service == config.ServiceIMAP {
			b.ln.Close()
		}
	}
	r.wait(t, false)
	if err := r.stop(); err == nil || !strings.Contains(err.Error(), "serving imap on 127.0.0.1:143") {
		t.Errorf("got %v, want that IMAP can't be served", err)
	}
}

// TestJournalFails shows that a server that can't promise anything any more stops.
func TestJournalFails(t *testing.T) {
	t.Parallel()
	opts := options(t, writeConfig(t))
	opts.Faults = fault.New()
	r := start(t, opts)
	errDisk := errors.New("disk is gone")
	opts.Faults.Arm(journal.FaultBatchBeforeSync, func() error { return errDisk })
	c, err := smtp.Dial(r.address(config.ServiceSMTP))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Mail("a@remote.example"), c.Rcpt("mox@localhost")); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "Subject: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("message was accepted")
	}
	r.wait(t, false)
	if err := r.ready(t.Context()); err == nil {
		t.Error("still ready")
	}
	if err := r.stop(); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want that of the disk", err)
	}
}

// TestNewFails shows that nothing stays open or locked when New fails.
func TestNewFails(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	errListen := errors.New("address in use")
	for _, test := range []struct {
		name   string
		change func(*Options)
		undo   func() error
		want   error
	}{
		{"the last address is in use", func(o *Options) {
			listen, n := o.Listen, 0
			o.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
				if n++; n == 4 {
					return nil, errListen
				}
				return listen(ctx, network, address)
			}
		}, nil, errListen},
		{"a key of the wrong size", func(*Options) {
			if err := os.WriteFile(filepath.Join(filepath.Dir(path), "data", CIDKeyName), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, func() error { return os.Remove(filepath.Join(filepath.Dir(path), "data", CIDKeyName)) }, nil},
		{"a password that cannot be", func(o *Options) { o.Local.Password = "short" }, nil, nil},
	} {
		opts := options(t, path)
		test.change(&opts)
		s, err := New(t.Context(), opts)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, %v, want error %v", test.name, s, err, test.want)
		}
		if test.undo != nil {
			if err := test.undo(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := New(t.Context(), Options{}); err == nil {
		t.Error("New took no options")
	}
	r := start(t, options(t, path)) // Finds all free.
	r.deliver(t, "other@localhost", "x")
}

// TestSpoolsRemoved shows what a start removes of a crash before it.
func TestSpoolsRemoved(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	temp := filepath.Join(filepath.Dir(path), "data", "tmp")
	if err := os.MkdirAll(temp, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"receive-123", "other"} {
		if err := os.WriteFile(filepath.Join(temp, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts := options(t, path)
	opts.Offline = true
	s, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.Bound()) != 0 {
		t.Errorf("offline, but listening: %v", s.Bound())
	}
	if _, err := os.Stat(filepath.Join(temp, "receive-123")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("message that was coming in: got %v, want that it is gone", err)
	}
	if _, err := os.Stat(filepath.Join(temp, "other")); err != nil {
		t.Errorf("another file: got %v", err)
	}
}

// TestQuota shows that a quota in domains.conf holds at once after a change.
func TestQuota(t *testing.T) {
	t.Parallel()
	r := start(t, options(t, writeConfig(t)))
	r.deliver(t, "other@localhost", "fits")
	err := r.opts.Config.Update(t.Context(), func(d *config.Dynamic) error {
		a := d.Accounts["other"]
		a.QuotaMessageSize = 1
		d.Accounts["other"] = a
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtp.Dial(r.address(config.ServiceSMTP))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("a@remote.example"); err != nil {
		t.Fatal(err)
	}
	err = c.Rcpt("other@localhost")
	if e, ok := errors.AsType[*textproto.Error](err); !ok || e.Code != 452 {
		t.Errorf("got %v, want 452", err)
	}
}

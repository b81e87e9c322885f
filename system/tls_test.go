package system

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
)

func keyPair(t *testing.T, until time.Time, names ...string) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(newCertificate(t, until, names...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChooseCertificates(t *testing.T) {
	t.Parallel()
	var certs []tls.Certificate
	for _, name := range []string{"other.example", "mail.example.org", "*.example.net", "mail.example.org"} {
		certs = append(certs, keyPair(t, time.Now().Add(time.Hour), name))
	}
	for _, test := range []struct {
		name     string
		service  config.Service
		hostname string
		sni      string
		want     string // Numbers of certificates.
	}{
		{"no name", config.ServiceIMAPS, "mail.example.org", "", "13"},
		{"no name, none for the hostname", config.ServiceIMAPS, "x.example", "", "0123"},
		{"the hostname", config.ServiceIMAPS, "mail.example.org", "mail.example.org", "13"},
		{"the hostname in upper case", config.ServiceIMAPS, "mail.example.org", "MAIL.example.ORG", "13"},
		{"the hostname, none for it", config.ServiceIMAPS, "x.example", "x.example", "0123"},
		{"another name with certificate", config.ServiceSubmissions, "mail.example.org", "other.example", "0"},
		{"below a wildcard", config.ServiceSubmission, "mail.example.org", "a.example.net", "2"},
		{"two below a wildcard", config.ServiceSubmission, "mail.example.org", "a.b.example.net", ""},
		{"a name without", config.ServiceIMAPS, "mail.example.org", "unknown.example", ""},
		{"a name without, with STARTTLS", config.ServiceIMAP, "mail.example.org", "unknown.example", ""},
		{"a name without at port 25", config.ServiceSMTP, "mail.example.org", "unknown.example", "13"},
		{"a name with certificate at port 25", config.ServiceSMTP, "mail.example.org", "other.example", "0"},
		{"no name at port 25", config.ServiceSMTP, "mail.example.org", "", "13"},
		{"an address", config.ServiceIMAPS, "mail.example.org", "192.0.2.1", "13"},
		{"an IPv6 address", config.ServiceIMAPS, "mail.example.org", "2001:db8::1", "13"},
		{"what is no name", config.ServiceIMAPS, "mail.example.org", "a b\x00", ""},
	} {
		e := config.Endpoint{Service: test.service, Hostname: dns.Domain{ASCII: test.hostname}}
		got := ""
		for _, c := range chooseCertificates(e, certs, test.sni) {
			for i := range certs {
				if c.Leaf == certs[i].Leaf {
					got += string(rune('0' + i))
				}
			}
		}
		if got != test.want {
			t.Errorf("%s: got certificates %q, want %q", test.name, got, test.want)
		}
	}
}

// shake does a client's handshake.
func shake(conn net.Conn, c *tls.Config) (*tls.Conn, error) {
	client := tls.Client(conn, c)
	if err := client.Handshake(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return client, nil
}

// handshake connects to an endpoint that begins with TLS.
func (r *running) handshake(t *testing.T, service config.Service, c *tls.Config) (*tls.Conn, error) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.address(service))
	if err != nil {
		t.Fatal(err)
	}
	return shake(conn, c)
}

// TestServerNames connects with names to services.
func TestServerNames(t *testing.T) {
	t.Parallel()
	r := start(t, options(t, writeConfig(t)))
	for _, test := range []struct{ name, refusal string }{
		{"", ""},
		{"localhost", ""},
		{"unknown.example", "tls: unrecognized name"},
	} {
		conn, err := r.handshake(t, config.ServiceIMAPS, &tls.Config{ServerName: test.name, InsecureSkipVerify: true})
		switch {
		case err == nil:
			err = conn.Close()
			if test.refusal != "" || err != nil {
				t.Errorf("name %q: handshake succeeds, %v", test.name, err)
			}
		case test.refusal == "" || !strings.Contains(err.Error(), test.refusal):
			t.Errorf("name %q: got %v, want %q", test.name, err, test.refusal)
		}
		c, err := smtp.Dial(r.address(config.ServiceSMTP))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.StartTLS(&tls.Config{ServerName: test.name, InsecureSkipVerify: true}); err != nil {
			t.Errorf("name %q at port 25: %v", test.name, err)
		}
		_ = c.Close()
	}
	if _, body := r.get(t, "/metrics"); !strings.Contains(body, `mox_tls_unknown_servername_total{listener="local"} 1`+"\n") {
		t.Error("the refusal is not counted")
	}
}

// resumes tells whether a second connection to an endpoint resumes the session of
// the first. The second is made by connect with the same config.
func resumes(t *testing.T, connect func(*tls.Config) *tls.Conn) bool {
	t.Helper()
	c := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	resumed := false
	for range 2 {
		conn := connect(c)
		resumed = conn.ConnectionState().DidResume
		// What the server says first comes after the tickets.
		if _, err := conn.Write([]byte("NOOP\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return resumed
}

// startTLS connects to port 25.
func (r *running) startTLS(t *testing.T, c *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.address(config.ServiceSMTP))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"", "EHLO [127.0.0.1]\r\n", "STARTTLS\r\n"} {
		if _, err := conn.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096) // Each answer comes in one piece.
		if n, err := conn.Read(buf); err != nil || buf[0] != '2' {
			t.Fatalf("after %q: got %q, %v", line, buf[:n], err)
		}
	}
	client, err := shake(conn, c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestSessionTickets shows where sessions are resumed, that a listener doesn't
// take the tickets of another, nor one with a name that it refuses.
func TestSessionTickets(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	second := "\t\tIMAPS:\n\t\t\tEnabled: true\n\tsecond:\n\t\tIPs:\n\t\t\t- 127.0.0.2\n\t\tTLS:\n\t\t\tKeyCerts:\n\t\t\t\t-\n\t\t\t\t\tCertFile: localhost.crt\n\t\t\t\t\tKeyFile: localhost.key\n\t\tIMAPS:\n\t\t\tEnabled: true\nPostmaster"
	text := strings.Replace(static, "\t\tIMAPS:\n\t\t\tEnabled: true\n", "", 1)
	text = strings.Replace(text, "Postmaster", second, 1)
	withTickets := strings.Replace(text, "\t\tSMTP:\n", "\t\tSMTP:\n\t\t\tTLSSessionTicketsDisabled: false\n", 1)
	for _, test := range []struct {
		name, text string
		smtp       bool
	}{{"as it is usual", text, false}, {"with tickets on port 25", withTickets, true}} {
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := start(t, options(t, path))
		imaps := func(c *tls.Config) *tls.Conn {
			conn, err := r.handshake(t, config.ServiceIMAPS, c)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		if !resumes(t, imaps) {
			t.Errorf("%s: sessions of IMAPS are not resumed", test.name)
		}
		smtp := func(c *tls.Config) *tls.Conn { return r.startTLS(t, c) }
		if got := resumes(t, smtp); got != test.smtp {
			t.Errorf("%s: sessions on port 25 are resumed: %v", test.name, got)
		}
		var addresses []string
		for _, b := range r.Bound() {
			if b.Service == config.ServiceIMAPS {
				addresses = append(addresses, b.Address().String())
			}
		}
		alternating := func(c *tls.Config) *tls.Conn {
			raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", addresses[0])
			if err != nil {
				t.Fatal(err)
			}
			addresses = addresses[1:]
			client, err := shake(raw, c)
			if err != nil {
				t.Fatal(err)
			}
			return client
		}
		if len(addresses) != 2 {
			t.Fatalf("got IMAPS at %v", addresses)
		}
		if resumes(t, alternating) {
			t.Errorf("%s: a listener resumes a session of another", test.name)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNewCertificate exchanges the certificate of a running server.
func TestNewCertificate(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	opts := options(t, path)
	r := start(t, opts)
	serial := func() string {
		conn, err := r.handshake(t, config.ServiceIMAPS, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	running := r.dialIMAPS(t)
	cert, key := newCertificate(t, time.Now().Add(time.Hour), "localhost")
	for name, text := range map[string][]byte{"localhost.crt": cert, "localhost.key": key} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := serial(); got != before {
		t.Error("the certificate changed without a reload")
	}
	if err := opts.Config.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got == before {
		t.Error("after a reload the old certificate is shown")
	}
	if got := imap(t, running, "LOGIN mox@localhost moxmoxmox", "SELECT Inbox"); !strings.Contains(got, "* 0 EXISTS") {
		t.Errorf("in a session from before:\n%s", got)
	}
}

func TestCertificateProblems(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	leaf := func(from, until time.Duration, name string) *x509.Certificate {
		return &x509.Certificate{NotBefore: now.Add(from), NotAfter: now.Add(until), DNSNames: []string{name}}
	}
	for _, test := range []struct {
		name string
		leaf *x509.Certificate
		want string
	}{
		{"good", leaf(-day, 89*day, "h.example"), ""},
		{"good for two weeks", leaf(-76*day, 14*day, "h.example"), ""},
		{"less than two weeks", leaf(-76*day, 14*day-1, "h.example"), "certificate f of listener l expires at 2026-01-14T23:59:59Z"},
		{"short, with a third left", leaf(-4*day, 2*day, "h.example"), ""},
		{"short, with less left", leaf(-4*day, 2*day-time.Hour, "h.example"), "certificate f of listener l expires at 2026-01-02T23:00:00Z"},
		{"expired", leaf(-4*day, -time.Second, "h.example"), "certificate f of listener l has expired at 2025-12-31T23:59:59Z"},
		{"not yet valid", leaf(time.Hour, day, "h.example"), "certificate f of listener l is not valid before 2026-01-01T01:00:00Z"},
		{"for another name", leaf(-day, 89*day, "x.example"), "no certificate of listener l is for its hostname h.example"},
	} {
		got := strings.Join(certificateProblems([]certificateFile{{"l", "h.example", "f", test.leaf}}, now), "; ")
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	both := []certificateFile{{"l", "h.example", "f", leaf(-day, 89*day, "x.example")}, {"l", "h.example", "g", leaf(-day, 89*day, "h.example")}}
	if got := certificateProblems(both, now); len(got) != 0 {
		t.Errorf("one of two is for the hostname: got %q", got)
	}
}

// TestCertificateTold shows that the log and the metrics tell about certificates.
func TestCertificateTold(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	until := time.Now().Add(time.Minute)
	cert, key := newCertificate(t, until, "x.example")
	for name, text := range map[string][]byte{"localhost.crt": cert, "localhost.key": key} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, options(t, path))
	w := &certificateWatch{system: r.System}
	log := r.opts.Log.(*logBuffer)
	lines := func(text string) int { return strings.Count(log.String(), text) }
	const told, warned = `m=certificate pkg=system listener=local file=localhost.crt names=`, `problem="no certificate of listener local is for its hostname localhost"`
	// The System looks too, at its start. This is the last it says then.
	for deadline := time.Now().Add(20 * time.Second); lines(warned) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	before := lines(told)
	w.look(t.Context())
	if lines(told) != before+1 || lines(warned) == 0 || lines(`certificate localhost.crt of listener local expires at`) == 0 {
		t.Errorf("got log:\n%s", log.String())
	}
	n := len(log.String())
	w.look(t.Context())
	if rest := log.String()[n:]; strings.Contains(rest, "certificate") {
		t.Errorf("nothing has changed, and was told again: %s", rest)
	}
	w.warned = w.warned.Add(-certificatesRepeat)
	w.look(t.Context())
	if rest := log.String()[n:]; strings.Contains(rest, told) || !strings.Contains(rest, warned) {
		t.Errorf("after a day: got %s", rest)
	}
	want := `mox_tls_certificate_expiry_timestamp_seconds{file="localhost.crt",listener="local"} ` // And a number in any notation.
	if _, body := r.get(t, "/metrics"); !strings.Contains(body, want) {
		t.Errorf("no metric %s", want)
	}
}

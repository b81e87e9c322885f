package interop

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
)

const (
	portSubmission  = "1587"
	portSubmissions = "1465"
)

// submission is a server that programs submit mail to, and what they need for it.
type submission struct {
	*server
	cert, key string // Files with a client certificate that can log in, and its key.
	both      string // File with both.
	seed      string // Of an Ed25519 key that can log in.
	want      []sent
}

// sent is a message that must have arrived.
type sent struct{ subject, with string }

// startSubmission starts a server that knows client certificates.
func startSubmission(t *testing.T) *submission {
	t.Helper()
	dir := t.TempDir()
	s := &submission{server: &server{t: t, dir: filepath.Join(dir, "local"), memoryMax: idleMemory}}
	s.ip = fmt.Sprintf("127.%d.%d.%d", 16+mrand.IntN(200), mrand.IntN(256), 1+mrand.IntN(254))
	s.args = []string{"localserve", "-dir", s.dir, "-ip", s.ip}
	command(t, nil, program(t), append(slices.Clone(s.args), "-initonly")...)

	s.cert, s.key, s.both = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key"), filepath.Join(dir, "client.pem")
	cert := writeCert(t, dir, "client")
	key, err := os.ReadFile(s.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.both, slices.Concat(cert, key), 0o600); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(cert)
	s.register(t, block.Bytes, s.newSeed(t))
	s.run()
	t.Cleanup(s.stop)
	return s
}

// newSeed makes an Ed25519 key and returns a certificate for it.
func (s *submission) newSeed(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.seed = base64.RawURLEncoding.EncodeToString(private.Seed())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// register lets the keys of certificates log in. The server must not run.
func (s *submission) register(t *testing.T, certs ...[]byte) {
	t.Helper()
	db, err := authdb.Open(filepath.Join(s.dir, "data", "auth.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, cert := range certs {
		k := authdb.TLSPublicKey{CertDER: cert, Account: "mox", LoginAddress: login, Created: time.Now(), Name: "client"}
		if _, err := db.AddTLSPublicKey(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// message returns a message that must arrive as being with a protocol.
func (s *submission) message(subject, with string) []byte {
	s.want = append(s.want, sent{subject, with})
	return []byte("From: <" + login + ">\nTo: <" + login + ">\nSubject: " + subject + "\n\nHello.\n.\nlast line\n")
}

// arrived wants what was sent to be in the Inbox, each message once, and from a
// user who logged in.
func (s *submission) arrived(t *testing.T) {
	t.Helper()
	p := s.imap(t, "Inbox")
	all := func() bool {
		p.ok("NOOP")
		return len(p.search("ALL")) >= len(s.want)
	}
	if len(s.want) == 0 || !eventually(all) {
		t.Errorf("%d messages arrived of %d", len(p.search("ALL")), len(s.want))
	}
	authenticated := regexp.MustCompile(`\r\nAuthentication-Results: localhost;\s+auth=pass\s+smtp\.mailfrom=mox@localhost\r\n`)
	for _, m := range s.want {
		uids := p.search("SUBJECT \"%s\"", m.subject)
		if len(uids) != 1 {
			t.Errorf("%s: got %d messages, want 1", m.subject, len(uids))
			continue
		}
		got := p.bytes(uids[0], "BODY.PEEK[]")
		if !authenticated.MatchString(got) || !strings.Contains(strings.ReplaceAll(got, "\r\n", " "), " with "+m.with+" ") {
			t.Errorf("%s: got %q, want it authenticated and with %s", m.subject, got, m.with)
		}
	}
	if n := len(p.search("ALL")); n != len(s.want) {
		t.Errorf("%d messages arrived, want %d", n, len(s.want))
	}
}

// Keywords for "with" in Received fields, RFC 3848.
const (
	withLogin    = "ESMTPA"
	withLoginTLS = "ESMTPSA"
)

// ways are the ways to submit mail.
var ways = []struct{ name, port, with string }{
	{"plain", portSubmission, withLogin},
	{"starttls", portSubmission, withLoginTLS},
	{"tls", portSubmissions, withLoginTLS},
}

// TestSubmitCurl submits with curl, and each mechanism that this curl has.
func TestSubmitCurl(t *testing.T) {
	t.Parallel()
	s := startSubmission(t)
	c := curl{t, s.server}
	mechanisms := []string{"PLAIN", "LOGIN"}
	if strings.Contains(c.run("--version"), " gsasl") {
		mechanisms = append(mechanisms, "SCRAM-SHA-1", "SCRAM-SHA-256")
	}
	for _, way := range ways {
		args := []string{"-v", "--mail-from", login, "--mail-rcpt", login, "--crlf", "-T", filepath.Join(s.dir, "message")}
		url := "smtp://" + s.address(way.port)
		switch way.name {
		case "starttls":
			args = append(args, "--ssl-reqd", "--cacert", s.server.cert())
		case "tls":
			url = "smtps://" + s.address(way.port)
			args = append(args, "--cacert", s.server.cert())
		}
		args = append(args, url+"/client.example")
		submit := func(mechanism string, more ...string) {
			subject := "curl " + mechanism + " " + way.name
			if err := os.WriteFile(filepath.Join(s.dir, "message"), s.message(subject, way.with), 0o600); err != nil {
				t.Fatal(err)
			}
			got := c.run(slices.Concat(args, []string{"--login-options", "AUTH=" + mechanism}, more)...)
			c.want(subject, got, "> AUTH "+mechanism)
		}
		for _, mechanism := range mechanisms {
			submit(mechanism, "-u", login+":"+password)
		}
		if way.name != "plain" {
			submit("EXTERNAL", "-u", login+":", "--cert", s.cert, "--key", s.key)
		}
		if got, err := c.try(append(args, "-u", login+":wrong")...); err == nil {
			t.Errorf("with a wrong password: %s", got)
		}
		if got, err := c.try(args...); err == nil {
			t.Errorf("without login: %s", got)
		}
	}
	s.arrived(t)
}

// TestSubmitPython submits with Python's smtplib, see the script.
func TestSubmitPython(t *testing.T) {
	t.Parallel()
	s := startSubmission(t)
	script := filepath.Join("testdata", "submission.py")
	command(t, nil, tool(t, "python3"), "-B", script, s.ip, portSubmission, portIMAP, portSubmissions, s.server.cert())
	for _, way := range ways {
		for _, how := range []string{"PLAIN", "LOGIN", "best"} {
			s.want = append(s.want, sent{"python " + how + " " + way.name, way.with})
		}
	}
	s.arrived(t)
}

// TestSubmitMsmtp submits with msmtp.
func TestSubmitMsmtp(t *testing.T) {
	t.Parallel()
	s := startSubmission(t)
	msmtp := tool(t, "msmtp")
	_, supported, _ := strings.Cut(command(t, nil, msmtp, "--version"), "authentication methods:\n")
	supported, _, _ = strings.Cut(supported, "\n")
	file := filepath.Join(s.dir, "msmtprc")
	for _, way := range ways {
		for _, mechanism := range []string{"plain", "login", "scram-sha-1", "scram-sha-256", "scram-sha-1-plus", "scram-sha-256-plus", "external"} {
			plus := strings.HasSuffix(mechanism, "-plus")
			if way.name == "plain" && (plus || mechanism == "external") || plus && !slices.Contains(strings.Fields(supported), mechanism) {
				continue
			}
			conf := fmt.Sprintf("account default\nhost %s\nport %s\ndomain client.example\nfrom %s\ntimeout %.0f\nauth %s\n", s.ip, way.port, login, patience.Seconds(), mechanism)
			conf += "user " + login + "\n"
			if mechanism == "external" {
				conf += "tls_cert_file " + s.cert + "\ntls_key_file " + s.key + "\n"
			} else {
				conf += "password " + password + "\n"
			}
			switch way.name {
			case "plain":
				conf += "tls off\n"
			case "starttls":
				conf += "tls on\ntls_starttls on\ntls_trust_file " + s.server.cert() + "\n"
			case "tls":
				conf += "tls on\ntls_starttls off\ntls_trust_file " + s.server.cert() + "\n"
			}
			if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			subject := "msmtp " + mechanism + " " + way.name
			command(t, s.message(subject, way.with), msmtp, "-C", file, "--", login)
		}
	}
	s.arrived(t)
}

// TestSubmitSNail submits with s-nail.
func TestSubmitSNail(t *testing.T) {
	t.Parallel()
	s := startSubmission(t)
	snail := tool(t, "s-nail")
	user := strings.Replace(login, "@", "%40", 1)
	for _, way := range ways {
		for _, mechanism := range []string{"plain", "login", "external"} {
			mta := "smtp://" + user + ":" + password + "@" + s.address(way.port)
			// It knows no certificates for addresses. Here the certificate is trusted, and
			// its name is not looked at.
			args := []string{
				"-:/", "-S", "v15-compat", "-S", "from=" + login, "-S", "smtp-auth=" + mechanism, "-S", "hostname=client.example",
				"-S", "tls-ca-file=" + s.server.cert(), "-S", "tls-ca-no-defaults", "-S", "tls-verify=ignore",
			}
			switch {
			case way.name == "plain" && mechanism == "external":
				continue
			case way.name == "starttls":
				args = append(args, "-S", "smtp-use-starttls")
			case way.name == "tls":
				mta = strings.Replace(mta, "smtp:", "smtps:", 1)
			}
			if mechanism == "external" {
				mta = strings.Replace(mta, ":"+password+"@", "@", 1)
				args = append(args, "-S", "tls-config-pairs=Certificate="+s.cert+",PrivateKey="+s.key)
			}
			subject := "s-nail " + mechanism + " " + way.name
			s.want = append(s.want, sent{subject, way.with})
			args = append(args, "-S", "mta="+mta, "-s", subject, login)
			command(t, []byte("Hello.\n"), snail, args...)
		}
	}
	s.arrived(t)
}

// TestSubmitGo submits with go-smtp and go-sasl.
func TestSubmitGo(t *testing.T) {
	t.Parallel()
	s := startSubmission(t)
	cert, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range ways {
		for mechanism, client := range map[string]sasl.Client{
			sasl.Plain: sasl.NewPlainClient("", login, password), sasl.Login: sasl.NewLoginClient(login, password), sasl.External: sasl.NewExternalClient(""),
		} {
			if way.name == "plain" && mechanism == sasl.External {
				continue
			}
			conf := s.tlsConfig(t)
			if mechanism == sasl.External {
				conf.Certificates = []tls.Certificate{cert}
			}
			c, err := dialGo(s.dial(t, way.port), way.name, conf)
			if err != nil {
				t.Fatal(err)
			}
			subject := "go-smtp " + mechanism + " " + way.name
			if err := c.Auth(client); err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
			msg := strings.ReplaceAll(string(s.message(subject, way.with)), "\n", "\r\n")
			if err := send(c, login, gosmtp.MailOptions{}, msg, login); err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
		}
	}
	s.arrived(t)
}

func dialGo(conn net.Conn, way string, conf *tls.Config) (*gosmtp.Client, error) {
	switch way {
	case "starttls":
		return gosmtp.NewClientStartTLS(conn, conf)
	case "tls":
		return gosmtp.NewClient(tls.Client(conn, conf)), nil
	}
	return gosmtp.NewClient(conn), nil
}

// TestSubmitSendmail submits with mox sendmail, as its configuration says.
func TestSubmitSendmail(t *testing.T) {
	t.Parallel()
	s := startSubmission(t)
	for _, way := range ways {
		for _, mechanism := range []string{"", "PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "EXTERNAL", "seed"} {
			c := config.Submit{
				LocalHostname: "client.example", Host: s.ip, TLS: way.name == "tls", STARTTLS: way.name == "starttls",
				Username: login, From: login, DefaultDestination: login, AuthMethod: mechanism,
			}
			c.Port = 1587
			if c.TLS {
				c.Port = 1465
			}
			switch mechanism {
			case "EXTERNAL":
				c.ClientAuthCertPrivateKeyPEMFile = s.both
			case "seed":
				c.AuthMethod, c.ClientAuthEd25519PrivateKey = "", s.seed
			default:
				c.Password = password
			}
			if way.name == "plain" && (strings.HasSuffix(mechanism, "-PLUS") || c.Password == "") {
				continue
			}
			s.sendmail(t, c, "sendmail "+mechanism+" "+way.name, way.with)
		}
	}
	s.arrived(t)
}

// sendmail runs the program with a configuration, as cron does.
func (s *submission) sendmail(t *testing.T, c config.Submit, subject, with string) {
	t.Helper()
	text, err := config.FormatSubmit(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "moxsubmit.conf")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), "sendmail", "-C", file, "-v", "-i", "root")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+s.server.cert(), "HOME="+s.dir)
	cmd.Stdin = strings.NewReader(string(s.message(subject, with)))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", subject, err, text, out)
	}
	if c.AuthMethod != "" && !strings.Contains(string(out), "AUTH "+c.AuthMethod) {
		t.Errorf("%s: got %s", subject, out)
	}
}

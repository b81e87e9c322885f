package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/sasl"
)

// submitServer is another implementation's server for submission.
type submitServer struct {
	t    *testing.T
	cert tls.Certificate
	port int

	mu       sync.Mutex
	messages []submitted
	logins   []string // Mechanisms, with how the client showed who it is.
}

// submitted is a message that the server has taken.
type submitted struct {
	from, text string
	to         []string
	requireTLS bool
	asked      string // About notifications.
}

// newSubmitServer starts a server. It takes five recipients at a time.
func newSubmitServer(t *testing.T, immediate bool) *submitServer {
	t.Helper()
	b := &submitServer{t: t, cert: submitCertificate(t)}
	s := gosmtp.NewServer(b)
	s.Domain = "mail.example.org"
	s.AllowInsecureAuth = true
	s.EnableREQUIRETLS, s.EnableDSN = true, true
	s.MaxRecipients = 5
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{b.cert}, ClientAuth: tls.RequestClientCert}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.port = ln.Addr().(*net.TCPAddr).Port
	if immediate {
		ln = tls.NewListener(ln, s.TLSConfig)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = ln.Close() // If it wasn't served yet.
		<-served
	})
	return b
}

func submitCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// login notes a login.
func (b *submitServer) login(how string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logins = append(b.logins, how)
}

// take returns what was taken since the last call.
func (b *submitServer) take() (messages []submitted, logins []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	messages, logins = b.messages, b.logins
	b.messages, b.logins = nil, nil
	return messages, logins
}

func (b *submitServer) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	return &submitSession{server: b, conn: c}, nil
}

type submitSession struct {
	server  *submitServer
	conn    *gosmtp.Conn
	message submitted
}

func (s *submitSession) Reset()        { s.message = submitted{} }
func (s *submitSession) Logout() error { return nil }

func (s *submitSession) Mail(from string, opts *gosmtp.MailOptions) error {
	s.message = submitted{from: from, requireTLS: opts.RequireTLS, asked: string(opts.Return) + " " + opts.EnvelopeID}
	return nil
}

func (s *submitSession) Rcpt(to string, opts *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.message.to = append(s.message.to, to)
	s.message.asked += fmt.Sprint(" ", opts.Notify)
	return nil
}

func (s *submitSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if bytes.Contains(text, []byte("spam")) {
		return &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 7, 1}, Message: "spam"}
	}
	s.message.text = string(text)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.messages = append(s.server.messages, s.message)
	return nil
}

func (s *submitSession) AuthMechanisms() []string {
	if _, ok := s.conn.TLSConnectionState(); ok {
		return []string{sasl.Plain, sasl.SCRAM256Plus, sasl.External}
	}
	return []string{sasl.Plain, sasl.SCRAM256}
}

func (s *submitSession) Auth(mech string) (gosasl.Server, error) {
	cs, isTLS := s.conn.TLSConnectionState()
	switch mech {
	case sasl.Plain:
		return gosasl.NewPlainServer(func(_, username, password string) error {
			if username != "user@example.org" || password != "secret" {
				return errors.New("no")
			}
			s.server.login(mech)
			return nil
		}), nil
	case sasl.External:
		return gosasl.NewExternalServer(func(string) error {
			key, err := x509.MarshalPKIXPublicKey(cs.PeerCertificates[0].PublicKey)
			s.server.login(mech + " " + base64.StdEncoding.EncodeToString(key))
			return err
		}), nil
	}
	salt := []byte("salt")
	keys, err := sasl.DeriveSCRAM(crypto.SHA256, "secret", salt, 4096)
	scram := &sasl.SCRAMServer{Hash: crypto.SHA256, Plus: mech == sasl.SCRAM256Plus, Rand: rand.Reader, Lookup: func(string) (sasl.SCRAMUser, error) {
		return sasl.SCRAMUser{Salt: salt, Iterations: 4096, Keys: []sasl.SCRAMKeys{keys}}, err
	}}
	if isTLS {
		scram.Channel, scram.PlusOffered = &sasl.Channel{State: &cs, Certificate: s.server.cert.Leaf}, true
	}
	return &submitSCRAM{SCRAMServer: scram, done: func() { s.server.login(mech) }}, nil
}

// submitSCRAM sends the server's proof as a challenge.
type submitSCRAM struct {
	*sasl.SCRAMServer
	over bool
	done func()
}

func (s *submitSCRAM) Next(resp []byte) ([]byte, bool, error) {
	if s.over {
		s.done()
		return nil, true, nil
	}
	challenge, done, err := s.SCRAMServer.Next(resp)
	s.over = done
	return challenge, false, err
}

// sender is a host that has sendmail.
type sender struct {
	t    *testing.T
	home string
	env  sendmailEnv
}

// newSender returns one that submits to b as settings say.
func newSender(t *testing.T, b *submitServer, change func(*config.Submit)) *sender {
	t.Helper()
	s := config.Submit{
		LocalHostname: "host.example.org", Host: "127.0.0.1", Port: int64(b.port), TLS: true,
		Username: "user@example.org", Password: "secret", From: "user@example.org", DefaultDestination: "admin@example.org",
	}
	change(&s)
	text, err := config.FormatSubmit(s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	roots := x509.NewCertPool()
	roots.AddCert(b.cert.Leaf)
	h := &sender{t: t, home: filepath.Join(dir, "home"), env: sendmailEnv{config: filepath.Join(dir, "submit.conf"), home: filepath.Join(dir, "home"), roots: roots}}
	if err := errors.Join(os.WriteFile(h.env.config, text, 0o600), os.Mkdir(h.home, 0o755)); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *sender) run(text string, args ...string) (code int, stdout, stderr string) {
	h.t.Helper()
	var out, errs bytes.Buffer
	inv := &invocation{stdin: strings.NewReader(text), stdout: &out, stderr: &errs, sendmail: h.env}
	code = inv.main(h.t.Context(), append([]string{"sendmail"}, args...), func(string) string { return "" })
	return code, out.String(), errs.String()
}

// sent checks that a message is sent without a word.
func (h *sender) sent(text string, args ...string) {
	h.t.Helper()
	if code, stdout, stderr := h.run(text, args...); code != 0 || stdout != "" || stderr != "" {
		h.t.Errorf("sendmail %q: got %d, stdout %q, stderr %q", args, code, stdout, stderr)
	}
	if failed := h.failed(); len(failed) > 0 {
		h.t.Errorf("sendmail %q: kept %q", args, failed)
	}
}

// notSent checks that a message fails for a reason and is kept, and returns what
// was kept.
func (h *sender) notSent(reason, text string, args ...string) string {
	h.t.Helper()
	code, stdout, stderr := h.run(text, args...)
	failed := h.failed()
	if code != 1 || stdout != "" || !strings.Contains(stderr, reason) || len(failed) != 1 || !strings.Contains(stderr, "is kept in "+h.home) {
		h.t.Errorf("sendmail %q: got %d, stdout %q, stderr %q, kept %q, want %q", args, code, stdout, stderr, failed, reason)
		return ""
	}
	return failed[0]
}

// failed returns the messages that were kept, and removes them.
func (h *sender) failed() (texts []string) {
	h.t.Helper()
	dir := filepath.Join(h.home, "moxsubmit.failures")
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		h.t.Fatal(err)
	}
	for _, path := range append([]string{dir}, names(dir, files)...) {
		info, err := os.Stat(path)
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			h.t.Errorf("others can read %s: %v, %v", path, info.Mode(), err)
		}
	}
	for _, path := range names(dir, files) {
		text, err := os.ReadFile(path)
		if err := errors.Join(err, os.Remove(path)); err != nil {
			h.t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

func names(dir string, files []os.DirEntry) (paths []string) {
	for _, f := range files {
		paths = append(paths, filepath.Join(dir, f.Name()))
	}
	return paths
}

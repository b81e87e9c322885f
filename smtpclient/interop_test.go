package smtpclient

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
)

// backend is another implementation's server, with our side of the mechanisms that
// it has none of.
type backend struct {
	mu  sync.Mutex
	got []received
}

// received is a message, or a login with user only.
type received struct {
	user, from, content string
	to                  []string
	opts                gosmtp.MailOptions
}

func (b *backend) add(r received) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, r)
}

func (b *backend) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	return &session{backend: b, conn: c}, nil
}

type session struct {
	backend *backend
	conn    *gosmtp.Conn
	message received
}

func (s *session) Reset()        { s.message = received{} }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, opts *gosmtp.MailOptions) error {
	s.message = received{from: from, opts: *opts}
	return nil
}

func (s *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.message.to = append(s.message.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if bytes.Contains(content, []byte("spam")) {
		return &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 7, 1}, Message: "spam"}
	}
	s.message.content = string(content)
	s.backend.add(s.message)
	return nil
}

func (s *session) AuthMechanisms() []string {
	list := []string{sasl.CRAMMD5, sasl.SCRAM1, sasl.SCRAM256, sasl.Plain, sasl.Login}
	if _, ok := s.conn.TLSConnectionState(); ok {
		list = append(list, sasl.External, sasl.SCRAM1Plus, sasl.SCRAM256Plus)
	}
	return list
}

func (s *session) Auth(mech string) (gosasl.Server, error) {
	ok := func() error { s.backend.add(received{user: mech}); return nil }
	check := func(username, password string) error {
		if username != "user" || password != "secret" {
			return errors.New("no")
		}
		return ok()
	}
	var channel *sasl.Channel
	if cs, isTLS := s.conn.TLSConnectionState(); isTLS {
		channel = &sasl.Channel{State: &cs, Certificate: certificate().Leaf}
	}
	scram := func(hash crypto.Hash, plus bool) *sasl.SCRAMServer {
		salt := []byte("salt")
		keys, err := sasl.DeriveSCRAM(hash, "secret", salt, 4096)
		return &sasl.SCRAMServer{Hash: hash, Plus: plus, Rand: rand.Reader, Channel: channel, PlusOffered: channel != nil, Lookup: func(username string) (sasl.SCRAMUser, error) {
			return sasl.SCRAMUser{Salt: salt, Iterations: 4096, Keys: []sasl.SCRAMKeys{keys}}, err
		}}
	}
	switch mech {
	case sasl.Plain:
		return gosasl.NewPlainServer(func(_, username, password string) error { return check(username, password) }), nil
	case sasl.Login:
		server := &sasl.LoginServer{}
		return wrap{server, func() error { return check(server.Username, server.Password) }, new(bool)}, nil
	case sasl.External:
		return gosasl.NewExternalServer(func(string) error { return ok() }), nil
	case sasl.CRAMMD5:
		server := &sasl.CRAMMD5Server{Challenge: "<1@x>"}
		return wrap{server, func() error {
			key, err := sasl.CRAMMD5Key("secret")
			if err != nil {
				return err
			}
			digest, err := sasl.CRAMMD5Digest(key, server.Challenge)
			if err != nil || !hmac.Equal(server.Digest, digest) {
				return errors.New("no")
			}
			return ok()
		}, new(bool)}, nil
	case sasl.SCRAM1, sasl.SCRAM1Plus:
		return wrap{scram(crypto.SHA1, mech == sasl.SCRAM1Plus), ok, new(bool)}, nil
	case sasl.SCRAM256, sasl.SCRAM256Plus:
		return wrap{scram(crypto.SHA256, mech == sasl.SCRAM256Plus), ok, new(bool)}, nil
	}
	return nil, gosmtp.ErrAuthUnknownMechanism
}

// wrap makes one of our mechanisms fit: what it says last goes as a challenge.
type wrap struct {
	sasl.Server
	check func() error
	over  *bool
}

func (w wrap) Next(resp []byte) (challenge []byte, done bool, err error) {
	if *w.over {
		return nil, true, w.check()
	}
	challenge, done, err = w.Server.Next(resp)
	if err == nil && done && len(challenge) > 0 {
		*w.over = true
		return challenge, false, nil
	}
	if err == nil && done {
		err = w.check()
	}
	return challenge, done, err
}

// startGoSMTP starts a server and returns how to connect to it.
func startGoSMTP(t *testing.T, b *backend, immediate bool) func() net.Conn {
	t.Helper()
	s := gosmtp.NewServer(b)
	s.Domain = "mx.example.org"
	s.AllowInsecureAuth = true
	s.EnableSMTPUTF8 = true
	s.EnableREQUIRETLS = true
	s.MaxMessageBytes = 5 << 20
	s.MaxRecipients = 50
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate()}}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
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
	return func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

func testTLS() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(certificate().Leaf)
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// TestGoSMTP sends mail to another implementation, in all ways to connect, log in
// and transfer.
func TestGoSMTP(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]TLSMode{"plain": TLSSkip, "starttls": TLSRequired, "immediate": TLSImmediate} {
		mechanisms := []string{sasl.Plain, sasl.Login, sasl.CRAMMD5, sasl.SCRAM1, sasl.SCRAM256}
		if mode != TLSSkip {
			mechanisms = append(mechanisms, sasl.External, sasl.SCRAM1Plus, sasl.SCRAM256Plus)
		}
		for _, mech := range mechanisms {
			t.Run(name+"/"+mech, func(t *testing.T) {
				t.Parallel()
				b := &backend{}
				dial := startGoSMTP(t, b, mode == TLSImmediate)
				c, err := New(t.Context(), dial(), Options{
					Hello: "client.example", TLS: mode, TLSConfig: testTLS(),
					Auth: func(mechanisms []string, cs *tls.ConnectionState) (sasl.Client, error) {
						return sasl.Choose([]string{mech}, mechanisms, sasl.ClientOptions{
							Username: "user", Password: "secret", Rand: rand.Reader, Channel: sasl.ClientChannel(cs), Certificate: cs != nil,
						})
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				sendGoSMTP(t, c, b, mode != TLSSkip)
				if len(b.got) == 0 || b.got[0].user != mech {
					t.Errorf("login: got %+v", b.got)
				}
			})
		}
	}
}

// sendGoSMTP sends messages of all kinds and checks what has arrived.
func sendGoSMTP(t *testing.T, c *Client, b *backend, requireTLS bool) {
	t.Helper()
	if ext := c.Extensions(); !ext.Pipelining || !ext.Chunking || ext.RcptMax != 50 || ext.Size != 5<<20 || (c.TLS() != nil) != requireTLS {
		t.Errorf("got %+v, TLS %v", ext, c.TLS() != nil)
	}
	small := "Subject: x\r\n\r\n.\r\n..\r\né\r\n"
	large := small + strings.Repeat("..345678901234\r\n", 200_000)
	for _, content := range []string{small, small + "spam\r\n", large, small} {
		result, err := c.Send(t.Context(), Transaction{
			From: path("jürgen@b.example"), To: []smtp.Path{path("a@example.org"), path("nobody@example.org")},
			EightBit: true, RequireTLS: requireTLS, Size: int64(len(content)),
			Content: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
		})
		if strings.Contains(content, "spam") {
			if refused, ok := errors.AsType[*Reply](err); !ok || refused.Code != 554 || refused.Enhanced != "5.7.1" {
				t.Errorf("spam: got %v", err)
			}
			continue
		}
		if refused, ok := errors.AsType[*Reply](result.Rcpts[1]); err != nil || result.Rcpts[0] != nil || !ok || refused.Enhanced != "5.1.1" || result.MaybeSent {
			t.Errorf("got %+v, %v", result, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var contents []string
	for _, m := range b.got {
		if m.user != "" {
			continue
		}
		contents = append(contents, m.content)
		if m.from != "jürgen@b.example" || len(m.to) != 1 || !m.opts.UTF8 || m.opts.Body != gosmtp.Body8BitMIME || m.opts.RequireTLS != requireTLS || m.opts.Size != int64(len(m.content)) {
			t.Errorf("got envelope %q, %q, %+v", m.from, m.to, m.opts)
		}
	}
	if len(contents) != 3 || contents[0] != small || contents[1] != large || contents[2] != small {
		t.Errorf("got %d messages", len(contents))
	}
}

// TestGoSMTPRefusals shows what a wrong password, and TLS with a name that isn't in
// the certificate, look like.
func TestGoSMTPRefusals(t *testing.T) {
	t.Parallel()
	dial := startGoSMTP(t, &backend{}, false)
	for _, mech := range []string{sasl.Plain, sasl.CRAMMD5, sasl.SCRAM256Plus} {
		_, err := New(t.Context(), dial(), Options{
			Hello: "client.example", TLS: TLSRequired, TLSConfig: testTLS(),
			Auth: func(mechanisms []string, cs *tls.ConnectionState) (sasl.Client, error) {
				return sasl.Choose([]string{mech}, mechanisms, sasl.ClientOptions{Username: "user", Password: "wrong", Rand: rand.Reader, Channel: sasl.ClientChannel(cs)})
			},
		})
		if refused, ok := errors.AsType[*Reply](err); !ok || refused.Command != "AUTH" {
			t.Errorf("%s: got %v", mech, err)
		}
	}
	config := testTLS()
	config.ServerName = "other.example"
	_, err := New(t.Context(), dial(), Options{Hello: "client.example", TLS: TLSOpportunistic, TLSConfig: config})
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !errors.Is(err, ErrTLS) || !ok {
		t.Errorf("another name: got %v", err)
	}
}

// TestClientCertificateRefused shows that in TLS 1.3, where a server's refusal comes
// after our side of the handshake, it is ErrTLS as well.
func TestClientCertificateRefused(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		s := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate()}, ClientAuth: tls.RequireAnyClientCert})
		served <- s.HandshakeContext(t.Context())
	}()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(t.Context(), conn, Options{Hello: "client.example", TLS: TLSImmediate, TLSConfig: testTLS()})
	if serr := <-served; !errors.Is(err, ErrTLS) || serr == nil {
		t.Errorf("got %v, server %v", err, serr)
	}
}

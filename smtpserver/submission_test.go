package smtpserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	netsmtp "net/smtp"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/sasl"
)

// plainOf is the message of PLAIN for an account of the tests.
func plainOf(account string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + account + "@example.org\x00" + password))
}

// login logs a client in with PLAIN.
func (c *client) login(account string) {
	c.t.Helper()
	c.send("EHLO client.example\r\n")
	c.want("250 ")
	c.send("AUTH PLAIN " + plainOf(account) + "\r\n")
	c.want("235 2.7.0 ")
}

// submit sends a message after a login.
func (c *client) submit(from, to, content string) {
	c.t.Helper()
	c.send("MAIL FROM:<" + from + "> SMTPUTF8\r\nRCPT TO:<" + to + ">\r\nDATA\r\n")
	c.want("250 ")
	c.want("250 ")
	c.want("354 ")
	c.send(content + ".\r\n")
	c.want("250 2.0.0 queued as id")
}

// handshake goes over to TLS with a certificate, if cert is not nil.
func (c *client) handshake(ctx context.Context, cert *tls.Certificate) (*tls.ConnectionState, error) {
	config := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	t := tls.Client(c.conn, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	c.conn, c.r = t, bufio.NewReader(t)
	state := t.ConnectionState()
	return &state, nil
}

// TestSubmissionContent looks at what a message in the queue tells of how it came.
func TestSubmissionContent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{submission: true, plainLogin: true})
		c := newClient(t, e.dial(""))
		c.want("220 ")
		c.login("alice")
		c.submit("alice@example.org", "x@b.example", "From: alice@example.org\r\n\r\n")
		secure := newClient(t, e.dial(""))
		secure.want("220 ")
		secure.send("STARTTLS\r\n")
		secure.want("220 ")
		secure.secure()
		secure.login("bob")
		secure.submit("bob@example.org", "é@b.example", "From: bob@example.org\r\nBcc: x@b.example\r\n\r\n")
		c.conn.Close()
		secure.conn.Close()
		synctest.Wait()
		for i, want := range []string{
			`^Authentication-Results: mx\.example\.org; auth=pass\r\n smtp\.mailfrom=alice@example\.org\r\n` +
				`Received: from mx\.example\.org by mx\.example\.org with ESMTPA\r\n id [-_A-Za-z0-9]{22} for <x@b\.example>; Sat, 01 Jan 2000 00:00:00 \+0000\r\n` +
				`Date: Sat, 01 Jan 2000 00:00:00 \+0000\r\nMessage-ID: <AAECAwQFBgcICQoLDA0ODw@mx\.example\.org>\r\nFrom: alice@example\.org\r\n\r\n$`,
			`^Authentication-Results: mx\.example\.org; auth=pass\r\n smtp\.mailfrom=bob@example\.org\r\n` +
				`Received: from mx\.example\.org by mx\.example\.org with UTF8SMTPSA\r\n \(TLS1\.3 TLS_[A-Z0-9_]+\) id [-_A-Za-z0-9]{22} for <é@b\.example>;\r\n Sat, 01 Jan 2000 00:00:00 \+0000\r\n` +
				`Date: Sat, 01 Jan 2000 00:00:00 \+0000\r\nMessage-ID: <AAECAwQFBgcICQoLDA0ODw@mx\.example\.org>\r\nFrom: bob@example\.org\r\n\r\n$`,
		} {
			m := e.users.queued()[i]
			if got := e.users.content(m); !regexp.MustCompile(want).MatchString(got) || strings.Contains(got, "127.0.0.1") {
				t.Errorf("got message %q, want %s", got, want)
			}
			if account := []string{"alice", "bob"}[i]; m.Account != account {
				t.Errorf("message is of account %s, want %s", m.Account, account)
			}
		}
		e.close()
	})
}

// TestChannelBinding logs in with SCRAM-SHA-256-PLUS, on the connection that the
// client thinks it has and on another.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			e := newEnv(t, settings{submission: true, exempt: true, log: slog.New(slog.NewTextHandler(&log, nil))})
			for _, same := range []bool{false, true} {
				c := newClient(t, e.dial(""))
				c.want("220 ")
				c.send("STARTTLS\r\n")
				c.want("220 ")
				conn := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
				if err := conn.HandshakeContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				state := conn.ConnectionState()
				channel := sasl.ClientChannel(&state)
				if !same {
					channel = &sasl.Channel{State: &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true, TLSUnique: []byte("another")}}
				}
				c.conn, c.r = conn, bufio.NewReader(conn)
				c.send("EHLO client.example\r\n")
				c.want("250 ")
				m := &sasl.SCRAMClient{Hash: crypto.SHA256, Plus: true, Rand: rand.Reader, Username: "alice@example.org", Password: password, Channel: channel, PlusOffered: true}
				reply, err := c.exchange(m)
				want := map[bool]string{true: "235 2.7.0 logged in", false: "535 5.7.7 the connection is not what you take it for (id)"}[same]
				if err != nil || reply != want {
					t.Errorf("%s, same connection %v: got %q, %v, want %q", tls.VersionName(version), same, reply, err, want)
				}
				if warned := strings.Contains(log.String(), "level=WARN"); !warned {
					t.Errorf("log has no warning: %s", log.String())
				}
				c.conn.Close()
			}
			synctest.Wait()
			e.close()
		})
	}
}

// exchange carries the messages of a mechanism, and returns the reply.
func (c *client) exchange(m sasl.Client) (reply string, err error) {
	resp, _, err := m.Next(nil)
	line := "AUTH " + m.Name()
	if resp != nil {
		line += " " + base64.StdEncoding.EncodeToString(resp)
	}
	for err == nil {
		c.send(line + "\r\n")
		if reply, err = c.r.ReadString('\n'); err != nil {
			break
		}
		reply = strings.TrimSuffix(reply, "\r\n")
		encoded, ok := strings.CutPrefix(reply, "334 ")
		if !ok {
			return reply, nil
		}
		challenge, derr := base64.StdEncoding.DecodeString(encoded)
		resp, _, err = m.Next(challenge)
		err = errors.Join(derr, err)
		line = base64.StdEncoding.EncodeToString(resp)
	}
	return reply, err
}

// TestClientCertificates logs in with keys of client certificates.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	register := func(t *testing.T, e *env, account string, noPreauth bool) *tls.Certificate {
		t.Helper()
		cert := certificate(t)
		_, err := e.users.keys.AddTLSPublicKey(t.Context(), authdb.TLSPublicKey{
			CertDER: cert.Certificate[0], Account: account, LoginAddress: account + "@example.org", NoPreauth: noPreauth,
		})
		if err != nil {
			t.Fatal(err)
		}
		return &cert
	}
	const notLoggedIn = "530 5.7.0 log in first"
	for _, tc := range []struct {
		name      string
		account   string
		noPreauth bool
		lines     []string // What is sent, and the begin of its reply.
	}{
		{"its owner is logged in", "alice", false, []string{
			"MAIL FROM:<alice@example.org>", "250 2.1.0", "AUTH EXTERNAL =", "503 5.5.1 not while",
		}},
		{"and may log in as well", "alice", false, []string{
			"AUTH EXTERNAL =", "235 2.7.0", "AUTH EXTERNAL =", "503 5.5.1 you are logged in", "MAIL FROM:<alice@example.org>", "250 2.1.0",
		}},
		{"by password too", "alice", false, []string{"AUTH PLAIN " + plainOf("alice"), "235 2.7.0"}},
		{"but not as another", "alice", false, []string{
			"AUTH PLAIN " + plainOf("bob"), "535 5.7.8 no authorization", "AUTH EXTERNAL " + base64.StdEncoding.EncodeToString([]byte("bob@example.org")), "535 5.7.8",
			"MAIL FROM:<bob@example.org>", "550 5.7.1", "MAIL FROM:<alice@example.org>", "250 2.1.0",
		}},
		{"its owner does not want to be logged in", "alice", true, []string{
			"MAIL FROM:<alice@example.org>", notLoggedIn, "AUTH EXTERNAL", "334 ", "", "235 2.7.0", "MAIL FROM:<alice@example.org>", "250 2.1.0",
		}},
		{"its account is closed", "dave", false, []string{"MAIL FROM:<dave@example.org>", notLoggedIn, "AUTH EXTERNAL =", "525 5.7.13 on leave until spring"}},
		{"its account is gone", "erin", false, []string{"MAIL FROM:<>", notLoggedIn, "AUTH EXTERNAL =", "535 5.7.8"}},
	} {
		for _, implicit := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, settings{submission: true, exempt: true, implicit: implicit})
				cert := register(t, e, tc.account, tc.noPreauth)
				c := newClient(t, e.dial(""))
				if !implicit {
					c.want("220 ")
					c.send("STARTTLS\r\n")
					c.want("220 ")
				}
				if _, err := c.handshake(t.Context(), cert); err != nil {
					t.Fatal(err)
				}
				if implicit {
					c.want("220 ")
				}
				c.send("EHLO client.example\r\n")
				for line := ""; !strings.HasPrefix(line, "250 "); {
					var err error
					if line, err = c.r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
					if mechanisms, ok := strings.CutPrefix(line, "250-AUTH "); ok && !strings.HasPrefix(mechanisms, "EXTERNAL ") {
						t.Errorf("%s: got mechanisms %q, want EXTERNAL first", tc.name, mechanisms)
					}
				}
				for i := 0; i < len(tc.lines); i += 2 {
					c.send(tc.lines[i] + "\r\n")
					c.want(tc.lines[i+1])
				}
				c.conn.Close()
				synctest.Wait()
				e.close()
			})
		}
	}
}

// TestUnknownCertificate has a client show a key that nobody has registered, with
// both versions of TLS.
func TestUnknownCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{submission: true, implicit: true})
		cert := certificate(t)
		c := newClient(t, e.dial(""))
		_, err := c.handshake(t.Context(), &cert)
		if err == nil {
			_, err = c.r.ReadString('\n') // With TLS 1.3 the client is told afterwards.
		}
		if err == nil || !strings.Contains(err.Error(), "bad certificate") {
			t.Errorf("got %v, want a bad certificate", err)
		}
		c.conn.Close()
		synctest.Wait()
		e.close()
	})
}

// troubled is an Authenticator with trouble.
type troubled struct {
	*auth.Authenticator
	err error
}

func (a troubled) Begin(auth.Attempt, auth.Conn, string) (*auth.Exchange, error) { return nil, a.err }

// TestAuthTrouble checks that no client asks for another password because of
// trouble that is ours.
func TestAuthTrouble(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		want string
		ours float64
	}{
		{"busy", auth.ErrBusy, "454 4.7.0 too many logins at once, please try again (id)", 0},
		{"the disk", errors.New("disk is on fire"), "454 4.7.0 logins can't be checked now, please try again later (id)", 1},
		{"limits", auth.ErrLimited, "421 4.7.0 too many failed logins, please try again later (id)", 0},
		{"shutting down", context.Canceled, "421 4.3.2 shutting down, please try again later (id)", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEnv(t, settings{submission: true, plainLogin: true, change: func(o *Options) {
				o.Auth = troubled{o.Auth.(*auth.Authenticator), tc.err} //nolint:forcetypeassert // It is.
			}})
			c := newClient(t, e.dial(""))
			c.want("220 ")
			c.send("EHLO client.example\r\n")
			c.want("250 ")
			c.send("AUTH PLAIN " + plainOf("alice") + "\r\n")
			c.want(tc.want)
			c.conn.Close()
			synctest.Wait()
			if got := e.counted()["errors_total internal"]; got != tc.ours {
				t.Errorf("%s: counted %v errors of ours, want %v", tc.name, got, tc.ours)
			}
			e.close()
		})
	}
}

// TestAuthStop stops the server while a client is within an exchange.
func TestAuthStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{submission: true, plainLogin: true})
		c := newClient(t, e.dial(""))
		c.want("220 ")
		c.send("EHLO client.example\r\n")
		c.want("250 ")
		c.send("AUTH LOGIN\r\n")
		c.want("334 ")
		synctest.Wait()
		e.cancel()
		c.want("421 4.3.2 shutting down")
		c.wantEOF()
		e.close()
	})
}

// TestAuthTrace checks that credentials are only in the log where that is asked
// for.
func TestAuthTrace(t *testing.T) {
	t.Parallel()
	for _, level := range []slog.Level{logfmt.LevelTrace, logfmt.LevelTraceAuth} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			e := newEnv(t, settings{submission: true, plainLogin: true, log: slog.New(logfmt.New(&log, logfmt.NewLevels(level)))})
			c := newClient(t, e.dial(""))
			c.want("220 ")
			c.login("alice")
			other := newClient(t, e.dial(""))
			other.want("220 ")
			other.send("EHLO client.example\r\n")
			other.want("250 ")
			other.send("AUTH PLAIN\r\n")
			other.want("334 ")
			other.send(plainOf("bob") + "\r\n")
			other.want("235 ")
			c.conn.Close()
			other.conn.Close()
			synctest.Wait()
			for _, account := range []string{"alice", "bob"} {
				if got, want := strings.Contains(log.String(), plainOf(account)), level == logfmt.LevelTraceAuth; got != want {
					t.Errorf("at level %v, credentials of %s are in the log: %v, want %v", level, account, got, want)
				}
			}
			for _, want := range []string{"AUTH PLAIN", "msg=login", "account=bob", "kind=submission", "mechanism=plain"} {
				if !strings.Contains(log.String(), want) && !strings.Contains(log.String(), strings.TrimPrefix(want, "msg=")) {
					t.Errorf("log lacks %s:\n%s", want, log.String())
				}
			}
			e.close()
		})
	}
}

func TestElideAuth(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"AUTH PLAIN secret":        "AUTH PLAIN ***",
		"auth  plain  se cret":     "auth plain ***",
		"\tAuth\tLogin\tsecret":    "Auth Login ***",
		"AUTH PLAIN":               "AUTH PLAIN",
		"MAIL FROM:<a@b> AUTH=<x>": "MAIL FROM:<a@b> AUTH=<x>",
		"":                         "",
	} {
		if got := elideAuth(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestSubmissionMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{submission: true, implicit: true, connectionsMax: 1})
		c := newClient(t, e.dial(""))
		if _, err := c.handshake(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		c.want("220 ")
		c.login("alice")
		c.submit("alice@example.org", "x@b.example", "From: alice@example.org\r\n\r\n")
		c.send("MAIL FROM:<>\r\nRCPT TO:<x@b.example>\r\nDATA\r\n.\r\n")
		for _, want := range []string{"250 ", "250 ", "354 ", "554 5.6.0"} {
			c.want(want)
		}
		// Nothing can be said in plain text here.
		refused := newClient(t, e.dial(""))
		if _, err := refused.handshake(t.Context(), nil); err == nil {
			t.Error("a connection too many was taken")
		}
		c.conn.Close()
		synctest.Wait()
		got := e.counted()
		for name, want := range map[string]float64{
			"connection_total submissions": 1, "connection_total submission": 0, "connection_total deliver": 0, "errors_total connection-refused": 1,
			"submission_total ok": 1, "submission_total badmessage": 1, "submission_total badfrom": 0, "delivery_starttls_total": 0,
			"command_duration_seconds AUTH 235 2.7.0 submissions": 1,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s: got %v, want %v; have %v", name, v, want, got)
			}
		}
		e.close()
	})
}

// TestNetSMTP has another implementation's client log in over TCP, with TLS and
// without, and send mail.
func TestNetSMTP(t *testing.T) {
	t.Parallel()
	for _, set := range []settings{
		{submission: true, exempt: true, implicit: true},
		{submission: true, exempt: true},
		{submission: true, exempt: true, plain: true, plainLogin: true, cramMD5: true},
	} {
		e := newEnv(t, set)
		dial, stop := listen(t, e)
		conn := dial()
		config := &tls.Config{InsecureSkipVerify: true}
		if set.implicit {
			conn = tls.Client(conn, config)
		}
		c, err := netsmtp.NewClient(conn, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if !set.implicit && !set.plain {
			if err := c.StartTLS(config); err != nil {
				t.Fatal(err)
			}
		}
		mechanism := netsmtp.PlainAuth("", "alice@example.org", password, "127.0.0.1")
		if set.cramMD5 {
			mechanism = netsmtp.CRAMMD5Auth("alice@example.org", password)
		}
		if err := errors.Join(c.Auth(mechanism), c.Mail("alice@example.org"), c.Rcpt("x@b.example")); err != nil {
			t.Fatal(err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("From: alice@example.org\r\n\r\nhi\r\n.\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Quit(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if list := e.users.queued(); len(list) != 1 || !strings.HasSuffix(e.users.content(list[0]), "\r\n\r\nhi\r\n.\r\n") {
			t.Errorf("%d messages are in the queue", len(list))
		}
		stop()
		e.close()
	}
}

// TestListenerLacks checks that a listener is refused that would take mail from
// nobody.
func TestListenerLacks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		for _, l := range []Listener{{Submission: true}, {Implicit: true}} {
			if err := e.server.Serve(t.Context(), newPipeListener(), l); err == nil {
				t.Errorf("served %+v", l)
			}
		}
		e.close()
	})
}

// TestSubmissionFull has the disk of the queue become full while a client is there:
// each of its messages is refused for now, and taken again in the same connection
// when there is room.
func TestSubmissionFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{submission: true, plainLogin: true})
		c := newClient(t, e.dial(""))
		c.want("220 ")
		c.login("alice")
		const content = "From: alice@example.org\r\n\r\n"
		c.submit("alice@example.org", "1@b.example", content)
		c.send("MAIL FROM:<alice@example.org>\r\nRCPT TO:<2@b.example>\r\nDATA\r\n")
		c.want("250 ")
		c.want("250 ")
		c.want("354 ")
		e.users.free.Store(0)
		c.send(content + ".\r\n")
		c.want("452 4.3.1 not enough room now (id)")
		for range 3 {
			c.send("MAIL FROM:<alice@example.org>\r\n")
			c.want("452 4.3.1 not enough room now (id)")
		}
		if got := len(e.users.queued()); got != 1 {
			t.Errorf("%d messages are in the queue, want that from before", got)
		}
		e.users.free.Store(1 << 40)
		c.submit("alice@example.org", "3@b.example", content)
		if got := len(e.users.queued()); got != 2 {
			t.Errorf("%d messages are in the queue", got)
		}
		c.conn.Close()
		e.close()
	})
}

// TestSubmissionLimitsRestart has an account reach its limits, and the server start
// again: they are as before, and a day later the account may send again.
func TestSubmissionLimitsRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{submission: true, plainLogin: true})
		const content = "From: carol@example.org\r\n\r\n" // She may send 3 messages a day, 2 of them to new addresses.
		session := func(talk func(c *client)) {
			t.Helper()
			c := newClient(t, e.dial(""))
			c.want("220 ")
			c.login("carol")
			talk(c)
			c.conn.Close()
			synctest.Wait()
		}
		session(func(c *client) {
			c.submit("carol@example.org", "1@b.example", content)
			c.submit("carol@example.org", "2@b.example", content)
		})
		e.users.restart(e)
		session(func(c *client) {
			c.send("MAIL FROM:<carol@example.org>\r\nRCPT TO:<3@b.example>\r\nDATA\r\n" + content + ".\r\n")
			c.want("250 ")
			c.want("250 ")
			c.want("354 ")
			c.want("451 4.7.1 your account has sent to as many new addresses as it may in a day: 2 (id)")
			c.submit("carol@example.org", "1@b.example", content)
			c.send("MAIL FROM:<carol@example.org>\r\n")
			c.want("451 4.7.1 your account has sent as many messages as it may in a day: 3 (id)")
		})
		e.users.restart(e)
		session(func(c *client) {
			c.send("MAIL FROM:<carol@example.org>\r\n")
			c.want("451 4.7.1 your account has sent as many messages as it may in a day: 3 (id)")
		})
		time.Sleep(25 * time.Hour)
		session(func(c *client) { c.submit("carol@example.org", "3@b.example", content) })
		e.close()
	})
}

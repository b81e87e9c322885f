package imapserver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/store"
)

// password is that of all test accounts.
const password = "test1234"

// env is a server with a store of its own and the account mox.
type env struct {
	t        testing.TB
	store    *store.Dir
	server   *Server
	auth     logins
	keys     *authdb.DB
	listener Listener
	dir      string
	panics   int
	quota    int64
	messages int64 // That an account may have; 0: any number.
	cancel   context.CancelFunc
	done     chan struct{}
	conns    chan net.Conn // For connections in memory.
}

// newEnv makes a server. Setup is as in transcripts.
func newEnv(t testing.TB, setup map[string]string) *env {
	t.Helper()
	e := &env{t: t, conns: make(chan net.Conn), dir: t.TempDir()}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	e.store, err = store.Open(t.Context(), store.Options{
		Dir: e.dir, Log: log, SegmentSize: 1 << 20, QuotaSize: func(string) int64 { return e.quota }, QuotaMessages: func(string) int64 { return e.messages },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mox", "other", "closed"} {
		e.createAccount(name)
	}
	e.auth, e.keys = newLogins(t, e.dir, e.store, log)
	opts := Options{Log: log, Accounts: e.store, Auth: e.auth, Version: "1", Grace: 200 * time.Millisecond, Panicked: func() { e.panics++ }, AdminURI: "mailto:postmaster@mail.example.org"}
	_, opts.Pedantic = setup["pedantic"]
	opts.AppendSizeMax = setupNumber(t, setup, "appendmax")
	opts.Disabled = func(account string) []string {
		if account != "mox" || setup["off"] == "" {
			return nil
		}
		return strings.Split(setup["off"], ",")
	}
	if e.server, err = New(opts); err != nil {
		t.Fatal(err)
	}
	e.listener = Listener{Name: "test", PlainLogin: setup["plain"] != "no", Hostname: "mail.example.org"}
	_, e.listener.CRAMMD5 = setup["crammd5"]
	_, e.listener.Implicit = setup["implicit"]
	if _, ok := setup["tls"]; ok || e.listener.Implicit {
		e.listener.TLS = e.auth.ClientCertificates(&tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	}
	e.appendMessages("Inbox", int(setupNumber(t, setup, "inbox")))
	e.quota, e.messages = setupNumber(t, setup, "quota"), setupNumber(t, setup, "messages")
	return e
}

func setupNumber(t testing.TB, setup map[string]string, key string) int64 {
	if setup[key] == "" {
		return 0
	}
	n, err := strconv.ParseInt(setup[key], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (e *env) createAccount(name string) {
	c, err := testCredential()
	if err != nil {
		e.t.Fatal(err)
	}
	a, err := e.store.Create(e.t.Context(), name, store.NewAccount{Credentials: []store.Credential{c}, Mailboxes: []store.NewMailbox{
		{Name: "Archive", Use: store.UseArchive}, {Name: "Sent", Use: store.UseSent},
	}})
	if err != nil {
		e.t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		e.t.Fatal(err)
	}
}

// appendMessages adds n small messages to a mailbox of mox.
func (e *env) appendMessages(mailbox string, n int) {
	for i := range n {
		e.appendMessage(mailbox, testMessage(i+1))
	}
}

func testMessage(n int) string {
	return fmt.Sprintf("From: Sender %d <s%d@example.org>\r\nTo: mox@example.org\r\nSubject: message %d\r\n"+
		"Date: Sat, 0%d Jan 2000 12:00:00 +0100\r\nMessage-ID: <m%d@example.org>\r\n\r\nBody %d.\r\n", n, n, n, n%9+1, n, n)
}

func (e *env) appendMessage(mailbox, content string) {
	a, err := e.store.Account(e.t.Context(), "mox")
	if err != nil {
		e.t.Fatal(err)
	}
	defer a.Close()
	staged, err := a.Stage(e.t.Context(), int64(len(content)), strings.NewReader(content))
	if err != nil {
		e.t.Fatal(err)
	}
	err = a.Update(e.t.Context(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox(mailbox)
		if err == nil {
			_, err = tx.Append(&mb, staged, store.AppendOptions{})
		}
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// start serves connections made by dial.
func (e *env) start() {
	ctx, cancel := context.WithCancel(e.t.Context())
	e.cancel, e.done = cancel, make(chan struct{})
	go func() {
		defer close(e.done)
		if err := e.server.Serve(ctx, memoryListener{ctx, e.conns}, e.listener); err != nil {
			e.t.Error(err)
		}
	}()
}

// stop stops the server and closes the store.
func (e *env) stop() {
	if e.cancel != nil {
		e.cancel()
		<-e.done
	}
	if err := errors.Join(e.store.Close(), e.keys.Close()); err != nil {
		e.t.Error(err)
	}
	if e.panics > 0 {
		e.t.Errorf("%d panics", e.panics)
	}
}

// dial returns a new connection in memory.
func (e *env) dial() net.Conn {
	client, server := net.Pipe()
	e.conns <- server
	return client
}

// dialLogin returns a connection that is logged in.
func (e *env) dialLogin() net.Conn {
	nc := e.dial()
	br := bufio.NewReader(nc) // Nothing is sent that we don't wait for.
	readTo := func(start string) {
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				e.t.Fatal(err)
			}
			if strings.HasPrefix(line, start) {
				return
			}
		}
	}
	readTo("* OK")
	if _, err := fmt.Fprintf(nc, "login LOGIN mox %s\r\n", password); err != nil {
		e.t.Fatal(err)
	}
	readTo("login OK")
	return nc
}

// memoryListener accepts what is sent to a channel.
type memoryListener struct {
	ctx   context.Context
	conns chan net.Conn
}

func (l memoryListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l memoryListener) Close() error   { return nil }
func (l memoryListener) Addr() net.Addr { return &net.UnixAddr{} }

// certificate returns a certificate signed by itself.
func certificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// listen serves connections on a TCP port, and returns its address. It ends with
// the test.
func (e *env) listen() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.t.Context()))
	done := make(chan error)
	go func() { done <- e.server.Serve(ctx, ln, e.listener) }()
	e.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			e.t.Error(err)
		}
		e.stop()
	})
	return ln.Addr().String()
}

// client is a connection for tests that look at responses themselves.
type client struct {
	t   testing.TB
	nc  net.Conn
	br  *bufio.Reader
	tag int
}

func newClient(t testing.TB, nc net.Conn) *client {
	return &client{t: t, nc: nc, br: bufio.NewReader(nc)}
}

// line reads a line, without CRLF.
func (c *client) line() string {
	c.t.Helper()
	line, err := c.br.ReadString('\n')
	if err != nil {
		c.t.Fatalf("after %q: %v", line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// command sends a command and returns the untagged responses, without "* ", and
// the reply, without its tag. Literals in responses are put in their place.
func (c *client) command(format string, args ...any) (untagged []string, reply string) {
	c.t.Helper()
	c.tag++
	tag := "t" + strconv.Itoa(c.tag) + " "
	if _, err := fmt.Fprintf(c.nc, tag+format+"\r\n", args...); err != nil {
		c.t.Fatal(err)
	}
	for {
		line := c.line()
		if rest, ok := strings.CutPrefix(line, tag); ok {
			return untagged, rest
		}
		for strings.HasSuffix(line, "}") {
			i := strings.LastIndexByte(line, '{')
			n, err := strconv.Atoi(line[i+1 : len(line)-1])
			if err != nil {
				c.t.Fatalf("%q: %v", line, err)
			}
			buf := make([]byte, n)
			if _, err := io.ReadFull(c.br, buf); err != nil {
				c.t.Fatal(err)
			}
			line += "\r\n" + string(buf) + c.line()
		}
		untagged = append(untagged, strings.TrimPrefix(line, "* "))
	}
}

// ok is command for one that must succeed.
func (c *client) ok(format string, args ...any) []string {
	c.t.Helper()
	untagged, reply := c.command(format, args...)
	if !strings.HasPrefix(reply, "OK") {
		c.t.Fatalf("%s: %s", fmt.Sprintf(format, args...), reply)
	}
	return untagged
}

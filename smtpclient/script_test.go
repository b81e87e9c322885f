package smtpclient

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
)

// TestScripts plays each testdata/*.txt as a server against a Client. Their lines:
//
//	# text                  a comment
//	# new: k=v ...          what the client does, in order: see actor
//	# content: "text" * n
//	# send: k=v ...         from a@b.example to c@example.org if it doesn't say
//	# close
//	# result: text          what came of each new and send, in order
//	S: text                 the server sends this with CRLF
//	S< "text" * n           the server sends this as it is
//	C: text                 the client's next line is exactly this
//	C< "text" * n           the client's next bytes are exactly these
//	TLS                     a TLS handshake
//	SLEEP 5m                the server is silent for a while
//	CLOSE                   the server closes the connection
//	EOF                     the client has closed it, and sent nothing more
//	HELLO ext, ext          greeting and EHLO
//	ENVELOPE                MAIL and RCPT, accepted
//	DATA                    DATA, accepted
//	BYE                     QUIT, and EOF
func TestScripts(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) < 10 {
		t.Fatalf("found %q, %v", names, err)
	}
	certificate() // Not first within a bubble.
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "\n====\n") {
			t.Run(fmt.Sprintf("%s-%d", filepath.Base(name), i), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { play(t, part) })
			})
		}
	}
}

// play plays one conversation.
func play(t *testing.T, text string) {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	a := &actor{conn: client}
	var want []string
	s := scriptServer{conn: server, r: bufio.NewReader(server)}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if result, ok := strings.CutPrefix(line, "# result: "); ok {
			want = append(want, result)
		} else if action, ok := strings.CutPrefix(line, "# "); ok {
			a.actions = append(a.actions, action)
		} else if line != "" && line != "#" {
			s.steps = append(s.steps, line)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a.cancel = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx, t)
	}()
	if err := s.run(); err != nil {
		server.Close()
		<-done
		t.Errorf("%v\nresults: %q", err, a.results)
		return
	}
	<-done
	if !slices.Equal(a.results, want) {
		t.Errorf("got results:\n%s\nwant:\n%s", strings.Join(a.results, "\n"), strings.Join(want, "\n"))
	}
}

// scriptServer is the server's side.
type scriptServer struct {
	conn  net.Conn
	r     *bufio.Reader
	steps []string
}

func (s *scriptServer) run() error {
	for _, step := range s.steps {
		if err := s.step(step); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

// several returns the steps that one word stands for.
func several(op, arg string) []string {
	switch op {
	case "HELLO":
		steps := []string{"S: 220 mx.example", "C: EHLO client.example"}
		if arg == "" {
			return append(steps, "S: 250 mx.example")
		}
		extensions := strings.Split("mx.example, "+arg, ", ")
		last := len(extensions) - 1
		for _, ext := range extensions[:last] {
			steps = append(steps, "S: 250-"+ext)
		}
		return append(steps, "S: 250 "+extensions[last])
	case "ENVELOPE":
		return []string{"C: MAIL FROM:<a@b.example>", "S: 250 ok", "C: RCPT TO:<c@example.org>", "S: 250 ok"}
	case "DATA":
		return []string{"C: DATA", "S: 354 go ahead"}
	case "BYE":
		return []string{"C: QUIT", "S: 221 bye", "EOF"}
	}
	return nil
}

func (s *scriptServer) step(step string) error {
	op, arg, _ := strings.Cut(step, " ")
	for _, one := range several(op, arg) {
		if err := s.step(one); err != nil {
			return fmt.Errorf("%s: %w", one, err)
		}
	}
	switch op {
	case "HELLO", "ENVELOPE", "DATA", "BYE":
		return nil
	case "S:":
		_, err := io.WriteString(s.conn, arg+"\r\n")
		return err
	case "S<":
		data, err := unquote(arg)
		if err != nil {
			return err
		}
		_, err = s.conn.Write(data)
		return err
	case "C:":
		line, err := s.r.ReadString('\n')
		if err == nil && line != arg+"\r\n" {
			err = fmt.Errorf("got %q", line)
		}
		return err
	case "C<":
		data, err := unquote(arg)
		if err != nil {
			return err
		}
		return s.expect(data)
	case "TLS":
		conn := tls.Server(s.conn, &tls.Config{Certificates: []tls.Certificate{certificate()}})
		s.conn, s.r = conn, bufio.NewReader(conn)
		return conn.Handshake()
	case "SLEEP":
		d, err := time.ParseDuration(arg)
		time.Sleep(d)
		return err
	case "CLOSE":
		return s.conn.Close()
	case "EOF":
		if rest, err := io.ReadAll(s.r); err != nil || len(rest) > 0 {
			return fmt.Errorf("got %q, %w", rest, err)
		}
		return nil
	}
	return errors.New("no such step")
}

func (s *scriptServer) expect(want []byte) error {
	got := make([]byte, len(want))
	if n, err := io.ReadFull(s.r, got); err != nil {
		return fmt.Errorf("got %d bytes of %d, %w", n, len(want), err)
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("at byte %d got %q", i, got[i:min(len(got), i+80)])
		}
	}
	return nil
}

// unquote returns the bytes of `"text"` or `"text" * n`, of several joined by "+".
func unquote(s string) (data []byte, err error) {
	for rest := s; rest != ""; {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil, fmt.Errorf("not a quoted string: %s", rest)
		}
		text, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		times := 1
		var count string
		count, rest, _ = strings.Cut(strings.TrimSpace(rest[len(quoted):]), "+")
		if count, ok := strings.CutPrefix(count, "*"); ok {
			if times, err = strconv.Atoi(strings.TrimSpace(count)); err != nil {
				return nil, err
			}
		}
		data = append(data, strings.Repeat(text, times)...)
		rest = strings.TrimSpace(rest)
	}
	return data, nil
}

// actor uses a Client as a script says.
type actor struct {
	conn    net.Conn
	cancel  context.CancelFunc
	client  *Client
	content []byte
	actions []string
	results []string
}

func (a *actor) run(ctx context.Context, t *testing.T) {
	defer a.conn.Close()
	for _, action := range a.actions {
		word, arg, _ := strings.Cut(action, " ")
		switch word {
		case "new:":
			a.start(ctx, arg)
		case "content:":
			var err error
			if a.content, err = unquote(arg); err != nil {
				t.Error(err)
			}
		case "send:":
			if a.client == nil {
				return
			}
			a.results = append(a.results, a.send(ctx, settings(arg)))
		case "close":
			_ = a.client.Close() // Errors are of a pipe that is closed already.
		}
	}
}

// settings parses "k=v k=v".
func settings(s string) map[string]string {
	m := map[string]string{}
	for word := range strings.FieldsSeq(s) {
		k, v, _ := strings.Cut(word, "=")
		m[k] = v
	}
	return m
}

func (a *actor) start(ctx context.Context, arg string) {
	set := settings(arg)
	roots := x509.NewCertPool()
	roots.AddCert(certificate().Leaf)
	opts := Options{
		Hello:     "client.example",
		TLS:       map[string]TLSMode{"": TLSSkip, "opportunistic": TLSOpportunistic, "required": TLSRequired, "immediate": TLSImmediate}[set["tls"]],
		TLSConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"},
	}
	if name, ok := set["servername"]; ok {
		opts.TLSConfig.ServerName = name
	}
	if hello, ok := set["hello"]; ok {
		opts.Hello = hello
	}
	_, opts.Strict8Bit = set["strict8bit"]
	if set["auth"] != "" {
		opts.Auth = func([]string, *tls.ConnectionState) (sasl.Client, error) { return mechanism(set["auth"]) }
	}
	a.after(set)
	var err error
	a.client, err = New(ctx, a.conn, opts)
	a.results = append(a.results, "new: "+outcome(err))
}

// after cancels the context after a while.
func (a *actor) after(set map[string]string) {
	if d, err := time.ParseDuration(set["cancel"]); err == nil {
		time.AfterFunc(d, a.cancel)
	}
}

func (a *actor) send(ctx context.Context, set map[string]string) string {
	tx := Transaction{Size: int64(len(a.content))}
	from, to := "a@b.example", "c@example.org"
	if v, ok := set["from"]; ok {
		from = v
	}
	if v, ok := set["to"]; ok {
		to = v
	}
	tx.From = path(from)
	for to := range strings.SplitSeq(to, ",") {
		tx.To = append(tx.To, path(to))
	}
	if n, err := strconv.Atoi(set["rcpts"]); err == nil {
		tx.To = nil
		for i := range n {
			tx.To = append(tx.To, path(fmt.Sprintf("rcpt%04d@example.org", i)))
		}
	}
	_, tx.EightBit = set["8bit"]
	_, tx.SMTPUTF8 = set["smtputf8"]
	_, tx.RequireTLS = set["requiretls"]
	if d, err := time.ParseDuration(set["hold"]); err == nil {
		tx.HoldFor = d
	}
	if v := set["dsn"]; v != "" {
		tx.DSN = smtp.MailDSN{Return: "FULL", EnvelopeID: "Q 1+2=3"} // An id with all that xtext encodes.
		for notify := range strings.SplitSeq(v, "/") {
			tx.RcptDSN = append(tx.RcptDSN, smtp.RcptDSN{Notify: smtp.Notify(notify), Original: set["orcpt"]})
		}
	}
	if n, err := strconv.ParseInt(set["size"], 10, 64); err == nil {
		tx.Size = n
	}
	tx.Content = func() (io.ReadCloser, error) {
		if _, ok := set["missing"]; ok {
			return nil, os.ErrNotExist
		}
		r := io.Reader(bytes.NewReader(a.content))
		if _, ok := set["unreadable"]; ok {
			r = io.MultiReader(r, brokenReader{})
		}
		return io.NopCloser(r), nil
	}
	a.after(set)
	result, err := a.client.Send(ctx, tx)
	words := []string{"send: " + outcome(err)}
	for _, err := range result.Rcpts[:min(len(result.Rcpts), 5)] {
		words = append(words, outcome(err))
	}
	if result.MaybeSent {
		words = append(words, "maybe")
	}
	if result.Reply != "" {
		words = append(words, "reply "+result.Reply)
	}
	if a.client.Broken() {
		words = append(words, "broken")
	}
	return strings.Join(words, " | ")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func path(s string) smtp.Path {
	addr, err := smtp.ParseAddress(s)
	if err != nil {
		return smtp.Path{Localpart: smtp.Localpart(s), IPDomain: dns.IPDomain{}}
	}
	return addr.Path()
}

// outcome describes an error by what callers can tell.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	var words []string
	for name, is := range map[string]error{
		"tls": ErrTLS, "notls": ErrNoTLS, "nosmtputf8": ErrNoSMTPUTF8, "no8bitmime": ErrNo8BitMIME, "norequiretls": ErrNoRequireTLS, "nofuturerelease": ErrNoFutureRelease,
		"size": ErrSize, "content": ErrContent, "auth": ErrAuth, "protocol": ErrProtocol, "lost": ErrLost,
		"canceled": context.Canceled, "timeout": os.ErrDeadlineExceeded,
	} {
		if errors.Is(err, is) {
			words = append(words, name)
		}
	}
	slices.Sort(words)
	if r, ok := errors.AsType[*Reply](err); ok {
		words = append(words, r.Error())
		if r.TooMany {
			words = append(words, "toomany")
		}
		if r.Temporary() {
			words = append(words, "(temporary)")
		}
	}
	if len(words) == 0 {
		return err.Error()
	}
	return strings.Join(words, " ")
}

// testMechanism is a mechanism that says what it is told to.
type testMechanism struct {
	name      string
	responses [][]byte // The first is for no challenge; nil: none.
	want      []string // Challenges, from the second response on.
	at        int
}

func mechanism(name string) (sasl.Client, error) {
	switch name {
	case "plain":
		return &testMechanism{name: "PLAIN", responses: [][]byte{[]byte("\x00user\x00secret")}}, nil
	case "plain-long":
		return &testMechanism{name: "PLAIN", responses: [][]byte{bytes.Repeat([]byte("x"), 400)}}, nil
	case "external":
		return &testMechanism{name: "EXTERNAL", responses: [][]byte{{}}}, nil
	case "scram":
		return &testMechanism{name: "SCRAM", responses: [][]byte{[]byte("first"), []byte("proof"), {}}, want: []string{"salt", "verifier"}}, nil
	case "cram":
		return &testMechanism{name: "CRAM-MD5", responses: [][]byte{nil, []byte("digest")}, want: []string{"salt"}}, nil
	case "endless":
		m := &testMechanism{name: "ENDLESS", responses: [][]byte{nil}}
		for range 20 {
			m.responses, m.want = append(m.responses, []byte("x")), append(m.want, "")
		}
		return m, nil
	case "nil":
		return nil, nil
	}
	return nil, errors.New("no mechanism")
}

func (m *testMechanism) Name() string { return m.name }

func (m *testMechanism) Next(challenge []byte) (resp []byte, done bool, err error) {
	if m.at > 0 && string(challenge) != m.want[m.at-1] || m.at == 0 && challenge != nil {
		return nil, false, fmt.Errorf("challenge %q", challenge)
	}
	m.at++
	return m.responses[m.at-1], m.at == len(m.responses), nil
}

// certificate returns a certificate for localhost, valid at the time of bubbles
// and of tests.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

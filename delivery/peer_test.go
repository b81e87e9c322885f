package delivery

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/sasl"
)

// peer is somebody's mail server. It takes mail, unless told otherwise.
type peer struct {
	extensions string // For EHLO, separated by commas. With STARTTLS, cert must be set.
	cert       *tls.Certificate

	// answers has what it says instead, by command: "" for the greeting, "." for a
	// message, "RCPT bob" for one recipient, others by their verb. Each is used once
	// until the last, which stays. An empty one is as if there were none. Those that
	// are no reply: "drop" closes the connection, "taken" does so after a good reply,
	// "stall" says nothing more, "noise" sends what is no SMTP.
	answers map[string][]string

	// serves, if not nil, is what it does with a connection instead of all else.
	serves func(net.Conn)

	immediate bool // TLS from the beginning.

	// login returns the server's side of a mechanism for AUTH, nil for one that it
	// doesn't know. Nil: it knows none.
	login func(mechanism string, cs *tls.ConnectionState) sasl.Server

	// again is the same for connections that have had a message.
	again map[string]string

	mu          sync.Mutex
	connections int
	commands    []string // Verbs.
	hellos      []string // Names in EHLO.
	logins      []string // Mechanisms that succeeded.
	got         []mail
}

// mail is a message that a peer has accepted.
type mail struct {
	from, to string // As in the commands, recipients separated by spaces.
	data     string
	tls      bool
	params   string // Of MAIL, and of each RCPT that was accepted, with "|" between them.
}

// answer returns what to say, and uses it up.
func (p *peer) answer(keys ...string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		list := p.answers[key]
		if len(list) == 0 {
			continue
		}
		if len(list) > 1 {
			p.answers[key] = list[1:]
		}
		if list[0] != "" {
			return list[0]
		}
	}
	return ""
}

// connectionCount returns how many connections it has had.
func (p *peer) connectionCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connections
}

// mails returns what it has got.
func (p *peer) mails() []mail {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]mail(nil), p.got...)
}

// summary is what it has got, without contents.
func (p *peer) summary() string {
	var b strings.Builder
	for i, m := range p.mails() {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", m.from, m.to)
		if m.tls {
			b.WriteString(" (tls)")
		}
	}
	return b.String()
}

// conversation is one connection of a peer.
type peerConn struct {
	*peer
	conn net.Conn
	r    *bufio.Reader
	tls  bool
	mail mail
	had  bool // A message.
}

// answer returns what to say, and uses it up.
func (c *peerConn) answer(keys ...string) string {
	for _, key := range keys {
		if s := c.again[key]; c.had && s != "" {
			return s
		}
	}
	return c.peer.answer(keys...)
}

func (p *peer) serve(conn net.Conn) {
	p.mu.Lock()
	p.connections++
	p.mu.Unlock()
	if p.serves != nil {
		p.serves(conn)
		return
	}
	c := &peerConn{peer: p, conn: conn, r: bufio.NewReader(conn)}
	defer func() { c.conn.Close() }()
	if p.immediate && !c.handshake() {
		return
	}
	if !c.say("220 peer ESMTP", "") {
		return
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		verb, args, _ := strings.Cut(line, " ")
		p.mu.Lock()
		p.commands = append(p.commands, verb)
		p.mu.Unlock()
		if !c.command(verb, args) {
			return
		}
	}
}

// say writes a reply, or what is there in its place. It returns false if the
// connection ends.
func (c *peerConn) say(reply string, keys ...string) bool {
	if other := c.answer(keys...); other != "" {
		reply = other
	}
	switch reply {
	case "drop":
		return false
	case "stall":
		_, _ = io.Copy(io.Discard, c.r)
		return false
	case "taken":
		_, _ = io.WriteString(c.conn, "250 2.0.0 taken\r\n")
		return false
	case "noise":
		reply = "this is\x00 not SMTP"
	}
	_, err := io.WriteString(c.conn, strings.ReplaceAll(reply, "\n", "\r\n")+"\r\n")
	return err == nil && (reply[0] == '2' || !strings.HasPrefix(reply, "421"))
}

// command answers a command.
func (c *peerConn) command(verb, args string) bool {
	switch verb {
	case "EHLO":
		c.mu.Lock()
		c.hellos = append(c.hellos, args)
		c.mu.Unlock()
		lines := []string{"peer"}
		if c.extensions != "" {
			lines = append(lines, strings.Split(c.extensions, ",")...)
		}
		reply := ""
		for i, line := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			reply += "250" + sep + line + "\n"
		}
		return c.say(strings.TrimSuffix(reply, "\n"), verb)
	case "STARTTLS":
		if !c.say("220 go ahead", verb) {
			return false
		}
		if c.answer("handshake") != "" {
			_, _ = io.ReadAtLeast(c.r, make([]byte, 5), 5)
			return false
		}
		return c.handshake()
	case "AUTH":
		return c.authenticate(args)
	case "MAIL":
		c.mail = mail{from: address(args), tls: c.tls, params: params(args)}
		return c.say("250 2.1.0 ok", verb)
	case "RCPT":
		return c.rcpt(args)
	case "DATA":
		if c.mail.to == "" {
			return c.say("554 5.5.1 no recipients")
		}
		if reply := c.answer(verb); reply != "" && reply[0] != '3' {
			return c.say(reply)
		}
		return c.say("354 go ahead") && c.message()
	case "BDAT":
		return c.chunk(args)
	case "QUIT":
		c.say("221 2.0.0 bye", verb)
		return false
	}
	return c.say("250 2.0.0 ok", verb)
}

func (c *peerConn) handshake() bool {
	conn := tls.Server(c.conn, &tls.Config{Certificates: []tls.Certificate{*c.cert}})
	if conn.Handshake() != nil {
		return false
	}
	c.conn, c.r, c.tls = conn, bufio.NewReader(conn), true
	return true
}

// authenticate does the exchange of AUTH.
func (c *peerConn) authenticate(args string) bool {
	if reply := c.answer("AUTH"); reply != "" {
		return c.say(reply)
	}
	mechanism, initial, _ := strings.Cut(args, " ")
	var server sasl.Server
	if c.login != nil {
		var cs *tls.ConnectionState
		if conn, ok := c.conn.(*tls.Conn); ok {
			state := conn.ConnectionState()
			cs = &state
		}
		server = c.login(mechanism, cs)
	}
	if server == nil {
		return c.say("504 5.5.4 unknown mechanism")
	}
	var resp []byte
	if initial != "" {
		resp, _ = base64.StdEncoding.DecodeString(initial)
	}
	for {
		challenge, done, err := server.Next(resp)
		if err != nil {
			return c.say("535 5.7.8 " + err.Error())
		}
		if done && len(challenge) == 0 {
			break
		}
		if !c.say("334 " + base64.StdEncoding.EncodeToString(challenge)) {
			return false
		}
		line, err := c.r.ReadString('\n')
		if err != nil {
			return false
		}
		resp, _ = base64.StdEncoding.DecodeString(strings.TrimSuffix(line, "\r\n"))
		if line == "*\r\n" {
			return c.say("501 5.0.0 cancelled")
		}
		if done {
			break
		}
	}
	c.mu.Lock()
	c.logins = append(c.logins, mechanism)
	c.mu.Unlock()
	return c.say("235 2.7.0 welcome")
}

func (c *peerConn) rcpt(args string) bool {
	to := address(args)
	localpart, _, _ := strings.Cut(to, "@")
	reply := c.answer("RCPT "+localpart, "RCPT")
	if reply == "" {
		reply = "250 2.1.5 ok"
	}
	if reply[0] == '2' {
		c.mail.to = strings.TrimPrefix(c.mail.to+" "+to, " ")
		c.mail.params += "|" + params(args)
	}
	return c.say(reply)
}

// message reads a message and takes it.
func (c *peerConn) message() bool {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			return c.take()
		}
		c.mail.data += strings.TrimPrefix(line, ".")
	}
}

func (c *peerConn) chunk(args string) bool {
	size, last, _ := strings.Cut(args, " ")
	n, err := strconv.Atoi(size)
	if err != nil {
		return false
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return false
	}
	c.mail.data += string(b)
	if last == "" {
		return c.say("250 2.0.0 more", "BDAT")
	}
	return c.take()
}

// take answers to the end of a message. A peer that loses the connection there has
// the message all the same.
func (c *peerConn) take() bool {
	reply := c.answer(".")
	if reply == "" {
		reply = "250 2.0.0 taken as 1234"
	}
	if reply[0] == '2' || reply[0] > '5' {
		c.mu.Lock()
		c.got = append(c.got, c.mail)
		c.mu.Unlock()
	}
	c.mail, c.had = mail{}, true
	return c.say(reply)
}

// address returns what is in angle brackets.
func address(args string) string {
	_, s, _ := strings.Cut(args, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

// params returns what is behind them.
func params(args string) string {
	_, s, _ := strings.Cut(args, ">")
	return strings.TrimSpace(s)
}

// certificate returns one that has signed itself. Change may change what is in it.
func certificate(t *testing.T, change ...func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(1000 * time.Hour)}
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

package outgoing

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/test/interop/netns"
)

// script is what a peer of ours does. It takes mail, with STARTTLS, unless told
// otherwise.
type script struct {
	extensions []string
	answers    answers
	noTLS      bool
	pause      time.Duration // Before each reply.
	sni        string        // Name that a client must ask for in TLS. Empty: any, or none.

	mu   sync.Mutex
	seen map[netip.Addr]*seen // By who has connected.
}

// answers are what a peer says in place of what it should, by command: "greeting",
// "handshake" for TLS, "content" after the first line of a message, "message" for
// its end, others by their verb. They are used one after the other, and the last
// one stays. An empty one is as if there were none. Lines are separated by "\n".
// Those that are no reply:
//
//	drop   closes the connection
//	stall  says nothing more
//	flood  sends a reply that does not end
//	drip   sends a reply that does not end, a byte now and then
//	late   closes the connection after a good reply
//	ahead  sends a good reply, and one more at once
type answers map[string][]string

// seen is what a peer has seen of somebody.
type seen struct {
	connections int
	commands    []string
	messages    []taken
}

// taken is a message that a peer has.
type taken struct {
	mail   string // Arguments of MAIL.
	secure bool
	text   string
}

// drips is the pause between bytes of what drips.
const drips = 50 * time.Millisecond

// by returns what was seen of somebody, and can be changed with the lock held.
func (s *script) by(ip netip.Addr) *seen {
	if s.seen == nil {
		s.seen = map[netip.Addr]*seen{}
	}
	if s.seen[ip] == nil {
		s.seen[ip] = &seen{}
	}
	return s.seen[ip]
}

// of returns a copy of what was seen of somebody.
func (s *script) of(ips ...netip.Addr) (all seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ip := range ips {
		one := s.by(ip)
		all.connections += one.connections
		all.commands = append(all.commands, one.commands...)
		all.messages = append(all.messages, one.messages...)
	}
	return all
}

// answer returns what to say, and uses it up.
func (s *script) answer(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.answers[key]
	if len(list) == 0 {
		return ""
	}
	if len(list) > 1 {
		s.answers[key] = list[1:]
	}
	return list[0]
}

// serve runs the peer at the address of its end until the test ends.
func (e *end) serve(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(e.ip, "25"))
	if err != nil {
		t.Fatal(err)
	}
	serveConns(t, ln, func(conn net.Conn, ended <-chan struct{}) {
		remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err != nil {
			return
		}
		c := &peerConn{script: e.script, end: e, remote: remote.Addr().Unmap(), conn: conn, raw: conn, r: bufio.NewReader(conn), ended: ended}
		c.note(func(s *seen) { s.connections++ })
		c.serve()
	})
}

// serveConns runs serve for each connection until the test ends. Ended is closed
// then, and connections are.
func serveConns(t *testing.T, ln net.Listener, serve func(conn net.Conn, ended <-chan struct{})) {
	t.Helper()
	var mu sync.Mutex
	var open []net.Conn
	var serving sync.WaitGroup
	ended := make(chan struct{})
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(netns.Time))
				serve(conn, ended)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		close(ended)
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
}

// peerConn is a connection to a peer.
type peerConn struct {
	*script
	end       *end
	remote    netip.Addr
	conn, raw net.Conn
	r         *bufio.Reader
	ended     <-chan struct{}
	secure    bool
	mail      string
	rcpts     int
}

func (c *peerConn) note(change func(*seen)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c.by(c.remote))
}

func (c *peerConn) serve() {
	for ok := c.say("220 "+c.end.logs+" ESMTP", "greeting"); ok; {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		c.note(func(s *seen) { s.commands = append(s.commands, line) })
		verb, args, _ := strings.Cut(line, " ")
		ok = c.command(verb, args)
	}
}

// say sends a reply, or does what is there in its place. It returns false at the end
// of the connection.
func (c *peerConn) say(good, key string) bool { return c.act(good, c.answer(key)) }

// act does what an answer says.
func (c *peerConn) act(good, answer string) bool {
	switch answer {
	case "":
		return c.write(good)
	case "drop":
		return false
	case "stall":
		_, _ = io.Copy(io.Discard, c.r)
		return false
	case "flood":
		for c.write(good[:3] + "-" + strings.Repeat("x", 500)) {
		}
		return false
	case "drip":
		c.drip(good[:3] + "-")
		return false
	case "late":
		_ = c.write(good)
		return false
	case "ahead":
		return c.write(good + "\n" + good)
	default:
		return c.write(answer) && !strings.HasPrefix(answer, "421") && !strings.HasPrefix(answer, "521")
	}
}

func (c *peerConn) write(lines string) bool {
	select {
	case <-c.ended:
	case <-time.After(c.pause):
	}
	_, err := io.WriteString(c.conn, strings.ReplaceAll(lines, "\n", "\r\n")+"\r\n")
	return err == nil
}

// drip sends bytes of a line that does not end.
func (c *peerConn) drip(begin string) {
	for i := 0; ; i++ {
		b := []byte("x")
		if i < len(begin) {
			b[0] = begin[i]
		}
		if _, err := c.conn.Write(b); err != nil {
			return
		}
		select {
		case <-c.ended:
			return
		case <-time.After(drips):
		}
	}
}

// command answers a command. It returns false at the end of the connection.
func (c *peerConn) command(verb, args string) bool {
	switch strings.ToUpper(verb) {
	case "EHLO":
		list := append([]string{c.end.logs}, c.extensions...)
		if !c.noTLS && !c.secure && !slices.Contains(list, "STARTTLS") {
			list = append(list, "STARTTLS")
		}
		for i := range list[:len(list)-1] {
			list[i] = "250-" + list[i]
		}
		list[len(list)-1] = "250 " + list[len(list)-1]
		return c.say(strings.Join(list, "\n"), verb)
	case "STARTTLS":
		return c.startTLS()
	case "MAIL":
		c.mail, c.rcpts = args, 0
	case "RCPT":
		c.rcpts++
	case "DATA":
		if answer := c.answer(verb); answer != "" {
			return c.act("354 go ahead", answer)
		}
		return c.write("354 go ahead") && c.message()
	case "QUIT":
		_ = c.say("221 2.0.0 bye", verb)
		return false
	}
	return c.say("250 2.0.0 ok", verb)
}

func (c *peerConn) startTLS() bool {
	if c.noTLS {
		return c.write("502 5.5.1 what?")
	}
	answer := c.answer("STARTTLS")
	if ok := c.act("220 go ahead", answer); !ok || answer != "" && answer != "ahead" {
		return ok
	}
	if answer := c.answer("handshake"); answer != "" {
		_, _ = io.ReadAtLeast(c.r, make([]byte, 5), 5) // Its hello has begun.
		_ = c.act("", answer)
		return false
	}
	cert := c.end.issued.tls()
	conn := tls.Server(c.raw, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c.sni != "" && hello.ServerName != c.sni {
			return nil, errors.New("unknown name")
		}
		return &cert, nil
	}})
	if conn.Handshake() != nil {
		return false
	}
	c.conn, c.r, c.secure = conn, bufio.NewReader(conn), true
	return true
}

// message reads a message, and takes it unless told otherwise.
func (c *peerConn) message() bool {
	var text strings.Builder
	for first := true; ; first = false {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "."))
		if first && c.peek("content") != "" {
			_ = c.say("", "content")
			return false
		}
	}
	if answer := c.peek("message"); answer == "" || answer[0] != '4' && answer[0] != '5' {
		c.note(func(s *seen) { s.messages = append(s.messages, taken{c.mail, c.secure, text.String()}) })
	}
	return c.say("250 2.0.0 taken", "message")
}

// peek returns what answer will.
func (c *peerConn) peek(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if list := c.answers[key]; len(list) > 0 {
		return list[0]
	}
	return ""
}

package interop

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/test/interop/netns"
)

// sink is a mail server that misbehaves as its script says, until it is healed.
// Then it takes mail as it should.
//
// The script has what it answers, by command: "greeting", "message" for the end of
// a message, "content" after the first line of one, "handshake" of TLS, "RCPT bob"
// for one recipient, others by their verb. An answer is a reply, of several lines
// with "\n" between, or one of these:
//
//	drop   closes the connection
//	reset  does so without good manners
//	stall  says nothing more
//	freeze reads nothing more, and says nothing
//	flood  sends a reply that does not end
//	late   closes the connection after a good reply
//	twice  sends a good reply two times
type sink struct {
	script     map[string]string
	extensions []string
	cert       tls.Certificate
	ln         net.Listener
	ended      chan struct{} // Closed when the test ends.
	serving    sync.WaitGroup

	mu     sync.Mutex
	healed bool
	open   map[net.Conn]bool
	got    []string // Recipients of messages it has, for each those of one transaction.
	secure int      // Of them, that came over TLS.
}

// newSink starts a sink, until the test ends.
func newSink(t *testing.T, ip string, s *sink) {
	t.Helper()
	var err error
	if s.ln, err = net.Listen("tcp", ip+":25"); err != nil {
		t.Fatal(err)
	}
	s.open, s.ended = map[net.Conn]bool{}, make(chan struct{})
	s.serving.Go(func() {
		for {
			conn, err := s.ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[conn] = true
			s.mu.Unlock()
			s.serving.Go(func() {
				(&sinkConn{sink: s, conn: conn, raw: conn, r: bufio.NewReader(conn)}).serve()
				s.mu.Lock()
				delete(s.open, conn)
				s.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = s.ln.Close()
		close(s.ended)
		s.mu.Lock()
		for conn := range s.open {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.serving.Wait()
	})
}

func (s *sink) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.healed = true
}

// has returns how many messages it has, and for whom.
func (s *sink) has() (n int, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got), strings.Join(s.got, "; ")
}

// secured returns how many of its messages came over TLS.
func (s *sink) secured() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secure
}

// answer returns what the script has for the first of keys that it has something
// for.
func (s *sink) answer(otherwise string, keys ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if a := s.script[key]; a != "" && !s.healed {
			return a
		}
	}
	return otherwise
}

// sinkConn is a connection to a sink.
type sinkConn struct {
	*sink
	conn, raw net.Conn
	r         *bufio.Reader
	to        []string
}

func (c *sinkConn) serve() {
	defer func() { _ = c.raw.Close() }()
	_ = c.raw.SetDeadline(time.Now().Add(netns.Time))
	for ok := c.say("220 sink ESMTP", "greeting"); ok; {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		verb, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		ok = c.command(verb, args)
	}
}

// say sends a reply, or does what the script has in its place. It returns false
// at the end of the connection.
func (c *sinkConn) say(good string, keys ...string) bool {
	switch answer := c.answer(good, keys...); answer {
	case "drop":
		return false
	case "reset":
		if tcp, ok := c.raw.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return false
	case "stall":
		_, _ = io.Copy(io.Discard, c.r)
		return false
	case "freeze":
		<-c.ended
		return false
	case "flood":
		for c.write(good[:3]+"-"+strings.Repeat("x", 500)) == nil {
		}
		return false
	case "late":
		_ = c.write(good)
		return false
	case "twice":
		return c.write(good+"\n"+good) == nil
	default:
		return c.write(answer) == nil
	}
}

func (c *sinkConn) write(lines string) error {
	_, err := io.WriteString(c.conn, strings.ReplaceAll(lines, "\n", "\r\n")+"\r\n")
	return err
}

// command answers a command. It returns false at the end of the connection.
func (c *sinkConn) command(verb, args string) bool {
	switch verb {
	case "EHLO":
		list := append([]string{"sink"}, c.extensions...)
		last := len(list) - 1
		for i, e := range list {
			list[i] = "250-" + e
		}
		list[last] = "250 " + list[last][4:]
		return c.say(strings.Join(list, "\n"), verb)
	case "STARTTLS":
		return c.say("220 go ahead", verb) && c.handshake()
	case "MAIL", "RSET":
		c.to = nil
	case "RCPT":
		to, _, _ := strings.Cut(strings.TrimPrefix(args, "TO:<"), ">")
		localpart, _, _ := strings.Cut(to, "@")
		if c.answer("2", "RCPT "+localpart, verb)[0] == '2' {
			c.to = append(c.to, localpart)
		}
		return c.say("250 2.1.5 ok", "RCPT "+localpart, verb)
	case "DATA":
		answer := c.answer("354 go ahead", verb)
		return c.say("354 go ahead", verb) && (answer[0] != '3' || c.message())
	case "BDAT":
		size, last, _ := strings.Cut(args, " ")
		n, err := strconv.ParseInt(size, 10, 32)
		if err != nil {
			return false
		}
		if _, err := io.CopyN(io.Discard, c.r, n); err != nil {
			return false
		}
		return last == "" && c.say("250 2.0.0 more", verb) || last != "" && c.take(verb)
	case "QUIT":
		_ = c.say("221 2.0.0 bye", verb)
		return false
	}
	return c.say("250 2.0.0 ok", verb)
}

func (c *sinkConn) handshake() bool {
	if c.answer("", "handshake") != "" {
		return c.say("", "handshake")
	}
	conn := tls.Server(c.raw, &tls.Config{Certificates: []tls.Certificate{c.cert}})
	if conn.Handshake() != nil {
		return false
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
	return true
}

// message reads a message.
func (c *sinkConn) message() bool {
	for first := true; ; first = false {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			return c.take("message")
		}
		if first && c.answer("", "content") != "" {
			_ = c.say("", "content")
			return false
		}
	}
}

// take takes a message, and says so or does something else. What it does not
// refuse it has.
func (c *sinkConn) take(key string) bool {
	if a := c.answer("2", key); a[0] != '4' && a[0] != '5' {
		c.mu.Lock()
		c.got = append(c.got, strings.Join(c.to, " "))
		if _, ok := c.conn.(*tls.Conn); ok {
			c.secure++
		}
		c.mu.Unlock()
	}
	return c.say("250 2.0.0 taken", key)
}

// haste is how many times sooner than real ones a hastyConn's deadlines are. So
// minutes of silence become seconds.
const haste = 100

// hastyConn is a connection with deadlines that come sooner.
type hastyConn struct{ net.Conn }

func sooner(t time.Time) time.Time {
	if left := time.Until(t); left > 0 {
		return time.Now().Add(left / haste)
	}
	return t
}

func (c hastyConn) SetDeadline(t time.Time) error      { return c.Conn.SetDeadline(sooner(t)) }
func (c hastyConn) SetReadDeadline(t time.Time) error  { return c.Conn.SetReadDeadline(sooner(t)) }
func (c hastyConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(sooner(t)) }

// dialHasty returns how to connect for a System: with haste to addresses for
// which the function says so.
func dialHasty(hasty func(ip netip.Addr) bool) func(context.Context, string, string, netip.Addr) (net.Conn, error) {
	return func(ctx context.Context, network, address string, _ netip.Addr) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		remote, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		if hasty(remote.Addr()) {
			return hastyConn{conn}, nil
		}
		return conn, nil
	}
}

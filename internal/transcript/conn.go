package transcript

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// conn is a connection of a conversation. Everything the server sends is read
// at once by a goroutine, so that neither side waits for the other's reader
// however much is pipelined.
type conn struct {
	raw     net.Conn
	top     io.ReadWriter // raw, or TLS above it.
	in      *inbox        // What came from top and was not expected yet.
	timeout time.Duration
	skip    bool // An "S*" came before the next expected line.
}

func newConn(raw net.Conn, timeout time.Duration) *conn {
	c := &conn{raw: raw, top: raw, timeout: timeout, in: newInbox()}
	go c.in.collect(raw)
	return c
}

func (c *conn) close() {
	_ = c.raw.Close() // The conversation is over, whatever this says.
}

func (c *conn) send(data []byte) error {
	if err := c.raw.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.top.Write(data)
	return err
}

// expect waits for a line that matches.
func (c *conn) expect(match func(string) bool) error {
	skip := c.skip
	c.skip = false
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if match(line) {
			return nil
		}
		if !skip {
			return fmt.Errorf("got:  %q", line)
		}
	}
}

func (c *conn) expectEOF() error {
	skip := c.skip
	c.skip = false
	for {
		line, err := c.line()
		if isEnd(err) {
			return nil
		} else if err != nil {
			return err
		} else if !skip {
			return fmt.Errorf("got:  %q", line)
		}
	}
}

// line returns the next line without CRLF. A line that ends otherwise is an error.
func (c *conn) line() (string, error) {
	raw, err := c.in.line(c.timeout)
	if err != nil {
		if len(raw) > 0 {
			err = fmt.Errorf("%w: %q, then %w", errLine, raw, err)
		}
		return "", err
	}
	line, ok := bytes.CutSuffix(raw, []byte("\r\n"))
	if !ok || bytes.ContainsAny(line, "\r\n") {
		return "", fmt.Errorf("%w: %q", errLine, raw)
	}
	return string(line), nil
}

// startTLS puts TLS above the connection. What was received already is its
// input, as it is for any client.
func (c *conn) startTLS(ctx context.Context) error {
	below := &tlsTransport{Conn: c.raw, in: c.in}
	t := tls.Client(below, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.top, c.in = t, newInbox()
	go c.in.collect(t)
	return nil
}

// tlsTransport is the connection as TLS sees it: read through the inbox.
type tlsTransport struct {
	net.Conn
	in *inbox
}

func (t *tlsTransport) Read(p []byte) (int, error) { return t.in.read(p) }

// inbox holds bytes that were received. Its channel holds the state, so that
// waiting for it can have a limit.
type inbox struct {
	state   chan *inboxState // Capacity 1: who takes it owns it.
	changed chan struct{}    // Capacity 1: something was added.
}

type inboxState struct {
	data []byte
	err  error // Nothing more comes.
}

func newInbox() *inbox {
	in := &inbox{state: make(chan *inboxState, 1), changed: make(chan struct{}, 1)}
	in.state <- &inboxState{}
	return in
}

// collect reads src until it ends.
func (in *inbox) collect(src io.Reader) {
	buf := make([]byte, 32*1024)
	for {
		n, err := src.Read(buf)
		s := <-in.state
		s.data = append(s.data, buf[:n]...)
		s.err = err
		in.state <- s
		select {
		case in.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// line takes the bytes through the next LF. With an error it takes what there is.
func (in *inbox) line(timeout time.Duration) ([]byte, error) {
	return in.take(timeout, func(s *inboxState) int { return bytes.IndexByte(s.data, '\n') + 1 })
}

func (in *inbox) read(p []byte) (int, error) {
	data, err := in.take(0, func(s *inboxState) int { return min(len(p), len(s.data)) })
	n := copy(p, data)
	return n, err
}

// take takes as many bytes as enough says, once that is not 0. A timeout of 0
// is none.
func (in *inbox) take(timeout time.Duration, enough func(*inboxState) int) ([]byte, error) {
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	for {
		s := <-in.state
		n := enough(s)
		err := s.err
		if n == 0 && err != nil {
			n = len(s.data)
		} else {
			err = nil
		}
		data := s.data[:n:n]
		s.data = s.data[n:]
		in.state <- s
		if n > 0 && err == nil {
			return data, nil
		}
		if err != nil {
			return data, err
		}
		select {
		case <-in.changed:
		case <-expired:
			return nil, errTimeout
		}
	}
}

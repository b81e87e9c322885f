package dnstest

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// packetsMax bounds the packets that wait to be read from a connection.
const packetsMax = 100

// backend makes the replies of a server. It is safe for concurrent use.
type backend interface {
	// handle returns the packets that come for a query, and when.
	handle(packet []byte, network string) (replies [][]byte, delay time.Duration)
	refusesTCP() bool
}

// Dial connects to the server of the zone, for resolver.Options: in memory, so that
// no clock but that of package time is involved. All addresses are its address.
func (z *Zone) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return dial(ctx, network, z)
}

// dial connects to a server in memory.
func dial(ctx context.Context, network string, b backend) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if network == "tcp" && b.refusesTCP() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return &conn{backend: b, network: network, packets: make(chan []byte, packetsMax), closed: make(chan struct{}), expired: make(chan struct{})}, nil
}

// conn is a connection to a server in memory, from the client's side. It has no
// goroutine: replies are made by Write, and those that take time come from timers.
// Reading and writing is for one goroutine each.
type conn struct {
	backend backend
	network string
	packets chan []byte // Replies, for TCP with their lengths before them.
	unread  []byte      // Of the packet being read, for TCP.
	partial []byte      // What was written of a query that is not complete, for TCP.

	mu      sync.Mutex
	closed  chan struct{}
	isDone  bool
	expired chan struct{} // Closed when the deadline has passed.
	timer   *time.Timer
}

var _ net.Conn = (*conn)(nil)

// Write takes a query, for TCP maybe a piece of one.
func (c *conn) Write(b []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	if c.network != "tcp" {
		c.query(b)
		return len(b), nil
	}
	c.partial = append(c.partial, b...)
	for len(c.partial) >= 2 {
		size := 2 + int(binary.BigEndian.Uint16(c.partial))
		if len(c.partial) < size {
			break
		}
		c.query(c.partial[2:size])
		c.partial = c.partial[size:]
	}
	return len(b), nil
}

// query has a query replied to.
func (c *conn) query(packet []byte) {
	replies, delay := c.backend.handle(packet, c.network)
	send := func() {
		for _, p := range replies {
			if c.network == "tcp" {
				p = append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...)
			}
			select {
			case c.packets <- p:
			default: // As a network does when there are too many.
			}
		}
	}
	if delay > 0 {
		time.AfterFunc(delay, send)
		return
	}
	send()
}

// Read returns a packet, of which the rest is lost if b is too small, or for TCP
// the next bytes.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.unread) == 0 {
		c.mu.Lock()
		expired := c.expired
		c.mu.Unlock()
		select {
		case <-c.closed:
			return 0, net.ErrClosed
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		case c.unread = <-c.packets:
		}
	}
	n := copy(b, c.unread)
	c.unread = c.unread[n:]
	if c.network != "tcp" {
		c.unread = nil
	}
	return n, nil
}

// Close makes a Read that waits end.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDone {
		return net.ErrClosed
	}
	c.isDone = true
	close(c.closed)
	if c.timer != nil {
		c.timer.Stop()
	}
	return nil
}

// SetDeadline counts for a Read that waits, too. Writing takes no time.
func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	select {
	case <-c.expired:
		c.expired = make(chan struct{})
	default:
	}
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(c.expired)
	default:
		expired := c.expired
		c.timer = time.AfterFunc(wait, func() { c.expire(expired) })
	}
	return nil
}

// expire closes a channel, unless it is not the one of the deadline any more.
func (c *conn) expire(expired chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-expired:
	default:
		if expired == c.expired {
			close(expired)
		}
	}
}

func (c *conn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }
func (c *conn) SetWriteDeadline(time.Time) error  { return nil }

func (c *conn) LocalAddr() net.Addr { return c.RemoteAddr() }

func (c *conn) RemoteAddr() net.Addr {
	addr := netip.MustParseAddrPort(serverAddr)
	if c.network == "tcp" {
		return net.TCPAddrFromAddrPort(addr)
	}
	return net.UDPAddrFromAddrPort(addr)
}

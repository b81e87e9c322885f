package imapserver

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errStopping is returned by reads of a session that should end because the
// server stops.
var errStopping = errors.New("imapserver: server is stopping")

// errEnded is returned by reads of a session that should end because those of its
// account shall.
var errEnded = errors.New("imapserver: sessions of the account are ended")

// errWake is returned by a read that waits when there is something to tell.
var errWake = errors.New("imapserver: there is something to tell")

// conn is a client's connection with deadlines: each read and each write may
// take as long as the session's state says. Reads and writes come from one
// goroutine each at a time; interrupt and wake may come from others.
type conn struct {
	net.Conn          // The TCP connection, or TLS over it.
	raw      net.Conn // The TCP connection.

	readMax, writeMax time.Duration
	readUntil         time.Time // No read waits longer, whatever readMax says. Zero: no such moment.

	received, sent atomic.Int64
	stopping       atomic.Pointer[error] // Why reads fail; nil while they don't.
	waiting        atomic.Bool           // The read may return errWake.
	woken          atomic.Bool           // It shall.
	until          time.Time             // When the wait that errWake interrupted ends. Zero: there was none.
	sentTee        func(p []byte)        // Sees what is written, but for large bodies.
	pieces         *sync.Pool            // Of *[streamBuffer]byte, for large bodies.
}

func newConn(nc net.Conn, pieces *sync.Pool) *conn {
	return &conn{Conn: nc, raw: nc, readMax: preauthIdle, writeMax: preauthWrite, pieces: pieces}
}

// Read reads what is there, waiting at most as long as the state allows.
func (c *conn) Read(p []byte) (int, error) {
	until := time.Now().Add(c.readMax)
	switch {
	case !c.until.IsZero():
		until, c.until = c.until, time.Time{} // To be told something is no activity of the client.
	case !c.readUntil.IsZero() && c.readUntil.Before(until):
		until = c.readUntil
	}
	for {
		if err := c.SetReadDeadline(until); err != nil {
			return 0, err
		}
		// Else the deadline just set would hide that of interrupt or wake.
		if err := c.interrupted(); err != nil {
			if errors.Is(err, errWake) {
				c.until = until
			}
			return 0, err
		}
		n, err := c.Conn.Read(p)
		c.received.Add(int64(n))
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if why := c.stopping.Load(); why != nil {
			return 0, *why
		}
		if !time.Now().Before(until) {
			return 0, err
		}
		// It was wake, perhaps meant for a read before.
	}
}

// interrupted returns why a read shall not wait.
func (c *conn) interrupted() error {
	if why := c.stopping.Load(); why != nil {
		return *why
	}
	if c.waiting.Load() && c.woken.Swap(false) {
		return errWake
	}
	return nil
}

// Write writes all of p. Each piece has its own time, so that a slow client
// gets a large response and one that does not read at all is given up.
func (c *conn) Write(p []byte) (int, error) {
	if c.sentTee != nil {
		c.sentTee(p)
	}
	written := 0
	for {
		piece := p[written:min(len(p), written+streamBuffer)]
		if err := c.SetWriteDeadline(time.Now().Add(c.writeMax)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(piece)
		written += n
		c.sent.Add(int64(n))
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// ReadFrom sends what r has: from a file by sendfile where the connection can,
// else through a buffer.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	tcp, plain := c.Conn.(*net.TCPConn)
	if !ok || !plain {
		buf, ok := c.pieces.Get().(*[streamBuffer]byte)
		if !ok {
			buf = new([streamBuffer]byte)
		}
		defer c.pieces.Put(buf)
		return io.CopyBuffer(writerOnly{c}, r, buf[:])
	}
	var total int64
	for left := limited.N; left > 0; {
		if err := c.SetWriteDeadline(time.Now().Add(c.writeMax)); err != nil {
			return total, err
		}
		n, err := tcp.ReadFrom(io.LimitReader(limited.R, min(left, 4*streamBuffer)))
		total, left = total+n, left-n
		c.sent.Add(n)
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// writerOnly hides ReadFrom from io.Copy.
type writerOnly struct{ io.Writer }

// interrupt makes the read that waits, and all later ones, return why.
func (c *conn) interrupt(why error) {
	c.stopping.Store(&why)
	// Not that of Conn, which may just be changing. If it fails, so does the read.
	_ = c.raw.SetReadDeadline(time.Unix(1, 0))
}

// wake makes a read that waits return errWake, now or as soon as there is one. Other
// reads go on.
func (c *conn) wake() {
	c.woken.Store(true)
	if c.waiting.Load() {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0)) // As in interrupt.
	}
}

// prefixedConn is a connection of which some bytes were read already.
type prefixedConn struct {
	net.Conn
	r io.Reader
}

func (c prefixedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

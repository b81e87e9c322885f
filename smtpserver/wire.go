package smtpserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/lineio"
)

// errStopping means that the server stops and the peer should be told.
var errStopping = errors.New("server is stopping")

// errEnded means that the sessions of an account shall end, and their clients
// should be told.
var errEnded = errors.New("sessions of the account are ended")

// errCrowded means that a peer would be slowed down, and there is no place for that.
var errCrowded = errors.New("too many peers are slowed down")

// isInterrupt tells whether we have ended a wait.
func isInterrupt(err error) bool {
	return errors.Is(err, errStopping) || errors.Is(err, errEnded) || errors.Is(err, errCrowded)
}

// gone is the error of a connection that has failed: nobody is there to get a
// reply.
type gone struct{ error }

// Unwrap returns the cause.
func (g gone) Unwrap() error { return g.error }

// isGone returns whether the connection has ended.
func isGone(err error) bool {
	_, ok := errors.AsType[gone](err)
	return ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// lost returns the error of a read or write. A deadline that has passed does not
// mean that the peer is gone.
func lost(err error) error {
	if err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) { //nolint:errorlint // Readers return io.EOF itself.
		return err
	}
	return gone{err}
}

// wire is the connection of a session. It sees to it that every read and write
// has a limit of time, that replies are sent before we wait for more commands,
// and that waiting ends when the server stops.
type wire struct {
	raw net.Conn // Below TLS.

	// Owned by the serving goroutine.
	conn    net.Conn // raw, or TLS above it.
	r       *lineio.Reader
	w       *lineio.Writer
	slow    bool          // See slowPause.
	wait    time.Duration // For the next read.
	until   time.Time     // No read takes longer, unless zero.
	command bool          // The next read waits for a command.

	mu      sync.Mutex
	stop    error // Why waiting for a command ends, nil if it doesn't: errStopping, errEnded or errCrowded.
	stopNow bool  // All waiting ends.
	idle    bool  // The serving goroutine may be waiting for a command.
}

func newWire(conn net.Conn) *wire {
	c := &wire{raw: conn, conn: conn, wait: commandWait}
	c.r = lineio.NewReader(source{c}, lineio.Options{})
	c.w = lineio.NewWriter(sink{c}, lineio.Options{})
	return c
}

// interrupt makes the session end when it next waits for a command, or if now
// is set for anything. Why is errStopping, errEnded or errCrowded.
func (c *wire) interrupt(now bool, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop, c.stopNow = why, c.stopNow || now
	if c.idle || c.stopNow {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0)) // If it fails the connection is broken, and reading fails too.
	}
	if c.stopNow {
		_ = c.raw.SetWriteDeadline(time.Now().Add(lastWait)) // As above.
	}
}

// armWrite sets the deadline for a write.
func (c *wire) armWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := commandWait
	if c.stopNow {
		wait = lastWait
	}
	return lost(c.raw.SetWriteDeadline(time.Now().Add(wait)))
}

// arm sets the deadline for a read.
func (c *wire) arm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = c.command
	if c.stopNow || c.stop != nil && c.idle {
		return c.stop
	}
	deadline := time.Now().Add(c.wait)
	if !c.until.IsZero() && c.until.Before(deadline) {
		deadline = c.until
	}
	return lost(c.raw.SetReadDeadline(deadline))
}

// disarm is called after a read. The error of a read that was interrupted says why.
func (c *wire) disarm(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	stopped := c.stopNow || c.stop != nil && c.idle
	c.idle = false
	if err != nil && stopped {
		return c.stop
	}
	return lost(err)
}

// source reads from the connection.
type source struct{ c *wire }

func (s source) Read(p []byte) (int, error) {
	c := s.c
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	if c.slow {
		time.Sleep(slowPause)
	}
	if err := c.arm(); err != nil {
		return 0, err
	}
	n, err := c.conn.Read(p)
	return n, c.disarm(err)
}

// sink writes to the connection.
type sink struct{ c *wire }

func (s sink) Write(p []byte) (int, error) {
	c := s.c
	if err := c.armWrite(); err != nil {
		return 0, err
	}
	n := 0
	if c.slow {
		for end := time.Now().Add(slowWait); n < len(p)-1 && time.Now().Before(end); n++ {
			if _, err := c.conn.Write(p[n : n+1]); err != nil {
				return n, gone{err}
			}
			time.Sleep(slowPause)
		}
	}
	m, err := c.conn.Write(p[n:])
	if err != nil {
		err = gone{err} // After a timeout nothing can be said either.
	}
	return n + m, err
}

// startTLS does a TLS handshake as server. What the peer has sent already is a
// part of it: plain text commands behind STARTTLS are never run (RFC 3207,
// section 4.2, and CVE-2011-0411).
//
// It returns the certificate that was shown, if that is known; see auth.Handshake.
func (c *wire) startTLS(ctx context.Context, config *tls.Config) (*tls.ConnectionState, *x509.Certificate, error) {
	if err := c.w.Flush(); err != nil {
		return nil, nil, err
	}
	early, err := c.r.Peek(c.r.Buffered())
	if err != nil {
		return nil, nil, err
	}
	t := tls.Server(&tlsTransport{Conn: c.raw, early: append([]byte(nil), early...)}, config)
	if err := c.raw.SetDeadline(time.Now().Add(handshakeWait)); err != nil {
		return nil, nil, err
	}
	cert, err := auth.Handshake(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	c.conn = t
	c.r = lineio.NewReader(source{c}, lineio.Options{})
	c.w = lineio.NewWriter(sink{c}, lineio.Options{})
	state := t.ConnectionState()
	return &state, cert, nil
}

// tlsTransport is the connection below TLS, with what was read of it already.
type tlsTransport struct {
	net.Conn
	early []byte
}

func (t *tlsTransport) Read(p []byte) (int, error) {
	if len(t.early) > 0 {
		n := copy(p, t.early)
		t.early = t.early[n:]
		return n, nil
	}
	return t.Conn.Read(p)
}

// linger sends what is left, and takes what the peer is still sending until it
// has seen our last reply.
func (c *wire) linger() {
	if c.w.Flush() != nil {
		return
	}
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if t, ok := c.raw.(interface{ CloseWrite() error }); ok && c.raw != c.conn && t.CloseWrite() != nil {
		return
	}
	c.mu.Lock()
	stop := c.stop != nil
	c.mu.Unlock()
	if stop || c.raw.SetReadDeadline(time.Now().Add(lingerWait)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.raw, lingerSizeMax) // However it ends, the connection is closed next.
}

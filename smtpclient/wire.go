package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mjl-/mox/lineio"
)

// wire is the connection of a Client. It sees to it that every read and write
// has a limit of time, that commands are sent before we wait for replies, and
// that waiting ends with the caller's context.
type wire struct {
	raw       net.Conn      // Below TLS.
	writeWait time.Duration // For each write.

	// Owned by the goroutine that uses the Client.
	conn      net.Conn // raw, or TLS above it.
	r         *lineio.Reader
	w         *lineio.Writer
	lastWords bool // Writing has failed, and a limit is set for what can still be read.

	mu    sync.Mutex
	cause error // Why the context ended. Nothing is waited for any more.
}

func newWire(conn net.Conn, writeWait time.Duration) *wire {
	w := &wire{raw: conn, writeWait: writeWait}
	w.use(conn)
	return w
}

// use makes conn, which is raw or above it, what is read and written.
func (w *wire) use(conn net.Conn) {
	w.conn = conn
	w.r = lineio.NewReader(source{w}, lineio.Options{})
	w.w = lineio.NewWriter(sink{w}, lineio.Options{})
}

// watch makes all waiting end when ctx does, until the returned function has been
// called.
func (w *wire) watch(ctx context.Context) (done func()) {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cause = context.Cause(ctx)
		_ = w.raw.SetDeadline(time.Unix(1, 0)) // If it fails the connection is broken, and reading fails too.
	})
	return func() {
		if !stop() {
			<-ended
		}
	}
}

// limit sets the limit for all that is read from now on.
func (w *wire) limit(wait time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != nil {
		return w.cause
	}
	if w.lastWords {
		wait = min(wait, lastWordsWait)
	}
	return w.raw.SetReadDeadline(time.Now().Add(wait))
}

func (w *wire) limitWrite() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != nil {
		return w.cause
	}
	return w.raw.SetWriteDeadline(time.Now().Add(w.writeWait))
}

// interrupted returns why the context ended, nil if it has not.
func (w *wire) interrupted() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

// lost returns the ErrLost for an error of reading or writing. What came first
// says most.
func (w *wire) lost(err error) error {
	if cause := w.interrupted(); cause != nil {
		err = cause
	} else if werr := w.w.Flush(); werr != nil && !errors.Is(err, werr) {
		err = fmt.Errorf("%w, then %w", werr, err)
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// source reads from the connection.
type source struct{ w *wire }

// Read sends what waits to be sent, and reads. If that can't be sent, the server
// may have said why before it closed the connection: that is read all the same.
func (s source) Read(p []byte) (int, error) {
	w := s.w
	if w.w.Flush() != nil && !w.lastWords {
		w.lastWords = true
		if err := w.limit(lastWordsWait); err != nil {
			return 0, err
		}
	}
	return w.conn.Read(p)
}

// sink writes to the connection.
type sink struct{ w *wire }

func (s sink) Write(p []byte) (int, error) {
	if err := s.w.limitWrite(); err != nil {
		return 0, err
	}
	return s.w.conn.Write(p)
}

// handshake does a TLS handshake as client.
func (w *wire) handshake(ctx context.Context, config *tls.Config) (*tls.ConnectionState, error) {
	w.mu.Lock()
	err := w.cause
	if err == nil {
		err = w.raw.SetDeadline(time.Now().Add(handshakeWait))
	}
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	conn := tls.Client(w.raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	w.r.Release()
	w.use(conn)
	state := conn.ConnectionState()
	return &state, nil
}

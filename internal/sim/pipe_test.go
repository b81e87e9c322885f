package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeMax bounds the bytes that are on the way in one direction. A writer waits for
// room, as with a real connection.
const pipeMax = 128 << 10

// pipe is one direction of a connection. All waiting is for channels, so that it is
// durable in a bubble.
type pipe struct {
	mu      sync.Mutex
	buf     []byte
	closed  bool  // By the writer: EOF after buf.
	broken  error // Reading and writing return it at once.
	silent  bool  // What is written vanishes.
	taken   int64 // Bytes read so far.
	changed chan struct{}
}

func newPipe() *pipe { return &pipe{changed: make(chan struct{})} }

// wakeLocked wakes all that wait for a change. p.mu is held.
func (p *pipe) wakeLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// read reads what is there, or waits for it until limit expires.
func (p *pipe) read(b []byte, limit *deadline) (int, error) {
	for {
		p.mu.Lock()
		changed := p.changed
		switch {
		case p.broken != nil:
			defer p.mu.Unlock()
			return 0, p.broken
		case len(p.buf) > 0 || len(b) == 0:
			defer p.mu.Unlock()
			n := copy(b, p.buf)
			p.buf = p.buf[n:]
			p.taken += int64(n)
			p.wakeLocked()
			return n, nil
		case p.closed:
			defer p.mu.Unlock()
			return 0, io.EOF
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-limit.wait():
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// write writes all, waiting for room until limit expires.
func (p *pipe) write(b []byte, limit *deadline) (int, error) {
	for {
		select {
		case <-limit.wait():
			return 0, os.ErrDeadlineExceeded
		default:
		}
		p.mu.Lock()
		changed := p.changed
		switch {
		case p.broken != nil:
			defer p.mu.Unlock()
			return 0, p.broken
		case p.closed:
			defer p.mu.Unlock()
			return 0, net.ErrClosed
		case p.silent:
			defer p.mu.Unlock()
			return len(b), nil
		case len(p.buf) < pipeMax:
			defer p.mu.Unlock()
			p.buf = append(p.buf, b...)
			p.wakeLocked()
			return len(b), nil
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-limit.wait():
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// close ends the stream.
func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.wakeLocked()
}

// fail makes both sides fail, with nothing more read.
func (p *pipe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken, p.buf = err, nil
		p.wakeLocked()
	}
}

// silence makes all that is written from now on vanish, and what was not read.
func (p *pipe) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent, p.buf = true, nil
}

// progress returns how many bytes were read, and how many wait.
func (p *pipe) progress() (taken, waiting int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken, int64(len(p.buf))
}

// deadline is a limit of time for one direction of one side.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

func newDeadline() *deadline { return &deadline{expired: make(chan struct{})} }

// wait returns what is closed when the limit has passed. A limit set later is
// another one, except for those that wait already.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	select {
	case <-d.expired:
		d.expired = make(chan struct{})
	default:
	}
	expired := d.expired
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(expired)
	default:
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.timer == timer {
				d.timer = nil
				close(expired)
			}
		})
		d.timer = timer
	}
}

// end is one side of a connection.
type end struct {
	link          *link
	client        bool
	in, out       *pipe
	local, remote net.Addr
	read, write   *deadline
}

var _ net.Conn = (*end)(nil)

func (e *end) Read(b []byte) (int, error) {
	n, err := e.in.read(b, e.read)
	if n > 0 && e.client {
		e.link.wasRead()
	}
	return n, err
}

// Write gives each byte to the link, which knows whether the connection lives.
func (e *end) Write(b []byte) (int, error) {
	return e.link.carry(e, b)
}

// Close ends the stream to the other side. What comes from there is refused.
func (e *end) Close() error {
	e.read.set(time.Time{})
	e.write.set(time.Time{})
	e.link.close(e)
	return nil
}

func (e *end) LocalAddr() net.Addr                { return e.local }
func (e *end) RemoteAddr() net.Addr               { return e.remote }
func (e *end) SetReadDeadline(t time.Time) error  { e.read.set(t); return nil }
func (e *end) SetWriteDeadline(t time.Time) error { e.write.set(t); return nil }
func (e *end) SetDeadline(t time.Time) error {
	e.read.set(t)
	e.write.set(t)
	return nil
}

// errReset is what both sides see when a connection breaks.
var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

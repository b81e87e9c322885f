// Package lineio reads and writes the lines of SMTP and IMAP connections.
//
// A line ends with CRLF and nothing else: a CR or LF alone is an error, since
// programs that disagree about where a line ends can be made to see different
// commands and messages in the same bytes. The package knows no protocol, sets
// no deadlines and starts no goroutines; smtpserver, imapserver and the clients
// decide about limits, waiting and what an error means.
//
// Buffers come from a pool and go back to it, so that an idle connection holds
// none.
package lineio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// bufferSize is the size in bytes of a pooled buffer. It holds a whole TLS
// record's plaintext, the most one read from a TLS connection returns.
const bufferSize = 16 * 1024

var (
	// ErrTooLong means no line end was found within the maximum. Nothing is
	// consumed: the caller can go on with DiscardLine, or close.
	ErrTooLong = errors.New("lineio: line too long")

	// ErrBareLF means the line ended with an LF without CR. It is consumed.
	ErrBareLF = errors.New("lineio: LF without CR")

	// ErrBareCR means the line has a CR that no LF follows. It is consumed
	// through its LF.
	ErrBareCR = errors.New("lineio: CR without LF")
)

// buffers holds buffers of bufferSize bytes for readers and writers.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Options has what a Reader or Writer needs besides its connection.
type Options struct {
	// Tee is called with all bytes in order: by a Reader when they are
	// consumed, by a Writer when they are flushed. It must not keep or change
	// them. Can be nil.
	Tee func(p []byte)
}

// Reader reads lines, and bytes between them. It is for one goroutine. An error
// of the source is returned once and not remembered: after a timeout the caller
// can go on where it was, and no bytes are lost.
type Reader struct {
	src  io.Reader
	opts Options

	pooled *[bufferSize]byte // Where buf is from, nil if none is held or it has grown.
	buf    []byte            // Its whole length; bytes r up to w are not consumed.
	r, w   int

	first    [1]byte // What Wait read, while no buffer was held.
	hasFirst bool
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader, opts Options) *Reader {
	return &Reader{src: src, opts: opts}
}

// ReadLine returns the next line without its CRLF, at most max bytes. The line
// is valid until the next call.
//
// With ErrBareLF and ErrBareCR the line is returned too, with ErrTooLong its
// first max bytes. It returns io.EOF only at the end of a line, and
// io.ErrUnexpectedEOF within one.
func (r *Reader) ReadLine(max int) ([]byte, error) {
	for scanned := 0; ; {
		data := r.buf[r.r:r.w]
		if i := bytes.IndexByte(data[scanned:], '\n'); i >= 0 {
			return r.takeLine(data[:scanned+i+1], max)
		}
		scanned = len(data)
		if scanned >= max+2 {
			return data[:max], ErrTooLong
		}
		if err := r.fill(max + 2); err != nil {
			if errors.Is(err, io.EOF) && r.w > r.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// takeLine consumes raw, a line with its LF, and returns it without line end.
func (r *Reader) takeLine(raw []byte, max int) ([]byte, error) {
	line, crlf := bytes.CutSuffix(raw, []byte("\r\n"))
	if !crlf {
		line = raw[:len(raw)-1]
	}
	if len(line) > max {
		return line[:max], ErrTooLong
	}
	r.consume(len(raw))
	switch {
	case bytes.IndexByte(line, '\r') >= 0:
		return line, ErrBareCR
	case !crlf:
		return line, ErrBareLF
	}
	return line, nil
}

// DiscardLine consumes through the next LF, at most max bytes: more is
// ErrTooLong.
func (r *Reader) DiscardLine(max int64) error {
	for {
		data, err := r.Chunk()
		if err != nil {
			return err
		}
		i := bytes.IndexByte(data, '\n')
		n := i + 1
		if i < 0 {
			n = len(data)
		}
		if int64(n) > max {
			return ErrTooLong
		}
		r.consume(n)
		max -= int64(n)
		if i >= 0 {
			return nil
		}
	}
}

// Chunk returns what is buffered, and reads once if that is nothing. The bytes
// are consumed by Discard, not by Chunk, and are valid until the next call.
func (r *Reader) Chunk() ([]byte, error) {
	for r.r == r.w {
		if err := r.fill(0); err != nil {
			return nil, err
		}
	}
	return r.buf[r.r:r.w], nil
}

// Peek returns the next n bytes without consuming them.
func (r *Reader) Peek(n int) ([]byte, error) {
	for r.w-r.r < n {
		if err := r.fill(n); err != nil {
			return r.buf[r.r:r.w], err
		}
	}
	return r.buf[r.r : r.r+n], nil
}

// Discard consumes n bytes, which must have been returned by Peek or Chunk.
func (r *Reader) Discard(n int) error {
	if n < 0 || n > r.w-r.r {
		return fmt.Errorf("lineio: discarding %d of %d buffered bytes", n, r.w-r.r)
	}
	r.consume(n)
	return nil
}

// Read reads what is buffered, or directly from the source if that is nothing.
// So a TLS connection that reads through the Reader gets the bytes that were
// buffered beyond the last plain text line.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.hasFirst {
		p[0], r.hasFirst = r.first[0], false
		r.tee(p[:1])
		return 1, nil
	}
	if r.r < r.w {
		n := copy(p, r.buf[r.r:r.w])
		r.consume(n)
		return n, nil
	}
	n, err := r.src.Read(p)
	r.tee(p[:n])
	return n, err
}

// Buffered returns how many bytes can be read without waiting for the source.
func (r *Reader) Buffered() int {
	n := r.w - r.r
	if r.hasFirst {
		n++
	}
	return n
}

// Release gives the buffer back if nothing is in it. Lines returned before are
// no longer valid.
func (r *Reader) Release() {
	if r.r != r.w {
		return
	}
	if r.pooled != nil {
		buffers.Put(r.pooled)
	}
	r.pooled, r.buf, r.r, r.w = nil, nil, 0, 0
}

// Wait returns when at least one byte can be read, or with the error of the
// source. It holds no buffer while it waits.
func (r *Reader) Wait() error {
	if r.Buffered() > 0 {
		return nil
	}
	r.Release()
	for !r.hasFirst {
		n, err := r.src.Read(r.first[:])
		r.hasFirst = n > 0
		if err != nil && n == 0 {
			return err
		}
	}
	return nil
}

// fill reads once from the source, behind what is buffered. The buffer grows
// if it is full and want bytes don't fit.
func (r *Reader) fill(want int) error {
	r.room(want)
	if r.hasFirst {
		r.buf[r.w], r.hasFirst = r.first[0], false
		r.w++
		return nil
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil // The source returns its error again.
	}
	return err
}

// room makes room in the buffer for at least one more byte.
func (r *Reader) room(want int) {
	switch {
	case r.buf == nil:
		r.pooled = buffers.Get().(*[bufferSize]byte)
		r.buf = r.pooled[:]
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.w < len(r.buf):
	case r.r > 0:
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	default:
		grown := make([]byte, min(max(want, len(r.buf)+1), 4*len(r.buf)))
		r.w = copy(grown, r.buf[:r.w])
		if r.pooled != nil {
			buffers.Put(r.pooled)
		}
		r.pooled, r.buf = nil, grown
	}
}

func (r *Reader) consume(n int) {
	r.tee(r.buf[r.r : r.r+n])
	r.r += n
}

func (r *Reader) tee(p []byte) {
	if r.opts.Tee != nil && len(p) > 0 {
		r.opts.Tee(p)
	}
}

package imap

import (
	"fmt"
	"io"
	"strconv"
	"sync"
)

// Buffers is a pool of output buffers that the encoders of many sessions share,
// so that an idle session holds none. The zero value is ready to use.
type Buffers struct{ pool sync.Pool }

const (
	// bufferSize is what an encoder gathers before it writes: large responses
	// go out in pieces of about this size.
	bufferSize = 64 << 10

	// bufferKeepMax is the largest buffer that goes back to the pool.
	bufferKeepMax = 4 * bufferSize

	// copyMax is the largest body that is copied into the buffer. A larger one
	// goes from its reader to the writer, which may use sendfile: one more
	// system call, but no copy.
	copyMax = 32 << 10
)

func (p *Buffers) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, bufferSize+copyMax)
	return &b
}

func (p *Buffers) put(b *[]byte) {
	if cap(*b) <= bufferKeepMax {
		*b = (*b)[:0]
		p.pool.Put(b)
	}
}

// Encoder gathers responses and writes them at Flush, or in between when much
// is gathered. Its error is sticky: after a failed write all is dropped, and
// Flush and Err report it. It is used by one goroutine at a time.
type Encoder struct {
	// UTF8 means the client has enabled IMAP4rev2 or UTF8=ACCEPT: mailbox names and quoted
	// strings may be UTF-8.
	UTF8 bool

	// Off leaves out the response codes of these capabilities.
	Off Off

	w    io.Writer
	pool *Buffers
	buf  *[]byte // Nil when nothing is gathered.
	err  error
}

// NewEncoder returns an encoder that writes to w. If w is an io.ReaderFrom,
// large bodies are given to it by that method.
func NewEncoder(w io.Writer, pool *Buffers) *Encoder { return &Encoder{w: w, pool: pool} }

// SetWriter makes the encoder write to w from now on, as after STARTTLS. What
// was gathered must have been flushed.
func (e *Encoder) SetWriter(w io.Writer) { e.w = w }

// Err returns the first failure of writing.
func (e *Encoder) Err() error { return e.err }

// Buffered returns how many bytes wait for Flush.
func (e *Encoder) Buffered() int {
	if e.buf == nil {
		return 0
	}
	return len(*e.buf)
}

// Append calls fn with the gathered bytes; fn returns them with more appended.
// It is for those who write many responses at once without a call for each
// part.
func (e *Encoder) Append(fn func(b []byte) []byte) {
	if e.err != nil {
		return
	}
	if e.buf == nil {
		e.buf = e.pool.get()
	}
	*e.buf = fn(*e.buf)
	if len(*e.buf) >= bufferSize {
		e.write()
	}
}

// Raw appends parts as they are.
func (e *Encoder) Raw(parts ...string) *Encoder {
	if e.err != nil {
		return e
	}
	if e.buf == nil {
		e.buf = e.pool.get()
	}
	for _, s := range parts {
		*e.buf = append(*e.buf, s...)
	}
	return e
}

// Num appends a number.
func (e *Encoder) Num(n int64) *Encoder {
	e.Append(func(b []byte) []byte { return strconv.AppendInt(b, n, 10) })
	return e
}

// Mailbox appends the name of a mailbox.
func (e *Encoder) Mailbox(name string) *Encoder {
	e.Append(func(b []byte) []byte { return AppendMailbox(b, name, e.UTF8) })
	return e
}

// String appends a string, quoted or as literal.
func (e *Encoder) String(s string) *Encoder {
	e.Append(func(b []byte) []byte { return AppendString(b, s, e.UTF8) })
	return e
}

// AString appends an atom or string.
func (e *Encoder) AString(s string) *Encoder {
	e.Append(func(b []byte) []byte { return AppendAString(b, s, e.UTF8) })
	return e
}

// CRLF ends a line. It is a point at which the encoder may write what it has.
func (e *Encoder) CRLF() {
	e.Append(func(b []byte) []byte { return append(b, "\r\n"...) })
}

// Response appends a line with a status response: untagged if tag is "*".
func (e *Encoder) Response(tag string, r Response) {
	if e.Off.dropsCode(r.Code) {
		r.Code = ""
	}
	e.Append(func(b []byte) []byte {
		b = append(b, tag...)
		b = append(b, ' ')
		b = r.Append(b)
		return append(b, "\r\n"...)
	})
}

// Copy appends exactly n bytes of r, the content of a literal whose size has
// been written already. A reader that ends too soon breaks the connection: the
// client waits for what was announced, so the error is sticky like one of
// writing.
func (e *Encoder) Copy(r io.Reader, n int64) {
	if e.err != nil || n == 0 {
		return
	}
	if n <= copyMax {
		e.Append(func(b []byte) []byte {
			at := len(b)
			b = append(b, make([]byte, n)...)
			if _, err := io.ReadFull(r, b[at:]); err != nil {
				e.err = fmt.Errorf("reading literal of %d bytes: %w", n, err)
			}
			return b
		})
		return
	}
	e.write()
	if e.err != nil {
		return
	}
	if _, err := io.CopyN(e.w, r, n); err != nil {
		e.err = fmt.Errorf("sending literal of %d bytes: %w", n, err)
	}
}

// Flush writes what was gathered and gives the buffer back.
func (e *Encoder) Flush() error {
	e.write()
	if e.buf != nil {
		e.pool.put(e.buf)
		e.buf = nil
	}
	return e.err
}

func (e *Encoder) write() {
	if e.buf == nil || len(*e.buf) == 0 {
		return
	}
	if e.err == nil {
		_, e.err = e.w.Write(*e.buf)
	}
	*e.buf = (*e.buf)[:0]
}

// Fail makes the encoder fail, for a caller that can't send what it has
// announced. Only closing the connection can help then.
func (e *Encoder) Fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

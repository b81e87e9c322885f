package lineio

import "io"

// Writer collects what is written until it is flushed, and gives its buffer
// back then. It is for one goroutine. The first error of the connection is
// returned by all later calls.
type Writer struct {
	dst    io.Writer
	opts   Options
	pooled *[bufferSize]byte // nil if nothing is buffered.
	n      int
	err    error
}

// NewWriter returns a Writer to dst.
func NewWriter(dst io.Writer, opts Options) *Writer {
	return &Writer{dst: dst, opts: opts}
}

// Write adds p to what will be flushed, and flushes when the buffer is full.
// More than a buffer goes to the connection without being copied.
func (w *Writer) Write(p []byte) (int, error) {
	if w.n > 0 && len(p) > bufferSize-w.n {
		if err := w.Flush(); err != nil {
			return 0, err
		}
	}
	if w.err != nil {
		return 0, w.err
	}
	if len(p) > bufferSize {
		return w.send(p)
	}
	if w.pooled == nil {
		w.pooled = buffers.Get().(*[bufferSize]byte)
	}
	w.n += copy(w.pooled[w.n:], p)
	return len(p), nil
}

// WriteString is Write for a string.
func (w *Writer) WriteString(s string) (int, error) {
	written := 0
	for len(s) > 0 || written == 0 {
		if w.err != nil {
			return written, w.err
		}
		if w.pooled == nil {
			w.pooled = buffers.Get().(*[bufferSize]byte)
		}
		n := copy(w.pooled[w.n:], s)
		w.n += n
		written += n
		s = s[n:]
		if len(s) == 0 {
			break
		}
		if err := w.Flush(); err != nil {
			return written, err
		}
	}
	return written, nil
}

// Flush sends what is buffered.
func (w *Writer) Flush() error {
	if w.pooled != nil {
		if w.err == nil && w.n > 0 {
			_, _ = w.send(w.pooled[:w.n]) // Kept in w.err.
		}
		buffers.Put(w.pooled)
		w.pooled, w.n = nil, 0
	}
	return w.err
}

// Buffered returns how many bytes the next Flush sends.
func (w *Writer) Buffered() int { return w.n }

func (w *Writer) send(p []byte) (int, error) {
	if w.opts.Tee != nil {
		w.opts.Tee(p)
	}
	n, err := w.dst.Write(p)
	w.err = err
	return n, err
}

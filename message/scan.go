package message

import (
	"bytes"
	"fmt"
	"io"
)

const (
	// bufferSize is what Parse reads at once, in bytes. Nearly all messages
	// without attachments fit.
	bufferSize = 64 << 10

	// lineMax is how many bytes of a line are looked at together. It must hold a
	// delimiter line with the longest boundary.
	lineMax = 2 * boundarySizeMax

	// lookBack is how many bytes before the current line stay in the buffer: the
	// line break before a delimiter belongs to the delimiter.
	lookBack = 2
)

// scanner reads a message forward, through a buffer of fixed size.
type scanner struct {
	r     io.ReaderAt
	size  int64
	buf   []byte // Window on the message.
	base  int64  // Offset of buf[0] in the message.
	pos   int    // Current place in buf.
	lines int64  // Line feeds before pos.
	nul   bool   // A NUL was read.
	err   error  // Of reading. What was not read is treated as not being there.
}

func newScanner(r io.ReaderAt, size int64) scanner {
	size = max(size, 0)
	return scanner{r: r, size: size, buf: make([]byte, 0, min(size, bufferSize))}
}

func (s *scanner) offset() int64 { return s.base + int64(s.pos) }

// more makes more than is now in the buffer after pos available. It returns
// false at the end. At most lineMax bytes may be unread when it is called.
func (s *scanner) more() bool {
	end := s.base + int64(len(s.buf))
	if end >= s.size {
		return false
	}
	if drop := s.pos - lookBack; drop > 0 {
		s.buf = s.buf[:copy(s.buf, s.buf[drop:])]
		s.base += int64(drop)
		s.pos = lookBack
	}
	have := len(s.buf)
	want := int(min(int64(cap(s.buf)-have), s.size-end))
	n, err := s.r.ReadAt(s.buf[have:have+want], end)
	s.buf = s.buf[:have+n]
	s.nul = s.nul || bytes.IndexByte(s.buf[have:], 0) >= 0
	if n < want {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		s.err = fmt.Errorf("reading message at offset %d: %w", end+int64(n), err)
		s.size = end + int64(n)
	}
	return n > 0
}

// drain reads what is left.
func (s *scanner) drain() {
	s.pos = len(s.buf)
	for s.more() {
		s.pos = len(s.buf)
	}
}

// line returns the current line with its line break, without going past it. A
// line longer than lineMax is cut there; then whole is false. At the end of the
// message line is empty.
func (s *scanner) line() (line []byte, whole bool) {
	for {
		rest := s.buf[s.pos:]
		rest = rest[:min(len(rest), lineMax)]
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			return rest[:i+1], true
		}
		if len(rest) == lineMax {
			return rest, false
		}
		if !s.more() {
			return rest, true
		}
	}
}

// advance goes n bytes forward in the buffer.
func (s *scanner) advance(n int) {
	s.lines += int64(bytes.Count(s.buf[s.pos:s.pos+n], newline))
	s.pos += n
}

// skipLine goes to the start of the next line.
func (s *scanner) skipLine() {
	for {
		line, whole := s.line()
		s.advance(len(line))
		if whole {
			return
		}
	}
}

// skipToDashes goes from the start of a line to the start of the next line that
// begins with "--", or to the end. It returns false at the end.
func (s *scanner) skipToDashes() bool {
	for {
		rest := s.buf[s.pos:]
		if i := bytes.Index(rest, newlineDashes); i >= 0 {
			s.advance(i + 1)
			return true
		}
		// A line feed and a dash may be the start of what we look for.
		s.advance(max(len(rest)-(len(newlineDashes)-1), 0))
		if !s.more() {
			s.advance(len(s.buf) - s.pos)
			return false
		}
	}
}

// skipAll goes to the end.
func (s *scanner) skipAll() {
	for {
		s.advance(len(s.buf) - s.pos)
		if !s.more() {
			return
		}
	}
}

// partEnd returns the end of a part before a delimiter at the current line, and
// the line feeds before that: the preceding line break is part of the delimiter
// (RFC 2046, section 5.1.1).
func (s *scanner) partEnd() (offset, lines int64) {
	offset, lines = s.offset(), s.lines
	if s.pos >= 1 && s.buf[s.pos-1] == '\n' {
		offset--
		lines--
		if s.pos >= 2 && s.buf[s.pos-2] == '\r' {
			offset--
		}
	}
	return offset, lines
}

var (
	newline       = []byte("\n")
	newlineDashes = []byte("\n--")
)

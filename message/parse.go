package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrMalformed means that a message does not follow the standards or passes a
// limit. The Part that comes with it is the best that could be made, and is
// usable. Other errors of Parse are of reading.
var ErrMalformed = errors.New("malformed message")

// Parse parses the message in the first size bytes of r, with line ends of CRLF
// or bare LF. It reads r once, forward, in memory that does not grow with size.
//
// The Part is usable even if there is an error. An error that is not
// ErrMalformed is of reading; then what could not be read counts as absent.
func Parse(r io.ReaderAt, size int64) (Part, error) {
	p := parser{scanner: newScanner(r, size), budget: structureSizeMax}
	var part Part
	p.entity(&part, kindMessage, 0)
	p.scanner.drain()
	part.NUL = p.scanner.nul
	if p.scanner.err != nil {
		return part, p.scanner.err
	}
	if p.odd != "" {
		return part, fmt.Errorf("%w: %s", ErrMalformed, p.odd)
	}
	return part, nil
}

// kind is what the parent of an entity says about it.
type kind uint8

const (
	kindPart    kind = iota
	kindDigest       // Part of a multipart/digest: by default a message.
	kindMessage      // Has an envelope.
)

type parser struct {
	scanner scanner
	bounds  []string // Boundaries of the multiparts we are in, outermost first.
	parts   int
	budget  int    // Bytes still to be spent on the structure.
	stopped bool   // Delimiters are no longer looked for.
	odd     string // The first thing found wrong.
	value   []byte // Of the header field being read, reused.
}

// stop is where a part ends.
type stop struct {
	bound   int // Index in bounds of the delimiter at the current line, -1 for the end of the message.
	closing bool
	end     int64 // End of the part before the delimiter.
	lines   int64 // Line feeds before end.
}

func (p *parser) oddity(s string) {
	if p.odd == "" {
		p.odd = s
	}
}

// keep tells if n more bytes may be spent on the structure.
func (p *parser) keep(n int) bool {
	if n > p.budget {
		p.oddity("structure too large")
		return false
	}
	p.budget -= n
	return true
}

// entity parses a header and body into part, to where a delimiter of a
// surrounding multipart is, or the end.
func (p *parser) entity(part *Part, kind kind, depth int) stop {
	p.parts++
	p.budget -= partCost
	h := header{kind: kind, part: part}
	end, ended, descend := p.header(&h)
	h.apply(p)
	if ended {
		return p.finish(part, end, end.lines)
	}
	lines := p.scanner.lines
	if h.cut > 0 {
		lines = h.cutLines
	}

	boundary := part.Param("BOUNDARY")
	switch {
	case !descend:
		end = p.leaf()
	case depth >= depthMax && (part.Type == "MULTIPART" || part.isMessage()):
		p.oddity("nested too deep")
		end = p.leaf()
	case part.Type == "MULTIPART" && boundary == "":
		p.oddity("multipart without boundary")
		end = p.leaf()
	case part.Type == "MULTIPART" && len(boundary) > boundarySizeMax:
		p.oddity("boundary too long")
		end = p.leaf()
	case part.Type == "MULTIPART":
		end = p.multipart(part, boundary, depth)
	case part.isMessage() && identity(part.Encoding) && p.room():
		part.Message = &Part{}
		end = p.entity(part.Message, kindMessage, depth+1)
	default:
		end = p.leaf()
	}
	return p.finish(part, end, lines)
}

// room tells if another part is within limits. If not, it stops looking for
// parts in the whole message.
func (p *parser) room() bool {
	if p.parts < partsMax && p.budget >= partCost {
		return true
	}
	p.oddity("too many parts")
	p.stopped = true
	return false
}

// finish sets the end of part. A part never ends before its header does, even
// if a delimiter comes so early that their line breaks are the same; the parts
// it is in may not end earlier either.
func (p *parser) finish(part *Part, end stop, bodyLines int64) stop {
	end.end = max(end.end, part.BodyOffset)
	end.lines = max(end.lines, bodyLines)
	part.EndOffset = end.end
	if part.Type == "TEXT" || part.Type == "MESSAGE" || part.Type == "MULTIPART" && len(part.Parts) == 0 {
		part.Lines = end.lines - bodyLines
	}
	return end
}

func identity(encoding string) bool {
	switch encoding {
	case "", "7BIT", "8BIT", "BINARY":
		return true
	}
	return false
}

// multipart parses preamble, parts and epilogue (RFC 2046, section 5.1).
func (p *parser) multipart(part *Part, boundary string, depth int) stop {
	own := len(p.bounds)
	p.bounds = append(p.bounds, boundary)
	child := kindPart
	if part.Subtype == "DIGEST" {
		child = kindDigest
	}

	end := p.leaf()
	for end.bound == own && !end.closing && p.room() {
		p.scanner.skipLine()
		part.Parts = append(part.Parts, Part{})
		end = p.entity(&part.Parts[len(part.Parts)-1], child, depth+1)
	}
	p.bounds = p.bounds[:own]
	last := end
	if end.bound == own { // Closed, or the limit was reached: the rest is epilogue.
		p.scanner.skipLine()
		end = p.leaf()
		end.end = max(end.end, last.end)
		end.lines = max(end.lines, last.lines)
	} else {
		p.oddity("multipart not closed")
	}
	if len(part.Parts) == 0 {
		p.oddity("multipart without parts")
	}
	return end
}

// leaf goes from the start of a line to the next delimiter of any multipart we
// are in.
func (p *parser) leaf() stop {
	s := &p.scanner
	if len(p.bounds) > 0 && !p.stopped {
		for {
			if line, _ := s.line(); bytes.HasPrefix(line, dashes) {
				if bound, closing := p.delimiter(line); bound >= 0 {
					end, lines := s.partEnd()
					return stop{bound, closing, end, lines}
				}
			}
			if !s.skipToDashes() {
				break
			}
		}
	} else {
		s.skipAll()
	}
	return stop{bound: -1, end: s.offset(), lines: s.lines}
}

// delimiter tells of which multipart the line, which starts with "--", is a
// delimiter, -1 if of none.
//
// RFC 2046, section 5.1.1, would have it suffice that a line starts with the
// boundary. But some senders make inner boundaries by adding to the outer. So
// the innermost that is the whole line is taken, else the innermost that is
// followed by white space.
func (p *parser) delimiter(line []byte) (bound int, closing bool) {
	if p.stopped {
		return -1, false
	}
	line = bytes.TrimRight(line, "\r\n")
	bound = -1
	for i := len(p.bounds) - 1; i >= 0; i-- {
		b := p.bounds[i]
		if len(line) < 2+len(b) || string(line[2:2+len(b)]) != b {
			continue
		}
		rest := line[2+len(b):]
		c := bytes.HasPrefix(rest, dashes)
		if c {
			rest = rest[2:]
		}
		switch {
		case len(bytes.TrimLeft(rest, " \t")) == 0:
			return i, c
		case bound < 0 && isSpace(rest[0]):
			bound, closing = i, c
		}
	}
	return bound, closing
}

var dashes = []byte("--")

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// trimSpace removes white space of headers around s.
func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }

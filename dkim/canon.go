package dkim

import (
	"bytes"
	"hash"
	"io"
)

var (
	crlf = []byte("\r\n")

	// crlfs is written in one go for blank lines that turned out not to be at the end.
	crlfs = bytes.Repeat(crlf, 2048)
)

// appendField appends the canonical form of a header field (RFC 6376, section
// 3.4), with a line break at its end.
func appendField(b, field []byte, relaxed bool) []byte {
	field = bytes.TrimSuffix(field, crlf)
	if !relaxed {
		return append(append(b, field...), crlf...)
	}
	name, value, _ := bytes.Cut(field, []byte(":"))
	for _, c := range bytes.TrimRight(name, " \t") {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	b = append(b, ':')
	start, space := len(b), false
	for i, c := range value {
		switch {
		case c == ' ' || c == '\t':
			space = true
			continue
		case c == '\r' && i+1 < len(value) && value[i+1] == '\n', c == '\n' && i > 0 && value[i-1] == '\r':
			continue
		}
		if space && len(b) > start {
			b = append(b, ' ')
		}
		space = false
		b = append(b, c)
	}
	return append(b, crlf...)
}

// canonicalBody passes on the canonical form of a body that is written to it.
// Blank lines that may be at the end are counted, not kept. Close ends the body.
type canonicalBody interface {
	io.Writer
	Close()
}

// bodySink takes a canonical body. Hashes don't fail.
type bodySink interface{ put(p []byte) }

// held is what may turn out not to belong to a canonical body.
type held struct {
	out   bodySink
	lines int64 // Line breaks.
	cr    bool  // A carriage return after them, of which the line feed is missing.
}

// release passes on the line breaks.
func (h *held) release() {
	for h.lines > 0 {
		n := min(h.lines, int64(len(crlfs)/len(crlf)))
		h.out.put(crlfs[:n*int64(len(crlf))])
		h.lines -= n
	}
}

// simpleBody is RFC 6376, section 3.4.3.
type simpleBody struct{ held }

// Write implements io.Writer. It never fails.
func (b *simpleBody) Write(p []byte) (int, error) {
	size := len(p)
	if b.cr && size > 0 {
		b.cr = false
		if p[0] == '\n' {
			b.lines++
			p = p[1:]
		} else {
			b.release()
			b.out.put(crlf[:1])
		}
	}
	end := len(p)
	cr := end > 0 && p[end-1] == '\r'
	if cr {
		end--
	}
	var lines int64
	for end >= 2 && p[end-2] == '\r' && p[end-1] == '\n' {
		end -= 2
		lines++
	}
	if end > 0 {
		b.release()
		b.out.put(p[:end])
	}
	b.lines += lines
	b.cr = b.cr || cr
	return size, nil
}

// Close ends the body: with one line break, even if it was empty.
func (b *simpleBody) Close() {
	if b.cr {
		b.release()
		b.out.put(crlf[:1])
	}
	b.out.put(crlf)
}

// relaxedBody is RFC 6376, section 3.4.4.
type relaxedBody struct {
	held
	space bool // White space before cr.
	some  bool // Something was passed on.
}

// Write implements io.Writer. It never fails.
func (b *relaxedBody) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		switch c := p[i]; {
		case c == '\n' && b.cr:
			b.lines++
			b.cr, b.space = false, false
			i++
		case b.cr: // One without line feed: it is like any other character.
			b.cr = false
			b.put(crlf[:1])
		case c == '\r':
			b.cr = true
			i++
		case c == ' ' || c == '\t':
			b.space = true
			i++
		default:
			end := i + 1
			for end < len(p) && p[end] != '\r' && !isSpace(p[end]) {
				end++
			}
			// A single space stays as it is, so that most text goes on in lines.
			for end+1 < len(p) && p[end] == ' ' && p[end+1] > ' ' {
				for end += 2; end < len(p) && p[end] != '\r' && !isSpace(p[end]); end++ {
				}
			}
			b.put(p[i:end])
			i = end
		}
	}
	return len(p), nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// put passes on what is not white space, after what was held back.
func (b *relaxedBody) put(p []byte) {
	b.release()
	if b.space {
		b.out.put([]byte(" "))
	}
	b.space, b.some = false, true
	b.out.put(p)
}

// Close ends the body: with a line break, unless it is empty.
func (b *relaxedBody) Close() {
	if b.cr {
		b.put(crlf[:1])
	}
	if b.some {
		b.out.put(crlf)
	}
}

// prefixHash hashes the first bytes of a body, or all.
type prefixHash struct {
	hash.Hash
	left int64 // To be hashed yet; -1 for all.
}

func (h *prefixHash) put(p []byte) {
	if h.left >= 0 {
		p = p[:min(int64(len(p)), h.left)]
		h.left -= int64(len(p))
	}
	_, _ = h.Write(p) // It never fails.
}

// sinks passes on to several.
type sinks []bodySink

func (s sinks) put(p []byte) {
	for _, sink := range s {
		sink.put(p)
	}
}

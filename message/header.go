package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// ErrHeaderSize means that a header section passes headerSizeMax. Parse never
// makes such a Part.
var ErrHeaderSize = errors.New("header too large")

// Header is a header section. Its bytes are kept as they are.
type Header struct{ raw []byte }

// Field is a header field.
type Field struct {
	Name string // As written, without the colon.
	Raw  []byte // The whole field with folding and the last line break.
}

// Value returns the value of the field, unfolded, and without white space around
// it. Nothing is decoded.
func (f Field) Value() string {
	_, rest, _ := bytes.Cut(f.Raw, []byte(":"))
	return unfold(rest)
}

// ReadHeader reads the header section of p.
func ReadHeader(r io.ReaderAt, p *Part) (Header, error) {
	size := p.BodyOffset - p.HeaderOffset
	if size < 0 || size > headerSizeMax {
		return Header{}, fmt.Errorf("reading header of %d bytes: %w", size, ErrHeaderSize)
	}
	raw := make([]byte, size)
	if n, err := r.ReadAt(raw, p.HeaderOffset); n < len(raw) {
		return Header{}, fmt.Errorf("reading header: %w", err)
	}
	return Header{raw}, nil
}

// NewHeader returns the header section in raw, which must not be changed while
// the Header is used. What follows a blank line is left out.
func NewHeader(raw []byte) Header { return Header{raw[:headerEnd(raw)]} }

// headerEnd returns the length of the header section raw starts with, including
// its blank line.
func headerEnd(raw []byte) int {
	for pos := 0; pos < len(raw); {
		n := lineLen(raw[pos:])
		if isBlank(raw[pos : pos+n]) {
			return pos + n
		}
		pos += n
	}
	return len(raw)
}

// lineLen returns the length of the first line of b, with its line break.
func lineLen(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	return len(b)
}

// Raw returns the bytes of the header section, including its blank line if it
// has one. They must not be changed.
func (h Header) Raw() []byte { return h.raw }

// Fields yields the fields in order. Lines that are not part of a field are left
// out.
func (h Header) Fields() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for name, raw := range fieldRanges(h.raw) {
			if name != nil && !yield(Field{string(name), raw}) {
				return
			}
		}
	}
}

// fieldRanges yields consecutive pieces of raw up to the blank line: fields with
// their continuation lines. The name is nil for lines that belong to none.
func fieldRanges(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, raw []byte) bool) {
		for len(raw) > 0 {
			n := lineLen(raw)
			if isBlank(raw[:n]) {
				return
			}
			var name []byte
			if !isSpace(raw[0]) {
				name, _ = fieldName(raw[:n])
			}
			for n < len(raw) && isSpace(raw[n]) {
				n += lineLen(raw[n:])
			}
			if !yield(name, raw[:n]) {
				return
			}
			raw = raw[n:]
		}
	}
}

// Get returns the value of the first field with a name, in any case, and "" if
// there is none. See Field.Value.
func (h Header) Get(name string) string {
	for n, raw := range fieldRanges(h.raw) {
		if isName(n, name) {
			return Field{Raw: raw}.Value()
		}
	}
	return ""
}

// Values returns the values of all fields with a name, in order.
func (h Header) Values(name string) []string {
	var values []string
	for n, raw := range fieldRanges(h.raw) {
		if isName(n, name) {
			values = append(values, Field{Raw: raw}.Value())
		}
	}
	return values
}

// Count returns the number of fields with a name.
func (h Header) Count(name string) int {
	count := 0
	for n := range fieldRanges(h.raw) {
		if isName(n, name) {
			count++
		}
	}
	return count
}

// isName compares field names without regard to the case of ASCII letters. A
// name from a message is always ASCII.
func isName(a []byte, b string) bool {
	return len(a) == len(b) && len(a) > 0 && strings.EqualFold(string(a), b)
}

// unfold joins the lines of a field body (RFC 5322, section 2.2.3), and removes
// the white space around it.
func unfold(b []byte) string {
	b = bytes.Trim(b, " \t\r\n")
	if bytes.IndexByte(b, '\n') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		n := lineLen(b)
		out = append(out, bytes.TrimRight(b[:n], "\r\n")...)
		b = b[n:]
	}
	return string(out)
}

// CountReceived returns the number of Received fields: the hops a message took,
// which tells of mail loops (RFC 5321, section 6.3).
func CountReceived(h Header) int { return h.Count("Received") }

// NeedsSMTPUTF8 tells if a header has bytes of 8 bits, so that the message can
// only be sent to servers with the SMTPUTF8 extension (RFC 6531).
func NeedsSMTPUTF8(h Header) bool {
	for _, c := range h.raw {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// FilterHeader returns the lines of the header section in raw that IMAP's
// HEADER.FIELDS or, if not is set, HEADER.FIELDS.NOT asks for, byte for byte,
// and the blank line if there is one (RFC 9051, section 6.4.5.1). Lines that are
// not part of a field match no name.
func FilterHeader(raw []byte, names []string, not bool) []byte {
	var out []byte
	pos := 0
	for name, lines := range fieldRanges(raw) {
		match := false
		for _, n := range names {
			match = match || isName(name, n)
		}
		if match != not {
			out = append(out, lines...)
		}
		pos += len(lines)
	}
	return append(out, raw[pos:pos+lineLen(raw[pos:])]...)
}

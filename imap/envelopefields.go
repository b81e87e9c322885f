package imap

import (
	"bytes"
	"strconv"

	"github.com/mjl-/mox/message"
)

// EnvelopeField is the place of a field in ENVELOPE (RFC 9051, section 7.5.2).
type EnvelopeField int

// The fields of ENVELOPE, in their order.
const (
	EnvelopeDate EnvelopeField = iota
	EnvelopeSubject
	EnvelopeFrom
	EnvelopeSender
	EnvelopeReplyTo
	EnvelopeTo
	EnvelopeCc
	EnvelopeBcc
	EnvelopeInReplyTo
	EnvelopeMessageID
)

// EnvelopeString returns a string of an ENVELOPE that AppendEnvelope wrote, and
// false for NIL. Only what comes before it is looked at, so that a search over
// many messages need not parse them.
func EnvelopeString(env []byte, field EnvelopeField) (string, bool) {
	r := envelopeReader{env}
	r.seek(field)
	return r.string()
}

// EnvelopeAddresses returns the addresses in a field of an ENVELOPE that
// AppendEnvelope wrote.
func EnvelopeAddresses(env []byte, field EnvelopeField) []message.Address {
	r := envelopeReader{env}
	r.seek(field)
	if !r.take('(') {
		return nil
	}
	var list []message.Address
	for r.take('(') {
		var parts [4]string
		for i := range parts {
			parts[i], _ = r.string()
			r.take(' ')
		}
		r.take(')')
		list = append(list, message.Address{Name: parts[0], Adl: parts[1], Mailbox: parts[2], Host: parts[3]})
	}
	return list
}

// envelopeReader reads values of an ENVELOPE. What it does not understand is
// the end.
type envelopeReader struct{ b []byte }

func (r *envelopeReader) take(c byte) bool {
	if len(r.b) > 0 && r.b[0] == c {
		r.b = r.b[1:]
		return true
	}
	return false
}

// seek goes to a field.
func (r *envelopeReader) seek(field EnvelopeField) {
	r.take('(')
	for range field {
		r.skip()
		r.take(' ')
	}
}

// skip passes over a value: a string, NIL, or a list with what is in it.
func (r *envelopeReader) skip() {
	for depth := 0; len(r.b) > 0; {
		switch c := r.b[0]; c {
		case '(':
			depth++
			r.b = r.b[1:]
		case ')':
			depth--
			r.b = r.b[1:]
		case ' ':
			r.b = r.b[1:]
		default:
			r.skipString()
		}
		if depth <= 0 {
			return
		}
	}
}

// skipString passes over a string or NIL.
func (r *envelopeReader) skipString() {
	switch r.b[0] {
	case '"':
		i := 1
		for i < len(r.b) && r.b[i] != '"' {
			if r.b[i] == '\\' {
				i++
			}
			i++
		}
		r.b = r.b[min(i+1, len(r.b)):]
	case '{':
		_, n := r.literal()
		r.b = r.b[n:]
	default:
		r.b = r.b[min(3, len(r.b)):] // NIL.
	}
}

// literal returns the content of a literal, and its length with what is before.
func (r *envelopeReader) literal() (content []byte, length int) {
	head, rest, ok := bytes.Cut(r.b, []byte("}\r\n"))
	if !ok {
		return nil, len(r.b)
	}
	n, err := strconv.Atoi(string(head[1:]))
	if err != nil || n < 0 || n > len(rest) {
		return nil, len(r.b)
	}
	return rest[:n], len(head) + 3 + n
}

// string reads a string or NIL.
func (r *envelopeReader) string() (string, bool) {
	if len(r.b) == 0 {
		return "", false
	}
	switch r.b[0] {
	case '"':
		before := r.b
		r.skipString()
		s := before[1:max(len(before)-len(r.b)-1, 1)]
		if bytes.IndexByte(s, '\\') < 0 {
			return string(s), true
		}
		return unescape(s), true
	case '{':
		content, n := r.literal()
		r.b = r.b[n:]
		return string(content), true
	}
	r.skip()
	return "", false
}

func unescape(s []byte) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}

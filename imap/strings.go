package imap

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrIncomplete is wrapped by the failure of a Decoder that came to a literal
// whose bytes are not in its text yet. The caller that gathers a command may
// read them and parse again.
var ErrIncomplete = errors.New("imap: literal not read yet")

// Literal is the announcement of a literal: "{n}", "{n+}", "~{n}" or "~{n+}".
type Literal struct {
	Size    int64 // In bytes.
	NonSync bool  // "+": the client does not wait for a continuation request (RFC 7888).
	Binary  bool  // "~": literal8, the bytes may be anything (RFC 3516).
	Wrapped bool  // It is in "UTF8 (" and ")", as only the message of APPEND can be (RFC 6855).
}

// ParseLiteral returns the literal announced at the end of line, which must be
// without its CRLF. A line that ends in "}" but not in an announcement has none:
// it is a syntax error that the Decoder will find.
func ParseLiteral(line string) (lit Literal, ok bool) {
	s, ok := strings.CutSuffix(line, "}")
	if !ok {
		return Literal{}, false
	}
	s, lit.NonSync = strings.CutSuffix(s, "+")
	i := strings.LastIndexByte(s, '{')
	if i < 0 || i+1 == len(s) || !isDigit(s[i+1]) {
		return Literal{}, false
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 63)
	if err != nil {
		return Literal{}, false
	}
	lit.Size = int64(n)
	lit.Binary = i > 0 && s[i-1] == '~'
	return lit, true
}

// AString reads an atom or string: userid, password, mailbox, header name.
func (d *Decoder) AString() string {
	if d.Peek('"') || d.Peek('{') {
		return d.String()
	}
	s := d.takeWhile(d.isBareChar)
	if s == "" {
		d.Fail("expected string")
	}
	return s
}

// isBareChar tells the characters of an unquoted astring. Unless Pedantic bytes
// outside of ASCII are among them: users type such names into simple clients.
func (d *Decoder) isBareChar(c byte) bool {
	return isAstringChar(c) || c >= 0x80 && !d.Pedantic
}

// String reads a quoted string or a literal.
func (d *Decoder) String() string {
	if d.Peek('{') {
		return d.literal()
	}
	return d.quoted()
}

// NString reads a string or NIL; ok is false for NIL.
func (d *Decoder) NString() (s string, ok bool) {
	if d.TakeWord("NIL") {
		return "", false
	}
	return d.String(), d.err == nil
}

// quoted reads a quoted string. A backslash may come only before a quote or
// backslash.
func (d *Decoder) quoted() string {
	if !d.Take('"') {
		d.Fail("expected string")
		return ""
	}
	start, escaped := d.pos, false
	for d.pos < len(d.text) {
		switch d.text[d.pos] {
		case '"':
			s := d.text[start:d.pos]
			d.pos++
			return d.unquote(s, escaped)
		case '\\':
			escaped = true
			d.pos++
			if !d.Peek('"') && !d.Peek('\\') {
				d.Fail("bad escape in quoted string")
				return ""
			}
		case 0, '\r', '\n':
			d.Fail("bad character in quoted string")
			return ""
		}
		d.pos++
	}
	d.Fail("quoted string without end")
	return ""
}

func (d *Decoder) unquote(s string, escaped bool) string {
	if (d.Pedantic || d.UTF8) && !utf8.ValidString(s) {
		d.Fail("quoted string is not UTF-8")
		return ""
	}
	if !escaped {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// literal reads a literal that is in the text.
func (d *Decoder) literal() string {
	lit := d.announcement()
	if d.err != nil {
		return ""
	}
	if d.pos == len(d.text) {
		d.fail(&Error{Response{Type: "BAD", Text: "literal missing"}, ErrIncomplete})
		return ""
	}
	rest, ok := strings.CutPrefix(d.text[d.pos:], "\r\n")
	if !ok || int64(len(rest)) < lit.Size {
		d.Fail("bad literal")
		return ""
	}
	s := rest[:lit.Size]
	d.pos += 2 + len(s)
	if !lit.Binary && strings.IndexByte(s, 0) >= 0 {
		d.Fail("NUL in literal")
		return ""
	}
	return s
}

// announcement reads "{n}" and its variants, without a CRLF.
func (d *Decoder) announcement() Literal {
	var lit Literal
	if lit.Binary = d.Take('~'); lit.Binary {
		d.Needs("BINARY")
	}
	d.Expect('{')
	lit.Size = d.Number64()
	lit.NonSync = d.Take('+')
	d.Expect('}')
	return lit
}

// StreamLiteral reads the announcement of a literal that ends the text, and
// whose bytes the caller handles as a stream: the message of APPEND.
func (d *Decoder) StreamLiteral() Literal {
	lit := d.announcement()
	if d.err == nil && d.pos < len(d.text) {
		d.Fail("bad literal")
	}
	return lit
}

// MessageLiteral is StreamLiteral for a message, which may be wrapped to say that its
// header is UTF-8 (RFC 6855, section 4). The ")" comes behind its bytes.
//
//	append-data = literal / literal8 / "UTF8" SP "(" literal8 ")"
func (d *Decoder) MessageLiteral() Literal {
	wrapped := d.TakeWord("UTF8")
	if wrapped {
		d.Needs("UTF8=ACCEPT")
		d.SP()
		d.Expect('(')
	}
	lit := d.StreamLiteral()
	if wrapped && !lit.Binary {
		d.Fail("expected a literal8")
	}
	lit.Wrapped = wrapped
	return lit
}

// AppendQuoted appends s as a quoted string. It must not have NUL, CR or LF:
// Encoder.String chooses a literal for those.
func AppendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// quotedMax is the longest string written between quotes; longer ones become
// literals, as clients may have small line buffers.
const quotedMax = 1000

// quotable reports whether s can be sent as a quoted string. Bytes outside of
// ASCII can only if utf8OK (after ENABLE IMAP4rev2) and valid.
func quotable(s string, utf8OK bool) bool {
	if len(s) > quotedMax {
		return false
	}
	high := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == 0 || c == '\r' || c == '\n':
			return false
		case c >= 0x80:
			high = true
		}
	}
	return !high || utf8OK && utf8.ValidString(s)
}

// AppendString appends s as a quoted string if that can hold it, else as a
// literal.
func AppendString(b []byte, s string, utf8OK bool) []byte {
	if quotable(s, utf8OK) {
		return AppendQuoted(b, s)
	}
	b = append(b, '{')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, "}\r\n"...)
	return append(b, s...)
}

// AppendAString appends s as an atom if it is one, else as a string. "NIL" is
// quoted, so that it is not taken for the absence of a value.
func AppendAString(b []byte, s string, utf8OK bool) []byte {
	if s == "" || strings.EqualFold(s, "NIL") {
		return AppendQuoted(b, s)
	}
	for i := range len(s) {
		if !isAstringChar(s[i]) {
			return AppendString(b, s, utf8OK)
		}
	}
	return append(b, s...)
}

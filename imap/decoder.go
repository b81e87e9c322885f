package imap

import (
	"strconv"
	"strings"
)

// Decoder reads the arguments of one complete command. Its error is sticky:
// after the first failure every method returns a zero value, and End or Err
// reports it. Parsing is therefore straight-line code, and effects begin after
// End.
//
// The text is the command line without its final CRLF. A literal is written
// in it as it came: "{3}", CRLF, three bytes, and the rest of the command.
type Decoder struct {
	// Pedantic refuses what the grammar does not allow but clients are known
	// to send: more than one space, one-digit days in date-times, names that
	// are neither modified UTF-7 nor ASCII.
	Pedantic bool

	// UTF8 means mailbox names are UTF-8, as after ENABLE IMAP4rev2 or UTF8=ACCEPT,
	// and quoted strings must be. Without it names are modified UTF-7 (RFC 3501,
	// section 5.1.3).
	UTF8 bool

	// NoCharset refuses a charset in SEARCH, as after ENABLE UTF8=ACCEPT (RFC 6855,
	// section 3).
	NoCharset bool

	// Off makes words of these capabilities a failure.
	Off Off

	text string
	pos  int
	err  error
}

// NewDecoder returns a decoder of text, which must not include the final CRLF.
func NewDecoder(text string) *Decoder { return &Decoder{text: text} }

// Err returns the first failure, an *Error with a BAD response, or nil.
func (d *Decoder) Err() error { return d.err }

// End returns the first failure, or one for text that is left over.
func (d *Decoder) End() error {
	if d.err == nil && !d.Pedantic {
		d.skipSpaces()
	}
	if d.err == nil && d.pos < len(d.text) {
		d.Fail("unexpected %+q", d.excerpt())
	}
	return d.err
}

// Fail makes the decoder fail with a BAD response, unless it has failed before.
// Text of the client in args must be formatted with %+q.
func (d *Decoder) Fail(format string, args ...any) {
	d.fail(Bad(format, args...))
}

// FailWith makes the decoder fail with a response other than a plain BAD, for
// arguments that are well-formed but not supported.
func (d *Decoder) FailWith(err *Error) { d.fail(err) }

func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.pos = len(d.text)
}

// excerptMax bounds how much of a client's text an error message repeats.
const excerptMax = 20

func (d *Decoder) excerpt() string {
	rest := d.text[d.pos:]
	if len(rest) > excerptMax {
		rest = rest[:excerptMax]
	}
	return rest
}

// Empty reports whether nothing is left to read, or the decoder has failed.
func (d *Decoder) Empty() bool { return d.pos >= len(d.text) }

// peek returns the next byte, and 0 at the end.
func (d *Decoder) peek() byte {
	if d.pos < len(d.text) {
		return d.text[d.pos]
	}
	return 0
}

// Peek reports whether the next byte is c.
func (d *Decoder) Peek(c byte) bool { return d.pos < len(d.text) && d.text[d.pos] == c }

// Take reads c if it is next, and reports whether it was.
func (d *Decoder) Take(c byte) bool {
	if d.Peek(c) {
		d.pos++
		return true
	}
	return false
}

// Expect reads c, which must be next.
func (d *Decoder) Expect(c byte) {
	if !d.Take(c) {
		d.Fail("expected %q", string(rune(c)))
	}
}

// SP reads the space between arguments. More than one is let pass unless
// Pedantic.
func (d *Decoder) SP() {
	if !d.Take(' ') {
		d.Fail("expected space")
		return
	}
	if !d.Pedantic {
		d.skipSpaces()
	}
}

// TakeSP reads a space if it is next, and reports whether it was: for
// arguments that are optional. Spaces that only end the line are not taken for
// one, unless Pedantic.
func (d *Decoder) TakeSP() bool {
	if !d.Pedantic && strings.TrimLeft(d.text[d.pos:], " ") == "" || !d.Peek(' ') {
		return false
	}
	d.SP()
	return true
}

func (d *Decoder) skipSpaces() {
	for d.Peek(' ') {
		d.pos++
	}
}

// TakeWord reads word, an upper-case atom, if it is next in any case and not
// merely the start of a longer atom. It reports whether it was.
func (d *Decoder) TakeWord(word string) bool {
	end := d.pos + len(word)
	if end > len(d.text) || !strings.EqualFold(d.text[d.pos:end], word) {
		return false
	}
	if end < len(d.text) && isAtomChar(d.text[end]) {
		return false
	}
	d.pos = end
	return true
}

// Word reads an atom and returns it in upper case: a command name, search key
// and the like. One of a capability that is off fails.
func (d *Decoder) Word() string { return d.known(upper(d.Atom())) }

// known returns a word, and fails if it is of a capability that is off.
func (d *Decoder) known(word string) string {
	if len(d.Off) > 0 {
		d.Needs(wordCapabilities[word])
	}
	return word
}

// Atom reads an atom (RFC 9051, section 9).
func (d *Decoder) Atom() string {
	s := d.takeWhile(isAtomChar)
	if s == "" {
		d.Fail("expected atom")
	}
	return s
}

// Tag reads the tag of a command: ASTRING-CHARs without "+".
func (d *Decoder) Tag() string {
	s := d.takeWhile(func(c byte) bool { return isAstringChar(c) && c != '+' })
	if s == "" {
		d.Fail("expected tag")
	}
	return s
}

// takeWhile reads the bytes for which ok holds.
func (d *Decoder) takeWhile(ok func(byte) bool) string {
	start := d.pos
	for d.pos < len(d.text) && ok(d.text[d.pos]) {
		d.pos++
	}
	return d.text[start:d.pos]
}

// Rest reads all that is left.
func (d *Decoder) Rest() string {
	s := d.text[d.pos:]
	d.pos = len(d.text)
	return s
}

// List reads "(" item *(SP item) ")", calling item to read each. An empty list
// is refused: use ListOrEmpty where the grammar has one.
func (d *Decoder) List(item func()) {
	if d.ListOrEmpty(item) == 0 {
		d.Fail("expected a list with at least one item")
	}
}

// ListOrEmpty reads "(" [item *(SP item)] ")" and returns how many there were. Unless
// Pedantic there may be a space at either end: Dovecot's imapc begins a list so.
func (d *Decoder) ListOrEmpty(item func()) int {
	d.Expect('(')
	if !d.Pedantic && d.Peek(' ') {
		d.SP()
	}
	n := 0
	for d.err == nil && !d.Take(')') {
		if n > 0 {
			d.SP()
			if !d.Pedantic && d.Take(')') {
				break
			}
		}
		item()
		n++
	}
	return n
}

// Number reads an unsigned number of 32 bits.
func (d *Decoder) Number() uint32 { return uint32(d.number(32)) }

// Number64 reads an unsigned number of 63 bits.
func (d *Decoder) Number64() int64 { return int64(d.number(63)) }

// NonZero reads a number of 32 bits that is not zero.
func (d *Decoder) NonZero() uint32 {
	if d.Peek('0') {
		d.Fail("expected a number above 0")
	}
	return d.Number()
}

func (d *Decoder) number(bits int) uint64 {
	s := d.takeWhile(isDigit)
	if s == "" {
		d.Fail("expected number")
		return 0
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		d.Fail("number too large")
		return 0
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isAtomChar tells ATOM-CHARs of RFC 9051, section 9.
func isAtomChar(c byte) bool {
	switch c {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return c > 0x20 && c < 0x7f
}

func isAstringChar(c byte) bool { return isAtomChar(c) || c == ']' }

// upper returns s with ASCII letters in upper case. It does not copy if there
// is nothing to do.
func upper(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 'a' && c <= 'z' {
			return strings.ToUpper(s)
		}
	}
	return s
}

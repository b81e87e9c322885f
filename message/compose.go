package message

import (
	"strings"
	"time"
)

const (
	// lineLenPreferred and lineLenMax bound a line in bytes without its line
	// break, RFC 5322, section 2.1.1.
	lineLenPreferred = 78
	lineLenMax       = 998
)

// HeaderWriter composes header fields, folded to lines of 78 bytes where that is
// possible, and of at most 998. What would be a line break or another control
// character in the parts given to it is left out, so that text from a peer can't
// make up fields. The zero value is ready for use.
type HeaderWriter struct {
	b    []byte
	line int  // Bytes in the current line.
	open bool // A field has been started and not ended.
}

// Field starts a field, ending the one before.
func (w *HeaderWriter) Field(name string) {
	w.end()
	w.open = true
	w.append(name + ":")
}

// Add adds words to the field, each preceded by a space or a fold.
func (w *HeaderWriter) Add(words ...string) {
	for _, word := range words {
		w.word(clean(word))
	}
}

// Join adds words to the field, separated by sep without a space, such as a
// comma; it stays with the word before it.
func (w *HeaderWriter) Join(sep string, words ...string) {
	for i, word := range words {
		if i < len(words)-1 {
			word += sep
		}
		w.word(clean(word))
	}
}

func (w *HeaderWriter) word(s string) {
	if s == "" {
		return
	}
	s = truncate(s, lineLenMax-1)
	// A line of white space only would look like the end of the header to some, so
	// no fold comes before the first word unless it must.
	if max := w.limit(); w.line+1+len(s) > max {
		w.b = append(w.b, "\r\n"...)
		w.line = 0
	}
	w.append(" " + s)
}

// limit returns how long the current line may become. A name alone on its line
// is avoided if there is room within the hard limit.
func (w *HeaderWriter) limit() int {
	if w.line > 0 && w.b[len(w.b)-1] == ':' && w.line <= lineLenPreferred/2 {
		return lineLenMax
	}
	return lineLenPreferred
}

func (w *HeaderWriter) append(s string) {
	w.b = append(w.b, s...)
	w.line += len(s)
}

func (w *HeaderWriter) end() {
	if w.open {
		w.b = append(w.b, "\r\n"...)
		w.line = 0
		w.open = false
	}
}

// Bytes ends the current field, and returns all fields.
func (w *HeaderWriter) Bytes() []byte {
	w.end()
	return w.b
}

// clean leaves out control characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// ReturnPath adds a Return-Path field (RFC 5321, section 4.4). Path is without
// brackets, empty for the null path.
func (w *HeaderWriter) ReturnPath(path string) {
	w.Field("Return-Path")
	w.Add("<" + path + ">")
}

// DeliveredTo adds a Delivered-To field (RFC 9228).
func (w *HeaderWriter) DeliveredTo(address string) {
	w.Field("Delivered-To")
	w.Add(address)
}

// Received is what a Received field says (RFC 5321, section 4.4). Empty parts are
// left out.
type Received struct {
	From        string // Domain or address literal of EHLO.
	FromComment string // What is known of the peer: its name, and its address as a literal.
	By          string // Our host name.
	ByComment   string
	With        string // Protocol, like ESMTPS (RFC 3848).
	WithComment string // TLS version and cipher (RFC 8314, section 4.3).
	ID          string
	For         string    // Recipient without brackets, only if it is the only one.
	Time        time.Time // In the zone to be shown.
}

// Received adds a Received field.
func (w *HeaderWriter) Received(r Received) {
	w.Field("Received")
	forPath := r.For
	if forPath != "" {
		forPath = "<" + forPath + ">"
	}
	clauses := [][3]string{
		{"from", r.From, r.FromComment},
		{"by", r.By, r.ByComment},
		{"with", r.With, r.WithComment},
		{"id", r.ID, ""},
		{"for", forPath, ""},
	}
	var words []string
	for _, c := range clauses {
		if c[1] == "" {
			continue
		}
		words = append(words, c[0]+" "+c[1])
		if c[2] != "" {
			words = append(words, comment(c[2]))
		}
	}
	if len(words) > 0 {
		words[len(words)-1] += ";"
	} else {
		words = []string{";"}
	}
	w.Add(words...)
	w.Add(FormatDate(r.Time))
}

// comment returns s as a comment.
func comment(s string) string {
	return "(" + escape(s, `\()`) + ")"
}

// escape returns s with a backslash before each of some ASCII characters.
func escape(s, special string) string {
	if !strings.ContainsAny(s, special) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(special, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// FormatDate formats a time for a header field (RFC 5322, section 3.3).
func FormatDate(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") }

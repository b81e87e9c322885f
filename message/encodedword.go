package message

import (
	"encoding/base64"
	"strings"
	"unicode"
)

// encodedWordMax bounds an encoded-word in bytes. RFC 2047, section 2, allows 75,
// but many senders put a whole subject in one.
const encodedWordMax = 4096

// DecodeHeader returns the value of a header field as text for people: encoded
// words (RFC 2047) decoded, in UTF-8, on one line. What can't be decoded stays as
// it is. Control characters become spaces.
func DecodeHeader(s string) string {
	if i := strings.IndexByte(s, '='); i < 0 || !strings.Contains(s[i:], "=?") {
		return oneLine(guessText([]byte(s)))
	}
	var d wordDecoder
	for s != "" {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		w, n := parseEncodedWord(s[i:])
		if n == 0 {
			d.text(s[:i+2])
			s = s[i+2:]
			continue
		}
		d.text(s[:i])
		d.word(w)
		s = s[i+n:]
	}
	d.text(s)
	d.flush()
	return oneLine(d.out.String())
}

// encodedWord is an encoded-word with its transfer encoding removed.
type encodedWord struct {
	charset string // Without language (RFC 2231, section 5).
	text    []byte
}

// parseEncodedWord parses the encoded-word at the start of s, which has n bytes;
// 0 means there is none.
func parseEncodedWord(s string) (w encodedWord, n int) {
	charset, encoding, end := scanEncodedWord(s)
	if end == 0 {
		return w, 0
	}
	charset, _, _ = strings.Cut(charset, "*")
	text := s[strings.IndexByte(s[2:], '?')+2+3 : end-2]
	w.charset = charset
	switch encoding {
	case 'q', 'Q':
		w.text = decodeQ(text)
	default:
		w.text = decodeB(text)
	}
	return w, end
}

// scanEncodedWord finds the extent of the encoded-word at the start of s, which
// begins with "=?". End is 0 if it is none.
func scanEncodedWord(s string) (charset string, encoding byte, end int) {
	s = s[:min(len(s), encodedWordMax)]
	i := strings.IndexByte(s[2:], '?') + 2
	if i <= 2 || i > 2+charsetNameMax || i+2 >= len(s) || s[i+2] != '?' || strings.IndexByte("qQbB", s[i+1]) < 0 {
		return "", 0, 0
	}
	charset = s[2:i]
	if strings.ContainsAny(charset, " \t\r\n=") {
		return "", 0, 0
	}
	j := strings.Index(s[i+3:], "?=")
	if j < 0 {
		return "", 0, 0
	}
	return charset, s[i+1], i + 3 + j + 2
}

// decodeQ decodes the "Q" encoding, RFC 2047, section 4.2.
func decodeQ(s string) []byte {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '_' {
			c = ' '
		} else if c == '=' && i+2 < len(s) {
			if hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2]); hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		b = append(b, c)
	}
	return b
}

// decodeB decodes base64, leaving out what does not belong.
func decodeB(s string) []byte {
	clean := make([]byte, 0, len(s))
	for i := range len(s) {
		if isBase64(s[i]) {
			clean = append(clean, s[i])
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, _ := base64.RawStdEncoding.Decode(out, clean)
	return out[:n]
}

// wordDecoder puts text and encoded-words together. White space between two
// encoded-words is dropped. The bytes of adjacent words in the same charset are
// joined before they are decoded, since many senders split characters.
type wordDecoder struct {
	out     strings.Builder
	charset string
	pending []byte
	after   bool   // An encoded-word came last.
	spaces  string // White space since.
}

func (d *wordDecoder) text(s string) {
	if d.after && trimSpace(s) == "" {
		d.spaces += s
		return
	}
	d.flush()
	d.out.WriteString(guessText([]byte(s)))
}

func (d *wordDecoder) word(w encodedWord) {
	d.spaces = ""
	if !d.after || !strings.EqualFold(d.charset, w.charset) {
		d.flush()
	}
	d.after = true
	d.charset = w.charset
	d.pending = append(d.pending, w.text...)
}

func (d *wordDecoder) flush() {
	if d.after {
		d.out.WriteString(decodeCharset(d.charset, d.pending))
		d.out.WriteString(d.spaces)
	}
	d.pending = d.pending[:0]
	d.after = false
	d.spaces = ""
}

// oneLine unfolds s, and makes spaces of control characters.
func oneLine(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i, r := range s {
		switch {
		case r == '\r' && strings.HasPrefix(s[i+1:], "\n"):
		case r == '\n' && i+1 < len(s) && isSpace(s[i+1]):
		case unicode.IsControl(r):
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

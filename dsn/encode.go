package dsn

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// encodedWordMax bounds an encoded-word in bytes, RFC 2047, section 2.
const encodedWordMax = 75

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// printable returns s as valid UTF-8, without what would begin a line or is not
// to be printed: such characters become spaces.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(strings.TrimRight(s, "\r\n"), "\uFFFD"))
}

// oneLine is printable without white space around it.
func oneLine(s string) string { return strings.TrimSpace(printable(s)) }

// cut returns at most n bytes of s, which is valid UTF-8.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// encodeWords returns s as encoded-words of RFC 2047, in a form that is allowed in
// phrases too (section 5, rule 3).
func encodeWords(s string) []string {
	const start, end = "=?utf-8?q?", "?="
	var words []string
	word := ""
	for _, r := range s {
		c := encodeQ(r)
		if len(start)+len(word)+len(c)+len(end) > encodedWordMax {
			words = append(words, start+word+end)
			word = ""
		}
		word += c
	}
	if word != "" {
		words = append(words, start+word+end)
	}
	return words
}

// encodeQ returns a character in the "Q" encoding, RFC 2047, section 4.2.
func encodeQ(r rune) string {
	switch {
	case r == ' ':
		return "_"
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
		return string(r)
	}
	s := ""
	for _, c := range []byte(string(r)) {
		s += fmt.Sprintf("=%02X", c)
	}
	return s
}

// embed writes the characters that keep refuses as an EmbeddedUnicodeChar, RFC
// 6533, section 3.
func embed(s string, keep func(rune) bool) string {
	var b strings.Builder
	for _, r := range s {
		if keep(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		}
	}
	return b.String()
}

// toASCII returns s in 7 bits.
func toASCII(s string) string { return embed(s, func(r rune) bool { return r < utf8.RuneSelf }) }

// isQChar tells whether a character stands for itself in utf-8-addr-xtext, RFC
// 6533, section 3.
func isQChar(r rune) bool {
	return r > ' ' && r < 0x7f && r != '\\' && r != '+' && r != '='
}

// unembed is the reverse of embed. What is no EmbeddedUnicodeChar stays.
func unembed(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		end := strings.IndexByte(rest[:min(len(rest), len("10FFFF}"))], '}')
		n, err := strconv.ParseUint(rest[:max(end, 0)], 16, 32)
		if end < 2 || err != nil || !utf8.ValidRune(rune(n)) {
			b.WriteString(`\x{`)
			s = rest
			continue
		}
		b.WriteRune(rune(n))
		s = rest[end+1:]
	}
}

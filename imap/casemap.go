package imap

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// AppendCasemap appends the form of a text in which it is compared, sorted and
// looked for by the collation i;unicode-casemap (RFC 5051, section 2): each character
// in title case, then decomposed. Of two texts those forms are compared as bytes.
//
// A text that is not UTF-8 is appended as it is: it is compared as bytes with all.
func AppendCasemap[T ~string | ~[]byte](dst []byte, s T) []byte {
	start := len(dst)
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
		if r == utf8.RuneError && n <= 1 {
			return append(dst[:start], s...)
		}
		dst = appendDecomposed(dst, unicode.ToTitle(r))
		i += n
	}
	return dst
}

// appendDecomposed appends the decomposition of a character, with that of its parts.
func appendDecomposed(dst []byte, r rune) []byte {
	if r < utf8.RuneSelf {
		return append(dst, byte(r))
	}
	// Not onto dst: the collation works by the character, and so never puts marks of
	// different ones in another order.
	var buf [utf8.UTFMax]byte
	var out [16 * utf8.UTFMax]byte
	n := utf8.EncodeRune(buf[:], r)
	return append(dst, norm.NFKD.Append(out[:0], buf[:n]...)...)
}

// Casemap returns the form of s that AppendCasemap appends.
func Casemap(s string) string { return string(AppendCasemap(make([]byte, 0, len(s)), s)) }

package imap

import (
	"encoding/binary"
	"sync"
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
		if n := asciiLen(s[i:]); n > 0 {
			dst = append(dst, s[i:i+n]...)
			asciiTitle(dst[len(dst)-n:])
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
		if r == utf8.RuneError && n <= 1 {
			return append(dst[:start], s...)
		}
		dst = appendCasemapRune(dst, r)
		i += n
	}
	return dst
}

// asciiLen returns how many characters of ASCII s begins with.
func asciiLen[T ~string | ~[]byte](s T) int {
	i := 0
	for i+8 <= len(s) && (s[i]|s[i+1]|s[i+2]|s[i+3]|s[i+4]|s[i+5]|s[i+6]|s[i+7]) < utf8.RuneSelf {
		i += 8
	}
	for ; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return i
		}
	}
	return len(s)
}

// asciiTitle makes capitals of small letters, in b of ASCII only: of 8 bytes at once, in
// each of which the high bit says whether it is one.
func asciiTitle(b []byte) {
	const ones = 0x0101010101010101
	for ; len(b) >= 8; b = b[8:] {
		v := binary.LittleEndian.Uint64(b)
		isLower := (v + (0x80-'a')*ones) &^ (v + (0x7f-'z')*ones) & (0x80 * ones)
		binary.LittleEndian.PutUint64(b, v-isLower>>2)
	}
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - ('a' - 'A')
		}
	}
}

// Characters from ideographStart to ideographEnd have no case and are not decomposed.
// They are many in some texts, as those below casemapTableSize are in others.
const (
	ideographStart   = 0x3400
	ideographEnd     = 0xa000
	casemapTableSize = 0x3400
)

// casemapTable has the forms of characters below casemapTableSize.
var casemapTable = sync.OnceValue(func() []string {
	table := make([]string, casemapTableSize)
	var buf []byte
	for r := range rune(casemapTableSize) {
		buf = appendDecomposed(buf[:0], unicode.ToTitle(r))
		table[r] = string(buf)
	}
	return table
})

func appendCasemapRune(dst []byte, r rune) []byte {
	switch {
	case r < casemapTableSize:
		return append(dst, casemapTable()[r]...)
	case r >= ideographStart && r < ideographEnd:
		return utf8.AppendRune(dst, r)
	}
	return appendDecomposed(dst, unicode.ToTitle(r))
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

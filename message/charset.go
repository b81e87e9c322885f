package message

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/transform"
)

// charsetNameMax bounds the name of a charset in bytes. The longest registered
// one has 45.
const charsetNameMax = 64

// lookupCharset returns the encoding with a name from a message, nil if it is
// unknown, or is UTF-8 or US-ASCII.
//
// The names of the web come first: there ISO-8859-1 means windows-1252 and GB2312
// means GBK, as it does in mail. But charsets the web has banned still are in
// old mail.
func lookupCharset(name string) encoding.Encoding {
	name = strings.Trim(name, " \t\"'")
	if name == "" || len(name) > charsetNameMax || isUnicodeName(name) {
		return nil
	}
	if enc, err := htmlindex.Get(name); err == nil && enc != encoding.Replacement {
		return enc
	}
	if enc, err := ianaindex.MIME.Encoding(name); err == nil && enc != nil {
		return enc
	}
	return nil
}

func isUnicodeName(name string) bool {
	switch strings.ToLower(name) {
	case "utf-8", "utf8", "us-ascii", "ascii":
		return true
	}
	return false
}

// decodeCharset returns b, in the named charset, as valid UTF-8.
func decodeCharset(name string, b []byte) string {
	if enc := lookupCharset(name); enc != nil {
		if out, err := enc.NewDecoder().Bytes(b); err == nil {
			return strings.ToValidUTF8(string(out), "\uFFFD")
		}
	}
	return guessText(b)
}

// guessText returns b as valid UTF-8. What is not UTF-8 is taken as
// windows-1252, by far the most likely.
func guessText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out bytes.Buffer
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			r = charmap.Windows1252.DecodeByte(b[0])
		}
		out.WriteRune(r)
		b = b[n:]
	}
	return out.String()
}

// guesser is guessText for streams.
type guesser struct{ transform.NopResetter }

func (guesser) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		r, n := rune(src[nSrc]), 1
		if r >= utf8.RuneSelf {
			if !atEOF && !utf8.FullRune(src[nSrc:]) {
				return nDst, nSrc, transform.ErrShortSrc
			}
			r, n = utf8.DecodeRune(src[nSrc:])
			if r == utf8.RuneError && n == 1 {
				r = charmap.Windows1252.DecodeByte(src[nSrc])
			}
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += n
	}
	return nDst, nSrc, nil
}

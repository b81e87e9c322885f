package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"

	"golang.org/x/text/transform"
)

// ErrUnknownEncoding means that a body has a Content-Transfer-Encoding that is
// not of RFC 2045, so that its content can't be known. IMAP answers UNKNOWN-CTE.
var ErrUnknownEncoding = errors.New("unknown content-transfer-encoding")

// blankRunMax bounds the white space, in bytes, that a quoted-printable line is
// searched for its end. Lines have at most 76 characters (RFC 2045, section 6.7).
const blankRunMax = 1000

// RawBody returns the body as it is in the message.
func (p *Part) RawBody(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, p.BodyOffset, max(p.Size(), 0))
}

// DecodedBody returns the body without its transfer encoding. Errors in the
// encoding are passed over: what does not belong is left out of base64, and kept
// in quoted-printable. Only reading can fail later.
func (p *Part) DecodedBody(r io.ReaderAt) (io.Reader, error) {
	raw := p.RawBody(r)
	switch p.Encoding {
	case "", "7BIT", "8BIT", "BINARY":
		return raw, nil
	case "BASE64":
		return transform.NewReader(raw, &base64Decoder{}), nil
	case "QUOTED-PRINTABLE":
		return transform.NewReader(raw, quotedPrintable{}), nil
	}
	return nil, ErrUnknownEncoding
}

// Text returns the body as UTF-8: without transfer encoding, and converted from
// its charset. A body in an unknown encoding is returned as it is; an unknown
// charset is guessed.
func (p *Part) Text(r io.ReaderAt) io.Reader {
	body, err := p.DecodedBody(r)
	if err != nil {
		body = p.RawBody(r)
	}
	if enc := lookupCharset(p.Param("CHARSET")); enc != nil {
		return enc.NewDecoder().Reader(body)
	}
	return transform.NewReader(body, guesser{})
}

// base64Values has for each byte its value plus one, 0 for what is not base64.
var base64Values = func() (values [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range len(alphabet) {
		values[alphabet[i]] = byte(i + 1)
	}
	return values
}()

// isBase64 tells if c is a base64 digit. Padding is not.
func isBase64(c byte) bool { return base64Values[c] != 0 }

// base64Decoder decodes base64. Padding ends a group of four, but not the data:
// some programs join pieces that are encoded alone.
type base64Decoder struct {
	bits  uint32
	count int // Digits in bits.
}

func (d *base64Decoder) Reset() { *d = base64Decoder{} }

func (d *base64Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < 3 {
			return nDst, nSrc, transform.ErrShortDst
		}
		if d.count == 0 {
			n, m := decodeRun(dst[nDst:], src[nSrc:])
			nDst, nSrc = nDst+n, nSrc+m
			if m > 0 {
				continue
			}
		}
		v := base64Values[src[nSrc]]
		switch {
		case v != 0:
			d.bits = d.bits<<6 | uint32(v-1)
			if d.count++; d.count == 4 {
				nDst += d.flush(dst[nDst:])
			}
		case src[nSrc] == '=':
			nDst += d.flush(dst[nDst:])
		}
		nSrc++
	}
	if atEOF {
		if len(dst)-nDst < 3 {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += d.flush(dst[nDst:])
	}
	return nDst, nSrc, nil
}

// decodeRun decodes whole groups of digits at the start of src, up to something
// else, quickly.
func decodeRun(dst, src []byte) (nDst, nSrc int) {
	most := min(len(src)/4, len(dst)/3) * 4
	n := 0
	for n < most && base64Values[src[n]] != 0 {
		n++
	}
	n -= n % 4
	nDst, _ = base64.StdEncoding.Decode(dst[:n/4*3], src[:n])
	return nDst, n
}

// flush writes the bytes that are complete.
func (d *base64Decoder) flush(dst []byte) int {
	n := max(d.count-1, 0)
	bits := d.bits << (6 * (4 - d.count))
	for i := range n {
		dst[i] = byte(bits >> (16 - 8*i))
	}
	*d = base64Decoder{}
	return n
}

// quotedPrintable decodes quoted-printable, RFC 2045, section 6.7.
type quotedPrintable struct{ transform.NopResetter }

func (quotedPrintable) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		var out []byte
		var used int
		switch c := src[nSrc]; c {
		case '=':
			out, used = decodeEquals(src[nSrc:], atEOF)
		case ' ', '\t':
			out, used = decodeBlanks(src[nSrc:], atEOF)
		default:
			out = src[nSrc : nSrc+plainLen(src[nSrc:min(len(src), nSrc+max(1, len(dst)-nDst))])]
			used = len(out)
		}
		if used == 0 {
			return nDst, nSrc, transform.ErrShortSrc
		}
		if len(out) > len(dst)-nDst {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += copy(dst[nDst:], out)
		nSrc += used
	}
	return nDst, nSrc, nil
}

// plainLen returns the number of bytes at the start of s that stand for
// themselves.
func plainLen(s []byte) int {
	if i := bytes.IndexAny(s, "= \t"); i >= 0 {
		return i
	}
	return len(s)
}

// blanks returns the length of the white space at the start of s, and of the line
// break after it, 0 if something else follows. Short means that more must be
// read to know.
func blanks(s []byte, atEOF bool) (n, lineBreak int, short bool) {
	for n < len(s) && n < blankRunMax && isSpace(s[n]) {
		n++
	}
	rest := s[n:]
	switch {
	case n == blankRunMax:
		return n, 0, false
	case len(rest) == 0:
		return n, 0, !atEOF
	case rest[0] == '\n':
		return n, 1, false
	case rest[0] == '\r' && len(rest) == 1:
		return n, 0, !atEOF
	case rest[0] == '\r' && rest[1] == '\n':
		return n, 2, false
	}
	return n, 0, false
}

// decodeBlanks decodes white space, which is dropped at the end of a line.
func decodeBlanks(s []byte, atEOF bool) (out []byte, used int) {
	n, lineBreak, short := blanks(s, atEOF)
	switch {
	case short:
		return nil, 0
	case lineBreak > 0 || n == len(s) && atEOF:
		return nil, n
	}
	return s[:n], n
}

// decodeEquals decodes what an "=" starts: a soft line break or a byte.
func decodeEquals(s []byte, atEOF bool) (out []byte, used int) {
	n, lineBreak, short := blanks(s[1:], atEOF)
	switch {
	case short:
		return nil, 0
	case lineBreak > 0 || 1+n == len(s):
		return nil, 1 + n + lineBreak
	case len(s) < 3 && !atEOF:
		return nil, 0
	case len(s) >= 3:
		if hi, lo := hexDigit(s[1]), hexDigit(s[2]); hi >= 0 && lo >= 0 {
			return bytesOf[hi<<4|lo : hi<<4|lo+1], 3
		}
	}
	return s[:1], 1
}

// bytesOf has each byte at its own index.
var bytesOf = func() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()

package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// checkReading reads all that can be read of p, and checks that text is UTF-8.
func checkReading(t testing.TB, msg string, p *Part) {
	t.Helper()
	r := strings.NewReader(msg)
	h, err := ReadHeader(r, p)
	if err != nil || string(h.Raw()) != msg[p.HeaderOffset:p.BodyOffset] {
		t.Fatalf("reading header: %q, %v", h.Raw(), err)
	}
	if body, err := p.DecodedBody(r); err == nil {
		if _, err := io.Copy(io.Discard, body); err != nil {
			t.Fatalf("reading body: %v", err)
		}
	} else if !errors.Is(err, ErrUnknownEncoding) {
		t.Fatalf("decoding body: %v", err)
	}
	text, err := io.ReadAll(p.Text(r))
	if err != nil || !utf8.Valid(text) {
		t.Fatalf("reading text: %v, %q", err, text)
	}
	if s := Preview(r, p); !utf8.ValidString(s) || utf8.RuneCountInString(s) > PreviewMax || strings.TrimSpace(s) != s {
		t.Fatalf("got preview %q", s)
	}
	for i := range p.Parts {
		checkReading(t, msg, &p.Parts[i])
	}
	if p.Message != nil {
		checkReading(t, msg, p.Message)
	}
}

func decode(t *testing.T, encoding, body string, small bool) string {
	t.Helper()
	p := Part{EndOffset: int64(len(body)), Encoding: encoding}
	r, err := p.DecodedBody(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if small {
		r = iotest.OneByteReader(r)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestDecodedBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, encoding, body, want string }{
		{"no encoding", "", "a=20b ", "a=20b "},
		{"binary", "BINARY", "a\x00b", "a\x00b"},
		{"base64", "BASE64", "aGVsbG8=", "hello"},
		{"base64 in lines", "BASE64", "aGVs\r\nbG8=\r\n", "hello"},
		{"base64 in odd lines", "BASE64", "a\r\nGV\nsbG 8=\r\n", "hello"},
		{"base64 without padding", "BASE64", "aGVsbG8", "hello"},
		{"base64 with one digit too many", "BASE64", "aGVsbG8ha", "hello!"},
		{"base64 of pieces", "BASE64", "aA==\r\naA==\r\naGk=", "hhhi"},
		{"base64 with junk", "BASE64", "aGV*sbG8=\r\n--\r\n", "hello"},
		{"base64 of nothing", "BASE64", "", ""},
		{"quoted-printable, RFC 2045, section 6.7", "QUOTED-PRINTABLE", "Now's the time =\r\nfor all folk to come=\r\n to the aid of their country.", "Now's the time for all folk to come to the aid of their country."},
		{"white space at the end of a line", "QUOTED-PRINTABLE", "a \t\r\nb \nc  ", "a\r\nb\nc"},
		{"white space within", "QUOTED-PRINTABLE", "a \t b", "a \t b"},
		{"white space after a soft line break", "QUOTED-PRINTABLE", "a= \t\r\nb=\nc=  ", "abc"},
		{"hexadecimal", "QUOTED-PRINTABLE", "=C3=a9=3D=20", "\u00e9= "},
		{"bad hexadecimal", "QUOTED-PRINTABLE", "=XY =4 =", "=XY =4 "},
		{"a soft line break at the end", "QUOTED-PRINTABLE", "a=", "a"},
		{"a lone CR", "QUOTED-PRINTABLE", "a \rb =\r", "a \rb =\r"},
		{"white space beyond the limit", "QUOTED-PRINTABLE", "a" + strings.Repeat(" ", 3*blankRunMax+1) + "\r\n", "a" + strings.Repeat(" ", 3*blankRunMax) + "\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, small := range []bool{false, true} {
				if got := decode(t, c.encoding, c.body, small); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
		})
	}
	p := Part{Encoding: "X-UUENCODE"}
	if _, err := p.DecodedBody(strings.NewReader("")); !errors.Is(err, ErrUnknownEncoding) {
		t.Errorf("got error %v", err)
	}
}

// FuzzTransfer checks that what the standard library encodes is decoded to the
// same, however it is cut, and that anything is decoded the same in pieces.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte("h\u00e9llo =\r\n  \r\nx"), 3)
	f.Add(bytes.Repeat([]byte(" ="), 3000), 100)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		encoded := base64.StdEncoding.EncodeToString(data)
		cut = max(cut, 0) % (len(encoded) + 1)
		if got := decode(t, "BASE64", encoded[:cut]+"\r\n"+encoded[cut:], false); got != string(data) {
			t.Fatalf("base64: got %q, want %q", got, data)
		}
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		w.Binary = true
		w.Write(data)
		w.Close()
		if got := decode(t, "QUOTED-PRINTABLE", b.String(), false); got != string(data) {
			t.Fatalf("quoted-printable: got %q, want %q", got, data)
		}
		for _, d := range []transform.Transformer{&base64Decoder{}, quotedPrintable{}} {
			whole, _, _ := transform.Bytes(d, data)
			pieces, err := io.ReadAll(transform.NewReader(iotest.OneByteReader(bytes.NewReader(data)), d))
			if err != nil || !bytes.Equal(whole, pieces) {
				t.Fatalf("%T: got %q and in pieces %q, %v", d, whole, pieces, err)
			}
		}
	})
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, encoding, charset, body, want string }{
		{"ASCII", "", "us-ascii", "x", "x"},
		{"UTF-8", "", "UTF-8", "\u00e9", "\u00e9"},
		{"bad UTF-8 is guessed", "", "utf-8", "\xe9\u00e9\x80", "\u00e9\u00e9\u20ac"},
		{"8 bits without charset", "", "", "\xe9", "\u00e9"},
		{"UTF-8 without charset", "", "", "\u00e9", "\u00e9"},
		{"ISO-8859-1 is windows-1252", "", "iso-8859-1", "\xe9\x80", "\u00e9\u20ac"},
		{"KOI8-R in base64", "BASE64", "koi8-r", "8NLJ18XU", "Привет"},
		{"ISO-2022-JP", "", "ISO-2022-JP", "\x1b$B$\"\x1b(B", "あ"},
		{"GB2312 is GBK", "", "gb2312", "\xc4\xe3", "你"},
		{"ISO-2022-KR is not replaced as on the web", "", "iso-2022-kr", "x", "x"},
		{"UTF-16", "", "utf-16be", "\x00a\x00b", "ab"},
		{"an unknown charset", "", "x-nonsense", "\xe9", "\u00e9"},
		{"an unknown encoding", "X-NONSENSE", "utf-8", "x", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := Part{EndOffset: int64(len(c.body)), Encoding: c.encoding, Params: []Param{{"CHARSET", c.charset}}}
			got, err := io.ReadAll(p.Text(strings.NewReader(c.body)))
			if err != nil || string(got) != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

package message

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestDecodeHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		// RFC 2047, section 8.
		{"one word", "=?US-ASCII?Q?Keith_Moore?=", "Keith Moore"},
		{"ISO-8859-1", "=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?=", "Keld Jørn Simonsen"},
		{"base64 in two words", "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=", "If you can read this you understand the example."},
		{"Hebrew", "=?iso-8859-8?b?7eXs+SDv4SDp7Oj08A==?=", "םולש ןב ילטפנ"},
		{"in a comment", "(=?ISO-8859-1?Q?a?=)", "(a)"},
		{"word and text", "(=?ISO-8859-1?Q?a?= b)", "(a b)"},
		{"two words", "(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"two words, two spaces", "(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"two words on two lines", "(=?ISO-8859-1?Q?a?=\r\n     =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"an encoded space", "(=?ISO-8859-1?Q?a_b?=)", "(a b)"},
		{"a word with a space", "(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"},

		{"plain text", "hello", "hello"},
		{"folded text", "hello\r\n there", "hello there"},
		{"UTF-8 as it is", "h\u00e9llo", "h\u00e9llo"},
		{"8 bits as they are", "h\xe9llo", "h\u00e9llo"},
		{"8 bits beside a word", "h\xe9 =?utf-8?q?x?=", "h\u00e9 x"},
		{"a character split between words", "=?utf-8?q?=C3?= =?UTF-8?B?qQ==?=", "\u00e9"},
		{"words joined without space", "=?utf-8?q?a?==?utf-8?q?b?=", "ab"},
		{"a language, RFC 2231, section 5", "=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"},
		{"spaces within a word", "=?utf-8?q?a b?=", "a b"},
		{"base64 without padding", "=?utf-8?b?aGVsbG8?=", "hello"},
		{"a question mark in a word", "=?utf-8?q?a?b?=", "a?b"},
		{"an equals sign at the start", "=?utf-8?q?=3D?=", "="},
		{"an empty word", "a =?utf-8?q??= b", "a  b"},
		{"an unknown charset", "=?x-what?q?=E9?=", "\u00e9"},
		{"an unknown encoding", "=?utf-8?x?a?=", "=?utf-8?x?a?="},
		{"no charset", "=??q?a?=", "=??q?a?="},
		{"no end", "=?utf-8?q?a", "=?utf-8?q?a"},
		{"a false start", "=?=?utf-8?q?a?=", "=?a"},
		{"space after a word at the end", "=?utf-8?q?a?= ", "a "},
		{"a line break in a word does not make a line", "=?utf-8?q?a=0D=0AX:_b?=", "a X: b"},
		{"NUL in a word", "=?utf-8?q?a=00b?=", "a b"},
		{"too long", "=?utf-8?q?" + strings.Repeat("a", encodedWordMax) + "?=", "=?utf-8?q?" + strings.Repeat("a", encodedWordMax) + "?="},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := DecodeHeader(c.value); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzDecodeHeader checks that the result is valid, one line, and that what has
// no encoded-words and no control characters is not changed.
func FuzzDecodeHeader(f *testing.F) {
	f.Add("=?utf-8?q?=C3?= =?UTF-8?B?qQ==?= x =?iso-2022-jp?b?GyRCJCI=?=")
	f.Add("a\r\n b\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := DecodeHeader(s)
		if !utf8.ValidString(got) || strings.IndexFunc(got, unicode.IsControl) >= 0 {
			t.Fatalf("%q: got %q", s, got)
		}
		if utf8.ValidString(s) && !strings.Contains(s, "=?") && strings.IndexFunc(s, unicode.IsControl) < 0 && got != s {
			t.Fatalf("%q: got %q", s, got)
		}
		if !strings.Contains(got, "=?") && DecodeHeader(got) != got {
			t.Fatalf("%q: %q changes when decoded again", s, got)
		}
	})
}

package imap

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCasemap(t *testing.T) {
	t.Parallel()
	// MUST 5255 4.2: i;unicode-casemap is the collation.
	// MUST 5256 1: strings are collated as I18NLEVEL=1 wants
	// MUST 5256 7: strings are collated by i;unicode-casemap.
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"ASCII letters are capitals", "Hello, world 1", "HELLO, WORLD 1"},
		{"the example of RFC 5051: title case, then decomposed", "\u01c4", "Dz\u030c"},
		{"its small form is the same", "\u01c6", "Dz\u030c"},
		{"all of ASCII", string(allASCII()), strings.ToUpper(string(allASCII()))},
		{"an umlaut is a letter and a mark", "J\u00fcrgen", "JU\u0308RGEN"},
		{"the mark may be apart already", "Ju\u0308rgen", "JU\u0308RGEN"},
		{"sharp s has no title case of one character", "Stra\u00dfe", "STRA\u00dfE"},
		{"a ligature is decomposed after it got its case", "\ufb01n", "fiN"},
		{"the sign for Kelvin is a letter", "\u212a", "K"},
		{"dotless i is I", "\u0131", "I"},
		{"full width is none", "\uff21\uff22", "AB"},
		{"Greek small and final sigma", "\u03c3\u03c2", "\u03a3\u03a3"},
		{"Hangul is decomposed", "\ud55c", "\u1112\u1161\u11ab"},
		{"not UTF-8 stays as it is", "caf\xe9 abc", "caf\xe9 abc"},
		{"a half character at the end stays, and all before it", "abc\xe2\x82", "abc\xe2\x82"},
		{"an overlong form is not UTF-8", "a\xc0\x80", "a\xc0\x80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Casemap(c.in); got != c.want {
				t.Errorf("got %+q, want %+q", got, c.want)
			}
			if got := AppendCasemap([]byte("u"), []byte(c.in)); string(got) != "u"+c.want {
				t.Errorf("appended: got %+q, want %+q", got, "u"+c.want)
			}
		})
	}
}

// allASCII returns all characters of ASCII, with their neighbours at all places of 8.
func allASCII() []byte {
	var b []byte
	for c := range byte(128) {
		b = append(b, c, c, 'a', 127-c, 'Z', c, '~')
	}
	return b
}

// TestCasemapShortcuts checks that characters with a way of their own come to the same.
func TestCasemapShortcuts(t *testing.T) {
	t.Parallel()
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if r >= 0xd800 && r < 0xe000 {
			continue
		}
		if got, want := appendCasemapRune(nil, r), appendDecomposed(nil, unicode.ToTitle(r)); !bytes.Equal(got, want) {
			t.Errorf("%U: got %+q, want %+q", r, got, want)
		}
	}
}

func BenchmarkCasemap(b *testing.B) {
	for _, text := range []string{"The quick brown fox. ", "Съешь ещё этих мягких французских булок. ", "敏捷的棕色狐狸跳过懒狗。"} {
		s := strings.Repeat(text, 1000)
		var buf []byte
		b.Run(text[:6], func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				buf = AppendCasemap(buf[:0], s)
			}
		})
	}
}

// FuzzCasemap checks that forms of parts put together are the form of the whole, and
// that those of a text in either case are found in each other as in the text.
func FuzzCasemap(f *testing.F) {
	for _, s := range []string{"Hello", "J\u00fcrgen", "\u01c4\u0323\u0307", "\ud55c\uad6d", "caf\xe9", "\ufb01"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, at int) {
		whole := Casemap(s)
		if !utf8.ValidString(s) {
			if whole != s {
				t.Fatalf("%+q became %+q", s, whole)
			}
			return
		}
		if !utf8.ValidString(whole) {
			t.Fatalf("form of %+q is not UTF-8: %+q", s, whole)
		}
		at = max(min(at, len(s)), 0)
		for at > 0 && at < len(s) && !utf8.RuneStart(s[at]) {
			at--
		}
		if got := Casemap(s[:at]) + Casemap(s[at:]); got != whole {
			t.Fatalf("%+q at %d: parts give %+q, the whole %+q", s, at, got, whole)
		}
		if !strings.Contains(whole, Casemap(s[at:])) {
			t.Fatalf("end of %+q is not in it", s)
		}
	})
}

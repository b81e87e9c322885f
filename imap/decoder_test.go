package imap

import (
	"errors"
	"strings"
	"testing"
)

// TestDecoder parses one command's arguments with a small program each.
func TestDecoder(t *testing.T) {
	t.Parallel()
	astring := func(d *Decoder) any { return d.AString() }
	twoWords := func(d *Decoder) any {
		a := d.Word()
		d.SP()
		return a + "," + d.Word()
	}
	for _, tc := range []struct {
		name, text string
		pedantic   bool
		parse      func(*Decoder) any
		want       any
		err        string // Start of the text of the BAD response.
	}{
		{"an atom", "abc", true, astring, "abc", ""},
		{"a bracket may be in an astring", "a]b", true, astring, "a]b", ""},
		{"but not in an atom", "a]b", true, func(d *Decoder) any { return d.Atom() }, nil, `unexpected "]b"`},
		{"a quoted string", `"a b"`, true, astring, "a b", ""},
		{"an empty quoted string", `""`, true, astring, "", ""},
		{"escapes", `"a\\b\"c"`, true, astring, `a\b"c`, ""},
		{"an escape of another character", `"a\bc"`, true, astring, nil, "bad escape"},
		{"an escape at the end", `"a\`, true, astring, nil, "bad escape"},
		{"no end of quotes", `"abc`, true, astring, nil, "quoted string without end"},
		{"CRLF in quotes", "\"a\r\n\"", true, astring, nil, "bad character"},
		{"a literal", "{3}\r\na\"b", true, astring, `a"b`, ""},
		{"a literal with CRLF", "{4}\r\na\r\nb", true, astring, "a\r\nb", ""},
		{"an empty literal", "{0}\r\n", true, astring, "", ""},
		{"a non-synchronizing literal", "{1+}\r\nx", true, astring, "x", ""},
		{"a literal that is not there yet", "{3}", true, astring, nil, "literal missing"},
		{"a literal cut short", "{3}\r\nab", true, astring, nil, "bad literal"},
		{"NUL in a literal", "{1}\r\n\x00", true, astring, nil, "NUL in literal"},
		{"a literal without CRLF", "{1}x", true, astring, nil, "bad literal"},
		{"a literal of a huge size", "{9223372036854775808}", true, astring, nil, "number too large"},
		{"nothing", "", true, astring, nil, "expected string"},
		{"UTF-8 without quotes", "grün", false, astring, "grün", ""},
		{"UTF-8 without quotes, pedantic", "grün", true, astring, nil, `unexpected "\u00fcn"`},
		{"Latin-1 in quotes", "\"\xfc\"", false, astring, "\xfc", ""},
		{"Latin-1 in quotes, pedantic", "\"\xfc\"", true, astring, nil, "quoted string is not UTF-8"},
		{"words in any case", "a B", true, twoWords, "A,B", ""},
		{"two spaces", "a  b ", false, twoWords, "A,B", ""},
		{"two spaces, pedantic", "a  b", true, twoWords, nil, "expected atom"},
		{"a space too many at the end, pedantic", "a b ", true, twoWords, nil, `unexpected " "`},
		{"a tab for a space", "a\tb", false, twoWords, nil, "expected space"},
		{"one word missing", "a", false, twoWords, nil, "expected space"},
		{"something left over", "a b c", false, twoWords, nil, `unexpected "c"`},
		{"the largest number", "4294967295", true, func(d *Decoder) any { return d.Number() }, uint32(4294967295), ""},
		{"a number too large", "4294967296", true, func(d *Decoder) any { return d.Number() }, nil, "number too large"},
		{"the largest long number", "9223372036854775807", true, func(d *Decoder) any { return d.Number64() }, int64(9223372036854775807), ""},
		{"zero where it may not be", "0", true, func(d *Decoder) any { return d.NonZero() }, nil, "expected a number above 0"},
		{"a tag", "a.1]", true, func(d *Decoder) any { return d.Tag() }, "a.1]", ""},
		{"a tag with plus", "a+", true, func(d *Decoder) any { return d.Tag() }, nil, `unexpected "+"`},
		{"NIL", "nil", true, func(d *Decoder) any { _, ok := d.NString(); return ok }, false, ""},
		{"a string that says NIL", `"NIL"`, true, func(d *Decoder) any { _, ok := d.NString(); return ok }, true, ""},
		{"an empty list", "()", true, func(d *Decoder) any { d.List(func() {}); return 0 }, nil, "expected a list with"},
		{"a list with a space too many", "(a b )", false, func(d *Decoder) any {
			n := 0
			d.List(func() { d.Atom(); n++ })
			return n
		}, 2, ""},
		{"a list without end", "(a", true, func(d *Decoder) any { d.List(func() { d.Atom() }); return 0 }, nil, "expected space"},
		{"a streamed literal", "~{12+}", true, func(d *Decoder) any { return d.StreamLiteral() }, Literal{12, true, true, false}, ""},
	} {
		d := NewDecoder(tc.text)
		d.Pedantic = tc.pedantic
		got := tc.parse(d)
		err := d.End()
		var e *Error
		switch {
		case tc.err == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.err == "" && got != tc.want:
			t.Errorf("%s: got %#v, want %#v", tc.name, got, tc.want)
		case tc.err != "" && (!errors.As(err, &e) || e.Type != "BAD" || !strings.HasPrefix(e.Text, tc.err)):
			t.Errorf("%s: got %v, want BAD %s", tc.name, err, tc.err)
		}
	}
}

// TestFirstErrorStays checks that after a failure all is zero and the first
// error is kept.
func TestFirstErrorStays(t *testing.T) {
	t.Parallel()
	d := NewDecoder("1 a (x)")
	d.Expect('2')
	if d.Number() != 0 || d.Atom() != "" || d.FlagList() != nil || d.FetchItems() != nil || d.TakeSP() || !d.Empty() {
		t.Error("decoder goes on after a failure")
	}
	d.Fail("other")
	if err := d.End(); err == nil || !strings.Contains(err.Error(), `expected "2"`) {
		t.Errorf("got %v", err)
	}
	d = NewDecoder("{1}")
	d.AString()
	if !errors.Is(d.Err(), ErrIncomplete) {
		t.Errorf("got %v, want ErrIncomplete", d.Err())
	}
}

func TestTakeWord(t *testing.T) {
	t.Parallel()
	d := NewDecoder("return (charsets")
	if d.TakeWord("RET") || !d.TakeWord("RETURN") || !d.TakeSP() || !d.Take('(') || d.TakeWord("CHARSET") || !d.TakeWord("CHARSETS") {
		t.Error("words not told apart")
	}
	if rest := NewDecoder("a b").Rest(); rest != "a b" {
		t.Errorf("got %q", rest)
	}
}

func TestParseLiteral(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		line string
		want Literal
		ok   bool
	}{
		{"a LOGIN {3}", Literal{3, false, false, false}, true},
		{"a LOGIN {3+}", Literal{3, true, false, false}, true},
		{"a APPEND x ~{9223372036854775807}", Literal{9223372036854775807, false, true, false}, true},
		{"{0}", Literal{}, true},
		{"a LOGIN {9223372036854775808}", Literal{}, false},
		{"a LOGIN {-1}", Literal{}, false},
		{"a LOGIN {+1}", Literal{}, false},
		{"a LOGIN {}", Literal{}, false},
		{"a LOGIN 3}", Literal{}, false},
		{"a LOGIN {3} ", Literal{}, false},
		{"", Literal{}, false},
	} {
		if lit, ok := ParseLiteral(tc.line); lit != tc.want || ok != tc.ok {
			t.Errorf("%q: got %v, %v", tc.line, lit, ok)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text, want string
		ok         bool
	}{
		{`(\seen \DELETED $Junk Work)`, `\Seen \Deleted $Junk Work`, true},
		{`()`, ``, true},
		{`\Seen $x`, `\Seen $x`, true},
		{`\Recent`, `\Recent`, true},
		{`(\Other)`, ``, false},
		{`(\)`, ``, false},
		{`(a%)`, ``, false},
		{``, ``, false},
		{`(` + strings.Repeat("k", keywordMax) + `)`, strings.Repeat("k", keywordMax), true},
		{`(` + strings.Repeat("k", keywordMax+1) + `)`, ``, false},
		{`(` + strings.Repeat("k ", flagsMax) + `k)`, ``, false},
	} {
		d := NewDecoder(tc.text)
		got := strings.Join(d.StoreFlags(), " ")
		if err := d.End(); (err == nil) != tc.ok || tc.ok && got != tc.want {
			t.Errorf("%.40q: got %q, %v", tc.text, got, err)
		}
	}
}

// FuzzStrings checks that what a decoder reads as astring, it reads again from
// what we write for it, whichever form that has.
func FuzzStrings(f *testing.F) {
	for _, s := range []string{`abc`, `"a\"b"`, "{3}\r\na\r\n", "{1+}\r\n\xff", `"ü"`, "NIL", `""`} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, utf8OK bool) {
		d := NewDecoder(text)
		s := d.AString()
		if d.End() != nil {
			return
		}
		for _, b := range [][]byte{AppendAString(nil, s, utf8OK), AppendString(nil, s, utf8OK)} {
			d := NewDecoder(string(b))
			d.Pedantic = true
			if got := d.AString(); d.End() != nil || got != s {
				t.Fatalf("%q written as %q, read as %q, %v", s, b, got, d.Err())
			}
			if !utf8OK && b[0] != '{' && strings.ContainsFunc(string(b), func(r rune) bool { return r >= 0x80 }) {
				t.Fatalf("%q outside of a literal without UTF-8", b)
			}
		}
	})
}

// FuzzParseLiteral checks that an announcement found at the end of a line is the
// one that the decoder reads there.
func FuzzParseLiteral(f *testing.F) {
	f.Add("a LOGIN {3+}")
	f.Add("~{07}")
	f.Fuzz(func(t *testing.T, line string) {
		lit, ok := ParseLiteral(line)
		if !ok {
			return
		}
		i := strings.LastIndexByte(line, '{')
		if lit.Binary {
			i--
		}
		d := NewDecoder(line[i:])
		if got := d.StreamLiteral(); d.End() != nil || got != lit {
			t.Fatalf("%q: %v, decoder %v, %v", line, lit, got, d.Err())
		}
	})
}

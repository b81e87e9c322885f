package imap

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestGetMetadata(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(" /private/x", metadataEntriesMax)
	for _, tc := range []struct {
		name, text string
		want       GetMetadata
		err        string // If not pedantic, and else too.
		pedantic   string // Only if pedantic.
	}{
		{"of the server", ` "" /shared/comment`, GetMetadata{"", []string{"/shared/comment"}, 0, -1}, "", ""},
		{"several", ` INBOX (/shared/a "/private/b c")`, GetMetadata{"INBOX", []string{"/shared/a", "/private/b c"}, 0, -1}, "", ""},
		{"options first, as in the grammar", ` (MAXSIZE 1024) INBOX (/a)`, GetMetadata{"INBOX", []string{"/a"}, 0, 1024}, "", ""},
		{"options behind, as in the examples", ` INBOX (depth 1 maxsize 0) (/a)`, GetMetadata{"INBOX", []string{"/a"}, 1, 0}, "", ""},
		{"all below", ` (DEPTH infinity) "" /a`, GetMetadata{"", []string{"/a"}, DepthInfinity, -1}, "", ""},
		{"without parentheses", ` INBOX /a /b`, GetMetadata{"INBOX", []string{"/a", "/b"}, 0, -1}, "", "unexpected"},
		{"another depth", ` (DEPTH 2) INBOX /a`, GetMetadata{}, "unknown depth", ""},
		{"another option", ` (SIZE 2) INBOX /a`, GetMetadata{}, "unknown GETMETADATA option", ""},
		{"no entry", ` INBOX`, GetMetadata{}, "expected space", ""},
		{"none in the list", ` INBOX ()`, GetMetadata{}, "at least one", ""},
		{"only options", ` INBOX (DEPTH 1)`, GetMetadata{}, "expected space", ""},
		{"too many", " INBOX (/a" + many + ")", GetMetadata{}, "more than 1000 entries", ""},
	} {
		for _, pedantic := range []bool{false, true} {
			d := NewDecoder(tc.text)
			d.Pedantic = pedantic
			got := d.GetMetadata()
			want := tc.err
			if pedantic && want == "" {
				want = tc.pedantic
			}
			switch err := d.End(); {
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%s: got error %v, want %q", tc.name, err, want)
			case want == "" && (err != nil || !reflect.DeepEqual(got, tc.want)):
				t.Errorf("%s: got %+v, %v", tc.name, got, err)
			}
		}
	}
}

func TestSetMetadata(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       SetMetadata
		err        string
	}{
		{"a value, and none", ` INBOX (/a "x" /b NIL)`, SetMetadata{"INBOX", []MetadataValue{{"/a", []byte("x")}, {"/b", nil}}}, ""},
		{"an empty one", ` "" (/a "")`, SetMetadata{"", []MetadataValue{{"/a", []byte{}}}}, ""},
		{"a literal", " INBOX (/a {3}\r\na\r\n)", SetMetadata{"INBOX", []MetadataValue{{"/a", []byte("a\r\n")}}}, ""},
		{"a literal with NUL", " INBOX (/a {1}\r\n\x00)", SetMetadata{}, "NUL"},
		{"a literal8 with NUL", " INBOX (/a ~{1+}\r\n\x00)", SetMetadata{"INBOX", []MetadataValue{{"/a", []byte{0}}}}, ""},
		{"a literal8 not read yet", " INBOX (/a ~{1}", SetMetadata{}, "literal missing"},
		{"no value", " INBOX (/a)", SetMetadata{}, "expected space"},
		{"no list", ` INBOX /a "x"`, SetMetadata{}, `expected "("`},
		{"too many", " INBOX (" + strings.Repeat("/a NIL ", metadataEntriesMax) + "/a NIL)", SetMetadata{}, "more than 1000 entries"},
	} {
		d := NewDecoder(tc.text)
		got := d.SetMetadata()
		switch err := d.End(); {
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s: got error %v, want %q", tc.name, err, tc.err)
		case tc.err == "" && (err != nil || !reflect.DeepEqual(got, tc.want)):
			t.Errorf("%s: got %+v, %v", tc.name, got, err)
		}
	}
}

// FuzzMetadataValue: what is written is read as the same value.
func FuzzMetadataValue(f *testing.F) {
	for _, v := range []string{"", "x", "a\r\nb", "\x00", "é", strings.Repeat("x", quotedMax+1), "\"\\"} {
		f.Add(v, true)
		f.Add(v, false)
	}
	f.Fuzz(func(t *testing.T, value string, utf8OK bool) {
		text := fmt.Sprintf(" INBOX (/a %s)", AppendMetadataValue(nil, []byte(value), utf8OK))
		d := NewDecoder(text)
		if got := d.SetMetadata(); d.End() != nil || len(got.Values) != 1 || string(got.Values[0].Value) != value {
			t.Errorf("%q: got %+v, %v", text, got, d.Err())
		}
	})
}

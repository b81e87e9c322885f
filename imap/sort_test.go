package imap

import (
	"errors"
	"testing"
)

func TestSort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, code string }{
		{"one criterion", "(SUBJECT) UTF-8 SINCE 1-Feb-1994", "(SUBJECT) UTF-8 SINCE 1-Feb-1994", ""},
		{"several, one in reverse", "(SUBJECT REVERSE DATE) UTF-8 ALL", "(SUBJECT REVERSE DATE) UTF-8 ALL", ""},
		{"all of RFC 5256", "(ARRIVAL CC DATE FROM SIZE SUBJECT TO) us-ascii SEEN", "(ARRIVAL CC DATE FROM SIZE SUBJECT TO) US-ASCII SEEN", ""},
		{"those of RFC 5957", "(reverse displayfrom DisplayTo) \"utf-8\" 1:*", "(REVERSE DISPLAYFROM DISPLAYTO) UTF-8 1:*", ""},
		{"no criterion", "() UTF-8 ALL", "", "BAD"},
		{"only a direction", "(REVERSE) UTF-8 ALL", "", "BAD"},
		{"two directions", "(REVERSE REVERSE DATE) UTF-8 ALL", "", "BAD"},
		{"unknown", "(COLOUR) UTF-8 ALL", "", "BAD"},
		{"no charset", "(DATE) ALL", "", "NO"},
		{"other charset", "(DATE) KOI8-R ALL", "", "NO"},
		{"no search key", "(DATE) UTF-8", "", "BAD"},
		{"no list", "DATE UTF-8 ALL", "", "BAD"},
		{"too many", "(" + repeated("DATE", sortKeysMax+1) + ") UTF-8 ALL", "", "NO"},
		{"as many as may be", "(" + repeated("DATE", sortKeysMax) + ") UTF-8 ALL", "(" + repeated("DATE", sortKeysMax) + ") UTF-8 ALL", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := NewDecoder(c.in)
			got := d.Sort()
			checkParsed(t, d.End(), string(appendSort(nil, got)), c.want, c.code)
		})
	}
}

func appendSort(b []byte, s Sort) []byte {
	b = append(append(append(s.By.Append(b), ' '), s.Charset...), ' ')
	return appendKeys(b, s.Key.Keys)
}

func TestThread(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, code string }{
		{"by references", "REFERENCES UTF-8 SINCE 5-Mar-2000", "REFERENCES CHARSET UTF-8 SINCE 5-Mar-2000", ""},
		{"by subject", "orderedsubject us-ascii ALL", "ORDEREDSUBJECT CHARSET US-ASCII ALL", ""},
		{"unknown", "REFS UTF-8 ALL", "", "BAD"},
		{"no charset", "REFERENCES ALL", "", "NO"},
		{"no key", "REFERENCES UTF-8", "", "BAD"},
		{"nothing", "", "", "BAD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := NewDecoder(c.in)
			got := d.Thread()
			checkParsed(t, d.End(), string(got.Search.Append([]byte(got.Algorithm+" "))), c.want, c.code)
		})
	}
}

// checkParsed checks what was parsed, or if code is not empty the type of the
// refusal.
func checkParsed(t *testing.T, err error, got, want, code string) {
	t.Helper()
	var e *Error
	switch {
	case code == "" && (err != nil || got != want):
		t.Errorf("got %q and %v, want %q", got, err, want)
	case code != "" && (!errors.As(err, &e) || e.Type != code):
		t.Errorf("got %q and %v, want %s", got, err, code)
	}
}

// repeated returns word n times, with spaces between.
func repeated(word string, n int) string {
	s := word
	for range n - 1 {
		s += " " + word
	}
	return s
}

// FuzzSort checks that what was parsed is the same when written and parsed again.
func FuzzSort(f *testing.F) {
	f.Add("(SUBJECT REVERSE DATE) UTF-8 OR FROM a TO b")
	f.Add("(ARRIVAL) US-ASCII 1:3 $")
	f.Add("(REVERSE DISPLAYTO) utf-8 {3+}\r\nabc")
	f.Fuzz(func(t *testing.T, s string) {
		d := NewDecoder(s)
		req := d.Sort()
		if d.End() != nil {
			return
		}
		text := string(appendSort(nil, req))
		again := NewDecoder(text)
		if got := string(appendSort(nil, again.Sort())); again.End() != nil || got != text {
			t.Fatalf("%q became %q and then %q, %v", s, text, got, again.Err())
		}
	})
}

package dkim

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// text collects a canonical body.
type collector struct{ bytes.Buffer }

func (c *collector) put(p []byte) { c.Write(p) }

// canonical returns the canonical form of a body that is written in pieces.
func canonical(body string, relaxed bool, piece int) string {
	var out collector
	var c canonicalBody = &simpleBody{held{out: &out}}
	if relaxed {
		c = &relaxedBody{held: held{out: &out}}
	}
	for body != "" {
		n := min(max(piece, 1), len(body))
		_, _ = c.Write([]byte(body[:n]))
		body = body[n:]
	}
	c.Close()
	return out.String()
}

// plain is RFC 6376, sections 3.4.3 and 3.4.4, in the words of the standard. Lines
// end in CRLF, other carriage returns and line feeds are text.
func plain(body string, relaxed bool) string {
	if relaxed {
		body = regexp.MustCompile(`[ \t]+(\r\n|$)`).ReplaceAllString(body, "$1")
		body = regexp.MustCompile(`[ \t]+`).ReplaceAllString(body, " ")
	}
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	if body == "" && relaxed {
		return ""
	}
	return body + "\r\n"
}

func TestBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body, simple, relaxed string }{
		{"nothing", "", "\r\n", ""},
		{"one blank line", "\r\n", "\r\n", ""},
		{"many blank lines", strings.Repeat("\r\n", 10000), "\r\n", ""},
		{"lines of white space", " \r\n\t\r\n", " \r\n\t\r\n", ""},
		{"white space without an end", " \t", " \t\r\n", ""},
		{"no line break at the end", "a", "a\r\n", "a\r\n"},
		{"blank lines between", "a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n"},
		{"more blank lines between than are written at once", "a" + strings.Repeat("\r\n", 5000) + "b", "a" + strings.Repeat("\r\n", 5000) + "b\r\n", "a" + strings.Repeat("\r\n", 5000) + "b\r\n"},
		{"blank lines at the start", "\r\n\r\na\r\n", "\r\n\r\na\r\n", "\r\n\r\na\r\n"},
		{"blank lines with white space at the end", "a\r\n \r\n\r\n", "a\r\n \r\n", "a\r\n"},
		{"white space within a line", " a \t b  \r\n", " a \t b  \r\n", " a b\r\n"},
		{"a bare carriage return", "a \rb\r", "a \rb\r\r\n", "a \rb\r\r\n"},
		{"carriage returns before a line break", "a\r\r\n\r\n", "a\r\r\n", "a\r\r\n"},
		{"a bare line feed", "a\n\n", "a\n\n\r\n", "a\n\n\r\n"},
	} {
		for piece := 1; piece < 4; piece++ {
			if got := canonical(c.body, false, piece); got != c.simple {
				t.Errorf("%s, simple, pieces of %d: got %.100q", c.name, piece, got)
			}
			if got := canonical(c.body, true, piece); got != c.relaxed {
				t.Errorf("%s, relaxed, pieces of %d: got %.100q", c.name, piece, got)
			}
		}
	}
}

func TestField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, field, simple, relaxed string }{
		{"as it is", "Subject: a\r\n", "Subject: a\r\n", "subject:a\r\n"},
		{"without line break", "Subject: a", "Subject: a\r\n", "subject:a\r\n"},
		{"folded", "Subject: a\r\n\t b\r\n", "Subject: a\r\n\t b\r\n", "subject:a b\r\n"},
		{"white space everywhere", "SUBJECT \t:  a \t b  \r\n", "SUBJECT \t:  a \t b  \r\n", "subject:a b\r\n"},
		{"nothing in it", "Subject:\r\n", "Subject:\r\n", "subject:\r\n"},
		{"only folds in it", "Subject: \r\n \r\n", "Subject: \r\n \r\n", "subject:\r\n"},
		{"colons", "Subject: a:b\r\n", "Subject: a:b\r\n", "subject:a:b\r\n"},
		{"UTF-8", "Subject: ÄÖ\r\n", "Subject: ÄÖ\r\n", "subject:ÄÖ\r\n"},
	} {
		if got := string(appendField(nil, []byte(c.field), false)); got != c.simple {
			t.Errorf("%s, simple: got %q", c.name, got)
		}
		if got := string(appendField(nil, []byte(c.field), true)); got != c.relaxed {
			t.Errorf("%s, relaxed: got %q", c.name, got)
		}
	}
}

func TestWithoutSignature(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, field, want string }{
		{"at the end", "DKIM-Signature: a=x; b=abc\r\n def\r\n", "DKIM-Signature: a=x; b="},
		{"in the middle", "DKIM-Signature: b = abc\r\n def ; bh=x\r\n", "DKIM-Signature: b =; bh=x"},
		{"another that begins so", "DKIM-Signature: bh=b; b=x", "DKIM-Signature: bh=b; b="},
		{"after a fold", "DKIM-Signature: a=x;\r\n\tb=abc=;\r\n", "DKIM-Signature: a=x;\r\n\tb=;"},
		{"none", "DKIM-Signature: a=x\r\n", "DKIM-Signature: a=x"},
	} {
		if got := string(withoutSignature([]byte(c.field))); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzBody checks the canonical forms against the standard's own description, for
// any pieces, and that the canonical form of a canonical form is the same.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "a\r\n\r\n", " a \t\r\n\r\n b\r", "\r\n \r\n", "a\r\r\n\n\r\n"} {
		f.Add(s, 1)
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, body string, piece int) {
		for _, relaxed := range []bool{false, true} {
			got := canonical(body, relaxed, piece)
			if want := plain(body, relaxed); got != want {
				t.Fatalf("relaxed %t, %q in pieces of %d: got %q, want %q", relaxed, body, piece, got, want)
			}
			if again := canonical(got, relaxed, len(got)); again != got {
				t.Fatalf("relaxed %t, %q: %q again is %q", relaxed, body, got, again)
			}
		}
	})
}

// FuzzField checks that the relaxed form of a field is that of all its spellings.
func FuzzField(f *testing.F) {
	f.Add("Subject", " a\r\n b")
	f.Add("X", "\t\r\n ")
	f.Fuzz(func(t *testing.T, name, value string) {
		if strings.ContainsAny(name, ": \t\r\n") || strings.ContainsAny(value, "\r\n") {
			return
		}
		got := appendField(nil, []byte(name+":"+value+"\r\n"), true)
		folded := strings.NewReplacer(" ", "\r\n \t", "\t", " \r\n ").Replace(value)
		if again := appendField(nil, []byte(name+"\t: "+folded+" \r\n"), true); !bytes.Equal(again, got) {
			t.Fatalf("%q: got %q and, folded, %q", value, got, again)
		}
		if again := appendField(nil, got, true); !bytes.Equal(again, got) {
			t.Fatalf("%q: %q again is %q", value, got, again)
		}
	})
}

package smtpserver

import (
	"bytes"
	"strings"
	"testing"
)

// scanAll feeds raw to a scanner in pieces of n bytes.
func scanAll(t *testing.T, raw []byte, n int) (text string, bare bool, used int) {
	var d dataScanner
	var out bytes.Buffer
	for used < len(raw) {
		p := raw[used:min(len(raw), used+n)]
		for len(p) > 0 {
			text, k, done := d.next(p)
			if k <= 0 || k > len(p) || len(text) > k {
				t.Fatalf("%q: took %d of %d bytes, %d as text", raw, k, len(p), len(text))
			}
			out.Write(text)
			used += k
			p = p[k:]
			if done {
				return out.String(), d.bare, used
			}
		}
	}
	return out.String(), d.bare, -1
}

// model does the same with whole strings, following RFC 5321, section 4.5.2, by
// the letter. used is -1 if there is no end.
func model(raw string) (text string, bare bool, used int) {
	const end = "\r\n.\r\n"
	i := strings.Index("\r\n"+raw, end)
	if i < 0 {
		return "", false, -1
	}
	text = ("\r\n" + raw)[:i+2]
	text = strings.ReplaceAll(text, "\r\n.", "\r\n")[2:]
	stripped := strings.ReplaceAll(("\r\n" + raw)[:i+2], "\r\n", "")
	return text, strings.ContainsAny(stripped, "\r\n"), i + len(end) - 2
}

func TestDataScanner(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, raw, text string
		bare            bool
	}{
		{"nothing", ".\r\n", "", false},
		{"a line", "a\r\n.\r\n", "a\r\n", false},
		{"a dot in front", "..\r\n.\r\n", ".\r\n", false},
		{"a dot that needn't be there", ".a\r\n.\r\n", "a\r\n", false},
		{"only the first dot", "...a.\r\n.\r\n", "..a.\r\n", false},
		{"empty lines", "\r\n\r\n.\r\n", "\r\n\r\n", false},
		{"LF.CRLF", "a\n.\r\nb\r\n.\r\n", "", true},
		{"LF.LF", "a\n.\nb\r\n.\r\n", "", true},
		{"CR.CR", "a\r.\rb\r\n.\r\n", "", true},
		{"CRLF.LF", "a\r\n.\nb\r\n.\r\n", "", true},
		{"CRLF.CR", "a\r\n.\rb\r\n.\r\n", "", true},
		{"CRLF.CRCRLF", "a\r\n.\r\r\n.\r\n", "", true},
		{"CR CRLF.CRLF", "a\r\r\n.\r\n", "", true},
		{"LF first", "\n.\r\n.\r\n", "", true},
		{"NUL.CRLF", "a\x00.\r\n.\r\n", "a\x00.\r\n", false},
	} {
		for n := 1; n <= len(tc.raw); n++ {
			text, bare, used := scanAll(t, []byte(tc.raw+"NOOP\r\n"), n)
			if bare != tc.bare || used != len(tc.raw) || !bare && text != tc.text {
				t.Errorf("%s, by %d: got %q, %v, %d", tc.name, n, text, bare, used)
			}
		}
	}
}

// FuzzDataScanner compares with the model, whatever pieces the bytes come in.
func FuzzDataScanner(f *testing.F) {
	f.Add([]byte("a\r\n..b\r\n.\r\nc"), uint8(3))
	f.Add([]byte("\r\n.\r\r\n.\n\r\n.\r\n"), uint8(1))
	f.Add([]byte(".\r.\r\n.\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, raw []byte, n uint8) {
		wantText, wantBare, wantUsed := model(string(raw))
		text, bare, used := scanAll(t, raw, int(n)+1)
		if used != wantUsed {
			t.Fatalf("%q by %d: ended at %d, want %d", raw, n, used, wantUsed)
		}
		if used >= 0 && (bare != wantBare || !bare && text != wantText) {
			t.Fatalf("%q by %d: got %q, %v, want %q, %v", raw, n, text, bare, wantText, wantBare)
		}
	})
}

// FuzzLineChecker compares with whole strings.
func FuzzLineChecker(f *testing.F) {
	f.Add([]byte("a\r\nb\r"), uint8(1))
	f.Add([]byte("\r\r\n\n"), uint8(2))
	f.Fuzz(func(t *testing.T, raw []byte, n uint8) {
		var c lineChecker
		for p := raw; len(p) > 0; {
			k := min(len(p), int(n)+1)
			c.check(p[:k])
			p = p[k:]
		}
		c.end()
		if want := strings.ContainsAny(strings.ReplaceAll(string(raw), "\r\n", ""), "\r\n"); c.bare != want {
			t.Fatalf("%q by %d: got %v", raw, n, c.bare)
		}
	})
}

func BenchmarkDataScanner(b *testing.B) {
	raw := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 200) + ".\r\n")
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		var d dataScanner
		for p, done := raw, false; !done; {
			var n int
			_, n, done = d.next(p)
			p = p[n:]
		}
	}
}

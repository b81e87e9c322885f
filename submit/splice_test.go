package submit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSpliced(t *testing.T) {
	t.Parallel()
	came := "old header\r\n\r\nthe body"
	for _, head := range []string{"new: header\r\n\r\n", "x", ""} {
		m := splice([]byte(head), strings.NewReader(came), 14, int64(len(came)))
		want := head + "the body"
		if m.size != int64(len(want)) {
			t.Errorf("head %q: size %d, want %d", head, m.size, len(want))
		}
		if err := iotest.TestReader(io.NewSectionReader(m, 0, m.size), []byte(want)); err != nil {
			t.Errorf("head %q: %v", head, err)
		}
		if n, err := m.ReadAt(make([]byte, 1), m.size); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("head %q: at the end got %d, %v", head, n, err)
		}
		if n, err := m.ReadAt(make([]byte, 1), -1); n != 0 || err == nil {
			t.Errorf("head %q: before the begin got %d, %v", head, n, err)
		}
	}
	m := splice([]byte("head"), strings.NewReader("short"), 0, 10)
	if n, err := m.ReadAt(make([]byte, 14), 0); n != 9 || err == nil {
		t.Errorf("content that is too short: got %d, %v, want 9 and an error", n, err)
	}
}

// FuzzSpliced compares reading any part with the same part of a copy.
func FuzzSpliced(f *testing.F) {
	f.Add([]byte("head"), []byte("came"), 2, 3, 4)
	f.Add([]byte{}, []byte{}, 0, 0, 1)
	f.Fuzz(func(t *testing.T, head, came []byte, skip, from, n int) {
		if skip < 0 || skip > len(came) || from < 0 || n < 0 || n > 1<<16 {
			return
		}
		want := append(bytes.Clone(head), came[skip:]...)
		m := splice(head, bytes.NewReader(came), int64(skip), int64(len(came)))
		p := make([]byte, n)
		got, err := m.ReadAt(p, int64(from))
		wanted, wantErr := bytes.NewReader(want).ReadAt(bytes.Clone(p), int64(from))
		if n == 0 {
			return // Either may say that the end is reached.
		}
		if got != wanted || !errors.Is(err, wantErr) || from < len(want) && !bytes.Equal(p[:got], want[from:from+got]) {
			t.Fatalf("%d bytes at %d: got %q, %d, %v, want %d, %v", n, from, p[:got], got, err, wanted, wantErr)
		}
	})
}

func TestBitReader(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": false, "a\x7f": false, "a\x80": true, "\xff" + strings.Repeat("a", 100): true, strings.Repeat("a", 10000) + "é": true} {
		r := &bitReader{r: strings.NewReader(text)}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != text || r.eightBit != want {
			t.Errorf("%.10q: read %d bytes, %v, 8 bits %v, want %v", text, len(got), err, r.eightBit, want)
		}
	}
}

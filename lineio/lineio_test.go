package lineio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestReadLine(t *testing.T) {
	t.Parallel()
	const max = 8
	for _, tc := range []struct {
		name, input string
		lines       []string // Until the first error.
		err         error
	}{
		{"nothing", "", nil, io.EOF},
		{"an empty line", "\r\n", []string{""}, io.EOF},
		{"two lines", "one\r\ntwo\r\n", []string{"one", "two"}, io.EOF},
		{"end within a line", "one\r\ntw", []string{"one"}, io.ErrUnexpectedEOF},
		{"end between CR and LF", "one\r", nil, io.ErrUnexpectedEOF},
		{"as long as allowed", "12345678\r\n", []string{"12345678"}, io.EOF},
		{"one byte too long", "123456789\r\n", nil, ErrTooLong},
		{"one byte too long, counted with a bare LF", "123456789\n", nil, ErrTooLong},
		{"too long without end", "1234567890123", nil, ErrTooLong},
		{"LF without CR", "one\ntwo\r\n", nil, ErrBareLF},
		{"LF first", "\n", nil, ErrBareLF},
		{"CR without LF", "o\rne\r\n", nil, ErrBareCR},
		{"CR CR LF", "one\r\r\n", nil, ErrBareCR},
		{"CR and LF, both bare", "o\rne\n", nil, ErrBareCR},
		{"NUL is a byte like others", "a\x00b\r\n", []string{"a\x00b"}, io.EOF},
	} {
		for form, src := range map[string]io.Reader{
			"at once":      strings.NewReader(tc.input),
			"by the byte":  iotest.OneByteReader(strings.NewReader(tc.input)),
			"data and EOF": iotest.DataErrReader(strings.NewReader(tc.input)),
		} {
			r := NewReader(src, Options{})
			var lines []string
			var err error
			for {
				var line []byte
				line, err = r.ReadLine(max)
				if err != nil {
					break
				}
				lines = append(lines, string(line))
			}
			if strings.Join(lines, "|") != strings.Join(tc.lines, "|") || len(lines) != len(tc.lines) || !errors.Is(err, tc.err) {
				t.Errorf("%s, %s: got %q, %v, want %q, %v", tc.name, form, lines, err, tc.lines, tc.err)
			}
		}
	}
}

// TestAfterRefusedLine checks that reading goes on behind a line in error.
func TestAfterRefusedLine(t *testing.T) {
	t.Parallel()
	r := NewReader(strings.NewReader("a\nb\rc\r\n"+strings.Repeat("x", 3*bufferSize)+"\r\nend\r\n"), Options{})
	if line, err := r.ReadLine(10); !errors.Is(err, ErrBareLF) || string(line) != "a" {
		t.Fatalf("got %q, %v", line, err)
	}
	if line, err := r.ReadLine(10); !errors.Is(err, ErrBareCR) || string(line) != "b\rc" {
		t.Fatalf("got %q, %v", line, err)
	}
	if line, err := r.ReadLine(10); !errors.Is(err, ErrTooLong) || string(line) != "xxxxxxxxxx" {
		t.Fatalf("got %q, %v", line, err)
	}
	if err := r.DiscardLine(3*bufferSize + 2); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadLine(10); err != nil || string(line) != "end" {
		t.Fatalf("got %q, %v", line, err)
	}
}

func TestDiscardLineLimit(t *testing.T) {
	t.Parallel()
	r := NewReader(strings.NewReader("12345\r\n12345\r\n"), Options{})
	if err := r.DiscardLine(7); err != nil {
		t.Fatalf("line of exactly the limit: %v", err)
	}
	if err := r.DiscardLine(6); !errors.Is(err, ErrTooLong) {
		t.Fatalf("got %v", err)
	}
}

// TestLongLine reads a line that outgrows the pooled buffer, between others.
func TestLongLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", bufferSize)
	r := NewReader(strings.NewReader("a\r\n"+long+"\r\nb\r\n"), Options{})
	for _, want := range []string{"a", long, "b"} {
		line, err := r.ReadLine(len(long))
		if err != nil || string(line) != want {
			t.Fatalf("got %d bytes, %v, want %d", len(line), err, len(want))
		}
	}
	r.Release()
	if r.buf != nil {
		t.Error("grown buffer is kept")
	}
}

// TestIdleHoldsNoBuffer checks that neither side of an idle connection has a
// buffer, and that the byte that ends the waiting is not lost.
func TestIdleHoldsNoBuffer(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	var seen bytes.Buffer
	r := NewReader(server, Options{Tee: func(p []byte) { seen.Write(p) }})
	go io.WriteString(client, "NOOP\r\nrest")
	if err := r.Wait(); err != nil || r.buf != nil || r.Buffered() != 1 {
		t.Fatalf("waiting: %v, buffered %d", err, r.Buffered())
	}
	if err := r.Wait(); err != nil {
		t.Fatalf("waiting with a byte at hand: %v", err)
	}
	if line, err := r.ReadLine(10); err != nil || string(line) != "NOOP" {
		t.Fatalf("got %q, %v", line, err)
	}
	rest := make([]byte, 4)
	if _, err := io.ReadFull(r, rest); err != nil || string(rest) != "rest" {
		t.Fatalf("got %q, %v", rest, err)
	}
	if r.Release(); r.buf != nil || r.pooled != nil {
		t.Error("buffer is kept")
	}
	if seen.String() != "NOOP\r\nrest" {
		t.Errorf("trace has %q", seen.String())
	}
}

// TestTimeoutLosesNothing checks that a line can be read on after a timeout.
func TestTimeoutLosesNothing(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	r := NewReader(server, Options{})
	go func() {
		io.WriteString(client, "NO")
	}()
	server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := r.ReadLine(10); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	server.SetReadDeadline(time.Time{})
	go io.WriteString(client, "OP\r\n")
	if line, err := r.ReadLine(10); err != nil || string(line) != "NOOP" {
		t.Fatalf("got %q, %v", line, err)
	}
}

func TestPeekChunkDiscard(t *testing.T) {
	t.Parallel()
	r := NewReader(iotest.OneByteReader(strings.NewReader("abcdef")), Options{})
	if p, err := r.Peek(3); err != nil || string(p) != "abc" {
		t.Fatalf("got %q, %v", p, err)
	}
	if err := r.Discard(2); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Chunk(); err != nil || string(p) != "c" {
		t.Fatalf("got %q, %v", p, err)
	}
	if err := r.Discard(2); err == nil {
		t.Fatal("discarded what was not there")
	}
	if p, err := r.Peek(5); !errors.Is(err, io.EOF) || string(p) != "cdef" {
		t.Fatalf("got %q, %v", p, err)
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	var out, seen bytes.Buffer
	w := NewWriter(&out, Options{Tee: func(p []byte) { seen.Write(p) }})
	var want strings.Builder
	for _, n := range []int{0, 1, 10, bufferSize - 5, bufferSize, bufferSize + 1, 3 * bufferSize, 7} {
		s := strings.Repeat("x", n)
		want.WriteString(s + s)
		if k, err := w.WriteString(s); err != nil || k != n {
			t.Fatalf("writing string of %d: %d, %v", n, k, err)
		}
		if k, err := w.Write([]byte(s)); err != nil || k != n {
			t.Fatalf("writing %d: %d, %v", n, k, err)
		}
	}
	if out.Len()+w.Buffered() != want.Len() {
		t.Errorf("%d sent and %d buffered, want %d", out.Len(), w.Buffered(), want.Len())
	}
	if err := w.Flush(); err != nil || w.pooled != nil {
		t.Fatalf("flush: %v", err)
	}
	if out.String() != want.String() || seen.String() != want.String() {
		t.Errorf("sent %d, traced %d, want %d", out.Len(), seen.Len(), want.Len())
	}
}

func TestWriterKeepsError(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	client.Close()
	w := NewWriter(server, Options{})
	if _, err := w.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	first := w.Flush()
	if first == nil || !errors.Is(w.Flush(), first) {
		t.Fatalf("got %v", first)
	}
	if _, err := w.WriteString("more"); !errors.Is(err, first) {
		t.Errorf("got %v", err)
	}
	if _, err := w.Write([]byte("more")); !errors.Is(err, first) {
		t.Errorf("got %v", err)
	}
}

// FuzzReadLine checks that the lines, with what ends them, are the input, that
// none is longer than allowed, and that it doesn't matter how the bytes arrive.
func FuzzReadLine(f *testing.F) {
	f.Add([]byte("EHLO x\r\nMAIL FROM:<>\r\n"), uint8(20))
	f.Add([]byte("a\nb\rc\r\n\r\r\n\n"), uint8(3))
	f.Add([]byte("12345678901\r\n"), uint8(10))
	f.Fuzz(func(t *testing.T, input []byte, max8 uint8) {
		max := int(max8)
		whole := readAll(t, bytes.NewReader(input), max)
		single := readAll(t, iotest.OneByteReader(bytes.NewReader(input)), max)
		if whole != single {
			t.Fatalf("at once %q, by the byte %q", whole, single)
		}
	})
}

// readAll reads lines until the end, and describes what it got.
func readAll(t *testing.T, src io.Reader, max int) string {
	var consumed, all bytes.Buffer
	r := NewReader(src, Options{Tee: func(p []byte) { consumed.Write(p) }})
	for {
		before := consumed.Len()
		line, err := r.ReadLine(max)
		raw := consumed.Bytes()[before:]
		all.WriteString(string(line) + "|")
		if len(line) > max {
			t.Fatalf("line of %d bytes, limit %d", len(line), max)
		}
		switch {
		case err == nil:
			if string(raw) != string(line)+"\r\n" || bytes.ContainsAny(line, "\r\n") {
				t.Fatalf("line %q from %q", line, raw)
			}
		case errors.Is(err, ErrBareLF):
			if string(raw) != string(line)+"\n" || bytes.ContainsAny(line, "\r\n") {
				t.Fatalf("bare LF: line %q from %q", line, raw)
			}
		case errors.Is(err, ErrBareCR):
			if !bytes.ContainsRune(line, '\r') || bytes.ContainsRune(line, '\n') {
				t.Fatalf("bare CR: line %q from %q", line, raw)
			}
		case errors.Is(err, ErrTooLong):
			if len(raw) > 0 {
				t.Fatalf("too long, but consumed %q", raw)
			}
			if err := r.DiscardLine(1 << 20); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			} else if err != nil {
				return all.String()
			}
		default:
			return all.String() + err.Error()
		}
	}
}

func BenchmarkReadLine(b *testing.B) {
	input := []byte(strings.Repeat("RCPT TO:<someone@example.org>\r\n", 100))
	src := bytes.NewReader(input)
	b.SetBytes(int64(len(input)))
	b.ReportAllocs()
	r := NewReader(src, Options{})
	for b.Loop() {
		src.Reset(input)
		for {
			if _, err := r.ReadLine(512); err != nil {
				break
			}
		}
	}
}

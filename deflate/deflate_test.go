package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// inflateAll decompresses a stream that comes in pieces of a size, into pieces of
// another. It returns what is left behind the last block.
func inflateAll(f *Inflater, stream []byte, srcSize, dstSize int) (text, rest []byte, err error) {
	dst := make([]byte, dstSize)
	for at := 0; ; {
		n, used, err := f.Inflate(dst, stream[at:min(at+srcSize, len(stream))])
		at += used
		text = append(text, dst[:n]...)
		if err != nil || n == 0 && used == 0 && at == len(stream) {
			return text, stream[at:], err
		}
	}
}

// texts are of the kinds that are sent: short, long, of few and of many different
// bytes.
func texts() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 70_000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	var lines, far bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&lines, "* %d FETCH (UID %d FLAGS (\\Seen) RFC822.SIZE %d)\r\n", i, 3*i, r.IntN(100_000))
	}
	for range 3 {
		far.Write(random[:windowSize-1])
	}
	return [][]byte{
		[]byte("a"), []byte("a1 NOOP\r\n"), bytes.Repeat([]byte("x"), 100_000), random, lines.Bytes(), far.Bytes(), {},
	}
}

// TestInflate decompresses what package flate compresses, at levels of all kinds, in pieces
// of several sizes.
func TestInflate(t *testing.T) {
	t.Parallel()
	for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 2, 6} {
		for i, text := range texts() {
			var stream bytes.Buffer
			w, err := flate.NewWriter(&stream, level)
			if err != nil {
				t.Fatal(err)
			}
			half := len(text) / 2
			if _, err := w.Write(text[:half]); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(text[half:]); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			stream.WriteString("plain")
			for _, size := range [][2]int{{1, 1}, {1 << 20, 1 << 20}, {7, 4096}, {4096, 13}} {
				got, rest, err := inflateAll(&Inflater{}, stream.Bytes(), size[0], size[1])
				if !errors.Is(err, io.EOF) || !bytes.Equal(got, text) || string(rest) != "plain" {
					t.Fatalf("level %d, text %d in pieces of %d: got %d bytes of %d, rest %q, %v", level, i, size, len(got), len(text), rest, err)
				}
			}
		}
	}
}

// TestDeflate lets package flate decompress what a Deflater makes of all texts in one
// stream: at the end of each piece all of it must be known.
func TestDeflate(t *testing.T) {
	t.Parallel()
	var pool Compressors
	d, f := NewDeflater(&pool), &Inflater{}
	var stream bytes.Buffer
	r := flate.NewReader(&stream)
	for round := range 2 {
		for i, text := range texts() {
			for part := range bytes.SplitAfterSeq(text, []byte("7")) {
				part = part[:min(len(part), PieceMax)]
				compressed := d.Append(nil, part)
				if max := len(part) + len(part)/100 + 20; len(compressed) > max {
					t.Fatalf("round %d, text %d: %d bytes became %d", round, i, len(part), len(compressed))
				}
				stream.Write(compressed)
				got := make([]byte, len(part))
				if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, part) {
					t.Fatalf("round %d, text %d: flate: %v", round, i, err)
				}
				ours, rest, err := inflateAll(f, compressed, 1<<20, 1000)
				if err != nil || !bytes.Equal(ours, part) || len(rest) > 0 || len(part) > 0 && !f.Flushed() {
					t.Fatalf("round %d, text %d: got %d bytes of %d, %v", round, i, len(ours), len(part), err)
				}
			}
		}
	}
}

// TestHistory checks that a line is made small by those before it.
func TestHistory(t *testing.T) {
	t.Parallel()
	var pool Compressors
	d := NewDeflater(&pool)
	in, out := 0, 0
	for i := range 100 {
		line := fmt.Appendf(nil, "* %d FETCH (UID %d FLAGS (\\Seen $Forwarded) MODSEQ (%d))\r\na%d OK fetched\r\n", i, 3*i, 1000+i, i)
		in += len(line)
		out += len(d.Append(nil, line))
	}
	if 2*out > in {
		t.Errorf("%d bytes became %d", in, out)
	}
}

// TestFlushKinds decompresses one line, flushed in each way that zlib has. All of the
// line must come out, and no byte be read beyond what is needed.
func TestFlushKinds(t *testing.T) {
	t.Parallel()
	const line = "a UNAUTHENTICATE\r\n"
	for _, tc := range []struct {
		name, stream string
		flushed, end bool
	}{
		// Made with zlib: level 6, raw, of the line.
		{"Z_SYNC_FLUSH", "\x4a\x54\x08\xf5\x73\x0c\x0d\xf1\x70\xf5\x0b\xf1\x74\x76\x0c\x71\xe5\xe5\x02\x00\x00\x00\xff\xff", true, false},
		{"Z_FINISH", "\x4b\x54\x08\xf5\x73\x0c\x0d\xf1\x70\xf5\x0b\xf1\x74\x76\x0c\x71\xe5\xe5\x02\x00", false, true},
		{"Z_PARTIAL_FLUSH", "\x4a\x54\x08\xf5\x73\x0c\x0d\xf1\x70\xf5\x0b\xf1\x74\x76\x0c\x71\xe5\xe5\x02\x08", false, false},
		{"Z_BLOCK", "\x4a\x54\x08\xf5\x73\x0c\x0d\xf1\x70\xf5\x0b\xf1\x74\x76\x0c\x71\xe5\xe5\x02", false, false},
		{"stored", "\x00\x12\x00\xed\xff" + line + "\x00\x00\x00\xff\xff", true, false},
		{"stored, without a flush", "\x00\x12\x00\xed\xff" + line, false, false},
		{"stored, the last block", "\x01\x12\x00\xed\xff" + line, false, true},
	} {
		for size := range 10 {
			f := &Inflater{}
			got, rest, err := inflateAll(f, []byte(tc.stream), size+1, 100)
			if tc.end && errors.Is(err, io.EOF) {
				err = nil
			}
			if err != nil || string(got) != line || len(rest) > 0 || f.Flushed() != tc.flushed || f.Ended() != tc.end {
				t.Errorf("%s in pieces of %d: got %q, rest %q, flushed %v, ended %v, %v", tc.name, size+1, got, rest, f.Flushed(), f.Ended(), err)
			}
		}
	}
}

// TestCorrupt reads streams that are none.
func TestCorrupt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, stream string }{
		{"a block of no type", "\x07"},
		{"a stored block with a wrong complement", "\x00\x01\x00\x00\x00"},
		{"a distance before the beginning", "\x4b\x04\x32\x00"},
		{"more literals than there are", "\xfc\xff\xff\xff"},
		{"a code for lengths with too many codes", "\x04\x00\xfe\xff\xff\xff\xff\xff"},
		{"a length repeated before the first", "\x04\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	} {
		for _, size := range []int{1, 100} {
			if _, _, err := inflateAll(&Inflater{}, []byte(tc.stream), size, 100); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: got %v", tc.name, err)
			}
		}
	}
}

// TestIdleMemory checks what both sides of idle streams hold, of which a command and
// its answer went through each.
func TestIdleMemory(t *testing.T) {
	const n = 1000
	var pool Compressors
	type pair struct {
		d *Deflater
		f *Inflater
	}
	text := []byte(strings.Repeat("a1 UID FETCH 1:* (FLAGS)\r\n", 10))
	pairs := make([]pair, n)
	before := heap()
	for i := range pairs {
		p := pair{NewDeflater(&pool), &Inflater{}}
		if got, _, err := inflateAll(p.f, p.d.Append(nil, text), 1000, 1000); err != nil || !bytes.Equal(got, text) {
			t.Fatal(err)
		}
		pairs[i] = p
	}
	each := (heap() - before) / n
	// The pool has a few compressors more, of 1 MiB.
	if each > 3*historySize+4<<20/n {
		t.Errorf("an idle stream holds %d bytes", each)
	}
	runtime.KeepAlive(pairs)
}

func heap() int {
	runtime.GC()
	runtime.GC() // Empties pools.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// FuzzInflate compares with package flate: what it decompresses of a stream, we do
// too, and what it does not take, we don't. However the stream is cut.
func FuzzInflate(f *testing.F) {
	for _, text := range texts()[:3] {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, 6)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write(text[:min(len(text), 2000)]); err != nil {
			f.Fatal(err)
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes(), uint8(3))
	}
	f.Add([]byte("\x00\x12\x00\xed\xffa UNAUTHENTICATE\r\n\x00\x00\x00\xff\xff"), uint8(0))
	f.Add([]byte("\x05\xc0\x81\x00\x00\x00\x00\x00\x90\x7f\x6a\x03"), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		const most = 1 << 20
		got, _, err := inflateAll(&Inflater{}, stream, int(size)+1, 1000)
		if len(got) > most {
			return
		}
		want, werr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(stream)), most))
		switch {
		case werr == nil && !errors.Is(err, io.EOF):
			t.Fatalf("flate takes it, we don't: %v", err)
		case errors.Is(err, io.EOF) && werr != nil:
			t.Fatalf("we take it, flate does not: %v", werr)
		case werr == nil && !bytes.Equal(got, want):
			t.Fatalf("got %q, want %q", got, want)
		case !bytes.HasPrefix(got, want):
			t.Fatalf("got %q, flate knew %q", got, want)
		}
	})
}

// FuzzDeflate sends text in pieces.
func FuzzDeflate(f *testing.F) {
	f.Add([]byte("* 1 EXISTS\r\n* 2 EXISTS\r\n"), uint16(3))
	f.Fuzz(func(t *testing.T, text []byte, size uint16) {
		var pool Compressors
		d := NewDeflater(&pool)
		var stream []byte
		for at := 0; at < len(text); at += int(size) + 1 {
			stream = d.Append(stream, text[at:min(len(text), at+int(size)+1)])
		}
		got, _, err := inflateAll(&Inflater{}, stream, 100, 100)
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

package deflate

import (
	"errors"
	"io"
)

// ErrCorrupt means that a stream is not one of RFC 1951. Nothing more can be read
// of it.
var ErrCorrupt = errors.New("deflate: corrupt stream")

const (
	// windowSize is how far back in bytes a stream can refer.
	windowSize = 32 << 10

	// windowFirst is the first size in bytes of the window, which grows with what was
	// decompressed: most streams are of a few short commands.
	windowFirst = 1 << 10
)

// step is what an Inflater does next. Each takes its bits at once or not at all, so
// that it can go on when more have come.
type step uint8

const (
	stepHeader     step = iota // Three bits of a block.
	stepStored                 // The length of a stored block.
	stepCopy                   // Its bytes.
	stepCodes                  // How many codes there are.
	stepLengths                // The lengths of codes of lengths of codes.
	stepCode                   // A length of a code.
	stepRepeat                 // How often it is repeated.
	stepSymbol                 // A literal or length.
	stepLengthBits             // More of the length.
	stepDistance
	stepDistanceBits
	stepMatch // Bytes from the window.
	stepEnd
)

// Inflater decompresses one stream. The zero value is ready for it. It is used by one
// goroutine at a time.
type Inflater struct {
	b  uint64 // Bits read but not used, the first lowest: fewer than eight are ever read too many.
	nb uint

	step    step
	final   bool // The block is the last one.
	flushed bool
	codes   *codes // Of the block. Nil between blocks.
	left    int    // Bytes of a stored block, or of a match.
	dist    int    // Of a match.
	symbol  int    // Of a length or distance, or of a length of a code.

	lits, dists, lens, at int // How many codes are to be read, and have been.

	window []byte // The last that was decompressed. Its length is a power of two.
	pos    int    // Where the next byte goes.
	total  int    // Bytes in window.
}

// Inflate decompresses src into dst. It returns how much it wrote and read: it ends
// when dst is full, when src is at its end, or behind a flush. All that can be known
// from what was read has then been written, unless dst is full.
//
// The error is io.EOF behind the last block, of which nothing is read then, and
// ErrCorrupt.
func (f *Inflater) Inflate(dst, src []byte) (written, read int, err error) {
	in, out := input{f, src}, output{f, dst, 0}
	f.flushed = f.flushed && len(src) == 0
	for err == nil && !f.flushed {
		var more bool
		if more, err = f.next(&in, &out); !more {
			break
		}
	}
	return out.n, len(src) - len(in.src), err
}

// Flushed reports whether the last that was read was a flush: an empty stored block.
// Behind it the stream may stop, at the end of a byte.
func (f *Inflater) Flushed() bool { return f.flushed }

// Ended reports whether the last block was read.
func (f *Inflater) Ended() bool { return f.step == stepEnd }

// input is what is left to read.
type input struct {
	f   *Inflater
	src []byte
}

// need makes n bits available, at most 32, and reports whether there are so many.
func (in *input) need(n uint) bool {
	for in.f.nb < n {
		if len(in.src) == 0 {
			return false
		}
		in.f.b |= uint64(in.src[0]) << in.f.nb
		in.f.nb += 8
		in.src = in.src[1:]
	}
	return true
}

// take uses up n bits, which must be there.
func (in *input) take(n uint) int {
	v := in.f.b & (1<<n - 1)
	in.f.b >>= n
	in.f.nb -= n
	return int(v)
}

// symbol reads a symbol. It returns -1 if that needs more bits. No byte is read that
// is not needed.
func (in *input) symbol(h *huffman) (int, error) {
	for {
		q := h.quick[in.f.b&(1<<quickBits-1)]
		if n := uint(q & 15); n > 0 && n <= in.f.nb {
			in.take(n)
			return int(q >> 4), nil
		}
		if q == 0 && in.f.nb > quickBits {
			if symbol, n := h.slow(in.f.b, in.f.nb); n > codeMax {
				return 0, ErrCorrupt
			} else if n > 0 {
				in.take(n)
				return int(symbol), nil
			}
		}
		// Bits that are not there were taken for zeros: a code that ended before them
		// would have been found.
		if !in.need(in.f.nb + 1) {
			return -1, nil
		}
	}
}

// output is where to write.
type output struct {
	f   *Inflater
	dst []byte
	n   int
}

func (out *output) full() bool { return out.n == len(out.dst) }

// put writes a byte. There must be room.
func (out *output) put(c byte) {
	f := out.f
	if f.pos == len(f.window) {
		f.wrap()
	}
	f.window[f.pos] = c
	f.pos++
	if f.total < windowSize {
		f.total++
	}
	out.dst[out.n] = c
	out.n++
}

// wrap makes room in the window: it grows, or begins again.
func (f *Inflater) wrap() {
	if len(f.window) == windowSize {
		f.pos = 0
		return
	}
	grown := make([]byte, max(windowFirst, 2*len(f.window)))
	copy(grown, f.window)
	f.window = grown
}

// next takes a step. It returns false if it can't go on: there is nothing more to
// read or no room to write.
func (f *Inflater) next(in *input, out *output) (bool, error) {
	switch f.step {
	case stepHeader:
		return f.header(in)
	case stepStored:
		return f.stored(in)
	case stepCopy:
		return f.copy(in, out), nil
	case stepCodes, stepLengths, stepCode, stepRepeat:
		return f.readCodes(in)
	case stepSymbol, stepLengthBits, stepDistance, stepDistanceBits, stepMatch:
		return f.text(in, out)
	case stepEnd:
	}
	return false, io.EOF
}

// header reads the header of a block (RFC 1951, section 3.2.3).
func (f *Inflater) header(in *input) (bool, error) {
	if !in.need(3) {
		return false, nil
	}
	f.final = in.take(1) == 1
	switch in.take(2) {
	case 0:
		in.take(f.nb % 8) // It begins at a byte.
		f.step = stepStored
	case 1:
		f.codes, f.step = fixedCodes, stepSymbol
	case 2:
		f.codes, _ = codesPool.Get().(*codes)
		f.step = stepCodes
	default:
		return false, ErrCorrupt
	}
	return true, nil
}

// endBlock goes on behind a block.
func (f *Inflater) endBlock(in *input) {
	if f.codes != nil && f.codes != fixedCodes {
		codesPool.Put(f.codes)
	}
	f.codes, f.step = nil, stepHeader
	if f.final {
		f.step = stepEnd
		in.take(f.nb % 8) // What follows begins at a byte.
	}
}

// stored reads the length of a stored block, and its complement.
func (f *Inflater) stored(in *input) (bool, error) {
	if !in.need(32) {
		return false, nil
	}
	f.left = in.take(16)
	if in.take(16) != f.left^0xffff {
		return false, ErrCorrupt
	}
	f.step = stepCopy
	if f.left == 0 {
		f.endBlock(in)
		f.flushed = !f.final
	}
	return true, nil
}

// copy copies bytes of a stored block.
func (f *Inflater) copy(in *input, out *output) bool {
	for f.left > 0 {
		if out.full() || !in.need(8) {
			return false
		}
		out.put(byte(in.take(8)))
		f.left--
	}
	f.endBlock(in)
	return true
}

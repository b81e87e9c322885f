package deflate

import (
	"math/bits"
	"sync"
)

const (
	codeMax   = 15  // Bits of the longest code.
	quickBits = 9   // Codes up to this are found with one look into a table.
	litMax    = 288 // Literals and lengths; the last two are in no stream.
	distMax   = 32  // Distances; the last two are in no stream.
)

// huffman is a canonical Huffman code (RFC 1951, section 3.2.2).
type huffman struct {
	// quick has for the next bits of a stream the symbol, times 16, plus the length
	// of its code; 0 where the code is longer, or there is none.
	quick [1 << quickBits]uint16

	count   [codeMax + 1]uint16 // Codes of each length.
	symbols [litMax]uint16      // By code.
}

// build makes the code from the lengths of each symbol's code, 0 for those that
// don't occur. It returns false if there can be no such code. One with fewer codes
// than bits have room for is taken only if it has one code at most, for streams that
// use one distance or none.
func (h *huffman) build(lengths []uint8) bool {
	*h = huffman{}
	for _, n := range lengths {
		h.count[n]++
	}
	used := len(lengths) - int(h.count[0])
	h.count[0] = 0
	var next, at [codeMax + 1]uint16 // First code of a length, and its place in symbols.
	room := 1
	for n := 1; n <= codeMax; n++ {
		room = room*2 - int(h.count[n])
		if room < 0 {
			return false
		}
		next[n] = (next[n-1] + h.count[n-1]) << 1
		at[n] = at[n-1] + h.count[n-1]
	}
	if room > 0 && (used > 1 || used == 1 && h.count[1] != 1) {
		return false
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbols[at[n]] = uint16(symbol)
		at[n]++
		if n <= quickBits {
			first := bits.Reverse16(next[n]) >> (16 - n)
			for i := int(first); i < len(h.quick); i += 1 << n {
				h.quick[i] = uint16(symbol)<<4 | uint16(n)
			}
		}
		next[n]++
	}
	return true
}

// slow finds the symbol for the next bits of a stream, the first one lowest, of which
// there are have. The length is 0 if that needs more bits, and above codeMax if no
// code begins so.
func (h *huffman) slow(b uint64, have uint) (symbol uint16, length uint) {
	code, first, at := 0, 0, 0
	for n := uint(1); n <= codeMax; n++ {
		if n > have {
			return 0, 0
		}
		code = code<<1 | int(b&1)
		b >>= 1
		count := int(h.count[n])
		if code-first < count {
			return h.symbols[at+code-first], n
		}
		first, at = (first+count)<<1, at+count
	}
	return 0, codeMax + 1
}

// codes are the two codes of a block, with what is needed to read them.
type codes struct {
	lit, dist huffman
	lengths   [litMax + distMax]uint8
}

// codesPool holds codes for blocks that have their own.
var codesPool = sync.Pool{New: func() any { return new(codes) }}

// fixedCodes are those of blocks without (RFC 1951, section 3.2.6).
var fixedCodes = func() *codes {
	c := &codes{}
	lit := c.lengths[:litMax]
	for i := range lit {
		switch {
		case i < 144:
			lit[i] = 8
		case i < 256:
			lit[i] = 9
		case i < 280:
			lit[i] = 7
		default:
			lit[i] = 8
		}
	}
	dist := c.lengths[litMax:]
	for i := range dist {
		dist[i] = 5
	}
	c.lit.build(lit)
	c.dist.build(dist)
	return c
}()

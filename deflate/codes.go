package deflate

// lengthOrder is the order in which a block has the lengths of the codes for lengths
// of codes (RFC 1951, section 3.2.7).
var lengthOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// repeats has what the symbols above 15 mean among lengths of codes: how many bits
// say how often, and what is the least.
var repeats = [...]struct {
	bits  uint
	least int
}{{2, 3}, {3, 3}, {7, 11}}

// readCodes takes a step in reading the codes of a block (RFC 1951, section 3.2.7).
func (f *Inflater) readCodes(in *input) (bool, error) {
	switch f.step {
	case stepCodes:
		if !in.need(14) {
			return false, nil
		}
		f.lits, f.dists, f.lens, f.at = in.take(5)+257, in.take(5)+1, in.take(4)+4, 0
		if f.lits > litMax-2 || f.dists > distMax-2 {
			return false, ErrCorrupt
		}
		f.codes.lengths = [litMax + distMax]uint8{}
		f.step = stepLengths
	case stepLengths:
		for ; f.at < f.lens; f.at++ {
			if !in.need(3) {
				return false, nil
			}
			f.codes.lengths[lengthOrder[f.at]] = uint8(in.take(3))
		}
		// Where the code for distances will be.
		if !f.codes.dist.build(f.codes.lengths[:len(lengthOrder)]) {
			return false, ErrCorrupt
		}
		f.step, f.at = stepCode, 0
	case stepCode:
		return f.readLength(in)
	default:
		return f.repeat(in)
	}
	return true, nil
}

// readLength reads the length of a code, or that one is repeated.
func (f *Inflater) readLength(in *input) (bool, error) {
	if f.at == f.lits+f.dists {
		return f.buildCodes()
	}
	symbol, err := in.symbol(&f.codes.dist)
	if symbol < 0 || err != nil {
		return false, err
	}
	if f.symbol = symbol; symbol >= 16 {
		f.step = stepRepeat
		return true, nil
	}
	f.codes.lengths[f.at] = uint8(symbol)
	f.at++
	return true, nil
}

// repeat reads how often a length of a code is repeated.
func (f *Inflater) repeat(in *input) (bool, error) {
	r := repeats[f.symbol-16]
	if !in.need(r.bits) {
		return false, nil
	}
	n := in.take(r.bits) + r.least
	if f.at+n > f.lits+f.dists || f.symbol == 16 && f.at == 0 {
		return false, ErrCorrupt
	}
	length := uint8(0)
	if f.symbol == 16 {
		length = f.codes.lengths[f.at-1]
	}
	for ; n > 0; n-- {
		f.codes.lengths[f.at] = length
		f.at++
	}
	f.step = stepCode
	return true, nil
}

// buildCodes makes the codes when all lengths are there. There must be a code for the
// end of the block.
func (f *Inflater) buildCodes() (bool, error) {
	c := f.codes
	if c.lengths[endOfBlock] == 0 || !c.lit.build(c.lengths[:f.lits]) || !c.dist.build(c.lengths[f.lits:f.lits+f.dists]) {
		return false, ErrCorrupt
	}
	f.step = stepSymbol
	return true, nil
}

// endOfBlock is the symbol behind the literals.
const endOfBlock = 256

// span is what a symbol means: a number from base on, as many bits tell.
type span struct {
	base int
	bits uint
}

// lengthSpans are the lengths of matches, from symbol 257 on (RFC 1951, section
// 3.2.5).
var lengthSpans = spans(3, 29, 8, 4)

// distanceSpans are the distances.
var distanceSpans = spans(1, 30, 4, 2)

// spans returns n spans that follow each other: the first ones have no bits, and
// then each few have one more. The last length stands for one number, which has a
// symbol of its own though the span before it has room for it.
func spans(base, n, plain, each int) []span {
	var list []span
	for i := range n {
		bits := max(0, (i-plain)/each+1)
		if i < plain {
			bits = 0
		}
		if n == 29 && i == n-1 {
			list = append(list, span{258, 0})
			break
		}
		list = append(list, span{base, uint(bits)})
		base += 1 << bits
	}
	return list
}

// text takes a step in a block with codes.
func (f *Inflater) text(in *input, out *output) (bool, error) {
	switch f.step {
	case stepSymbol:
		return f.literals(in, out)
	case stepLengthBits:
		s := lengthSpans[f.symbol]
		if !in.need(s.bits) {
			return false, nil
		}
		f.left, f.step = s.base+in.take(s.bits), stepDistance
	case stepDistance:
		symbol, err := in.symbol(&f.codes.dist)
		if symbol < 0 || err != nil {
			return false, err
		}
		if symbol >= len(distanceSpans) {
			return false, ErrCorrupt
		}
		f.symbol, f.step = symbol, stepDistanceBits
	case stepDistanceBits:
		s := distanceSpans[f.symbol]
		if !in.need(s.bits) {
			return false, nil
		}
		if f.dist = s.base + in.take(s.bits); f.dist > f.total {
			return false, ErrCorrupt
		}
		f.step = stepMatch
	default:
		return f.match(out), nil
	}
	return true, nil
}

// literals reads symbols up to one that is no literal.
func (f *Inflater) literals(in *input, out *output) (bool, error) {
	for {
		if out.full() {
			return false, nil
		}
		symbol, err := in.symbol(&f.codes.lit)
		switch {
		case symbol < 0 || err != nil:
			return false, err
		case symbol < endOfBlock:
			out.put(byte(symbol))
			continue
		case symbol == endOfBlock:
			f.endBlock(in)
		case symbol-endOfBlock > len(lengthSpans):
			return false, ErrCorrupt
		default:
			f.symbol, f.step = symbol-endOfBlock-1, stepLengthBits
		}
		return true, nil
	}
}

// match copies what was decompressed before.
func (f *Inflater) match(out *output) bool {
	for ; f.left > 0; f.left-- {
		if out.full() {
			return false
		}
		// A window that still grows has not begun again.
		out.put(f.window[(f.pos-f.dist)&(len(f.window)-1)])
	}
	f.step = stepSymbol
	return true
}

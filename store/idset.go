package store

// idSet is a set of ids of one account. They are given one after the other, so
// that a bit for each takes little: a million messages have 250 KiB.
type idSet map[int64]*[idChunk / 64]uint64

// idChunk is how many ids share a part of the set.
const idChunk = 1 << 16

func (s idSet) add(id int64) {
	part := s[id/idChunk]
	if part == nil {
		part = new([idChunk / 64]uint64)
		s[id/idChunk] = part
	}
	i := uint64(id) % idChunk
	part[i/64] |= 1 << (i % 64)
}

func (s idSet) has(id int64) bool {
	part := s[id/idChunk]
	i := uint64(id) % idChunk
	return part != nil && part[i/64]&(1<<(i%64)) != 0
}

package junk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrDamaged means that pages are not as a Filter writes them. The filter must be
// trained again from the messages.
var ErrDamaged = errors.New("damaged pages of a junk filter")

// A page of words has entries of fixed size in the order of their keys, so that a
// word is found in its bytes: key, then the numbers of messages.
const entrySize = 8 + 4 + 4

// entry is a word of a page.
type entry struct {
	key   uint64
	count Count
}

// findWord returns the count of a word in a page, false if it is not there.
func findWord(page []byte, key uint64) (Count, bool) {
	low, high := 0, len(page)/entrySize
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch k := binary.BigEndian.Uint64(page[mid*entrySize:]); {
		case k < key:
			low = mid + 1
		case k > key:
			high = mid
		default:
			return countAt(page[mid*entrySize:]), true
		}
	}
	return Count{}, false
}

func countAt(e []byte) Count {
	return Count{binary.BigEndian.Uint32(e[8:]), binary.BigEndian.Uint32(e[12:])}
}

// parseWords returns the entries of a page, of which all keys must have the number
// of the page as their first bits.
func parseWords(page []byte, bits int, number int64) ([]entry, error) {
	if len(page)%entrySize != 0 {
		return nil, fmt.Errorf("%w: page %d has %d bytes", ErrDamaged, number, len(page))
	}
	entries := make([]entry, 0, len(page)/entrySize+1)
	for ; len(page) > 0; page = page[entrySize:] {
		e := entry{binary.BigEndian.Uint64(page), countAt(page)}
		if n := len(entries); n > 0 && entries[n-1].key >= e.key || pageOf(e.key, bits) != number {
			return nil, fmt.Errorf("%w: word %x is at the wrong place in page %d", ErrDamaged, e.key, number)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// appendWords appends entries as they are in a page.
func appendWords(b []byte, entries []entry) []byte {
	b = slices.Grow(b, len(entries)*entrySize)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, e.key)
		b = binary.BigEndian.AppendUint32(b, e.count.Junk)
		b = binary.BigEndian.AppendUint32(b, e.count.NotJunk)
	}
	return b
}

// pageOf returns the number of the page of words that has a key: its first bits.
func pageOf(key uint64, bits int) int64 { return int64(key >> (64 - bits)) }

// A Bloom filter has the words that were seen once, for each kind of message one.
// All bits of a word are in one of its pages, so that a word costs one page. With
// bloomFull words, less than one in 1000 that were never seen is taken for seen.
const (
	bloomPageSize = 4096 // Bytes.
	bloomPages    = 256  // 1 MiB in all.
	bloomBits     = 10   // Of each word.
	bloomFull     = 500_000

	bloomPosition = 15 // Bits that number a bit of a page.
)

// bloomHash is where a word is in a Bloom filter: the first byte is the number of
// its page, the bits after it those in the page. Nobody can choose them.
type bloomHash [sha256.Size]byte

func (w *Word) bloom() bloomHash { return sha256.Sum256([]byte(w.Text)) }

func (h *bloomHash) page() int64 { return int64(h[0]) }

// bit returns the place in its page of one of the bits of a word.
func (h *bloomHash) bit(i int) (at int, mask byte) {
	first := 8 + i*bloomPosition
	n := uint(h[first/8])<<16 | uint(h[first/8+1])<<8 | uint(h[first/8+2])
	n = n >> (24 - bloomPosition - first%8) & (1<<bloomPosition - 1)
	return int(n / 8), 1 << (n % 8)
}

// in tells whether a word is, or seems to be, in its page. An absent page has none.
func (h *bloomHash) in(page []byte) bool {
	if len(page) != bloomPageSize {
		return false
	}
	for i := range bloomBits {
		if at, mask := h.bit(i); page[at]&mask == 0 {
			return false
		}
	}
	return true
}

// add adds a word to its page.
func (h *bloomHash) add(page []byte) {
	for i := range bloomBits {
		at, mask := h.bit(i)
		page[at] |= mask
	}
}

package junk

import (
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

// bloomPage returns the number of the page of a word. Its bits come from other
// parts of the hash.
func (w *Word) bloomPage() int64 { return int64(w.hash[8]) }

// bloomBit returns the place in its page of one of the bits of a word.
func (w *Word) bloomBit(i int) (at int, mask byte) {
	first := 9*8 + i*bloomPosition
	n := uint(w.hash[first/8])<<16 | uint(w.hash[first/8+1])<<8 | uint(w.hash[first/8+2])
	n = n >> (24 - bloomPosition - first%8) & (1<<bloomPosition - 1)
	return int(n / 8), 1 << (n % 8)
}

// inBloom tells whether a word is, or seems to be, in its page. An absent page has
// none.
func (w *Word) inBloom(page []byte) bool {
	if len(page) != bloomPageSize {
		return false
	}
	for i := range bloomBits {
		if at, mask := w.bloomBit(i); page[at]&mask == 0 {
			return false
		}
	}
	return true
}

// addBloom adds a word to its page.
func (w *Word) addBloom(page []byte) {
	for i := range bloomBits {
		at, mask := w.bloomBit(i)
		page[at] |= mask
	}
}

package junk

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Pages keep a Filter: numbered pieces of bytes, of at most 64 KiB.
type Pages interface {
	// Page returns a page, nil if it is not there. The bytes are not changed by who
	// asks, and stay as they are at least until the next call.
	Page(number int64) ([]byte, error)

	// SetPage replaces a page, which it keeps. Nil removes it, also if it is not there.
	SetPage(number int64, page []byte) error
}

// Numbers of pages: words from 0 on.
const (
	firstBloomJunk = 1 << 32
	firstBloomNot  = 1 << 33
)

// Limits of a filter.
const (
	// splitAt is how many words pages have on average before there are twice as many,
	// half as large. A page is read as a whole, so larger ones would cost more.
	splitAt = 400

	// filterWordsMax bounds the words of a filter: 16 MiB. Beyond it those seen least are
	// forgotten: somebody who writes with other words each time must not fill the disk.
	filterWordsMax = 1 << 20

	// bitsMax is where pages are not split any more.
	bitsMax = 12
)

// State is what a Filter is besides its pages. They belong together: both are
// written in one transaction, or neither.
type State struct {
	Trained  Count // Messages.
	Bits     int   // There are 1<<Bits pages of words.
	Words    int64 // In pages.
	OnceJunk int64 // Words in the Bloom filters.
	OnceNot  int64
}

// Check returns an error if a state can't be.
func (s State) Check() error {
	if s.Bits < 0 || s.Bits > bitsMax || s.Words < 0 || s.Words > 2*filterWordsMax || s.OnceJunk < 0 || s.OnceNot < 0 {
		return fmt.Errorf("%w: impossible state %+v", ErrDamaged, s)
	}
	return nil
}

// Filter knows in how many messages words were: those of junk and others.
//
// Of a word that was seen once it has bits in a Bloom filter, since most words never
// come again. From the second time on it is in a page of words, with its numbers,
// and then those count and not the bits. So training can be undone exactly, but for
// the few words that seem to be in a Bloom filter and are not.
//
// A Filter is for one goroutine. Changes are in memory until Flush.
type Filter struct {
	pages Pages
	state State
	words map[int64]*wordPage  // Read for changing.
	bloom map[int64]*bloomPart // The same.
}

type wordPage struct {
	entries []entry
	changed bool
}

type bloomPart struct {
	page    []byte
	changed bool
}

// NewFilter returns the filter that pages and state are; both empty for a new one.
func NewFilter(pages Pages, s State) *Filter {
	return &Filter{pages: pages, state: s, words: map[int64]*wordPage{}, bloom: map[int64]*bloomPart{}}
}

// State returns the state, with what is not flushed yet.
func (f *Filter) State() State { return f.state }

// Train learns that a message with these words is junk, or is not.
func (f *Filter) Train(words Words, junk bool) error { return f.change(words, junk, true) }

// Untrain undoes a Train with the same words.
func (f *Filter) Untrain(words Words, junk bool) error { return f.change(words, junk, false) }

func (f *Filter) change(words Words, junk, more bool) error {
	if err := f.state.Check(); err != nil {
		return err
	}
	if f.state.Words+int64(len(words.List)) > filterWordsMax {
		if err := f.forget(filterWordsMax * 3 / 4); err != nil {
			return err
		}
	}
	if err := errors.Join(f.emptyBloom(&f.state.OnceJunk, firstBloomJunk), f.emptyBloom(&f.state.OnceNot, firstBloomNot)); err != nil {
		return err
	}
	for i := range words.List {
		if err := f.changeWord(&words.List[i], junk, more); err != nil {
			return err
		}
	}
	step(f.state.Trained.of(junk), more)
	return f.split()
}

// of returns the number for one kind of message.
func (c *Count) of(junk bool) *uint32 {
	if junk {
		return &c.Junk
	}
	return &c.NotJunk
}

// step counts one more or less, within bounds.
func step(n *uint32, more bool) {
	switch {
	case more && *n < 1<<32-1:
		*n++
	case !more && *n > 0:
		*n--
	}
}

// changeWord counts a word once more or less.
func (f *Filter) changeWord(w *Word, junk, more bool) error {
	page, err := f.wordPage(pageOf(w.key, f.state.Bits))
	if err != nil {
		return err
	}
	at, found := slices.BinarySearchFunc(page.entries, w.key, func(e entry, key uint64) int { return cmp.Compare(e.key, key) })
	if found {
		step(page.entries[at].count.of(junk), more)
		page.changed = true
		return nil
	}
	h := w.bloom()
	inJunk, err := f.bloomPart(firstBloomJunk + h.page())
	if err != nil {
		return err
	}
	inNot, err := f.bloomPart(firstBloomNot + h.page())
	if err != nil {
		return err
	}
	var count Count
	if h.in(inJunk.page) {
		count.Junk = 1
	}
	if h.in(inNot.page) {
		count.NotJunk = 1
	}
	if count == (Count{}) {
		if more {
			f.seenOnce(&h, junk, inJunk, inNot)
		}
		return nil
	}
	step(count.of(junk), more)
	page.entries = slices.Insert(page.entries, at, entry{w.key, count})
	page.changed = true
	f.state.Words++
	return nil
}

// seenOnce puts a word into a Bloom filter.
func (f *Filter) seenOnce(h *bloomHash, junk bool, inJunk, inNot *bloomPart) {
	part, n := inNot, &f.state.OnceNot
	if junk {
		part, n = inJunk, &f.state.OnceJunk
	}
	if part.page == nil {
		part.page = make([]byte, bloomPageSize)
	}
	h.add(part.page)
	part.changed = true
	*n++
}

// wordPage returns a page for changing.
func (f *Filter) wordPage(number int64) (*wordPage, error) {
	if p, ok := f.words[number]; ok {
		return p, nil
	}
	b, err := f.pages.Page(number)
	if err != nil {
		return nil, err
	}
	entries, err := parseWords(b, f.state.Bits, number)
	if err != nil {
		return nil, err
	}
	p := &wordPage{entries: entries}
	f.words[number] = p
	return p, nil
}

// bloomPart returns a page of a Bloom filter for changing.
func (f *Filter) bloomPart(number int64) (*bloomPart, error) {
	if p, ok := f.bloom[number]; ok {
		return p, nil
	}
	b, err := f.pages.Page(number)
	if err != nil {
		return nil, err
	}
	if b != nil && len(b) != bloomPageSize {
		return nil, fmt.Errorf("%w: page %d has %d bytes", ErrDamaged, number, len(b))
	}
	p := &bloomPart{page: slices.Clone(b)}
	f.bloom[number] = p
	return p, nil
}

// emptyBloom empties a Bloom filter that is full: words seen once are forgotten.
func (f *Filter) emptyBloom(n *int64, first int64) error {
	if *n < bloomFull {
		return nil
	}
	for i := range int64(bloomPages) {
		f.bloom[first+i] = &bloomPart{changed: true}
	}
	*n = 0
	return nil
}

// split makes twice as many pages when they have become large.
func (f *Filter) split() error {
	for f.state.Bits < bitsMax && f.state.Words > splitAt<<f.state.Bits {
		all, err := f.allWords()
		if err != nil {
			return err
		}
		f.state.Bits++
		split := make(map[int64]*wordPage, 1<<f.state.Bits)
		for number, p := range all {
			half := slices.IndexFunc(p.entries, func(e entry) bool { return pageOf(e.key, f.state.Bits) == 2*number+1 })
			if half < 0 {
				half = len(p.entries)
			}
			split[2*number] = &wordPage{entries: p.entries[:half:half], changed: true}
			split[2*number+1] = &wordPage{entries: p.entries[half:], changed: true}
		}
		f.words = split
	}
	return nil
}

// allWords returns all pages of words for changing.
func (f *Filter) allWords() (map[int64]*wordPage, error) {
	for number := range int64(1) << f.state.Bits {
		if _, err := f.wordPage(number); err != nil {
			return nil, err
		}
	}
	return f.words, nil
}

// forget removes the words that were seen least, until at most so many are left.
func (f *Filter) forget(most int64) error {
	all, err := f.allWords()
	if err != nil {
		return err
	}
	for least := uint64(2); f.state.Words > most; least *= 2 {
		f.state.Words = 0
		for _, p := range all {
			n := len(p.entries)
			p.entries = slices.DeleteFunc(p.entries, func(e entry) bool { return uint64(e.count.Junk)+uint64(e.count.NotJunk) <= least })
			p.changed = p.changed || len(p.entries) < n
			f.state.Words += int64(len(p.entries))
		}
	}
	return nil
}

// Flush writes the pages that have changed, in the order of their numbers. The
// caller then keeps State, in the same transaction.
func (f *Filter) Flush() error {
	for _, number := range slices.Sorted(maps.Keys(f.words)) {
		p := f.words[number]
		if !p.changed {
			continue
		}
		var b []byte
		if len(p.entries) > 0 {
			b = appendWords(nil, p.entries)
		}
		if err := f.pages.SetPage(number, b); err != nil {
			return err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(f.bloom)) {
		if p := f.bloom[number]; p.changed {
			if err := f.pages.SetPage(number, p.page); err != nil {
				return err
			}
		}
	}
	clear(f.words)
	clear(f.bloom)
	return nil
}

// Score returns the score of a message with these words. It looks at flushed pages.
func (f *Filter) Score(words Words, p Params) (Score, error) {
	counts, err := Counts(f.pages, f.state, words)
	if err != nil {
		return Score{}, err
	}
	return Decide(words, counts, f.state.Trained, p), nil
}

// Counts returns in how many trained messages each word was. Words seen once have
// none: they say little, and looking for them would cost as much again. Each page
// is read once, in the order of numbers.
func Counts(pages Pages, s State, words Words) ([]Count, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	counts := make([]Count, len(words.List))
	var page []byte
	number := int64(-1)
	for i := range words.List {
		key := words.List[i].key
		if n := pageOf(key, s.Bits); n != number {
			var err error
			if page, err = pages.Page(n); err != nil {
				return nil, err
			}
			number = n
		}
		counts[i], _ = findWord(page, key)
	}
	return counts, nil
}

// Check returns what is wrong with a filter, nil for nothing. It reads all pages of
// words.
func Check(pages Pages, s State) error {
	if err := s.Check(); err != nil {
		return err
	}
	words := int64(0)
	for number := range int64(1) << s.Bits {
		b, err := pages.Page(number)
		if err != nil {
			return err
		}
		entries, err := parseWords(b, s.Bits, number)
		if err != nil {
			return err
		}
		words += int64(len(entries))
	}
	if words != s.Words {
		return fmt.Errorf("%w: %d words, not %d", ErrDamaged, words, s.Words)
	}
	return nil
}

// Memory keeps pages in memory.
type Memory map[int64][]byte

// Page returns a page.
func (m Memory) Page(number int64) ([]byte, error) { return m[number], nil }

// SetPage replaces a page.
func (m Memory) SetPage(number int64, page []byte) error {
	m[number] = page
	if page == nil {
		delete(m, number)
	}
	return nil
}

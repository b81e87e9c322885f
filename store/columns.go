package store

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// ErrColumnSize means a column would need more memory than one may have. The rows
// have to be read instead.
var ErrColumnSize = errors.New("store: column is too large")

const (
	// columnsMax bounds the memory of all columns of a Dir in bytes, about: those used
	// longest ago go first.
	columnsMax = 256 << 20

	// columnMax bounds one of them in bytes.
	columnMax = 96 << 20

	// columnIdle is how long a column is kept that nobody uses, while others are used.
	columnIdle = 15 * time.Minute

	// columnBatch is the number of messages whose rows are read in one transaction.
	columnBatch = 500
)

// ColumnSpec says what a column holds.
type ColumnSpec struct {
	Name string // Among those of a mailbox.

	// Distinct means that few messages have the same text, so that it is no use to look
	// for those that do.
	Distinct bool

	// Text appends the text of a message to dst. It returns false if that can't be said
	// without opening the file.
	Text func(dst []byte, s *Structure) ([]byte, bool)
}

// Column has one text of each message of a mailbox, in memory, so that searching and
// sorting read no rows: each different text is there once. What it is made of never
// changes while a message exists, and so nothing in a column does: messages are only
// added. It is one version of a column, safe for use by many.
type Column struct {
	uids  []UID    // Ascending.
	texts []uint32 // Number of the text of each. Nil: message n has text n+1.
	ends  []uint32 // Of each text in all; number 0 stands for a text that is not known.
	all   []byte
	of    *sharedColumn
	made  int // How many times it was begun anew: then texts have other numbers.
}

// Text returns the number of a message's text. It returns false if the column does not
// have the message, or its text is not known: then it has to be found elsewhere.
//
// hint is where the message may be, as for the one that comes after the last; the
// place where it is, or would be, is returned.
func (c *Column) Text(uid UID, hint int) (number uint32, place int, ok bool) {
	i := hint
	if i >= len(c.uids) || c.uids[i] != uid {
		var found bool
		if i, found = slices.BinarySearch(c.uids, uid); !found {
			return 0, i, false
		}
	}
	number = uint32(i + 1)
	if c.texts != nil {
		number = c.texts[i]
	}
	if c.texts == nil && c.ends[i+1] == c.ends[i] {
		number = 0 // See add.
	}
	return number, i, number > 0
}

// Texts returns how many texts there are: their numbers are below it.
func (c *Column) Texts() int { return len(c.ends) }

// Bytes returns the text with a number. It must not be changed.
func (c *Column) Bytes(number uint32) []byte {
	if number == 0 {
		return nil
	}
	return c.all[c.ends[number-1]:c.ends[number]]
}

// last returns the highest UID, 0 if there is none.
func (c *Column) last() UID {
	if len(c.uids) == 0 {
		return 0
	}
	return c.uids[len(c.uids)-1]
}

// Ranks returns the place of each text in their order as bytes, by number: equal ones
// have the same. It is kept for the next time.
func (c *Column) Ranks() []uint32 {
	c.of.ranking.Lock()
	defer c.of.ranking.Unlock()
	if len(c.of.ranks) != len(c.ends) || c.of.ranked != c.made {
		c.of.ranks, c.of.ranked = c.rank(), c.made
	}
	return c.of.ranks
}

// rank sorts the texts. Most differ in their first bytes, which are compared as a
// number.
func (c *Column) rank() []uint32 {
	type text struct {
		begin  uint64
		number uint32
	}
	texts := make([]text, len(c.ends))
	for i := range texts {
		texts[i] = text{beginOf(c.Bytes(uint32(i))), uint32(i)}
	}
	compare := func(a, b text) int {
		if a.begin != b.begin {
			return cmp.Compare(a.begin, b.begin)
		}
		return bytes.Compare(c.Bytes(a.number), c.Bytes(b.number))
	}
	slices.SortFunc(texts, compare)
	ranks := make([]uint32, len(texts))
	rank := uint32(0)
	for i, t := range texts {
		if i > 0 && compare(texts[i-1], t) != 0 {
			rank++
		}
		ranks[t.number] = rank
	}
	return ranks
}

// beginOf returns the first 8 bytes as a number that is in the same order.
func beginOf(b []byte) uint64 {
	var v uint64
	for i := range 8 {
		v <<= 8
		if i < len(b) {
			v |= uint64(b[i])
		}
	}
	return v
}

// sharedColumn is a column of a mailbox that grows as it is used.
type sharedColumn struct {
	cache *columnCache
	array *array
	spec  ColumnSpec

	// Guarded by cache.mu.
	size    int64
	at      time.Time     // Of the last use.
	element *list.Element // In cache.used; nil: it was dropped.

	filling  chan struct{}     // Holds one value while somebody fills it, who owns the next two.
	numbers  map[uint64]uint32 // Of texts by hash.
	tooLarge bool

	mu  sync.Mutex
	now Column

	ranking sync.Mutex
	ranks   []uint32 // Of as many texts as it is long,
	ranked  int      // of the version begun so many times.
}

// textSeed makes hashes of texts that nobody can choose texts for.
var textSeed = maphash.MakeSeed()

// add adds a message to a version that only its caller has. An unknown text is that
// with number 0; in a column of distinct texts, where a text's number is its message's, it
// is empty, and so must no other be.
func (sc *sharedColumn) add(c *Column, uid UID, text []byte, known bool) {
	c.uids = append(c.uids, uid)
	if sc.spec.Distinct {
		if known {
			c.all = append(c.all, text...)
		}
		c.ends = append(c.ends, uint32(len(c.all)))
		return
	}
	if !known {
		c.texts = append(c.texts, 0)
		return
	}
	sum := maphash.Bytes(textSeed, text)
	number, ok := sc.numbers[sum]
	// The number may be of a version that was not finished.
	if !ok || int(number) >= len(c.ends) || !bytes.Equal(c.Bytes(number), text) {
		c.all = append(c.all, text...)
		number = uint32(len(c.ends))
		c.ends = append(c.ends, uint32(len(c.all)))
		sc.numbers[sum] = number
	}
	c.texts = append(c.texts, number)
}

// bytes returns about how much memory it needs.
func (sc *sharedColumn) bytes(c *Column) int64 {
	return int64(4*cap(c.uids) + 4*cap(c.texts) + 4*cap(c.ends) + cap(c.all) + 32*len(sc.numbers) + 4*len(c.ends))
}

// empty returns a version without messages.
func (sc *sharedColumn) empty() Column {
	c := Column{of: sc, ends: []uint32{0}}
	if !sc.spec.Distinct {
		c.texts = []uint32{}
	}
	return c
}

// version returns the column as far as it is filled.
func (sc *sharedColumn) version() Column {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.now
}

// columnCache bounds the memory of columns. They are dropped when others need the
// room, and when their array is.
type columnCache struct {
	mu    sync.Mutex
	total int64
	used  list.List // Of *sharedColumn, last used first.
}

// column returns a column of an array, with nothing in it if it is new.
func (cc *columnCache) column(r *array, spec ColumnSpec) *sharedColumn {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	sc := r.columns[spec.Name]
	if sc == nil {
		sc = &sharedColumn{cache: cc, array: r, spec: spec, filling: make(chan struct{}, 1), numbers: map[uint64]uint32{}}
		sc.now = sc.empty()
		sc.element = cc.used.PushFront(sc)
		if r.columns == nil {
			r.columns = map[string]*sharedColumn{}
		}
		r.columns[spec.Name] = sc
	}
	cc.used.MoveToFront(sc.element)
	sc.at = time.Now()
	cc.dropIdle(sc.at.Add(-columnIdle))
	return sc
}

// dropIdle drops the columns that were last used before a time. cc.mu is held.
func (cc *columnCache) dropIdle(before time.Time) {
	for {
		last, ok := cc.used.Back().Value.(*sharedColumn) // There is one: that just used.
		if !ok || !last.at.Before(before) {
			return
		}
		cc.drop(last)
	}
}

// resize says how large a column is now, and drops others if they are too large
// together.
func (cc *columnCache) resize(sc *sharedColumn, size int64) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if sc.element == nil {
		return // Dropped meanwhile: who fills it uses it to the end.
	}
	cc.total += size - sc.size
	sc.size = size
	for cc.total > columnsMax {
		last, ok := cc.used.Back().Value.(*sharedColumn)
		if !ok || last == sc {
			return
		}
		cc.drop(last)
	}
}

// drop forgets a column. cc.mu is held.
func (cc *columnCache) drop(sc *sharedColumn) {
	cc.used.Remove(sc.element)
	cc.total -= sc.size
	sc.element = nil
	delete(sc.array.columns, sc.spec.Name)
}

// forget drops the columns of an array.
func (cc *columnCache) forget(r *array) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	for _, sc := range r.columns {
		cc.drop(sc)
	}
}

// Column returns a column of the mailbox with all its messages, which is filled first
// with those it does not have. That reads rows, in many short transactions; progress,
// if it is not nil, is called between them. What was filled stays if ctx is done.
func (s *Selection) Column(ctx context.Context, spec ColumnSpec, progress func(done, goal int)) (*Column, error) {
	sc := s.w.h.a.dir.columns.column(s.r, spec)
	if c := sc.version(); !sc.behind(&c) {
		return &c, nil
	}
	select {
	case sc.filling <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-sc.filling }()
	if err := sc.fill(ctx, s.w.h.a, progress); err != nil {
		return nil, fmt.Errorf("filling column %s: %w", spec.Name, err)
	}
	c := sc.version()
	return &c, nil
}

// ColumnSoFar returns a column as it is, possibly empty, and how many messages came since.
func (s *Selection) ColumnSoFar(spec ColumnSpec) (c *Column, missing int) {
	version := s.w.h.a.dir.columns.column(s.r, spec).version()
	uids := s.r.newest()
	from, _ := slices.BinarySearch(uids, version.last()+1)
	return &version, len(uids) - from
}

// behind tells whether messages are missing.
func (sc *sharedColumn) behind(c *Column) bool {
	uids := sc.array.newest()
	return len(uids) > 0 && uids[len(uids)-1] > c.last()
}

// stale tells whether most of a version is about messages that are gone.
func (sc *sharedColumn) stale(c *Column, uids []UID) bool {
	return len(c.uids) > 2*len(uids)+columnBatch
}

// fill adds the messages that are missing. The caller has sc.filling.
func (sc *sharedColumn) fill(ctx context.Context, a *Account, progress func(done, goal int)) error {
	if sc.tooLarge {
		return ErrColumnSize
	}
	c := sc.version()
	uids := sc.array.newest()
	if sc.stale(&c, uids) {
		made := c.made + 1
		c, sc.numbers = sc.empty(), map[uint64]uint32{}
		c.made = made
	}
	from, _ := slices.BinarySearch(uids, c.last()+1)
	missing := uids[from:]
	if len(c.uids) == 0 {
		c.uids = make([]UID, 0, len(missing)+len(missing)/8)
	}
	done := 0
	for part := range slices.Chunk(missing, columnBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := sc.fillPart(ctx, a, &c, part); err != nil {
			return err
		}
		size := sc.bytes(&c)
		if size > columnMax {
			c, sc.numbers, sc.tooLarge = sc.empty(), nil, true
			size = 0
		}
		sc.mu.Lock()
		sc.now = c
		sc.mu.Unlock()
		sc.cache.resize(sc, size)
		if sc.tooLarge {
			return ErrColumnSize
		}
		if done += len(part); progress != nil {
			progress(done, len(missing))
		}
	}
	return nil
}

// fillPart adds messages, read in one transaction.
func (sc *sharedColumn) fillPart(ctx context.Context, a *Account, c *Column, uids []UID) error {
	entries := sc.array.get(uids, make([]Entry, 0, len(uids)))
	var text []byte
	return a.ViewContent(ctx, func(tx *Tx) error {
		for _, e := range entries {
			st, err := tx.Structure(e.EmailID)
			var known bool
			switch {
			case errors.Is(err, ErrExpunged):
				known = false
			case err != nil:
				return err
			default:
				text, known = sc.spec.Text(text[:0], &st)
			}
			sc.add(c, e.UID, text, known)
		}
		return nil
	})
}

package database

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// bbolt has no check of its own that survives a damaged page: it ends the
// process from a goroutine of its own, already when it opens a file whose free
// list is not written. So every page that it will follow is looked at here
// first. What passes is safe to open; whether what is in it is right is for
// others to say.

// Sizes and flags of bbolt's page format, version 2.
const (
	pageHeaderSize  = 16 // id uint64, flags uint16, count uint16, overflow uint32
	pageElementSize = 16 // Branch: pos, ksize uint32, id uint64. Leaf: flags, pos, ksize, vsize uint32.
	bucketSize      = 16 // root page id uint64, sequence uint64; an inline page follows if the id is 0.
	branchFlag      = 1
	leafFlag        = 2
	bucketFlag      = 1 // Of an element in a leaf: its value is a bucket.
)

// pageDepthMax bounds the levels of pages and of buckets in each other. bbolt
// keeps at least two keys in a page, so 64 bits of pages fit; a loop does not.
const pageDepthMax = 64

// overflowMax bounds one page with its overflow, in bytes. bbolt makes such a
// page for one large value; no row of ours comes near.
const overflowMax = 64 << 20

// walk looks at all pages of the file at path, as tx sees them. It stops when
// problem, told of something that is wrong, returns false.
func walk(path string, tx *bolt.Tx, problem func(error) (goOn bool)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	pageSize := int64(tx.DB().Info().PageSize)
	pages := uint64(tx.Size() / pageSize)
	w := walker{r: f, pageSize: pageSize, pages: pages, seen: make([]uint64, pages/64+1), problem: problem}
	err = w.tree(uint64(tx.Cursor().Bucket().Root()), nil, nil, 0)
	return errors.Join(err, f.Close())
}

// walker follows all pages of a file. Its methods return errors of the disk;
// what is wrong with pages goes to problem, wrapping ErrDamaged.
type walker struct {
	r        io.ReaderAt
	pageSize int64
	pages    uint64                   // Pages in use or free; ids are below it.
	seen     []uint64                 // A bit for each page.
	bufs     [pageDepthMax + 1][]byte // One page and its overflow per level.
	problem  func(error) (goOn bool)  // Told of each problem.
	stopped  bool                     // problem wants no more.
}

// page is one page with its overflow.
type page struct {
	id    uint64
	flags uint16
	count int64
	data  []byte // From the header on.
}

// damaged tells of a problem. It returns nil, for the last line of a method.
func (w *walker) damaged(id uint64, format string, args ...any) error {
	w.stopped = w.stopped || !w.problem(fmt.Errorf("%w: page %d: %s", ErrDamaged, id, fmt.Sprintf(format, args...)))
	return nil
}

// tree follows the page id and those below it, whose keys must be in
// [first, end); nil is no bound.
func (w *walker) tree(id uint64, first, end []byte, depth int) error {
	if w.stopped {
		return nil
	}
	if depth > pageDepthMax {
		return w.damaged(id, "deeper than %d levels", pageDepthMax)
	}
	p, ok, err := w.read(id, depth)
	if err != nil || !ok {
		return err
	}
	switch p.flags {
	case branchFlag:
		return w.branch(p, first, end, depth)
	case leafFlag:
		return w.leaf(p, first, end, depth)
	}
	return w.damaged(id, "unexpected flags %#x", p.flags)
}

// read returns a page whose header makes sense and that was not seen before.
// Its data is valid until the next read at the same depth.
func (w *walker) read(id uint64, depth int) (p page, ok bool, err error) {
	if id < 2 || id >= w.pages {
		return p, false, w.damaged(id, "not among the %d pages of the file", w.pages)
	}
	if len(w.bufs[depth]) == 0 {
		w.bufs[depth] = make([]byte, w.pageSize)
	}
	buf := w.bufs[depth]
	if _, err := w.r.ReadAt(buf[:w.pageSize], int64(id)*w.pageSize); err != nil {
		return p, false, fmt.Errorf("reading page %d: %w", id, err)
	}
	order := binary.NativeEndian
	p = page{id, order.Uint16(buf[8:]), int64(order.Uint16(buf[10:])), nil}
	overflow := uint64(order.Uint32(buf[12:]))
	if got := order.Uint64(buf); got != id {
		return p, false, w.damaged(id, "says it is page %d", got)
	}
	if id+overflow >= w.pages || int64(overflow+1)*w.pageSize > overflowMax {
		return p, false, w.damaged(id, "goes on for %d pages", overflow)
	}
	for i := id; i <= id+overflow; i++ {
		if w.seen[i/64]&(1<<(i%64)) != 0 {
			return p, false, w.damaged(i, "used twice")
		}
		w.seen[i/64] |= 1 << (i % 64)
	}
	size := int64(overflow+1) * w.pageSize
	if int64(len(buf)) < size {
		buf = append(buf, make([]byte, size-int64(len(buf)))...)
		w.bufs[depth] = buf
	}
	if overflow > 0 {
		if _, err := w.r.ReadAt(buf[w.pageSize:size], int64(id+1)*w.pageSize); err != nil {
			return p, false, fmt.Errorf("reading page %d: %w", id, err)
		}
	}
	p.data = buf[:size]
	if pageHeaderSize+p.count*pageElementSize > size {
		return p, false, w.damaged(id, "%d elements do not fit", p.count)
	}
	return p, true, nil
}

// bytes returns n bytes at pos from the start of the ith element.
func (p page) bytes(i, pos int64, n uint32) ([]byte, bool) {
	from := pageHeaderSize + i*pageElementSize + pos
	to := from + int64(n)
	if to > int64(len(p.data)) {
		return nil, false
	}
	return p.data[from:to], true
}

// element returns the bytes that describe the ith element.
func (p page) element(i int64) []byte {
	return p.data[pageHeaderSize+i*pageElementSize:][:pageElementSize]
}

// branch follows the pages below p.
func (w *walker) branch(p page, first, end []byte, depth int) error {
	if p.count == 0 {
		return w.damaged(p.id, "a branch without elements")
	}
	order := binary.NativeEndian
	key := func(i int64) ([]byte, bool) {
		e := p.element(i)
		return p.bytes(i, int64(order.Uint32(e)), order.Uint32(e[4:]))
	}
	for i := range p.count {
		k, ok := key(i)
		if !ok {
			return w.damaged(p.id, "key %d is beyond the page", i)
		}
		below := end
		if i+1 < p.count {
			if below, ok = key(i + 1); !ok {
				return w.damaged(p.id, "key %d is beyond the page", i+1)
			}
		}
		if !inOrder(i == 0, first, k, end) {
			return w.damaged(p.id, "key %d is out of order", i)
		}
		if err := w.tree(order.Uint64(p.element(i)[8:]), k, below, depth+1); err != nil || w.stopped {
			return err
		}
		first = k
	}
	return nil
}

// leaf looks at the elements of p and follows the buckets among them.
func (w *walker) leaf(p page, first, end []byte, depth int) error {
	order := binary.NativeEndian
	for i := range p.count {
		e := p.element(i)
		flags, pos := order.Uint32(e), int64(order.Uint32(e[4:]))
		keySize, valueSize := order.Uint32(e[8:]), order.Uint32(e[12:])
		k, ok := p.bytes(i, pos, keySize)
		if !ok {
			return w.damaged(p.id, "key %d is beyond the page", i)
		}
		if !inOrder(i == 0, first, k, end) {
			return w.damaged(p.id, "key %d is out of order", i)
		}
		first = k
		value, ok := p.bytes(i, pos+int64(keySize), valueSize)
		if !ok {
			return w.damaged(p.id, "value %d is beyond the page", i)
		}
		if flags&bucketFlag == 0 {
			continue
		}
		if err := w.bucket(p.id, value, depth+1); err != nil || w.stopped {
			return err
		}
	}
	return nil
}

// bucket follows the bucket that is described by value, in a leaf of page id.
func (w *walker) bucket(id uint64, value []byte, depth int) error {
	if depth > pageDepthMax {
		return w.damaged(id, "deeper than %d levels", pageDepthMax)
	}
	if len(value) < bucketSize {
		return w.damaged(id, "a bucket of %d bytes", len(value))
	}
	order := binary.NativeEndian
	if root := order.Uint64(value); root != 0 {
		return w.tree(root, nil, nil, depth)
	}
	inline := value[bucketSize:]
	if len(inline) < pageHeaderSize {
		return w.damaged(id, "an inline bucket of %d bytes", len(inline))
	}
	p := page{id, order.Uint16(inline[8:]), int64(order.Uint16(inline[10:])), inline}
	if p.flags != leafFlag || pageHeaderSize+p.count*pageElementSize > int64(len(inline)) {
		return w.damaged(id, "an inline bucket of %d elements with flags %#x", p.count, p.flags)
	}
	return w.leaf(p, nil, nil, depth)
}

// inOrder tells whether key may come after previous, which is a lower bound
// that the first key of a page may equal, and before end. Nil is no bound.
func inOrder(isFirst bool, previous, key, end []byte) bool {
	if previous != nil {
		if c := bytes.Compare(previous, key); c > 0 || c == 0 && !isFirst {
			return false
		}
	}
	return end == nil || bytes.Compare(key, end) < 0
}

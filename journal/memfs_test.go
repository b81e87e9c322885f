package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// sectorSize is the unit in which memFS forgets: a disk writes one whole or not
// at all.
const sectorSize = 512

// memFS is a file system in memory with a page cache. What was not synced is
// lost when power goes, or not, sector by sector and entry by entry, as it
// happens. After a failed sync it is not written any more, though it still is
// in the cache, as on Linux.
type memFS struct {
	mu     sync.Mutex
	cache  map[string]*memInode // By path: what programs see.
	disk   map[string]*memInode // What is there after a power cut.
	dirs   map[string]bool
	open   int
	syncs  int
	ops    []memOp                     // Changes of entries not yet on disk.
	before func(op, path string) error // Called before each operation, without mu; may be nil.
}

// memOp is a change of a directory: an inode gets the name to, and loses the
// name from; either may be empty. A rename happens as a whole or not at all.
type memOp struct {
	inode    *memInode
	from, to string
}

// apply makes the change in the entries on disk.
func (o memOp) apply(disk map[string]*memInode) {
	if o.from != "" && disk[o.from] == o.inode {
		delete(disk, o.from)
	}
	if o.to != "" {
		disk[o.to] = o.inode
	}
}

// change makes a change of the entries that programs see. The lock is held.
func (m *memFS) change(o memOp) {
	o.apply(m.cache)
	m.ops = append(m.ops, o)
}

type memInode struct {
	cache []byte
	disk  []byte
	dirty map[int]bool // Sectors of cache that a sync will write.
}

func newMemFS() *memFS {
	return &memFS{cache: map[string]*memInode{}, disk: map[string]*memInode{}, dirs: map[string]bool{}}
}

// hook sets what runs before each operation. Its error is that of the operation.
func (m *memFS) hook(before func(op, path string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = before
}

func (m *memFS) run(op, path string) error {
	m.mu.Lock()
	before := m.before
	m.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(op, path)
}

func notExist(op, path string) error { return &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist} }

func (m *memFS) Mkdir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dirs[path] = true
	return nil
}

func (m *memFS) List(dir string) (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for path := range m.cache {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (m *memFS) Create(path string) (file, error) {
	if err := m.run("create", path); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cache[path] != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	m.change(memOp{&memInode{dirty: map[int]bool{}}, "", path})
	m.open++
	return &memFile{fs: m, path: path, inode: m.cache[path]}, nil
}

func (m *memFS) Open(path string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cache[path] == nil {
		return nil, notExist("open", path)
	}
	m.open++
	return &memFile{fs: m, path: path, inode: m.cache[path]}, nil
}

func (m *memFS) OpenRead(path string) (file, error) { return m.Open(path) }

func (m *memFS) Rename(from, to string) error {
	if err := m.run("rename", to); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cache[from] == nil {
		return notExist("rename", from)
	}
	m.change(memOp{m.cache[from], from, to})
	return nil
}

func (m *memFS) Link(from, to string) error {
	if err := m.run("link", to); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cache[from] == nil {
		return notExist("link", from)
	}
	m.change(memOp{m.cache[from], "", to})
	return nil
}

func (m *memFS) Remove(path string) error {
	if err := m.run("remove", path); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cache[path] == nil {
		return notExist("remove", path)
	}
	m.change(memOp{m.cache[path], path, ""})
	return nil
}

func (m *memFS) SyncDir(dir string) error {
	if err := m.run("syncdir", dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ops = slices.DeleteFunc(m.ops, func(o memOp) bool {
		// All renames of the journal are within a directory.
		if filepath.Dir(cmp.Or(o.to, o.from)) != dir {
			return false
		}
		o.apply(m.disk)
		return true
	})
	return nil
}

// memFile is an open file of memFS.
type memFile struct {
	fs     *memFS
	path   string
	inode  *memInode
	closed bool
}

func (f *memFile) lock() (unlock func(), err error) {
	f.fs.mu.Lock()
	if f.closed {
		f.fs.mu.Unlock()
		return nil, fs.ErrClosed
	}
	return f.fs.mu.Unlock, nil
}

func (f *memFile) Close() error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	f.closed = true
	f.fs.open--
	return nil
}

func (f *memFile) Size() (int64, error) {
	unlock, err := f.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	return int64(len(f.inode.cache)), nil
}

func (f *memFile) ReadAt(p []byte, at int64) (int, error) {
	unlock, err := f.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	if at >= int64(len(f.inode.cache)) {
		return 0, io.EOF
	}
	n := copy(p, f.inode.cache[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.fs.run("write", f.path); err != nil {
		// Some of it gets written all the same.
		n, _ := f.writeAt(p[:len(p)/2], at)
		return n, err
	}
	return f.writeAt(p, at)
}

func (f *memFile) writeAt(p []byte, at int64) (int, error) {
	unlock, err := f.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	f.inode.extend(int(at) + len(p))
	copy(f.inode.cache[at:], p)
	for i := int(at) / sectorSize; i*sectorSize < int(at)+len(p); i++ {
		f.inode.dirty[i] = true
	}
	return len(p), nil
}

func (i *memInode) extend(size int) {
	if len(i.cache) < size {
		i.cache = append(i.cache, make([]byte, size-len(i.cache))...)
	}
}

func (f *memFile) Extend(size int64) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	f.inode.extend(int(size))
	return nil
}

func (f *memFile) Allocate(size int64) error {
	if err := f.fs.run("allocate", f.path); err != nil {
		return err
	}
	return f.Extend(size)
}

func (f *memFile) NextData(from int64) (int64, error) { return from, nil }

func (f *memFile) Zero(from, to int64) error { return writeZeros(f, from, to) }

func (f *memFile) Sync() error {
	syncErr := f.fs.run("sync", f.path)
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	f.fs.syncs++
	if syncErr == nil {
		f.inode.sync(func(int) bool { return true })
	}
	clear(f.inode.dirty)
	return syncErr
}

// sync writes the dirty sectors to disk that choose picks.
func (i *memInode) sync(choose func(sector int) bool) {
	if len(i.disk) < len(i.cache) {
		i.disk = append(i.disk, make([]byte, len(i.cache)-len(i.disk))...)
	}
	for s := range i.dirty {
		if choose(s) {
			from, to := s*sectorSize, min((s+1)*sectorSize, len(i.cache))
			copy(i.disk[from:to], i.cache[from:to])
		}
	}
}

// powerCut returns the file system that the next start finds. Each unsynced
// sector made it to the disk with the probability p. Of the changes of entries
// the first of each file did, on average so many.
func (m *memFS) powerCut(rnd *rand.Rand, p float64) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	maps.Copy(after.dirs, m.dirs)
	inodes := map[*memInode]*memInode{}
	entries := m.entriesAfter(rnd, p)
	for _, path := range slices.Sorted(maps.Keys(entries)) {
		i := entries[path]
		if inodes[i] == nil {
			inodes[i] = i.afterPowerCut(rnd, p)
		}
		after.cache[path] = inodes[i]
	}
	maps.Copy(after.disk, after.cache)
	return after
}

// entriesAfter returns the entries that a power cut leaves.
func (m *memFS) entriesAfter(rnd *rand.Rand, p float64) map[string]*memInode {
	kept := map[*memInode]int{}
	for _, o := range m.ops {
		if rnd.Float64() < p {
			kept[o.inode]++
		}
	}
	disk := maps.Clone(m.disk)
	for _, o := range m.ops {
		if kept[o.inode]--; kept[o.inode] >= 0 {
			o.apply(disk)
		}
	}
	return disk
}

// afterPowerCut returns the content that a power cut leaves.
func (i *memInode) afterPowerCut(rnd *rand.Rand, p float64) *memInode {
	c := &memInode{cache: i.cache, disk: slices.Clone(i.disk), dirty: i.dirty}
	if len(i.disk) == len(i.cache) || rnd.Float64() < p {
		c.sync(func(int) bool { return rnd.Float64() < p })
	}
	return &memInode{cache: c.disk, disk: slices.Clone(c.disk), dirty: map[int]bool{}}
}

// killed returns what the next start finds after the process was killed: all of
// the page cache, and a disk that still lacks what was not synced.
func (m *memFS) killed() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	maps.Copy(after.dirs, m.dirs)
	inodes := map[*memInode]*memInode{}
	clone := func(i *memInode) *memInode {
		if inodes[i] == nil {
			inodes[i] = &memInode{slices.Clone(i.cache), slices.Clone(i.disk), maps.Clone(i.dirty)}
		}
		return inodes[i]
	}
	for path, i := range m.cache {
		after.cache[path] = clone(i)
	}
	for path, i := range m.disk {
		after.disk[path] = clone(i)
	}
	for _, o := range m.ops {
		after.ops = append(after.ops, memOp{clone(o.inode), o.from, o.to})
	}
	return after
}

// bytes returns the cached content of the file at path, to look at or to spoil.
func (m *memFS) bytes(t *testing.T, path string) []byte {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cache[path] == nil {
		t.Fatalf("no file %s", path)
	}
	return m.cache[path].cache
}

func (m *memFS) names() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Keys(m.cache)))
}

var errDisk = errors.New("disk fault")

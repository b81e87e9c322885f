package queue

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/mjl-/mox/atomicfile"
)

const (
	contentDir  = "content" // Below Options.Dir.
	contentPerm = 0o640
	dirPerm     = 0o750

	// Contents are spread over 256 directories, but new ones go to the same until it
	// has got contentsPerDir: so a group of new ones needs one directory synced.
	contentDirs    = 256
	contentsPerDir = 512

	// syncsMax bounds contents being synced at a time: more do not make a disk faster.
	syncsMax = 16

	// diskSpare is how many bytes must stay free.
	diskSpare = 64 << 20
)

// Content is the content of a message on its way into the queue. Who makes one
// hands it to Add, or Discards it. It is not safe for concurrent use.
type Content struct {
	db   *DB
	name string // Below contentDir.
	size int64
	crc  uint32
	data []byte   // In memory, or
	file *os.File // in a file: open until it is synced.
	over bool     // Added or discarded.
}

// NewContent keeps what r has, size bytes: in memory, or in a file of the queue if
// it is large. It is not on disk before Add returns. It fails with ErrDiskFull
// before reading if there is no room.
func (db *DB) NewContent(ctx context.Context, size int64, r io.Reader) (*Content, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := db.CheckRoom(size); err != nil {
		return nil, err
	}
	c := &Content{db: db, size: size}
	if c.name, err = db.contents.newName(db); err != nil {
		return nil, err
	}
	if db.takeMemory(c) {
		err = c.read(ctx, r)
	} else {
		err = c.write(ctx, r)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keeping content: %w", diskFull(err)), c.Discard())
	}
	return c, nil
}

// takeMemory makes room in memory for a content, if it is small enough and there is
// some.
func (db *DB) takeMemory(c *Content) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if c.size > db.opts.InlineMax || db.memory+c.size > memoryMax {
		return false
	}
	db.memory += c.size
	c.data = make([]byte, c.size)
	return true
}

// read reads a content to memory.
func (c *Content) read(ctx context.Context, r io.Reader) error {
	if _, err := io.ReadFull(&contextReader{ctx, r}, c.data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	c.crc = crc32.Checksum(c.data, castagnoli)
	return c.db.faults.Hit(FaultContentWritten)
}

// write writes a content to its file.
func (c *Content) write(ctx context.Context, r io.Reader) (err error) {
	db := c.db
	db.mu.Lock()
	db.loose[c.name] = true
	db.mu.Unlock()
	// A file whose name no row has is removed at the next start, so that it needs no
	// other name while it is not complete.
	c.file, err = os.OpenFile(db.contentPath(c.name), os.O_RDWR|os.O_CREATE|os.O_EXCL, contentPerm)
	if err != nil {
		return err
	}
	h := crc32.New(castagnoli)
	n, err := io.Copy(io.MultiWriter(c.file, h), io.LimitReader(&contextReader{ctx, r}, c.size))
	if err == nil && n != c.size {
		err = io.ErrUnexpectedEOF
	}
	c.crc = h.Sum32()
	if err == nil {
		err = db.faults.Hit(FaultContentWritten)
	}
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// contextReader stops reading when the context ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // It lives for one call.
	r   io.Reader
}

// Read reads unless the context has ended.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Size returns the size in bytes.
func (c *Content) Size() int64 { return c.size }

// ReadAt reads what was written, until the content is added or discarded.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	if c.data != nil {
		return bytes.NewReader(c.data).ReadAt(p, off)
	}
	return c.file.ReadAt(p, off)
}

// sync makes a file durable, and closes it.
func (c *Content) sync() error {
	db := c.db
	db.syncs <- struct{}{}
	defer func() { <-db.syncs }()
	f := c.file
	c.file = nil
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = db.faults.Hit(FaultContentSynced)
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(db.contentPath(c.name)))
	}
	if err != nil {
		return fmt.Errorf("syncing content: %w", diskFull(err))
	}
	return nil
}

// Discard removes a content that was not added. It does nothing after Add.
func (c *Content) Discard() error {
	if c.over {
		return nil
	}
	c.over = true
	var err error
	if c.data != nil {
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		c.db.memory -= c.size
		return nil
	}
	if c.file != nil {
		err = c.file.Close()
	}
	if c.db.Err() != nil {
		return err // The log may have its name: the next start knows.
	}
	return errors.Join(err, c.db.removeLoose(c.name))
}

// removeLoose removes the file of a content that was not added, if there is one.
func (db *DB) removeLoose(name string) error {
	err := os.Remove(db.contentPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.loose, name)
	return err
}

// contentPath returns the path of a content file.
func (db *DB) contentPath(name string) string {
	return filepath.Join(db.opts.Dir, contentDir, filepath.FromSlash(name))
}

// contents gives names to new contents.
type contents struct {
	mu    sync.Mutex
	dir   int // The current directory.
	left  int // Names it will still get.
	known [contentDirs]bool
}

// newName returns a random name in a directory that is there.
func (c *contents) newName(db *DB) (string, error) {
	name, err := db.random()
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for range contentDirs {
		if c.left == 0 {
			c.left = contentsPerDir
			c.dir = (c.dir + 1) % contentDirs
		}
		dir := hex.EncodeToString([]byte{byte(c.dir)})
		if !c.known[c.dir] {
			// A process that was killed may have made it, without a sync.
			err = diskFull(errors.Join(atomicfile.MkdirAll(db.contentPath(dir), dirPerm), atomicfile.SyncDir(db.contentPath(""))))
			if errors.Is(err, ErrDiskFull) {
				break
			} else if err != nil {
				c.left = 0 // Something else may have its name: another will do.
				continue
			}
			c.known[c.dir] = true
		}
		c.left--
		return dir + "/" + name, nil
	}
	return "", fmt.Errorf("making content directory: %w", err)
}

// random returns 128 random bits as hex.
func (db *DB) random() (string, error) {
	var b [16]byte
	db.randMu.Lock()
	defer db.randMu.Unlock()
	if _, err := io.ReadFull(db.opts.Rand, b[:]); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// jitter returns a random number from -1 to 1.
func (db *DB) jitter() float64 {
	var b [2]byte
	db.randMu.Lock()
	defer db.randMu.Unlock()
	if _, err := io.ReadFull(db.opts.Rand, b[:]); err != nil {
		return 0
	}
	return (float64(b[0])*256+float64(b[1]))/32767.5 - 1
}

// CheckRoom returns ErrDiskFull unless size more bytes can be queued.
func (db *DB) CheckRoom(size int64) error {
	free, err := db.opts.DiskFree()
	if err != nil {
		return err
	}
	if free < size+diskSpare {
		return ErrDiskFull
	}
	return nil
}

// removeContents removes files that no row names any more.
func (db *DB) removeContents(names []string) {
	for _, name := range names {
		if db.keepContent(name) {
			continue
		}
		err := db.faults.Hit(FaultUnlinkBefore)
		if err == nil {
			err = os.Remove(db.contentPath(name))
		}
		if err == nil {
			err = db.faults.Hit(FaultUnlinkAfter)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			// The next start removes it.
			db.log.Error("removing content of a retired message", "file", name, "err", err)
			continue
		}
		db.mu.Lock()
		delete(db.loose, name)
		db.mu.Unlock()
	}
}

// keepContent says whether a file must stay for now: while a backup runs it is
// removed later, after a failure at the next start.
func (db *DB) keepContent(name string) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.pins > 0 {
		db.unlinks = append(db.unlinks, name)
		return true
	}
	return db.err != nil
}

// loosen notes contents that have lost their rows. db.mu is held.
func (db *DB) loosen(rt *retiring) {
	for i, name := range rt.gone {
		db.loose[name] = true
		if l := db.recent[rt.goneIDs[i]]; l != nil {
			l.gone = true
		}
	}
}

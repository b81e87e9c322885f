package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/mjl-/mox/journal"
)

// castagnoli is the polynomial of all our CRCs.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Content is the bytes of a message on its way to the journal.
type Content struct {
	d      *Dir
	inline []byte
	file   *journal.FileRef
	open   *os.File
	size   int64
	crc    uint32
}

// ContentBytes returns a content that goes into the journal record itself. b
// must be at most InlineMax bytes, and not change afterwards.
func (d *Dir) ContentBytes(b []byte) *Content {
	return &Content{d: d, inline: b, size: int64(len(b)), crc: crc32.Checksum(b, castagnoli)}
}

// ContentFile keeps size bytes of r in a file of the journal, durably. Who does
// not deliver the content must Discard it.
func (d *Dir) ContentFile(ctx context.Context, size int64, r io.Reader) (*Content, error) {
	ref, err := d.journal.AddFile(ctx, size, r)
	if err != nil {
		return nil, fmt.Errorf("keeping message content: %w", err)
	}
	return d.contentOf(ref)
}

// ContentLink keeps the content of a file that is on disk already, as for the
// queue's local recipients: a link, or a copy where links fail.
func (d *Dir) ContentLink(ctx context.Context, path string) (*Content, error) {
	ref, err := d.journal.LinkFile(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("keeping message content: %w", err)
	}
	return d.contentOf(ref)
}

// contentOf opens a file of the journal as content.
func (d *Dir) contentOf(ref journal.FileRef) (*Content, error) {
	f, err := os.Open(d.journal.FilePath(ref.Name))
	if err != nil {
		return nil, fmt.Errorf("opening message content: %w", err)
	}
	return &Content{d: d, file: &ref, open: f, size: ref.Size, crc: ref.CRC}, nil
}

// Size returns the size in bytes.
func (c *Content) Size() int64 { return c.size }

// ReaderAt returns a reader of the content, valid until Discard or Deliver.
func (c *Content) ReaderAt() io.ReaderAt {
	if c.open != nil {
		return c.open
	}
	return bytes.NewReader(c.inline)
}

// Discard removes a content that was not delivered. After Deliver it does nothing.
func (c *Content) Discard() error {
	if c.file == nil {
		return nil
	}
	if err := c.close(); err != nil {
		return err
	}
	ref := *c.file
	c.file = nil
	return c.d.journal.DropFile(ref)
}

// giveUp leaves the content to the journal: Discard does nothing after it.
func (c *Content) giveUp() {
	if c.file == nil {
		return
	}
	c.file = nil
	if err := c.close(); err != nil {
		c.d.log.Warn("closing delivered content", "err", err)
	}
}

// close ends reading; the journal's file stays.
func (c *Content) close() error {
	if c.open == nil {
		return nil
	}
	err := c.open.Close()
	c.open = nil
	return err
}

// sharedContent is the content of a record for several accounts: one file, from
// which each links its own, so that the bytes are written once.
type sharedContent struct {
	users atomic.Int32 // Accounts that still need the file.

	mu   sync.Mutex
	path string // "" until it is written.
}

// sharedPrefix begins the names of shared contents among the journal's files.
const sharedPrefix = "shared-"

// contentFile returns the path of the file with a record's content, or "" if it
// is in the record.
func (d *Dir) contentFile(r *record) string {
	if r.contentPath == "" && len(r.file) == 1 {
		return d.journal.FilePath(r.file[0].Name)
	}
	return r.contentPath
}

// source returns the path of a file with the record's content to link from, or
// "" if the content is to be written from memory.
func (d *Dir) source(r *record) (string, error) {
	if path := d.contentFile(r); path != "" {
		return path, nil
	}
	if r.shared.users.Load() == 0 {
		return "", nil
	}
	s := r.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" {
		return s.path, nil
	}
	path := d.journal.FilePath(fmt.Sprint(sharedPrefix, r.seq))
	if err := writeNew(path, bytes.NewReader(r.inline)); err != nil {
		return "", err
	}
	s.path = path
	return path, nil
}

// removeShared removes the shared contents that a crash has left. They may be
// torn, and links to them in accounts too.
func (d *Dir) removeShared() error {
	names, err := filepath.Glob(filepath.Join(d.opts.Dir, "journal", "files", sharedPrefix+"*"))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// release says that an account has applied the record. The last one removes
// the shared file.
func (d *Dir) release(r *record) {
	if r.shared.users.Load() == 0 || r.shared.users.Add(-1) > 0 {
		return
	}
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	if r.shared.path == "" {
		return
	}
	if err := os.Remove(r.shared.path); err != nil {
		d.log.Warn("removing shared content", "path", filepath.Base(r.shared.path), "err", err)
	}
}

// writeNew writes a new file without syncing it. It fails if path exists.
func writeNew(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, r); err != nil {
		f.Close()
		os.Remove(path)
		return err
	}
	if err = f.Close(); err != nil {
		os.Remove(path)
	}
	return err
}

// copyFile copies a file to a new one without syncing it.
func copyFile(dst, src string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeNew(dst, f)
}

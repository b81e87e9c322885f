package receive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/mjl-/mox/store"
)

const (
	// spoolFirst is the room in bytes a message gets before more of it has come,
	// whatever size was announced: announcing costs a peer nothing.
	spoolFirst = 64 << 10

	// spoolMemoryMax is the most bytes of a message held in memory. It is what
	// fits into the journal itself.
	spoolMemoryMax = store.InlineMax

	// spoolMemoryAllMax is the most bytes of all messages held in memory while
	// they come in. Beyond it they go to temporary files.
	spoolMemoryAllMax = 128 << 20
)

// Spool holds a message while it comes in: in memory, or if it becomes large in
// a temporary file. It is for one goroutine. Who makes one must Close it.
type Spool struct {
	dir    string
	memory *atomic.Int64 // Bytes in memory, of all Spools of the Receiver.
	hint   int64         // Expected size, or -1.
	buf    []byte
	file   *os.File
	size   int64
}

// NewSpool returns an empty Spool for a message of the announced size, or -1.
func (r *Receiver) NewSpool(size int64) *Spool {
	return &Spool{dir: r.opts.TempDir, memory: &r.memory, hint: size}
}

// Write adds to the message. An error is one of the disk.
func (s *Spool) Write(p []byte) (int, error) {
	if s.file == nil && (s.size+int64(len(p)) > spoolMemoryMax || !s.grow(len(p))) {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	if s.file != nil {
		n, err := s.file.Write(p)
		s.size += int64(n)
		return n, err
	}
	s.buf = append(s.buf, p...)
	s.size += int64(len(p))
	return len(p), nil
}

// grow makes room so that a message of the announced size is copied little. It
// returns false if all Spools together have too much memory.
func (s *Spool) grow(n int) bool {
	need := len(s.buf) + n
	if need <= cap(s.buf) {
		return true
	}
	room := max(need, 2*cap(s.buf), 1024)
	if announced := int(min(s.hint, spoolMemoryMax)); announced >= need {
		room = max(need, min(announced, max(spoolFirst, 4*cap(s.buf))))
	}
	room = min(room, spoolMemoryMax)
	if more := int64(room - cap(s.buf)); s.memory.Add(more) > spoolMemoryAllMax {
		s.memory.Add(-more)
		return false
	}
	buf := make([]byte, len(s.buf), room)
	copy(buf, s.buf)
	s.buf = buf
	return true
}

// forget gives up what is in memory.
func (s *Spool) forget() {
	s.memory.Add(-int64(cap(s.buf)))
	s.buf = nil
}

// spill moves what there is to a temporary file.
func (s *Spool) spill() error {
	f, err := os.CreateTemp(s.dir, "receive-*")
	if err != nil {
		return fmt.Errorf("making temporary file for message: %w", err)
	}
	s.file = f
	if _, err := f.Write(s.buf); err != nil {
		return fmt.Errorf("writing message to temporary file: %w", err)
	}
	s.forget()
	return nil
}

// Size returns the bytes written.
func (s *Spool) Size() int64 { return s.size }

// readerAt returns a reader of the message, valid until the next Write or Close.
func (s *Spool) readerAt() io.ReaderAt {
	if s.file != nil {
		return s.file
	}
	return bytes.NewReader(s.buf)
}

// head returns the first n bytes of the message, or all if it has fewer.
func (s *Spool) head(n int64) ([]byte, error) {
	n = min(n, s.size)
	if s.file == nil {
		return s.buf[:n], nil
	}
	b := make([]byte, n)
	if _, err := s.file.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("reading message from temporary file: %w", err)
	}
	return b, nil
}

// content hands the message over to the store. The Spool is empty then.
func (s *Spool) content(ctx context.Context, d *store.Dir) (*store.Content, error) {
	if s.file == nil {
		b := s.buf
		s.forget()
		s.size = 0
		return d.ContentBytes(b), nil
	}
	// The store links the file instead of copying it, so its bytes must be on disk.
	if err := s.file.Sync(); err != nil {
		return nil, fmt.Errorf("syncing temporary file of message: %w", err)
	}
	if err := s.file.Close(); err != nil {
		return nil, fmt.Errorf("closing temporary file of message: %w", err)
	}
	c, err := d.ContentLink(ctx, s.file.Name())
	return c, errors.Join(err, s.remove())
}

// Close forgets the message.
func (s *Spool) Close() error {
	s.forget()
	s.size = 0
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.remove())
}

func (s *Spool) remove() error {
	name := s.file.Name()
	s.file = nil
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("removing temporary file of message: %w", err)
	}
	return nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
)

// filesPerDir is how many message ids share a directory, as a power of two.
const filesPerDirBits = 13

// dirDigits are the digits of directory names, least significant first.
const dirDigits = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

// dirName returns the name of the directory in which the file of an id is.
func dirName(id int64) string {
	n := id >> filesPerDirBits
	var b strings.Builder
	for {
		b.WriteByte(dirDigits[n&63])
		n >>= 6
		if n == 0 {
			return b.String()
		}
	}
}

// dirNumber is the reverse of dirName.
func dirNumber(name string) (int64, bool) {
	var n int64
	if name == "" || len(name) > 9 {
		return 0, false
	}
	for i := len(name) - 1; i >= 0; i-- {
		v := strings.IndexByte(dirDigits, name[i])
		if v < 0 {
			return 0, false
		}
		n = n<<6 | int64(v)
	}
	return n, true
}

// messagePath returns the path of the file of an Email.
func (a *Account) messagePath(emailID int64) string {
	return filepath.Join(a.path, "msg", dirName(emailID), strconv.FormatInt(emailID, 10))
}

// OpenMessage opens the file of an Email; the prefix is in its row. It returns
// an error that is fs.ErrNotExist if the file was erased.
func (a *Account) OpenMessage(emailID int64) (*os.File, error) {
	f, err := os.Open(a.messagePath(emailID))
	if err != nil {
		return nil, fmt.Errorf("opening message file of account %q: %w", a.name, err)
	}
	return f, nil
}

// Staged is a message file on its way into a mailbox, on disk already.
type Staged struct {
	a        *Account
	id       int64
	size     int64
	crc      uint32
	analysis Analysis
}

// Size returns the file's size in bytes.
func (s *Staged) Size() int64 { return s.size }

// Analysis returns what Analyze says of the file.
func (s *Staged) Analysis() Analysis { return s.analysis }

// Stage writes size bytes of r to a message file of a new id and syncs it. Who
// does not append it must Discard it. Nothing is held while it reads r. It fails
// with ErrOverQuota or ErrDiskFull before reading if there is no room.
func (a *Account) Stage(ctx context.Context, size int64, r io.Reader) (*Staged, error) {
	if err := a.CheckQuota(size); err != nil {
		return nil, err
	}
	return a.StageOf(ctx, size, r)
}

// StageOf is Stage for who has asked for the quota himself, with CheckQuotaOf.
func (a *Account) StageOf(ctx context.Context, size int64, r io.Reader) (*Staged, error) {
	if err := a.dir.CheckRoom(size); err != nil {
		return nil, err
	}
	s := &Staged{a: a, size: size}
	a.mu.Lock()
	if a.closing || a.refused.Load() {
		a.mu.Unlock()
		return nil, ErrClosed
	}
	s.id = a.lastID.Add(1)
	a.staged[s.id] = struct{}{}
	a.mu.Unlock()
	if err := s.write(ctx, r); err != nil {
		return nil, errors.Join(err, s.Discard())
	}
	return s, nil
}

// write fills the file and analyses it.
func (s *Staged) write(ctx context.Context, r io.Reader) error {
	path := s.a.messagePath(s.id)
	if err := s.a.makeMessageDir(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return fmt.Errorf("making message file: %w", err)
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(&contextReader{ctx, r}, s.size))
	if err == nil && n != s.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("writing message file: %w", err)
	}
	s.crc = h.Sum32()
	if s.analysis, err = Analyze(f, s.size); err != nil {
		return fmt.Errorf("analysing message file: %w", err)
	}
	if err := s.a.dir.faults.Hit(FaultStageSync); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing message file: %w", err)
	}
	return f.Close()
}

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

// Discard removes a file that was not appended. After a successful Update that
// appended it, it does nothing.
func (s *Staged) Discard() error {
	s.a.mu.Lock()
	_, ok := s.a.staged[s.id]
	delete(s.a.staged, s.id)
	s.a.mu.Unlock()
	if !ok {
		return nil
	}
	if err := os.Remove(s.a.messagePath(s.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing message file: %w", err)
	}
	return nil
}

// makeMessageDir makes the directory for a message file, durably.
func (a *Account) makeMessageDir(path string) error {
	dir := filepath.Dir(path)
	a.mu.Lock()
	known := a.knownDirs[dir]
	a.mu.Unlock()
	if known {
		return nil
	}
	// The applier may have made it, without a sync.
	if err := errors.Join(atomicfile.MkdirAll(dir, 0o750), atomicfile.SyncDir(filepath.Dir(dir))); err != nil {
		return fmt.Errorf("making message directory: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.knownDirs[dir] = true
	return nil
}

// removeStrays removes message files without a row that a crash left, and
// counts their ids as given. Files below row.Lowest have rows.
func (a *Account) removeStrays(ctx context.Context, row accountRow) error {
	entries, err := os.ReadDir(filepath.Join(a.path, "msg"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		n, ok := dirNumber(e.Name())
		if !ok || n < row.Lowest>>filesPerDirBits {
			continue
		}
		if err := a.removeStraysIn(ctx, e.Name(), row.Lowest); err != nil {
			return err
		}
	}
	return nil
}

// removeStraysIn looks at one message directory.
func (a *Account) removeStraysIn(ctx context.Context, dir string, lowest int64) error {
	path := filepath.Join(a.path, "msg", dir)
	files, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, f := range files {
		id, err := strconv.ParseInt(f.Name(), 10, 64)
		switch {
		case err != nil && atomicfile.IsTemp(f.Name()):
		case err != nil || id < lowest || dirName(id) != dir:
			continue // Not ours to judge; Check reports it.
		default:
			a.raiseID(id)
			if ok, err := a.hasEmail(ctx, id); err != nil {
				return err
			} else if ok {
				continue
			}
			if err := a.db.Get(ctx, &Erase{EmailID: id}); err == nil {
				continue // Erasing does it.
			} else if !errors.Is(err, bstore.ErrAbsent) {
				return err
			}
		}
		a.dir.log.Info("removing message file that was not stored", "account", a.name, "file", f.Name())
		if err := os.Remove(filepath.Join(path, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

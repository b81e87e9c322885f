package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
)

// messageCopier copies the message files of an account, a directory at a time.
type messageCopier struct {
	*copier
	a    *Account
	db   *bstore.DB // The copy.
	dst  string
	row  accountRow
	dir  string             // Being copied; "" before the first.
	ids  map[int64]struct{} // Of Emails in dir.
	seen map[string]bool    // Directories that are done.
	done int64
}

func (m *messageCopier) run(ctx context.Context) error {
	m.row = accountRow{ID: 1}
	if err := m.db.Get(ctx, &m.row); err != nil {
		return err
	}
	err := bstore.QueryDB[Email](ctx, m.db).SortAsc("ID").ForEach(func(e Email) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.enter(ctx, dirName(e.ID)); err != nil {
			return err
		}
		m.ids[e.ID] = struct{}{}
		return m.message(ctx, &e)
	})
	if err != nil {
		return err
	}
	// Of what is left, no message knows.
	left, err := os.ReadDir(filepath.Join(m.a.path, "msg"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range left {
		if _, ok := dirNumber(e.Name()); !ok || !e.IsDir() {
			err = m.stray(ctx, filepath.Join("msg", e.Name()))
		} else if !m.seen[e.Name()] {
			err = m.enter(ctx, e.Name())
		}
		if err != nil {
			return err
		}
	}
	if err := m.leave(ctx); err != nil {
		return err
	}
	return m.beside(ctx)
}

// enter begins with another directory.
func (m *messageCopier) enter(ctx context.Context, dir string) error {
	if m.dir == dir {
		return nil
	}
	if err := m.leave(ctx); err != nil {
		return err
	}
	m.dir, m.seen[dir], m.ids = dir, true, map[int64]struct{}{}
	return os.Mkdir(filepath.Join(m.dst, "msg", dir), 0o750)
}

// leave looks for files without a message in a directory. It syncs the copy of it:
// one sync of all at the end would keep those of deliveries waiting.
func (m *messageCopier) leave(ctx context.Context) error {
	if m.dir == "" {
		return nil
	}
	files, err := os.ReadDir(filepath.Join(m.a.path, "msg", m.dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		id, err := strconv.ParseInt(f.Name(), 10, 64)
		if err == nil && m.isKnown(ctx, id) || err != nil && atomicfile.IsTemp(f.Name()) {
			continue
		}
		if err := m.stray(ctx, filepath.Join("msg", m.dir, f.Name())); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(filepath.Join(m.dst, "msg", m.dir))
}

// isKnown says whether a file was copied, belongs to what came since, or is to be
// erased. Of a delivery that is being applied, the file is there before the row, and
// the journal has both.
func (m *messageCopier) isKnown(ctx context.Context, id int64) bool {
	if id <= 0 {
		return false
	}
	if _, ok := m.ids[id]; ok || id >= m.row.Lowest || m.a.reservedID(id) || m.db.Get(ctx, &Erase{EmailID: id}) == nil {
		return true
	}
	err := m.a.View(ctx, func(tx *Tx) error {
		_, err := tx.Email(id)
		return err
	})
	return !errors.Is(err, ErrExpunged)
}

// message copies the file of an Email.
func (m *messageCopier) message(ctx context.Context, e *Email) error {
	err := m.linkOrCopy(m.a.messagePath(e.ID), filepath.Join(m.dst, "msg", m.dir, strconv.FormatInt(e.ID, 10)), e.FileSize)
	switch {
	case err == nil:
		m.res.Messages++
		m.res.Bytes += e.FileSize
	case m.stops(ctx, err):
		return err
	case errors.Is(err, fs.ErrNotExist):
		if m.db.Get(ctx, &Erase{EmailID: e.ID}) != nil { // Else it was being erased when the copy began.
			m.res.problem(Problem{Account: m.a.name, Text: fmt.Sprintf("file of email %d is not there", e.ID), Effect: effectLost, Mend: mendLost})
		}
	default:
		m.res.problem(Problem{Account: m.a.name, Text: fmt.Sprintf("file of email %d: %v", e.ID, err), Effect: "it is missing in the copy", Mend: mendFile})
	}
	if m.done++; m.done%1000 == 0 {
		m.opts.Progress(m.a.name, m.done)
	}
	return nil
}

// beside copies what is in the account's directory and not known.
func (m *messageCopier) beside(ctx context.Context) error {
	entries, err := os.ReadDir(m.a.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == indexFile || name == "msg" || name == indexFile+copySuffix || isJunkName(name) || atomicfile.IsTemp(name):
		default:
			if err := m.stray(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// stray copies what nobody knows from the account's directory.
func (m *messageCopier) stray(ctx context.Context, name string) error {
	src := filepath.Join(m.a.path, name)
	if _, err := os.Lstat(src); errors.Is(err, fs.ErrNotExist) {
		return nil // On its way to another name.
	}
	m.res.problem(Problem{
		Account: m.a.name, Text: fmt.Sprintf("unknown file %s is copied too", name), Effect: "disk space is used for nothing", Mend: "remove it, if it is not yours", Warning: true,
	})
	return m.raw(ctx, src, filepath.Join(m.dst, name))
}

// linkOrCopy links a file, or copies it where links fail. Like a link, a copy is
// on disk when all is synced.
func (c *copier) linkOrCopy(src, dst string, size int64) error {
	if err := c.opts.Link(src, dst); err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.res.Copied++
	return c.copyFile(src, dst, size)
}

// copyFile copies a file.
func (c *copier) copyFile(src, dst string, size int64) (err error) {
	if err := c.room(size); err != nil {
		return err
	}
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err == nil && c.fs == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return errors.Join(err, os.Remove(dst)) // Rather missing than a part.
	}
	return nil
}

// raw copies a file, or a directory with all that is in it, as it is. What is
// there already, and what is neither, is left out.
func (c *copier) raw(ctx context.Context, src, dst string) error {
	return filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = c.rawEntry(path, filepath.Join(dst, strings.TrimPrefix(path, src)), e)
		}
		switch {
		case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil && !c.stops(ctx, err):
			c.res.problem(Problem{Text: fmt.Sprintf("%s: %v", path, err), Effect: "it is missing in the copy", Mend: "look at the file, and at the disk"})
			return nil
		}
		return err
	})
}

// rawEntry copies one file, or makes one directory.
func (c *copier) rawEntry(src, dst string, e fs.DirEntry) error {
	info, err := e.Info()
	switch {
	case err != nil:
		return err
	case e.IsDir():
		return os.Mkdir(dst, 0o750)
	case !e.Type().IsRegular():
		return nil
	case filepath.Base(filepath.Dir(filepath.Dir(src))) == "msg":
		return c.linkOrCopy(src, dst, info.Size())
	}
	// No link to what is written to in its place.
	return c.copyFile(src, dst, info.Size())
}

// Sum is what the file of an Email must be.
type Sum struct {
	Size int64
	CRC  uint32 // CRC-32C.
}

// Sums knows what the message files of an account must be that is not open, as one
// in a copy. Not for concurrent use.
type Sums struct{ db *bstore.DB }

// OpenSums opens the account in a directory. The caller closes it. Until then
// nothing may use the account; its database is written to, though no row changes.
func OpenSums(accountDir string) (*Sums, error) {
	if _, err := os.Stat(filepath.Join(accountDir, indexFile)); err != nil {
		return nil, err // Else it would be made.
	}
	db, err := openDatabase(accountDir)
	if err != nil {
		return nil, err
	}
	return &Sums{db}, nil
}

// Dir returns the sums of the files in a directory below msg, by name. An unknown
// directory has none.
func (s *Sums) Dir(ctx context.Context, name string) (map[string]Sum, error) {
	n, ok := dirNumber(name)
	if !ok {
		return nil, nil
	}
	sums := map[string]Sum{}
	q := bstore.QueryDB[Email](ctx, s.db)
	q.FilterGreaterEqual("ID", n<<filesPerDirBits).FilterLess("ID", (n+1)<<filesPerDirBits)
	err := q.ForEach(func(e Email) error {
		sums[strconv.FormatInt(e.ID, 10)] = Sum{e.FileSize, e.CRC}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading checksums: %w", err)
	}
	return sums, nil
}

// Close ends the use of the account.
func (s *Sums) Close() error { return s.db.Close() }

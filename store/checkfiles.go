package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/message"
)

// fileCheck is an Email whose file is to be looked at, with its structure if it
// has one.
type fileCheck struct {
	email     Email
	structure *Structure
}

// filePool looks at files of several accounts at a time, with a fixed number of
// goroutines. A nil one does so in the caller's.
type filePool struct {
	work chan fileWork
	done sync.WaitGroup
}

type fileWork struct {
	c     *checker
	check fileCheck
	left  *sync.WaitGroup
}

func newFilePool(workers int) *filePool {
	p := &filePool{work: make(chan fileWork)}
	for range workers {
		p.done.Go(func() {
			for w := range p.work {
				w.c.file(&w.check)
				w.left.Done()
			}
		})
	}
	return p
}

// add looks at a file now or soon. It returns when one of the goroutines has time
// for it, or ctx ends.
func (p *filePool) add(ctx context.Context, c *checker, check fileCheck) {
	if p == nil {
		c.file(&check)
		return
	}
	c.left.Add(1)
	select {
	case p.work <- fileWork{c, check, &c.left}:
	case <-ctx.Done():
		c.left.Done()
	}
}

// wait waits until all files of an account were looked at.
func (p *filePool) wait(c *checker) {
	if p != nil {
		c.left.Wait()
	}
}

func (p *filePool) close() {
	close(p.work)
	p.done.Wait()
}

// file checks the file of an Email, and what was derived from it.
func (c *checker) file(check *fileCheck) {
	e := &check.email
	if check.structure != nil {
		if _, err := message.ParsePart(check.structure.Tree); err != nil {
			c.problem(effectParts, mendFix, "structure of email %d: %v", e.ID, err)
			check.structure = nil
		}
	}
	path := c.a.messagePath(e.ID)
	var what, mend string
	if c.content {
		what, mend = c.readFile(path, check)
	} else {
		what, mend = statFile(path, e)
	}
	c.checked(e.FileSize)
	if sum, ok := c.again[e.ID]; what != "" && (!ok || sum != contentSum{e.FileSize, e.CRC}) {
		c.emit(Problem{File: c.a.dir.relative(path), Kind: "file", Text: what, Effect: effectLost, Mend: mend})
	}
}

// statFile returns what is wrong with a file by its size, or "".
func statFile(path string, e *Email) (what, mend string) {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Sprintf("email %d: %v", e.ID, errors.Unwrap(err)), mendLost
	case fi.Size() != e.FileSize:
		return fmt.Sprintf("file of email %d has %d bytes, not %d", e.ID, fi.Size(), e.FileSize), mendSize
	}
	return "", ""
}

// readFile returns what is wrong with the content of a file, or "".
func (c *checker) readFile(path string, check *fileCheck) (what, mend string) {
	e := &check.email
	f, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("email %d: %v", e.ID, errors.Unwrap(err)), mendLost
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	size, err := io.Copy(sum, f)
	switch {
	case err != nil:
		return fmt.Sprintf("email %d: %v", e.ID, err), mendFile
	case size != e.FileSize:
		return fmt.Sprintf("file of email %d has %d bytes and checksum %08x, not %d and %08x", e.ID, size, sum.Sum32(), e.FileSize, e.CRC), mendSize
	case sum.Sum32() != e.CRC:
		return fmt.Sprintf("file of email %d has %d bytes and checksum %08x, not %d and %08x", e.ID, size, sum.Sum32(), e.FileSize, e.CRC), mendFile
	case check.structure == nil:
		return "", ""
	}
	an, err := Analyze(f, size)
	if err != nil {
		return fmt.Sprintf("email %d: %v", e.ID, err), mendFile
	}
	if part := check.structure.differs(&an, keptHeader(e.Prefix, &an)); part != "" {
		c.problem(effectParts, mendFix, "the %s kept of email %d is not that of its file", part, e.ID)
	}
	return "", ""
}

// differs says what of a structure is not as the content is analysed now, "" if
// nothing. Header is what is to be kept of the header.
func (s *Structure) differs(an *Analysis, header []byte) string {
	switch {
	case !bytes.Equal(s.Tree, an.Tree):
		return "structure"
	case !bytes.Equal(s.Envelope, an.Envelope):
		return "envelope"
	case !bytes.Equal(s.BodyStructure, an.BodyStructure):
		return "body structure"
	case !bytes.Equal(s.Header, header):
		return "header"
	}
	return ""
}

// straysMax bounds how many files without a row are looked for again, at the end:
// more than that are not on their way from or to somewhere.
const straysMax = 10_000

// strays looks for files without a row.
func (c *checker) strays(ctx context.Context) error {
	found, unknown := map[int64]string{}, []string{}
	n := 0
	err := filepath.WalkDir(filepath.Join(c.a.path, "msg"), func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.IsDir():
			if _, ok := dirNumber(e.Name()); !ok && e.Name() != "msg" {
				unknown = append(unknown, path)
			}
			return ctx.Err()
		}
		id, err := strconv.ParseInt(e.Name(), 10, 64)
		switch {
		case err != nil || c.a.messagePath(id) != path:
			unknown = append(unknown, path)
		case id >= c.lowest || c.emails.has(id) || c.erase.has(id) || c.reserved[id] || c.live.reservedID(id):
		case len(found) < straysMax:
			found[id] = path
		default:
			n++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for message files: %w", err)
	}
	for _, path := range unknown {
		if _, err := os.Lstat(path); err == nil { // Else it was on its way to its name.
			c.fileProblem(path, effectSpace, mendFix+" moves it aside", "unknown file %s", c.a.dir.relative(path))
		}
	}
	if n > 0 {
		c.problem(effectSpace, mendFix+" moves them aside", "%d more files have no email", n)
	}
	return c.strayIDs(ctx, found)
}

// strayIDs reports files without a row. Mail goes on meanwhile: what has got a row
// since, or is gone, is none.
func (c *checker) strayIDs(ctx context.Context, found map[int64]string) error {
	return c.live.View(ctx, func(tx *Tx) error {
		for id, path := range found {
			err := tx.b.Get(&Email{ID: id})
			if err == nil {
				continue
			} else if !errors.Is(err, bstore.ErrAbsent) {
				return err
			}
			if _, err := os.Lstat(path); err == nil {
				c.fileProblem(path, effectSpace, mendFix+" moves it aside", "file %s has no email", c.a.dir.relative(path))
			}
		}
		return nil
	})
}

// relative returns a path below the data directory as problems name it.
func (d *Dir) relative(path string) string {
	rel, err := filepath.Rel(d.opts.Dir, path)
	if err != nil {
		return path
	}
	return filepath.ToSlash(rel)
}

// reservedID says whether an id belongs to something not yet stored.
func (a *Account) reservedID(id int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.staged[id]; ok {
		return true
	}
	for _, it := range a.pending {
		if id <= it.lastID() {
			return true
		}
	}
	return false
}

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/mjl-/bstore"
)

// files checks that each Email has its file.
func (c *checker) files() error {
	return bstore.QueryTx[Email](c.tx.b).ForEach(func(e Email) error {
		if c.erase[e.ID] {
			return nil // It may be gone already.
		}
		what := c.fileProblem(&e)
		if sum, ok := c.again[e.ID]; what != "" && (!ok || sum != contentSum{e.FileSize, e.CRC}) {
			c.problem(effectLost, mendFile, "%s", what)
		}
		return nil
	})
}

// fileProblem returns what is wrong with the file of an Email, or "".
func (c *checker) fileProblem(e *Email) string {
	path := c.a.messagePath(e.ID)
	if !c.content {
		fi, err := os.Stat(path)
		if err != nil {
			return fmt.Sprintf("email %d: %v", e.ID, errors.Unwrap(err))
		} else if fi.Size() != e.FileSize {
			return fmt.Sprintf("file of email %d has %d bytes, not %d", e.ID, fi.Size(), e.FileSize)
		}
		return ""
	}
	sum, size, err := checksum(path)
	if err != nil {
		return fmt.Sprintf("email %d: %v", e.ID, errors.Unwrap(err))
	} else if size != e.FileSize || sum != e.CRC {
		return fmt.Sprintf("file of email %d has %d bytes and checksum %08x, not %d and %08x", e.ID, size, sum, e.FileSize, e.CRC)
	}
	return ""
}

// strays looks for files without a row. Which there are, and that nothing waits
// to be stored under their ids, is found out before the snapshot in which their
// rows are looked for, since mail goes on meanwhile.
func (c *checker) strays(ctx context.Context) error {
	found := map[int64]string{}
	var unknown []string
	err := filepath.WalkDir(filepath.Join(c.a.path, "msg"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil || e.IsDir() {
			return err
		}
		id, err := strconv.ParseInt(e.Name(), 10, 64)
		switch {
		case err != nil || c.a.messagePath(id) != path:
			unknown = append(unknown, path)
		case id >= c.lowest || c.emails[id] || c.reserved[id] || c.a.reservedID(id):
		default:
			found[id] = path
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range unknown {
		if _, err := os.Lstat(path); err == nil { // Else it was on its way to its name.
			c.problem("disk space is used for nothing", mendStray, "unknown file %s", path)
		}
	}
	return c.a.View(ctx, func(tx *Tx) error {
		for id, path := range found {
			if _, err := tx.Email(id); errors.Is(err, ErrExpunged) {
				c.problem("disk space is used for nothing", mendStray, "file %s has no email", path)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
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

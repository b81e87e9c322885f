package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
)

// CopyResult says what CopyTo has copied.
type CopyResult struct {
	Messages int // Not those retired.
	Contents int
	Bytes    int64 // Of contents.
}

// CopyTo makes a consistent copy of the queue in the directory dst, which must not
// be there yet, while mail flows. Contents are linked where the file system can,
// else copied. It is on disk when CopyTo returns. All messages added before are in
// it; it has no log.
//
// Whoever opens the copy delivers its messages. If accounts are restored with it,
// the keys of hand-overs make that happen once; rows would need new keys only for
// accounts that are older than the copy (journal.md, rule 18), which is not done.
func (db *DB) CopyTo(ctx context.Context, dst string) (CopyResult, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return CopyResult{}, err
	}
	defer leave()
	if _, err := os.Lstat(dst); err == nil {
		return CopyResult{}, fmt.Errorf("copying queue to %s: it is there already", dst)
	}
	defer db.pin()()
	res, err := db.copyTo(ctx, dst)
	if err != nil {
		return res, fmt.Errorf("copying queue to %s: %w", dst, err)
	}
	return res, nil
}

// copyTo copies with the contents pinned.
func (db *DB) copyTo(ctx context.Context, dst string) (res CopyResult, err error) {
	if err := atomicfile.MkdirAll(filepath.Join(dst, contentDir), dirPerm); err != nil {
		return res, err
	}
	if err := db.flush(); err != nil {
		return res, err
	}
	index := filepath.Join(dst, indexFile)
	if err := database.CopyTo(ctx, db.db, index); err != nil {
		return res, err
	}
	// The copy can have rows whose contents are not synced, since the log has them.
	if err := db.flush(); err != nil {
		return res, err
	}
	if err := forgetLog(ctx, index); err != nil {
		return res, err
	}
	if err := db.faults.Hit(FaultBackup); err != nil {
		return res, err
	}
	names, messages, err := contentsOf(ctx, index)
	if err != nil {
		return res, err
	}
	res.Messages = messages
	dirs := map[string]bool{}
	for name, size := range names {
		if err := ctx.Err(); err != nil {
			return res, err
		}
		to := filepath.Join(dst, contentDir, filepath.FromSlash(name))
		if dir := filepath.Dir(to); !dirs[dir] {
			if err := os.MkdirAll(dir, dirPerm); err != nil {
				return res, err
			}
			dirs[dir] = true
		}
		err := linkOrCopy(db.contentPath(name), to)
		if errors.Is(err, fs.ErrNotExist) {
			db.log.Error("content is missing, and so in the copy", "file", name)
			continue
		} else if err != nil {
			return res, fmt.Errorf("content %s: %w", name, err)
		}
		res.Contents++
		res.Bytes += size
	}
	for dir := range dirs {
		if err := atomicfile.SyncDir(dir); err != nil {
			return res, err
		}
	}
	return res, atomicfile.SyncDir(filepath.Join(dst, contentDir))
}

// forgetLog makes a copied index one without log.
func forgetLog(ctx context.Context, index string) error {
	db, err := database.Open(index, "queue", schemaVersion, rowTypes...)
	if err != nil {
		return err
	}
	err = db.Write(ctx, func(tx *bstore.Tx) error {
		if _, err := bstore.QueryTx[loggedRow](tx).Delete(); err != nil {
			return err
		}
		if _, err := bstore.QueryTx[clockRow](tx).Delete(); err != nil {
			return err
		}
		row := logRow{ID: 1}
		if err := tx.Get(&row); errors.Is(err, bstore.ErrAbsent) {
			return nil
		} else if err != nil {
			return err
		}
		row.Journal, row.Seq = "", 0
		return tx.Update(&row)
	})
	return errors.Join(err, db.Close())
}

// contentsOf returns the names and sizes of the contents that a copied index has,
// and how many messages.
func contentsOf(ctx context.Context, index string) (names map[string]int64, messages int, err error) {
	db, err := database.Open(index, "queue", schemaVersion, rowTypes...)
	if err != nil {
		return nil, 0, err
	}
	names = map[string]int64{}
	err = bstore.QueryDB[contentRow](ctx, db).ForEach(func(c contentRow) error {
		names[c.Name] = c.Size
		messages += int(c.Messages)
		return nil
	})
	return names, messages, errors.Join(err, db.Close())
}

// pin keeps contents from being removed until unpin.
func (db *DB) pin() (unpin func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.pins++
	return func() {
		db.mu.Lock()
		var names []string
		if db.pins--; db.pins == 0 {
			names, db.unlinks = db.unlinks, nil
		}
		db.mu.Unlock()
		db.removeContents(names)
	}
}

// linkOrCopy links a file, or copies it durably where links fail.
func linkOrCopy(src, dst string) error {
	if err := os.Link(src, dst); err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.Write(dst, contentPerm, func(w io.Writer) error {
		f, err := os.Open(src)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		return errors.Join(err, f.Close())
	})
}

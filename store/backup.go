package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
)

// CopyResult says what CopyTo has copied.
type CopyResult struct {
	Accounts int
	Messages int
	Bytes    int64
	Head     uint64 // Last record of the journal in the copy.

	// Problems are accounts that were copied as they are since they are damaged, and
	// message files that are not there. The copy has what there is.
	Problems []Problem
}

// CopyTo makes a consistent copy of all accounts and the journal below dst,
// which must not have accounts/ or journal/ yet, while mail flows. Message files
// are linked where the file system can, else copied (journal.md, rule 14).
// Damaged accounts don't keep the others from being copied.
//
// The journal is copied last: every delivery that was acknowledged before is in
// the copy, in an account or in the journal.
func (d *Dir) CopyTo(ctx context.Context, dst string) (CopyResult, error) {
	var res CopyResult
	for _, sub := range []string{"accounts", "journal"} {
		if _, err := os.Lstat(filepath.Join(dst, sub)); err == nil {
			return res, fmt.Errorf("copying to %s: %s is there already", dst, sub)
		}
	}
	unpin := d.journal.Pin()
	defer unpin()
	defer d.pin()()

	names, err := d.Accounts()
	if err != nil {
		return res, err
	}
	if err := atomicfile.MkdirAll(filepath.Join(dst, "accounts"), 0o750); err != nil {
		return res, err
	}
	for _, name := range names {
		to := filepath.Join(dst, "accounts", name)
		part := CopyResult{}
		err := d.copyAccount(ctx, name, to, &part)
		if errors.Is(err, ErrNoAccount) { // Removed meanwhile.
			if err := os.RemoveAll(to); err != nil {
				return res, err
			}
			continue
		}
		res.add(part)
		switch {
		case err == nil:
			continue
		case ctx.Err() == nil && !errors.Is(err, ErrClosed):
			res.Problems = append(res.Problems, Problem{
				Account: name, Text: fmt.Sprintf("copied as it is: %v", err), Effect: "it can't be restored from the copy", Mend: "restore the account from an earlier backup",
			})
			err = d.copyRaw(ctx, name, to)
		}
		if err != nil {
			return res, fmt.Errorf("copying account %q: %w", name, err)
		}
	}
	if err := d.faults.Hit(FaultBackup); err != nil {
		return res, err
	}
	for _, sub := range []string{asideDir, failedDir} {
		if err := copyDir(filepath.Join(d.opts.Dir, "journal", sub), filepath.Join(dst, "journal", sub)); err != nil {
			return res, fmt.Errorf("copying kept records: %w", err)
		}
	}
	if res.Head, err = d.journal.CopyTo(ctx, filepath.Join(dst, "journal")); err != nil {
		return res, fmt.Errorf("copying journal: %w", err)
	}
	// Applied files were not synced, and links share their bytes.
	return res, d.syncFiles()
}

// add adds what was copied of one account.
func (r *CopyResult) add(part CopyResult) {
	r.Accounts, r.Messages, r.Bytes = r.Accounts+part.Accounts, r.Messages+part.Messages, r.Bytes+part.Bytes
	r.Problems = append(r.Problems, part.Problems...)
}

// copyAccount copies one account, unless it is removed meanwhile: then what was
// copied is of no use, and the error is ErrNoAccount.
func (d *Dir) copyAccount(ctx context.Context, name, dst string, res *CopyResult) error {
	a, err := d.Account(ctx, name)
	if err != nil {
		return err
	}
	err = d.copyOpen(ctx, a, dst, res)
	d.mu.Lock()
	if a.removing {
		err = fmt.Errorf("%w: %q was removed", ErrNoAccount, name)
	}
	d.mu.Unlock()
	return errors.Join(err, a.Close())
}

// copyOpen copies an account's database, then the files that it names.
func (d *Dir) copyOpen(ctx context.Context, a *Account, dst string, res *CopyResult) error {
	name := a.name
	if err := atomicfile.MkdirAll(filepath.Join(dst, "msg"), 0o750); err != nil {
		return err
	}
	path := filepath.Join(dst, indexFile)
	if err := a.copyDatabase(ctx, path); err != nil {
		return err
	}
	db, err := openDatabase(dst)
	if err != nil {
		return err
	}
	defer db.Close()
	dirs := map[string]bool{}
	messages, bytes := 0, int64(0)
	err = bstore.QueryDB[Email](ctx, db).ForEach(func(e Email) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := filepath.Join(dst, "msg", dirName(e.ID), filepath.Base(a.messagePath(e.ID)))
		if dir := filepath.Dir(to); !dirs[dir] {
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return err
			}
			dirs[dir] = true
		}
		err := linkOrCopy(a.messagePath(e.ID), to)
		if errors.Is(err, fs.ErrNotExist) {
			if db.Get(ctx, &Erase{EmailID: e.ID}) != nil { // Else it was being erased when the copy began.
				res.Problems = append(res.Problems, Problem{Account: name, Text: fmt.Sprintf("file of email %d is not there", e.ID), Effect: effectLost, Mend: mendFile})
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("message file %d: %w", e.ID, err)
		}
		messages++
		bytes += e.FileSize
		return nil
	})
	if err != nil {
		return err
	}
	for dir := range dirs {
		if err := atomicfile.SyncDir(dir); err != nil {
			return err
		}
	}
	res.Accounts, res.Messages, res.Bytes = 1, messages, bytes
	return atomicfile.SyncDir(filepath.Join(dst, "msg"))
}

// copyRaw copies the files of a damaged account that are not in the copy yet, as
// they are.
func (d *Dir) copyRaw(ctx context.Context, name, dst string) error {
	src := d.accountDir(name)
	var dirs []string
	err := filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case e.IsDir():
			dirs = append(dirs, to)
			return os.MkdirAll(to, 0o750)
		case !e.Type().IsRegular():
			return nil
		case filepath.Dir(path) == src:
			// No link to what is written to in its place.
			if _, err := os.Lstat(to); err == nil {
				return nil
			}
			err = copySynced(path, to)
		default:
			err = linkOrCopy(path, to)
		}
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for _, dir := range append(dirs, filepath.Dir(dst)) {
		if err == nil {
			err = atomicfile.SyncDir(dir)
		}
	}
	return err
}

// copyDatabase copies the database while it is in use.
func (a *Account) copyDatabase(ctx context.Context, path string) error {
	a.dbMu.RLock()
	defer a.dbMu.RUnlock()
	if a.gone {
		return ErrClosed
	}
	return database.CopyTo(ctx, a.db, path)
}

// linkOrCopy links a file, or copies it durably where links fail.
func linkOrCopy(src, dst string) error {
	if err := os.Link(src, dst); err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return copySynced(src, dst)
}

// copySynced copies a file durably.
func copySynced(src, dst string) error {
	return atomicfile.Write(dst, 0o640, func(w io.Writer) error {
		f, err := os.Open(src)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

// copyDir copies the files of a directory, durably. Files that go meanwhile are
// left out.
func copyDir(src, dst string) error {
	if err := atomicfile.MkdirAll(dst, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(src, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := atomicfile.WriteFile(filepath.Join(dst, e.Name()), data, 0o640); err != nil {
			return err
		}
	}
	return nil
}

// BumpUIDValidity gives every mailbox a new UIDVALIDITY. It is for a data
// directory that was restored, before it is opened: UIDs given after the backup
// may be given again. An account that fails keeps no other from it.
func BumpUIDValidity(ctx context.Context, dataDir string) error {
	d := &Dir{opts: Options{Dir: dataDir}}
	names, err := d.Accounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if err := bumpAccount(ctx, d.accountDir(name), nil); err != nil {
			errs = append(errs, fmt.Errorf("changing UIDVALIDITY in account %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// bumpAccount gives the mailboxes of an account that is not open a new
// UIDVALIDITY. change may change the account's row too.
func bumpAccount(ctx context.Context, path string, change func(row *accountRow)) error {
	db, err := openDatabase(path)
	if err != nil {
		return err
	}
	err = db.Write(ctx, func(b *bstore.Tx) error {
		row := accountRow{ID: 1}
		if err := b.Get(&row); err != nil {
			return err
		}
		// Beyond all that were given since the backup, too: those grow by one for each
		// new mailbox, this by one for each two seconds, and for as many as there can be.
		row.UIDValidity = max(row.UIDValidity, time.Now().Unix()/2) + mailboxesMax
		boxes, err := bstore.QueryTx[Mailbox](b).List()
		if err != nil {
			return err
		}
		for _, mb := range boxes {
			row.UIDValidity++
			row.ModSeq++
			mb.UIDValidity, mb.ModSeq = uint32(row.UIDValidity), row.ModSeq
			if err := b.Update(&mb); err != nil {
				return err
			}
		}
		if change != nil {
			change(&row)
		}
		return b.Update(&row)
	})
	return errors.Join(err, db.Close())
}

// RestoreAccount adds an account from a backup's data directory, which is only
// read: its pending records are applied in a copy, then it joins this journal at
// its head. An account of that name must not exist.
func (d *Dir) RestoreAccount(ctx context.Context, backupDir, name string) error {
	if err := CheckAccountName(name); err != nil {
		return err
	}
	if _, err := os.Lstat(d.accountDir(name)); err == nil {
		return fmt.Errorf("%w: %q", ErrAccountExists, name)
	}
	temp, err := os.MkdirTemp(filepath.Join(d.opts.Dir, "tmp"), "restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := copyForRestore(backupDir, temp, name); err != nil {
		return fmt.Errorf("copying account %q from backup: %w", name, err)
	}
	opts := Options{Dir: temp, Log: d.log, Rand: d.opts.Rand, DiskFree: d.opts.DiskFree, only: name}
	t, err := Open(ctx, opts)
	if err != nil {
		return fmt.Errorf("opening backup of account %q: %w", name, err)
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("applying pending deliveries of account %q: %w", name, err)
	}
	var id string
	err = bumpAccount(ctx, t.accountDir(name), func(row *accountRow) {
		id = row.AccountID
		row.JournalID, row.Watermark = d.journal.ID(), int64(d.journal.Head())
	})
	if err != nil {
		return err
	}
	if err := d.syncFiles(); err != nil {
		return err
	}
	if err := d.takeFailed(temp, id); err != nil {
		return fmt.Errorf("taking over deliveries that failed: %w", err)
	}
	if err := os.Rename(t.accountDir(name), d.accountDir(name)); err != nil {
		return err
	}
	return atomicfile.SyncDir(d.accountDir(""))
}

// takeFailed moves the records of an account that could not be applied to this
// journal: they count for its ids, and an administrator can deliver them again.
func (d *Dir) takeFailed(from, accountID string) error {
	list, err := keptRecords(filepath.Join(from, "journal", failedDir))
	for _, k := range list {
		if k.accountID == accountID {
			err = errors.Join(err, moveKept(k, filepath.Join(d.opts.Dir, "journal", failedDir)))
		}
	}
	return err
}

// copyForRestore copies the journal and one account of a backup.
func copyForRestore(src, dst, name string) error {
	for _, sub := range []string{"journal", filepath.Join("accounts", name)} {
		if err := os.CopyFS(filepath.Join(dst, sub), os.DirFS(filepath.Join(src, sub))); err != nil {
			return err
		}
	}
	return nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
)

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
	if err := d.copyForRestore(ctx, backupDir, temp, name); err != nil {
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

// copyForRestore copies the journal and one account of a backup. All has to be
// there.
func (d *Dir) copyForRestore(ctx context.Context, src, dst, name string) error {
	if _, err := os.Stat(filepath.Join(src, "accounts", name, indexFile)); err != nil {
		return err
	}
	c := &copier{d: d, dst: dst, opts: CopyOptions{Link: func(_, _ string) error { return errors.ErrUnsupported }}}
	c.complete()
	err := os.Mkdir(filepath.Join(dst, "accounts"), 0o750)
	if err == nil {
		err = c.openFS()
	}
	if err != nil {
		return err
	}
	for _, sub := range []string{"journal", filepath.Join("accounts", name)} {
		err = errors.Join(err, c.raw(ctx, filepath.Join(src, sub), filepath.Join(dst, sub)))
	}
	for _, p := range c.res.Problems {
		err = errors.Join(err, errors.New(p.Text))
	}
	if c.fs != nil {
		err = errors.Join(err, c.fs.Sync(), c.fs.Close())
	}
	return err
}

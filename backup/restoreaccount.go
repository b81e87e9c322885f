package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/store"
)

// RestoreAccount adds one account of a backup to a data directory that no server
// uses, and that has no account of that name. Its pending deliveries are applied
// first; its mailboxes get new UIDVALIDITYs (journal.md, rule 14). What it had in
// the queue is not restored. The configuration has to have the account: else
// nobody can use it.
func RestoreAccount(ctx context.Context, opts RestoreOptions, name string) (Restored, error) {
	if err := opts.complete(); err != nil {
		return Restored{}, err
	}
	r := &restore{opts: opts}
	r.res.Path, r.res.Backup, r.res.Problems = opts.DataDir, opts.Backup, []string{}
	if err := store.CheckAccountName(name); err != nil {
		return r.res, fmt.Errorf("%w: %w", ErrRestore, err)
	}
	if info, err := os.Stat(filepath.Join(opts.DataDir, "accounts")); err != nil || !info.IsDir() {
		return r.res, fmt.Errorf("%w: %s is no data directory", ErrRestore, opts.DataDir)
	}
	if _, err := os.Stat(filepath.Join(opts.Backup, DataDir, "accounts", name)); err != nil {
		return r.res, fmt.Errorf("%w: account %q is not in the backup: %w", ErrRestore, name, err)
	}
	unlock, err := opts.Lock(opts.DataDir)
	if err != nil {
		return r.res, err
	}
	err = CheckRestored(opts.DataDir)
	if err == nil {
		err = r.verify(ctx, func(path string) bool {
			return strings.HasPrefix(path, DataDir+"/journal/") || strings.HasPrefix(path, DataDir+"/accounts/"+name+"/")
		})
	}
	if err == nil {
		err = r.account(ctx, name)
	}
	return r.res, errors.Join(err, unlock())
}

// account restores an account with the data directory locked. It is there as a
// whole, or not at all.
func (r *restore) account(ctx context.Context, name string) error {
	logins, err := authdb.Open(filepath.Join(r.opts.DataDir, "auth.db"))
	if err != nil {
		return err
	}
	d, err := store.Open(ctx, store.Options{
		Dir: r.opts.DataDir, Log: r.opts.Log.With("pkg", "store"), Rand: r.opts.Rand,
		Removed: func(id string) (bool, error) { return logins.IsRemoved(context.WithoutCancel(ctx), id) },
	})
	if err != nil {
		return errors.Join(err, logins.Close())
	}
	r.note("restoring account %s", name)
	err = d.RestoreAccount(ctx, filepath.Join(r.opts.Backup, DataDir), name)
	if err == nil {
		r.res.Accounts = 1
		err = markRestored(ctx, d, logins, name)
	}
	return errors.Join(err, d.Close(), logins.Close())
}

// markRestored takes back that an account was removed, so that its mail is not
// dropped and its removal does not go on.
func markRestored(ctx context.Context, d *store.Dir, logins *authdb.DB, name string) error {
	a, err := d.Account(ctx, name)
	if err != nil {
		return err
	}
	return errors.Join(logins.MarkRestored(ctx, a.ID()), a.Close())
}

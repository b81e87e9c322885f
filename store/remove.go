package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mjl-/mox/atomicfile"
)

// removedPrefix begins the names of directories in tmp/ that are data of removed
// accounts. Their ids follow.
const removedPrefix = "removed-"

// ErrNotRemoved means that nobody has noted the account as removed, without which
// a crash could leave records that nobody knows.
var ErrNotRemoved = errors.New("store: account is not noted as removed")

// Remove takes away the account with a name and an id, and its mail. Intake stops,
// what was accepted is applied, or dropped where that fails, sessions get
// ErrClosed; then its directory is moved to where EraseRemoved finds it, durably.
//
// The caller has noted the id as removed before, so that records for it that a
// crash leaves are dropped at the next start (journal.md, rule 12). Called again
// after a crash, or an error, it goes on. An account of that name with another id
// stays: it was made since.
func (d *Dir) Remove(ctx context.Context, name, id string) error {
	if err := d.checkRemoved(id); err != nil {
		return fmt.Errorf("removing account %q: %w", name, err)
	}
	a, err := d.takeForRemoval(ctx, name, id)
	if err != nil {
		return err
	}
	if a != nil {
		if err := d.moveAway(a); err != nil {
			return fmt.Errorf("removing account %q: %w", name, err)
		}
	}
	if err := d.faults.Hit(FaultRemoveMoved); err != nil {
		return err
	}
	if err := d.removeKeptOf(id); err != nil {
		return fmt.Errorf("removing kept deliveries of account %q: %w", name, err)
	}
	return nil
}

func (d *Dir) checkRemoved(id string) error {
	if _, err := hex.DecodeString(id); err != nil || id == "" {
		return fmt.Errorf("%q is not the id of an account", id)
	}
	if d.opts.Removed == nil {
		return nil
	}
	removed, err := d.opts.Removed(id)
	if err == nil && !removed {
		err = ErrNotRemoved
	}
	return err
}

// takeForRemoval opens an account and keeps others from it. It returns nil if it
// is gone, or another of that name is there.
func (d *Dir) takeForRemoval(ctx context.Context, name, id string) (*Account, error) {
	errBusy := fmt.Errorf("%w: %q is being removed", ErrNoAccount, name)
	if d.isRemoving(name) {
		return nil, errBusy
	}
	a, err := d.Account(ctx, name)
	if errors.Is(err, ErrNoAccount) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if a.id != id {
		return nil, a.Close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.removing {
		return nil, errBusy
	}
	a.removing = true
	return a, nil
}

// isRemoving tells whether an open account is being removed.
func (d *Dir) isRemoving(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.accounts[name]
	return a != nil && a.removing
}

// moveAway closes an account that is being removed and moves its directory away.
// After an error it can be opened again.
func (d *Dir) moveAway(a *Account) error {
	err := a.shut()
	a.dropPending()
	if err == nil {
		err = d.faults.Hit(FaultRemoveShut)
	}
	if err == nil {
		err = os.Rename(a.path, d.removedDir(a.id))
	}
	if err == nil {
		err = errors.Join(atomicfile.SyncDir(d.accountDir("")), atomicfile.SyncDir(filepath.Join(d.opts.Dir, "tmp")))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.accounts, a.name)
	return err
}

// dropPending gives up what a closed account could not apply: it must not hold the
// journal.
func (a *Account) dropPending() {
	a.mu.Lock()
	pending := a.pending
	a.pending = nil
	for _, it := range pending {
		for _, rcpt := range it.rcpts {
			a.settleKey(rcpt.key)
		}
	}
	a.mu.Unlock()
	for _, it := range pending {
		a.dir.finished(it)
	}
	if len(pending) > 0 {
		a.dir.log.Warn("deliveries to removed account dropped, they could not be applied", "account", a.name, "records", len(pending))
	}
}

func (d *Dir) removedDir(id string) string {
	return filepath.Join(d.opts.Dir, "tmp", removedPrefix+id)
}

// EraseRemoved erases what Remove has moved away. For a large account it takes a
// while; when ctx is done it returns, and can be called again. That nothing is left
// is no error.
func (d *Dir) EraseRemoved(ctx context.Context, id string) error {
	if err := errors.Join(d.checkRemoved(id), d.faults.Hit(FaultRemoveErase)); err != nil {
		return err
	}
	dir := d.removedDir(id)
	parts, _ := os.ReadDir(filepath.Join(dir, "msg")) // An error comes again below.
	for _, part := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(dir, "msg", part.Name())); err != nil {
			return fmt.Errorf("erasing removed account: %w", err)
		}
	}
	if err := errors.Join(os.RemoveAll(dir), atomicfile.SyncDir(filepath.Join(d.opts.Dir, "tmp"))); err != nil {
		return fmt.Errorf("erasing removed account: %w", err)
	}
	return nil
}

// HasData tells whether there is a directory for an account of that name, also one
// that can't be opened. A new account can't be made then.
func (d *Dir) HasData(name string) (bool, error) {
	_, err := os.Lstat(d.accountDir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// removeKeptOf removes the records of an account that are kept beside the journal.
func (d *Dir) removeKeptOf(accountID string) error {
	for _, sub := range []string{asideDir, failedDir} {
		dir := filepath.Join(d.opts.Dir, "journal", sub)
		kept, err := keptRecords(dir)
		if err != nil {
			return err
		}
		for _, k := range kept {
			if k.accountID == accountID {
				err = errors.Join(err, removeKept(k.path))
			}
		}
		if err := errors.Join(err, atomicfile.SyncDir(dir)); err != nil {
			return err
		}
	}
	return nil
}

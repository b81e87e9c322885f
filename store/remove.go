package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mjl-/mox/atomicfile"
)

// Remove removes an account and its mail. Intake stops, what was accepted is
// applied, sessions get ErrClosed, then the data goes. The caller has noted the
// account's id as removed before, so that records for it that a crash leaves are
// dropped at the next start (journal.md, rule 12). Called again after a crash, it
// goes on.
func (d *Dir) Remove(ctx context.Context, name string) error {
	a, err := d.Account(ctx, name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	if a.removing {
		d.mu.Unlock()
		return fmt.Errorf("%w: %q is being removed", ErrNoAccount, name)
	}
	a.removing = true
	d.mu.Unlock()

	err = a.shut()
	gone := filepath.Join(d.opts.Dir, "tmp", "removed-"+a.id)
	if err == nil {
		err = os.Rename(a.path, gone)
	}
	if err == nil {
		err = atomicfile.SyncDir(d.accountDir(""))
	}
	d.mu.Lock()
	delete(d.accounts, name)
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("removing account %q: %w", name, err)
	}
	if err := d.removeKeptOf(a.id); err != nil {
		return fmt.Errorf("removing kept deliveries of account %q: %w", name, err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("removing data of account %q: %w", name, err)
	}
	return nil
}

// removeKeptOf removes the records of an account that are kept beside the journal.
func (d *Dir) removeKeptOf(accountID string) error {
	for _, sub := range []string{asideDir, failedDir} {
		kept, err := keptRecords(filepath.Join(d.opts.Dir, "journal", sub))
		if err != nil {
			return err
		}
		for _, k := range kept {
			if k.accountID == accountID {
				err = errors.Join(err, removeKept(k.path))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

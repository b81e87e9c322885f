package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/journal"
)

// sortKept sorts records by sequence number.
func sortKept(kept []keptRecord) {
	slices.SortFunc(kept, func(a, b keptRecord) int { return cmp.Compare(a.seq, b.seq) })
}

// loadAside gives the records that were put aside to their accounts, before
// those of the journal.
func (r *replay) loadAside(ctx context.Context) error {
	kept, err := keptRecords(filepath.Join(r.d.opts.Dir, "journal", asideDir))
	if err != nil {
		return fmt.Errorf("listing records put aside: %w", err)
	}
	for _, k := range kept {
		it := &item{aside: k.path, asideID: k.accountID, last: k.lastID, seq: k.seq, appended: time.Now()}
		if err := it.load(); err != nil {
			return fmt.Errorf("reading record put aside: %w", err)
		}
		name := it.rcpts[0].account
		if only := r.d.opts.only; only != "" && only != name {
			continue
		}
		r.d.journal.Floor(k.seq)
		a, err := r.account(ctx, name)
		if errors.Is(err, errDamaged) {
			r.aside[asideKey{k.accountID, k.seq}] = true
			continue
		} else if err != nil {
			return err
		}
		if a == nil || a.id != k.accountID {
			if err := r.d.strayAside(k, name); err != nil {
				return err
			}
			continue
		}
		a.raiseID(k.lastID)
		r.aside[asideKey{k.accountID, k.seq}] = true
		if k.seq <= a.watermarkOf(r.d.journal.ID()) {
			if err := r.d.verifyApplied(ctx, a, it); err != nil {
				return err
			}
			r.d.asideApplied(k.path)
			continue
		}
		a.takeKeys(it)
		it.unload()
		r.items = append(r.items, replayItem{a, it})
	}
	return nil
}

// asideKey names a record of one account.
type asideKey struct {
	accountID string
	seq       uint64
}

// strayAside removes a record of a removed account, and moves one of an unknown
// account to failed/.
func (d *Dir) strayAside(k keptRecord, name string) error {
	if d.opts.Removed != nil {
		removed, err := d.opts.Removed(k.accountID)
		if err != nil {
			return fmt.Errorf("asking whether account %q was removed: %w", name, err)
		}
		if removed {
			return removeKept(k.path)
		}
	}
	d.log.Error("record put aside is for an unknown account, keeping it", "account", name, "account_id", k.accountID, "seq", k.seq)
	return moveKept(k, filepath.Join(d.opts.Dir, "journal", failedDir))
}

// moveKept moves a kept record and its content to another directory, durably.
func moveKept(k keptRecord, dir string) error {
	to := filepath.Join(dir, filepath.Base(k.path))
	if err := os.Rename(k.path+".content", to+".content"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(k.path, to); err != nil {
		return err
	}
	return errors.Join(atomicfile.SyncDir(dir), atomicfile.SyncDir(filepath.Dir(k.path)))
}

// removeKept removes a kept record and its content.
func removeKept(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(path + ".content"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// load reads the record of an item that was put aside. Such items keep nothing
// in memory until they are applied.
func (it *item) load() error {
	if it.rec != nil {
		return nil
	}
	data, err := os.ReadFile(it.aside)
	if err != nil {
		return err
	}
	entry := journal.Entry{Seq: it.seq, Type: recordDelivery, Data: data}
	content := it.aside + ".content"
	if fi, err := os.Stat(content); err == nil {
		entry.Files = []journal.FileRef{{Name: filepath.Base(content), Size: fi.Size()}}
	}
	rec, err := decodeRecord(&entry)
	if err != nil {
		return err
	}
	if len(rec.file) > 0 {
		rec.contentPath = content
	}
	it.rec, it.flags = rec, rec.messages()
	for i := range rec.rcpts {
		if rec.rcpts[i].accountID == it.asideID {
			it.rcpts = append(it.rcpts, &rec.rcpts[i])
		}
	}
	if len(it.rcpts) == 0 {
		return fmt.Errorf("%w: not for account id %s", errRecord, it.asideID)
	}
	return nil
}

// unload forgets what load read.
func (it *item) unload() {
	if it.aside != "" {
		it.rec, it.rcpts = nil, nil
	}
}

// putAside copies the waiting records of a failing account out of the journal,
// durably, so that they don't pin the segments of others (journal.md, rule 17).
func (d *Dir) putAside(a *Account) error {
	for _, it := range a.pendingItems() {
		if it.aside != "" {
			continue
		}
		rec := it.rec
		k := kept{rec.seq, a.id, it.lastID(), slices.Concat(rec.encode()...), d.contentFile(rec)}
		if err := d.keepRecord(asideDir, k); err != nil {
			return err
		}
		a.becomeAside(it, filepath.Join(d.opts.Dir, "journal", asideDir, k.name()))
		d.finishedRecord(rec)
	}
	d.log.Warn("deliveries of failing account put aside", "account", a.name)
	d.observe(Event{Kind: "aside", Records: 1})
	return nil
}

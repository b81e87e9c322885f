package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/atomicfile"
)

// cleanRetry is how long the cleaner waits after an error.
const cleanRetry = 10 * time.Second

// cleanLoop removes segments of the journal that nobody needs any more.
func (d *Dir) cleanLoop() {
	var retry <-chan time.Time
	for {
		select {
		case <-d.clean:
		case <-retry:
		case <-d.stop:
			return
		}
		retry = nil
		if err := d.cleanSegments(d.opts.CleanBytes); err != nil {
			d.log.Error("removing journal segments", "err", err)
			retry = time.After(cleanRetry)
		}
	}
}

// cleanSegments removes the segments whose records are all applied, after
// making sure that the accounts' files and directories are on disk: they were
// written without syncing (journal.md, rule 6).
//
// It waits until at least so many bytes of segments can go.
func (d *Dir) cleanSegments(least int64) error {
	if d.pins.Load() > 0 {
		return nil // Who unpins wakes the cleaner.
	}
	through := d.tracker.through()
	var removable int64
	for _, s := range d.journal.Segments() {
		if !s.Current && s.Last > 0 && s.Last <= through {
			removable += s.Size
		}
	}
	aside := d.appliedAside()
	if len(aside) == 0 && (removable == 0 || removable < least) {
		return nil
	}
	err := d.syncFiles()
	if err == nil {
		err = d.faults.Hit(FaultCleanSynced)
	}
	if err != nil {
		d.asideApplied(aside...)
		return err
	}
	for _, path := range aside {
		if err := removeKept(path); err != nil {
			return fmt.Errorf("removing applied record from aside: %w", err)
		}
	}
	if _, err := d.journal.RemoveThrough(through); err != nil {
		return fmt.Errorf("removing segments: %w", err)
	}
	return nil
}

// asideApplied notes records put aside that are applied.
func (d *Dir) asideApplied(paths ...string) {
	d.asideMu.Lock()
	defer d.asideMu.Unlock()
	d.asideDone = append(d.asideDone, paths...)
}

// appliedAside takes what asideApplied has noted.
func (d *Dir) appliedAside() []string {
	d.asideMu.Lock()
	defer d.asideMu.Unlock()
	paths := d.asideDone
	d.asideDone = nil
	return paths
}

// cleanSoon wakes the cleaner.
func (d *Dir) cleanSoon() {
	select {
	case d.clean <- struct{}{}:
	default:
	}
}

// pin keeps message files and records put aside from being removed until unpin
// is called.
func (d *Dir) pin() (unpin func()) {
	d.pins.Add(1)
	return func() {
		d.pins.Add(-1)
		d.cleanSoon()
	}
}

// syncFiles makes all files of the accounts durable: by one call for the file
// system where that reports errors, else it has been done at each apply.
func (d *Dir) syncFiles() error {
	if d.fs == nil {
		return nil
	}
	if err := d.fs.Sync(); err != nil {
		return fmt.Errorf("syncing account files: %w", err)
	}
	return nil
}

// openFS opens the file system of the accounts for syncing as a whole.
func (d *Dir) openFS() error {
	fs, err := atomicfile.OpenFS(d.accountDir(""))
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	} else if err != nil {
		return err
	}
	d.fs = fs
	return nil
}

// pinned says whether segments wait for accounts that have not applied theirs.
func (d *Dir) pinned() bool { return len(d.journal.Segments()) > 1 }

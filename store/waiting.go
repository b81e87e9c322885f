package store

import (
	"path/filepath"
	"time"
)

// Backlog is what was accepted and is not in its account yet.
type Backlog struct {
	Records int       // Of all accounts: a message to two of them counts twice.
	Bytes   int64     // Each content once, without those put aside.
	Oldest  time.Time // When the oldest was accepted or, if that was before the start, read. Zero if there is none.
	Failing []string  // Accounts that can't apply theirs at present, in no order.
	Aside   int       // Records that were put aside for accounts that could not apply them.
	Failed  int       // Records that nobody can apply, kept for an administrator (journal.md, rule 11).
}

// Backlog returns what waits now.
func (d *Dir) Backlog() (Backlog, error) {
	b := Backlog{Bytes: d.backlog.bytes()}
	d.mu.Lock()
	open := make([]*Account, 0, len(d.accounts))
	for _, a := range d.accounts {
		open = append(open, a)
	}
	d.mu.Unlock()
	for _, a := range open {
		a.addTo(&b)
	}
	for dir, n := range map[string]*int{asideDir: &b.Aside, failedDir: &b.Failed} {
		kept, err := keptRecords(filepath.Join(d.opts.Dir, "journal", dir))
		if err != nil {
			return b, err
		}
		*n = len(kept)
	}
	return b, nil
}

// addTo adds what waits for the account.
func (a *Account) addTo(b *Backlog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range a.pending {
		if it.isFlags() {
			continue // They are told already.
		}
		b.Records++
		if b.Oldest.IsZero() || it.appended.Before(b.Oldest) {
			b.Oldest = it.appended
		}
	}
	if !a.failing.IsZero() {
		b.Failing = append(b.Failing, a.name)
	}
}

// DiskFree returns the bytes that are free for new messages and their records,
// beyond those that must stay free.
func (d *Dir) DiskFree() (int64, error) {
	free, err := d.opts.DiskFree()
	return max(0, free-diskSpare-2*d.backlog.bytes()), err
}

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
)

// Limits of one commit.
const (
	groupMax        = 64   // Functions of Update.
	applyMax        = 1000 // Records.
	applyMaxWaiting = 100  // Records, when an Update waits (journal.md, rule 4).
	applyBytesMax   = 32 << 20
)

// Gathering: under load, an account's records are applied at most once in
// applyEvery, so that a commit carries more of them. Somebody who waits for
// them, or applyEnough of them, ends the wait.
const (
	applyEvery  = 150 * time.Millisecond
	applyEnough = 200
	applyBusy   = 200 // Deliveries per second from which on it is worth it.
)

// update is a function waiting for its transaction.
type update struct {
	fn     func(tx *Tx) error
	origin *Watch
	flags  *flagUpdate // What fn does, if that is all.
	err    error
	panic  *panicked
	done   chan struct{}
}

// panicked is what a function of Update panicked with. It is raised again in
// the goroutine of the caller, which is the one that recovers.
type panicked struct {
	value any
	stack []byte
}

// Update calls fn in a write transaction of the account, joined with others
// that wait. When it returns nil, the changes are on disk and distributed.
//
// fn may run twice, so it sets all its results anew, and it checks before it
// writes: a function that fails after a write makes the others run again.
// Changes are durable or not done at all. An Update that has begun is not
// interrupted by ctx.
func (a *Account) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return a.UpdateFrom(ctx, nil, fn)
}

// UpdateFrom is Update for a session: the flag changes don't come back to w.
func (a *Account) UpdateFrom(ctx context.Context, w *Watch, fn func(tx *Tx) error) error {
	return a.enqueue(ctx, &update{fn: fn, origin: w})
}

// enqueue has the writer run an update, and waits for that.
func (a *Account) enqueue(ctx context.Context, u *update) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u.done = make(chan struct{})
	a.mu.Lock()
	if a.closing {
		a.mu.Unlock()
		return ErrClosed
	}
	a.updates = append(a.updates, u)
	a.mu.Unlock()
	a.wakeUp()
	<-u.done
	if u.panic != nil {
		panic(fmt.Sprintf("%v\n\n%s", u.panic.value, u.panic.stack)) //nolint:forbidigo // It is raised again where it can be recovered.
	}
	return u.err
}

// writeLoop is the account's one writer: it applies records and runs functions
// until the account closes and nothing is left.
func (a *Account) writeLoop() {
	defer close(a.done)
	w := &writer{a: a, ctx: context.Background()} //nolint:forbidigo // What was accepted is applied whoever stops waiting.
	w.maintainAt = time.Now()
	for {
		items, updates, wait, ok := w.next()
		if !ok {
			return
		}
		if wait > 0 {
			w.sleep(wait)
			continue
		}
		if len(items) > 0 {
			w.apply(items)
		}
		if len(updates) > 0 {
			w.runUpdates(updates)
		}
		if len(items) == 0 && len(updates) == 0 {
			w.maintain()
		}
	}
}

// writer is the state of an account's writing goroutine.
type writer struct {
	a           *Account
	ctx         context.Context //nolint:containedctx // It is never cancelled.
	lastApply   time.Time
	retryAt     time.Time // No applying before it, after a failure.
	retryWait   time.Duration
	maintainAt  time.Time
	maintaining bool // There was something to do last time.
}

// next returns the work to do now, or how long to wait for some. ok is false
// when the account closes and all is done.
func (w *writer) next() (items []*item, updates []*update, wait time.Duration, ok bool) {
	a := w.a
	busy := a.dir.load.perSecond() > applyBusy
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	updates = a.updates[:min(len(a.updates), groupMax)]
	a.updates = a.updates[len(updates):]
	items, wait = w.due(now, busy, len(updates) > 0)
	switch {
	case len(items) > 0 || len(updates) > 0:
		return items, updates, 0, true
	case a.closing && a.reserving == 0 && (len(a.pending) == 0 || !a.failing.IsZero()):
		return nil, nil, 0, false
	case wait > 0:
		return nil, nil, wait, true
	case w.maintaining || a.erasing || !now.Before(w.maintainAt):
		a.erasing = false
		return nil, nil, 0, true
	}
	return nil, nil, w.maintainAt.Sub(now), true
}

// due returns the records to apply now, or how long to wait. a.mu is held.
func (w *writer) due(now time.Time, busy, updating bool) ([]*item, time.Duration) {
	a := w.a
	if len(a.pending) == 0 {
		return nil, 0
	}
	if a.closing && !a.failing.IsZero() {
		return nil, 0 // They stay in the journal for the next start.
	}
	if wait := w.retryAt.Sub(now); wait > 0 {
		return nil, wait
	}
	if wait := a.flagsWait(now); wait > 0 {
		return nil, wait
	}
	if wait := w.lastApply.Add(applyEvery).Sub(now); busy && wait > 0 && !a.urgent && !a.closing && len(a.pending) < applyEnough {
		return nil, wait
	}
	most := applyMax
	if updating {
		most = applyMaxWaiting
	}
	var bytes int64
	n := 0
	for n < len(a.pending) && n < most && bytes < applyBytesMax {
		if rec := a.pending[n].rec; rec != nil {
			bytes += rec.size
		}
		n++
	}
	return a.pending[:n:n], 0
}

// sleep waits to be woken, at most wait.
func (w *writer) sleep(wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-w.a.wake:
	case <-t.C:
	}
}

// runGroup runs functions in one transaction. Those that fail before they write
// are left out; one that fails later makes the others run again without it, and
// it alone.
func (w *writer) runGroup(group []*update) {
	if err := w.settle(); err != nil {
		for _, u := range group {
			u.err = err
			close(u.done)
		}
		return
	}
	for len(group) > 0 {
		bad, err := w.tryGroup(group)
		switch {
		case bad == nil:
			for _, u := range group {
				if u.err == nil {
					u.err = err
				}
				close(u.done)
			}
			return
		case len(group) == 1:
			close(bad.done)
			return
		}
		rest := make([]*update, 0, len(group)-1)
		for _, u := range group {
			if u != bad {
				u.err, u.panic = nil, nil
				rest = append(rest, u)
			}
		}
		w.runGroup(rest)
		bad.err, bad.panic = nil, nil
		group = []*update{bad}
	}
}

// tryGroup runs functions in one transaction and commits. It returns the
// function that spoiled the transaction, if one did, or the error of the commit.
func (w *writer) tryGroup(group []*update) (*update, error) {
	a := w.a
	tx, err := w.begin()
	if err != nil {
		return nil, err
	}
	wrote := false
	for _, u := range group {
		tx.begin(u.origin)
		u.err, u.panic = nil, nil
		runFunction(tx, u)
		if u.err == nil && u.panic == nil {
			u.err = tx.endFunction()
		}
		if (u.err != nil || u.panic != nil) && tx.wrote {
			return u, w.rollback(tx)
		}
		wrote = wrote || tx.wrote
	}
	if !wrote {
		return nil, w.rollback(tx)
	}
	if err := w.commit(tx); err != nil {
		w.keepStored(tx.staged)
		return nil, err
	}
	a.mu.Lock()
	for _, s := range tx.staged {
		delete(a.staged, s.id)
	}
	a.mu.Unlock()
	w.publish(tx)
	return nil, nil
}

// keepStored makes staged files stay whose rows are there though their commit
// returned an error.
func (w *writer) keepStored(staged []*Staged) {
	for _, s := range staged {
		ok, err := w.a.hasEmail(w.ctx, s.id)
		if err == nil && !ok {
			continue
		}
		w.a.mu.Lock()
		delete(w.a.staged, s.id)
		w.a.mu.Unlock()
	}
}

// runFunction calls the function of an update and keeps its panic.
func runFunction(tx *Tx, u *update) {
	defer func() {
		if v := recover(); v != nil {
			u.panic = &panicked{v, debug.Stack()}
			tx.touch() // What it had written is not known.
		}
	}()
	u.err = u.fn(tx)
}

// begin starts a write transaction.
func (w *writer) begin() (*Tx, error) {
	b, err := w.a.db.Begin(w.ctx, true)
	if err != nil {
		return nil, fmt.Errorf("beginning transaction: %w", err)
	}
	row := accountRow{ID: 1}
	if err := b.Get(&row); err != nil {
		return nil, errors.Join(fmt.Errorf("reading account: %w", err), b.Rollback())
	}
	row.ModSeq = max(row.ModSeq, w.a.hub.newest(), w.a.modSeqFloor.Load())
	tx := newTx(w.a, b, row, true)
	w.a.mu.Lock()
	tx.messages = w.a.messages
	w.a.mu.Unlock()
	return tx, nil
}

// rollback undoes a transaction.
func (w *writer) rollback(tx *Tx) error {
	if err := tx.b.Rollback(); err != nil {
		return fmt.Errorf("rolling back: %w", err)
	}
	return nil
}

// commit makes a transaction durable: the new files' directory entries first,
// then the database. After a failed commit the database is opened again, since
// what is on disk is not known (journal.md, rule 10).
func (w *writer) commit(tx *Tx) error {
	err := w.prepareCommit(tx)
	if err != nil {
		return errors.Join(err, w.rollback(tx))
	}
	if err = w.a.dir.faults.Hit(FaultCommitBefore); err == nil {
		err = tx.b.Commit()
	} else {
		err = errors.Join(err, w.rollback(tx))
	}
	if err == nil {
		err = w.a.dir.faults.Hit(FaultCommitAfter)
	}
	if err != nil {
		err = fmt.Errorf("committing to account %q: %w", w.a.name, err)
		w.a.dir.log.Error("commit failed, opening database again", "account", w.a.name, "err", err)
		return errors.Join(err, w.reopen())
	}
	return nil
}

// prepareCommit writes the last rows and syncs directories.
func (w *writer) prepareCommit(tx *Tx) error {
	if err := tx.writeRow(); err != nil {
		return err
	}
	for dir := range tx.dirs {
		if err := atomicfile.SyncDir(dir); err != nil {
			return fmt.Errorf("syncing message directory: %w", err)
		}
	}
	return w.a.dir.faults.Hit(FaultFilesSynced)
}

// publish takes over what a committed transaction changed.
func (w *writer) publish(tx *Tx) {
	a := w.a
	a.mu.Lock()
	a.messages = tx.messages
	a.size, a.rejects = tx.row.quotaSize(), amounts{tx.row.Rejects, tx.row.RejectSize}
	a.watermark = watermark{tx.row.JournalID, uint64(tx.row.Watermark)}
	for name, id := range tx.newBoxes {
		if id == 0 {
			delete(a.boxes, name)
		} else {
			a.boxes[name] = id
		}
	}
	a.mu.Unlock()
	a.hub.publish(tx.commits, tx.states, &tx.row)
	if tx.erases || tx.rejects {
		w.maintaining = true
	}
	if tx.trains {
		a.trainSoon()
	}
	if tx.arrivals && a.dir.opts.Arrived != nil {
		a.dir.opts.Arrived(a.name)
	}
}

// reopen opens the database again after a failed commit. It is copied first,
// since after a failed sync clean pages may not be on disk.
func (w *writer) reopen() error {
	a := w.a
	a.dbMu.Lock()
	row, err := a.reopen(w.ctx)
	a.gone = err != nil
	a.dbMu.Unlock()
	if err != nil {
		a.refused.Store(true)
		a.dir.log.Error("account can't be opened again, it is closed", "account", a.name, "err", err)
		return err
	}
	if err := a.adopt(w.ctx, row); err != nil {
		return err
	}
	a.untell()
	return a.hub.reload(w.ctx)
}

// copySuffix is at the end of the name of a database that is to replace another.
const copySuffix = ".copy"

// reopen does the work with dbMu held.
func (a *Account) reopen(ctx context.Context) (accountRow, error) {
	row := accountRow{ID: 1}
	path := filepath.Join(a.path, indexFile)
	if err := database.CopyTo(ctx, a.db, path+copySuffix); err != nil {
		return row, err
	}
	if err := a.db.Close(); err != nil {
		return row, err
	}
	if err := os.Rename(path+copySuffix, path); err != nil {
		return row, err
	}
	if err := atomicfile.SyncDir(a.path); err != nil {
		return row, err
	}
	db, err := openDatabase(a.path)
	if err != nil {
		return row, err
	}
	a.db = db
	err = a.db.Read(ctx, func(tx *bstore.Tx) error { return tx.Get(&row) })
	return row, err
}

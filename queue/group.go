package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// gatherTime is how long changes that nobody is in a hurry for wait for others.
// Under load they so cost no commit of their own.
const gatherTime = 50 * time.Millisecond

// Limits of one commit.
const (
	groupMax     = 256  // Changes.
	groupRowsMax = 5000 // Messages, unless one change has more.
)

// change is something to be written, with others that wait.
type change struct {
	// run writes. It may run twice, so it sets all its results anew, and it checks
	// before it writes: one that fails after a write makes the others run again.
	run func(tx *tx) error

	// apply takes over what is on disk now, in the order of the commits; undo is
	// called instead if it is not. Both with DB.mu held, and both may be nil.
	apply, undo func()

	rows  int  // About how many messages it is about.
	alone bool // Shares no commit: rows and memory agree when it runs.
	late  bool // May wait for others, for gatherTime.

	err  error
	done chan struct{}
}

// tx is the transaction of a group.
type tx struct {
	*bstore.Tx
	db    *DB
	ctx   context.Context //nolint:containedctx // It is never cancelled.
	now   time.Time
	wrote bool

	finished map[int64]bool // Messages whose delivery ends in it.
	filing   []*logged      // Messages of the log that get their rows in it.
	hooks    *hookChanges   // Nil: none.
	counts   learnedCounts  // What it adds.
}

// insert, update and delete are the ways to write: a failure after them spoils
// the transaction.
func (tx *tx) insert(row any) error {
	tx.wrote = true
	return tx.Insert(row)
}

func (tx *tx) update(row any) error {
	tx.wrote = true
	return tx.Update(row)
}

func (tx *tx) delete(row any) error {
	tx.wrote = true
	return tx.Delete(row)
}

// commit has a change written and waits. When it returns nil the change is on disk
// and taken over.
func (db *DB) commit(c *change) error {
	db.submit(c)
	<-c.done
	return c.err
}

// submit has a change written; c.done is closed when it is.
func (db *DB) submit(c *change) {
	c.done = make(chan struct{})
	db.mu.Lock()
	db.pending = append(db.pending, c)
	db.mu.Unlock()
	select {
	case db.work <- struct{}{}:
	default:
	}
}

// commitLoop is the one goroutine that writes to the database. It ends when the
// queue closes.
func (db *DB) commitLoop() {
	defer close(db.done)
	for range db.work {
		for {
			db.gather()
			group := db.nextGroup()
			if len(group) == 0 {
				break
			}
			db.runGroup(group)
		}
	}
}

// gather waits until there is a change that is not late, at most gatherTime.
func (db *DB) gather() {
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	for db.onlyLate() {
		select {
		case _, open := <-db.work:
			if !open {
				return
			}
		case <-timer.C:
			return
		case <-db.stop:
			return
		}
	}
}

// onlyLate says whether all changes that wait can wait for more.
func (db *DB) onlyLate() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, c := range db.pending {
		if !c.late {
			return false
		}
	}
	return len(db.pending) > 0 && len(db.pending) < groupMax
}

// nextGroup takes changes that wait.
func (db *DB) nextGroup() []*change {
	db.mu.Lock()
	defer db.mu.Unlock()
	n, rows := 0, 0
	for n < len(db.pending) && n < groupMax {
		c := db.pending[n]
		if n > 0 && (c.alone || rows+c.rows > groupRowsMax) {
			break
		}
		rows += c.rows
		n++
		if c.alone {
			break
		}
	}
	group := db.pending[:n:n]
	if db.pending = db.pending[n:]; len(db.pending) == 0 {
		db.pending = nil
	}
	return group
}

// runGroup writes changes in one transaction. Those that fail before they write
// are left out; one that fails later makes the others run again without it, and it
// alone.
func (db *DB) runGroup(group []*change) {
	for len(group) > 0 {
		bad, err := db.tryGroup(group)
		if bad == nil || len(group) == 1 {
			db.settle(group, err)
			return
		}
		rest := make([]*change, 0, len(group)-1)
		for _, c := range group {
			c.err = nil
			if c != bad {
				rest = append(rest, c)
			}
		}
		db.runGroup(rest)
		group = []*change{bad}
	}
}

// settle takes over what changes have written, or gives up those that failed, and
// tells who waits.
func (db *DB) settle(group []*change, err error) {
	db.mu.Lock()
	db.applyFiled(db.filed)
	hooks := db.hooked
	db.filed, db.hooked = nil, nil
	if hooks != nil {
		db.applyHooks(hooks, time.Now())
	}
	for _, c := range group {
		if c.err == nil {
			c.err = err
		}
		after := c.apply
		if c.err != nil {
			after = c.undo
		}
		if after != nil {
			after()
		}
	}
	db.rearm()
	db.mu.Unlock()
	db.signal()
	if hooks != nil {
		db.tellHooks(hooks)
	}
	for _, c := range group {
		close(c.done)
	}
}

// tryGroup runs changes in one transaction and commits. It returns the change
// that spoiled the transaction, if one did, or the error of the commit.
func (db *DB) tryGroup(group []*change) (*change, error) {
	if err := db.Err(); err != nil {
		return nil, err
	}
	ctx := context.Background() //nolint:forbidigo // What is accepted is written whoever stops waiting.
	b, err := db.db.Begin(ctx, true)
	if err != nil {
		return nil, db.fail(fmt.Errorf("beginning transaction: %w", err))
	}
	t := &tx{Tx: b, db: db, ctx: ctx, now: db.clock.now(), finished: map[int64]bool{}}
	wrote := false
	for _, c := range group {
		t.wrote = false
		c.err = c.run(t)
		if c.err != nil && t.wrote {
			return c, db.rollback(t)
		}
		wrote = wrote || t.wrote
	}
	if !wrote {
		return nil, db.rollback(t)
	}
	return nil, db.commitGroup(t)
}

// commitGroup commits.
func (db *DB) commitGroup(t *tx) error {
	err := errors.Join(t.saveClock(), db.faults.Hit(FaultCommitBefore))
	if err == nil {
		err = db.commitOrRoom(t)
	} else {
		err = errors.Join(diskFull(err), t.Rollback())
	}
	if errors.Is(err, ErrDiskFull) {
		db.unfile(t)
		return db.failOrFull(fmt.Errorf("committing: %w", err))
	}
	if err == nil {
		err = db.faults.Hit(FaultCommitAfter)
	}
	if err != nil {
		return db.fail(fmt.Errorf("committing: %w", err))
	}
	db.noteRoom()
	db.filed, db.hooked = t.filing, t.hooks
	db.counted(&t.counts)
	return nil
}

// rollback undoes a transaction.
func (db *DB) rollback(t *tx) error {
	db.unfile(t)
	if err := t.Rollback(); err != nil {
		return db.fail(fmt.Errorf("rolling back: %w", err))
	}
	return nil
}

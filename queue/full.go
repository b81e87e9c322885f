package queue

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/mjl-/mox/database"
)

// A full disk is no failure: it is found before anything that is known is changed,
// and what was acknowledged is on disk. The queue takes no more (ErrDiskFull), begins
// no delivery that it could not record, keeps what came of those that run in memory,
// and goes on by itself when there is room.

// fullRetry is the time between two attempts to write to a disk that is full.
const fullRetry = 2 * time.Second

// fullLogEvery is how often it is logged that the disk is full.
const fullLogEvery = 10 * time.Minute

// isFull says whether an error means that the disk is full, or what the user may have
// of it.
func isFull(err error) bool {
	return errors.Is(err, ErrDiskFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// diskFull makes an error that means so ErrDiskFull.
func diskFull(err error) error {
	if isFull(err) && !errors.Is(err, ErrDiskFull) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// fullDisk is what is known of a disk that is full. DB.mu guards it.
type fullDisk struct {
	until     time.Time    // No delivery is begun before. With a monotonic reading; zero: there was room.
	logged    time.Time    // Likewise, when it was logged.
	logLogged time.Time    // Likewise, of the log of the queue.
	owed      []*finishing // Deliveries that have ended, and are not on record.
}

// failOrFull notes that writing failed: for good, unless the disk is full.
func (db *DB) failOrFull(err error) error {
	if !isFull(err) {
		return db.fail(err)
	}
	db.noteFull(err)
	return diskFull(err)
}

// noteFull notes that something could not be written since the disk is full.
func (db *DB) noteFull(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	now := time.Now()
	db.full.until = now.Add(fullRetry)
	db.armSettle(settleEvery)
	if db.full.logged.IsZero() || now.Sub(db.full.logged) >= fullLogEvery {
		db.full.logged = now
		db.log.Error("the disk of the queue is full: no mail is taken, and few deliveries are made, until there is room", "err", err)
	}
}

// noteRoom notes that something was written.
func (db *DB) noteRoom() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.full.until.IsZero() {
		return
	}
	db.full.until, db.full.logged = time.Time{}, time.Time{}
	db.log.Info("there is room on the disk of the queue again")
}

// waitsForRoom says for how long no delivery is to be begun. db.mu is held.
func (db *DB) waitsForRoom(now time.Time) time.Duration {
	if db.full.until.IsZero() {
		return 0
	}
	return max(0, db.full.until.Sub(now))
}

// commitOrRoom commits. If the disk is full it returns ErrDiskFull, and nothing is
// changed.
//
// A commit that fails for that is not made as long as the last page, that makes it
// count, is not written: it takes the place of another one and needs no room. Should
// it be there nevertheless, that is a failure as any other.
func (db *DB) commitOrRoom(t *tx) error {
	before, err := db.sequence()
	if err != nil {
		return errors.Join(err, t.Rollback())
	}
	if err = t.Commit(); err == nil || !isFull(err) && !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return err // bbolt has some errors as text only.
	}
	if after, serr := db.sequence(); serr != nil || after != before {
		return fmt.Errorf("after a commit that was made nevertheless: %w", errors.Join(errCommitted, serr))
	}
	return fmt.Errorf("%w: %w", ErrDiskFull, err)
}

// errCommitted means that nobody knows whether a commit is on disk.
var errCommitted = errors.New("the disk is full, and what is on it is not known")

// sequence returns the number of the last commit.
func (db *DB) sequence() (uint64, error) { return database.Sequence(db.index) }

// payOwed records what came of deliveries that ended while the disk was full.
func (db *DB) payOwed() {
	db.mu.Lock()
	owed := db.full.owed
	db.full.owed = nil
	db.mu.Unlock()
	for _, f := range owed {
		if err := db.recordEnd(f, false); err != nil && !isFull(err) {
			db.log.Error("recording a delivery that ended while the disk was full", "err", err)
		}
	}
}

// giveBack ends a lease that could not be begun: what it has is due.
func (db *DB) giveBack(l *lease) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, e := range db.schedule.end(l) {
		db.schedule.makeReady(e)
	}
}

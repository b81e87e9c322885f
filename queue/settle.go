package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
)

const (
	// settleEvery is the time between two looks at what the log can forget, while
	// there is anything in it.
	settleEvery = time.Second

	// fileAfter is when a message gets its rows that was not handed over until then.
	// Under load hand-overs take a second or two.
	fileAfter = 5 * time.Second

	// memoryMax bounds the contents kept in memory, in bytes. Beyond half of it
	// messages get their rows at once, beyond all of it contents are files from the
	// beginning.
	memoryMax = 64 << 20
)

// loggedRow is a message of the log above logRow.Seq that has got its rows. They
// may be gone again: the record is then not to be read at a start.
type loggedRow struct {
	Seq int64 `bstore:"noauto"`
}

// logRow says what is to be read of the log at a start. There is one, with id 1.
type logRow struct {
	ID      int64
	Journal string // Its id. Empty in copies, which have no log.
	Seq     int64  // Records up to this one are settled: the messages have rows, or are retired.

	// The next ids to be given. Messages that never had rows have used some.
	NextMessage, NextContent, NextPrefix int64
}

// armSettle has settleLoop look again after d, unless it will anyway. db.mu is
// held.
func (db *DB) armSettle(d time.Duration) {
	if db.memory > memoryMax/2 {
		d = 0
	} else if db.settling {
		return
	}
	db.settling = true
	db.settleTimer.Reset(d)
}

// settleLoop settles what is in the log until the queue closes.
func (db *DB) settleLoop() {
	defer close(db.settled)
	for {
		select {
		case <-db.settleTimer.C:
		case <-db.stop:
			return
		}
		db.mu.Lock()
		after := fileAfter
		if db.memory > memoryMax/2 {
			after = 0
		}
		db.settling = false
		db.mu.Unlock()
		db.payOwed()
		if err := db.settleOlder(time.Now().Add(-after)); err != nil && db.Err() == nil && !isFull(err) {
			db.log.Error("moving messages from the log to the database, trying again", "err", err)
		}
		db.mu.Lock()
		if len(db.logged)+len(db.full.owed) > 0 && db.err == nil {
			db.armSettle(settleEvery)
		}
		db.mu.Unlock()
	}
}

// flush makes rows of all messages that have been added, for those who look at
// rows, and has the log forget them.
func (db *DB) flush() error {
	db.mu.Lock()
	empty := len(db.logged) == 0
	db.mu.Unlock()
	if empty {
		return nil
	}
	if err := db.settleOlder(time.Time{}); err != nil {
		return fmt.Errorf("moving messages from the log to the database: %w", err)
	}
	return nil
}

// settleOlder makes rows of messages that were added before a time, zero for all
// that are known, and has the log forget what it can: all of those, and each other
// one that needs it no more.
func (db *DB) settleOlder(before time.Time) error {
	db.settleMu.Lock()
	defer db.settleMu.Unlock()
	all := db.chosen(func(l *logged) bool { return before.IsZero() || l.added.Before(before) })
	for len(all) > 0 {
		n, rows := 0, 0
		for ; n < len(all) && rows < chunkMax; n++ {
			rows += len(all[n].rows)
		}
		if err := db.settleSome(all[:n], rows); err != nil {
			return err
		}
		all = all[n:]
	}
	return db.forgetSettled()
}

// chosen returns what is in the log and passes, oldest first.
func (db *DB) chosen(pass func(l *logged) bool) []*logged {
	db.mu.Lock()
	defer db.mu.Unlock()
	var all []*logged
	for _, l := range db.logged {
		if !l.settled() && pass(l) {
			all = append(all, l)
		}
	}
	return all
}

// settleSome makes rows of messages that have none, and has their files synced.
func (db *DB) settleSome(all []*logged, rows int) error {
	err := db.commit(&change{rows: rows, run: func(tx *tx) error {
		for _, l := range all {
			if err := tx.file(l); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, min(syncsMax, len(all)))
	for i := range errs {
		wg.Go(func() {
			for at := i; at < len(all); at += len(errs) {
				errs[i] = errors.Join(errs[i], db.syncFile(all[at]))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return db.fail(err)
	}
	return nil
}

// file makes the rows of a message, unless it has them or needs none.
func (tx *tx) file(l *logged) error {
	db := tx.db
	db.mu.Lock()
	if l.filed || l.filing || l.left == 0 {
		db.mu.Unlock()
		return nil
	}
	l.filing = true
	db.mu.Unlock()
	if err := db.writeFile(l); err != nil {
		db.mu.Lock()
		l.filing = false
		db.mu.Unlock()
		return db.failOrFull(err)
	}
	tx.filing = append(tx.filing, l)
	if err := errors.Join(tx.insertLogged(l), tx.insertOver(l)); err != nil {
		return err
	}
	return tx.insert(&loggedRow{Seq: int64(l.seq)})
}

// fileOf makes the rows of a content's messages, if the log has them.
func (tx *tx) fileOf(content int64) error {
	tx.db.mu.Lock()
	l := tx.db.recent[content]
	tx.db.mu.Unlock()
	if l == nil {
		return nil
	}
	return tx.file(l)
}

// insertLogged inserts the rows of a message, but for those that are over.
func (tx *tx) insertLogged(l *logged) error {
	content := l.content
	content.Messages = int64(l.left)
	for i := range l.prefixes {
		p := l.prefixes[i]
		if err := tx.insert(&p); err != nil {
			return err
		}
	}
	if err := tx.insert(&content); err != nil {
		return err
	}
	for i := range l.rows {
		if l.over[i] {
			continue
		}
		r := l.rows[i]
		if err := tx.insert(&r); err != nil {
			return err
		}
		if r.M.FromID != "" {
			if err := tx.putFromID(newFromIDRow(&r.M)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeFile writes a content that is in memory to its file, not yet durably. A
// crash may have left another with the name.
func (db *DB) writeFile(l *logged) error {
	if l.data == nil {
		return nil
	}
	db.mu.Lock()
	db.loose[l.content.Name] = true
	db.mu.Unlock()
	err := os.WriteFile(db.contentPath(l.content.Name), l.data, contentPerm)
	if err == nil {
		err = db.faults.Hit(FaultFiled)
	}
	if err != nil {
		return fmt.Errorf("writing content of a message in the log: %w", err)
	}
	return nil
}

// syncContent makes the file of a content durable that only the log has for certain.
func (db *DB) syncContent(id int64) error {
	db.mu.Lock()
	l := db.recent[id]
	db.mu.Unlock()
	if l == nil {
		return nil
	}
	return db.syncFile(l)
}

// syncFile makes the file of a message durable, unless it is or has gone.
func (db *DB) syncFile(l *logged) error {
	db.mu.Lock()
	done := l.synced || l.gone || l.left == 0 && !l.filed
	db.mu.Unlock()
	if done {
		return nil
	}
	path := db.contentPath(l.content.Name)
	err := syncFile(path)
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(path))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // Retired meanwhile, or somebody took it, which is found when its turn comes.
	}
	if err == nil {
		err = db.faults.Hit(FaultFileSynced)
	}
	if err != nil {
		return fmt.Errorf("syncing content of a message in the log: %w", err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	l.synced = true
	return nil
}

// unfile gives up what a transaction had begun to make rows of.
func (db *DB) unfile(tx *tx) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, l := range tx.filing {
		l.filing = false
	}
	tx.filing = nil
}

// applyFiled takes over that messages have rows. db.mu is held.
func (db *DB) applyFiled(all []*logged) {
	for _, l := range all {
		l.filing, l.filed = false, true
		delete(db.loose, l.content.Name)
		db.dropData(l)
	}
}

// forget has the log forget what is settled.
func (db *DB) forget() error {
	db.settleMu.Lock()
	defer db.settleMu.Unlock()
	return db.forgetSettled()
}

// forgetSettled has the log forget what is settled, up to the first that is not.
func (db *DB) forgetSettled() error {
	var past []*logged
	run := func(tx *tx) error {
		past = db.settledHead()
		if len(past) == 0 {
			return nil
		}
		for _, l := range past {
			if err := tx.settle(l); err != nil {
				return err
			}
		}
		return tx.putLog(int64(past[len(past)-1].seq))
	}
	apply := func() {
		db.logged = append(db.logged[:0:0], db.logged[len(past):]...)
		for _, l := range past {
			delete(db.recent, l.content.ID)
			db.unclaim(l.claims)
		}
	}
	for len(db.settledHead()) > 0 {
		if err := db.commit(&change{run: run, apply: apply}); err != nil {
			return err
		}
		if _, err := db.journal.RemoveThrough(past[len(past)-1].seq); err != nil {
			db.log.Error("removing segments of the log", "err", err)
		}
	}
	return nil
}

// settledHead returns what the log can forget.
func (db *DB) settledHead() []*logged {
	db.mu.Lock()
	defer db.mu.Unlock()
	n := 0
	for n < len(db.logged) && n < groupRowsMax && db.logged[n].settled() {
		n++
	}
	return db.logged[:n:n]
}

// settle writes what is left of a message that the log is to forget.
func (tx *tx) settle(l *logged) error {
	if l.filed {
		return tx.delete(&loggedRow{Seq: int64(l.seq)})
	}
	return tx.insertOver(l)
}

// insertOver inserts what is kept of messages that were retired without row.
func (tx *tx) insertOver(l *logged) error {
	for _, h := range l.handed {
		if err := tx.keepKey(h); err != nil {
			return err
		}
	}
	for i := range l.retired {
		if err := tx.keep(l.retired[i]); err != nil {
			return err
		}
	}
	for _, from := range l.froms {
		r := *from
		if err := tx.putFromID(&r); err != nil {
			return err
		}
	}
	return nil
}

// putLog notes up to where the log is settled.
func (tx *tx) putLog(seq int64) error {
	db := tx.db
	db.mu.Lock()
	row := logRow{ID: 1, Journal: db.journal.ID(), Seq: seq, NextMessage: db.ids.message, NextContent: db.ids.content, NextPrefix: db.ids.prefix}
	db.mu.Unlock()
	err := tx.Get(&logRow{ID: 1})
	if errors.Is(err, bstore.ErrAbsent) {
		return tx.insert(&row)
	} else if err != nil {
		return err
	}
	return tx.update(&row)
}

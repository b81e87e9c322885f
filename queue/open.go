package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/internal/fault"
)

// Defaults and limits of a queue.
const (
	deliveriesMaxDefault  = 100
	destinationMaxDefault = 5
	localMaxDefault       = 50

	// remoteRcptsMax is how many recipients every server takes in one transaction:
	// RFC 5321, section 4.5.3.1.8.
	remoteRcptsMax = 100
	localRcptsMax  = 500

	// leaseTime is longer than any delivery takes. It is for those that never end,
	// because of a mistake: their messages are tried again.
	leaseTime = 6 * time.Hour

	indexFile = "index.db"
)

// DB is an open queue. It is safe for concurrent use.
type DB struct {
	opts     Options
	log      *slog.Logger
	faults   *fault.Set
	db       *bstore.DB
	contents contents
	syncs    chan struct{} // Taken while a content is synced.

	work   chan struct{} // Wakes the committer.
	done   chan struct{} // Closed when the committer has ended.
	wake   chan struct{} // Wakes one Next.
	stop   chan struct{} // Closed when the queue closes.
	failed chan struct{}
	calls  sync.WaitGroup // Calls that run.

	randMu sync.Mutex // Guards opts.Rand.

	mu       sync.Mutex
	schedule *schedule
	bytes    int64       // Of all messages in the schedule.
	timer    *time.Timer // Wakes a Next when something becomes due.
	pending  []*change
	closing  bool
	err      error
	pins     int      // Backups that run: contents stay.
	unlinks  []string // Contents to be removed after them.

	confirmMu sync.Mutex
	confirmAt string // The last key Unconfirmed returned.
}

// Open opens the queue in opts.Dir. Messages that were being delivered when the
// process died wait for their next attempt; contents without rows are removed.
// Messages without content are held, and that is logged as an error.
func Open(ctx context.Context, opts Options) (*DB, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	if err := atomicfile.MkdirAll(filepath.Join(opts.Dir, contentDir), dirPerm); err != nil {
		return nil, fmt.Errorf("making queue directory: %w", err)
	}
	now := time.Now()
	l := limits{opts.DeliveriesMax, opts.DestinationMax, opts.LocalMax, remoteRcptsMax, localRcptsMax}
	db := &DB{
		opts: opts, log: opts.Log, faults: opts.Faults, syncs: make(chan struct{}, syncsMax),
		work: make(chan struct{}, 1), done: make(chan struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{}), failed: make(chan struct{}),
		schedule: newSchedule(now, l, leaseTime, opts.Local),
	}
	var err error
	if db.db, err = database.Open(filepath.Join(opts.Dir, indexFile), "queue", schemaVersion, rowTypes...); err != nil {
		return nil, err
	}
	if err := db.recover(ctx, now); err != nil {
		return nil, errors.Join(err, db.db.Close())
	}
	db.timer = time.AfterFunc(time.Hour, db.signal)
	db.signal()
	go db.commitLoop()
	return db, nil
}

// complete checks options and fills in defaults.
func (o *Options) complete() error {
	if o.Dir == "" || o.Log == nil || o.Rand == nil || o.Local == nil {
		return errors.New("queue: options are missing")
	}
	if err := o.Schedule.Check(); err != nil {
		return err
	}
	for _, n := range []struct {
		value *int
		zero  int
	}{{&o.DeliveriesMax, deliveriesMaxDefault}, {&o.DestinationMax, destinationMaxDefault}, {&o.LocalMax, localMaxDefault}} {
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	if o.KeepRetired == nil {
		o.KeepRetired = func(string) time.Duration { return 0 }
	}
	if o.DiskFree == nil {
		dir := o.Dir
		o.DiskFree = func() (int64, error) { return atomicfile.Free(dir) }
	}
	return nil
}

// Close waits for running calls; Next returns ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closing {
		db.mu.Unlock()
		return ErrClosed
	}
	db.closing = true
	db.mu.Unlock()
	close(db.stop)
	db.timer.Stop()
	db.calls.Wait()
	close(db.work)
	<-db.done
	return db.db.Close()
}

// enter begins a call. The caller calls leave at its end.
func (db *DB) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	switch {
	case db.closing:
		return nil, ErrClosed
	case db.err != nil:
		return nil, db.err
	}
	db.calls.Add(1)
	return db.calls.Done, nil
}

// Failed is closed when the queue can't be written any more. The process must then
// stop in order and exit 1: a restart finds out what is on disk.
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Err returns why Failed is closed, or nil. It wraps ErrFailed.
func (db *DB) Err() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.err
}

// fail notes that writing failed, and returns the first such error.
func (db *DB) fail(err error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.err == nil {
		db.err = fmt.Errorf("%w: %w", ErrFailed, err)
		close(db.failed)
		db.log.Error("writing to the queue failed, it takes no more mail", "err", err)
	}
	return db.err
}

// observe reports an event if somebody wants to know.
func (db *DB) observe(kind string, m Message) {
	if db.opts.Observe != nil {
		db.opts.Observe(Event{Kind: kind, Account: m.Account})
	}
}

// recover makes the state in memory from what is on disk, and sets right what the
// end of the last process has left.
func (db *DB) recover(ctx context.Context, now time.Time) error {
	rows, err := db.readContents(ctx)
	if err != nil {
		return err
	}
	broken, err := db.checkContents(rows)
	if err != nil {
		return err
	}
	now = now.Round(0)
	var repaired []int64
	joiner := joiner{last: map[joinKey]*entry{}}
	err = bstore.QueryDB[messageRow](ctx, db.db).ForEach(func(r messageRow) error {
		if db.repair(&r, broken, now) {
			repaired = append(repaired, r.ID)
		}
		db.enlist(&r, &joiner)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading messages: %w", err)
	}
	for len(repaired) > 0 {
		n := min(len(repaired), chunkMax)
		err := db.db.Write(ctx, func(tx *bstore.Tx) error {
			for _, id := range repaired[:n] {
				r := messageRow{ID: id}
				if err := tx.Get(&r); err != nil {
					return err
				}
				db.repair(&r, broken, now)
				if err := tx.Update(&r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("setting right messages: %w", err)
		}
		repaired = repaired[n:]
	}
	return nil
}

// chunkMax is how many rows are changed in one transaction when nobody waits for
// all of them together.
const chunkMax = 1000

// repair sets right a row that was read at start. It says whether it changed it.
func (db *DB) repair(r *messageRow, broken map[int64]string, now time.Time) bool {
	m, changed := &r.M, false
	if m.State == Delivering {
		m.State, m.LeaseUntil, changed = Waiting, time.Time{}, true
	}
	if why := broken[m.ContentID]; why != "" && m.State != Held {
		m.State, changed = Held, true
		r.addResult(Result{Start: now, Error: why})
	}
	// The clock may have been wrong when these were written.
	if m.Queued.After(now) {
		m.Queued, changed = now, true
	}
	if m.LastAttempt.After(now) {
		m.LastAttempt, changed = now, true
	}
	if latest := now.Add(db.opts.Schedule.longest()); !r.Chosen && m.NextAttempt.After(latest) {
		m.NextAttempt, changed = latest, true
	}
	return changed
}

// addResult adds a result to those kept.
func (r *messageRow) addResult(res Result) {
	res.Start = res.Start.Round(0)
	res.Error = cut(res.Error, resultErrorMax)
	r.M.Results = append(r.M.Results, res)
	if n := len(r.M.Results); n > ResultsMax {
		r.M.Results = r.M.Results[n-ResultsMax:]
	}
}

// resultErrorMax bounds the text of a result, in bytes.
const resultErrorMax = 1000

// readContents returns all contents by their names.
func (db *DB) readContents(ctx context.Context) (map[string]contentRow, error) {
	rows := map[string]contentRow{}
	err := bstore.QueryDB[contentRow](ctx, db.db).ForEach(func(c contentRow) error {
		rows[c.Name] = contentRow{ID: c.ID, Size: c.Size}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading contents: %w", err)
	}
	return rows, nil
}

// checkContents looks at all content files. It removes those without row, and
// returns what is wrong with the contents whose file is missing or has another
// size.
func (db *DB) checkContents(rows map[string]contentRow) (broken map[int64]string, err error) {
	dirs, err := os.ReadDir(db.contentPath(""))
	if err != nil {
		return nil, err
	}
	broken = map[int64]string{}
	for _, dir := range dirs {
		files, err := os.ReadDir(db.contentPath(dir.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading content directory: %w", err)
		}
		for _, f := range files {
			name := dir.Name() + "/" + f.Name()
			row, ok := rows[name]
			if !ok {
				db.log.Info("removing content without message", "file", name)
				if err := os.Remove(db.contentPath(name)); err != nil {
					return nil, fmt.Errorf("removing content without message: %w", err)
				}
				continue
			}
			delete(rows, name)
			if why := checkFile(db.contentPath(name), row.Size); why != "" {
				broken[row.ID] = why
				db.log.Error("messages without their content are held", "file", name, "err", why)
			}
		}
	}
	for name, row := range rows {
		broken[row.ID] = "content file is missing"
		db.log.Error("messages without their content are held", "file", name, "err", "content file is missing")
	}
	return broken, nil
}

// checkFile returns what is wrong with a content file, empty if nothing is.
func checkFile(path string, size int64) string {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "content file is missing"
	case err != nil:
		return fmt.Sprintf("content file can't be read: %v", err)
	case !info.Mode().IsRegular() || info.Size() != size:
		return fmt.Sprintf("content file has %d bytes, not %d", info.Size(), size)
	}
	return ""
}

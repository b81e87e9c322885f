package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/webhook"
)

// Defaults and limits of a queue.
const (
	deliveriesMaxDefault  = 100
	destinationMaxDefault = 5
	localMaxDefault       = 200

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
	opened   time.Time
	cautious time.Duration // See Options.Cautious.

	work   chan struct{} // Wakes the committer.
	done   chan struct{} // Closed when the committer has ended.
	wake   chan struct{} // Wakes one Next.
	stop   chan struct{} // Closed when the queue closes.
	failed chan struct{}
	calls  sync.WaitGroup // Calls that run.

	journal     *journal.Journal
	hookWake    chan struct{} // Wakes one NextHook.
	settleTimer *time.Timer   // Wakes settleLoop.
	settled     chan struct{} // Closed when settleLoop has ended.
	settleMu    sync.Mutex    // Held by the one who settles.
	kept        atomic.Int64  // Retired messages, at most.
	index       *os.File      // The file of db, to be read.
	clock       clock

	unsure       []int64       // Messages that were provisional at start. Only Open uses it, and the next.
	pendingRules []holdRuleRow // Rules that were not applied to all messages.

	hooked *hookChanges // Of the last commit. Only the committer uses it.
	filed  []*logged    // Those that have got rows by the last commit. Only the committer uses it.

	randMu sync.Mutex // Guards opts.Rand.

	mu       sync.Mutex
	schedule *schedule
	hooks    *hookQueue
	bytes    int64       // Of all messages in the schedule.
	timer    *time.Timer // Wakes a Next when something becomes due.
	pending  []*change
	closing  bool
	err      error
	pins     int             // Backups that run: contents stay.
	unlinks  []string        // Contents to be removed after them.
	loose    map[string]bool // Contents that have a file and no row: not added yet, or retired.
	ids      counters
	logged   []*logged         // What the log has not forgotten, in its order.
	recent   map[int64]*logged // The same, by content.
	claims   map[int64]bool    // FromIDs of messages that are being added, or that are in the log: they may have no row yet.
	counts   learnedCounts     // Rows of what was learned of recipients.
	memory   int64             // Bytes of contents in memory.
	settling bool              // settleTimer is set.
	future   map[string]int    // Messages with FutureRelease, by account.
	full     fullDisk
	rules    *ruleSet
	followed time.Duration // By how much the time has jumped, as far as what waits knows.
	doubted  bool          // It was logged that the clock is wrong.
	oldRules []*ruleSet    // That may still have users.

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
		opened: now, cautious: cmp.Or(opts.Cautious, cautiousDefault),
		work: make(chan struct{}, 1), done: make(chan struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{}), failed: make(chan struct{}),
		settled: make(chan struct{}), schedule: newSchedule(now, l, leaseTime, opts.Local), loose: map[string]bool{}, recent: map[int64]*logged{},
		hookWake: make(chan struct{}, 1), hooks: newHookQueue(now, opts.HooksMax),
		rules:  &ruleSet{},
		future: map[string]int{},
		claims: map[int64]bool{},
	}
	db.kept.Store(math.MaxInt32) // Not counted yet.
	db.clock.mistake = opts.ClockMistake
	var err error
	if db.db, err = database.Open(filepath.Join(opts.Dir, indexFile), "queue", schemaVersion, rowTypes...); err != nil {
		return nil, err
	}
	if db.index, err = os.Open(filepath.Join(opts.Dir, indexFile)); err != nil {
		return nil, errors.Join(err, db.closeFiles())
	}
	// A process that was killed may have made files and directories, without a sync.
	err = errors.Join(atomicfile.SyncDir(opts.Dir), atomicfile.SyncDir(filepath.Dir(opts.Dir)))
	if err == nil {
		err = db.openAll(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.closeFiles())
	}
	db.timer, db.settleTimer = time.AfterFunc(time.Hour, db.signal), time.NewTimer(time.Hour)
	db.hooks.timer = time.AfterFunc(time.Hour, db.signalHooks)
	db.settleTimer.Stop()
	db.signal()
	db.signalHooks()
	go db.commitLoop() //nolint:contextcheck // It writes what was accepted whoever stops waiting.
	go db.settleLoop()
	if err := errors.Join(db.dropUnsure(ctx), db.applyPending(ctx)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openAll opens the log, and makes the state in memory. From then on the log takes
// records.
func (db *DB) openAll(ctx context.Context) error {
	if err := db.openClock(ctx); err != nil {
		return fmt.Errorf("reading the time: %w", err)
	}
	now := db.clock.now()
	if err := db.openLog(); err != nil {
		return err
	}
	if err := db.replayLog(ctx); err != nil {
		return err
	}
	if err := db.recover(ctx, now); err != nil {
		return err
	}
	if err := db.recoverHooks(ctx, now); err != nil {
		return err
	}
	if err := db.countLearned(ctx); err != nil {
		return err
	}
	if err := db.journal.Start(); err != nil {
		return err
	}
	_, err := db.journal.RemoveThrough(db.journal.Head())
	return err
}

// closeFiles closes what is open.
func (db *DB) closeFiles() error {
	var err error
	if db.journal != nil {
		err = db.journal.Close()
	}
	if db.index != nil {
		err = errors.Join(err, db.index.Close())
	}
	return errors.Join(err, db.db.Close())
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
	}{{&o.DeliveriesMax, deliveriesMaxDefault}, {&o.DestinationMax, destinationMaxDefault}, {&o.LocalMax, localMaxDefault}, {&o.HooksMax, hooksMaxDefault}, {&o.HooksPerAccount, hooksAccountDefault}, {&o.HooksRetiredMax, hooksRetiredMax}} {
		if *n.value < 0 {
			return fmt.Errorf("queue: at most %d deliveries", *n.value)
		}
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	if o.InlineMax == 0 {
		o.InlineMax = inlineMaxDefault
	}
	if o.RetiredMax == 0 {
		o.RetiredMax = retiredMaxDefault
	}
	if o.KeepRetired == nil {
		o.KeepRetired = func(string) time.Duration { return 0 }
	}
	if o.KeepRetiredHooks == nil {
		o.KeepRetiredHooks = func(string) time.Duration { return 0 }
	}
	if o.Webhook == nil {
		o.Webhook = func(string, webhook.Event) (string, bool) { return "", false }
	}
	if o.DiskFree == nil {
		dir := o.Dir
		o.DiskFree = func() (int64, error) { return atomicfile.Free(dir) }
	}
	return nil
}

// Close waits for running calls; Next returns ErrClosed. It leaves nothing in the
// log, unless that fails: then the next start reads it.
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
	db.hooks.timer.Stop()
	db.calls.Wait()
	<-db.settled
	db.settleTimer.Stop()
	if db.Err() == nil {
		db.payOwed()
		if err := db.flush(); err != nil {
			db.log.Warn("messages stay in the log of the queue until the next start", "err", err)
		}
		if n := len(db.full.owed); n > 0 {
			db.log.Error("deliveries are not on record, as the disk is full: they will be made again", "deliveries", n)
		}
	}
	close(db.work)
	<-db.done
	return db.closeFiles()
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

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// Texts of results that are not those of an attempt.
const (
	attemptRunning = "the attempt did not end: the server stopped meanwhile"
	attemptsOver   = "no attempt succeeded in time; the last one did not end"
)

// signal wakes one Next.
func (db *DB) signal() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// rearm has a Next woken when something becomes due. db.mu is held.
func (db *DB) rearm() {
	now := time.Now()
	wait, ok := db.schedule.wait(now)
	wait = min(wait, clockTick)
	if room := db.waitsForRoom(now); room > 0 {
		wait, ok = room, true // What is due waits for that.
	}
	if db.closing || !ok {
		db.timer.Stop()
		return
	}
	db.timer.Reset(wait)
}

// cautiousDefault is how long after it was opened a queue gives out nothing for
// other servers before the attempt is on disk: if a message is what ended the process
// before, it must not end this one too, and so on for ever.
const cautiousDefault = 10 * time.Second

// quickMax bounds a content in bytes that is kept in memory for a delivery that begins
// before it has a file.
const quickMax = 64 << 10

// Next waits until something is due and within limits, leases it, and returns
// it. For remote work the attempt is on disk already, so that a crash counts as an
// attempt; but while more is due it is on its way there (Options.Cautious), and a
// process that dies in that moment forgets it. It returns ErrClosed after Close, or
// the error of ctx.
//
// Many goroutines may call it; those that do at once share a commit. Each Work
// must be given to Finish.
func (db *DB) Next(ctx context.Context) (*Work, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	for {
		w, err := db.tryNext(ctx)
		if w != nil || err != nil {
			db.signal() // There may be more, for another; or this one took the signal.
			return w, err
		}
		select {
		case <-db.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-db.stop:
			return nil, ErrClosed
		case <-db.failed:
			return nil, db.Err()
		}
	}
}

// Due tells whether messages for a domain of others are due and wait for their
// turn. It is cheap, and may say so of one that was just taken.
func (db *DB) Due(domain string) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.schedule.remote.waits(domain)
}

// tryNext leases what is due. It returns nil if nothing is.
func (db *DB) tryNext(ctx context.Context) (*Work, error) {
	for {
		select {
		case <-db.stop:
			return nil, ErrClosed
		default:
		}
		if err := errors.Join(ctx.Err(), db.Err()); err != nil {
			return nil, err
		}
		l, over := db.nextLease()
		switch {
		case over != nil:
			db.log.Error("a delivery has not ended in time, trying again", "messages", len(over.entries), "lease", leaseTime)
			if err := db.finish(over, nil); err != nil && !errors.Is(err, ErrLease) {
				return nil, err
			}
		case l == nil:
			return nil, nil
		default:
			w, err := db.begin(ctx, l)
			if w != nil || err != nil {
				return w, err
			}
		}
	}
}

// nextLease returns a new lease, or one whose time is over, or nothing.
func (db *DB) nextLease() (l, over *lease) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.followClock()
	now := time.Now()
	if db.waitsForRoom(now) > 0 {
		db.rearm()
		return nil, nil
	}
	if over := db.schedule.expired(now); over != nil && !over.finishing {
		return nil, over
	}
	l = db.schedule.lease(now)
	db.rearm()
	return l, nil
}

// begin makes Work of a lease. It returns nil if there is nothing to deliver after
// all.
func (db *DB) begin(ctx context.Context, l *lease) (*Work, error) {
	b := &beginning{db: db, lease: l, now: db.clock.now()}
	l.began = b.now
	if !b.readLogged() {
		if err := db.db.Read(context.WithoutCancel(ctx), b.read); err != nil {
			return nil, db.fail(fmt.Errorf("reading messages that are due: %w", err))
		}
	}
	db.mu.Lock()
	b.keepFirst()
	db.mu.Unlock()
	if why := b.problem(); why != "" {
		db.log.Error("messages without their content are held", "file", b.content.Name, "err", why, "messages", len(b.rows))
		return nil, db.finishHeld(l, why)
	}
	if l.local && b.data == nil {
		// Who gets it links the file, as one that is on disk.
		if err := db.syncContent(b.content.ID); err != nil {
			return nil, db.fail(err)
		}
	}
	l.fail = db.failure(&b.rows[0])
	if l.fail == "" && !l.local {
		if err := b.attempt(); isFull(err) {
			db.giveBack(l)
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	return b.work(), nil
}

// attempt notes that an attempt is made. That comes before what Finish writes of it
// in any case: changes are written in their order.
func (b *beginning) attempt() error {
	db := b.db
	c := &change{run: b.writer(), rows: len(b.rows)}
	for i := range b.rows {
		db.begun(&b.rows[i], b.now)
	}
	if time.Since(db.opened) >= db.cautious && len(b.data) <= quickMax && db.busy() {
		l := b.lease
		c.undo = func() { l.unwritten = true } // The disk is full, or all after it fails too.
		db.submit(c)
		return nil
	}
	b.data = nil // It has a file then.
	return db.commit(c)
}

// busy says whether more is due for other servers.
func (db *DB) busy() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.schedule.remote.lanes) > 0 && db.full.until.IsZero()
}

// work makes the Work.
func (b *beginning) work() *Work {
	l := b.lease
	w := &Work{Local: l.local, Size: b.content.Size, Fail: l.fail, lease: l}
	if b.data != nil && (l.local || l.fail == "") {
		w.Data = b.data
	} else {
		w.File = b.db.contentPath(b.content.Name)
	}
	for i := range b.rows {
		m := b.rows[i].message()
		m.Prefix, m.State, m.LeaseUntil = b.prefix, Delivering, b.now.Add(leaseTime)
		if l.local && l.fail == "" {
			m.begun(b.now)
		}
		w.Messages = append(w.Messages, m)
	}
	return w
}

// failure returns why a message is to fail without an attempt, empty if it is not.
func (db *DB) failure(r *messageRow) string {
	if r.Fail != "" {
		return r.Fail
	}
	if _, over := db.opts.Schedule.Next(r.M.Attempts, r.M.Counted(), r.M.LastAttempt, 0); over && r.M.Attempts > 0 {
		// The process died during the final attempt.
		return attemptsOver
	}
	return ""
}

// message returns the message of a row, without its prefix.
func (r *messageRow) message() Message {
	m := r.M
	m.ID = r.ID
	return m
}

// beginning is a lease that becomes Work.
type beginning struct {
	db      *DB
	lease   *lease
	now     time.Time
	rows    []messageRow
	content contentRow
	prefix  []byte
	data    []byte // Content, if it is in memory.
}

// readLogged takes the rows from memory, if they are in no other place yet.
func (b *beginning) readLogged() bool {
	db := b.db
	db.mu.Lock()
	defer db.mu.Unlock()
	g := db.recent[b.lease.entries[0].content]
	if g == nil || g.filed {
		return false
	}
	for _, e := range b.lease.entries {
		b.rows = append(b.rows, g.rows[g.row(e.id)])
	}
	b.content, b.prefix, b.data = g.content, b.rows[0].M.Prefix, g.data
	return true
}

// problem returns what is wrong with the content, empty if nothing is.
func (b *beginning) problem() string {
	if b.data != nil {
		return ""
	}
	return checkFile(b.db.contentPath(b.content.Name), b.content.Size)
}

// read reads the rows.
func (b *beginning) read(tx *bstore.Tx) error {
	b.rows = make([]messageRow, 0, len(b.lease.entries))
	for _, e := range b.lease.entries {
		r := messageRow{ID: e.id}
		if err := tx.Get(&r); err != nil {
			return err
		}
		b.rows = append(b.rows, r)
	}
	b.content.ID = b.rows[0].M.ContentID
	if err := tx.Get(&b.content); err != nil {
		return err
	}
	if id := b.rows[0].PrefixID; id != 0 {
		p := prefixRow{ID: id}
		if err := tx.Get(&p); err != nil {
			return err
		}
		b.prefix = p.Data
	}
	return nil
}

// keepFirst gives back messages that can't go with the first. db.mu is held.
func (b *beginning) keepFirst() {
	db, entries := b.db, b.lease.entries
	rows, kept := b.rows[:1], entries[:1]
	for i := 1; i < len(entries); i++ {
		if r := b.rows[i]; db.sameWork(&rows[0], &r) {
			rows, kept = append(rows, r), append(kept, entries[i])
			continue
		}
		db.schedule.move(entries[i], nowhere)
		db.schedule.makeReady(entries[i])
	}
	b.rows, b.lease.entries = rows, kept
}

// sameWork says whether two messages of one content and domain can go in one
// transaction.
func (db *DB) sameWork(a, b *messageRow) bool {
	sameTLS := a.M.RequireTLS == b.M.RequireTLS || a.M.RequireTLS != nil && b.M.RequireTLS != nil && *a.M.RequireTLS == *b.M.RequireTLS
	return sameTLS && a.M.MailFrom == b.M.MailFrom && a.PrefixID == b.PrefixID && a.M.Transport == b.M.Transport && db.failure(a) == db.failure(b)
}

// writer returns what writes that an attempt is made.
func (b *beginning) writer() func(tx *tx) error {
	db, content, now := b.db, b.content.ID, b.now
	ids := make([]int64, len(b.rows))
	for i := range b.rows {
		ids[i] = b.rows[i].ID
	}
	return func(tx *tx) error {
		if err := tx.fileOf(content); err != nil {
			return err
		}
		for _, id := range ids {
			r := messageRow{ID: id}
			if err := tx.Get(&r); err != nil {
				return err
			}
			db.begun(&r, now)
			if err := tx.update(&r); err != nil {
				return err
			}
		}
		return nil
	}
}

// begun changes a row as for an attempt that is made.
func (db *DB) begun(r *messageRow, now time.Time) {
	m := &r.M
	m.begun(now)
	m.State, m.LeaseUntil, r.Chosen = Delivering, now.Add(leaseTime), false
	m.NextAttempt = db.nextAttempt(r, now)
	r.addResult(Result{Start: now, Error: attemptRunning})
}

// nextAttempt returns when there would be another attempt after one at now, by the
// schedule alone.
func (db *DB) nextAttempt(r *messageRow, now time.Time) time.Time {
	next, over := db.opts.Schedule.Next(r.M.Attempts, r.M.Counted(), now, db.jitter())
	if over {
		next = now.Add(db.opts.Schedule.Wait(1))
	}
	return next.Round(0)
}

package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/webhook"
)

// failRetry is when a failure that came without a report is tried again.
const failRetry = time.Minute

// Finish records what came of Work, for all its messages, and ends the lease. It
// is on disk when Finish returns, but for messages that were handed over while only
// the log had them: that is noted within seconds, and until then accounts know their
// keys. A message without a report stays as if the process had died: the attempt
// counts. What else was handed over waits a moment for other changes. While the disk
// is full it is kept in memory.
//
// It does not stop when ctx ends: what came of an attempt must be kept.
func (db *DB) Finish(ctx context.Context, w *Work, reports []Report) error {
	leave, err := db.enter(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer leave()
	byID := make(map[int64]*Report, len(reports))
	for i := range reports {
		byID[reports[i].ID] = &reports[i]
	}
	for i := range w.Messages {
		if byID[w.Messages[i].ID] == nil {
			db.log.Warn("delivery without report", "message", w.Messages[i].ID)
		}
	}
	late := w.Local && !slices.ContainsFunc(reports, func(r Report) bool { return r.Retry || !r.Result.OK })
	notices := slices.ContainsFunc(reports, func(r Report) bool { return r.Notice != nil })
	if late && !notices && w.Fail == "" && !db.tells(w, byID) && db.finishLogged(w.lease, byID) {
		return nil
	}
	return db.endLease(&finishing{db: db, lease: w.lease, decide: db.reported(w.lease, byID), reports: byID}, late)
}

// tells says whether a webhook is to be told of a report. Then its message needs a
// row: it is told in the same commit.
func (db *DB) tells(w *Work, reports map[int64]*Report) bool {
	return slices.ContainsFunc(w.Messages, func(m Message) bool {
		rep := reports[m.ID]
		if rep == nil || rep.Event == "" || m.Account == "" {
			return false
		}
		_, ok := db.opts.Webhook(m.Account, rep.Event)
		return ok
	})
}

// finishLogged ends a lease of messages that were handed over, if they have no rows
// yet: then they get none. What it notes is on disk later. Until then a restart
// finds the message in the log, and the accounts say that they have it.
func (db *DB) finishLogged(l *lease, reports map[int64]*Report) bool {
	db.mu.Lock()
	unreported := func(e *entry) bool { return reports[e.id] == nil }
	if l == nil || l.ended || l.finishing || slices.ContainsFunc(l.entries, unreported) {
		db.mu.Unlock()
		return false
	}
	g := db.recent[l.entries[0].content]
	if g == nil || g.filed || g.filing {
		db.mu.Unlock()
		return false
	}
	now := db.clock.now()
	var over []Message
	for _, e := range l.entries {
		over = append(over, db.endLogged(g, l, reports[e.id], now))
	}
	for _, e := range db.schedule.end(l) {
		db.schedule.remove(e)
	}
	if g.left == 0 {
		db.dropData(g)
	}
	db.rearm()
	db.mu.Unlock()
	db.signal()
	for _, m := range over {
		db.observe(string(m.Outcome), m)
		db.observe("retired", m)
	}
	return true
}

// endLogged retires a message without row as delivered. db.mu is held.
func (db *DB) endLogged(g *logged, l *lease, rep *Report, now time.Time) Message {
	i := g.row(rep.ID)
	r := g.rows[i]
	attempted(&r, l, rep.Result)
	r.M.State, r.M.Outcome, r.M.RetiredAt, r.M.DelayTold = Retired, Delivered, now, rep.DelayTold
	r.M.LastActivity = now
	g.over[i] = true
	g.left--
	for _, h := range rep.Handed {
		r.hand(h)
	}
	g.handed = append(g.handed, r.Handed...)
	if keep := db.opts.KeepRetired(r.M.Account); keep > 0 {
		g.retired = append(g.retired, newRetired(&r))
	}
	if r.M.FromID != "" {
		g.froms = append(g.froms, retiredFromIDRow(r.message(), db.opts.KeepRetired(r.M.Account)))
	}
	db.weigh(&r.M, -1)
	return r.message()
}

// finish ends a lease with reports.
func (db *DB) finish(l *lease, reports map[int64]*Report) error {
	return db.endLease(&finishing{db: db, lease: l, decide: db.reported(l, reports), reports: reports}, false)
}

// reported returns what decides about the rows of a lease by reports.
func (db *DB) reported(l *lease, reports map[int64]*Report) decider {
	return func(r *messageRow, now time.Time) (Outcome, toTell) {
		rep := reports[r.ID]
		if rep == nil {
			return db.unreported(r, l, now), toTell{}
		}
		return db.report(r, l, rep, now), toTell{rep.Notice, rep.Event}
	}
}

// decider changes the row of a lease that ends, or returns the outcome with which
// it is retired, and what is to be told of it.
type decider func(r *messageRow, now time.Time) (Outcome, toTell)

// toTell is what is written in the commit that ends a lease, to be told after it.
type toTell struct {
	notice *Notice       // To the sender. Nil: none.
	event  webhook.Event // To a webhook. Empty: none.
}

// finishHeld ends a lease by holding its messages.
func (db *DB) finishHeld(l *lease, why string) error {
	return db.endLease(&finishing{db: db, lease: l, decide: func(r *messageRow, now time.Time) (Outcome, toTell) {
		r.M.State, r.M.HoldReason, r.M.HoldRule = Held, HeldDamaged, 0
		r.addResult(Result{Start: now, Error: why})
		return "", toTell{}
	}}, false)
}

// endLease ends a lease as its decide says. If late, that may wait for other changes.
func (db *DB) endLease(f *finishing, late bool) error {
	l := f.lease
	if l == nil {
		return ErrLease
	}
	db.mu.Lock()
	if l.ended || l.finishing {
		db.mu.Unlock()
		return ErrLease
	}
	l.finishing = true
	freed := db.schedule.free(l)
	db.mu.Unlock()
	if freed {
		db.signal()
	}

	if err := db.recordEnd(f, late); err != nil && !isFull(err) {
		return err
	}
	return nil
}

// recordEnd writes what came of a lease that ends. If the disk is full that is kept,
// to be written later.
func (db *DB) recordEnd(f *finishing, late bool) error {
	f.change = &change{run: f.run, apply: f.apply, undo: f.undo, rows: len(f.lease.entries), late: late}
	if err := db.commit(f.change); err != nil {
		return fmt.Errorf("recording deliveries: %w", err)
	}
	f.observe()
	db.removeContents(f.retire.gone)
	return nil
}

// finishing is a lease that ends: decide changes each row, or returns the outcome
// with which it is retired.
type finishing struct {
	db      *DB
	lease   *lease
	decide  decider
	reports map[int64]*Report // Nil if there are none.
	rows    []messageRow
	retire  retiring
	change  *change
}

// run changes or retires the rows.
func (f *finishing) run(tx *tx) error {
	f.rows, f.retire = f.rows[:0], retiring{}
	now := tx.now.Round(0)
	for _, e := range f.lease.entries {
		if err := tx.fileOf(e.content); err != nil {
			return err
		}
		r := messageRow{ID: e.id}
		if err := tx.Get(&r); err != nil {
			return err
		}
		outcome, tell := f.decide(&r, now)
		if outcome == "" && r.Drop {
			outcome, tell.event = Dropped, webhook.EventCanceled
		}
		if outcome == "" && r.HoldNext {
			r.M.State, r.HoldNext = Held, false
		}
		var err error
		if outcome == "" {
			err = tx.update(&r)
		} else {
			err = f.db.retire(tx, &f.retire, &r, outcome)
		}
		if err == nil && outcome == Delivered && tell.notice != nil {
			err = tx.keepNotice(*tell.notice)
		}
		suppressing := false
		if err == nil {
			suppressing, err = f.learn(tx, &r, outcome)
		}
		if err == nil {
			err = tx.tellResult(&r, tell.event, suppressing)
		}
		if err != nil {
			return err
		}
		f.rows = append(f.rows, r)
		tx.finished[r.ID] = true
	}
	return f.db.releaseContents(tx, &f.retire)
}

// learn notes what a row that was tried at another server tells of its recipient, and
// says whether that is suppressed because of it.
func (f *finishing) learn(tx *tx, r *messageRow, outcome Outcome) (suppressing bool, err error) {
	rep := f.reports[r.ID]
	if rep == nil || f.lease.local || f.lease.fail != "" {
		return false, nil
	}
	m := r.message()
	return tx.learn(&m, rep, outcome)
}

// apply puts what is left back into the schedule.
func (f *finishing) apply() {
	db := f.db
	db.loosen(&f.retire)
	entries := db.schedule.end(f.lease)
	for i, e := range entries {
		db.settleEntry(e, &f.rows[i])
	}
}

// undo ends the lease though nothing was written: the queue is failing. If the disk
// is full the lease stays, and what came of it is owed.
func (f *finishing) undo() {
	if isFull(f.change.err) {
		f.db.full.owed = append(f.db.full.owed, f)
		return
	}
	f.lease.finishing = false
}

// settleEntry puts an entry that is nowhere to where its row says, or forgets it.
// db.mu is held.
func (db *DB) settleEntry(e *entry, r *messageRow) {
	if r.M.State == Retired {
		db.schedule.remove(e)
		db.weigh(&r.M, -1)
		return
	}
	db.place(e, r)
}

// observe tells what became of each message.
func (f *finishing) observe() {
	for i := range f.rows {
		if m := f.rows[i].message(); m.State == Retired {
			f.db.observe(string(m.Outcome), m)
			f.db.observe("retired", m)
		} else if m.State == Waiting {
			f.db.observe("delayed", m)
		}
	}
}

// report changes a row as a report says, and returns the outcome if it is retired.
func (db *DB) report(r *messageRow, l *lease, rep *Report, now time.Time) Outcome {
	attempted(r, l, rep.Result)
	m := &r.M
	m.DelayTold = m.DelayTold || rep.DelayTold
	if rep.DialedIP != "" {
		m.DialedIP = rep.DialedIP
	}
	for _, h := range rep.Handed {
		r.hand(h)
	}
	switch {
	case !rep.Retry && rep.Result.OK:
		return Delivered
	case !rep.Retry:
		return Failed
	}
	m.State, m.LeaseUntil, m.NextAttempt, r.Chosen = Waiting, time.Time{}, rep.Next.Round(0), false
	if rep.Next.IsZero() {
		m.NextAttempt = db.nextAttempt(r, now)
	}
	return ""
}

// attempted adds the result of an attempt that was made, in place of the one that
// stands for it while it runs.
func attempted(r *messageRow, l *lease, res Result) {
	m := &r.M
	switch {
	case l.fail != "":
	case l.local, l.unwritten:
		m.begun(l.began)
		r.Chosen = false
	case len(m.Results) > 0:
		m.Results = m.Results[:len(m.Results)-1]
	}
	r.addResult(res)
}

// unreported changes a row of a delivery nothing was said of.
func (db *DB) unreported(r *messageRow, l *lease, now time.Time) Outcome {
	m := &r.M
	switch {
	case l.fail != "":
		m.NextAttempt = now.Add(failRetry)
	case l.local:
		m.Attempts++
		m.LastAttempt, r.Chosen = now, false
		m.NextAttempt = db.nextAttempt(r, now)
		r.addResult(Result{Start: now, Error: attemptRunning})
	default:
		// What is on disk is for this case.
	}
	m.State, m.LeaseUntil = Waiting, time.Time{}
	return ""
}

// hand notes a key that an account has.
func (r *messageRow) hand(h Handed) {
	for _, known := range r.Handed {
		if known == h {
			return
		}
	}
	r.Handed = append(r.Handed, h)
}

// retiring gathers what retired messages leave.
type retiring struct {
	contents map[int64]int64 // Messages retired, by content.
	gone     []string        // Contents to be removed after the commit.
	goneIDs  []int64         // Their ids.
}

// retire moves a message out of the queue.
func (db *DB) retire(tx *tx, rt *retiring, r *messageRow, outcome Outcome) error {
	m := &r.M
	m.State, m.Outcome, m.RetiredAt, m.LeaseUntil = Retired, outcome, tx.now.Round(0), time.Time{}
	m.HoldReason, m.HoldRule = "", 0
	if err := tx.delete(&messageRow{ID: r.ID}); err != nil {
		return err
	}
	for _, h := range r.Handed {
		if err := tx.keepKey(h); err != nil {
			return err
		}
	}
	if rt.contents == nil {
		rt.contents = map[int64]int64{}
	}
	rt.contents[m.ContentID]++
	m.LastActivity = m.RetiredAt
	keep := db.opts.KeepRetired(m.Account)
	if m.FromID != "" {
		if err := tx.putFromID(retiredFromIDRow(r.message(), keep)); err != nil {
			return err
		}
	}
	if keep <= 0 {
		return nil
	}
	return tx.keep(newRetired(r))
}

// keepKey inserts the row of a key that an account has.
func (tx *tx) keepKey(h Handed) error {
	row := handedRow{h.ref()}
	err := tx.Get(&row)
	if errors.Is(err, bstore.ErrAbsent) {
		err = tx.insert(&row)
	}
	return err
}

// releaseContents counts the retired messages out of their contents, and removes
// the rows of contents nobody needs any more.
func (db *DB) releaseContents(tx *tx, rt *retiring) error {
	for id, n := range rt.contents {
		c := contentRow{ID: id}
		if err := tx.Get(&c); err != nil {
			return err
		}
		if c.Messages -= n; c.Messages > 0 {
			if err := tx.update(&c); err != nil {
				return err
			}
			continue
		}
		for _, p := range c.Prefixes {
			if err := tx.delete(&prefixRow{ID: p}); err != nil {
				return err
			}
		}
		if err := tx.delete(&c); err != nil {
			return err
		}
		rt.gone, rt.goneIDs = append(rt.gone, c.Name), append(rt.goneIDs, c.ID)
	}
	return nil
}

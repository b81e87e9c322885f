package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// Release makes messages that were held when they were added wait for their attempt,
// unless a rule or an administrator holds them. Others it leaves as they are.
func (db *DB) Release(ctx context.Context, ids []int64) error {
	f := Filter{IDs: ids, State: Held}
	if ids == nil {
		f.IDs = []int64{}
	}
	_, err := db.edit(ctx, f, nil, func(r *messageRow, _ bool, _ time.Time) Outcome {
		r.Unsure = false
		if why := r.M.HoldReason; why != HeldByRule && why != HeldByAdmin {
			r.M.release()
		}
		return ""
	})
	return err
}

// Hold keeps messages from being tried until they are released, and returns those
// it did, without prefixes. One that is being delivered is held when that ends, if
// it is not retired then.
func (db *DB) Hold(ctx context.Context, f Filter) ([]Message, error) {
	return db.edit(ctx, f, nil, func(r *messageRow, delivering bool, _ time.Time) Outcome {
		return r.hold(delivering, HeldByAdmin, 0)
	})
}

// Unhold makes held messages wait for their attempt, whose time stays as it is, and
// returns those it did, without prefixes. Rules that are there hold them no more.
// Provisional ones stay held until they are released: nobody was told that they are
// taken.
func (db *DB) Unhold(ctx context.Context, f Filter) ([]Message, error) {
	return db.edit(ctx, f, nil, func(r *messageRow, _ bool, _ time.Time) Outcome {
		switch {
		case r.HoldNext:
			r.HoldNext, r.M.HoldReason, r.M.HoldRule = false, "", 0
		case r.M.State == Held && !r.Unsure:
			r.M.release()
		case r.Unsure && r.M.HoldReason != HeldProvisional:
			r.M.HoldReason, r.M.HoldRule = HeldProvisional, 0
		default:
			return unchanged
		}
		return ""
	})
}

// Reschedule changes the next attempt of messages that are not being delivered,
// and returns those it changed, without prefixes. next is called before any is
// changed; one for which it returns the zero time stays as it is.
func (db *DB) Reschedule(ctx context.Context, f Filter, next func(Message) time.Time) ([]Message, error) {
	times := map[int64]time.Time{}
	look := func(m *Message) { times[m.ID] = next(*m).Round(0) }
	return db.edit(ctx, f, look, func(r *messageRow, delivering bool, _ time.Time) Outcome {
		if delivering || times[r.ID].IsZero() {
			return unchanged
		}
		r.M.NextAttempt, r.Chosen = times[r.ID], true
		return ""
	})
}

// Drop retires messages without telling anybody, and returns those it did, without
// prefixes. Messages that are being delivered are retired when that ends, if it
// does not deliver them.
func (db *DB) Drop(ctx context.Context, f Filter) ([]Message, error) {
	return db.edit(ctx, f, nil, func(r *messageRow, delivering bool, _ time.Time) Outcome {
		if delivering {
			r.Drop = true
			return ""
		}
		return Dropped
	})
}

// FailNow makes the next attempt of messages fail without a try, for reason, so
// that their senders are told. It returns those it did, without prefixes. They
// come out of Next at once as Work with Fail set; those that are being delivered
// when that ends, if it does not deliver them.
func (db *DB) FailNow(ctx context.Context, f Filter, reason string) ([]Message, error) {
	if reason == "" {
		return nil, errors.New("queue: failing messages without a reason")
	}
	return db.edit(ctx, f, nil, func(r *messageRow, delivering bool, now time.Time) Outcome {
		r.Fail = cut(reason, resultErrorMax)
		if !delivering {
			r.M.release()
			r.M.NextAttempt = now
		}
		return ""
	})
}

// SetRequireTLS sets what is asked of TLS: true as REQUIRETLS does, false as
// TLS-Required: No, nil neither. It returns the messages that it changed, without
// prefixes. For one that is being delivered it counts from the next attempt on.
func (db *DB) SetRequireTLS(ctx context.Context, f Filter, require *bool) ([]Message, error) {
	return db.edit(ctx, f, nil, func(r *messageRow, _ bool, _ time.Time) Outcome {
		if sameBool(r.M.RequireTLS, require) {
			return unchanged
		}
		r.M.RequireTLS = require
		return ""
	})
}

// sameBool compares what may be unset.
func sameBool(a, b *bool) bool { return a == b || a != nil && b != nil && *a == *b }

// unchanged is what a function of edit returns for a row that stays as it is.
const unchanged Outcome = "unchanged"

// editor changes a row, or returns the outcome to retire it with, or unchanged. It
// may be called twice for a row.
type editor func(r *messageRow, delivering bool, now time.Time) Outcome

// edit changes messages that match, a part at a time, each part in one commit.
// look, if not nil, is called for each of them before.
func (db *DB) edit(ctx context.Context, f Filter, look func(m *Message), fn editor) ([]Message, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	match, err := f.prepare()
	if err != nil {
		return nil, err
	}
	if match.State == Retired {
		return nil, fmt.Errorf("%w: retired messages do not change", ErrFilter)
	}
	ids, err := db.choose(ctx, match, func(m *Message) bool {
		if look != nil {
			look(m)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	var changed []Message
	err = db.editIDs(ctx, match, ids, fn, func(r *messageRow) { changed = append(changed, r.message()) })
	return changed, err
}

// choose returns the ids of messages that match and pass, of messages with rows and
// of others.
func (db *DB) choose(ctx context.Context, match *matcher, pass func(m *Message) bool) (ids []int64, err error) {
	if err := db.flush(); err != nil {
		return nil, err
	}
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		return db.each(tx, match, func(m *Message) error {
			if match.Max > 0 && len(ids) == match.Max {
				return bstore.StopForEach
			}
			if pass(m) {
				ids = append(ids, m.ID)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("looking up messages: %w", err)
	}
	return ids, nil
}

// editIDs changes messages, a part at a time, and calls changed for each that fn
// has changed.
func (db *DB) editIDs(ctx context.Context, match *matcher, ids []int64, fn editor, changed func(r *messageRow)) error {
	for len(ids) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-db.stop:
			return ErrClosed
		default:
		}
		n := min(len(ids), chunkMax)
		e := &editing{db: db, match: match, fn: fn, ids: ids[:n], taken: map[*entry]bool{}}
		if err := db.commit(&change{run: e.run, apply: e.apply, undo: e.restore, rows: n}); err != nil {
			return fmt.Errorf("changing messages: %w", err)
		}
		for i := range e.rows {
			changed(&e.rows[i])
		}
		e.observe()
		db.removeContents(e.retire.gone)
		ids = ids[n:]
	}
	return nil
}

// editing is a part of what edit does.
type editing struct {
	db     *DB
	match  *matcher
	fn     editor
	ids    []int64
	rows   []messageRow    // Changed.
	taken  map[*entry]bool // Out of the schedule until it is committed; true were held.
	retire retiring
}

// run changes or retires the rows that still match: between looking them up and
// here they may have been delivered. Who is not being delivered is taken out of
// the schedule before its row is written, so that it is not leased meanwhile.
func (e *editing) run(tx *tx) error {
	e.rows, e.retire = nil, retiring{}
	now := tx.now.Round(0)
	for _, id := range e.ids {
		r := messageRow{ID: id}
		err := get(tx.Tx, &r)
		if errors.Is(err, ErrNoMessage) {
			continue
		} else if err != nil {
			return err
		}
		delivering := !e.take(id) && !tx.finished[id]
		m := r.message()
		if delivering {
			m.State = Delivering
		}
		if !e.match.match(&m) {
			continue
		}
		if err := e.change(tx, &r, delivering, now); err != nil {
			return err
		}
	}
	return e.db.releaseContents(tx, &e.retire)
}

// change changes one row.
func (e *editing) change(tx *tx, r *messageRow, delivering bool, now time.Time) error {
	switch outcome := e.fn(r, delivering, now); outcome {
	case unchanged:
		return nil
	case "":
		if err := tx.update(r); err != nil {
			return err
		}
	default:
		if err := e.db.retire(tx, &e.retire, r, outcome); err != nil {
			return err
		}
		if err := tx.tellCanceled(r); err != nil {
			return err
		}
	}
	e.rows = append(e.rows, *r)
	return nil
}

// take takes a message out of the schedule; false if it is being delivered.
func (e *editing) take(id int64) bool {
	e.db.mu.Lock()
	defer e.db.mu.Unlock()
	en := e.db.schedule.entries[id]
	if en == nil || en.place == nowhere {
		return true // Taken already, perhaps by another change of the group.
	}
	wasHeld := en.place == held
	if !e.db.schedule.take(en) {
		return false
	}
	e.taken[en] = wasHeld
	return true
}

// apply puts messages to where their rows say.
func (e *editing) apply() {
	e.db.loosen(&e.retire)
	s := e.db.schedule
	for i := range e.rows {
		if en := s.entries[e.rows[i].ID]; en != nil && s.take(en) {
			e.db.settleEntry(en, &e.rows[i])
		}
	}
	e.restore()
}

// restore puts messages that were taken and not changed back.
func (e *editing) restore() {
	s := e.db.schedule
	now := time.Now()
	for en, wasHeld := range e.taken {
		switch {
		case s.entries[en.id] != en || en.place != nowhere:
		case wasHeld:
			s.hold(en)
		default:
			s.putBack(en, now)
		}
	}
}

// observe tells of messages that were retired.
func (e *editing) observe() {
	for i := range e.rows {
		if m := e.rows[i].message(); m.State == Retired {
			e.db.observe(string(m.Outcome), m)
			e.db.observe("retired", m)
		}
	}
}

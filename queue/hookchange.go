package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// RescheduleHooks changes the next attempt of hooks that are not being called, and
// returns those it changed. next is called before any is changed; one for which it
// returns the zero time stays as it is.
func (db *DB) RescheduleHooks(ctx context.Context, f HookFilter, next func(Hook) time.Time) ([]Hook, error) {
	return db.editHooks(ctx, f, next, func(tx *tx, r *hookRow, at time.Time) (bool, error) {
		if at.IsZero() || !tx.db.takeHook(r.ID) {
			return false, nil
		}
		r.H.NextAttempt, r.Chosen = at.Round(0), true
		return true, tx.update(r)
	})
}

// CancelHooks retires hooks without a call, for reason, and returns those it did. The
// result of a call that runs is added when it ends.
func (db *DB) CancelHooks(ctx context.Context, f HookFilter, reason string) ([]Hook, error) {
	return db.editHooks(ctx, f, nil, func(tx *tx, r *hookRow, _ time.Time) (bool, error) {
		r.H.addResult(HookResult{Start: tx.now, URL: r.H.URL, Error: reason})
		return true, tx.retireHook(r, HookCanceled)
	})
}

// takeHook takes a hook out of the schedule, so that it is not called while it is
// changed; false if it is being called.
func (db *DB) takeHook(id int64) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	w := db.hooks.known[id]
	return w != nil && db.hooks.schedule.take(w.entry)
}

// hookEditor changes a row, and says whether it did. It may be called twice for a
// row. at is what was chosen for the row.
type hookEditor func(tx *tx, r *hookRow, at time.Time) (bool, error)

// editHooks changes hooks that match, a part at a time, each part in one commit.
// look, if not nil, is called for each of them before.
func (db *DB) editHooks(ctx context.Context, f HookFilter, look func(Hook) time.Time, fn hookEditor) ([]Hook, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if f.Retired {
		return nil, fmt.Errorf("%w: retired webhooks do not change", ErrFilter)
	}
	match, err := f.prepare()
	if err != nil {
		return nil, err
	}
	var ids []int64
	times := map[int64]time.Time{}
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		return db.eachHook(tx, match, func(h *Hook) error {
			if f.Max > 0 && len(ids) == f.Max {
				return bstore.StopForEach
			}
			if look != nil {
				times[h.ID] = look(*h)
			}
			ids = append(ids, h.ID)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("looking up webhooks: %w", err)
	}
	var changed []Hook
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			return changed, err
		}
		n := min(len(ids), chunkMax)
		e := &hookEditing{db: db, match: match, fn: fn, ids: ids[:n], times: times}
		if err := db.commit(&change{run: e.run, apply: e.apply, undo: e.restore, rows: n}); err != nil {
			return changed, fmt.Errorf("changing webhooks: %w", err)
		}
		db.signalHooks()
		for i := range e.rows {
			changed = append(changed, e.rows[i].hook())
		}
		ids = ids[n:]
	}
	return changed, nil
}

// hookEditing is a part of what editHooks does.
type hookEditing struct {
	db    *DB
	match *hookMatcher
	fn    hookEditor
	ids   []int64
	times map[int64]time.Time
	rows  []hookRow // Changed.
}

// run changes the rows that still match.
func (e *hookEditing) run(tx *tx) error {
	e.rows = nil
	for _, id := range e.ids {
		r := hookRow{ID: id}
		err := tx.Get(&r)
		if errors.Is(err, bstore.ErrAbsent) {
			continue
		} else if err != nil {
			return err
		}
		if h := r.hook(); !e.match.match(&h) {
			continue
		}
		changed, err := e.fn(tx, &r, e.times[id])
		if err != nil {
			return err
		}
		if changed {
			e.rows = append(e.rows, r)
		}
	}
	return nil
}

// apply puts hooks to where their rows say. Those that are retired are gone by then.
func (e *hookEditing) apply() {
	now := time.Now()
	for i := range e.rows {
		w := e.db.hooks.known[e.rows[i].ID]
		if w != nil && e.db.hooks.schedule.take(w.entry) {
			e.db.hooks.schedule.put(w.entry, e.rows[i].H.NextAttempt, now)
		}
	}
	e.restore()
	e.db.rearmHooks()
}

// restore puts hooks that were taken and not changed back.
func (e *hookEditing) restore() {
	now := time.Now()
	for _, id := range e.ids {
		if w := e.db.hooks.known[id]; w != nil && w.entry.place == nowhere {
			e.db.hooks.schedule.putBack(w.entry, now)
		}
	}
}

package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// recoverHooks makes the state in memory from the rows. A hook that was being called
// when the last process died waits for its next attempt.
func (db *DB) recoverHooks(ctx context.Context, now time.Time) error {
	var repaired []hookRow
	err := bstore.QueryDB[hookRow](ctx, db.db).ForEach(func(r hookRow) error {
		if r.repair(now) {
			repaired = append(repaired, r)
		}
		db.hooks.add(&r, time.Now())
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading webhooks: %w", err)
	}
	for len(repaired) > 0 {
		n := min(len(repaired), chunkMax)
		err := db.db.Write(ctx, func(tx *bstore.Tx) error {
			for i := range repaired[:n] {
				if err := tx.Update(&repaired[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("setting right webhooks: %w", err)
		}
		repaired = repaired[n:]
	}
	return nil
}

// repair sets right times that were written while the clock was wrong. It says
// whether it changed something.
func (r *hookRow) repair(now time.Time) (changed bool) {
	now = now.Round(0)
	waits := hookWaits()
	longest := waits[len(waits)-1]
	if latest := now.Add(longest + longest/hookJitterPart); !r.Chosen && r.H.NextAttempt.After(latest) {
		r.H.NextAttempt, changed = latest, true
	}
	for _, t := range []*time.Time{&r.H.Submitted, &r.H.LastAttempt} {
		if t.After(now) {
			*t, changed = now, true
		}
	}
	return changed
}

// PurgeHooks removes retired hooks whose time is over at now, and the oldest of too
// many, a part at a time. When the clock is in doubt it removes nothing, as Purge.
func (db *DB) PurgeHooks(ctx context.Context, now time.Time) error {
	leave, err := db.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if !db.clock.settled() {
		return nil
	}
	over := func(tx *tx) ([]hookRetiredRow, error) {
		return bstore.QueryTx[hookRetiredRow](tx.Tx).FilterLess("Until", now).SortAsc("Until").Limit(chunkMax).List()
	}
	if err := db.purgeHooks(ctx, over); err != nil {
		return err
	}
	most := db.opts.HooksRetiredMax
	return db.purgeHooks(ctx, func(tx *tx) ([]hookRetiredRow, error) {
		n, err := bstore.QueryTx[hookRetiredRow](tx.Tx).Count()
		if err != nil || n <= most {
			return nil, err
		}
		return bstore.QueryTx[hookRetiredRow](tx.Tx).SortAsc("ID").Limit(min(n-most, chunkMax)).List()
	})
}

// purgeHooks removes what choose returns, until that is nothing.
func (db *DB) purgeHooks(ctx context.Context, choose func(tx *tx) ([]hookRetiredRow, error)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 0
		err := db.commit(&change{rows: chunkMax, run: func(tx *tx) error {
			rows, err := choose(tx)
			n = len(rows)
			for i := 0; i < n && err == nil; i++ {
				err = tx.delete(&rows[i])
			}
			return err
		}})
		if err != nil {
			return fmt.Errorf("removing old retired webhooks: %w", err)
		}
		if n == 0 {
			return nil
		}
	}
}

// hooks looks at the rows of hooks, and at what is in memory.
func (c *checker) hooks(ctx context.Context, tx *tx) error {
	count := 0
	err := bstore.QueryTx[hookRow](tx.Tx).ForEach(func(r hookRow) error {
		count++
		c.hook(&r)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	c.db.mu.Lock()
	if n := len(c.db.hooks.known); n != count {
		c.add("%d webhooks are in the schedule, not %d", n, count)
	}
	for _, err := range c.db.hooks.check() {
		c.add("schedule of webhooks: %w", err)
	}
	c.db.mu.Unlock()
	return bstore.QueryTx[hookRetiredRow](tx.Tx).ForEach(func(r hookRetiredRow) error {
		if h := &r.H; h.Outcome == "" || h.RetiredAt.IsZero() || h.LastActivity.IsZero() || (h.Outcome == HookSuperseded) != (h.SupersededBy != 0) {
			c.add("retired webhook %d has outcome %q, superseded by %d", r.ID, h.Outcome, h.SupersededBy)
		}
		return ctx.Err()
	})
}

// hook looks at a row.
func (c *checker) hook(r *hookRow) {
	h := &r.H
	if !h.Event.Valid() || h.Account == "" || h.Submitted.IsZero() || h.NextAttempt.IsZero() || h.Outcome != "" ||
		(h.EmailID != 0) == (len(h.Payload) != 0) || h.Attempts > int64(len(hookWaits()))+1 {
		c.add("webhook %d is not whole: %+v", r.ID, *h)
	}
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	w := c.db.hooks.known[r.ID]
	if w == nil {
		c.add("webhook %d is not in the schedule", r.ID)
		return
	}
	if w.entry.account.Value() != h.Account || w.email.id != h.EmailID || supersedes(h) && c.db.hooks.ofMessage[h.QueueMsgID] != r.ID {
		c.add("webhook %d is not the one in the schedule", r.ID)
	}
}

// shift moves the times that are set.
func (h *Hook) shift(d time.Duration) {
	times := []*time.Time{&h.Submitted, &h.NextAttempt, &h.LastAttempt, &h.RetiredAt, &h.LastActivity}
	for i := range h.Results {
		times = append(times, &h.Results[i].Start)
	}
	for _, t := range times {
		if !t.IsZero() {
			*t = t.Add(d)
		}
	}
}

// shiftHooks moves the times of all rows of hooks.
func shiftHooks(tx *bstore.Tx, d time.Duration) error {
	rows, err := bstore.QueryTx[hookRow](tx).List()
	for i := 0; i < len(rows) && err == nil; i++ {
		rows[i].H.shift(d)
		err = tx.Update(&rows[i])
	}
	if err != nil {
		return err
	}
	retired, err := bstore.QueryTx[hookRetiredRow](tx).List()
	for i := 0; i < len(retired) && err == nil; i++ {
		r := &retired[i]
		r.Until = r.Until.Add(d)
		r.H.shift(d)
		err = tx.Update(r)
	}
	return err
}

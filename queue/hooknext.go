package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// hookRunning is the error of an attempt that did not end.
const hookRunning = "the call did not end: the server stopped meanwhile"

// hookUnwanted is the error of a hook that has no address any more.
const hookUnwanted = "the account has no webhook for this any more"

// HookWork is a hook that is to be called. Each must be given to FinishHook.
type HookWork struct {
	Hook Hook // Attempts counts this one already.

	lease *lease
}

// signalHooks wakes one NextHook.
func (db *DB) signalHooks() {
	select {
	case db.hookWake <- struct{}{}:
	default:
	}
}

// rearmHooks has a NextHook woken when something becomes due. db.mu is held.
func (db *DB) rearmHooks() {
	wait, ok := db.hooks.schedule.wait(time.Now())
	if db.closing || !ok {
		db.hooks.timer.Stop()
		return
	}
	db.hooks.timer.Reset(wait)
}

// NextHook waits until a hook is due and within limits, notes that it is called, and
// returns it: a crash counts as an attempt. It returns ErrClosed after Close, or the
// error of ctx. Many goroutines may call it.
func (db *DB) NextHook(ctx context.Context) (*HookWork, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	for {
		w, err := db.tryNextHook(ctx)
		if w != nil || err != nil {
			db.signalHooks() // There may be more, for another; or this one took the signal.
			return w, err
		}
		select {
		case <-db.hookWake:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-db.stop:
			return nil, ErrClosed
		case <-db.failed:
			return nil, db.Err()
		}
	}
}

// tryNextHook leases a hook that is due. It returns nil if none is.
func (db *DB) tryNextHook(ctx context.Context) (*HookWork, error) {
	for {
		select {
		case <-db.stop:
			return nil, ErrClosed
		default:
		}
		if err := errors.Join(ctx.Err(), db.Err()); err != nil {
			return nil, err
		}
		l, over := db.nextHookLease()
		switch {
		case over != nil:
			db.log.Error("a call of a webhook has not ended in time, trying again", "lease", hookLease)
			if err := db.finishHook(over, HookResult{Start: time.Now(), Error: hookRunning}); err != nil && !errors.Is(err, ErrLease) {
				return nil, err
			}
		case l == nil:
			return nil, nil
		default:
			w, err := db.beginHook(l)
			if w != nil || err != nil {
				return w, err
			}
		}
	}
}

// nextHookLease returns a new lease, or one whose time is over, or nothing.
func (db *DB) nextHookLease() (l, over *lease) {
	db.mu.Lock()
	defer db.mu.Unlock()
	now := time.Now()
	if over := db.hooks.schedule.expired(now); over != nil && !over.finishing {
		return nil, over
	}
	l = db.hooks.schedule.lease(now)
	db.rearmHooks()
	return l, nil
}

// beginHook makes work of a lease. It returns nil if there is nothing to call after
// all, or not there.
func (db *DB) beginHook(l *lease) (*HookWork, error) {
	b := &hookBeginning{db: db, lease: l, url: l.lane.domain.Value()}
	if err := db.commit(&change{run: b.run, apply: b.apply, rows: 1}); err != nil {
		return nil, err
	}
	if b.what != hookGoes {
		return nil, nil
	}
	return &HookWork{Hook: b.row.hook(), lease: l}, nil
}

// hookBeginning is a lease of a hook that becomes work.
type hookBeginning struct {
	db    *DB
	lease *lease
	url   string // Whose turn it is.
	row   hookRow
	what  hookTurn
}

// hookTurn is what becomes of a hook whose turn it is.
type hookTurn int

const (
	hookGoes  hookTurn = iota
	hookMoved          // Its address has changed.
	hookEnds           // It is retired.
)

// run writes that an attempt is made.
func (b *hookBeginning) run(tx *tx) error {
	id := b.lease.entries[0].id
	b.row, b.what = hookRow{ID: id}, hookEnds
	err := tx.Get(&b.row)
	if errors.Is(err, bstore.ErrAbsent) {
		return nil // Retired meanwhile.
	} else if err != nil {
		return err
	}
	h, now := &b.row.H, tx.now.Round(0)
	url, ok := b.db.opts.Webhook(h.Account, h.Event)
	if !ok {
		h.addResult(HookResult{Start: now, URL: h.URL, Error: hookUnwanted})
		return tx.retireHook(&b.row, HookCanceled)
	}
	next, over := nextHookAttempt(h.Attempts+1, now, b.db.jitter())
	if h.Attempts > int64(len(hookWaits())) {
		return tx.retireHook(&b.row, HookFailed) // The process died during the final attempt.
	}
	if url != b.url {
		b.url, b.what = url, hookMoved
		return nil
	}
	if over {
		next = now.Add(hookWaits()[0]) // When it is found to be over, if the process dies.
	}
	h.Attempts++
	h.URL, h.LastAttempt, h.NextAttempt, b.row.Chosen = url, now, next.Round(0), false
	h.addResult(HookResult{Start: now, URL: url, Error: hookRunning})
	b.what = hookGoes
	return tx.update(&b.row)
}

// apply ends the lease if no call is made.
func (b *hookBeginning) apply() {
	now := time.Now()
	switch b.what {
	case hookMoved:
		b.db.hooks.redirect(b.lease, b.url, now)
	case hookEnds:
		b.db.hooks.ended(b.lease, now, now)
	case hookGoes:
	}
}

// FinishHook records what came of a call. If it was canceled or superseded meanwhile,
// and is kept, the result is added there.
//
// It does not stop when ctx ends: what came of a call must be kept.
func (db *DB) FinishHook(ctx context.Context, w *HookWork, res HookResult) error {
	leave, err := db.enter(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer leave()
	return db.finishHook(w.lease, res)
}

// finishHook ends a lease.
func (db *DB) finishHook(l *lease, res HookResult) error {
	db.mu.Lock()
	if l.ended || l.finishing {
		db.mu.Unlock()
		return ErrLease
	}
	l.finishing = true
	db.mu.Unlock()
	f := &hookFinishing{db: db, lease: l, result: res}
	if err := db.commit(&change{run: f.run, apply: f.apply, undo: f.undo, rows: 1}); err != nil {
		return fmt.Errorf("recording call of webhook: %w", err)
	}
	db.signalHooks() // Its address is free.
	return nil
}

// hookFinishing is a call that has ended.
type hookFinishing struct {
	db     *DB
	lease  *lease
	result HookResult
	next   time.Time
}

// run records the result.
func (f *hookFinishing) run(tx *tx) error {
	f.next = tx.now
	id := f.lease.entries[0].id
	row := hookRow{ID: id}
	err := tx.Get(&row)
	if errors.Is(err, bstore.ErrAbsent) {
		return tx.lateHookResult(id, f.result)
	} else if err != nil {
		return err
	}
	h := &row.H
	h.setResult(f.result)
	if f.result.OK {
		return tx.retireHook(&row, HookCalled)
	}
	if f.result.Final {
		return tx.retireHook(&row, HookCanceled)
	}
	next, over := nextHookAttempt(h.Attempts, tx.now.Round(0), f.db.jitter())
	if over {
		return tx.retireHook(&row, HookFailed)
	}
	h.NextAttempt, f.next = next.Round(0), next
	return tx.update(&row)
}

// setResult adds a result in place of the one that stands for it while it runs.
func (h *Hook) setResult(res HookResult) {
	if n := len(h.Results); n > 0 && h.Results[n-1].Error == hookRunning {
		h.Results = h.Results[:n-1]
	}
	h.addResult(res)
}

// lateHookResult adds a result to a hook that is retired, if it is kept.
func (tx *tx) lateHookResult(id int64, res HookResult) error {
	row := hookRetiredRow{ID: id}
	err := tx.Get(&row)
	if errors.Is(err, bstore.ErrAbsent) {
		return nil
	} else if err != nil {
		return err
	}
	row.H.setResult(res)
	row.H.LastActivity = tx.now.Round(0)
	return tx.update(&row)
}

// apply has the hook wait for its next attempt.
func (f *hookFinishing) apply() {
	f.db.hooks.ended(f.lease, f.next, time.Now())
	f.db.rearmHooks()
}

// undo ends the lease though nothing was written: the queue is failing.
func (f *hookFinishing) undo() { f.lease.finishing = false }

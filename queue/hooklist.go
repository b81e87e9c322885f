package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/bstore"
)

// hookMatcher is a HookFilter made ready.
type hookMatcher struct {
	HookFilter
	ids map[int64]bool
}

// prepare checks a filter.
func (f HookFilter) prepare() (*hookMatcher, error) {
	m := &hookMatcher{HookFilter: f}
	if f.IDs != nil {
		m.ids = make(map[int64]bool, len(f.IDs))
		for _, id := range f.IDs {
			m.ids[id] = true
		}
	}
	if f.Event != "" && !f.Event.Valid() {
		return nil, fmt.Errorf("%w: no event %q", ErrFilter, string(f.Event))
	}
	if f.Max < 0 {
		return nil, fmt.Errorf("%w: at most %d webhooks", ErrFilter, f.Max)
	}
	return m, nil
}

// match says whether a hook is selected. All fields that are set must match.
func (f *hookMatcher) match(h *Hook) bool {
	switch {
	case f.ids != nil && !f.ids[h.ID],
		f.Account != "" && h.Account != f.Account,
		f.Event != "" && h.Event != f.Event,
		!f.Submitted.match(h.Submitted),
		!f.Retired && !f.NextAttempt.match(h.NextAttempt),
		f.Retired && !f.LastActivity.match(h.LastActivity):
		return false
	}
	return true
}

// hookOrder returns the time a list of hooks is sorted by: "nextattempt" for those
// that wait or "lastactivity" for those retired, also if empty, or "queued".
func (s Sort) hookOrder(retired bool) (func(h *Hook) time.Time, error) {
	switch {
	case s.By == "queued":
		return func(h *Hook) time.Time { return h.Submitted }, nil
	case retired && (s.By == "" || s.By == "lastactivity"):
		return func(h *Hook) time.Time { return h.LastActivity }, nil
	case !retired && (s.By == "" || s.By == "nextattempt"):
		return func(h *Hook) time.Time { return h.NextAttempt }, nil
	}
	return nil, fmt.Errorf("%w: order by %q", ErrFilter, s.By)
}

// Hooks returns hooks without their payloads, sorted; those of the same time in the
// order of their ids. It looks at all rows, unless the filter has ids.
func (db *DB) Hooks(ctx context.Context, f HookFilter, s Sort) ([]Hook, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	match, err := f.prepare()
	if err != nil {
		return nil, err
	}
	at, err := s.hookOrder(f.Retired)
	if err != nil {
		return nil, err
	}
	var hooks []Hook
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		hooks, err = db.listHooks(tx, match, at, s.Desc)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing webhooks: %w", err)
	}
	return hooks, nil
}

// listHooks returns the hooks that match, of which it holds no more than it returns.
func (db *DB) listHooks(tx *bstore.Tx, match *hookMatcher, at func(h *Hook) time.Time, desc bool) ([]Hook, error) {
	type found struct {
		id int64
		at time.Time
	}
	var all []found
	err := db.eachHook(tx, match, func(h *Hook) error {
		all = append(all, found{h.ID, at(h)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b found) int {
		if desc {
			a, b = b, a
		}
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id))
	})
	if match.Max > 0 {
		all = all[:min(len(all), match.Max)]
	}
	hooks := make([]Hook, len(all))
	for i, fd := range all {
		if hooks[i], err = db.readHook(tx, fd.id, match.Retired); err != nil {
			return nil, err
		}
		hooks[i].Payload = nil
	}
	return hooks, nil
}

// eachHook calls fn for hooks that match, in the order of their ids.
func (db *DB) eachHook(tx *bstore.Tx, match *hookMatcher, fn func(h *Hook) error) error {
	check := func(h Hook) error {
		if !match.match(&h) {
			return nil
		}
		return fn(&h)
	}
	switch {
	case match.ids != nil:
		for _, id := range slices.Compact(slices.Sorted(slices.Values(match.IDs))) {
			h, err := db.readHook(tx, id, match.Retired)
			if errors.Is(err, ErrNoHook) {
				continue
			} else if err != nil {
				return err
			}
			if err := check(h); errors.Is(err, bstore.StopForEach) {
				return nil
			} else if err != nil {
				return err
			}
		}
		return nil
	case match.Retired:
		return bstore.QueryTx[hookRetiredRow](tx).ForEach(func(r hookRetiredRow) error { return check(r.hook()) })
	}
	return bstore.QueryTx[hookRow](tx).ForEach(func(r hookRow) error { return check(r.hook()) })
}

// readHook returns a hook that waits or is retired. It is ErrNoHook if there is none.
func (db *DB) readHook(tx *bstore.Tx, id int64, retired bool) (h Hook, err error) {
	if retired {
		r := hookRetiredRow{ID: id}
		err = tx.Get(&r)
		h = r.hook()
	} else {
		r := hookRow{ID: id}
		err = tx.Get(&r)
		h = r.hook()
		h.Calling = db.calling(id)
	}
	if errors.Is(err, bstore.ErrAbsent) {
		return Hook{}, fmt.Errorf("%w: %w", ErrNoHook, err)
	}
	return h, err
}

// calling tells whether a hook is being called.
func (db *DB) calling(id int64) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	w := db.hooks.known[id]
	return w != nil && w.entry.place == leased
}

// GetHook returns a hook that waits, or is retired, with its payload. ErrNoHook if
// there is none.
func (db *DB) GetHook(ctx context.Context, id int64, retired bool) (h Hook, err error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return h, err
	}
	defer leave()
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		h, err = db.readHook(tx, id, retired)
		return err
	})
	if err != nil {
		return Hook{}, fmt.Errorf("looking up webhook %d: %w", id, err)
	}
	return h, nil
}

// HookStats returns counts that are kept, not counted.
func (db *DB) HookStats() HookStats {
	db.mu.Lock()
	defer db.mu.Unlock()
	calling := db.hooks.schedule.counts[leased]
	return HookStats{Waiting: int64(len(db.hooks.known)) - min(calling, int64(len(db.hooks.known))), Calling: calling}
}

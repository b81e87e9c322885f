package queue

import (
	"context"
	"errors"
	"time"

	"github.com/mjl-/bstore"
)

// Stats returns counts that are kept, not counted.
func (db *DB) Stats() Stats {
	db.mu.Lock()
	c := &db.schedule.counts
	s := Stats{
		Messages: map[State]int64{
			Waiting: c[nowhere] + c[later] + c[ready] + c[failing], Held: c[held], Delivering: c[leased],
		},
		Bytes: db.bytes,
	}
	logged := db.oldestLogged()
	db.mu.Unlock()
	s.Oldest = db.oldest()
	if s.Oldest.IsZero() || !logged.IsZero() && logged.Before(s.Oldest) {
		s.Oldest = logged
	}
	return s
}

// oldestLogged returns the Queued time of the first message that has no row yet,
// zero if there is none. db.mu is held.
func (db *DB) oldestLogged() time.Time {
	for _, l := range db.logged {
		if !l.filed && l.left > 0 {
			return l.rows[0].M.Queued
		}
	}
	return time.Time{}
}

// oldest returns the Queued time of the message with the lowest id among those with
// rows, zero if there is none or it can't be known now.
func (db *DB) oldest() time.Time {
	ctx := context.Background() //nolint:forbidigo // It reads one row.
	leave, err := db.enter(ctx)
	if err != nil {
		return time.Time{}
	}
	defer leave()
	r, err := bstore.QueryDB[messageRow](ctx, db.db).SortAsc("ID").Limit(1).Get()
	if err != nil {
		if !errors.Is(err, bstore.ErrAbsent) {
			db.log.Error("reading the oldest message", "err", err)
		}
		return time.Time{}
	}
	return r.M.Queued
}

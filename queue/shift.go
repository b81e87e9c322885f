package queue

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/database"
)

// Shift moves all times in a queue that nobody has open by d, as if since then the
// clock of the computer had been set back by that much, or forward if d is negative.
// It is for tests: package time can't be told another time of day. Of the options,
// Dir, Log, Rand and LogSize count.
func Shift(ctx context.Context, opts Options, d time.Duration) error {
	b, err := database.Open(filepath.Join(opts.Dir, indexFile), "queue", schemaVersion, rowTypes...)
	if err != nil {
		return err
	}
	db := &DB{opts: opts, log: opts.Log, db: b}
	if err = db.openLog(); err == nil {
		err = db.replayLog(ctx)
	}
	if err == nil {
		err = b.Write(ctx, shiftRows(d))
	}
	if err = errors.Join(err, db.closeFiles()); err != nil {
		return fmt.Errorf("shifting times of the queue: %w", err)
	}
	return nil
}

// shiftRows moves the times of all rows.
func shiftRows(d time.Duration) func(tx *bstore.Tx) error {
	return func(tx *bstore.Tx) error {
		rows, err := bstore.QueryTx[messageRow](tx).List()
		for i := 0; i < len(rows) && err == nil; i++ {
			rows[i].M.shift(d)
			err = tx.Update(&rows[i])
		}
		if err != nil {
			return err
		}
		clocks, err := bstore.QueryTx[clockRow](tx).List()
		for i := 0; i < len(clocks) && err == nil; i++ {
			clocks[i].At = clocks[i].At.Add(d)
			err = tx.Update(&clocks[i])
		}
		if err != nil {
			return err
		}
		retired, err := bstore.QueryTx[retiredRow](tx).List()
		for i := 0; i < len(retired) && err == nil; i++ {
			r := &retired[i]
			r.LastActivity = r.LastActivity.Add(d)
			r.M.shift(d)
			err = tx.Update(r)
		}
		if err != nil {
			return err
		}
		if err := shiftHooks(tx, d); err != nil {
			return err
		}
		return shiftLearned(tx, d)
	}
}

// shiftLearned moves the times of what was learned of recipients.
func shiftLearned(tx *bstore.Tx, d time.Duration) error {
	list, err := bstore.QueryTx[suppressionRow](tx).List()
	for i := 0; i < len(list) && err == nil; i++ {
		s := &list[i].S
		s.Created = s.Created.Add(d)
		if !s.Until.IsZero() {
			s.Until = s.Until.Add(d)
			list[i].Until = s.Until
		}
		err = tx.Update(&list[i])
	}
	if err != nil {
		return err
	}
	histories, err := bstore.QueryTx[historyRow](tx).List()
	for i := 0; i < len(histories) && err == nil; i++ {
		histories[i].Last = histories[i].Last.Add(d)
		err = tx.Update(&histories[i])
	}
	if err != nil {
		return err
	}
	froms, err := bstore.QueryTx[fromIDRow](tx).List()
	for i := 0; i < len(froms) && err == nil; i++ {
		if r := &froms[i]; !r.Until.Equal(notRetired) {
			r.Until = r.Until.Add(d)
			r.M.shift(d)
			err = tx.Update(r)
		}
	}
	return err
}

// shift moves the times that are set.
func (m *Message) shift(d time.Duration) {
	times := []*time.Time{&m.Queued, &m.Since, &m.NextAttempt, &m.LastAttempt, &m.LeaseUntil, &m.RetiredAt, &m.LastActivity}
	for i := range m.Results {
		times = append(times, &m.Results[i].Start)
	}
	for _, t := range times {
		if !t.IsZero() {
			*t = t.Add(d)
		}
	}
}

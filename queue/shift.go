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
// It is for tests: package time can't be told another time of day.
func Shift(ctx context.Context, dir string, d time.Duration) error {
	db, err := database.Open(filepath.Join(dir, indexFile), "queue", schemaVersion, rowTypes...)
	if err != nil {
		return err
	}
	err = db.Write(ctx, func(tx *bstore.Tx) error {
		rows, err := bstore.QueryTx[messageRow](tx).List()
		for i := 0; i < len(rows) && err == nil; i++ {
			rows[i].M.shift(d)
			err = tx.Update(&rows[i])
		}
		if err != nil {
			return err
		}
		retired, err := bstore.QueryTx[retiredRow](tx).List()
		for i := 0; i < len(retired) && err == nil; i++ {
			r := &retired[i]
			r.Until = r.Until.Add(d)
			r.M.shift(d)
			err = tx.Update(r)
		}
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("shifting times of the queue: %w", err)
	}
	return nil
}

// shift moves the times that are set.
func (m *Message) shift(d time.Duration) {
	times := []*time.Time{&m.Queued, &m.NextAttempt, &m.LastAttempt, &m.LeaseUntil, &m.RetiredAt}
	for i := range m.Results {
		times = append(times, &m.Results[i].Start)
	}
	for _, t := range times {
		if !t.IsZero() {
			*t = t.Add(d)
		}
	}
}

package queue

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/mjl-/bstore"
)

// retiredMaxDefault bounds the retired messages that are kept, at about 1 KiB each.
const retiredMaxDefault = 2_000_000

// KeepRetired returns for how long what became of messages of an account is kept.
func (db *DB) KeepRetired(account string) time.Duration { return db.opts.KeepRetired(account) }

// listRetired returns retired messages. It reads an index in the order of the list,
// and no more rows than it takes to find as many as are wanted.
//
// Ids are given in the order in which messages came, so that they stand for Queued.
func (db *DB) listRetired(ctx context.Context, match *matcher, s Sort) ([]Message, error) {
	messages := []Message{}
	err := db.db.Read(ctx, func(tx *bstore.Tx) error {
		return match.retired(tx, s).ForEach(func(r retiredRow) error {
			m := r.message()
			if !match.match(&m) {
				return nil
			}
			messages = append(messages, m)
			if len(messages) == match.Max {
				return bstore.StopForEach
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing retired messages: %w", err)
	}
	return messages, nil
}

// retired returns a query for rows among which those that match are, in order.
func (f *matcher) retired(tx *bstore.Tx, s Sort) *bstore.Query[retiredRow] {
	q := bstore.QueryTx[retiredRow](tx)
	var fields []string
	if s.By == "queued" {
		fields = []string{"ID"}
	} else {
		fields = []string{"LastActivity"}
		if f.Account != "" {
			q.FilterEqual("Account", f.Account)
		}
		switch at := f.LastActivity; {
		case at.At.IsZero():
		case at.Before:
			q.FilterLess("LastActivity", at.At)
		default:
			q.FilterGreater("LastActivity", at.At)
		}
	}
	if s.Desc {
		return q.SortDesc(fields...)
	}
	return q.SortAsc(fields...)
}

// Purge removes retired messages that were kept at now for as long as their account
// keeps them, a part at a time. What counts is what Options.KeepRetired says now. If
// there are more than Options.RetiredMax, the oldest of all go too. So does what was
// learned of recipients and is not kept any longer.
//
// It removes nothing for a day after the clock has jumped by more than that, or when
// that must be wrong.
func (db *DB) Purge(ctx context.Context, now time.Time) error {
	leave, err := db.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	// This is for a queue in which nothing else is written.
	if err := db.commit(&change{run: func(tx *tx) error { return tx.saveClock() }}); err != nil {
		return fmt.Errorf("writing down the time: %w", err)
	}
	if !db.clock.settled() {
		return nil
	}
	if err := db.flush(); err != nil {
		return err
	}
	if err := db.dateRetired(ctx, now); err != nil {
		return err
	}
	account, more := "", true
	for first := true; more; first = false {
		if account, more, err = db.nextRetiredAccount(ctx, account, first); err != nil {
			return fmt.Errorf("looking up whose retired messages are kept: %w", err)
		} else if !more {
			break
		}
		before := now.Add(-max(db.opts.KeepRetired(account), 0))
		if err := db.purge(ctx, func(q *bstore.Query[retiredRow]) {
			q.FilterEqual("Account", account).FilterLessEqual("LastActivity", before)
		}, math.MaxInt); err != nil {
			return err
		}
	}
	if err := db.purgeExcess(ctx); err != nil {
		return err
	}
	return db.purgeLearned(ctx, now)
}

// dateRetired takes retired messages that are from the future, since the clock was
// wrong, to be of now.
func (db *DB) dateRetired(ctx context.Context, now time.Time) error {
	for n := chunkMax; n == chunkMax; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := db.commit(&change{rows: chunkMax, run: func(tx *tx) error {
			rows, err := bstore.QueryTx[retiredRow](tx.Tx).FilterGreater("LastActivity", now.Add(clockBack)).SortAsc("LastActivity").Limit(chunkMax).List()
			n = len(rows)
			for i := 0; i < n && err == nil; i++ {
				rows[i].LastActivity = now.Round(0)
				err = tx.update(&rows[i])
			}
			return err
		}})
		if err != nil {
			return fmt.Errorf("setting right times of retired messages: %w", err)
		}
	}
	return nil
}

// purgeExcess removes the oldest of more retired messages than there may be. It
// counts only if there can be so many.
func (db *DB) purgeExcess(ctx context.Context) error {
	if db.kept.Load() <= int64(db.opts.RetiredMax) {
		return nil
	}
	db.kept.Store(0)
	n, err := bstore.QueryDB[retiredRow](ctx, db.db).Count()
	if db.kept.Add(int64(n)); err != nil {
		return fmt.Errorf("counting retired messages: %w", err)
	}
	return db.purge(ctx, func(*bstore.Query[retiredRow]) {}, max(n-db.opts.RetiredMax, 0))
}

// keep inserts a retired message.
func (tx *tx) keep(r retiredRow) error {
	tx.db.kept.Add(1)
	return tx.insert(&r)
}

// nextRetiredAccount returns the first account, or the one after another, that has
// retired messages; ok is false if there is none.
func (db *DB) nextRetiredAccount(ctx context.Context, after string, first bool) (account string, ok bool, err error) {
	q := bstore.QueryDB[retiredRow](ctx, db.db)
	if !first {
		// No name is in between, and the index is read from there: by FilterGreater it
		// would be read from the first row of that account.
		q.FilterGreaterEqual("Account", after+"\x01")
	}
	rows, err := q.SortAsc("Account", "LastActivity").Limit(1).List()
	if err != nil || len(rows) == 0 {
		return "", false, err
	}
	return rows[0].Account, true, nil
}

// purge removes retired messages that choose chooses, the oldest first, at most n
// of them.
func (db *DB) purge(ctx context.Context, choose func(q *bstore.Query[retiredRow]), n int) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part, removed := min(n, chunkMax), 0
		err := db.commit(&change{rows: part, run: func(tx *tx) error {
			q := bstore.QueryTx[retiredRow](tx.Tx)
			choose(q)
			over, err := q.SortAsc("LastActivity").Limit(part).List()
			removed = len(over)
			for i := 0; i < removed && err == nil; i++ {
				err = tx.delete(&over[i])
			}
			return err
		}})
		if err != nil {
			return fmt.Errorf("removing old retired messages: %w", err)
		}
		if removed < part {
			return nil
		}
		n -= removed
	}
	return nil
}

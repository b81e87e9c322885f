package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/bstore"
)

// Unconfirmed returns keys of retired messages that accounts still keep, at most n.
// The next call returns others, and all again in the end: an account that can't be
// told must not keep the others from it.
//
// Keys of messages that the log still has are not among them: a crash would bring
// these messages back, and the accounts must know them then.
func (db *DB) Unconfirmed(ctx context.Context, n int) ([]Handed, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := db.forget(); err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	db.confirmMu.Lock()
	defer db.confirmMu.Unlock()
	rows, err := db.handedAfter(ctx, db.confirmAt, n)
	if err == nil && len(rows) < n && db.confirmAt != "" {
		var first []handedRow
		first, err = db.handedAfter(ctx, "", n-len(rows))
		for _, r := range first {
			if r.Ref <= db.confirmAt {
				rows = append(rows, r)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	keys := make([]Handed, len(rows))
	for i, r := range rows {
		keys[i].Account, keys[i].Key, _ = strings.Cut(r.Ref, " ")
		db.confirmAt = r.Ref
	}
	return keys, nil
}

// handedAfter returns at most n rows above ref.
func (db *DB) handedAfter(ctx context.Context, ref string, n int) ([]handedRow, error) {
	if n <= 0 {
		return nil, nil
	}
	q := bstore.QueryDB[handedRow](ctx, db.db)
	if ref != "" {
		q.FilterGreater("Ref", ref)
	}
	return q.SortAsc("Ref").Limit(n).List()
}

// Confirmed forgets keys that accounts have forgotten, of those that Unconfirmed has
// returned.
func (db *DB) Confirmed(ctx context.Context, keys []Handed) error {
	leave, err := db.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = db.commit(&change{rows: len(keys), run: func(tx *tx) error {
		for _, k := range keys {
			row := handedRow{k.ref()}
			err := tx.Get(&row)
			if errors.Is(err, bstore.ErrAbsent) {
				continue
			}
			if err == nil {
				err = tx.delete(&row)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("forgetting keys: %w", err)
	}
	return nil
}

// ref returns the primary key of a handedRow.
func (h Handed) ref() string { return h.Account + " " + h.Key }

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

const (
	// noticesMax bounds the notices that wait. Usually there is none: each is told
	// within moments, unless its account can't take it. What is more is not kept, and
	// that is logged.
	noticesMax = 10_000

	// NoticeSizeMax bounds the content of a notice in bytes.
	NoticeSizeMax = 512 << 10
)

// Notice is a notification for an account of ours of what a Report says: that
// messages were delivered. It is on disk as soon as the report is, and told after
// that: no attempt is made again because telling fails, and no crash loses it.
type Notice struct {
	ID      int64     // Given by the queue.
	Added   time.Time // Likewise.
	Key     string    // The account takes it once.
	Account string
	To      string // smtp.Path.String().
	Action  string // For the log.
	Content []byte // The whole message, at most NoticeSizeMax bytes.
	UTF8    bool   // Its header has UTF-8.
}

// noticeRow is a Notice that is to be told.
type noticeRow struct {
	ID int64
	N  Notice
}

// keepNotice inserts the row of a notice.
func (tx *tx) keepNotice(n Notice) error {
	waiting, err := bstore.QueryTx[noticeRow](tx.Tx).Count()
	if err != nil {
		return err
	}
	if waiting >= noticesMax || len(n.Content) > NoticeSizeMax {
		tx.db.log.Error("a notification of success is not made: too many wait already, or it is too large", "waiting", waiting, "size", len(n.Content), "account", n.Account)
		return nil
	}
	n.Added = tx.now.Round(0)
	return tx.insert(&noticeRow{N: n})
}

// Notices returns notices that are to be told with ids above after, at most max, in
// the order of their ids.
func (db *DB) Notices(ctx context.Context, after int64, max int) ([]Notice, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	rows, err := bstore.QueryDB[noticeRow](ctx, db.db).FilterGreater("ID", after).SortAsc("ID").Limit(max).List()
	if err != nil {
		return nil, fmt.Errorf("reading notices: %w", err)
	}
	list := make([]Notice, len(rows))
	for i, r := range rows {
		list[i] = r.N
		list[i].ID = r.ID
	}
	return list, nil
}

// Told forgets a notice, and keeps the keys that accounts have for it until they
// are confirmed. One that is not there is no error.
func (db *DB) Told(ctx context.Context, id int64, keys []Handed) error {
	leave, err := db.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = db.commit(&change{rows: 1, late: true, run: func(tx *tx) error {
		row := noticeRow{ID: id}
		if err := tx.Get(&row); errors.Is(err, bstore.ErrAbsent) {
			return nil
		} else if err != nil {
			return err
		}
		if err := tx.delete(&row); err != nil {
			return err
		}
		for _, k := range keys {
			if err := tx.keepKey(k); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("forgetting a notice: %w", err)
	}
	return nil
}

// checkNotices looks at the notices.
func (c *checker) checkNotices(ctx context.Context, tx *tx) error {
	count := 0
	return bstore.QueryTx[noticeRow](tx.Tx).ForEach(func(r noticeRow) error {
		if n := r.N; n.Key == "" || n.Account == "" || n.To == "" || n.Added.IsZero() || len(n.Content) == 0 || len(n.Content) > NoticeSizeMax {
			c.add("notice %d is not whole: for account %q, key %q, %d bytes", r.ID, n.Account, n.Key, len(n.Content))
		}
		if count++; count == noticesMax+1 {
			c.add("more than %d notices", noticesMax)
		}
		return ctx.Err()
	})
}

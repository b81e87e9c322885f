package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/bstore"
)

// learnedChunk is how many rows of what was learned are removed in one transaction.
const learnedChunk = chunkMax

// purgeLearned removes FromIDs, suppressions and histories whose time is over at now,
// and what there is beyond their maximum, a part at a time.
func (db *DB) purgeLearned(ctx context.Context, now time.Time) error {
	for _, over := range []func(context.Context, time.Time) ([]any, error){db.fromIDsOver, db.historiesOver, db.suppressionsOver} {
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			rows, err := over(ctx, now)
			if err == nil && len(rows) > 0 {
				err = db.remove(rows)
			}
			if err != nil {
				return fmt.Errorf("removing what was learned of recipients: %w", err)
			}
			if len(rows) < learnedChunk {
				break
			}
		}
	}
	return nil
}

// learnedCounts are numbers of rows, or by how much they change.
type learnedCounts struct {
	fromIDs, histories int
	suppressions       map[string]int // By account.
}

// suppression counts n suppressions of an account.
func (c *learnedCounts) suppression(account string, n int) {
	if c.suppressions == nil {
		c.suppressions = map[string]int{}
	}
	if c.suppressions[account] += n; c.suppressions[account] == 0 {
		delete(c.suppressions, account)
	}
}

// counted adds what a transaction has changed.
func (db *DB) counted(d *learnedCounts) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.counts.fromIDs += d.fromIDs
	db.counts.histories += d.histories
	for account, n := range d.suppressions {
		db.counts.suppression(account, n)
	}
}

// suppressionCount returns how many addresses are on the list of an account.
func (db *DB) suppressionCount(account string) int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.counts.suppressions[account]
}

// countLearned counts rows, at start.
func (db *DB) countLearned(ctx context.Context) (err error) {
	c := learnedCounts{}
	if c.fromIDs, err = bstore.QueryDB[fromIDRow](ctx, db.db).Count(); err == nil {
		c.histories, err = bstore.QueryDB[historyRow](ctx, db.db).Count()
	}
	if err == nil {
		err = bstore.QueryDB[suppressionRow](ctx, db.db).ForEach(func(r suppressionRow) error {
			c.suppression(r.Account, 1)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("counting what was learned of recipients: %w", err)
	}
	db.counts = c
	return nil
}

// excess returns how many rows there are beyond a maximum.
func (db *DB) excess(rows *int, most int) int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return max(0, *rows-most)
}

// fromIDsOver returns FromIDs that are to go, at most learnedChunk.
func (db *DB) fromIDsOver(ctx context.Context, now time.Time) (rows []any, err error) {
	q := bstore.QueryDB[fromIDRow](ctx, db.db).SortAsc("Until")
	if n := db.excess(&db.counts.fromIDs, fromIDsMax); n == 0 {
		q.FilterLess("Until", now).Limit(learnedChunk)
	} else {
		q.FilterLess("Until", notRetired).Limit(min(learnedChunk, n))
	}
	err = q.ForEach(func(r fromIDRow) error {
		rows = append(rows, &fromIDRow{ID: r.ID, Until: r.Until})
		return nil
	})
	return rows, err
}

// historiesOver returns histories that are to go, at most learnedChunk.
func (db *DB) historiesOver(ctx context.Context, now time.Time) (rows []any, err error) {
	q := bstore.QueryDB[historyRow](ctx, db.db).SortAsc("Last")
	if n := db.excess(&db.counts.histories, historiesMax); n == 0 {
		q.FilterLess("Last", now.Add(-historyKeep)).Limit(learnedChunk)
	} else {
		q.FilterLess("Last", notRetired).Limit(min(learnedChunk, n))
	}
	err = q.ForEach(func(r historyRow) error {
		rows = append(rows, &historyRow{ID: r.ID, Last: r.Last})
		return nil
	})
	return rows, err
}

// suppressionsOver returns suppressions that are to go, at most learnedChunk.
func (db *DB) suppressionsOver(ctx context.Context, now time.Time) (rows []any, err error) {
	var over []Suppression
	err = bstore.QueryDB[suppressionRow](ctx, db.db).FilterLessEqual("Until", now).SortAsc("Until").Limit(learnedChunk).ForEach(func(r suppressionRow) error {
		over = append(over, r.S)
		return nil
	})
	for _, account := range db.fullLists() {
		if err != nil || len(over) >= learnedChunk {
			break
		}
		var list []Suppression
		if list, err = db.Suppressions(ctx, account); err == nil {
			over = append(over, tooMany(list, suppressionsMax)...)
		}
	}
	for _, s := range over[:min(len(over), learnedChunk)] {
		rows = append(rows, &suppressionRow{ID: rowKey(s.Account, s.Address), Account: s.Account, S: s})
	}
	return rows, err
}

// fullLists returns the accounts with too many suppressions.
func (db *DB) fullLists() (accounts []string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for account, n := range db.counts.suppressions {
		if n > suppressionsMax {
			accounts = append(accounts, account)
		}
	}
	return accounts
}

// tooMany returns the suppressions of a list beyond a maximum: the oldest of those that
// came by themselves.
func tooMany(list []Suppression, most int) []Suppression {
	n := len(list) - most
	if n <= 0 {
		return nil
	}
	list = slices.DeleteFunc(list, func(s Suppression) bool { return s.Manual })
	slices.SortFunc(list, func(a, b Suppression) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Address, b.Address))
	})
	return list[:min(n, len(list))]
}

// remove removes rows. Those that have changed since they were looked up, so that they
// stay, are left.
func (db *DB) remove(rows []any) error {
	return db.commit(&change{rows: len(rows), run: func(tx *tx) error {
		for _, row := range rows {
			same, err := tx.unchanged(row)
			if err == nil && same {
				err = tx.forgetRow(row)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}})
}

// unchanged says whether a row is there and is as it was when it was looked up.
func (tx *tx) unchanged(row any) (same bool, err error) {
	switch r := row.(type) {
	case *fromIDRow:
		now := fromIDRow{ID: r.ID}
		err = tx.Get(&now)
		same = now.Until.Equal(r.Until)
	case *historyRow:
		now := historyRow{ID: r.ID}
		err = tx.Get(&now)
		same = now.Last.Equal(r.Last)
	case *suppressionRow:
		now := suppressionRow{ID: r.ID}
		err = tx.Get(&now)
		same = now.S.Created.Equal(r.S.Created) && now.S.Manual == r.S.Manual
	}
	if isAbsent(err) {
		return false, nil
	}
	return same, err
}

// forgetRow removes a row.
func (tx *tx) forgetRow(row any) error {
	switch r := row.(type) {
	case *fromIDRow:
		tx.counts.fromIDs--
	case *historyRow:
		tx.counts.histories--
	case *suppressionRow:
		tx.counts.suppression(r.Account, -1)
	}
	return tx.delete(row)
}

// ForgetAccount removes what was learned for an account that is gone: another one may
// get its name. It returns how many addresses were on its list.
func (db *DB) ForgetAccount(ctx context.Context, account string) (suppressed int, err error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	if err := db.flush(); err != nil { // The log can have FromIDs.
		return 0, err
	}
	for _, of := range []func(context.Context, string) ([]any, error){db.suppressionsOf, db.historiesOf, db.fromIDsOf} {
		rows, err := of(ctx, account)
		for err == nil && len(rows) > 0 {
			n := min(len(rows), learnedChunk)
			if err = db.remove(rows[:n]); err != nil {
				break
			}
			if _, ok := rows[0].(*suppressionRow); ok {
				suppressed += n
			}
			rows = rows[n:]
		}
		if err != nil {
			return suppressed, fmt.Errorf("forgetting what account %q has learned of recipients: %w", account, err)
		}
	}
	return suppressed, nil
}

func (db *DB) suppressionsOf(ctx context.Context, account string) (rows []any, err error) {
	err = bstore.QueryDB[suppressionRow](ctx, db.db).FilterNonzero(suppressionRow{Account: account}).ForEach(func(r suppressionRow) error {
		rows = append(rows, &r)
		return nil
	})
	return rows, err
}

func (db *DB) historiesOf(ctx context.Context, account string) (rows []any, err error) {
	err = bstore.QueryDB[historyRow](ctx, db.db).ForEach(func(r historyRow) error {
		if r.Account == account {
			rows = append(rows, &historyRow{ID: r.ID, Last: r.Last})
		}
		return nil
	})
	return rows, err
}

func (db *DB) fromIDsOf(ctx context.Context, account string) (rows []any, err error) {
	err = bstore.QueryDB[fromIDRow](ctx, db.db).ForEach(func(r fromIDRow) error {
		if r.Account == account && !r.Until.Equal(notRetired) { // Others go with their messages.
			rows = append(rows, &fromIDRow{ID: r.ID, Until: r.Until})
		}
		return nil
	})
	return rows, err
}

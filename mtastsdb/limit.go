package mtastsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/mtasts"
)

const (
	// entriesMax bounds the entries: who makes our users write to ever more domains, as
	// with answers to mail, could fill the disk else.
	entriesMax = 100_000

	// roomShare is the part of the entries that is removed at a time, so that not each
	// new one looks at all.
	roomShare = 100

	// roomEvery is how long it is before all are looked at again, if none could go.
	roomEvery = time.Hour
)

// errFull means that there are as many entries as there may be.
var errFull = errors.New("too many MTA-STS policies are kept")

// expendable returns how little is lost with an entry, the least first, and whether it
// may go at all for others. A policy that is enforced may not: who can make room could
// choose whose mail is no longer protected.
func (e Entry) expendable(now time.Time) (rank int, ok bool) {
	switch {
	case e.Text == "":
		return 0, true // Only that fetching failed.
	case !e.Holds(now):
		return 1, true
	case e.Policy.Mode == mtasts.None:
		return 2, true
	case e.Policy.Mode == mtasts.Testing:
		return 3, true
	}
	return 0, false
}

// makeRoom removes entries if there are as many as there may be: of those that can be
// spared first what is least needed, then what was not used for longest. It returns how
// many it has removed.
func (db *DB) makeRoom(ctx context.Context, now time.Time) (removed int, err error) {
	entries, err := db.Entries(ctx)
	if err != nil || len(entries) < db.max {
		return 0, err
	}
	spare := slices.DeleteFunc(entries, func(e Entry) bool { _, ok := e.expendable(now); return !ok })
	slices.SortStableFunc(spare, func(a, b Entry) int {
		x, _ := a.expendable(now)
		y, _ := b.expendable(now)
		return cmp.Or(cmp.Compare(x, y), a.Used.Compare(b.Used))
	})
	spare = spare[:min(len(spare), max(1, db.max/roomShare))]
	err = db.file.Write(ctx, func(tx *bstore.Tx) error {
		removed = 0
		for _, e := range spare {
			if err := tx.Delete(&Entry{Domain: e.Domain}); err != nil && !errors.Is(err, bstore.ErrAbsent) {
				return err
			}
			removed++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("making room for MTA-STS policies: %w", err)
	}
	return removed, nil
}

// store changes an entry as update does. If there is no room it is returned as if it
// had been stored: then the policy is used this time, and fetched again the next.
func (c *Cache) store(ctx context.Context, domain string, fn func(e Entry) Entry) (Entry, error) {
	e, err := c.opts.DB.update(ctx, domain, fn)
	if !errors.Is(err, errFull) {
		return e, err
	}
	if c.mayMakeRoom(time.Now()) {
		removed, err := c.opts.DB.makeRoom(ctx, time.Now())
		if err != nil {
			return Entry{}, err
		}
		if removed > 0 {
			c.opts.Log.InfoContext(ctx, "removed mta-sts policies to make room", "count", removed)
			c.noRoom.Store(0)
			if e, err := c.opts.DB.update(ctx, domain, fn); !errors.Is(err, errFull) {
				return e, err
			}
		} else {
			c.opts.Log.WarnContext(ctx, "too many mta-sts policies, new ones are not kept", "max", entriesMax)
		}
	}
	return fn(Entry{Domain: domain}), nil
}

// mayMakeRoom tells whether to look at all entries, and notes that it was done.
func (c *Cache) mayMakeRoom(now time.Time) bool {
	last := c.noRoom.Load()
	if since := now.Sub(time.Unix(0, last)); last != 0 && since >= 0 && since < roomEvery {
		return false
	}
	return c.noRoom.CompareAndSwap(last, now.UnixNano())
}

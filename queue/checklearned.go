package queue

import (
	"context"
	"maps"

	"github.com/mjl-/bstore"
)

// learned looks at what was learned of recipients.
func (c *checker) learned(ctx context.Context, tx *tx) error {
	counts := learnedCounts{}
	err := bstore.QueryTx[suppressionRow](tx.Tx).ForEach(func(r suppressionRow) error {
		s := &r.S
		counts.suppression(r.Account, 1)
		base, err := Path(s.Address)
		if r.Account != s.Account || s.Account == "" || r.ID != rowKey(s.Account, s.Address) || err != nil || base.IsZero() || BaseAddress(base) != s.Address || s.Created.IsZero() {
			c.add("suppression %d is not whole: %+v", r.ID, *s)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	err = bstore.QueryTx[historyRow](tx.Tx).ForEach(func(r historyRow) error {
		counts.histories++
		if r.ID != rowKey(r.Account, r.Address) || !r.anyFailed() || len(r.Past) > historyDeliveries || r.Last.IsZero() {
			c.add("history of deliveries %d is not whole: %+v", r.ID, r)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	err = bstore.QueryTx[fromIDRow](tx.Tx).ForEach(func(r fromIDRow) error {
		counts.fromIDs++
		if r.ID != fromIDKey(r.Account, r.FromID) || r.FromID == "" || r.Message == 0 || r.M.ID != 0 && r.M.ID != r.Message {
			c.add("id of a sender %d is not whole: %+v", r.ID, r)
		}
		if _, ok := c.senders[r.Message]; r.Until.Equal(notRetired) && !ok {
			c.add("id of a sender %q of account %q is of message %d, which is not in the queue", r.FromID, r.Account, r.Message)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	c.sameCounts(counts)
	for message, key := range c.senders {
		if err := tx.Get(&fromIDRow{ID: key}); isAbsent(err) {
			c.add("message %d has a sender whose id is not known", message)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// sameCounts compares numbers of rows with those in memory.
func (c *checker) sameCounts(counts learnedCounts) {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	if kept := c.db.counts; kept.fromIDs != counts.fromIDs || kept.histories != counts.histories || !maps.Equal(kept.suppressions, counts.suppressions) {
		c.add("counted %+v of what was learned of recipients, there are %+v", kept, counts)
	}
}

package store

import (
	"errors"
	"time"

	"github.com/mjl-/bstore"
)

const (
	// reputationAge is how long a reputation stays that does not change. No decision
	// looks back further, unless its windows are configured to.
	reputationAge = 3 * 365 * 24 * time.Hour

	// reputationsMax bounds the reputations of an account: those that have not changed
	// for the longest go first. A message that is marked changes about ten.
	reputationsMax = 1_000_000
)

// forgetMailbox removes reputations of a mailbox that is gone, at most n, and
// returns how many.
func (tx *Tx) forgetMailbox(mailboxID int64, n int) (int, error) {
	return bstore.QueryTx[Reputation](tx.b).FilterGreaterEqual("Key", reputationPrefix(mailboxID)).
		FilterLess("Key", reputationPrefix(mailboxID+1)).SortAsc("Key").Limit(n).Delete()
}

// forget removes a part of the reputations that have not changed for long, or that
// are too many. It reports whether there may be more.
func (w *writer) forget() (bool, error) {
	count, err := bstore.QueryDB[Reputation](w.ctx, w.a.db).Count()
	if err != nil || count == 0 {
		return false, err
	}
	old, err := w.staleReputations(time.Now(), count-reputationsMax)
	if err != nil || len(old) == 0 {
		return false, err
	}
	tx, err := w.begin()
	if err != nil {
		return false, err
	}
	for _, key := range old {
		if err := tx.b.Delete(&Reputation{Key: key}); err != nil {
			return false, errors.Join(err, w.rollback(tx))
		}
	}
	if err := w.commit(tx); err != nil {
		return false, err
	}
	w.publish(tx)
	if len(old) < maintainMax {
		return false, nil
	}
	w.maintainAt = time.Now()
	return true, nil
}

// staleReputations returns the keys of reputations that are to go, at most
// maintainMax: those that are too old, and as many as there are too many.
func (w *writer) staleReputations(now time.Time, excess int) (keys []string, err error) {
	before := day(now.Add(-reputationAge))
	err = bstore.QueryDB[Reputation](w.ctx, w.a.db).SortAsc("Changed").Limit(maintainMax).ForEach(func(r Reputation) error {
		if r.Changed >= before && len(keys) >= excess {
			return bstore.StopForEach
		}
		keys = append(keys, r.Key)
		return nil
	})
	return keys, err
}

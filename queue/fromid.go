package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/bstore"
)

const (
	// fromIDKeep is how long a FromID is known after its message was retired, also if
	// that is not kept: servers give up after days, and people come back from holiday.
	fromIDKeep = 14 * 24 * time.Hour

	// fromIDsMax bounds those of retired messages. The oldest go first.
	fromIDsMax = 500_000

	// FromIDMax bounds a FromID in bytes: it is part of a localpart.
	FromIDMax = 64
)

// ErrFromID means that the account has sent a message with the FromID before.
var ErrFromID = errors.New("queue: id of the sender's address was used before")

// notRetired is the end of what stays as long as its message is in the queue.
var notRetired = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// fromIDRow is a FromID that an account has used, so that it is used once, and that
// answers find their message.
type fromIDRow struct {
	ID      int64 `bstore:"noauto"` // fromIDKey of account and FromID.
	Account string
	FromID  string
	Message int64
	Until   time.Time `bstore:"index"`

	// M is the message once it is retired, if that is not kept as long as this.
	M Message
}

// fromIDKey returns the number of the row of a FromID. Other servers may change the
// case of an address.
func fromIDKey(account, fromID string) int64 {
	return rowKey(account, "fromid "+strings.ToLower(fromID))
}

// claim notes the FromIDs of a message that is about to be added, until unclaim. It
// returns ErrFromID if one was used before.
func (db *DB) claim(ctx context.Context, n New) (keys []int64, err error) {
	for _, to := range n.To {
		if to.FromID != "" {
			keys = append(keys, fromIDKey(n.Account, to.FromID))
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	if err := db.claimAll(keys); err != nil {
		return nil, err
	}
	// What is not in memory any more has its row.
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		for _, key := range keys {
			err := tx.Get(&fromIDRow{ID: key})
			if err == nil {
				return ErrFromID
			} else if !isAbsent(err) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.mu.Lock()
		db.unclaim(keys)
		db.mu.Unlock()
		return nil, err
	}
	return keys, nil
}

// claimAll notes keys in memory, or none.
func (db *DB) claimAll(keys []int64) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	for i, key := range keys {
		if db.claims[key] {
			db.unclaim(keys[:i])
			return ErrFromID
		}
		db.claims[key] = true
	}
	return nil
}

// unclaim forgets keys that have rows now, or that nothing was added with. db.mu is
// held.
func (db *DB) unclaim(keys []int64) {
	for _, key := range keys {
		delete(db.claims, key)
	}
}

// newFromIDRow returns the row of the FromID of a message in the queue.
func newFromIDRow(m *Message) *fromIDRow {
	return &fromIDRow{ID: fromIDKey(m.Account, m.FromID), Account: m.Account, FromID: m.FromID, Message: m.ID, Until: notRetired}
}

// retiredFromIDRow returns it for a message that is retired, and kept for a time.
func retiredFromIDRow(m Message, keep time.Duration) *fromIDRow {
	r := newFromIDRow(&m)
	r.Until = m.RetiredAt.Add(max(keep, fromIDKeep))
	if keep < fromIDKeep {
		r.M = m
		r.M.Prefix = nil
	}
	return r
}

// putFromID writes the row of a FromID. One of another message stays: that was there
// first.
func (tx *tx) putFromID(r *fromIDRow) error {
	old := fromIDRow{ID: r.ID}
	err := tx.Get(&old)
	switch {
	case isAbsent(err):
		tx.counts.fromIDs++
		return tx.insert(r)
	case err != nil || old.Message != r.Message:
		return err
	}
	return tx.update(r)
}

// fromIDOf returns the row of a FromID; found is false if there is none.
func fromIDOf(tx *bstore.Tx, account, fromID string) (r fromIDRow, found bool, err error) {
	r.ID = fromIDKey(account, fromID)
	err = tx.Get(&r)
	if isAbsent(err) {
		return r, false, nil
	}
	return r, err == nil && r.Account == account && strings.EqualFold(r.FromID, fromID), err
}

// check returns an error for a FromID that can't be.
func (to NewRcpt) check() error {
	switch {
	case to.FromID == "":
		return nil
	case len(to.FromID) > FromIDMax || !strings.Contains(string(to.MailFrom.Localpart), to.FromID):
		return fmt.Errorf("queue: sender %q for id %q", to.MailFrom, to.FromID)
	}
	return nil
}

// KnowsFromID says whether an account has sent a message with a FromID that is still
// known.
func (db *DB) KnowsFromID(ctx context.Context, account, fromID string) (found bool, err error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if db.claimed(account, fromID) {
		return true, nil
	}
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		_, found, err = fromIDOf(tx, account, fromID)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("looking up id of a sender of account %q: %w", account, err)
	}
	return found, nil
}

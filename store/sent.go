package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// sentAddressMax is the largest address in bytes that is remembered: that of a
// key in the database.
const sentAddressMax = 512

// SentTo is an address that the account has sent to. It stays, so that a
// recipient is known for good.
type SentTo struct {
	Address string // Localpart and domain in A-labels, in canonical form if it is ours.
	First   time.Time
	Last    time.Time // Not exact: see Account.RecordSent.
}

// SentHour is how much the account has sent in an hour, for limits. It goes when
// no limit looks back so far.
type SentHour struct {
	Hour      int64 // Since 1970.
	Messages  int64 // Counted for each recipient.
	FirstTime int64 // Of these, to addresses that were not known.
}

// HasSentTo tells for each address whether the account has sent to it.
func (a *Account) HasSentTo(ctx context.Context, addresses []string) ([]bool, error) {
	known := make([]bool, len(addresses))
	err := a.View(ctx, func(tx *Tx) error {
		for i, address := range addresses {
			err := getSentTo(tx, &SentTo{Address: address})
			if err != nil && !errors.Is(err, bstore.ErrAbsent) {
				return fmt.Errorf("looking up recipient: %w", err)
			}
			known[i] = err == nil
		}
		return nil
	})
	return known, err
}

// getSentTo reads a row by its address. One that can't be a key is absent.
func getSentTo(tx *Tx, s *SentTo) error {
	if s.Address == "" || len(s.Address) > sentAddressMax {
		return bstore.ErrAbsent
	}
	return tx.b.Get(s)
}

// SentHours returns what was sent from an hour on, in order.
func (a *Account) SentHours(ctx context.Context, from int64) (hours []SentHour, err error) {
	err = a.View(ctx, func(tx *Tx) error {
		hours, err = bstore.QueryTx[SentHour](tx.b).FilterGreaterEqual("Hour", from).SortAsc("Hour").List()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what was sent: %w", err)
	}
	return hours, nil
}

// RecordSent adds addresses to those known, at most a few thousand, and sets the
// counts of hours; counts of hours before from are removed. It is called now and
// then, not for each message: who calls it keeps what is new until then.
//
// Of addresses that are known the time is set, unless it is that of the same day
// already.
func (a *Account) RecordSent(ctx context.Context, to []SentTo, hours []SentHour, from int64) error {
	return a.Update(ctx, func(tx *Tx) error {
		tx.touch()
		for _, s := range to {
			if err := recordSentTo(tx, s); err != nil {
				return fmt.Errorf("recording recipient: %w", err)
			}
		}
		for _, h := range hours {
			if err := recordSentHour(tx, h); err != nil {
				return fmt.Errorf("recording what was sent: %w", err)
			}
		}
		if _, err := bstore.QueryTx[SentHour](tx.b).FilterLess("Hour", from).Delete(); err != nil {
			return fmt.Errorf("removing what was sent before: %w", err)
		}
		return nil
	})
}

func recordSentTo(tx *Tx, s SentTo) error {
	if s.Address == "" || len(s.Address) > sentAddressMax {
		return nil
	}
	old := SentTo{Address: s.Address}
	err := getSentTo(tx, &old)
	switch {
	case errors.Is(err, bstore.ErrAbsent):
		return tx.b.Insert(&s)
	case err != nil:
		return err
	case s.Last.Sub(old.Last) < 24*time.Hour:
		return nil
	}
	old.Last = s.Last
	return tx.b.Update(&old)
}

func recordSentHour(tx *Tx, h SentHour) error {
	err := tx.b.Get(&SentHour{Hour: h.Hour})
	if errors.Is(err, bstore.ErrAbsent) {
		return tx.b.Insert(&h)
	} else if err != nil {
		return err
	}
	return tx.b.Update(&h)
}

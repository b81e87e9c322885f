package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// Arrival says that somebody is to be told of a message that was delivered, as a
// webhook is. It is written in the commit that stores the message, and stays until
// who tells has noted it: so no message is forgotten, whenever the process dies.
type Arrival struct {
	EmailID int64
	At      time.Time
}

// arrived notes that somebody is to be told of an Email.
func (tx *Tx) arrived(e *Email, rcpt *recordRcpt) error {
	if !rcpt.announce {
		return nil
	}
	tx.arrivals = true
	return tx.b.Insert(&Arrival{EmailID: e.ID, At: time.Now()})
}

// Arrived is a message that somebody is to be told of.
type Arrived struct {
	EmailID   int64
	MessageID string // Canonical, without brackets.
	Subject   string // Base subject.
}

// Arrivals returns the oldest messages that somebody is to be told of, at most n.
// Those that were expunged since are forgotten.
func (a *Account) Arrivals(ctx context.Context, n int) (list []Arrived, err error) {
	var gone []int64
	err = a.ViewContent(ctx, func(tx *Tx) error {
		list, gone = nil, nil
		return bstore.QueryTx[Arrival](tx.b).SortAsc("EmailID").ForEach(func(r Arrival) error {
			_, err := tx.MailboxOf(r.EmailID)
			if errors.Is(err, ErrExpunged) {
				gone = append(gone, r.EmailID)
				return nil
			}
			var e Email
			if err == nil {
				e, err = tx.Email(r.EmailID)
			}
			if err != nil {
				return err
			}
			if list = append(list, Arrived{e.ID, e.MessageID, e.Subject}); len(list) == n {
				return bstore.StopForEach
			}
			return nil
		})
	})
	if err == nil && len(gone) > 0 {
		err = a.ForgetArrivals(ctx, gone)
	}
	if err != nil {
		return nil, fmt.Errorf("reading messages to be told of: %w", err)
	}
	return list, nil
}

// ForgetArrivals forgets messages that who tells of them has noted.
func (a *Account) ForgetArrivals(ctx context.Context, emailIDs []int64) error {
	return a.Update(ctx, func(tx *Tx) error {
		for _, id := range emailIDs {
			err := tx.b.Get(&Arrival{EmailID: id})
			if errors.Is(err, bstore.ErrAbsent) {
				continue
			} else if err != nil {
				return err
			}
			tx.touch()
			if err := tx.b.Delete(&Arrival{EmailID: id}); err != nil {
				return err
			}
		}
		return nil
	})
}

// MailboxOf returns the mailbox that an Email is in, ErrExpunged if it is in none. If
// it is in several, it is the one it has been in for longest.
func (tx *Tx) MailboxOf(emailID int64) (Mailbox, error) {
	m, err := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{EmailID: emailID}).SortAsc("ID").Limit(1).Get()
	if errors.Is(err, bstore.ErrAbsent) {
		return Mailbox{}, ErrExpunged
	} else if err != nil {
		return Mailbox{}, fmt.Errorf("looking for email %d: %w", emailID, err)
	}
	return tx.MailboxByID(m.MailboxID)
}

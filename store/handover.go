package store

import (
	"context"
	"errors"
	"time"

	"github.com/mjl-/bstore"
)

// handoverPoll is the time between looks at a delivery that is not durable yet.
const handoverPoll = 10 * time.Millisecond

// HandedOver says whether the account has the message that was handed over with
// a key, and waits until what is on its way is applied (journal.md, rule 18).
func (a *Account) HandedOver(ctx context.Context, key string) (bool, error) {
	for a.keyPending(key) {
		a.WaitDurable(ctx)
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if a.isFailing() {
			return false, ErrHandoverPending
		}
		if a.keyPending(key) {
			time.Sleep(handoverPoll) // It is on its way into the journal.
		}
	}
	found := false
	err := a.View(ctx, func(tx *Tx) error {
		err := tx.b.Get(&Handover{Key: key})
		if errors.Is(err, bstore.ErrAbsent) {
			return nil
		}
		found = err == nil
		return err
	})
	return found, err
}

// ConfirmHandover forgets keys: the queue's rows are retired, and won't be
// delivered again.
func (a *Account) ConfirmHandover(ctx context.Context, keys []string) error {
	return a.Update(ctx, func(tx *Tx) error {
		for _, k := range keys {
			err := tx.b.Get(&Handover{Key: k})
			if errors.Is(err, bstore.ErrAbsent) {
				continue
			} else if err != nil {
				return err
			}
			tx.touch()
			if err := tx.b.Delete(&Handover{Key: k}); err != nil {
				return err
			}
		}
		return nil
	})
}

// keyPending says whether a delivery with a key waits to be applied.
func (a *Account) keyPending(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.keys[key]
	return ok
}

// isFailing says whether applying fails at present.
func (a *Account) isFailing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.failing.IsZero()
}

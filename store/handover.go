package store

import (
	"context"
	"errors"
	"time"

	"github.com/mjl-/bstore"
)

// handoverPoll is the time between looks whether an account still applies what
// waits for it.
const handoverPoll = time.Second

// HandedOver says whether the account has the message that was handed over with
// a key, and waits until what is on its way is applied (journal.md, rule 18). It
// does not hurry the account, which may gather more first.
func (a *Account) HandedOver(ctx context.Context, key string) (bool, error) {
	if err := a.waitKey(ctx, key); err != nil {
		return false, err
	}
	found := false
	err := a.ViewContent(ctx, func(tx *Tx) error {
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

// waitKey waits until no delivery with a key waits to be applied.
func (a *Account) waitKey(ctx context.Context, key string) error {
	settled := a.pendingKey(key)
	if settled == nil {
		return nil
	}
	look := time.NewTicker(handoverPoll)
	defer look.Stop()
	for {
		if a.isFailing() {
			return ErrHandoverPending
		}
		select {
		case <-settled:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// pendingKey returns what is closed when the delivery with a key is applied or
// given up, nil if there is none on its way.
func (a *Account) pendingKey(key string) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keys[key]
}

// isFailing says whether applying fails at present.
func (a *Account) isFailing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.failing.IsZero()
}

package auth

import (
	"context"
	"sync"
	"time"

	"github.com/mjl-/mox/store"
)

const (
	// usedGrain is the exactness of Credential.LastUsed: more would cost a commit
	// for each login.
	usedGrain = time.Hour

	// usedMax bounds the accounts whose credentials wait to be noted. More are noted
	// at a later login.
	usedMax = 1000
)

// used collects credentials of which is to be noted that they were used.
type used struct {
	mu      sync.Mutex
	waiting map[string]map[int64]time.Time // By account and id.
}

func newUsed() *used { return &used{waiting: map[string]map[int64]time.Time{}} }

// add notes that a credential was used, if that is not known from lately.
func (u *used) add(account string, c store.Credential, now time.Time) {
	if now.Sub(c.LastUsed) < usedGrain {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting[account] == nil {
		if len(u.waiting) >= usedMax {
			return
		}
		u.waiting[account] = map[int64]time.Time{}
	}
	u.waiting[account][c.ID] = now
}

func (u *used) take() map[string]map[int64]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.waiting
	u.waiting = map[string]map[int64]time.Time{}
	return w
}

// noteUsed writes what waits. What can't be written is noted at the next login.
func (a *Authenticator) noteUsed(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // What was taken is nowhere else.
	for account, ids := range a.used.take() {
		if err := a.noteUsedBy(ctx, account, ids); err != nil {
			a.log.ErrorContext(ctx, "noting use of credentials", "account", account, "err", err)
		}
	}
}

func (a *Authenticator) noteUsedBy(ctx context.Context, account string, ids map[int64]time.Time) (err error) {
	acc, err := a.opts.Accounts.Account(ctx, account)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := acc.Close(); err == nil {
			err = cerr
		}
	}()
	return acc.Update(ctx, func(tx *store.Tx) error {
		for id, at := range ids {
			if err := tx.UseCredential(id, at); err != nil {
				return err
			}
		}
		return nil
	})
}

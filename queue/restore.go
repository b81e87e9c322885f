package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// HoldRemote holds all messages for other servers in a queue that nobody has open:
// one restored from a backup has messages that were delivered since. Hand-overs
// to accounts that were restored with it are made once, so those go on. It returns
// how many messages it holds, without those that were held before.
func HoldRemote(ctx context.Context, opts Options) (held int, err error) {
	db, err := Open(ctx, opts)
	if err != nil {
		return 0, err
	}
	changed, err := db.edit(ctx, Filter{}, nil, func(r *messageRow, _ bool, _ time.Time) Outcome {
		if opts.Local(r.M.Domain) || r.M.State == Held {
			return unchanged
		}
		return r.hold(false, HeldRestored, 0)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return len(changed), fmt.Errorf("holding messages for other servers: %w", err)
	}
	return len(changed), nil
}

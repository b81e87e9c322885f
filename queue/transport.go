package queue

import (
	"context"
	"time"
)

// SetTransport chooses a transport for messages alone, in place of what routes say
// for them, or with an empty name leaves it to the routes again. It returns those it
// changed, without prefixes. For one that is being delivered it counts from the next
// attempt on. Whether there is a transport of that name is up to the caller.
func (db *DB) SetTransport(ctx context.Context, f Filter, name string) ([]Message, error) {
	return db.edit(ctx, f, nil, func(r *messageRow, _ bool, _ time.Time) Outcome {
		if r.M.Transport == name {
			return unchanged
		}
		r.M.Transport = name
		return ""
	})
}

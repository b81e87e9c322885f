package queue

import (
	"context"
)

// Check returns what is wrong.
func (db *DB) Check(ctx context.Context) (problems []error) { return nil }

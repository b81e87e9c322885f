package authdb

import (
	"context"
	"errors"
	"fmt"

	"github.com/mjl-/bstore"
)

// MarkRestored notes that the account with an id is there again, from a backup. It
// is no error if it was not removed.
func (db *DB) MarkRestored(ctx context.Context, accountID string) error {
	err := db.file.Write(ctx, func(tx *bstore.Tx) error {
		err := tx.Delete(&RemovedAccount{AccountID: accountID})
		if errors.Is(err, bstore.ErrAbsent) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("noting restored account: %w", err)
	}
	return nil
}

package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// UseCredential notes when a credential was last used. It is no error if it is no
// more. Clients don't see the change.
func (tx *Tx) UseCredential(id int64, at time.Time) error {
	c := Credential{ID: id}
	if err := tx.b.Get(&c); errors.Is(err, bstore.ErrAbsent) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading credential %d: %w", id, err)
	}
	if !at.After(c.LastUsed) {
		return nil
	}
	tx.touch()
	c.LastUsed = at
	return tx.b.Update(&c)
}

package store

import (
	"context"

	"github.com/mjl-/bstore"
)

// HandoverKeys returns the keys that are kept for the queue, sorted. Once nothing
// is being handed over, the queue knows each of them as one to be confirmed.
func (a *Account) HandoverKeys(ctx context.Context) (keys []string, err error) {
	err = a.ViewContent(ctx, func(tx *Tx) error {
		keys = nil
		return bstore.QueryTx[Handover](tx.b).SortAsc("Key").ForEach(func(h Handover) error {
			keys = append(keys, h.Key)
			return nil
		})
	})
	return keys, err
}

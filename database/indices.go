package database

import (
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// indexPrefix begins the names of the buckets of a type's indices.
const indexPrefix = "index."

// checkIndices tells problem of each index with another number of entries than
// its type has rows. None of our indices is over the elements of a list.
func checkIndices(tx *bolt.Tx, problem func(error) (goOn bool)) error {
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		if b == nil {
			problem(fmt.Errorf("%w: %q is no bucket", ErrDamaged, name))
			return nil
		}
		records := b.Bucket([]byte(recordsBucket))
		if records == nil {
			return nil
		}
		rows := -1
		return b.ForEachBucket(func(index []byte) error {
			if !strings.HasPrefix(string(index), indexPrefix) {
				return nil
			}
			if rows < 0 {
				rows = records.Stats().KeyN
			}
			if n := b.Bucket(index).Stats().KeyN; n != rows {
				problem(fmt.Errorf("%w: %d rows of type %s have %d entries in %s", ErrDamaged, rows, name, n, index))
			}
			return nil
		})
	})
}

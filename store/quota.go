package store

import (
	"context"
	"fmt"
)

// Usage is what an account has, and what it may have.
type Usage struct {
	Size     int64 // Bytes that count against the limit, with those of deliveries that are accepted and not yet there.
	SizeMax  int64 // 0: no limit.
	Messages int64 // In all mailboxes. A copy counts as one more.

	MessagesMax int64 // 0: no limit. Rejects don't count against it.
}

// quota returns the account's quota in bytes, 0 for none.
func (a *Account) quota() int64 { return limitOf(a.dir.opts.QuotaSize, a.name) }

// quotaMessages returns how many messages the account may have, 0 for any number.
func (a *Account) quotaMessages() int64 { return limitOf(a.dir.opts.QuotaMessages, a.name) }

func limitOf(limit func(account string) int64, account string) int64 {
	if limit == nil {
		return 0
	}
	return max(0, limit(account))
}

// CheckQuota returns ErrOverQuota if one more message, of size bytes, would pass a
// limit of the account.
func (a *Account) CheckQuota(size int64) error {
	return a.CheckQuotaOf(1, size)
}

// CheckQuotaOf is CheckQuota for n more messages with size more bytes together. Both
// can be below 1 if others go with it: then it is fine.
func (a *Account) CheckQuotaOf(n, size int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.checkQuota(n, size)
}

// checkQuota is CheckQuotaOf with a.mu held.
func (a *Account) checkQuota(n, size int64) error {
	if q := a.quota(); q > 0 && grows(n, size) && a.size+a.reserved.size+size > q {
		return ErrOverQuota
	}
	if q := a.quotaMessages(); q > 0 && n > 0 && a.messages-a.rejects.count+a.reserved.count+n > q {
		return ErrOverQuota
	}
	return nil
}

// checkQuota returns ErrOverQuota if n more messages with contents of size bytes
// would pass a limit of the account.
func (tx *Tx) checkQuota(n, size int64) error {
	tx.a.mu.Lock()
	reserved := tx.a.reserved
	tx.a.mu.Unlock()
	if q := tx.a.quota(); q > 0 && grows(n, size) && tx.row.quotaSize()+reserved.size+size > q {
		return ErrOverQuota
	}
	if q := tx.a.quotaMessages(); q > 0 && tx.messages-tx.row.Rejects+reserved.count+n > q {
		return ErrOverQuota
	}
	return nil
}

// grows says whether n more messages with size more bytes need room. The size of one
// that is still to come can be 0: not known.
func grows(n, size int64) bool { return size > 0 || n > 0 && size == 0 }

// Usage returns what the account has and may have.
func (a *Account) Usage() Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Usage{a.size + a.reserved.size, a.quota(), a.messages, a.quotaMessages()}
}

// amounts is a number of messages, and the bytes that they count for.
type amounts struct{ count, size int64 }

// add adds o n times; -1 takes it away.
func (s *amounts) add(o amounts, n int64) {
	s.count += n * o.count
	s.size += n * o.size
}

// DeletedSize returns the size of all messages of a mailbox that have \Deleted, in
// bytes. A mailbox that is not selected is read whole.
func (a *Account) DeletedSize(ctx context.Context, mailboxID int64) (size int64, err error) {
	r, err := a.hub.array(ctx, mailboxID)
	if err != nil {
		return 0, fmt.Errorf("reading messages: %w", err)
	}
	defer a.hub.drop(r)
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range r.entries {
		if r.entries[i].Flags()&FlagDeleted != 0 {
			size += int64(r.entries[i].Size)
		}
	}
	return size, nil
}

package queue

import (
	"errors"
	"fmt"
)

// FutureMax bounds the messages of an account in the queue that are, or were, to be
// sent at a time that their sender has chosen: others leave within days, those can
// fill the disk for months (RFC 4865, section 6).
const FutureMax = 5000

// ErrFutureQuota means that an account has as many messages in the queue with a time
// of release as it may have: 552 5.7.16.
var ErrFutureQuota = errors.New("queue: too many messages of the account wait for their release")

// CheckFuture returns ErrFutureQuota unless an account may have n more messages with
// a time of release, one for each recipient.
func (db *DB) CheckFuture(account string, n int) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if have := db.future[account]; have+n > FutureMax {
		return fmt.Errorf("%w: %d, at most %d", ErrFutureQuota, have, FutureMax)
	}
	return nil
}

// weigh adds a message to what the queue holds, or with -1 takes it away. db.mu is
// held.
func (db *DB) weigh(m *Message, sign int) {
	db.bytes += int64(sign) * m.Size
	if m.FutureRelease == "" {
		return
	}
	if db.future[m.Account] += sign; db.future[m.Account] == 0 {
		delete(db.future, m.Account)
	}
}

package queue

import (
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/bstore"
)

// schemaVersion counts the changes to the rows that older versions can't read.
const schemaVersion = 1

// rowTypes are the types kept in index.db.
var rowTypes = []any{
	messageRow{}, contentRow{}, prefixRow{}, retiredRow{}, handedRow{}, noticeRow{}, loggedRow{}, logRow{}, hookRow{}, hookRetiredRow{},
	holdRuleRow{}, clockRow{}, suppressionRow{}, historyRow{}, fromIDRow{},
}

// messageRow is a message that is not retired. It has no index: what is due, and
// what belongs together, is known in memory; lists look at all rows.
//
// A row says Waiting while a local delivery runs: its hand-over can be done again
// (journal.md, rule 18), so that nothing is written before it.
type messageRow struct {
	ID       int64
	M        Message
	PrefixID int64  // Of a prefixRow, 0 for none.
	Chosen   bool   // NextAttempt was chosen by the sender or a person, so it may be far away.
	Fail     string // The next attempt fails without a try, for this reason.
	Unsure   bool   // Provisional, and not released yet.
	Drop     bool   // To be dropped when the attempt that is running does not deliver it.
	HoldNext bool   // To be held when the attempt that is running does not retire it.
	Handed   []Handed
}

// contentRow is a content file. It is on disk, or its bytes are in the log.
type contentRow struct {
	ID       int64
	Name     string // Below content/, with its directory.
	Size     int64
	CRC      uint32  // CRC-32C.
	Messages int64   // Not retired. With the last of them the file goes.
	Prefixes []int64 // Ids of the prefixes its messages have.
}

// prefixRow is header fields in front of a content. Messages of one content with
// the same prefix share it.
type prefixRow struct {
	ID   int64
	Data []byte
}

// retiredRow is a retired message that is kept for a while: since LastActivity for
// as long as its account keeps them.
type retiredRow struct {
	ID           int64     `bstore:"noauto"` // That it had in the queue.
	Account      string    `bstore:"index Account+LastActivity"`
	LastActivity time.Time `bstore:"index"`
	Refs         []int64   `bstore:"index"` // By which answers find it, see refsOf.
	M            Message
}

// newRetired returns the row of a message that was just retired.
func newRetired(r *messageRow) retiredRow {
	m := r.message()
	return retiredRow{ID: r.ID, Account: m.Account, LastActivity: m.RetiredAt, Refs: messageRefs(&m), M: r.M}
}

// message returns the message of a row.
func (r *retiredRow) message() Message {
	m := r.M
	m.ID, m.LastActivity = r.ID, r.LastActivity
	return m
}

// handedRow is a key that an account has for a message that is retired.
type handedRow struct {
	Ref string // Account, a space, key. Neither has a space.
}

// isAbsent says whether there is no such row.
func isAbsent(err error) bool { return errors.Is(err, bstore.ErrAbsent) }

// get reads a row by its key. It is ErrNoMessage if there is none.
func get(tx *bstore.Tx, row any) error {
	err := tx.Get(row)
	if errors.Is(err, bstore.ErrAbsent) {
		return fmt.Errorf("%w: %w", ErrNoMessage, err)
	}
	return err
}

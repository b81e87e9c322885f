package store

import (
	"fmt"
	"slices"

	"github.com/mjl-/bstore"
)

// Vanished returns the UIDs, ascending, of messages that were removed from a mailbox
// with a ModSeq above since. Known is false if that is not all that is to be said,
// as what was removed so long ago is forgotten: then it returns nothing (RFC 7162,
// section 3.2.6).
func (tx *Tx) Vanished(mb *Mailbox, since int64) (uids []UID, known bool, err error) {
	if since < mb.PurgedSeq {
		return nil, false, nil
	}
	q := bstore.QueryTx[Expunged](tx.b).FilterNonzero(Expunged{MailboxID: mb.ID}).FilterGreater("ModSeq", since)
	err = q.ForEach(func(x Expunged) error {
		uids = append(uids, x.UID)
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading removed messages: %w", err)
	}
	slices.Sort(uids)
	return slices.Compact(uids), true, nil
}

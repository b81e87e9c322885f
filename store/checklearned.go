package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mjl-/bstore"
)

// wrongReputation returns what is wrong with a row by itself, and its mailbox.
func wrongReputation(r *Reputation) (mailboxID int64, wrong string) {
	mailboxID, k, err := parseReputationKey(r.Key)
	if err != nil {
		return 0, "its key is none"
	}
	list, err := unpackLearned(r.Recent)
	junk, notJunk := sums(list)
	floor := learned{emailID: r.FloorID, received: r.Floor}
	switch {
	case err != nil:
		return mailboxID, "its messages can't be read"
	case len(list) > learnedMax(k.Kind):
		return mailboxID, "it has more messages than it may"
	case !slices.IsSortedFunc(list, compareLearned), r.FloorID != 0 && len(list) > 0 && compareLearned(list[0], floor) <= 0:
		return mailboxID, "its messages are not in order"
	case r.Junk < junk || r.NotJunk < notJunk || r.Junk+r.NotJunk == 0:
		return mailboxID, "impossible counts"
	}
	return mailboxID, ""
}

// wrongReputation checks a row and its mailbox.
func (c *checker) wrongReputation(r *Reputation) string {
	mailboxID, wrong := wrongReputation(r)
	if _, ok := c.boxes[mailboxID]; wrong == "" && !ok && !c.draining[mailboxID] {
		return "its mailbox is not there"
	}
	return wrong
}

// rejects checks the rows of rejects against their Emails, and the account's sums.
func (c *checker) rejects(ctx context.Context) error {
	var count, size int64
	err := bstore.QueryTx[Reject](c.tx.b).ForEach(func(r Reject) error {
		count, size = count+1, size+r.Size
		wrong, err := wrongReject(c.tx, &r)
		if wrong != "" {
			c.problem(effectRejects, mendFix, "reject of email %d: %s", r.EmailID, wrong)
		}
		return errors.Join(err, ctx.Err())
	})
	if err != nil {
		return fmt.Errorf("reading rejects: %w", err)
	}
	if row := c.tx.row; row.Rejects != count || row.RejectSize != size {
		c.problem("the quota is wrong", mendFix, "account says %d rejects of %d bytes, there are %d of %d", row.Rejects, row.RejectSize, count, size)
	}
	return nil
}

const effectRejects = "a refused message stays, or goes too early"

// wrongReject returns what is wrong with the row of a reject.
func wrongReject(tx *Tx, r *Reject) (string, error) {
	e, err := tx.Email(r.EmailID)
	switch {
	case errors.Is(err, ErrExpunged):
		return "it is not there", nil
	case err != nil:
		return "", err
	case !e.Reject || r.Size != e.Size || r.MessageKey != e.MessageKey:
		return "it is another message", nil
	}
	erased, err := bstore.QueryTx[Erase](tx.b).FilterID(e.ID).Exists()
	if err == nil && erased {
		return "it is to be erased", nil
	}
	return "", err
}

// lostReject tells whether an Email says that it is a reject, and is not found as
// one.
func (c *checker) lostReject(e *Email) (bool, error) {
	if !e.Reject {
		return false, nil
	}
	there, err := bstore.QueryTx[Reject](c.tx.b).FilterID(e.ID).Exists()
	return !there, err
}

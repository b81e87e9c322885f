package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mjl-/bstore"
)

// Rejects are messages that were refused, put into a mailbox for the user to look
// at. They go by themselves, unless the configuration says otherwise: the oldest
// first, when there are too many or they are too old.
const (
	rejectAge      = 14 * 24 * time.Hour
	rejectsMax     = 1000
	rejectsSizeMax = 256 << 20 // Bytes. They don't count against the quota.
	rejectsAtOnce  = 100       // Removed in one transaction (journal.md, rule 16).
)

// checkRejectQuota returns ErrOverQuota if a reject of size bytes has no room beside
// all else: rejects don't keep other mail out, but they don't go beyond the quota.
func (a *Account) checkRejectQuota(size int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if q := a.quota(); q > 0 && a.size+a.rejects.size+a.reserved.size+size > q {
		return ErrOverQuota
	}
	if q := a.quotaMessages(); q > 0 && a.messages+a.reserved.count >= q {
		return ErrOverQuota
	}
	return nil
}

// contentKey returns a positive number for a content.
func contentKey(r io.ReaderAt, size int64) (int64, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		return 0, fmt.Errorf("reading content: %w", err)
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil))>>1 | 1), nil
}

// HasReject tells whether the account has a message as a reject: one with its
// canonical Message-ID, or with the same content. A Deliver of one that it has
// changes nothing, so that this can be asked before, to save its work.
func (a *Account) HasReject(ctx context.Context, messageID string, content io.ReaderAt, size int64) (has bool, err error) {
	hash, err := contentKey(content, size)
	if err != nil {
		return false, err
	}
	err = a.ViewContent(ctx, func(tx *Tx) error {
		has, err = tx.hasReject(messageID, hash)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("looking for reject: %w", err)
	}
	return has, nil
}

// hasReject is HasReject within a transaction. One that is about to go does not count.
func (tx *Tx) hasReject(messageID string, contentKey int64) (bool, error) {
	if tx.row.Rejects == 0 {
		return false, nil
	}
	for _, like := range []Reject{{MessageKey: key(messageID)}, {ContentKey: contentKey}} {
		if like == (Reject{}) {
			continue
		}
		has, err := bstore.QueryTx[Reject](tx.b).FilterNonzero(like).FilterGreater("Expires", int64(0)).Limit(1).Exists()
		if err != nil || has {
			return has, err
		}
	}
	return false, nil
}

// noteReject makes the row of a reject. If a message is none, rejects of the same
// Message-ID are to go.
func (tx *Tx) noteReject(e *Email, rcpt *recordRcpt) error {
	if !rcpt.reject {
		return tx.expireRejects(e.MessageKey)
	}
	tx.row.Rejects++
	tx.row.RejectSize += e.Size
	tx.rejects = true
	return tx.b.Insert(&Reject{
		EmailID: e.ID, MessageKey: e.MessageKey, ContentKey: rcpt.contentKey,
		Expires: e.Received.Add(rejectAge).Unix(), Size: e.Size,
	})
}

// expireRejects marks rejects as accepted since, at most rejectsAtOnce.
func (tx *Tx) expireRejects(messageKey int64) error {
	if tx.row.Rejects == 0 || messageKey == 0 {
		return nil
	}
	list, err := bstore.QueryTx[Reject](tx.b).FilterNonzero(Reject{MessageKey: messageKey}).Limit(rejectsAtOnce).List()
	if err != nil {
		return err
	}
	for _, r := range list {
		r.Expires = 0
		tx.rejects = true
		if err := tx.b.Update(&r); err != nil {
			return err
		}
	}
	return nil
}

// dropReject removes the row of a reject that is gone or none any more, if there
// is one.
func (tx *Tx) dropReject(emailID int64) error {
	if tx.row.Rejects == 0 {
		return nil
	}
	r := Reject{EmailID: emailID}
	if err := tx.b.Get(&r); errors.Is(err, bstore.ErrAbsent) {
		return nil
	} else if err != nil {
		return err
	}
	tx.row.Rejects--
	tx.row.RejectSize -= r.Size
	return tx.b.Delete(&r)
}

// cleanRejects removes a part of the rejects that are to go. It reports whether
// there may be more.
func (w *writer) cleanRejects() (bool, error) {
	w.a.mu.Lock()
	sums := w.a.rejects
	w.a.mu.Unlock()
	if sums.count == 0 {
		return false, nil
	}
	tx, err := w.begin()
	if err != nil {
		return false, err
	}
	list, err := tx.staleRejects(time.Now())
	if err == nil && len(list) == 0 {
		return false, w.rollback(tx)
	}
	if err == nil {
		err = tx.removeRejects(list)
	}
	if err != nil {
		return false, errors.Join(err, w.rollback(tx))
	}
	if err := w.commit(tx); err != nil {
		return false, err
	}
	w.publish(tx)
	return len(list) == rejectsAtOnce, nil
}

// staleRejects returns rejects that are to go, at most rejectsAtOnce.
func (tx *Tx) staleRejects(now time.Time) ([]Reject, error) {
	count, size, keep := tx.row.Rejects, tx.row.RejectSize, tx.junkRules().KeepRejects
	var list []Reject
	err := bstore.QueryTx[Reject](tx.b).SortAsc("Expires").Limit(rejectsAtOnce).ForEach(func(r Reject) error {
		if r.Expires > 0 && (keep || r.Expires > now.Unix() && count <= rejectsMax && size <= rejectsSizeMax) {
			return bstore.StopForEach
		}
		list = append(list, r)
		count, size = count-1, size-r.Size
		return nil
	})
	return list, err
}

// removeRejects removes rejects from their mailboxes. Those in one that was deleted
// go with it.
func (tx *Tx) removeRejects(list []Reject) error {
	for _, r := range list {
		msgs, err := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{EmailID: r.EmailID}).List()
		if err != nil {
			return err
		}
		for i := range msgs {
			box, err := tx.box(msgs[i].MailboxID)
			if errors.Is(err, ErrNoMailbox) {
				continue
			} else if err != nil {
				return err
			}
			if err := tx.remove(box, &msgs[i], true); err != nil {
				return err
			}
		}
	}
	return tx.endFunction()
}

package store

import (
	"context"
	"errors"

	"github.com/mjl-/bstore"
)

// reputations forgets what can't be read, or is about mailboxes that are gone.
func (f *fixer) reputations(ctx context.Context) error {
	var keys []string
	err := f.db.Read(ctx, func(b *bstore.Tx) error {
		boxes := map[int64]bool{}
		if err := bstore.QueryTx[Mailbox](b).ForEach(func(mb Mailbox) error { boxes[mb.ID] = true; return nil }); err != nil {
			return err
		}
		if err := bstore.QueryTx[MailboxGone](b).ForEach(func(g MailboxGone) error { boxes[g.ID] = g.Draining; return nil }); err != nil {
			return err
		}
		return bstore.QueryTx[Reputation](b).ForEach(func(r Reputation) error {
			if box, wrong := wrongReputation(&r); (wrong != "" || !boxes[box]) && len(keys) < fixMax {
				keys = append(keys, r.Key)
			}
			return ctx.Err()
		})
	})
	if err != nil || len(keys) == 0 {
		return err
	}
	err = f.update(ctx, func(tx *Tx) error {
		for _, key := range keys {
			f.did("forgot the reputation %q, which could not be", key)
			if err := tx.b.Delete(&Reputation{Key: key}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.reputations(ctx)
}

// rejects mends rows of rejects, and counts them. It comes after Emails were
// mended.
func (f *fixer) rejects(ctx context.Context) error {
	return f.update(ctx, func(tx *Tx) error {
		list, err := bstore.QueryTx[Reject](tx.b).List()
		if err != nil {
			return err
		}
		var count, size int64
		for i := range list {
			stays, err := f.reject(tx, &list[i])
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if stays {
				count, size = count+1, size+list[i].Size
			}
		}
		if tx.row.Rejects != count || tx.row.RejectSize != size {
			f.did("the account said %d rejects of %d bytes, and says %d of %d", tx.row.Rejects, tx.row.RejectSize, count, size)
			tx.row.Rejects, tx.row.RejectSize = count, size
		}
		return nil
	})
}

// reject mends one row, and reports whether it stays.
func (f *fixer) reject(tx *Tx, r *Reject) (bool, error) {
	wrong, err := wrongReject(tx, r)
	if wrong == "" || err != nil {
		return true, err
	}
	if e, err := tx.Email(r.EmailID); err == nil && e.Reject && (r.Size != e.Size || r.MessageKey != e.MessageKey) {
		f.did("the reject of email %d is found by its Message-ID and size again", e.ID)
		r.Size, r.MessageKey = e.Size, e.MessageKey
		if err := tx.b.Update(r); err != nil {
			return false, err
		}
		return f.reject(tx, r)
	} else if err != nil && !errors.Is(err, ErrExpunged) {
		return false, err
	}
	f.did("email %d is no reject any more", r.EmailID)
	return false, tx.b.Delete(&Reject{EmailID: r.EmailID})
}

// fixReject makes an Email that is not found as a reject an ordinary one.
func (f *fixer) fixReject(tx *Tx, e *Email) error {
	if !e.Reject {
		return nil
	}
	there, err := bstore.QueryTx[Reject](tx.b).FilterID(e.ID).Exists()
	if err == nil && !there {
		f.did("email %d was a reject that does not go by itself, and is none", e.ID)
		e.Reject = false
	}
	return err
}

package store

import (
	"context"

	"github.com/mjl-/bstore"
)

// annotations removes those that nobody can ask for, and mends their numbers.
func (f *fixer) annotations(ctx context.Context) error {
	return f.update(ctx, func(tx *Tx) error {
		list, err := bstore.QueryTx[Annotation](tx.b).List()
		if err != nil {
			return err
		}
		boxes := map[int64]bool{0: true}
		if err := bstore.QueryTx[Mailbox](tx.b).ForEach(func(mb Mailbox) error { boxes[mb.ID] = true; return nil }); err != nil {
			return err
		}
		for i := range list {
			if err := f.annotation(tx, &list[i], boxes[list[i].MailboxID]); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// annotation mends one.
func (f *fixer) annotation(tx *Tx, a *Annotation, there bool) error {
	if name, err := CheckAnnotationName(a.Name); !there || err != nil || name != a.Name {
		f.did("removed annotation %+q of mailbox %d, which could not be", a.Name, a.MailboxID)
		return tx.b.Delete(&Annotation{ID: a.ID})
	}
	if a.CreateSeq <= a.ModSeq {
		return nil
	}
	f.did("annotation %+q of mailbox %d had modseq %d, and has %d", a.Name, a.MailboxID, a.ModSeq, a.CreateSeq)
	a.ModSeq = a.CreateSeq
	return tx.b.Update(a)
}

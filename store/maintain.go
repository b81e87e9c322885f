package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
)

// Maintenance: what is done when nothing waits, in parts that others need not
// notice.
const (
	maintainEvery = time.Hour
	maintainMax   = 1000 // Rows in one transaction.

	// Expunged rows are kept this long, and at most this many of an account: a client
	// that comes back later compares all UIDs.
	expungedAge = 180 * 24 * time.Hour
	expungedMax = 1_000_000
)

// eraseSoon makes the writer look whether files can be erased now.
func (a *Account) eraseSoon() {
	a.mu.Lock()
	a.erasing = true
	a.mu.Unlock()
	a.wakeUp()
}

// maintain does one part of the maintenance, and notes whether there is more.
func (w *writer) maintain() {
	more := false
	type step struct {
		what string
		run  func() (bool, error)
	}
	steps := []step{
		{"erasing files", w.erase}, {"removing messages of deleted mailbox", w.drain},
		{"removing rejects", w.cleanRejects},
	}
	if now := time.Now(); !now.Before(w.maintainAt) {
		w.maintainAt = now.Add(maintainEvery)
		steps = append(steps, []step{{"purging expunged rows", w.purge}, {"forgetting reputations", w.forget}}...)
	}
	for _, s := range steps {
		again, err := s.run()
		if err != nil {
			w.a.dir.log.Error("maintaining account", "step", s.what, "account", w.a.name, "err", err)
			more = false
			w.maintainAt = time.Now().Add(time.Minute)
			break
		}
		more = more || again
	}
	w.maintaining = more
}

// erase removes Emails that no session can ask for, with their files. It
// reports whether there may be more.
func (w *writer) erase() (bool, error) {
	a := w.a
	if a.dir.pins.Load() > 0 {
		return false, nil
	}
	rows, err := bstore.QueryDB[Erase](w.ctx, a.db).SortAsc("EmailID").Limit(maintainMax).List()
	if err != nil {
		return false, err
	}
	full := len(rows) == maintainMax
	rows = a.hub.erasable(rows)
	if len(rows) == 0 {
		return false, nil
	}
	gone, err := a.unlink(rows)
	if err != nil || len(gone) == 0 {
		return false, err
	}
	if err := a.dir.faults.Hit(FaultEraseUnlink); err != nil {
		return false, err
	}
	tx, err := w.begin()
	if err != nil {
		return false, err
	}
	for _, r := range gone {
		for _, row := range []any{&Email{ID: r.EmailID}, &Structure{EmailID: r.EmailID}, &Erase{EmailID: r.EmailID}} {
			if err := tx.b.Delete(row); err != nil && !errors.Is(err, bstore.ErrAbsent) {
				return false, errors.Join(fmt.Errorf("removing rows of email %d: %w", r.EmailID, err), w.rollback(tx))
			}
		}
	}
	if err := w.commit(tx); err != nil {
		return false, err
	}
	w.publish(tx)
	return full, nil
}

// unlink removes files, durably, and returns the rows of those that are gone. A
// file that can't be removed stays listed.
func (a *Account) unlink(rows []Erase) ([]Erase, error) {
	dirs := map[string]bool{}
	var gone []Erase
	for _, r := range rows {
		path := a.messagePath(r.EmailID)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.dir.log.Warn("message file can't be erased now", "account", a.name, "email", r.EmailID, "err", err)
			continue
		}
		dirs[a.messageDir(r.EmailID)] = true
		gone = append(gone, r)
	}
	for dir := range dirs {
		if err := atomicfile.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("syncing message directory: %w", err)
		}
	}
	return gone, nil
}

// drain removes a part of the messages of a deleted mailbox.
func (w *writer) drain() (bool, error) {
	box, err := bstore.QueryDB[MailboxGone](w.ctx, w.a.db).FilterEqual("Draining", true).Limit(1).Get()
	if errors.Is(err, bstore.ErrAbsent) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	tx, err := w.begin()
	if err != nil {
		return false, err
	}
	if err := tx.drain(&box); err != nil {
		return false, errors.Join(err, w.rollback(tx))
	}
	if err := w.commit(tx); err != nil {
		return false, err
	}
	w.publish(tx)
	return true, nil
}

// drain removes rows of a deleted mailbox, at most maintainMax.
func (tx *Tx) drain(box *MailboxGone) error {
	msgs, err := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{MailboxID: box.ID}).SortAsc("UID").Limit(maintainMax).List()
	if err != nil {
		return err
	}
	tx.touch()
	for i := range msgs {
		if err := tx.b.Delete(&Message{ID: msgs[i].ID}); err != nil {
			return err
		}
		if err := tx.eraseIfLast(&msgs[i], box.ModSeq); err != nil {
			return err
		}
	}
	left := maintainMax - len(msgs)
	if left == 0 {
		return nil
	}
	n, err := bstore.QueryTx[Expunged](tx.b).FilterNonzero(Expunged{MailboxID: box.ID}).Limit(left).Delete()
	if err != nil {
		return err
	}
	if left -= n; left > 0 {
		n, err = tx.forgetMailbox(box.ID, left)
		if err != nil {
			return err
		}
	}
	if n < left {
		box.Draining = false
		return tx.b.Update(box)
	}
	return nil
}

// purge removes old Expunged rows, and remembers up to which ModSeq.
func (w *writer) purge() (bool, error) {
	count, err := bstore.QueryDB[Expunged](w.ctx, w.a.db).Count()
	if err != nil || count == 0 {
		return false, err
	}
	excess := count - expungedMax
	before := time.Now().Add(-expungedAge).Unix()
	var old []Expunged
	err = bstore.QueryDB[Expunged](w.ctx, w.a.db).SortAsc("ModSeq").Limit(maintainMax).ForEach(func(x Expunged) error {
		if x.At >= before && len(old) >= excess {
			return bstore.StopForEach
		}
		old = append(old, x)
		return nil
	})
	if err != nil || len(old) == 0 {
		return false, err
	}
	tx, err := w.begin()
	if err != nil {
		return false, err
	}
	if err := tx.purge(old); err != nil {
		return false, errors.Join(err, w.rollback(tx))
	}
	if err := w.commit(tx); err != nil {
		return false, err
	}
	w.publish(tx)
	if len(old) == maintainMax {
		w.maintainAt = time.Now()
	}
	return len(old) == maintainMax, nil
}

// purge removes Expunged rows.
func (tx *Tx) purge(old []Expunged) error {
	tx.touch()
	for _, x := range old {
		if err := tx.b.Delete(&Expunged{ID: x.ID}); err != nil {
			return err
		}
		box, err := tx.box(x.MailboxID)
		if errors.Is(err, ErrNoMailbox) {
			continue
		} else if err != nil {
			return err
		}
		box.PurgedSeq = max(box.PurgedSeq, x.ModSeq)
		tx.dirty[box.ID] = true
	}
	return tx.endFunction()
}

package store

import (
	"errors"
	"fmt"

	"github.com/mjl-/bstore"
)

// Tx is an account's transaction, in View to read and in Update to change. It
// is valid only within the function it is given to.
type Tx struct {
	a        *Account
	b        *bstore.Tx
	writable bool
	row      accountRow // Written back by flush.

	// Of the function that runs now.
	wrote  bool // Something was written: an error spoils the transaction.
	modSeq int64
	commit *commit
	boxes  map[int64]*Mailbox // Mailboxes read, with changes not yet written.
	dirty  map[int64]bool     // Those to be written.

	reputations map[string]*reputationChange // To be written, by key.

	lastFlags map[flagKey]int64 // The last change of messages that several records have.

	newBoxes map[string]int64 // Changes to Account.boxes; 0 for names that are gone.

	// Of the whole transaction.
	messages int64 // In all mailboxes.
	commits  []*commit
	states   []*Mailbox // Mailboxes that were changed, as they are after that.
	staged   []*Staged
	dirs     map[string]bool // Directories with new files, to be synced before the commit.
	erases   bool
	trains   bool       // There are Training rows to be applied.
	arrivals bool       // There are Arrival rows to be looked at.
	rejects  bool       // There may be rejects to remove.
	rules    *JunkRules // Nil before they are needed.
}

// newTx returns a Tx over a transaction of the database.
func newTx(a *Account, b *bstore.Tx, row accountRow, writable bool) *Tx {
	tx := &Tx{a: a, b: b, row: row, writable: writable, newBoxes: map[string]int64{}, dirs: map[string]bool{}}
	tx.begin(nil)
	return tx
}

// begin prepares for the next function.
func (tx *Tx) begin(origin *Watch) {
	tx.wrote, tx.modSeq, tx.commit = false, 0, &commit{origin: origin}
	tx.boxes, tx.dirty, tx.reputations = map[int64]*Mailbox{}, map[int64]bool{}, map[string]*reputationChange{}
}

// beginRecord prepares for the next record: it has a ModSeq of its own, and
// shares the mailboxes read with those before.
func (tx *Tx) beginRecord() {
	if len(tx.commit.changes) > 0 {
		tx.commits = append(tx.commits, tx.commit)
	}
	tx.wrote, tx.modSeq, tx.commit = true, 0, &commit{}
}

// touch says that the function begins to write.
func (tx *Tx) touch() { tx.wrote = true }

// nextModSeq returns the ModSeq of the function's changes.
func (tx *Tx) nextModSeq() int64 {
	tx.touch()
	if tx.modSeq == 0 {
		tx.row.ModSeq++
		tx.modSeq = tx.row.ModSeq
		tx.commit.modSeq = tx.modSeq
	}
	return tx.modSeq
}

// note adds a change to be published after the commit.
func (tx *Tx) note(c change) { tx.commit.changes = append(tx.commit.changes, c) }

// ModSeq returns the account's counter as the transaction sees it.
func (tx *Tx) ModSeq() int64 { return tx.row.ModSeq }

// box returns the transaction's copy of a mailbox, which changed marks as such.
func (tx *Tx) box(id int64) (*Mailbox, error) {
	if mb, ok := tx.boxes[id]; ok {
		return mb, nil
	}
	mb := &Mailbox{ID: id}
	if err := tx.b.Get(mb); errors.Is(err, bstore.ErrAbsent) {
		return nil, ErrNoMailbox
	} else if err != nil {
		return nil, fmt.Errorf("reading mailbox %d: %w", id, err)
	}
	tx.boxes[id] = mb
	return mb, nil
}

// changed says that a mailbox has changed in a way that clients can see.
func (tx *Tx) changed(mb *Mailbox) {
	mb.ModSeq = tx.nextModSeq()
	tx.dirty[mb.ID] = true
}

// endFunction writes the mailboxes that the function changed and keeps its changes.
func (tx *Tx) endFunction() error {
	for id := range tx.dirty {
		if mb, ok := tx.boxes[id]; ok {
			if err := tx.b.Update(mb); err != nil {
				return fmt.Errorf("writing mailbox %q: %w", mb.Name, err)
			}
			tx.states = append(tx.states, clone(mb))
		}
	}
	tx.dirty = map[int64]bool{}
	if err := tx.writeReputations(); err != nil {
		return err
	}
	if len(tx.commit.changes) > 0 {
		tx.commits = append(tx.commits, tx.commit)
	}
	return nil
}

// flush writes what all functions have changed, before the commit.
func (tx *Tx) flush() error {
	if err := tx.endFunction(); err != nil {
		return err
	}
	return tx.writeRow()
}

// writeRow writes the account's row, once in each transaction.
func (tx *Tx) writeRow() error {
	if tx.a.staged != nil {
		tx.row.LastID, tx.row.Lowest = tx.a.idMarks()
	} else {
		tx.row.LastID = tx.a.lastID.Load()
		tx.row.Lowest = tx.row.LastID + 1
	}
	tx.row.Commit++
	if err := tx.b.Update(&tx.row); err != nil {
		return fmt.Errorf("writing account: %w", err)
	}
	return nil
}

// idMarks returns the highest id given, and the lowest that is given and may
// have a file but no row.
func (a *Account) idMarks() (last, lowest int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last = a.lastID.Load()
	lowest = last + 1
	for id := range a.staged {
		lowest = min(lowest, id)
	}
	return last, lowest
}

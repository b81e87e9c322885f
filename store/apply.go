package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
)

// poisonTries is how often a record that alone fails is tried before it is
// stored in a simpler way (journal.md, rule 11).
const poisonTries = 3

// messageDir returns the directory of the file of an Email.
func (a *Account) messageDir(emailID int64) string { return filepath.Dir(a.messagePath(emailID)) }

// apply stores records, in their order. It takes a slot of those that all
// accounts share, so that what waits for it gathers.
func (w *writer) apply(items []*item) {
	a := w.a
	a.dir.slots <- struct{}{}
	defer func() { <-a.dir.slots }()
	w.lastApply = time.Now()
	a.mu.Lock()
	a.urgent = false
	a.mu.Unlock()
	n, err := w.applyBatch(items)
	if err != nil && len(items) > 1 && !isDiskError(err) && n == 0 {
		// One of them spoils the batch: find it by applying one alone.
		n, err = w.applyBatch(items[:1])
		items = items[:1]
	}
	if err != nil && len(items) == 1 && n == 0 && !isDiskError(err) {
		n, err = w.poisoned(items[0], err)
	}
	w.applied(items[:n], err)
}

// applied takes applied items off the list and notes an error.
func (w *writer) applied(items []*item, err error) {
	a := w.a
	for _, it := range items {
		if !it.isFlags() {
			a.dir.observe(Event{Kind: "applied", Records: 1, Took: time.Since(it.appended)})
		}
		a.dir.finished(it)
	}
	a.mu.Lock()
	a.pending = a.pending[len(items):]
	for _, it := range items {
		a.flagged -= it.flags
	}
	if len(a.pending) == 0 {
		a.pending, a.urgent = nil, false
	}
	if len(items) > 0 {
		a.applied = items[len(items)-1].seq
	}
	for _, ch := range a.waiters {
		close(ch)
	}
	a.waiters = nil
	switch {
	case err == nil:
		a.failing, w.retryWait = time.Time{}, 0
	case a.failing.IsZero():
		a.failing = time.Now()
	}
	failing := a.failing
	a.mu.Unlock()
	if err == nil {
		return
	}
	w.retryWait = min(max(failingRetryAfter, 2*w.retryWait), failingRetryAtMost)
	w.retryAt = time.Now().Add(w.retryWait)
	a.dir.log.Error("applying deliveries", "account", a.name, "pending", len(a.pendingItems()), "retry_in", w.retryWait, "err", err)
	if time.Since(failing) > failingAsideAfter && a.dir.pinned() {
		if err := a.dir.putAside(a); err != nil {
			a.dir.log.Error("putting deliveries aside", "account", a.name, "err", err)
		}
	}
}

// isDiskError says whether an error is one that the record is not to blame for.
func isDiskError(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) || errors.Is(err, errCommit)
}

// errCommit marks errors of the commit itself.
var errCommit = errors.New("store: commit failed")

// applyBatch stores records in one transaction, and returns how many are done:
// all or none.
func (w *writer) applyBatch(items []*item) (int, error) {
	a := w.a
	for _, it := range items {
		if err := it.load(); err != nil {
			return 0, fmt.Errorf("reading record put aside: %w", err)
		}
	}
	tx, err := w.begin()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errCommit, err)
	}
	journalID := a.dir.journal.ID()
	if tx.row.JournalID != journalID {
		tx.row.JournalID, tx.row.Watermark = journalID, 0
	}
	tx.noteFlags(items)
	for _, it := range items {
		if err := w.applyItem(tx, it); err != nil {
			return 0, errors.Join(fmt.Errorf("applying record %d: %w", it.seq, err), w.rollback(tx))
		}
		tx.row.Watermark = max(tx.row.Watermark, int64(it.seq))
	}
	if err := tx.endFunction(); err != nil {
		return 0, errors.Join(err, w.rollback(tx))
	}
	if err := w.commit(tx); err != nil {
		return 0, fmt.Errorf("%w: %w", errCommit, err)
	}
	w.unreserve(items)
	w.publish(tx)
	return len(items), nil
}

// unreserve ends the reservations of applied items, at the moment that their
// size counts.
func (w *writer) unreserve(items []*item) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	for _, it := range items {
		if it.reserved {
			w.a.reserved.add(it.takes(), -1)
			it.reserved = false
		}
		for _, rcpt := range it.rcpts {
			w.a.settleKey(rcpt.key)
		}
	}
}

// applyItem stores one record for its recipients in the account.
func (w *writer) applyItem(tx *Tx, it *item) error {
	if int64(it.seq) <= tx.row.Watermark {
		return nil // Its commit has outlived the error that it returned.
	}
	if it.isFlags() {
		if err := tx.applyFlags(it); err != nil {
			return err
		}
		return w.a.dir.faults.Hit(FaultApplied)
	}
	for _, rcpt := range it.rcpts {
		if rcpt.key != "" {
			done, err := handedOver(tx, rcpt)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		if rcpt.reject {
			if it.bare != nil {
				continue // Nobody was promised it.
			}
			if has, err := tx.hasReject(it.analysis().MessageID, rcpt.contentKey); err != nil {
				return err
			} else if has {
				continue
			}
		}
		if err := w.placeFile(it.rec, rcpt); err != nil {
			return fmt.Errorf("writing message file: %w", err)
		}
		tx.beginRecord()
		if err := tx.deliver(it, rcpt); err != nil {
			return err
		}
	}
	return w.a.dir.faults.Hit(FaultApplied)
}

// handedOver reports whether the queued message is delivered already, and
// remembers it if not.
func handedOver(tx *Tx, rcpt *recordRcpt) (bool, error) {
	err := tx.b.Get(&Handover{Key: rcpt.key})
	if err == nil {
		return true, nil
	} else if !errors.Is(err, bstore.ErrAbsent) {
		return false, err
	}
	tx.touch()
	return false, tx.b.Insert(&Handover{Key: rcpt.key, EmailID: rcpt.emailID, At: time.Now()})
}

// placeFile gives the record's content its final name in the account. It is not
// synced: the journal has it until everything is on disk. A file that is there
// is never trusted, nor overwritten, since it may be torn or shared.
func (w *writer) placeFile(r *record, rcpt *recordRcpt) error {
	a := w.a
	path := a.messagePath(rcpt.emailID)
	dir := filepath.Dir(path)
	a.mu.Lock()
	known := a.knownDirs[dir]
	a.mu.Unlock()
	if !known {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	src, err := a.dir.source(r)
	if err != nil {
		return err
	}
	err = fill(path, src, r.inline)
	if errors.Is(err, fs.ErrExist) {
		// Not by a rename: that does nothing if both are links to the same file.
		if err := os.Remove(path); err != nil {
			return err
		}
		err = fill(path, src, r.inline)
	}
	if err != nil {
		return err
	}
	if a.dir.fs == nil {
		if err := syncPath(path); err != nil {
			return err
		}
	}
	return a.dir.faults.Hit(FaultFilePlaced)
}

// syncPath makes a file and its directory entry durable, where the file system
// can't be synced as a whole.
func syncPath(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(filepath.Dir(path)))
}

// fill makes a new file at path: a link to src, or a copy where links fail, or
// if src is "" with the content.
func fill(path, src string, content []byte) error {
	if src == "" {
		return writeNew(path, bytes.NewReader(content))
	}
	err := os.Link(src, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return copyFile(path, src)
}

// deliver stores a message for one recipient. A mailbox that is gone since is
// found by name, made again, or replaced by Inbox (journal.md, rule 12).
func (tx *Tx) deliver(it *item, rcpt *recordRcpt) error {
	r, an := it.rec, it.analysis()
	box, err := tx.target(rcpt)
	if err != nil {
		return err
	}
	facts := r.facts
	facts.RcptTo, facts.Reason = rcpt.rcptTo, rcpt.reason
	facts.Forwarded, facts.ForwardDKIM, facts.List = rcpt.forwarded, rcpt.forwardDKIM, rcpt.list
	size := r.size + int64(len(rcpt.prefix))
	e := Email{
		ID: rcpt.emailID, CreateSeq: tx.nextModSeq(), Size: size, FileSize: r.size, CRC: r.crc, Prefix: rcpt.prefix,
		Received: r.received, MailboxID: box.ID, Facts: facts, Verdict: rcpt.verdict, Reject: rcpt.reject,
	}
	if err := tx.destine(&e, box, rcpt); err != nil {
		return err
	}
	flags, err := tx.arrive(&e, box, rcpt.flags)
	if err != nil {
		return err
	}
	if err := tx.insertEmail(&e, an, box.ID); err != nil {
		return err
	}
	if err := errors.Join(tx.noteReject(&e, rcpt), tx.arrived(&e, rcpt)); err != nil {
		return err
	}
	m := Message{ID: rcpt.messageID, EmailID: e.ID, Size: size, Received: r.received.Unix()}
	err = tx.place(box, &m, flags, rcpt.keywords)
	if errors.Is(err, ErrKeyword) {
		err = tx.place(box, &m, flags, nil)
	}
	return err
}

// destine notes the mailbox that a message would have been put into. One that does
// not exist is not made: the message counts for none then.
func (tx *Tx) destine(e *Email, box *Mailbox, rcpt *recordRcpt) error {
	if rcpt.destined != "" {
		destined, err := tx.lookup(rcpt.destined)
		if err != nil {
			return err
		}
		if destined != nil && destined.ID != box.ID {
			e.DestinedID = destined.ID
		}
	}
	if !box.ForOthers && (e.Reject || e.DestinedID != 0) {
		box.ForOthers = true
		tx.changed(box)
	}
	return nil
}

// target returns the mailbox to deliver to.
func (tx *Tx) target(rcpt *recordRcpt) (*Mailbox, error) {
	if rcpt.mailboxID > 0 {
		box, err := tx.box(rcpt.mailboxID)
		if !errors.Is(err, ErrNoMailbox) {
			return box, err
		}
	}
	box, err := tx.lookup(rcpt.mailbox)
	if err != nil || box != nil {
		return box, err
	}
	made, err := tx.makeMailbox(rcpt.mailbox)
	if err == nil {
		return made[len(made)-1], nil
	}
	if !errors.Is(err, ErrTooMany) {
		return nil, err
	}
	return tx.existing(inbox)
}

// poisoned deals with a record that fails alone: after some tries it is stored
// bare in Inbox, and if that fails too it is kept for an administrator.
func (w *writer) poisoned(it *item, cause error) (int, error) {
	a := w.a
	if it.tries++; it.tries < poisonTries {
		return 0, cause
	}
	err := cause
	if !it.isFlags() {
		a.dir.log.Error("delivery fails, storing it bare in Inbox", "account", a.name, "seq", it.seq, "err", cause)
		if err := a.dir.bare(it); err != nil {
			return 0, err
		}
		var n int
		n, err = w.applyBatch([]*item{it})
		if err == nil || isDiskError(err) {
			return n, err
		}
	}
	k := kept{it.seq, a.id, it.lastID(), bytes.Join(it.rec.encode(), nil), a.dir.contentFile(it.rec)}
	if err := a.dir.keepFailed(k, err); err != nil {
		return 0, err
	}
	for _, rcpt := range it.rcpts {
		if it.isFlags() {
			break
		}
		if err := os.Remove(a.messagePath(rcpt.emailID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	tx, err := w.begin()
	if err != nil {
		return 0, err
	}
	tx.touch()
	tx.row.JournalID, tx.row.Watermark = a.dir.journal.ID(), max(tx.row.Watermark, int64(it.seq))
	if err := w.commit(tx); err != nil {
		return 0, err
	}
	w.unreserve([]*item{it})
	w.publish(tx)
	return 1, nil
}

// bare makes an item one of nothing but its content: analysed again, without
// keywords, for Inbox.
func (d *Dir) bare(it *item) error {
	r := it.rec
	content, done, err := d.recordContent(r)
	if err != nil {
		return err
	}
	defer done()
	an, err := Analyze(content, r.size)
	if err != nil {
		return err
	}
	it.bare = &Analysis{Tree: an.Tree, Envelope: an.Envelope, BodyStructure: an.BodyStructure, Header: an.Header, HasHeader: an.HasHeader}
	for _, rcpt := range it.rcpts {
		rcpt.mailboxID, rcpt.mailbox, rcpt.keywords, rcpt.flags = 0, inbox, nil, 0
	}
	return nil
}

// recordContent returns the content of a record.
func (d *Dir) recordContent(r *record) (io.ReaderAt, func(), error) {
	path := d.contentFile(r)
	if path == "" {
		return bytes.NewReader(r.inline), func() {}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { f.Close() }, nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/message"
)

// waiting is what a record that is not applied, or can't be, says of one of its
// recipients: it holds ids, and needs room (journal.md, rules 11 and 15).
type waiting struct {
	seq                           uint64
	place                         string // One of those below.
	account                       string // Name, when it was accepted.
	emailID, messageID, mailboxID int64
	mailbox                       string
	fileSize, size                int64 // Of the content; what counts against the quota.
	crc                           uint32
	file                          string // Path of the content in the live journal, or "".
}

// Places of records.
const (
	inJournal = "in the journal"
	inAside   = "put aside"
	inFailed  = "that failed"
)

const (
	effectAccepted = "an accepted message can be lost or damaged"
	mendRecord     = "copy the journal before anything else, for those who look into it"
)

// idMax is far above all ids that an account can give in its life.
const idMax = 1 << 60

// waitingOf returns what a record says of some of its recipients.
func waitingOf(place string, r *record, rcpts []*recordRcpt) []waiting {
	var list []waiting
	for _, rcpt := range rcpts {
		size := (&item{rec: r, rcpts: []*recordRcpt{rcpt}}).takes().size
		list = append(list, waiting{
			seq: r.seq, place: place, account: rcpt.account, emailID: rcpt.emailID, messageID: rcpt.messageID, mailboxID: rcpt.mailboxID, mailbox: rcpt.mailbox,
			fileSize: r.size, size: size, crc: r.crc,
		})
	}
	return list
}

// checkRecord returns what is wrong with a record by itself. Applying one may
// fail because of the disk alone.
func checkRecord(r *record) error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.changes != nil {
		return r.checkFlags()
	}
	switch {
	case len(r.file) == 0 && crc32.Checksum(r.inline, castagnoli) != r.crc:
		add("its content does not have its checksum")
	case len(r.file) == 1 && r.contentPath == "" && r.file[0].CRC != r.crc:
		add("the file that it names does not have its checksum")
	}
	if _, err := message.ParsePart(r.analysis.Tree); err != nil {
		add("structure: %w", err)
	}
	for i := range r.rcpts {
		rcpt := &r.rcpts[i]
		if name, err := CheckMailboxName(rcpt.mailbox); err != nil || name != rcpt.mailbox {
			add("it is for mailbox %q, which can't be", rcpt.mailbox)
		}
		if min(rcpt.emailID, rcpt.messageID) <= 0 || max(rcpt.emailID, rcpt.messageID) >= idMax || rcpt.emailID == rcpt.messageID {
			add("it has ids %d and %d", rcpt.emailID, rcpt.messageID)
		}
		if len(rcpt.prefix) > PrefixMax {
			add("it has a prefix of %d bytes", len(rcpt.prefix))
		}
	}
	return errors.Join(errs...)
}

// readKept reads a record that is kept apart, with a place for its content.
func readKept(k keptRecord) (*record, error) {
	data, err := os.ReadFile(k.path)
	if err != nil {
		return nil, err
	}
	e := journal.Entry{Seq: k.seq, Type: recordDelivery, Data: data}
	content := k.path + ".content"
	if fi, err := os.Stat(content); err == nil {
		e.Files = []journal.FileRef{{Name: filepath.Base(content), Size: fi.Size()}}
	}
	r, err := decodeRecord(&e)
	if err == nil && len(r.file) > 0 {
		r.contentPath = content
	}
	return r, err
}

// rcptsOf returns the recipients of an account.
func (r *record) rcptsOf(accountID string) []*recordRcpt {
	var list []*recordRcpt
	for i := range r.rcpts {
		if r.rcpts[i].accountID == accountID {
			list = append(list, &r.rcpts[i])
		}
	}
	return list
}

// checkKept reads a record that is kept apart, and checks it by itself. It
// returns what it says of the recipients of its account, and what is wrong. The
// error is fs.ErrNotExist if it is gone.
func checkKept(place string, k keptRecord) (list []waiting, wrong, err error) {
	r, err := readKept(k)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	} else if err != nil {
		return nil, err, nil
	}
	rcpts := r.rcptsOf(k.accountID)
	wrong = checkRecord(r)
	if last := (&item{rcpts: rcpts}).lastID(); last != k.lastID {
		wrong = errors.Join(wrong, fmt.Errorf("its last id is %d, its name has %d", last, k.lastID))
	}
	if r.contentPath != "" {
		sum, size, err := checksum(r.contentPath)
		if err != nil {
			return nil, nil, err
		}
		if size != r.size || sum != r.crc {
			wrong = errors.Join(wrong, fmt.Errorf("its content has %d bytes and checksum %08x, not %d and %08x", size, sum, r.size, r.crc))
		}
	}
	return waitingOf(place, r, rcpts), wrong, nil
}

// checkKept checks the records in a directory of the journal, and calls fn for each
// that can be read. Those that go meanwhile are left out.
func (d *Dir) checkKept(dir, place string, fn func(k keptRecord, list []waiting)) ([]Problem, error) {
	kept, err := keptRecords(filepath.Join(d.opts.Dir, "journal", dir))
	if err != nil {
		return nil, err
	}
	var problems []Problem
	for _, k := range kept {
		list, wrong, err := checkKept(place, k)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return problems, err
		}
		if place == inFailed {
			problems = append(problems, Problem{
				File: d.relative(k.path), Kind: "failed", Text: fmt.Sprintf("delivery %s could not be applied", filepath.Base(k.path)), Effect: "an accepted message is not in its mailbox",
				Mend: "deliver it again once the cause is known",
			})
			if k.accountID == unreadableID {
				continue
			}
		}
		if wrong != nil {
			problems = append(problems, Problem{File: d.relative(k.path), Kind: "kept", Text: fmt.Sprintf("delivery %s %s: %v", filepath.Base(k.path), place, wrong), Effect: effectAccepted, Mend: mendRecord})
		}
		fn(k, list)
	}
	return problems, nil
}

// checkKeptAll is checkKept for all directories with such records.
func (d *Dir) checkKeptAll(fn func(k keptRecord, list []waiting)) ([]Problem, error) {
	aside, err := d.checkKept(asideDir, inAside, fn)
	if err != nil {
		return aside, err
	}
	failed, err := d.checkKept(failedDir, inFailed, fn)
	return append(aside, failed...), err
}

// waitingNow returns what an account has still to apply. It may apply some of
// it before the caller's next step.
func (a *Account) waitingNow() ([]waiting, error) {
	var list []waiting
	for _, it := range a.pendingItems() {
		it := a.copyOf(it)
		if it.rec == nil {
			err := it.load()
			if errors.Is(err, fs.ErrNotExist) {
				continue // Applied by now.
			} else if err != nil {
				return nil, fmt.Errorf("reading record put aside: %w", err)
			}
			list = append(list, waitingOf(inAside, it.rec, it.rcpts)...)
			continue
		}
		n := len(list)
		list = append(list, waitingOf(inJournal, it.rec, it.rcpts)...)
		for i := range list[n:] {
			list[n+i].file = a.dir.contentFile(it.rec)
		}
	}
	return list, nil
}

// copyOf returns an item as it is now.
func (a *Account) copyOf(it *item) item {
	a.mu.Lock()
	defer a.mu.Unlock()
	return *it
}

// checkWaiting checks what the account has still to apply against its rows. In a live
// account what was applied since is left out, by the snapshot's own watermark.
func (c *checker) checkWaiting(context.Context) error {
	used := map[int64]string{}
	var size int64
	for _, w := range c.waiting {
		if w.place != inFailed && w.seq <= c.applied() {
			continue
		}
		if w.place != inFailed {
			size += w.size
		}
		what := fmt.Sprintf("delivery %d %s", w.seq, w.place)
		for _, id := range []int64{w.emailID, w.messageID} {
			if id <= 0 {
				continue // checkRecord tells of it.
			}
			if other, ok := used[id]; ok {
				c.problem(effectAccepted, mendRecord, "%s has id %d, which %s has too", what, id, other)
			}
			used[id] = what
			c.reserved[id] = true
			if err := c.checkUnused(id, what); err != nil {
				return err
			}
			if last := c.live.lastID.Load(); id > last {
				c.problem(effectIDs, "restart", "%s has id %d, the last id is %d", what, id, last)
			}
		}
		c.checkContent(w, what)
		if _, gone := c.draining[w.mailboxID]; w.mailboxID != 0 && c.boxes[w.mailboxID] == nil && !gone {
			c.problem("the message goes to a mailbox of that name", "", "%s is for mailbox %d, %q, that never was", what, w.mailboxID, w.mailbox)
		}
	}
	if quota := c.a.quota(); size > 0 && quota > 0 && c.tx.row.quotaSize()+size > quota {
		c.emit(Problem{
			File: accountFile(c.a.name), Kind: "quota", Text: fmt.Sprintf("%d bytes are used and %d more accepted, the quota is %d", c.tx.row.quotaSize(), size, quota),
			Effect: "nothing more is accepted", Warning: true,
		})
	}
	return nil
}

// checkContent checks the file of a record in the live journal.
func (c *checker) checkContent(w waiting, what string) {
	if !c.content || w.file == "" {
		return
	}
	sum, size, err := checksum(w.file)
	if err == nil && sum == w.crc && size == w.fileSize {
		return
	}
	for _, it := range c.live.pendingItems() {
		if it.seq == w.seq { // Else it was applied meanwhile, and the file may be gone.
			c.problem(effectAccepted, mendRecord, "content of %s has %d bytes and checksum %08x, not %d and %08x: %v", what, size, sum, w.fileSize, w.crc, err)
		}
	}
}

// applied returns the number of the last record that the snapshot has applied.
func (c *checker) applied() uint64 {
	if c.tx.row.JournalID != c.journalID {
		return 0
	}
	return uint64(c.tx.row.Watermark)
}

// checkUnused checks that no row has an id that a record has.
func (c *checker) checkUnused(id int64, what string) error {
	for _, row := range []any{&Email{ID: id}, &Message{ID: id}} {
		err := c.tx.b.Get(row)
		if err == nil {
			c.problem(effectAccepted, mendRecord, "%s has id %d, which a row has already", what, id)
		} else if !errors.Is(err, bstore.ErrAbsent) {
			return err
		}
	}
	return nil
}

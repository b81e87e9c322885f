package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mjl-/mox/journal"
)

// Changes of flags are the most frequent ones, and small: writing the rows of one
// rewrites a dozen pages of the database. So they are appended to the journal, are
// told to all sessions once they are on disk there, and wait in memory to be written
// to their rows together. The dense arrays have them at once. What else reads rows
// with flags, or counts of them, waits for those rows first: see View and settle.
const (
	flagsEvery       = 2 * time.Second // How long a change waits at most, if nobody needs the rows.
	flagsEnough      = 500             // Records that end the wait.
	flagsEnoughTotal = 50_000          // Messages in them that do.
	flagsLogMax      = 20_000          // Messages of one change; more are written to their rows at once.
)

// flagUpdate is what an update is about, if it is of nothing but flags.
type flagUpdate struct {
	mailboxID int64
	uids      []UID // Ascending.
	change    FlagChange
	result    FlagResult
}

// SetFlags changes flags of messages, as Tx.SetFlags does. It is much cheaper, since
// the change need not be in the database when it returns: it is in the journal.
// The change does not come back to w.
func (a *Account) SetFlags(ctx context.Context, w *Watch, mailboxID int64, uids []UID, c FlagChange) (FlagResult, error) {
	f := &flagUpdate{mailboxID: mailboxID, uids: uids, change: c}
	err := a.enqueue(ctx, &update{origin: w, flags: f, fn: func(tx *Tx) error {
		mb, err := tx.MailboxByID(mailboxID)
		if err != nil {
			return err
		}
		f.result, err = tx.SetFlags(&mb, uids, c)
		return err
	}})
	return f.result, err
}

// runUpdates runs updates in their order: those of flags by the journal if that can
// be, others together in transactions.
func (w *writer) runUpdates(updates []*update) {
	for len(updates) > 0 {
		flags := updates[0].flags != nil
		n := slices.IndexFunc(updates, func(u *update) bool { return (u.flags != nil) != flags })
		if n < 0 {
			n = len(updates)
		}
		group := updates[:n]
		updates = updates[n:]
		if flags {
			group = w.logFlags(group)
		}
		if len(group) > 0 {
			w.runGroup(group)
		}
	}
}

// logFlags writes changes of flags to the journal, in one record, and tells all who
// need to know. It returns those that must be written to their rows now.
func (w *writer) logFlags(group []*update) (rest []*update) {
	if !w.canLog() {
		return group
	}
	l := newFlagLog(w.a, len(group) > 1)
	var logged []*update
	for _, u := range group {
		if l.add(u) {
			logged = append(logged, u)
		} else {
			rest = append(rest, u)
		}
	}
	err := l.write(w.ctx)
	if err != nil && !errors.Is(err, journal.ErrFailed) {
		return group // The record is not in the journal.
	}
	for _, u := range logged {
		u.err = err
		close(u.done)
	}
	return rest
}

// canLog says whether the arrays in memory have all that rows are to have, and there
// is room for more. If need be it makes room.
func (w *writer) canLog() bool {
	a := w.a
	a.mu.Lock()
	failing := !a.failing.IsZero()
	full := a.flagged >= flagsEnoughTotal
	untold := slices.ContainsFunc(a.pending, func(it *item) bool { return it.isFlags() && !it.told })
	a.mu.Unlock()
	if failing || a.dir.CheckRoom(0) != nil { // The journal waits for room, for long.
		return false
	}
	return !full && !untold || w.settle() == nil
}

// settle writes all changes of flags to their rows, with the deliveries before them.
// Who else writes rows needs that.
func (w *writer) settle() error {
	a := w.a
	for {
		a.mu.Lock()
		n := len(a.pending)
		for n > 0 && !a.pending[n-1].isFlags() {
			n--
		}
		items := a.pending[:min(n, applyMax)]
		failing := !a.failing.IsZero()
		a.mu.Unlock()
		switch {
		case n == 0:
			return nil
		case failing && time.Now().Before(w.retryAt):
			return ErrBusy
		}
		if w.apply(items); w.failed() {
			return ErrBusy
		}
	}
}

// failed says whether applying fails.
func (w *writer) failed() bool {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	return !w.a.failing.IsZero()
}

// settled waits until the rows of messages and mailboxes have the flags that they had
// when it was called: not while applying fails.
func (a *Account) settled(ctx context.Context) error {
	a.mu.Lock()
	want := a.flagsThrough
	a.mu.Unlock()
	return a.waitApplied(ctx, want)
}

// flagLog makes a record of changes of flags.
type flagLog struct {
	a       *Account
	modSeq  int64 // The last given.
	changes []flagsRecord
	commits []*commit

	// What messages have after the changes before; nil if there is just one change.
	after map[flagKey]Entry
}

// flagKey names a message.
type flagKey struct {
	mailboxID int64
	uid       UID
}

func newFlagLog(a *Account, several bool) *flagLog {
	l := &flagLog{a: a, modSeq: a.hub.newest()}
	if several {
		l.after = map[flagKey]Entry{}
	}
	return l
}

// add computes a change and its result, or reports that it is not one of nothing but
// bits in the mailbox's array.
func (l *flagLog) add(u *update) bool {
	f := u.flags
	r := l.a.hub.loaded(f.mailboxID)
	if r == nil || len(f.uids) > flagsLogMax {
		return false
	}
	bits, ok := r.bitsOf(f.change.Flags, f.change.Keywords)
	if !ok {
		return false
	}
	var res FlagResult
	var changed []Entry
	entries := r.current(f.uids, nil)
	for i := range entries {
		e := &entries[i]
		if after, ok := l.after[flagKey{f.mailboxID, e.UID}]; ok {
			*e = after
		}
		if f.change.UnchangedSince > 0 && e.ModSeq > f.change.UnchangedSince {
			res.Modified = append(res.Modified, e.UID)
			continue
		}
		now := f.change.Op.apply(e.Bits, bits)
		if (e.Bits|now)&bitMoreUnsigned != 0 || Flags(e.Bits^now)&junkFlags != 0 {
			return false
		}
		differs := now != e.Bits
		if differs {
			e.Bits, e.ModSeq = now, l.modSeq+1
			changed = append(changed, *e)
		}
		res.Entries = append(res.Entries, *e)
		res.Changed = append(res.Changed, differs)
	}
	res.Keywords = r.keywordsOf(res.Entries)
	f.result = res
	if len(changed) > 0 {
		l.note(u, changed)
	}
	return true
}

// note takes a change into the record.
func (l *flagLog) note(u *update, changed []Entry) {
	l.modSeq++
	id := u.flags.mailboxID
	l.changes = append(l.changes, flagsRecord{id, l.modSeq, flagRuns(changed)})
	c := &commit{modSeq: l.modSeq, origin: u.origin, changes: make([]change, 0, len(changed))}
	for _, e := range changed {
		c.changes = append(c.changes, change{kind: FlagsChanged, mailboxID: id, entry: e})
		if l.after != nil {
			l.after[flagKey{id, e.UID}] = e
		}
	}
	l.commits = append(l.commits, c)
}

// write appends the record to the journal and, when it is on disk, tells the changes.
func (l *flagLog) write(ctx context.Context) error {
	if len(l.changes) == 0 {
		return nil
	}
	r := &record{changes: l.changes, rcpts: []recordRcpt{{accountID: l.a.id, account: l.a.name}}, shared: &sharedContent{}}
	_, err := l.a.dir.journal.Append(ctx, journal.Record{Type: recordDelivery, Data: r.encode(), Value: r})
	if err != nil {
		return err
	}
	l.a.hub.publish(l.commits, nil, &accountRow{ModSeq: l.modSeq})
	return nil
}

// bitMoreUnsigned is bitMore as Entry.Bits has it.
const bitMoreUnsigned = uint64(bitMore)

// apply returns the bits after a change with these.
func (op FlagOp) apply(now, bits uint64) uint64 {
	switch op {
	case FlagsAdd:
		return now | bits
	case FlagsRemove:
		return now &^ bits
	case FlagsReplace:
	}
	return now&bitMoreUnsigned | bits
}

// applyFlags writes the changes of a record to their rows. Those that sessions were
// told of are not told again.
func (tx *Tx) applyFlags(it *item) error {
	for i := range it.rec.changes {
		c := &it.rec.changes[i]
		tx.beginRecord()
		tx.row.ModSeq = max(tx.row.ModSeq, c.modSeq)
		tx.modSeq, tx.commit.modSeq = c.modSeq, c.modSeq
		box, err := tx.box(c.mailboxID)
		if errors.Is(err, ErrNoMailbox) {
			continue // Its messages are about to go.
		} else if err != nil {
			return err
		}
		for _, run := range c.runs {
			for uid := run.first; uid < run.first+UID(run.n); uid++ {
				if tx.superseded(c, uid) {
					continue
				}
				if err := tx.applyBits(box, uid, c.modSeq, run.bits, it.told); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// applyBits gives a message the bits that a record has for it.
func (tx *Tx) applyBits(box *Mailbox, uid UID, modSeq, bits int64, told bool) error {
	m, err := tx.message(box.ID, uid)
	if errors.Is(err, ErrExpunged) || err == nil && m.ModSeq >= modSeq {
		return nil
	} else if err != nil {
		return err
	}
	box.count(&m, -1)
	m.Bits, m.ModSeq = m.Bits&bitMore|bits, modSeq
	box.count(&m, 1)
	box.ModSeq = max(box.ModSeq, modSeq)
	tx.dirty[box.ID] = true
	if err := tx.b.Update(&m); err != nil {
		return err
	}
	if !told {
		tx.note(change{kind: FlagsChanged, mailboxID: box.ID, entry: entryOf(&m), more: m.More})
	}
	return nil
}

// superseded says whether a later record of the same transaction has the message too:
// its row need be written once.
func (tx *Tx) superseded(c *flagsRecord, uid UID) bool {
	return tx.lastFlags[flagKey{c.mailboxID, uid}] > c.modSeq
}

// noteFlags finds the last change of each message that several records have.
func (tx *Tx) noteFlags(items []*item) {
	n := 0
	for _, it := range items {
		n += min(it.flags, 1) * len(it.rec.changes)
	}
	if n < 2 {
		return
	}
	tx.lastFlags = map[flagKey]int64{}
	for _, it := range items {
		for _, c := range it.rec.changes {
			for _, run := range c.runs {
				for uid := run.first; uid < run.first+UID(run.n); uid++ {
					tx.lastFlags[flagKey{c.mailboxID, uid}] = c.modSeq
				}
			}
		}
	}
}

// pushFlags counts a change of flags among what is pending. a.mu is held.
func (a *Account) pushFlags(it *item) {
	a.flagged += it.flags
	a.flagsThrough = max(a.flagsThrough, it.seq)
	for _, c := range it.rec.changes {
		a.modSeqFloor.Store(max(a.modSeqFloor.Load(), c.modSeq))
	}
}

// untell says that sessions must be told of all pending changes of flags: what they
// know is about to be read from the rows.
func (a *Account) untell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range a.pending {
		it.told = false
	}
}

// flagsWait returns how long what is pending can wait, which is 0 unless all of it is
// changes of flags that nobody needs in their rows. a.mu is held.
func (a *Account) flagsWait(now time.Time) time.Duration {
	if a.urgent || a.closing || a.flagged >= flagsEnoughTotal || len(a.pending) >= flagsEnough {
		return 0
	}
	if slices.ContainsFunc(a.pending, func(it *item) bool { return !it.isFlags() || !it.told }) {
		return 0
	}
	return max(0, a.pending[0].appended.Add(flagsEvery).Sub(now))
}

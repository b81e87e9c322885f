package store

import (
	"context"
	"slices"
)

// pendingMax bounds what a session that does not listen has waiting: beyond it,
// it resynchronises by comparing with the dense array.
const pendingMax = 10_000

// Change is one thing that a session must know, or tell its client.
type Change struct {
	Kind      ChangeKind
	MailboxID int64

	// For messages. Seq of a removed one is its sequence number when the changes
	// before it in the list have been told: higher ones come first, so none shifts.
	// Of an added or changed one it is that after all removals.
	Entry Entry
	Seq   int

	// For mailboxes.
	Mailbox *Mailbox
	OldName string

	// For annotations. Those that the session itself has set are not among the
	// changes. Mailbox is nil for one of the account.
	Annotation string
}

// TakeMode says which changes Watch.Take returns.
type TakeMode uint8

// The modes.
const (
	TakeAll       TakeMode = iota + 1
	TakeNoExpunge          // All but removals in the selected mailbox, as RFC 9051, section 7.5.1, asks during commands that use sequence numbers.
)

// Watch is a session's registration with the change feed. Its methods are for
// one goroutine, but for Signal.
type Watch struct {
	h         *hub
	ch        chan struct{}
	selection *Selection

	// Guarded by hub.mu.
	selected     int64     // Mailbox; 0: none.
	added        []pending // In the selected mailbox.
	removed      []pending
	changed      []pending // Not those the session made itself.
	mailboxes    []change
	firstRemoved int64 // ModSeq of the oldest removal not yet taken.
	deleted      int64 // ModSeq of the deletion of the selected mailbox: its messages can be read until Unselect.
	overflow     bool
	boxOverflow  bool // More mailbox changes than fit: they are lost but for this.
}

// pending is a message's change that a session has not taken.
type pending struct {
	uid    UID
	modSeq int64
}

// Watch registers a session.
func (a *Account) Watch() *Watch {
	w := &Watch{h: a.hub, ch: make(chan struct{}, 1)}
	a.hub.mu.Lock()
	defer a.hub.mu.Unlock()
	a.hub.watches[w] = struct{}{}
	return w
}

// Signal returns a channel on which something can be received when there is
// something to take.
func (w *Watch) Signal() <-chan struct{} { return w.ch }

// Close ends the registration.
func (w *Watch) Close() {
	w.Unselect()
	w.h.mu.Lock()
	delete(w.h.watches, w)
	w.h.mu.Unlock()
	w.h.a.eraseSoon()
}

// signal makes Signal receive. hub.mu is held.
func (w *Watch) signal() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

// take notes changes of one mailbox. hub.mu is held.
func (w *Watch) take(c *commit, changes []change) {
	before := len(w.added) + len(w.removed) + len(w.changed) + len(w.mailboxes)
	for i := range changes {
		w.takeOne(c, &changes[i])
	}
	if len(w.added)+len(w.removed)+len(w.changed)+len(w.mailboxes) != before || w.overflow || w.boxOverflow {
		w.signal()
	}
}

func (w *Watch) takeOne(c *commit, ch *change) {
	if ch.kind == MailboxRemoved && ch.mailboxID == w.selected {
		w.deleted = c.modSeq
	}
	if ch.kind == AnnotationChanged && c.origin == w {
		return // As its client asked for: it knows.
	}
	if ch.kind >= MailboxAdded {
		if len(w.mailboxes) < pendingMax {
			w.mailboxes = append(w.mailboxes, *ch)
		} else {
			w.boxOverflow = true
		}
		return
	}
	if ch.mailboxID != w.selected || w.selected == 0 {
		return
	}
	if ch.kind == MessageRemoved && w.firstRemoved == 0 {
		w.firstRemoved = c.modSeq
	}
	if w.overflow {
		return
	}
	p := pending{ch.entry.UID, c.modSeq}
	switch ch.kind {
	case MessageAdded:
		w.added = append(w.added, p)
	case MessageRemoved:
		w.removed = append(w.removed, p)
	case FlagsChanged:
		if c.origin != w {
			w.changed = append(w.changed, p)
		}
	case MailboxAdded, MailboxRemoved, MailboxRenamed, MailboxChanged, AnnotationChanged:
	}
	if len(w.added)+len(w.removed)+len(w.changed) > pendingMax {
		w.overflow = true
		w.added, w.removed, w.changed = nil, nil, nil
	}
}

// Selection is a mailbox as a session has been told it.
type Selection struct {
	w      *Watch
	r      *array
	told   []UID
	modSeq int64 // Up to which changes were taken.

	highest int64 // Of the mailbox, as far as was taken.
	holds   bool  // See HoldsBack.
}

// Select makes a mailbox the one whose messages the Watch is about.
func (w *Watch) Select(ctx context.Context, mailboxID int64) (*Selection, error) {
	w.Unselect()
	r, err := w.h.array(ctx, mailboxID)
	if err != nil {
		return nil, err
	}
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	w.selected = mailboxID
	w.selection = &Selection{w: w, r: r, told: r.newest(), modSeq: w.h.published, highest: r.latest()}
	return w.selection, nil
}

// Unselect ends the selection, if there is one.
func (w *Watch) Unselect() {
	if w.selection == nil {
		return
	}
	r := w.selection.r
	w.selection = nil
	w.h.mu.Lock()
	had := w.firstRemoved > 0 || w.deleted > 0
	w.selected, w.firstRemoved, w.deleted, w.overflow = 0, 0, 0, false
	w.added, w.removed, w.changed = nil, nil, nil
	w.h.mu.Unlock()
	w.h.drop(r)
	if had {
		w.h.a.eraseSoon()
	}
}

// UIDs returns the mailbox as the session has been told it: message n has
// UIDs()[n-1]. The slice must not be changed; it stays as it is.
func (s *Selection) UIDs() []UID { return s.told }

// ModSeq returns the ModSeq up to which the session has been told.
func (s *Selection) ModSeq() int64 { return s.modSeq }

// HighestModSeq returns the ModSeq of the last change to the mailbox and its
// messages of which the session has been told: it was told of all before, too. A
// client that knows it can ask what changed since (RFC 7162, section 3.1.2.1).
func (s *Selection) HighestModSeq() int64 { return s.highest }

// HoldsBack tells whether the last Take left out removals, because sequence numbers
// were to stay.
func (s *Selection) HoldsBack() bool { return s.holds }

// ChangedSince returns the messages that the session has been told of, ascending,
// that changed after modSeq.
func (s *Selection) ChangedSince(modSeq int64) []UID { return s.r.changedSince(modSeq, s.told) }

// Entries appends the entries of ascending uids to dst, with their flags of
// now. Messages of which the session has not been told that they are gone are
// there too; others that do not exist are left out.
func (s *Selection) Entries(uids []UID, dst []Entry) []Entry { return s.r.get(uids, dst) }

// AllKeywords returns the keywords of the mailbox.
func (s *Selection) AllKeywords() []string {
	s.r.mu.RLock()
	defer s.r.mu.RUnlock()
	return s.r.keywords
}

// Keywords returns the keywords of a message.
func (s *Selection) Keywords(e Entry) []string {
	if e.Bits>>flagBits == 0 {
		return nil
	}
	s.r.mu.RLock()
	defer s.r.mu.RUnlock()
	return keywordsOf(s.r.keywords, int64(e.Bits), s.r.more[e.UID])
}

// Take returns what has changed since the last call, coalesced: removals of the
// selected mailbox, highest sequence number first, then additions, then changed
// flags, then mailboxes. Flag changes that the session made itself, through
// UpdateFrom, are left out: it has answered them.
//
// lost is true if changes of mailboxes are missing because the session waited
// too long; changes of the selected mailbox are never lost.
func (w *Watch) Take(mode TakeMode) (changes []Change, lost bool) {
	w.h.mu.Lock()
	told := w.firstRemoved > 0 && mode == TakeAll
	if s := w.selection; s != nil {
		if w.overflow {
			changes = w.compare(s, mode)
		} else {
			changes = w.takeMessages(s, mode)
		}
	}
	for i := range w.mailboxes {
		c := &w.mailboxes[i]
		changes = append(changes, Change{Kind: c.kind, MailboxID: c.mailboxID, Mailbox: c.mailbox, OldName: c.oldName, Annotation: c.annotation})
	}
	lost = w.boxOverflow
	w.mailboxes, w.boxOverflow = nil, false
	if told {
		w.forgetGone()
	}
	w.h.mu.Unlock()
	if told {
		w.h.a.eraseSoon()
	}
	return changes, lost
}

// forgetGone drops removed entries from the array if nobody waits to be told
// of them. hub.mu is held.
func (w *Watch) forgetGone() {
	for o := range w.h.watches {
		if o.selected == w.selected && o.firstRemoved > 0 {
			return
		}
	}
	w.selection.r.forget()
}

// takeMessages takes the noted changes of the selected mailbox. hub.mu is held.
func (w *Watch) takeMessages(s *Selection, mode TakeMode) []Change {
	gone := map[UID]bool{}
	for _, p := range w.removed {
		gone[p.uid] = true
	}
	var added, removed, changed []UID
	for _, p := range w.added {
		if !gone[p.uid] {
			added = append(added, p.uid)
		}
	}
	for _, p := range w.removed {
		if _, ok := slices.BinarySearch(s.told, p.uid); ok {
			removed = append(removed, p.uid)
		}
	}
	for _, p := range w.changed {
		if !gone[p.uid] {
			changed = append(changed, p.uid)
		}
	}
	slices.Sort(removed)
	slices.Sort(changed)
	removed, changed = slices.Compact(removed), slices.Compact(changed)
	changed = difference(changed, added)
	w.added, w.changed = nil, nil
	if mode == TakeNoExpunge && len(removed) > 0 {
		s.highest, s.holds = max(s.highest, min(s.r.latest(), w.firstRemoved-1)), true
		return s.advance(nil, added, changed, append(slices.Clip(s.told), added...))
	}
	w.removed, w.firstRemoved = nil, 0
	s.modSeq, s.highest, s.holds = w.h.published, s.r.latest(), false
	return s.advance(removed, added, changed, s.r.newest())
}

// compare finds the changes by comparing what was told with the array, after
// the lists were cut. hub.mu is held.
func (w *Watch) compare(s *Selection, mode TakeMode) []Change {
	now := s.r.newest()
	removed, added := difference(s.told, now), difference(now, s.told)
	changed := s.r.changedSince(s.modSeq, s.told)
	if mode == TakeNoExpunge && len(removed) > 0 {
		s.highest, s.holds = max(s.highest, min(s.r.latest(), w.firstRemoved-1)), true
		// Flags may be told again by the next Take, since the lists stay cut.
		return s.advance(nil, added, changed, append(slices.Clip(s.told), added...))
	}
	w.added, w.removed, w.changed = nil, nil, nil
	w.overflow, w.firstRemoved = false, 0
	s.modSeq, s.highest, s.holds = w.h.published, s.r.latest(), false
	return s.advance(removed, added, changed, now)
}

// advance makes uids what the session is told, and returns the changes that
// lead there.
func (s *Selection) advance(removed, added, changed, uids []UID) []Change {
	var changes []Change
	for i := len(removed) - 1; i >= 0; i-- {
		n, _ := slices.BinarySearch(s.told, removed[i])
		changes = append(changes, Change{Kind: MessageRemoved, MailboxID: s.r.mailboxID, Entry: Entry{UID: removed[i]}, Seq: n + 1})
	}
	s.told = uids
	changes = s.appendMessages(changes, MessageAdded, added)
	return s.appendMessages(changes, FlagsChanged, changed)
}

// appendMessages appends a change for each of the UIDs that is told.
func (s *Selection) appendMessages(changes []Change, kind ChangeKind, uids []UID) []Change {
	for _, e := range s.r.get(uids, nil) {
		if n, ok := slices.BinarySearch(s.told, e.UID); ok {
			changes = append(changes, Change{Kind: kind, MailboxID: s.r.mailboxID, Entry: e, Seq: n + 1})
		}
	}
	return changes
}

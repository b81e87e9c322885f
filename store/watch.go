package store

import (
	"context"
	"slices"
	"sync/atomic"
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
	Own   bool // The session added it itself, through UpdateFrom.
}

// TakeMode says which changes of messages Watch.Take returns. What it doesn't, a later
// call does.
type TakeMode uint8

// The modes are sums of these. Of the first two, only TakeAdded can be alone.
const (
	TakeAdded TakeMode = 1 << iota
	TakeRemoved
	TakeFlags
	TakeOwn // Everything if the session added or removed messages itself, else nothing. It is alone.

	TakeAll       = TakeAdded | TakeRemoved | TakeFlags
	TakeNoExpunge = TakeAdded | TakeFlags // As RFC 9051, section 7.5.1, asks during commands that use sequence numbers.
)

// Watch is a session's registration with the change feed. Its methods are for
// one goroutine, but for Signal.
type Watch struct {
	h         *hub
	ch        chan struct{}
	awake     atomic.Pointer[func()] // See OnSignal; nil for none.
	selection *Selection

	// Guarded by hub.mu.
	selected     int64     // Mailbox; 0: none.
	added        []pending // In the selected mailbox.
	removed      []pending
	changed      []pending // Not those the session made itself.
	firstRemoved int64     // ModSeq of the oldest removal not yet taken.
	firstChanged int64     // Of the oldest change of flags not yet taken.
	deleted      int64     // ModSeq of the deletion of the selected mailbox: its messages can be read until Unselect.
	tellDeleted  bool      // It was not taken.
	own          bool      // Some of added and removed is by the session itself.
	overflow     bool      // More came and went than fits: added and removed are lost.
	flagsLost    bool      // More flags changed than fit: they are found by ModSeq.
	signalled    bool      // It was woken, and has not taken anything since.
	follow       *following
	touched      touched
}

// pending is a message's change that a session has not taken.
type pending struct {
	uid UID
	own bool
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
// something to take: once, until Take or News is called.
func (w *Watch) Signal() <-chan struct{} { return w.ch }

// OnSignal makes fn be called, too, when there is something to take. It must not wait
// for anything, since the account's writer calls it.
func (w *Watch) OnSignal(fn func()) { w.awake.Store(&fn) }

// Close ends the registration.
func (w *Watch) Close() {
	w.Unselect()
	w.h.mu.Lock()
	delete(w.h.watches, w)
	delete(w.h.followers, w)
	w.h.mu.Unlock()
	w.h.a.eraseSoon()
}

// signal says that there is something to take. hub.mu is held.
func (w *Watch) signal() {
	if !w.signalled {
		w.signalled = true
		w.h.wakes = append(w.h.wakes, w)
	}
}

// wake makes Signal receive. Nothing is held.
func (w *Watch) wake() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
	if fn := w.awake.Load(); fn != nil {
		(*fn)()
	}
}

// loseTrack says that what has changed must be found by comparing. hub.mu is held.
func (w *Watch) loseTrack() {
	if w.selected != 0 {
		w.overflow, w.flagsLost, w.touched.lost = true, true, w.touched.on
		w.added, w.removed, w.changed = nil, nil, nil
		if w.firstChanged == 0 {
			w.firstChanged = w.selection.modSeq + 1
		}
	}
	if w.follow != nil {
		w.follow.news = News{Lost: true}
	}
	w.signal()
}

// take notes changes of the selected mailbox. hub.mu is held.
func (w *Watch) take(c *commit, changes []change) {
	before := len(w.added) + len(w.removed) + len(w.changed)
	for i := range changes {
		w.takeOne(c, &changes[i])
	}
	if len(w.added)+len(w.removed)+len(w.changed) != before || w.overflow || w.flagsLost || w.tellDeleted {
		w.signal()
	}
}

func (w *Watch) takeOne(c *commit, ch *change) {
	own := c.origin == w
	switch ch.kind {
	case MessageAdded:
		w.own = w.own || own
		if !w.overflow {
			w.added = append(w.added, pending{ch.entry.UID, own})
		}
	case MessageRemoved:
		w.own = w.own || own
		if w.firstRemoved == 0 {
			w.firstRemoved = c.modSeq
			w.selection.r.untold++
		}
		if !w.overflow {
			w.removed = append(w.removed, pending{ch.entry.UID, own})
		}
	case FlagsChanged:
		w.touched.note(ch.entry.UID)
		if !own {
			w.takeFlags(c.modSeq, ch.entry.UID)
		}
	case MailboxRemoved:
		w.deleted, w.tellDeleted = c.modSeq, true
	case MailboxAdded, MailboxRenamed, MailboxChanged, AnnotationChanged, SubscriptionAdded, SubscriptionRemoved:
	}
	if len(w.added)+len(w.removed) > pendingMax {
		w.overflow = true
		w.added, w.removed = nil, nil
	}
}

func (w *Watch) takeFlags(modSeq int64, uid UID) {
	if w.firstChanged == 0 {
		w.firstChanged = modSeq
	}
	if len(w.changed) == pendingMax {
		w.flagsLost, w.changed = true, nil
	}
	if !w.flagsLost {
		w.changed = append(w.changed, pending{uid: uid})
	}
}

// Selection is a mailbox as a session has been told it.
type Selection struct {
	w      *Watch
	r      *array
	told   []UID
	modSeq int64 // Up to which changes were taken.

	highest int64 // Of the mailbox, as far as was taken.
	holds   int   // See HeldBack.
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
	if w.h.selecting[mailboxID] == nil {
		w.h.selecting[mailboxID] = map[*Watch]struct{}{}
	}
	w.h.selecting[mailboxID][w] = struct{}{}
	return w.selection, nil
}

// Unselect ends the selection, if there is one.
func (w *Watch) Unselect() {
	if w.selection == nil {
		return
	}
	r := w.selection.r
	w.h.mu.Lock()
	delete(w.h.selecting[w.selected], w)
	if len(w.h.selecting[w.selected]) == 0 {
		delete(w.h.selecting, w.selected)
	}
	had := w.firstRemoved > 0 || w.deleted > 0
	if w.firstRemoved > 0 {
		w.h.toldOne(r)
	}
	w.selection, w.selected, w.firstRemoved, w.firstChanged, w.deleted = nil, 0, 0, 0, 0
	w.added, w.removed, w.changed = nil, nil, nil
	w.tellDeleted, w.own, w.overflow, w.flagsLost, w.touched = false, false, false, false, touched{}
	w.h.mu.Unlock()
	w.h.drop(r)
	if had {
		w.h.a.eraseSoon()
	}
}

// UIDs returns the mailbox as the session has been told it: message n has
// UIDs()[n-1]. The slice must not be changed; it stays as it is.
func (s *Selection) UIDs() []UID { return s.told }

// Newest returns the messages that are there now, whether the session has been told
// or not. The slice must not be changed; it stays as it is.
func (s *Selection) Newest() []UID { return s.r.newest() }

// HighestModSeq returns the ModSeq of the last change to the mailbox and its
// messages of which the session has been told: it was told of all before, too. A
// client that knows it can ask what changed since (RFC 7162, section 3.1.2.1).
func (s *Selection) HighestModSeq() int64 { return s.highest }

// HeldBack returns how many removals the last Take left out, because sequence numbers
// were to stay.
func (s *Selection) HeldBack() int { return s.holds }

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

// Take returns what has changed since the last call, coalesced: removals in the
// selected mailbox, highest sequence number first, then additions, then changed
// flags, then its own removal. Flag changes that the session made itself, through
// UpdateFrom, are left out: it has answered them. Nothing is lost, however long a
// session waits.
func (w *Watch) Take(mode TakeMode) []Change {
	w.h.mu.Lock()
	w.signalled = false
	s := w.selection
	if s == nil {
		w.h.mu.Unlock()
		return nil
	}
	if mode == TakeOwn && w.own {
		mode = TakeAll
	}
	told := w.firstRemoved > 0 && mode&TakeRemoved != 0
	var changes []Change
	if mode&TakeAdded != 0 {
		changes = w.takeMessages(s, mode)
	}
	if w.tellDeleted {
		w.tellDeleted = false
		changes = append(changes, Change{Kind: MailboxRemoved, MailboxID: w.selected})
	}
	if told {
		w.h.toldOne(s.r)
	}
	w.h.mu.Unlock()
	if told {
		w.h.a.eraseSoon()
	}
	return changes
}

// toldOne says that one session less is to be told of removals. When there is none,
// they are dropped from the array. h.mu is held.
func (h *hub) toldOne(r *array) {
	if r.untold--; r.untold == 0 {
		r.forget()
	}
}

// takeMessages takes the noted changes of the selected mailbox. hub.mu is held.
func (w *Watch) takeMessages(s *Selection, mode TakeMode) []Change {
	added, removed := w.coming(s), w.going(s)
	now := s.r.newest()
	if w.overflow {
		removed, added = difference(s.told, now), difference(now, s.told)
	}
	var changed []UID
	if mode&TakeFlags != 0 {
		changed = difference(difference(w.takeChanged(s), added), removed)
	}
	own := w.ownAdded()
	s.holds = 0
	highest := s.r.latest()
	if w.firstChanged > 0 {
		highest = min(highest, w.firstChanged-1)
	}
	if mode&TakeRemoved == 0 && len(removed) > 0 {
		s.holds = len(removed)
		s.highest = max(s.highest, min(highest, w.firstRemoved-1))
		w.added = nil
		return s.advance(nil, added, changed, append(slices.Clip(s.told), added...), own)
	}
	w.added, w.removed, w.overflow, w.firstRemoved, w.own = nil, nil, false, 0, false
	s.modSeq, s.highest = w.h.published, max(s.highest, highest)
	return s.advance(removed, added, changed, now, own)
}

// coming returns the messages that were added and are there, ascending.
func (w *Watch) coming(s *Selection) []UID {
	if len(w.added) == 0 {
		return nil
	}
	gone := map[UID]bool{}
	for _, p := range w.removed {
		gone[p.uid] = true
	}
	added := make([]UID, 0, len(w.added))
	for _, p := range w.added {
		if !gone[p.uid] {
			added = append(added, p.uid)
		}
	}
	return added
}

// going returns the messages that the session knows and that are gone, ascending.
func (w *Watch) going(s *Selection) []UID {
	var removed []UID
	for _, p := range w.removed {
		if _, ok := slices.BinarySearch(s.told, p.uid); ok {
			removed = append(removed, p.uid)
		}
	}
	slices.Sort(removed)
	return slices.Compact(removed)
}

// takeChanged returns the messages whose flags have changed, ascending.
func (w *Watch) takeChanged(s *Selection) []UID {
	var changed []UID
	if w.flagsLost {
		changed = s.r.changedSince(w.firstChanged-1, s.told)
	}
	for _, p := range w.changed {
		changed = append(changed, p.uid)
	}
	w.changed, w.flagsLost, w.firstChanged = nil, false, 0
	slices.Sort(changed)
	return slices.Compact(changed)
}

// ownAdded returns the messages that the session added itself.
func (w *Watch) ownAdded() map[UID]bool {
	if !w.own {
		return nil
	}
	own := map[UID]bool{}
	for _, p := range w.added {
		if p.own {
			own[p.uid] = true
		}
	}
	return own
}

// advance makes uids what the session is told, and returns the changes that
// lead there.
func (s *Selection) advance(removed, added, changed, uids []UID, own map[UID]bool) []Change {
	var changes []Change
	for i := len(removed) - 1; i >= 0; i-- {
		n, _ := slices.BinarySearch(s.told, removed[i])
		changes = append(changes, Change{Kind: MessageRemoved, MailboxID: s.r.mailboxID, Entry: Entry{UID: removed[i]}, Seq: n + 1})
	}
	s.told = uids
	changes = s.appendMessages(changes, MessageAdded, added)
	for i := range changes {
		changes[i].Own = own[changes[i].Entry.UID]
	}
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

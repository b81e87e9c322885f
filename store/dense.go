package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/mjl-/bstore"
)

// Entry is what the dense array of a mailbox holds of a message: 40 bytes.
type Entry struct {
	UID      UID
	Size     uint32 // Bytes, prefix included; 4 GiB-1 for what is larger.
	ModSeq   int64
	Bits     uint64 // Flags and keywords by place; see Selection.Keywords.
	EmailID  int64
	Received uint32 // INTERNALDATE, Unix seconds.
	Saved    uint32 // Unix seconds.
}

// Flags returns the system flags.
func (e Entry) Flags() Flags { return Flags(e.Bits) & flagsAll }

// entryOf returns the entry for a row.
func entryOf(m *Message) Entry {
	return Entry{
		UID: m.UID, Size: uint32(min(m.Size, math.MaxUint32)), ModSeq: m.ModSeq, Bits: uint64(m.Bits), EmailID: m.EmailID,
		Received: clampTime(m.Received), Saved: clampTime(m.Saved),
	}
}

// clampTime returns Unix seconds as far as 32 bits go: 1970 to 2106.
func clampTime(sec int64) uint32 { return uint32(min(max(sec, 0), math.MaxUint32)) }

// array is the dense array of one mailbox, shared by all sessions that have it
// selected and kept true by the feed. It answers flags, dates, sizes and
// sequence sets without the database.
type array struct {
	mailboxID int64
	ready     chan struct{} // Closed when loaded, or when loading failed.
	err       error         // Set before ready is closed.

	// Guarded by hub.mu.
	users  int
	untold int       // Sessions that have not been told of all removals.
	buffer []*commit // Published while loading.

	columns map[string]*sharedColumn // Guarded by columnCache.mu.

	mu       sync.RWMutex
	uids     []UID // Ascending. Sessions hold slices of it: it is appended to, and replaced, never changed.
	entries  []Entry
	more     map[UID][]string // Keywords that have no bit.
	gone     map[UID]Entry    // Removed, and some session has not been told.
	keywords []string
	highest  int64 // ModSeq of the last change to the mailbox or its messages.
	deleted  bool  // The mailbox was.
}

// load fills the array from a snapshot, which view gives, and returns its ModSeq.
func (r *array) load(ctx context.Context, view func(context.Context, func(*Tx) error) error) (int64, error) {
	var modSeq int64
	err := view(ctx, func(tx *Tx) error {
		mb, err := tx.MailboxByID(r.mailboxID)
		if err != nil {
			return err
		}
		uids, entries := make([]UID, 0, mb.Total+mb.Total/8), make([]Entry, 0, mb.Total+mb.Total/8)
		more := map[UID][]string{}
		q := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{MailboxID: r.mailboxID}).SortAsc("UID")
		err = q.ForEach(func(m Message) error {
			uids = append(uids, m.UID)
			entries = append(entries, entryOf(&m))
			if len(m.More) > 0 {
				more[m.UID] = m.More
			}
			return nil
		})
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.uids, r.entries, r.more, r.keywords, r.highest = uids, entries, more, mb.Keywords, mb.ModSeq
		modSeq = tx.row.ModSeq
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("loading mailbox: %w", err)
	}
	return modSeq, nil
}

// clear takes all messages out: the mailbox is gone.
func (r *array) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uids, r.entries, r.more, r.deleted = nil, nil, map[UID][]string{}, true
}

// apply takes the changes of one commit to this mailbox. hub.mu is held.
func (r *array) apply(modSeq int64, changes []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.highest = max(r.highest, modSeq)
	var removed map[UID]bool
	for i := range changes {
		c := &changes[i]
		switch c.kind {
		case MessageAdded:
			r.add(c)
		case FlagsChanged:
			r.change(c)
		case MessageRemoved:
			if removed == nil {
				removed = map[UID]bool{}
			}
			removed[c.entry.UID] = true
		case MailboxChanged:
			r.keywords = c.mailbox.Keywords
		case MailboxRemoved:
			r.deleted = true
		case MailboxAdded, MailboxRenamed, AnnotationChanged, SubscriptionAdded, SubscriptionRemoved:
		}
	}
	if removed != nil {
		r.remove(removed)
	}
	if r.users == 0 {
		r.gone = nil // Nobody has to be told.
	}
}

// add appends a message. UIDs grow, so its place is the end.
func (r *array) add(c *change) {
	if n := len(r.uids); n > 0 && r.uids[n-1] >= c.entry.UID {
		return // Loaded already.
	}
	r.uids = append(r.uids, c.entry.UID)
	r.entries = append(r.entries, c.entry)
	if len(c.more) > 0 {
		r.more[c.entry.UID] = c.more
	}
}

// change sets the flags of a message.
func (r *array) change(c *change) {
	i, ok := slices.BinarySearch(r.uids, c.entry.UID)
	if !ok || r.entries[i].ModSeq >= c.entry.ModSeq {
		return
	}
	r.entries[i] = c.entry
	if len(c.more) > 0 {
		r.more[c.entry.UID] = c.more
	} else {
		delete(r.more, c.entry.UID)
	}
}

// remove takes messages out, into gone.
func (r *array) remove(removed map[UID]bool) {
	uids := make([]UID, 0, cap(r.uids))
	kept := r.entries[:0]
	for _, e := range r.entries {
		if removed[e.UID] {
			if r.gone == nil {
				r.gone = map[UID]Entry{}
			}
			r.gone[e.UID] = e
			continue
		}
		uids = append(uids, e.UID)
		kept = append(kept, e)
	}
	r.uids, r.entries = uids, kept
}

// forget drops what was kept of removed messages. hub.mu is held; all sessions
// have been told.
func (r *array) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid := range r.gone {
		delete(r.more, uid)
	}
	r.gone = nil
}

// get appends the entries of ascending uids to dst. Unknown ones are left out.
func (r *array) get(uids []UID, dst []Entry) []Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	at := 0
	for _, uid := range uids {
		// Mostly the next one; else a search in the rest.
		if at < len(r.uids) && r.uids[at] == uid {
			dst = append(dst, r.entries[at])
			at++
			continue
		}
		i, ok := slices.BinarySearch(r.uids[at:], uid)
		at += i
		if ok {
			dst = append(dst, r.entries[at])
			at++
		} else if e, ok := r.gone[uid]; ok {
			dst = append(dst, e)
		}
	}
	return dst
}

// current appends the entries of ascending uids to dst. Those that do not exist any
// more are left out.
func (r *array) current(uids []UID, dst []Entry) []Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	at := 0
	for _, uid := range uids {
		if at >= len(r.uids) || r.uids[at] != uid {
			i, ok := slices.BinarySearch(r.uids[at:], uid)
			at += i
			if !ok {
				continue
			}
		}
		dst = append(dst, r.entries[at])
		at++
	}
	return dst
}

// bitsOf returns the bits for flags and keywords, and false if a keyword has none in
// the mailbox, or that is gone.
func (r *array) bitsOf(flags Flags, keywords []string) (uint64, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	bits := uint64(flags & flagsAll)
	for _, kw := range keywords {
		i := slices.Index(r.keywords, kw)
		if i < 0 || i >= keywordBits {
			return 0, false
		}
		bits |= 1 << (flagBits + i)
	}
	return bits, !r.deleted
}

// keywordsOf returns the keywords of entries, which have none but bits.
func (r *array) keywordsOf(entries []Entry) [][]string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([][]string, len(entries))
	for i := range entries {
		if entries[i].Bits>>flagBits != 0 {
			all[i] = keywordsOf(r.keywords, int64(entries[i].Bits), nil)
		}
	}
	return all
}

// newest returns the UIDs as they are now.
func (r *array) newest() []UID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.uids[:len(r.uids):len(r.uids)]
}

// latest returns the ModSeq of the last change.
func (r *array) latest() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.highest
}

// changedSince returns the UIDs among told, ascending, whose entries have a
// higher ModSeq.
func (r *array) changedSince(modSeq int64, told []UID) []UID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var uids []UID
	for _, e := range r.entries {
		if e.ModSeq <= modSeq {
			continue
		}
		if _, ok := slices.BinarySearch(told, e.UID); ok {
			uids = append(uids, e.UID)
		}
	}
	return uids
}

// difference returns the elements of the ascending a that are not in the
// ascending b.
func difference(a, b []UID) []UID {
	var only []UID
	for _, v := range a {
		for len(b) > 0 && cmp.Less(b[0], v) {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != v {
			only = append(only, v)
		}
	}
	return only
}

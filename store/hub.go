package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// ChangeKind says what a Change is about.
type ChangeKind uint8

// The kinds of changes.
const (
	MessageAdded   ChangeKind = iota + 1
	MessageRemoved            // Of a message.
	FlagsChanged              // Of a message; ModSeq too.
	MailboxAdded
	MailboxRemoved
	MailboxRenamed
	MailboxChanged    // Subscription, special use, or keywords.
	AnnotationChanged // Of a mailbox, or of the account if MailboxID is 0: set or removed.
	SubscriptionAdded // Of a name, which need not be that of a mailbox.
	SubscriptionRemoved
)

// change is a change as the writer makes it.
type change struct {
	kind      ChangeKind
	mailboxID int64
	entry     Entry    // For message kinds.
	more      []string // Keywords of the message without a bit.
	mailbox   *Mailbox // For mailbox kinds.
	oldName   string

	annotation string // Name of one that was set or removed.
	withParent bool   // Of MailboxRenamed: a mailbox above it was.
	name       string // For subscriptions.
}

// commit is what one function of a transaction changed.
type commit struct {
	modSeq  int64
	origin  *Watch // Nil for deliveries.
	changes []change
}

// hub distributes the changes of one account: to the dense arrays, and to the
// sessions' lists. Publishing never waits for a session.
type hub struct {
	a *Account

	mu         sync.Mutex
	published  int64 // ModSeq of the last commit that is on disk and distributed.
	commit     int64 // Its number.
	waiting    []chan struct{}
	watches    map[*Watch]struct{}
	selecting  map[int64]map[*Watch]struct{} // By the mailbox that they have selected.
	followers  map[*Watch]struct{}           // Those with a filter.
	subscribed map[string]struct{}
	wakes      []*Watch // To be woken when mu is not held any more. Only the writer uses it.
	arrays     map[int64]*array
	closed     bool
}

// arraysKept is how many arrays without users are kept for the next session.
const arraysKept = 8

func newHub(a *Account) *hub {
	return &hub{
		a: a, watches: map[*Watch]struct{}{}, selecting: map[int64]map[*Watch]struct{}{}, followers: map[*Watch]struct{}{},
		subscribed: map[string]struct{}{}, arrays: map[int64]*array{},
	}
}

// setSubscribed says which names are subscribed to.
func (h *hub) setSubscribed(names map[string]struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribed = names
}

// setPublished says that all up to row is on disk.
func (h *hub) setPublished(row *accountRow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance(row.ModSeq, row.Commit)
}

// advance sets what is published and wakes who waits for it. h.mu is held.
func (h *hub) advance(modSeq, commit int64) {
	h.published, h.commit = max(h.published, modSeq), max(h.commit, commit)
	for _, ch := range h.waiting {
		close(ch)
	}
	h.waiting = nil
}

// newest returns the ModSeq of the last commit that is published.
func (h *hub) newest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.published
}

// loaded returns the array of a mailbox if it is there, with all that was published,
// and nobody who has not selected the mailbox wants to know of flags: those are told
// what its row has then.
func (h *hub) loaded(mailboxID int64) *array {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.followers {
		if w.follow.filter.any&EventFlags != 0 {
			return nil
		}
	}
	r := h.arrays[mailboxID]
	if r == nil {
		return nil
	}
	select {
	case <-r.ready:
	default:
		return nil
	}
	if r.err != nil {
		return nil
	}
	return r
}

// isPublished says whether a commit is on disk and distributed.
func (h *hub) isPublished(commit int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commit >= commit
}

// waitPublished waits until a commit is on disk and distributed.
func (h *hub) waitPublished(ctx context.Context, commit int64) error {
	for {
		h.mu.Lock()
		if h.commit >= commit {
			h.mu.Unlock()
			return nil
		}
		if h.closed {
			h.mu.Unlock()
			return ErrClosed
		}
		ch := make(chan struct{})
		h.waiting = append(h.waiting, ch)
		h.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// publish distributes commits that are on disk, in their order. States are the
// mailboxes that they changed.
func (h *hub) publish(commits []*commit, states []*Mailbox, row *accountRow) {
	h.mu.Lock()
	for _, c := range commits {
		h.distribute(c)
	}
	h.spread(commits, states)
	h.advance(row.ModSeq, row.Commit)
	h.mu.Unlock()
	h.wakeAll()
}

// wakeAll wakes the sessions that have something to take. They all want h.mu then.
func (h *hub) wakeAll() {
	for i, w := range h.wakes {
		w.wake()
		h.wakes[i] = nil
	}
	h.wakes = h.wakes[:0]
}

// distribute gives one commit to arrays and sessions. h.mu is held.
func (h *hub) distribute(c *commit) {
	for start := 0; start < len(c.changes); {
		end := start + 1
		for end < len(c.changes) && c.changes[end].mailboxID == c.changes[start].mailboxID {
			end++
		}
		part := c.changes[start:end]
		if r := h.arrays[part[0].mailboxID]; r != nil {
			select {
			case <-r.ready:
				r.apply(c.modSeq, part)
			default:
				r.buffer = append(r.buffer, &commit{c.modSeq, c.origin, part})
			}
		}
		for w := range h.selecting[part[0].mailboxID] {
			w.take(c, part)
		}
		start = end
	}
}

// array returns the loaded array of a mailbox, counted as used by one more.
func (h *hub) array(ctx context.Context, mailboxID int64) (*array, error) {
	h.mu.Lock()
	r := h.arrays[mailboxID]
	load := r == nil
	if load {
		r = &array{mailboxID: mailboxID, ready: make(chan struct{})}
		h.arrays[mailboxID] = r
	}
	r.users++
	h.mu.Unlock()
	if load {
		h.load(ctx, r)
	}
	select {
	case <-r.ready:
	case <-ctx.Done():
		h.drop(r)
		return nil, ctx.Err()
	}
	if r.err != nil {
		h.drop(r)
		return nil, r.err
	}
	return r, nil
}

// load fills a registered array: what is published meanwhile is buffered, and
// what the snapshot has already is dropped.
func (h *hub) load(ctx context.Context, r *array) {
	modSeq, err := r.load(ctx, h.a.View)
	h.mu.Lock()
	defer h.mu.Unlock()
	r.err = err
	if err != nil && h.arrays[r.mailboxID] == r {
		delete(h.arrays, r.mailboxID)
	}
	for _, c := range r.buffer {
		if c.modSeq > modSeq && err == nil {
			r.apply(c.modSeq, c.changes)
		}
	}
	r.buffer = nil
	close(r.ready)
}

// drop says that an array has one user less. Some without users are kept.
func (h *hub) drop(r *array) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.users--
	if r.users > 0 {
		return
	}
	r.forget()
	unused := 0
	for _, o := range h.arrays {
		if o.users == 0 {
			unused++
		}
	}
	if unused > arraysKept && h.arrays[r.mailboxID] == r {
		delete(h.arrays, r.mailboxID)
		h.a.dir.columns.forget(r)
	}
}

// reload fills all arrays again after the database was opened anew: it may hold
// more or less than was published. Sessions resynchronise by comparing.
func (h *hub) reload(ctx context.Context) error {
	h.mu.Lock()
	arrays := slices.Collect(maps.Values(h.arrays))
	h.mu.Unlock()
	var errs []error
	for _, r := range arrays {
		<-r.ready
		errs = append(errs, h.reloadArray(ctx, r))
	}
	h.mu.Lock()
	for w := range h.watches {
		w.loseTrack()
	}
	h.mu.Unlock()
	h.wakeAll()
	return errors.Join(errs...)
}

// reloadArray fills an array again, or drops it if nobody uses it.
func (h *hub) reloadArray(ctx context.Context, r *array) error {
	h.mu.Lock()
	unused := r.users == 0 || r.err != nil
	if unused && h.arrays[r.mailboxID] == r {
		delete(h.arrays, r.mailboxID)
	}
	h.mu.Unlock()
	defer h.a.dir.columns.forget(r) // UIDs may be given again, to other messages.
	if unused {
		return nil
	}
	_, err := r.load(ctx, h.a.ViewContent) // This is the writer, which View waits for.
	if errors.Is(err, ErrNoMailbox) {
		r.clear()
		return nil
	}
	return err
}

// erasable returns those of rows that no session can still ask for: a session
// that has not been told of the removal of a message may read it, and one whose
// mailbox was deleted all that was in it.
func (h *hub) erasable(rows []Erase) []Erase {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := int64(0)
	for w := range h.watches {
		for _, modSeq := range []int64{w.firstRemoved, w.deleted} {
			if modSeq > 0 && (oldest == 0 || modSeq < oldest) {
				oldest = modSeq
			}
		}
	}
	if oldest == 0 {
		return rows
	}
	return slices.DeleteFunc(rows, func(e Erase) bool { return e.ModSeq >= oldest })
}

// close ends waiting; sessions notice by their own.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.advance(0, 0)
	for _, r := range h.arrays {
		h.a.dir.columns.forget(r)
	}
}

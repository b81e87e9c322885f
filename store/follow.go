package store

import (
	"slices"
	"strings"
)

// Events is a set of kinds of events: of what a session that follows mailboxes
// which it has not selected is told (RFC 5465, section 5).
type Events uint8

// The kinds of events.
const (
	EventMessages      Events = 1 << iota // Messages came or went.
	EventFlags                            // Flags of messages were changed.
	EventNames                            // A mailbox was created, deleted or renamed.
	EventSubscriptions                    // A name was subscribed to, or not any more.
	EventAnnotations                      // Annotations of a mailbox were changed.
	EventServer                           // Annotations of the account as a whole were: of no mailbox.
)

// Scope says which mailboxes a Rule is about.
type Scope uint8

// The scopes.
const (
	ScopeAll        Scope = iota + 1
	ScopeSubscribed       // Those whose names are subscribed to.
	ScopeNamed            // Those of the names.
	ScopeSubtree          // Those, and all below them.
	ScopeSubtreeOne       // Those, and what is one level below them.
)

// Rule asks for events of some mailboxes, which need not exist.
type Rule struct {
	Scope  Scope
	Names  []string // For the last three scopes. Names that no mailbox can have are passed over.
	Events Events
}

// Filter is what several rules ask for together. It is not changed once made, and
// to ask it costs the same however many mailboxes there are and rules name.
type Filter struct {
	any                 Events // Of all rules.
	all, subscribed     Events
	named, below, child map[string]Events
}

// NewFilter returns the filter for rules.
func NewFilter(rules []Rule) *Filter {
	f := &Filter{named: map[string]Events{}, below: map[string]Events{}, child: map[string]Events{}}
	for _, r := range rules {
		f.any |= r.Events
		switch r.Scope {
		case ScopeAll:
			f.all |= r.Events
		case ScopeSubscribed:
			f.subscribed |= r.Events
		case ScopeNamed:
			addNames(f.named, r)
		case ScopeSubtree:
			addNames(f.below, r)
		case ScopeSubtreeOne:
			addNames(f.child, r)
		}
	}
	return f
}

func addNames(to map[string]Events, r Rule) {
	for _, name := range r.Names {
		if name, err := CheckMailboxName(name); err == nil {
			to[name] |= r.Events
		}
	}
}

// Wants returns the events that are asked for of a mailbox.
func (f *Filter) Wants(name string, subscribed bool) Events {
	e := f.all | f.named[name] | f.below[name] | f.child[name]
	if subscribed {
		e |= f.subscribed
	}
	if len(f.below)+len(f.child) == 0 {
		return e
	}
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		if !strings.Contains(name[i+1:], "/") {
			e |= f.child[name[:i]]
		}
		e |= f.below[name[:i]]
	}
	return e
}

// News is what happened in mailboxes that a session follows, coalesced.
type News struct {
	Names     []NameNews    // In the order in which they changed.
	Mailboxes []MailboxNews // In the order in which they changed first. Not the selected one.

	Annotations []AnnotationNews // In the order in which they changed first.

	// Lost means that more happened than is kept: the session must not rely on what
	// it knows. It doesn't follow any more.
	Lost bool
}

// NameNews tells that a mailbox was created, deleted or renamed, or a name
// subscribed to or not any more. What it is now is for the session to look up.
type NameNews struct {
	Name    string
	OldName string // If a mailbox was renamed.
}

// MailboxNews tells of messages in a mailbox.
type MailboxNews struct {
	Mailbox *Mailbox // As it is after the last change. Not to be changed.
	Events  Events   // EventMessages and EventFlags.
}

// AnnotationNews tells that an annotation was set or removed.
type AnnotationNews struct {
	Mailbox *Mailbox // Nil for one of the account. Not to be changed.
	Name    string
}

const (
	// newsMax bounds what a session has not been told: mailboxes, names and
	// annotations. One that has so much waiting does not listen.
	newsMax = 1000

	// wantsMax bounds the mailboxes for which is kept what a filter says.
	wantsMax = 1000
)

// following is a session's filter with what it was not told. It is guarded by hub.mu.
type following struct {
	filter *Filter
	wants  map[int64]Events // What filter says, by mailbox; emptied when names or subscriptions change.

	boxes map[int64]*MailboxNews
	order []int64        // Keys of boxes; some may be gone.
	names map[string]int // Places in news.Names.
	news  News           // Without Mailboxes.
}

func newFollow(f *Filter) *following {
	return &following{filter: f, wants: map[int64]Events{}, boxes: map[int64]*MailboxNews{}, names: map[string]int{}}
}

// Follow makes the session learn of what a filter asks for: from now on, and
// instead of what it followed before. Nil ends it. What the session itself does,
// through UpdateFrom, is not among it.
func (w *Watch) Follow(f *Filter) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	w.follow = nil
	delete(w.h.followers, w)
	if f != nil {
		w.follow = newFollow(f)
		w.h.followers[w] = struct{}{}
	}
}

// News returns what has happened since the last call.
func (w *Watch) News() News {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	f := w.follow
	w.signalled = false
	if f == nil || f.quiet() {
		return News{}
	}
	news := f.news
	if news.Lost {
		w.follow = nil
		delete(w.h.followers, w)
		return news
	}
	for _, id := range f.order {
		if box := f.boxes[id]; box != nil && id != w.selected {
			news.Mailboxes = append(news.Mailboxes, *box)
		}
	}
	next := newFollow(f.filter)
	next.wants = f.wants
	w.follow = next
	return news
}

// quiet tells whether there is nothing to tell.
func (f *following) quiet() bool { return f.pending() == 0 && !f.news.Lost }

// pending returns how much there is to tell.
func (f *following) pending() int {
	return len(f.order) + len(f.news.Names) + len(f.news.Annotations)
}

// happening is one thing that followers may want to know of.
type happening struct {
	origin *Watch
	events Events

	// Of messages.
	mailbox *Mailbox
	fresh   bool // The mailbox has come to its name: who wants to know of flags must learn of its UIDVALIDITY (RFC 5465, section 5.1).

	// Of names.
	name, oldName string

	annotation string // Of mailbox, or of the account.

	gone int64 // Mailbox that is deleted.
}

// spread tells the followers what commits have changed. States has mailboxes as
// they are after them. h.mu is held.
func (h *hub) spread(commits []*commit, states []*Mailbox) {
	renamed := h.noteSubscriptions(commits)
	if len(h.followers) == 0 {
		return
	}
	list := happenings(commits, states)
	for w := range h.followers {
		if renamed {
			clear(w.follow.wants)
		}
		for i := range list {
			h.inform(w, &list[i])
		}
		if !w.follow.quiet() {
			w.signal()
		}
	}
}

// noteSubscriptions keeps what is subscribed to true, and tells whether names or
// subscriptions have changed. h.mu is held.
func (h *hub) noteSubscriptions(commits []*commit) (renamed bool) {
	for _, c := range commits {
		for i := range c.changes {
			switch ch := &c.changes[i]; ch.kind {
			case SubscriptionAdded:
				h.subscribed[ch.name] = struct{}{}
				renamed = true
			case SubscriptionRemoved:
				delete(h.subscribed, ch.name)
				renamed = true
			case MailboxAdded, MailboxRemoved, MailboxRenamed:
				renamed = true
			case MessageAdded, MessageRemoved, FlagsChanged, MailboxChanged, AnnotationChanged:
			}
		}
	}
	return renamed
}

// happenings returns what commits have changed, each mailbox's messages once for
// each commit.
func happenings(commits []*commit, states []*Mailbox) (list []happening) {
	latest := map[int64]*Mailbox{}
	for _, c := range commits {
		for i := range c.changes {
			if mb := c.changes[i].mailbox; mb != nil {
				latest[mb.ID] = mb
			}
		}
	}
	for _, mb := range states {
		latest[mb.ID] = mb
	}
	for _, c := range commits {
		var events Events
		for i := range c.changes {
			ch := &c.changes[i]
			if ch.kind > FlagsChanged {
				list = append(list, ch.happenings(c.origin, latest[ch.mailboxID])...)
				continue
			}
			if ch.kind == FlagsChanged {
				events |= EventFlags
			} else {
				events |= EventMessages
			}
			last := i+1 == len(c.changes) || c.changes[i+1].kind > FlagsChanged || c.changes[i+1].mailboxID != ch.mailboxID
			if mb := latest[ch.mailboxID]; last && mb != nil {
				list = append(list, happening{origin: c.origin, events: events, mailbox: mb})
			}
			if last {
				events = 0
			}
		}
	}
	return list
}

// happenings returns what a change of a mailbox means. Latest is the
// mailbox as it is after all.
func (ch *change) happenings(origin *Watch, latest *Mailbox) []happening {
	named := func(events Events, name, oldName string) happening {
		return happening{origin: origin, events: events, name: name, oldName: oldName}
	}
	switch ch.kind {
	case MailboxAdded:
		return append(aboutParent(named(EventNames, ch.mailbox.Name, "")), happening{origin: origin, events: EventFlags, mailbox: latest, fresh: true})
	case MailboxRemoved:
		return append(aboutParent(named(EventNames, ch.mailbox.Name, "")), happening{gone: ch.mailboxID})
	case MailboxRenamed:
		fresh := happening{origin: origin, events: EventFlags, mailbox: latest, fresh: true}
		if ch.withParent { // Clients know that from its parent: RFC 5465, section 5.4.
			return []happening{fresh}
		}
		return []happening{named(EventNames, ch.mailbox.Name, ch.oldName), fresh}
	case SubscriptionAdded, SubscriptionRemoved:
		return []happening{named(EventSubscriptions, ch.name, "")}
	case AnnotationChanged:
		return []happening{{origin: origin, events: EventAnnotations, mailbox: latest, annotation: ch.annotation}}
	case MessageAdded, MessageRemoved, FlagsChanged, MailboxChanged:
	}
	return nil
}

// aboutParent returns e, and the same for the name above it: that is affected, too,
// whether there is such a mailbox or not (RFC 5465, section 5.4).
func aboutParent(e happening) []happening {
	i := strings.LastIndexByte(e.name, '/')
	if i <= 0 {
		return []happening{e}
	}
	parent := e
	parent.name = e.name[:i]
	return []happening{e, parent}
}

// inform notes one happening for a follower that wants to know of it. h.mu is held.
func (h *hub) inform(w *Watch, e *happening) {
	f := w.follow
	switch {
	case f.news.Lost:
		return
	case e.gone != 0:
		delete(f.boxes, e.gone)
		f.news.Annotations = slices.DeleteFunc(f.news.Annotations, func(a AnnotationNews) bool { return a.Mailbox != nil && a.Mailbox.ID == e.gone })
		return
	case e.annotation != "":
		if e.origin != w && h.wantsAnnotation(f, e.mailbox) {
			f.noteAnnotation(AnnotationNews{e.mailbox, e.annotation})
		}
	case e.mailbox == nil:
		if e.origin != w && h.wantsName(f, e) {
			f.noteName(e.name, e.oldName)
		}
	default:
		h.informMailbox(w, e)
	}
	if f.pending() > newsMax {
		f.news = News{Lost: true}
		f.boxes, f.order, f.names = nil, nil, nil
	}
}

// wantsName tells whether a follower wants to know of a change of a name. Of a
// mailbox that was renamed, either name will do.
func (h *hub) wantsName(f *following, e *happening) bool {
	for _, name := range []string{e.name, e.oldName} {
		if name == "" {
			continue
		}
		if _, subscribed := h.subscribed[name]; f.filter.Wants(name, subscribed)&e.events != 0 {
			return true
		}
	}
	return false
}

func (f *following) noteName(name, oldName string) {
	if at, ok := f.names[name]; ok && (oldName == "" || f.news.Names[at].OldName == "") {
		if oldName != "" {
			f.news.Names[at].OldName = oldName
		}
		return
	}
	f.names[name] = len(f.news.Names)
	f.news.Names = append(f.news.Names, NameNews{name, oldName})
}

// wantsAnnotation tells whether a follower wants to know of annotations of a mailbox,
// or of the account.
func (h *hub) wantsAnnotation(f *following, mb *Mailbox) bool {
	if mb == nil {
		return f.filter.any&EventServer != 0
	}
	return h.wants(f, mb)&EventAnnotations != 0
}

func (f *following) noteAnnotation(a AnnotationNews) {
	same := func(o AnnotationNews) bool {
		return o.Name == a.Name && (o.Mailbox == a.Mailbox || o.Mailbox != nil && a.Mailbox != nil && o.Mailbox.ID == a.Mailbox.ID)
	}
	if !slices.ContainsFunc(f.news.Annotations, same) {
		f.news.Annotations = append(f.news.Annotations, a)
	}
}

// informMailbox notes what happened to messages. The selected mailbox has rules of
// its own (RFC 5465, section 6). h.mu is held.
func (h *hub) informMailbox(w *Watch, e *happening) {
	f, mb := w.follow, e.mailbox
	box := f.boxes[mb.ID]
	if box != nil {
		box.Mailbox = mb // Also if this is not news, or the client would be told what is old.
	}
	if e.fresh {
		f.renamed(mb)
	}
	if e.origin == w || mb.ID == w.selected {
		return
	}
	events := e.events & h.wants(f, mb)
	if events == 0 {
		return
	}
	if e.fresh {
		events |= EventMessages
	}
	if box == nil {
		box = &MailboxNews{Mailbox: mb}
		f.boxes[mb.ID] = box
		f.order = append(f.order, mb.ID)
	}
	box.Events |= events
}

// renamed gives news of a mailbox its new name.
func (f *following) renamed(mb *Mailbox) {
	for i := range f.news.Annotations {
		if a := &f.news.Annotations[i]; a.Mailbox != nil && a.Mailbox.ID == mb.ID {
			a.Mailbox = mb
		}
	}
}

// wants returns what a filter says of a mailbox. h.mu is held.
func (h *hub) wants(f *following, mb *Mailbox) Events {
	e, ok := f.wants[mb.ID]
	if !ok {
		_, subscribed := h.subscribed[mb.Name]
		e = f.filter.Wants(mb.Name, subscribed)
		if len(f.wants) == wantsMax {
			clear(f.wants)
		}
		f.wants[mb.ID] = e
	}
	return e
}

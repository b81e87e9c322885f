package imapserver

import (
	"slices"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// mailboxScope tells which mailboxes a filter of NOTIFY or ESEARCH is about. For
// those of the selected mailbox it covers none: only a session knows which that
// is.
type mailboxScope struct {
	kind  imap.FilterKind
	names []string // In the form in which the store keeps them.
}

// newMailboxScope returns the scope of a filter. Names that no mailbox can have
// are left out: RFC 7377, section 2.2, wants no error for what is absent.
func newMailboxScope(f imap.MailboxFilter) mailboxScope {
	c := mailboxScope{kind: f.Kind}
	for _, name := range f.Names {
		if name, err := store.CheckMailboxName(name); err == nil {
			c.names = append(c.names, name)
		}
	}
	return c
}

// mailboxSets are the names that words of filters stand for.
type mailboxSets struct {
	inboxes    map[string]bool // Nil: all mailboxes.
	subscribed map[string]bool
}

// covers tells whether a mailbox that exists is in the scope.
func (c mailboxScope) covers(name string, sets mailboxSets) bool {
	switch c.kind {
	case imap.FilterPersonal:
		return true
	case imap.FilterInboxes:
		return sets.inboxes == nil || sets.inboxes[name]
	case imap.FilterSubscribed:
		return sets.subscribed[name]
	case imap.FilterMailboxes:
		return slices.Contains(c.names, name)
	case imap.FilterSubtree, imap.FilterSubtreeOne:
		return slices.ContainsFunc(c.names, func(top string) bool { return c.inSubtree(top, name) })
	case imap.FilterSelected, imap.FilterSelectedDelayed:
	}
	return false
}

// inSubtree tells whether name is top or below it: directly, if only one level
// counts.
func (c mailboxScope) inSubtree(top, name string) bool {
	rest, ok := strings.CutPrefix(name, top)
	if !ok || rest == "" {
		return ok
	}
	return rest[0] == '/' && (c.kind == imap.FilterSubtree || !strings.Contains(rest[1:], "/"))
}

// inboxes returns the mailboxes that new messages are delivered to, nil for all.
func (s *session) inboxes() map[string]bool {
	if s.server.opts.Inboxes == nil {
		return nil
	}
	set := map[string]bool{}
	for _, name := range s.server.opts.Inboxes(s.account.Name()) {
		if name, err := store.CheckMailboxName(name); err == nil {
			set[name] = true
		}
	}
	return set
}

// subscribed returns the subscribed names.
func subscribed(tx *store.Tx) (map[string]bool, error) {
	names, err := tx.Subscriptions()
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, name := range names {
		set[name] = true
	}
	return set, nil
}

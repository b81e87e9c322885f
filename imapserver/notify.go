package imapserver

import (
	"context"
	"fmt"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// delayedMax bounds the removals that a session with SELECTED-DELAYED waits to be
// told of. One that lets more pile up does not ask.
const delayedMax = 1000

// notifyState is what a client wants to be told of (RFC 5465), and what is to be told
// next.
type notifyState struct {
	on       bool              // NOTIFY was given: what follows holds, also between commands.
	events   imap.NotifyEvents // In the selected mailbox.
	delayed  bool              // Removals wait for a command.
	fetch    []imap.FetchItem  // What to send of new messages.
	rules    []store.Rule      // For all but messages in the selected mailbox.
	arrivals []store.UID       // New messages that are told, but for what fetch wants.
}

// mode returns which changes of the selected mailbox are to be told. What a client
// does itself it is always told of, with all that came before: else the sequence
// numbers of the answers would be wrong, or it could not read what it appended.
func (n *notifyState) mode(keepNumbers bool) store.TakeMode {
	mode := store.TakeAll
	if n.on && n.events&imap.NotifyMessageNew == 0 {
		return store.TakeOwn
	}
	if n.on && n.events&imap.NotifyFlagChange == 0 {
		mode &^= store.TakeFlags
	}
	if keepNumbers {
		mode &^= store.TakeRemoved
	}
	return mode
}

// arrived notes a new message of which the client wants to see more. What it added
// itself it knows.
func (n *notifyState) arrived(c *store.Change) {
	if len(n.fetch) > 0 && !c.Own {
		n.arrivals = append(n.arrivals, c.Entry.UID)
	}
}

// parseNotify parses the arguments of NOTIFY, RFC 5465, section 8.
func parseNotify(d *imap.Decoder) imap.Notify {
	d.SP()
	return d.Notify()
}

// setNotify answers NOTIFY. What has changed in the selected mailbox until now is
// told at its end in any case, as RFC 5465, section 3.1, wants.
func (s *session) setNotify(ctx context.Context, _ command, req imap.Notify) (imap.Response, error) {
	s.account.WaitDurable(ctx)
	var n notifyState
	for i := range req.Groups {
		g := &req.Groups[i]
		n.fetch = append(n.fetch, g.Fetch...)
		if g.OnSelected() {
			n.delayed = g.Filter.Kind == imap.FilterSelectedDelayed
		} else if g.Events != 0 {
			n.rules = append(n.rules, s.notifyRule(g))
		}
	}
	if len(n.fetch) > 0 && !s.uidOnly {
		n.fetch = withItem(n.fetch, imap.FetchUID)
	}
	before := s.notify
	s.notify = n
	if req.Set {
		s.tell(ctx, false) // Of new messages, more too.
	}
	s.notify.on = true
	for i := range req.Groups {
		if g := &req.Groups[i]; g.OnSelected() {
			s.notify.events = g.Events
		}
	}
	filter := s.follow()
	if req.Status {
		if err := s.describeAll(ctx, filter); err != nil {
			s.notify = before
			s.follow()
			return imap.Response{}, err
		}
	}
	return imap.OK("", "done"), nil
}

// notifyRule returns what a group asks for in terms of the store.
func (s *session) notifyRule(g *imap.NotifyGroup) store.Rule {
	r := store.Rule{Names: g.Filter.Names, Events: storeEvents(g.Events)}
	switch g.Filter.Kind {
	case imap.FilterInboxes:
		inboxes := s.inboxes()
		r.Scope = store.ScopeNamed
		if inboxes == nil {
			r.Scope = store.ScopeAll
		}
		for name := range inboxes {
			r.Names = append(r.Names, name)
		}
	case imap.FilterPersonal:
		r.Scope = store.ScopeAll
	case imap.FilterSubscribed:
		r.Scope = store.ScopeSubscribed
	case imap.FilterSubtree:
		r.Scope = store.ScopeSubtree
	case imap.FilterSubtreeOne:
		r.Scope = store.ScopeSubtreeOne
	case imap.FilterMailboxes:
		r.Scope = store.ScopeNamed
	case imap.FilterSelected, imap.FilterSelectedDelayed:
	}
	return r
}

func storeEvents(events imap.NotifyEvents) (to store.Events) {
	for _, e := range []struct {
		from imap.NotifyEvents
		to   store.Events
	}{
		{imap.NotifyMessageNew, store.EventMessages},
		{imap.NotifyFlagChange, store.EventFlags},
		{imap.NotifyMailboxName, store.EventNames},
		{imap.NotifySubscriptionChange, store.EventSubscriptions},
		{imap.NotifyMailboxMetadataChange, store.EventAnnotations},
		{imap.NotifyServerMetadataChange, store.EventServer},
	} {
		if events&e.from != 0 {
			to |= e.to
		}
	}
	return to
}

// follow asks the store for what the client wants to know, and returns the filter;
// nil if that is nothing. Before NOTIFY that is what ENABLE METADATA has asked for.
func (s *session) follow() *store.Filter {
	rules := s.notify.rules
	if !s.notify.on && s.metadata != (metadataState{}) {
		rules = s.metadata.rules()
	}
	var filter *store.Filter
	if len(rules) > 0 {
		filter = store.NewFilter(rules)
	}
	s.watch.Follow(filter)
	return filter
}

// describeAll writes a STATUS response for each mailbox whose messages the client
// wants to know of, but not the selected one.
func (s *session) describeAll(ctx context.Context, filter *store.Filter) error {
	if filter == nil {
		return nil
	}
	var boxes []store.Mailbox
	var subs map[string]bool
	err := s.account.View(ctx, func(tx *store.Tx) (err error) {
		if boxes, err = tx.Mailboxes(); err == nil {
			subs, err = subscribed(tx)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading mailboxes for NOTIFY: %w", err)
	}
	for i := range boxes {
		mb := &boxes[i]
		wants := filter.Wants(mb.Name, subs[mb.Name])
		if wants&(store.EventMessages|store.EventFlags) == 0 || s.sel != nil && s.sel.mailboxID == mb.ID {
			continue
		}
		items := []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN"}
		if wants&store.EventFlags != 0 || s.condstore {
			items = append(items, "HIGHESTMODSEQ")
		}
		s.writeStatus(mb, items)
	}
	return nil
}

// await waits for a command. A client that has given NOTIFY is told of changes
// meanwhile.
func (s *session) await(ctx context.Context) error {
	if !s.notify.on {
		return s.in.Wait()
	}
	return s.listen(ctx, s.notify.delayed)
}

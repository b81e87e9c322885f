package imapserver

import (
	"context"
	"slices"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// contextsLose tells contexts who is gone: those whose removal is told next, by the
// numbers that they have until then (RFC 5267, section 4.3.4), and those whose removal
// is held back, as that keeps all numbers.
func (s *session) contextsLose(changes []store.Change) {
	if len(s.sel.contexts) == 0 {
		return
	}
	var gone []store.UID
	numbers := map[store.UID]int{}
	for i := range changes {
		if c := &changes[i]; c.Kind == store.MessageRemoved {
			gone = append(gone, c.Entry.UID)
			numbers[c.Entry.UID] = c.Seq
		}
	}
	for _, uid := range s.watch.Gone() {
		gone = append(gone, uid)
		numbers[uid], _ = s.sel.number(uid)
	}
	slices.Sort(gone)
	for _, c := range s.sel.contexts {
		lost := slices.DeleteFunc(slices.Clone(gone), func(uid store.UID) bool { return !c.results.has(uid) })
		if len(lost) > 0 {
			s.writeUpdate(c, contextChange{gone: c.results.take(lost)}, func(uid store.UID) int { return numbers[uid] })
		}
	}
}

// contextChange is what is told of one context at once.
type contextChange struct{ gone, come []placed }

// contextsUpdate tells contexts what came and what changed. It is called when the
// client has been told of the messages themselves (RFC 5267, section 4.3.3).
func (s *session) contextsUpdate(ctx context.Context, changes []store.Change) {
	if s.sel.gone {
		s.sel.contexts = nil
	}
	if len(s.sel.contexts) == 0 {
		return
	}
	var added []store.UID
	for i := range changes {
		if c := &changes[i]; c.Kind == store.MessageAdded {
			added = append(added, c.Entry.UID)
		}
	}
	touched, all := s.watch.Touched()
	if all {
		touched = s.sel.uids()
	}
	now := time.Now().Unix()
	held := s.watch.Gone()
	s.endContexts(func(c *searchContext) bool {
		uids := slices.Concat(touched, added, c.search.moved(now))
		slices.Sort(uids)
		uids = slices.DeleteFunc(slices.Compact(uids), func(uid store.UID) bool {
			_, known := s.sel.number(uid)
			_, gone := slices.BinarySearch(held, uid)
			return !known || gone
		})
		err := s.updateContext(ctx, c, uids, added)
		if err == nil {
			return false
		}
		s.log.ErrorContext(ctx, "updating search", "tag", c.tag, "err", err)
		s.refuseUpdates(c, "updates have failed")
		return true
	})
	s.boundContexts()
}

// updateContext looks at some messages again, and tells what of them came into the
// results or left them.
func (s *session) updateContext(ctx context.Context, c *searchContext, uids, added []store.UID) error {
	if len(uids) == 0 {
		return nil
	}
	for _, refresh := range c.search.live.refresh {
		if err := refresh(ctx); err != nil {
			return err
		}
	}
	matched, err := c.search.match(ctx, c.matcher, uids)
	if err != nil {
		return err
	}
	var gone, come []store.UID
	for _, uid := range uids {
		_, matches := slices.BinarySearch(matched, uid)
		switch had := c.results.has(uid); {
		case had && !matches:
			gone = append(gone, uid)
		case !had && matches:
			come = append(come, uid)
		}
	}
	change := contextChange{}
	if len(gone) > 0 {
		change.gone = c.results.take(gone)
	}
	if len(come) > 0 {
		if change.come, err = c.results.put(ctx, come); err != nil {
			return err
		}
		s.fetchDelivered(ctx, c, come, added)
	}
	if len(gone) > 0 || len(come) > 0 {
		s.writeUpdate(c, change, func(uid store.UID) int {
			n, _ := s.sel.number(uid)
			return n
		})
	}
	return nil
}

// fetchDelivered sends what a context wants to know of new messages (RFC 5465, section
// 7). They stay unread: nobody has asked for just these.
func (s *session) fetchDelivered(ctx context.Context, c *searchContext, come, added []store.UID) {
	if len(c.fetch) == 0 {
		return
	}
	uids := slices.DeleteFunc(slices.Clone(come), func(uid store.UID) bool {
		_, isNew := slices.BinarySearch(added, uid)
		return !isNew
	})
	items := c.fetch
	if c.byUID && !s.uidOnly {
		items = withItem(items, imap.FetchUID)
	}
	s.beginProgress(time.Now().Add(time.Hour)) // There is no command that could report any.
	f := &fetcher{s: s, items: items, flags: newFlagWriter(s.sel.view)}
	f.plan()
	f.setsSeen = false
	var err error
	if f.structure || f.email {
		err = f.all(ctx, uids)
	} else {
		err = f.dense(ctx, uids)
	}
	if err != nil {
		s.log.DebugContext(ctx, "fetching new results", "tag", c.tag, "err", err)
	}
}

// writeUpdate writes what has changed of a context, RFC 5267, section 5:
//
//	"ADDTO" SP "(" context-position SP sequence-set *(SP context-position SP sequence-set) ")"
func (s *session) writeUpdate(c *searchContext, change contextChange, number func(store.UID) int) {
	s.out.Raw(`* ESEARCH (TAG "`, c.tag, `"`, c.about, ")")
	if c.byUID {
		s.out.Raw(" UID")
	}
	for _, part := range []struct {
		name string
		list []placed
	}{{" REMOVEFROM (", change.gone}, {" ADDTO (", change.come}} {
		for i, p := range part.list {
			s.out.Raw(part.name).Num(int64(p.position))
			part.name = " "
			numbers := make([]uint32, len(p.uids))
			for j, uid := range p.uids {
				numbers[j] = uint32(uid)
				if !c.byUID {
					numbers[j] = uint32(number(uid))
				}
			}
			s.out.Append(func(b []byte) []byte { return imap.AppendNums(append(b, ' '), numbers) })
			if i == len(part.list)-1 {
				s.out.Raw(")")
			}
		}
	}
	s.out.CRLF()
}

// boundContexts ends the contexts that were begun last, but for the first, if they
// have grown beyond what they may need.
func (s *session) boundContexts() {
	for len(s.sel.contexts) > 1 && s.sel.contextBytes() > contextBytesMax {
		last := s.sel.contexts[len(s.sel.contexts)-1]
		s.refuseUpdates(last, "too many results are kept up to date")
		s.endContexts(func(c *searchContext) bool { return c == last })
	}
}

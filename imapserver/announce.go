package imapserver

import (
	"context"
	"slices"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// announce tells the client of all that it wants to know and was not told: of the
// selected mailbox, and of others. With keepNumbers those changes wait that shift
// sequence numbers. It has no tagged reply to fail with: s.lost is set if the
// connection is.
func (s *session) announce(ctx context.Context, keepNumbers bool) {
	s.tell(ctx, keepNumbers)
	s.fetchArrivals(ctx)
	news := s.watch.News()
	switch {
	case news.Lost && !s.notify.on: // Nothing can tell the client what it missed of annotations.
		s.follow()
		return
	case news.Lost || keepNumbers && s.tooDelayed():
		s.overflow()
		return
	}
	if len(news.Names) > 0 {
		s.writeNames(ctx, news.Names)
	}
	s.tellMetadata(news.Annotations)
	for _, m := range news.Mailboxes {
		s.writeStatus(m.Mailbox, s.newsItems(m.Events))
	}
}

// tooDelayed reports whether more removals wait for a command than may.
func (s *session) tooDelayed() bool {
	return s.notify.delayed && s.sel != nil && !s.sel.gone && s.sel.view.HeldBack() > delayedMax
}

// overflow tells the client that it must not rely on being told any more: as if it
// had said NOTIFY NONE (RFC 5465, section 5.8).
func (s *session) overflow() {
	s.out.Response("*", imap.OK("NOTIFICATIONOVERFLOW", "more has happened than is kept, look for yourself"))
	s.notify = notifyState{on: true}
	s.follow()
}

// fetchArrivals sends what the client wants to see of new messages (RFC 5465, section
// 5.2). Nothing of it sets \Seen: nobody has looked at them. What can't be read is
// left out.
func (s *session) fetchArrivals(ctx context.Context) {
	uids := s.notify.arrivals
	s.notify.arrivals = nil
	if len(uids) == 0 || s.sel == nil || s.sel.gone {
		return
	}
	items := s.notify.fetch
	if s.condstore && slices.ContainsFunc(items, func(i imap.FetchItem) bool { return i.Kind == imap.FetchFlags }) {
		items = withItem(items, imap.FetchModSeq) // RFC 7162, section 3.1.
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
		s.log.Debug("telling of new messages", "err", err)
	}
}

// writeNames writes a LIST response for each name that has changed, as it is now (RFC
// 5465, sections 5.4 and 5.5).
func (s *session) writeNames(ctx context.Context, list []store.NameNews) {
	names := make([]store.Name, len(list))
	err := s.account.View(ctx, func(tx *store.Tx) (err error) {
		for i := range list {
			if names[i], err = tx.Name(list[i].Name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.log.Error("looking up changed names", "err", err)
		s.overflow()
		return
	}
	for i, n := range names {
		e := &listName{mb: n.Mailbox, subscribed: n.Subscribed, children: n.Children}
		s.out.Raw("* LIST (", s.listAttributes(e, true), `) "/" `).Mailbox(list[i].Name)
		if old := list[i].OldName; old != "" {
			s.out.Raw(` ("OLDNAME" (`).Mailbox(old).Raw("))")
		}
		s.out.CRLF()
	}
}

// newsItems returns the items of STATUS for what happened in a mailbox (RFC 5465,
// sections 5.1 to 5.3).
func (s *session) newsItems(events store.Events) []string {
	items := []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN"}
	if events&store.EventMessages == 0 {
		items = items[2:]
	}
	if s.condstore {
		items = append(items, "HIGHESTMODSEQ")
	}
	return items
}

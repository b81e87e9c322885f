package imapserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// selectRequest is a parsed SELECT or EXAMINE.
type selectRequest struct {
	name string
	imap.SelectParams
}

// parseSelect parses the arguments of SELECT, RFC 9051, section 9, and RFC 7162,
// section 7:
//
//	select = "SELECT" SP mailbox [select-params]
func parseSelect(d *imap.Decoder) (req selectRequest) {
	d.SP()
	req.name = d.Mailbox()
	req.SelectParams = d.SelectParams()
	return req
}

func (s *session) selectMailbox(ctx context.Context, _ command, req selectRequest) (imap.Response, error) {
	if err := s.open(ctx, req, false); err != nil {
		return imap.Response{}, err
	}
	return imap.OK("READ-WRITE", "selected"), nil
}

func (s *session) examine(ctx context.Context, _ command, req selectRequest) (imap.Response, error) {
	if err := s.open(ctx, req, true); err != nil {
		return imap.Response{}, err
	}
	return imap.OK("READ-ONLY", "examined"), nil
}

// open selects a mailbox and tells the client about it (RFC 9051, section
// 6.3.2). What was selected before is closed in any case, as the RFC says.
func (s *session) open(ctx context.Context, req selectRequest, readOnly bool) error {
	switch {
	case req.Resync != nil && !s.qresync:
		return imap.Bad("QRESYNC needs ENABLE QRESYNC")
	case req.Resync != nil && req.Resync.UIDs != nil && s.uidOnly:
		return imap.BadCode("UIDREQUIRED", "there are no sequence numbers after ENABLE UIDONLY")
	}
	name := req.name
	if s.sel != nil {
		s.unselect()
		s.out.Response("*", imap.OK("CLOSED", "previous mailbox is closed"))
	}
	s.account.WaitDurable(ctx)
	mb, err := s.mailbox(ctx, name)
	if err != nil {
		return err
	}
	view, err := s.watch.Select(ctx, mb.ID)
	if err != nil {
		return fmt.Errorf("selecting %q: %w", mb.Name, err)
	}
	s.sel = &selection{view: view, mailboxID: mb.ID, readOnly: readOnly}
	s.condstore = s.condstore || req.CondStore || req.Resync != nil
	s.describe(mb, name)
	return s.resync(ctx, &mb, req.Resync)
}

// mailbox returns a mailbox by name, from a snapshot.
func (s *session) mailbox(ctx context.Context, name string) (mb store.Mailbox, err error) {
	err = s.account.View(ctx, func(tx *store.Tx) error {
		mb, err = tx.Mailbox(name)
		return err
	})
	return mb, err
}

// mailboxByID returns a mailbox by its id, from a snapshot.
func (s *session) mailboxByID(ctx context.Context, id int64) (mb store.Mailbox, err error) {
	err = s.account.View(ctx, func(tx *store.Tx) error {
		mb, err = tx.MailboxByID(id)
		return err
	})
	return mb, err
}

// describe writes the untagged responses of SELECT. The row mb was read before
// the selection was made, so messages may have come since.
func (s *session) describe(mb store.Mailbox, asked string) {
	sel := s.sel
	uids := sel.uids()
	all := sel.view.AllKeywords()
	sel.keywords = len(all)
	s.out.Raw("* FLAGS (", flagNames(all), ")").CRLF()
	s.writePermanent(all)
	s.out.Raw("* ", strconv.Itoa(len(uids)), " EXISTS").CRLF()
	if !s.rev2 {
		s.out.Raw("* 0 RECENT").CRLF()
	}
	if !s.rev2 && !s.uidOnly {
		if n := sel.firstUnseen(mb); n > 0 {
			s.out.Response("*", imap.OK("UNSEEN "+strconv.Itoa(n), "first message that is not seen"))
		}
	}
	s.out.Response("*", imap.OK("UIDVALIDITY "+strconv.FormatUint(uint64(mb.UIDValidity), 10), "UIDs are valid"))
	next := mb.UIDNext
	if len(uids) > 0 {
		next = max(next, uids[len(uids)-1]+1)
	}
	s.out.Response("*", imap.OK("UIDNEXT "+strconv.FormatUint(uint64(next), 10), "next UID"))
	s.writeHighest("highest mod-sequence")
	s.out.Response("*", imap.OK(mailboxIDCode(&mb), "id of the mailbox"))
	if s.rev2 {
		s.writeListName(mb.Use.String(), mb.Name, asked)
	}
}

// firstUnseen returns the number of the first message without \Seen, 0 if all
// have it. The row says where to begin.
func (sel *selection) firstUnseen(mb store.Mailbox) int {
	if mb.Unseen == 0 {
		return 0
	}
	uids := sel.uids()
	from, _ := sel.number(mb.UnseenFrom)
	var entries []store.Entry
	for at := from - 1; at < len(uids); at += entriesBatch {
		entries = sel.view.Entries(uids[at:min(len(uids), at+entriesBatch)], entries[:0])
		for _, e := range entries {
			if e.Flags()&store.FlagSeen == 0 {
				n, _ := sel.number(e.UID)
				return n
			}
		}
	}
	return 0
}

// unselect leaves the selected mailbox.
func (s *session) unselect() {
	s.sel = nil
	s.watch.Unselect()
}

// closeMailbox removes messages with \Deleted without telling, and leaves the
// mailbox (RFC 9051, section 6.4.1).
func (s *session) closeMailbox(ctx context.Context, _ command, _ nothing) (imap.Response, error) {
	if !s.sel.readOnly && !s.sel.gone {
		err := s.expungeDeleted(ctx, s.sel.uids())
		if err != nil && !errors.Is(err, store.ErrNoMailbox) { // It may be deleted, and its client not told yet.
			return imap.Response{}, err
		}
	}
	s.unselect()
	return imap.OK("", "closed"), nil
}

func (s *session) unselectMailbox(context.Context, command, nothing) (imap.Response, error) {
	s.unselect()
	return imap.OK("", "unselected"), nil
}

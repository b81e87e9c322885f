package imapserver

import (
	"context"
	"slices"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// selection is the mailbox a session has selected, as its client knows it.
//
// This file is the only one in which sequence numbers shift: tell moves what
// the client knows, and writes what it must be told, in one step.
type selection struct {
	view      *store.Selection
	mailboxID int64
	readOnly  bool

	gone     bool        // The mailbox was deleted.
	keywords int         // How many of its keywords the client was told.
	saved    []store.UID // "$": ascending. Some may be gone since.

	contexts []*searchContext // Searches whose results are kept true.
}

// uids returns the messages: number n is uids()[n-1].
func (sel *selection) uids() []store.UID { return sel.view.UIDs() }

// number returns the sequence number of a message, and false if the client
// does not know it.
func (sel *selection) number(uid store.UID) (int, bool) {
	i, ok := slices.BinarySearch(sel.uids(), uid)
	return i + 1, ok
}

// resolve returns the messages of a set, ascending. UIDs that no message has are
// left out; a sequence number that no message has is a mistake of the client
// (RFC 9051, section 9, on seq-number). The slice must not be changed.
func (sel *selection) resolve(set imap.NumSet, byUID bool) ([]store.UID, error) {
	uids := sel.uids()
	if set.Saved {
		return sel.known(sel.saved), nil
	}
	if !byUID {
		if err := sel.checkNumbers(set); err != nil {
			return nil, err
		}
	}
	var parts [][]store.UID
	total := 0
	for _, r := range set.Resolve(sel.largest(byUID)) {
		part := span(uids, r, byUID)
		if len(part) > 0 {
			parts = append(parts, part)
			total += len(part)
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return slices.Concat(parts...), nil
}

// span returns the messages with sequence numbers or UIDs in r.
func span(uids []store.UID, r imap.NumRange, byUID bool) []store.UID {
	if !byUID {
		return uids[r.First-1 : r.Last : r.Last]
	}
	lo, _ := slices.BinarySearch(uids, store.UID(r.First))
	hi, found := slices.BinarySearch(uids, store.UID(r.Last))
	if found {
		hi++
	}
	return uids[lo:hi:hi]
}

// largest returns what "*" stands for.
func (sel *selection) largest(byUID bool) uint32 {
	uids := sel.uids()
	switch {
	case !byUID:
		return uint32(len(uids))
	case len(uids) == 0:
		return 1 // No message has it, as none has any.
	}
	return uint32(uids[len(uids)-1])
}

// checkNumbers fails for a sequence number that does not exist.
func (sel *selection) checkNumbers(set imap.NumSet) error {
	n := uint32(len(sel.uids()))
	switch largest, star := set.Largest(); {
	case largest > n:
		return imap.Bad("message %d does not exist", largest)
	case star && n == 0:
		return imap.Bad("mailbox is empty")
	}
	return nil
}

// known returns those of the ascending uids that the client knows.
func (sel *selection) known(uids []store.UID) []store.UID {
	var out []store.UID
	for _, uid := range uids {
		if _, ok := sel.number(uid); ok {
			out = append(out, uid)
		}
	}
	return out
}

// tell writes what has changed since the client was last told. With
// keepNumbers it holds back removals, and so all sequence numbers stay:
// RFC 9051, section 7.5.1, wants that during FETCH, STORE and SEARCH.
func (s *session) tell(ctx context.Context, keepNumbers bool) {
	mode := s.notify.mode(keepNumbers)
	changes := s.watch.Take(mode)
	if s.sel == nil || s.sel.gone {
		return
	}
	if mode != store.TakeOwn || len(changes) > 0 {
		s.tellKeywords()
	}
	s.contextsLose(changes)
	var added bool
	var changed []store.Entry
	var vanished []store.UID
	for i := range changes {
		switch c := &changes[i]; c.Kind {
		case store.MessageRemoved:
			if s.qresync || s.uidOnly {
				vanished = append(vanished, c.Entry.UID)
				continue
			}
			s.out.Raw("* ", strconv.Itoa(c.Seq), " EXPUNGE").CRLF()
		case store.MessageAdded:
			added = true
			s.notify.arrived(c)
		case store.FlagsChanged:
			changed = append(changed, c.Entry)
		case store.MailboxRemoved:
			s.sel.gone = s.sel.gone || c.MailboxID == s.sel.mailboxID
		case store.MailboxAdded, store.MailboxRenamed, store.MailboxChanged, store.AnnotationChanged, store.SubscriptionAdded, store.SubscriptionRemoved:
		}
	}
	s.writeGone(vanished)
	if added {
		s.out.Raw("* ", strconv.Itoa(len(s.sel.uids())), " EXISTS").CRLF()
	}
	s.writeFlags(changed, true)
	s.contextsUpdate(ctx, changes)
	if s.sel.gone {
		s.watch.Unselect()
	} else if s.qresync && s.sel.view.HeldBack() > 0 {
		// It may have been told of changes that came after those removals: RFC 7162,
		// section 3.2.
		s.writeHighest("some messages are gone, which can't be told now")
	}
}

// writeGone tells by UID who is gone, RFC 7162, section 3.2.10. They come with the
// highest first.
func (s *session) writeGone(uids []store.UID) {
	if len(uids) == 0 {
		return
	}
	slices.Reverse(uids)
	s.out.Append(func(b []byte) []byte { return imap.AppendNums(append(b, "* VANISHED "...), uids) })
	s.out.CRLF()
}

// tellKeywords writes a FLAGS response if the mailbox has keywords that the
// client was not told: before they come with a message.
func (s *session) tellKeywords() {
	if all := s.sel.view.AllKeywords(); len(all) != s.sel.keywords {
		change := isFull(len(all)) != isFull(s.sel.keywords)
		s.sel.keywords = len(all)
		s.out.Raw("* FLAGS (", flagNames(all), ")").CRLF()
		if change {
			s.writePermanent(all)
		}
	}
}

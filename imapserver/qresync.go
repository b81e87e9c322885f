package imapserver

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// resync tells a client that knew a mailbox what has changed since (RFC 7162,
// section 3.2.5): which messages are gone, then the flags of those that changed or
// came.
func (s *session) resync(ctx context.Context, mb *store.Mailbox, r *imap.Resync) error {
	if r == nil || r.UIDValidity != mb.UIDValidity {
		return nil // It learns from UIDVALIDITY that it knows nothing.
	}
	known := r.Known
	if known == nil {
		known = []imap.NumRange{{First: 1, Last: s.sel.lastUID(mb)}}
	}
	// The client knows what is gone up to a message that is where it thinks.
	if err := s.writeVanished(ctx, known, r.ModSeq, s.sel.agreed(r)); err != nil {
		return err
	}
	var changed []store.UID
	for _, uid := range s.sel.view.ChangedSince(r.ModSeq) {
		if imap.Contains(known, uint32(uid)) {
			changed = append(changed, uid)
		}
	}
	s.writeFlags(s.sel.view.Entries(changed, nil), true)
	return nil
}

// lastUID returns the highest UID that a message can have had.
func (sel *selection) lastUID(mb *store.Mailbox) uint32 {
	last := uint32(mb.UIDNext - 1)
	if uids := sel.uids(); len(uids) > 0 {
		last = max(last, uint32(uids[len(uids)-1]))
	}
	return last
}

// agreed returns the highest of the UIDs that a client has given with the sequence
// number the message still has, RFC 7162, section 3.2.5.2. 0 if there is none.
func (sel *selection) agreed(r *imap.Resync) (last uint32) {
	uids := sel.uids()
	next, stop := iter.Pull(numbersIn(r.UIDs))
	defer stop()
	for n := range numbersIn(r.Numbers) {
		uid, _ := next() // There are as many.
		if uint64(n) > uint64(len(uids)) || uint32(uids[n-1]) != uid {
			break
		}
		last = uid
	}
	return last
}

// rangesOf returns ascending UIDs as ranges.
func rangesOf(uids []store.UID) (ranges []imap.NumRange) {
	for _, uid := range uids {
		if n := len(ranges); n > 0 && ranges[n-1].Last+1 == uint32(uid) {
			ranges[n-1].Last++
			continue
		}
		ranges = append(ranges, imap.NumRange{First: uint32(uid), Last: uint32(uid)})
	}
	return ranges
}

// numbersIn returns the numbers in ranges.
func numbersIn(ranges []imap.NumRange) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, r := range ranges {
			for n := uint64(r.First); n <= uint64(r.Last); n++ {
				if !yield(uint32(n)) {
					return
				}
			}
		}
	}
}

// writeVanished tells which of known, ascending ranges, are no more and went after
// since, and above agreed. Of what went so long ago that it is forgotten, all that is
// not there is told.
//
// What the client has not been told the end of yet, it will be: not here.
func (s *session) writeVanished(ctx context.Context, known []imap.NumRange, since int64, agreed uint32) error {
	var gone []store.UID
	var complete bool
	err := s.account.ViewContent(ctx, func(tx *store.Tx) error {
		mb, err := tx.MailboxByID(s.sel.mailboxID)
		if err != nil {
			return err
		}
		gone, complete, err = tx.Vanished(&mb, since)
		return err
	})
	if err != nil {
		return fmt.Errorf("looking up removed messages: %w", err)
	}
	if complete {
		gone = slices.DeleteFunc(gone, func(uid store.UID) bool {
			_, there := s.sel.number(uid)
			return there || uint32(uid) <= agreed || !imap.Contains(known, uint32(uid))
		})
		if len(gone) > 0 {
			s.out.Append(func(b []byte) []byte { return imap.AppendNums(append(b, "* VANISHED (EARLIER) "...), gone) })
			s.out.CRLF()
		}
		return nil
	}
	rest := imap.Without(known, s.sel.uids())
	rest = imap.Without(rest, s.sel.view.Newest()) // Some came of which the client was not told.
	rest = slices.DeleteFunc(rest, func(r imap.NumRange) bool { return r.Last <= agreed })
	if len(rest) > 0 {
		rest[0].First = max(rest[0].First, agreed+1)
		s.out.Append(func(b []byte) []byte { return imap.NumSet{Ranges: rest}.Append(append(b, "* VANISHED (EARLIER) "...)) })
		s.out.CRLF()
	}
	return nil
}

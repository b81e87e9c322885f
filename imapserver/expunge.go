package imapserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// expungeBatch is the number of messages removed in one transaction, for which
// other writers of the account wait.
const expungeBatch = 1000

// expunge removes all messages with \Deleted (RFC 9051, section 6.4.3). What is
// removed, this client is told by the change feed like others.
func (s *session) expunge(ctx context.Context, _ command, _ nothing) (imap.Response, error) {
	if err := s.checkWritable(); err != nil {
		return imap.Response{}, err
	}
	if err := s.expungeDeleted(ctx, s.sel.uids()); err != nil {
		return imap.Response{}, err
	}
	return imap.OK("", "expunged"), nil
}

// uidExpungeRequest is a parsed UID EXPUNGE.
type uidExpungeRequest struct{ set imap.NumSet }

// parseUIDExpunge parses the arguments of UID EXPUNGE, RFC 9051, section 9:
//
//	uid-expunge = "EXPUNGE" SP sequence-set
func parseUIDExpunge(d *imap.Decoder) uidExpungeRequest {
	d.SP()
	return uidExpungeRequest{d.NumSet()}
}

// uidExpunge removes those of the messages that have \Deleted (RFC 4315,
// section 2.1).
func (s *session) uidExpunge(ctx context.Context, _ command, req uidExpungeRequest) (imap.Response, error) {
	if err := s.checkWritable(); err != nil {
		return imap.Response{}, err
	}
	uids, err := s.sel.resolve(req.set, true)
	if err != nil {
		return imap.Response{}, err
	}
	if err := s.expungeDeleted(ctx, uids); err != nil {
		return imap.Response{}, err
	}
	return imap.OK("", "expunged"), nil
}

// checkWritable fails in a mailbox opened by EXAMINE.
func (s *session) checkWritable() error {
	if s.sel.readOnly {
		return imap.No("", "mailbox is read-only")
	}
	return nil
}

// expungeDeleted removes those of uids that have \Deleted.
func (s *session) expungeDeleted(ctx context.Context, uids []store.UID) error {
	for part := range slices.Chunk(s.deleted(uids), expungeBatch) {
		err := s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
			mb, err := tx.MailboxByID(s.sel.mailboxID)
			if err != nil {
				return err
			}
			gone, err := tx.ExpungeDeleted(&mb, part) // Some may have lost the flag meanwhile.
			s.expunged = s.qresync && (s.expunged || len(gone) > 0)
			return err
		})
		if err != nil {
			return fmt.Errorf("expunging %d messages: %w", len(part), err)
		}
	}
	return nil
}

// deleted returns those of uids that have \Deleted.
func (s *session) deleted(uids []store.UID) []store.UID {
	var out []store.UID
	var entries []store.Entry
	for part := range slices.Chunk(uids, entriesBatch) {
		entries = s.sel.view.Entries(part, entries[:0])
		for _, e := range entries {
			if e.Flags()&store.FlagDeleted != 0 {
				out = append(out, e.UID)
			}
		}
	}
	return out
}

package imapserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// copyRequest is a parsed COPY, MOVE, UID COPY or UID MOVE.
type copyRequest struct {
	set  imap.NumSet // Sequence numbers, or UIDs for the UID forms.
	dest string      // Decoded name; existence is checked in the transaction.
}

// parseCopy parses the arguments of COPY and MOVE, RFC 9051, section 9:
//
//	copy = "COPY" SP sequence-set SP mailbox
//	move = "MOVE" SP sequence-set SP mailbox
//
// It reads no session state, so a fuzz test can call it directly.
func parseCopy(d *imap.Decoder) (req copyRequest) {
	d.SP()
	req.set = d.NumSet()
	d.SP()
	req.dest = d.Mailbox()
	return req
}

// copyMessages copies messages from the selected mailbox to another, all of
// them or none (RFC 9051, section 6.4.7), and answers with COPYUID (RFC 4315,
// section 3) so the client need not search for the copies.
//
// Other sessions of the account learn of the copies from the store, not from
// here: a handler answers only its own client.
func (s *session) copyMessages(ctx context.Context, cmd command, req copyRequest) (imap.Response, error) {
	copied, err := s.transfer(ctx, cmd, req, (*store.Tx).Copy)
	if err != nil {
		return imap.Response{}, err
	}
	if len(copied.Src) == 0 {
		return imap.OK("", "no messages to copy"), nil
	}
	return imap.OK(copyUID(copied), "copied"), nil
}

// moveMessages moves messages, all of them or none (RFC 9051, section 6.4.8).
// COPYUID comes before the EXPUNGE responses, which the change feed brings.
func (s *session) moveMessages(ctx context.Context, cmd command, req copyRequest) (imap.Response, error) {
	if err := s.checkWritable(); err != nil {
		return imap.Response{}, err
	}
	moved, err := s.transfer(ctx, cmd, req, (*store.Tx).Move)
	if err != nil {
		return imap.Response{}, err
	}
	if len(moved.Src) == 0 {
		return imap.OK("", "no messages to move"), nil
	}
	s.out.Response("*", imap.OK(copyUID(moved), "moved"))
	s.expunged = s.qresync
	return imap.OK("", "moved"), nil
}

// transfer copies or moves the messages of a request.
func (s *session) transfer(
	ctx context.Context, cmd command, req copyRequest,
	do func(tx *store.Tx, src, dst *store.Mailbox, uids []store.UID) (store.Copied, error),
) (store.Copied, error) {
	uids, err := s.sel.resolve(req.set, cmd.byUID)
	if err != nil || len(uids) == 0 {
		// Only UIDs can be none: those that do not exist are no error (section 6.4.9).
		return store.Copied{}, err
	}
	var copied store.Copied
	err = s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		src, err := tx.MailboxByID(s.sel.mailboxID)
		if err != nil {
			return err
		}
		dst, err := tx.Mailbox(req.dest)
		if errors.Is(err, store.ErrNoMailbox) {
			return tryCreate(req.dest)
		} else if err != nil {
			return err
		}
		copied, err = do(tx, &src, &dst, uids)
		if err == nil && len(copied.Src) < len(uids) && !cmd.byUID {
			return store.ErrExpunged // Another session removed some, and this client was not told.
		}
		return err
	})
	if err != nil {
		return store.Copied{}, fmt.Errorf("transferring %d messages to %q: %w", len(uids), req.dest, err)
	}
	return copied, nil
}

// tryCreate is the error for a destination that does not exist. TRYCREATE says
// that it can be created, so a name that can't be one does not get it.
func tryCreate(name string) error {
	if _, err := store.CheckMailboxName(name); err != nil {
		return err
	}
	return imap.No("TRYCREATE", "no mailbox %+q", name)
}

// copyUID returns the response code for what was copied.
func copyUID(c store.Copied) string {
	b := fmt.Appendf(nil, "COPYUID %d ", c.UIDValidity)
	b = imap.AppendNums(b, c.Src)
	b = append(b, ' ')
	return string(imap.AppendNums(b, c.Dst))
}

package imapserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// replaceRequest is a parsed REPLACE or UID REPLACE, up to the message.
type replaceRequest struct {
	number uint32 // Of the message that goes: sequence number, or UID; 0 for the last.
	appendRequest
}

// parseReplace parses the arguments of REPLACE, RFC 8508, section 5:
//
//	replace = "REPLACE" SP seq-number SP mailbox append-message
func parseReplace(d *imap.Decoder) (req replaceRequest) {
	d.SP()
	if !d.Take('*') {
		req.number = d.NonZero()
	}
	req.appendRequest = parseAppend(d)
	return req
}

// replace puts a message into a mailbox, and removes another from the selected one,
// both or neither (RFC 8508). What can refuse it is checked before the client is asked
// to send the message. Only what both together add counts for the limits.
func (s *session) replace(ctx context.Context, cmd command, req replaceRequest) (imap.Response, error) {
	if err := s.checkWritable(); err != nil {
		return imap.Response{}, err
	}
	old, err := s.replaced(ctx, req.number, cmd.byUID)
	if err != nil {
		return imap.Response{}, err
	}
	a := &appending{s: s, dest: req.dest, replaced: &old}
	defer a.discard()
	rest, err := a.take(ctx, req.appendMessage)
	if err == nil && !s.isEnd(rest) {
		err = errNotEnd()
	}
	if err != nil {
		return imap.Response{}, err
	}
	code, err := a.commit(ctx, func(tx *store.Tx) error { return s.expungeOne(tx, old.UID) })
	if err != nil {
		return imap.Response{}, fmt.Errorf("replacing message %d by one in %q: %w", old.UID, req.dest, err)
	}
	// Before EXPUNGE, which the change feed brings: section 4.3.
	s.out.Response("*", imap.OK(code, "replacement is there"))
	s.expunged = s.qresync
	return imap.OK("", "replaced"), nil
}

// replaced returns the message that is to go.
func (s *session) replaced(ctx context.Context, number uint32, byUID bool) (store.Entry, error) {
	uids := s.sel.uids()
	i := int(number) - 1
	switch {
	case len(uids) == 0 || !byUID && number > uint32(len(uids)):
		return store.Entry{}, imap.Bad("message does not exist")
	case number == 0:
		i = len(uids) - 1
	case byUID:
		at, ok := slices.BinarySearch(uids, store.UID(number))
		if !ok {
			return store.Entry{}, imap.No("NONEXISTENT", "there is no message with UID %d", number)
		}
		i = at
	}
	entries := s.sel.view.Entries(uids[i:i+1], nil)
	err := s.account.View(ctx, func(tx *store.Tx) error {
		_, err := tx.Message(s.sel.mailboxID, uids[i])
		return err
	})
	if err == nil && len(entries) == 0 {
		err = store.ErrExpunged
	}
	if err != nil {
		return store.Entry{}, fmt.Errorf("reading message %d: %w", uids[i], err)
	}
	return entries[0], nil
}

// expungeOne removes a message of the selected mailbox, which must be there.
func (s *session) expungeOne(tx *store.Tx, uid store.UID) error {
	mb, err := tx.MailboxByID(s.sel.mailboxID)
	if err != nil {
		return err
	}
	gone, err := tx.Expunge(&mb, []store.UID{uid})
	if err == nil && len(gone) == 0 {
		err = store.ErrExpunged
	}
	return err
}

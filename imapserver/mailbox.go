package imapserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// createRequest is a parsed CREATE.
type createRequest struct {
	name string
	use  []string // Attributes of RFC 6154 that the mailbox should have.
}

// parseCreate parses the arguments of CREATE, RFC 6154, section 6:
//
//	create       = "CREATE" SP mailbox [SP "(" create-param *(SP create-param) ")"]
//	create-param = "USE" SP "(" [use-attr *(SP use-attr)] ")"
func parseCreate(d *imap.Decoder) (req createRequest) {
	d.SP()
	req.name = d.Mailbox()
	if !d.TakeSP() {
		return req
	}
	d.List(func() {
		if word := d.Word(); word != "USE" {
			d.Fail("unknown CREATE parameter %+q", word)
		}
		d.SP()
		d.ListOrEmpty(func() {
			d.Expect('\\')
			req.use = append(req.use, `\`+d.Atom())
		})
	})
	return req
}

// create makes a mailbox and what is missing above it. A slash at the end says
// that others will come below, which is always possible here.
func (s *session) create(ctx context.Context, _ command, req createRequest) (imap.Response, error) {
	use, err := specialUse(req.use)
	if err != nil {
		return imap.Response{}, err
	}
	name := strings.TrimSuffix(req.name, "/")
	var made []store.Mailbox
	err = s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		made, err = tx.CreateMailbox(name, use)
		return err
	})
	if err != nil {
		return imap.Response{}, nameError(fmt.Errorf("creating %q: %w", name, err))
	}
	if mb := made[len(made)-1]; s.rev2 && mb.Name != name {
		s.writeListName(attributes(&mb, true), mb.Name, name) // CreateMailbox subscribes.
	}
	return imap.OK(mailboxIDCode(&made[len(made)-1]), "created"), nil
}

// attributes returns those of a mailbox for a LIST response that was not asked for,
// which tells of a subscription (RFC 9051, sections 6.3.4 and 6.3.6).
func attributes(mb *store.Mailbox, subscribed bool) string {
	if !subscribed {
		return mb.Use.String()
	}
	return strings.TrimSuffix(`\Subscribed `+mb.Use.String(), " ")
}

// specialUse returns the role for the attributes of a CREATE: one that a mailbox can
// have, so not \All or \Flagged, which are views. A mailbox has at most one.
func specialUse(names []string) (store.SpecialUse, error) {
	use := store.UseNone
	for _, name := range names {
		u, ok := store.ParseSpecialUse(name)
		if !ok || use != store.UseNone && use != u {
			return 0, imap.No("USEATTR", "special use %+q is not possible", name)
		}
		use = u
	}
	return use, nil
}

// nameError makes an error about a mailbox name one that says what is wrong
// with the name, in the words of the store.
func nameError(err error) error {
	if !errors.Is(err, store.ErrMailboxName) {
		return err
	}
	e := imap.No("CANNOT", "mailbox name has an empty level, is too long, or has a character that is not possible")
	e.Err = err
	return e
}

// deleteMailbox deletes a mailbox that has none below it.
func (s *session) deleteMailbox(ctx context.Context, _ command, req mailboxRequest) (imap.Response, error) {
	err := s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		return tx.DeleteMailbox(strings.TrimSuffix(req.name, "/"))
	})
	if err != nil {
		return imap.Response{}, fmt.Errorf("deleting %q: %w", req.name, err)
	}
	return imap.OK("", "deleted"), nil
}

// renameRequest is a parsed RENAME.
type renameRequest struct{ from, to string }

// parseRename parses the arguments of RENAME, RFC 9051, section 9:
//
//	rename = "RENAME" SP mailbox SP mailbox
func parseRename(d *imap.Decoder) (req renameRequest) {
	d.SP()
	req.from = d.Mailbox()
	d.SP()
	req.to = d.Mailbox()
	return req
}

// rename renames a mailbox and those below it. The messages of Inbox move to a
// new mailbox instead (RFC 9051, section 6.3.6).
func (s *session) rename(ctx context.Context, _ command, req renameRequest) (imap.Response, error) {
	from, to := strings.TrimSuffix(req.from, "/"), strings.TrimSuffix(req.to, "/")
	var mb store.Mailbox
	var subscribed bool
	err := s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		err := tx.RenameMailbox(from, to)
		if err == nil {
			mb, err = tx.Mailbox(to)
		}
		if err == nil {
			subscribed, err = tx.Subscribed(to)
		}
		return err
	})
	if err != nil {
		return imap.Response{}, nameError(fmt.Errorf("renaming %q to %q: %w", from, to, err))
	}
	if s.rev2 {
		s.writeListName(attributes(&mb, subscribed), mb.Name, from)
	}
	return imap.OK("", "renamed"), nil
}

func (s *session) subscribe(ctx context.Context, _ command, req mailboxRequest) (imap.Response, error) {
	err := s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		return tx.Subscribe(strings.TrimSuffix(req.name, "/"))
	})
	if err != nil {
		return imap.Response{}, nameError(fmt.Errorf("subscribing to %q: %w", req.name, err))
	}
	return imap.OK("", "subscribed"), nil
}

func (s *session) unsubscribe(ctx context.Context, _ command, req mailboxRequest) (imap.Response, error) {
	err := s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		return tx.Unsubscribe(strings.TrimSuffix(req.name, "/"))
	})
	if err != nil {
		return imap.Response{}, nameError(fmt.Errorf("unsubscribing from %q: %w", req.name, err))
	}
	return imap.OK("", "unsubscribed"), nil
}

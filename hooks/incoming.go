package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/webhook"
)

// errGone means that a message that came in is no more there, so that nothing can be
// told of it.
var errGone = errors.New("the message was removed before")

// incoming returns the payload about a message that came in, as it is now.
func (c *Caller) incoming(ctx context.Context, h *queue.Hook) (payload []byte, err error) {
	a, err := c.opts.Accounts.Account(ctx, h.Account)
	if errors.Is(err, store.ErrNoAccount) {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	} else if err != nil {
		return nil, fmt.Errorf("opening account: %w", err)
	}
	defer func() {
		if cerr := a.Close(); err == nil {
			err = cerr
		}
	}()
	m, err := readIncoming(ctx, a, h.EmailID)
	if errors.Is(err, store.ErrExpunged) || errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading message: %w", err)
	}
	return m.Encode()
}

// readIncoming returns what there is to tell of a message of an account.
func readIncoming(ctx context.Context, a *store.Account, id int64) (webhook.Incoming, error) {
	var e store.Email
	var tree []byte
	var mailbox string
	err := a.View(ctx, func(tx *store.Tx) error {
		box, err := tx.MailboxOf(id)
		if err != nil {
			return err
		}
		mailbox = box.Name
		if e, err = tx.Email(id); err != nil {
			return err
		}
		s, err := tx.Structure(id)
		tree = s.Tree
		return err
	})
	if err != nil {
		return webhook.Incoming{}, err
	}
	p, err := message.ParsePart(tree)
	if err != nil {
		return webhook.Incoming{}, err
	}
	f, err := a.OpenMessage(id)
	if err != nil {
		return webhook.Incoming{}, err
	}
	defer f.Close() // Nothing was written.
	return webhook.Compose(f, &p, metaOf(&e, mailbox))
}

// metaOf returns what is known of a message besides itself.
func metaOf(e *store.Email, mailbox string) webhook.IncomingMeta {
	f := &e.Facts
	return webhook.IncomingMeta{
		MsgID: e.ID, MailFrom: f.MailFrom, MailFromValidated: f.MailFromVerified, MsgFromValidated: screen.Validation(f.Validation) != screen.ValidationNone,
		RcptTo: f.RcptTo, DKIMVerifiedDomains: f.DKIM, RemoteIP: f.RemoteIP, Received: e.Received.UTC(), MailboxName: mailbox,
	}
}

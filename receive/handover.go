package receive

import (
	"context"
	"errors"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

var errNotBuilt = errors.New("receive: not built yet")

// Handover is a message of the queue for recipients that are ours (journal.md,
// rule 18).
type Handover struct {
	CID      int64
	MailFrom smtp.Path
	SMTPUTF8 bool
	File     string // Content, on disk. It is linked, not copied.
	Size     int64  // Of the content.
	Prefix   []byte // Header fields in front of it, the same for all recipients.
	To       []HandoverRcpt
}

// HandoverRcpt is a recipient with its queue row's key.
type HandoverRcpt struct {
	Path smtp.Path
	Key  string
}

// HandedOver is what came of a recipient.
type HandedOver struct {
	// Err is nil if the recipient has the message, for certain and once, however
	// often it is handed over with this key. An *smtp.Error is a refusal; any other
	// error is trouble of our own, and trying again can help.
	Err error

	// Keys are to be confirmed once the queue has retired its row. They can be set
	// together with Err: some members of an alias can have the message.
	Keys []queue.Handed
}

// HandOver delivers a message of the queue. It returns when what was delivered is
// in the accounts' databases.
func (r *Receiver) HandOver(ctx context.Context, h Handover) []HandedOver {
	res := make([]HandedOver, len(h.To))
	for i := range res {
		res[i].Err = errNotBuilt
	}
	return res
}

// Notice is a message of our own for an account, as a notification about mail
// that could not be delivered. It goes into Inbox without being judged, into the
// postmaster's mailbox if the account is gone.
type Notice struct {
	CID     int64
	Key     string // The same for the same notice: it is delivered once.
	Account string
	To      smtp.Path // For Delivered-To.
	Content []byte    // Whole, with header, without trace fields.
	UTF8    bool      // The header has UTF-8.
}

// Notify delivers a notice from the null sender, once. It returns when it is in
// the account's database. There is no refusal: quota does not count for it.
func (r *Receiver) Notify(ctx context.Context, n Notice) ([]queue.Handed, error) {
	return nil, errNotBuilt
}

// Confirm makes accounts forget keys of rows that the queue has retired. Accounts
// that are gone are fine.
func (r *Receiver) Confirm(ctx context.Context, keys []queue.Handed) error { return errNotBuilt }

package receive

import (
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/webhook"
)

// announce has a webhook told of a message, if its account has one for those that
// come in. It is not told of what was refused and is only kept.
func (r *Receiver) announce(to *store.Recipient, account string) {
	_, _, ok := r.opts.Config().Webhook(account, webhook.EventIncoming)
	to.Announce = ok && !to.Reject
}

package receive

import (
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/webhook"
)

// announce has a webhook told of a message, if its account has one for those that
// come in. It is not told of what was refused and is only kept, nor of an answer to a
// message that was sent if the webhook for those is told of it.
func (r *Receiver) announce(to *store.Recipient, account string, answer queue.AnswerEvent) {
	c := r.opts.Config()
	_, _, wanted := c.Webhook(account, webhook.EventIncoming)
	told := false
	if answer != "" {
		_, _, told = c.Webhook(account, webhook.Event(answer))
	}
	to.Announce = wanted && !to.Reject && !told
}

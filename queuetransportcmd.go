package main

import (
	"context"

	"github.com/mjl-/mox/admin"
)

const queueTransportHelp = `Choose the transport by which messages in the queue are sent.

The name is that of one of Transports in mox.conf. It takes the place of what Routes
say for these messages, from their next attempt on. With an empty name, "", routes
decide again. The time of the next attempt stays as it is; "queue schedule -now 0"
makes it come at once. Mail for accounts here is not sent, and so has no transport.
Prints how many messages changed.
` + queueFilterHelp + `
	-json                print the number and the ids as JSON
`

func runQueueTransport(ctx context.Context, inv *invocation) error {
	flags := inv.queueFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return inv.changeQueue(ctx, flags, "queueTransport", admin.QueueTransportRequest{Filter: flags.filter, Transport: inv.args[0]})
}

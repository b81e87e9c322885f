package admin

import (
	"context"
	"strings"

	"github.com/mjl-/mox/queue"
)

// QueueTransportRequest is for QueueTransport.
type QueueTransportRequest struct {
	Filter    QueueFilter `json:"filter"`
	Transport string      `json:"transport"` // Empty: what routes say.
}

// QueueTransport chooses the transport of messages, in place of what routes say for
// them. For those that are being delivered it counts from the next attempt on.
func (a *Admin) QueueTransport(ctx context.Context, req QueueTransportRequest) (QueueChanged, error) {
	c := a.opts.Config()
	if _, ok := c.Way(req.Transport); !ok {
		known := "none is configured"
		if names := c.Ways(); len(names) > 0 {
			known = "there are: " + strings.Join(names, ", ")
		}
		return QueueChanged{}, userError("no transport %q; %s", req.Transport, known)
	}
	return a.change(ctx, "transport chosen", req.Filter, func(f queue.Filter) ([]queue.Message, error) {
		return a.opts.Queue.SetTransport(ctx, f, req.Transport)
	})
}

package system

import (
	"context"
	"net"
	"net/netip"

	"github.com/mjl-/mox/hooks"
	"github.com/mjl-/mox/webhook"
)

// makeHooks makes what calls webhooks.
func (s *System) makeHooks() error {
	h, err := hooks.New(hooks.Options{
		Queue: s.queue, Accounts: s.accounts, Config: s.current, Log: s.log, Registerer: s.registry, Panicked: s.panics.In("hooks"),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.opts.Dial(ctx, network, address, netip.Addr{})
		},
		Roots: s.opts.Roots, UserAgent: product + "/" + s.opts.Version,
	})
	s.hooks.Store(h)
	return err
}

// arrived says that an account has messages that a webhook is to be told of. What is
// said before there is anybody to hear it is looked for later.
func (s *System) arrived(account string) {
	if h := s.hooks.Load(); h != nil {
		h.Arrived(account)
	}
}

// webhook returns the address to be told of an event about mail of an account.
func (s *System) webhook(account string, event webhook.Event) (url string, ok bool) {
	url, _, ok = s.current().Webhook(account, event)
	return url, ok
}

package receive

import (
	"context"
	"fmt"

	"github.com/mjl-/mox/store"
)

// openAccounts are the accounts that one message is for, each opened once. Who
// has one must close it.
type openAccounts struct {
	r      *Receiver
	byName map[string]*store.Account
}

// get returns an account, open until close.
func (o *openAccounts) get(ctx context.Context, name string) (*store.Account, error) {
	if a, ok := o.byName[name]; ok {
		return a, nil
	}
	a, err := o.r.opts.Store.Account(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("opening account %q: %w", name, err)
	}
	if o.byName == nil {
		o.byName = map[string]*store.Account{}
	}
	o.byName[name] = a
	return a, nil
}

// close gives the accounts back.
func (o *openAccounts) close(ctx context.Context) {
	for name, a := range o.byName {
		if err := a.Close(); err != nil {
			o.r.log.ErrorContext(ctx, "closing account", "account", name, "err", err)
		}
	}
}

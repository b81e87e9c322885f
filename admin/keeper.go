package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/trace"
)

// keepAgain is how long a Keeper waits after it could not do what is to be done.
const keepAgain = time.Minute

// KeeperOptions is what a Keeper needs. Fields are required unless said otherwise.
type KeeperOptions struct {
	Log      *slog.Logger
	Config   func() *config.Config // Asked when something is to be done.
	Accounts *store.Dir
	Logins   *authdb.DB
	Queue    *queue.DB  // Nil: there is none.
	Trace    *trace.Log // Nil: nothing is kept.
	Faults   *fault.Set // Nil outside tests.

	// NewAccount returns what an account has from the start.
	NewAccount func() (store.NewAccount, error)

	// EndSessions ends the sessions of an account, and waits for that.
	EndSessions func(account string)

	// Forget makes others forget what they keep in memory about an account that is
	// being removed. Nil: nobody does.
	Forget func(account string)
}

// Keeper keeps the data of accounts in step with the configuration, however that
// is changed: accounts that appear get their mailboxes, sessions of accounts that
// are gone or disabled end, and removals that were begun come to their end.
//
// The data of an account that is merely not configured any more is kept: it may
// have been a slip of a person in an editor. It takes no mail, nobody can log in,
// and there can be no new account of its name. Admin.AccountRemove removes it.
//
// It is safe for concurrent use.
type Keeper struct {
	opts KeeperOptions
	log  *slog.Logger
	wake chan struct{} // Has one value if there is something to do.

	mu   sync.Mutex     // Held while accounts are made or removed, and so while others log out.
	seen *config.Config // For which sessions were ended.
}

// NewKeeper returns a Keeper, which does nothing yet.
func NewKeeper(opts KeeperOptions) (*Keeper, error) {
	if opts.Log == nil || opts.Config == nil || opts.Accounts == nil || opts.Logins == nil || opts.NewAccount == nil || opts.EndSessions == nil {
		return nil, errors.New("admin: missing option of a keeper")
	}
	if opts.Forget == nil {
		opts.Forget = func(string) {}
	}
	return &Keeper{opts: opts, log: opts.Log.With("pkg", "admin"), wake: make(chan struct{}, 1), seen: opts.Config()}, nil
}

// Start does what is to be done before mail flows: it goes on with removals that a
// crash broke off, and makes the data of accounts that have none. What is only to
// be erased is left to Serve. A removal that can't go on keeps nothing from
// starting.
func (k *Keeper) Start(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	pending, err := k.opts.Logins.PendingRemovals(ctx)
	if err != nil {
		return err
	}
	for _, r := range pending {
		if err := k.complete(ctx, r.Name, r.AccountID); err != nil {
			k.log.ErrorContext(ctx, "account can't be removed to its end", "account", r.Name, "err", err)
		}
	}
	k.Changed()
	return k.makeMissing(ctx)
}

// Serve does what is to be done, whenever that may have changed, until ctx is done.
func (k *Keeper) Serve(ctx context.Context) {
	for {
		var again <-chan time.Time
		if err := k.keep(ctx); err != nil && ctx.Err() == nil {
			k.log.ErrorContext(ctx, "keeping accounts in step with the configuration", "retry_in", keepAgain, "err", err)
			again = time.After(keepAgain)
		}
		select {
		case <-k.wake:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// Changed tells that the configuration may have changed. It doesn't wait.
func (k *Keeper) Changed() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// keep does all that is to be done now.
func (k *Keeper) keep(ctx context.Context) error {
	return errors.Join(k.endSessions(), k.finishRemovals(ctx), k.makeAll(ctx))
}

// endSessions ends those of accounts that are not configured any more, or disabled
// now.
func (k *Keeper) endSessions() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := k.opts.Config()
	for _, name := range loggedOut(k.seen, next) {
		k.opts.EndSessions(name)
	}
	k.seen = next
	return nil
}

// loggedOut returns the accounts to which nobody may stay logged in after a change
// of the configuration.
func loggedOut(before, after *config.Config) (names []string) {
	for _, name := range before.Accounts() {
		_, configured := after.Dynamic.Accounts[name]
		if !configured || after.LoginDisabled(name) != "" && before.LoginDisabled(name) == "" {
			names = append(names, name)
		}
	}
	return names
}

// makeAll makes the data of accounts that have none.
func (k *Keeper) makeAll(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.makeMissing(ctx)
}

// makeMissing is makeAll with k.mu held.
func (k *Keeper) makeMissing(ctx context.Context) error {
	existing, err := k.opts.Accounts.Accounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range k.opts.Config().Accounts() {
		if _, ok := slices.BinarySearch(existing, name); !ok {
			errs = append(errs, k.make(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// make makes the data of an account. k.mu is held.
func (k *Keeper) make(ctx context.Context, name string) error {
	n, err := k.opts.NewAccount()
	if err != nil {
		return fmt.Errorf("making account %q: %w", name, err)
	}
	a, err := k.opts.Accounts.Create(ctx, name, n)
	if err != nil {
		return fmt.Errorf("making account %q: %w", name, err)
	}
	k.log.InfoContext(ctx, "account made", "account", name, "account_id", a.ID())
	return a.Close()
}

// strays returns the accounts that have data and are not configured.
func (k *Keeper) strays() ([]string, error) {
	existing, err := k.opts.Accounts.Accounts()
	configured := k.opts.Config().Dynamic.Accounts
	return slices.DeleteFunc(existing, func(name string) bool {
		_, ok := configured[name]
		return ok
	}), err
}

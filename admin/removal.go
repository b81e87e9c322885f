package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// An account is removed in steps, each durable before the next (journal.md, rule
// 12). After a crash at any point the next start goes on:
//
//  1. It goes from the configuration: no new mail, no new logins. A crash here
//     leaves data without an account, which is kept and told in the status.
//  2. Its id is noted as removed. From here on the removal ends by itself.
//  3. Its sessions end, its messages in the queue and its TLS public keys go.
//  4. Its data is moved away, and deliveries kept apart go. Now the name is free
//     for another account, with another id.
//  5. Its files are erased, and that is noted.

// removal is what was removed of an account.
type removal struct {
	queued int // Messages in the queue.
	listed int // Addresses it sent no mail to.
	keys   int // TLS public keys.
}

// idOf returns the id of an account's data, empty if there is none.
func (k *Keeper) idOf(ctx context.Context, name string) (string, error) {
	a, err := k.opts.Accounts.Account(ctx, name)
	if errors.Is(err, store.ErrNoAccount) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("opening account %q: %w", name, err)
	}
	return a.ID(), a.Close()
}

// remove removes an account that is not configured any more, with its data, if
// that has an id. k.mu is held.
func (k *Keeper) remove(ctx context.Context, name, id string) (removal, error) {
	if id == "" {
		return k.release(ctx, name)
	}
	if err := k.opts.Faults.Hit(FaultRemoveConfig); err != nil {
		return removal{}, err
	}
	if err := k.opts.Logins.MarkRemoved(ctx, id, name, time.Now()); err != nil {
		return removal{}, err
	}
	k.log.InfoContext(ctx, "removing account", "account", name, "account_id", id)
	defer k.Changed() // Serve does the rest.
	return k.completing(ctx, name, id)
}

// complete goes on with a removal that is noted, up to what is to be erased. k.mu
// is held.
func (k *Keeper) complete(ctx context.Context, name, id string) error {
	current, err := k.idOf(ctx, name)
	if err != nil {
		return err
	}
	if current == id {
		_, err = k.completing(ctx, name, id)
		return err
	}
	// What is there now belongs to another account of that name.
	return k.opts.Accounts.Remove(ctx, name, id)
}

// completing does all but the erasing, for an account of which the data is in its
// place: until that is moved nothing of the name can belong to another account.
func (k *Keeper) completing(ctx context.Context, name, id string) (r removal, err error) {
	if err := k.opts.Faults.Hit(FaultRemoveMarked); err != nil {
		return r, err
	}
	if r, err = k.release(ctx, name); err != nil {
		return r, err
	}
	if err := k.opts.Faults.Hit(FaultRemoveKeys); err != nil {
		return r, err
	}
	return r, k.opts.Accounts.Remove(ctx, name, id)
}

// release removes what an account has outside its data.
func (k *Keeper) release(ctx context.Context, name string) (r removal, err error) {
	k.opts.EndSessions(name)
	k.opts.Forget(name)
	if r.queued, err = k.dropQueued(ctx, name); err != nil {
		return r, err
	}
	if k.opts.Queue != nil {
		if r.listed, err = k.opts.Queue.ForgetAccount(ctx, name); err != nil {
			return r, err
		}
	}
	r.keys, err = k.opts.Logins.RemoveTLSPublicKeys(ctx, name)
	return r, err
}

// dropQueued removes the account's messages from the queue. Who would be told that
// they were not delivered is gone.
func (k *Keeper) dropQueued(ctx context.Context, name string) (int, error) {
	if k.opts.Queue == nil {
		return 0, nil
	}
	dropped, err := k.opts.Queue.Drop(ctx, queue.Filter{Account: name})
	if err != nil {
		return 0, fmt.Errorf("dropping messages of account %q: %w", name, err)
	}
	if err := k.cancelWebhooks(ctx, name); err != nil {
		return 0, err
	}
	traceChanges(k.opts.Trace, "dropped", "removal of the account", dropped)
	for _, m := range dropped {
		k.log.WarnContext(ctx, "message of removed account dropped", "account", name, "id", m.ID, "message_id", m.MessageID, "from", m.MailFrom, "to", m.Rcpt)
	}
	return len(dropped), nil
}

// cancelWebhooks gives up the calls of the account's webhooks: where they went to is
// gone from the configuration.
func (k *Keeper) cancelWebhooks(ctx context.Context, name string) error {
	canceled, err := k.opts.Queue.CancelHooks(ctx, queue.HookFilter{Account: name}, "the account was removed")
	if err != nil {
		return fmt.Errorf("canceling webhooks of account %q: %w", name, err)
	}
	if len(canceled) > 0 {
		k.log.WarnContext(ctx, "webhooks of removed account canceled", "account", name, "webhooks", len(canceled))
	}
	return nil
}

// finishRemovals brings all removals to their end. Erasing may take a while: others
// can make and remove accounts meanwhile.
func (k *Keeper) finishRemovals(ctx context.Context) error {
	pending, err := k.opts.Logins.PendingRemovals(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range pending {
		if err := k.finishRemoval(ctx, r.Name, r.AccountID); err != nil {
			errs = append(errs, fmt.Errorf("removing account %q: %w", r.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (k *Keeper) finishRemoval(ctx context.Context, name, id string) error {
	k.mu.Lock()
	err := k.complete(ctx, name, id)
	k.mu.Unlock()
	if err != nil {
		return err
	}
	if err := k.opts.Accounts.EraseRemoved(ctx, id); err != nil {
		return err
	}
	if err := k.opts.Faults.Hit(FaultRemoveErased); err != nil {
		return err
	}
	if err := k.opts.Logins.FinishRemoval(ctx, id); err != nil {
		return err
	}
	k.log.InfoContext(ctx, "account removed", "account", name, "account_id", id)
	return nil
}

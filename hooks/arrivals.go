package hooks

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// A message that came in leaves a row in its account, in the same commit: see
// store.Arrival. Here such rows become hooks in the queue, and then they go. Whenever
// the process dies, one of the two is there. If both are, because it died between the
// commits, the queue knows that they are one: at a start all accounts are looked
// through before the first call.

const (
	// sweepEvery is the time between two looks at all accounts that have a webhook. It is
	// for what was missed: after a start, and after trouble.
	sweepEvery = 10 * time.Minute

	// arrivalsMax is how many messages are moved to the queue in one commit.
	arrivalsMax = 100

	// arrivalTimeout bounds the time for one account.
	arrivalTimeout = 5 * time.Minute

	// firstSweepTimeout bounds how long the first calls wait for all accounts to be
	// looked through.
	firstSweepTimeout = 30 * time.Second
)

// Arrived has messages looked for that came to an account. It returns at once.
func (c *Caller) Arrived(account string) {
	c.mu.Lock()
	c.waiting[account] = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// sweep has messages looked for in all accounts that have a webhook for them.
func (c *Caller) sweep(context.Context) {
	for name, a := range c.opts.Config().Dynamic.Accounts {
		if a.IncomingWebhook != nil {
			c.Arrived(name)
		}
	}
}

// queueArrivals queues hooks for messages that came in, until ctx is done.
func (c *Caller) queueArrivals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		c.queueNoted(ctx)
	}
}

// queueFirst looks through all accounts, at a start.
func (c *Caller) queueFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstSweepTimeout)
	defer cancel()
	c.sweep(ctx)
	c.queueNoted(ctx)
}

// queueNoted queues hooks for the accounts that are noted. One that fails is looked
// at by the next sweep, or when another message comes.
func (c *Caller) queueNoted(ctx context.Context) {
	c.mu.Lock()
	names := slices.Sorted(maps.Keys(c.waiting))
	clear(c.waiting)
	c.mu.Unlock()
	for _, name := range names {
		err := c.queueFor(ctx, name)
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrNoAccount) {
			c.log.WarnContext(ctx, "queueing webhooks for messages that came in, trying again later", "account", name, "err", err)
		}
	}
}

// queueFor queues hooks for the messages that came to an account.
func (c *Caller) queueFor(ctx context.Context, name string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, arrivalTimeout)
	defer cancel()
	a, err := c.opts.Accounts.Account(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	for {
		list, err := a.Arrivals(ctx, arrivalsMax)
		if err != nil || len(list) == 0 {
			return err
		}
		hooks, ids := make([]queue.NewIncoming, len(list)), make([]int64, len(list))
		for i, m := range list {
			hooks[i] = queue.NewIncoming{Account: name, EmailID: m.EmailID, Subject: m.Subject}
			if m.MessageID != "" {
				hooks[i].MessageID = "<" + m.MessageID + ">"
			}
			ids[i] = m.EmailID
		}
		// Those of an account that has no webhook any more are left out by the queue.
		if err := c.opts.Queue.AddIncoming(ctx, hooks); err != nil {
			return err
		}
		if err := a.ForgetArrivals(ctx, ids); err != nil {
			return err
		}
	}
}

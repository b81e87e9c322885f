package tlsrptdb

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// writeEvery is how long results wait to be written. With those of a crash within
	// it, nobody is told a wrong thing, only of fewer connections.
	writeEvery = 10 * time.Second

	// waitingMax bounds the combinations of domains that wait. From half of it on they
	// are written without waiting; those beyond are left out, and counted.
	waitingMax = 10_000

	// keptFor is how long results are kept after their day: reports about it that could
	// not be sent by then help nobody.
	keptFor = 60 * time.Hour

	// removeEvery is how often results are looked for that are too old.
	removeEvery = time.Hour
)

// Collector adds up results and writes them. It is safe for concurrent use.
type Collector struct {
	db   *ResultDB
	log  *slog.Logger
	full chan struct{} // Wakes Serve before its time.

	writing sync.Mutex // Held while results are written.

	mu      sync.Mutex
	waiting map[waitingKey]*Results
	left    int // Left out since it was last told.
}

// waitingKey is what results that are added up have in common.
type waitingKey struct {
	policy, recipient, day string
	host                   bool
}

// NewCollector returns a Collector, which starts nothing.
func NewCollector(db *ResultDB, log *slog.Logger) *Collector {
	return &Collector{db: db, log: log, full: make(chan struct{}, 1), waiting: map[waitingKey]*Results{}}
}

// Note adds results of now. It doesn't wait for the disk. Of each, ID, Day and times
// are set here.
func (c *Collector) Note(now time.Time, list []Results) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range list {
		r.Day, r.Created, r.Updated = DayOf(now), now, now
		key := waitingKey{r.PolicyDomain, r.RecipientDomain, r.Day, r.Host}
		w := c.waiting[key]
		if w == nil {
			if len(c.waiting) >= waitingMax {
				c.left++
				continue
			}
			fresh := r
			fresh.Policies = nil
			w = &fresh
			c.waiting[key] = w
		}
		w.add(r)
	}
	if len(c.waiting) >= waitingMax/2 {
		select {
		case c.full <- struct{}{}:
		default:
		}
	}
}

// take returns what waits, and how many were left out.
func (c *Collector) take() (list []Results, left int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.waiting {
		list = append(list, *r)
	}
	left = c.left
	c.waiting, c.left = map[waitingKey]*Results{}, 0
	return list, left
}

// Write writes what waits, also when ctx is done: what was taken is nowhere else. What
// can't be written is lost.
func (c *Collector) Write(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	list, left := c.take()
	tooMany, err := c.db.Add(context.WithoutCancel(ctx), list)
	if err != nil {
		c.log.ErrorContext(ctx, "recording tls results", "count", len(list), "err", err)
	}
	if left += tooMany; left > 0 {
		c.log.WarnContext(ctx, "tls results of too many domains, some are left out", "count", left)
	}
	return err
}

// Serve writes results, and removes those that are too old, until ctx is done; then it
// writes what is left and returns.
func (c *Collector) Serve(ctx context.Context) {
	write := time.NewTicker(writeEvery)
	defer write.Stop()
	remove := time.NewTimer(0)
	defer remove.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = c.Write(ctx) // It is logged there.
			return
		case <-write.C:
		case <-c.full:
		case <-remove.C:
			c.removeOld(ctx, time.Now())
			remove.Reset(removeEvery)
			continue
		}
		_ = c.Write(ctx) // Likewise.
	}
}

// removeOld removes results of days that ended longer than keptFor before now.
func (c *Collector) removeOld(ctx context.Context, now time.Time) {
	n, err := c.db.RemoveBefore(ctx, DayOf(now.Add(-keptFor)))
	switch {
	case err != nil && ctx.Err() == nil:
		c.log.ErrorContext(ctx, "removing old tls results", "err", err)
	case n > 0:
		c.log.DebugContext(ctx, "removed old tls results", "count", n)
	}
}

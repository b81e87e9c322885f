package auth

import (
	"context"
	"sync"
	"time"

	"github.com/mjl-/mox/authdb"
)

const (
	// attemptsTime is how long attempts wait to be written: a commit for each
	// would let anyone keep the disk busy.
	attemptsTime = 5 * time.Second

	// attemptsMax bounds the different attempts that wait. More within
	// attemptsTime are not recorded, only logged and counted.
	attemptsMax = 1000

	// pruneTime is how often old attempts are removed.
	pruneTime = time.Hour
)

// attempts collects what is to be recorded.
type attempts struct {
	mu      sync.Mutex
	waiting map[authdb.LoginAttempt]*authdb.LoginAttempt // By all but count and times.
}

func newAttempts() *attempts {
	return &attempts{waiting: map[authdb.LoginAttempt]*authdb.LoginAttempt{}}
}

func (a *attempts) add(attempt authdb.LoginAttempt) {
	alike := attempt
	alike.Count, alike.First, alike.Last = 0, time.Time{}, time.Time{}
	a.mu.Lock()
	defer a.mu.Unlock()
	if w, ok := a.waiting[alike]; ok {
		w.Count += attempt.Count
		w.Last = attempt.Last
	} else if len(a.waiting) < attemptsMax {
		a.waiting[alike] = &attempt
	}
}

func (a *attempts) take() (list []authdb.LoginAttempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.waiting {
		list = append(list, *w)
	}
	clear(a.waiting)
	return list
}

// Serve records login attempts and the use of credentials, and removes old
// attempts, until ctx is done; then it records what is left and returns.
func (a *Authenticator) Serve(ctx context.Context) {
	record := time.NewTicker(attemptsTime)
	defer record.Stop()
	prune := time.NewTicker(pruneTime)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			a.record(ctx)
			a.noteUsed(ctx)
			return
		case <-record.C:
			a.record(ctx)
			a.noteUsed(ctx)
		case <-prune.C:
			if n, err := a.opts.DB.PruneLoginAttempts(ctx, time.Now()); err != nil && ctx.Err() == nil {
				a.log.ErrorContext(ctx, "removing old login attempts", "err", err)
			} else if n > 0 {
				a.log.DebugContext(ctx, "removed old login attempts", "count", n)
			}
		}
	}
}

// record writes what waits, also when ctx is done: what was taken is nowhere else.
// What can't be written is lost: the log has it too.
func (a *Authenticator) record(ctx context.Context) {
	list := a.attempts.take()
	if err := a.opts.DB.AddLoginAttempts(context.WithoutCancel(ctx), list); err != nil {
		a.log.ErrorContext(ctx, "recording login attempts", "err", err)
	}
}

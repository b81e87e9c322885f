// Package loop keeps the goroutines of a server together, so that each has
// someone who waits for it, and runs work that is due again and again.
//
// It knows nothing of what runs, and retries nothing. Servers and stores make a
// Group, start their goroutines in it, and stop and wait for it when they close.
package loop

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Group is a set of goroutines that stop together. It is safe for concurrent
// use. The zero value is not usable, see New.
type Group struct {
	ctx      context.Context // What the group is: the life of its goroutines.
	cancel   context.CancelFunc
	panicked func(Panic)
	wait     sync.WaitGroup

	mu      sync.Mutex
	running map[string]int // Number of goroutines by name.
}

// Panic is what a function of a group died of.
type Panic struct {
	Name  string // As given to Go or Every.
	Value any
	Stack []byte
}

// New returns an empty group that stops when ctx is done. Panicked, if not nil,
// is called for a function that panics, from its goroutine; the function then
// counts as returned, and periodic work goes on. Without it a panic ends the
// process.
func New(ctx context.Context, panicked func(Panic)) *Group {
	ctx, cancel := context.WithCancel(ctx)
	return &Group{ctx: ctx, cancel: cancel, panicked: panicked, running: map[string]int{}}
}

// Go calls fn in a goroutine of its own. Fn must return soon after its context
// is done. The name, of which there may be several, is for Wait to report.
//
// Go may be called after Stop, by what is still running in the group: fn then
// finds its context done. It must not be called after Wait returned nil.
func (g *Group) Go(name string, fn func(ctx context.Context)) {
	g.mu.Lock()
	g.running[name]++
	g.mu.Unlock()
	g.wait.Go(func() {
		defer g.returned(name)
		g.call(name, fn)
	})
}

// Schedule says when periodic work is due.
type Schedule struct {
	First    time.Duration // Before the first call, zero for at once.
	Interval time.Duration // Between the end of a call and the next, more than zero.
	Jitter   time.Duration // At most this is added to each wait, at random.
	Rand     *rand.Rand    // Needed for Jitter, and used by this work only.
}

// Every calls fn again and again, never twice at a time, until the group stops.
func (g *Group) Every(name string, s Schedule, fn func(ctx context.Context)) {
	g.Go(name, func(ctx context.Context) {
		timer := time.NewTimer(s.First + s.jitter())
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			g.call(name, fn)
			timer.Reset(s.Interval + s.jitter())
		}
	})
}

func (s Schedule) jitter() time.Duration {
	if s.Jitter <= 0 || s.Rand == nil {
		return 0
	}
	return time.Duration(s.Rand.Int64N(int64(s.Jitter) + 1))
}

// Context is done when the group stops.
func (g *Group) Context() context.Context { return g.ctx }

// Stop tells all functions to return, now and those started later. It doesn't
// wait.
func (g *Group) Stop() { g.cancel() }

// Wait returns nil when all functions have returned. If ctx is done before, its
// error says which still run; they may be waited for again.
func (g *Group) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // Ends with the functions, which Wait's caller waits for again or not at all.
		g.wait.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	names := slices.Sorted(maps.Keys(g.running))
	g.mu.Unlock()
	return fmt.Errorf("waiting for %s: %w", strings.Join(names, ", "), context.Cause(ctx))
}

func (g *Group) call(name string, fn func(ctx context.Context)) {
	if g.panicked != nil {
		defer func() {
			if v := recover(); v != nil {
				g.panicked(Panic{name, v, debug.Stack()})
			}
		}()
	}
	fn(g.ctx)
}

func (g *Group) returned(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running[name]--; g.running[name] == 0 {
		delete(g.running, name)
	}
}

package resolver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mjl-/mox/dns"
)

// query answers a question from the cache or from a server. The error wraps
// dns.ErrTemporary.
func (r *Resolver) query(ctx context.Context, q question) (a answer, cached bool, err error) {
	servers, changed := r.config.current(time.Now())
	if changed {
		r.cache.clear()
	}
	a, generation, ok := r.cache.get(q, time.Now())
	if ok {
		return a, true, nil
	}
	a, err = r.flights.do(ctx, q, func(ctx context.Context) (answer, error) {
		a, err := r.ask(ctx, servers, q)
		if err == nil {
			r.cache.put(q, a, generation, time.Now())
		}
		return a, err
	})
	return a, false, err
}

// flights lets those who ask the same at the same time share one answer.
type flights struct {
	mu sync.Mutex
	by map[question]*flight
}

// flight is a question on its way. Its goroutine ends when it has an answer, or
// soon after the last of those waiting has left, who waits for it.
type flight struct {
	cancel  context.CancelFunc
	waiting int // Guarded by flights.mu.

	done   chan struct{} // Closed when answer and err are set.
	answer answer
	err    error
}

// do returns what fn returns for q. Fn runs once for all who call do meanwhile,
// at most for lookupMax, and is canceled when none of them is left.
func (f *flights) do(ctx context.Context, q question, fn func(context.Context) (answer, error)) (answer, error) {
	w := f.join(ctx, q, fn)
	select {
	case <-w.done:
		return w.answer, w.err
	case <-ctx.Done():
	}
	if f.leave(q, w) {
		w.cancel()
		<-w.done
	}
	return answer{}, fmt.Errorf("%w: %w", dns.ErrTemporary, context.Cause(ctx))
}

// join returns the flight for q, and starts it if there is none.
func (f *flights) join(ctx context.Context, q question, fn func(context.Context) (answer, error)) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.by[q]; w != nil {
		w.waiting++
		return w
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupMax)
	w := &flight{cancel: cancel, waiting: 1, done: make(chan struct{})}
	if f.by == nil {
		f.by = map[question]*flight{}
	}
	f.by[q] = w
	go func() {
		defer cancel()
		w.answer, w.err = fn(ctx)
		f.land(q, w)
	}()
	return w
}

// land ends a flight: who asks from now on asks anew.
func (f *flights) land(q question, w *flight) {
	f.mu.Lock()
	if f.by[q] == w {
		delete(f.by, q)
	}
	f.mu.Unlock()
	close(w.done)
}

// leave returns whether the caller was the last to wait.
func (f *flights) leave(q question, w *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.waiting--
	if w.waiting > 0 {
		return false
	}
	if f.by[q] == w {
		delete(f.by, q)
	}
	return true
}

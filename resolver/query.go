package resolver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mjl-/mox/dns"
)

// joinsMax is how often somebody waits for what others ask, before the failure of
// those counts: theirs may be that they have no budget left.
const joinsMax = 3

// query answers a question from the cache or from a server. The error wraps
// dns.ErrTemporary.
func (r *Resolver) query(ctx context.Context, q question, b *budget) (a answer, cached bool, err error) {
	servers, changed := r.config.current(time.Now())
	if changed {
		r.cache.clear()
	}
	return r.shared(ctx, q, func(ctx context.Context) (answer, error) {
		use, validates, err := r.choose(ctx, servers)
		if err != nil {
			return answer{}, err
		}
		if validates {
			v := &validation{r, use, b}
			return v.ask(ctx, q, func(ctx context.Context, rd *reading) (answer, error) { return rd.read(ctx) })
		}
		if err := b.query(); err != nil {
			return answer{}, err
		}
		rep, err := r.ask(ctx, use, q, false)
		r.trace.believed(q, rep, err)
		return rep.answer, err
	})
}

// shared returns what is kept for q, or what fetch returns, which runs once for all
// who wait. What validates not is kept for a while too.
func (r *Resolver) shared(ctx context.Context, q question, fetch func(context.Context) (answer, error)) (a answer, cached bool, err error) {
	for range joinsMax {
		a, generation, ok := r.cache.get(q, time.Now())
		if ok {
			return a, true, a.failed
		}
		led := false
		a, err = r.flights.do(ctx, q, func(ctx context.Context) (answer, error) {
			led = true
			a, err := fetch(ctx)
			r.keep(q, a, err, generation)
			return a, err
		})
		if !errors.Is(err, errBudget) || led { // Led is settled if the flight has landed.
			return a, false, err
		}
	}
	return answer{}, false, err
}

// keep puts an answer into the cache, also one that did not validate.
func (r *Resolver) keep(q question, a answer, err error, generation int64) {
	var b *bogusError
	if errors.As(err, &b) {
		a, err = answer{name: q.name, server: b.server, ttl: bogusTTL, failed: err}, nil
	}
	if err == nil {
		r.cache.put(q, a, generation, time.Now())
	}
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

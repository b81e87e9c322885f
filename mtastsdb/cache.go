package mtastsdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/mtasts"
)

const (
	// lookupTimeMax bounds the lookup of a record, fetchTimeMax the fetch of a policy.
	lookupTimeMax = 30 * time.Second
	fetchTimeMax  = 30 * time.Second

	// fetchesMax bounds the policies that are fetched at a time, flightsMax those that
	// wait for it too.
	fetchesMax = 20
	flightsMax = 1000
)

// ErrBusy means that too many policies are being fetched. The caller must put off
// what it does.
var ErrBusy = errors.New("too many MTA-STS policies are being fetched")

// errEnded means that a fetch ended without saying how.
var errEnded = errors.New("fetching MTA-STS policy ended early")

// Options is what a Cache needs. Fields are required unless said otherwise.
type Options struct {
	DB       *DB
	Resolver dns.Resolver
	Getter   mtasts.Getter
	Log      *slog.Logger
	Rand     *rand.Rand // Spreads what is refreshed. Used by that only.

	// Observe is told what is worth counting. Nil: nobody is.
	Observe func(Event)

	// Group runs fetches, which are shared by callers, and what is refreshed. Its
	// owner stops it, and waits for it before closing DB.
	Group *loop.Group
}

// Cache gets policies, from the DB or from their hosts. It is safe for concurrent
// use.
type Cache struct {
	opts    Options
	fetches chan struct{} // A place for each fetch.
	noRoom  atomic.Int64  // When room for entries was looked for last, in nanoseconds since 1970.

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// flightKey is what flights that are shared have in common. One for a refresh is not
// shared with those who send: what it looked up is not what they did.
type flightKey struct {
	domain  dns.Domain
	id      string // Of the record.
	refresh bool
	forced  bool // It is refreshed because somebody wants that, whatever is held.
}

// flight is the fetch of a policy, for all who wait for it.
type flight struct {
	flightKey
	answer Answer // For a refresh it is asked for in the flight.

	done   chan struct{} // Closed at the end. Then there are:
	entry  Entry
	source Source
	err    error
}

// Source is where a policy came from, or why there is none. It is from a closed
// set, for counting.
type Source string

// The sources.
const (
	Cached   Source = "cached"
	Fetched  Source = "fetched"
	NoPolicy Source = "none"    // The domain has none.
	Failing  Source = "failing" // It has one that can't be had, now or a short time ago.
)

// Evidence is what led to a policy.
type Evidence struct {
	Source Source

	// Found is the record that DNS has now. RecordErr is why there is none: with
	// mtasts.ErrNoRecord or ErrRecord that is certain, else DNS fails.
	Found     mtasts.Found
	RecordErr error

	Text       string // Of the policy, as it was fetched. Empty: there is none.
	Updated    time.Time
	ValidUntil time.Time

	// Failure is set if the policy of the record can't be had. Then an older one is
	// used, if there is one that applies.
	Failure      mtasts.Failure
	FailureText  string
	FailedPolicy string // The beginning of what was fetched instead, if that was something.
}

// New returns a cache.
func New(opts Options) (*Cache, error) {
	if opts.DB == nil || opts.Resolver == nil || opts.Getter == nil || opts.Log == nil || opts.Rand == nil || opts.Group == nil {
		return nil, errors.New("mtastsdb: missing option")
	}
	if opts.Observe == nil {
		opts.Observe = func(Event) {}
	}
	return &Cache{opts: opts, fetches: make(chan struct{}, fetchesMax), flights: map[flightKey]*flight{}}, nil
}

// Get returns the policy for mail to a domain, one with mode None if it has none. It
// asks DNS each time, and fetches a policy if there is a new one.
//
// An error means that the policy is not known: DNS fails and none is held, the disk
// fails, or ctx is done. The caller must put off the delivery: to go on would be to
// send without a policy that may be there.
func (c *Cache) Get(ctx context.Context, domain dns.Domain) (mtasts.Policy, Evidence, error) {
	policy, ev, err := c.get(ctx, domain)
	result := string(ev.Source)
	if err != nil {
		result = resultError
	}
	c.opts.Observe(Event{Kind: EventGet, Result: result})
	return policy, ev, err
}

func (c *Cache) get(ctx context.Context, domain dns.Domain) (mtasts.Policy, Evidence, error) {
	found, lookupErr := c.lookup(ctx, domain)
	ev := Evidence{Found: found, RecordErr: lookupErr}
	if ctx.Err() != nil {
		return mtasts.Policy{}, ev, context.Cause(ctx)
	}
	e, err := c.opts.DB.Lookup(ctx, domain.ASCII)
	if err != nil {
		return mtasts.Policy{}, ev, err
	}
	answer, source := newAnswer(found, lookupErr), NoPolicy
	switch e.Decide(answer, time.Now()) {
	case Use:
		source = Cached
		c.use(ctx, e)
	case Fetch:
		e, source, err = c.wait(ctx, &flight{flightKey: flightKey{domain: domain, id: answer.ID}, answer: answer})
	case Defer:
		err = lookupErr
	}
	if err != nil {
		return mtasts.Policy{}, ev, err
	}
	policy := ev.conclude(e, answer, source)
	return policy, ev, nil
}

// conclude fills in what came of an entry.
func (ev *Evidence) conclude(e Entry, a Answer, source Source) mtasts.Policy {
	if a.Status == Present && e.BacksOff(a.ID, time.Now()) {
		ev.Failure, ev.FailureText, ev.FailedPolicy = e.Failure, e.FailureText, e.FailedPolicy
		if source == NoPolicy {
			source = Failing
		}
	}
	ev.Source = source
	if source != Cached && source != Fetched {
		return mtasts.Policy{Mode: mtasts.None}
	}
	ev.Text, ev.Updated, ev.ValidUntil = e.Text, e.Updated, e.ValidUntil
	return e.Policy
}

// lookup looks up the record of a domain.
func (c *Cache) lookup(ctx context.Context, domain dns.Domain) (mtasts.Found, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeMax)
	defer cancel()
	return mtasts.LookupRecord(ctx, c.opts.Resolver, domain)
}

// use notes that an entry is used. That it can't be noted is no reason not to use it.
func (c *Cache) use(ctx context.Context, e Entry) {
	now := time.Now()
	if !e.isUsed(now) {
		return
	}
	_, err := c.opts.DB.update(ctx, e.Domain, func(latest Entry) Entry {
		if latest.Text == "" && latest.Failed.IsZero() {
			latest = e // It was removed meanwhile.
		}
		latest.Used = now
		return latest
	})
	if err != nil && ctx.Err() == nil {
		c.opts.Log.ErrorContext(ctx, "noting use of mta-sts policy", slog.Any("err", err))
	}
}

// wait waits for a flight, or for the one that is under way already.
func (c *Cache) wait(ctx context.Context, f *flight) (Entry, Source, error) {
	f, err := c.start(f)
	if err != nil {
		return Entry{}, "", err
	}
	select {
	case <-f.done:
		return f.entry, f.source, f.err
	case <-ctx.Done():
		return Entry{}, "", context.Cause(ctx)
	}
}

// start starts a flight, or returns the one that is under way already.
func (c *Cache) start(f *flight) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.flights[f.flightKey]; other != nil {
		return other, nil
	}
	if len(c.flights) >= flightsMax {
		return nil, ErrBusy
	}
	f.done, f.err = make(chan struct{}), errEnded
	c.flights[f.flightKey] = f
	c.opts.Group.Go("fetching MTA-STS policy", func(ctx context.Context) { c.fly(ctx, f) })
	return f, nil
}

// fly fetches the policy of a flight when there is a place for it.
func (c *Cache) fly(ctx context.Context, f *flight) {
	defer close(f.done)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.flights, f.flightKey)
	}()
	select {
	case c.fetches <- struct{}{}:
		defer func() { <-c.fetches }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		f.err = context.Cause(ctx)
		return
	}
	if f.refresh {
		c.refresh(ctx, f)
		return
	}
	// Another flight may have ended between the caller's decision and this one.
	e, err := c.opts.DB.Lookup(ctx, f.domain.ASCII)
	if err != nil {
		f.err = err
		return
	}
	switch e.Decide(f.answer, time.Now()) {
	case Use:
		f.entry, f.source, f.err = e, Cached, nil
		c.use(ctx, e)
	case Fetch:
		c.fetch(ctx, f)
	default:
		f.entry, f.source, f.err = e, NoPolicy, nil
	}
}

// fetch fetches the policy for the record of a flight, and stores what came of it.
func (c *Cache) fetch(ctx context.Context, f *flight) {
	start := time.Now()
	policy, text, fetchErr := c.fetchPolicy(ctx, f.domain)
	if ctx.Err() != nil {
		f.err = context.Cause(ctx) // We stop, which says nothing about the domain.
		return
	}
	now := time.Now()
	c.opts.Observe(fetchEvent(fetchErr, now.Sub(start)))
	f.entry, f.err = c.store(ctx, f.domain.ASCII, func(e Entry) Entry {
		if fetchErr != nil {
			e = e.withFailure(fetchErr, text, f.answer.ID, now)
		} else {
			e = e.withPolicy(policy, text, f.answer.ID, now)
		}
		if !f.refresh || e.Used.IsZero() {
			e.Used = now
		}
		return e
	})
	switch {
	case f.err != nil:
		return
	case fetchErr == nil:
		f.source = Fetched
	case f.entry.Holds(now):
		f.source = Cached
	default:
		f.source = NoPolicy
	}
	c.log(ctx, f, fetchErr)
}

// log tells operators that a policy can't be fetched, as RFC 8461, section 3.3, wants.
func (c *Cache) log(ctx context.Context, f *flight, err error) {
	attrs := []any{slog.String("domain", f.domain.Name()), slog.String("record_id", f.answer.ID)}
	switch {
	case err == nil:
		c.opts.Log.DebugContext(ctx, "fetched mta-sts policy", append(attrs, slog.String("mode", string(f.entry.Policy.Mode)))...)
	case f.entry.Holds(time.Now()) && f.entry.Policy.Mode != mtasts.None:
		c.opts.Log.WarnContext(ctx, "mta-sts policy can't be fetched, the one before stays in force",
			append(attrs, slog.Any("err", err), slog.Time("valid_until", f.entry.ValidUntil))...)
	default:
		c.opts.Log.InfoContext(ctx, "mta-sts policy can't be fetched, mail goes without", append(attrs, slog.Any("err", err))...)
	}
}

func (c *Cache) fetchPolicy(ctx context.Context, domain dns.Domain) (mtasts.Policy, string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeMax, fmt.Errorf("no policy within %v", fetchTimeMax))
	defer cancel()
	return mtasts.Fetch(ctx, c.opts.Getter, domain)
}

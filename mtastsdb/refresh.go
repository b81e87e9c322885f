package mtastsdb

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/loop"
)

const (
	// refreshInterval is how often entries are looked at (RFC 8461, section 3.3: once
	// a day), from the end of one time to the start of the next.
	refreshInterval = 21 * time.Hour

	// refreshSpread is the time over which policies are fetched, so that not all are
	// at once.
	refreshSpread = 3 * time.Hour

	// refreshFirst is how long after the start they are looked at first, refreshJitter
	// what is added to each wait at most.
	refreshFirst  = 5 * time.Minute
	refreshJitter = 30 * time.Minute
)

// StartRefresh has policies fetched anew once a day, from now until the group stops,
// and removes what is not needed any more. It must be called once.
func (c *Cache) StartRefresh() {
	s := loop.Schedule{First: refreshFirst, Interval: refreshInterval, Jitter: refreshJitter, Rand: c.opts.Rand}
	c.opts.Group.Every("refreshing MTA-STS policies", s, c.refreshAll)
}

// Refresh asks for the record of a domain and fetches its policy now, also if one was
// fetched or failed to be a short time ago. It returns what is held then; Failed is set
// if the policy can't be had. An error means that nothing was learned.
func (c *Cache) Refresh(ctx context.Context, domain dns.Domain) (Entry, error) {
	e, source, err := c.wait(ctx, &flight{flightKey: flightKey{domain: domain, refresh: true, forced: true}})
	if err == nil && source == NoPolicy && e.Failed.IsZero() {
		e = Entry{Domain: domain.ASCII}
	}
	return e, err
}

// refreshAll looks at each entry, and starts to refresh those that are due, one
// after the other, evenly over the time for it. It returns then.
func (c *Cache) refreshAll(ctx context.Context) {
	start := time.Now()
	due, err := c.due(ctx, start)
	if err != nil {
		if ctx.Err() == nil {
			c.opts.Log.ErrorContext(ctx, "refreshing mta-sts policies", slog.Any("err", err))
		}
		return
	}
	// Each has a part of the time, and a moment in it by chance. After the last part
	// the next day's interval begins, also if there was nothing to do.
	part := refreshSpread / time.Duration(max(1, len(due)))
	for i, domain := range due {
		at := start.Add(time.Duration(i)*part + time.Duration(c.opts.Rand.Int64N(int64(part))))
		if !sleepUntil(ctx, at) {
			return
		}
		if _, err := c.start(&flight{flightKey: flightKey{domain: domain, refresh: true}}); err != nil {
			c.opts.Log.WarnContext(ctx, "not refreshing mta-sts policy", slog.String("domain", domain.Name()), slog.Any("err", err))
		}
	}
	sleepUntil(ctx, start.Add(refreshSpread))
}

// due returns the domains whose policies are to be refreshed, in order, and removes
// entries that are not needed any more.
func (c *Cache) due(ctx context.Context, now time.Time) (due []dns.Domain, err error) {
	entries, err := c.opts.DB.Entries(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch e.DecideDue(now) {
		case Remove:
			if err := c.opts.DB.removeIf(ctx, e.Domain, func(e Entry) bool { return e.DecideDue(now) == Remove }); err != nil {
				return nil, err
			}
		case Fetch:
			domain, err := dns.ParseDomain(e.Domain)
			if err != nil {
				return nil, err
			}
			due = append(due, domain)
		}
	}
	return due, nil
}

// refresh does what is to be done for one entry that is due.
func (c *Cache) refresh(ctx context.Context, f *flight) {
	e, err := c.opts.DB.Lookup(ctx, f.domain.ASCII)
	if err != nil || e.Text == "" && !f.forced {
		f.err = errors.Join(errEnded, err)
		return
	}
	found, err := c.lookup(ctx, f.domain)
	if ctx.Err() != nil {
		f.err = context.Cause(ctx)
		return
	}
	f.answer = newAnswer(found, err)
	action := e.DecideRefresh(f.answer, time.Now())
	if f.forced {
		action = e.decideForced(f.answer, action)
	}
	switch action {
	case Fetch:
		c.fetch(ctx, f)
	case Remove:
		f.err = c.opts.DB.removeIf(ctx, e.Domain, func(e Entry) bool { return e.DecideRefresh(f.answer, time.Now()) == Remove })
		f.source = NoPolicy
	case Defer:
		f.err = err
	default:
		f.entry, f.source, f.err = e, Cached, nil
		if !e.Holds(time.Now()) {
			f.source = NoPolicy
		}
	}
}

// sleepUntil waits until a time. It returns false if ctx is done before.
func sleepUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

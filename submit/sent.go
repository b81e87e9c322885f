package submit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

const (
	// windowHours is how far limits look back. The hour that began before the
	// window counts as a whole: an account waits an hour too long rather than
	// sending too much.
	windowHours = 24

	// recordEvery is how long what was sent waits to be written: a commit for each
	// message would cost more than the message. A crash forgets it.
	recordEvery = 5 * time.Second

	// knownMax bounds the addresses of an account in memory. Those that are written
	// down make room for others; beyond it, as for an account without limits, new
	// ones are not remembered.
	knownMax = 5000

	// forgetAfter is how long what is known of an account stays in memory.
	forgetAfter = time.Hour
)

// limits is what an account may send in a day. Zero is no limit.
type limits struct{ messages, firstTime int64 }

// limits returns the limits of an account.
func (s *Submitter) limits(c *config.Config, account string) limits {
	if s.opts.Unlimited {
		return limits{}
	}
	messages, firstTime := c.MaxOutgoing(account)
	return limits{messages, firstTime}
}

// sent keeps what accounts have sent. It counts in memory, and writes it down
// now and then for the next start.
type sent struct {
	accounts *store.Dir
	log      *slog.Logger
	now      func() time.Time // One that a wrong clock does not move by years.

	mu     sync.Mutex
	byName map[string]*sentBy // Bounded by the accounts in the configuration.
}

// sentBy is what one account has sent.
type sentBy struct {
	name string

	mu    sync.Mutex
	gone  bool // Not in sent.byName any more.
	ready bool // Hours were read.
	used  time.Time
	hours map[int64]*sentHour // At most those of the window, and one that leaves it.
	known map[string]*knownAddress
}

type sentHour struct {
	store.SentHour
	changed bool // Since it was written.
}

type knownAddress struct {
	first, last time.Time
	changed     bool // Since it was written.
}

func newSent(accounts *store.Dir, log *slog.Logger, now func() time.Time) *sent {
	return &sent{accounts: accounts, log: log, now: now, byName: map[string]*sentBy{}}
}

// hourOf returns the number of an hour in store.SentHour.
func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// lock returns what is known of an account, locked. With an error it is not.
func (s *sent) lock(ctx context.Context, name string, now time.Time) (*sentBy, error) {
	for {
		s.mu.Lock()
		b := s.byName[name]
		if b == nil {
			b = &sentBy{name: name, hours: map[int64]*sentHour{}, known: map[string]*knownAddress{}}
			s.byName[name] = b
		}
		s.mu.Unlock()
		b.mu.Lock()
		if b.gone {
			b.mu.Unlock()
			continue
		}
		b.used = now
		if b.ready {
			return b, nil
		}
		if err := s.load(ctx, b, now); err != nil {
			b.mu.Unlock()
			return nil, err
		}
		return b, nil
	}
}

// load reads the hours of the window. b.mu is held.
func (s *sent) load(ctx context.Context, b *sentBy, now time.Time) error {
	var hours []store.SentHour
	err := s.account(ctx, b.name, func(a *store.Account) (err error) {
		hours, err = a.SentHours(ctx, hourOf(now)-windowHours)
		return err
	})
	if err != nil {
		return err
	}
	for _, h := range hours {
		b.hours[h.Hour] = &sentHour{SentHour: h}
	}
	b.ready = true
	return nil
}

// account calls fn with an open account.
func (s *sent) account(ctx context.Context, name string, fn func(*store.Account) error) error {
	a, err := s.accounts.Account(ctx, name)
	if err != nil {
		return fmt.Errorf("opening account %q: %w", name, err)
	}
	return errors.Join(fn(a), a.Close())
}

// total returns what was sent in the window. What was sent in the future, as the
// clock was set back since, counts if it is not farther away: otherwise an account
// might be shut out for years. b.mu is held.
func (b *sentBy) total(now time.Time) (t store.SentHour) {
	for _, h := range b.hours {
		if h.Hour >= hourOf(now)-windowHours && h.Hour <= hourOf(now)+windowHours {
			t.Messages += h.Messages
			t.FirstTime += h.FirstTime
		}
	}
	return t
}

// decide returns an error if sending more would pass a limit: to n recipients,
// of which first are new.
func (l limits) decide(total store.SentHour, n, first int64) error {
	switch {
	case l.messages > 0 && total.Messages+n > l.messages:
		return refuse(ErrMessageLimit, smtp.CodeLocalError, smtp.DetailPolicy, "your account has sent as many messages as it may in a day: %d", l.messages)
	case l.firstTime > 0 && first > 0 && total.FirstTime+first > l.firstTime:
		return refuse(ErrRecipientLimit, smtp.CodeLocalError, smtp.DetailPolicy, "your account has sent to as many new addresses as it may in a day: %d", l.firstTime)
	}
	return nil
}

// check returns an error if the account can send nothing at all now.
func (s *sent) check(ctx context.Context, name string, l limits) error {
	if l == (limits{}) {
		return nil
	}
	now := s.now()
	b, err := s.lock(ctx, name, now)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	return l.decide(b.total(now), 1, 0)
}

// add counts a message to some addresses, unless it would pass a limit. If the
// message can't be queued after all, undo must be called.
func (s *sent) add(ctx context.Context, name string, addresses []string, now time.Time, l limits) (undo func(), err error) {
	b, err := s.lock(ctx, name, now)
	if err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	fresh, err := s.fresh(ctx, b, addresses)
	if err != nil {
		return nil, err
	}
	if err := l.decide(b.total(now), int64(len(addresses)), int64(len(fresh))); err != nil {
		return nil, err
	}
	hour := hourOf(now)
	b.count(hour, int64(len(addresses)), int64(len(fresh)))
	b.remember(addresses, now)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.count(hour, -int64(len(addresses)), -int64(len(fresh)))
		for _, address := range fresh {
			delete(b.known, address) // If it was written meanwhile, it is known a message too early.
		}
	}, nil
}

// fresh returns the addresses to which the account has never sent. It looks at
// the disk only for those that are not in memory. b.mu is held.
func (s *sent) fresh(ctx context.Context, b *sentBy, addresses []string) ([]string, error) {
	var ask []string
	seen := map[string]bool{}
	for _, address := range addresses {
		if b.known[address] == nil && !seen[address] {
			ask = append(ask, address)
		}
		seen[address] = true
	}
	if len(ask) == 0 {
		return nil, nil
	}
	var has []bool
	err := s.account(ctx, b.name, func(a *store.Account) (err error) {
		has, err = a.HasSentTo(ctx, ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	fresh := ask[:0]
	for i, address := range ask {
		if !has[i] {
			fresh = append(fresh, address)
		}
	}
	return fresh, nil
}

// count adds to an hour. b.mu is held.
func (b *sentBy) count(hour, messages, firstTime int64) {
	h := b.hours[hour]
	if h == nil {
		h = &sentHour{SentHour: store.SentHour{Hour: hour}}
		b.hours[hour] = h
	}
	h.Messages += messages
	h.FirstTime += firstTime
	h.changed = true
}

// remember makes addresses known. b.mu is held.
func (b *sentBy) remember(addresses []string, now time.Time) {
	for _, address := range addresses {
		k := b.known[address]
		if k == nil {
			if len(b.known) >= knownMax && !b.makeRoom() {
				return
			}
			k = &knownAddress{first: now}
			b.known[address] = k
		}
		k.last, k.changed = now, true
	}
}

// makeRoom forgets addresses that are written down, since they can be looked up
// there. It returns false if there are none. b.mu is held.
func (b *sentBy) makeRoom() bool {
	for address, k := range b.known {
		if !k.changed {
			delete(b.known, address)
		}
	}
	return len(b.known) < knownMax
}

// serve writes down what was sent until ctx is done; then it writes what is left
// and returns.
func (s *sent) serve(ctx context.Context) {
	ticker := time.NewTicker(recordEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.recordAll(context.WithoutCancel(ctx))
			return
		case <-ticker.C:
			s.recordAll(ctx)
		}
	}
}

// recordAll writes what is new of all accounts, and forgets those that nobody
// uses. What can't be written is tried again.
func (s *sent) recordAll(ctx context.Context) {
	s.mu.Lock()
	all := make([]*sentBy, 0, len(s.byName))
	for _, b := range s.byName {
		all = append(all, b)
	}
	s.mu.Unlock()
	for _, b := range all {
		if err := s.record(ctx, b); errors.Is(err, store.ErrNoAccount) {
			s.forget(b, func() bool { return true })
		} else if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "recording what account has sent", "account", b.name, "err", err)
		}
	}
}

// record writes what is new of an account.
func (s *sent) record(ctx context.Context, b *sentBy) error {
	now := s.now()
	b.mu.Lock()
	to, hours := b.changes(now)
	b.mu.Unlock()
	if len(to)+len(hours) == 0 {
		// Nothing can have changed since, or it is in use.
		s.forget(b, func() bool { return now.Sub(b.used) > forgetAfter })
		return nil
	}
	err := s.account(ctx, b.name, func(a *store.Account) error {
		return a.RecordSent(ctx, to, hours, hourOf(now)-windowHours)
	})
	if err == nil {
		b.written(to, hours)
	}
	return err
}

// changes returns what is to be written, and drops hours that no limit looks at.
// b.mu is held.
func (b *sentBy) changes(now time.Time) (to []store.SentTo, hours []store.SentHour) {
	for hour, h := range b.hours {
		if hour < hourOf(now)-windowHours {
			delete(b.hours, hour)
		} else if h.changed {
			hours = append(hours, h.SentHour)
		}
	}
	for address, k := range b.known {
		if k.changed {
			to = append(to, store.SentTo{Address: address, First: k.first, Last: k.last})
		}
	}
	return to, hours
}

// written marks what was written, unless it has changed again since.
func (b *sentBy) written(to []store.SentTo, hours []store.SentHour) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range to {
		if k := b.known[t.Address]; k != nil && k.last.Equal(t.Last) {
			k.changed = false
		}
	}
	for _, h := range hours {
		if kept := b.hours[h.Hour]; kept != nil && kept.SentHour == h {
			kept.changed = false
		}
	}
}

// forgetName drops what is known of the account with a name.
func (s *sent) forgetName(name string) {
	s.mu.Lock()
	b := s.byName[name]
	s.mu.Unlock()
	if b != nil {
		s.forget(b, func() bool { return true })
	}
}

// forget drops what is known of an account, if that still may be.
func (s *sent) forget(b *sentBy, may func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if may() {
		b.gone = true
		delete(s.byName, b.name)
	}
}

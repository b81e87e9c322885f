package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mjl-/bstore"
)

const (
	// clockAhead is how far the clock of the computer may jump ahead to be believed at
	// once: as long as a computer may well be off, or a virtual one be suspended.
	clockAhead = 90 * 24 * time.Hour

	// clockBack is the same for a jump back: as far as a clock is that has the time of
	// another zone.
	clockBack = 24 * time.Hour

	// clockBelief is how long the clock must go on after a longer jump to be believed,
	// and how long nothing is purged after a jump of as much.
	clockBelief = 24 * time.Hour

	// clockGrain is how much the time may waver while the clock is not believed.
	clockGrain = time.Minute

	// clockTick is how often the clock is looked at, and how often at most the time is
	// written down.
	clockTick = time.Minute
)

// clockBegin is before everything: who has an earlier time does not know it, as a
// computer that has just been started without a battery.
var clockBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is the time of day that the queue goes by. It is that of the computer,
// unless that is certainly wrong: it has jumped by years, or was at its beginning
// when the computer was started. Then the time goes on as it did, until the clock of
// the computer is right again, or stays as it is for a day. A jump back to where it
// was before another one is believed.
//
// So one wrong reading does no harm: no message is given up or purged for it, none
// waits for years, and none is sent years before its sender wants it.
type clock struct {
	mistake func() time.Duration // How far the clock of the computer is off. Nil: not at all.

	mu    sync.Mutex
	start time.Time     // When base was the time, with a monotonic reading.
	base  time.Time     // Without one.
	moved time.Duration // By how much the time has jumped, in all.

	doubt      time.Duration // How far the clock of the computer is off, as far as is known. Zero: it is believed.
	doubtSince time.Time     // With a monotonic reading.
	undo       time.Duration // What sets right the last long jump. Zero: there was none.
	jumped     time.Time     // When the time jumped by more than clockBelief, likewise. Zero: never.
	saved      time.Time     // When it was written down last, likewise.
}

// read returns what the clock of the computer says at a time of package time.
func (c *clock) read(at time.Time) time.Time {
	at = at.Round(0)
	if c.mistake != nil {
		at = at.Add(c.mistake())
	}
	return at
}

// begin sets the time at start. last is the time when the last process wrote it
// down, zero if none has.
func (c *clock) begin(last time.Time) {
	at := time.Now()
	c.start, c.base = at, last.Round(0)
	if last.IsZero() {
		c.base = c.read(at)
	}
	c.look(at, c.read(at))
	c.moved = 0
}

// now returns the time.
func (c *clock) now() time.Time { return c.at(time.Now()) }

// at returns the time at one of package time.
func (c *clock) at(at time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look(at, c.read(at))
}

// of returns the time for one that somebody else has from the clock of the computer.
func (c *clock) of(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now()
	seen := c.read(at)
	return t.Round(0).Add(c.look(at, seen).Sub(seen))
}

// look returns the time at at, when the clock of the computer says seen. mu is held.
func (c *clock) look(at, seen time.Time) time.Time {
	steady := c.base.Add(at.Sub(c.start))
	off := seen.Sub(steady)
	if !c.believable(at, steady, off) {
		return steady
	}
	c.start, c.base, c.doubt = at, seen, 0
	c.moved += off
	if off.Abs() > clockBelief {
		c.jumped, c.undo = at, -off
	}
	return seen
}

// believable says whether the clock of the computer is right that is off from a
// time. mu is held.
func (c *clock) believable(at, steady time.Time, off time.Duration) bool {
	switch {
	case off >= -clockBack && off <= clockAhead, off > 0 && steady.Before(clockBegin),
		c.undo != 0 && (off-c.undo).Abs() <= clockGrain:
		return true
	case c.doubt == 0 || (off-c.doubt).Abs() > clockGrain:
		c.doubt, c.doubtSince = off, at
	case at.Sub(c.doubtSince) >= clockBelief:
		return true
	}
	return false
}

// settled says whether the time has not jumped far for a while, so that what is old
// may go for good.
func (c *clock) settled() bool {
	c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doubt == 0 && (c.jumped.IsZero() || time.Since(c.jumped) >= clockBelief)
}

// clockRow is the time when it was written down last, so that a start knows what to
// expect. There is one, with id 1. Copies have none.
type clockRow struct {
	ID int64
	At time.Time
}

// openClock sets the time at start.
func (db *DB) openClock(ctx context.Context) error {
	row := clockRow{ID: 1}
	err := db.db.Get(ctx, &row)
	if err != nil && !errors.Is(err, bstore.ErrAbsent) {
		return err
	}
	db.clock.begin(row.At)
	db.schedule.day, db.hooks.schedule.day = db.clock.at, db.clock.at
	return nil
}

// saveClock writes the time down if that was not done for a while.
func (tx *tx) saveClock() error {
	c := &tx.db.clock
	c.mu.Lock()
	due := c.saved.IsZero() || time.Since(c.saved) >= clockTick
	if due {
		c.saved = time.Now()
	}
	c.mu.Unlock()
	if !due {
		return nil
	}
	err := tx.Get(&clockRow{ID: 1})
	row := clockRow{ID: 1, At: tx.now.Round(0)}
	if errors.Is(err, bstore.ErrAbsent) {
		return tx.insert(&row)
	} else if err != nil {
		return err
	}
	return tx.update(&row)
}

// Now returns the time of day as the queue goes by it: that of the computer, unless
// that is certainly wrong.
func (db *DB) Now() time.Time { return db.clock.now() }

// followClock moves what waits if the time has jumped. db.mu is held.
func (db *DB) followClock() {
	db.clock.now()
	db.clock.mu.Lock()
	moved, doubt := db.clock.moved, db.clock.doubt
	db.clock.mu.Unlock()
	if doubted := doubt != 0; doubted != db.doubted {
		db.doubted = doubted
		if doubted {
			db.log.Error("the clock of this computer must be wrong, the queue goes by its own", "off", doubt)
		}
	}
	by := moved - db.followed
	if by.Abs() < time.Second {
		return
	}
	db.followed = moved
	db.schedule.jump(by)
	db.hooks.schedule.jump(by)
	if by.Abs() > clockGrain {
		db.log.Warn("the clock of this computer has jumped", "by", by)
	}
}

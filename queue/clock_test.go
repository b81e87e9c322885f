package queue

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// wrongClock is a clock that tests set.
type wrongClock struct{ off atomic.Int64 }

func (c *wrongClock) set(off time.Duration)  { c.off.Store(int64(off)) }
func (c *wrongClock) mistake() time.Duration { return time.Duration(c.off.Load()) }

// TestClock reads a clock that jumps, and sees what is believed of it.
func TestClock(t *testing.T) {
	t.Parallel()
	type step struct {
		name   string
		passes time.Duration
		off    time.Duration // Of the clock of the computer.
		want   time.Duration // Of the time.
	}
	for name, steps := range map[string][]step{
		"small jumps": {
			{"at first", 0, 0, 0}, {"an hour ahead", time.Minute, time.Hour, time.Hour}, {"an hour back", time.Minute, -time.Hour, -time.Hour},
			{"right again", time.Minute, 0, 0},
		},
		"as far back as is believed": {{"a day", time.Minute, -day, -day}},
		"farther back":               {{"more than a day", time.Minute, -day - time.Second, 0}},
		"as far ahead as is believed": {
			{"90 days", time.Minute, 90 * day, 90 * day}, {"half of it back is not believed", time.Minute, 45 * day, 90 * day},
			{"for nearly a day", day - time.Second, 45 * day, 90 * day}, {"for a day", time.Second, 45 * day, 45 * day},
		},
		"ahead and back to what it was": {
			{"30 days", time.Minute, 30 * day, 30 * day}, {"right again", 10 * day, time.Second, time.Second}, {"ahead again", day, 30 * day, 30 * day},
		},
		"farther ahead": {{"more than 90 days", time.Minute, 90*day + time.Second, 0}},
		"ten years ahead and back again": {
			{"ahead", time.Minute, 10 * year, 0}, {"still", 20 * time.Hour, 10 * year, 0}, {"back", time.Hour, 0, 0},
			{"ahead again, which counts anew", time.Hour, 10 * year, 0}, {"still ahead", 23 * time.Hour, 10 * year, 0},
			{"wavering a little", time.Hour - time.Minute, 10*year + 30*time.Second, 0}, {"for a day", time.Minute, 10 * year, 10 * year},
			{"from there, another hour", time.Minute, 10*year + time.Hour, 10*year + time.Hour},
		},
		"ten years back and again ahead": {
			{"back", time.Minute, -10 * year, 0}, {"another time, also wrong", 23 * time.Hour, -20 * year, 0},
			{"still", 23 * time.Hour, -20 * year, 0}, {"right", time.Hour, time.Minute, time.Minute},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(30 * year) // Which the clock of a bubble begins before.
				wrong := &wrongClock{}
				c := &clock{mistake: wrong.mistake}
				c.begin(time.Now())
				for _, s := range steps {
					time.Sleep(s.passes)
					wrong.set(s.off)
					if got := c.now().Sub(time.Now().Round(0)); got != s.want {
						t.Errorf("%s: the time is off by %s, want %s", s.name, got, s.want)
					}
					if got := c.of(time.Now().Add(s.off + time.Hour)).Sub(c.now()); got != time.Hour {
						t.Errorf("%s: in an hour by the clock of the computer is in %s", s.name, got)
					}
				}
			})
		})
	}
}

// TestClockBegin starts with a time written down by the last process.
func TestClockBegin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		last time.Duration // Before now, by the right clock. Zero: none was written.
		off  time.Duration // Of the clock of the computer.
		want time.Duration // Of the time, after a minute.
	}{
		{"the first time", 0, 0, 0},
		{"the first time, with a clock that is wrong", 0, -58 * year, -58 * year},
		{"after a restart", time.Second, 0, 0},
		{"after a month", 30 * day, 0, 0},
		{"after a month, with a clock that stood still", 30 * day, -30 * day, -30 * day},
		{"with a clock at its beginning", time.Hour, -56 * year, -time.Hour},
		{"with a clock years ahead", time.Hour, 10 * year, -time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(56 * year)
			wrong := &wrongClock{}
			wrong.set(tc.off)
			c := &clock{mistake: wrong.mistake}
			last := time.Time{}
			if tc.last != 0 {
				last = time.Now().Add(-tc.last)
			}
			c.begin(last)
			time.Sleep(time.Minute)
			if got := c.now().Sub(time.Now().Round(0)); got != tc.want {
				t.Errorf("%s: off by %s, want %s", tc.name, got, tc.want)
			}
			wrong.set(0) // Set right by somebody.
			if got := c.now().Sub(time.Now().Round(0)); got != 0 {
				t.Errorf("%s, set right: off by %s", tc.name, got)
			}
		})
	}
}

// attempts delivers to a recipient that fails until its message is given up, or most
// times, as package delivery does, with something happening in the middle of the
// first attempt. It returns when they were, in real time from start.
func (w *world) attempts(start time.Time, most int, meanwhile func()) (at []time.Duration, over bool) {
	w.t.Helper()
	for len(at) < most {
		work := w.next()
		at = append(at, time.Since(start))
		m := work.Messages[0]
		began := w.db.Now()
		if meanwhile != nil {
			meanwhile()
			meanwhile = nil
		}
		time.Sleep(time.Second)
		end := began.Add(time.Second)
		next, giveUp := w.db.opts.Schedule.Next(m.Attempts, m.Counted(), end, 0)
		w.finish(work, Report{Retry: !giveUp, Next: next, Result: Result{Start: began, Error: "busy"}})
		if giveUp {
			return at, true
		}
	}
	return at, false
}

// clockWorld is a queue with a clock that can be set, in a bubble.
func clockWorld(t *testing.T) (*world, *wrongClock) {
	time.Sleep(30 * year) // The clock of a bubble begins before.
	wrong := &wrongClock{}
	w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, change: func(o *Options) {
		o.ClockMistake = wrong.mistake
		o.KeepRetired = func(string) time.Duration { return 7 * day }
		o.Rand = zeroJitter{}
	}}
	w.start()
	return w, wrong
}

// TestClockJumps has the clock jump while a message waits that never gets through,
// while it is being delivered, and while nothing runs: it is tried in time, again and
// again, and given up after about four days, by whatever clock.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{time.Hour, -time.Hour, -10 * time.Hour, 3 * day, 30 * day, 10 * year, -10 * year} {
		for _, when := range []string{"waiting", "delivering", "restarting", "for an hour", "waiting, then restarting", "restarting, then back"} {
			t.Run(fmt.Sprintf("%s %s", when, by), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { testClockJump(t, by, when) })
			})
		}
	}
}

func testClockJump(t *testing.T, by time.Duration, when string) {
	w, wrong := clockWorld(t)
	start := time.Now()
	w.add("content", "mjl@example.org", "a@remote.example")
	at, _ := w.attempts(start, 4, func() {}) // After 0, 7.5, 22.5 and 52.5 minutes.
	jump := func() {}
	switch when {
	case "delivering":
		jump = func() { wrong.set(by) }
	case "restarting":
		w.stop()
		wrong.set(by)
		w.start()
	case "restarting, then back":
		w.stop()
		wrong.set(by)
		w.start()
		time.AfterFunc(time.Hour, func() { wrong.set(0) })
	case "for an hour":
		wrong.set(by)
		time.AfterFunc(time.Hour, func() { wrong.set(0) })
	case "waiting, then restarting":
		wrong.set(by)
		w.restart()
	default:
		wrong.set(by)
	}
	rest, over := w.attempts(start, 30, jump)
	at = append(at, rest...)
	if took := at[len(at)-1]; !over || len(at) < 13 || len(at) > 18 || took < 3*day || took > 5*day {
		t.Errorf("%d attempts in %s, given up: %v: %v", len(at), took, over, at)
	}
	for i := 1; i < len(at); i++ {
		if wait := at[i] - at[i-1]; wait > 26*time.Hour {
			t.Errorf("attempt %d comes %s after the one before", i, wait)
		}
	}
	w.check()
	w.stop()
}

// TestClockRelease has the clock jump while a message waits for the time that its
// sender has chosen, 20 days ahead.
func TestClockRelease(t *testing.T) {
	t.Parallel()
	const due = 20 * day
	for _, tc := range []struct {
		name  string
		by    time.Duration
		until time.Duration // When it is right again. Zero: never.
		want  time.Duration
	}{
		{"an hour ahead", time.Hour, 0, due - time.Hour},
		{"an hour back", -time.Hour, 0, due + time.Hour},
		{"an hour ahead and back", time.Hour, day, due},
		{"three days ahead", 3 * day, 0, due - 3*day},
		{"30 days ahead, as a computer that was suspended", 30 * day, 0, 0},
		{"ten years ahead for an hour", 10 * year, time.Hour, due},
		{"ten years back for an hour", -10 * year, time.Hour, due},
		{"ten years ahead for good: it is believed in a day", 10 * year, 0, day},
		{"ten years back for two days", -10 * year, 2 * day, due},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(tc.name, " ", restart), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w, wrong := clockWorld(t)
					start := time.Now()
					n := message(t, "mjl@example.org", "a@remote.example")
					n.NotBefore = start.Add(due)
					if _, err := w.tryAdd("content", n); err != nil {
						t.Fatal(err)
					}
					if restart {
						w.stop()
					}
					wrong.set(tc.by)
					if restart {
						w.start()
					}
					if tc.until > 0 {
						time.AfterFunc(tc.until, func() { wrong.set(0) })
					}
					work := w.next()
					if got := time.Since(start); got < tc.want || got > tc.want+3*clockTick {
						t.Errorf("sent after %s, want %s", got, tc.want)
					}
					if m := work.Messages[0]; !restart && tc.want == due && !m.NextAttempt.IsZero() && m.Counted().Sub(m.Queued) < due-time.Hour {
						t.Errorf("the schedule counts since %s, queued %s", m.Counted(), m.Queued)
					}
					w.finish(work, ok())
					w.check()
					w.stop()
				})
			})
		}
	}
}

// TestClockPurge has the clock jump while a retired message is kept for 7 days, and
// looks every hour whether it is there.
func TestClockPurge(t *testing.T) {
	t.Parallel()
	const keep = 7 * day
	for _, tc := range []struct {
		name  string
		by    time.Duration
		until time.Duration // When it is right again. Zero: never.
		want  time.Duration
	}{
		{"an hour ahead", time.Hour, 0, keep - time.Hour},
		{"an hour back", -time.Hour, 0, keep + time.Hour},
		{"30 days ahead for an hour", 30 * day, time.Hour, keep},
		{"30 days ahead for good", 30 * day, 0, day},
		{"ten years ahead for an hour", 10 * year, time.Hour, keep},
		{"ten years back for an hour", -10 * year, time.Hour, keep},
		{"ten years ahead for good: it is believed in a day, and counts a day later", 10 * year, 0, 2 * day},
		{"ten years back for good: then it is as if retired just now", -10 * year, 0, keep + 2*day},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(tc.name, " ", restart), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w, wrong := clockWorld(t)
					w.add("content", "mjl@example.org", "a@remote.example")
					w.finish(w.next(), ok())
					start := time.Now()
					if restart {
						w.stop()
					}
					wrong.set(tc.by)
					if restart {
						w.start()
					}
					if tc.until > 0 {
						time.AfterFunc(tc.until, func() { wrong.set(0) })
					}
					for time.Since(start) < 20*day && len(w.list(Filter{State: Retired})) > 0 {
						time.Sleep(time.Hour)
						errorless(t, w.db.Purge(t.Context(), w.db.Now()))
					}
					if got := time.Since(start); got < tc.want || got > tc.want+2*time.Hour {
						t.Errorf("kept for %s, want %s", got, tc.want)
					}
					w.check()
					w.stop()
				})
			})
		}
	}
}

// TestClockLogged logs a wrong clock once, and when it is right again.
func TestClockLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, wrong := clockWorld(t)
		n := message(t, "mjl@example.org", "a@remote.example")
		n.NotBefore = time.Now().Add(time.Hour)
		if _, err := w.tryAdd("content", n); err != nil {
			t.Fatal(err)
		}
		wrong.set(10 * year)
		w.next()
		if got := strings.Count(w.log.String(), "clock of this computer must be wrong"); got != 1 {
			t.Errorf("logged %d times", got)
		}
		w.stop()
	})
}

// TestLeaseClock has the clock jump while a delivery hangs: its lease ends in its
// time.
func TestLeaseClock(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{time.Hour, -time.Hour, 10 * year, -10 * year} {
		synctest.Test(t, func(t *testing.T) {
			w, wrong := clockWorld(t)
			w.add("content", "mjl@example.org", "a@remote.example")
			w.next()
			start := time.Now()
			wrong.set(by)
			again := w.next()
			if got := time.Since(start); got < leaseTime || got > leaseTime+time.Hour {
				t.Errorf("%s: tried again after %s", by, got)
			}
			w.finish(again, ok())
			w.check()
			w.stop()
		})
	}
}

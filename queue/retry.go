package queue

import (
	"errors"
	"fmt"
	"time"
)

// Limits of a Schedule, against slips of the pen.
const (
	waitMin      = time.Second
	waitMax      = 7 * 24 * time.Hour
	waitsMax     = 100
	giveUpMax    = 60 * 24 * time.Hour
	jitterPart   = 50  // A wait is at most this part of it longer or shorter: 2 %.
	finalPart    = 100 // An attempt in the last part of the time is the final one: the last 58 minutes of 4 days.
	waitSlackMax = time.Minute
)

// errSchedule is in all errors of Schedule.Check.
var errSchedule = errors.New("queue: retry schedule")

// Schedule says when attempts are made. All its methods are pure.
type Schedule struct {
	Waits       []time.Duration // After the first attempt, the second, ….
	Every       time.Duration   // After the last of Waits.
	GiveUpAfter time.Duration   // Since Message.Counted. One final attempt is made about then, none later.
	NoticeAfter time.Duration   // Likewise: then the sender is told of the delay, after an attempt that failed. Zero: never.
}

// DefaultSchedule returns the schedule for those who have no wishes. RFC 5321,
// section 4.5.4.1, asks for 4 or 5 days in all and waits that grow to hours; it
// allows more attempts in the first hour.
func DefaultSchedule() Schedule {
	s := Schedule{Every: 12 * time.Hour, GiveUpAfter: 4 * 24 * time.Hour, NoticeAfter: 4 * time.Hour}
	for wait := 450 * time.Second; wait <= 8*time.Hour; wait *= 2 {
		s.Waits = append(s.Waits, wait)
	}
	return s
}

// Check returns an error that names what can't be.
func (s Schedule) Check() error {
	if len(s.Waits) > waitsMax {
		return fmt.Errorf("%w: %d waits, more than %d", errSchedule, len(s.Waits), waitsMax)
	}
	for i, w := range append(s.Waits[:len(s.Waits):len(s.Waits)], s.Every) {
		if w < waitMin || w > waitMax {
			return fmt.Errorf("%w: wait %d is %s, not between %s and %s", errSchedule, i+1, w, waitMin, waitMax)
		}
	}
	if s.GiveUpAfter < waitMin || s.GiveUpAfter > giveUpMax {
		return fmt.Errorf("%w: giving up after %s, not between %s and %s", errSchedule, s.GiveUpAfter, waitMin, giveUpMax)
	}
	if s.NoticeAfter < 0 || s.NoticeAfter >= s.GiveUpAfter {
		return fmt.Errorf("%w: notice after %s, not before giving up after %s", errSchedule, s.NoticeAfter, s.GiveUpAfter)
	}
	return nil
}

// Wait returns the time between an attempt and the next, when this many were
// made.
func (s Schedule) Wait(attempts int64) time.Duration {
	if i := max(attempts, 1) - 1; i < int64(len(s.Waits)) {
		return s.Waits[i]
	}
	return s.Every
}

// RetryUntil returns when the final attempt is made of a message for which the
// schedule counts since then: the Will-Retry-Until of RFC 3464, section 2.3.9.
func (s Schedule) RetryUntil(since time.Time) time.Time { return since.Add(s.GiveUpAfter) }

// Next returns the time of the next attempt, after this many of which the last
// was at last, or that the last was the final one. The schedule counts from since on. jitter, from -1 to 1, moves
// the time a little, so that what was queued together does not come together for
// ever.
func (s Schedule) Next(attempts int64, since, last time.Time, jitter float64) (next time.Time, giveUp bool) {
	until := s.RetryUntil(since)
	final := until.Add(-s.GiveUpAfter / finalPart)
	if attempts > 0 && !last.Before(final) {
		return time.Time{}, true
	}
	wait := s.Wait(attempts)
	wait += time.Duration(min(max(jitter, -1), 1) * float64(wait/jitterPart))
	next = last.Add(wait)
	if !next.Before(final) {
		next = until
	}
	return next, false
}

// NoticeDue says whether the sender is to be told of the delay after an attempt
// at now, when the next is at next: of all attempts, the one nearest to
// NoticeAfter is the one that tells, and later ones if it did not.
func (s Schedule) NoticeDue(since, now, next time.Time) bool {
	if s.NoticeAfter <= 0 {
		return false
	}
	middle := now.Add(next.Sub(now) / 2)
	return !middle.Before(since.Add(s.NoticeAfter))
}

// lateMax is how much later than planned an attempt may be for the time to count that
// has passed until then.
const lateMax = 12 * time.Hour

// Counted returns from when on the schedule counts for the message: that is what its
// methods want to know. It is the time of its first attempt: Queued, or when its
// sender wants it released.
//
// Time in which there could be no attempt does not count but for lateMax: while the
// message was held, or no server was running. So it has all its attempts after that,
// and none is given up at once because a clock has jumped.
func (m *Message) Counted() time.Time {
	if m.Since.IsZero() {
		return m.Queued
	}
	return m.Since
}

// begun notes that an attempt begins.
func (m *Message) begun(now time.Time) {
	m.Since = m.Counted()
	switch late := now.Sub(m.NextAttempt); {
	case late > lateMax:
		m.Since = m.Since.Add(late - lateMax)
	case late < 0: // The clock was set back.
		m.Since = m.Since.Add(late)
	}
	m.Attempts++
	m.LastAttempt = now
}

// longest returns the longest time that can be between an attempt and the next.
func (s Schedule) longest() time.Duration {
	longest := s.Every
	for _, w := range s.Waits {
		longest = max(longest, w)
	}
	return longest + longest/jitterPart + max(s.GiveUpAfter/finalPart, waitSlackMax)
}

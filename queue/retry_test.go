package queue

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// hours and minutes after the message was queued.
func after(hours, minutes float64) time.Duration {
	return time.Duration(hours*float64(time.Hour) + minutes*float64(time.Minute))
}

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestDefaultSchedule follows a message that never gets through: all attempts, the
// one that tells of the delay, and the end.
func TestDefaultSchedule(t *testing.T) {
	t.Parallel()
	s := DefaultSchedule()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{
		0, after(0, 7.5), after(0, 22.5), after(0, 52.5), after(0, 112.5), after(0, 232.5), after(0, 472.5), after(0, 952.5),
		after(27, 52.5), after(39, 52.5), after(51, 52.5), after(63, 52.5), after(75, 52.5), after(87, 52.5), after(96, 0),
	}
	const noticeAt = 5 // About 4 hours.
	at, told := midnight, false
	for i, wait := range want {
		if got := at.Sub(midnight); got != wait {
			t.Fatalf("attempt %d is after %s, want %s", i, got, wait)
		}
		next, giveUp := s.Next(int64(i)+1, midnight, at, 0)
		if giveUp != (i == len(want)-1) {
			t.Fatalf("attempt %d: give up %v", i, giveUp)
		}
		if giveUp {
			break
		}
		if due := s.NoticeDue(midnight, at, next); due != (i >= noticeAt) {
			t.Errorf("attempt %d: notice due %v", i, due)
		} else if due && !told {
			told = true
		}
		at = next
	}
	if !told || s.RetryUntil(midnight) != midnight.Add(after(96, 0)) {
		t.Errorf("told %v, retried until %s", told, s.RetryUntil(midnight))
	}
}

func TestScheduleNext(t *testing.T) {
	t.Parallel()
	s := DefaultSchedule()
	for _, tc := range []struct {
		name     string
		attempts int64
		last     time.Duration
		jitter   float64
		want     time.Duration // 0: give up.
	}{
		{"the first wait, longest", 1, 0, 1, 459 * time.Second},
		{"the first wait, shortest", 1, 0, -1, 441 * time.Second},
		{"jitter beyond its limits", 1, 0, -100, 441 * time.Second},
		{"no attempt yet counts as one", 0, 0, 0, 450 * time.Second},
		{"more attempts than waits", 1000, after(10, 0), 0, after(22, 0)},
		{"the wait would end after the time is over", 9, after(90, 0), 0, after(96, 0)},
		{"the wait would end just before", 9, after(83.5, 0), 0, after(96, 0)},
		{"the last moment before the final attempt", 9, after(95, 2), 0, after(96, 0)},
		{"an attempt a little early is the final one", 9, after(95, 3), 0, 0},
		{"a final attempt on time", 9, after(96, 0), 0, 0},
		{"the only attempt came when the time was over", 1, after(200, 0), 0, 0},
		{"never tried though the time is over", 0, after(200, 0), 0, after(96, 0)},
	} {
		next, giveUp := s.Next(tc.attempts, midnight, midnight.Add(tc.last), tc.jitter)
		if giveUp != (tc.want == 0) || !giveUp && next.Sub(midnight) != tc.want {
			t.Errorf("%s: got %s, give up %v; want %s", tc.name, next.Sub(midnight), giveUp, tc.want)
		}
	}
}

func TestNoticeDue(t *testing.T) {
	t.Parallel()
	s := DefaultSchedule()
	never := s
	never.NoticeAfter = 0
	for _, tc := range []struct {
		name      string
		s         Schedule
		now, next time.Duration
		want      bool
	}{
		{"long before", s, after(1, 0), after(2, 0), false},
		{"the next attempt is nearer", s, after(3, 0), after(4.9, 0), false},
		{"this attempt is nearer", s, after(3, 0), after(5, 0), true},
		{"after it", s, after(10, 0), after(11, 0), true},
		{"never", never, after(10, 0), after(11, 0), false},
	} {
		if got := tc.s.NoticeDue(midnight, midnight.Add(tc.now), midnight.Add(tc.next)); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}

func TestScheduleCheck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*Schedule)
		want   string // In the error; empty for none.
	}{
		{"default", func(*Schedule) {}, ""},
		{"no waits but one for all", func(s *Schedule) { s.Waits = nil }, ""},
		{"no notice", func(s *Schedule) { s.NoticeAfter = 0 }, ""},
		{"a wait of nothing", func(s *Schedule) { s.Waits = []time.Duration{0} }, "wait 1"},
		{"a negative wait", func(s *Schedule) { s.Waits[1] = -time.Hour }, "wait 2"},
		{"a wait of a year", func(s *Schedule) { s.Every = 365 * 24 * time.Hour }, "wait 8"},
		{"too many waits", func(s *Schedule) { s.Waits = make([]time.Duration, 101) }, "101 waits"},
		{"giving up at once", func(s *Schedule) { s.GiveUpAfter = 0 }, "giving up"},
		{"giving up after a year", func(s *Schedule) { s.GiveUpAfter = 365 * 24 * time.Hour }, "giving up"},
		{"notice when it is over", func(s *Schedule) { s.NoticeAfter = s.GiveUpAfter }, "notice"},
		{"notice before it was queued", func(s *Schedule) { s.NoticeAfter = -1 }, "notice"},
	} {
		s := DefaultSchedule()
		tc.change(&s)
		err := s.Check()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: got %v", tc.name, err)
		}
	}
}

// TestScheduleEnds goes through random schedules: waits are never longer than
// longest says, and there is exactly one final attempt, when the time is over.
func TestScheduleEnds(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		s := Schedule{Every: time.Minute + time.Duration(rng.Int64N(int64(24*time.Hour)))}
		for range rng.IntN(6) {
			s.Waits = append(s.Waits, waitMin+time.Duration(rng.Int64N(int64(10*time.Hour))))
		}
		s.GiveUpAfter = time.Hour + time.Duration(rng.Int64N(int64(7*24*time.Hour)))
		if err := s.Check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		at, final := midnight, 0
		for n := int64(1); ; n++ {
			if at.Sub(midnight) >= s.GiveUpAfter-s.GiveUpAfter/finalPart {
				final++
			}
			next, giveUp := s.Next(n, midnight, at, rng.Float64()*2-1)
			if giveUp {
				break
			}
			if wait := next.Sub(at); wait <= 0 || wait > s.longest() || next.After(s.RetryUntil(midnight)) {
				t.Fatalf("seed %d, %+v: attempt %d after %s, next after %s", seed, s, n, at.Sub(midnight), next.Sub(midnight))
			}
			at = next
		}
		if final != 1 {
			t.Fatalf("seed %d, %+v: %d final attempts", seed, s, final)
		}
	}
}

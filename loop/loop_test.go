package loop

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(t.Context(), nil)
		for range 2 {
			g.Go("slow", func(ctx context.Context) {
				<-ctx.Done()
				time.Sleep(time.Second)
			})
		}
		g.Go("quick", func(context.Context) {})

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := g.Wait(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "waiting for slow:") {
			t.Errorf("before Stop: got %v, want a deadline that names slow", err)
		}
		start := time.Now()
		g.Stop()
		if err := g.Wait(t.Context()); err != nil {
			t.Errorf("after Stop: got %v", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("waited %v, want the second that slow takes", took)
		}
		if g.Context().Err() == nil {
			t.Error("context of a stopped group is not done")
		}
	})
}

func TestParentStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	g := New(ctx, nil)
	g.Go("a", func(ctx context.Context) { <-ctx.Done() })
	cancel()
	if err := g.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestEvery counts the calls of periodic work at virtual times.
func TestEvery(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		schedule Schedule
		work     time.Duration
		run      time.Duration
		min, max int
	}{
		{"at once, then each minute", Schedule{Interval: time.Minute}, 0, time.Hour - 1, 60, 60},
		{"a first wait", Schedule{First: 10 * time.Minute, Interval: time.Minute}, 0, time.Hour - 1, 50, 50},
		{"stopped before the first", Schedule{First: time.Minute, Interval: time.Minute}, 0, time.Minute - 1, 0, 0},
		{"the interval begins when work ends", Schedule{Interval: time.Minute}, time.Minute, time.Hour - 1, 30, 30},
		{"jitter is added", Schedule{Interval: time.Minute, Jitter: time.Minute, Rand: rand.New(rand.NewPCG(1, 2))}, 0, time.Hour - 1, 31, 59},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				g := New(t.Context(), nil)
				g.Every("work", test.schedule, func(context.Context) {
					calls++
					time.Sleep(test.work)
				})
				time.Sleep(test.run)
				g.Stop()
				if err := g.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if calls < test.min || calls > test.max {
					t.Errorf("got %d calls, want %d to %d", calls, test.min, test.max)
				}
			})
		})
	}
}

// TestPanic shows that a panic is reported and that periodic work survives it.
func TestPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var panics []Panic
		g := New(t.Context(), func(p Panic) {
			mu.Lock()
			defer mu.Unlock()
			panics = append(panics, p)
		})
		calls := 0
		g.Every("work", Schedule{Interval: time.Second}, func(context.Context) {
			if calls++; calls == 1 {
				panic("first")
			}
		})
		time.Sleep(1500 * time.Millisecond)
		g.Go("once", func(context.Context) { panic("once") })
		synctest.Wait()
		g.Stop()
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if calls != 2 || len(panics) != 2 || panics[0].Name != "work" || panics[0].Value != "first" || panics[1].Name != "once" {
			t.Errorf("got %d calls and panics %v", calls, panics)
		}
		if !strings.Contains(string(panics[0].Stack), "TestPanic") {
			t.Errorf("got stack %s", panics[0].Stack)
		}
	})
}

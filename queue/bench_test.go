package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkAdd measures messages of 10 KiB queued by a number of callers at a time.
func BenchmarkAdd(b *testing.B) {
	content := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 140)
	for _, callers := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w := newWorld(b, nil)
			parallel(b, callers, func(i int) error {
				_, err := w.tryAdd(content, message(b, fmt.Sprintf("s%d@example.org", i%10), fmt.Sprintf("r%d@remote%d.example", i, i%100)))
				return err
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkFile is what the disk allows: a file of 10 KiB written and synced by each
// of a number of callers, as a queue of files does at least.
func BenchmarkFile(b *testing.B) {
	content := make([]byte, 10080)
	for _, callers := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			dir := b.TempDir()
			parallel(b, callers, func(i int) error {
				f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
				if err != nil {
					return err
				}
				_, err = f.Write(content)
				return errors.Join(err, f.Sync(), f.Close())
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}

// parallel runs fn b.N times in a number of goroutines.
func parallel(b *testing.B, n int, fn func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range n {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := fn(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

// fill queues n messages fast, without their contents being asked for.
func fill(b testing.TB, w *world, n int) {
	b.Helper()
	const rcptsEach = 10
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n/rcptsEach; i = int(next.Add(1)) {
				var to []string
				for r := range rcptsEach {
					to = append(to, fmt.Sprintf("recipient%d@remote%d.example", r, (i*rcptsEach+r)%50000))
				}
				if _, err := w.tryAdd("content", message(b, fmt.Sprintf("sender%d@example.org", i%100), to...)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkDeliver measures Next and Finish, with 100,000 messages in the queue.
func BenchmarkDeliver(b *testing.B) {
	const messages = 100000
	w := newWorld(b, func(o *Options) { o.DestinationMax = 1000 })
	fill(b, w, messages)
	for _, workers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			parallel(b, workers, func(i int) error {
				work, err := w.db.Next(context.Background())
				if err != nil {
					return err
				}
				return w.db.Finish(context.Background(), work, reports(work, Report{Retry: true, Next: time.Now(), Result: Result{Error: "later"}}))
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "attempts/s")
		})
	}
}

// BenchmarkSchedule measures one lease and its end in memory, by the number of
// messages in the queue: it must not grow with it.
func BenchmarkSchedule(b *testing.B) {
	for _, n := range []int{1000, 10000, 100000, 1000000} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			now := time.Now()
			s := newSchedule(now, limits{100, 5, 50, 100, 500}, leaseTime, func(string) bool { return false })
			for i := range n {
				e := s.add(int64(i), int64(i), fmt.Sprintf("account%d", i%1000), fmt.Sprintf("domain%d.example", i%(n/10)))
				s.put(e, now, now)
			}
			s.end(s.lease(now)) // Moves all that is due, once.
			for b.Loop() {
				l := s.lease(now)
				for _, e := range s.end(l) {
					s.put(e, now, now)
				}
			}
		})
	}
}

// BenchmarkOpen measures a start with 100,000 messages, what they take in memory,
// and a list of them.
func BenchmarkOpen(b *testing.B) {
	const messages = 100000
	w := newWorld(b, nil)
	fill(b, w, messages)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			w.restart()
		}
		var before, after runtime.MemStats
		w.stop()
		runtime.GC()
		runtime.ReadMemStats(&before)
		w.start()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/messages, "heap-bytes/message")
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			if n := len(w.list(Filter{})); n != messages {
				b.Fatalf("got %d messages", n)
			}
		}
	})
	b.Run("list of 50", func(b *testing.B) {
		for b.Loop() {
			if n := len(w.list(Filter{Max: 50})); n != 50 {
				b.Fatalf("got %d messages", n)
			}
		}
	})
}

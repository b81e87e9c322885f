package journal

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkAppend appends records of 10 KiB from 1, 10 and 50 goroutines, each
// of which waits for its record. It removes segments behind, as the store does.
func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 10, 50} {
		b.Run(fmt.Sprint(appenders), func(b *testing.B) { benchmarkAppend(b, appenders) })
	}
}

func benchmarkAppend(b *testing.B, appenders int) {
	var batches, records atomic.Int64
	j, err := Open(b.TempDir(), Options{Rand: rand.Reader, Observe: func(e Event) {
		batches.Add(1)
		records.Add(int64(e.Records))
	}})
	if err != nil {
		b.Fatal(err)
	}
	if err := j.Start(); err != nil {
		b.Fatal(err)
	}
	todo, done := make(chan struct{}), make(chan error, appenders)
	for range appenders {
		go func() {
			data := make([]byte, 10<<10)
			for range todo {
				if _, err := j.Append(b.Context(), Record{Data: [][]byte{data}}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	b.SetBytes(10 << 10)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		todo <- struct{}{}
		if i%5000 == 4999 {
			if _, err := j.RemoveThrough(j.Head()); err != nil {
				b.Fatal(err)
			}
		}
	}
	close(todo)
	for range appenders {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(batches.Load())/float64(records.Load()), "syncs/record")
	b.ReportMetric(float64(records.Load())/b.Elapsed().Seconds(), "records/s")
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

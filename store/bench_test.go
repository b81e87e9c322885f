package store

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkDeliver measures deliveries of 10 KiB to 10 accounts by a number of
// senders, from content in memory until they are durable, and until applied.
func BenchmarkDeliver(b *testing.B) {
	for _, senders := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			d := testDir(b, b.TempDir(), func(o *Options) { o.SegmentSize = 0 })
			var accounts []*Account
			for i := range 10 {
				a, err := d.Create(b.Context(), fmt.Sprintf("a%d", i), NewAccount{})
				if err != nil {
					b.Fatal(err)
				}
				accounts = append(accounts, a)
			}
			body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 140)
			var n atomic.Int64
			b.SetParallelism((senders + 1) / 2)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := int(n.Add(1))
					if err := deliver(b, d, testMessage(i, body), "", accounts[i%10]); err != nil {
						b.Error(err)
						return
					}
				}
			})
			accepted := b.Elapsed()
			start := time.Now()
			for _, a := range accounts {
				a.WaitDurable(b.Context())
			}
			b.ReportMetric(float64(n.Load())/accepted.Seconds(), "accepted/s")
			b.ReportMetric(float64(n.Load())/(accepted+time.Since(start)).Seconds(), "applied/s")
			b.StopTimer()
			for _, a := range accounts {
				if err := a.Close(); err != nil {
					b.Error(err)
				}
			}
			if err := d.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// BenchmarkAnalyze measures what one pass over a content costs.
func BenchmarkAnalyze(b *testing.B) {
	content := testMessage(1, strings.Repeat(strings.Repeat("x", 70)+"\r\n", 140))
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := Analyze(bytes.NewReader(content), int64(len(content))); err != nil {
			b.Fatal(err)
		}
	}
}

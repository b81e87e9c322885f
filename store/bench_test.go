package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mjl-/mox/atomicfile"
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

// BenchmarkHandOver measures the two ways to take a content that the queue has in
// a file: reading it into the journal, and linking it, which needs a sync of the
// directory of files. It counts until the message is applied.
//
// With 50 workers, on two cores and a virtual disk that others used too, contents
// of 4, 16, 64 and 256 KiB took 2.4, 1.5, 2.6 and 4.0 ms inline, and 1.2, 1.7, 1.4
// and 1.5 ms as links; with one worker 5.7, 4.4, 4.1 and 8.1 ms, and 3.2, 3.9, 2.7
// and 3.6 ms. The sync of the directory is shared, and an inline content is
// written twice: into the journal, and then to its file.
func BenchmarkHandOver(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 10, 64 << 10, 256 << 10} {
		for _, workers := range []int{1, 50} {
			for _, way := range []string{"inline", "link"} {
				b.Run(fmt.Sprintf("size=%dk/workers=%d/%s", size>>10, workers, way), func(b *testing.B) {
					benchmarkHandOver(b, size, workers, way == "link")
				})
			}
		}
	}
}

func benchmarkHandOver(b *testing.B, size, workers int, link bool) {
	d := testDir(b, b.TempDir(), func(o *Options) { o.SegmentSize, o.CleanBytes = 0, 256<<20 })
	var accounts []*Account
	for i := range 10 {
		a, err := d.Create(b.Context(), fmt.Sprintf("a%d", i), NewAccount{})
		if err != nil {
			b.Fatal(err)
		}
		accounts = append(accounts, a)
	}
	content := testMessage(1, strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72))
	dir, an := b.TempDir(), analysis(b, content)
	path := func(i int64) string { return filepath.Join(dir, fmt.Sprint(i%100)) }
	for i := range int64(100) {
		if err := atomicfile.WriteFile(path(i), content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Int64
	take := func(path string) (*Content, error) {
		if link {
			return d.ContentLink(b.Context(), path)
		}
		data, err := os.ReadFile(path)
		return d.ContentBytes(data), err
	}
	handOver := func() error {
		i := n.Add(1)
		c, err := take(path(i))
		if err != nil {
			return err
		}
		a, key := accounts[i%10], fmt.Sprint("k", i)
		if err := d.Deliver(b.Context(), Delivery{Content: c, Analysis: an, Received: time.Now(), To: []Recipient{{Account: a, Key: key}}}); err != nil {
			return err
		}
		ok, err := a.HandedOver(b.Context(), key)
		if err == nil && !ok {
			err = errors.New("not handed over")
		}
		return err
	}
	b.SetBytes(int64(size))
	b.SetParallelism((workers + 1) / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := handOver(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	for _, a := range accounts {
		if err := a.Close(); err != nil {
			b.Error(err)
		}
	}
	if err := d.Close(); err != nil {
		b.Error(err)
	}
}

package resolver_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// BenchmarkCached looks up what is kept.
func BenchmarkCached(b *testing.B) {
	r := benchResolver(b, benchTree(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, res, err := r.LookupMX(b.Context(), "nsec.example."); err != nil || !res.Authentic {
			b.Fatal(res, err)
		}
	}
}

// BenchmarkCachedParallel does so on all processors.
func BenchmarkCachedParallel(b *testing.B) {
	r := benchResolver(b, benchTree(b))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, res, err := r.LookupMX(b.Context(), "nsec.example."); err != nil || !res.Authentic {
				b.Error(res, err)
				return
			}
		}
	})
}

// BenchmarkCold validates names of which nothing is known, not even keys, against
// servers in memory: what is left is our work, and theirs.
func BenchmarkCold(b *testing.B) {
	for _, c := range []struct{ name, asked string }{
		{"records", "mx.nsec.example."},
		{"nsec", "nope.nsec.example."},
		{"nsec3", "nope.nsec3.example."},
		{"unsigned", "mx.plain.example."},
	} {
		b.Run(c.name, func(b *testing.B) {
			tree := benchTree(b)
			b.ReportAllocs()
			queries := tree.Total()
			n := 0
			for b.Loop() {
				_, _, err := benchResolver(b, tree).LookupIP(b.Context(), "ip4", c.asked)
				if err != nil && c.name != "nsec" && c.name != "nsec3" {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(tree.Total()-queries)/float64(n), "queries/op")
		})
	}
}

// BenchmarkWarm validates names of zones whose keys are kept.
func BenchmarkWarm(b *testing.B) {
	tree := benchTree(b)
	r := benchResolver(b, tree)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, res, err := r.LookupTXT(b.Context(), fmt.Sprintf("h%d.wild.nsec.example.", n)); err != nil || !res.Authentic {
			b.Fatal(res, err)
		}
		n++
	}
	b.ReportMetric(float64(tree.Total())/float64(n), "queries/op")
}

// BenchmarkMemory keeps 100,000 answers with an address each, and tells what they
// take.
func BenchmarkMemory(b *testing.B) {
	const names = 100_000
	zone := newZone(b)
	if err := zone.Set("*.example.org. 3600 A 192.0.2.1"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		before := heap()
		r, err := resolver.New(resolver.Options{Mode: resolver.SystemAD, Servers: []string{"127.0.0.1"}, Dial: zone.Dial, CacheSize: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		for i := range names {
			if _, _, err := r.LookupIP(b.Context(), "ip4", fmt.Sprintf("h%d.example.org.", i)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/names, "bytes/entry")
		runtime.KeepAlive(r)
	}
}

// heap returns the bytes in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func benchTree(b *testing.B) *dnstest.Tree {
	return newTree(b, time.Now(), damagedZones...)
}

func benchResolver(b *testing.B, tree *dnstest.Tree) *resolver.Resolver {
	r, err := resolver.New(treeOptions(tree))
	if err != nil {
		b.Fatal(err)
	}
	return r
}

package journal

import (
	"path/filepath"
	"testing"
)

// BenchmarkOpen measures a start with a journal of two segments of 4 MiB, as
// localserve has: it reads them whole, to be sure of where the log ends.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "journal")
	opts := Options{SegmentSize: 4 << 20, Rand: newTestRand(1)}
	for b.Loop() {
		j, err := Open(dir, opts)
		if err != nil {
			b.Fatal(err)
		}
		if err := j.Entries(func(*Entry) error { return nil }); err != nil {
			b.Fatal(err)
		}
		if err := j.Start(); err != nil {
			b.Fatal(err)
		}
		if _, err := j.Append(b.Context(), Record{Type: 1, Data: [][]byte{make([]byte, 1000)}}); err != nil {
			b.Fatal(err)
		}
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

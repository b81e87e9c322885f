package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSpareFiles removes segments and writes new ones into their files, with
// restarts between: what was in a file before is never taken for records.
func TestSpareFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	opts := Options{SegmentSize: segmentSizeMin, Rand: newTestRand(1)}
	used := false
	var want []string
	for round := range 5 {
		j, err := Open(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		got := journalEntries(t, j)
		if len(got) == 0 && round > 0 || !slices.Equal(got, want[len(want)-len(got):]) {
			t.Fatalf("round %d: got %d records, not the last of %d", round, len(got), len(want))
		}
		if err := j.Start(); err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			text := fmt.Sprintf("%d %d %s", round, i, strings.Repeat("x", 3000))
			want = append(want, text)
			add(t, j, text)
			if i%10 != 9 {
				continue
			}
			if _, err := j.RemoveThrough(j.Head()); err != nil {
				t.Fatal(err)
			}
			names, err := j.fs.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			spares := 0
			for _, name := range names {
				if strings.HasSuffix(name, spareSuffix) {
					spares++
				}
			}
			used = used || spares > 0
			if spares > sparesMin && int64(spares)*segmentSizeMin > sparesMax {
				t.Errorf("%d spare files", spares)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(t.Context(), dir, nil)
		if err := errors.Join(append(report.Problems, err)...); err != nil || report.Torn || report.Head != uint64(len(want)) {
			t.Errorf("round %d: report %+v, error %v", round, report, err)
		}
	}
	if !used {
		t.Error("no file was kept")
	}
}

package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// TestSpareReused counts the files that are written with zeros: after the first
// segments, removed ones are used again, over restarts too.
func TestSpareReused(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	var allocated atomic.Int32
	m.hook(func(op, _ string) error {
		if op == "allocate" {
			allocated.Add(1)
		}
		return nil
	})
	var last uint64
	for range 5 {
		j := open(t, "j", testOptions(m))
		for range 20 {
			last = add(t, j, strings.Repeat("x", 5000))
			if _, err := j.RemoveThrough(last); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A few are in use at a time: the last with a record, that made ahead, one that
	// is about to be removed, and spare ones.
	if n := allocated.Load(); last != 100 || n > 8 {
		t.Errorf("%d files written for %d segments", n, last)
	}
}

// TestSpareAfterSync shows that the file of a removed segment is not used before
// the removal is durable: a power cut would leave a segment of the old name with
// what is written now.
func TestSpareAfterSync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		j := open(t, "j", testOptions(m))
		for range 3 {
			add(t, j, strings.Repeat("x", 5000))
		}
		synctest.Wait() // For the next segment to be made.
		renamed, early := false, ""
		m.hook(func(op, path string) error {
			renamed = renamed || op == "rename" && strings.HasSuffix(path, spareSuffix)
			if op == "syncdir" && renamed && early == "" {
				early = j.takeSpare()
			}
			return nil
		})
		if n, err := j.RemoveThrough(1); n != 1 || err != nil || !renamed {
			t.Fatalf("removed %d, %v", n, err)
		}
		if early != "" || j.takeSpare() == "" {
			t.Errorf("before the sync: %q", early)
		}
	})
}

// TestSpareUnusable has spare files of another size, and one that is gone.
func TestSpareUnusable(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	other := "j/" + id{1}.String() + spareSuffix
	m.cache[other] = &memInode{cache: make([]byte, 100), dirty: map[int]bool{}}
	m.cache["j/notes.spare"] = &memInode{}
	j, err := Open("j", testOptions(m))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	j.spares = append(j.spares, id{2}.String()+spareSuffix)
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		add(t, j, strings.Repeat("x", 5000))
	}
	if names := m.names(); strings.Contains(names, other) || !strings.Contains(names, "notes") {
		t.Errorf("left: %s", names)
	}
}

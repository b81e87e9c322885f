package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mjl-/mox/internal/fault"
)

// ledger is what the users of a journal know: what was acknowledged, and what
// may be gone.
type ledger struct {
	mu      sync.Mutex
	offered map[string]bool   // Texts given to Append, acknowledged or not.
	acked   map[uint64]string // By sequence.
	removed uint64            // RemoveThrough was called up to here.
}

func newLedger() *ledger {
	return &ledger{offered: map[string]bool{}, acked: map[uint64]string{}}
}

func (l *ledger) clone() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &ledger{offered: maps.Clone(l.offered), acked: maps.Clone(l.acked), removed: l.removed}
}

func (l *ledger) append(j *Journal, text string, files ...FileRef) error {
	l.mu.Lock()
	l.offered[text] = true
	l.mu.Unlock()
	seq, err := j.Append(context.Background(), Record{Data: [][]byte{[]byte(text)}, Files: files})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked[seq] != "" {
		return fmt.Errorf("sequence %d was given to %q and to %q", seq, l.acked[seq], text)
	}
	l.acked[seq] = text
	return nil
}

func (l *ledger) remove(j *Journal, seq uint64) error {
	l.mu.Lock()
	l.removed = max(l.removed, seq)
	l.mu.Unlock()
	_, err := j.RemoveThrough(seq)
	return err
}

// check compares the ledger with what a start finds on m: every acknowledged
// record once and whole, with its files, and nothing that was never offered. It
// appends a record, and leaves a journal that was closed in order.
func (l *ledger) check(m *memFS, texts string) error {
	j, err := Open("j", testOptions(m))
	if err != nil {
		return err
	}
	defer j.Close()
	found := map[uint64]string{}
	seen := map[string]bool{}
	err = j.Entries(func(e *Entry) error {
		text := string(e.Data)
		if !l.offered[text] || seen[text] || found[e.Seq] != "" {
			return fmt.Errorf("record %d, %.20q, was never offered, or is there twice", e.Seq, text)
		}
		found[e.Seq], seen[text] = text, true
		return l.checkFiles(m, e)
	})
	if err != nil {
		return err
	}
	for seq, text := range l.acked {
		if found[seq] != text && (seq > l.removed || found[seq] != "") {
			return fmt.Errorf("acknowledged record %d, %.20q: found %.20q; head %d", seq, text, found[seq], j.Head())
		}
		if seq > j.Head() {
			return fmt.Errorf("head %d is below record %d", j.Head(), seq)
		}
	}
	// From here on what was found counts as acknowledged: it was acted upon.
	maps.Copy(l.acked, found)
	if err := j.Start(); err != nil {
		return err
	}
	return errors.Join(l.append(j, texts), j.Close())
}

func (l *ledger) checkFiles(m *memFS, e *Entry) error {
	for _, ref := range e.Files {
		path := filepath.Join("j", filesDir, ref.Name)
		m.mu.Lock()
		inode := m.cache[path]
		m.mu.Unlock()
		if inode == nil {
			return fmt.Errorf("record %d: its file is missing", e.Seq)
		}
		if int64(len(inode.cache)) != ref.Size || crc32.Checksum(inode.cache, castagnoli) != ref.CRC {
			return fmt.Errorf("record %d: its file has other content", e.Seq)
		}
	}
	return nil
}

// snapshot is a moment at which power goes or the process is killed.
type snapshot struct {
	name   string
	fs     *memFS
	ledger *ledger
}

// work appends from several goroutines, with files, removes segments, and stops
// at the first error. It closes the journal.
func work(j *Journal, l *ledger, m *memFS, seed uint64, rounds int) error {
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for g := range errs {
		rnd := rand.New(rand.NewPCG(seed, uint64(g)))
		wg.Go(func() {
			for i := 0; i < rounds && errs[g] == nil; i++ {
				text := fmt.Sprintf("%d/%d/%d %s", seed, g, i, strings.Repeat("x", rnd.IntN(1+rnd.IntN(3000))))
				errs[g] = step(j, l, m, rnd, text)
			}
		})
	}
	wg.Wait()
	return errors.Join(errors.Join(errs...), j.Close())
}

func step(j *Journal, l *ledger, m *memFS, rnd *rand.Rand, text string) error {
	switch rnd.IntN(8) {
	case 0:
		return l.remove(j, j.Head()-min(j.Head(), rnd.Uint64N(10)))
	case 1:
		ref, err := j.AddFile(context.Background(), int64(len(text)), strings.NewReader(text))
		if err != nil {
			return err
		}
		if rnd.IntN(4) == 0 {
			return j.DropFile(ref)
		}
		return l.append(j, text, ref)
	}
	return l.append(j, text)
}

// recoverAll checks the snapshots, each after a kill, a power cut that loses
// all, one that loses nothing, and one in between; and after the recovery again,
// since what a start acts upon must be durable before.
func recoverAll(t *testing.T, rnd *rand.Rand, snapshots []snapshot) {
	t.Helper()
	for _, s := range snapshots {
		for _, crash := range []struct {
			name string
			make func(m *memFS) *memFS
		}{
			{"kill", (*memFS).killed},
			{"all lost", func(m *memFS) *memFS { return m.powerCut(rnd, 0) }},
			{"all written", func(m *memFS) *memFS { return m.powerCut(rnd, 1) }},
			{"half lost", func(m *memFS) *memFS { return m.powerCut(rnd, 0.5) }},
			{"most lost", func(m *memFS) *memFS { return m.powerCut(rnd, 0.1) }},
		} {
			l, m := s.ledger.clone(), crash.make(s.fs)
			if err := l.check(m, "first"); err != nil {
				t.Errorf("%s, %s: %v", s.name, crash.name, err)
				continue
			}
			if err := l.check(m.powerCut(rnd, 0), "second"); err != nil {
				t.Errorf("%s, %s, then a power cut: %v", s.name, crash.name, err)
			}
		}
	}
}

// TestCrashAnywhere stops many runs at random operations of the file system.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 99))
			m, l := newMemFS(), newLedger()
			snapshots := crashes(m, l, rnd, 0.03)
			for run := range uint64(3) {
				j, err := Open("j", testOptions(m))
				if err == nil {
					err = j.Start()
				}
				if err == nil {
					err = work(j, l, m, seed<<8|run, 15)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			m.hook(nil)
			recoverAll(t, rnd, append(*snapshots, snapshot{"at the end", m.killed(), l.clone()}))
			if m.open != 0 {
				t.Errorf("%d files left open", m.open)
			}
		})
	}
}

// crashes takes a snapshot before each operation on m with this probability.
func crashes(m *memFS, l *ledger, rnd *rand.Rand, p float64) *[]snapshot {
	var mu sync.Mutex
	snapshots := &[]snapshot{}
	m.hook(func(op, path string) error {
		mu.Lock()
		defer mu.Unlock()
		if rnd.Float64() < p {
			// What is acknowledged after the ledger was read need not be there.
			known := l.clone()
			*snapshots = append(*snapshots, snapshot{op + " " + path, m.killed(), known})
		}
		return nil
	})
	return snapshots
}

// TestCrashInRecovery stops the recovery from a crash at each of its operations.
func TestCrashInRecovery(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		m, l := newMemFS(), newLedger()
		first := crashes(m, l, rnd, 0.05)
		j, err := Open("j", testOptions(m))
		if err == nil {
			err = errors.Join(j.Start(), work(j, l, m, seed, 12))
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range *first {
			m := s.fs
			if i%2 > 0 {
				m = m.powerCut(rnd, 0.5)
			}
			second := crashes(m, s.ledger, rnd, 1)
			if err := s.ledger.check(m, "recovered"); err != nil {
				t.Fatal(err)
			}
			m.hook(nil)
			recoverAll(t, rnd, *second)
		}
	}
}

// TestFaultPoints lets a run come by every fault point and stops it there, each
// time it does.
func TestFaultPoints(t *testing.T) {
	t.Parallel()
	for _, point := range Points() {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, 2))
			m, l, faults := newMemFS(), newLedger(), fault.New()
			var snapshots []snapshot
			faults.Arm(point, func() error {
				known := l.clone()
				if len(snapshots) < 20 {
					snapshots = append(snapshots, snapshot{point, m.killed(), known})
				}
				return nil
			})
			for range 2 {
				opts := testOptions(m)
				opts.Faults = faults
				j, err := Open("j", opts)
				if err == nil {
					err = j.Start()
				}
				for i := 0; i < 12 && err == nil; i++ {
					text := fmt.Sprint(point, len(l.offered), strings.Repeat("x", 1500))
					var ref FileRef
					if ref, err = j.AddFile(t.Context(), 4, strings.NewReader("file")); err == nil {
						err = l.append(j, text, ref)
					}
				}
				if err == nil {
					err = l.remove(j, j.Head())
				}
				if err = errors.Join(err, j.Close()); err != nil {
					t.Fatal(err)
				}
			}
			if len(snapshots) == 0 {
				t.Fatal("never came by")
			}
			recoverAll(t, rnd, snapshots)
		})
	}
}

// TestFaultPointsFail lets each fault point fail once. Whatever Append said
// must hold after the restart that follows.
func TestFaultPointsFail(t *testing.T) {
	t.Parallel()
	for _, point := range Points() {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, 2))
			m, l := newMemFS(), newLedger()
			for nth := range 5 {
				faults := fault.New()
				faults.ArmNth(point, nth+1, func() error { return errDisk })
				opts := testOptions(m)
				opts.Faults = faults
				j, err := Open("j", opts)
				if err == nil {
					err = errors.Join(j.Start(), work(j, l, m, uint64(nth), 10), j.Close())
				}
				if err != nil && !errors.Is(err, errDisk) {
					t.Errorf("%d: %v", nth, err)
				}
				recoverAll(t, rnd, []snapshot{{fmt.Sprint(nth), m.killed(), l}})
			}
		})
	}
}

// TestFailedSync lets a sync fail after which the pages count as clean. A start
// finds the records in the cache, and acts upon them; a power cut after that
// must find them too (rule 7).
func TestFailedSync(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		m, l := newMemFS(), newLedger()
		j, err := Open("j", testOptions(m))
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Start(); err != nil {
			t.Fatal(err)
		}
		left := rnd.IntN(30)
		var mu sync.Mutex
		m.hook(func(op, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			if left--; op == "sync" && left < 0 {
				return errDisk
			}
			return nil
		})
		if err := work(j, l, m, seed, 30); !errors.Is(err, ErrFailed) {
			t.Fatalf("got %v", err)
		}
		// The next start comes while the disk still fails, and again when it works.
		if j, err := Open("j", testOptions(m)); err == nil {
			t.Error("a start on a failing disk")
			_ = j.Close()
		}
		m.hook(nil)
		recoverAll(t, rnd, []snapshot{{"after the failure", m, l}})
	}
}

// TestRewriteIsNeeded shows that the tests would find a start that trusts the
// page cache: without its sync the record is lost with the power.
func TestRewriteIsNeeded(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	j, err := Open("j", testOptions(m))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	add(t, j, "durable")
	m.hook(func(op, path string) error {
		if op == "sync" && path == "j/"+segmentName(1) { // Not for that made ahead.
			return errDisk
		}
		return nil
	})
	if _, err := j.Append(t.Context(), Record{Data: [][]byte{[]byte("cached")}}); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	m.hook(nil)
	rnd := rand.New(rand.NewPCG(1, 1))
	if got := entries(t, "j", testOptions(m.powerCut(rnd, 1))); !slices.Equal(got, []string{"durable"}) {
		t.Errorf("power cut at once: got %q", got)
	}
	if got := entries(t, "j", testOptions(m)); !slices.Equal(got, []string{"durable", "cached"}) {
		t.Errorf("the cache: got %q", got)
	}
	if got := entries(t, "j", testOptions(m.powerCut(rnd, 0))); !slices.Equal(got, []string{"durable", "cached"}) {
		t.Errorf("power cut after a start: got %q", got)
	}
}

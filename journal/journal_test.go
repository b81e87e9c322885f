package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/internal/fault"
)

// testRand is a source of ids that differ in each use and not between runs.
type testRand struct {
	mu  sync.Mutex
	rnd *rand.ChaCha8
}

func newTestRand(n uint64) *testRand {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], n)
	return &testRand{rnd: rand.NewChaCha8(key)}
}

func (r *testRand) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rnd.Read(p)
}

// testOptions returns options for small segments on m.
func testOptions(m *memFS) Options {
	return Options{SegmentSize: segmentSizeMin, Rand: newTestRand(rand.Uint64()), fs: m}
}

// open opens and starts a journal in dir, and closes it with the test.
func open(t *testing.T, dir string, opts Options) *Journal {
	t.Helper()
	j, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	return j
}

// add appends a record of this text.
func add(t *testing.T, j *Journal, text string) uint64 {
	t.Helper()
	seq, err := j.Append(t.Context(), Record{Type: 1, Data: [][]byte{[]byte(text)}})
	if err != nil {
		t.Fatalf("appending %q: %v", text, err)
	}
	return seq
}

// entries returns the data of all records that a start finds, and checks that
// sequences have no gap.
func entries(t *testing.T, dir string, opts Options) []string {
	t.Helper()
	j, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	return journalEntries(t, j)
}

func journalEntries(t *testing.T, j *Journal) []string {
	t.Helper()
	var texts []string
	var last uint64
	err := j.Entries(func(e *Entry) error {
		if last > 0 && e.Seq != last+1 {
			t.Errorf("record %d after %d", e.Seq, last)
		}
		last = e.Seq
		texts = append(texts, string(e.Data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(texts) > 0 && last != j.Head() {
		t.Errorf("last record %d, head %d", last, j.Head())
	}
	return texts
}

// TestAppend appends records of all shapes over several segments on a real
// disk, and finds them again after each restart.
func TestAppend(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	opts := Options{SegmentSize: segmentSizeMin, Rand: newTestRand(1)}
	var want []string
	var journalID string
	for round := range 4 {
		j, err := Open(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := journalEntries(t, j); !slices.Equal(got, want) {
			t.Fatalf("round %d: got %d records, want %d", round, len(got), len(want))
		}
		if j.Head() != uint64(len(want)) {
			t.Errorf("round %d: head is %d, want %d", round, j.Head(), len(want))
		}
		if round > 0 && j.ID() != journalID || len(j.ID()) != 32 {
			t.Errorf("round %d: id is %s, was %s", round, j.ID(), journalID)
		}
		journalID = j.ID()
		if err := j.Start(); err != nil {
			t.Fatal(err)
		}
		for _, parts := range [][]string{{}, {""}, {"a"}, {"b", "", "cd"}, {strings.Repeat("x", 5000)}, {"1234567"}, {"12345678"}} {
			var data [][]byte
			for _, p := range parts {
				data = append(data, []byte(p))
			}
			seq, err := j.Append(t.Context(), Record{Type: 7, Data: data})
			want = append(want, strings.Join(parts, ""))
			if err != nil || seq != uint64(len(want)) {
				t.Fatalf("got sequence %d, error %v, want %d", seq, err, len(want))
			}
		}
		if err := errors.Join(j.Close(), j.Close()); err != nil {
			t.Error(err)
		}
	}
	report, err := Verify(t.Context(), dir, nil)
	if err != nil || len(report.Problems) > 0 || report.Torn || report.Records != int64(len(want)) ||
		report.Head != uint64(len(want)) || report.ID != journalID || report.Segments < 2 || len(report.Strays) > 0 {
		t.Errorf("got %+v, %v", report, err)
	}
}

// TestBatch holds the disk in the sync of one record: all that comes meanwhile
// must be one write and one sync (rule 1).
func TestBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		opts := testOptions(m)
		var mu sync.Mutex
		var durable []*Entry
		var events []Event
		opts.Durable = func(e *Entry) {
			mu.Lock()
			defer mu.Unlock()
			durable = append(durable, e)
		}
		opts.Observe = func(e Event) { events = append(events, e) }
		j := open(t, "j", opts)
		synctest.Wait() // For the next segment to be made.

		hold := make(chan struct{})
		syncs := 0
		m.hook(func(op, _ string) error {
			if op == "sync" {
				syncs++
				<-hold
			}
			return nil
		})
		var wg sync.WaitGroup
		appendOne := func(i int) {
			wg.Go(func() {
				seq, err := j.Append(t.Context(), Record{Type: 3, Data: [][]byte{{byte(i)}}, Value: i})
				mu.Lock()
				defer mu.Unlock()
				if err != nil || !slices.ContainsFunc(durable, func(e *Entry) bool { return e.Seq == seq && e.Value == i }) {
					t.Errorf("record %d: got sequence %d, error %v; it was not yet told of", i, seq, err)
				}
			})
			synctest.Wait()
		}
		appendOne(0)
		for i := range 9 {
			appendOne(i + 1)
		}
		if j.Head() != 0 || len(durable) != 0 {
			t.Errorf("before the sync: head %d, %d told of", j.Head(), len(durable))
		}
		close(hold)
		wg.Wait()
		synctest.Wait()

		if syncs != 2 {
			t.Errorf("%d syncs for ten records", syncs)
		}
		for i, e := range durable {
			batch := uint64(1)
			if i > 0 {
				batch = 2
			}
			if e.Seq != uint64(i+1) || e.Value != i || e.Batch != batch || e.Type != 3 || e.Data != nil {
				t.Errorf("record %d: told of %+v", i, e)
			}
		}
		if len(events) != 2 || events[0].Records != 1 || events[1].Records != 9 || events[1].Bytes != 9*48 || events[1].Err != nil {
			t.Errorf("got events %+v", events)
		}
	})
}

// TestContext ends the context of one Append that the writer has taken and of
// one that it has not.
func TestContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		opts := testOptions(m)
		j := open(t, "j", opts)
		synctest.Wait()
		hold := make(chan struct{})
		m.hook(func(op, _ string) error { <-hold; return nil })

		ctx, cancel := context.WithCancel(t.Context())
		results := make([]error, 2) // Each read after a synctest.Wait that follows its write.
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				_, results[i] = j.Append(ctx, Record{Data: [][]byte{fmt.Append(nil, i)}})
			})
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		if !errors.Is(results[1], context.Canceled) {
			t.Errorf("not taken: got %v", results[1])
		}
		time.Sleep(time.Hour) // Only the disk ends the wait of what was taken.
		close(hold)
		wg.Wait()
		if results[0] != nil {
			t.Errorf("taken: got %v", results[0])
		}
		m.hook(nil)
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if got := entries(t, "j", opts); !slices.Equal(got, []string{"0"}) {
			t.Errorf("got records %q", got)
		}
	})
}

// TestRoom fills the disk: appends are refused after the wait, nothing fails for
// good, and when there is room again they go on.
func TestRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		opts := testOptions(m)
		var failed, full atomic.Int32
		opts.Observe = func(e Event) {
			if e.Err != nil {
				failed.Add(1)
			}
			if errors.Is(e.Err, syscall.ENOSPC) {
				full.Add(1)
			}
		}
		m.hook(func(op, path string) error {
			if op == "allocate" && !strings.Contains(path, segmentName(1)) {
				return syscall.ENOSPC
			}
			return nil
		})
		j := open(t, "j", opts)
		big := strings.Repeat("x", 5000)
		add(t, j, big) // One of 5000 is all that a segment takes.
		started := time.Now()
		_, err := j.Append(t.Context(), Record{Data: [][]byte{[]byte(big)}})
		if !errors.Is(err, ErrRoom) || time.Since(started) != roomWait {
			t.Errorf("got %v after %v", err, time.Since(started))
		}
		if full.Load() < 29 || failed.Load() != full.Load() || j.Err() != nil {
			t.Errorf("told of %d failures, %d for a full disk; journal: %v", failed.Load(), full.Load(), j.Err())
		}
		m.hook(nil)
		if seq := add(t, j, big); seq != 2 {
			t.Errorf("got sequence %d", seq)
		}
		if len(m.names()) == 0 || strings.Contains(m.names(), tempSuffix) {
			t.Errorf("left: %s", m.names())
		}
	})
}

// TestRefused tries what can't be written or comes at the wrong time.
func TestRefused(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := testOptions(m)
	j, err := Open("j", opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, small := t.Context(), Record{Data: [][]byte{{1}}}
	largest := make([]byte, segmentSizeMin-dataOffset-recordHeaderSize)
	expect := func(what string, rec Record, want error) {
		t.Helper()
		if _, err := j.Append(ctx, rec); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	expect("before start", small, ErrClosed)
	if _, err := j.AddFile(ctx, 0, strings.NewReader("")); !errors.Is(err, ErrClosed) {
		t.Errorf("file before start: got %v", err)
	}
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	if err := j.Start(); !errors.Is(err, ErrClosed) {
		t.Errorf("second start: got %v", err)
	}
	if err := j.Entries(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("entries after start: got %v", err)
	}
	expect("the largest", Record{Data: [][]byte{largest}}, nil)
	expect("one byte more", Record{Data: [][]byte{largest, {1}}}, ErrTooLarge)
	expect("too many files", Record{Files: make([]FileRef, filesMax+1)}, ErrTooLarge)
	for _, name := range []string{"", "../../etc/passwd", strings.Repeat("A", 32), strings.Repeat("g", 32), strings.Repeat("a", 31)} {
		if _, err := j.Append(ctx, Record{Files: []FileRef{{Name: name}}}); err == nil {
			t.Errorf("file name %q was taken", name)
		}
		if err := j.DropFile(FileRef{Name: name}); err == nil {
			t.Errorf("file name %q was dropped", name)
		}
		if _, err := j.OpenFile(name); err == nil {
			t.Errorf("file name %q was opened", name)
		}
	}
	expect("a segment later", Record{Data: [][]byte{largest}}, nil)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	expect("after close", small, ErrClosed)
	if m.open != 0 {
		t.Errorf("%d files left open", m.open)
	}
	for _, size := range []int64{1, segmentSizeMin - 8, segmentSizeMin + 1, segmentSizeMax + 8, -1} {
		opts.SegmentSize = size
		if _, err := Open("j", opts); err == nil {
			t.Errorf("segment size %d was taken", size)
		}
	}
}

// TestFloor starts with sequences of this journal known from elsewhere.
func TestFloor(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := testOptions(m)
	for _, step := range []struct {
		name  string
		floor uint64
		want  []uint64
	}{
		{"new journal", 10, []uint64{11, 12}},
		{"below the head", 5, []uint64{13}},
		{"at the head", 13, []uint64{14}},
		{"above the head", 100, []uint64{101, 102}},
		{"above, and nothing appended", 200, nil},
		{"a floor known before is not known now", 0, []uint64{201}},
		{"above, nothing appended", 300, nil},
		{"further above", 400, []uint64{401}},
	} {
		j, err := Open("j", opts)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		j.Floor(step.floor)
		j.Floor(1)
		if err := j.Start(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for _, want := range step.want {
			if seq := add(t, j, "x"); seq != want {
				t.Errorf("%s: got sequence %d, want %d", step.name, seq, want)
			}
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	if report, err := verify(t.Context(), m, "j", nil); err != nil || len(report.Problems) > 0 || report.Records != 8 {
		t.Errorf("got %+v, %v", report, err)
	}
}

// TestFailure lets one operation fail at each place of an append (rule 9): all
// that wait are refused, and nothing is tried again.
func TestFailure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		arm  func(m *memFS, faults *fault.Set)
	}{
		{"write", func(m *memFS, _ *fault.Set) { m.hook(failOn("write")) }},
		{"sync", func(m *memFS, _ *fault.Set) { m.hook(failOn("sync")) }},
		{FaultBatchBeforeWrite, nil},
		{FaultBatchBeforeSync, nil},
		{FaultBatchAfterSync, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, faults := newMemFS(), fault.New()
				opts := testOptions(m)
				opts.Faults = faults
				var failures atomic.Int32
				opts.Observe = func(e Event) {
					if e.Err != nil {
						failures.Add(1)
					}
				}
				j := open(t, "j", opts)
				add(t, j, "good")
				synctest.Wait()
				if tc.arm != nil {
					tc.arm(m, faults)
				} else {
					faults.Arm(tc.name, func() error { return errDisk })
				}
				var wg sync.WaitGroup
				for range 5 {
					wg.Go(func() {
						if _, err := j.Append(t.Context(), Record{}); !errors.Is(err, ErrFailed) || !errors.Is(err, errDisk) {
							t.Errorf("got %v", err)
						}
					})
				}
				wg.Wait()
				<-j.Failed()
				m.hook(nil)
				faults.Disarm(tc.name)
				_, err := j.Append(t.Context(), Record{})
				_, fileErr := j.AddFile(t.Context(), 0, strings.NewReader(""))
				if !errors.Is(err, ErrFailed) || !errors.Is(fileErr, ErrFailed) || !errors.Is(j.Err(), ErrFailed) || failures.Load() != 1 || j.Head() != 1 {
					t.Errorf("afterwards: %v, %v, %v, %d failures told of, head %d", err, fileErr, j.Err(), failures.Load(), j.Head())
				}
				if err := j.Close(); err != nil {
					t.Error(err)
				}
				if m.open != 0 {
					t.Errorf("%d files left open", m.open)
				}
				// The process starts again; what failed may be there or not.
				if got := entries(t, "j", testOptions(m)); got[0] != "good" {
					t.Errorf("got records %q", got)
				}
			})
		})
	}
}

// failOn returns a hook for memFS that fails one kind of operation.
func failOn(op string) func(op, path string) error {
	return func(o, _ string) error {
		if o == op {
			return errDisk
		}
		return nil
	}
}

// TestSegmentFailure lets the making of the next segment fail. For lack of room
// that is tried again; a fault of the disk ends the journal.
func TestSegmentFailure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fatal bool
	}{
		{"no room", false},
		{FaultSegmentBeforeSync, true},
		{FaultSegmentBeforeDirSync, true},
		{FaultSegmentBeforeBegin, true},
		{FaultSegmentAfterBegin, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, faults := newMemFS(), fault.New()
				opts := testOptions(m)
				opts.Faults = faults
				faults.ArmNth(tc.name, 2, func() error { return errDisk })
				attempts := 0
				m.hook(func(op, _ string) error {
					if op != "allocate" || tc.fatal {
						return nil
					}
					if attempts++; attempts == 2 {
						return errDisk
					}
					return nil
				})
				j := open(t, "j", opts)
				var err error
				for range 4 {
					if _, err = j.Append(t.Context(), Record{Data: [][]byte{make([]byte, 5000)}}); err != nil {
						break
					}
				}
				if errors.Is(err, ErrFailed) != tc.fatal || (j.Err() != nil) != tc.fatal || faults.Hits(tc.name)+attempts < 2 {
					t.Errorf("got %v after %d hits and %d attempts", err, faults.Hits(tc.name), attempts)
				}
				if err := j.Close(); err != nil {
					t.Error(err)
				}
				entries(t, "j", testOptions(m))
			})
		})
	}
}

// TestCloseRefusesWaiting closes a journal in which records wait for room.
func TestCloseRefusesWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		j := open(t, "j", testOptions(m))
		m.hook(failOn("allocate"))
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = j.Append(t.Context(), Record{Data: [][]byte{make([]byte, 5000)}}) })
			synctest.Wait()
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		for i, err := range errs {
			// Two segments are there, which take one record each.
			if i < 2 && err != nil && !errors.Is(err, ErrClosed) || i >= 2 && !errors.Is(err, ErrClosed) {
				t.Errorf("record %d: got %v", i, err)
			}
		}
	})
}

// TestQueueMax shows that the queue is bounded. There is no writer to empty it.
func TestQueueMax(t *testing.T) {
	t.Parallel()
	j := &Journal{opts: testOptions(newMemFS()), wake: make(chan struct{}, 1), started: true}
	for range waitersMax {
		if err := j.enqueue(&waiter{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.enqueue(&waiter{}); !errors.Is(err, ErrRoom) {
		t.Errorf("got %v", err)
	}
}

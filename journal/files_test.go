package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mjl-/mox/internal/fault"
)

// diskOptions returns options for small segments on the real disk.
func diskOptions() Options {
	return Options{SegmentSize: segmentSizeMin, Rand: newTestRand(uint64(time.Now().UnixNano()))}
}

func fileNames(t *testing.T, dir string) []string {
	t.Helper()
	names, err := diskFS{}.List(filepath.Join(dir, filesDir))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestFiles follows files from AddFile and LinkFile through restarts until the
// segment of their record is removed.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.WriteFile(outside, []byte("linked"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "journal")
	j := open(t, dir, diskOptions())
	added, err := j.AddFile(t.Context(), 5, iotest.OneByteReader(strings.NewReader("added")))
	if err != nil {
		t.Fatal(err)
	}
	linked, err := j.LinkFile(t.Context(), outside)
	if err != nil {
		t.Fatal(err)
	}
	for ref, content := range map[FileRef]string{added: "added", linked: "linked"} {
		f, err := j.OpenFile(ref.Name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if string(got) != content || err != nil || ref.Size != int64(len(content)) || ref.CRC != crc32.Checksum(got, castagnoli) {
			t.Errorf("got %q, %v, want %q, %+v", got, err, content, ref)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	unnamed, err := j.AddFile(t.Context(), 0, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	dropped, err := j.AddFile(t.Context(), 1, strings.NewReader("x"))
	if err = errors.Join(err, j.DropFile(dropped), j.DropFile(dropped)); err != nil {
		t.Fatal(err)
	}
	named := []FileRef{added, linked, added} // A record may name one twice.
	if _, err := j.Append(t.Context(), Record{Files: named}); err != nil {
		t.Fatal(err)
	}
	if err := j.DropFile(added); err == nil {
		t.Error("a file was dropped that a record names")
	}
	if got := fileNames(t, dir); len(got) != 3 || !slices.Contains(got, unnamed.Name) {
		t.Errorf("before the restart: %v", got)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	report, err := Verify(t.Context(), dir, nil)
	if err != nil || len(report.Problems) > 0 || !slices.Equal(report.Strays, []string{unnamed.Name}) {
		t.Errorf("verify: %+v, %v", report, err)
	}
	j, err = Open(dir, diskOptions())
	if err != nil {
		t.Fatal(err)
	}
	err = j.Entries(func(e *Entry) error {
		if !slices.Equal(e.Files, named) {
			t.Errorf("got files %v", e.Files)
		}
		return nil
	})
	if err = errors.Join(err, j.Start()); err != nil {
		t.Fatal(err)
	}
	if got := fileNames(t, dir); len(got) != 2 {
		t.Errorf("after the restart: %v", got)
	}
	// A later record names one of them too; it must stay when the first goes.
	for range 2 {
		if _, err := j.Append(t.Context(), Record{Data: [][]byte{make([]byte, 8000)}, Files: []FileRef{added}}); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := j.RemoveThrough(1)
	if removed != 1 || err != nil {
		t.Errorf("removed %d, %v", removed, err)
	}
	if got := fileNames(t, dir); !slices.Equal(got, []string{added.Name}) {
		t.Errorf("after the removal: %v", got)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(outside); string(got) != "linked" || err != nil {
		t.Errorf("the file that was linked: %q, %v", got, err)
	}
}

// TestAddFileRefused tries contents that are not what was announced.
func TestAddFileRefused(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		r    io.Reader
		want error
	}{
		{"too short", t.Context(), strings.NewReader("four"), io.ErrUnexpectedEOF},
		{"too long", t.Context(), strings.NewReader("sixsix"), io.ErrUnexpectedEOF},
		{"a reader that fails", t.Context(), iotest.ErrReader(errDisk), errDisk},
		{"a context that has ended", ended, strings.NewReader("right"), context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			j := open(t, "j", testOptions(m))
			if ref, err := j.AddFile(tc.ctx, 5, tc.r); !errors.Is(err, tc.want) || ref != (FileRef{}) {
				t.Errorf("got %v, %v", ref, err)
			}
			if names, err := m.List(filepath.Join("j", filesDir)); len(names) > 0 || err != nil {
				t.Errorf("left: %v, %v", names, err)
			}
			if j.Err() != nil {
				t.Error(j.Err())
			}
		})
	}
	m := newMemFS()
	j := open(t, "j", testOptions(m))
	if _, err := j.LinkFile(t.Context(), "absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("linking an absent file: got %v", err)
	}
}

// TestAddFileFailure lets the syncs of a file fail. That of the directory ends
// the journal: later ones would tell nothing of what was lost.
func TestAddFileFailure(t *testing.T) {
	t.Parallel()
	for point, fatal := range map[string]bool{FaultFileBeforeSync: false, FaultFileBeforeDirSync: true} {
		m, faults := newMemFS(), fault.New()
		opts := testOptions(m)
		opts.Faults = faults
		faults.ArmNth(point, 1, func() error { return errDisk })
		j := open(t, "j", opts)
		_, err := j.AddFile(t.Context(), 0, strings.NewReader(""))
		if !errors.Is(err, errDisk) || errors.Is(err, ErrFailed) != fatal || (j.Err() != nil) != fatal {
			t.Errorf("%s: got %v, %v", point, err, j.Err())
		}
	}
}

// TestLinkFallsBack copies where links fail.
func TestLinkFallsBack(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	m.cache["outside"] = &memInode{cache: []byte("content")}
	m.hook(failOn("link"))
	j := open(t, "j", testOptions(m))
	ref, err := j.LinkFile(t.Context(), "outside")
	if err != nil || ref.Size != 7 {
		t.Fatalf("got %+v, %v", ref, err)
	}
	if err := j.Close(); err != nil { // It still makes the next segment.
		t.Fatal(err)
	}
	path := j.FilePath(ref.Name)
	if string(m.bytes(t, path)) != "content" || m.cache[path] == m.cache["outside"] {
		t.Errorf("got %q", m.bytes(t, path))
	}
}

// TestRemoveThrough removes segments by sequence. Each segment holds two
// records.
func TestRemoveThrough(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		records int
		through uint64
		want    []SegmentInfo
	}{
		{"nothing is done with", 5, 0, []SegmentInfo{{Name: "00000001.log", First: 1, Last: 2, Current: false}, {Name: "00000002.log", First: 3, Last: 4, Current: false}, {Name: "00000003.log", First: 5, Last: 5, Current: true}}},
		{"half a segment", 5, 1, []SegmentInfo{{Name: "00000001.log", First: 1, Last: 2, Current: false}, {Name: "00000002.log", First: 3, Last: 4, Current: false}, {Name: "00000003.log", First: 5, Last: 5, Current: true}}},
		{"one segment", 5, 2, []SegmentInfo{{Name: "00000002.log", First: 3, Last: 4, Current: false}, {Name: "00000003.log", First: 5, Last: 5, Current: true}}},
		{"one and a half", 5, 3, []SegmentInfo{{Name: "00000002.log", First: 3, Last: 4, Current: false}, {Name: "00000003.log", First: 5, Last: 5, Current: true}}},
		{"all but the current", 5, 4, []SegmentInfo{{Name: "00000003.log", First: 5, Last: 5, Current: true}}},
		{"all", 5, 5, []SegmentInfo{{Name: "00000003.log", First: 5, Last: 5, Current: true}}},
		{"all that may ever be", 4, 1 << 63, []SegmentInfo{{Name: "00000002.log", First: 3, Last: 4, Current: true}}},
		{"there is none", 0, 9, []SegmentInfo{{Name: "00000001.log", First: 1, Last: 0, Current: true}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			opts := testOptions(m)
			j := open(t, "j", opts)
			for range tc.records {
				add(t, j, strings.Repeat("x", 4000))
			}
			before := len(j.Segments())
			removed, err := j.RemoveThrough(tc.through)
			if err != nil || removed != before-len(tc.want) {
				t.Errorf("removed %d of %d, %v", removed, before, err)
			}
			got := j.Segments()
			for i := range got {
				if got[i].Size != segmentSizeMin {
					t.Errorf("segment %s has %d bytes", got[i].Name, got[i].Size)
				}
				got[i].Size = 0
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			j, err = Open("j", opts)
			if err != nil || j.Head() != uint64(tc.records) {
				t.Errorf("next start: head %d, %v", j.Head(), err)
			}
			_ = j.Close()
		})
	}
}

// TestHeadSurvives removes all that may go while the current segment is empty:
// the last with a record must stay, or sequences would begin again.
func TestHeadSurvives(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := testOptions(m)
	for round := range uint64(3) {
		j, err := Open("j", opts)
		if err != nil {
			t.Fatal(err)
		}
		j.Floor(10 * (round + 1)) // Begins a segment if the current one has records.
		if err := j.Start(); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			add(t, j, "x")
		}
		if _, err := j.RemoveThrough(1 << 62); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got := entries(t, "j", opts); !slices.Equal(got, []string{"x"}) || j.Head() != 11 {
			t.Errorf("round %d: got %q, head %d", round, got, j.Head())
		}
	}
}

func TestPin(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	j := open(t, "j", testOptions(m))
	for range 5 {
		add(t, j, strings.Repeat("x", 4000))
	}
	one, two := j.Pin(), j.Pin()
	for _, step := range []struct {
		name  string
		do    func()
		count int
	}{
		{"pinned twice", func() {}, 0}, {"once unpinned", one, 0}, {"unpinned again", one, 0}, {"both unpinned", two, 2},
	} {
		step.do()
		if n, err := j.RemoveThrough(5); n != step.count || err != nil {
			t.Errorf("%s: removed %d, %v", step.name, n, err)
		}
	}
}

// TestRemoveFails stops a removal between steps; the next one goes on.
func TestRemoveFails(t *testing.T) {
	t.Parallel()
	for _, point := range []string{FaultRemoveBefore, FaultRemoveBetween, FaultRemoveAfter} {
		m, faults := newMemFS(), fault.New()
		opts := testOptions(m)
		opts.Faults = faults
		j := open(t, "j", opts)
		for range 5 {
			add(t, j, strings.Repeat("x", 4000))
		}
		faults.ArmNth(point, 1, func() error { return errDisk })
		if _, err := j.RemoveThrough(5); !errors.Is(err, errDisk) || j.Err() != nil {
			t.Errorf("%s: got %v, %v", point, err, j.Err())
		}
		if _, err := j.RemoveThrough(5); err != nil || len(j.Segments()) != 1 {
			t.Errorf("%s, again: got %v, %v", point, err, j.Segments())
		}
	}
	m := newMemFS()
	j := open(t, "j", testOptions(m))
	for range 5 {
		add(t, j, strings.Repeat("x", 4000))
	}
	m.hook(failOn("syncdir"))
	if _, err := j.RemoveThrough(5); !errors.Is(err, ErrFailed) || j.Err() == nil {
		t.Errorf("sync of the directory: got %v, %v", err, j.Err())
	}
}

// TestCopyTo copies under load, several times. Each copy must be a journal of
// its own with all up to its head.
func TestCopyTo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, filepath.Join(dir, "journal"), diskOptions())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				ref, err := j.AddFile(context.Background(), 4, strings.NewReader("file"))
				if err == nil {
					text := fmt.Sprintf("%d %d %s", g, i, strings.Repeat("x", i*37%3000))
					_, err = j.Append(context.Background(), Record{Data: [][]byte{[]byte(text)}, Files: []FileRef{ref}})
				}
				if err == nil {
					_, err = j.RemoveThrough(j.Head())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range 5 {
		for floor := j.Head() + 10; j.Head() < floor; {
			time.Sleep(time.Millisecond)
		}
		to := filepath.Join(dir, fmt.Sprint("copy", n))
		atLeast := j.Head()
		head, err := j.CopyTo(t.Context(), to)
		if err != nil || head < atLeast {
			t.Fatalf("got head %d, %v", head, err)
		}
		report, err := Verify(t.Context(), to, nil)
		if err != nil || len(report.Problems) > 0 || len(report.Strays) > 0 || report.Torn || report.Head != head || report.ID != j.ID() {
			t.Errorf("copy: %+v, %v", report, err)
		}
		c := open(t, to, diskOptions())
		if c.ID() != j.ID() || c.Head() != head || add(t, c, "more") != head+1 {
			t.Errorf("copy %d does not go on", n)
		}
		if _, err := j.CopyTo(t.Context(), to); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over another journal: got %v", err)
		}
	}
	close(stop)
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.CopyTo(ctx, filepath.Join(dir, "cancelled")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// TestVerifyFiles spoils what is kept beside the log.
func TestVerifyFiles(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		spoil    func(path string) error
		problems int
	}{
		{"nothing", func(string) error { return nil }, 0},
		{"missing", os.Remove, 1},
		{"shorter", func(path string) error { return os.Truncate(path, 3) }, 1},
		{"other bytes", func(path string) error { return os.WriteFile(path, []byte("FILE"), 0o600) }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			j := open(t, dir, diskOptions())
			ref, err := j.AddFile(t.Context(), 4, strings.NewReader("file"))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := j.Append(t.Context(), Record{Files: []FileRef{ref}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(j.Close(), tc.spoil(j.FilePath(ref.Name))); err != nil {
				t.Fatal(err)
			}
			report, err := Verify(t.Context(), dir, nil)
			if err != nil || len(report.Problems) != tc.problems || report.Records != 2 {
				t.Errorf("got %+v, %v", report, err)
			}
		})
	}
}

// TestVerifyTorn tells a torn tail from damage, and counts what still checks
// after the latter.
func TestVerifyTorn(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s := writeLog(t, m, smallLog)[0]
	log := m.bytes(t, "j/"+s.name)
	log[s.end-20] ^= 1
	report, err := verify(t.Context(), m, "j", nil)
	if err != nil || len(report.Problems) > 0 || report.Records != 6 || !report.Torn || report.TornSegment != s.name ||
		report.TornOffset <= s.batchAt || report.TornOffset >= s.end {
		t.Errorf("torn: %+v, %v", report, err)
	}
	log[dataOffset] ^= 1
	report, err = verify(t.Context(), m, "j", nil)
	if err != nil || len(report.Problems) != 1 || report.Records != 0 || report.Torn || report.Beyond != 5 {
		t.Errorf("damaged: %+v, %v", report, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	log[dataOffset] ^= 1
	if _, err := verify(ctx, m, "j", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// TestDiskFile tries what diskFile asks of the operating system.
func TestDiskFile(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	path := filepath.Join(t.TempDir(), "f")
	f, err := diskFS{}.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := (diskFS{}).Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	checkSize := func(what string) {
		t.Helper()
		if n, err := f.Size(); n != size || err != nil {
			t.Errorf("%s: size %d, %v", what, n, err)
		}
	}
	if err := f.Allocate(size); err != nil {
		t.Fatal(err)
	}
	checkSize("allocated")
	if _, err := f.WriteAt([]byte(strings.Repeat("x", size/2)), size/4); err != nil {
		t.Fatal(err)
	}
	if at, err := f.NextData(0); at > size/4 || err != nil {
		t.Errorf("data from %d on, %v", at, err)
	}
	// Not at the bounds of blocks.
	if err := errors.Join(f.Zero(size/2+5, size), f.Zero(7, 7), f.Sync()); err != nil {
		t.Fatal(err)
	}
	checkSize("zeroed")
	got, err := os.ReadFile(path)
	want := strings.Repeat("\x00", size/4) + strings.Repeat("x", size/4+5) + strings.Repeat("\x00", size/2-5)
	if err != nil || string(got) != want {
		t.Errorf("the content is not what was written: %v", err)
	}
	if at, err := f.NextData(size - 1); at < size-1 || at > size || err != nil {
		t.Errorf("data from %d on, %v", at, err)
	}
}

// TestWriteZeros writes more than one buffer.
func TestWriteZeros(t *testing.T) {
	t.Parallel()
	b := make([]byte, 3<<20)
	for i := range b {
		b[i] = 1
	}
	m := newMemFS()
	m.cache["f"] = &memInode{cache: b, dirty: map[int]bool{}}
	f, err := m.Open("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeZeros(f, 3, 3<<20-5); err != nil {
		t.Fatal(err)
	}
	for i, v := range m.bytes(t, "f") {
		if zero := i >= 3 && i < 3<<20-5; zero != (v == 0) {
			t.Fatalf("byte %d is %d", i, v)
		}
	}
	m.hook(failOn("write"))
	if err := writeZeros(f, 0, 10); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}

// TestJoinedSync shows that what comes during a sync never shares that one, and
// that calls share the next. Locks are not waits that a synctest bubble knows, so
// it runs in real time; only the order of events matters.
func TestJoinedSync(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 10), make(chan error, 10)
	s := joinedSync{sync: func() error {
		entered <- struct{}{}
		return <-release
	}}
	first := make(chan error, 1)
	go func() { first <- s.Do() }()
	<-entered

	const others = 5
	results := make(chan error, others)
	for range others {
		go func() { results <- s.Do() }()
	}
	for { // Until all have come, or at least one: the others may come during the second sync.
		s.mu.Lock()
		waiting := s.next != nil
		s.mu.Unlock()
		if waiting {
			break
		}
		time.Sleep(time.Millisecond)
	}
	release <- nil
	if err := <-first; err != nil {
		t.Errorf("first call: %v", err)
	}
	for range others {
		release <- errDisk
	}
	for range others {
		if err := <-results; !errors.Is(err, errDisk) {
			t.Errorf("a call that came during the first sync got %v", err)
		}
	}
	if n := len(entered); n < 1 || n > others {
		t.Errorf("%d syncs for %d calls", n, others)
	}
}

package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeLog writes a log of these batches in one go, without the writer, and
// returns its segments.
func writeLog(t testing.TB, m *memFS, batches [][]string) []*segment {
	t.Helper()
	opts := testOptions(m)
	opts.Rand = newTestRand(1) // The same log each time.
	j, err := Open("j", opts)
	if err != nil {
		t.Fatal(err)
	}
	j.nextSeq = 1
	if err := j.startSegment(); err != nil {
		t.Fatal(err)
	}
	for _, texts := range batches {
		var batch []*waiter
		var size int64
		for _, text := range texts {
			w := &waiter{rec: Record{Data: [][]byte{[]byte(text)}}}
			w.size = recordSize(w.rec)
			size += w.size
			batch = append(batch, w)
		}
		if last := j.segments[len(j.segments)-1]; size > last.room() {
			s, err := j.makeSegment(last.number + 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.useSegment(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.commit(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return j.segments
}

// smallLog is three batches; the first and the last have several records.
var smallLog = [][]string{{"one", "two", "three"}, {"four"}, {"five", "six", strings.Repeat("seven", 20)}}

// longLog is a log of three segments.
var longLog = [][]string{
	{"one", "two"}, {strings.Repeat("3", 5000)}, {strings.Repeat("4", 2000), "five"},
	{strings.Repeat("6", 5000), "seven"}, {"eight"}, {strings.Repeat("9", 5000)}, {"ten", "eleven"},
}

func flatten(batches [][]string) []string { return slices.Concat(batches...) }

// restart opens the log, appends a record, opens again, and returns what was
// found first.
func restart(t *testing.T, m *memFS) []string {
	t.Helper()
	opts := testOptions(m)
	found := entries(t, "j", opts)
	j := open(t, "j", opts)
	add(t, j, "after")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if again := entries(t, "j", opts); !slices.Equal(again, append(slices.Clone(found), "after")) {
		t.Errorf("got %d records, and after the next start %d", len(found), len(again))
	}
	report, err := verify(t.Context(), m, "j", nil)
	if err != nil || len(report.Problems) > 0 || report.Torn {
		t.Errorf("after the next start: %+v, %v", report, err)
	}
	return found
}

// TestTornTail spoils the last batch at every place, as power that goes in the
// write does. The log must end there, and go on from there (rule 8).
func TestTornTail(t *testing.T) {
	t.Parallel()
	all := flatten(smallLog)
	durable := len(all) - len(smallLog[len(smallLog)-1])
	for _, tear := range []struct {
		name  string
		spoil func(log []byte, from, at, to int)
	}{
		{"zeros from here on", func(log []byte, _, at, to int) { clear(log[at:to]) }},
		{"zeros up to here", func(log []byte, from, at, _ int) { clear(log[from : at+1]) }},
		{"one bit", func(log []byte, _, at, _ int) { log[at] ^= 0x10 }},
		{"garbage from here on", func(log []byte, _, at, to int) {
			rnd := rand.New(rand.NewPCG(uint64(at), 0))
			for i := at; i < to; i++ {
				log[i] = byte(rnd.Int())
			}
		}},
	} {
		t.Run(tear.name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			s := writeLog(t, m, smallLog)[0]
			path := filepath.Join("j", s.name)
			good := slices.Clone(m.bytes(t, path))
			for at := s.batchAt; at < s.end; at++ {
				copy(m.bytes(t, path), good)
				clear(m.bytes(t, path)[len(good):])
				tear.spoil(m.bytes(t, path), int(s.batchAt), int(at), int(s.end))
				found := restart(t, m)
				if len(found) < durable || !slices.Equal(found, all[:min(len(found), len(all))]) {
					t.Fatalf("offset %d: got %q", at, found)
				}
				// Drop what restart made.
				m.cache = map[string]*memInode{path: m.cache[path]}
			}
		})
	}
}

// TestDamage spoils each byte of what was durable before the last batch was
// written. Open must refuse and name the place; Verify must agree.
func TestDamage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		batches [][]string
		step    int
	}{
		{"one segment", smallLog, 1},
		{"three segments", longLog, 17},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			segments := writeLog(t, m, tc.batches)
			for i, s := range segments {
				path := filepath.Join("j", s.name)
				end := int(s.end)
				if i == len(segments)-1 {
					end = int(s.batchAt)
				}
				starts := recordStarts(t, m, s)
				for at := 0; at < end; at += tc.step {
					_, used := starts[at]
					used = used || at < headerSize || at >= beginOffset && at < beginOffset+beginSize
					if !used && at%64 != 0 {
						continue // Nothing is there, of which a sample is enough.
					}
					m.bytes(t, path)[at] ^= 0x10
					checkDamage(t, m, s, starts, at)
					m.bytes(t, path)[at] ^= 0x10
				}
			}
			if got := entries(t, "j", testOptions(m)); !slices.Equal(got, flatten(tc.batches)) {
				t.Errorf("the good log has %d records", len(got))
			}
		})
	}
}

// recordStarts returns the offset of the record, by offset of any of its bytes.
func recordStarts(t *testing.T, m *memFS, s *segment) map[int]int {
	t.Helper()
	starts := map[int]int{}
	scanned := &segment{name: s.name, size: s.size, seed: s.seed, end: dataOffset}
	scanned.begin(s.prev, s.first)
	f, err := m.Open(filepath.Join("j", s.name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	from := dataOffset
	err = scanned.scan(f, func(e *Entry) error {
		used := from + recordHeaderSize + len(e.Data)
		for ; from < used; from++ {
			starts[from] = used - recordHeaderSize - len(e.Data)
		}
		from = int(scanned.end) // What pads the record is not checked.
		return nil
	})
	if err != nil || scanned.end != s.end {
		t.Fatalf("scanned to %d of %d, %v", scanned.end, s.end, err)
	}
	return starts
}

func checkDamage(t *testing.T, m *memFS, s *segment, starts map[int]int, at int) {
	t.Helper()
	want, matters := starts[at]
	switch {
	case at < headerSize:
		want, matters = 0, true
	case at >= beginOffset && at < beginOffset+beginSize:
		want, matters = beginOffset, true
	}
	report, err := verify(t.Context(), m, "j", nil)
	if err != nil {
		t.Fatal(err)
	}
	j, err := Open("j", testOptions(m))
	if !matters {
		if err != nil || len(report.Problems) > 0 {
			t.Fatalf("%s, byte %d holds nothing: got %v, %v", s.name, at, err, report.Problems)
		}
		_ = j.Close()
		return
	}
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || !errors.Is(err, ErrCorrupt) || corrupt.Segment != s.name || corrupt.Offset != int64(want) {
		t.Fatalf("%s, byte %d of the part at %d: got %v", s.name, at, want, err)
	}
	if len(report.Problems) != 1 || report.Problems[0].Error() != corrupt.Error() {
		t.Fatalf("verify tells %v, open %v", report.Problems, corrupt)
	}
}

// TestLostFiles removes, cuts and exchanges whole segments.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	const first, second, third = "j/00000001.log", "j/00000002.log", "j/00000003.log"
	for _, tc := range []struct {
		name  string
		spoil func(m *memFS)
		want  string // Of the error; "" is none.
	}{
		{"the oldest was removed", func(m *memFS) { delete(m.cache, first) }, ""},
		{"one is missing", func(m *memFS) { delete(m.cache, second) }, "00000002.log at offset 0"},
		{"one made ahead is missing, and a later one is there", func(m *memFS) {
			s := &segment{number: 5, journal: m.journal(third), size: segmentSizeMin}
			m.cache["j/00000005.log"] = &memInode{cache: append(s.header(), make([]byte, segmentSizeMin-headerSize)...)}
		}, ""},
		{"one was cut", func(m *memFS) { m.cache[third].cache = m.cache[third].cache[:10_000] }, "00000003.log at offset 10000"},
		{"one is empty", func(m *memFS) { m.cache[third].cache = nil }, "00000003.log at offset 0"},
		{"one is another's copy", func(m *memFS) { m.cache[second] = m.cache[first] }, "00000002.log at offset 0: it was number 1"},
		{"one is of another journal", func(m *memFS) {
			s := &segment{number: 2, journal: id{1}, size: segmentSizeMin} // Not that of the others.
			copy(m.cache[second].cache, s.header())
		}, "00000002.log at offset 0: it is of another journal"},
		{"records and the beginning of the next are lost", func(m *memFS) {
			clear(m.cache[third].cache[beginOffset:dataOffset])
		}, "00000003.log at offset 4096"},
		{"a beginning in the middle is lost with all records", func(m *memFS) {
			clear(m.cache[second].cache[beginOffset:])
		}, "00000003.log at offset 4096"},
		{"all records at the end of one are lost", func(m *memFS) {
			clear(m.cache[second].cache[dataOffset:])
		}, "00000002.log at offset 8192: the next segment follows record 8"},
		{"files of others", func(m *memFS) {
			for _, name := range []string{"1.log", "x.log", "000000001.log", "00000002.log.old", "README"} {
				m.cache["j/"+name] = &memInode{}
			}
		}, ""},
		{"a segment was being made", func(m *memFS) { m.cache["j/00000004.log.new"] = &memInode{cache: []byte("MOX")} }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			writeLog(t, m, longLog)
			tc.spoil(m)
			report, err := verify(t.Context(), m, "j", nil)
			if err != nil {
				t.Fatal(err)
			}
			j, err := Open("j", testOptions(m))
			if err == nil {
				err = j.Close()
			}
			got := fmt.Sprint(err)
			if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, ErrCorrupt) || !strings.Contains(got, tc.want)) {
				t.Errorf("got %v", got)
			}
			if (len(report.Problems) > 0) != (tc.want != "") {
				t.Errorf("verify tells %v", report.Problems)
			}
			if m.open != 0 {
				t.Errorf("%d files left open", m.open)
			}
		})
	}
}

// journal returns the id of the journal in the header of a segment.
func (m *memFS) journal(path string) id { return id(m.cache[path].cache[8:]) }

// TestReadError tells a disk that does not read from damage.
func TestReadError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Verify(t.Context(), filepath.Join(dir, "absent"), nil); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("absent: got %v", err)
	}
	m := newMemFS()
	writeLog(t, m, smallLog)
	stop := errors.New("stop")
	if _, err := verify(t.Context(), m, "j", func(*Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	j, err := Open("j", testOptions(m))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Entries(func(*Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	copy(m.bytes(t, "j/00000001.log")[dataOffset:], "spoiled")
	if err := j.Entries(func(*Entry) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("spoiled since: got %v", err)
	}
}

// TestCopyOfSegmentInside appends the bytes of a whole segment as a record, as
// somebody who mails it would. When a crash tears that record, the records in it
// must not be taken for ours.
func TestCopyOfSegmentInside(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s := writeLog(t, m, smallLog)[0]
	copied := string(m.bytes(t, "j/"+s.name)[dataOffset:s.end])
	for shift := range recordAlign {
		m := newMemFS()
		s := writeLog(t, m, append(slices.Clone(smallLog), []string{strings.Repeat("x", shift) + copied}))[0]
		m.bytes(t, "j/"+s.name)[s.batchAt] ^= 1
		if got := restart(t, m); !slices.Equal(got, flatten(smallLog)) {
			t.Errorf("shift %d: got %d records", shift, len(got))
		}
	}
}

// TestMisplaced shows that a record checks only at its own offset and in its own
// segment.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	s := newSeed(id{1}, id{2})
	b := s.appendRecord(nil, 64, recordHeader{seq: 9, batch: 3, index: 1}, Record{Data: [][]byte{[]byte("data")}})
	for _, tc := range []struct {
		name   string
		seed   seed
		offset int64
		want   bool
	}{
		{"in its place", s, 64, true},
		{"further on", s, 72, false},
		{"in another segment", newSeed(id{1}, id{3}), 64, false},
		{"in another journal", newSeed(id{3}, id{2}), 64, false},
	} {
		h, ok := tc.seed.parseHeader(b, tc.offset, int64(len(b)))
		if ok {
			_, ok = tc.seed.parseBody(h, b[recordHeaderSize:][:h.bodySize()])
		}
		if ok != tc.want {
			t.Errorf("%s: checks %v", tc.name, ok)
		}
	}
}

// FuzzLog writes something over the files of a log. What is read then must be
// records that were appended, from the first on, and Verify must agree with
// Open.
func FuzzLog(f *testing.F) {
	f.Add(uint16(dataOffset), uint8(0), []byte("\x00\x00\x00"))
	f.Add(uint16(dataOffset+300), uint8(1), []byte("MXJ1"))
	f.Add(uint16(beginOffset), uint8(2), make([]byte, beginSize))
	f.Add(uint16(0), uint8(2), []byte(headerMagic))
	f.Add(uint16(40), uint8(0), []byte{2})
	f.Fuzz(func(t *testing.T, at uint16, which uint8, with []byte) {
		m := newMemFS()
		segments := writeLog(t, m, longLog)
		s := segments[int(which)%len(segments)]
		copy(m.bytes(t, "j/"+s.name)[int(at)%segmentSizeMin:], with)

		want := flatten(longLog)
		n := 0
		report, err := verify(t.Context(), m, "j", func(e *Entry) error {
			if n >= len(want) || string(e.Data) != want[n] || e.Seq != uint64(n+1) || len(e.Files) > 0 {
				t.Errorf("record %d is %+v", n, e)
			}
			n++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		j, err := Open("j", testOptions(m))
		if (err != nil) != (len(report.Problems) > 0) || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("open: %v, verify: %v", err, report.Problems)
		}
		if err == nil {
			if j.Head() != uint64(n) {
				t.Errorf("head %d, %d records", j.Head(), n)
			}
			_ = j.Close()
		}
	})
}

// FuzzRecord gives any bytes the checks of a record. What is parsed then must
// lie within the bytes, and be the same when written again.
func FuzzRecord(f *testing.F) {
	s := newSeed(id{1}, id{2})
	name := id{3}.String()
	for _, rec := range []Record{
		{},
		{Type: 200, Data: [][]byte{[]byte("hello")}},
		{Data: [][]byte{[]byte("12345678")}, Files: []FileRef{{name, 5, 6}, {name, 0, 0}}},
	} {
		b := s.appendRecord(nil, 64, recordHeader{seq: 9, batch: 3, index: 1}, rec)
		f.Add(b, int64(64), int64(len(b)))
	}
	f.Fuzz(func(t *testing.T, b []byte, offset, room int64) {
		if len(b) < recordHeaderSize {
			return
		}
		fixChecks(s, b, offset)
		h, ok := s.parseHeader(b, offset, room)
		if !ok {
			return
		}
		if h.size() > room || h.size() < recordHeaderSize || h.batchFirst() > h.seq || h.batchFirst() == 0 {
			t.Fatalf("room for %d: got %+v of size %d", room, h, h.size())
		}
		if recordHeaderSize+h.bodySize() > int64(len(b)) {
			return
		}
		b = b[:recordHeaderSize+h.bodySize()]
		fixBodyCheck(s, b, offset)
		h, _ = s.parseHeader(b, offset, room)
		e, ok := s.parseBody(h, b[recordHeaderSize:])
		if !ok {
			return // A negative size.
		}
		rec := Record{Type: e.Type, Data: [][]byte{e.Data}, Files: e.Files}
		again := s.appendRecord(nil, offset, h, rec)
		if !slices.Equal(again[:len(b)], b) || int64(len(again)) != h.size() || recordSize(rec) != h.size() {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

// fixChecks makes the check of the header in b right.
func fixChecks(s seed, b []byte, offset int64) {
	copy(b, "MXJ1")
	putCheck(b[4:], s.headerCheck(b, offset))
}

// fixBodyCheck makes the check of the body of all of b right too.
func fixBodyCheck(s seed, b []byte, offset int64) {
	putCheck(b[32:], s.check(b[recordHeaderSize:]))
	fixChecks(s, b, offset)
}

func putCheck(b []byte, check uint32) {
	for i := range 4 {
		b[i] = byte(check >> (8 * i))
	}
}

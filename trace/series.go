package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mjl-/mox/atomicfile"
)

// What others try in vain must not push out what became of mail: there can be any
// number of refusals before a message is read, by anybody. They have a series of
// their own.
var seriesNames = []string{"mail", "refused"}

const (
	mailSeries    = 0
	refusedSeries = 1

	// refusedPart is the part of the room that refusals get.
	refusedPart = 4
)

// Sizes of segments in bytes: a part of what the series may have.
const (
	segmentPart = 64
	segmentMin  = 64 << 10
	segmentMax  = 8 << 20
)

// A segment takes events for a day at most, or this part of the time for which they
// are kept, so that those of a quiet server go in their time too: they go with their
// segment.
const (
	segmentAgeMax  = 24 * time.Hour
	segmentAgePart = 16
)

// series is a row of segments. It is for one goroutine at a time.
type series struct {
	dir, name   string
	sizeMax     int64 // Of all segments, with indexes.
	segmentSize int64
	segmentAge  time.Duration

	segments []segment // The oldest first. The last one has no index if file is not nil.
	file     *os.File  // Of the last segment, for appending. Nil: the next write begins another.
	keys     []key     // Of its records.
	damaged  int64     // Lines found when it was opened.
}

// openSeries opens the segments in dir, and puts in order what a crash left.
func openSeries(dir, name string, sizeMax int64, keepFor time.Duration) (*series, error) {
	s := &series{
		dir: dir, name: name, sizeMax: sizeMax, segmentSize: min(max(sizeMax/segmentPart, segmentMin), segmentMax),
		segmentAge: min(keepFor/segmentAgePart, segmentAgeMax),
	}
	logs, indexes, err := s.list()
	if err != nil {
		return nil, err
	}
	for seq := range indexes {
		if !logs[seq] {
			if err := os.Remove(s.path(seq, indexSuffix)); err != nil {
				return nil, err
			}
		}
	}
	for i, seq := range sorted(logs) {
		if err := s.openSegment(seq, i == len(logs)-1); err != nil {
			return nil, errors.Join(fmt.Errorf("opening %s: %w", s.path(seq, logSuffix), err), s.close())
		}
	}
	return s, nil
}

// list returns the segments that have records, and those that have an index.
func (s *series) list() (logs, indexes map[int64]bool, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, err
	}
	logs, indexes = map[int64]bool{}, map[int64]bool{}
	for _, e := range entries {
		seq, suffix, ok := parseName(s.name, e.Name())
		switch {
		case ok && suffix == logSuffix:
			logs[seq] = true
		case ok:
			indexes[seq] = true
		}
	}
	return logs, indexes, nil
}

func sorted(set map[int64]bool) (list []int64) {
	for seq := range set {
		list = append(list, seq)
	}
	slices.Sort(list)
	return list
}

func (s *series) path(seq int64, suffix string) string {
	return filepath.Join(s.dir, segmentName(s.name, seq)+suffix)
}

// openSegment opens one segment: by its index, or by reading it.
func (s *series) openSegment(seq int64, last bool) error {
	info, err := os.Stat(s.path(seq, logSuffix))
	if err != nil {
		return err
	}
	if index, err := os.ReadFile(s.path(seq, indexSuffix)); err == nil {
		if seg, _, err := parseIndex(index); err == nil && seg.size == info.Size() {
			seg.seq = seq
			s.segments = append(s.segments, seg)
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := readSegment(s.dir, s.name, seq)
	if err != nil {
		return err
	}
	found := scan(b)
	found.seq = seq
	s.damaged += found.damaged
	if found.damaged > 0 {
		err = s.mend(seq, b, &found)
	} else if found.size < info.Size() {
		err = os.Truncate(s.path(seq, logSuffix), found.size)
	}
	if err != nil {
		return err
	}
	s.segments, s.keys = append(s.segments, found.segment), found.keys
	if !last {
		return s.index()
	}
	s.file, err = os.OpenFile(s.path(seq, logSuffix), os.O_WRONLY|os.O_APPEND, filePerm)
	return err
}

// mend writes a segment anew without the lines that are damaged: what power loss left
// between others.
func (s *series) mend(seq int64, b []byte, found *scanned) error {
	var whole []byte
	for line := range bytes.Lines(b[:found.size]) {
		if _, ok := parseRecord(bytes.TrimSuffix(line, []byte("\n"))); ok {
			whole = append(whole, line...)
		}
	}
	found.size = int64(len(whole))
	return atomicfile.WriteFile(s.path(seq, logSuffix), whole, filePerm)
}

// current returns the last segment.
func (s *series) current() *segment { return &s.segments[len(s.segments)-1] }

// bytes returns the size of all.
func (s *series) bytes() (n int64) {
	for i := range s.segments {
		n += s.segments[i].size + s.segments[i].indexSize
	}
	return n
}

// write appends records. After an error none of them is there.
func (s *series) write(w *encoder, now time.Time) error {
	if s.file != nil && (s.current().size >= s.segmentSize || now.Sub(s.current().first) >= s.segmentAge) {
		if err := s.seal(); err != nil {
			return err
		}
	}
	if s.file == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	c := s.current()
	if _, err := s.file.Write(w.buf.Bytes()); err != nil {
		if terr := s.file.Truncate(c.size); terr != nil {
			// What is there of a line is read over. It must not be joined to the next.
			err = errors.Join(err, terr, s.file.Close())
			s.file, s.keys = nil, nil
		}
		return err
	}
	c.size += int64(w.buf.Len())
	c.span(w.first, w.last)
	s.keys = append(s.keys, w.keys...)
	return nil
}

// begin makes a new segment.
func (s *series) begin() error {
	seq := int64(1)
	if len(s.segments) > 0 {
		seq = s.current().seq + 1
	}
	f, err := os.OpenFile(s.path(seq, logSuffix), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	s.file, s.keys = f, s.keys[:0]
	s.segments = append(s.segments, segment{seq: seq})
	return nil
}

// seal completes the last segment: it is synced and gets its index.
func (s *series) seal() error {
	err := s.file.Sync()
	if err = errors.Join(err, s.file.Close()); err == nil {
		err = s.index()
	}
	s.file, s.keys = nil, s.keys[:0]
	return err
}

// index writes the index of the last segment.
func (s *series) index() error {
	c := s.current()
	b := formatIndex(c, s.keys)
	if err := atomicfile.WriteFile(s.path(c.seq, indexSuffix), b, filePerm); err != nil {
		return err
	}
	c.indexSize = int64(len(b))
	return nil
}

// shrink removes the oldest segments as long as all together are too much.
func (s *series) shrink() error {
	for total := s.bytes(); total > s.sizeMax && (len(s.segments) > 1 || s.file == nil); {
		oldest := s.segments[0]
		if err := s.removeOldest(); err != nil {
			return err
		}
		total -= oldest.size + oldest.indexSize
	}
	return nil
}

// expire removes the oldest segment if it ends before a time. It is one and no more,
// since a clock that is wrong for a moment would else cost all.
func (s *series) expire(before time.Time) error {
	if len(s.segments) == 0 || !s.segments[0].last.Before(before) {
		return nil
	}
	if len(s.segments) == 1 && s.file != nil {
		if err := s.seal(); err != nil {
			return err
		}
	}
	return s.removeOldest()
}

// removeOldest removes the oldest segment.
func (s *series) removeOldest() error {
	for _, suffix := range []string{logSuffix, indexSuffix} {
		// Where files can't be removed while somebody reads them, this is done again.
		if err := os.Remove(s.path(s.segments[0].seq, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.segments = s.segments[1:]
	return nil
}

// close syncs and closes the last segment.
func (s *series) close() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.file.Sync(), s.file.Close())
	s.file = nil
	return err
}

package journal

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// log is what is found on disk.
type log struct {
	journal  id
	segments []*segment // With a beginning, in order.
	ahead    []string   // Files of segments without one, and of those half made.
	spare    []string   // Files of removed segments, kept to be written again.
	head     uint64     // Sequence of the last record.
}

// current returns the last segment with a beginning, or nil.
func (l *log) current() *segment {
	if len(l.segments) == 0 {
		return nil
	}
	return l.segments[len(l.segments)-1]
}

// reader reads a log and writes nothing.
type reader struct {
	fs  fileSystem
	dir string
	fn  func(*Entry) error // Called for each record; may be nil.

	// settled tells that the end of the log was looked at, and nothing was written
	// since: what is beyond it need not be read again.
	settled bool

	log log
}

// readLog reads the log in dir up to its end, and calls fn for each record.
//
// The first record that does not check is the end, unless a record of a later
// batch than its own follows anywhere: a batch is written only when the one
// before is durable, so that a crash spoils the last alone. Then the error is
// a CorruptError, and what was read so far comes with it.
func readLog(fs fileSystem, dir string, fn func(*Entry) error) (*log, error) {
	return (&reader{fs: fs, dir: dir, fn: fn}).read()
}

func (r *reader) read() (*log, error) {
	numbers, err := r.list()
	if err != nil {
		return nil, err
	}
	for _, number := range numbers {
		if err := r.segment(segmentName(number)); err != nil {
			return &r.log, err
		}
	}
	if r.settled {
		return &r.log, nil
	}
	return &r.log, r.checkEnd()
}

// list returns the numbers of all segments in order.
func (r *reader) list() ([]uint64, error) {
	names, err := r.fs.List(r.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		if number, ok := parseSegmentName(name); ok {
			numbers = append(numbers, number)
		} else if base, ok := strings.CutSuffix(name, tempSuffix); ok && strings.HasSuffix(base, segmentSuffix) {
			r.log.ahead = append(r.log.ahead, name)
		} else if base, ok := strings.CutSuffix(name, spareSuffix); ok {
			if _, ok := parseID(base); ok {
				r.log.spare = append(r.log.spare, name)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// segment reads the next segment.
func (r *reader) segment(name string) error {
	f, err := r.fs.OpenRead(filepath.Join(r.dir, name))
	if err != nil {
		return err
	}
	return errors.Join(r.segmentFile(name, f), f.Close())
}

func (r *reader) segmentFile(name string, f file) error {
	s, err := parseSegment(f, name)
	if err != nil {
		return err
	}
	before := r.log.current()
	if before != nil && s.journal != before.journal {
		return s.corrupt(0, "it is of another journal")
	}
	if !s.begun {
		return r.aheadSegment(s, f)
	}
	switch {
	case r.log.hasAheadSegment():
		return s.corrupt(beginOffset, "it has a beginning, but the segment before has none")
	case before != nil && s.number != before.number+1:
		// A gap before segments made ahead is none: a start that removed them
		// may have been cut off.
		return &CorruptError{segmentName(before.number + 1), 0, "the file is missing"}
	case before == nil:
		r.log.journal, r.log.head = s.journal, s.prev
	case s.prev != r.log.head:
		return before.corrupt(before.end, "the next segment follows record %d, here the last is %d", s.prev, r.log.head)
	}
	if s.first <= s.prev {
		return s.corrupt(beginOffset, "its first record is %d, the last before it %d", s.first, s.prev)
	}
	r.log.segments = append(r.log.segments, s)
	err = s.scan(f, r.fn)
	if !s.empty() {
		r.log.head = s.last
	}
	return err
}

// IsName says whether a file in the directory of a journal can be one of its own.
func IsName(name string) bool {
	base := strings.TrimSuffix(name, tempSuffix)
	if _, ok := parseSegmentName(base); ok || name == filesDir {
		return true
	}
	base, ok := strings.CutSuffix(name, spareSuffix)
	if !ok {
		return false
	}
	_, ok = parseID(base)
	return ok
}

// hasAheadSegment tells whether a complete segment without a beginning was seen.
func (l *log) hasAheadSegment() bool {
	return slices.ContainsFunc(l.ahead, func(name string) bool { return strings.HasSuffix(name, segmentSuffix) })
}

// aheadSegment looks at a segment without a beginning. The beginning is durable
// before a record is written, so if there is a record it was lost.
func (r *reader) aheadSegment(s *segment, f file) error {
	if r.settled {
		r.log.ahead = append(r.log.ahead, s.name)
		return nil
	}
	// Its first batch would be there: no need to read all of a file that was used before.
	_, at, found, err := s.findRecord(f, dataOffset, dataOffset+batchMax, func(recordHeader) bool { return true })
	if err != nil {
		return err
	}
	if found {
		return s.corrupt(beginOffset, "no beginning, but a record at offset %d", at)
	}
	r.log.ahead = append(r.log.ahead, s.name)
	return nil
}

// checkEnd fails if a record of a later batch follows what ends the log. Later
// segments were looked at already: their beginning tells what comes before.
func (r *reader) checkEnd() error {
	s := r.log.current()
	if s == nil {
		return nil
	}
	f, err := r.fs.OpenRead(filepath.Join(r.dir, s.name))
	if err != nil {
		return err
	}
	h, at, found, err := s.findRecord(f, s.end+recordAlign, s.size, s.isLater)
	if err == nil && found {
		err = s.corrupt(s.end, "no record %d, but record %d of a later batch at offset %d", s.last+1, h.seq, at)
	}
	return errors.Join(err, f.Close())
}

// isLater tells whether a record is of a later batch than the one that should
// be at the end of the segment. If the batch of the record begins no later than
// with the one that is missing, they are of the same.
func (s *segment) isLater(h recordHeader) bool { return h.batchFirst() > s.last+1 }

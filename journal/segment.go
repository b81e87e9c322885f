package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// A segment begins with a header that never changes, at offset 0, and its
// beginning, at offset 4096, written when it takes its first record: segments
// are made before it is known what the first sequence will be. The two are in
// different pages, so that a torn beginning does no harm to the header. Records
// follow from offset 8192.
//
//	Header:    magic [8]byte, journal id [16]byte, segment id [16]byte, number uint64, size of the file uint64, CRC-32C uint32 of what is before
//	Beginning: magic [8]byte, last sequence before uint64, first sequence uint64, check uint32 of what is before (as of records)
const (
	headerMagic = "MOXJRNL1"
	headerSize  = 8 + 16 + 16 + 8 + 8 + 4

	beginOffset = 4096
	beginMagic  = "MOXBEGIN"
	beginSize   = 8 + 8 + 8 + 4

	dataOffset = 8192
)

// scanBuffer is the size of reads of the log, in bytes.
const scanBuffer = 256 << 10

// segmentSuffix ends the names of segments, and tempSuffix follows while one is
// made. spareSuffix ends those of the files of removed segments.
const (
	segmentSuffix = ".log"
	tempSuffix    = ".new"
	spareSuffix   = ".spare"
)

// segmentName returns the file name of the segment with this number.
func segmentName(number uint64) string { return fmt.Sprintf("%08d%s", number, segmentSuffix) }

// parseSegmentName returns the number in a name made by segmentName.
func parseSegmentName(name string) (number uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil && segmentName(number) == name
}

// segment is one file of the log. Once begun, what is below seed is guarded by
// Journal.mu.
type segment struct {
	name    string
	number  uint64
	journal id
	id      id
	size    int64 // Of the file, in bytes.
	seed    seed

	begun     bool
	prev      uint64 // Sequence of the last record before it.
	first     uint64 // Sequence of its first record.
	last      uint64 // Of its last; first-1 if it has none.
	end       int64  // Offset after its last record.
	lastBatch uint64 // Number of the batch of its last record.
	lastIndex uint32 // Index of its last record in that batch.
	batchAt   int64  // Offset of the first record of that batch.
	files     []id   // Named by its records, once for each time.
}

// empty tells whether no record is in the segment.
func (s *segment) empty() bool { return s.end == dataOffset }

// room returns the bytes left for records.
func (s *segment) room() int64 { return s.size - s.end }

func (s *segment) corrupt(offset int64, format string, args ...any) error {
	return &CorruptError{s.name, offset, fmt.Sprintf(format, args...)}
}

// header returns the bytes of the segment's header.
func (s *segment) header() []byte {
	order := binary.LittleEndian
	b := append([]byte(headerMagic), s.journal[:]...)
	b = append(b, s.id[:]...)
	b = order.AppendUint64(b, s.number)
	b = order.AppendUint64(b, uint64(s.size))
	return s.appendPlainCheck(b)
}

// appendPlainCheck appends the CRC-32C of b, not seeded: the ids are in it.
func (s *segment) appendPlainCheck(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, seed(0).check(b))
}

// beginning returns the bytes of the segment's beginning.
func (s *segment) beginning() []byte {
	order := binary.LittleEndian
	b := order.AppendUint64([]byte(beginMagic), s.prev)
	b = order.AppendUint64(b, s.first)
	return order.AppendUint32(b, s.seed.check(b))
}

// parseSegment reads header and beginning of the segment in f, and no records.
func parseSegment(f file, name string) (*segment, error) {
	s := &segment{name: name, end: dataOffset}
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < dataOffset {
		return nil, s.corrupt(size, "the file ends before its first record")
	}
	var b [beginOffset + beginSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return nil, err
	}
	if err := s.parseHeader(b[:headerSize]); err != nil {
		return nil, err
	}
	if size < s.size {
		return nil, s.corrupt(size, "the file ends, of %d bytes", s.size)
	}
	s.parseBeginning(b[beginOffset:])
	return s, nil
}

func (s *segment) parseHeader(b []byte) error {
	order := binary.LittleEndian
	check := headerSize - 4
	if string(b[:8]) != headerMagic || order.Uint32(b[check:]) != seed(0).check(b[:check]) {
		return s.corrupt(0, "no header of a segment")
	}
	s.journal, s.id, s.number = id(b[8:24]), id(b[24:40]), order.Uint64(b[40:])
	s.size = int64(order.Uint64(b[48:]))
	s.seed = newSeed(s.journal, s.id)
	if number, _ := parseSegmentName(s.name); s.number != number {
		return s.corrupt(0, "it was number %d", s.number)
	}
	if s.size < dataOffset || s.size > segmentSizeMax {
		return s.corrupt(0, "a size of %d bytes", s.size)
	}
	return nil
}

func (s *segment) parseBeginning(b []byte) {
	order := binary.LittleEndian
	check := beginSize - 4
	if string(b[:8]) != beginMagic || order.Uint32(b[check:]) != s.seed.check(b[:check]) {
		return
	}
	s.begin(order.Uint64(b[8:]), order.Uint64(b[16:]))
}

// begin sets the sequences of a segment without records.
func (s *segment) begin(prev, first uint64) {
	s.begun, s.prev, s.first, s.last = true, prev, first, first-1
}

// add accounts for a record of this size in the log at the end of the segment.
func (s *segment) add(h recordHeader, size int64, files []FileRef) {
	if s.empty() || h.index == 0 {
		s.batchAt = s.end
	}
	s.last, s.lastBatch, s.lastIndex = h.seq, h.batch, h.index
	s.end += size
	for _, f := range files {
		name, _ := parseID(f.Name)
		s.files = append(s.files, name)
	}
}

// scan reads the records of a begun segment up to the first that does not
// check, adds them, and calls fn for each, which may be nil.
func (s *segment) scan(f io.ReaderAt, fn func(*Entry) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f, s.end, s.room()), int(min(scanBuffer, s.room())))
	for s.room() >= recordHeaderSize {
		h, e, err := s.readRecord(r)
		if err != nil || e == nil {
			return err
		}
		s.add(h, h.size(), e.Files)
		if fn == nil {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// readRecord reads the record at the end of the segment; nil if there is none.
func (s *segment) readRecord(r *bufio.Reader) (h recordHeader, e *Entry, err error) {
	var b [recordHeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, nil, s.readError(err)
	}
	h, ok := s.seed.parseHeader(b[:], s.end, s.room())
	if !ok || !s.follows(h) {
		return h, nil, nil
	}
	body := make([]byte, h.bodySize())
	if _, err := io.ReadFull(r, body); err != nil {
		return h, nil, s.readError(err)
	}
	e, ok = s.seed.parseBody(h, body)
	if !ok {
		return h, nil, nil
	}
	if _, err := r.Discard(int(h.size() - recordHeaderSize - h.bodySize())); err != nil {
		return h, nil, s.readError(err)
	}
	return h, e, nil
}

func (s *segment) readError(err error) error {
	return fmt.Errorf("reading segment %s at offset %d: %w", s.name, s.end, err)
}

// follows tells whether a record may come after those already read. In a batch
// of which a crash left only the first records, the next record is of the next
// batch.
func (s *segment) follows(h recordHeader) bool {
	if h.seq != s.last+1 {
		return false
	}
	if h.index > 0 {
		return !s.empty() && h.batch == s.lastBatch && h.index == s.lastIndex+1
	}
	return s.empty() || h.batch > s.lastBatch
}

// findRecord returns the first record that checks, for which accept returns
// true, and that begins at any offset at or after from and before to.
func (s *segment) findRecord(f file, from, to int64, accept func(recordHeader) bool) (h recordHeader, at int64, found bool, err error) {
	// Reads overlap by a header, so that none is cut.
	to = min(to-1+recordHeaderSize, s.size) // Where the last header may end.
	buf := make([]byte, max(0, min(scanBuffer+recordHeaderSize, to-from)))
	for at = from; at+recordHeaderSize <= to; at += scanBuffer {
		if at, err = s.skipHole(f, at); err != nil || at+recordHeaderSize > to {
			break
		}
		b := buf[:min(int64(len(buf)), to-at)]
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return h, at, false, fmt.Errorf("reading segment %s at offset %d: %w", s.name, at, err)
		}
		for i := int64(0); i+recordHeaderSize <= int64(len(b)); i += recordAlign {
			if binary.LittleEndian.Uint32(b[i:]) != recordMagic {
				continue
			}
			h, ok := s.seed.parseHeader(b[i:], at+i, s.size-at-i)
			if !ok || !accept(h) {
				continue
			}
			if ok, err := s.checkBody(f, h, at+i); err != nil || ok {
				return h, at + i, ok, err
			}
		}
	}
	return h, at, false, err
}

// skipHole returns the first offset, at or after at and aligned as records are,
// from which on there may be anything but zeros.
func (s *segment) skipHole(f file, at int64) (int64, error) {
	next, err := f.NextData(at)
	if err != nil {
		return at, fmt.Errorf("reading segment %s at offset %d: %w", s.name, at, err)
	}
	return max(at, next&^(recordAlign-1)), nil
}

// checkBody tells whether the record with header h at an offset checks.
func (s *segment) checkBody(f io.ReaderAt, h recordHeader, at int64) (bool, error) {
	body := make([]byte, h.bodySize())
	if _, err := f.ReadAt(body, at+recordHeaderSize); err != nil {
		return false, fmt.Errorf("reading segment %s at offset %d: %w", s.name, at, err)
	}
	_, ok := s.seed.parseBody(h, body)
	return ok, nil
}

// makeSegment makes the file of a segment: allocated, its header and directory
// entry durable. Until it is complete it has another name, so that a segment's
// header is never torn. An error that wraps ErrFailed means a fault of the disk;
// after any other, as for lack of room, nothing is left and it can be tried
// again.
func (j *Journal) makeSegment(number uint64) (*segment, error) {
	s := &segment{name: segmentName(number), number: number, journal: j.id, size: j.opts.SegmentSize, end: dataOffset}
	var err error
	if s.id, err = newID(j.opts.Rand); err != nil {
		return nil, err
	}
	s.seed = newSeed(s.journal, s.id)
	path := filepath.Join(j.dir, s.name)
	f, err := j.segmentFile(path+tempSuffix, s.size)
	if err != nil {
		return nil, fmt.Errorf("making segment %s: %w", s.name, err)
	}
	err = errors.Join(j.writeHeader(s, f), f.Close())
	if err == nil {
		err = j.fs.Rename(path+tempSuffix, path)
	}
	if err == nil {
		err = j.opts.Faults.Hit(FaultSegmentBeforeDirSync)
	}
	if err == nil {
		err = j.fs.SyncDir(j.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: making segment %s: %w", ErrFailed, s.name, err)
	}
	return s, nil
}

// writeHeader makes file and header of a new segment durable.
func (j *Journal) writeHeader(s *segment, f file) error {
	if _, err := f.WriteAt(s.header(), 0); err != nil {
		return err
	}
	if err := j.opts.Faults.Hit(FaultSegmentBeforeSync); err != nil {
		return err
	}
	return f.Sync()
}

// writeBeginning makes the first sequence of a segment durable. It comes before
// its first record.
func (j *Journal) writeBeginning(s *segment, f file) error {
	if _, err := f.WriteAt(s.beginning(), beginOffset); err != nil {
		return fmt.Errorf("beginning segment %s: %w", s.name, err)
	}
	if err := j.opts.Faults.Hit(FaultSegmentBeforeBegin); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("beginning segment %s: %w", s.name, err)
	}
	return j.opts.Faults.Hit(FaultSegmentAfterBegin)
}

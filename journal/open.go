package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// filesDir is the directory, in that of the journal, of contents kept beside
// the log.
const filesDir = "files"

// Open reads the journal in dir, which it makes if there is none, and makes
// what it found durable: what is only in the page cache would be lost with the
// next power cut, though records were already acted upon. It fails with a
// CorruptError if records are damaged that were durable before.
//
// The Journal takes no records before Start. The caller must Close it.
func Open(dir string, opts Options) (*Journal, error) {
	if opts.SegmentSize == 0 {
		opts.SegmentSize = segmentSizeDefault
	}
	if opts.SegmentSize < segmentSizeMin || opts.SegmentSize > segmentSizeMax || opts.SegmentSize%recordAlign != 0 {
		return nil, fmt.Errorf("opening journal: segment size %d is not a multiple of %d from %d to %d",
			opts.SegmentSize, recordAlign, segmentSizeMin, segmentSizeMax)
	}
	if opts.fs == nil {
		opts.fs = diskFS{}
	}
	j := &Journal{
		opts: opts, fs: opts.fs, dir: dir,
		ahead: make(chan *segment), wake: make(chan struct{}, 1), stop: make(chan struct{}), failed: make(chan struct{}),
		refs: map[id]int{},
	}
	j.clean = &joinedSync{sync: func() error { return j.fs.SyncDir(filepath.Join(dir, filesDir)) }}
	if err := j.open(); err != nil {
		return nil, fmt.Errorf("opening journal %s: %w", dir, errors.Join(err, j.Close()))
	}
	return j, nil
}

// open reads the log and settles its end.
func (j *Journal) open() error {
	if err := j.fs.Mkdir(filepath.Join(j.dir, filesDir)); err != nil {
		return err
	}
	l, err := readLog(j.fs, j.dir, nil)
	if err != nil {
		return err
	}
	j.id, j.segments, j.current = l.journal, l.segments, l.current()
	if j.current == nil {
		// No record was ever written: the last segment with one always stays.
		if j.id, err = newID(j.opts.Rand); err != nil {
			return err
		}
	}
	j.head.Store(l.head)
	for _, s := range j.segments {
		j.batch = max(j.batch, s.lastBatch)
		for _, name := range s.files {
			j.refs[name]++
		}
	}
	return j.settle(l)
}

// settle makes the log on disk what was read of it: the last batch, and no
// record after it.
func (j *Journal) settle(l *log) error {
	if err := j.retire(slices.Concat(l.ahead, l.spare)); err != nil {
		return err
	}
	if s := j.current; s != nil {
		f, err := j.fs.Open(filepath.Join(j.dir, s.name))
		if err != nil {
			return err
		}
		j.file = f
		if err := j.settleSegment(s); err != nil {
			return fmt.Errorf("settling segment %s: %w", s.name, err)
		}
	}
	if err := j.fs.SyncDir(j.dir); err != nil {
		return err
	}
	return j.opts.Faults.Hit(FaultOpenAfterSync)
}

// settleSegment writes the last batch again, or the beginning if there is none.
// All before it was durable before it was written. Clean pages in the cache are
// no proof: after a failed sync they are not on disk and not written again.
func (j *Journal) settleSegment(s *segment) error {
	if err := j.opts.Faults.Hit(FaultOpenBeforeRewrite); err != nil {
		return err
	}
	from, b := int64(beginOffset), s.beginning()
	if !s.empty() {
		from, b = s.batchAt, make([]byte, s.end-s.batchAt)
		if _, err := j.file.ReadAt(b, from); err != nil {
			return err
		}
	}
	if _, err := j.file.WriteAt(b, from); err != nil {
		return err
	}
	if err := j.opts.Faults.Hit(FaultOpenBeforeZero); err != nil {
		return err
	}
	// Nothing that has the segment's seed is farther off than the longest batch:
	// each is durable before the next is written.
	if err := j.file.Zero(s.end, min(s.size, s.end+batchMax)); err != nil {
		return err
	}
	return j.file.Sync()
}

// Entries calls fn for every record of the remaining segments in order. It may
// be called before Start only.
func (j *Journal) Entries(fn func(*Entry) error) error {
	j.mu.Lock()
	usable := !j.started && !j.closed
	j.mu.Unlock()
	if !usable {
		return fmt.Errorf("reading journal entries: %w", ErrClosed)
	}
	l, err := (&reader{fs: j.fs, dir: j.dir, fn: fn, settled: true}).read()
	if err == nil && l.head != j.Head() {
		err = fmt.Errorf("%w: its last record is %d now, and was %d", ErrCorrupt, l.head, j.Head())
	}
	if err != nil {
		return fmt.Errorf("reading journal entries: %w", err)
	}
	return nil
}

// Start begins to take records. It removes files that no record names.
func (j *Journal) Start() error {
	j.mu.Lock()
	floor, usable := j.floor, !j.started && !j.closed
	j.mu.Unlock()
	if !usable {
		return fmt.Errorf("starting journal: %w", ErrClosed)
	}
	if err := j.removeUnnamed(); err != nil {
		return fmt.Errorf("starting journal: %w", err)
	}
	j.nextSeq = max(j.Head(), floor) + 1
	if err := j.startSegment(); err != nil {
		return fmt.Errorf("starting journal: %w", err)
	}
	j.mu.Lock()
	j.started = true
	number := j.current.number + 1
	j.mu.Unlock()
	j.work.Go(j.write)
	j.work.Go(func() { j.prepare(number) })
	return nil
}

// startSegment makes sure that the next record can go to the current segment.
// The sequence has no gap within one.
func (j *Journal) startSegment() error {
	number := uint64(1)
	if s := j.current; s != nil {
		if s.empty() {
			j.nextSeq = max(j.nextSeq, s.first)
		}
		if s.last+1 == j.nextSeq {
			return nil
		}
		if s.empty() {
			s.begin(s.prev, j.nextSeq)
			return j.writeBeginning(s, j.file)
		}
		number = s.number + 1
	}
	s, err := j.makeSegment(number)
	if err != nil {
		return err
	}
	return j.useSegment(s)
}

// useSegment makes s the segment that is written to.
func (j *Journal) useSegment(s *segment) error {
	f, err := j.fs.Open(filepath.Join(j.dir, s.name))
	if err != nil {
		return err
	}
	s.begin(j.Head(), j.nextSeq)
	if err := j.writeBeginning(s, f); err != nil {
		return errors.Join(err, f.Close())
	}
	old := j.file
	j.current, j.file = s, f
	j.mu.Lock()
	j.segments = append(j.segments, s)
	j.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// waiter is a record on its way into the log.
type waiter struct {
	rec  Record
	size int64
	done chan struct{} // Closed when seq and err are set.
	seq  uint64
	err  error
}

// answer ends the wait of all with an error.
func answer(waiting []*waiter, err error) {
	for _, w := range waiting {
		w.err = err
		close(w.done)
	}
}

// Append writes rec and returns its sequence when it is durable. It joins all
// that wait into one write and one sync.
//
// The end of ctx counts until the writer has taken the record: then the outcome
// is waited for, since nobody could tell it. A wait of more than 30 seconds for
// the writer ends with ErrRoom. After ErrFailed the record may be in the log.
func (j *Journal) Append(ctx context.Context, rec Record) (seq uint64, err error) {
	w := &waiter{rec: rec, size: recordSize(rec), done: make(chan struct{})}
	if err := j.check(w); err != nil {
		return 0, err
	}
	if err := j.enqueue(w); err != nil {
		return 0, err
	}
	timer := time.NewTimer(roomWait)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-ctx.Done():
		if j.withdraw(w) {
			return 0, context.Cause(ctx)
		}
	case <-timer.C:
		if j.withdraw(w) {
			return 0, ErrRoom
		}
	}
	<-w.done
	return w.seq, w.err
}

// check refuses what can't be written.
func (j *Journal) check(w *waiter) error {
	if w.size > j.opts.SegmentSize-dataOffset {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, w.size)
	}
	if len(w.rec.Files) > filesMax {
		return fmt.Errorf("%w: %d files", ErrTooLarge, len(w.rec.Files))
	}
	for _, f := range w.rec.Files {
		if _, ok := parseID(f.Name); !ok || f.Size < 0 {
			return fmt.Errorf("appending to journal: no file of ours: %q", f.Name)
		}
	}
	return nil
}

// enqueue adds w to the queue and wakes the writer.
func (j *Journal) enqueue(w *waiter) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.err != nil:
		return j.err
	case j.closed || !j.started:
		return ErrClosed
	case len(j.queue) >= waitersMax:
		return fmt.Errorf("%w: %d records wait", ErrRoom, len(j.queue))
	}
	j.queue = append(j.queue, w)
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return nil
}

// withdraw removes w from the queue, if the writer has not taken it.
func (j *Journal) withdraw(w *waiter) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.Index(j.queue, w)
	if i < 0 {
		return false
	}
	j.queue = slices.Delete(j.queue, i, i+1)
	return true
}

// write is the writer: it runs until Close or a failure.
func (j *Journal) write() {
	defer func() {
		j.mu.Lock()
		waiting := j.queue
		j.queue = nil
		j.mu.Unlock()
		answer(waiting, ErrClosed)
	}()
	for {
		batch, full, ok := j.take()
		switch {
		case !ok:
			return
		case full:
			if !j.advance() {
				return
			}
		default:
			if err := j.commit(batch); err != nil {
				answer(batch, j.fail(err))
				return
			}
			answer(batch, nil)
		}
	}
}

// take waits for records and takes those for the next batch. It returns full
// if the first has no room in the current segment, and not ok when there is
// nothing more to do.
func (j *Journal) take() (batch []*waiter, full, ok bool) {
	for {
		j.mu.Lock()
		room, size, n := j.current.room(), int64(0), 0
		for _, w := range j.queue {
			if size+w.size > room || n > 0 && size+w.size > batchMax {
				break
			}
			size += w.size
			n++
		}
		waiting, ended := len(j.queue), j.closed || j.err != nil
		batch = slices.Clone(j.queue[:n])
		j.queue = slices.Delete(j.queue, 0, n)
		j.mu.Unlock()
		if n > 0 || waiting > 0 {
			return batch, n == 0, true
		}
		if ended {
			return nil, false, false
		}
		if cap(j.buffer) > bufferKept {
			j.buffer = nil
		}
		select {
		case <-j.wake:
		case <-j.stop:
		case <-j.failed:
		}
	}
}

// advance goes on to the next segment when it is made. It returns false when
// the journal is closed before, or has failed.
func (j *Journal) advance() bool {
	select {
	case s := <-j.ahead:
		if err := j.useSegment(s); err != nil {
			_ = j.fail(err)
			return false
		}
		return true
	case <-j.stop:
	case <-j.failed:
	}
	return false
}

// commit writes a batch at the end of the current segment and syncs it.
func (j *Journal) commit(batch []*waiter) error {
	started := time.Now()
	s := j.current
	headers := make([]recordHeader, len(batch))
	j.batch++
	j.buffer = j.buffer[:0]
	for i, w := range batch {
		headers[i] = recordHeader{seq: j.nextSeq + uint64(i), batch: j.batch, index: uint32(i)}
		j.buffer = s.seed.appendRecord(j.buffer, s.end, headers[i], w.rec)
	}
	if err := j.writeSync(s.end); err != nil {
		return fmt.Errorf("writing %d records to segment %s: %w", len(batch), s.name, err)
	}
	took, named := time.Since(started), len(s.files)

	j.mu.Lock()
	for i, w := range batch {
		w.seq = headers[i].seq
		s.add(headers[i], w.size, w.rec.Files)
	}
	for _, name := range s.files[named:] {
		j.refs[name]++
	}
	j.nextSeq += uint64(len(batch))
	j.head.Store(j.nextSeq - 1)
	j.mu.Unlock()
	if j.opts.Durable != nil {
		for _, w := range batch {
			j.opts.Durable(&Entry{Seq: w.seq, Batch: j.batch, Type: w.rec.Type, Files: w.rec.Files, Value: w.rec.Value})
		}
	}
	j.observe(Event{Records: len(batch), Bytes: int64(len(j.buffer)), Took: took})
	return nil
}

// writeSync writes the buffer at an offset and makes it durable.
func (j *Journal) writeSync(offset int64) error {
	if err := j.opts.Faults.Hit(FaultBatchBeforeWrite); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(j.buffer, offset); err != nil {
		return err
	}
	if err := j.opts.Faults.Hit(FaultBatchBeforeSync); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	return j.opts.Faults.Hit(FaultBatchAfterSync)
}

// prepare makes segments, from this number on, one ahead of the writer. On a
// full disk it tries again, with a new file.
func (j *Journal) prepare(number uint64) {
	for ; ; number++ {
		s := j.prepareOne(number)
		if s == nil {
			return
		}
		select {
		case j.ahead <- s:
		case <-j.stop:
			return
		case <-j.failed:
			return
		}
	}
}

// prepareOne makes the segment with this number; nil when there is no more use
// for it.
func (j *Journal) prepareOne(number uint64) *segment {
	for {
		s, err := j.makeSegment(number)
		switch {
		case err == nil:
			return s
		case errors.Is(err, ErrFailed):
			_ = j.fail(err)
			return nil
		}
		j.observe(Event{Err: err})
		select {
		case <-time.After(retryAfter):
		case <-j.stop:
			return nil
		case <-j.failed:
			return nil
		}
	}
}

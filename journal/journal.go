// Package journal keeps an append-only log of records on disk. Append joins
// everything that waits, from whatever goroutines, into one write and one
// fdatasync, and returns when the record is durable. After a crash or power cut
// at any instant, Open finds every record for which Append returned, once and
// whole.
//
// It knows records as bytes, and files kept beside the log by name, size and
// checksum. What is in them, when a segment is no longer needed, and what to do
// with records after a restart is for its owner, package store, to say. It does
// not lock its directory: the lock of the data directory does.
package journal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mjl-/mox/internal/fault"
)

// Limits of the journal. The queue and the batch are bounded so that a disk that
// has become slow shows as refusals and not as memory.
const (
	// segmentSizeDefault, in bytes, makes switching segments, which costs a sync,
	// rare, and keeps the time to read the log at start under a second.
	segmentSizeDefault = 64 << 20

	// segmentSizeMin and segmentSizeMax bound the option, in bytes. Offsets in a
	// segment must fit in an int on 32-bit systems.
	segmentSizeMin = 16 << 10
	segmentSizeMax = 1 << 30

	// batchMax bounds the records of one write, in bytes, so that the first of
	// them does not wait long for the last. A larger record is a batch alone.
	batchMax = 4 << 20

	// bufferKept is the largest buffer, in bytes, that an idle journal keeps.
	bufferKept = 1 << 20

	// waitersMax bounds the records that wait for the writer. It is more than all
	// connections a server takes.
	waitersMax = 10_000

	// roomWait bounds the wait until the writer takes a record. It is longer only
	// if no segment can be made or the disk does not answer.
	roomWait = 30 * time.Second

	// retryAfter is the time between attempts to make the next segment on a full
	// disk.
	retryAfter = time.Second

	// filesMax bounds the files that one record may name.
	filesMax = 64
)

var (
	// ErrFailed means a write or sync failed. The record may be on disk or not, and
	// appear after a restart. The caller must refuse for now; the process must stop
	// in order and start again, since nothing more can be appended.
	ErrFailed = errors.New("journal failed")

	// ErrRoom means the writer could not take the record in time: the disk is full
	// or far too slow. The record is not in the log. The caller must refuse for now.
	ErrRoom = errors.New("no room in journal")

	// ErrClosed means the journal is closed, or not yet started. The record is not
	// in the log.
	ErrClosed = errors.New("journal closed")

	// ErrTooLarge means the record can't be in any segment. The caller must put
	// data in a file of its own, with AddFile.
	ErrTooLarge = errors.New("record too large for journal")

	// ErrCorrupt is what every CorruptError wraps.
	ErrCorrupt = errors.New("journal damaged")
)

// CorruptError means that records of which Append returned success can't be
// read: what stands at the place is not what was written, and not the end that
// a crash leaves either. An operator must look; Verify tells what is known.
type CorruptError struct {
	Segment string // File name.
	Offset  int64  // In bytes from the start of the file.
	Reason  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal damaged: segment %s at offset %d: %s", e.Segment, e.Offset, e.Reason)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// FileRef is what a record says of a file kept beside the log.
type FileRef struct {
	Name string // Random: 32 hexadecimal digits.
	Size int64  // In bytes.
	CRC  uint32 // CRC-32C of the content.
}

// Record is what Append takes.
type Record struct {
	Type  uint8
	Data  [][]byte  // Concatenated in the log. May not change until Append returns.
	Files []FileRef // From AddFile or LinkFile.
	Value any       // Comes back in the Entry given to Options.Durable; not written.
}

// Entry is a record in the log.
type Entry struct {
	Seq   uint64 // Grows by one for each record.
	Batch uint64 // Grows; records of one batch were written and synced together.
	Type  uint8
	Files []FileRef
	Data  []byte // The receiver's to keep. Nil in Options.Durable: use Value.
	Value any    // What Append was given. Nil when read from disk.
}

// Event is something that happened, for metrics and logs.
type Event struct {
	Records int           // Of a batch that became durable; 0 for a failure.
	Bytes   int64         // Of that batch.
	Took    time.Duration // To write and sync it.
	Err     error         // A failure: of the journal if it wraps ErrFailed, else to find room for the next segment, which is tried again.
}

// Options is how to open a journal.
type Options struct {
	SegmentSize int64        // Bytes of a segment file; 0 is 64 MiB. Those there keep theirs.
	Faults      *fault.Set   // Hit at Points; nil in production.
	Rand        io.Reader    // For ids and names: crypto/rand.Reader. Not nil.
	Durable     func(*Entry) // Called for each record in sequence order, by one goroutine, after the sync and before its Append returns. Must not block nor call the Journal. May be nil.
	Observe     func(Event)  // Called by one goroutine at a time. Must not block. May be nil.

	fs fileSystem // For tests; nil is the real one.
}

// Journal is an open log: see Open. It is safe for concurrent use.
type Journal struct {
	opts  Options
	fs    fileSystem
	dir   string
	id    id
	clean *joinedSync // Syncs the directory of files.

	ahead    chan *segment // The next segment, made by prepare.
	wake     chan struct{} // Tells the writer of something in queue; has room for one.
	stop     chan struct{} // Closed by Close.
	failed   chan struct{} // Closed by fail.
	head     atomic.Uint64 // Sequence of the last durable record.
	work     sync.WaitGroup
	observed sync.Mutex // Held while Observe runs.

	// removing is held while segments are removed, and to count pins.
	removing sync.Mutex
	pins     int

	mu       sync.Mutex
	started  bool
	closed   bool
	err      error      // Why it failed.
	queue    []*waiter  // Not yet taken by the writer.
	segments []*segment // In order; those with a beginning.
	refs     map[id]int // How many records name a file.
	spares   []string   // Files of removed segments.
	floor    uint64     // Before Start: the next sequence is above it.

	// Owned by the writer, and by the opener before it starts.
	current *segment // The last of segments; nil if there is none.
	file    file     // Of current.
	buffer  []byte
	nextSeq uint64
	batch   uint64 // Number of the last batch.
}

// ID returns the random id of the journal, as 32 hexadecimal digits. Copies of
// the journal have the same.
func (j *Journal) ID() string { return hex.EncodeToString(j.id[:]) }

// Head returns the sequence of the last durable record, or 0.
func (j *Journal) Head() uint64 { return j.head.Load() }

// Floor makes the next sequence larger than seq. It may be called before Start
// only, for each place that has a sequence of this journal written down.
func (j *Journal) Floor(seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.floor = max(j.floor, seq)
}

// Failed returns a channel that is closed when a write or sync has failed.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err returns why the journal failed, wrapping ErrFailed, or nil.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// fail closes the journal for good, and refuses what waits.
func (j *Journal) fail(cause error) error {
	j.mu.Lock()
	first := j.err == nil
	if first {
		if j.err = cause; !errors.Is(cause, ErrFailed) {
			j.err = fmt.Errorf("%w: %w", ErrFailed, cause)
		}
		close(j.failed)
	}
	err := j.err
	waiting := j.queue
	j.queue = nil
	j.mu.Unlock()

	if first {
		j.observe(Event{Err: err})
	}
	answer(waiting, err)
	return err
}

func (j *Journal) observe(e Event) {
	if j.opts.Observe == nil {
		return
	}
	j.observed.Lock()
	defer j.observed.Unlock()
	j.opts.Observe(e)
}

// Close waits until what the writer can take is durable, and ends it. What
// waits for room is refused with ErrClosed. It may be called more than once.
func (j *Journal) Close() error {
	j.mu.Lock()
	again := j.closed
	j.closed = true
	j.mu.Unlock()
	if !again {
		close(j.stop)
	}
	j.work.Wait()

	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

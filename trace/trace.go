// Package trace keeps the way of each message: how it came, what was decided about
// it, each attempt to deliver it, and what became of it, as events in the order in
// which they happened. They are for administrators, who ask about a message when
// somebody misses it.
//
// Events go into a log of their own, bounded in age and size. It is not a record of
// truth: nothing waits for it, and nothing is decided by what it has. A crash may lose
// its last seconds, and a flood some of its events; it then says so.
package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mjl-/mox/atomicfile"
)

const (
	// writeAfter is how long an event may wait in memory, so that events are written
	// together. With so many as writeEvents it is done at once.
	writeAfter  = time.Second
	writeEvents = 1024

	// pendingMax bounds the events in memory, at some 1 KiB each.
	pendingMax = 16 << 10

	// writeBytes is about how much is written at a time.
	writeBytes = 256 << 10

	// expireEvery is how often what is too old is looked for, the first time that long
	// after the start. Nobody sees it meanwhile.
	expireEvery = time.Hour
)

// closedName is a file that is there while a log is closed that was closed in order.
const closedName = "closed"

// Options is what a Log needs. All fields are required.
type Options struct {
	Dir     string        // <data>/trace, made if it is not there.
	KeepFor time.Duration // How long events are kept.
	SizeMax int64         // Of all files, in bytes. They may be larger for a moment, by a segment.
	Log     *slog.Logger
}

// Log is a log of events. It is safe for concurrent use. Nil is a log that keeps
// nothing.
type Log struct {
	opts  Options
	wake  chan struct{} // Has room for one: there are events.
	hurry chan struct{} // Likewise: there are many.
	stop  chan struct{}
	done  chan struct{}

	mu      sync.Mutex
	pending []Event
	dropped int64 // Since that was noted in the log.
	stats   Stats
	closed  bool

	looking sync.Mutex // Held while somebody looks up: one at a time.

	files  sync.Mutex // Guards what is below, and is held while files are written.
	series []*series
	spare  []Event // The room of those written last.
	enc    []*encoder
	failed bool // The last write.
	ended  bool
}

// Stats is what a Log has done and has.
type Stats struct {
	Events  int64 // Written.
	Dropped int64 // Not kept.
	Bytes   int64 // Of the files.
}

// Open opens the log, and makes it if it is not there. What a crash left is put in
// order. Close must be called.
func Open(opts Options) (*Log, error) {
	if opts.Dir == "" || opts.KeepFor <= 0 || opts.SizeMax <= 0 || opts.Log == nil {
		return nil, errors.New("trace: missing option")
	}
	if err := atomicfile.MkdirAll(opts.Dir, dirPerm); err != nil {
		return nil, fmt.Errorf("making directory for traces: %w", err)
	}
	l := &Log{opts: opts, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if err := l.openFiles(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening traces: %w", err), l.closeFiles())
	}
	go l.run()
	return l, nil
}

// openFiles opens the series, and notes if the process before did not close them.
func (l *Log) openFiles() error {
	if err := removeTemps(l.opts.Dir); err != nil {
		return err
	}
	for i, name := range seriesNames {
		size := l.opts.SizeMax / refusedPart
		if i == mailSeries {
			size = l.opts.SizeMax - size
		}
		s, err := openSeries(l.opts.Dir, name, size, l.opts.KeepFor)
		if err != nil {
			return err
		}
		if s.damaged > 0 {
			l.opts.Log.Warn("lines of trace were damaged, and are dropped", "series", name, "lines", s.damaged)
			l.dropped += s.damaged
		}
		l.series, l.enc = append(l.series, s), append(l.enc, &encoder{})
		l.stats.Bytes += s.bytes()
	}
	err := os.Remove(filepath.Join(l.opts.Dir, closedName))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
		if l.stats.Bytes > 0 {
			l.pending = append(l.pending, Event{Time: clean(time.Now()), Kind: Gap, Missing: &Missing{Restart: true}})
		}
	}
	return err
}

// removeTemps removes what a crash left of indexes.
func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if atomicfile.IsTemp(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// clean returns a time as it is kept.
func clean(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Append adds an event. It never waits for the disk: beyond what memory holds, events
// are dropped and counted. The event must not be changed afterwards.
func (l *Log) Append(e Event) {
	if l == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = clean(e.Time)
	e.MessageID = foldMessageID(e.MessageID)
	l.mu.Lock()
	n := len(l.pending)
	if l.closed || n >= pendingMax {
		l.dropped++
		l.stats.Dropped++
		l.mu.Unlock()
		return
	}
	l.pending = append(l.pending, e)
	l.mu.Unlock()
	switch n {
	case 0:
		poke(l.wake)
	case writeEvents:
		poke(l.hurry)
	}
}

// poke wakes who waits for c.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes events, and removes old ones, until Close.
func (l *Log) run() {
	defer close(l.done)
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()
	l.write()
	for {
		select {
		case <-l.stop:
			return
		case <-expire.C:
			l.expire()
		case <-l.wake:
			l.linger()
		}
		l.write()
	}
}

// linger waits for more events.
func (l *Log) linger() {
	timer := time.NewTimer(writeAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.hurry:
	case <-l.stop:
	}
}

// write writes what is pending, and removes what is too much.
func (l *Log) write() {
	l.files.Lock()
	defer l.files.Unlock()
	l.flush()
	l.each("too much", (*series).shrink)
}

// expire removes what is too old.
func (l *Log) expire() {
	l.files.Lock()
	defer l.files.Unlock()
	l.each("too old", func(s *series) error { return s.expire(time.Now().Add(-l.opts.KeepFor)) })
}

// flush writes what is pending. l.files is held.
func (l *Log) flush() {
	if l.ended {
		return
	}
	l.mu.Lock()
	events, dropped := l.pending, l.dropped
	l.pending, l.dropped = l.spare[:0], 0
	l.mu.Unlock()
	now := clean(time.Now())
	if dropped > 0 {
		l.encode(&Event{Time: now, Kind: Gap, Missing: &Missing{Events: dropped}}, now)
	}
	for i := range events {
		l.encode(&events[i], now)
	}
	for i := range l.series {
		l.writeSeries(i, now)
	}
	clear(events)
	l.spare = events
}

// encode makes the record of an event, for the series that it belongs to.
func (l *Log) encode(e *Event, now time.Time) {
	i := mailSeries
	if e.Kind == Refused && e.Account == "" {
		i = refusedSeries
	}
	w := l.enc[i]
	if err := w.add(e); err != nil {
		l.lost(1, err) // Its types can all be marshalled.
	}
	if w.buf.Len() >= writeBytes {
		l.writeSeries(i, now)
	}
}

// writeSeries writes the records for a series.
func (l *Log) writeSeries(i int, now time.Time) {
	w := l.enc[i]
	defer w.reset()
	if w.buf.Len() == 0 {
		return
	}
	if err := l.series[i].write(w, now); err != nil {
		l.lost(w.events, err)
		return
	}
	if l.failed {
		l.failed = false
		l.opts.Log.Info("traces of messages are written again")
	}
	l.mu.Lock()
	l.stats.Events += w.events
	l.mu.Unlock()
}

// lost notes that events could not be written. It is logged once until it is over.
func (l *Log) lost(events int64, err error) {
	if !l.failed {
		l.opts.Log.Error("writing traces of messages", "err", err)
	}
	l.failed = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped += events
	l.stats.Dropped += events
}

// each does something with each series. l.files is held.
func (l *Log) each(what string, do func(*series) error) {
	if l.ended {
		return
	}
	var bytes int64
	for _, s := range l.series {
		if err := do(s); err != nil {
			l.opts.Log.Warn("removing traces of messages", "which", what, "err", err) // It is tried again.
		}
		bytes += s.bytes()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Bytes = bytes
}

// Stats returns what the log has done and has.
func (l *Log) Stats() Stats {
	if l == nil {
		return Stats{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Close writes what is pending and closes the log. What is appended later is
// dropped.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return nil
	}
	close(l.stop)
	<-l.done
	l.files.Lock()
	defer l.files.Unlock()
	l.flush()
	l.ended = true
	err := l.closeFiles()
	if err == nil && !l.failed {
		err = atomicfile.WriteFile(filepath.Join(l.opts.Dir, closedName), nil, filePerm)
	}
	if err != nil {
		return fmt.Errorf("closing traces: %w", err)
	}
	return nil
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, s := range l.series {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// Flush waits until what was appended is in the files, as far as they can be written:
// for who has so many events that others would have no room.
func (l *Log) Flush() {
	if l == nil {
		return
	}
	l.files.Lock()
	defer l.files.Unlock()
	l.flush()
}

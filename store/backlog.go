package store

import (
	"context"
	"sync"
	"time"
)

// backlog bounds the bytes that are accepted and not yet applied, since they
// are in memory (journal.md, rule 17).
type backlog struct {
	max int64

	mu      sync.Mutex
	used    int64
	waiting int
	room    chan struct{} // Closed, and made anew, when room appears and somebody waits.
}

// take waits for room for n bytes, at most backlogWait. One alone always fits.
func (b *backlog) take(ctx context.Context, n int64) error {
	var timeout <-chan time.Time
	for {
		b.mu.Lock()
		if b.used == 0 || b.used+n <= b.max {
			b.used += n
			b.mu.Unlock()
			return nil
		}
		b.waiting++
		room := b.room
		b.mu.Unlock()
		if timeout == nil {
			t := time.NewTimer(backlogWait)
			defer t.Stop()
			timeout = t.C
		}
		var err error
		select {
		case <-room:
		case <-timeout:
			err = ErrBusy
		case <-ctx.Done():
			err = ctx.Err()
		}
		b.mu.Lock()
		b.waiting--
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// add takes n bytes without asking, for records found on disk at start.
func (b *backlog) add(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
}

// give returns n bytes.
func (b *backlog) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.waiting > 0 {
		close(b.room)
		b.room = make(chan struct{})
	}
}

// bytes returns what is in use.
func (b *backlog) bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// tracker knows up to which sequence number all records are applied in every
// account, which is up to where segments may go (journal.md, rule 6).
type tracker struct {
	mu   sync.Mutex
	base uint64  // Sequence number of left[0].
	last uint64  // Sequence number of the last record pushed.
	left []int32 // Accounts that have still to apply the record.
}

// push adds the next record, for n accounts. Numbers grow by one.
func (t *tracker) push(seq uint64, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.left) == 0 {
		t.base = seq
	}
	for t.base+uint64(len(t.left)) < seq {
		t.left = append(t.left, 0) // A record that nobody has to apply.
	}
	t.left = append(t.left, int32(n))
	t.last = seq
}

// done says that one account has applied a record.
func (t *tracker) done(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := seq - t.base; seq >= t.base && i < uint64(len(t.left)) {
		t.left[i]--
	}
	n := 0
	for n < len(t.left) && t.left[n] <= 0 {
		n++
	}
	t.base += uint64(n)
	t.left = t.left[n:]
}

// through returns the number up to which all records are applied. It knows only
// of records that were pushed: the journal's head may be beyond them.
func (t *tracker) through() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.left) == 0 {
		return t.last
	}
	return t.base - 1
}

// loadMeter measures how busy deliveries are, so that appliers can gather
// larger batches.
type loadMeter struct {
	now func() time.Time

	mu    sync.Mutex
	since time.Time
	count int
	rate  float64 // Records per second in the last whole window.
}

// loadWindow is the time over which the rate is measured.
const loadWindow = 100 * time.Millisecond

// add counts a record.
func (m *loadMeter) add() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll()
	m.count++
}

// perSecond returns the rate of the last window.
func (m *loadMeter) perSecond() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll()
	return m.rate
}

// roll begins a new window if the current one is over. m.mu is held.
func (m *loadMeter) roll() {
	now := m.now()
	took := now.Sub(m.since)
	if took < loadWindow {
		return
	}
	m.rate = float64(m.count) / took.Seconds()
	m.since, m.count = now, 0
}

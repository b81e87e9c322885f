package queue

import (
	"fmt"
	"math"
	"time"
	"unique"
)

// place is where an entry is in the schedule. Each message that is not retired
// has one entry, in exactly one place.
type place uint8

const (
	nowhere place = iota // Being changed by the committer.
	later                // Its time has not come: in the heap.
	ready                // In its lane.
	failing              // To fail without an attempt: in the failing queue.
	leased
	held
)

// entry is a message that is not retired, in memory. There can be hundreds of
// thousands: it takes 80 bytes and has texts only as handles to shared ones.
type entry struct {
	id      int64
	content int64
	due     int64 // Nanoseconds since the schedule's start, on a clock that never jumps.
	account unique.Handle[string]
	domain  unique.Handle[string]
	lane    *lane  // While ready.
	sibling *entry // Ring of the messages of the same content and domain, itself included.

	link[entry]       // In the lane or the failing queue.
	heapIndex   int32 // While later.
	place       place
	fail        bool // Goes to the failing queue when its time comes.
	chosen      bool // Its time is one of the day that somebody has chosen.
}

// limits bound what is leased at a time.
type limits struct {
	remote, destination, local int // Leases.
	remoteRcpts, localRcpts    int // Messages of one lease.
}

// schedule decides what is delivered next. It is a pure structure in memory: it
// reads no clock, no disk, and is not safe for concurrent use.
//
// What is due waits in lanes, one for each sender and destination. Senders take
// turns, so that one with 10,000 messages does not delay another's only one; so
// do the lanes of a sender. A lane whose destination has all it may have at a time
// waits there, after those that came before it, and goes on as soon as there is
// room. Each step costs O(log n) at most.
type schedule struct {
	start   time.Time
	limits  limits
	isLocal func(domain string) bool

	entries map[int64]*entry
	heap    entryHeap
	failing entryList
	remote  pool
	local   pool
	turn    int // Whose turn it is: failing, local, remote.
	counts  [held + 1]int64

	// day returns the time of day at a time of package time. Nil: that itself.
	day func(now time.Time) time.Time

	leases    leaseList // In the order in which they end.
	leaseTime time.Duration
}

// newSchedule returns an empty schedule.
func newSchedule(now time.Time, l limits, leaseTime time.Duration, isLocal func(domain string) bool) *schedule {
	return &schedule{
		start: now, limits: l, isLocal: isLocal, leaseTime: leaseTime, entries: map[int64]*entry{},
		remote: newPool(l.remote, l.destination), local: newPool(l.local, math.MaxInt),
	}
}

// offset returns a time of day on the schedule's clock. The difference to that at
// now counts, since the time of day may jump.
func (s *schedule) offset(t, now time.Time) int64 {
	passed := int64(now.Sub(s.start))
	if s.day != nil {
		now = s.day(now)
	}
	wait := int64(t.Sub(now))
	if wait > 0 && passed > math.MaxInt64-wait {
		return math.MaxInt64
	}
	return passed + wait
}

// add makes an entry, which is nowhere yet.
func (s *schedule) add(id, content int64, account, domain string) *entry {
	e := &entry{id: id, content: content, account: unique.Make(account), domain: unique.Make(domain)}
	e.sibling = e
	s.entries[id] = e
	s.counts[nowhere]++
	return e
}

// join puts e in the ring of a sibling. e must be in no other.
func (e *entry) join(sibling *entry) { e.sibling, sibling.sibling = sibling.sibling, e }

// leave takes e out of its ring.
func (e *entry) leave() {
	before := e
	for before.sibling != e {
		before = before.sibling
	}
	before.sibling, e.sibling = e.sibling, e
}

// put makes an entry that is nowhere wait until due.
func (s *schedule) put(e *entry, due, now time.Time) {
	e.due = s.offset(due, now)
	s.putBack(e, now)
}

// putBack makes an entry that is nowhere wait until the time it had.
func (s *schedule) putBack(e *entry, now time.Time) {
	if e.due <= int64(now.Sub(s.start)) {
		s.makeReady(e)
		return
	}
	s.move(e, later)
	s.heap.push(e)
}

// hold moves an entry that is nowhere among those held.
func (s *schedule) hold(e *entry) { s.move(e, held) }

// take makes an entry be nowhere, unless it is leased.
func (s *schedule) take(e *entry) bool {
	switch e.place {
	case leased:
		return false
	case later:
		s.heap.remove(int(e.heapIndex))
	case ready:
		e.lane.entries.remove(e)
		e.lane = nil
	case failing:
		s.failing.remove(e)
	case nowhere, held:
	}
	s.move(e, nowhere)
	return true
}

// remove forgets an entry that is nowhere.
func (s *schedule) remove(e *entry) {
	e.leave()
	delete(s.entries, e.id)
	s.counts[e.place]--
}

// move notes the new place of an entry.
func (s *schedule) move(e *entry, to place) {
	s.counts[e.place]--
	s.counts[to]++
	e.place = to
}

// wake moves what has become due into its lane.
func (s *schedule) wake(now time.Time) {
	passed := int64(now.Sub(s.start))
	for len(s.heap) > 0 && s.heap[0].due <= passed {
		e := s.heap[0]
		s.heap.remove(0)
		s.makeReady(e)
	}
}

// jump takes over that the time of day has jumped: ahead, all are due so much
// sooner; back, those for which a time of day was chosen are due later.
func (s *schedule) jump(by time.Duration) {
	for _, e := range s.heap {
		if by > 0 || e.chosen {
			e.due -= int64(by)
		}
	}
	s.heap.order()
}

// makeReady puts an entry that is in no list where it can be leased.
func (s *schedule) makeReady(e *entry) {
	if e.fail {
		s.move(e, failing)
		s.failing.push(e)
		return
	}
	s.move(e, ready)
	s.poolOf(e).push(e)
}

// poolOf returns the pool an entry belongs to at present.
func (s *schedule) poolOf(e *entry) *pool {
	if s.isLocal(e.domain.Value()) {
		return &s.local
	}
	return &s.remote
}

// wait returns how long nothing will become due, and no lease end; ok is false if
// there is nothing to wait for.
func (s *schedule) wait(now time.Time) (wait time.Duration, ok bool) {
	passed := int64(now.Sub(s.start))
	at := int64(math.MaxInt64)
	if len(s.heap) > 0 {
		at = s.heap[0].due
	}
	if l := s.leases.head; l != nil && !l.finishing {
		at = min(at, l.until)
	}
	if at == math.MaxInt64 {
		return 0, false
	}
	return time.Duration(max(at-passed, 0)), true
}

// lease is the right to deliver some messages, for a while.
type lease struct {
	entries   []*entry // Emptied when the lease ends.
	lane      laneKey
	pool      *pool     // Whose place it has. Nil for none.
	local     bool      // To be handed over.
	fail      string    // Why no attempt is made; empty if one is.
	began     time.Time // When what was leased was read, by the clock of the queue.
	until     int64
	ended     bool
	finishing bool // Its end is being written.
	unwritten bool // That it began is not on record: there was no room.

	link[lease]
}

// lease takes what is to be delivered next, with all that can go with it. It
// returns nil if nothing is due or the limits are reached.
func (s *schedule) lease(now time.Time) *lease {
	s.wake(now)
	sources := []func() *lease{s.leaseFailing, s.leaseLocal, s.leaseRemote}
	for range 2 * len(sources) { // Twice, for what changes from one pool to another.
		from := sources[s.turn]
		s.turn = (s.turn + 1) % len(sources)
		if l := from(); l != nil {
			l.until = int64(now.Sub(s.start) + s.leaseTime)
			s.leases.push(l)
			return l
		}
	}
	return nil
}

func (s *schedule) leaseLocal() *lease  { return s.leaseFrom(&s.local, s.limits.localRcpts) }
func (s *schedule) leaseRemote() *lease { return s.leaseFrom(&s.remote, s.limits.remoteRcpts) }

// leaseFailing takes messages of one content that are to fail.
func (s *schedule) leaseFailing() *lease {
	e := s.failing.head
	if e == nil {
		return nil
	}
	l := &lease{}
	s.gather(l, e, failing, s.limits.localRcpts)
	return l
}

// leaseFrom takes messages of one lane of a pool.
func (s *schedule) leaseFrom(p *pool, most int) *lease {
	for {
		e, ln := p.pick()
		if e == nil {
			return nil
		}
		if other := s.poolOf(e); other != p {
			// Whether its domain is ours changed while it waited.
			ln.entries.remove(e)
			p.after(ln)
			other.push(e)
			continue
		}
		l := &lease{pool: p, lane: ln.key, local: p == &s.local}
		s.gather(l, e, ready, most)
		p.begin(ln)
		return l
	}
}

// gather leases e and its siblings that are in the same place.
func (s *schedule) gather(l *lease, e *entry, from place, most int) {
	for sib := e; len(l.entries) < most; {
		next := sib.sibling
		if sib.place == from && sib.lane == e.lane || sib == e {
			l.entries = append(l.entries, sib)
		}
		if sib = next; sib == e {
			break
		}
	}
	for _, sib := range l.entries {
		s.take(sib)
		s.move(sib, leased)
	}
}

// free gives back the place of a lease that is about to end, if it was to another
// server: what is left to be done is to write it down, and the next delivery need not
// wait for that.
func (s *schedule) free(l *lease) bool {
	if l.pool != &s.remote {
		return false
	}
	l.pool.finish(l.lane)
	l.pool = nil
	return true
}

// end ends a lease, and returns its entries, which are nowhere then.
func (s *schedule) end(l *lease) []*entry {
	if l.ended {
		return nil
	}
	l.ended = true
	s.leases.remove(l)
	if l.pool != nil {
		l.pool.finish(l.lane)
	}
	entries := l.entries
	l.entries = nil
	for _, e := range entries {
		s.move(e, nowhere)
	}
	return entries
}

// expired returns a lease whose time is over, or nil.
func (s *schedule) expired(now time.Time) *lease {
	if l := s.leases.head; l != nil && l.until <= int64(now.Sub(s.start)) {
		return l
	}
	return nil
}

// check returns what is wrong with the structure.
func (s *schedule) check() (problems []error) {
	counts := [held + 1]int64{}
	for id, e := range s.entries {
		counts[e.place]++
		if e.id != id || (e.place == ready) != (e.lane != nil) || e.place == later && s.heap[e.heapIndex] != e {
			problems = append(problems, fmt.Errorf("message %d is not where it says", id))
		}
	}
	if counts != s.counts {
		problems = append(problems, fmt.Errorf("counted %d, there are %d", s.counts, counts))
	}
	if int(counts[later]) != len(s.heap) {
		problems = append(problems, fmt.Errorf("%d wait for their time, %d say so", len(s.heap), counts[later]))
	}
	var inLanes int64
	running := map[*pool]int{}
	for l := s.leases.head; l != nil; l = l.next {
		if l.pool != nil {
			running[l.pool]++
		}
	}
	for _, p := range []*pool{&s.local, &s.remote} {
		if p.running != running[p] || p.running > p.max {
			problems = append(problems, fmt.Errorf("%d deliveries run, counted %d, allowed %d", running[p], p.running, p.max))
		}
		n, err := p.check()
		inLanes += n
		if err != nil {
			problems = append(problems, err)
		}
	}
	if inLanes != counts[ready] {
		problems = append(problems, fmt.Errorf("%d are in lanes, %d say so", inLanes, counts[ready]))
	}
	return problems
}

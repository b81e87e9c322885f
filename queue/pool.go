package queue

import (
	"fmt"
	"unique"
)

// pool is the lanes of what goes to other servers, or of what is handed over,
// with the limits on them.
type pool struct {
	max            int // Leases at a time.
	destinationMax int // Leases at a time for one destination.
	running        int

	lanes        map[laneKey]*lane
	senders      map[unique.Handle[string]]*sender
	destinations map[unique.Handle[string]]*destination
	ring         senderList // Senders that have a lane to be looked at, in turn.
	returned     laneList   // Lanes that had their turn while their destination was full, and have a place there now.
}

// newPool returns an empty pool.
func newPool(most, destinationMost int) pool {
	return pool{
		max: most, destinationMax: destinationMost, lanes: map[laneKey]*lane{},
		senders: map[unique.Handle[string]]*sender{}, destinations: map[unique.Handle[string]]*destination{},
	}
}

// laneKey names a lane.
type laneKey struct{ account, domain unique.Handle[string] }

// lane holds what one sender has for one destination and is due, in order. While
// queued it is in exactly one list: its sender's, its destination's or returned.
// An empty lane that is queued goes when its turn comes.
type lane struct {
	key         laneKey
	entries     entryList
	sender      *sender
	destination *destination
	queued      bool

	link[lane]
}

// sender is an account with lanes.
type sender struct {
	account unique.Handle[string]
	lanes   laneList
	count   int // Lanes in all lists.
	queued  bool

	link[sender]
}

// destination is a domain with lanes, or with leases.
type destination struct {
	domain  unique.Handle[string]
	running int      // Leases.
	granted int      // Places kept for lanes in returned.
	parked  laneList // Waiting for a place.
	count   int      // Lanes in all lists.
}

// push adds an entry to its lane, and the lane to its sender's.
func (p *pool) push(e *entry) {
	key := laneKey{e.account, e.domain}
	ln := p.lanes[key]
	if ln == nil {
		ln = &lane{key: key, sender: p.sender(key.account), destination: p.destination(key.domain)}
		ln.sender.count++
		ln.destination.count++
		p.lanes[key] = ln
	}
	e.lane = ln
	ln.entries.push(e)
	if !ln.queued {
		p.enqueue(ln)
	}
}

// sender returns the sender of an account.
func (p *pool) sender(account unique.Handle[string]) *sender {
	s := p.senders[account]
	if s == nil {
		s = &sender{account: account}
		p.senders[account] = s
	}
	return s
}

// destination returns the destination of a domain.
func (p *pool) destination(domain unique.Handle[string]) *destination {
	d := p.destinations[domain]
	if d == nil {
		d = &destination{domain: domain}
		p.destinations[domain] = d
	}
	return d
}

// enqueue puts a lane behind the others of its sender, and the sender behind the
// others.
func (p *pool) enqueue(ln *lane) {
	ln.queued = true
	ln.sender.lanes.push(ln)
	p.enqueueSender(ln.sender)
}

func (p *pool) enqueueSender(s *sender) {
	if !s.queued && s.lanes.head != nil {
		s.queued = true
		p.ring.push(s)
	}
}

// pick returns the entry whose turn it is and its lane, which is in no list then:
// the caller calls begin or after.
func (p *pool) pick() (*entry, *lane) {
	for p.running < p.max {
		ln := p.nextLane()
		if ln == nil {
			return nil, nil
		}
		if ln.entries.head != nil {
			return ln.entries.head, ln
		}
		p.after(ln)
	}
	return nil, nil
}

// nextLane takes a lane out of the lists whose destination has a place.
func (p *pool) nextLane() *lane {
	if ln := p.returned.pop(); ln != nil {
		ln.destination.granted--
		ln.queued = false
		return ln
	}
	for {
		s := p.ring.pop()
		if s == nil {
			return nil
		}
		s.queued = false
		ln := s.lanes.pop()
		p.enqueueSender(s)
		if d := ln.destination; d.running+d.granted >= p.destinationMax {
			d.parked.push(ln)
			continue
		}
		ln.queued = false
		return ln
	}
}

// begin counts a lease from a lane that was picked.
func (p *pool) begin(ln *lane) {
	p.running++
	ln.destination.running++
	p.after(ln)
}

// after puts a lane that was picked behind the others if it has more, or forgets
// it.
func (p *pool) after(ln *lane) {
	p.grant(ln.destination)
	if ln.entries.head != nil {
		p.enqueue(ln)
		return
	}
	delete(p.lanes, ln.key)
	if ln.sender.count--; ln.sender.count == 0 {
		delete(p.senders, ln.sender.account)
	}
	ln.destination.count--
	p.forget(ln.destination)
}

// finish ends a lease to a destination.
func (p *pool) finish(key laneKey) {
	d := p.destinations[key.domain]
	p.running--
	d.running--
	p.grant(d)
	p.forget(d)
}

// grant gives places of a destination to lanes that wait for them.
func (p *pool) grant(d *destination) {
	for d.parked.head != nil && d.running+d.granted < p.destinationMax {
		d.granted++
		p.returned.push(d.parked.pop())
	}
}

// forget removes a destination that nothing is left of.
func (p *pool) forget(d *destination) {
	if d.running == 0 && d.count == 0 {
		delete(p.destinations, d.domain)
	}
}

// waits returns whether something is due for a destination that no lease has.
func (p *pool) waits(domain string) bool {
	d := p.destinations[unique.Make(domain)]
	return d != nil && d.count > 0
}

// check returns how many entries there are, and what is wrong.
func (p *pool) check() (entries int64, err error) {
	lanes, granted, running := 0, 0, 0
	count := func(l *laneList) {
		for ln := l.head; ln != nil; ln = ln.next {
			lanes++
		}
	}
	count(&p.returned)
	for _, s := range p.senders {
		count(&s.lanes)
	}
	for _, d := range p.destinations {
		count(&d.parked)
		granted += d.granted
		running += d.running
		if d.running+d.granted > p.destinationMax || d.parked.head != nil && d.running+d.granted < p.destinationMax {
			err = fmt.Errorf("destination %q has %d deliveries, %d granted", d.domain.Value(), d.running, d.granted)
		}
	}
	for _, ln := range p.lanes {
		for e := ln.entries.head; e != nil; e = e.next {
			entries++
		}
	}
	if lanes != len(p.lanes) || running != p.running {
		err = fmt.Errorf("%d of %d lanes are in lists, %d of %d deliveries counted", lanes, len(p.lanes), running, p.running)
	}
	return entries, err
}

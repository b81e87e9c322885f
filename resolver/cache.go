package resolver

import (
	"container/list"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// Memory accounted to an answer in bytes, beyond its texts: for the entry or a zone,
// and for each record or key.
const (
	entryCost  = 400
	recordCost = 150

	// failureCost is for an error with its text.
	failureCost = 500
)

// cache keeps answers for as long as they last. When it is full, those that were
// not asked for the longest go. It is safe for concurrent use.
type cache struct {
	max int64 // Bytes, as accounted. Negative: nothing is kept.

	mu         sync.Mutex
	entries    map[question]*list.Element
	order      list.List // Of *entry, last used first.
	used       int64
	generation int64 // Counts the calls of clear.
}

type entry struct {
	question question
	answer   answer
	expires  time.Time
	cost     int64
}

// get returns the answer to q, if it is kept and lasts. If not, put takes the
// generation.
func (c *cache) get(q question, now time.Time) (a answer, generation int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[q]
	if el == nil {
		return answer{}, c.generation, false
	}
	e := el.Value.(*entry)
	if !now.Before(e.expires) {
		c.remove(el)
		return answer{}, c.generation, false
	}
	c.order.MoveToFront(el)
	return e.answer, c.generation, true
}

// put keeps an answer to a question that was asked in a generation. If there was
// a clear since, the answer may be from a server that is not asked any more.
func (c *cache) put(q question, a answer, generation int64, now time.Time) {
	e := &entry{q, a, now.Add(a.ttl), cost(q, a)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.ttl <= 0 || generation != c.generation || e.cost > c.max {
		return
	}
	if old := c.entries[q]; old != nil {
		c.remove(old)
	}
	for c.used+e.cost > c.max {
		c.remove(c.order.Back())
	}
	if c.entries == nil {
		c.entries = map[question]*list.Element{}
	}
	c.entries[q] = c.order.PushFront(e)
	c.used += e.cost
}

// remove is called with the lock held.
func (c *cache) remove(el *list.Element) {
	e := c.order.Remove(el).(*entry)
	delete(c.entries, e.question)
	c.used -= e.cost
}

// clear forgets all answers.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries, c.used = nil, 0
	c.order.Init()
	c.generation++
}

// cost returns about how many bytes an answer takes.
func cost(q question, a answer) int64 {
	n := entryCost + len(q.name) + len(a.name)
	for _, rr := range a.records {
		n += recordCost + 2*mdns.Len(rr) // Data is kept as text, names among it twice as long at times.
	}
	if z := a.cut.zone; z != nil {
		n += entryCost + len(z.name) + 2*len(z.why)
		for _, k := range z.keys {
			n += recordCost + 2*mdns.Len(k)
		}
	}
	if a.failed != nil {
		n += failureCost
	}
	return int64(n)
}

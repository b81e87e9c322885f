package queue

import "container/heap"

// link is embedded in what can be in a list.
type link[T any] struct{ prev, next *T }

// linked returns the link itself, for list.
func (l *link[T]) linked() *link[T] { return l }

// list is a queue of values from which any can be removed. A value is in one list
// at most.
type list[T any, P interface {
	*T
	linked() *link[T]
}] struct{ head, tail *T }

// push adds v at the end.
func (l *list[T, P]) push(v *T) {
	*P(v).linked() = link[T]{prev: l.tail}
	if l.tail == nil {
		l.head = v
	} else {
		P(l.tail).linked().next = v
	}
	l.tail = v
}

// remove takes v out, which must be in l.
func (l *list[T, P]) remove(v *T) {
	k := P(v).linked()
	if k.prev == nil {
		l.head = k.next
	} else {
		P(k.prev).linked().next = k.next
	}
	if k.next == nil {
		l.tail = k.prev
	} else {
		P(k.next).linked().prev = k.prev
	}
	*k = link[T]{}
}

// pop takes the first value, nil if there is none.
func (l *list[T, P]) pop() *T {
	v := l.head
	if v != nil {
		l.remove(v)
	}
	return v
}

// Lists of what the schedule is made of.
type (
	entryList  = list[entry, *entry]
	laneList   = list[lane, *lane]
	senderList = list[sender, *sender]
	leaseList  = list[lease, *lease]
)

// entryHeap has the entry that is due first at index 0; equal ones in the order of
// their ids.
type entryHeap []*entry

// push adds e.
func (h *entryHeap) push(e *entry) { heap.Push(heapInterface{h}, e) }

// remove takes the entry at index i out.
func (h *entryHeap) remove(i int) { heap.Remove(heapInterface{h}, i) }

// order sets it right after times have changed.
func (h *entryHeap) order() { heap.Init(heapInterface{h}) }

// heapInterface is what package container/heap wants.
type heapInterface struct{ h *entryHeap }

// Len is the number of entries.
func (x heapInterface) Len() int { return len(*x.h) }

// Less orders by time, then by id.
func (x heapInterface) Less(i, j int) bool {
	a, b := (*x.h)[i], (*x.h)[j]
	return a.due < b.due || a.due == b.due && a.id < b.id
}

// Swap keeps the index in each entry true.
func (x heapInterface) Swap(i, j int) {
	h := *x.h
	h[i], h[j] = h[j], h[i]
	h[i].heapIndex, h[j].heapIndex = int32(i), int32(j)
}

// Push is for package container/heap.
func (x heapInterface) Push(v any) {
	e := v.(*entry)
	e.heapIndex = int32(len(*x.h))
	*x.h = append(*x.h, e)
}

// Pop is for package container/heap.
func (x heapInterface) Pop() any {
	h := *x.h
	e := h[len(h)-1]
	h[len(h)-1] = nil
	*x.h = h[:len(h)-1]
	return e
}

package imapserver

import (
	"iter"
	"slices"
	"sort"
)

// rankedPart is how many items a part of a ranked list has at most: little enough
// to move them, and enough that there are few parts.
const rankedPart = 512

// ranked is an ordered list without duplicates that knows the place of each item:
// putting one in and taking one out costs little, however long it is.
type ranked[T any] struct {
	compare func(a, b T) int
	parts   [][]T // None is empty.
	size    int
}

// newRanked returns a list with items, which must be in order.
func newRanked[T any](compare func(a, b T) int, items []T) *ranked[T] {
	l := &ranked[T]{compare: compare, size: len(items)}
	for part := range slices.Chunk(items, rankedPart/2) {
		l.parts = append(l.parts, append(make([]T, 0, len(part)), part...))
	}
	return l
}

// find returns the part in which an item is or belongs, and where in it.
func (l *ranked[T]) find(item T) (part, at int, found bool) {
	part = sort.Search(len(l.parts), func(i int) bool {
		p := l.parts[i]
		return l.compare(p[len(p)-1], item) >= 0
	})
	if part == len(l.parts) {
		return part, 0, false
	}
	at, found = slices.BinarySearchFunc(l.parts[part], item, l.compare)
	return part, at, found
}

// has tells whether an item is in the list.
func (l *ranked[T]) has(item T) bool {
	_, _, found := l.find(item)
	return found
}

// place returns the place of an item in the whole list, from 0.
func (l *ranked[T]) place(part, at int) int {
	for _, p := range l.parts[:part] {
		at += len(p)
	}
	return at
}

// insert puts an item in and returns its place; ok is false if it is there already.
func (l *ranked[T]) insert(item T) (place int, ok bool) {
	part, at, found := l.find(item)
	if found {
		return 0, false
	}
	if part == len(l.parts) { // Behind all others: into the last part.
		if part == 0 {
			l.parts = append(l.parts, nil)
			part++
		}
		part--
		at = len(l.parts[part])
	}
	place = l.place(part, at)
	p := slices.Insert(l.parts[part], at, item)
	l.parts[part] = p
	if len(p) > rankedPart {
		half := slices.Clone(p[len(p)/2:])
		l.parts[part] = slices.Delete(p, len(p)/2, len(p))
		l.parts = slices.Insert(l.parts, part+1, half)
	}
	l.size++
	return place, true
}

// remove takes an item out and returns the place it had; ok is false if it is not
// there.
func (l *ranked[T]) remove(item T) (place int, ok bool) {
	part, at, found := l.find(item)
	if !found {
		return 0, false
	}
	place = l.place(part, at)
	l.parts[part] = slices.Delete(l.parts[part], at, at+1)
	if len(l.parts[part]) == 0 {
		l.parts = slices.Delete(l.parts, part, part+1)
	}
	l.size--
	return place, true
}

// all returns the items in order.
func (l *ranked[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, p := range l.parts {
			for _, item := range p {
				if !yield(item) {
					return
				}
			}
		}
	}
}

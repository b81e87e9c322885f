package trace

import "slices"

// Group divides events into those of one message each, in the order in which the
// messages came. Events belong together by Message-ID or by an id in the queue; those
// of what has neither, as of a recipient that was refused, by connection.
//
// The events of a message are in the order of events.
func Group(events []Event) [][]Event {
	g := grouping{of: make([]int, len(events)), known: map[any]int{}}
	for i := range events {
		g.of[i] = i
		for _, k := range events[i].groupKeys() {
			if j, ok := g.known[k]; ok {
				g.join(i, j)
			} else {
				g.known[k] = i
			}
		}
	}
	place := map[int]int{} // In groups, by root.
	var groups [][]Event
	for i := range events {
		root := g.root(i)
		n, ok := place[root]
		if !ok {
			n = len(groups)
			place[root], groups = n, append(groups, nil)
		}
		groups[n] = append(groups[n], events[i])
	}
	return slices.Clip(groups)
}

// groupKeys returns what an event has in common with others of its message.
func (e *Event) groupKeys() (keys []any) {
	if e.MessageID != "" {
		keys = append(keys, e.MessageID)
	}
	for _, r := range e.Rcpts {
		if r.QueueID != 0 {
			keys = append(keys, r.QueueID)
		}
	}
	if len(keys) == 0 {
		keys = append(keys, e.CID)
	}
	return keys
}

// grouping is a division of events, by the place of each: of the first of its group, or
// of one that leads there.
type grouping struct {
	of    []int
	known map[any]int // An event for each key.
}

// root returns the first event of a group.
func (g *grouping) root(i int) int {
	for g.of[i] != i {
		g.of[i] = g.of[g.of[i]]
		i = g.of[i]
	}
	return i
}

// join makes one of two groups.
func (g *grouping) join(i, j int) {
	a, b := g.root(i), g.root(j)
	g.of[max(a, b)] = min(a, b)
}

package imapserver

import "slices"

// threadMessage is what the algorithms of THREAD know of a message.
type threadMessage struct {
	id      uint64   // Stands for its Message-ID; 0 if it has none.
	refs    []uint64 // Of its ancestors, as its References say, the nearest last.
	subject int64    // Stands for its base subject; 0 for the empty one.
	isReply bool     // Or a forward, by its subject.
	sent    int64    // Sent date, seconds since 1970.
}

// forest is what THREAD answers with: trees of messages, which are named by their
// number among those that are threaded.
type forest struct {
	parents []int32   // Of each message; -1 for a root; a dummy has the number of messages and above.
	dummies [][]int32 // The messages under each dummy, which is a root; none if it was merged into another.
	places  []int32   // Of each message when all are in the order of their sent dates.
}

// newForest returns a forest in which all messages are roots.
func newForest(list []threadMessage) *forest {
	n := len(list)
	sent := make([]int64, n)
	f := &forest{parents: make([]int32, n), places: make([]int32, n)}
	for i := range list {
		sent[i], f.parents[i] = list[i].sent, -1
	}
	for place, i := range orderBy([][]int64{sent}, n) {
		f.places[i] = int32(place)
	}
	return f
}

// orderedSubject is the algorithm ORDEREDSUBJECT (RFC 5256, section 3): of all messages
// with a base subject the first one is the parent of the others.
func orderedSubject(list []threadMessage) *forest {
	f := newForest(list)
	first := map[int64]int32{}
	for i := range list {
		at, ok := first[list[i].subject]
		if !ok || f.places[i] < f.places[at] {
			first[list[i].subject] = int32(i)
		}
	}
	for i := range list {
		if at := first[list[i].subject]; at != int32(i) {
			f.parents[i] = at
		}
	}
	return f
}

// byReferences is the algorithm REFERENCES (RFC 5256, section 3).
func byReferences(list []threadMessage) *forest {
	f := newForest(list)
	l := newLinker(list)
	for i := range list { // Step 1.
		l.message(int32(i), list[i].refs)
	}
	f.prune(l.parents) // Steps 2 and 3.
	f.gather(list)     // Step 5, with the order of step 4.
	return f           // Step 6 is that of its writer.
}

// walkMax bounds how many ancestors are looked at in search of loops: at first, and for
// each message. Threads of people need a small part of it. Beyond it no more links are
// made that would need a look, so that messages made for it can't keep a server busy.
const (
	walkMax        = 10_000_000
	walkMaxMessage = 100
)

// linker makes the parent and child links of step 1. Its nodes are the messages, then
// the dummies: messages that are referred to, and not there.
type linker struct {
	nodes   map[uint64]int32 // By id.
	parents []int32          // -1: none.
	isAbove []bool           // A node is or was the parent of another.
	walks   int              // Ancestors that may still be looked at.
}

// newLinker returns one that knows all ids. Of messages with the same id only the first
// has it.
func newLinker(list []threadMessage) *linker {
	n := len(list)
	l := &linker{
		nodes: make(map[uint64]int32, n+n/4), parents: make([]int32, n, n+n/4), isAbove: make([]bool, n, n+n/4),
		walks: walkMax + n*walkMaxMessage,
	}
	for i := range list {
		l.parents[i] = -1
		if id := list[i].id; id != 0 {
			if _, ok := l.nodes[id]; !ok {
				l.nodes[id] = int32(i)
			}
		}
	}
	return l
}

// node returns the node of an id, which is made if there is none.
func (l *linker) node(id uint64) int32 {
	at, ok := l.nodes[id]
	if !ok {
		at = int32(len(l.parents))
		l.nodes[id] = at
		l.parents, l.isAbove = append(l.parents, -1), append(l.isAbove, false)
	}
	return at
}

// message links what a message refers to, and the message.
func (l *linker) message(at int32, refs []uint64) {
	last := int32(-1)
	for _, id := range refs { // Step 1.A.
		ref := l.node(id)
		if last >= 0 && l.parents[ref] < 0 && !l.loops(last, ref) {
			l.link(last, ref)
		}
		last = ref
	}
	l.parents[at] = -1 // Step 1.B.
	if last >= 0 && !l.loops(last, at) {
		l.link(last, at)
	}
}

func (l *linker) link(parent, child int32) {
	l.parents[child] = parent
	l.isAbove[parent] = true
}

// loops tells whether a link would make a message its own ancestor.
func (l *linker) loops(parent, child int32) bool {
	if parent == child {
		return true
	}
	if !l.isAbove[child] {
		return false
	}
	for at := l.parents[parent]; at >= 0; at = l.parents[at] {
		if l.walks--; at == child || l.walks < 0 {
			return true
		}
	}
	return false
}

// prune takes the links without the dummies among them: a message is the child of its
// nearest ancestor that is there. If there is none, those with the same first ancestor
// are under a dummy, unless there is only one.
func (f *forest) prune(links []int32) {
	n := int32(len(f.parents))
	under := map[int32][]int32{} // By the first ancestor.
	var passed []int32
	for i := range f.parents {
		at := int32(i)
		for links[at] >= 0 {
			at = links[at]
			if at < n {
				break
			}
			passed = append(passed, at)
		}
		for k, p := range passed { // The next walk over them is short.
			if k < len(passed)-1 || at < n {
				links[p] = at
			}
		}
		passed = passed[:0]
		switch {
		case at >= n:
			under[at] = append(under[at], int32(i))
		case at != int32(i):
			f.parents[i] = at
		}
	}
	for _, list := range under {
		if len(list) > 1 {
			f.addDummy(list)
		}
	}
}

// addDummy makes a dummy with messages that were roots.
func (f *forest) addDummy(list []int32) (dummy int32) {
	dummy = int32(len(f.parents) + len(f.dummies))
	f.dummies = append(f.dummies, list)
	for _, i := range list {
		f.parents[i] = dummy
	}
	return dummy
}

// isDummy tells a dummy from a message.
func (f *forest) isDummy(node int32) bool { return int(node) >= len(f.parents) }

// under returns the messages under a dummy.
func (f *forest) under(dummy int32) []int32 { return f.dummies[int(dummy)-len(f.parents)] }

// first returns the message by which a root is sorted: itself, or of those under a
// dummy the one sent first.
func (f *forest) first(root int32) int32 {
	if !f.isDummy(root) {
		return root
	}
	return slices.MinFunc(f.under(root), func(a, b int32) int { return int(f.places[a] - f.places[b]) })
}

// roots returns the roots in the order of their sent dates.
func (f *forest) roots() []int32 {
	var roots []int32
	for i, p := range f.parents {
		if p < 0 {
			roots = append(roots, int32(i))
		}
	}
	for i, list := range f.dummies {
		if len(list) > 0 {
			roots = append(roots, int32(len(f.parents)+i))
		}
	}
	keys := make([]int64, len(roots))
	for i, r := range roots {
		keys[i] = int64(f.places[f.first(r)])
	}
	sorted := make([]int32, len(roots))
	for i, at := range orderBy([][]int64{keys}, len(roots)) {
		sorted[i] = roots[at]
	}
	return sorted
}

// gather merges roots with the same base subject: step 5.
func (f *forest) gather(list []threadMessage) {
	roots := f.roots() // Step 4.
	table := map[int64]int32{}
	for _, root := range roots { // Step 5.B.
		subject := list[f.first(root)].subject
		at, ok := table[subject]
		switch {
		case subject == 0:
		case !ok, !f.isDummy(at) && (f.isDummy(root) || list[at].isReply && !list[root].isReply):
			table[subject] = root
		}
	}
	for _, root := range roots { // Step 5.C.
		if !f.isDummy(root) && f.parents[root] >= 0 {
			continue // It was put under a dummy by one before it.
		}
		subject := list[f.first(root)].subject
		if at := table[subject]; subject != 0 && at != root {
			table[subject] = f.merge(list, at, root)
		}
	}
}

// merge puts a root together with that of the subject table, and returns which is in the
// table then.
func (f *forest) merge(list []threadMessage, at, root int32) int32 {
	switch {
	case f.isDummy(root): // So is at: a dummy takes the place of messages in the table.
		for _, i := range f.under(root) {
			f.put(i, at)
		}
		f.dummies[int(root)-len(f.parents)] = nil
	case f.isDummy(at), list[root].isReply && !list[at].isReply:
		f.put(root, at)
	default:
		return f.addDummy([]int32{at, root})
	}
	return at
}

// put makes a message a child of a root.
func (f *forest) put(message, root int32) {
	f.parents[message] = root
	if f.isDummy(root) {
		at := int(root) - len(f.parents)
		f.dummies[at] = append(f.dummies[at], message)
	}
}

package imapserver

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// slowNode is a node of slowReferences.
type slowNode struct {
	at       int // -1: a dummy.
	parent   *slowNode
	children []*slowNode
}

// slowReferences is REFERENCES done to the letter of RFC 5256, section 3, with pointers
// and without a thought for speed. It returns the response.
func slowReferences(list []threadMessage) string {
	nodes := map[uint64]*slowNode{}
	messages := make([]*slowNode, len(list))
	for i, m := range list {
		messages[i] = &slowNode{at: i}
		if _, ok := nodes[m.id]; !ok && m.id != 0 {
			nodes[m.id] = messages[i]
		}
	}
	isAbove := func(a, b *slowNode) bool {
		for ; b != nil; b = b.parent {
			if a == b {
				return true
			}
		}
		return false
	}
	unlink := func(n *slowNode) {
		if n.parent != nil {
			n.parent.children = slices.DeleteFunc(n.parent.children, func(c *slowNode) bool { return c == n })
			n.parent = nil
		}
	}
	link := func(parent, child *slowNode) {
		child.parent = parent
		parent.children = append(parent.children, child)
	}
	var dummies []*slowNode
	for i, m := range list { // Step 1.
		var last *slowNode
		for _, id := range m.refs {
			n := nodes[id]
			if n == nil {
				n = &slowNode{at: -1}
				nodes[id] = n
				dummies = append(dummies, n)
			}
			if last != nil && n.parent == nil && !isAbove(n, last) {
				link(last, n)
			}
			last = n
		}
		unlink(messages[i])
		if last != nil && !isAbove(messages[i], last) {
			link(last, messages[i])
		}
	}
	root := &slowNode{at: -1} // Step 2.
	for _, n := range append(slices.Clone(messages), dummies...) {
		if n.parent == nil {
			link(root, n)
		}
	}
	var prune func(n *slowNode) // Step 3.
	prune = func(n *slowNode) {
		for _, c := range slices.Clone(n.children) {
			prune(c)
			if c.at >= 0 || n == root && len(c.children) > 1 {
				continue
			}
			unlink(c)
			for _, grand := range slices.Clone(c.children) {
				unlink(grand)
				link(n, grand)
			}
		}
	}
	prune(root)
	var compare func(a, b *slowNode) int
	sort := func(n *slowNode) { slices.SortFunc(n.children, compare) }
	key := func(n *slowNode) int {
		if n.at < 0 {
			sort(n)
			return n.children[0].at
		}
		return n.at
	}
	compare = func(a, b *slowNode) int {
		x, y := key(a), key(b)
		return cmp.Or(cmp.Compare(list[x].sent, list[y].sent), cmp.Compare(x, y))
	}
	sort(root) // Step 4.
	table := map[int64]*slowNode{}
	isReply := func(n *slowNode) bool { return n.at >= 0 && list[n.at].isReply }
	for _, n := range root.children { // Step 5.B.
		subject := list[key(n)].subject
		was := table[subject]
		if subject != 0 && (was == nil || was.at >= 0 && (n.at < 0 || isReply(was) && !isReply(n))) {
			table[subject] = n
		}
	}
	for _, n := range slices.Clone(root.children) { // Step 5.C.
		if n.parent != root {
			continue
		}
		subject := list[key(n)].subject
		with := table[subject]
		switch {
		case subject == 0 || with == n:
		case with.at < 0 && n.at < 0:
			unlink(n)
			for _, c := range slices.Clone(n.children) {
				unlink(c)
				link(with, c)
			}
		case with.at < 0, isReply(n) && !isReply(with):
			unlink(n)
			link(with, n)
		default:
			dummy := &slowNode{at: -1}
			unlink(n)
			unlink(with)
			link(dummy, n)
			link(dummy, with)
			link(root, dummy)
			table[subject] = dummy
		}
	}
	var write func(n *slowNode) string // Step 6, and the response.
	write = func(n *slowNode) string {
		s := ""
		if n.at >= 0 {
			s = fmt.Sprint(n.at + 1)
		}
		sort(n)
		if len(n.children) == 1 {
			return s + " " + write(n.children[0])
		}
		for i, c := range n.children {
			if i == 0 && s != "" {
				s += " "
			}
			s += "(" + write(c) + ")"
		}
		return s
	}
	sort(root)
	s := ""
	for _, n := range root.children {
		s += "(" + write(n) + ")"
	}
	return s
}

// writeForest returns a forest as in a response.
func writeForest(f *forest) string {
	numbers := make([]uint32, len(f.parents))
	for i := range numbers {
		numbers[i] = uint32(i + 1)
	}
	w := newThreadWriter(f, numbers)
	var b []byte
	for _, root := range f.roots() {
		b = w.append(b, root)
	}
	return string(b)
}

// randomMessages returns messages with few ids, so that there are loops, doubles and
// what is missing.
func randomMessages(r *rand.Rand) []threadMessage {
	list := make([]threadMessage, r.IntN(12))
	ids := 1 + r.IntN(14)
	for i := range list {
		m := &list[i]
		m.id = uint64(r.IntN(ids + 1))
		for range r.IntN(5) * r.IntN(2) {
			m.refs = append(m.refs, uint64(1+r.IntN(ids)))
		}
		m.subject, m.isReply, m.sent = int64(r.IntN(4)), r.IntN(2) == 0, int64(r.IntN(8))
	}
	return list
}

func TestReferencesRandomly(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 20_000 {
		list := randomMessages(r)
		// MUST 5256 BASE.6.4.THREAD #4: links agree: the threads are those of the algorithm done to the letter
		if got, want := writeForest(byReferences(list)), slowReferences(list); got != want {
			t.Fatalf("seed %d: %+v\ngot  %s\nwant %s", seed, list, got, want)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		list []threadMessage
		want string
	}{
		{"nothing", nil, ""},
		{"a reply", []threadMessage{{id: 1}, {id: 2, refs: []uint64{1}}}, "(1 2)"},
		{"a reply that is before", []threadMessage{{id: 2, refs: []uint64{1}}, {id: 1}}, "(2 1)"},
		// Siblings are sorted by sent date, equal ones by sequence number.
		{"siblings by date", []threadMessage{{id: 1}, {id: 2, refs: []uint64{1}, sent: 9}, {id: 3, refs: []uint64{1}, sent: 8}}, "(1 (3)(2))"},
		{"siblings of one second", []threadMessage{{id: 1}, {id: 2, refs: []uint64{1}}, {id: 3, refs: []uint64{1}}}, "(1 (2)(3))"},
		{"the parent is missing", []threadMessage{{id: 2, refs: []uint64{1}}, {id: 3, refs: []uint64{1}}}, "((1)(2))"},
		{"only one child of a missing parent", []threadMessage{{id: 2, refs: []uint64{1}}}, "(1)"},
		{"a missing message between", []threadMessage{{id: 1}, {id: 3, refs: []uint64{1, 2}}}, "(1 2)"},
		{"the example of the response", []threadMessage{
			{id: 2, sent: 1}, {id: 3, sent: 2}, {id: 6, sent: 3, refs: []uint64{3}}, {id: 4, sent: 4, refs: []uint64{6}}, {id: 23, sent: 5, refs: []uint64{4}},
			{id: 44, sent: 6, refs: []uint64{6}}, {id: 7, sent: 7, refs: []uint64{44}}, {id: 96, sent: 8, refs: []uint64{7}},
		}, "(1)(2 3 (4 5)(6 7 8))"},
		{"the same id twice: only the first has it", []threadMessage{{id: 1}, {id: 1}, {id: 2, refs: []uint64{1}}}, "(1 3)(2)"},
		{"one's own parent", []threadMessage{{id: 1, refs: []uint64{1}}}, "(1)"},
		{"each other's parents", []threadMessage{{id: 1, refs: []uint64{2}}, {id: 2, refs: []uint64{1}}}, "(2 1)"},
		{"the last reference counts more than that of others", []threadMessage{
			{id: 1}, {id: 3, refs: []uint64{1, 2}}, {id: 2, refs: []uint64{4}}, {id: 4},
		}, "(1)(4 3 2)"},
		{"no ids at all", []threadMessage{{}, {}}, "(1)(2)"},
		{"same subject, the second is a reply", []threadMessage{{subject: 1}, {subject: 1, isReply: true, sent: 1}}, "(1 2)"},
		{"same subject, the first is a reply", []threadMessage{{subject: 1, isReply: true}, {subject: 1, sent: 1}}, "(2 1)"},
		{"same subject, no reply", []threadMessage{{subject: 1}, {subject: 1, sent: 1}, {subject: 1, sent: 2}}, "((1)(2)(3))"},
		{"no subject", []threadMessage{{}, {isReply: true}}, "(1)(2)"},
		{"a dummy takes what has its subject", []threadMessage{
			{subject: 1}, {subject: 1, isReply: true, refs: []uint64{9}, sent: 1}, {subject: 1, isReply: true, refs: []uint64{9}, sent: 2},
		}, "((1)(2)(3))"},
		{"two dummies", []threadMessage{
			{subject: 1, refs: []uint64{8}}, {subject: 2, refs: []uint64{8}}, {subject: 1, refs: []uint64{9}}, {subject: 3, refs: []uint64{9}},
		}, "((1)(2)(3)(4))"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := writeForest(byReferences(c.list)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if got := slowReferences(c.list); got != c.want {
				t.Errorf("to the letter: %s, want %s", got, c.want)
			}
		})
	}
}

func TestOrderedSubject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		list []threadMessage
		want string
	}{
		{"nothing", nil, ""},
		{"alone", []threadMessage{{subject: 1}}, "(1)"},
		{"two", []threadMessage{{subject: 1}, {subject: 1, sent: 1}}, "(1 2)"},
		{"the first sent is above the others", []threadMessage{{subject: 1, sent: 3}, {subject: 1, sent: 1}, {subject: 1, sent: 2}}, "(2 (3)(1))"},
		{"threads by their first", []threadMessage{{subject: 1, sent: 2}, {subject: 2, sent: 3}, {subject: 2, sent: 1}}, "(3 2)(1)"},
		{"no subject is one too", []threadMessage{{}, {}, {subject: 1}}, "(1 2)(3)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := writeForest(orderedSubject(c.list)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestReferencesDeep has a thread that is deeper than any stack, from both its ends, and
// messages that want a look at all of it again and again.
func TestReferencesDeep(t *testing.T) {
	t.Parallel()
	const n = 200_000
	up, down := make([]threadMessage, n), make([]threadMessage, n)
	for i := range n {
		up[i] = threadMessage{id: uint64(i + 1), refs: []uint64{uint64(i)}, sent: int64(i)}
		down[i] = threadMessage{id: uint64(n - i), refs: []uint64{uint64(n - i - 1)}, sent: int64(i)}
	}
	up[0].refs, down[n-1].refs = nil, nil
	for _, list := range [][]threadMessage{up, down} {
		if got := writeForest(byReferences(list)); strings.Count(got, "(") != 1 || strings.Count(got, " ") != n-1 {
			t.Errorf("got %.100s", got)
		}
	}
	for range 1000 {
		m := threadMessage{}
		for range 500 {
			m.refs = append(m.refs, n, 1)
		}
		up = append(up, m)
	}
	if got := byReferences(up); got.parents[n-1] != n-2 {
		t.Errorf("parent of the last is %d", got.parents[n-1])
	}
}

// FuzzReferences checks that both ways to thread agree, for messages made of bytes: of
// each four the first two bits are the subject and so on.
func FuzzReferences(f *testing.F) {
	f.Add([]byte{1, 0x10, 0x00, 1, 2, 0x21, 0x10, 2, 3, 0x22, 0x21, 3})
	f.Add([]byte{0, 0, 0xff, 0, 9, 0x91, 0x19, 0, 9, 0x99, 0x99, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []threadMessage
		for ; len(b) >= 4 && len(list) < 50; b = b[4:] {
			m := threadMessage{id: uint64(b[0] & 15), subject: int64(b[0] >> 4 & 3), isReply: b[0]&64 != 0, sent: int64(b[3])}
			for _, nibble := range []byte{b[1] >> 4, b[1] & 15, b[2] >> 4, b[2] & 15} {
				if nibble != 0 {
					m.refs = append(m.refs, uint64(nibble))
				}
			}
			list = append(list, m)
		}
		// MUST 5256 BASE.6.4.THREAD #4: links agree: the threads are those of the algorithm done to the letter
		if got, want := writeForest(byReferences(list)), slowReferences(list); got != want {
			t.Fatalf("%+v\ngot  %s\nwant %s", list, got, want)
		}
	})
}

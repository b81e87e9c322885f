package imapmodel

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// set names messages, by number or by UID.
type set struct {
	ranges [][2]uint32 // 0 stands for "*".
	saved  bool        // "$".
	byUID  bool
}

// pickSet returns a set, mostly of messages that are there.
func (s *session) pickSet(r *rand.Rand) set {
	t := set{byUID: s.uidOnly || r.IntN(2) == 0}
	told := s.sel.told
	if len(s.sel.saved) > 0 && r.IntN(8) == 0 {
		t.saved = true
		return t
	}
	for range 1 + r.IntN(3) {
		t.ranges = append(t.ranges, [2]uint32{pickNumber(r, told, t.byUID), pickNumber(r, told, t.byUID)})
		if last := &t.ranges[len(t.ranges)-1]; r.IntN(2) == 0 {
			last[1] = last[0]
		}
	}
	if r.IntN(10) == 0 {
		t.ranges = [][2]uint32{{1, 0}}
	}
	return t
}

func pickNumber(r *rand.Rand, told []*message, byUID bool) uint32 {
	switch {
	case r.IntN(15) == 0:
		return 0
	case len(told) == 0 || r.IntN(60) == 0:
		return 1 + r.Uint32N(100)
	}
	i := r.IntN(len(told))
	if byUID {
		return told[i].uid
	}
	return uint32(i + 1)
}

// String returns the set as IMAP writes it.
func (t set) String() string {
	if t.saved {
		return "$"
	}
	number := func(n uint32) string {
		if n == 0 {
			return "*"
		}
		return strconv.FormatUint(uint64(n), 10)
	}
	var parts []string
	for _, r := range t.ranges {
		if r[0] == r[1] {
			parts = append(parts, number(r[0]))
		} else {
			parts = append(parts, number(r[0])+":"+number(r[1]))
		}
	}
	return strings.Join(parts, ",")
}

// command returns the name of a command with what makes it one by UID.
func (t set) command(name string) string {
	if t.byUID {
		return "UID " + name
	}
	return name
}

// contains reports whether a number is in the set, "*" being last.
func (t set) contains(n, last uint32) bool {
	for _, r := range t.ranges {
		a, b := cmp.Or(r[0], last), cmp.Or(r[1], last)
		if n >= min(a, b) && n <= max(a, b) {
			return true
		}
	}
	return false
}

// messages returns those of the set, in order. It is not ok to name a number that no
// message has.
func (t set) messages(sel *selection) (list []*message, ok bool) {
	if t.saved {
		for _, m := range sel.told {
			if slices.Contains(sel.saved, m) {
				list = append(list, m)
			}
		}
		return list, true
	}
	last := t.last(sel)
	for _, r := range t.ranges {
		if !t.byUID && (max(r[0], r[1]) > last || last == 0) {
			return nil, false
		}
	}
	for i, m := range sel.told {
		if t.has(sel, i) {
			list = append(list, m)
		}
	}
	return list, true
}

// last returns what "*" stands for.
func (t set) last(sel *selection) uint32 {
	n := len(sel.told)
	switch {
	case !t.byUID:
		return uint32(n)
	case n == 0:
		return 1
	}
	return sel.told[n-1].uid
}

// has reports whether the message at an index is in the set.
func (t set) has(sel *selection, i int) bool {
	switch m := sel.told[i]; {
	case t.saved:
		return slices.Contains(sel.saved, m)
	case t.byUID:
		return t.contains(m.uid, t.last(sel))
	}
	return t.contains(uint32(i+1), t.last(sel))
}

// numbers returns what the client knows messages by.
func (sel *selection) numbers(list []*message, byUID bool) []uint32 {
	var numbers []uint32
	for i, m := range sel.told {
		if !slices.Contains(list, m) {
			continue
		}
		if byUID {
			numbers = append(numbers, m.uid)
		} else {
			numbers = append(numbers, uint32(i+1))
		}
	}
	return numbers
}

// there divides messages into those that are there and those that others removed.
func there(list []*message) (live, gone []*message) {
	for _, m := range list {
		if m.removed > 0 {
			gone = append(gone, m)
		} else {
			live = append(live, m)
		}
	}
	return live, gone
}

package imapmodel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// slot is what a client knows of one message: as little as its server told it.
type slot struct {
	uid    uint32 // 0: not told.
	known  bool   // Flags were told.
	flags  string
	modseq int64 // With the flags; 0: not told.
}

// view is the selected mailbox as a client knows it, from responses alone.
type view struct {
	slots    []slot
	keywords map[string]bool // Of the last FLAGS response.
	highest  int64           // What it would come back with: RFC 7162, section 3.2.5.
	reported int64           // The last HIGHESTMODSEQ.
	byUID    bool            // Removals are told by UID.
	uidOnly  bool
	fixed    bool // A command runs under which no removal may be told: RFC 9051, section 7.5.1.
	earlier  bool // One runs that can be answered with VANISHED (EARLIER).
}

// of returns what the client knows of the message at an index, which has this UID.
func (v *view) of(i int, uid uint32) *slot {
	if !v.uidOnly {
		return &v.slots[i]
	}
	for i := range v.slots {
		if v.slots[i].uid == uid {
			return &v.slots[i]
		}
	}
	return &slot{}
}

// apply takes in one response, and fails if it can't be.
func (v *view) apply(r *response) error {
	switch r.name {
	case "EXISTS":
		return v.exists(int(r.number))
	case "EXPUNGE":
		return v.expunge(int(r.number))
	case "VANISHED":
		return v.vanished(r)
	case "FETCH", "UIDFETCH":
		return v.fetch(r)
	case "FLAGS":
		v.keywords = map[string]bool{}
		for _, f := range r.args[0].list {
			v.keywords[f.text] = true
		}
	case "OK":
		return v.code(r)
	}
	return nil
}

func (v *view) exists(n int) error {
	if n < len(v.slots) {
		return fmt.Errorf("%d messages exist, the client knows of %d", n, len(v.slots))
	}
	v.slots = append(v.slots, make([]slot, n-len(v.slots))...)
	return nil
}

func (v *view) expunge(n int) error {
	switch {
	case v.byUID:
		return fmt.Errorf("EXPUNGE of %d, removals must be told by UID", n)
	case v.fixed:
		return fmt.Errorf("EXPUNGE of %d under a command with sequence numbers", n)
	case n < 1 || n > len(v.slots):
		return fmt.Errorf("EXPUNGE of %d of %d messages", n, len(v.slots))
	}
	v.slots = slices.Delete(v.slots, n-1, n)
	return nil
}

// vanishedUIDs returns the set of a VANISHED response, and whether that is about
// what went earlier.
func vanishedUIDs(r *response) (uids []uint32, earlier bool, err error) {
	args := r.args
	if len(args) == 2 && args[0].String() == "(EARLIER)" {
		earlier, args = true, args[1:]
	}
	if len(args) != 1 || args[0].isList {
		return nil, false, fmt.Errorf("%w: %q", errSyntax, r.text)
	}
	uids, err = parseSet(args[0].text)
	return uids, earlier, err
}

func (v *view) vanished(r *response) error {
	uids, earlier, err := vanishedUIDs(r)
	switch {
	case err != nil:
		return err
	case earlier && !v.earlier:
		return fmt.Errorf("VANISHED (EARLIER) was not asked for")
	case !earlier && v.fixed:
		return fmt.Errorf("VANISHED under a command with sequence numbers")
	case !earlier && !v.byUID:
		return fmt.Errorf("VANISHED for a client that did not enable it")
	}
	for _, uid := range uids {
		if earlier {
			if slices.ContainsFunc(v.slots, func(s slot) bool { return s.uid == uid }) {
				return fmt.Errorf("UID %d vanished earlier, but is there", uid)
			}
		} else if err := v.vanish(uid); err != nil {
			return err
		}
	}
	return nil
}

// vanish removes a message by UID. If its UID was not told, it is one of those that are
// where it must be, and the client can't tell which.
func (v *view) vanish(uid uint32) error {
	at := slices.IndexFunc(v.slots, func(s slot) bool { return s.uid == uid })
	if at < 0 {
		if at = v.place(uid); at < 0 {
			return fmt.Errorf("UID %d vanished, which can't have been there", uid)
		}
		for i := at; i < len(v.slots) && v.slots[i].uid == 0; i++ {
			v.slots[i] = slot{}
		}
	}
	v.slots = slices.Delete(v.slots, at, at+1)
	return nil
}

// place returns the first slot without UID that can have this one. With UIDONLY slots
// have no order.
func (v *view) place(uid uint32) int {
	first := -1
	for i, s := range v.slots {
		switch {
		case s.uid == 0 && first < 0:
			first = i
		case s.uid > uid && !v.uidOnly:
			return first
		case s.uid > 0 && !v.uidOnly:
			first = -1
		}
	}
	return first
}

// find returns the slot that a FETCH response is about.
func (v *view) find(r *response) (*slot, error) {
	switch {
	case (r.name == "UIDFETCH") != v.uidOnly:
		return nil, fmt.Errorf("%s is not what was enabled", r.name)
	case !v.uidOnly && (r.number < 1 || int(r.number) > len(v.slots)):
		return nil, fmt.Errorf("FETCH response for %d of %d messages", r.number, len(v.slots))
	case !v.uidOnly:
		return &v.slots[r.number-1], nil
	}
	for i := range v.slots {
		if v.slots[i].uid == r.number {
			return &v.slots[i], nil
		}
	}
	i := v.place(r.number)
	if i < 0 {
		return nil, fmt.Errorf("UIDFETCH response for UID %d, which can't be there", r.number)
	}
	v.slots[i] = slot{uid: r.number}
	return &v.slots[i], nil
}

func (v *view) fetch(r *response) error {
	items, err := r.items()
	if err != nil {
		return err
	}
	s, err := v.find(r)
	if err != nil {
		return err
	}
	if n, ok := items["UID"]; ok {
		if err := v.identify(s, n.text); err != nil {
			return err
		}
	}
	modseq := int64(0)
	if n, ok := items["MODSEQ"]; ok {
		if modseq, err = strconv.ParseInt(strings.Trim(n.String(), "()"), 10, 64); err != nil || modseq < 1 {
			return fmt.Errorf("%w: %q", errSyntax, r.text)
		}
		if modseq < s.modseq {
			return fmt.Errorf("mod-sequence went from %d to %d", s.modseq, modseq)
		}
		v.highest = max(v.highest, modseq)
	}
	if f, ok := items["FLAGS"]; ok {
		return v.flags(s, f, modseq)
	}
	if modseq > 0 && s.modseq > 0 {
		s.modseq = modseq // With flags the client knows: it set them itself.
	}
	return nil
}

// identify notes the UID of a message.
func (v *view) identify(s *slot, text string) error {
	uid, err := parseNumber(text)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(v.slots, func(o slot) bool { return o.uid == uid })
	switch {
	case s.uid != 0 && s.uid != uid:
		return fmt.Errorf("message with UID %d now has UID %d", s.uid, uid)
	case s.uid == 0 && i >= 0:
		return fmt.Errorf("UID %d is message %d already", uid, i+1)
	}
	s.uid = uid
	if v.uidOnly {
		return nil
	}
	last := uint32(0)
	for _, o := range v.slots {
		if o.uid == 0 {
			continue
		}
		if o.uid <= last {
			return fmt.Errorf("UID %d comes after %d", o.uid, last)
		}
		last = o.uid
	}
	return nil
}

// flags notes the flags of a message. Keywords among them must be announced.
func (v *view) flags(s *slot, list node, modseq int64) error {
	var names []string
	for _, f := range list.list {
		if !v.keywords[f.text] {
			return fmt.Errorf("flag %s is not in the last FLAGS response", f.text)
		}
		names = append(names, f.text)
	}
	s.flags, s.known, s.modseq = flagSet(names...), true, modseq
	return nil
}

func (v *view) code(r *response) error {
	words, ok := r.codeWords("HIGHESTMODSEQ")
	if !ok || len(words) != 1 {
		return nil
	}
	n, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil || n < v.reported {
		return fmt.Errorf("HIGHESTMODSEQ %s after %d", words[0], v.reported)
	}
	v.highest, v.reported = n, n
	return nil
}

package imapmodel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// key is a search key with what it means.
type key struct {
	text   string
	match  func(sel *selection, i int) bool // Of the message at an index.
	bySeq  bool                             // It has sequence numbers.
	modseq bool                             // It has to do with mod-sequences.
}

// pickKey returns a search key.
func (s *session) pickKey(r *rand.Rand, depth int) key {
	of := func(fn func(m *message) bool) func(sel *selection, i int) bool {
		return func(sel *selection, i int) bool { return fn(sel.told[i]) }
	}
	flag := flagChoice[r.IntN(len(flagChoice))]
	n := r.IntN(7)
	switch r.IntN(12) {
	case 0:
		return key{text: "ALL", match: func(*selection, int) bool { return true }}
	case 1, 2:
		return flagKey(flag, r.IntN(2) == 0)
	case 3:
		size := 200 + r.IntN(900)
		return key{text: fmt.Sprintf("LARGER %d", size), match: of(func(m *message) bool { return len(m.email.content) > size })}
	case 4:
		return key{text: fmt.Sprintf("SUBJECT word%d", n), match: of(func(m *message) bool { return strings.Contains(m.email.subject, fmt.Sprintf("word%d", n)) })}
	case 5:
		return key{text: fmt.Sprintf("BODY needle%d", n), match: of(func(m *message) bool { return strings.Contains(m.email.text(), fmt.Sprintf("needle%d", n)) })}
	case 6:
		return key{text: fmt.Sprintf("FROM s%d@", n), match: of(func(m *message) bool { return m.email.from == fmt.Sprintf("s%d", n) })}
	case 7:
		seq := 1 + s.pickModSeq(r)
		return key{text: fmt.Sprintf("MODSEQ %d", seq), match: of(func(m *message) bool { return m.modseq >= seq }), modseq: true}
	case 8:
		day := time.Unix(r.Int64N(1<<31), 0).UTC().Truncate(24 * time.Hour)
		return key{text: day.Format("SINCE _2-Jan-2006"), match: of(func(m *message) bool { return m.received[0] >= day.Unix() })}
	case 9:
		return s.setKey(r)
	}
	if depth == 0 {
		return flagKey(flag, true)
	}
	a, b := s.pickKey(r, depth-1), s.pickKey(r, depth-1)
	return combine(r.IntN(3), a, b)
}

// combine returns NOT a, a OR b, or both a and b.
func combine(how int, a, b key) key {
	if how == 0 {
		return key{
			text: "NOT " + a.text, bySeq: a.bySeq, modseq: a.modseq,
			match: func(sel *selection, i int) bool { return !a.match(sel, i) },
		}
	}
	k := key{bySeq: a.bySeq || b.bySeq, modseq: a.modseq || b.modseq}
	if how == 1 {
		k.text = fmt.Sprintf("OR %s %s", a.text, b.text)
		k.match = func(sel *selection, i int) bool { return a.match(sel, i) || b.match(sel, i) }
	} else {
		k.text = fmt.Sprintf("(%s %s)", a.text, b.text)
		k.match = func(sel *selection, i int) bool { return a.match(sel, i) && b.match(sel, i) }
	}
	return k
}

func flagKey(flag string, has bool) key {
	name, system := strings.CutPrefix(flag, `\`)
	text := "KEYWORD " + name
	if system {
		text = strings.ToUpper(name)
	}
	if !has {
		text = "UN" + text
	}
	return key{text: text, match: func(sel *selection, i int) bool { return sel.told[i].has(flag) == has }}
}

func (s *session) setKey(r *rand.Rand) key {
	t := s.pickSet(r)
	k := key{text: t.String(), bySeq: !t.byUID || t.saved}
	if t.byUID {
		k.text = "UID " + k.text
		k.bySeq = false
	}
	k.match = func(sel *selection, i int) bool { return t.has(sel, i) }
	return k
}

// searching is a SEARCH.
type searching struct {
	s       *session
	key     key
	options []string // Of RETURN; nil: none were given.
	byUID   bool
	found   []*message
	want    string // The response; empty: none.
	got     string
}

func (s *session) search(r *rand.Rand) command {
	se := &searching{s: s, key: s.pickKey(r, 2), byUID: s.uidOnly || r.IntN(2) == 0}
	text := set{byUID: se.byUID}.command("SEARCH")
	if r.IntN(2) == 0 {
		se.options = []string{}
		for _, o := range []string{"MIN", "MAX", "ALL", "COUNT", "SAVE"} {
			if r.IntN(3) == 0 {
				se.options = append(se.options, o)
			}
		}
		text += " RETURN (" + strings.Join(se.options, " ") + ")"
	}
	return command{
		text: text + " " + se.key.text, selected: true, fixed: !se.byUID || se.key.bySeq,
		act: se.act, data: se.data, end: se.end,
	}
}

func (se *searching) act(rep *reply) error {
	s, sel := se.s, se.s.sel
	for i, m := range sel.told {
		if se.key.match(sel, i) {
			se.found = append(se.found, m)
		}
	}
	if slices.Contains(se.options, "SAVE") {
		sel.saved = se.kept()
	}
	s.condstore = s.condstore || se.key.modseq
	se.want = se.response()
	return rep.is("OK", "")
}

// kept returns what the response or "$" is about: all, unless only the ends were asked
// for.
func (se *searching) kept() []*message {
	has := func(o string) bool { return slices.Contains(se.options, o) }
	if len(se.found) == 0 || has("ALL") || has("COUNT") || !has("MIN") && !has("MAX") {
		return se.found
	}
	var list []*message
	if has("MIN") {
		list = append(list, se.found[0])
	}
	if last := se.found[len(se.found)-1]; has("MAX") && !slices.Contains(list, last) {
		list = append(list, last)
	}
	return list
}

// response returns what the response must have, in a form of its own.
func (se *searching) response() string {
	numbers := se.s.sel.numbers(se.found, se.byUID)
	highest := int64(0)
	for _, m := range se.kept() {
		highest = max(highest, m.modseq)
	}
	if !se.key.modseq {
		highest = 0
	}
	switch {
	case se.options == nil:
		return found{all: formatSet(numbers), modseq: highest}.String()
	case slices.Equal(se.options, []string{"SAVE"}):
		return ""
	}
	f := found{modseq: highest}
	if len(numbers) > 0 {
		for _, o := range se.options {
			switch o {
			case "MIN":
				f.min = fmt.Sprint(numbers[0])
			case "MAX":
				f.max = fmt.Sprint(numbers[len(numbers)-1])
			}
		}
		if len(se.options) == 0 || slices.Contains(se.options, "ALL") {
			f.all = formatSet(numbers)
		}
	}
	if slices.Contains(se.options, "COUNT") {
		f.count = strconv.Itoa(len(numbers))
	}
	return f.String()
}

// found is what a response to SEARCH says.
type found struct {
	min, max, all, count string
	modseq               int64
}

func (f found) String() string {
	return fmt.Sprintf("MIN %s MAX %s ALL %s COUNT %s MODSEQ %d", f.min, f.max, f.all, f.count, f.modseq)
}

func (se *searching) data(r *response) (bool, error) {
	var f found
	var err error
	switch {
	case r.name == "SEARCH" && se.options == nil && !se.s.rev2:
		f, err = parseSearch(r)
	case r.name == "ESEARCH" && (se.options != nil || se.s.rev2):
		f, err = se.parseESearch(r)
	default:
		return false, nil
	}
	if se.got != "" {
		err = errors.New("a second answer")
	}
	se.got = f.String()
	return true, err
}

func parseSearch(r *response) (f found, err error) {
	var numbers []uint32
	for _, a := range r.args {
		if a.isList {
			if _, err := fmt.Sscanf(a.String(), "(MODSEQ %d)", &f.modseq); err != nil {
				return f, err
			}
			continue
		}
		n, err := parseNumber(a.text)
		if err != nil {
			return f, err
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	f.all = formatSet(numbers)
	return f, nil
}

func (se *searching) parseESearch(r *response) (f found, err error) {
	args := r.args
	if len(args) == 0 || args[0].String() != fmt.Sprintf(`(TAG "%s%d")`, se.s.name, se.s.tag) && !strings.HasPrefix(args[0].String(), `(TAG "`+se.s.name) {
		return f, errors.New("not the tag of the command")
	}
	args = args[1:]
	if byUID := len(args) > 0 && args[0].text == "UID"; byUID != se.byUID {
		return f, errors.New("not the kind of numbers that was asked for")
	} else if byUID {
		args = args[1:]
	}
	for pair := range slices.Chunk(args, 2) {
		if len(pair) < 2 {
			return f, errSyntax
		}
		text := pair[1].text
		switch pair[0].text {
		case "MIN":
			f.min = text
		case "MAX":
			f.max = text
		case "COUNT":
			f.count = text
		case "ALL":
			numbers, err := parseSet(text)
			if err != nil {
				return f, err
			}
			slices.Sort(numbers)
			f.all = formatSet(numbers)
		case "MODSEQ":
			f.modseq, err = strconv.ParseInt(text, 10, 64)
		}
	}
	return f, err
}

func (se *searching) end() error { return same("search result", []string{se.got}, []string{se.want}) }

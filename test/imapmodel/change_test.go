package imapmodel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// flagChoice is what messages are flagged with.
var flagChoice = []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Deleted`, `\Draft`, "$Forwarded", "$Junk", "k1", "k2", "k3"}

func pickFlags(r *rand.Rand) []string {
	var names []string
	for range r.IntN(3) {
		names = append(names, flagChoice[r.IntN(len(flagChoice))])
	}
	return names
}

func (s *session) storeFlags(r *rand.Rand) command {
	t, flags := s.pickSet(r), pickFlags(r)
	op := "+- "[r.IntN(3)]
	st := storing{s: s, set: t, op: op, flags: flags, silent: r.IntN(2) == 0, since: -1}
	item := strings.TrimSpace(string(op)) + "FLAGS"
	if st.silent {
		item += ".SILENT"
	}
	condition := ""
	if r.IntN(4) == 0 {
		st.since = s.pickModSeq(r)
		condition = fmt.Sprintf("(UNCHANGEDSINCE %d) ", st.since)
	}
	st.command = command{
		text: fmt.Sprintf("%s %s %s%s (%s)", t.command("STORE"), t, condition, item, strings.Join(flags, " ")), selected: true, fixed: !t.byUID,
		fetch: map[*message]*want{}, may: map[*message]bool{},
	}
	c := st.command
	c.act = st.act
	return c
}

// pickModSeq returns one that something happened at, or may have.
func (s *session) pickModSeq(r *rand.Rand) int64 {
	if told := s.sel.told; len(told) > 0 && r.IntN(3) > 0 {
		return told[r.IntN(len(told))].modseq
	}
	return r.Int64N(s.w.model.modseq + 1)
}

// storing is a STORE.
type storing struct {
	command
	s      *session
	set    set
	op     byte
	flags  []string
	silent bool
	since  int64 // -1: unconditional.
}

func (st *storing) act(rep *reply) error {
	s, sel := st.s, st.s.sel
	list, ok := st.set.messages(sel)
	switch {
	case sel.readOnly:
		return rep.is("NO", "")
	case !ok:
		return rep.is("BAD", "")
	}
	var modified, others []*message
	for _, m := range list {
		st.may[m] = true
		if st.since >= 0 && m.modseq > st.since {
			modified = append(modified, m)
		} else {
			others = append(others, m)
		}
	}
	s.condstore = s.condstore || st.since >= 0
	live, gone := there(others)
	changed := s.w.setFlags(sel.box, live, s, st.op, st.flags)
	st.wants(live, changed)
	kind, code := "OK", ""
	if len(modified) > 0 {
		code = "MODIFIED " + formatSet(sel.numbers(modified, st.set.byUID))
	}
	if len(gone) > 0 && !st.set.byUID {
		kind = "NO"
		if code == "" {
			code = "EXPUNGEISSUED"
		}
	}
	if rep.name != kind || rep.code != code {
		return fmt.Errorf("reply is %q, want %s [%s]", rep.text, kind, code)
	}
	return nil
}

// wants notes what the client must be told of messages, and what it knows itself.
func (st *storing) wants(live, changed []*message) {
	s := st.s
	var items []string
	if s.condstore {
		items = append(items, "MODSEQ")
	}
	if (st.set.byUID || s.condstore) && !s.uidOnly {
		items = append(items, "UID") // RFC 7162, section 3.2.4.
	}
	if !st.silent {
		for _, m := range live {
			st.fetch[m] = &want{items: append(items, "FLAGS")}
		}
		return
	}
	for _, m := range live {
		i := slices.Index(s.sel.told, m)
		if slot := s.sel.view.of(i, m.uid); slot.known {
			slot.flags = changeFlags(slot.flags, st.op, st.flags)
		}
		if s.condstore && slices.Contains(changed, m) {
			st.fetch[m] = &want{items: items}
		}
	}
}

func (s *session) append(r *rand.Rand) command {
	b, e, flags := s.w.pick(r), s.w.newContent(), pickFlags(r)
	name, date, at := b.name, "", [2]int64{}
	if r.IntN(20) == 0 {
		name = "Nowhere"
	}
	if r.IntN(3) == 0 {
		t := time.Unix(r.Int64N(1<<31), 0).UTC()
		date, at = t.Format(`"_2-Jan-2006 15:04:05 -0700" `), [2]int64{t.Unix(), t.Unix()}
	}
	c := command{text: fmt.Sprintf("APPEND %s (%s) %s{%d+}\r\n%s", name, strings.Join(flags, " "), date, len(e.content), e.content)}
	c.act = func(rep *reply) error {
		b := s.w.model.boxes[name]
		if b == nil {
			return rep.is("NO", "TRYCREATE")
		}
		if date == "" {
			at = s.w.now()
		}
		m := b.add(message{state: state{flags: flagSet(flags...)}, email: e, received: at, saved: s.w.now()}, s.w.model.change())
		if want := fmt.Sprintf("APPENDUID %d %d", b.validity, m.uid); rep.name != "OK" || rep.code != want {
			return fmt.Errorf("reply is %q, want OK [%s]", rep.text, want)
		}
		return nil
	}
	return c
}

func (s *session) copy(r *rand.Rand) command { return s.transfer(r, "COPY") }
func (s *session) move(r *rand.Rand) command { return s.transfer(r, "MOVE") }

func (s *session) transfer(r *rand.Rand, verb string) command {
	t, dst := s.pickSet(r), s.w.pick(r)
	if dst == s.sel.box && r.IntN(5) > 0 {
		dst = s.w.model.boxes[s.w.model.names()[r.IntN(len(s.w.model.names()))]]
	}
	name := dst.name
	if r.IntN(30) == 0 {
		name = "Nowhere"
	}
	c := command{text: fmt.Sprintf("%s %s %s", t.command(verb), t, name), selected: true}
	c.act = func(rep *reply) error {
		list, ok := t.messages(s.sel)
		live, gone := there(list)
		dst := s.w.model.boxes[name]
		switch {
		case verb == "MOVE" && s.sel.readOnly:
			return rep.is("NO", "")
		case !ok:
			return rep.is("BAD", "")
		case len(list) == 0:
			return rep.is("OK", "")
		case dst == nil:
			return rep.is("NO", "TRYCREATE")
		case dst == s.sel.box && verb == "MOVE":
			return rep.is("NO", "CANNOT")
		case len(gone) > 0 && !t.byUID:
			return rep.is("NO", "EXPUNGEISSUED")
		case len(live) == 0:
			return rep.is("OK", "")
		}
		return s.transferred(rep, live, dst, verb == "MOVE")
	}
	return c
}

// transferred does what COPY or MOVE does, and looks at COPYUID.
func (s *session) transferred(rep *reply, list []*message, dst *box, move bool) error {
	seq := s.w.model.change()
	uids := s.w.copies(list, dst, seq)
	src := s.sel.numbers(list, true)
	if move {
		s.sel.box.remove(list, seq)
	}
	want := []string{fmt.Sprint(dst.validity), formatSet(src), formatSet(uids)}
	if got := rep.find("COPYUID"); !slices.Equal(got, want) {
		return fmt.Errorf("COPYUID is %q, want %q", got, want)
	}
	return rep.is("OK", "")
}

func (s *session) expunge(*rand.Rand) command {
	return s.expunging("EXPUNGE", func() []*message { return s.sel.told })
}

func (s *session) uidExpunge(r *rand.Rand) command {
	t := s.pickSet(r)
	for !t.byUID {
		t = s.pickSet(r)
	}
	return s.expunging("UID EXPUNGE "+t.String(), func() []*message {
		list, _ := t.messages(s.sel)
		return list
	})
}

// expunging returns a command that removes those of messages that have \Deleted.
func (s *session) expunging(text string, which func() []*message) command {
	return command{text: text, selected: true, act: func(rep *reply) error {
		if s.sel.readOnly {
			return rep.is("NO", "")
		}
		s.expungeDeleted(which())
		return rep.is("OK", "")
	}}
}

func (s *session) expungeDeleted(list []*message) {
	live, _ := there(list)
	live = slices.DeleteFunc(live, func(m *message) bool { return !m.has(`\Deleted`) })
	if len(live) > 0 {
		s.sel.box.remove(live, s.w.model.change())
	}
}

// leave is CLOSE or UNSELECT.
func (s *session) leave(r *rand.Rand) command {
	verb := []string{"CLOSE", "UNSELECT"}[r.IntN(2)]
	return command{text: verb, act: func(rep *reply) error {
		s.remember()
		if verb == "CLOSE" && !s.sel.readOnly && !s.sel.box.deleted {
			s.expungeDeleted(s.sel.told)
		}
		s.sel = nil
		return rep.is("OK", "")
	}}
}

package imapmodel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// fetchItems are data items, with the name that the response has.
var fetchItems = [][2]string{
	{"FLAGS", "FLAGS"}, {"FLAGS", "FLAGS"}, {"UID", "UID"}, {"RFC822.SIZE", "RFC822.SIZE"}, {"INTERNALDATE", "INTERNALDATE"},
	{"ENVELOPE", "ENVELOPE"}, {"MODSEQ", "MODSEQ"}, {"EMAILID", "EMAILID"}, {"THREADID", "THREADID"}, {"SAVEDATE", "SAVEDATE"},
	{"BODY.PEEK[]", "BODY[]"}, {"BODY[]", "BODY[]"}, {"BODY.PEEK[HEADER]", "BODY[HEADER]"}, {"BODY[1]", "BODY[1]"},
	{"BODY.PEEK[TEXT]", "BODY[TEXT]"}, {"BODY.PEEK[]<20.50>", "BODY[]<20>"}, {"BODY[TEXT]<700.50>", "BODY[TEXT]<700>"},
	{"RFC822.HEADER", "RFC822.HEADER"}, {"BODY.PEEK[HEADER.FIELDS (Subject)]", "BODY[HEADER.FIELDS (Subject)]"}, {"BINARY.PEEK[]", "BINARY[]"},
}

// fetching is a FETCH.
type fetching struct {
	s        *session
	set      set
	items    []string // As they are asked for, and as they come.
	names    []string
	since    int64 // -1: all.
	vanished bool
	fetch    map[*message]*want
	may      map[*message]bool
}

func (s *session) fetchSome(r *rand.Rand) command {
	f := &fetching{s: s, set: s.pickSet(r), since: -1, fetch: map[*message]*want{}, may: map[*message]bool{}}
	for range 1 + r.IntN(3) {
		item := fetchItems[r.IntN(len(fetchItems))]
		if !slices.Contains(f.names, item[1]) && !(s.uidOnly && item[1] == "UID" && len(f.names) == 0) {
			f.items, f.names = append(f.items, item[0]), append(f.names, item[1])
		}
	}
	if len(f.items) == 0 {
		f.items, f.names = []string{"FLAGS"}, []string{"FLAGS"}
	}
	modifiers := ""
	if r.IntN(4) == 0 {
		f.since = 1 + s.pickModSeq(r)
		modifiers = fmt.Sprintf(" (CHANGEDSINCE %d)", f.since)
		if r.IntN(2) == 0 && f.set.byUID && s.qresync && !f.set.saved {
			f.vanished = true
			modifiers = fmt.Sprintf(" (CHANGEDSINCE %d VANISHED)", f.since)
		}
	}
	return command{
		text:     fmt.Sprintf("%s %s (%s)%s", f.set.command("FETCH"), f.set, strings.Join(f.items, " "), modifiers),
		selected: true, fixed: !f.set.byUID, earlier: f.vanished, fetch: f.fetch, may: f.may, act: f.act,
	}
}

func (f *fetching) act(rep *reply) error {
	s, sel := f.s, f.s.sel
	list, ok := f.set.messages(sel)
	if !ok {
		return rep.is("BAD", "")
	}
	if f.since >= 0 {
		list = slices.DeleteFunc(list, func(m *message) bool { return m.modseq <= f.since })
		f.names = append(f.names, "MODSEQ")
	}
	s.condstore = s.condstore || slices.Contains(f.names, "MODSEQ")
	if f.set.byUID && !s.uidOnly {
		f.names = append(f.names, "UID")
	}
	for _, m := range list {
		f.fetch[m] = &want{items: f.names}
	}
	if !sel.readOnly && slices.ContainsFunc(f.items, func(item string) bool { return strings.HasPrefix(item, "BODY[") }) {
		for _, m := range s.w.setFlags(sel.box, list, s, '+', []string{`\Seen`}) {
			f.may[m] = true
		}
	}
	if f.vanished {
		if err := f.checkVanished(rep); err != nil {
			return err
		}
	}
	return rep.is("OK", "")
}

// checkVanished looks whether the client is told exactly who went.
func (f *fetching) checkVanished(rep *reply) error {
	last := max(f.set.last(f.s.sel), f.s.sel.box.next-1) // "*" is not only the last that is left.
	return f.s.checkEarlier(rep, f.since, func(uid uint32) bool { return f.set.contains(uid, last) }, 0)
}

// checkEarlier looks at VANISHED (EARLIER): of the UIDs that known reports it must have
// all that went after since, and may have others that went only if the server has
// forgotten who went when. Those up to agreed need not be told.
func (s *session) checkEarlier(rep *reply, since int64, known func(uint32) bool, agreed uint32) error {
	b := s.sel.box
	purged, err := s.w.purged(b)
	if err != nil {
		return err
	}
	told := map[uint32]bool{}
	for _, r := range rep.untagged {
		if r.name != "VANISHED" {
			continue
		}
		uids, earlier, err := vanishedUIDs(r)
		if err != nil {
			return err
		}
		for _, uid := range uids {
			told[uid] = told[uid] || earlier
		}
	}
	for _, m := range b.live {
		if told[m.uid] {
			return fmt.Errorf("UID %d has not vanished", m.uid)
		}
	}
	for _, m := range b.gone {
		after := m.removed > since && known(m.uid)
		if after && m.uid > agreed && !told[m.uid] && !slices.Contains(s.sel.told, m) {
			return fmt.Errorf("not told that UID %d vanished", m.uid)
		}
		if !after && since >= purged && told[m.uid] {
			return fmt.Errorf("told of UID %d, which vanished at %d", m.uid, m.removed)
		}
		delete(told, m.uid)
	}
	for uid := range told {
		if since >= purged || !known(uid) {
			return fmt.Errorf("UID %d never was", uid)
		}
	}
	return nil
}

// noop is NOOP or CHECK.
func (s *session) noop(r *rand.Rand) command {
	if r.IntN(3) == 0 && s.sel != nil {
		return command{text: "CHECK", selected: true}
	}
	return command{text: "NOOP"}
}

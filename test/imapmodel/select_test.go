package imapmodel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// enableChoice is what clients enable.
var enableChoice = []string{"IMAP4rev2", "CONDSTORE", "QRESYNC", "QRESYNC IMAP4rev2", "UIDONLY QRESYNC", "UIDONLY"}

func (s *session) enableSome(r *rand.Rand) command {
	if r.IntN(8) > 0 {
		return s.enable(enableChoice[r.IntN(4)]) // UIDONLY is for a whole session.
	}
	return s.enable(enableChoice[r.IntN(len(enableChoice))])
}

func (s *session) enable(names string) command {
	var got []string
	c := command{text: "ENABLE " + names}
	var want []string
	c.act = func(rep *reply) error {
		for _, e := range []struct {
			name string
			on   *bool
		}{{"IMAP4rev2", &s.rev2}, {"CONDSTORE", &s.condstore}, {"QRESYNC", &s.qresync}, {"UIDONLY", &s.uidOnly}} {
			if !*e.on && slices.Contains(strings.Fields(names), e.name) {
				*e.on = true
				want = append(want, e.name)
			}
		}
		s.condstore = s.condstore || s.qresync
		if s.sel != nil {
			s.sel.view.byUID, s.sel.view.uidOnly = s.qresync || s.uidOnly, s.uidOnly
		}
		return rep.is("OK", "")
	}
	c.data = func(r *response) (bool, error) {
		if r.name != "ENABLED" {
			return false, nil
		}
		for _, n := range r.args {
			got = append(got, n.text)
		}
		return true, nil
	}
	c.end = func() error { return same("ENABLED", got, want) }
	return c
}

// same compares lists of words.
func same(what string, got, want []string) error {
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s is %q, want %q", what, got, want)
	}
	return nil
}

// selecting is a SELECT or EXAMINE.
type selecting struct {
	s        *session
	name     string
	readOnly bool
	resync   *resync // Nil: the client knows nothing.

	resyncing bool                // The client knows this mailbox.
	told      map[string][]string // Codes of untagged OK.
	exists    int
	list      bool
}

// resync is what a client says of what it knows.
type resync struct {
	memory
	known  set      // Empty ranges: not given.
	agreed []uint32 // Sequence numbers that are given with their UIDs.
}

func (s *session) selectBox(r *rand.Rand) command {
	se := &selecting{s: s, name: s.w.pick(r).name, readOnly: r.IntN(8) == 0, told: map[string][]string{}}
	params := ""
	switch {
	case s.qresync && len(s.memories) > 0 && r.IntN(4) > 0:
		se.resync = newResync(s, r)
		se.name = se.resync.name
		params = se.resync.params()
	case r.IntN(6) == 0:
		params = " (CONDSTORE)"
	}
	if r.IntN(40) == 0 {
		se.name = "Nowhere"
	}
	verb := map[bool]string{false: "SELECT", true: "EXAMINE"}[se.readOnly]
	condstore := params != ""
	c := command{text: verb + " " + se.name + params, earlier: true, fetch: map[*message]*want{}}
	c.act = func(rep *reply) error {
		s.remember()
		hadBox := s.sel != nil
		s.sel = nil
		b := s.w.model.boxes[se.name]
		if (rep.find("CLOSED") != nil) != hadBox {
			return errors.New("CLOSED does not tell whether a mailbox was selected")
		}
		if b == nil {
			return rep.is("NO", "NONEXISTENT")
		}
		s.condstore = s.condstore || condstore
		return se.open(b, c.fetch, rep)
	}
	c.data, c.end = se.data, se.end
	return c
}

// open notes what the client must be told of the mailbox.
func (se *selecting) open(b *box, fetch map[*message]*want, rep *reply) error {
	s := se.s
	s.sel = &selection{box: b, readOnly: se.readOnly, pending: map[*message]int64{}, again: map[*message]bool{}}
	s.sel.view = &view{byUID: s.qresync || s.uidOnly, uidOnly: s.uidOnly}
	code := "READ-WRITE"
	if se.readOnly {
		code = "READ-ONLY"
	}
	if err := rep.is("OK", code); err != nil || se.resync == nil || se.resync.validity != b.validity {
		return err
	}
	se.resyncing = true
	items := []string{"FLAGS", "MODSEQ"}
	if !s.uidOnly {
		items = append(items, "UID")
	}
	for _, m := range b.live {
		if m.modseq > se.resync.modseq && se.resync.knows(m.uid, b) {
			fetch[m] = &want{items: items}
		}
	}
	return s.checkEarlier(rep, se.resync.modseq, func(uid uint32) bool { return se.resync.knows(uid, b) }, se.resync.agrees(b))
}

// data looks at the responses of SELECT alone.
func (se *selecting) data(r *response) (bool, error) {
	switch r.name {
	case "EXISTS":
		se.exists++
		return true, se.begin(r)
	case "OK":
		if word, rest, _ := strings.Cut(r.code, " "); r.tag == "*" && word != "" {
			se.told[word] = append(se.told[word], rest)
		}
		return r.code == "CLOSED", nil
	case "RECENT":
		return true, nil
	case "LIST":
		se.list = true
		return true, nil
	}
	return false, nil
}

// begin takes in how many messages there are. A client that comes back knows some.
func (se *selecting) begin(r *response) error {
	s := se.s
	if s.sel == nil || int(r.number) != len(s.sel.box.live) {
		return errors.New("wrong number of messages")
	}
	if err := s.sel.view.apply(r); err != nil {
		return err
	}
	if err := s.added(int(r.number)); err != nil || !se.resyncing {
		return err
	}
	for i, m := range s.sel.told {
		for _, known := range se.resync.slots {
			if known.uid == m.uid && se.resync.knows(m.uid, s.sel.box) {
				s.sel.view.slots[i] = known
			}
		}
	}
	return nil
}

// end compares what was told with the mailbox.
func (se *selecting) end() error {
	s := se.s
	if s.sel == nil {
		return nil
	}
	b := s.sel.box
	want := map[string]string{
		"UIDVALIDITY": fmt.Sprint(b.validity), "UIDNEXT": fmt.Sprint(b.next), "HIGHESTMODSEQ": fmt.Sprint(max(1, b.highest)),
		"MAILBOXID": "(" + b.id + ")",
	}
	if n := b.firstUnseen(); n > 0 && !s.rev2 && !s.uidOnly {
		want["UNSEEN"] = strconv.Itoa(n)
	}
	for code, text := range want {
		if got := se.told[code]; !slices.Equal(got, []string{text}) {
			return fmt.Errorf("%s is %q, want %s", code, got, text)
		}
	}
	if want["UNSEEN"] == "" && se.told["UNSEEN"] != nil {
		return fmt.Errorf("UNSEEN is %s, want none", se.told["UNSEEN"])
	}
	if se.exists != 1 || se.list != s.rev2 || s.sel.view.keywords == nil {
		return fmt.Errorf("%d times EXISTS, LIST %v, FLAGS %v", se.exists, se.list, s.sel.view.keywords)
	}
	if perm := strings.Join(se.told["PERMANENTFLAGS"], ""); strings.Contains(perm, `\*`) == se.readOnly {
		return fmt.Errorf("PERMANENTFLAGS is %s", perm)
	}
	return nil
}

// newResync makes of a memory what a client says of it.
func newResync(s *session, r *rand.Rand) *resync {
	m := s.memories[r.IntN(len(s.memories))]
	if r.IntN(2) == 0 {
		m = s.memories[len(s.memories)-1]
	}
	re := &resync{memory: m}
	var uids []uint32
	for _, slot := range m.slots {
		if slot.uid > 0 {
			uids = append(uids, slot.uid)
		}
	}
	slices.Sort(uids)
	if len(uids) > 0 && r.IntN(3) == 0 {
		for _, uid := range uids { // It may have kept only some.
			if r.IntN(4) > 0 {
				re.known.ranges = append(re.known.ranges, [2]uint32{uid, uid})
			}
		}
	}
	if r.IntN(2) == 0 && !s.uidOnly && !m.noNumbers {
		for i, slot := range m.slots {
			if slot.uid > 0 && r.IntN(3) == 0 {
				re.agreed = append(re.agreed, uint32(i+1))
			}
		}
	}
	return re
}

// params returns the parameter of SELECT.
func (re *resync) params() string {
	text := fmt.Sprintf(" (QRESYNC (%d %d", re.validity, re.modseq)
	if len(re.known.ranges) > 0 {
		text += " " + re.known.String()
	}
	if len(re.agreed) > 0 {
		var uids []uint32
		for _, n := range re.agreed {
			uids = append(uids, re.slots[n-1].uid)
		}
		text += fmt.Sprintf(" (%s %s)", formatSet(re.agreed), formatSet(uids))
	}
	return text + "))"
}

// knows reports whether the server should tell of a UID.
func (re *resync) knows(uid uint32, b *box) bool {
	if len(re.known.ranges) > 0 {
		return re.known.contains(uid, 0)
	}
	return uid < b.next
}

// agrees returns the highest UID up to which the numbers that the client gave are
// right: it knows who went before.
func (re *resync) agrees(b *box) (last uint32) {
	for _, n := range re.agreed {
		if int(n) > len(b.live) || b.live[n-1].uid != re.slots[n-1].uid {
			break
		}
		last = re.slots[n-1].uid
	}
	return last
}

func (s *session) idleBegin() error {
	s.tag++
	s.idle = fmt.Sprintf("%s%d", s.name, s.tag)
	s.w.logf("%s C: %s IDLE", s.name, s.idle)
	if _, err := fmt.Fprintf(s.conn.nc, "%s IDLE\r\n", s.idle); err != nil {
		return errors.Join(errClosed, err)
	}
	r, err := s.response()
	if err == nil && r.tag != "+" {
		err = fmt.Errorf("session %s: IDLE: %q", s.name, r.text)
	}
	return err
}

func (s *session) idleEnd() error {
	tag := s.idle
	s.idle = ""
	s.w.logf("%s C: DONE", s.name)
	if _, err := fmt.Fprint(s.conn.nc, "DONE\r\n"); err != nil {
		return errors.Join(errClosed, err)
	}
	rep, err := s.reply(tag)
	if err == nil {
		err = s.finish(&command{text: "DONE"}, rep)
	}
	if err != nil {
		return fmt.Errorf("session %s: DONE: %w", s.name, err)
	}
	return nil
}

// drain looks at what a session got that is told of changes as they happen.
func (s *session) drain() error {
	held := s.idle == "" && s.notify.delayed
	if s.sel != nil {
		s.sel.view.fixed, s.sel.view.earlier = held, false
	}
	for len(s.conn.responses) > 0 {
		r, err := s.response()
		if err == nil {
			err = s.follow(&command{}, r)
		}
		if err != nil {
			return fmt.Errorf("session %s: between commands: %w", s.name, err)
		}
	}
	err := s.settle(held)
	if err == nil {
		err = s.knowsBoxes(false)
	}
	if err != nil {
		return fmt.Errorf("session %s: between commands: %w", s.name, err)
	}
	return nil
}

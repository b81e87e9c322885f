package imapmodel

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing/synctest"
)

// session is a client and what it did.
type session struct {
	w    *world
	name string
	conn *conn // Nil: not connected.
	tag  int
	idle string // Tag of the IDLE that runs, "" if none does.

	condstore, qresync, uidOnly, rev2 bool

	sel      *selection // Nil: nothing is selected.
	memories []memory
	notify   notified
}

// selection is a mailbox that a session has selected: what was told, as the truth, and
// as the client understands it.
type selection struct {
	box      *box
	readOnly bool
	told     []*message
	view     *view
	pending  map[*message]int64 // Changes by others that were not told, by the first's mod-sequence.
	again    map[*message]bool  // Of those that were, within this command.
	saved    []*message         // "$".
	lost     bool               // The session noticed that the mailbox was deleted.
}

// memory is what a client keeps of a mailbox for later.
type memory struct {
	name      string
	validity  uint32
	modseq    int64
	slots     []slot
	noNumbers bool // The slots are in no order.
}

// memoriesMax is how many mailboxes a client remembers.
const memoriesMax = 3

// want is what FETCH responses must have of a message.
type want struct {
	items []string
	done  bool
}

// command is a command with what must come of it. Its functions can be nil.
type command struct {
	text     string // Without tag and CRLF.
	selected bool   // It needs a mailbox, that was not deleted.
	fixed    bool   // It names sequence numbers.
	earlier  bool   // It may be answered by VANISHED (EARLIER).
	loose    bool   // It failed on the way: what it has told must be true, no more.

	act  func(rep *reply) error                   // Looks at the reply, and changes the model.
	data func(r *response) (took bool, err error) // Looks at a response that others know nothing of.
	end  func() error                             // Is called when all responses were looked at.

	fetch map[*message]*want // What messages must be told of.
	may   map[*message]bool  // What may be.
}

// reply is all that a command is answered with.
type reply struct {
	untagged []*response
	*response
}

// find returns the words of a response code, wherever it is.
func (rep *reply) find(code string) []string {
	for _, r := range append(slices.Clone(rep.untagged), rep.response) {
		if words, ok := r.codeWords(code); ok {
			return words
		}
	}
	return nil
}

// is returns an error unless the reply is of a kind, and has this as the first word of
// its code, if that is not "".
func (rep *reply) is(kind, code string) error {
	word, _, _ := strings.Cut(rep.code, " ")
	if rep.name != kind || code != "" && word != code {
		return fmt.Errorf("reply is %q, want %s [%s]", rep.text, kind, code)
	}
	return nil
}

// connect logs in, with what clients turn on.
func (s *session) connect(enable string) error {
	s.conn = newConn(s.w.dial(), s.w.tamper)
	s.condstore, s.qresync, s.uidOnly, s.rev2, s.sel, s.idle = false, false, false, false, nil, ""
	s.notify = notified{}
	if _, err := s.response(); err != nil {
		return err
	}
	if err := s.exchange(command{text: "LOGIN mox secret"}); err != nil || enable == "" {
		return err
	}
	return s.exchange(s.enable(enable))
}

// drop loses the connection. The client remembers what it knew.
func (s *session) drop() {
	s.w.logf("%s: drops its connection", s.name)
	s.remember()
	s.conn.close()
	s.conn, s.sel, s.idle = nil, nil, ""
	synctest.Wait() // The server notices.
}

// remember keeps what the client knows of its mailbox.
func (s *session) remember() {
	if s.sel == nil || s.sel.view.highest == 0 {
		return
	}
	v := s.sel.view
	s.memories = append(s.memories, memory{s.sel.box.name, s.sel.box.validity, v.highest, slices.Clone(v.slots), s.uidOnly})
	if len(s.memories) > memoriesMax {
		s.memories = s.memories[1:]
	}
}

// response returns the next response.
func (s *session) response() (*response, error) {
	text, ok := <-s.conn.responses
	if !ok {
		return nil, errClosed
	}
	if !strings.Contains(text, "[CAPABILITY ") {
		s.w.logf("%s S: %s", s.name, text)
	}
	return parseResponse(text)
}

// exchange sends commands at once, and looks at the answers to each.
func (s *session) exchange(cmds ...command) error {
	var text strings.Builder
	first := s.tag
	for _, c := range cmds {
		s.tag++
		fmt.Fprintf(&text, "%s%d %s\r\n", s.name, s.tag, c.text)
		s.w.logf("%s C: %s%d %s", s.name, s.name, s.tag, c.text)
	}
	if _, err := io.WriteString(s.conn.nc, text.String()); err != nil {
		return errors.Join(errClosed, err)
	}
	for i := range cmds {
		rep, err := s.reply(fmt.Sprintf("%s%d", s.name, first+i+1))
		if err == nil {
			err = s.finish(&cmds[i], rep)
		}
		if err != nil {
			return fmt.Errorf("session %s: %s: %w", s.name, strings.SplitN(cmds[i].text, "\r\n", 2)[0], err)
		}
	}
	return nil
}

// reply reads all up to the tagged response.
func (s *session) reply(tag string) (*reply, error) {
	rep := &reply{}
	for {
		r, err := s.response()
		switch {
		case err != nil:
			return nil, err
		case r.tag == tag:
			rep.response = r
			return rep, nil
		case r.tag != "*":
			return nil, fmt.Errorf("unexpected %q", r.text)
		}
		rep.untagged = append(rep.untagged, r)
	}
}

// finish looks at the answers to a command.
func (s *session) finish(c *command, rep *reply) error {
	if c.selected && s.sel != nil && s.sel.box.deleted && (s.sel.lost || rep.code == "NONEXISTENT") {
		if err := rep.is("NO", "NONEXISTENT"); err != nil {
			return err
		}
		c = &command{loose: true}
	}
	if c.act != nil {
		if err := c.act(rep); err != nil {
			return err
		}
	} else if c.text != "" && rep.name != "OK" {
		return rep.is("OK", "")
	}
	if s.sel != nil {
		s.sel.view.fixed, s.sel.view.earlier = c.fixed, c.earlier
	}
	for _, r := range append(rep.untagged, rep.response) {
		if err := s.follow(c, r); err != nil {
			return fmt.Errorf("%q: %w", r.text[:min(len(r.text), logLine)], err)
		}
	}
	if c.end != nil {
		if err := c.end(); err != nil {
			return err
		}
	}
	for m, want := range c.fetch {
		if !want.done {
			return fmt.Errorf("not told %q of UID %d", want.items, m.uid)
		}
	}
	if err := s.settle(c.fixed); err != nil {
		return err
	}
	return s.knowsBoxes(true)
}

// follow takes in one response: the client first, then the truth is looked at.
func (s *session) follow(c *command, r *response) error {
	if c.data != nil {
		if took, err := c.data(r); took || err != nil {
			return err
		}
	}
	if ok, err := s.announced(r); ok || err != nil {
		return err
	}
	if s.sel == nil {
		if r.name == "OK" || r.name == "NO" || r.name == "BAD" || r.name == "CAPABILITY" {
			return nil
		}
		return errors.New("nothing is selected")
	}
	before := len(s.sel.view.slots)
	if err := s.sel.view.apply(r); err != nil {
		return err
	}
	switch r.name {
	case "EXISTS":
		return s.added(int(r.number) - before)
	case "EXPUNGE":
		return s.removed(int(r.number) - 1)
	case "VANISHED":
		return s.vanished(r)
	case "FETCH", "UIDFETCH":
		return s.fetched(c, r)
	case "FLAGS":
		return s.checkFlags(r)
	case "OK", "NO", "BAD":
		return s.checkHighest(r)
	}
	return errors.New("that was not asked for")
}

// added says that so many messages came.
func (s *session) added(n int) error {
	sel := s.sel
	for _, m := range sel.box.live {
		if n > 0 && !slices.Contains(sel.told, m) {
			sel.told = append(sel.told, m)
			n--
		}
	}
	if n > 0 {
		return fmt.Errorf("%d messages too many", n)
	}
	return nil
}

// removed says that the message at an index went.
func (s *session) removed(i int) error {
	if m := s.sel.told[i]; m.removed == 0 {
		return fmt.Errorf("UID %d is there", m.uid)
	}
	s.sel.told = slices.Delete(s.sel.told, i, i+1)
	return nil
}

func (s *session) vanished(r *response) error {
	uids, earlier, err := vanishedUIDs(r)
	if err != nil || earlier {
		return err
	}
	for _, uid := range uids {
		i := slices.IndexFunc(s.sel.told, func(m *message) bool { return m.uid == uid })
		if i < 0 {
			return fmt.Errorf("UID %d was never there, or is gone already", uid)
		}
		if err := s.removed(i); err != nil {
			return err
		}
	}
	return nil
}

// checkFlags compares a FLAGS response.
func (s *session) checkFlags(r *response) error {
	var keywords []string
	for name := range s.sel.view.keywords {
		if isKeyword(name) {
			keywords = append(keywords, name)
		}
	}
	if got, want := flagSet(keywords...), flagSet(s.sel.box.keywords...); got != want {
		return fmt.Errorf("keywords are %q, want %q", got, want)
	}
	return nil
}

// checkHighest looks whether a HIGHESTMODSEQ promises too much.
func (s *session) checkHighest(r *response) error {
	if _, ok := r.codeWords("HIGHESTMODSEQ"); !ok {
		return nil
	}
	sel := s.sel
	h := sel.view.reported
	if h > max(1, sel.box.highest) {
		return fmt.Errorf("HIGHESTMODSEQ of the mailbox is %d", sel.box.highest)
	}
	if !sel.box.deleted {
		if m, at := sel.untold(); at > 0 && at <= h {
			return fmt.Errorf("client was not told of UID %d, which changed at %d", m.uid, at)
		}
	}
	if r.tag != "*" && h != max(1, sel.box.highest) {
		return fmt.Errorf("HIGHESTMODSEQ of the mailbox is %d", sel.box.highest)
	}
	return nil
}

// untold returns the oldest change that the client was not told of.
func (sel *selection) untold() (which *message, at int64) {
	note := func(m *message, seq int64) {
		if at == 0 || seq < at {
			which, at = m, seq
		}
	}
	told := map[*message]bool{}
	for _, m := range sel.told {
		told[m] = true
		if m.removed > 0 {
			note(m, m.removed)
		}
	}
	for _, m := range sel.box.live {
		if !told[m] {
			note(m, m.created)
		}
	}
	for m, seq := range sel.pending {
		if m.removed == 0 {
			note(m, seq)
		}
	}
	return which, at
}

// settle checks that after a command the client knows what it must.
func (s *session) settle(fixed bool) error {
	sel := s.sel
	if sel == nil {
		return nil
	}
	if sel.box.deleted {
		sel.lost = true
		return nil
	}
	var held int64 // Mod-sequence of the first removal that can't be told.
	for _, m := range sel.told {
		if m.removed > 0 && (held == 0 || m.removed < held) {
			held = m.removed
		}
	}
	switch {
	case held > 0 && !fixed:
		return errors.New("not told of a removal")
	case held > 0 && s.qresync && sel.view.highest >= held:
		return fmt.Errorf("client would come back with mod-sequence %d, and not be told of what went at %d", sel.view.highest, held)
	}
	if err := sel.missing(); err != nil {
		return err
	}
	return sel.compare()
}

// missing says what the client was not told, if it is more than that messages went.
func (sel *selection) missing() error {
	for _, m := range sel.box.live {
		if !slices.Contains(sel.told, m) {
			return fmt.Errorf("not told of new UID %d", m.uid)
		}
	}
	for m := range sel.pending {
		if m.removed == 0 {
			return fmt.Errorf("not told of the flags of UID %d", m.uid)
		}
	}
	return nil
}

// compare compares what the client believes with the truth.
func (sel *selection) compare() error {
	clear(sel.pending)
	clear(sel.again)
	v := sel.view
	if len(v.slots) != len(sel.told) {
		return fmt.Errorf("client has %d messages, want %d", len(v.slots), len(sel.told))
	}
	for i, m := range sel.told {
		switch have := v.of(i, m.uid); {
		case have.uid != 0 && have.uid != m.uid:
			return fmt.Errorf("client has UID %d as message %d, want %d", have.uid, i+1, m.uid)
		case m.removed > 0 || !have.known:
		case have.flags != m.flags:
			return fmt.Errorf("client has flags %q of UID %d, want %q", have.flags, m.uid, m.flags)
		case have.modseq > 0 && have.modseq != m.modseq:
			return fmt.Errorf("client has mod-sequence %d of UID %d, want %d", have.modseq, m.uid, m.modseq)
		}
	}
	return nil
}

package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "seed of the model test; 0 takes a new one")
	modelSteps = flag.Int("model.steps", 1500, "steps of the model test")
)

// modelMessage is a message as it should be.
type modelMessage struct {
	uid      UID
	content  string // Its file.
	flags    Flags
	keywords []string // Sorted.
}

// modelBox is a mailbox as it should be.
type modelBox struct {
	uidValidity uint32
	uidNext     UID
	messages    []modelMessage
}

// modelSession is a session and what its client knows.
type modelSession struct {
	w    *Watch
	sel  *Selection
	box  string
	uids []UID // As told, by applying the changes one by one.
}

// model drives a store with random operations of several sessions, and keeps in
// maps what should come of them.
type model struct {
	t        *testing.T
	rng      *rand.Rand
	dir      string
	d        *Dir
	a        *Account
	boxes    map[string]*modelBox
	sessions []*modelSession
	next     int
	modSeq   int64
	given    map[string]bool // Every UIDVALIDITY and UID ever seen.
}

func TestModel(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: run with -model.seed=%d", seed, seed)
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), given: map[string]bool{}}
	m.d = testDir(t, m.dir, func(o *Options) { o.SegmentSize = 256 << 10 })
	var err error
	if m.a, err = m.d.Create(t.Context(), "mjl", NewAccount{}); err != nil {
		t.Fatal(err)
	}
	m.boxes = map[string]*modelBox{}
	m.adopt("Inbox")
	m.sessions = []*modelSession{{w: m.a.Watch()}, {w: m.a.Watch()}, {w: m.a.Watch()}}
	ops := []func(){
		m.deliver, m.deliver, m.deliver, m.append, m.append, m.append, m.copy, m.copy, m.move, m.move, m.expunge, m.setFlags, m.setFlags, m.setFlags,
		m.create, m.rename, m.delete, m.selectBox, m.selectBox, m.take, m.take, m.take, m.take, m.fail,
	}
	for step := range *modelSteps {
		switch {
		case m.rng.IntN(300) == 0:
			m.restart()
		case m.rng.IntN(100) == 0:
			m.compare()
		default:
			ops[m.rng.IntN(len(ops))]()
		}
		if t.Failed() {
			t.Fatalf("at step %d", step)
		}
	}
	m.compare()
	for _, s := range m.sessions {
		m.takeOne(s, TakeAll)
		s.w.Close()
	}
	m.a.WaitDurable(t.Context())
	check(t, m.d)
	if err := errors.Join(m.a.Close(), m.d.Close()); err != nil {
		t.Error(err)
	}
}

// adopt takes over a mailbox that was made, empty.
func (m *model) adopt(name string) {
	m.t.Helper()
	err := m.a.View(m.t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox(name)
		if err != nil {
			return err
		}
		for n, b := range m.boxes {
			if b.uidValidity == mb.UIDValidity {
				m.t.Errorf("mailboxes %q and %q have the same UIDVALIDITY", n, name)
			}
		}
		m.boxes[name] = &modelBox{uidValidity: mb.UIDValidity, uidNext: 1}
		return nil
	})
	if err != nil {
		m.t.Errorf("adopting %q: %v", name, err)
	}
}

// pick returns a mailbox, and some of its UIDs.
func (m *model) pick() (string, []UID) {
	names := []string{}
	for name := range m.boxes {
		names = append(names, name)
	}
	slices.Sort(names)
	name := names[m.rng.IntN(len(names))]
	var uids []UID
	for _, msg := range m.boxes[name].messages {
		if m.rng.IntN(3) == 0 {
			uids = append(uids, msg.uid)
		}
	}
	return name, uids
}

// flags returns random flags and keywords.
func (m *model) flags() (Flags, []string) {
	var kws []string
	for range m.rng.IntN(3) {
		kws = append(kws, fmt.Sprintf("kw%d", m.rng.IntN(70)))
	}
	slices.Sort(kws)
	return Flags(m.rng.IntN(flagsAll + 1)), slices.Compact(kws)
}

// add adds a message to the model.
func (m *model) add(name, content string, flags Flags, keywords []string) UID {
	b := m.boxes[name]
	uid := b.uidNext
	b.uidNext++
	k := fmt.Sprintf("%d %d", b.uidValidity, uid)
	if m.given[k] {
		m.t.Errorf("UID %d of %q given again", uid, name)
	}
	m.given[k] = true
	b.messages = append(b.messages, modelMessage{uid, content, flags, keywords})
	return uid
}

func (m *model) content() string {
	m.next++
	return string(testMessage(m.next, strings.Repeat("x", m.rng.IntN(2000))))
}

func (m *model) deliver() {
	name, _ := m.pick()
	c := m.content()
	if err := deliver(m.t, m.d, []byte(c), name, m.a, m.a); err != nil {
		m.t.Errorf("delivering to %q: %v", name, err)
		return
	}
	if m.rng.IntN(2) == 0 {
		m.a.WaitDurable(m.t.Context())
	}
	m.add(name, c, 0, nil)
	m.add(name, c, 0, nil)
}

func (m *model) append() {
	m.a.WaitDurable(m.t.Context()) // UIDs are in the order of the calls then.
	name, _ := m.pick()
	c := m.content()
	flags, kws := m.flags()
	msg, err := appendTo(m.t, m.a, name, []byte(c), AppendOptions{Flags: flags, Keywords: kws})
	if err != nil {
		m.t.Errorf("appending to %q: %v", name, err)
		return
	}
	if uid := m.add(name, c, flags, kws); uid != msg.UID {
		m.t.Errorf("appended as UID %d, want %d", msg.UID, uid)
	}
}

func (m *model) copy() { m.transfer(false) }
func (m *model) move() { m.transfer(true) }

func (m *model) transfer(move bool) {
	m.a.WaitDurable(m.t.Context())
	from, uids := m.pick()
	to, _ := m.pick()
	var got Copied
	err := m.update(func(tx *Tx) error {
		src, err := tx.Mailbox(from)
		if err != nil {
			return err
		}
		dst, err := tx.Mailbox(to)
		if err != nil {
			return err
		}
		if move {
			got, err = tx.Move(&src, &dst, uids)
		} else {
			got, err = tx.Copy(&src, &dst, uids)
		}
		return err
	})
	if from == to && move {
		if !errors.Is(err, ErrSameMailbox) {
			m.t.Errorf("moving within %q: %v", from, err)
		}
		return
	}
	if err != nil {
		m.t.Errorf("copying from %q to %q: %v", from, to, err)
		return
	}
	for i, uid := range uids {
		msg := m.message(from, uid)
		dst := m.add(to, msg.content, msg.flags, msg.keywords)
		if i >= len(got.Src) || got.Src[i] != uid || got.Dst[i] != dst {
			m.t.Errorf("copied %v to %v, want %d to %d at %d", got.Src, got.Dst, uid, dst, i)
			return
		}
	}
	if move {
		m.drop(from, uids)
	}
}

func (m *model) message(name string, uid UID) modelMessage {
	for _, msg := range m.boxes[name].messages {
		if msg.uid == uid {
			return msg
		}
	}
	m.t.Fatalf("model has no UID %d in %q", uid, name)
	return modelMessage{}
}

func (m *model) drop(name string, uids []UID) {
	b := m.boxes[name]
	b.messages = slices.DeleteFunc(b.messages, func(msg modelMessage) bool { return slices.Contains(uids, msg.uid) })
}

// update runs fn as one of the sessions or of none.
func (m *model) update(fn func(tx *Tx) error) error {
	var w *Watch
	if i := m.rng.IntN(len(m.sessions) + 1); i < len(m.sessions) {
		w = m.sessions[i].w
	}
	return m.a.UpdateFrom(m.t.Context(), w, fn)
}

func (m *model) expunge() {
	m.a.WaitDurable(m.t.Context())
	name, uids := m.pick()
	only := m.rng.IntN(2) == 0
	var got []UID
	err := m.update(func(tx *Tx) error {
		mb, err := tx.Mailbox(name)
		if err != nil {
			return err
		}
		if only {
			got, err = tx.ExpungeDeleted(&mb, uids)
		} else {
			got, err = tx.Expunge(&mb, uids)
		}
		return err
	})
	if err != nil {
		m.t.Errorf("expunging: %v", err)
	}
	if only {
		uids = slices.DeleteFunc(uids, func(uid UID) bool { return m.message(name, uid).flags&FlagDeleted == 0 })
	}
	if !slices.Equal(got, uids) {
		m.t.Errorf("expunged %v, want %v", got, uids)
	}
	m.drop(name, uids)
}

func (m *model) setFlags() {
	m.a.WaitDurable(m.t.Context())
	name, uids := m.pick()
	flags, kws := m.flags()
	op := FlagOp(1 + m.rng.IntN(3))
	change := FlagChange{Op: op, Flags: flags, Keywords: kws}
	var err error
	if m.rng.IntN(2) == 0 {
		if m.rng.IntN(2) == 0 {
			change.Flags &^= junkFlags // Else most are not logged.
			flags = change.Flags
		}
		var w *Watch
		if i := m.rng.IntN(len(m.sessions) + 1); i < len(m.sessions) {
			w = m.sessions[i].w
		}
		_, err = m.a.SetFlags(m.t.Context(), w, m.id(name), slices.Sorted(slices.Values(uids)), change)
	} else {
		err = m.update(func(tx *Tx) error {
			mb, err := tx.Mailbox(name)
			if err != nil {
				return err
			}
			_, err = tx.SetFlags(&mb, uids, change)
			return err
		})
	}
	if err != nil {
		m.t.Errorf("setting flags: %v", err)
	}
	for i := range m.boxes[name].messages {
		msg := &m.boxes[name].messages[i]
		if !slices.Contains(uids, msg.uid) {
			continue
		}
		switch op {
		case FlagsReplace:
			msg.flags, msg.keywords = flags, kws
		case FlagsAdd:
			msg.flags |= flags
			msg.keywords = slices.Compact(slices.Sorted(slices.Values(slices.Concat(msg.keywords, kws))))
		case FlagsRemove:
			msg.flags &^= flags
			msg.keywords = slices.DeleteFunc(slices.Clone(msg.keywords), func(s string) bool { return slices.Contains(kws, s) })
		}
	}
}

// id returns the id of a mailbox, without having what waits for its rows written.
func (m *model) id(name string) (id int64) {
	err := m.a.ViewContent(m.t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox(name)
		id = mb.ID
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return id
}

func (m *model) create() {
	name := fmt.Sprintf("box%d", m.rng.IntN(4))
	if m.rng.IntN(2) == 0 {
		name += fmt.Sprintf("/sub%d", m.rng.IntN(3))
	}
	err := m.update(func(tx *Tx) error {
		_, err := tx.CreateMailbox(name, UseNone)
		return err
	})
	if m.boxes[name] != nil {
		if !errors.Is(err, ErrMailboxExists) {
			m.t.Errorf("creating %q again: %v", name, err)
		}
		return
	}
	if err != nil {
		m.t.Errorf("creating %q: %v", name, err)
		return
	}
	parent, _, _ := strings.Cut(name, "/")
	if m.boxes[parent] == nil {
		m.adopt(parent)
	}
	if m.boxes[name] == nil {
		m.adopt(name)
	}
}

// children returns the mailboxes below name.
func (m *model) children(name string) (list []string) {
	for n := range m.boxes {
		if strings.HasPrefix(n, name+"/") {
			list = append(list, n)
		}
	}
	return list
}

func (m *model) rename() {
	m.a.WaitDurable(m.t.Context())
	from, _ := m.pick()
	to := fmt.Sprintf("box%d", m.rng.IntN(6))
	err := m.update(func(tx *Tx) error { return tx.RenameMailbox(from, to) })
	if m.boxes[to] != nil {
		if !errors.Is(err, ErrMailboxExists) {
			m.t.Errorf("renaming %q to %q: %v", from, to, err)
		}
		return
	}
	if err != nil {
		m.t.Errorf("renaming %q to %q: %v", from, to, err)
		return
	}
	if from == "Inbox" {
		m.adopt(to)
		for _, msg := range m.boxes["Inbox"].messages {
			m.add(to, msg.content, msg.flags, msg.keywords)
		}
		m.boxes["Inbox"].messages = nil
		return
	}
	for _, c := range append(m.children(from), from) {
		m.boxes[to+strings.TrimPrefix(c, from)] = m.boxes[c]
		delete(m.boxes, c)
	}
	for _, s := range m.sessions {
		if s.box == from || strings.HasPrefix(s.box, from+"/") {
			s.box = to + strings.TrimPrefix(s.box, from)
		}
	}
}

func (m *model) delete() {
	m.a.WaitDurable(m.t.Context())
	name, _ := m.pick()
	err := m.update(func(tx *Tx) error { return tx.DeleteMailbox(name) })
	switch {
	case name == "Inbox":
		if !errors.Is(err, ErrInbox) {
			m.t.Errorf("deleting Inbox: %v", err)
		}
		return
	case len(m.children(name)) > 0:
		if !errors.Is(err, ErrHasChildren) {
			m.t.Errorf("deleting %q: %v", name, err)
		}
		return
	case err != nil:
		m.t.Errorf("deleting %q: %v", name, err)
	}
	delete(m.boxes, name)
	for _, s := range m.sessions {
		if s.box == name {
			s.box, s.sel, s.uids = "", nil, nil
			s.w.Unselect()
		}
	}
}

// fail runs a group in which one function fails after it has written: it must
// leave nothing, and the others must be done.
func (m *model) fail() {
	m.a.WaitDurable(m.t.Context())
	name, uids := m.pick()
	boom := errors.New("boom")
	done := make(chan error)
	go func() {
		done <- m.a.Update(m.t.Context(), func(tx *Tx) error {
			mb, err := tx.Mailbox(name)
			if err != nil {
				return err
			}
			if _, err := tx.SetFlags(&mb, uids, FlagChange{Op: FlagsReplace, Flags: flagsAll}); err != nil {
				return err
			}
			if _, err := tx.Expunge(&mb, uids); err != nil {
				return err
			}
			return boom
		})
	}()
	m.append()
	if err := <-done; !errors.Is(err, boom) {
		m.t.Errorf("failing function returned %v", err)
	}
}

func (m *model) selectBox() {
	m.a.WaitDurable(m.t.Context())
	s := m.sessions[m.rng.IntN(len(m.sessions))]
	s.box, _ = m.pick()
	var id int64
	err := m.a.View(m.t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox(s.box)
		id = mb.ID
		return err
	})
	if err != nil {
		m.t.Errorf("selecting %q: %v", s.box, err)
		return
	}
	if s.sel, err = s.w.Select(m.t.Context(), id); err != nil {
		m.t.Errorf("selecting %q: %v", s.box, err)
		return
	}
	s.uids = slices.Clone(s.sel.UIDs())
	m.compareSession(s)
}

func (m *model) take() {
	s := m.sessions[m.rng.IntN(len(m.sessions))]
	if m.rng.IntN(3) == 0 {
		m.takeOne(s, TakeNoExpunge)
		return
	}
	m.a.WaitDurable(m.t.Context())
	m.takeOne(s, TakeAll)
	if s.sel != nil {
		m.compareSession(s)
	}
}

// takeOne takes changes and applies them to what the client knows, as a client
// would: one by one, by sequence number.
func (m *model) takeOne(s *modelSession, mode TakeMode) {
	changes := s.w.Take(mode)
	if s.sel == nil {
		return
	}
	for _, c := range changes {
		switch c.Kind {
		case MessageRemoved:
			if mode == TakeNoExpunge {
				m.t.Errorf("removal of UID %d where none may be told", c.Entry.UID)
			}
			if c.Seq < 1 || c.Seq > len(s.uids) || s.uids[c.Seq-1] != c.Entry.UID {
				m.t.Errorf("removal of UID %d as %d of %v", c.Entry.UID, c.Seq, s.uids)
				return
			}
			s.uids = slices.Delete(s.uids, c.Seq-1, c.Seq)
		case MessageAdded:
			s.uids = append(s.uids, c.Entry.UID)
			if c.Seq != len(s.uids) {
				m.t.Errorf("UID %d added as %d, there are %d", c.Entry.UID, c.Seq, len(s.uids))
			}
		case FlagsChanged:
			if c.Seq < 1 || c.Seq > len(s.uids) || s.uids[c.Seq-1] != c.Entry.UID {
				m.t.Errorf("change of UID %d as %d of %v", c.Entry.UID, c.Seq, s.uids)
			}
		case MailboxAdded, MailboxRemoved, MailboxRenamed, MailboxChanged, AnnotationChanged, SubscriptionAdded, SubscriptionRemoved:
		}
	}
	if !slices.Equal(s.uids, s.sel.UIDs()) {
		m.t.Errorf("session was told %v, selection has %v", s.uids, s.sel.UIDs())
	}
	// Everything told can be read, expunged or not.
	if n := len(s.sel.Entries(s.uids, nil)); n != len(s.uids) {
		m.t.Errorf("entries of %d of %d messages", n, len(s.uids))
	}
	for _, e := range s.sel.Entries(s.uids, nil) {
		f, err := m.a.OpenMessage(e.EmailID)
		if err != nil {
			m.t.Errorf("opening UID %d: %v", e.UID, err)
			return
		}
		if err := f.Close(); err != nil {
			m.t.Error(err)
		}
	}
}

// compareSession compares a session's dense array with the model.
func (m *model) compareSession(s *modelSession) {
	m.t.Helper()
	want := m.boxes[s.box].messages
	entries := s.sel.Entries(s.sel.UIDs(), nil)
	if len(entries) != len(want) {
		m.t.Errorf("session has %d messages in %q, want %d", len(entries), s.box, len(want))
		return
	}
	for i, e := range entries {
		kws := slices.Sorted(slices.Values(s.sel.Keywords(e)))
		if e.UID != want[i].uid || e.Flags() != want[i].flags || !slices.Equal(kws, want[i].keywords) {
			m.t.Errorf("session has UID %d flags %v %v in %q, want %d %v %v", e.UID, e.Flags(), kws, s.box, want[i].uid, want[i].flags, want[i].keywords)
		}
	}
}

// compare compares the whole account with the model.
func (m *model) compare() {
	m.t.Helper()
	m.a.WaitDurable(m.t.Context())
	var boxes []Mailbox
	err := m.a.View(m.t.Context(), func(tx *Tx) error {
		var err error
		boxes, err = tx.Mailboxes()
		if tx.ModSeq() < m.modSeq {
			m.t.Errorf("modseq went from %d to %d", m.modSeq, tx.ModSeq())
		}
		m.modSeq = tx.ModSeq()
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if len(boxes) != len(m.boxes) {
		m.t.Errorf("%d mailboxes, want %d", len(boxes), len(m.boxes))
	}
	for _, mb := range boxes {
		b := m.boxes[mb.Name]
		if b == nil {
			m.t.Errorf("unexpected mailbox %q", mb.Name)
			continue
		}
		if mb.UIDNext != b.uidNext || mb.UIDValidity != b.uidValidity || mb.Total != int64(len(b.messages)) {
			m.t.Errorf("mailbox %q is %+v, want %d messages, next UID %d", mb.Name, mb, len(b.messages), b.uidNext)
		}
		for i, got := range contents(m.t, m.a, mb.Name) {
			if want := b.messages[i].content; !bytes.HasSuffix([]byte(got), []byte(want)) {
				m.t.Errorf("message %d of %q is %q, want %q", i, mb.Name, got, want)
			}
		}
	}
	check(m.t, m.d)
}

// restart closes everything and opens it again.
func (m *model) restart() {
	for _, s := range m.sessions {
		s.w.Close()
	}
	if err := errors.Join(m.a.Close(), m.d.Close()); err != nil {
		m.t.Fatal(err)
	}
	m.d = testDir(m.t, m.dir, func(o *Options) { o.SegmentSize = 256 << 10 })
	var err error
	if m.a, err = m.d.Account(m.t.Context(), "mjl"); err != nil {
		m.t.Fatal(err)
	}
	for i := range m.sessions {
		m.sessions[i] = &modelSession{w: m.a.Watch()}
	}
	m.compare()
}

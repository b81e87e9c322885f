package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/mjl-/mox/screen"
)

// learnModel drives an account with random deliveries, marks, moves, copies and
// removals, and remembers every classification. What decisions see must be what
// remembering all of them would show.
type learnModel struct {
	t     *testing.T
	rng   *rand.Rand
	w     *world
	start time.Time
	boxes map[string]*learnBox
	names []string // Of boxes, in an order that does not change.
	next  int
	keys  map[screen.Key]bool // All there were.
}

type learnBox struct {
	uidNext UID
	places  []*learnPlace
	truth   map[screen.Key]map[*learnEmail]Class
	removed map[screen.Key]int // How many were unmarked.
}

type learnPlace struct {
	uid   UID
	email *learnEmail
	flags Flags // The two for junk.
}

type learnEmail struct {
	n        int
	id       int64
	facts    Facts
	received time.Time
	class    Class
	home     *learnBox
	destined *learnBox
	reject   bool
}

// modelRules mark by mailbox: "Work" has no rule.
func modelRules(o *Options) {
	o.JunkRules = func(string) JunkRules {
		return JunkRules{
			Automatic: true, Junk: regexp.MustCompile("^junk"), Neutral: regexp.MustCompile("^(inbox|intro|rejects)$"), NotJunk: regexp.MustCompile("^archive"),
		}
	}
}

// modelMark is what modelRules say.
func modelMark(name string) (flag Flags, ok bool) {
	switch name {
	case "Junk":
		return FlagJunk, true
	case "Archive":
		return FlagNotJunk, true
	case "Inbox", "Intro", "Rejects":
		return 0, true
	}
	return 0, false
}

func TestLearnModel(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: run with -model.seed=%d", seed, seed)
	m := &learnModel{t: t, rng: rand.New(rand.NewPCG(seed, 2)), start: time.Now(), boxes: map[string]*learnBox{}, keys: map[screen.Key]bool{}}
	m.w = newWorld(t, modelRules, "a")
	for _, name := range []string{"Inbox", "Junk", "Archive", "Work", "Intro", "Rejects"} {
		m.make(name)
	}
	ops := []func(){
		m.deliver, m.deliver, m.deliver, m.deliver, m.deliver, m.deliver, m.introduce, m.reject, m.mark, m.mark, m.mark, m.mark, m.mark, m.mark,
		m.unmarkNewest, m.move, m.move, m.copy, m.expunge,
	}
	for step := range *modelSteps {
		switch m.rng.IntN(400) {
		case 0:
			m.w.restart()
		case 1:
			m.replace("Work")
		case 2, 3, 4, 5, 6:
			m.compare()
		default:
			ops[m.rng.IntN(len(ops))]()
		}
		if t.Failed() {
			t.Fatalf("at step %d", step)
		}
	}
	m.compare()
	full := 0
	for _, b := range m.boxes {
		for k, all := range b.truth {
			if len(all) > screen.KeepMax(k.Kind) {
				full++
			}
		}
	}
	if full < 3 && *modelSteps >= 1000 {
		t.Errorf("only %d reputations had more than decisions see", full)
	}
}

func (m *learnModel) update(fn func(tx *Tx) error) {
	m.t.Helper()
	if err := m.w.account("a").Update(m.t.Context(), fn); err != nil {
		m.t.Fatal(err)
	}
}

func (m *learnModel) make(name string) {
	m.t.Helper()
	if name != "Inbox" {
		m.update(func(tx *Tx) error {
			_, err := tx.CreateMailbox(name, UseNone)
			return err
		})
	}
	m.boxes[name] = &learnBox{uidNext: 1, truth: map[screen.Key]map[*learnEmail]Class{}, removed: map[screen.Key]int{}}
	if !slices.Contains(m.names, name) {
		m.names = append(m.names, name)
	}
}

// replace deletes a mailbox and makes one of the same name.
func (m *learnModel) replace(name string) {
	m.t.Helper()
	m.update(func(tx *Tx) error { return tx.DeleteMailbox(name) })
	m.make(name)
}

// facts returns those of one of a few senders, some with more mail than others.
func (m *learnModel) facts() Facts {
	who := m.rng.IntN(1 + m.rng.IntN(6))
	f := Facts{
		RemoteIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(who * 40)}).String(), MailFrom: fmt.Sprintf("bounce%d@s%d.example", who, who%2), MailFromVerified: m.rng.IntN(2) == 0,
		HelloDomain: "mx.example", HelloVerified: who%2 == 0, From: fmt.Sprintf("p%d@s%d.example", who, who%3), FromOrg: fmt.Sprintf("s%d.example", who%3),
		Validation: m.rng.IntN(2) * int(screen.ValidationStrict), DKIM: []string{fmt.Sprintf("s%d.example", who%3)},
	}
	return f
}

// give delivers a message, and adds it to the model.
func (m *learnModel) give(name, destined string, reject bool, n int) *learnEmail {
	m.t.Helper()
	a := m.w.account("a")
	e := &learnEmail{n: n, facts: m.facts(), received: m.start.Add(-time.Duration(m.rng.IntN(100*24)) * time.Hour), reject: reject}
	if reject {
		e.received = m.start
	}
	content := testMessage(e.n, "x")
	to := Recipient{Account: a, Mailbox: name, Destined: destined, Reject: reject, Forwarded: m.rng.IntN(8) == 0, ForwardDKIM: "s1.example"}
	dl := Delivery{Content: m.w.d.ContentBytes(content), Analysis: analysis(m.t, content), Received: e.received, Facts: e.facts, To: []Recipient{to}}
	if err := m.w.d.Deliver(m.t.Context(), dl); err != nil {
		m.t.Fatal(err)
	}
	e.facts.Forwarded, e.facts.ForwardDKIM = to.Forwarded, to.ForwardDKIM
	a.WaitDurable(m.t.Context())
	b := m.boxes[name]
	e.home, e.destined = b, m.boxes[destined]
	p := &learnPlace{b.uidNext, e, 0}
	b.uidNext++
	b.places = append(b.places, p)
	m.update(func(tx *Tx) error {
		mb, err := tx.Mailbox(name)
		if err != nil {
			return err
		}
		msg, err := tx.Message(mb.ID, p.uid)
		e.id = msg.EmailID
		return err
	})
	for _, k := range e.facts.Sender().Keys() {
		m.keys[k] = true
	}
	if mark, _ := modelMark(name); mark != 0 && e.destined == nil {
		p.flags = mark
		m.classify(e, mark, b)
	}
	return e
}

func (m *learnModel) deliver() {
	m.next++
	m.give([]string{"Inbox", "Inbox", "Inbox", "Work", "Archive", "Junk"}[m.rng.IntN(6)], "", false, m.next)
}

func (m *learnModel) introduce() {
	m.next++
	m.give("Intro", "Inbox", false, m.next)
}

// reject delivers a reject, and sometimes the same message again, accepted.
func (m *learnModel) reject() {
	m.t.Helper()
	m.next++
	e := m.give("Rejects", "Inbox", true, m.next)
	if m.rng.IntN(2) == 0 {
		return
	}
	m.give("Work", "", false, e.n)
	eventually(m.t, "the reject is gone", func() bool {
		there := false
		m.update(func(tx *Tx) error {
			has, err := tx.hasReject(fmt.Sprintf("%d@example.org", e.n), 0)
			there = has
			if err == nil && !has {
				_, err = m.message(tx, "Rejects", e)
				there = err == nil
				if errors.Is(err, ErrExpunged) {
					err = nil
				}
			}
			return err
		})
		return !there
	})
	m.drop(m.boxes["Rejects"], e)
}

// message returns the row of the place of an Email in a mailbox.
func (m *learnModel) message(tx *Tx, name string, e *learnEmail) (Message, error) {
	mb, err := tx.Mailbox(name)
	if err != nil {
		return Message{}, err
	}
	for _, p := range m.boxes[name].places {
		if p.email == e {
			return tx.Message(mb.ID, p.uid)
		}
	}
	return Message{}, ErrExpunged
}

func (m *learnModel) drop(b *learnBox, e *learnEmail) {
	b.places = slices.DeleteFunc(b.places, func(p *learnPlace) bool { return p.email == e })
}

// pick returns a place, nil if there is none.
func (m *learnModel) pick() (name string, p *learnPlace) {
	name = m.names[m.rng.IntN(len(m.names))]
	if b := m.boxes[name]; len(b.places) > 0 {
		p = b.places[m.rng.IntN(len(b.places))]
	}
	return name, p
}

// classify is the model's idea of what a change of flags in a mailbox means.
func (m *learnModel) classify(e *learnEmail, flags Flags, b *learnBox) {
	class := map[Flags]Class{FlagJunk: ClassJunk, FlagNotJunk: ClassNotJunk}[flags]
	m.setClass(e, class, b)
}

func (m *learnModel) setClass(e *learnEmail, class Class, b *learnBox) {
	if e.destined != nil && e.home != e.destined && (class != Unclassified || b == e.destined) {
		e.home = e.destined
	}
	for _, k := range e.facts.Sender().Keys() {
		all := e.home.truth[k]
		if all == nil {
			all = map[*learnEmail]Class{}
			e.home.truth[k] = all
		}
		if e.class != Unclassified && e.class != class {
			e.home.removed[k]++
		}
		delete(all, e)
		if class != Unclassified {
			all[e] = class
		}
	}
	e.class = class
}

func (m *learnModel) mark() {
	name, p := m.pick()
	if p != nil {
		m.set(name, p, []Flags{0, FlagJunk, FlagNotJunk, FlagJunk, FlagNotJunk, FlagJunk | FlagNotJunk}[m.rng.IntN(6)])
	}
}

// unmarkNewest takes the mark from the newest place of a mailbox that has one.
func (m *learnModel) unmarkNewest() {
	name, _ := m.pick()
	var newest *learnPlace
	for _, p := range m.boxes[name].places {
		if p.email.class != Unclassified && (newest == nil || p.email.received.After(newest.email.received)) {
			newest = p
		}
	}
	if newest != nil {
		m.set(name, newest, 0)
	}
}

func (m *learnModel) set(name string, p *learnPlace, flags Flags) {
	m.t.Helper()
	m.update(func(tx *Tx) error {
		mb, err := tx.Mailbox(name)
		if err != nil {
			return err
		}
		_, err = tx.SetFlags(&mb, []UID{p.uid}, FlagChange{Op: FlagsReplace, Flags: flags | FlagSeen})
		return err
	})
	if p.flags != flags {
		p.flags = flags
		m.classify(p.email, flags, m.boxes[name])
	}
}

func (m *learnModel) copy() { m.transfer(false) }
func (m *learnModel) move() { m.transfer(true) }

func (m *learnModel) transfer(move bool) {
	m.t.Helper()
	from, p := m.pick()
	to := m.names[m.rng.IntN(len(m.names))]
	if p == nil || from == to {
		return
	}
	m.update(func(tx *Tx) error {
		src, err := tx.Mailbox(from)
		if err != nil {
			return err
		}
		dst, err := tx.Mailbox(to)
		if err != nil {
			return err
		}
		if move {
			_, err = tx.Move(&src, &dst, []UID{p.uid})
		} else {
			_, err = tx.Copy(&src, &dst, []UID{p.uid})
		}
		return err
	})
	e, b := p.email, m.boxes[to]
	flags, class := p.flags, e.class
	if mark, ok := modelMark(to); ok && mark != 0 {
		flags = mark
	} else if before, _ := modelMark(from); ok && before == flags {
		flags = 0
	}
	held := (from == "Intro" || from == "Rejects") && e.destined != nil
	if held && e.home == m.boxes[from] && e.destined == b && flags == 0 {
		flags = FlagNotJunk
	}
	if held || flags != p.flags {
		if flags != p.flags {
			class = map[Flags]Class{FlagJunk: ClassJunk, FlagNotJunk: ClassNotJunk}[flags]
		}
		m.setClass(e, class, b)
	}
	b.places = append(b.places, &learnPlace{b.uidNext, e, flags})
	b.uidNext++
	if move {
		m.boxes[from].places = slices.DeleteFunc(m.boxes[from].places, func(o *learnPlace) bool { return o == p })
	}
}

func (m *learnModel) expunge() {
	m.t.Helper()
	name, p := m.pick()
	if p == nil {
		return
	}
	m.update(func(tx *Tx) error {
		mb, err := tx.Mailbox(name)
		if err == nil {
			_, err = tx.Expunge(&mb, []UID{p.uid})
		}
		return err
	})
	m.boxes[name].places = slices.DeleteFunc(m.boxes[name].places, func(o *learnPlace) bool { return o == p })
}

// compare compares what decisions see of all keys in all mailboxes.
func (m *learnModel) compare() {
	m.t.Helper()
	keys := make([]screen.Key, 0, len(m.keys))
	for k := range m.keys {
		keys = append(keys, k)
	}
	for _, name := range m.names {
		got, err := m.w.account("a").Histories(m.t.Context(), name, keys)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, k := range keys {
			m.compareKey(name, k, got[k])
		}
	}
}

func (m *learnModel) compareKey(name string, k screen.Key, got screen.History) {
	m.t.Helper()
	b := m.boxes[name]
	var truth []*learnEmail
	var want screen.History
	for e, class := range b.truth[k] {
		truth = append(truth, e)
		if class == ClassJunk {
			want.Junk++
		} else {
			want.NotJunk++
		}
	}
	slices.SortFunc(truth, func(x, y *learnEmail) int {
		return compareLearned(learned{emailID: y.id, received: y.received.Unix()}, learned{emailID: x.id, received: x.received.Unix()})
	})
	if got.Junk != want.Junk || got.NotJunk != want.NotJunk {
		m.t.Errorf("%s, %v: got sums %d and %d, want %d and %d", name, k, got.Junk, got.NotJunk, want.Junk, want.NotJunk)
	}
	// Never a gap, and nothing missing but for what was unmarked beyond the slack.
	least := min(screen.KeepMax(k.Kind), len(truth)) - max(0, b.removed[k]-reputationSlack)
	if len(got.Recent) < least || len(got.Recent) > min(screen.KeepMax(k.Kind), len(truth)) {
		m.t.Errorf("%s, %v: got %d messages of %d, want at least %d", name, k, len(got.Recent), len(truth), least)
		return
	}
	for i, c := range got.Recent {
		e := truth[i]
		if c.At.Unix() != e.received.Unix() || c.Junk != (b.truth[k][e] == ClassJunk) || c.Localpart != hashLocalpart(e.facts.From) {
			m.t.Errorf("%s, %v: message %d is %+v, want %+v", name, k, i, c, e)
		}
	}
}

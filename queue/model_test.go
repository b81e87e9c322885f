package queue

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/bstore"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "seed of the model test; 0 takes a new one")
	modelSteps = flag.Int("model.steps", 1500, "steps of the model test")
)

// modelMessage is a message as it should be.
type modelMessage struct {
	rcpt     string
	fromID   string
	keep     bool // When retired.
	content  int64
	state    State
	attempts int64
	due      bool // Or in an hour or later.
	fail     bool
	drop     bool
	handed   []Handed
	why      HoldReason // It is held, or will be when its delivery ends.
	rule     int64
}

// modelState is what should be on disk, and in memory.
type modelState struct {
	messages    map[int64]modelMessage
	retired     map[int64]Outcome
	unconfirmed map[Handed]bool
	learned     modelLearned
	rules       map[int64]HoldRule
}

// clone copies what changes.
func (s modelState) clone() modelState {
	return modelState{maps.Clone(s.messages), maps.Clone(s.retired), maps.Clone(s.unconfirmed), s.learned.clone(), maps.Clone(s.rules)}
}

// model drives a queue with random operations and keeps in maps what should come
// of them. Faults end the process at random; then an operation was done as a whole
// or not at all.
type model struct {
	t     *testing.T
	rng   *rand.Rand
	w     *world
	now   modelState
	works []*Work
	keys  map[string]bool // Ever seen.
	given map[int64]bool  // Ids ever seen.
	ids   int             // FromIDs given.
	rcpts map[int64]string

	// handedOver are messages as they were before accounts took them. A crash can
	// bring them back, for accounts to say so.
	handedOver map[int64]modelMessage
	fault      string // Armed, or empty.
}

func TestModel(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: run with -model.seed=%d", seed, seed)
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), keys: map[string]bool{}, given: map[int64]bool{}, rcpts: map[int64]string{}, handedOver: map[int64]modelMessage{}}
	m.now = modelState{map[int64]modelMessage{}, map[int64]Outcome{}, map[Handed]bool{}, newModelLearned(), map[int64]HoldRule{}}
	m.w = &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, change: func(o *Options) {
		o.DeliveriesMax, o.DestinationMax, o.LocalMax = 1000, 1000, 1000
		o.KeepRetired = func(account string) time.Duration {
			return map[string]time.Duration{"keep": time.Hour}[account]
		}
	}}
	m.w.start()
	ops := []func(){m.add, m.add, m.add, m.next, m.next, m.next, m.next, m.finish, m.finish, m.finish, m.finish, m.release, m.reschedule, m.reschedule, m.dropSome, m.failSome, m.confirm, m.purge, m.answer, m.answer, m.suppress, m.hold, m.unhold, m.unhold, m.addRule, m.removeRule}
	for step := range *modelSteps {
		if m.rng.IntN(25) == 0 {
			points := append(Points(), LogPoints()...)
			m.fault = points[m.rng.IntN(len(points))]
			m.w.faults.ArmNth(m.fault, 1, func() error { return errors.New("fault") })
		}
		switch m.rng.IntN(50) {
		case 0:
			m.w.restart()
			m.restarted()
		case 1:
			m.compare()
		default:
			ops[m.rng.IntN(len(ops))]()
		}
		if t.Failed() {
			t.Fatalf("at step %d", step)
		}
	}
	m.w.restart()
	m.restarted()
	m.compare()
	m.w.stop()
}

// local says whether a recipient is ours.
func local(rcpt string) bool { return strings.Contains(rcpt, "@local") }

// restarted makes of the model what the end of the process does.
func (m *model) restarted() {
	for _, work := range m.works {
		for _, msg := range work.Messages {
			if mm, ok := m.now.messages[msg.ID]; ok {
				mm.state = Waiting
				if mm.why != "" {
					mm.state = Held
				}
				m.now.messages[msg.ID] = mm
			}
		}
	}
	m.works, m.fault = nil, ""
	for _, msg := range m.w.list(Filter{}) {
		before, ok := m.handedOver[msg.ID]
		if !ok {
			continue
		}
		m.now.messages[msg.ID] = before
		delete(m.now.retired, msg.ID)
		delete(m.now.unconfirmed, Handed{"account", msg.Key})
	}
	clear(m.handedOver)
}

// do runs an operation of which done tells what it does to the model. If a fault
// ends the process, it was done or not.
func (m *model) do(name string, run func() error, done func()) {
	m.t.Helper()
	err := run()
	if err == nil {
		done()
		return
	}
	if m.fault == "" {
		m.t.Errorf("%s: %v", name, err)
		return
	}
	before, works := m.now.clone(), m.works
	if m.w.db.Err() == nil {
		return // As for an error before anything was to be written.
	}
	m.w.restart()
	m.restarted()
	undone := m.same()
	if undone == nil {
		return
	}
	m.now, m.works = before, works
	done()
	m.restarted()
	if diff := m.same(); diff != nil {
		m.t.Errorf("%s with a fault: not done (%v), and done neither (%v)", name, undone, diff)
	}
}

// some returns ids of messages that pass.
func (m *model) some(pass func(mm modelMessage) bool) []int64 {
	ids := []int64{}
	for _, id := range slices.Sorted(maps.Keys(m.now.messages)) {
		if pass(m.now.messages[id]) && m.rng.IntN(3) == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *model) add() {
	if len(m.now.messages) > 100 {
		return
	}
	var to []string
	for i := range 1 + m.rng.IntN(4) {
		to = append(to, fmt.Sprintf("r%d@%s", i, []string{"remote.example", "other.example", "local.example"}[m.rng.IntN(3)]))
	}
	n := message(m.t, []string{"keep@example.org", "none@example.org"}[m.rng.IntN(2)], to...)
	if m.rng.IntN(3) == 0 {
		m.ids++
		n = newFromID(m.t, n.MailFrom.String(), fmt.Sprintf("id%d-", m.ids), to...)
	}
	n.Hold = m.rng.IntN(5) == 0
	due := m.rng.IntN(5) > 0
	if !due {
		n.NotBefore = time.Now().Add(time.Hour)
	}
	var added []Message
	run := func() (err error) {
		added, err = m.w.tryAdd("content", n)
		return err
	}
	m.do("adding", run, func() {
		if added == nil { // A fault: the ids are to be found.
			for _, msg := range m.w.list(Filter{}) {
				if !m.given[msg.ID] {
					added = append(added, msg)
				}
			}
			slices.SortFunc(added, func(a, b Message) int { return int(a.ID - b.ID) })
		}
		for i, msg := range added {
			if m.given[msg.ID] || m.keys[msg.Key] || i >= len(to) || msg.Rcpt != to[i] {
				m.t.Errorf("added %+v again, or to another", msg)
			}
			m.given[msg.ID], m.keys[msg.Key] = true, true
			m.rcpts[msg.ID] = msg.Rcpt
			if msg.FromID != "" {
				m.now.learned.fromIDs[n.Account+" "+msg.FromID] = msg.ID
			}
			mm := modelMessage{rcpt: msg.Rcpt, fromID: msg.FromID, keep: n.Account == "keep", content: msg.ContentID, state: Waiting, due: due}
			for _, id := range slices.Sorted(maps.Keys(m.now.rules)) {
				if mm.matches(m.now.rules[id]) {
					mm.held(HeldByRule, id)
				}
			}
			if n.Hold {
				mm.held(HeldAsAsked, 0)
			}
			m.now.messages[msg.ID] = mm
		}
	})
}

// ready returns the messages that Next may return, by what can go together.
func (m *model) ready() map[string][]int64 {
	all := map[string][]int64{}
	for id, mm := range m.now.messages {
		if mm.state == Waiting && mm.due {
			_, domain, _ := strings.Cut(mm.rcpt, "@")
			key := fmt.Sprint(mm.content, domain, mm.fail, mm.fromID)
			all[key] = append(all[key], id)
		}
	}
	return all
}

func (m *model) next() {
	groups := m.ready()
	if len(groups) == 0 {
		return
	}
	var work *Work
	run := func() (err error) {
		work, err = m.w.db.Next(m.t.Context())
		return err
	}
	if err := run(); err != nil {
		m.nextFailed(err, groups)
		return
	}
	got := ids(work)
	found := false
	for _, group := range groups {
		slices.Sort(group)
		found = found || slices.Equal(group, got)
	}
	if !found {
		m.t.Errorf("next returned %v, want one of %v", got, groups)
		return
	}
	m.begin(work.Fail != "", got)
	for _, msg := range work.Messages {
		mm := m.now.messages[msg.ID]
		want := mm.attempts
		if work.Local && work.Fail == "" {
			want++ // Only on disk when it ends.
		}
		if msg.Rcpt != mm.rcpt || msg.Attempts != want || (work.Fail != "") != mm.fail || !mm.fail && work.Local != local(mm.rcpt) {
			m.t.Errorf("next returned %+v in %+v, want %+v", msg, work, mm)
		}
	}
	m.works = append(m.works, work)
}

// ids returns the ids of work, sorted.
func ids(work *Work) []int64 {
	var all []int64
	for _, msg := range work.Messages {
		all = append(all, msg.ID)
	}
	return slices.Sorted(slices.Values(all))
}

// begin notes that messages are being delivered.
func (m *model) begin(fail bool, ids []int64) {
	for _, id := range ids {
		mm := m.now.messages[id]
		mm.state = Delivering
		if !fail && !local(mm.rcpt) {
			mm.attempts++
			mm.due = false // In its time, if the process dies.
		}
		m.now.messages[id] = mm
	}
}

// nextFailed looks what a fault in Next has left: at most one group was begun.
func (m *model) nextFailed(err error, groups map[string][]int64) {
	if m.fault == "" {
		m.t.Errorf("next: %v", err)
		return
	}
	m.w.restart()
	m.restarted()
	diff := m.same()
	if diff == nil {
		return
	}
	before := m.now.clone()
	for _, group := range groups {
		if mm := before.messages[group[0]]; mm.fail || local(mm.rcpt) {
			continue
		}
		m.now = before.clone()
		m.begin(false, group)
		for _, id := range group {
			mm := m.now.messages[id]
			mm.state = Waiting
			m.now.messages[id] = mm
		}
		if m.same() == nil {
			return
		}
	}
	m.t.Errorf("next with a fault: %v", diff)
}

func (m *model) finish() {
	if len(m.works) == 0 {
		return
	}
	work := m.works[m.rng.IntN(len(m.works))]
	var all []Report
	for _, msg := range work.Messages {
		r := Report{ID: msg.ID, Result: Result{Error: "failed"}}
		switch m.rng.IntN(7) {
		case 4:
			r = noUser
			r.ID = msg.ID
		case 5:
			r = spam
			r.ID = msg.ID
		case 0:
			r.Result.OK = true
		case 1:
			r.Retry, r.Next = true, time.Now()
		case 2:
			r.Retry, r.Next = true, time.Now().Add(time.Hour)
		case 3:
			continue // No report.
		}
		if work.Local && r.Result.OK {
			r.Handed = []Handed{{"account", msg.Key}}
		}
		all = append(all, r)
	}
	m.do("finishing", func() error { return m.w.db.Finish(m.t.Context(), work, all) }, func() {
		for _, msg := range work.Messages {
			i := slices.IndexFunc(all, func(r Report) bool { return r.ID == msg.ID })
			if i < 0 {
				m.end(work, msg, nil)
				continue
			}
			m.end(work, msg, &all[i])
		}
	})
	// Whatever became of it, the lease is over.
	m.works = slices.DeleteFunc(slices.Clone(m.works), func(w *Work) bool { return w == work })
}

// end does to the model what Finish does with a report, or none.
func (m *model) end(work *Work, msg Message, r *Report) {
	mm := m.now.messages[msg.ID]
	if work.Fail == "" && work.Local {
		mm.attempts++
	}
	mm.state, mm.due = Waiting, r != nil && r.Retry && !r.Next.After(time.Now())
	if mm.why != "" {
		mm.state = Held
	}
	if r != nil {
		mm.handed = append(mm.handed, r.Handed...)
	}
	m.now.messages[msg.ID] = mm
	if r != nil && !r.Retry && work.Fail == "" && !work.Local {
		m.learnResult(msg.ID, mm, r)
	}
	switch {
	case r != nil && !r.Retry && r.Result.OK:
		if work.Local && work.Fail == "" && mm.attempts == 1 {
			m.handedOver[msg.ID] = modelMessage{rcpt: mm.rcpt, fromID: mm.fromID, keep: mm.keep, content: mm.content, state: Waiting, due: true}
		}
		m.retire(msg.ID, Delivered)
	case r != nil && !r.Retry:
		m.retire(msg.ID, Failed)
	case mm.drop:
		m.retire(msg.ID, Dropped)
	}
}

// retire moves a message of the model out of the queue.
func (m *model) retire(id int64, outcome Outcome) {
	for _, h := range m.now.messages[id].handed {
		m.now.unconfirmed[h] = true
	}
	if m.now.messages[id].keep {
		m.now.retired[id] = outcome
	}
	delete(m.now.messages, id)
}

func (m *model) release() {
	ids := m.some(func(modelMessage) bool { return true })
	m.do("releasing", func() error { return m.w.db.Release(m.t.Context(), ids) }, func() {
		m.each(ids, func(mm *modelMessage) {
			if mm.why == HeldAsAsked {
				mm.state, mm.why = Waiting, ""
			}
		})
	})
}

// each changes messages of the model.
func (m *model) each(ids []int64, fn func(mm *modelMessage)) {
	for _, id := range ids {
		mm := m.now.messages[id]
		fn(&mm)
		m.now.messages[id] = mm
	}
}

func (m *model) reschedule() {
	ids := m.some(func(modelMessage) bool { return true })
	soon := m.rng.IntN(3) > 0
	at := time.Now()
	if !soon {
		at = at.Add(time.Hour)
	}
	m.do("rescheduling", func() error {
		_, err := m.w.db.Reschedule(m.t.Context(), Filter{IDs: ids}, func(Message) time.Time { return at })
		return err
	}, func() {
		m.each(ids, func(mm *modelMessage) {
			if mm.state != Delivering {
				mm.due = soon
			}
		})
	})
}

func (m *model) dropSome() {
	if m.rng.IntN(3) > 0 {
		return
	}
	ids := m.some(func(modelMessage) bool { return true })
	m.do("dropping", func() error {
		_, err := m.w.db.Drop(m.t.Context(), Filter{IDs: ids})
		return err
	}, func() {
		m.each(ids, func(mm *modelMessage) { mm.drop = true })
		for _, id := range ids {
			if m.now.messages[id].state != Delivering {
				m.retire(id, Dropped)
			}
		}
	})
}

func (m *model) failSome() {
	ids := m.some(func(modelMessage) bool { return m.rng.IntN(3) == 0 })
	m.do("failing", func() error {
		_, err := m.w.db.FailNow(m.t.Context(), Filter{IDs: ids}, "reason")
		return err
	}, func() {
		m.each(ids, func(mm *modelMessage) {
			mm.fail = true
			if mm.state != Delivering {
				mm.state, mm.due, mm.why, mm.rule = Waiting, true, "", 0
			}
		})
	})
}

// confirm confirms some of the keys that the queue tells. Others, of messages that
// are still in its log with some that wait, it doesn't know yet.
func (m *model) confirm() {
	var keys []Handed
	m.do("confirming", func() error {
		told, err := m.w.db.Unconfirmed(m.t.Context(), 100000)
		if err != nil {
			return err
		}
		for _, h := range told {
			if m.rng.IntN(2) == 0 {
				keys = append(keys, h)
			}
		}
		return m.w.db.Confirmed(m.t.Context(), keys)
	}, func() {
		for _, h := range keys {
			delete(m.now.unconfirmed, h)
		}
	})
}

// purge removes no retired message, since none is old enough, or all.
func (m *model) purge() {
	all := m.rng.IntN(10) == 0
	at := time.Now()
	if all {
		at = at.Add(2 * time.Hour)
	}
	m.do("purging", func() error { return m.w.db.Purge(m.t.Context(), at) }, func() {
		if all {
			clear(m.now.retired)
		}
	})
}

// compare fails the test where queue and model differ, and looks at invariants.
func (m *model) compare() {
	m.t.Helper()
	err := m.same()
	if errors.Is(err, ErrFailed) && m.fault != "" {
		m.w.restart()
		m.restarted()
		err = m.same()
	}
	if err != nil {
		m.t.Error(err)
	}
	m.w.check()
}

// same returns how queue and model differ.
func (m *model) same() error {
	got := modelState{map[int64]modelMessage{}, map[int64]Outcome{}, map[Handed]bool{}, newModelLearned(), nil}
	soon := time.Now().Add(failRetry / 2)
	if err := m.w.db.flush(); err != nil {
		return err
	}
	err := m.w.db.commit(&change{run: func(tx *tx) error {
		return bstore.QueryTx[messageRow](tx.Tx).ForEach(func(r messageRow) error {
			msg := r.message()
			if !m.given[r.ID] {
				return fmt.Errorf("message %d was not added", r.ID)
			}
			m.w.db.addLease(&msg)
			got.messages[r.ID] = modelMessage{msg.Rcpt, msg.FromID, msg.Account == "keep", msg.ContentID, msg.State, msg.Attempts, msg.NextAttempt.Before(soon), r.Fail != "", r.Drop, r.Handed, msg.HoldReason, msg.HoldRule}
			return nil
		})
	}})
	if err != nil {
		return err
	}
	for id, mm := range m.now.messages {
		// A delivery of ours is still due on disk; how it will be is not known.
		if mm.state == Delivering {
			mm.due = got.messages[id].due
		}
		if !reflect.DeepEqual(got.messages[id], mm) {
			return fmt.Errorf("message %d is %+v, want %+v", id, got.messages[id], mm)
		}
	}
	if !m.sameRules() {
		return fmt.Errorf("rules are %+v, want %+v", m.w.db.HoldRules(), m.now.rules)
	}
	if err := got.learned.read(m.w.db); err != nil {
		return err
	}
	if diff := got.learned.differs(m.now.learned); diff != "" {
		return errors.New(diff)
	}
	for _, msg := range m.w.list(Filter{State: Retired}) {
		got.retired[msg.ID] = msg.Outcome
	}
	if !maps.Equal(got.retired, m.now.retired) {
		return fmt.Errorf("retired are %v, want %v", got.retired, m.now.retired)
	}
	keys, err := m.w.db.Unconfirmed(m.t.Context(), 100000)
	for _, h := range keys {
		got.unconfirmed[h] = true
	}
	if err != nil {
		return err
	}
	if len(got.messages) != len(m.now.messages) || !maps.Equal(got.unconfirmed, m.now.unconfirmed) {
		return fmt.Errorf("%d messages, want %d; keys %v, want %v", len(got.messages), len(m.now.messages), got.unconfirmed, m.now.unconfirmed)
	}
	return nil
}

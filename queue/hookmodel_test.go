package queue

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/webhook"
)

// hookModel drives a queue whose accounts have webhooks, kills it now and then, and
// keeps in maps what must have been told in the end.
type hookModel struct {
	t   *testing.T
	rng *rand.Rand
	w   *world

	last     map[int64]webhook.Event // What is known of each message, if it is to be told.
	incoming map[int64]bool          // Messages that came in.
	told     map[string]int          // Calls that were taken, by what they told.
	again    int                     // How often the process died between a call and the note of it.
}

// TestHookModel: whatever happens in between, all is told at last, and nothing twice
// unless the process died between the call and the note of it.
func TestHookModel(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: run with -model.seed=%d", seed, seed)
	m := &hookModel{
		t: t, rng: rand.New(rand.NewPCG(seed, 2)), last: map[int64]webhook.Event{}, incoming: map[int64]bool{}, told: map[string]int{},
		w: &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, change: withHooks},
	}
	m.w.start()
	ops := []func(){m.add, m.add, m.comeIn, m.deliver, m.deliver, m.deliver, m.call, m.call, m.drop, m.hurry, m.restart, m.kill, m.killCalling}
	for range *modelSteps / 10 {
		ops[m.rng.IntN(len(ops))]()
	}
	m.end()
}

func (m *hookModel) add() {
	from := []string{"mjl", "final", "none"}[m.rng.IntN(3)]
	m.w.add("content", from+"@example.org", []string{"a@remote.example", "b@local.example"}[m.rng.IntN(2)])
}

func (m *hookModel) comeIn() {
	id := int64(len(m.incoming) + 1)
	errorless(m.t, m.w.db.AddIncoming(m.t.Context(), []NewIncoming{{Account: fmt.Sprintf("in%d", id%5), EmailID: id}}))
	m.incoming[id] = true
}

// note notes what is known of messages now.
func (m *hookModel) note(messages []Message, event webhook.Event) {
	for _, msg := range messages {
		if _, ok := m.w.db.opts.Webhook(msg.Account, event); ok {
			m.last[msg.ID] = event
		}
	}
}

// deliver makes an attempt.
func (m *hookModel) deliver() {
	work, err := m.w.db.tryNext(m.t.Context())
	errorless(m.t, err)
	if work == nil {
		return
	}
	event := []webhook.Event{webhook.EventDelivered, webhook.EventDelayed, webhook.EventFailed}[m.rng.IntN(3)]
	m.w.finish(work, report(event))
	m.note(work.Messages, event)
}

func (m *hookModel) drop() {
	if m.rng.IntN(4) > 0 {
		return
	}
	dropped, err := m.w.db.Drop(m.t.Context(), Filter{Max: 1})
	errorless(m.t, err)
	m.note(dropped, webhook.EventCanceled)
}

// what names what a hook tells.
func what(h *Hook) string {
	if h.Event == webhook.EventIncoming {
		return fmt.Sprintf("incoming %d", h.EmailID)
	}
	return fmt.Sprintf("%s %d", h.Event, h.QueueMsgID)
}

// nextHook takes a hook, nil if none is due.
func (m *hookModel) nextHook() *HookWork {
	work, err := m.w.db.tryNextHook(m.t.Context())
	errorless(m.t, err)
	return work
}

// call makes a call, which may be refused.
func (m *hookModel) call() {
	work := m.nextHook()
	if work == nil {
		return
	}
	if m.rng.IntN(3) == 0 {
		m.w.finishHook(work, unanswered())
		return
	}
	m.told[what(&work.Hook)]++
	m.w.finishHook(work, called())
}

// killCalling kills the process when a call was taken, and that is not noted.
func (m *hookModel) killCalling() {
	work := m.nextHook()
	if work == nil {
		return
	}
	m.told[what(&work.Hook)]++
	m.again++
	m.kill()
}

// hurry makes all due.
func (m *hookModel) hurry() {
	now := func() time.Time { return time.Now() }
	_, err := m.w.db.Reschedule(m.t.Context(), Filter{}, func(Message) time.Time { return now() })
	errorless(m.t, err)
	_, err = m.w.db.RescheduleHooks(m.t.Context(), HookFilter{}, func(Hook) time.Time { return now() })
	errorless(m.t, err)
}

func (m *hookModel) restart() {
	m.w.check()
	m.w.restart()
}

// kill goes on with what a kill -9 leaves.
func (m *hookModel) kill() {
	c := m.w.crashed()
	m.w.stop()
	m.w = c
	m.w.start()
	m.w.check()
}

// end makes all calls that wait, and compares.
func (m *hookModel) end() {
	for work := m.nextHook(); ; work = m.nextHook() {
		if work == nil {
			m.hurryHooks()
			if work = m.nextHook(); work == nil {
				break
			}
		}
		m.told[what(&work.Hook)]++
		m.w.finishHook(work, called())
	}
	missing := 0
	for id, event := range m.last {
		if m.told[fmt.Sprintf("%s %d", event, id)] == 0 && !m.gaveUp(id, 0) {
			m.t.Errorf("nobody was told that message %d is %s", id, event)
			missing++
		}
	}
	for id := range m.incoming {
		if m.told[fmt.Sprintf("incoming %d", id)] == 0 && !m.gaveUp(0, id) {
			m.t.Errorf("nobody was told of message %d that came in", id)
			missing++
		}
	}
	twice := 0
	for name, n := range m.told {
		// A message can be delayed several times.
		if n > 1 && !strings.HasPrefix(name, "delayed ") {
			twice += n - 1
		}
	}
	if twice > m.again {
		m.t.Errorf("%d were told twice, and the process died %d times during a call", twice, m.again)
	}
	m.t.Logf("%d messages, %d that came in: %d missing, %d told twice, died during %d calls", len(m.last), len(m.incoming), missing, twice, m.again)
	m.w.check()
	m.w.stop()
}

// hurryHooks makes all hooks due.
func (m *hookModel) hurryHooks() {
	_, err := m.w.db.RescheduleHooks(m.t.Context(), HookFilter{}, func(Hook) time.Time { return time.Now() })
	errorless(m.t, err)
}

// gaveUp tells whether the last hook of a message was given up after all attempts.
func (m *hookModel) gaveUp(message, email int64) bool {
	list, err := m.w.db.Hooks(m.t.Context(), HookFilter{Retired: true}, Sort{By: "queued", Desc: true})
	errorless(m.t, err)
	for _, h := range list {
		if message != 0 && h.QueueMsgID == message || email != 0 && h.EmailID == email {
			return h.Outcome == HookFailed
		}
	}
	return false
}

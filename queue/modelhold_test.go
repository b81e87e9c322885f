package queue

import (
	"maps"
	"slices"
	"strings"
)

// matches says whether a rule is about a message, in words of its own.
func (mm modelMessage) matches(r HoldRule) bool {
	account := "none"
	if mm.keep {
		account = "keep"
	}
	_, domain, _ := strings.Cut(mm.rcpt, "@")
	for _, field := range [][2]string{{r.Account, account}, {r.SenderDomain, "example.org"}, {r.RecipientDomain, domain}} {
		if field[0] != "" && field[0] != field[1] {
			return false
		}
	}
	return true
}

// held holds a message of the model for a reason. The first one counts.
func (mm *modelMessage) held(why HoldReason, rule int64) {
	if mm.why != "" {
		return
	}
	mm.why, mm.rule = why, rule
	if mm.state == Waiting {
		mm.state = Held
	}
}

// hold holds messages as an administrator does.
func (m *model) hold() {
	ids := m.some(func(modelMessage) bool { return m.rng.IntN(3) == 0 })
	m.do("holding", func() error {
		_, err := m.w.db.Hold(m.t.Context(), Filter{IDs: ids})
		return err
	}, func() {
		m.each(ids, func(mm *modelMessage) { mm.held(HeldByAdmin, 0) })
	})
}

// unhold releases messages that anybody holds.
func (m *model) unhold() {
	ids := m.some(func(modelMessage) bool { return true })
	m.do("unholding", func() error {
		_, err := m.w.db.Unhold(m.t.Context(), Filter{IDs: ids})
		return err
	}, func() {
		m.each(ids, func(mm *modelMessage) {
			mm.why, mm.rule = "", 0
			if mm.state == Held {
				mm.state = Waiting
			}
		})
	})
}

// addRule adds a rule. If a fault ends the process in the middle, it was added with
// all that it does, or not.
func (m *model) addRule() {
	pick := func(choices ...string) string { return choices[m.rng.IntN(len(choices))] }
	r := HoldRule{
		Account: pick("", "keep", "none"), SenderDomain: pick("", "example.org", "other.example"),
		RecipientDomain: pick("remote.example", "local.example", "other.example"),
	}
	for _, have := range m.now.rules {
		if have.same(r) {
			return
		}
	}
	m.do("adding a rule", func() error {
		_, _, err := m.w.db.AddHoldRule(m.t.Context(), r)
		return err
	}, func() {
		rules := m.w.db.HoldRules()
		i := slices.IndexFunc(rules, r.same)
		if i < 0 {
			return // The comparison tells.
		}
		m.now.rules[rules[i].ID] = r
		for id, mm := range m.now.messages {
			if mm.matches(r) && !mm.fail {
				mm.held(HeldByRule, rules[i].ID)
				m.now.messages[id] = mm
			}
		}
	})
}

// removeRule removes a rule. What it holds stays held.
func (m *model) removeRule() {
	ids := slices.Sorted(maps.Keys(m.now.rules))
	if len(ids) == 0 {
		return
	}
	id := ids[m.rng.IntN(len(ids))]
	m.do("removing a rule", func() error { return m.w.db.RemoveHoldRule(m.t.Context(), id) }, func() { delete(m.now.rules, id) })
}

// sameRules says whether the queue has the rules of the model.
func (m *model) sameRules() bool {
	rules := m.w.db.HoldRules()
	for _, r := range rules {
		if want, ok := m.now.rules[r.ID]; !ok || !want.same(r) {
			return false
		}
	}
	return len(rules) == len(m.now.rules)
}

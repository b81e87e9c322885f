package imapmodel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing/synctest"
	"time"
)

// step is something that is done. What exactly is up to its seed and to the model, so
// that the steps around it can be left out.
type step struct {
	kind    int // In kinds.
	session int
	seed    uint64
}

// kind is what a step can be: a command, or something else.
type kind struct {
	name    string
	weight  int
	needs   bool // A selected mailbox.
	command func(s *session, r *rand.Rand) command
	other   func(w *world, r *rand.Rand) error // Of nobody.
	session func(s *session, r *rand.Rand) error
}

// kinds returns what steps can be.
func kinds() []kind {
	return []kind{
		{name: "noop", weight: 6, command: (*session).noop},
		{name: "select", weight: 6, command: (*session).selectBox},
		{name: "leave", weight: 2, needs: true, command: (*session).leave},
		{name: "append", weight: 12, command: (*session).append},
		{name: "fetch", weight: 14, needs: true, command: (*session).fetchSome},
		{name: "store", weight: 14, needs: true, command: (*session).storeFlags},
		{name: "copy", weight: 4, needs: true, command: (*session).copy},
		{name: "move", weight: 4, needs: true, command: (*session).move},
		{name: "expunge", weight: 4, needs: true, command: (*session).expunge},
		{name: "uid expunge", weight: 3, needs: true, command: (*session).uidExpunge},
		{name: "search", weight: 8, needs: true, command: (*session).search},
		{name: "create", weight: 2, command: (*session).create},
		{name: "delete", weight: 1, command: (*session).delete},
		{name: "rename", weight: 1, command: (*session).rename},
		{name: "subscribe", weight: 1, command: (*session).subscribe},
		{name: "status", weight: 2, command: (*session).status},
		{name: "list", weight: 2, command: (*session).list},
		{name: "enable", weight: 1, command: (*session).enableSome},
		{name: "idle", weight: 3, session: func(s *session, _ *rand.Rand) error { return s.idleBegin() }},
		{name: "notify", weight: 2, command: (*session).notifyMe},
		{name: "several", weight: 5, needs: true, session: (*session).several},
		{name: "drop", weight: 3, session: (*session).loseConnection},
		{name: "deliver", weight: 5, other: (*world).deliver},
		{name: "webmail", weight: 5, other: (*world).webmail},
		{name: "restart or pause", weight: 1, other: (*world).pause},
	}
}

// newSteps returns steps at random.
func newSteps(seed uint64, n int) []step {
	r := rand.New(rand.NewPCG(seed, 0))
	var choice []int
	for i, k := range kinds() {
		for range k.weight {
			choice = append(choice, i)
		}
	}
	steps := make([]step, n)
	for i := range steps {
		steps[i] = step{choice[r.IntN(len(choice))], r.IntN(sessionsOf), r.Uint64()}
	}
	return steps
}

// run does steps in a new world. It returns how many were done, and what was wrong.
func run(dir string, steps []step, tamper func(string) []string) (w *world, n int, err error) {
	if w, err = newWorld(dir, tamper); err != nil {
		return w, 0, err
	}
	all := kinds()
	for i, st := range steps {
		if err = w.do(&all[st.kind], st); err != nil {
			n = i
			break
		}
	}
	if err == nil {
		err = w.check()
	}
	return w, n, errors.Join(err, w.close())
}

// do does one step.
func (w *world) do(k *kind, st step) error {
	clear(w.before)
	w.began = time.Now().Unix()
	r := rand.New(rand.NewPCG(st.seed, 1))
	s := w.sessions[st.session]
	var err error
	if k.other != nil {
		err = k.other(w, r)
	} else if err = s.ready(k.needs, r); err == nil {
		if k.command != nil {
			err = s.exchange(k.command(s, r))
		} else {
			err = k.session(s, r)
		}
	}
	if err != nil {
		return err
	}
	if err := w.checkModSeq(); err != nil {
		return err
	}
	synctest.Wait()
	for _, s := range w.sessions {
		if s.conn == nil {
			continue
		}
		if s.idle == "" && !s.notify.on {
			if n := len(s.conn.responses); n > 0 {
				return fmt.Errorf("session %s: %d responses with no command", s.name, n)
			}
		} else if err := s.drain(); err != nil {
			return err
		}
	}
	return nil
}

// ready makes a session one that can send commands, with a mailbox if it needs one.
func (s *session) ready(selected bool, r *rand.Rand) error {
	if s.idle != "" {
		if err := s.idleEnd(); err != nil {
			return err
		}
	}
	if s.conn == nil {
		enable := ""
		switch n := r.IntN(10); {
		case n < 5:
			enable = enableChoice[2+r.IntN(3)]
		case n < 8:
			enable = enableChoice[r.IntN(len(enableChoice))]
		}
		if err := s.connect(enable); err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
	}
	if selected && (s.sel == nil || s.sel.lost && r.IntN(2) == 0) {
		for s.sel == nil || s.sel.lost {
			if err := s.exchange(s.selectBox(r)); err != nil {
				return err
			}
		}
	}
	return nil
}

// several sends commands without waiting for answers.
func (s *session) several(r *rand.Rand) error {
	for _, o := range s.w.sessions {
		if o.idle != "" || o.notify.on {
			return nil // It would be told of what is in between, too.
		}
	}
	gens := []func(*session, *rand.Rand) command{
		(*session).noop, (*session).fetchSome, (*session).storeFlags, (*session).copy, (*session).expunge, (*session).search, (*session).append,
	}
	var cmds []command
	for range 2 + r.IntN(2) {
		cmds = append(cmds, gens[r.IntN(len(gens))](s, r))
	}
	return s.exchange(cmds...)
}

func (s *session) loseConnection(*rand.Rand) error {
	s.drop()
	return nil
}

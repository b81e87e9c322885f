package imapmodel

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// notified is what a client that has given NOTIFY (RFC 5465) knows of the mailboxes
// that are not selected.
type notified struct {
	on       bool
	delayed  bool // Removals in the selected mailbox wait for a command.
	personal bool // It is told of all mailboxes.
	names    map[string]bool
	counts   map[string]counts
}

// counts is what STATUS tells of a mailbox, as far as it must be told.
type counts struct{ messages, next string }

func (b *box) counts() counts { return counts{fmt.Sprint(len(b.live)), fmt.Sprint(b.next)} }

// notifyMe asks to be told of changes between commands.
func (s *session) notifyMe(r *rand.Rand) command {
	n := notified{on: true, delayed: r.IntN(3) == 0, personal: r.IntN(2) == 0}
	const events = "MessageNew MessageExpunge FlagChange"
	text := "NOTIFY SET"
	if r.IntN(2) == 0 {
		text += " STATUS"
	}
	if n.delayed {
		text += " (selected-delayed (" + events + "))"
	} else {
		text += " (selected (" + events + "))"
	}
	if n.personal {
		text += " (personal (" + events + " MailboxName))"
	}
	return command{text: text, act: func(rep *reply) error {
		n.counts, n.names = map[string]counts{}, map[string]bool{}
		for name := range s.w.model.boxes {
			n.names[name] = true
		}
		s.notify = n
		return rep.is("OK", "")
	}}
}

// announced takes in what is told of another mailbox. It is not ok if it has nothing to
// do with that.
func (s *session) announced(r *response) (ok bool, err error) {
	switch {
	case !s.notify.personal:
		return false, nil
	case r.name == "STATUS":
		return true, s.counted(r)
	case r.name == "LIST":
		s.listed(r)
		return true, nil
	}
	return false, nil
}

// counted compares a STATUS response.
func (s *session) counted(r *response) error {
	name := boxName(r.args[0].text)
	b := s.w.model.boxes[name]
	if b == nil {
		return fmt.Errorf("no mailbox %s", name)
	}
	var now counts
	for pair := range slices.Chunk(r.args[1].list, 2) {
		want := map[string]string{
			"MESSAGES": b.counts().messages, "UIDNEXT": b.counts().next, "UIDVALIDITY": fmt.Sprint(b.validity),
			"UNSEEN": fmt.Sprint(b.count(`!\Seen`)), "HIGHESTMODSEQ": fmt.Sprint(max(1, b.highest)),
		}[pair[0].text]
		switch pair[0].text {
		case "MESSAGES":
			now.messages = pair[1].text
		case "UIDNEXT":
			now.next = pair[1].text
		}
		if pair[1].text != want {
			return fmt.Errorf("%s is %s, want %s", pair[0].text, pair[1].text, want)
		}
	}
	if now.messages != "" && now.next != "" {
		s.notify.counts[name] = now
	} else if now.messages != "" {
		delete(s.notify.counts, name)
	}
	return nil
}

// listed takes in that a mailbox was made, renamed or deleted.
func (s *session) listed(r *response) {
	name := boxName(r.args[2].text)
	s.notify.names[name] = !strings.Contains(r.args[0].String(), `\NonExistent`) && !strings.Contains(r.args[0].String(), `\Noselect`)
	if len(r.args) > 3 && r.args[3].list[0].text == "OLDNAME" {
		old := boxName(r.args[3].list[1].list[0].text)
		s.notify.names[old] = false
		delete(s.notify.counts, old)
		for below := range maps.Clone(s.notify.names) { // These go with it.
			if rest, ok := strings.CutPrefix(below, old+"/"); ok && s.notify.names[below] {
				s.notify.names[below], s.notify.names[name+"/"+rest] = false, true
				delete(s.notify.counts, below)
			}
		}
	}
	delete(s.notify.counts, name)
}

// knowsBoxes compares what the client knows of other mailboxes with the truth. Of what
// it did itself it need not be told.
func (s *session) knowsBoxes(own bool) error {
	n := &s.notify
	if !n.personal {
		return nil
	}
	for name, b := range s.w.model.boxes {
		known, ok := n.counts[name]
		if selected := s.sel != nil && s.sel.box == b; ok && !own && !selected && known != b.counts() {
			return fmt.Errorf("client knows %+v of mailbox %s, want %+v", known, name, b.counts())
		}
		if !n.names[name] && !own {
			return fmt.Errorf("not told of mailbox %s", name)
		}
		n.names[name], n.counts[name] = true, b.counts()
	}
	for name := range maps.Clone(n.names) {
		if n.names[name] && s.w.model.boxes[name] == nil && !own {
			return fmt.Errorf("not told that mailbox %s is gone", name)
		}
		if s.w.model.boxes[name] == nil {
			delete(n.names, name)
		}
	}
	return nil
}

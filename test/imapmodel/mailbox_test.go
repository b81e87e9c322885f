package imapmodel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// boxChoice is how mailboxes are called.
var boxChoice = []string{"a", "b", "a/x", "a/y", "b/x/z", "Inbox/s"}

// boxesMax is the number of mailboxes above which no more are made.
const boxesMax = 8

func (s *session) create(r *rand.Rand) command {
	name := boxChoice[r.IntN(len(boxChoice))]
	if len(s.w.model.boxes) >= boxesMax {
		name = "Archive"
	}
	c := command{text: "CREATE " + name}
	c.act = func(rep *reply) error {
		if s.w.model.boxes[name] != nil {
			return rep.is("NO", "ALREADYEXISTS")
		}
		s.w.model.change()
		if err := s.w.made(append(above(name), name)); err != nil {
			return err
		}
		want := fmt.Sprintf("MAILBOXID (%s)", s.w.model.boxes[name].id)
		if rep.name != "OK" || rep.code != want {
			return fmt.Errorf("reply is %q, want OK [%s]", rep.text, want)
		}
		return nil
	}
	return c
}

// boxName returns a name as the model has it: Inbox is written in many ways.
func boxName(text string) string {
	if rest, ok := strings.CutPrefix(text, "INBOX"); ok && (rest == "" || rest[0] == '/') {
		return "Inbox" + rest
	}
	return text
}

// made notes new mailboxes, those that are not there yet.
func (w *world) made(names []string) error {
	for _, name := range names {
		if w.model.boxes[name] != nil {
			continue
		}
		if err := w.adopt(name); err != nil {
			return err
		}
		w.model.subs[name] = true
	}
	return nil
}

func (s *session) delete(r *rand.Rand) command {
	name := s.w.pick(r).name
	if r.IntN(3) > 0 {
		name = boxChoice[r.IntN(len(boxChoice))]
	}
	c := command{text: "DELETE " + name}
	c.act = func(rep *reply) error {
		b := s.w.model.boxes[name]
		switch {
		case b == nil:
			return rep.is("NO", "NONEXISTENT")
		case name == "Inbox":
			return rep.is("NO", "CANNOT")
		case s.w.model.children(name):
			return rep.is("NO", "HASCHILDREN")
		}
		s.w.model.change()
		b.deleted = true
		delete(s.w.model.boxes, name)
		return rep.is("OK", "")
	}
	return c
}

func (s *session) rename(r *rand.Rand) command {
	from, to := s.w.pick(r).name, boxChoice[r.IntN(len(boxChoice))]
	if len(s.w.model.boxes) >= boxesMax && from == "Inbox" {
		from = s.w.model.names()[0]
	}
	listed := ""
	c := command{text: "RENAME " + from + " " + to}
	c.act = func(rep *reply) error {
		m := &s.w.model
		switch {
		case m.boxes[from] == nil:
			return rep.is("NO", "NONEXISTENT")
		case m.boxes[to] != nil:
			return rep.is("NO", "ALREADYEXISTS")
		case from != "Inbox" && strings.HasPrefix(to, from+"/"):
			return rep.is("NO", "CANNOT")
		}
		if s.rev2 {
			listed = to
			if from != "Inbox" {
				listed += " " + from
			}
		}
		if err := s.w.renamed(from, to); err != nil {
			return err
		}
		return rep.is("OK", "")
	}
	c.data = func(r *response) (bool, error) {
		if r.name != "LIST" {
			return false, nil
		}
		got := boxName(r.args[2].text)
		if len(r.args) > 3 {
			got += " " + boxName(r.args[3].list[1].list[0].text)
		}
		if got != listed && s.notify.personal {
			return false, nil
		} else if got != listed {
			return true, fmt.Errorf("LIST has %s, want %s", got, listed)
		}
		listed = ""
		return true, nil
	}
	c.end = func() error {
		if listed != "" {
			return fmt.Errorf("no LIST of %s", listed)
		}
		return nil
	}
	return c
}

// renamed renames a mailbox and those below it.
func (w *world) renamed(from, to string) error {
	seq := w.model.change()
	if err := w.made(above(to)); err != nil {
		return err
	}
	if from == "Inbox" {
		if err := w.made([]string{to}); err != nil {
			return err
		}
		inbox := w.model.boxes["Inbox"]
		w.copies(inbox.live, w.model.boxes[to], seq)
		inbox.remove(inbox.live, seq)
		return nil
	}
	for _, name := range w.model.names() {
		if name != from && !strings.HasPrefix(name, from+"/") {
			continue
		}
		b := w.model.boxes[name]
		delete(w.model.boxes, name)
		b.name, b.highest = to+strings.TrimPrefix(name, from), seq
		w.model.boxes[b.name] = b
		w.model.subs[b.name] = true
	}
	return nil
}

func (s *session) subscribe(r *rand.Rand) command {
	name := boxChoice[r.IntN(len(boxChoice))]
	verb := []string{"SUBSCRIBE", "UNSUBSCRIBE"}[r.IntN(2)]
	c := command{text: verb + " " + name}
	c.act = func(rep *reply) error {
		m := &s.w.model
		b, had := m.boxes[name], m.subs[name]
		if verb == "UNSUBSCRIBE" && !had {
			if b == nil {
				return rep.is("NO", "NONEXISTENT")
			}
			return rep.is("OK", "")
		}
		delete(m.subs, name)
		if verb == "SUBSCRIBE" {
			m.subs[name] = true
		}
		if b != nil {
			b.highest = m.change()
		}
		return rep.is("OK", "")
	}
	return c
}

// statusItems are asked for together.
const statusItems = "MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ MAILBOXID"

// statusOf returns what STATUS should say.
func statusOf(b *box) string {
	return fmt.Sprintf("(MESSAGES %d UIDNEXT %d UIDVALIDITY %d UNSEEN %d DELETED %d SIZE %d HIGHESTMODSEQ %d MAILBOXID (%s))",
		len(b.live), b.next, b.validity, b.count(`!\Seen`), b.count(`\Deleted`), b.size(), max(1, b.highest), b.id)
}

func (s *session) status(r *rand.Rand) command {
	name, got := s.w.pick(r).name, ""
	c := command{text: fmt.Sprintf("STATUS %s (%s)", name, statusItems)}
	want := ""
	c.act = func(rep *reply) error {
		b := s.w.model.boxes[name]
		if b == nil {
			return rep.is("NO", "NONEXISTENT")
		}
		s.condstore = true
		want = name + " " + statusOf(b)
		return rep.is("OK", "")
	}
	c.data = func(r *response) (bool, error) {
		if r.name == "STATUS" {
			got += boxName(r.args[0].text) + " " + r.args[1].String()
		}
		return r.name == "STATUS", nil
	}
	c.end = func() error { return same("STATUS", []string{got}, []string{want}) }
	return c
}

// list asks for all mailboxes, or for all that are subscribed.
func (s *session) list(r *rand.Rand) command {
	subscribed, status := r.IntN(2) == 0, r.IntN(2) == 0
	text := `LIST "" "*" RETURN (SUBSCRIBED`
	if subscribed {
		text = `LIST (SUBSCRIBED) "" "*" RETURN (SUBSCRIBED`
	}
	if status {
		text += " STATUS (" + statusItems + ")"
	}
	var got, want []string
	c := command{text: text + ")"}
	c.act = func(rep *reply) error {
		s.condstore = s.condstore || status
		want = s.w.model.list(subscribed, status)
		return rep.is("OK", "")
	}
	c.data = func(r *response) (bool, error) {
		switch r.name {
		case "LIST":
			got = append(got, boxName(r.args[2].text)+" "+r.args[0].String())
		case "STATUS":
			got = append(got, boxName(r.args[0].text)+" "+r.args[1].String())
		default:
			return false, nil
		}
		return true, nil
	}
	c.end = func() error {
		slices.Sort(got)
		return same("LIST", got, want)
	}
	return c
}

// list returns what LIST should say, sorted.
func (a *account) list(subscribed, status bool) []string {
	names := a.names()
	if subscribed {
		names = nil
		for name := range a.subs {
			names = append(names, name)
		}
	}
	var lines []string
	for _, name := range names {
		b := a.boxes[name]
		var flags []string
		if b == nil {
			flags = append(flags, `\NonExistent`)
		}
		if a.children(name) {
			flags = append(flags, `\HasChildren`)
		} else {
			flags = append(flags, `\HasNoChildren`)
		}
		if a.subs[name] {
			flags = append(flags, `\Subscribed`)
		}
		if b != nil && b.use != "" {
			flags = append(flags, b.use)
		}
		lines = append(lines, name+" ("+strings.Join(flags, " ")+")")
		if b != nil && status {
			lines = append(lines, name+" "+statusOf(b))
		}
	}
	slices.Sort(lines)
	return lines
}

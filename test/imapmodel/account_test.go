package imapmodel

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// email is a message's content, which its copies share.
type email struct {
	content    string // As clients get it, with what delivery puts in front.
	subject    string
	from       string // Local part.
	messageID  string
	id, thread string // As first told.
}

// state is what can change of a message.
type state struct {
	flags  string // See flagSet.
	modseq int64
}

// message is a message in a mailbox.
type message struct {
	state
	uid      uint32
	email    *email
	created  int64 // Mod-sequences. 0: not removed.
	removed  int64
	received [2]int64 // Unix seconds: not before and not after.
	saved    [2]int64
}

func (m *message) has(flag string) bool { return slices.Contains(strings.Fields(m.flags), flag) }

// box is a mailbox.
type box struct {
	id       string // As the server calls it.
	name     string
	validity uint32
	next     uint32
	highest  int64
	live     []*message
	gone     []*message // In the order in which they were removed.
	keywords []string
	use      string // Special use.
	deleted  bool
}

// account is the model: what the server should know.
type account struct {
	boxes  map[string]*box
	subs   map[string]bool
	modseq int64
	given  map[uint32]bool // Every UIDVALIDITY.
}

// flagSet returns flags in the form in which they are compared.
func flagSet(names ...string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

// changeFlags returns flags after STORE with an item that begins with op: "+", "-" or
// anything else.
func changeFlags(flags string, op byte, names []string) string {
	old := strings.Fields(flags)
	switch op {
	case '+':
		return flagSet(append(old, names...)...)
	case '-':
		return flagSet(slices.DeleteFunc(old, func(f string) bool { return slices.Contains(names, f) })...)
	}
	return flagSet(names...)
}

// isKeyword reports whether a flag is none that all mailboxes have.
func isKeyword(flag string) bool {
	return !strings.HasPrefix(flag, `\`) && !strings.HasPrefix(flag, "$")
}

// learn adds keywords to those of a mailbox.
func (b *box) learn(flags string) {
	for f := range strings.FieldsSeq(flags) {
		if isKeyword(f) && !slices.Contains(b.keywords, f) {
			b.keywords = append(b.keywords, f)
		}
	}
}

// add puts a message at the end of a mailbox.
func (b *box) add(m message, seq int64) *message {
	m.uid, m.modseq, m.created, m.removed = b.next, seq, seq, 0
	b.next++
	b.highest = seq
	b.learn(m.flags)
	b.live = append(b.live, &m)
	return &m
}

// remove takes messages out.
func (b *box) remove(list []*message, seq int64) {
	for _, m := range list {
		m.removed = seq
		b.gone = append(b.gone, m)
		b.highest = seq
	}
	b.live = slices.DeleteFunc(slices.Clone(b.live), func(m *message) bool { return m.removed > 0 })
}

// firstUnseen returns the number of the first message without \Seen, or 0.
func (b *box) firstUnseen() int {
	return 1 + slices.IndexFunc(b.live, func(m *message) bool { return !m.has(`\Seen`) })
}

// count returns how many messages have a flag, or with "!" in front have it not.
func (b *box) count(flag string) int {
	n := 0
	name, not := strings.CutPrefix(flag, "!")
	for _, m := range b.live {
		if m.has(name) != not {
			n++
		}
	}
	return n
}

func (b *box) size() int {
	n := 0
	for _, m := range b.live {
		n += len(m.email.content)
	}
	return n
}

// names returns the names of mailboxes, in order.
func (a *account) names() []string {
	var list []string
	for name := range a.boxes {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// children reports whether there are mailboxes below name.
func (a *account) children(name string) bool {
	for n := range a.boxes {
		if strings.HasPrefix(n, name+"/") {
			return true
		}
	}
	return false
}

// above returns the names above a name, the highest first.
func above(name string) []string {
	var list []string
	for i, c := range name {
		if c == '/' {
			list = append(list, name[:i])
		}
	}
	return list
}

// change counts a change and returns its mod-sequence.
func (a *account) change() int64 {
	a.modseq++
	return a.modseq
}

// copies returns what copies of messages are in another mailbox.
func (w *world) copies(list []*message, dst *box, seq int64) []uint32 {
	var uids []uint32
	for _, m := range list {
		c := message{state: state{flags: m.flags}, email: m.email, received: m.received, saved: w.now()}
		uids = append(uids, dst.add(c, seq).uid)
	}
	return uids
}

// now returns the limits of when this step does something.
func (w *world) now() [2]int64 { return [2]int64{w.began, time.Now().Unix()} }

// setFlags changes the flags of messages of a mailbox, if they are there, as the
// session origin or nobody does it. It returns those that changed.
func (w *world) setFlags(b *box, list []*message, origin *session, op byte, names []string) (changed []*message) {
	seq := int64(0)
	for _, m := range list {
		if m.removed > 0 {
			continue
		}
		flags := changeFlags(m.flags, op, names)
		if flags == m.flags {
			continue
		}
		if seq == 0 {
			seq = w.model.change()
		}
		w.before[m] = append(w.before[m], m.state)
		m.flags, m.modseq, b.highest = flags, seq, seq
		b.learn(flags)
		w.notePending(b, m, origin)
		changed = append(changed, m)
	}
	return changed
}

// notePending notes that sessions must be told of a change.
func (w *world) notePending(b *box, m *message, origin *session) {
	for _, s := range w.sessions {
		if s == origin || s.sel == nil || s.sel.box != b || !slices.Contains(s.sel.told, m) {
			continue
		}
		if s.sel.pending[m] == 0 {
			s.sel.pending[m] = m.modseq
		}
	}
}

// newContent makes a message that no other is like.
func (w *world) newContent() *email {
	w.contents++
	return newContent(w.contents)
}

// newContent makes a message of a number.
func newContent(n int) *email {
	e := &email{subject: fmt.Sprintf("subject %d of word%d", n, n%7), from: fmt.Sprintf("s%d", n%5), messageID: fmt.Sprintf("m%d@example.org", n)}
	body := fmt.Sprintf("Body %d with needle%d.\r\n", n, n%6) + strings.Repeat("All work and no play.\r\n", n%40)
	e.content = fmt.Sprintf("From: Sender <%s@example.org>\r\nTo: mox@example.org\r\nSubject: %s\r\n"+
		"Date: Sat, 01 Jan 2000 12:00:00 +0000\r\nMessage-ID: <%s>\r\n\r\n%s", e.from, e.subject, e.messageID, body)
	return e
}

// envelope returns what the server should say of the header.
func (e *email) envelope() string {
	from := fmt.Sprintf(`(("Sender" NIL "%s" "example.org"))`, e.from)
	return fmt.Sprintf(`("Sat, 01 Jan 2000 12:00:00 +0000" "%s" %s %s %s ((NIL NIL "mox" "example.org")) NIL NIL NIL "<%s>")`,
		e.subject, from, from, from, e.messageID)
}

// header and text return the two halves of the content.
func (e *email) header() string {
	head, _, _ := strings.Cut(e.content, "\r\n\r\n")
	return head + "\r\n\r\n"
}

func (e *email) text() string { return strings.TrimPrefix(e.content, e.header()) }

package imapmodel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// registry knows which content messages have, whoever put them where they are.
type registry struct {
	mu     sync.Mutex
	emails map[[2]uint32]*email // By UIDVALIDITY and UID.
}

// put notes the content of a message. A UID is given once only.
func (g *registry) put(validity, uid uint32, e *email) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := [2]uint32{validity, uid}
	if g.emails[id] != nil {
		return fmt.Errorf("UID %d was given twice", uid)
	}
	g.emails[id] = e
	return nil
}

func (g *registry) get(validity, uid uint32) *email {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.emails[[2]uint32{validity, uid}]
}

// rover is a session that runs at the same time as others: it knows only what it is
// told, and checks that this fits together.
type rover struct {
	session
	emails   *registry
	made     int // Messages.
	first    int // Its messages have numbers from here.
	boxes    []string
	at       string // The mailbox that is selected.
	validity uint32
	view     *view
}

// send sends a command and takes in the answers.
func (o *rover) send(text string, fixed bool) (*reply, error) {
	o.tag++
	o.w.logf("C: %s%d %s", o.name, o.tag, text)
	if _, err := fmt.Fprintf(o.conn.nc, "%s%d %s\r\n", o.name, o.tag, text); err != nil {
		return nil, errors.Join(errClosed, err)
	}
	return o.take(fmt.Sprintf("%s%d", o.name, o.tag), fixed)
}

// take takes in all up to a tagged response.
func (o *rover) take(tag string, fixed bool) (*reply, error) {
	rep, err := o.reply(tag)
	if err != nil {
		return nil, err
	}
	if o.view == nil {
		return rep, nil
	}
	o.view.fixed = fixed
	for _, r := range append(slices.Clone(rep.untagged), rep.response) {
		if err := o.look(r); err != nil {
			return nil, fmt.Errorf("%q: %w", r.text[:min(len(r.text), logLine)], err)
		}
	}
	return rep, nil
}

// look takes in one response, and compares contents.
func (o *rover) look(r *response) error {
	if err := o.view.apply(r); err != nil || r.name != "FETCH" {
		return err
	}
	items, err := r.items()
	if err != nil {
		return err
	}
	body, ok := items["BODY[]"]
	uid := o.view.slots[r.number-1].uid
	if e := o.emails.get(o.validity, uid); ok && e != nil && e.content != body.text {
		return fmt.Errorf("UID %d should be %s", uid, e.subject)
	}
	return nil
}

// open selects a mailbox.
func (o *rover) open(name, params string) (*reply, error) {
	o.view, o.at = &view{byUID: o.qresync, earlier: params != ""}, name
	rep, err := o.send("SELECT "+name+params, false)
	if err != nil {
		return nil, err
	}
	if err := rep.is("OK", "READ-WRITE"); err != nil {
		return nil, err
	}
	o.view.earlier = false
	o.validity, err = parseNumber(strings.Join(rep.find("UIDVALIDITY"), ""))
	return rep, err
}

// enter logs in.
func (o *rover) enter() error {
	o.conn = newConn(o.w.dial(), o.w.tamper)
	o.view = nil
	if _, err := o.response(); err != nil {
		return err
	}
	if _, err := o.send("LOGIN mox secret", false); err != nil {
		return err
	}
	_, err := o.send("ENABLE "+map[bool]string{true: "QRESYNC", false: "CONDSTORE"}[o.qresync], false)
	return err
}

// again loses its connection and comes back. If it knows all messages it is told what
// changed, and must know all then too.
func (o *rover) again() error {
	old, validity := o.view, o.validity
	o.w.logf("drops its connection")
	o.conn.close()
	if err := o.enter(); err != nil {
		return err
	}
	if !o.qresync || slices.ContainsFunc(old.slots, func(s slot) bool { return s.uid == 0 }) {
		_, err := o.open(o.at, "")
		return err
	}
	rep, err := o.open(o.at, fmt.Sprintf(" (QRESYNC (%d %d))", validity, old.highest))
	if err != nil {
		return err
	}
	return o.restore(old, rep)
}

// restore puts what the client knew before to what it has been told.
func (o *rover) restore(old *view, rep *reply) error {
	known := map[uint32]slot{}
	for _, s := range old.slots {
		known[s.uid] = s
	}
	exists := 0
	for _, r := range rep.untagged {
		switch r.name {
		case "EXISTS":
			exists++
		case "VANISHED":
			uids, _, err := vanishedUIDs(r)
			if err != nil {
				return err
			}
			for _, uid := range uids {
				delete(known, uid)
			}
		}
	}
	for _, s := range o.view.slots {
		if s.uid > 0 {
			known[s.uid] = s
		}
	}
	// What came after the first EXISTS it need not know.
	if n := len(o.view.slots) - len(known); n < 0 || n > 0 && exists == 1 {
		return fmt.Errorf("came back to %d messages, knows %d", len(o.view.slots), len(known))
	}
	all := make([]slot, 0, len(known))
	for _, s := range known {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b slot) int { return int(a.uid) - int(b.uid) })
	all = append(all, make([]slot, len(o.view.slots)-len(all))...)
	for i, s := range o.view.slots {
		if s.uid > 0 && s.uid != all[i].uid {
			return fmt.Errorf("UID %d is message %d, should be %d", s.uid, i+1, all[i].uid)
		}
	}
	o.view.slots = all
	return nil
}

// step does something at random.
func (o *rover) step(r *rand.Rand) error {
	n := len(o.view.slots)
	if n == 0 || r.IntN(8) == 0 {
		return o.appendOne(r)
	}
	a, b := 1+r.IntN(n), 1+r.IntN(n)
	numbers := fmt.Sprintf("%d:%d", min(a, b), min(max(a, b), min(a, b)+3))
	flag := flagChoice[r.IntN(len(flagChoice))]
	other := o.boxes[r.IntN(len(o.boxes))]
	switch r.IntN(16) {
	case 0, 1:
		return o.plain(fmt.Sprintf("FETCH %s (UID FLAGS)", numbers), true)
	case 2:
		return o.plain(fmt.Sprintf("FETCH %s (UID BODY[])", numbers), true)
	case 3:
		return o.plain("UID FETCH 1:* (FLAGS MODSEQ)", false)
	case 4, 5:
		return o.plain(fmt.Sprintf("STORE %s %cFLAGS (%s)", numbers, "+-"[r.IntN(2)], flag), true)
	case 6, 7:
		return o.plain(fmt.Sprintf("STORE %d +FLAGS (\\Deleted)", a), true)
	case 8:
		return o.plain("EXPUNGE", false)
	case 9:
		return o.copyTo(fmt.Sprintf("COPY %s %s", numbers, other), other)
	case 10:
		return o.copyTo(fmt.Sprintf("MOVE %d %s", a, other), other)
	case 11:
		return o.search()
	case 12:
		if r.IntN(3) == 0 {
			_, err := o.open(other, "")
			return err
		}
		return o.again()
	case 13:
		return o.idleAWhile()
	case 14:
		if uid := o.view.slots[a-1].uid; uid > 0 {
			return o.plain(fmt.Sprintf("UID STORE %d FLAGS (%s)", uid, flag), false)
		}
	}
	return o.plain("NOOP", false)
}

// plain sends a command that can fail only because messages are gone.
func (o *rover) plain(text string, fixed bool) error {
	rep, err := o.send(text, fixed)
	if err == nil && rep.name != "OK" {
		err = rep.is("NO", "EXPUNGEISSUED")
	}
	return err
}

func (o *rover) appendOne(r *rand.Rand) error {
	o.made++
	e := newContent(o.first + o.made)
	rep, err := o.send(fmt.Sprintf("APPEND %s () {%d+}\r\n%s", o.boxes[r.IntN(len(o.boxes))], len(e.content), e.content), false)
	if err != nil {
		return err
	}
	words := rep.find("APPENDUID")
	if len(words) != 2 {
		return rep.is("OK", "APPENDUID")
	}
	validity, err1 := parseNumber(words[0])
	uid, err2 := parseNumber(words[1])
	return errors.Join(err1, err2, o.emails.put(validity, uid, e))
}

// copyTo copies or moves messages, and notes what they are.
func (o *rover) copyTo(text, to string) error {
	before := slices.Clone(o.view.slots)
	rep, err := o.send(text, false)
	words := []string(nil)
	if err == nil {
		words = rep.find("COPYUID")
	}
	switch {
	case err != nil:
		return err
	case to == o.at && strings.HasPrefix(text, "MOVE"):
		return rep.is("NO", "CANNOT")
	case rep.name == "NO":
		return rep.is("NO", "EXPUNGEISSUED")
	case len(words) != 3:
		return rep.is("OK", "COPYUID")
	}
	validity, err1 := parseNumber(words[0])
	src, err2 := parseSet(words[1])
	dst, err3 := parseSet(words[2])
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	if len(src) != len(dst) {
		return fmt.Errorf("COPYUID is %q", words)
	}
	for i, uid := range src {
		if !slices.ContainsFunc(before, func(s slot) bool { return s.uid == uid || s.uid == 0 }) {
			return fmt.Errorf("UID %d was copied, and is not there", uid)
		}
		if e := o.emails.get(o.validity, uid); e != nil {
			if err := o.emails.put(validity, dst[i], e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *rover) search() error {
	n := len(o.view.slots)
	rep, err := o.send("SEARCH RETURN (COUNT MAX) ALL", true)
	if err != nil {
		return err
	}
	for _, r := range rep.untagged {
		if want := fmt.Sprintf(`* ESEARCH (TAG "%s%d") MAX %d COUNT %d`, o.name, o.tag, n, n); r.name == "ESEARCH" && r.text != want {
			return fmt.Errorf("%q, want %q", r.text, want)
		}
	}
	return rep.is("OK", "")
}

func (o *rover) idleAWhile() error {
	o.tag++
	tag := fmt.Sprintf("%s%d", o.name, o.tag)
	o.w.logf("C: %s IDLE", tag)
	if _, err := fmt.Fprintf(o.conn.nc, "%s IDLE\r\n", tag); err != nil {
		return errors.Join(errClosed, err)
	}
	if r, err := o.response(); err != nil || r.tag != "+" {
		return fmt.Errorf("IDLE was not begun: %w", err)
	}
	if _, err := fmt.Fprint(o.conn.nc, "DONE\r\n"); err != nil {
		return errors.Join(errClosed, err)
	}
	_, err := o.take(tag, false)
	return err
}

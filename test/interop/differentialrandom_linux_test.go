package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// randomStream makes commands that make sense, of a seed. It knows nothing of what
// servers answer but how many messages there are.
type randomStream struct {
	*rand.Rand
	boxes []string
}

// random has two sessions of each server do the same at random: both in one mailbox
// or each in one of its own. It ends with the first difference: after that the
// servers do not have the same.
func (j *judge) random(seed uint64, s *server, d *dovecot) {
	j.t.Helper()
	r := randomStream{Rand: rand.New(rand.NewPCG(seed, 0)), boxes: []string{fmt.Sprintf("Random%d", seed), fmt.Sprintf("Random%d/other", seed)}}
	sessions := []*pair{newPair(j.t, j, s, d), newPair(j.t, j, s, d)}
	label := func(i int) string { return fmt.Sprintf("random%d:", i+1) }
	for _, box := range r.boxes {
		sessions[0].send(label(0), "CREATE "+box)
		for range 6 {
			sessions[0].send(label(0), r.appended(box))
		}
	}
	for i, p := range sessions {
		if seed%2 == 0 {
			p.send(label(i), "ENABLE QRESYNC")
		}
		p.send(label(i), "SELECT "+r.boxes[0])
	}
	for step := range *differentialSteps {
		i := r.IntN(len(sessions))
		p := sessions[i]
		// Until a session is told what another did its sequence numbers may differ.
		n := len(p.ours.known)
		if seed%2 == 0 {
			n = 0 // VANISHED has UIDs, that former does not follow.
		}
		if !p.send(label(i), "NOOP") || !p.send(label(i), r.command(n, p.ours.next)) {
			j.t.Fatalf("seed %d, step %d", seed, step)
		}
	}
	for i, p := range sessions {
		for _, box := range r.boxes {
			p.send(label(i), "EXAMINE "+box)
			p.send(label(i), "UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])")
			p.send(label(i), "STATUS "+box+" (MESSAGES UNSEEN UIDNEXT)")
		}
		p.close()
	}
}

// appended returns an APPEND of a message with some flags.
func (r randomStream) appended(box string) string {
	msg := fmt.Sprintf("From: %s@example.org\r\nSubject: %s %s\r\nDate: %s\r\n\r\n%s\r\n", r.word(), r.word(), r.word(),
		r.date().Format(time.RFC1123Z), strings.Repeat(r.word()+" ", r.IntN(20)))
	return fmt.Sprintf("APPEND %s (%s) %q {%d+}\r\n%s", box, r.flags(), r.date().Format("02-Jan-2006 15:04:05 -0700"), len(msg), msg)
}

func (r randomStream) date() time.Time {
	return time.Date(2020, 1, 1+r.IntN(5), r.IntN(24), r.IntN(60), 0, 0, time.FixedZone("", (r.IntN(25)-12)*3600))
}

func (r randomStream) word() string {
	return r.pick("one", "two", "three", "Four", "fIVE", "sixty")
}

func (r randomStream) pick(list ...string) string { return list[r.IntN(len(list))] }

// flags returns some flags, each once: Dovecot does only part of a list of keywords
// in which one stands twice.
func (r randomStream) flags() string {
	var list []string
	for _, flag := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`, "red", "Green"} {
		if r.IntN(4) == 0 {
			list = append(list, flag)
		}
	}
	return strings.Join(list, " ")
}

// someFlags returns one flag or more.
func (r randomStream) someFlags() string {
	for {
		if flags := r.flags(); flags != "" {
			return flags
		}
	}
}

// set returns a set of numbers up to n, in which there is one.
func (r randomStream) set(n int) string {
	if n == 0 {
		return "1"
	}
	number := func() string {
		if r.IntN(6) == 0 {
			return "*"
		}
		return fmt.Sprint(1 + r.IntN(n))
	}
	var parts []string
	for range 1 + r.IntN(3) {
		part := number()
		if r.IntN(2) == 0 {
			part += ":" + number()
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

// command returns a command for a session with n messages, whose UIDs are up to
// about uids.
func (r randomStream) command(n, uids int) string {
	box := r.pick(r.boxes...)
	uid := ""
	set := r.set(n)
	if r.IntN(2) == 0 || n == 0 {
		uid, set = "UID ", r.set(uids+3)
	}
	switch k := r.IntN(100); {
	case k < 20:
		return uid + "STORE " + set + " " + r.pick("", "+", "-") + "FLAGS" + r.pick("", ".SILENT") + " (" + r.someFlags() + ")"
	case k < 35:
		return uid + "FETCH " + set + " " + r.pick("FLAGS", "(UID FLAGS)", "(FLAGS INTERNALDATE)", "ENVELOPE", "RFC822.SIZE", "BODY[]", "(BODY.PEEK[TEXT]<2.7> FLAGS)", "BODYSTRUCTURE", "(UID BODY[HEADER])")
	case k < 60:
		return uid + "SEARCH " + r.pick("", "", "RETURN (ALL) ", "RETURN (MIN MAX COUNT) ", "RETURN () ") + r.key(n, uids, 3)
	case k < 72:
		return r.appended(box)
	case k < 80:
		return uid + "COPY " + set + " " + r.boxes[1]
	case k < 84:
		return uid + "MOVE " + set + " " + r.boxes[1]
	case k < 88:
		return r.pick("EXPUNGE", "UID EXPUNGE "+r.set(uids+1))
	case k < 91:
		return "SELECT " + r.boxes[0]
	case k < 95:
		return "STATUS " + r.boxes[1] + " (MESSAGES UNSEEN UIDNEXT)"
	case k < 97:
		return `LIST "" "` + r.boxes[0] + `*"`
	}
	return "CHECK"
}

// key returns a search key, with others in it to some depth.
func (r randomStream) key(n, uids, depth int) string {
	day := r.date().Format("2-Jan-2006")
	k := r.IntN(10)
	if depth == 0 {
		k = r.IntN(7)
	}
	switch k {
	case 0, 1:
		return r.pick("ALL", "SEEN", "UNSEEN", "ANSWERED", "UNANSWERED", "FLAGGED", "UNFLAGGED", "DELETED", "UNDELETED", "DRAFT", "UNDRAFT", "KEYWORD red", "UNKEYWORD green")
	case 2:
		return r.pick("BEFORE ", "ON ", "SINCE ", "SENTBEFORE ", "SENTON ", "SENTSINCE ") + day
	case 3:
		return r.pick("LARGER ", "SMALLER ") + fmt.Sprint(100+r.IntN(150))
	case 4:
		return r.pick("FROM ", "SUBJECT ", "BODY ", "TEXT ", "HEADER Subject ") + r.word()
	case 5:
		return "UID " + r.set(uids+2)
	case 6:
		if n == 0 {
			return "ALL"
		}
		return r.set(n)
	case 7:
		return "NOT " + r.key(n, uids, 0)
	case 8:
		return "OR " + r.key(n, uids, depth-1) + " " + r.key(n, uids, depth-1)
	}
	return "(" + r.key(n, uids, depth-1) + " " + r.key(n, uids, depth-1) + ")"
}

// TestRandomStreamIsOfItsSeed makes commands twice.
func TestRandomStreamIsOfItsSeed(t *testing.T) {
	t.Parallel()
	made := func() (list []string) {
		r := randomStream{Rand: rand.New(rand.NewPCG(7, 0)), boxes: []string{"a", "b"}}
		for n := range 500 {
			list = append(list, r.command(n%9, n%11))
		}
		return list
	}
	first, second := made(), made()
	for i := range first {
		if first[i] != second[i] {
			t.Fatalf("command %d: %q and %q", i, first[i], second[i])
		}
	}
}

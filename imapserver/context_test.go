package imapserver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mjl-/mox/imap"
)

// watcher is a client that keeps results as RFC 5267, section 4.3, tells it to: it
// has nothing but what it was told.
type watcher struct {
	*client
	uids    []uint32 // By sequence number.
	results map[string]*watched
	next    int // UID of the next message that is delivered.

	numbered bool // It knows messages by their numbers.

	queue   []string // Responses that were not taken yet.
	hearing bool
}

// watched are the results of one search, in its order.
type watched struct {
	command string // Without RETURN: "UID SEARCH %s FLAGGED".
	byUID   bool
	results []uint32 // UIDs.
}

// hear takes untagged responses, in order, also those that come while it does.
func (w *watcher) hear(lines []string) {
	w.t.Helper()
	w.queue = append(w.queue, lines...)
	if w.hearing {
		return
	}
	w.hearing = true
	for len(w.queue) > 0 {
		line := w.queue[0]
		w.queue = w.queue[1:]
		words := strings.Fields(line)
		switch {
		case words[0] == "ESEARCH":
			w.hearUpdate(line)
		case words[0] == "VANISHED":
			gone := w.numbers(words[1])
			w.uids = slices.DeleteFunc(w.uids, func(uid uint32) bool { return slices.Contains(gone, uid) })
		case len(words) > 1 && words[1] == "EXPUNGE":
			n := w.number(words[0])
			w.uids = slices.Delete(w.uids, n-1, n)
		case len(words) > 1 && words[1] == "EXISTS" && w.numbered:
			w.uids = append(w.uids, make([]uint32, w.number(words[0])-len(w.uids))...)
		}
	}
	w.hearing = false
}

func (w *watcher) number(s string) int {
	w.t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// numbers returns the numbers of a set in its order, ranges ascending.
func (w *watcher) numbers(s string) (list []uint32) {
	w.t.Helper()
	set, err := imap.ParseNumSet(s)
	if err != nil {
		w.t.Fatalf("set %q: %v", s, err)
	}
	for _, r := range set.Ranges {
		for n := r.First; n <= r.Last; n++ {
			list = append(list, n)
		}
	}
	return list
}

// hearUpdate takes the items of an ESEARCH response in their order.
func (w *watcher) hearUpdate(line string) {
	w.t.Helper()
	_, rest, _ := strings.Cut(line, `TAG "`)
	tag, rest, _ := strings.Cut(rest, `"`)
	about := w.results[tag]
	if about == nil {
		return // The answer of a search, which checks itself.
	}
	_, rest, _ = strings.Cut(rest, ") ")
	if uid := strings.HasPrefix(rest, "UID "); uid != about.byUID {
		w.t.Fatalf("UID in %q", line)
	}
	rest = strings.TrimPrefix(rest, "UID ")
	for rest != "" {
		name, args, _ := strings.Cut(rest, " (")
		args, rest, _ = strings.Cut(args, ")")
		rest = strings.TrimPrefix(rest, " ")
		words := strings.Fields(args)
		for i := 0; i+1 < len(words); i += 2 {
			w.apply(about, name, w.number(words[i]), w.known(about, w.numbers(words[i+1])))
		}
	}
}

// known returns the UIDs of what a response names. New messages are not known by
// number before they are asked for.
func (w *watcher) known(about *watched, numbers []uint32) []uint32 {
	if about.byUID {
		return numbers
	}
	var uids []uint32
	for _, n := range numbers {
		if int(n) > len(w.uids) {
			w.t.Fatalf("number %d, and %d messages", n, len(w.uids))
		}
		if w.uids[n-1] == 0 {
			w.learn()
		}
		uids = append(uids, w.uids[n-1])
	}
	return uids
}

// learn asks for the UIDs of new messages. What else it hears is for later.
func (w *watcher) learn() {
	if !slices.Contains(w.uids, 0) {
		return
	}
	for _, line := range w.ok("FETCH 1:%d UID", len(w.uids)) {
		n, rest, found := strings.Cut(line, " FETCH (UID ")
		if !found {
			w.hear([]string{line})
			continue
		}
		uid, _, _ := strings.Cut(strings.TrimSuffix(rest, ")"), " ")
		w.uids[w.number(n)-1] = uint32(w.number(uid))
	}
}

func (w *watcher) apply(about *watched, name string, position int, uids []uint32) {
	w.t.Helper()
	switch {
	case name == "ADDTO" && position == 0:
		about.results = append(about.results, uids...)
		slices.Sort(about.results)
		if len(slices.Compact(slices.Clone(about.results))) != len(about.results) {
			w.t.Fatalf("%s: %d came twice", about.command, uids)
		}
	case name == "ADDTO":
		about.results = slices.Insert(about.results, position-1, uids...)
	case name == "REMOVEFROM" && position == 0:
		for _, uid := range uids {
			i := slices.Index(about.results, uid)
			if i < 0 {
				w.t.Fatalf("%s: %d went and was not there", about.command, uid)
			}
			about.results = slices.Delete(about.results, i, i+1)
		}
	case name == "REMOVEFROM":
		if got := about.results[position-1 : position-1+len(uids)]; !slices.Equal(got, uids) {
			w.t.Fatalf("%s: at %d are %d, not %d", about.command, position, got, uids)
		}
		about.results = slices.Delete(about.results, position-1, position-1+len(uids))
	default:
		w.t.Fatalf("unknown item %q", name)
	}
}

// run sends a command and takes what comes with it, in two steps: numbers are those
// of the moment at which they were sent.
func (w *watcher) run(format string, args ...any) []string {
	w.t.Helper()
	lines := w.ok(format, args...)
	w.hear(lines)
	return lines
}

// search returns the results of a search, in its order, as UIDs.
func (w *watcher) search(command, options string) []uint32 {
	w.t.Helper()
	lines, reply := w.command(command, "RETURN ("+options+")")
	if !strings.HasPrefix(reply, "OK") {
		w.t.Fatalf("%s: %s", command, reply)
	}
	var list []uint32
	for _, line := range lines {
		tag := fmt.Sprintf(`ESEARCH (TAG "t%d")`, w.tag)
		if rest, ok := strings.CutPrefix(line, tag); ok && !strings.Contains(line, "ADDTO") && !strings.Contains(line, "REMOVEFROM") {
			if _, set, ok := strings.Cut(rest, " ALL "); ok {
				list = w.numbers(strings.Fields(set)[0])
			}
			if !strings.HasPrefix(rest, " UID") {
				w.learn()
				for i, n := range list {
					list[i] = w.uids[n-1]
				}
			}
			continue
		}
		w.hear([]string{line})
	}
	return list
}

// watch begins a search with UPDATE.
func (w *watcher) watch(command string) {
	w.t.Helper()
	about := &watched{command: command, byUID: strings.HasPrefix(command, "UID")}
	about.results = w.search(command, "UPDATE ALL")
	w.results["t"+strconv.Itoa(w.tag)] = about
}

// check compares all results with those of new searches.
func (w *watcher) check() {
	w.t.Helper()
	for _, about := range w.results {
		if want := w.search(about.command, "ALL"); !slices.Equal(about.results, want) {
			w.t.Errorf("%s: kept %d, found %d", about.command, about.results, want)
		}
	}
}

// TestContextsAreTrue has other sessions change a mailbox at random, and compares what
// a client that was told of it has with what a new search finds. All UIDs are known to
// the watcher from UID FETCH: sequence numbers must be right for it to succeed.
func TestContextsAreTrue(t *testing.T) {
	t.Parallel()
	for _, extension := range []string{"", "QRESYNC", "UIDONLY"} {
		t.Run("with "+extension, func(t *testing.T) {
			t.Parallel()
			watchAtRandom(t, extension, contextSearches)
		})
	}
}

// contextSearches are those with UPDATE: "%s" is RETURN and its options.
var contextSearches = []string{
	"UID SEARCH %s FLAGGED", "SEARCH %s UNSEEN", "UID SEARCH %s OR DELETED SUBJECT 3", "SEARCH %s NOT KEYWORD k", "UID SEARCH %s UID 8:*",
	"UID SEARCH %s UID 30:* UNDELETED", "SEARCH %s ALL", "UID SEARCH %s BODY 7 UNFLAGGED",
	"UID SORT %s (REVERSE DATE SUBJECT) UTF-8 ALL", "SORT %s (SUBJECT) UTF-8 NOT FLAGGED", "UID SORT %s (FROM REVERSE ARRIVAL) UTF-8 UNDELETED",
	"SORT %s (REVERSE SIZE TO) UTF-8 OR SEEN DELETED",
}

func watchAtRandom(t *testing.T, extension string, searches []string) {
	e := newEnv(t, map[string]string{"inbox": "12"})
	e.start()
	defer e.stop()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := &watcher{client: newClient(t, e.dialLogin()), results: map[string]*watched{}, next: 13}
	other := newClient(t, e.dialLogin())
	if extension != "" {
		w.ok("ENABLE %s", extension)
	}
	w.ok("SELECT INBOX")
	other.ok("SELECT INBOX")
	if extension != "UIDONLY" {
		w.uids, w.numbered = make([]uint32, 12), true
		w.learn()
	}
	for _, command := range searches {
		if extension != "UIDONLY" || strings.HasPrefix(command, "UID") {
			w.watch(command)
		}
	}
	for range 40 {
		for range rnd.IntN(3) + 1 {
			w.change(rnd, other)
		}
		if rnd.IntN(3) > 0 {
			w.own(rnd, extension)
		}
		if rnd.IntN(2) == 0 {
			w.run("NOOP")
			w.check()
			if t.Failed() {
				return
			}
		}
	}
}

// change has another session do something.
func (w *watcher) change(rnd *rand.Rand, other *client) {
	uid := rnd.IntN(w.next) + 1
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, "k"}[rnd.IntN(4)]
	switch rnd.IntN(8) {
	case 0, 1:
		w.next++
		text := fmt.Sprintf("Subject: Re: %d\r\nDate: Sat, 0%d Jan 2000 12:00:00 +0100\r\nFrom: s%d@example.org\r\n\r\nBody %d", rnd.IntN(40), rnd.IntN(9)+1, rnd.IntN(3), uid)
		other.ok("APPEND INBOX (%s) {%d+}\r\n%s", flag, len(text), text)
	case 2:
		other.ok("UID STORE %d:%d +FLAGS.SILENT (\\Deleted)", uid, uid+1)
		other.ok("UID EXPUNGE %d", uid)
	case 3:
		other.ok("UID STORE %d:%d FLAGS.SILENT (%s)", uid, uid+4, flag)
	case 4:
		other.ok("UID STORE 1:* -FLAGS.SILENT (%s)", flag)
	default:
		other.ok("UID STORE %d +FLAGS.SILENT (%s)", uid, flag)
	}
}

// own has the watcher itself do something: some of it lets numbers shift, some not.
func (w *watcher) own(rnd *rand.Rand, extension string) {
	uid := rnd.IntN(w.next) + 1
	if n := rnd.IntN(5); n == 0 && extension != "UIDONLY" {
		w.run("SEARCH 1")
	} else if n == 1 && extension != "UIDONLY" && len(w.uids) > 0 {
		lines, _ := w.command("STORE 1 +FLAGS (\\Flagged)") // It may be gone.
		w.hear(lines)
	} else if n == 2 {
		w.run("UID STORE %d +FLAGS (\\Deleted)", uid)
		w.run("UID EXPUNGE %d", uid)
	} else {
		w.run("UID STORE %d -FLAGS (\\Flagged \\Seen)", uid)
	}
}

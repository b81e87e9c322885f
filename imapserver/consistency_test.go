package imapserver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// known is what a client knows of a message: as little as its server told it.
type known struct {
	uid   int    // 0: not told yet.
	flags string // Empty: not told, or changed silently.
}

// observer is a client that believes what it is told, and checks that it is
// not told otherwise.
type observer struct {
	*client
	name     string
	messages []known
}

// run sends a command and applies the responses. If the command names sequence
// numbers, none may be expunged while it runs.
func (o *observer) run(format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	untagged, reply := o.command("%s", text)
	for _, line := range untagged {
		if strings.HasSuffix(line, " EXPUNGE") && (strings.HasPrefix(text, "FETCH") || strings.HasPrefix(text, "STORE") || strings.HasPrefix(text, "SEARCH")) {
			o.t.Errorf("%s: %q during %s", o.name, line, text)
		}
		o.apply(text, line)
	}
	return reply
}

func (o *observer) apply(text, line string) {
	var n, uid int
	var flags string
	switch {
	case strings.HasSuffix(line, " EXISTS"):
		o.scan(line, "%d EXISTS", &n)
		if n < len(o.messages) {
			o.t.Errorf("%s: %q with %d messages, in %s", o.name, line, len(o.messages), text)
		}
		for len(o.messages) < n {
			o.messages = append(o.messages, known{})
		}
	case strings.HasSuffix(line, " EXPUNGE"):
		o.scan(line, "%d EXPUNGE", &n)
		if n < 1 || n > len(o.messages) {
			o.t.Errorf("%s: %q with %d messages, in %s", o.name, line, len(o.messages), text)
			return
		}
		o.messages = slices.Delete(o.messages, n-1, n)
	case strings.Contains(line, " FETCH ("):
		head, rest, _ := strings.Cut(line, "FLAGS (")
		flags, _, _ = strings.Cut(rest, ")")
		o.scan(head, "%d FETCH (UID %d", &n, &uid)
		if n < 1 || n > len(o.messages) {
			o.t.Errorf("%s: %q with %d messages, in %s", o.name, line, len(o.messages), text)
			return
		}
		m := &o.messages[n-1]
		if m.uid != 0 && m.uid != uid {
			o.t.Errorf("%s: message %d has UID %d, and now %d, in %s", o.name, n, m.uid, uid, text)
		}
		*m = known{uid, "(" + flags + ")"}
	}
}

func (o *observer) scan(line, format string, args ...any) {
	if _, err := fmt.Sscanf(line, format, args...); err != nil {
		o.t.Errorf("%s: %q: %v", o.name, line, err)
	}
}

// step does something at random.
func (o *observer) step(r *rand.Rand) {
	n := len(o.messages)
	if n == 0 || r.IntN(8) == 0 {
		o.run("APPEND INBOX (\\Flagged) {6+}\r\nx: %d\r\n", r.IntN(10))
		return
	}
	a, b := 1+r.IntN(n), 1+r.IntN(n)
	flag := []string{`\Seen`, `\Answered`, "k1", "k2", "$junk"}[r.IntN(5)]
	switch r.IntN(12) {
	case 0, 1:
		o.run("FETCH %d:%d (UID FLAGS)", a, b)
	case 2, 3:
		o.run("STORE %d %cFLAGS (%s)", a, "+-"[r.IntN(2)], flag)
	case 4:
		o.run("STORE %d +FLAGS.SILENT (%s)", a, flag)
		o.messages[a-1].flags = ""
	case 5:
		o.run("STORE %d +FLAGS (\\Deleted)", a)
	case 6:
		o.run("EXPUNGE")
	case 7:
		o.run("MOVE %d Archive", a)
	case 8:
		o.run("COPY %d:%d Archive", min(a, b), min(max(a, b), min(a, b)+2))
	case 9:
		if uid := o.messages[a-1].uid; uid != 0 {
			o.run("UID FETCH %d:%d (FLAGS)", uid, uid+3)
		}
	case 10:
		o.run("SEARCH UNSEEN")
	default:
		o.run("NOOP")
	}
}

// TestSessionsAgree lets sessions change one mailbox at random, side by side. At
// the end each must know what is true, from what it was told alone.
func TestSessionsAgree(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	e := newEnv(t, map[string]string{"inbox": "20"})
	defer e.stop()
	e.start()
	var observers []*observer
	for i := range 4 {
		o := &observer{client: newClient(t, e.dialLogin()), name: fmt.Sprintf("session %d", i)}
		o.run("ENABLE IMAP4rev2") // UID in all FETCH responses.
		o.run("SELECT INBOX")
		observers = append(observers, o)
	}
	var all sync.WaitGroup
	for i, o := range observers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 80 {
				o.step(r)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	var truth []known
	for i, o := range observers {
		o.run("NOOP")
		before := slices.Clone(o.messages)
		o.run("FETCH 1:* (UID FLAGS)")
		if i == 0 {
			truth = o.messages
		}
		if !slices.Equal(o.messages, truth) {
			t.Errorf("%s has %v, the first %v", o.name, o.messages, truth)
		}
		for n, m := range before {
			if m.uid != 0 && m.uid != truth[n].uid || m.flags != "" && m.flags != truth[n].flags {
				t.Errorf("%s was told %v of message %d, which is %v", o.name, m, n+1, truth[n])
			}
		}
	}
	uids := make([]int, len(truth))
	for i, m := range truth {
		uids[i] = m.uid
	}
	if !slices.IsSorted(uids) || len(slices.Compact(uids)) != len(truth) {
		t.Errorf("UIDs don't ascend: %d", uids)
	}
}

//go:build unix

package crashtest

import (
	"bytes"
	"fmt"
	"net/mail"
	"strings"
	"sync"

	"github.com/mjl-/mox/queue"
)

// mailLedger is what is known of mail in a System.
type mailLedger struct {
	server  server
	sink    *sink
	patient bool // Attempts are made when they are due.

	mu      sync.Mutex
	letters map[string]*letter
	twice   int // Messages that the sink has more than once.
}

// letter is a message that was sent to a System.
type letter struct {
	way   string
	rcpts []string
	acked bool // It was answered 250.

	// Known once the queue has been empty: it stays so.
	settled, there bool
	sunk           int // How many of it the sink has.
}

func newMailLedger(s server, sink *sink) *mailLedger {
	return &mailLedger{server: s, sink: sink, letters: map[string]*letter{}}
}

// note takes a fact.
func (l *mailLedger) note(f fact) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f.Op {
	case opSubmitting:
		l.letters[f.ID] = &letter{way: f.Account, rcpts: f.Accounts}
	case opSubmitted:
		l.letters[f.ID].acked = true
	}
}

// copies returns how many copies each account is to have: one, if the message is
// for it, or through the list, which leaves out alice as the author of all.
func (w *letter) copies() map[string]int {
	n := map[string]int{}
	for _, rcpt := range w.rcpts {
		local, domain, _ := strings.Cut(rcpt, "@")
		switch {
		case domain != localDomain || rcpt == refused || rcpt == unknown:
		case local == "list":
			for _, name := range userNames[1:] {
				n[name] = 1
			}
		default:
			n[local] = 1
		}
	}
	return n
}

// fails says whether a recipient never gets the message.
func fails(rcpt string) bool {
	return rcpt == refused || rcpt == unknown || sinkKind(rcpt) == sinkNever
}

// isRemote says whether a recipient is elsewhere.
func isRemote(rcpt string) bool { return strings.HasSuffix(rcpt, "@remote.example") }

// mailDump is what was found when the queue was empty.
type mailDump struct {
	copies  map[string]map[string]int // By id and account, whole ones.
	notices map[noticeOf]int          // To alice.
	retired map[string][]queue.Message
}

// noticeOf says what a notification of failure is about.
type noticeOf struct{ id, rcpt string }

func newMailDump() *mailDump {
	return &mailDump{copies: map[string]map[string]int{}, notices: map[noticeOf]int{}, retired: map[string][]queue.Message{}}
}

// compare returns what is wrong, and takes what is there for known.
func (l *mailLedger) compare(d *mailDump) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &mailComparison{ledger: l, dump: d}
	for id, w := range l.letters {
		c.letter(id, w)
	}
	for id := range d.copies {
		if l.letters[id] == nil {
			c.problem("%s: was never sent", id)
		}
	}
	for about, n := range d.notices {
		if l.letters[about.id] == nil {
			c.problem("%d notices about %s to %s, which was never sent", n, about.id, about.rcpt)
		}
	}
	return c.problems
}

// mailComparison gathers problems.
type mailComparison struct {
	ledger   *mailLedger
	dump     *mailDump
	problems []string
}

func (c *mailComparison) problem(format string, args ...any) {
	if len(c.problems) < 20 {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// letter compares what is left of a message with what was promised: all of it is
// there if it was acknowledged, and all of it or nothing if it wasn't.
func (c *mailComparison) letter(id string, w *letter) {
	there := w.acked
	if w.settled {
		there = w.there
	} else if !there {
		there = c.anything(id, w)
	}
	what := fmt.Sprintf("%s (%s, acknowledged %v, to %v)", id, w.way, w.acked, w.rcpts)
	want := func(n int) int {
		if there {
			return n
		}
		return 0
	}
	copies := w.copies()
	for _, name := range userNames {
		if got := c.dump.copies[id][name]; got != want(copies[name]) {
			c.problem("%s: account %s has %d copies, want %d", what, name, got, want(copies[name]))
		}
	}
	sunk := 0
	for _, rcpt := range w.rcpts {
		sunk += c.recipient(what, id, w, rcpt, there)
	}
	if w.way == wayForward {
		sunk += c.bounces(what, id, w, there)
	}
	if w.settled && sunk != w.sunk {
		c.problem("%s: the sink has %d, had %d when the queue was empty", what, sunk, w.sunk)
	}
	w.settled, w.there, w.sunk = true, there, sunk
}

// anything says whether there is any trace of a message.
func (c *mailComparison) anything(id string, w *letter) bool {
	for _, rcpt := range w.rcpts {
		if len(c.ledger.sink.messages(rcpt)) > 0 || c.dump.notices[noticeOf{id, rcpt}] > 0 {
			return true
		}
	}
	return len(c.dump.copies[id]) > 0 || len(c.dump.retired[id]) > 0
}

// recipient compares what came of one recipient. It returns how many messages the
// sink has for it.
func (c *mailComparison) recipient(what, id string, w *letter, rcpt string, there bool) (sunk int) {
	rows := 0
	var row queue.Message
	for _, m := range c.dump.retired[id] {
		if m.Rcpt == rcpt {
			row = m
			rows++
		}
	}
	if wantRows := w.way != wayOther && there; rows != 0 && !wantRows || rows != 1 && wantRows {
		c.problem("%s: the queue has retired %d messages for %s", what, rows, rcpt)
	}
	outcome := queue.Delivered
	if fails(rcpt) {
		outcome = queue.Failed
	}
	if rows == 1 && row.Outcome != outcome {
		c.problem("%s: %s is %s, want %s; %+v", what, rcpt, row.Outcome, outcome, row.Results)
	}
	notices := 0
	if there && fails(rcpt) && w.way == wayUser {
		notices = 1
	}
	if got := c.dump.notices[noticeOf{id, rcpt}]; got != notices {
		c.problem("%s: %d notices that %s failed, want %d", what, got, rcpt, notices)
	}
	messages := c.ledger.sink.messages(rcpt)
	sunk = len(messages)
	least, most := 0, 0
	if there && isRemote(rcpt) && !fails(rcpt) {
		least, most = 1, int(row.Attempts) // An attempt takes it there at most once.
	}
	if sunk < least || sunk > most {
		c.problem("%s: the sink has %d for %s, want %d to %d", what, sunk, rcpt, least, most)
	}
	if sunk > 1 && !w.settled {
		c.ledger.twice++
	}
	for _, m := range messages {
		if why := wholeness(m, id); why != "" {
			c.problem("%s: at the sink: %s", what, why)
		}
	}
	return sunk
}

// bounces looks at the notifications to a sender that is not ours. There is at
// least one for each recipient that failed; it is told twice if the process died
// when the queue was to record that it was told.
func (c *mailComparison) bounces(what, id string, w *letter, there bool) (sunk int) {
	told := map[string]int{}
	for _, m := range c.ledger.sink.messages(senderOf(w.way, id)) {
		about, err := parseNotice(m)
		if err != nil || about.id != id {
			c.problem("%s: its sender got %q, %v", what, m, err)
		}
		told[about.rcpt]++
		sunk++
	}
	for _, rcpt := range w.rcpts {
		n := told[rcpt]
		if due := there && fails(rcpt); due != (n > 0) {
			c.problem("%s: its sender was told %d times of %s", what, n, rcpt)
		}
		if n > 1 && !w.settled {
			c.ledger.twice++
		}
		delete(told, rcpt)
	}
	for rcpt := range told {
		c.problem("%s: its sender was told of %s", what, rcpt)
	}
	return sunk
}

// wholeness returns what is wrong with a message as it was stored or sent, with
// the prefix in front of what was sent.
func wholeness(data []byte, id string) string {
	prefix, ok := bytes.CutSuffix(data, newLetter(id))
	if !ok {
		return fmt.Sprintf("%d bytes that don't end in what was sent", len(data))
	}
	m, err := mail.ReadMessage(bytes.NewReader(data))
	switch {
	case err != nil:
		return err.Error()
	case m.Header.Get("Message-Id") != "<"+id+"@crash.example>":
		return "header is " + fmt.Sprint(m.Header)
	case !bytes.HasSuffix(prefix, []byte("\r\n")) || m.Header.Get("Received") == "":
		return fmt.Sprintf("prefix is %q", prefix)
	}
	return ""
}

// parseNotice returns what a notification of failure is about.
func parseNotice(data []byte) (noticeOf, error) {
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return noticeOf{}, err
	}
	_, after, _ := strings.Cut(string(data), "\r\nFinal-Recipient: rfc822;")
	rcpt, after, ok := strings.Cut(after, "\r\n")
	if !strings.HasPrefix(m.Header.Get("Content-Type"), "multipart/report") || !ok || !strings.Contains(after, "Action: failed\r\n") {
		return noticeOf{}, fmt.Errorf("not a notification of failure: %q", data)
	}
	return noticeOf{contentID(strings.Trim(m.Header.Get("References"), "<>")), strings.TrimSpace(rcpt)}, nil
}

package sim

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/smtp"
)

// state is what a user knows of a message that it gave to its server.
type state int

const (
	refusedState state = iota // The server didn't take it: nobody may see it.
	acceptedState
	unknownState // The connection was lost after the end of the message.
)

// rcpt is a recipient of a message with what must become of it.
type rcpt struct {
	addr   string
	places []string // Accounts that get a copy, with their nodes: "a/u1". None: it must be returned.
	late   bool     // It is tried for days, so that the sender is told of the delay.
}

// letter is a message of a user.
type letter struct {
	id      string
	from    string // Address of the sender, also if null.
	null    bool   // The sender is the null sender: nobody is told.
	to      []rcpt
	notify  smtp.Notify // Of all recipients.
	content string      // As it was sent.

	notBefore time.Time // When it may arrive first.
	state     state
}

// ledger knows what was sent, and then what arrived.
type ledger struct {
	mu      sync.Mutex
	letters map[string]*letter
	tries   map[string][]*transaction // Between servers, by id and recipient.

	copies  map[string]int // By id, recipient and place.
	failed  map[string]int // Notifications, by id and recipient.
	delayed map[string]int // Likewise.
	told    map[string]int // Of success, likewise.
	strays  []string
}

func newLedger() *ledger {
	return &ledger{letters: map[string]*letter{}, tries: map[string][]*transaction{}, copies: map[string]int{}, failed: map[string]int{}, delayed: map[string]int{}, told: map[string]int{}}
}

// wants tells whether the sender wants to be told of something (RFC 3461, section
// 4.1).
func (m *letter) wants(event string) bool {
	switch {
	case m.null:
		return false
	case m.notify == "":
		return event != "SUCCESS"
	}
	return strings.Contains(string(m.notify), event)
}

// write notes a message of a user, when its fate is known to the user.
func (l *ledger) write(m *letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letters[m.id] = m
}

// answered notes that a server has the reply to the end of a message it sent.
func (l *ledger) answered(tx *transaction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tx.read = true
	l.keep(tx)
}

// lost notes that a server will never have that reply.
func (l *ledger) lost(tx *transaction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tx.gone = true
	l.keep(tx)
}

func (l *ledger) keep(tx *transaction) {
	for _, r := range tx.rcpts {
		l.tries[tx.id+" "+r] = append(l.tries[tx.id+" "+r], tx)
	}
}

// forgotten notes that a server that was started again still has a message in its
// queue: if another server has taken it, that was not recorded.
func (l *ledger) forgotten(n *node, id, addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tx := range l.tries[id+" "+addr] {
		if tx.from == n && tx.ok {
			tx.gone = true
		}
	}
}

// losses returns how many doubles there may be for a recipient.
func (l *ledger) losses(id, addr string) (n int) {
	for _, tx := range l.tries[id+" "+addr] {
		if tx.gone {
			n++
		}
	}
	return n
}

// totals is what came of a simulation.
type totals struct {
	letters, refused, unknown, recipients, delivered, returned, delayed, told, doubles, mayDouble int
}

// check compares what arrived with what was sent.
func (l *ledger) check(t *testing.T) (sum totals) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.strays {
		t.Errorf("nobody sent this: %s", s)
	}
	for _, m := range l.letters {
		sum.letters++
		switch m.state {
		case refusedState:
			sum.refused++
		case unknownState:
			sum.unknown++
		case acceptedState:
		}
		l.checkLetter(t, m, &sum)
	}
	return sum
}

// checkLetter checks all recipients of a message. One of which nobody knows whether
// it was accepted is there for all recipients or for none.
func (l *ledger) checkLetter(t *testing.T, m *letter, sum *totals) {
	t.Helper()
	seen := 0
	for _, r := range m.to {
		seen += l.failed[m.id+" "+r.addr]
		for _, p := range r.places {
			seen += l.copies[m.id+" "+r.addr+" "+p]
		}
	}
	if seen == 0 && m.state == unknownState {
		return
	}
	if m.state == refusedState {
		if seen > 0 {
			t.Errorf("%s was refused, and yet arrived", m.id)
		}
		return
	}
	for _, r := range m.to {
		sum.recipients++
		for _, problem := range l.checkRcpt(m, r, sum) {
			t.Errorf("%s to %s: %s", m.id, r.addr, problem)
		}
	}
}

// checkRcpt returns what is wrong with a recipient of an accepted message.
func (l *ledger) checkRcpt(m *letter, r rcpt, sum *totals) (problems []string) {
	key := m.id + " " + r.addr
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	// A notification that comes from another server can be lost and doubled, too.
	losses, failed, delayed := l.losses(m.id, r.addr)+l.losses(m.id, m.from), l.failed[key], l.delayed[key]
	if losses > 0 {
		sum.mayDouble++
	}
	sum.returned += min(failed, 1)
	sum.delayed += delayed
	told := l.told[key]
	sum.told += told
	if (m.null || m.notify == smtp.NotifyNever) && failed+delayed+told > 0 {
		bad("%d, %d and %d notifications, and none is wanted", failed, delayed, told)
	}
	if delayed > 1 || delayed == 0 && r.late && m.wants("DELAY") {
		bad("told of the delay %d times", delayed)
	}
	if delayed > 0 && !m.wants("DELAY") || told > 0 && !m.wants("SUCCESS") || failed > 0 && !m.wants("FAILURE") {
		bad("told of %d delays, %d failures and %d successes, and asked for %q", delayed, failed, told, m.notify)
	}
	if m.wants("SUCCESS") && len(r.places) > 0 && failed == 0 && (told == 0 || told > 1+losses) {
		bad("told of success %d times, with %d losses", told, losses)
	}
	if len(r.places) == 0 && m.wants("FAILURE") && (failed == 0 || failed > 1+losses) {
		bad("returned %d times, with %d losses", failed, losses)
	}
	sum.doubles += max(0, failed-1)
	for _, p := range r.places {
		n := l.copies[key+" "+p]
		sum.delivered += min(n, 1)
		sum.doubles += max(0, n+failed-1)
		if n+failed == 0 || n+failed > 1+losses {
			bad("%d copies in %s, returned %d times, with %d losses", n, p, failed, losses)
		}
		if failed > 0 && losses == 0 {
			bad("returned, and could be delivered")
		}
	}
	return problems
}

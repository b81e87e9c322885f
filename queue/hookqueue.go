package queue

import (
	"fmt"
	"slices"
	"time"
	"unique"
)

// hookQueue is what is known in memory of the hooks that wait. DB.mu guards it.
//
// When one is called is decided as for messages, by a schedule in which addresses
// take the place of domains: one call at a time to each.
type hookQueue struct {
	schedule  *schedule
	known     map[int64]*waitingHook // By id.
	ofMessage map[int64]int64        // The hook that tells what became of a message, by the id of that.
	ofEmail   map[emailKey]int64
	accounts  map[unique.Handle[string]]*hookLine
	all       hookLine
	timer     *time.Timer // Wakes a NextHook when something becomes due.
}

// waitingHook is a hook that waits, or is being called.
type waitingHook struct {
	entry   *entry
	message int64 // Its id, 0 if the hook is not about what became of one.
	email   emailKey
}

// emailKey names a message in an account. The zero value is none.
type emailKey struct {
	account unique.Handle[string]
	id      int64
}

// hookLine has hooks in the order of their ids, among ids that are gone.
type hookLine struct {
	ids   []int64
	count int // That are not gone.
}

// lineSlack is how many ids of hooks that are gone a line may have besides as many
// as it has others.
const lineSlack = 64

func newHookQueue(now time.Time, most int) *hookQueue {
	none := func(string) bool { return false }
	l := limits{remote: most, destination: 1, local: 1, remoteRcpts: 1, localRcpts: 1}
	return &hookQueue{
		schedule: newSchedule(now, l, hookLease, none), known: map[int64]*waitingHook{}, ofMessage: map[int64]int64{},
		ofEmail: map[emailKey]int64{}, accounts: map[unique.Handle[string]]*hookLine{},
	}
}

// add takes over a hook that waits.
func (q *hookQueue) add(r *hookRow, now time.Time) {
	h := &r.H
	w := &waitingHook{entry: q.schedule.add(r.ID, r.ID, h.Account, h.URL)}
	account := w.entry.account
	if supersedes(h) {
		w.message = h.QueueMsgID
		q.ofMessage[h.QueueMsgID] = r.ID
	}
	if h.EmailID != 0 {
		w.email = emailKey{account, h.EmailID}
		q.ofEmail[w.email] = r.ID
	}
	q.known[r.ID] = w
	line := q.accounts[account]
	if line == nil {
		line = &hookLine{}
		q.accounts[account] = line
	}
	line.add(r.ID)
	q.all.add(r.ID)
	q.schedule.put(w.entry, h.NextAttempt, now)
}

// remove forgets a hook that is retired. One that is being called stays in the
// schedule until that ends: see ended.
func (q *hookQueue) remove(id int64) {
	w := q.known[id]
	if w == nil {
		return
	}
	delete(q.known, id)
	if q.ofMessage[w.message] == id {
		delete(q.ofMessage, w.message)
	}
	if q.ofEmail[w.email] == id {
		delete(q.ofEmail, w.email)
	}
	account := w.entry.account
	line := q.accounts[account]
	if line.remove(q.known); line.count == 0 {
		delete(q.accounts, account)
	}
	q.all.remove(q.known)
	if q.schedule.take(w.entry) {
		q.schedule.remove(w.entry)
	}
}

// ended ends a lease. The hook waits again until due, or is forgotten if it is
// retired.
func (q *hookQueue) ended(l *lease, due, now time.Time) {
	for _, e := range q.schedule.end(l) {
		if w := q.known[e.id]; w == nil || w.entry != e {
			q.schedule.remove(e)
			continue
		}
		q.schedule.put(e, due, now)
	}
}

// redirect ends a lease of a hook whose address has changed: it waits for its turn
// there.
func (q *hookQueue) redirect(l *lease, url string, now time.Time) {
	for _, e := range q.schedule.end(l) {
		w := q.known[e.id]
		q.schedule.remove(e)
		if w == nil || w.entry != e {
			continue
		}
		w.entry = q.schedule.add(e.id, e.id, e.account.Value(), url)
		q.schedule.putBack(w.entry, now) // It was due.
	}
}

// count returns how many hooks of an account wait.
func (q *hookQueue) count(account string) int {
	if line := q.accounts[unique.Make(account)]; line != nil {
		return line.count
	}
	return 0
}

// oldest returns the oldest hook of an account, or of all if account is "", that is
// not among gone; 0 if there is none.
func (q *hookQueue) oldest(account string, gone map[int64]bool) int64 {
	line := &q.all
	if account != "" {
		line = q.accounts[unique.Make(account)]
	}
	if line == nil {
		return 0
	}
	for _, id := range line.ids {
		if q.known[id] != nil && !gone[id] {
			return id
		}
	}
	return 0
}

func (l *hookLine) add(id int64) {
	l.ids = append(l.ids, id)
	l.count++
}

// remove notes that one of the ids is gone.
func (l *hookLine) remove(known map[int64]*waitingHook) {
	l.count--
	if len(l.ids) > 2*l.count+lineSlack {
		l.ids = slices.Clip(slices.DeleteFunc(l.ids, func(id int64) bool { return known[id] == nil }))
	}
}

// supersedes tells whether a hook takes the place of an older one about the same
// message. One that says nothing about what became of the message doesn't.
func supersedes(h *Hook) bool { return h.QueueMsgID != 0 && tellsState(h.Event) }

// check returns what is wrong with the structure.
func (q *hookQueue) check() []error {
	problems := q.schedule.check()
	lines := 0
	for account, line := range q.accounts {
		lines += line.count
		if line.count == 0 {
			problems = append(problems, fmt.Errorf("line of account %q without hooks", account.Value()))
		}
	}
	if lines != len(q.known) || q.all.count != len(q.known) {
		problems = append(problems, fmt.Errorf("%d hooks, %d by account, %d in all", len(q.known), lines, q.all.count))
	}
	for id, w := range q.known {
		if q.schedule.entries[id] != w.entry {
			problems = append(problems, fmt.Errorf("hook %d is not in the schedule", id))
		}
	}
	return problems
}

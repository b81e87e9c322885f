//go:build unix

package crashtest

import (
	"fmt"
	"slices"
	"sync"
)

// ledger is what the outside world knows of a store: what it was promised, and
// what it was shown.
type ledger struct {
	mu       sync.Mutex
	contents map[string]*content // By id.
	accounts map[string]*account // By name.
	problems []string
	mail     *mailLedger // Nil: the store alone is run.
}

// content is a message that was offered.
type content struct {
	hash    string
	to      []string // Accounts, one for each recipient.
	key     string   // For the hand-over from the queue; retry it until it is retired.
	acked   bool
	retired bool
}

// account is what is known of one account.
type account struct {
	modSeq int64                // Highest that was told.
	next   map[uint32]uint32    // By UIDVALIDITY: no UID below may be given again.
	places map[place]*placed    // Every place ever told.
	copies map[string]*between  // By content: how many messages have it.
	boxes  map[string]*boxState // By name.
}

type boxState struct {
	uidValidity uint32
	modSeq      int64
}

// placed is a message at its place.
type placed struct {
	id      string
	mayGo   bool // Somebody has begun to remove it.
	gone    bool // And it was acknowledged, or it was found gone.
	flags   uint32
	pending []uint32 // Flags that somebody has begun to set, since flags was known.
	flagsOK bool     // flags is known.
}

// between bounds a count.
type between struct{ least, most int }

func newLedger(accounts ...string) *ledger {
	l := &ledger{contents: map[string]*content{}, accounts: map[string]*account{}}
	for _, name := range accounts {
		l.accounts[name] = &account{
			next: map[uint32]uint32{}, places: map[place]*placed{}, copies: map[string]*between{}, boxes: map[string]*boxState{},
		}
	}
	return l
}

func (l *ledger) problem(format string, args ...any) {
	if len(l.problems) < 20 {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

// note takes a fact.
func (l *ledger) note(f fact) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[f.Account]
	if a != nil {
		a.modSeq = max(a.modSeq, f.ModSeq)
	}
	switch f.Op {
	case opOffering:
		if l.contents[f.ID] == nil { // Else it is tried again.
			l.contents[f.ID] = &content{hash: f.Hash, to: f.Accounts, key: f.Key}
			for _, name := range f.Accounts {
				l.accounts[name].copy(f.ID).most++
			}
		}
	case opDelivered:
		c := l.contents[f.ID]
		if c.acked {
			return
		}
		c.acked = true
		for _, name := range c.to {
			b := l.accounts[name].copy(f.ID)
			b.least = min(b.least+1, b.most)
		}
	case opRetired:
		l.contents[f.ID].retired = true
	case opAppending:
		l.contents[f.ID] = &content{hash: f.Hash, to: []string{f.Account}}
		a.copy(f.ID).most++
	case opCopying:
		a.copy(f.ID).most++
	case opAppended, opCopied:
		a.copy(f.ID).least++
		l.at(f.Account, f.To, f.ID)
	case opMoving:
		a.places[f.At].begin()
	case opMoved:
		a.places[f.At].end()
		l.at(f.Account, f.To, f.ID)
	case opExpunging:
		a.copy(f.ID).least--
		a.places[f.At].begin()
	case opExpunged:
		a.copy(f.ID).most--
		a.places[f.At].end()
	case opFlagging:
		a.places[f.At].pending = append(a.places[f.At].pending, f.Flags)
	case opFlagged:
		p := a.places[f.At]
		p.flags, p.flagsOK, p.pending = f.Flags, true, nil
	case opSeen:
		l.at(f.Account, f.At, f.ID)
	case opSubmitting, opSubmitted:
		l.mail.note(f)
	case opUnexpected:
		l.problem("child: %s", f.Text)
	}
}

func (p *placed) begin() { p.mayGo = true }
func (p *placed) end()   { p.gone = true }

// copy returns the bounds for the messages of a content.
func (a *account) copy(id string) *between {
	b := a.copies[id]
	if b == nil {
		b = &between{}
		a.copies[id] = b
	}
	return b
}

// at notes that a message is at a place, now or until it was removed.
func (l *ledger) at(name string, at place, id string) *placed {
	a := l.accounts[name]
	p := a.places[at]
	if p == nil {
		p = &placed{id: id}
		a.places[at] = p
	}
	if p.id != id {
		l.problem("account %s: UID %v was %s and is %s now", name, at, p.id, id)
	}
	a.next[at.UIDValidity] = max(a.next[at.UIDValidity], at.UID+1)
	return p
}

// retries returns the deliveries that the queue still has to hand over.
func (l *ledger) retries() []retry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []retry
	for id, c := range l.contents {
		if c.key != "" && !c.retired {
			list = append(list, retry{ID: id, Key: c.key, Accounts: c.to})
		}
	}
	return list
}

// retry is a message that the queue has, with the key of its hand-over.
type retry struct {
	ID, Key  string
	Accounts []string
}

// dump is what a start found.
type dump struct {
	Accounts map[string]dumpAccount
	Problems []string
}

type dumpAccount struct {
	ModSeq int64
	Boxes  []dumpBox
}

type dumpBox struct {
	Name        string
	UIDValidity uint32
	UIDNext     uint32
	ModSeq      int64
	Messages    []dumpMessage
}

type dumpMessage struct {
	UID    uint32
	ModSeq int64
	Flags  uint32
	ID     string
	Hash   string
}

// compare adds what is wrong with a dump to the problems, and then takes what is
// in it for known: it was shown.
func (l *ledger) compare(d dump) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range d.Problems {
		l.problem("%s", p)
	}
	for name, a := range l.accounts {
		got, ok := d.Accounts[name]
		if !ok {
			l.problem("account %s is missing", name)
			continue
		}
		if got.ModSeq < a.modSeq {
			l.problem("account %s: modseq is %d, was %d", name, got.ModSeq, a.modSeq)
		}
		a.modSeq = got.ModSeq
		l.compareAccount(name, a, got)
	}
	return slices.Clone(l.problems)
}

func (l *ledger) compareAccount(name string, a *account, got dumpAccount) {
	counts := map[string]int{}
	there := map[place]bool{}
	for _, box := range got.Boxes {
		l.compareBox(name, a, box)
		for _, m := range box.Messages {
			counts[m.ID]++
			at := place{box.UIDValidity, m.UID}
			there[at] = true
			l.compareMessage(name, at, m)
		}
	}
	for at, p := range a.places {
		if !there[at] && !p.mayGo {
			l.problem("account %s: UID %v, %s, was there and is missing", name, at, p.id)
		}
		p.gone = !there[at]
		p.mayGo, p.pending = p.gone, nil
	}
	for id, b := range a.copies {
		if n := counts[id]; n < b.least || n > b.most {
			l.problem("account %s: %s is there %d times, want %d to %d; %s", name, id, n, b.least, b.most, l.describe(id))
		}
		// What the queue still has may come in later.
		c := l.contents[id]
		if b.least, b.most = counts[id], counts[id]; c.key != "" && !c.acked && b.most == 0 {
			b.most = 1
		}
	}
	for id := range counts {
		if a.copies[id] == nil {
			l.problem("account %s: %s was never offered to it", name, id)
		}
	}
}

func (l *ledger) describe(id string) string {
	c := l.contents[id]
	return fmt.Sprintf("acknowledged %v, to %v, key %q", c.acked, c.to, c.key)
}

func (l *ledger) compareBox(name string, a *account, box dumpBox) {
	if box.UIDNext < a.next[box.UIDValidity] {
		l.problem("account %s: UIDNEXT of %s is %d, was %d", name, box.Name, box.UIDNext, a.next[box.UIDValidity])
	}
	a.next[box.UIDValidity] = box.UIDNext
	b := a.boxes[box.Name]
	if b == nil {
		b = &boxState{uidValidity: box.UIDValidity}
		a.boxes[box.Name] = b
	}
	if b.uidValidity != box.UIDValidity || b.modSeq > box.ModSeq {
		l.problem("account %s: %s is %d with modseq %d, was %+v", name, box.Name, box.UIDValidity, box.ModSeq, *b)
	}
	b.modSeq = box.ModSeq
}

func (l *ledger) compareMessage(name string, at place, m dumpMessage) {
	c := l.contents[m.ID]
	if c == nil || c.hash != m.Hash {
		l.problem("account %s: UID %v, %s, has other content than was offered", name, at, m.ID)
		return
	}
	p := l.at(name, at, m.ID)
	if p.gone {
		l.problem("account %s: UID %v, %s, was removed and is there again", name, at, m.ID)
	}
	if p.flagsOK && m.Flags != p.flags && !slices.Contains(p.pending, m.Flags) {
		l.problem("account %s: UID %v has flags %x, want %x", name, at, m.Flags, p.flags)
	}
	p.flags, p.flagsOK = m.Flags, true
}

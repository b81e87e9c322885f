package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/screen"
)

// reputationSlack is how many more messages a row has than decisions look at, so
// that as many can be unmarked before one is missing.
const reputationSlack = 10

// reputationsHeld is how many rows are changed in memory before they are written:
// a few MiB.
const reputationsHeld = 5000

// errReputation means a row can't be read.
var errReputation = errors.New("store: malformed reputation")

// learnedMax returns how many messages a row of a kind has.
func learnedMax(k screen.Kind) int { return screen.KeepMax(k) + reputationSlack }

// learned is a classified message in a Reputation.
type learned struct {
	emailID   int64
	received  int64 // Unix seconds.
	junk      bool
	localpart uint32 // As in screen.Classified.
}

// compareLearned orders by time received, then by id.
func compareLearned(a, b learned) int {
	return cmp.Or(cmp.Compare(a.received, b.received), cmp.Compare(a.emailID, b.emailID))
}

// reputationKey returns the primary key of a row: one row is one get, and those of
// a mailbox are together.
func reputationKey(mailboxID int64, k screen.Key) string {
	valid := "-"
	if k.Validated {
		valid = "v"
	}
	return fmt.Sprintf("%s%02d/%s/%s", reputationPrefix(mailboxID), k.Kind, valid, k.Value)
}

// reputationPrefix is how the keys of a mailbox begin.
func reputationPrefix(mailboxID int64) string { return fmt.Sprintf("%016x/", mailboxID) }

// parseReputationKey returns what a primary key is made of.
func parseReputationKey(s string) (mailboxID int64, k screen.Key, err error) {
	var valid string
	parts := strings.SplitN(s, "/", 4)
	if len(parts) == 4 {
		valid, k.Value = parts[2], parts[3]
		_, err = fmt.Sscanf(parts[0]+" "+parts[1], "%x %d", &mailboxID, &k.Kind)
	}
	k.Validated = valid == "v"
	if err != nil || reputationKey(mailboxID, k) != s || k.Kind < screen.FromAddress || k.Kind > screen.Net3 || k.Value == "" {
		return 0, screen.Key{}, fmt.Errorf("%w: key %q", errReputation, s)
	}
	return mailboxID, k, nil
}

// packLearned returns messages in the form in which a row has them.
func packLearned(list []learned) []byte {
	var b []byte
	for _, l := range list {
		b = binary.AppendUvarint(b, uint64(l.emailID))
		b = binary.AppendVarint(b, l.received)
		bit := uint64(0)
		if l.junk {
			bit = 1
		}
		b = binary.AppendUvarint(b, uint64(l.localpart)<<1|bit)
	}
	return b
}

// unpackLearned undoes packLearned.
func unpackLearned(b []byte) (list []learned, err error) {
	for len(b) > 0 {
		id, n := binary.Uvarint(b)
		received, m := binary.Varint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, errReputation
		}
		bits, o := binary.Uvarint(b[n+m:])
		if o <= 0 || bits>>33 != 0 {
			return nil, errReputation
		}
		list = append(list, learned{int64(id), received, bits&1 != 0, uint32(bits >> 1)})
		b = b[n+m+o:]
	}
	return list, nil
}

// change counts a message as is in place of was, in the row and in list, which
// stands for Recent. At most most are kept, the newest.
func (r *Reputation) change(list []learned, l learned, was, is Class, most int) []learned {
	r.count(was, -1)
	r.count(is, 1)
	list = slices.DeleteFunc(list, func(o learned) bool { return o.emailID == l.emailID })
	floor := learned{emailID: r.FloorID, received: r.Floor}
	if is != Unclassified && (r.FloorID == 0 || compareLearned(l, floor) > 0) {
		l.junk = is == ClassJunk
		i, _ := slices.BinarySearchFunc(list, l, compareLearned)
		list = slices.Insert(list, i, l)
	}
	if n := len(list) - most; n > 0 {
		r.Floor, r.FloorID = list[n-1].received, list[n-1].emailID
		list = list[n:]
	}
	// A row can be forgotten while messages are there that it was about.
	junk, notJunk := sums(list)
	r.Junk, r.NotJunk = max(r.Junk, junk), max(r.NotJunk, notJunk)
	if r.Junk == junk && r.NotJunk == notJunk {
		r.Floor, r.FloorID = 0, 0 // Nothing is missing.
	}
	return list
}

func (r *Reputation) count(c Class, n int64) {
	switch c {
	case ClassJunk:
		r.Junk += n
	case ClassNotJunk:
		r.NotJunk += n
	case Unclassified:
	}
}

// sums returns how many of list are junk and not.
func sums(list []learned) (junk, notJunk int64) {
	for _, l := range list {
		if l.junk {
			junk++
		} else {
			notJunk++
		}
	}
	return junk, notJunk
}

// history returns the row as decisions see it.
func (r *Reputation) history(most int) (screen.History, error) {
	h := screen.History{Junk: r.Junk, NotJunk: r.NotJunk}
	list, err := unpackLearned(r.Recent)
	if err != nil {
		return h, err
	}
	for i := len(list) - 1; i >= 0 && len(h.Recent) < most; i-- {
		l := list[i]
		h.Recent = append(h.Recent, screen.Classified{At: time.Unix(l.received, 0), Junk: l.junk, Localpart: l.localpart})
	}
	return h, nil
}

// learn counts an Email as is in place of was, in the reputations of its sender.
// Nothing is learned for a mailbox that is gone.
func (tx *Tx) learn(e *Email, was, is Class) error {
	keys := e.Sender().Keys()
	if was == is || len(keys) == 0 {
		return nil
	}
	if _, err := tx.box(e.MailboxID); errors.Is(err, ErrNoMailbox) {
		return nil
	} else if err != nil {
		return err
	}
	if len(tx.reputations) >= reputationsHeld {
		if err := tx.writeReputations(); err != nil {
			return err
		}
	}
	l := learned{emailID: e.ID, received: e.Received.Unix(), localpart: hashLocalpart(e.Facts.From)}
	for _, k := range keys {
		if err := tx.learnKey(reputationKey(e.MailboxID, k), l, was, is, learnedMax(k.Kind)); err != nil {
			return fmt.Errorf("changing reputation of %s: %w", k.Value, err)
		}
	}
	return nil
}

// learnKey changes one row. It is written at the end of the function: who marks
// many messages often marks those of one sender.
func (tx *Tx) learnKey(key string, l learned, was, is Class, most int) error {
	c := tx.reputations[key]
	if c == nil {
		c = &reputationChange{row: Reputation{Key: key}}
		err := tx.b.Get(&c.row)
		if err != nil && !errors.Is(err, bstore.ErrAbsent) {
			return err
		}
		c.there = err == nil
		if c.list, err = unpackLearned(c.row.Recent); err != nil {
			return err
		}
		tx.reputations[key] = c
	}
	c.list = c.row.change(c.list, l, was, is, most)
	return nil
}

// reputationChange is a row that the running function has read, and changes.
type reputationChange struct {
	row   Reputation
	list  []learned // In place of row.Recent.
	there bool      // It is in the database.
}

// writeReputations writes the rows that the function has changed. Those that say
// nothing any more go.
func (tx *Tx) writeReputations() error {
	for _, key := range slices.Sorted(maps.Keys(tx.reputations)) {
		c := tx.reputations[key]
		var err error
		c.row.Changed, c.row.Recent = day(time.Now()), packLearned(c.list)
		switch empty := c.row.Junk == 0 && c.row.NotJunk == 0; {
		case c.there && empty:
			err = tx.b.Delete(&Reputation{Key: key})
		case c.there:
			err = tx.b.Update(&c.row)
		case !empty:
			err = tx.b.Insert(&c.row)
		}
		if err != nil {
			return fmt.Errorf("writing reputation %q: %w", key, err)
		}
	}
	clear(tx.reputations)
	return nil
}

// day returns the days since 1970. It is how exact Reputation.Changed is, so that
// its index seldom changes.
func day(t time.Time) int64 { return t.Unix() / 86400 }

// Histories returns what is known of a sender by keys, of messages that were first
// put into a mailbox, "" for Inbox. Of keys about From it has both forms, validated and not. It
// costs as much in a large account as in an empty one.
func (a *Account) Histories(ctx context.Context, mailbox string, keys []screen.Key) (screen.Histories, error) {
	histories := screen.Histories{}
	err := a.ViewContent(ctx, func(tx *Tx) error {
		mb, err := tx.Mailbox(cmp.Or(mailbox, inbox))
		if errors.Is(err, ErrNoMailbox) {
			return nil
		} else if err != nil {
			return err
		}
		for _, k := range withSiblings(keys) {
			r := Reputation{Key: reputationKey(mb.ID, k)}
			if err := tx.b.Get(&r); errors.Is(err, bstore.ErrAbsent) {
				continue
			} else if err != nil {
				return err
			}
			if histories[k], err = r.history(screen.KeepMax(k.Kind)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading reputations: %w", err)
	}
	return histories, nil
}

// withSiblings adds to keys about From those that differ in validation only.
func withSiblings(keys []screen.Key) []screen.Key {
	all := slices.Clone(keys)
	for _, k := range keys {
		if k.Kind == screen.FromAddress || k.Kind == screen.FromDomain || k.Kind == screen.FromOrg {
			k.Validated = !k.Validated
			all = append(all, k)
		}
	}
	return all
}

// hashLocalpart returns what tells the localpart of an address from others, 0 for
// none.
func hashLocalpart(address string) uint32 {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(address[:i])) // It never fails.
	return max(1, h.Sum32())
}

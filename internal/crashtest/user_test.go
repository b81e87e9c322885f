//go:build unix

package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/mjl-/mox/store"
)

// user is a client of an account with a mailbox of its own.
type user struct {
	*child
	name string
	a    *store.Account
	box  string
	part int // Of Inbox it removes the UIDs of this remainder.

	watch *store.Watch // It has box selected, once flags were changed.
}

// target is a message to do something with.
type target struct {
	id string
	at place
}

// step does one thing.
func (u *user) step(rng *rand.Rand) {
	var err error
	switch n := rng.IntN(20); {
	case n < 7:
		err = u.append(u.newID(rng))
	case n < 10:
		err = u.flag(rng)
	case n < 12:
		err = u.transfer(rng, false)
	case n < 14:
		err = u.transfer(rng, true)
	case n < 17:
		err = u.expunge(rng, u.box, func(store.UID) bool { return true })
	default:
		err = u.expunge(rng, "Inbox", func(uid store.UID) bool { return int(uid)%len(workBoxes) == u.part })
	}
	if err != nil {
		u.unexpected(fmt.Errorf("account %s: %w", u.name, err))
	}
}

func (u *user) append(id string) error {
	msg := newMessage(id)
	s, err := u.a.Stage(u.ctx, int64(len(msg)), bytes.NewReader(msg))
	if err != nil {
		return fmt.Errorf("staging: %w", err)
	}
	u.tell(fact{Op: opAppending, ID: id, Hash: hash(msg), Account: u.name})
	f := fact{Op: opAppended, ID: id, Account: u.name}
	err = u.a.Update(u.ctx, func(tx *store.Tx) error {
		mb, err := tx.Mailbox(u.box)
		if err != nil {
			return err
		}
		m, err := tx.Append(&mb, s, store.AppendOptions{})
		f.To, f.ModSeq = place{mb.UIDValidity, uint32(m.UID)}, m.ModSeq
		return err
	})
	if err != nil {
		return fmt.Errorf("appending: %w", err)
	}
	u.tell(f)
	return s.Discard()
}

// pick returns some message of a mailbox, if there is one, and the mailbox.
func (u *user) pick(rng *rand.Rand, box string, match func(store.UID) bool) (mb store.Mailbox, t target, ok bool, err error) {
	// It reads no flags: those that are only in the journal stay there.
	err = u.a.ViewContent(u.ctx, func(tx *store.Tx) error {
		ok = false
		var err error
		if mb, err = tx.Mailbox(box); err != nil || mb.Total == 0 {
			return err
		}
		for range 10 {
			uid := 1 + store.UID(rng.Uint32N(uint32(mb.UIDNext)))
			m, err := tx.Message(mb.ID, uid)
			if errors.Is(err, store.ErrExpunged) || err == nil && !match(uid) {
				continue
			} else if err != nil {
				return err
			}
			e, err := tx.Email(m.EmailID)
			if err != nil {
				return err
			}
			t, ok = target{contentID(e.MessageID), place{mb.UIDValidity, uint32(uid)}}, true
			return nil
		}
		return nil
	})
	if ok {
		u.tell(fact{Op: opSeen, ID: t.id, Account: u.name, At: t.at})
	}
	return mb, t, ok, err
}

func contentID(messageID string) string { return strings.TrimSuffix(messageID, "@crash.example") }

func (u *user) flag(rng *rand.Rand) error {
	mb, t, ok, err := u.pick(rng, u.box, func(store.UID) bool { return true })
	if err != nil || !ok {
		return err
	}
	f := fact{Op: opFlagging, Account: u.name, At: t.at, Flags: rng.Uint32N(1 << 8)}
	u.tell(f)
	if u.watch == nil {
		w := u.a.Watch()
		if _, err := w.Select(u.ctx, mb.ID); err != nil {
			return fmt.Errorf("selecting: %w", err)
		}
		u.watch = w
	}
	res, err := u.a.SetFlags(u.ctx, u.watch, mb.ID, []store.UID{store.UID(t.at.UID)}, store.FlagChange{Op: store.FlagsReplace, Flags: store.Flags(f.Flags)})
	if err != nil {
		return fmt.Errorf("setting flags: %w", err)
	}
	if len(res.Entries) != 1 {
		return fmt.Errorf("setting flags of a message: %d entries", len(res.Entries))
	}
	f.ModSeq = res.Entries[0].ModSeq
	f.Op = opFlagged
	u.tell(f)
	return nil
}

// transfer copies a message to the mailbox of copies, or moves it there.
func (u *user) transfer(rng *rand.Rand, move bool) error {
	mb, t, ok, err := u.pick(rng, u.box, func(store.UID) bool { return true })
	if err != nil || !ok {
		return err
	}
	f := fact{Op: opCopying, ID: t.id, Account: u.name, At: t.at}
	if move {
		f.Op = opMoving
	}
	u.tell(f)
	err = u.a.Update(u.ctx, func(tx *store.Tx) error {
		src := mb
		dst, err := tx.Mailbox("copies")
		if err != nil {
			return err
		}
		do := tx.Copy
		if move {
			do = tx.Move
		}
		c, err := do(&src, &dst, []store.UID{store.UID(t.at.UID)})
		if err == nil && len(c.Dst) != 1 {
			err = fmt.Errorf("copied %v", c)
		}
		if err == nil {
			f.To, f.ModSeq = place{c.UIDValidity, uint32(c.Dst[0])}, dst.ModSeq
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("copying: %w", err)
	}
	if f.Op = opCopied; move {
		f.Op = opMoved
	}
	u.tell(f)
	return nil
}

func (u *user) expunge(rng *rand.Rand, box string, match func(store.UID) bool) error {
	mb, t, ok, err := u.pick(rng, box, match)
	if err != nil || !ok {
		return err
	}
	f := fact{Op: opExpunging, ID: t.id, Account: u.name, At: t.at}
	u.tell(f)
	err = u.a.Update(u.ctx, func(tx *store.Tx) error {
		mb := mb
		gone, err := tx.Expunge(&mb, []store.UID{store.UID(t.at.UID)})
		if err == nil && len(gone) != 1 {
			err = fmt.Errorf("expunged %v", gone)
		}
		f.ModSeq = mb.ModSeq
		return err
	})
	if err != nil {
		return fmt.Errorf("expunging: %w", err)
	}
	f.Op = opExpunged
	u.tell(f)
	return nil
}

// observer tells what a session is shown of the newest messages.
type observer struct {
	*child
	name string
	a    *store.Account
	seen map[string]store.UID // Highest, by mailbox.
}

func (o *observer) look(*rand.Rand) {
	var facts []fact
	err := o.a.View(o.ctx, func(tx *store.Tx) error {
		facts = nil
		boxes, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for _, mb := range boxes {
			for uid := max(o.seen[mb.Name]+1, mb.UIDNext-min(mb.UIDNext, 20)); uid < mb.UIDNext; uid++ {
				m, err := tx.Message(mb.ID, uid)
				if errors.Is(err, store.ErrExpunged) {
					continue
				} else if err != nil {
					return err
				}
				e, err := tx.Email(m.EmailID)
				if err != nil {
					return err
				}
				facts = append(facts, fact{Op: opSeen, ID: contentID(e.MessageID), Account: o.name, At: place{mb.UIDValidity, uint32(uid)}, ModSeq: tx.ModSeq()})
			}
			o.seen[mb.Name] = mb.UIDNext - 1
		}
		return nil
	})
	if err != nil {
		o.unexpected(fmt.Errorf("looking at account %s: %w", o.name, err))
	}
	for f := range slices.Values(facts) {
		o.tell(f)
	}
}

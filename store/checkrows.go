package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/mjl-/bstore"
)

// mailboxes reads and checks the mailboxes.
func (c *checker) mailboxes(context.Context) error {
	uses := map[SpecialUse]string{}
	valid := map[uint32]string{}
	err := bstore.QueryTx[Mailbox](c.tx.b).ForEach(func(mb Mailbox) error {
		c.boxes[mb.ID] = &boxCheck{row: mb, counted: Mailbox{Name: mb.Name}}
		if name, err := CheckMailboxName(mb.Name); err != nil || name != mb.Name {
			c.problem("clients can't open the mailbox", "rename the mailbox", "mailbox %q has a name it should not have", mb.Name)
		}
		if o, ok := uses[mb.Use]; ok && mb.Use != UseNone {
			c.problem("clients choose one at random", "take the role from one", "mailboxes %q and %q both are %s", o, mb.Name, mb.Use)
		}
		uses[mb.Use] = mb.Name
		if o, ok := valid[mb.UIDValidity]; ok {
			c.problem(effectSync, mendFix, "mailboxes %q and %q have the same UIDVALIDITY", o, mb.Name)
		}
		valid[mb.UIDValidity] = mb.Name
		if int64(mb.UIDValidity) > c.tx.row.UIDValidity || mb.UIDValidity == 0 {
			c.problem(effectSync, mendFix, "mailbox %q has UIDVALIDITY %d, the last given is %d", mb.Name, mb.UIDValidity, c.tx.row.UIDValidity)
		}
		if mb.ModSeq > c.tx.row.ModSeq || mb.CreateSeq > mb.ModSeq {
			c.problem(effectSync, mendFix, "mailbox %q has modseq %d, created at %d, account at %d", mb.Name, mb.ModSeq, mb.CreateSeq, c.tx.row.ModSeq)
		}
		if mb.PurgedSeq > mb.ModSeq || mb.UIDNext == 0 {
			c.problem(effectSync, mendFix, "mailbox %q has modseq %d, and expunged messages forgotten up to %d; UIDNEXT is %d", mb.Name, mb.ModSeq, mb.PurgedSeq, mb.UIDNext)
		}
		c.keywords(&mb)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading mailboxes: %w", err)
	}
	if mb, err := c.tx.Mailbox(inbox); err != nil {
		c.problem("mail can't be delivered", mendFix, "no Inbox: %v", err)
	} else if c.a.boxID(inbox) != mb.ID {
		c.problem("mail goes to the wrong mailbox", "restart", "the table of names has %d for Inbox, the row %d", c.a.boxID(inbox), mb.ID)
	}
	err = bstore.QueryTx[MailboxGone](c.tx.b).ForEach(func(g MailboxGone) error {
		c.draining[g.ID] = g.Draining
		if _, ok := c.boxes[g.ID]; ok {
			c.problem(effectSync, "", "mailbox %d is there and deleted", g.ID)
		}
		if g.ModSeq > c.tx.row.ModSeq {
			c.problem(effectSync, mendFix, "deleted mailbox %q has modseq %d, account at %d", g.Name, g.ModSeq, c.tx.row.ModSeq)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading deleted mailboxes: %w", err)
	}
	return nil
}

// keywords checks the list to which messages refer by place.
func (c *checker) keywords(mb *Mailbox) {
	seen := map[string]bool{}
	for _, kw := range mb.Keywords {
		if k, err := ParseKeyword(kw); err != nil || k != kw || seen[kw] {
			c.problem("clients can fail to open the mailbox", "", "mailbox %q lists keyword %q, which can't be, or is there twice", mb.Name, kw)
		}
		seen[kw] = true
	}
}

// boxID returns what the account has in memory for a mailbox name.
func (a *Account) boxID(name string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boxes[name]
}

// rows checks each message and counts.
func (c *checker) rows(ctx context.Context) error {
	last := c.live.lastID.Load()
	err := bstore.QueryTx[Message](c.tx.b).SortAsc("ID").ForEach(func(m Message) error {
		c.messages++
		box, ok := c.boxes[m.MailboxID]
		if !ok {
			if !c.draining[m.MailboxID] {
				c.problem(effectLost, mendFix, "message %d is in mailbox %d that does not exist", m.ID, m.MailboxID)
			}
			return ctx.Err()
		}
		mb := &box.row
		box.counted.count(&m, 1)
		switch {
		case m.ID > last || m.EmailID > last:
			c.problem(effectIDs, mendFix, "message %d of email %d, the last id is %d", m.ID, m.EmailID, last)
		case m.UID == 0 || m.UID >= mb.UIDNext:
			c.problem(effectSync, mendFix, "message %d in %q has UID %d, UIDNEXT is %d", m.ID, mb.Name, m.UID, mb.UIDNext)
		case m.CreateSeq > m.ModSeq || m.ModSeq > mb.ModSeq || m.CreateSeq == 0:
			c.problem(effectSync, mendFix, "UID %d in %q has modseq %d, created at %d, mailbox at %d", m.UID, mb.Name, m.ModSeq, m.CreateSeq, mb.ModSeq)
		case m.Flags()&FlagSeen == 0 && m.UID < mb.UnseenFrom:
			c.problem(effectCounts, mendFix, "UID %d in %q is unseen, the first should be at %d", m.UID, mb.Name, mb.UnseenFrom)
		case (m.Bits&bitMore != 0) != (len(m.More) > 0):
			c.problem("a keyword is missing", "", "UID %d in %q has keywords beyond its bits", m.UID, mb.Name)
		}
		if n := len(mb.Keywords); n < keywordBits && m.Bits&^bitMore>>(flagBits+n) != 0 {
			c.problem("a keyword is missing", "", "UID %d in %q has keywords that the mailbox does not list", m.UID, mb.Name)
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("reading messages: %w", err)
	}
	return nil
}

// counts compares the mailboxes' counts with those of their messages.
func (c *checker) counts(context.Context) error {
	for _, box := range c.boxes {
		mb, got := &box.row, &box.counted
		if mb.Total != got.Total || mb.Deleted != got.Deleted || mb.Unseen != got.Unseen || mb.Size != got.Size {
			c.problem(effectCounts, mendFix, "mailbox %q says %d messages, %d deleted, %d unseen, %d bytes; there are %d, %d, %d, %d",
				mb.Name, mb.Total, mb.Deleted, mb.Unseen, mb.Size, got.Total, got.Deleted, got.Unseen, got.Size)
		}
	}
	return nil
}

// tombs checks the rows for what is gone.
func (c *checker) tombs(ctx context.Context) error {
	err := bstore.QueryTx[Expunged](c.tx.b).ForEach(func(x Expunged) error {
		if x.ModSeq > c.tx.row.ModSeq {
			c.problem(effectSync, mendFix, "expunged UID %d has modseq %d, account at %d", x.UID, x.ModSeq, c.tx.row.ModSeq)
		}
		box, ok := c.boxes[x.MailboxID]
		if !ok {
			return ctx.Err()
		}
		if x.ModSeq > box.row.ModSeq || x.UID == 0 || x.UID >= box.row.UIDNext {
			c.problem(effectSync, mendFix, "expunged UID %d in %q has modseq %d, mailbox at %d, UIDNEXT %d", x.UID, box.row.Name, x.ModSeq, box.row.ModSeq, box.row.UIDNext)
		}
		if _, err := c.tx.message(x.MailboxID, x.UID); err == nil {
			c.problem(effectSync, mendFix, "UID %d in mailbox %d is there and expunged", x.UID, x.MailboxID)
		} else if !errors.Is(err, ErrExpunged) {
			return err
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("reading expunged messages: %w", err)
	}
	return nil
}

// others reads the rows that stand for themselves.
func (c *checker) others(ctx context.Context) error {
	for _, read := range []func(context.Context) error{
		readRows(c, "subscriptions", "", func(s *Subscription) string { return wrongIf(s.Name == "", "no name") }),
		readRows(c, "keys of hand-overs", "", func(h *Handover) string {
			c.handover(c.a.name, h.Key)
			return wrongIf(h.Key == "", "no key")
		}),
		readRows(c, "credentials", "", func(r *Credential) string { return wrongIf(r.Kind == "", "no kind") }),
		readRows(c, "reputations", mendFix, c.wrongReputation), c.rejects,
		readRows(c, "trainings of the junk filter", "", func(t *Training) string {
			return wrongIf(t.ModSeq > c.tx.row.ModSeq, "modseq beyond that of the account")
		}),
		readRows(c, "annotations", mendFix, c.wrongAnnotation),
		readRows(c, "messages to be told of", "", func(r *Arrival) string { return wrongIf(r.EmailID > c.tx.row.LastID, "id beyond those given") }),
		readRows(c, "addresses sent to", "", func(s *SentTo) string { return wrongIf(len(s.Address) > sentAddressMax, "address too long") }),
		readRows(c, "counts of sent messages", "", func(h *SentHour) string {
			return wrongIf(h.Messages < 0 || h.FirstTime > h.Messages, "impossible counts")
		}),
	} {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wrongAnnotation says what is wrong with an annotation.
func (c *checker) wrongAnnotation(a *Annotation) string {
	_, ok := c.boxes[a.MailboxID]
	switch name, err := CheckAnnotationName(a.Name); {
	case a.MailboxID != 0 && !ok:
		return "its mailbox is not there"
	case err != nil || name != a.Name:
		return "its name can't be"
	}
	return wrongIf(a.CreateSeq > a.ModSeq || a.ModSeq > c.tx.row.ModSeq, "modseq beyond that of the account")
}

func wrongIf(wrong bool, what string) string {
	if wrong {
		return what
	}
	return ""
}

// readRows returns a function that decodes all rows of a type, and reports those
// of which wrong says so.
func readRows[T any](c *checker, what, mend string, wrong func(*T) string) func(context.Context) error {
	return func(ctx context.Context) error {
		n := 0
		err := bstore.QueryTx[T](c.tx.b).ForEach(func(row T) error {
			n++
			if w := wrong(&row); w != "" {
				c.problem("it has no effect, or a wrong one", mend, "%s, row %d: %s", what, n, w)
			}
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("reading %s: %w", what, err)
		}
		return nil
	}
}

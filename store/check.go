package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/message"
)

// Problem is something that Check found.
type Problem struct {
	Account string // "" if about the journal.
	Text    string // What is wrong, and where.
	Effect  string // What it means for users.
	Mend    string // What mends it, "" if nothing is known to.
	Warning bool   // Nothing is damaged: it can come about in order, and be over by itself.
}

// String returns the problem in a line.
func (p Problem) String() string {
	if p.Account == "" {
		return p.Text
	}
	return fmt.Sprintf("account %s: %s", p.Account, p.Text)
}

// problemsMax bounds what Check reports for an account: a damaged one has a
// problem with each message.
const problemsMax = 1000

// Check verifies the invariants of all accounts, live: rows against each other,
// counts, sizes, and every message file's presence and size, and with content
// its checksum.
func (d *Dir) Check(ctx context.Context, content bool) ([]Problem, error) {
	names, err := d.Accounts()
	if err != nil {
		return nil, err
	}
	failed := map[string][]waiting{}
	problems, err := d.checkKeptAll(func(k keptRecord, list []waiting) {
		if len(list) > 0 && list[0].place == inFailed {
			failed[k.accountID] = append(failed[k.accountID], list...)
		}
	})
	if err != nil {
		return problems, fmt.Errorf("checking kept deliveries: %w", err)
	}
	for _, name := range names {
		a, err := d.Account(ctx, name)
		if errors.Is(err, ErrNoAccount) {
			continue
		} else if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return problems, err
		} else if err != nil {
			problems = append(problems, cantOpen(name, err))
			continue
		}
		found, err := a.check(ctx, content, failed[a.id])
		problems = append(problems, found...)
		if err := errors.Join(err, a.Close()); err != nil {
			return problems, fmt.Errorf("checking account %q: %w", name, err)
		}
	}
	return problems, nil
}

// cantOpen is the problem of an account that can't be opened.
func cantOpen(name string, err error) Problem {
	return Problem{Account: name, Text: fmt.Sprintf("can't be opened: %v", err), Effect: "nobody can read or get its mail", Mend: "restore the account from a backup"}
}

// checker gathers the problems of one account.
type checker struct {
	a        *Account
	tx       *Tx
	content  bool
	problems []Problem

	boxes    map[int64]*Mailbox // With counts as the rows say.
	draining map[int64]bool
	refs     map[int64]int64 // Messages of each Email: its size as they have it.
	erase    map[int64]bool
	emails   map[int64]bool
	size     int64
	lowest   int64 // A file from here on may have no row.

	journalID string
	waiting   []waiting
	reserved  map[int64]bool       // Ids that records have.
	again     map[int64]contentSum // Files that the next start writes again if need be.
}

// contentSum is what a content must be.
type contentSum struct {
	size int64
	crc  uint32
}

// Check verifies the account's invariants in one snapshot.
func (a *Account) Check(ctx context.Context, content bool) ([]Problem, error) {
	return a.check(ctx, content, nil)
}

// check is Check with the records of the account that could not be applied.
func (a *Account) check(ctx context.Context, content bool, failed []waiting) ([]Problem, error) {
	c := newChecker(a, content)
	c.journalID = a.dir.journal.ID()
	var err error
	if c.waiting, err = a.waitingNow(); err != nil {
		return nil, err
	}
	c.waiting = append(c.waiting, failed...)
	return c.run(ctx)
}

func newChecker(a *Account, content bool) *checker {
	return &checker{
		a: a, content: content, boxes: map[int64]*Mailbox{}, draining: map[int64]bool{},
		refs: map[int64]int64{}, erase: map[int64]bool{}, emails: map[int64]bool{}, reserved: map[int64]bool{},
	}
}

func (c *checker) run(ctx context.Context) ([]Problem, error) {
	unpin := c.a.dir.pin() // Files of the snapshot must stay until they are looked at.
	defer c.a.eraseSoon()
	defer unpin()
	err := c.a.View(ctx, func(tx *Tx) error {
		c.tx, c.lowest = tx, tx.row.Lowest
		for _, step := range []func() error{c.mailboxes, c.messages, c.counts, c.content1, c.structures, c.tombs, c.files, c.checkWaiting} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.strays(ctx)
	}
	return c.problems, err
}

func (c *checker) problem(effect, mend, format string, args ...any) {
	if len(c.problems) < problemsMax {
		c.problems = append(c.problems, Problem{Account: c.a.name, Text: fmt.Sprintf(format, args...), Effect: effect, Mend: mend})
	}
}

const (
	effectCounts = "clients show wrong numbers"
	effectSync   = "clients can miss changes"
	effectLost   = "a message can't be read"
	mendCounts   = "recalculate the mailbox counts"
	mendFile     = "restore the file from a backup"
	mendStray    = "move the file aside"
)

// mailboxes reads and checks the mailboxes.
func (c *checker) mailboxes() error {
	uses := map[SpecialUse]string{}
	valid := map[uint32]string{}
	err := bstore.QueryTx[Mailbox](c.tx.b).ForEach(func(mb Mailbox) error {
		c.boxes[mb.ID] = &Mailbox{Name: mb.Name}
		if name, err := CheckMailboxName(mb.Name); err != nil || name != mb.Name {
			c.problem("clients can't open the mailbox", "rename the mailbox", "mailbox %q has a name it should not have", mb.Name)
		}
		if o, ok := uses[mb.Use]; ok && mb.Use != UseNone {
			c.problem("clients choose one at random", "take the role from one", "mailboxes %q and %q both are %s", o, mb.Name, mb.Use)
		}
		uses[mb.Use] = mb.Name
		if o, ok := valid[mb.UIDValidity]; ok {
			c.problem(effectSync, "bump UIDVALIDITY", "mailboxes %q and %q have the same UIDVALIDITY", o, mb.Name)
		}
		valid[mb.UIDValidity] = mb.Name
		if int64(mb.UIDValidity) > c.tx.row.UIDValidity || mb.UIDValidity == 0 {
			c.problem(effectSync, "bump UIDVALIDITY", "mailbox %q has UIDVALIDITY %d, the last given is %d", mb.Name, mb.UIDValidity, c.tx.row.UIDValidity)
		}
		if mb.ModSeq > c.tx.row.ModSeq || mb.CreateSeq > mb.ModSeq {
			c.problem(effectSync, "", "mailbox %q has modseq %d, created at %d, account at %d", mb.Name, mb.ModSeq, mb.CreateSeq, c.tx.row.ModSeq)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if mb, err := c.tx.Mailbox(inbox); err != nil {
		c.problem("mail can't be delivered", "create the mailbox", "no Inbox: %v", err)
	} else if c.a.boxID(inbox) != mb.ID {
		c.problem("mail goes to the wrong mailbox", "restart", "the table of names has %d for Inbox, the row %d", c.a.boxID(inbox), mb.ID)
	}
	return bstore.QueryTx[MailboxGone](c.tx.b).ForEach(func(g MailboxGone) error {
		c.draining[g.ID] = g.Draining
		if _, ok := c.boxes[g.ID]; ok {
			c.problem(effectSync, "", "mailbox %d is there and deleted", g.ID)
		}
		return nil
	})
}

// boxID returns what the account has in memory for a mailbox name.
func (a *Account) boxID(name string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boxes[name]
}

// messages checks each message and counts.
func (c *checker) messages() error {
	last := c.a.lastID.Load()
	rows := map[int64]Mailbox{}
	for id := range c.boxes {
		mb, err := c.tx.MailboxByID(id)
		if err != nil {
			return err
		}
		rows[id] = mb
	}
	return bstore.QueryTx[Message](c.tx.b).ForEach(func(m Message) error {
		c.refs[m.EmailID] = m.Size
		box, ok := c.boxes[m.MailboxID]
		if !ok {
			if !c.draining[m.MailboxID] {
				c.problem(effectLost, "", "message %d is in mailbox %d that does not exist", m.ID, m.MailboxID)
			}
			return nil
		}
		mb := rows[m.MailboxID]
		box.count(&m, 1)
		switch {
		case m.ID > last || m.EmailID > last:
			c.problem("ids may be given again", "", "message %d of email %d, the last id is %d", m.ID, m.EmailID, last)
		case m.UID == 0 || m.UID >= mb.UIDNext:
			c.problem(effectSync, "fix UIDNEXT", "message %d in %q has UID %d, UIDNEXT is %d", m.ID, mb.Name, m.UID, mb.UIDNext)
		case m.CreateSeq > m.ModSeq || m.ModSeq > mb.ModSeq || m.CreateSeq == 0:
			c.problem(effectSync, "", "UID %d in %q has modseq %d, created at %d, mailbox at %d", m.UID, mb.Name, m.ModSeq, m.CreateSeq, mb.ModSeq)
		case m.Flags()&FlagSeen == 0 && m.UID < mb.UnseenFrom:
			c.problem(effectCounts, mendCounts, "UID %d in %q is unseen, the first should be at %d", m.UID, mb.Name, mb.UnseenFrom)
		case (m.Bits&bitMore != 0) != (len(m.More) > 0):
			c.problem("a keyword is missing", "", "UID %d in %q has keywords beyond its bits", m.UID, mb.Name)
		}
		if n := len(mb.Keywords); n < keywordBits && m.Bits&^bitMore>>(flagBits+n) != 0 {
			c.problem("a keyword is missing", "", "UID %d in %q has keywords that the mailbox does not list", m.UID, mb.Name)
		}
		return nil
	})
}

// counts compares the mailboxes' counts with those of their messages.
func (c *checker) counts() error {
	for id, got := range c.boxes {
		mb, err := c.tx.MailboxByID(id)
		if err != nil {
			return err
		}
		if mb.Total != got.Total || mb.Deleted != got.Deleted || mb.Unseen != got.Unseen || mb.Size != got.Size {
			c.problem(effectCounts, mendCounts, "mailbox %q says %d messages, %d deleted, %d unseen, %d bytes; there are %d, %d, %d, %d",
				mb.Name, mb.Total, mb.Deleted, mb.Unseen, mb.Size, got.Total, got.Deleted, got.Unseen, got.Size)
		}
	}
	return nil
}

// content1 checks the Emails against the messages that refer to them.
func (c *checker) content1() error {
	err := bstore.QueryTx[Erase](c.tx.b).ForEach(func(e Erase) error {
		c.erase[e.EmailID] = true
		return nil
	})
	if err != nil {
		return err
	}
	err = bstore.QueryTx[Email](c.tx.b).ForEach(func(e Email) error {
		c.emails[e.ID] = true
		size, ok := c.refs[e.ID]
		switch {
		case !ok && !c.erase[e.ID]:
			c.problem("disk space is used for nothing", "", "email %d is in no mailbox", e.ID)
		case ok && c.erase[e.ID]:
			c.problem("a message will vanish", "", "email %d is in a mailbox and to be erased", e.ID)
		case ok && size != e.Size, e.Size != e.FileSize+int64(len(e.Prefix)):
			c.problem("clients show a wrong size", "", "email %d has size %d, file %d, prefix %d, its messages say %d", e.ID, e.Size, e.FileSize, len(e.Prefix), size)
		}
		if ok {
			c.size += e.Size
		}
		for _, id := range e.Ancestors {
			if id == e.ID {
				c.problem("threads look wrong", "reassign threads", "email %d is its own ancestor", e.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id := range c.refs {
		if !c.emails[id] {
			c.problem(effectLost, mendFile, "messages refer to email %d that is not there", id)
		}
	}
	if c.size != c.tx.row.Size {
		c.problem("the quota is wrong", mendCounts, "account says %d bytes, its emails have %d", c.tx.row.Size, c.size)
	}
	return nil
}

// structures checks that each Email has one that can be read.
func (c *checker) structures() error {
	n := 0
	err := bstore.QueryTx[Structure](c.tx.b).ForEach(func(s Structure) error {
		n++
		if !c.emails[s.EmailID] {
			c.problem("disk space is used for nothing", "", "structure %d has no email", s.EmailID)
		}
		if _, err := message.ParsePart(s.Tree); err != nil {
			c.problem("parts of a message can't be read", "parse the message again", "structure of email %d: %v", s.EmailID, err)
		}
		return nil
	})
	if err == nil && n != len(c.emails) {
		c.problem("parts of messages can't be read", "parse the messages again", "%d emails have %d structures", len(c.emails), n)
	}
	return err
}

// tombs checks the rows for what is gone.
func (c *checker) tombs() error {
	return bstore.QueryTx[Expunged](c.tx.b).ForEach(func(x Expunged) error {
		if x.ModSeq > c.tx.row.ModSeq {
			c.problem(effectSync, "", "expunged UID %d has modseq %d, account at %d", x.UID, x.ModSeq, c.tx.row.ModSeq)
		}
		if _, ok := c.boxes[x.MailboxID]; !ok {
			return nil
		}
		if _, err := c.tx.message(x.MailboxID, x.UID); err == nil {
			c.problem(effectSync, "", "UID %d in mailbox %d is there and expunged", x.UID, x.MailboxID)
		} else if !errors.Is(err, ErrExpunged) {
			return err
		}
		return nil
	})
}

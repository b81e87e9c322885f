package sim

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/mjl-/mox/store"
)

// habit is how a user deals with mail.
type habit struct {
	name    string
	config  string  // Of the account, besides its address.
	good    float64 // Part of wanted mail that is marked, or moved to the archive.
	junk    float64 // Part of other mail that is marked, or moved to Junk.
	moves   bool    // Moves mail in place of marking it.
	rejects bool    // Looks into Rejects.
}

const filterText = "\t\tRejectsMailbox: Rejects\n\t\tJunkFilter:\n\t\t\tThreshold: 0.95\n\t\t\tOnegrams: true\n\t\t\tMaxPower: 0.01\n\t\t\tTopWords: 10\n\t\t\tIgnoreWords: 0.1\n\t\t\tRareWords: 2\n"

const autoFlagsText = "\t\tAutomaticJunkFlags:\n\t\t\tEnabled: true\n\t\t\tJunkMailboxRegexp: ^(junk|spam)\n\t\t\tNeutralMailboxRegexp: ^(inbox|rejects)\n"

var habits = []habit{
	{"marks", filterText, 0.8, 0.95, false, true},
	{"moves", filterText + autoFlagsText, 0.8, 0.95, true, true},
	{"lazy", filterText + autoFlagsText, 0.1, 0.5, true, false},
}

// citizen is a user of the town.
type citizen struct {
	habit
	town    *town
	account string
	rng     *rand.Rand

	wrote  map[string]bool // Addresses that the user has written to.
	marked map[string]bool // Addresses whose verified mail was last marked as not junk.
	topics map[string][]string
}

func (c *citizen) address() string { return c.account + "@home.example" }

// knows tells whether a sender is a known correspondent.
func (c *citizen) knows(from string) bool { return c.wrote[from] || c.marked[from] }

var simPattern = regexp.MustCompile(`X-Sim: (\S+)`)

// read deals with all mail that is new.
func (c *citizen) read(ctx context.Context, rejects bool) (err error) {
	a, err := c.town.sys.Accounts().Account(ctx, c.account)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	a.WaitDurable(ctx)
	boxes := []string{"Inbox", "Lists", "Forwarded"}
	if rejects && c.rejects {
		boxes = append(boxes, "Rejects")
	}
	for _, box := range boxes {
		letters, err := c.unread(ctx, a, box)
		if err != nil {
			return err
		}
		for uid, m := range letters {
			if err := c.deal(ctx, a, box, uid, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// unread returns the letters in a mailbox that the user has not dealt with.
func (c *citizen) unread(ctx context.Context, a *store.Account, box string) (map[store.UID]*letterTo, error) {
	emails := map[store.UID]int64{}
	err := a.View(ctx, func(tx *store.Tx) error {
		mb, err := tx.Mailbox(box)
		if err != nil {
			return nil // Not made yet.
		}
		for uid := c.town.dealt[c.account+"/"+box] + 1; uid < mb.UIDNext; uid++ {
			m, err := tx.Message(mb.ID, uid)
			if err == nil {
				emails[uid] = m.EmailID
			}
		}
		c.town.dealt[c.account+"/"+box] = mb.UIDNext - 1
		return nil
	})
	letters := map[store.UID]*letterTo{}
	for uid, id := range emails {
		f, err := a.OpenMessage(id)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		if match := simPattern.FindSubmatch(b); match != nil {
			letters[uid] = c.town.letters[string(match[1])]
		}
	}
	return letters, err
}

// deal deals with one message as the user does.
func (c *citizen) deal(ctx context.Context, a *store.Account, box string, uid store.UID, m *letterTo) error {
	if m == nil || box == "Rejects" && !m.kind.wanted() {
		return nil
	}
	if m.kind == fromFriend || m.kind == fromStranger && c.rng.IntN(3) == 0 {
		if c.rng.IntN(3) == 0 {
			if err := c.write(ctx, a, m.from); err != nil {
				return err
			}
		}
	}
	part, flag, to := c.good, store.FlagNotJunk, "Archive"
	if !m.kind.wanted() {
		part, flag, to = c.junk, store.FlagJunk, "Junk"
	}
	if box != "Rejects" && c.rng.Float64() > part {
		return nil
	}
	if m.kind.wanted() && m.verified() {
		c.marked[m.from] = true
	}
	return a.Update(ctx, func(tx *store.Tx) error {
		src, err := tx.Mailbox(box)
		if err != nil {
			return err
		}
		if !c.moves {
			if _, err := tx.SetFlags(&src, []store.UID{uid}, store.FlagChange{Op: store.FlagsAdd, Flags: flag}); err != nil || box != "Rejects" {
				return err
			}
			to = "Inbox"
		}
		dst, err := tx.Mailbox(to)
		if errors.Is(err, store.ErrNoMailbox) {
			if _, err = tx.CreateMailbox(to, store.UseNone); err == nil {
				dst, err = tx.Mailbox(to)
			}
		}
		if err != nil {
			return err
		}
		_, err = tx.Move(&src, &dst, []store.UID{uid})
		return err
	})
}

// write has the user write to an address.
func (c *citizen) write(ctx context.Context, a *store.Account, to string) error {
	c.wrote[to] = true
	now := time.Now()
	return a.RecordSent(ctx, []store.SentTo{{Address: to, First: now, Last: now}}, nil, 0)
}

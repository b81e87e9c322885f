package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mjl-/mox/database"
)

// Problem is something that Check or Verify found.
type Problem struct {
	Account string // "" if about the journal.
	File    string // Below the data directory, with slashes; "" if not about one file. Rows are in accounts/<name>/index.db.
	Kind    string // The same for problems that differ only in what they are about. Not for people.
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
			problems = append(problems, cantRead(name, err))
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

// cantRead is the problem of an account that can't be opened, or not be read to
// its end.
func cantRead(name string, err error) Problem {
	if errors.Is(err, database.ErrNewer) {
		return Problem{
			Account: name, File: accountFile(name), Kind: "newer", Text: err.Error(), Effect: "this version can't read it", Mend: "use the version that wrote it, or a later one",
		}
	}
	return Problem{
		Account: name, File: accountFile(name), Kind: "cantread", Text: fmt.Sprintf("can't be read: %v", err), Effect: "nobody can read or get its mail, or not all of it",
		Mend: "restore the account from a backup",
	}
}

// accountFile names the database of an account in a Problem.
func accountFile(name string) string { return "accounts/" + name + "/" + indexFile }

// checker looks for problems of one account.
type checker struct {
	a        *Account // Whose rows are looked at: as it is, or in a copy.
	live     *Account // Of which it is known what waits: a, or that of which a is a copy.
	tx       *Tx
	content  bool
	files    *filePool      // Nil: files are looked at in between.
	left     sync.WaitGroup // Files given to the pool.
	checked  func(bytes int64)
	handover func(account, key string)

	boxes    map[int64]*boxCheck
	draining map[int64]bool // Deleted mailboxes, true while messages are left.
	erase    idSet
	emails   idSet
	messages int64
	lowest   int64 // A file from here on may have no row.

	journalID string
	waiting   []waiting
	reserved  map[int64]bool       // Ids that records have.
	again     map[int64]contentSum // Files that the next start writes again if need be.

	mu     sync.Mutex // Held by report.
	report func(Problem)
}

// boxCheck is a mailbox, with counts as its row has them and as its messages say.
type boxCheck struct {
	row, counted Mailbox
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
	var problems []Problem
	c := newChecker(a, func(p Problem) {
		if len(problems) < problemsMax {
			problems = append(problems, p)
		}
	})
	c.content, c.journalID = content, a.dir.journal.ID()
	var err error
	if c.waiting, err = a.waitingNow(); err != nil {
		return nil, err
	}
	c.waiting = append(c.waiting, failed...)
	defer a.eraseSoon()
	defer a.dir.pin()() // Files of the snapshot must stay until they are looked at.
	err = errors.Join(c.run(ctx), c.junkLive(ctx))
	return problems, err
}

func newChecker(a *Account, report func(Problem)) *checker {
	return &checker{
		a: a, live: a, report: report, boxes: map[int64]*boxCheck{}, draining: map[int64]bool{},
		erase: idSet{}, emails: idSet{}, reserved: map[int64]bool{}, checked: func(int64) {}, handover: func(string, string) {},
	}
}

// run looks at everything. An error means that it could not.
func (c *checker) run(ctx context.Context) error {
	err := c.a.View(ctx, func(tx *Tx) error {
		c.tx, c.lowest = tx, tx.row.Lowest
		for _, step := range []func(context.Context) error{c.mailboxes, c.rows, c.counts, c.contents, c.tombs, c.others, c.checkWaiting} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.strays(ctx)
	}
	return err
}

// problem reports something about rows.
func (c *checker) problem(effect, mend, format string, args ...any) {
	c.emit(Problem{File: accountFile(c.a.name), Kind: format, Text: fmt.Sprintf(format, args...), Effect: effect, Mend: mend})
}

// fileProblem reports something about the file at path.
func (c *checker) fileProblem(path, effect, mend, format string, args ...any) {
	c.emit(Problem{File: c.a.dir.relative(path), Kind: format, Text: fmt.Sprintf(format, args...), Effect: effect, Mend: mend})
}

// emit reports a problem of the account. Files are looked at by several goroutines.
func (c *checker) emit(p Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Account = c.a.name
	c.report(p)
}

// What problems mean, and what mends them.
const (
	effectCounts = "clients show wrong numbers"
	effectSync   = "clients can miss changes"
	effectLost   = "a message can't be read"
	effectSpace  = "disk space is used for nothing"
	effectIDs    = "ids may be given again"
	effectParts  = "parts of a message can't be read, or are shown wrongly"
	effectThread = "threads look wrong"
	mendFix      = "verifydata -fix"
	mendFile     = "restore the file from a backup"
	mendLost     = "restore the file from a backup, or verifydata -fix, which removes the message"
	mendSize     = "restore the file from a backup, or verifydata -fix, which takes it as it is"
)

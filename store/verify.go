package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/journal"
)

// VerifyOptions says how to verify.
type VerifyOptions struct {
	// Report is called for each problem, by one goroutine at a time. Required.
	Report func(Problem)

	// Content is whether message files are read: their checksums, and what was
	// derived from them. Otherwise only their size is looked at.
	Content bool

	// Whole is whether all files of messages must be as they are to be. Otherwise
	// those that the next start writes again from the journal need not: a crash can
	// leave them torn.
	Whole bool

	// Temp is a directory for copies of databases. "": that of the system.
	Temp string

	// Workers is how many files are looked at at a time, and at most how many
	// accounts. 0: one.
	Workers int

	// Checked is called after each message file, by several goroutines. Nil: nothing.
	Checked func(bytes int64)

	// Handover is called for each key that an account keeps for the queue, by several
	// goroutines. Nil: nothing.
	Handover func(account, key string)
}

// complete fills in defaults.
func (o *VerifyOptions) complete() {
	if o.Temp == "" {
		o.Temp = os.TempDir()
	}
	o.Workers = max(1, o.Workers)
	if o.Checked == nil {
		o.Checked = func(int64) {}
	}
	if o.Handover == nil {
		o.Handover = func(string, string) {}
	}
	var mu sync.Mutex
	report := o.Report
	o.Report = func(p Problem) {
		mu.Lock()
		defer mu.Unlock()
		report(p)
	}
}

// Verify is Check for a data directory that nobody has open, as that of a server
// that has stopped, or a copy. It applies nothing: records of the journal that
// the next start would apply are compared with the accounts as they are
// (journal.md, rule 15). Of opts it uses Dir, Log, Removed and QuotaSize.
//
// Nothing is changed in the directory, and it may be one that can't be written
// to: databases are copied before they are opened.
//
// What a crash leaves and the next start mends is no problem: a torn end of the
// journal, message files that are in the journal, and new ones without a row.
func Verify(ctx context.Context, opts Options, how VerifyOptions) error {
	how.complete()
	v := &verifier{
		d: &Dir{opts: opts, log: opts.Log}, opts: how,
		waiting: map[string][]waiting{}, kept: map[asideKey]bool{}, damaged: map[string]bool{},
	}
	for _, step := range []func(context.Context) error{v.keptRecords, v.journal, v.accounts, v.unknown} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("verifying %s: %w", opts.Dir, err)
		}
	}
	return nil
}

// verifier is one Verify; its methods are the steps, in their order.
type verifier struct {
	d    *Dir
	opts VerifyOptions

	report  journal.Report
	waiting map[string][]waiting // What all records say, applied or not, by account id.
	kept    map[asideKey]bool

	mu      sync.Mutex
	seen    map[string]string // Names of accounts by id.
	damaged map[string]bool   // Accounts that can't be read, by name.
}

func (v *verifier) problem(file, effect, mend, format string, args ...any) {
	v.opts.Report(Problem{File: file, Kind: format, Text: fmt.Sprintf(format, args...), Effect: effect, Mend: mend})
}

// keptRecords reads what is kept beside the journal. Of a record that is there
// too, this copy counts.
func (v *verifier) keptRecords(context.Context) error {
	problems, err := v.d.checkKeptAll(func(k keptRecord, list []waiting) {
		v.kept[asideKey{k.accountID, k.seq}] = true
		v.waiting[k.accountID] = append(v.waiting[k.accountID], list...)
	})
	for _, p := range problems {
		v.opts.Report(p)
	}
	return err
}

// journal reads the journal.
func (v *verifier) journal(ctx context.Context) error {
	dir := filepath.Join(v.d.opts.Dir, "journal")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		v.problem("journal", effectAccepted, "look for it: it is a directory beside that of the accounts", "there is no journal")
		return nil
	}
	var err error
	v.report, err = journal.Verify(ctx, dir, func(e *journal.Entry) error {
		r, err := decodeRecord(e)
		if err != nil {
			v.problem("journal", effectAccepted, mendRecord, "delivery %d in the journal: %v", e.Seq, err)
			return nil
		}
		if err := checkRecord(r); err != nil {
			v.problem("journal", effectAccepted, mendRecord, "delivery %d in the journal: %v", e.Seq, err)
		}
		for i := range r.rcpts {
			rcpt := &r.rcpts[i]
			if !v.kept[asideKey{rcpt.accountID, e.Seq}] {
				v.waiting[rcpt.accountID] = append(v.waiting[rcpt.accountID], waitingOf(inJournal, r, []*recordRcpt{rcpt})...)
			}
		}
		return nil
	})
	reportJournal(v.report, v.problem)
	for _, name := range v.report.Strays {
		v.opts.Report(Problem{
			File: "journal/files/" + name, Kind: "strays", Text: fmt.Sprintf("no record of the journal names file %s", name), Effect: effectSpace,
			Mend: "start the server, which removes it", Warning: true,
		})
	}
	return err
}

// reportJournal reports what is wrong with a journal.
func reportJournal(r journal.Report, problem func(file, effect, mend, format string, args ...any)) {
	for _, p := range r.Problems {
		file := "journal"
		if corrupt, ok := errors.AsType[*journal.CorruptError](p); ok {
			file += "/" + corrupt.Segment
		}
		problem(file, effectAccepted, mendRecord, "journal: %v", p)
	}
	if r.Beyond > 0 {
		problem("journal", effectAccepted, mendRecord, "journal: %d records are after the damaged place", r.Beyond)
	}
}

// accounts checks the accounts, several at a time.
func (v *verifier) accounts(ctx context.Context) error {
	names, err := v.d.Accounts()
	if err != nil {
		return err
	}
	pool := newFilePool(v.opts.Workers)
	defer pool.close()
	return eachAtOnce(names, v.opts.Workers, func(name string) error {
		err := v.account(ctx, name, pool)
		if ctx.Err() != nil || errors.Is(err, database.ErrNoRoom) {
			return err
		} else if err != nil {
			v.mu.Lock()
			v.damaged[name] = true
			v.mu.Unlock()
			v.opts.Report(cantRead(name, err))
		}
		return nil
	})
}

// eachAtOnce calls fn for each name, at most n at a time, until one fails.
func eachAtOnce(names []string, n int, fn func(name string) error) error {
	var group sync.WaitGroup
	next := make(chan string)
	errs := make(chan error, n)
	for range min(n, len(names)) {
		group.Go(func() {
			for name := range next {
				if err := fn(name); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	var err error
	for _, name := range names {
		select {
		case next <- name:
			continue
		case err = <-errs:
		}
		break
	}
	close(next)
	group.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// account checks one account, in a copy of its database.
func (v *verifier) account(ctx context.Context, name string, pool *filePool) (err error) {
	path := v.d.accountDir(name)
	db, remove, err := database.OpenCopy(ctx, filepath.Join(path, indexFile), v.opts.Temp, databaseKind, schemaVersion, rowTypes...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	a, row, err := v.d.accountOf(ctx, name, db)
	if err != nil {
		return err
	}
	c := newChecker(a, v.opts.Report)
	if row.JournalID == v.report.ID && row.Watermark > int64(v.report.Head) && len(v.report.Problems) == 0 {
		v.problem("journal", effectAccepted, "look for a newer journal", "account %s has applied delivery %d, the journal ends at %d", name, row.Watermark, v.report.Head)
	}
	waiting := v.take(a)
	c.identity(&row, v.sameID(a))
	c.content, c.checked, c.handover, c.files = v.opts.Content, v.opts.Checked, v.opts.Handover, pool
	c.journalID, c.waiting, c.again = v.report.ID, waiting, map[int64]contentSum{}
	a.raiseID(row.LastID)
	for _, w := range c.waiting {
		a.raiseID(max(w.emailID, w.messageID)) // The next start does so.
		if !v.opts.Whole {
			c.again[w.emailID] = contentSum{w.fileSize, w.crc}
		}
	}
	return errors.Join(c.run(ctx), c.junkFile(ctx, filepath.Join(path, junkFile), v.opts.Temp))
}

// accountOf returns an account with a database that is a copy of its own.
func (d *Dir) accountOf(ctx context.Context, name string, db *bstore.DB) (*Account, accountRow, error) {
	a := newAccountOf(d, name, db)
	row := accountRow{ID: 1}
	if err := db.Read(ctx, func(tx *bstore.Tx) error { return tx.Get(&row) }); err != nil {
		return nil, row, fmt.Errorf("reading account: %w", err)
	}
	a.id = row.AccountID
	return a, row, a.adopt(ctx, row)
}

// take returns the records for an account.
func (v *verifier) take(a *Account) []waiting {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := v.waiting[a.id]
	delete(v.waiting, a.id)
	return list
}

// sameID returns the name of another account that was seen with the same id, "" if
// none was.
func (v *verifier) sameID(a *Account) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil {
		v.seen = map[string]string{}
	}
	other := v.seen[a.id]
	v.seen[a.id] = a.name
	return other
}

// identity checks that a database is that of its account: it may have been
// copied from another.
func (c *checker) identity(row *accountRow, other string) {
	const mend = "restore the account's own database from a backup"
	if row.Name != c.a.name {
		c.problem("users see the mail of others, or none", mend, "the database is that of account %q", row.Name)
	}
	if other != "" {
		c.problem("users see the mail of others, or none", mend, "the database has the same id as that of account %q", other)
	}
	if len(row.AccountID) != accountIDSize || row.ModSeq < 1 || row.UIDValidity < 1 || row.UIDValidity > 1<<32-1 {
		c.problem(effectSync, "", "the account's row is not whole: id %q, modseq %d, UIDVALIDITY %d", row.AccountID, row.ModSeq, row.UIDValidity)
	}
}

// accountIDSize is the length of an account's id, in hexadecimal digits.
const accountIDSize = 32

// unknown looks at records for accounts that are not there.
func (v *verifier) unknown(context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(v.waiting)) {
		list := slices.DeleteFunc(v.waiting[id], func(w waiting) bool { return w.place == inFailed })
		if len(list) == 0 || v.damaged[list[0].account] {
			continue
		}
		if v.d.opts.Removed != nil {
			removed, err := v.d.opts.Removed(id)
			if err != nil {
				return fmt.Errorf("asking whether account %s was removed: %w", id, err)
			}
			if removed {
				continue
			}
		}
		v.problem("journal", "accepted messages are in no mailbox", "restore the account from a backup",
			"%d deliveries, the first %d %s, are for account %q with id %s, which is not there and was not removed", len(list), list[0].seq, list[0].place, list[0].account, id)
	}
	return nil
}

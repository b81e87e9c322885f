package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/journal"
)

// Verify is Check for a data directory that nobody has open, as that of a server
// that has stopped, or a copy. It applies nothing: records of the journal that
// the next start would apply are compared with the accounts as they are
// (journal.md, rule 15). Of opts it uses Dir, Log, Removed and QuotaSize.
//
// Opening a database needs a file that can be written, though no row changes.
//
// What a crash leaves and the next start mends is no problem: a torn end of the
// journal, message files that are in the journal, and new ones without a row.
func Verify(ctx context.Context, opts Options, content bool) ([]Problem, error) {
	v := &verifier{
		d: &Dir{opts: opts, log: opts.Log}, content: content,
		waiting: map[string][]waiting{}, kept: map[asideKey]bool{}, damaged: map[string]bool{},
	}
	for _, step := range []func(context.Context) error{v.keptRecords, v.journal, v.accounts, v.unknown} {
		if err := step(ctx); err != nil {
			return v.problems, fmt.Errorf("verifying %s: %w", opts.Dir, err)
		}
	}
	return v.problems, nil
}

// verifier is one Verify; its methods are the steps, in their order.
type verifier struct {
	d        *Dir
	content  bool
	problems []Problem

	report  journal.Report
	waiting map[string][]waiting // What all records say, applied or not, by account id.
	kept    map[asideKey]bool
	damaged map[string]bool // Accounts that can't be opened, by name.
}

func (v *verifier) problem(effect, mend, format string, args ...any) {
	v.problems = append(v.problems, Problem{Text: fmt.Sprintf(format, args...), Effect: effect, Mend: mend})
}

// keptRecords reads what is kept beside the journal. Of a record that is there
// too, this copy counts.
func (v *verifier) keptRecords(context.Context) error {
	problems, err := v.d.checkKeptAll(func(k keptRecord, list []waiting) {
		v.kept[asideKey{k.accountID, k.seq}] = true
		v.waiting[k.accountID] = append(v.waiting[k.accountID], list...)
	})
	v.problems = append(v.problems, problems...)
	return err
}

// journal reads the journal.
func (v *verifier) journal(ctx context.Context) error {
	dir := filepath.Join(v.d.opts.Dir, "journal")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		v.problem(effectAccepted, "look for it: it is a directory beside that of the accounts", "there is no journal")
		return nil
	}
	var err error
	v.report, err = journal.Verify(ctx, dir, func(e *journal.Entry) error {
		r, err := decodeRecord(e)
		if err != nil {
			v.problem(effectAccepted, mendRecord, "delivery %d in the journal: %v", e.Seq, err)
			return nil
		}
		if err := checkRecord(r); err != nil {
			v.problem(effectAccepted, mendRecord, "delivery %d in the journal: %v", e.Seq, err)
		}
		for i := range r.rcpts {
			rcpt := &r.rcpts[i]
			if !v.kept[asideKey{rcpt.accountID, e.Seq}] {
				v.waiting[rcpt.accountID] = append(v.waiting[rcpt.accountID], waitingOf(inJournal, r, []*recordRcpt{rcpt})...)
			}
		}
		return nil
	})
	for _, p := range v.report.Problems {
		v.problem(effectAccepted, mendRecord, "journal: %v", p)
	}
	for _, name := range v.report.Strays {
		v.problem("disk space is used for nothing", "start the server, which removes it", "no record of the journal names file %s", name)
	}
	return err
}

// accounts checks each account.
func (v *verifier) accounts(ctx context.Context) error {
	names, err := v.d.Accounts()
	if err != nil {
		return err
	}
	for _, name := range names {
		err := v.account(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			v.damaged[name] = true
			v.problems = append(v.problems, cantOpen(name, err))
		}
	}
	return nil
}

// account checks one account.
func (v *verifier) account(ctx context.Context, name string) (err error) {
	path := v.d.accountDir(name)
	if damage := database.Check(filepath.Join(path, indexFile)); len(damage) > 0 {
		return errors.Join(damage...)
	}
	db, err := openDatabase(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	a := newAccountOf(v.d, name, db)
	row := accountRow{ID: 1}
	if err := db.Read(ctx, func(tx *bstore.Tx) error { return tx.Get(&row) }); err != nil {
		return err
	}
	a.id = row.AccountID
	if err := a.adopt(ctx, row); err != nil {
		return err
	}
	if row.JournalID == v.report.ID && row.Watermark > int64(v.report.Head) && len(v.report.Problems) == 0 {
		v.problem(effectAccepted, "look for a newer journal", "account %s has applied delivery %d, the journal ends at %d", name, row.Watermark, v.report.Head)
	}
	c := newChecker(a, v.content)
	c.journalID, c.waiting, c.again = v.report.ID, v.waiting[a.id], map[int64]contentSum{}
	delete(v.waiting, a.id)
	a.raiseID(row.LastID)
	for _, w := range c.waiting {
		a.raiseID(max(w.emailID, w.messageID)) // The next start does so.
		c.again[w.emailID] = contentSum{w.fileSize, w.crc}
	}
	problems, err := c.run(ctx)
	v.problems = append(v.problems, problems...)
	return err
}

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
		v.problem("accepted messages are in no mailbox", "restore the account from a backup",
			"%d deliveries, the first %d %s, are for account %q with id %s, which is not there and was not removed", len(list), list[0].seq, list[0].place, list[0].account, id)
	}
	return nil
}

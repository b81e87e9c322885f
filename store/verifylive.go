package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/journal"
)

// Verify is the function Verify while mail flows. Each database is streamed to a
// copy, so that no snapshot is held while its files are looked at, and writers
// wait for nothing. What was reserved since the copy was made is left out.
//
// While an account is looked at, files of expunged messages stay.
func (d *Dir) Verify(ctx context.Context, how VerifyOptions) error {
	how.complete()
	v := &verifier{d: d, opts: how, waiting: map[string][]waiting{}}
	for _, step := range []func(context.Context) error{v.copiedJournal, v.failedRecords, v.liveAccounts} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("verifying %s: %w", d.opts.Dir, err)
		}
	}
	return nil
}

// copiedJournal checks a copy of the journal up to its durable head: what is
// behind that is just being written.
func (v *verifier) copiedJournal(ctx context.Context) error {
	temp, err := os.MkdirTemp(v.opts.Temp, "journal-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	err = database.CheckRoom(v.opts.Temp, v.journalSize())
	if err != nil {
		return err
	}
	defer v.d.journal.Pin()()
	if _, err := v.d.journal.CopyTo(ctx, filepath.Join(temp, "journal")); err != nil {
		v.problem("journal", effectAccepted, mendRecord, "journal can't be copied: %v", err)
		return ctx.Err()
	}
	report, err := journal.Verify(ctx, filepath.Join(temp, "journal"), v.record)
	if err != nil {
		return err
	}
	reportJournal(report, v.problem)
	return nil
}

// record checks one record of the journal by itself.
func (v *verifier) record(e *journal.Entry) error {
	r, err := decodeRecord(e)
	if err == nil {
		err = checkRecord(r)
	}
	if err != nil {
		v.problem("journal", effectAccepted, mendRecord, "delivery %d in the journal: %v", e.Seq, err)
	}
	return nil
}

// journalSize returns at most how many bytes the journal has.
func (v *verifier) journalSize() int64 {
	var size int64
	dir := filepath.Join(v.d.opts.Dir, "journal")
	for _, pattern := range []string{"*", "files/*"} {
		names, _ := filepath.Glob(filepath.Join(dir, pattern)) // The pattern is a good one.
		for _, name := range names {
			if fi, err := os.Lstat(name); err == nil && fi.Mode().IsRegular() {
				size += fi.Size()
			}
		}
	}
	return size
}

// failedRecords reads the records that could not be applied. Those put aside are
// among what waits for their accounts.
func (v *verifier) failedRecords(context.Context) error {
	problems, err := v.d.checkKeptAll(func(k keptRecord, list []waiting) {
		if len(list) > 0 && list[0].place == inFailed {
			v.waiting[k.accountID] = append(v.waiting[k.accountID], list...)
		}
	})
	for _, p := range problems {
		v.opts.Report(p)
	}
	return err
}

// liveAccounts checks the accounts, several at a time.
func (v *verifier) liveAccounts(ctx context.Context) error {
	names, err := v.d.Accounts()
	if err != nil {
		return err
	}
	pool := newFilePool(v.opts.Workers)
	defer pool.close()
	return eachAtOnce(names, v.opts.Workers, func(name string) error {
		err := v.liveAccount(ctx, name, pool)
		switch {
		case errors.Is(err, ErrNoAccount): // Removed meanwhile.
			return nil
		case ctx.Err() != nil, errors.Is(err, ErrClosed), errors.Is(err, database.ErrNoRoom):
			return err
		case err != nil:
			v.opts.Report(cantRead(name, err))
		}
		return nil
	})
}

// liveAccount checks one account, as it is in a copy of its database.
func (v *verifier) liveAccount(ctx context.Context, name string, pool *filePool) (err error) {
	live, err := v.d.Account(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	defer live.eraseSoon()
	defer v.d.pin()() // Files of the copy must stay until they are looked at.

	// First what waits: some of it may be applied when the copy is made, which that
	// says by itself.
	waiting, err := live.waitingNow()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(v.opts.Temp, "account-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if fi, err := os.Stat(filepath.Join(live.path, indexFile)); err != nil {
		return err
	} else if err := database.CheckRoom(v.opts.Temp, fi.Size()); err != nil {
		return err
	}
	path := filepath.Join(temp, indexFile)
	if err := live.dumpDatabase(ctx, path); err != nil {
		return fmt.Errorf("copying database: %w", err)
	}
	if damage := database.Check(path); len(damage) > 0 {
		return errors.Join(damage...)
	}
	db, err := openDatabase(temp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	a, row, err := v.d.accountOf(ctx, name, db)
	if err != nil {
		return err
	}
	a.raiseID(live.lastID.Load())
	c := newChecker(a, v.opts.Report)
	c.identity(&row, v.sameID(a))
	c.live, c.content, c.checked, c.handover, c.files = live, v.opts.Content, v.opts.Checked, v.opts.Handover, pool
	c.journalID, c.waiting = v.d.journal.ID(), append(waiting, v.take(a)...)
	return errors.Join(c.run(ctx), c.junkLive(ctx))
}

// dumpDatabase copies the database while it is in use, to be looked at.
func (a *Account) dumpDatabase(ctx context.Context, path string) error {
	a.dbMu.RLock()
	defer a.dbMu.RUnlock()
	if a.gone {
		return ErrClosed
	}
	return database.DumpTo(ctx, a.db, path)
}

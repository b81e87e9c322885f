package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
)

// CopyResult says what CopyTo has copied.
type CopyResult struct {
	Accounts int
	Messages int64
	Copied   int64  // Of Messages: not linked, since the file system can't.
	Bytes    int64  // Of messages.
	Head     uint64 // Last record of the journal in the copy.

	// Problems are accounts that were copied as they are since they are damaged,
	// message files that are not there, and as warnings what nobody knows. The copy
	// has what there is. There are at most CopyProblemsMax, and More of which only
	// the number is known.
	Problems []Problem
	More     int
}

// CopyProblemsMax bounds the problems of a CopyResult.
const CopyProblemsMax = 100

// problem notes a problem.
func (r *CopyResult) problem(p Problem) {
	if len(r.Problems) == CopyProblemsMax {
		r.More++
		return
	}
	r.Problems = append(r.Problems, p)
}

// CopyOptions change how CopyTo works. All fields are optional.
type CopyOptions struct {
	// Room is asked before so many bytes are written. With an error all ends.
	Room func(bytes int64) error

	// Progress is told of each account when it is begun, and then of the messages
	// that are done in it, a thousand at a time.
	Progress func(account string, messages int64)

	// BeforeJournal is called when the accounts are copied: to copy the queue, of
	// which messages can have gone to accounts meanwhile, and are in the journal then
	// (journal.md, rule 18). With an error all ends.
	BeforeJournal func() error

	// Link links a message file. Nil: os.Link.
	Link func(from, to string) error
}

// CopyTo makes a consistent copy of all accounts and the journal below dst,
// which must not have accounts/ or journal/ yet, while mail flows. Message files
// are linked where the file system can, else copied (journal.md, rule 14).
// Damaged accounts don't keep the others from being copied.
//
// The journal is copied last: every delivery that was acknowledged before is in
// the copy, in an account or in the journal. When CopyTo returns, all is on disk.
func (d *Dir) CopyTo(ctx context.Context, dst string, opts CopyOptions) (CopyResult, error) {
	c := &copier{d: d, dst: dst, opts: opts}
	for _, sub := range []string{"accounts", "journal"} {
		if _, err := os.Lstat(filepath.Join(dst, sub)); err == nil {
			return c.res, fmt.Errorf("copying to %s: %s is there already", dst, sub)
		}
	}
	c.complete()
	unpin := d.journal.Pin()
	defer unpin()
	defer d.pin()()
	if err := atomicfile.MkdirAll(filepath.Join(dst, "accounts"), 0o750); err != nil {
		return c.res, err
	}
	if err := c.openFS(); err != nil {
		return c.res, err
	}
	err := c.run(ctx)
	if c.fs != nil {
		err = errors.Join(err, c.fs.Close())
	}
	return c.res, err
}

// copier is one CopyTo. Its methods are the steps, in their order.
type copier struct {
	d    *Dir
	dst  string
	opts CopyOptions
	fs   *atomicfile.FS // Of dst; nil where files are synced one by one.
	res  CopyResult
}

// complete fills in options.
func (c *copier) complete() {
	if c.opts.Room == nil {
		c.opts.Room = func(int64) error { return nil }
	}
	if c.opts.Progress == nil {
		c.opts.Progress = func(string, int64) {}
	}
	if c.opts.BeforeJournal == nil {
		c.opts.BeforeJournal = func() error { return nil }
	}
	if c.opts.Link == nil {
		c.opts.Link = os.Link
	}
}

func (c *copier) openFS() error {
	fs, err := atomicfile.OpenFS(c.dst)
	if err == nil {
		c.fs = fs
	} else if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

func (c *copier) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{c.accounts, c.unknownAccounts, c.kept, c.journal} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if c.fs != nil {
		if err := c.fs.Sync(); err != nil {
			return err
		}
	}
	// Applied files were not synced, and links share their bytes.
	return c.d.syncFiles()
}

// stops says whether an error is about more than what was being copied.
func (c *copier) stops(ctx context.Context, err error) bool {
	_, full := errors.AsType[*roomError](err)
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return ctx.Err() != nil || full || errors.Is(err, syscall.ENOSPC) || c.d.closed
}

// roomError is an error of CopyOptions.Room.
type roomError struct{ error }

func (e *roomError) Unwrap() error { return e.error }

func (c *copier) room(bytes int64) error {
	if err := c.opts.Room(bytes); err != nil {
		return &roomError{err}
	}
	return nil
}

// accounts copies each account.
func (c *copier) accounts(ctx context.Context) error {
	names, err := c.d.Accounts()
	if err != nil {
		return err
	}
	for _, name := range names {
		c.opts.Progress(name, 0)
		dst := filepath.Join(c.dst, "accounts", name)
		err := c.account(ctx, name, dst)
		if errors.Is(err, ErrNoAccount) { // Removed meanwhile.
			if err := os.RemoveAll(dst); err != nil {
				return err
			}
			continue
		}
		if err != nil && !c.stops(ctx, err) {
			c.res.problem(Problem{
				Account: name, Text: fmt.Sprintf("copied as it is: %v", err), Effect: "it can't be restored from the copy", Mend: "restore the account from an earlier backup",
			})
			err = c.raw(ctx, c.d.accountDir(name), dst)
		}
		if err != nil {
			return fmt.Errorf("copying account %q: %w", name, err)
		}
	}
	return atomicfile.SyncDir(filepath.Join(c.dst, "accounts"))
}

// account copies one account, or returns ErrNoAccount if it is removed meanwhile.
func (c *copier) account(ctx context.Context, name, dst string) error {
	a, err := c.d.Account(ctx, name)
	if err != nil {
		return err
	}
	before := c.res
	err = c.open(ctx, a, dst)
	c.d.mu.Lock()
	removing := a.removing
	c.d.mu.Unlock()
	if removing {
		c.res, err = before, fmt.Errorf("%w: %q is being removed", ErrNoAccount, name)
	}
	return errors.Join(err, a.Close())
}

// open copies an open account: the database, then the files that it names, then
// what else is there.
func (c *copier) open(ctx context.Context, a *Account, dst string) error {
	if err := atomicfile.MkdirAll(filepath.Join(dst, "msg"), 0o750); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(a.path, indexFile))
	if err != nil {
		return err
	}
	if err := c.room(info.Size()); err != nil {
		return err
	}
	if err := c.databases(ctx, a, dst); err != nil {
		return err
	}
	db, err := openDatabase(dst)
	if err != nil {
		return err
	}
	m := &messageCopier{copier: c, a: a, db: db, dst: dst, seen: map[string]bool{}}
	if err := errors.Join(m.run(ctx), db.Close()); err != nil {
		return err
	}
	c.res.Accounts++
	return errors.Join(atomicfile.SyncDir(filepath.Join(dst, "msg")), atomicfile.SyncDir(dst))
}

// databases copies the junk filter and the database, between two steps of training:
// what the filter was not trained with yet, the database still asks for.
func (c *copier) databases(ctx context.Context, a *Account, dst string) error {
	a.junk.copying.Lock()
	defer a.junk.copying.Unlock()
	if err := c.copyJunk(ctx, a, dst); err != nil {
		return err
	}
	return a.copyDatabase(ctx, filepath.Join(dst, indexFile))
}

// copyDatabase copies the database while it is in use.
func (a *Account) copyDatabase(ctx context.Context, path string) error {
	a.dbMu.RLock()
	defer a.dbMu.RUnlock()
	if a.gone {
		return ErrClosed
	}
	return database.CopyTo(ctx, a.db, path)
}

// unknownAccounts copies what is among the accounts and is none.
func (c *copier) unknownAccounts(ctx context.Context) error {
	entries, err := os.ReadDir(c.d.accountDir(""))
	if err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := c.d.accountDir(e.Name()), filepath.Join(c.dst, "accounts", e.Name())
		if _, err := os.Lstat(dst); err == nil || strings.HasPrefix(e.Name(), newAccountPrefix) {
			continue
		}
		if _, err := os.Stat(filepath.Join(src, indexFile)); err == nil && CheckAccountName(e.Name()) == nil {
			continue // An account that was made meanwhile.
		}
		if _, err := os.Lstat(src); errors.Is(err, fs.ErrNotExist) {
			continue // One that was removed.
		}
		c.res.problem(Problem{Text: fmt.Sprintf("accounts/%s is no account, and copied too", e.Name()), Effect: "disk space is used for nothing", Mend: "remove it, if it is not yours", Warning: true})
		if err := c.raw(ctx, src, dst); err != nil {
			return err
		}
	}
	return nil
}

// kept copies the records that are kept beside the journal.
func (c *copier) kept(context.Context) error {
	if err := c.d.faults.Hit(FaultBackup); err != nil {
		return err
	}
	if err := c.opts.BeforeJournal(); err != nil {
		return err
	}
	for _, sub := range []string{asideDir, failedDir} {
		if err := c.keptDir(filepath.Join(c.d.opts.Dir, "journal", sub), filepath.Join(c.dst, "journal", sub)); err != nil {
			return fmt.Errorf("copying kept records: %w", err)
		}
	}
	return nil
}

// keptDir copies the files of a directory. Files that go meanwhile are left out.
func (c *copier) keptDir(src, dst string) error {
	if err := atomicfile.MkdirAll(dst, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil {
			err = c.copyFile(filepath.Join(src, e.Name()), filepath.Join(dst, e.Name()), info.Size())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return atomicfile.SyncDir(dst)
}

// journal copies the journal.
func (c *copier) journal(ctx context.Context) error {
	var size int64
	for _, s := range c.d.journal.Segments() {
		size += s.Size
	}
	err := c.room(size)
	if err == nil {
		c.res.Head, err = c.d.journal.CopyTo(ctx, filepath.Join(c.dst, "journal"))
	}
	if err != nil {
		return fmt.Errorf("copying journal: %w", err)
	}
	return nil
}

// Package store keeps the mail of accounts: mailboxes, messages, flags, threads,
// quota, credentials, and the change feed that sessions live on.
//
// It has two ways to write, and one rule: what is acknowledged is durable.
// Deliveries go to the journal, shared by all accounts, and are applied to the
// account's database behind it (Dir.Deliver). What a user's own client does and
// needs an answer from runs in the account's next write transaction, joined with
// what else waits (Account.Update). One goroutine per account writes both, so
// that the order of the change feed is the order of the commits.
//
// The package knows no protocol and no network, and decides nothing about a
// message: receive, submit and the servers do. It asks for the quota and for
// removed accounts through its Options.
package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/junk"
)

var (
	// ErrNoAccount means there is no such account, or it is being removed.
	ErrNoAccount = errors.New("store: no such account")

	// ErrAccountExists means the name is taken, or its data is still there.
	ErrAccountExists = errors.New("store: account exists")

	// ErrAccountName means the name can't be that of an account.
	ErrAccountName = errors.New("store: account names have 1 to 64 of a-z 0-9 and inside -._")

	// ErrClosed means the Dir or Account was closed. The process is stopping.
	ErrClosed = errors.New("store: closed")

	// ErrOverQuota means the account has no room. The sender may try later.
	ErrOverQuota = errors.New("store: account is over its quota")

	// ErrDiskFull means the disk has no room to accept more. Try later.
	ErrDiskFull = errors.New("store: not enough disk space")

	// ErrBusy means more is accepted than can be applied now. Try later.
	ErrBusy = errors.New("store: too much waits to be applied")
)

// Limits of one Dir.
const (
	// InlineMax is the largest content in bytes that goes into the journal itself.
	InlineMax = 1 << 20

	// PrefixMax is the largest prefix of a message in bytes.
	PrefixMax = 64 << 10

	backlogMaxDefault  = 256 << 20
	openMaxDefault     = 500
	backlogWait        = 30 * time.Second // Longest wait for room in the backlog (journal.md, rule 17).
	diskSpare          = 64 << 20         // Bytes that must stay free (journal.md, rule 2).
	tempAgeMax         = 7 * 24 * time.Hour
	applySlots         = 2               // Accounts that apply records at the same time: more would make smaller batches.
	failingAsideAfter  = 2 * time.Minute // An account that can't apply for this long must not pin segments.
	failingRetryAfter  = time.Second
	failingRetryAtMost = 30 * time.Second
)

// Options is what a Dir needs to know.
type Options struct {
	Dir         string       // The data directory; accounts/, journal/ and tmp/ are made in it.
	Log         *slog.Logger // Required.
	Faults      *fault.Set   // Nil outside tests.
	SegmentSize int64        // Bytes of a journal segment; 0: 64 MiB.
	CleanBytes  int64        // Segments go when so many bytes of them can; 0: each at once. Small ones need fewer syncs this way.
	Rand        io.Reader    // Nil: crypto/rand.

	// Removed says whether the account with an id was removed on purpose, so that
	// records for it are dropped instead of kept. Nil: none was.
	Removed func(accountID string) (bool, error)

	// JunkParams returns how an account's junk filter looks at words, false if it has
	// none. Nil: none has. It is asked each time.
	JunkParams func(account string) (junk.Params, bool)

	// QuotaSize returns the quota of an account in bytes; 0 or less is none. Nil: none.
	QuotaSize func(account string) int64

	// QuotaMessages returns how many messages an account may have; 0 or less is any
	// number. Nil: any.
	QuotaMessages func(account string) int64

	// JunkRules returns what the configuration of an account says now about marking
	// messages as junk or not. Nil: nothing.
	JunkRules func(account string) JunkRules

	// Arrived is called when there is something new for Account.Arrivals. It must not
	// block. Nil: nobody is told.
	Arrived func(account string)

	OpenAccountsMax int   // Accounts nobody uses are closed above it; 0: 500.
	BacklogMax      int64 // Bytes accepted and not yet applied; 0: 256 MiB.

	DiskFree func() (int64, error) // Nil: asks the file system.
	Observe  func(Event)           // For metrics; nil: nothing. Must not block.

	only string // Replay records for this account alone; "": all. For restoring.
}

// Event is something worth counting.
type Event struct {
	Kind    string        // "applied", "batch", "backlog", "poison", "aside", "journal".
	Records int           // That it is about.
	Bytes   int64         // That it is about; for "backlog" all that waits.
	Took    time.Duration // For "applied": from append to visible, of the oldest.
	Err     error
}

// Dir is the accounts and the delivery journal of one data directory. It is
// safe for concurrent use.
type Dir struct {
	opts    Options
	log     *slog.Logger
	faults  *fault.Set
	journal *journal.Journal
	fs      *atomicfile.FS // For syncing all account files at once; nil where that can't be trusted.
	backlog backlog
	slots   chan struct{} // Taken while applying.
	trains  chan struct{} // Taken while training.
	load    loadMeter
	tracker tracker
	columns columnCache

	writers  sync.WaitGroup // Goroutines of accounts.
	cleaning sync.WaitGroup // The goroutine that removes segments.
	stop     chan struct{}  // Closed when the Dir closes.
	clean    chan struct{}  // Wakes the cleaner.

	pins atomic.Int64 // Above zero while a backup runs: message files and records put aside stay.

	asideMu   sync.Mutex
	asideDone []string // Records put aside that are applied: they go once their files are on disk.

	mu       sync.Mutex
	accounts map[string]*Account // Open, by name.
	opening  map[string]chan struct{}
	damaged  map[string]error // Accounts that could not be opened at start and have deliveries aside.
	useCount int64
	closed   bool
}

// Open opens the data directory, and makes what is missing. It replays the
// journal: when it returns, every record is applied or waits in memory in its
// order, and no account file is there that should not be (journal.md, rule 7).
func Open(ctx context.Context, opts Options) (*Dir, error) {
	d := &Dir{
		opts: opts, log: opts.Log, faults: opts.Faults,
		slots: make(chan struct{}, applySlots), trains: make(chan struct{}, trainSlots), stop: make(chan struct{}), clean: make(chan struct{}, 1),
		accounts: map[string]*Account{}, opening: map[string]chan struct{}{}, damaged: map[string]error{},
	}
	if d.opts.Rand == nil {
		d.opts.Rand = rand.Reader
	}
	if d.opts.OpenAccountsMax == 0 {
		d.opts.OpenAccountsMax = openMaxDefault
	}
	if d.opts.BacklogMax == 0 {
		d.opts.BacklogMax = backlogMaxDefault
	}
	if d.opts.DiskFree == nil {
		d.opts.DiskFree = func() (int64, error) { return atomicfile.Free(d.opts.Dir) }
	}
	d.backlog.max = d.opts.BacklogMax
	d.backlog.room = make(chan struct{})
	d.load.now = time.Now
	for _, sub := range []string{"accounts", "journal", "tmp"} {
		if err := atomicfile.MkdirAll(filepath.Join(opts.Dir, sub), 0o750); err != nil {
			return nil, fmt.Errorf("making data directory: %w", err)
		}
	}
	if err := removeStale(filepath.Join(opts.Dir, "tmp"), time.Now().Add(-tempAgeMax)); err != nil {
		return nil, fmt.Errorf("removing old temporary files: %w", err)
	}
	if err := d.removeHalfMade(); err != nil {
		return nil, fmt.Errorf("removing accounts that were not made to the end: %w", err)
	}
	if err := errors.Join(d.openFS(), d.openJournal(ctx)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.cleaning.Go(d.cleanLoop)
	return d, nil
}

// Failed is closed when the journal can't be written any more. The process must
// then stop in order and exit 1: a restart finds out what is on disk.
func (d *Dir) Failed() <-chan struct{} { return d.journal.Failed() }

// Err returns why Failed is closed, or nil.
func (d *Dir) Err() error { return d.journal.Err() }

// Close waits until all that was accepted is applied, unless that fails, and
// closes the accounts and the journal. Accounts still in use get ErrClosed.
func (d *Dir) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return ErrClosed
	}
	d.closed = true
	var open []*Account
	for _, a := range d.accounts {
		open = append(open, a)
	}
	d.mu.Unlock()

	var errs []error
	for _, a := range open {
		errs = append(errs, a.shut())
	}
	close(d.stop)
	d.writers.Wait()
	d.cleaning.Wait()
	if d.journal != nil {
		if d.journal.Err() == nil {
			// The next start looks at every record that is left.
			errs = append(errs, d.cleanSegments(0))
		}
		errs = append(errs, d.journal.Close())
	}
	if d.fs != nil {
		errs = append(errs, d.fs.Close())
	}
	return errors.Join(errs...)
}

// accountName is what an account may be called.
var accountName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

// CheckAccountName returns ErrAccountName unless name can be an account's.
func CheckAccountName(name string) error {
	if !accountName.MatchString(name) {
		return fmt.Errorf("%w: %q", ErrAccountName, name)
	}
	return nil
}

// accountDir is the directory of an account.
func (d *Dir) accountDir(name string) string { return filepath.Join(d.opts.Dir, "accounts", name) }

// Accounts returns the names of the accounts on disk, sorted.
func (d *Dir) Accounts() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(d.opts.Dir, "accounts"))
	if err != nil {
		return nil, fmt.Errorf("listing accounts: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() || CheckAccountName(e.Name()) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(d.accountDir(e.Name()), indexFile)); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Account returns the account with a name, which the caller must Close. It
// waits while another goroutine opens it.
func (d *Dir) Account(ctx context.Context, name string) (*Account, error) {
	if err := CheckAccountName(name); err != nil {
		return nil, fmt.Errorf("%w: %q", ErrNoAccount, name)
	}
	for {
		d.mu.Lock()
		if d.closed {
			d.mu.Unlock()
			return nil, ErrClosed
		}
		if err := d.damaged[name]; err != nil {
			d.mu.Unlock()
			return nil, err
		}
		if a, ok := d.accounts[name]; ok {
			defer d.mu.Unlock()
			if a.removing {
				return nil, fmt.Errorf("%w: %q is being removed", ErrNoAccount, name)
			}
			a.refs++
			d.useCount++
			a.lastUse = d.useCount
			return a, nil
		}
		wait, ok := d.opening[name]
		if !ok {
			wait = make(chan struct{})
			d.opening[name] = wait
			d.mu.Unlock()
			return d.openAccount(ctx, name, wait)
		}
		d.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// openAccount opens an account that is not open, and tells who waits for it.
func (d *Dir) openAccount(ctx context.Context, name string, wait chan struct{}) (*Account, error) {
	a, err := openAccount(ctx, d, name)
	d.mu.Lock()
	delete(d.opening, name)
	close(wait)
	if err == nil && d.closed {
		err = errors.Join(ErrClosed, a.db.Close())
	}
	if err != nil {
		d.mu.Unlock()
		return nil, err
	}
	a.refs = 1
	d.useCount++
	a.lastUse = d.useCount
	d.accounts[name] = a
	d.writers.Go(a.writeLoop)
	d.writers.Go(a.trainLoop)
	idle := d.idleAccounts()
	d.mu.Unlock()

	for _, other := range idle {
		if err := other.shut(); err != nil {
			d.log.Error("closing idle account", "account", other.name, "err", err)
		}
	}
	return a, nil
}

// idleAccounts takes the accounts to close out of the table: those nobody uses
// beyond OpenAccountsMax, the least recently used first. d.mu is held.
func (d *Dir) idleAccounts() []*Account {
	excess := len(d.accounts) - d.opts.OpenAccountsMax
	if excess <= 0 {
		return nil
	}
	var idle []*Account
	for _, a := range d.accounts {
		if a.refs == 0 && a.idle() {
			idle = append(idle, a)
		}
	}
	slices.SortFunc(idle, func(a, b *Account) int { return int(a.lastUse - b.lastUse) })
	idle = idle[:min(excess, len(idle))]
	for _, a := range idle {
		// Who asks for the account now must wait for the database's lock.
		delete(d.accounts, a.name)
		wait := make(chan struct{})
		d.opening[a.name] = wait
		a.onShut = func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.opening, a.name)
			close(wait)
		}
	}
	return idle
}

// removeHalfMade removes accounts that a crash left before they were complete.
func (d *Dir) removeHalfMade() error {
	left, err := filepath.Glob(filepath.Join(d.accountDir(""), newAccountPrefix+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// removeStale removes what is in dir and older than before.
func removeStale(dir string, before time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if info.ModTime().Before(before) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// observe reports an event if somebody wants to know.
func (d *Dir) observe(e Event) {
	if d.opts.Observe != nil {
		d.opts.Observe(e)
	}
}

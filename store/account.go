package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
)

// indexFile is the name of an account's database in its directory.
const indexFile = "index.db"

// databaseKind tells our file from others of ours.
const databaseKind = "account"

// Account is an open account. It is safe for concurrent use. Who got it from a
// Dir must Close it.
type Account struct {
	dir  *Dir
	name string
	id   string
	path string // Of the account's directory.
	hub  *hub

	lastID  atomic.Int64 // Highest Email or Message id given.
	refused atomic.Bool  // Closing or being removed: no new work.

	modSeqFloor atomic.Int64 // The highest ModSeq of changes of flags that were pushed.
	wake        chan struct{}
	done        chan struct{} // Closed when the writer has ended.

	// Guarded by Dir.mu.
	refs     int
	lastUse  int64
	removing bool
	onShut   func()

	dbMu sync.RWMutex // Held for writing while the database is opened anew.
	db   *bstore.DB
	gone bool // The database is closed.

	mu           sync.Mutex
	pending      []*item // In sequence order.
	updates      []*update
	staged       map[int64]struct{}       // Ids given and not yet stored.
	keys         map[string]chan struct{} // Hand-over keys of pending items; closed when they are settled.
	reserved     amounts                  // Quota taken by what is not yet applied.
	reserving    int                      // Deliveries between reserve and push.
	size         int64                    // Of accountRow.quotaSize, of the last commit.
	messages     int64                    // In all mailboxes, of the last commit.
	rejects      amounts                  // As in accountRow, of the last commit.
	boxes        map[string]int64         // Mailbox ids by name, of the last commit.
	applied      uint64                   // Sequence number of the last item dealt with.
	durable      uint64                   // Sequence number of the last delivery pushed.
	flagged      int                      // Messages in pending changes of flags.
	flagsThrough uint64                   // Sequence number of the last change of flags pushed.
	urgent       bool                     // Somebody waits for what is pending.
	closing      bool
	erasing      bool            // Something may be erasable now.
	waiters      []chan struct{} // Closed when something was applied, or failed.
	failing      time.Time       // Since when applying fails; zero: it doesn't.
	watermark    watermark
	knownDirs    map[string]bool // Message directories whose entry is on disk.

	junk     junkFilter
	training training
}

// watermark names the last record of a journal that is applied.
type watermark struct {
	journal string
	seq     uint64
}

// Name returns the name.
func (a *Account) Name() string { return a.name }

// ID returns the account's random id: 32 hexadecimal digits.
func (a *Account) ID() string { return a.id }

// openAccount opens an existing account. It makes sure that no id is given
// twice, and removes files that a crash left without a row.
func openAccount(ctx context.Context, d *Dir, name string) (*Account, error) {
	path := d.accountDir(name)
	if _, err := os.Stat(filepath.Join(path, indexFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q", ErrNoAccount, name)
	}
	db, err := openDatabase(path)
	if err != nil {
		return nil, fmt.Errorf("opening account %q: %w", name, err)
	}
	a := newAccountOf(d, name, db)
	if err := a.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening account %q: %w", name, err), db.Close())
	}
	return a, nil
}

// newAccountOf returns an account with nothing in memory.
func newAccountOf(d *Dir, name string, db *bstore.DB) *Account {
	a := &Account{
		dir: d, name: name, path: d.accountDir(name), db: db, wake: make(chan struct{}, 1), done: make(chan struct{}),
		staged: map[int64]struct{}{}, keys: map[string]chan struct{}{}, knownDirs: map[string]bool{},
	}
	a.hub = newHub(a)
	a.junk.a = a
	a.training = newTraining()
	return a
}

// openDatabase opens the database in an account's directory.
func openDatabase(path string) (*bstore.DB, error) {
	db, err := database.Open(filepath.Join(path, indexFile), databaseKind, schemaVersion, rowTypes...)
	if err != nil {
		return nil, err
	}
	if err := db.HintAppend(true, Message{}, Email{}, Structure{}, Expunged{}); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// load reads what is kept in memory and cleans up after a crash.
func (a *Account) load(ctx context.Context) error {
	var row accountRow
	err := a.db.Read(ctx, func(tx *bstore.Tx) error {
		row = accountRow{ID: 1}
		return tx.Get(&row)
	})
	if errors.Is(err, bstore.ErrAbsent) {
		return fmt.Errorf("%w: %q was not made to the end", ErrNoAccount, a.name)
	} else if err != nil {
		return err
	}
	a.id = row.AccountID
	a.lastID.Store(row.LastID)
	if j := a.dir.journal; row.JournalID == j.ID() && row.Watermark > int64(j.Head()) {
		// The journal's end is lost, so its numbers come again.
		a.dir.log.Error("journal ends before what account has applied", "account", a.name, "watermark", row.Watermark, "head", j.Head())
		row.Watermark = int64(j.Head())
		if err := a.db.Update(ctx, &row); err != nil {
			return err
		}
	}
	if err := a.adopt(ctx, row); err != nil {
		return err
	}
	if err := a.raiseFailedIDs(); err != nil {
		return err
	}
	return a.removeStrays(ctx, row)
}

// adopt takes what is in memory from the database, at open and after it was
// opened anew.
func (a *Account) adopt(ctx context.Context, row accountRow) error {
	boxes := map[string]int64{}
	messages := int64(0)
	err := bstore.QueryDB[Mailbox](ctx, a.db).ForEach(func(mb Mailbox) error {
		boxes[mb.Name] = mb.ID
		messages += mb.Total
		return nil
	})
	if err != nil {
		return err
	}
	subscribed := map[string]struct{}{}
	err = bstore.QueryDB[Subscription](ctx, a.db).ForEach(func(s Subscription) error {
		subscribed[s.Name] = struct{}{}
		return nil
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.size, a.rejects, a.boxes = row.quotaSize(), amounts{row.Rejects, row.RejectSize}, boxes
	a.messages, a.watermark = messages, watermark{row.JournalID, uint64(row.Watermark)}
	a.hub.setSubscribed(subscribed)
	a.hub.setPublished(&row)
	return nil
}

// watermarkOf returns up to where the journal with an id is applied.
func (a *Account) watermarkOf(journalID string) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.watermark.journal != journalID {
		return 0
	}
	return a.watermark.seq
}

// Close gives the account back.
func (a *Account) Close() error {
	a.dir.mu.Lock()
	defer a.dir.mu.Unlock()
	a.refs--
	return nil
}

// idle says whether nothing keeps the account from being closed. Dir.mu is held.
func (a *Account) idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.pending) == 0 && len(a.updates) == 0 && a.reserving == 0 && len(a.staged) == 0
}

// shut ends the writer, after it has done what waits, and closes the database.
func (a *Account) shut() error {
	a.refused.Store(true)
	a.training.cancel()
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	a.wakeUp()
	<-a.done
	<-a.training.done
	a.hub.close()
	a.dbMu.Lock()
	defer a.dbMu.Unlock()
	a.gone = true
	err := errors.Join(a.db.Close(), a.junk.close(true))
	if a.onShut != nil {
		a.onShut()
	}
	return err
}

// wakeUp makes the writer look for work.
func (a *Account) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// View calls fn with a snapshot. It must not be held across network I/O.
//
// bolt shows a commit to new readers before it is on disk. A snapshot newer than
// what the hub has published is not used before it is (journal.md, rule 19),
// whatever was changed: also passwords and hand-overs.
func (a *Account) View(ctx context.Context, fn func(tx *Tx) error) error {
	if err := a.settled(ctx); err != nil {
		return err
	}
	return a.ViewContent(ctx, fn)
}

// ViewContent is View for who does not need the flags of messages, their ModSeq, or what
// mailboxes have of these, which may be those of some seconds ago. It waits for nothing.
func (a *Account) ViewContent(ctx context.Context, fn func(tx *Tx) error) error {
	for {
		ahead, err := a.view(ctx, fn)
		if ahead == 0 {
			return err
		}
		if err := a.hub.waitPublished(ctx, ahead); err != nil {
			return err
		}
	}
}

// view calls fn with a snapshot, or returns the commit to wait for. Nothing is
// held meanwhile: the writer may have to open the database again.
func (a *Account) view(ctx context.Context, fn func(tx *Tx) error) (ahead int64, err error) {
	a.dbMu.RLock()
	defer a.dbMu.RUnlock()
	if a.gone {
		return 0, ErrClosed
	}
	err = a.db.Read(ctx, func(b *bstore.Tx) error {
		row := accountRow{ID: 1}
		if err := b.Get(&row); err != nil {
			return fmt.Errorf("reading account: %w", err)
		}
		if !a.hub.isPublished(row.Commit) {
			ahead = row.Commit
			return nil
		}
		return fn(newTx(a, b, row, false))
	})
	return ahead, err
}

// WaitDurable waits until the deliveries that were durable when it was called
// are visible: at most a second, and not while applying fails (journal.md, rule 13).
func (a *Account) WaitDurable(ctx context.Context) {
	a.mu.Lock()
	want := a.durable
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = a.waitApplied(ctx, want) // Then they are seen later.
}

// waitApplied waits until an item is applied: not while applying fails.
func (a *Account) waitApplied(ctx context.Context, seq uint64) error {
	for first := true; ; first = false {
		a.mu.Lock()
		if a.applied >= seq || !a.failing.IsZero() {
			a.mu.Unlock()
			return nil
		}
		a.urgent = true
		ch := make(chan struct{})
		a.waiters = append(a.waiters, ch)
		a.mu.Unlock()
		if first {
			a.wakeUp()
		}
		select {
		case <-ch:
		case <-a.done:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reserve takes quota, also beyond its end if noQuota, and two ids for a
// delivery, and returns the mailbox's id if it exists. The account stays open
// until unreserve or push.
func (a *Account) reserve(takes amounts, noQuota bool, mailbox, key string) (emailID, messageID, mailboxID int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closing || a.refused.Load() {
		return 0, 0, 0, ErrNoAccount
	}
	if err := a.checkQuota(1, takes.size); err != nil && !noQuota {
		return 0, 0, 0, err
	}
	if _, ok := a.keys[key]; ok && key != "" {
		return 0, 0, 0, ErrHandoverPending
	}
	if key != "" {
		a.keys[key] = make(chan struct{})
	}
	a.reserved.add(takes, 1)
	a.reserving++
	messageID = a.lastID.Add(2)
	return messageID - 1, messageID, a.boxes[mailbox], nil
}

// unreserve undoes reserve.
func (a *Account) unreserve(took amounts, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserved.add(took, -1)
	a.reserving--
	a.settleKey(key)
	if a.closing {
		a.wakeUp() // The writer waits for it.
	}
}

// push gives the account a durable record to apply.
func (a *Account) push(it *item) {
	a.mu.Lock()
	if it.reserved {
		a.reserving -= len(it.rcpts)
	}
	a.addKeys(it)
	a.pending = append(a.pending, it)
	if it.isFlags() {
		a.pushFlags(it)
	} else {
		a.durable = max(a.durable, it.seq)
	}
	n := len(a.pending)
	first := n == 1 || a.pending[n-2].isFlags() && !it.isFlags() // Those before can wait longer.
	a.mu.Unlock()
	if first {
		a.wakeUp()
	}
}

// takeKeys notes the hand-over keys of an item, so that none is taken twice.
func (a *Account) takeKeys(it *item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addKeys(it)
}

// addKeys is takeKeys with a.mu held.
func (a *Account) addKeys(it *item) {
	for _, rcpt := range it.rcpts {
		if _, ok := a.keys[rcpt.key]; !ok && rcpt.key != "" {
			a.keys[rcpt.key] = make(chan struct{})
		}
	}
}

// settleKey forgets the key of an item that is applied, or given up. a.mu is held.
func (a *Account) settleKey(key string) {
	if ch, ok := a.keys[key]; ok {
		delete(a.keys, key)
		close(ch)
	}
}

// pendingItems returns what waits to be applied.
func (a *Account) pendingItems() []*item {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.pending)
}

// becomeAside marks an item as kept outside the journal, at path.
func (a *Account) becomeAside(it *item, path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if it.reserved {
		a.reserved.add(it.takes(), -1)
		it.reserved = false
	}
	it.aside, it.asideID, it.last = path, a.id, it.lastID()
	it.rec, it.rcpts = nil, nil
}

// raiseID makes sure that ids up to id are not given again.
func (a *Account) raiseID(id int64) {
	for {
		last := a.lastID.Load()
		if last >= id || a.lastID.CompareAndSwap(last, id) {
			return
		}
	}
}

// raiseFailedIDs counts the ids of records that could not be applied: a command
// can deliver them again.
func (a *Account) raiseFailedIDs() error {
	kept, err := keptRecords(filepath.Join(a.dir.opts.Dir, "journal", failedDir))
	if err != nil {
		return err
	}
	for _, k := range kept {
		if k.accountID == a.id {
			a.raiseID(k.lastID)
		}
	}
	return nil
}

// hasEmail says whether the row of an Email is there.
func (a *Account) hasEmail(ctx context.Context, id int64) (bool, error) {
	err := a.db.Get(ctx, &Email{ID: id})
	if errors.Is(err, bstore.ErrAbsent) {
		return false, nil
	}
	return err == nil, err
}

// NewAccount is what Create needs.
type NewAccount struct {
	Mailboxes   []NewMailbox // Besides Inbox; all are subscribed.
	Credentials []Credential
}

// NewMailbox is a mailbox that a new account has from the start.
type NewMailbox struct {
	Name string
	Use  SpecialUse
}

// Create makes an account. It is durable, with its directories, when Create
// returns. The caller must Close the account.
func (d *Dir) Create(ctx context.Context, name string, n NewAccount) (*Account, error) {
	if err := CheckAccountName(name); err != nil {
		return nil, err
	}
	a, err := d.Account(ctx, name)
	if err == nil {
		return nil, errors.Join(fmt.Errorf("%w: %q", ErrAccountExists, name), a.Close())
	} else if !errors.Is(err, ErrNoAccount) {
		return nil, err
	}
	if err := d.create(ctx, name, n); err != nil {
		return nil, fmt.Errorf("creating account %q: %w", name, err)
	}
	return d.Account(ctx, name)
}

// newAccountPrefix begins the names of accounts that are being made.
const newAccountPrefix = ".new-"

// create makes the directory and the database beside, and then gives them their
// place: what is there is complete.
func (d *Dir) create(ctx context.Context, name string, n NewAccount) error {
	temp, err := os.MkdirTemp(d.accountDir(""), newAccountPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o750); err != nil {
		return err
	}
	if err := atomicfile.MkdirAll(filepath.Join(temp, "msg"), 0o750); err != nil {
		return err
	}
	db, err := openDatabase(temp)
	if err != nil {
		return err
	}
	err = db.Write(ctx, func(b *bstore.Tx) error { return d.fill(b, name, n) })
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, d.accountDir(name)); err != nil {
		return fmt.Errorf("%w: its data is still there: %w", ErrAccountExists, err)
	}
	return atomicfile.SyncDir(d.accountDir(""))
}

// fill writes the first rows of an account.
func (d *Dir) fill(b *bstore.Tx, name string, n NewAccount) error {
	id := make([]byte, 16)
	if _, err := io.ReadFull(d.opts.Rand, id); err != nil {
		return fmt.Errorf("making account id: %w", err)
	}
	// UIDVALIDITY begins with the time, so that an account made again after its
	// data was lost does not repeat what clients remember.
	row := accountRow{ID: 1, AccountID: hex.EncodeToString(id), Name: name, ModSeq: 1, Lowest: 1, UIDValidity: time.Now().Unix() / 2}
	if err := b.Get(&accountRow{ID: 1}); err == nil {
		return ErrAccountExists
	} else if !errors.Is(err, bstore.ErrAbsent) {
		return err
	}
	if err := b.Insert(&row); err != nil {
		return err
	}
	tx := newTx(&Account{dir: d, name: name}, b, row, true)
	for _, nm := range append([]NewMailbox{{Name: "Inbox"}}, n.Mailboxes...) {
		if _, err := tx.CreateMailbox(nm.Name, nm.Use); err != nil {
			return fmt.Errorf("creating mailbox %q: %w", nm.Name, err)
		}
	}
	for _, c := range n.Credentials {
		if err := b.Insert(&c); err != nil {
			return err
		}
	}
	return tx.flush()
}

// Credentials returns the secrets with which the user can log in, revoked ones included.
func (a *Account) Credentials(ctx context.Context) ([]Credential, error) {
	var list []Credential
	err := a.ViewContent(ctx, func(tx *Tx) error {
		var err error
		list, err = bstore.QueryTx[Credential](tx.b).SortAsc("ID").List()
		return err
	})
	return list, err
}

// SetPassword replaces the account's password, which is c. Other credentials stay.
func (a *Account) SetPassword(ctx context.Context, c Credential) error {
	return a.Update(ctx, func(tx *Tx) error {
		tx.touch()
		if _, err := bstore.QueryTx[Credential](tx.b).FilterNonzero(Credential{Kind: c.Kind}).FilterFn(func(o Credential) bool { return o.Name == c.Name }).Delete(); err != nil {
			return err
		}
		c := c
		c.ID = 0
		return tx.b.Insert(&c)
	})
}

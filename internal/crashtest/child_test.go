//go:build unix

package crashtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/system"
)

// childEnv is the variable that makes the test binary a child.
const childEnv = "MOX_CRASHTEST_CHILD"

// task is what a child has to do.
type task struct {
	Dir   string
	Round string // Part of the ids of contents.
	Seed  uint64

	Fault string // Point to be armed, before the store is opened.
	After string // Only once this point was hit for the first time; "" for always.
	Nth   int    // The hit that counts.
	Hold  bool   // Tell and wait there, instead of being killed.

	NoSync []string // Names of system calls that do nothing: a computer that lies.
	LieAt  string   // Point from which on syncs of databases do nothing.
	HoldAt string   // Point after which the commit of each database is held when it is shown to readers, and not on disk.
	Quiet  bool     // Looking, but no load other than what Retry asks for.
	Retry  []retry  // What the queue still has.

	System *server // A whole System is to be run. Nil: the store alone.
	Load   string  // Of a System: one of the loads below.
	Rcpts  []string
	Acked  string // Of loadRemove: a file with ids of what was acknowledged to the account that stays.
}

// Loads of a System.
const (
	loadAll    = ""       // Mail, and that of the store.
	loadMail   = "mail"   // Mail alone.
	loadRemote = "remote" // Mail of alice to others.
	loadOne    = "one"    // One message of alice to Rcpts.
	loadRemove = "remove" // Mail to two accounts, of which one is removed.
	loadNone   = "none"
)

func TestMain(m *testing.M) {
	if env := os.Getenv(childEnv); env != "" {
		os.Exit(runChild(env))
	}
	flag.Parse()
	os.Exit(m.Run())
}

// storeOptions are those of all stores here.
func storeOptions(dir string, log *slog.Logger) store.Options {
	return store.Options{
		Dir: dir, Log: log, SegmentSize: 256 << 10,
		DiskFree:   func() (int64, error) { return 1 << 40, nil }, // The images are small.
		JunkParams: func(string) (junk.Params, bool) { return junk.Params{Grams: junk.OneGrams}, true },
	}
}

// accountNames are the accounts of all stores here.
var accountNames = []string{"a", "b", "c"}

// workBoxes are the mailboxes that one goroutine each works with.
var workBoxes = []string{"work0", "work1"}

// makeStore makes a store with its accounts, which are durable when it returns.
func makeStore(ctx context.Context, dir string, log *slog.Logger) error {
	d, err := store.Open(ctx, storeOptions(dir, log))
	if err != nil {
		return err
	}
	for _, name := range accountNames {
		n := store.NewAccount{Mailboxes: []store.NewMailbox{{Name: "copies"}}}
		for _, box := range workBoxes {
			n.Mailboxes = append(n.Mailboxes, store.NewMailbox{Name: box})
		}
		a, err := d.Create(ctx, name, n)
		if err != nil {
			return errors.Join(err, d.Close())
		}
		if err := a.Close(); err != nil {
			return err
		}
	}
	return d.Close()
}

// child is the process that will be killed.
type child struct {
	task
	*teller
	ctx      context.Context
	d        *store.Dir
	system   *running // Nil if the store alone is run.
	mailer   *mailer
	accounts map[string]*store.Account
	once     sync.Once

	delivered int // Messages of loadRemove.
}

// runChild does a task until it is killed.
func runChild(env string) int {
	c := &child{teller: &teller{w: os.NewFile(3, "facts")}, ctx: context.Background(), accounts: map[string]*store.Account{}}
	if err := json.Unmarshal([]byte(env), &c.task); err != nil {
		c.unexpected(err)
		return 2
	}
	if len(c.NoSync) > 0 {
		if err := dropSyncs(c.NoSync, nil); err != nil {
			c.unexpected(err)
			return 2
		}
	}
	c.removeBackups()
	c.remove(c.Dir + queueBackupSuffix)
	if err := c.open(); err != nil {
		c.unexpected(err)
		return 2
	}
	c.tell(fact{Op: opReady})
	c.work()
	return 0
}

func (c *child) unexpected(err error) { c.tell(fact{Op: opUnexpected, Text: err.Error()}) }

// open opens the store with the fault armed.
func (c *child) open() error {
	faults := fault.New()
	switch {
	case c.LieAt != "":
		faults.ArmNth(c.LieAt, max(1, c.Nth), func() error {
			return c.databases(func(fds []uint32) error { return dropSyncs([]string{"fdatasync"}, fds) })
		})
	case c.HoldAt != "":
		faults.ArmNth(c.HoldAt, max(1, c.Nth), func() error {
			return c.databases(func(fds []uint32) error { return holdSecondSync(fds, c.tellReached) })
		})
	case c.After != "":
		faults.ArmNth(c.After, 1, func() error {
			faults.ArmNth(c.Fault, max(1, c.Nth), c.reached)
			return nil
		})
	case c.Fault != "":
		faults.ArmNth(c.Fault, max(1, c.Nth), c.reached)
	}
	if err := c.openStore(faults); err != nil {
		return err
	}
	for _, name := range accountNames {
		var err error
		if c.accounts[name], err = c.d.Account(c.ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// openStore opens the store, alone or as a part of a System.
func (c *child) openStore(faults *fault.Set) error {
	var err error
	if c.System == nil {
		opts := storeOptions(c.Dir, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
		opts.Faults = faults
		c.d, err = store.Open(c.ctx, opts)
		return err
	}
	if c.system, err = c.System.run(c.ctx, func(o *system.Options) { o.Faults = faults }); err != nil {
		return err
	}
	c.d = c.system.Accounts()
	c.mailer = &mailer{c.system, c.tell}
	if c.Load == loadNone || c.Load == loadRemove {
		return nil
	}
	// The password is checked once, which takes longer than most children live.
	s := &session{way: wayUser}
	return errors.Join(c.mailer.connect(s), s.close())
}

// reached is what happens at the fault point.
func (c *child) reached() error {
	if c.Hold {
		c.tellReached()
		forever()
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		return err
	}
	forever()
	return nil
}

// forever waits. The runtime takes a program in which all do so by other means
// for a mistake.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

func (c *child) tellReached() { c.once.Do(func() { c.tell(fact{Op: opReached}) }) }

// work puts the store under load, for longer than the parent waits.
func (c *child) work() {
	var wg sync.WaitGroup
	run := func(n int, fn func(*rand.Rand)) {
		rng := rand.New(rand.NewPCG(c.Seed, uint64(n)))
		wg.Go(func() {
			for {
				fn(rng)
				time.Sleep(time.Duration(rng.IntN(4000)) * time.Microsecond)
			}
		})
	}
	switch c.Load {
	case loadNone:
		forever()
	case loadRemove:
		c.removeUnderLoad()
	case loadOne:
		c.sendOne()
		forever()
	case loadRemote:
		c.mailOut(run)
		forever()
	case loadMail:
		c.mail(run)
		forever()
	}
	for i, r := range c.Retry {
		wg.Go(func() { c.handOver(r, rand.New(rand.NewPCG(c.Seed, uint64(1000+i)))) })
	}
	for i, name := range accountNames {
		o := &observer{child: c, name: name, a: c.accounts[name], seen: map[string]store.UID{}}
		run(50+i, o.look)
	}
	if c.Quiet {
		forever()
	}
	if c.System != nil {
		c.mail(run)
	}
	for i := range 4 {
		run(i, c.deliver)
	}
	run(10, func(rng *rand.Rand) {
		id := c.newID(rng)
		c.handOver(retry{ID: id, Key: "key-" + id, Accounts: c.pickAccounts(rng, false)[:1]}, rng)
	})
	if len(c.NoSync) == 0 { // A backup syncs everything.
		run(11, c.backup)
	}
	for i, name := range accountNames {
		for j, box := range workBoxes {
			u := &user{child: c, name: name, a: c.accounts[name], box: box, part: j}
			run(20+10*i+j, u.step)
		}
	}
	wg.Wait()
}

// backup makes a copy of everything and removes it.
func (c *child) backup(rng *rand.Rand) {
	time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
	if _, err := c.d.CopyTo(c.ctx, c.Dir+backupSuffix, store.CopyOptions{}); err != nil {
		c.unexpected(fmt.Errorf("copying: %w", err))
	}
	c.removeBackups()
}

// backupSuffix follows the name of the data directory in that of its copy.
const backupSuffix = ".backup"

func (c *child) removeBackups() {
	c.remove(c.Dir + backupSuffix)
}

func (c *child) remove(path string) {
	if err := os.RemoveAll(path); err != nil {
		c.unexpected(err)
	}
}

// databases calls fn with the file descriptors of the accounts' databases, or of
// that of the queue if the point where syncs lie is one of the queue. They stay as
// they are.
func (c *child) databases(fn func(fds []uint32) error) error {
	below := c.Dir + "/accounts/"
	if slices.Contains(queue.Points(), c.LieAt) {
		below = c.Dir + "/queue/index"
	}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return err
	}
	var fds []uint32
	for _, link := range links {
		if path, err := os.Readlink(link); err != nil || !strings.HasPrefix(path, below) {
			continue
		}
		fd, err := strconv.ParseUint(filepath.Base(link), 10, 32)
		if err != nil {
			return err
		}
		fds = append(fds, uint32(fd))
	}
	return fn(fds)
}

func (c *child) newID(rng *rand.Rand) string { return fmt.Sprintf("%s.%x", c.Round, rng.Uint64()) }

// newMessage returns a message that is made from its id alone.
func newMessage(id string) []byte {
	sum := sha256.Sum256([]byte(id))
	rng := rand.New(rand.NewChaCha8(sum))
	size := rng.IntN(3000)
	switch rng.IntN(30) {
	case 0:
		size = 20_000 + rng.IntN(60_000)
	case 1, 2:
		size = rng.IntN(20_000)
	}
	b := fmt.Appendf(nil, "Message-ID: <%s@crash.example>\r\nSubject: %s\r\n\r\n", id, id)
	for len(b) < size {
		b = fmt.Appendf(b, "%064x\r\n", rng.Uint64())
	}
	return b
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// pickAccounts returns some accounts, possibly one of them twice.
func (c *child) pickAccounts(rng *rand.Rand, twice bool) []string {
	var names []string
	for _, i := range rng.Perm(len(accountNames))[:1+rng.IntN(len(accountNames))] {
		names = append(names, accountNames[i])
	}
	if twice && rng.IntN(8) == 0 {
		names = append(names, names[0])
	}
	return names
}

// deliver delivers a new message.
func (c *child) deliver(rng *rand.Rand) {
	id := c.newID(rng)
	if err := c.deliverTo(id, "", c.pickAccounts(rng, true), rng.IntN(6) == 0); err != nil {
		c.unexpected(fmt.Errorf("delivering: %w", err))
	}
}

// deliverTo delivers the message of an id, its content in the record or in a file.
func (c *child) deliverTo(id, key string, names []string, asFile bool) error {
	msg := newMessage(id)
	c.tell(fact{Op: opOffering, ID: id, Hash: hash(msg), Accounts: names, Key: key})
	if err := c.put(msg, key, names, asFile); err != nil {
		return err
	}
	c.tell(fact{Op: opDelivered, ID: id})
	return nil
}

// put delivers a message.
func (c *child) put(msg []byte, key string, names []string, asFile bool) error {
	an, err := store.Analyze(bytes.NewReader(msg), int64(len(msg)))
	if err != nil {
		return err
	}
	content := c.d.ContentBytes(msg)
	if asFile || len(msg) > 64<<10 {
		if content, err = c.d.ContentFile(c.ctx, int64(len(msg)), bytes.NewReader(msg)); err != nil {
			return err
		}
	}
	dl := store.Delivery{Content: content, Analysis: an, Received: time.Now()}
	for _, name := range names {
		dl.To = append(dl.To, store.Recipient{Account: c.accounts[name], Key: key, Prefix: []byte("Delivered-To: <x@crash.example>\r\n")})
	}
	if err := c.d.Deliver(c.ctx, dl); err != nil {
		return errors.Join(err, content.Discard())
	}
	return nil
}

// handOver does what the queue does with a message for a local recipient: it
// asks whether an earlier try went well, delivers if not, and retires its row
// once the message is there.
func (c *child) handOver(r retry, rng *rand.Rand) {
	a := c.accounts[r.Accounts[0]]
	done, err := a.HandedOver(c.ctx, r.Key)
	if err == nil && !done {
		if err = c.deliverTo(r.ID, r.Key, r.Accounts, rng.IntN(3) == 0); err == nil {
			done, err = a.HandedOver(c.ctx, r.Key)
		}
	}
	if err != nil || !done {
		c.unexpected(fmt.Errorf("handing over %s: done %v, error %w", r.ID, done, err))
		return
	}
	c.tell(fact{Op: opDelivered, ID: r.ID}) // Also if the answer was lost before.
	if rng.IntN(3) == 0 {
		return // As if the queue's commit came too late.
	}
	c.tell(fact{Op: opRetired, ID: r.ID})
	if err := a.ConfirmHandover(c.ctx, []string{r.Key}); err != nil {
		c.unexpected(fmt.Errorf("confirming hand-over: %w", err))
	}
}

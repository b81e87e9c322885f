// Package specimen makes a data directory with something of everything that the
// server keeps: every type of row, message files, and deliveries in all the states
// in which a stop can leave them. Directories it has made with earlier versions
// show that this one can still open them.
//
// All is made with the packages that own it, as a server would. What none of them
// writes yet, though its type is there, is inserted as it is.
package specimen

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// Domain is the one domain of a specimen. Each account has the address of its
// name there, and Password.
const (
	Domain   = "specimen.example"
	Password = "specimen, not a secret"
)

// Accounts of a specimen.
const (
	Main    = "mia" // Has every kind of mailbox and message.
	Waiting = "noa" // Has deliveries in the journal that are not applied.
	Aside   = "ole" // Has one that was put aside.
	Failed  = "pam" // Has one that could not be applied.
	gone    = "rex" // Was removed, and has records in the journal.
)

// accounts are those that are there.
var accounts = []string{Main, Waiting, Aside, Failed}

// segment is the size of a journal segment in bytes: small, so that little fills
// it, and specimens are kept.
const segment = 256 << 10

// ErrExists means there is something at the destination already.
var ErrExists = errors.New("exists already")

// specimen is a directory being made.
type specimen struct {
	dir string
	log *slog.Logger
	now time.Time
}

// Make makes a specimen at dir, which must not be there: config/ with mox.conf and
// domains.conf, and data/ as a server leaves it that was killed. What goes wrong
// on purpose is logged.
func Make(ctx context.Context, dir string, log *slog.Logger) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("making specimen: %s: %w", dir, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making specimen: %w", err)
	}
	s := &specimen{dir: dir, log: log, now: time.Now().Round(0)}
	for _, step := range []func(context.Context) error{
		s.makeConfig, s.makeKeys, s.makeAccounts, s.makeFilter, s.makeQueue, s.makeKept, s.makeWaiting, s.makeLogins, s.makeTLS, s.makeTrace, s.makeUnwritten,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("making specimen: %w", err)
		}
	}
	return nil
}

// path returns a path in the data directory.
func (s *specimen) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir, "data"}, elem...)...)
}

// makeConfig writes a configuration with which the data can be served.
func (s *specimen) makeConfig(context.Context) error {
	dynamic := config.Dynamic{Domains: map[string]config.Domain{Domain: {}}, Accounts: map[string]config.Account{}}
	for _, name := range accounts {
		dynamic.Accounts[name] = config.Account{
			Domain: Domain, Destinations: map[string]config.Destination{name + "@" + Domain: {}},
		}
	}
	static := config.Static{
		DataDir: "../data", LogLevel: "debug", Hostname: "mail." + Domain,
		Listeners: map[string]config.Listener{"local": {
			IPs:        []string{"127.0.0.1"},
			SMTP:       config.SMTP{Enabled: true, Port: 1025, NoSTARTTLS: true},
			Submission: config.Submission{Enabled: true, Port: 1587, NoRequireSTARTTLS: true},
			IMAP:       config.IMAP{Enabled: true, Port: 1143, NoRequireSTARTTLS: true},
		}},
		Postmaster: config.Postmaster{Account: Main, Mailbox: "Postmaster"},
	}
	staticText, err := config.FormatStatic(static)
	if err != nil {
		return err
	}
	dynamicText, err := config.FormatDynamic(dynamic)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "config")
	if err := errors.Join(atomicfile.MkdirAll(dir, 0o750), atomicfile.MkdirAll(s.path(), 0o750)); err != nil {
		return err
	}
	return errors.Join(
		atomicfile.WriteFile(filepath.Join(dir, config.StaticName), staticText, 0o640),
		atomicfile.WriteFile(filepath.Join(dir, config.DynamicName), dynamicText, 0o640),
	)
}

// makeKeys writes the key for connection ids.
func (s *specimen) makeKeys(context.Context) error {
	key, err := cid.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(s.path("receivedid.key"), key[:], 0o640)
}

// withStore runs fn on the open store, with options changed by change.
func (s *specimen) withStore(ctx context.Context, change func(*store.Options), fn func(d *store.Dir) error) error {
	opts := store.Options{Dir: s.path(), Log: s.log, SegmentSize: segment, Removed: s.isRemoved}
	if change != nil {
		change(&opts)
	}
	d, err := store.Open(ctx, opts)
	if err != nil {
		return err
	}
	return errors.Join(fn(d), d.Close())
}

// withAccount runs fn on an open account.
func withAccount(ctx context.Context, d *store.Dir, name string, fn func(a *store.Account) error) error {
	a, err := d.Account(ctx, name)
	if err != nil {
		return err
	}
	if err := errors.Join(fn(a), a.Close()); err != nil {
		return fmt.Errorf("account %q: %w", name, err)
	}
	return nil
}

// isRemoved is the store's question about removed accounts.
func (s *specimen) isRemoved(accountID string) (removed bool, err error) {
	err = s.withLogins(func(db *authdb.DB) error {
		removed, err = db.IsRemoved(context.Background(), accountID) //nolint:forbidigo // The store has no other to give.
		return err
	})
	return removed, err
}

// withLogins runs fn on the open database of logins.
func (s *specimen) withLogins(fn func(db *authdb.DB) error) error {
	db, err := authdb.Open(s.path("auth.db"))
	if err != nil {
		return err
	}
	return errors.Join(fn(db), db.Close())
}

// withQueue runs fn on the open queue.
func (s *specimen) withQueue(ctx context.Context, faults *fault.Set, fn func(q *queue.DB) error) error {
	q, err := queue.Open(ctx, queue.Options{
		Dir: s.path("queue"), Log: s.log, Faults: faults, Rand: rand.Reader, Schedule: queue.DefaultSchedule(),
		Local:       func(domain string) bool { return domain == Domain },
		KeepRetired: func(string) time.Duration { return farAhead },
		Webhook:     webhookOf, KeepRetiredHooks: func(string) time.Duration { return farAhead },
	})
	if err != nil {
		return err
	}
	return errors.Join(fn(q), q.Close())
}

// farAhead is longer than any specimen will be used.
const farAhead = 100 * 365 * 24 * time.Hour

// password returns a new credential for Password.
func (s *specimen) password(existing []store.Credential, options ...auth.CredentialOption) (store.Credential, error) {
	return auth.NewCredential(rand.Reader, existing, Password, s.now, options...)
}

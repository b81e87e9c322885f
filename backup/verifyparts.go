package backup

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
	"slices"
	"strings"
	"sync"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// discard is the log of what is opened to be looked at.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// configuration reads the configuration of a backup.
func (v *verifier) configuration(context.Context) error {
	if v.root == "" {
		return nil
	}
	if !exists(v.root, ConfigDir) {
		v.warning("/"+ConfigDir, "a server can't be started with the backup alone", "", "there is no configuration")
		return nil
	}
	c, err := live.Open(filepath.Join(v.root, ConfigDir, "mox.conf"), live.Options{WithoutKeys: true})
	if err != nil {
		v.problem("/"+ConfigDir, "a server can't be started with it", "correct it, or take an earlier one from config/earlier", "configuration: %v", err)
		return nil
	}
	v.config = c.Current()
	for _, name := range v.config.Accounts() {
		if !exists(v.data, "accounts", name) {
			v.warning("accounts/"+name, "the account is empty when the server starts", "", "account %q is in domains.conf, and has no data", name)
		}
	}
	return nil
}

// Names in a data directory.
const keyFileName = "receivedid.key"

// knownFiles are the names in a data directory. Of some nothing is here to be
// looked at.
var knownFiles = []string{
	"accounts", "acme", "auth.db", "ctl", "journal", "lastknownversion", "lock", movedDirName, VersionName, lastName, RestoreIncompleteName, "queue", keyFileName, tracesName, "tmp",
	"dmarcrpt.db", "dmarceval.db", policiesName, "tlsrpt.db", tlsResultsName, "lost+found",
}

// unknown looks for files that no part of the server knows, and at those that are
// nobody else's.
func (v *verifier) unknown(ctx context.Context) error {
	v.key()
	err := v.names("", func(name string, dir bool) bool { return slices.Contains(knownFiles, name) })
	if err != nil {
		return err
	}
	for _, name := range knownFiles {
		if strings.HasSuffix(name, ".db") && name != "auth.db" && !isSideFile(name) && exists(v.data, name) {
			v.pages(name)
		}
	}
	err = errors.Join(
		v.names("journal", func(name string, dir bool) bool {
			return journal.IsName(name) || dir && (name == "aside" || name == "failed")
		}),
		v.names("accounts", func(name string, dir bool) bool {
			return dir && (store.CheckAccountName(name) == nil || strings.HasPrefix(name, ".new-"))
		}),
	)
	if err != nil {
		return err
	}
	accounts, err := os.ReadDir(filepath.Join(v.data, "accounts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, a := range accounts {
		if err := v.accountNames(a); err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return nil
}

// accountNames looks at the names in the directory of an account.
func (v *verifier) accountNames(a fs.DirEntry) error {
	if !a.IsDir() || store.CheckAccountName(a.Name()) != nil {
		return nil
	}
	place := "accounts/" + a.Name()
	if !exists(v.data, place, "index.db") {
		v.problem(place+"/index.db", "the account has no mail", "restore the account from a backup", "account %q has no database", a.Name())
	}
	if v.config != nil && !slices.Contains(v.config.Accounts(), a.Name()) {
		v.warning(place, "nobody can log in to it, and it gets no mail", "add it to domains.conf, or remove it", "account %q is not in domains.conf", a.Name())
	}
	return v.names(place, func(name string, dir bool) bool {
		return dir && name == "msg" || !dir && (name == "index.db" || slices.Contains(store.JunkNames(), name) || atomicfile.IsTemp(name))
	})
}

// names reports the names in a directory that are not known.
func (v *verifier) names(dir string, known func(name string, dir bool) bool) error {
	entries, err := os.ReadDir(filepath.Join(v.data, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if !known(e.Name(), e.IsDir()) {
			v.warning(join(dir, e.Name()), "the server does not use it", "look where it comes from", "unknown file")
		}
	}
	return nil
}

// join joins names with a slash, but nothing to nothing.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// key looks at the key for connection ids.
func (v *verifier) key() {
	text, err := os.ReadFile(filepath.Join(v.data, keyFileName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.warning(keyFileName, "connection ids in replies given so far can't be looked up", "the next start makes another", "the key for connection ids is missing")
		return
	case err == nil:
		_, err = cid.ParseKey(text)
	}
	if err != nil {
		v.problem(keyFileName, "the server does not start", mendFix+" moves it aside, and the next start makes another", "%v", err)
	}
}

const mendFix = "verifydata -fix"

// pages checks the pages of a database that nothing more is known of here.
func (v *verifier) pages(name string) {
	for _, err := range database.Check(filepath.Join(v.data, name)) {
		v.problem(name, effectAny, "restore the file from a backup", "%v", err)
	}
}

// auth verifies the database of logins, and opens it for what it knows of removed
// accounts.
func (v *verifier) auth(ctx context.Context) error {
	path := filepath.Join(v.data, "auth.db")
	if !exists(path) {
		v.problem("auth.db", effectAuth, mendAuth, "the database is missing")
		return nil
	}
	return v.authCopy(ctx, func() (*authdb.DB, func() error, error) { return authdb.OpenCopy(ctx, path, v.temp) })
}

const (
	effectAuth = "TLS public keys and the records of logins are lost; deliveries to removed accounts are kept"
	mendAuth   = "restore the file from a backup, or let the next start make an empty one"
)

// authCopy checks a copy of the database of logins.
func (v *verifier) authCopy(ctx context.Context, open func() (*authdb.DB, func() error, error)) (err error) {
	db, remove, err := open()
	if errors.Is(err, database.ErrNoRoom) || ctx.Err() != nil {
		return err
	} else if err != nil {
		v.problem("auth.db", effectAuth, mendAuth, "%v", err)
		return nil
	}
	defer func() { err = errors.Join(err, remove()) }()
	problems, err := db.Check(ctx)
	if err != nil {
		v.problem("auth.db", effectAuth, mendAuth, "%v", err)
		return ctx.Err()
	}
	for _, p := range problems {
		v.problem("auth.db", "logins are limited or shown wrongly", "", "%v", p)
	}
	v.removed, err = removedAccounts(ctx, db)
	return err
}

// removedAccounts returns what says whether an account was removed on purpose.
func removedAccounts(ctx context.Context, db *authdb.DB) (func(accountID string) (bool, error), error) {
	ids, err := db.Removed(ctx)
	if err != nil {
		return nil, err
	}
	return func(accountID string) (bool, error) { return ids[accountID], nil }, nil
}

// queue verifies a copy of the queue: opening it puts in order what a crash has
// left.
func (v *verifier) queue(ctx context.Context) error {
	dir := filepath.Join(v.data, "queue")
	if !exists(dir) {
		v.problem("queue", effectQueue, mendQueue, "the queue is missing")
		return nil
	}
	temp := filepath.Join(v.temp, "queue")
	if err := copyTree(ctx, dir, temp); err != nil {
		return fmt.Errorf("copying queue: %w", err)
	}
	return v.queueCopy(ctx, temp)
}

const (
	effectQueue = "messages that wait to be sent are lost"
	mendQueue   = "restore the queue from a backup, or let the next start make an empty one"
)

// queueCopy checks a copy of the queue.
func (v *verifier) queueCopy(ctx context.Context, temp string) error {
	opts := offlineQueue(temp, slog.New(&lineLog{func(text string) {
		v.add(Problem{Severity: Warning, Place: "queue", Text: text, Mend: "the next start does so", kind: "queue log"})
	}}))
	problems := queue.CheckDir(ctx, opts)
	for _, err := range problems {
		if errors.Is(err, database.ErrNewer) {
			return fmt.Errorf("%w: queue: %w", ErrNewer, err)
		}
		v.add(Problem{
			Place: "queue", Text: strings.ReplaceAll(err.Error(), temp, "queue"), Effect: "a message that waits to be sent is lost or damaged",
			Mend: "restore the queue from a backup, or drop the message", kind: "queue",
		})
	}
	if len(problems) > 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	opts.Log = discard()
	db, err := queue.Open(ctx, opts)
	if err != nil {
		return err
	}
	return errors.Join(v.handed.know(ctx, db), db.Close())
}

// offlineQueue returns options for a queue that delivers nothing.
func offlineQueue(dir string, log *slog.Logger) queue.Options {
	return queue.Options{Dir: dir, Log: log, Rand: rand.Reader, Schedule: queue.DefaultSchedule(), Local: func(string) bool { return false }}
}

// lineLog tells what is logged when a queue is opened: it says what had to be put
// in order.
type lineLog struct{ line func(string) }

// Enabled is true for what is not for developers alone.
func (l *lineLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle makes a line of a record.
func (l *lineLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%q", a.Key, a.Value)
		return true
	})
	l.line(b.String())
	return nil
}

// WithAttrs is not used by what is opened here.
func (l *lineLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup is not used either.
func (l *lineLog) WithGroup(string) slog.Handler { return l }

// copyTree copies a directory with its files, without syncing.
func copyTree(ctx context.Context, src, dst string) error {
	var size int64
	err := filepath.WalkDir(src, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return errors.Join(err, ctx.Err())
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err == nil {
		err = database.CheckRoom(filepath.Dir(dst), size)
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(src, path)
		if err := errors.Join(err, rerr, ctx.Err()); err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o700)
		case d.Type().IsRegular():
			return copyPlain(path, to)
		}
		return nil
	})
}

func copyPlain(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// handedMax bounds how many keys of hand-overs are compared. There are few:
// they go a minute after the delivery.
const handedMax = 100_000

// handovers compares the keys that accounts keep for the queue with those that
// the queue knows.
type handovers struct {
	mu    sync.Mutex
	keys  map[queue.Handed]bool // Kept by accounts; true once the queue was found to know them.
	known bool                  // The queue could be asked.
}

// add notes a key that an account keeps.
func (h *handovers) add(account, key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys == nil {
		h.keys = map[queue.Handed]bool{}
	}
	if len(h.keys) < handedMax {
		h.keys[queue.Handed{Account: account, Key: key}] = false
	}
}

// know asks a queue for the keys: those of messages that wait, and those of
// retired ones that are to be confirmed.
func (h *handovers) know(ctx context.Context, db *queue.DB) error {
	h.known = true
	if len(h.keys) == 0 {
		return nil
	}
	seen := map[queue.Handed]bool{}
	for {
		list, err := db.Unconfirmed(ctx, 1000)
		if err != nil {
			return err
		}
		before := len(seen)
		for _, k := range list {
			seen[k] = true
			h.keys[k] = true
		}
		if len(seen) == before {
			break
		}
	}
	waiting, err := db.List(ctx, queue.Filter{}, queue.Sort{})
	if err != nil {
		return err
	}
	bases := map[string]bool{}
	for _, m := range waiting {
		bases[m.Key] = true
	}
	for k := range h.keys {
		base, _, _ := strings.Cut(k.Key, ":")
		h.keys[k] = h.keys[k] || bases[base]
	}
	return nil
}

// unknown returns the keys that the queue does not know.
func (h *handovers) unknown() []queue.Handed {
	var list []queue.Handed
	for k, known := range h.keys {
		if !known && h.known {
			list = append(list, k)
		}
	}
	return list
}

// handovers reports keys that stay for ever, since the queue will not confirm them.
// In a backup there may be some: accounts are copied after the queue.
func (v *verifier) handovers(context.Context) error {
	if v.root != "" {
		return nil
	}
	for _, k := range v.handed.unknown() {
		v.unconfirmed(k)
	}
	return nil
}

func (v *verifier) unconfirmed(k queue.Handed) {
	v.add(Problem{
		Severity: Warning, Place: "accounts/" + k.Account + "/index.db", Account: k.Account, Text: fmt.Sprintf("the queue does not know the hand-over with key %s", k.Key),
		Effect: "the row stays, and takes a little room", kind: "handover",
	})
}

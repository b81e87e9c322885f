package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// movedDirName is the directory in a data directory for files that were in the
// way, or nobody knows, in one with the time of each run.
const movedDirName = "moved"

// movedTime names those, and sorts.
const movedTime = "20060102T150405.000000000Z"

// ErrFixBackup means that a backup is not mended: it shows what was copied, and is
// checked by its manifest. It can be restored, and what it became be mended.
var ErrFixBackup = errors.New("a backup is not mended: restore it first, then mend the data directory that it became")

// Action is one thing that Fix did.
type Action struct {
	Place string `json:"place"` // As in a Problem.
	Text  string `json:"text"`
}

// String returns the action in a line.
func (a Action) String() string { return "mended: " + a.Place + ": " + a.Text }

// Fix mends what can be mended in a data directory that no server has, and tells
// report of each thing it did. Verify says what is left. See store.Fix for what
// it does about mail. Called again it does nothing.
//
// The Lock in opts must keep others from the directory.
func Fix(ctx context.Context, opts VerifyOptions, report func(Action)) (err error) {
	v, err := newVerifier(opts, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(v.temp)) }()
	if err := v.find(); err != nil {
		return err
	}
	if v.root != "" {
		return fmt.Errorf("%w: %s", ErrFixBackup, v.root)
	}
	unlock, err := opts.Lock(v.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := CheckRestored(v.data); err != nil {
		return err
	}
	f := &fixing{v: v, report: report, moved: filepath.Join(v.data, movedDirName, time.Now().UTC().Format(movedTime))}
	for _, s := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"version", v.version}, {"key", f.key}, {"auth.db", f.auth}, {"accounts", f.accounts}, {"queue", f.queue},
	} {
		v.begin(s.name)
		if err := s.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fixing is one run of Fix.
type fixing struct {
	v      *verifier
	report func(Action)
	moved  string
}

func (f *fixing) did(place, text string) { f.report(Action{place, text}) }

// key moves a key aside that the server would not start with. It makes another.
func (f *fixing) key(context.Context) error {
	path := filepath.Join(f.v.data, keyFileName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := cid.ParseKey(text); err == nil {
		return nil
	}
	to := filepath.Join(f.moved, keyFileName)
	if err := errors.Join(atomicfile.MkdirAll(f.moved, 0o750), os.Rename(path, to), atomicfile.SyncDir(f.moved), atomicfile.SyncDir(f.v.data)); err != nil {
		return err
	}
	f.did(keyFileName, "moved aside, to "+filepath.ToSlash(strings.TrimPrefix(to, f.v.data+string(filepath.Separator))))
	return nil
}

// auth counts login attempts again, and asks for removed accounts.
func (f *fixing) auth(ctx context.Context) (err error) {
	path := filepath.Join(f.v.data, "auth.db")
	db, remove, err := authdb.OpenCopy(ctx, path, f.v.temp)
	if err != nil {
		return ctx.Err() // Verify tells of it.
	}
	f.v.removed, err = removedAccounts(ctx, db)
	if err := errors.Join(err, remove()); err != nil {
		return err
	}
	db, err = authdb.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	changed, err := db.Recount(ctx)
	for _, account := range changed {
		f.did("auth.db", fmt.Sprintf("failed logins of account %q were counted again", account))
	}
	return err
}

func (f *fixing) accounts(ctx context.Context) error {
	if !exists(f.v.data, "accounts") {
		return nil
	}
	opts := store.Options{Dir: f.v.data, Log: discard(), Removed: f.v.removed}
	return store.Fix(ctx, opts, store.FixOptions{Report: f.did, Moved: f.moved})
}

// queue opens the queue, which puts in order what a crash has left, as the next
// start would.
func (f *fixing) queue(ctx context.Context) error {
	dir := filepath.Join(f.v.data, "queue")
	if !exists(dir) {
		return nil
	}
	db, err := queue.Open(ctx, offlineQueue(dir, slog.New(&lineLog{func(text string) { f.did("queue", text) }})))
	if err != nil {
		return ctx.Err() // Verify tells of it.
	}
	return db.Close()
}

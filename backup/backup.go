// Package backup copies all that a server has while mail flows, looks whether
// such a copy is whole, and makes a data directory of one.
//
// A backup is a directory with config/, data/, moxversion and a manifest, which
// names each file with its size and checksum. It is a plain tree on purpose: what
// is in it can be read, and put back, without this program. Message files are
// links to those of the server where the file system allows that: they never
// change, so a backup beside the data takes little time and room. It does not
// save from a broken disk there; that takes a copy of the backup elsewhere.
//
// The package knows which files there are, and leaves what is in them to the
// stores, which copy and check themselves. Package admin offers its functions to
// administrators.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/tlsrptdb"
)

// Names in a backup, beside the manifest.
const (
	ConfigDir   = "config" // As the directory of mox.conf.
	DataDir     = "data"   // As the data directory.
	VersionName = "moxversion"

	// IncompleteName is a file for people who look into a backup that was not
	// finished, or lacks something. The manifest is what counts.
	IncompleteName = "backup-incomplete"
)

var (
	// ErrRunning means that a backup is being made. The caller may try later.
	ErrRunning = errors.New("another backup is being made")

	// ErrDestination means that a backup can't be made there. An administrator must
	// choose another place, or make it fit.
	ErrDestination = errors.New("destination of the backup")

	// ErrRoom means that there is not enough disk space for a backup.
	ErrRoom = errors.New("not enough disk space for the backup")
)

// Options is what a Backup needs. Fields are required unless said otherwise.
type Options struct {
	Config     *live.Config
	Accounts   *store.Dir
	Queue      *queue.DB // Nil: there is none.
	Logins     *authdb.DB
	Policies   *mtastsdb.DB       // Nil: there is none.
	TLSResults *tlsrptdb.ResultDB // Nil: there is none.
	DataDir    string
	Log        *slog.Logger
	Version    string // Of mox.
	Registerer prometheus.Registerer

	// Free returns the bytes free for files below a directory. Nil: asks the system.
	Free func(dir string) (int64, error)

	// Link links a message file. Nil: os.Link.
	Link func(from, to string) error
}

// Backup makes backups of a running server. It is safe for concurrent use.
type Backup struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics

	running sync.Mutex // Held while one is made.

	mu   sync.Mutex
	last Last
}

// New returns a Backup, which knows of earlier ones.
func New(opts Options) (*Backup, error) {
	if opts.Config == nil || opts.Accounts == nil || opts.Logins == nil || opts.DataDir == "" || opts.Log == nil || opts.Registerer == nil {
		return nil, errors.New("backup: missing option")
	}
	if opts.Free == nil {
		opts.Free = atomicfile.Free
	}
	b := &Backup{opts: opts, log: opts.Log.With("pkg", "backup")}
	var err error
	if b.last, err = readLast(opts.DataDir); err != nil {
		b.log.Error("reading when the last backup was made", "err", err)
	}
	b.metrics, err = newMetrics(opts.Registerer, b.last.Success)
	return b, err
}

// Note tells how far a backup is. It is a warning, or says what is done.
type Note struct {
	Message string
	Warning bool
	Done    int64 // Of Total, in what Message says.
	Total   int64 // 0 if unknown.
}

// Result says what is in a backup.
type Result struct {
	Path     string    `json:"path"`
	Complete bool      `json:"complete"`
	Problems []string  `json:"problems"`       // What is missing or damaged, and so not complete.
	More     int       `json:"more,omitempty"` // Problems beyond those.
	Warnings int       `json:"warnings"`       // Of which notes told.
	Accounts int       `json:"accounts"`
	Messages int64     `json:"messages"` // Of accounts.
	Copied   int64     `json:"copied"`   // Of Messages, not linked.
	Queued   int       `json:"queued"`   // Messages in the queue.
	Files    int64     `json:"files"`    // All that the manifest names.
	Bytes    int64     `json:"bytes"`    // Of these.
	Head     uint64    `json:"head"`     // Last record of the delivery journal.
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
}

// Run makes a backup in dest, an absolute path at which nothing may be. Its parent
// must be there: where nothing is mounted, no backup shall go to another disk.
//
// What can't be copied does not keep the rest from it: the Result is not Complete
// then and says what is missing. With an error there is no backup, though there
// may be a part of one, which has no manifest; ErrDestination means that nothing
// was made. It ends early when ctx does. What note does keeps it waiting.
func (b *Backup) Run(ctx context.Context, dest string, note func(Note)) (Result, error) {
	if !b.running.TryLock() {
		return Result{}, ErrRunning
	}
	defer b.running.Unlock()
	r := &run{b: b, dest: dest, tell: note}
	r.res.Path, r.res.Started, r.res.Problems = dest, time.Now().UTC().Round(0), []string{}
	err := r.all(ctx)
	r.res.Finished = time.Now().UTC().Round(0)
	b.finished(ctx, r, err)
	return r.res, err
}

// finished tells of a backup that has ended.
func (b *Backup) finished(ctx context.Context, r *run, err error) {
	took := r.res.Finished.Sub(r.res.Started)
	last := Last{Path: r.dest, Finished: r.res.Finished, Complete: r.res.Complete && err == nil}
	switch {
	case errors.Is(err, ErrDestination):
		b.metrics.count("refused")
		b.log.InfoContext(ctx, "backup refused", "path", r.dest, "err", err)
		return
	case err != nil:
		last.Error = err.Error()
		b.metrics.count("failed")
		b.log.ErrorContext(ctx, "backup failed", "path", r.dest, "err", err, "took", took)
	case !r.res.Complete:
		last.Error = r.res.Problems[0]
		b.metrics.count("incomplete")
		b.log.ErrorContext(ctx, "backup is incomplete", "path", r.dest, "problems", len(r.res.Problems)+r.res.More, "first", r.res.Problems[0], "took", took)
	default:
		last.Success = last.Finished
		b.metrics.count("complete")
		b.metrics.success(last.Finished, took)
		b.log.InfoContext(ctx, "backup complete", "path", r.dest, "accounts", r.res.Accounts, "messages", r.res.Messages, "files", r.res.Files, "bytes", r.res.Bytes, "took", took)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if last.Success.IsZero() {
		last.Success = b.last.Success
	}
	b.last = last
	if err := writeLast(b.opts.DataDir, last); err != nil {
		b.log.ErrorContext(ctx, "keeping when the last backup was made", "err", err)
	}
}

// Last returns how the last backup ended. All is zero if there was none.
func (b *Backup) Last() Last {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// checkFresh returns an error that says so if something is at path.
func checkFresh(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s is there already", ErrDestination, path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("%w: %w", ErrDestination, err)
}

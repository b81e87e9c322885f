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
	"strings"
	"sync"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// RestoreIncompleteName is a file in a data directory that is being restored.
// Nothing may be opened there while it is there.
const RestoreIncompleteName = "restore-incomplete"

var (
	// ErrRestore means that a backup can't be restored there, or as it was asked.
	// Nothing was changed.
	ErrRestore = errors.New("restoring")

	// ErrRestoreIncomplete means that a data directory was not restored to the end.
	// An administrator must restore it again.
	ErrRestoreIncomplete = errors.New("the data directory was not restored to the end: restore it again")
)

// CheckRestored returns ErrRestoreIncomplete if a data directory was not restored
// to the end. Whoever opens files in it must ask, with the directory locked.
func CheckRestored(dataDir string) error {
	_, err := os.Lstat(filepath.Join(dataDir, RestoreIncompleteName))
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w", dataDir, ErrRestoreIncomplete)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// RestoreOptions is what restoring needs. Fields are required unless said
// otherwise.
type RestoreOptions struct {
	Backup  string // The directory of the backup.
	DataDir string // For Restore one that is empty, or not there.

	// ConfigDir gets the configuration of the backup. It must be empty, or not there.
	// Empty: the configuration is left alone.
	ConfigDir string

	// Force also takes a backup that is damaged or incomplete.
	Force bool

	// Version is that of this program: a backup of a newer one is refused.
	Version string

	// Temp is where databases are copied when the backup is verified. "": the
	// directory of the system for temporary files.
	Temp string

	// Lock locks a data directory for this process.
	Lock func(dir string) (unlock func() error, err error)

	Log  *slog.Logger
	Note func(Note)

	// Rand is where keys come from. Nil: crypto/rand.Reader.
	Rand io.Reader

	// Free returns the bytes free for files below a directory. Nil: asks the system.
	Free func(dir string) (int64, error)
}

// complete checks and fills in options.
func (o *RestoreOptions) complete() error {
	if o.Backup == "" || o.DataDir == "" || o.Lock == nil || o.Log == nil || o.Note == nil {
		return errors.New("backup: missing option")
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Free == nil {
		o.Free = atomicfile.Free
	}
	return nil
}

// Restored says what was restored.
type Restored struct {
	Path     string    `json:"path"` // The data directory.
	Backup   string    `json:"backup"`
	Version  string    `json:"version"` // Of mox that made the backup; empty if unknown.
	Made     time.Time `json:"made"`    // When the backup was begun.
	Problems []string  `json:"problems"`
	More     int       `json:"more,omitempty"` // Problems beyond those.
	Accounts int       `json:"accounts"`
	Files    int64     `json:"files"`
	Bytes    int64     `json:"bytes"`
	Held     int       `json:"held"` // Messages for other servers that wait for an administrator.
	Config   string    `json:"config,omitempty"`
}

// problem notes what is wrong with the backup.
func (r *Restored) problem(format string, args ...any) {
	if len(r.Problems) == problemsMax {
		r.More++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Restore makes a data directory from a backup, for a server that does not run.
// The backup is verified first and only read: nothing is linked. Watermarks of
// accounts stay, so that the next start applies what was pending in the journal;
// every mailbox gets a new UIDVALIDITY (journal.md, rule 14), and messages in the
// queue for other servers are held.
//
// If it does not come to its end, the data directory says so, no server starts
// there, and Restore may be called again.
func Restore(ctx context.Context, opts RestoreOptions) (Restored, error) {
	if err := opts.complete(); err != nil {
		return Restored{}, err
	}
	r := &restore{opts: opts}
	r.res.Path, r.res.Backup, r.res.Problems, r.res.Config = opts.DataDir, opts.Backup, []string{}, opts.ConfigDir
	if err := r.check(ctx); err != nil {
		return r.res, err
	}
	unlock, err := opts.Lock(opts.DataDir)
	if err != nil {
		return r.res, err
	}
	err = r.all(ctx)
	return r.res, errors.Join(err, unlock())
}

// restore is one Restore. Its methods are the steps, in their order.
type restore struct {
	opts RestoreOptions
	res  Restored
	need int64          // Bytes that are copied.
	fs   *atomicfile.FS // Of the data directory; nil where files are synced one by one.
	dirs []string       // That were made.

	mu   sync.Mutex
	told time.Time // Of the last note.
}

// check looks at the backup and at where it goes, and makes the data directory.
func (r *restore) check(ctx context.Context) error {
	for _, dir := range []string{r.opts.DataDir, r.opts.ConfigDir} {
		if dir == "" {
			continue
		}
		if err := r.checkPlace(dir); err != nil {
			return err
		}
	}
	if err := r.verify(ctx, func(string) bool { return true }); err != nil {
		return err
	}
	return atomicfile.MkdirAll(r.opts.DataDir, dirPerm)
}

// checkPlace makes sure that a directory is empty, or not there, and not in the
// backup.
func (r *restore) checkPlace(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrRestore, err)
	}
	empty := true
	for _, e := range entries {
		switch {
		case e.Name() == RestoreIncompleteName:
			return r.checkOutside(dir) // Ours, not finished.
		case e.Name() == "lock", e.Name() == "lost+found", r.isDataDir(filepath.Join(dir, e.Name())):
		default:
			empty = false
		}
	}
	if !empty {
		return fmt.Errorf("%w: %s is not empty: move away what is in it, nothing is overwritten", ErrRestore, dir)
	}
	return r.checkOutside(dir)
}

// isDataDir says whether path is the data directory, which can be in that of the
// configuration.
func (r *restore) isDataDir(path string) bool {
	info, err := os.Stat(path)
	data, derr := os.Stat(r.opts.DataDir)
	return err == nil && derr == nil && os.SameFile(info, data)
}

// checkOutside makes sure that a directory, which need not be there, and the
// backup are not in each other.
func (r *restore) checkOutside(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	there := abs
	for {
		if _, err := os.Stat(there); err == nil || filepath.Dir(there) == there {
			break
		}
		there = filepath.Dir(there)
	}
	inside, err := isBelow(there, r.opts.Backup)
	if err == nil && !inside && there == abs {
		inside, err = isBelow(r.opts.Backup, abs)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRestore, err)
	}
	if inside {
		return fmt.Errorf("%w: %s and the backup %s are in each other", ErrRestore, dir, r.opts.Backup)
	}
	return nil
}

// verify looks whether the backup is whole. What is wrong with it in places that
// are used is an error, or with Force a problem.
func (r *restore) verify(ctx context.Context, used func(place string) bool) error {
	r.note("verifying %s", r.opts.Backup)
	opts := VerifyOptions{Dir: r.opts.Backup, Version: r.opts.Version, Temp: r.opts.Temp, Lock: r.opts.Lock, Progress: func(p Progress) {
		r.progress("verifying "+p.Step+": files", p.Files)
	}}
	sum, err := Verify(ctx, opts, func(p Problem) {
		// What the manifest warns of is what was missing when the backup was made.
		if (p.Severity == Error || p.Place == ManifestName) && used(p.Place) {
			r.res.problem("%s: %s", p.Place, p.Text)
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRestore, err)
	case sum.What != "backup":
		return fmt.Errorf("%w: %s is no backup", ErrRestore, r.opts.Backup)
	case len(r.res.Problems) > 0 && !r.opts.Force:
		return fmt.Errorf("%w: the backup is damaged or incomplete", ErrRestore)
	}
	m, err := OpenManifest(r.opts.Backup)
	if err != nil {
		return nil //nolint:nilerr // Known by now, and wished so.
	}
	r.res.Version, r.res.Made = m.Header().Version, m.Header().Started
	return m.Close()
}

// all restores with the data directory locked. From the marker on, it is of no use
// until the end.
func (r *restore) all(ctx context.Context) error {
	if err := r.checkPlace(r.opts.DataDir); err != nil {
		return err // Somebody was there before the lock.
	}
	if err := mark(r.opts.DataDir); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.clear, r.checkRoom, r.copyData, r.change, r.copyConfig, r.end} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("restoring to %s: %w; what is there is incomplete: restore again, which begins anew", r.opts.DataDir, err)
		}
	}
	return nil
}

// mark marks a directory as not finished.
func mark(dir string) error {
	const text = "This directory is being restored from a backup. If that was broken off, run the\ncommand again, which begins anew. No server starts here until then.\n"
	return atomicfile.WriteFile(filepath.Join(dir, RestoreIncompleteName), []byte(text), filePerm)
}

// unmark is the reverse of mark.
func unmark(dir string) error {
	if err := os.Remove(filepath.Join(dir, RestoreIncompleteName)); err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}

// clear removes what an earlier restore left.
func (r *restore) clear(context.Context) error {
	entries, err := os.ReadDir(r.opts.DataDir)
	for _, e := range entries {
		switch e.Name() {
		case RestoreIncompleteName, "lock", "lost+found":
		default:
			err = errors.Join(err, os.RemoveAll(filepath.Join(r.opts.DataDir, e.Name())))
		}
	}
	return err
}

// checkRoom makes sure that there is room for the data.
func (r *restore) checkRoom(ctx context.Context) error {
	err := r.each(ctx, DataDir, func(path string, info fs.FileInfo) error {
		if !info.IsDir() {
			r.need += info.Size()
		}
		return nil
	})
	if err != nil {
		return err
	}
	free, err := r.opts.Free(r.opts.DataDir)
	if err == nil && free-roomSpare < r.need {
		err = fmt.Errorf("not enough disk space: the data has %d MiB, %d MiB are free, of which %d stay for mail", r.need>>20+1, free>>20, roomSpare>>20)
	}
	return err
}

// each calls fn for each file and directory in a directory of the backup, with its
// path there.
func (r *restore) each(ctx context.Context, dir string, fn func(path string, info fs.FileInfo) error) error {
	root := filepath.Join(r.opts.Backup, dir)
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !e.Type().IsRegular() && !e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return fn(rel, info)
	})
}

// copyData copies data/.
func (r *restore) copyData(ctx context.Context) error {
	r.note("copying data to %s", r.opts.DataDir)
	whole, err := atomicfile.OpenFS(r.opts.DataDir)
	if err == nil {
		r.fs = whole
		defer whole.Close()
	} else if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	err = r.each(ctx, DataDir, func(path string, info fs.FileInfo) error {
		if info.IsDir() {
			return r.makeDir(filepath.Join(r.opts.DataDir, path))
		}
		r.res.Files++
		r.res.Bytes += info.Size()
		r.progress("copied files", r.res.Files)
		return r.copyFile(filepath.Join(r.opts.Backup, DataDir, path), filepath.Join(r.opts.DataDir, path), filePerm)
	})
	return errors.Join(err, r.sync())
}

// makeDir makes a directory. It is on disk after sync.
func (r *restore) makeDir(path string) error {
	if err := os.Mkdir(path, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	r.dirs = append(r.dirs, path)
	return os.Chmod(path, dirPerm) // Whatever the umask.
}

// copyFile copies a file. It is on disk after sync.
func (r *restore) copyFile(src, dst string, perm fs.FileMode) error {
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err == nil {
		err = to.Chmod(perm) // Whatever the umask.
	}
	if err == nil && r.fs == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}

// sync makes all that was copied durable.
func (r *restore) sync() error {
	if r.fs != nil {
		return r.fs.Sync()
	}
	var err error
	for _, dir := range r.dirs {
		err = errors.Join(err, atomicfile.SyncDir(dir))
	}
	return err
}

// change makes a copy of an old state one that clients and other servers can meet.
func (r *restore) change(ctx context.Context) error {
	r.note("giving every mailbox a new UIDVALIDITY")
	err := store.BumpUIDValidity(ctx, r.opts.DataDir)
	if err != nil && r.opts.Force && ctx.Err() == nil {
		r.res.problem("%v", err)
		err = nil
	}
	if err != nil {
		return err
	}
	r.note("holding messages for other servers")
	r.res.Held, err = queue.HoldRemote(ctx, queue.Options{
		Dir: filepath.Join(r.opts.DataDir, "queue"), Log: r.opts.Log.With("pkg", "queue"), Rand: r.opts.Rand,
		Schedule: queue.DefaultSchedule(), Local: r.local(),
	})
	if err != nil && r.opts.Force && ctx.Err() == nil {
		r.res.problem("the queue can't be opened, and is left out: %v", err)
		err = os.Rename(filepath.Join(r.opts.DataDir, "queue"), filepath.Join(r.opts.DataDir, "queue-damaged"))
	}
	return err
}

// local returns what tells which mail stays here, by the configuration in the
// backup. Without one, none does: what is held can be released.
func (r *restore) local() func(domain string) bool {
	c, err := live.Open(filepath.Join(r.opts.Backup, ConfigDir, config.StaticName), live.Options{WithoutKeys: true})
	if err != nil {
		r.warn("the configuration in the backup can't be read, so all messages in the queue are held: %v", err)
		return func(string) bool { return false }
	}
	return c.Current().DeliversHere
}

// copyConfig copies config/, if that was asked for.
func (r *restore) copyConfig(ctx context.Context) error {
	if r.opts.ConfigDir == "" {
		return nil
	}
	r.note("copying configuration to %s", r.opts.ConfigDir)
	if err := errors.Join(atomicfile.MkdirAll(r.opts.ConfigDir, dirPerm), mark(r.opts.ConfigDir)); err != nil {
		return err
	}
	err := r.each(ctx, ConfigDir, func(path string, info fs.FileInfo) error {
		dst := filepath.Join(r.opts.ConfigDir, path)
		if info.IsDir() {
			return atomicfile.MkdirAll(dst, dirPerm)
		}
		return atomicfile.Write(dst, info.Mode().Perm(), func(w io.Writer) error {
			f, err := os.Open(filepath.Join(r.opts.Backup, ConfigDir, path))
			if err != nil {
				return err
			}
			_, err = io.Copy(w, f)
			return errors.Join(err, f.Close())
		})
	})
	if err != nil {
		return err
	}
	return unmark(r.opts.ConfigDir)
}

// end makes the data directory one that can be used.
func (r *restore) end(context.Context) error {
	names, err := os.ReadDir(filepath.Join(r.opts.DataDir, "accounts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range names {
		if e.IsDir() && store.CheckAccountName(e.Name()) == nil {
			r.res.Accounts++
		}
	}
	return unmark(r.opts.DataDir)
}

func (r *restore) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = time.Now()
	r.opts.Note(Note{Message: fmt.Sprintf(format, args...)})
}

func (r *restore) warn(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opts.Note(Note{Message: strings.ToValidUTF8(fmt.Sprintf(format, args...), "?"), Warning: true})
}

// progress tells how far a step is, now and then. Several goroutines verify.
func (r *restore) progress(message string, done int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.told) >= progressEvery {
		r.told = now
		r.opts.Note(Note{Message: message, Done: done})
	}
}

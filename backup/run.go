package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/store"
)

// Limits of a run.
const (
	// roomSpare is what a backup leaves free, in bytes: more than what the store wants
	// to be free to take mail, so that no backup keeps mail from coming in.
	roomSpare = 128 << 20

	// roomAgain is after how many bytes the file system is asked again.
	roomAgain = 16 << 20

	progressEvery = time.Second // At most so often there is a note on how far it is.
	warningsMax   = 100         // Notes with warnings. Nobody reads more.
	problemsMax   = 100         // Of a Result, which is also in the manifest.
	problemMax    = 1000        // Bytes of each.
)

// Permissions of what is made. Those of the configuration are kept.
const (
	dirPerm  fs.FileMode = 0o750
	filePerm fs.FileMode = 0o640
)

// run is one backup. Its methods are the steps, in their order.
type run struct {
	b    *Backup
	dest string
	tell func(Note)
	res  Result

	links bool      // Message files can be linked.
	room  int64     // Bytes that may be written before the file system is asked again.
	told  time.Time // Of the last note on how far it is.
}

func (r *run) all(ctx context.Context) error {
	if err := r.prepare(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		r.begin, r.checkRoom, r.copyConfig, r.copyAccounts, r.copyLogins, r.copySideFiles, r.copyOthers, r.writeVersion, r.writeManifest, r.end,
	} {
		err := step(ctx)
		if ctx.Err() != nil {
			err = fmt.Errorf("the backup was broken off: %w", context.Cause(ctx))
		}
		if err != nil {
			return fmt.Errorf("%w; what is in %s is no backup, and can be removed", err, r.dest)
		}
	}
	return nil
}

// note tells of a step.
func (r *run) note(format string, args ...any) {
	r.told = time.Now()
	r.tell(Note{Message: fmt.Sprintf(format, args...)})
}

// progress tells how far a step is, now and then.
func (r *run) progress(message string, done, total int64) {
	if now := time.Now(); now.Sub(r.told) >= progressEvery {
		r.told = now
		r.tell(Note{Message: message, Done: done, Total: total})
	}
}

// warn tells of something that may be a mistake, and leaves nothing out that
// belongs to a backup.
func (r *run) warn(format string, args ...any) {
	if r.res.Warnings++; r.res.Warnings <= warningsMax {
		r.tell(Note{Message: fmt.Sprintf(format, args...), Warning: true})
	}
}

// problem tells of something that is missing or damaged.
func (r *run) problem(format string, args ...any) {
	text := strings.ToValidUTF8(fmt.Sprintf(format, args...), "?")
	if len(text) > problemMax {
		text = strings.ToValidUTF8(text[:problemMax], "") + "…"
	}
	if len(r.res.Problems) == problemsMax {
		r.res.More++
		return
	}
	r.res.Problems = append(r.res.Problems, text)
	r.tell(Note{Message: text, Warning: true})
}

// failed makes an error a problem, unless all has to end for it, and returns it
// then.
func (r *run) failed(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.Is(err, ErrRoom):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrRoom, err)
	}
	r.problem("%s: %v", what, err)
	return nil
}

// prepare makes sure that dest is one, and changes nothing.
func (r *run) prepare() error {
	if !filepath.IsAbs(r.dest) {
		return fmt.Errorf("%w: %q is not an absolute path", ErrDestination, r.dest)
	}
	r.dest = filepath.Clean(r.dest)
	r.res.Path = r.dest
	if err := checkFresh(r.dest); err != nil {
		return err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(r.dest))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the directory %s, in which it should be made, is not there", ErrDestination, filepath.Dir(r.dest))
	} else if err != nil {
		return fmt.Errorf("%w: %w", ErrDestination, err)
	}
	for _, own := range []struct{ dir, what string }{{r.b.opts.DataDir, "data directory"}, {r.b.opts.Config.Dir(), "directory of the configuration"}} {
		inside, err := isBelow(parent, own.dir)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDestination, err)
		}
		if inside {
			return fmt.Errorf("%w: %s is inside the %s, which is to be copied: choose a place beside it", ErrDestination, r.dest, own.what)
		}
	}
	return r.make()
}

// isBelow says whether the directory path is dir or below it, whatever their
// names are.
func isBelow(path, dir string) (bool, error) {
	own, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	path, err = filepath.Abs(path)
	for err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(path); err != nil {
			break
		}
		if os.SameFile(info, own) {
			return true, nil
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false, nil
		}
		path = parent
	}
	return false, err
}

// make makes the directory of the backup.
func (r *run) make() error {
	err := os.Mkdir(r.dest, dirPerm)
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		hint = fmt.Sprintf(": the server makes it, as the user with id %d, who must be allowed to write to %s", os.Geteuid(), filepath.Dir(r.dest))
	case errors.Is(err, syscall.EROFS):
		hint = ": the server may not write there; if it is a service of systemd, its unit needs the directory in ReadWritePaths"
	}
	return fmt.Errorf("%w: %w%s", ErrDestination, err, hint)
}

// begin marks the backup as not finished.
func (r *run) begin(context.Context) error {
	if err := os.Chmod(r.dest, dirPerm); err != nil { // Whatever the umask.
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(r.dest)); err != nil {
		return err
	}
	text := fmt.Sprintf("This backup was begun at %s and is not finished.\nIf none is being made now, it can be removed.\n", r.res.Started.Format(time.RFC3339))
	if err := r.markIncomplete(text); err != nil {
		return err
	}
	for _, dir := range []string{ConfigDir, DataDir} {
		if err := atomicfile.MkdirAll(filepath.Join(r.dest, dir), dirPerm); err != nil {
			return err
		}
	}
	r.note("backup to %s", r.dest)
	return nil
}

func (r *run) markIncomplete(text string) error {
	return atomicfile.WriteFile(filepath.Join(r.dest, IncompleteName), []byte(text), filePerm)
}

// takeRoom fails with ErrRoom unless so many bytes can be written.
func (r *run) takeRoom(bytes int64) error {
	if bytes <= r.room {
		r.room -= bytes
		return nil
	}
	free, err := r.b.opts.Free(r.dest)
	if err != nil {
		return err
	}
	if free-roomSpare < bytes {
		return fmt.Errorf("%w: it needs %d MiB more, %d MiB are free, of which %d stay for mail", ErrRoom, bytes>>20+1, free>>20, roomSpare>>20)
	}
	r.room = min(roomAgain, free-roomSpare-bytes)
	return nil
}

// checkRoom makes sure that there is room for all, as large as it is now.
func (r *run) checkRoom(ctx context.Context) error {
	r.links = r.canLink()
	var need int64
	err := filepath.WalkDir(r.b.opts.DataDir, func(path string, e fs.DirEntry, err error) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			return nil //nolint:nilerr // It is copied later, and told of then.
		}
		if e.IsDir() && r.links && (e.Name() == "msg" || e.Name() == "tmp") {
			return filepath.SkipDir // Links take no room.
		}
		if info, err := e.Info(); err == nil && e.Type().IsRegular() {
			need += info.Size()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !r.links {
		r.warn("the file system of %s can't have links to message files, so they are copied", r.dest)
	}
	r.room = 0
	defer func() { r.room = 0 }() // It is taken step by step.
	return r.takeRoom(need)
}

// canLink tries whether files of the data directory can be linked into the
// backup.
func (r *run) canLink() bool {
	if r.b.opts.Link != nil {
		return true
	}
	probe := filepath.Join(r.dest, ".link")
	err := os.Link(filepath.Join(r.b.opts.DataDir, "auth.db"), probe)
	return err == nil && os.Remove(probe) == nil
}

// copyAccounts copies the accounts, then the queue, and then the journal.
func (r *run) copyAccounts(ctx context.Context) error {
	r.note("accounts")
	copied, err := r.b.opts.Accounts.CopyTo(ctx, filepath.Join(r.dest, DataDir), store.CopyOptions{
		Room: r.takeRoom,
		Link: r.b.opts.Link,
		Progress: func(account string, messages int64) {
			if messages == 0 {
				r.note("account %s", account)
			} else {
				r.progress("account "+account+": messages", messages, 0)
			}
		},
		BeforeJournal: func() error { return r.copyQueue(ctx) },
	})
	r.res.Accounts, r.res.Messages, r.res.Copied, r.res.Head = copied.Accounts, copied.Messages, copied.Copied, copied.Head
	for _, p := range copied.Problems {
		if p.Warning {
			r.warn("%v", p)
		} else {
			r.problem("%v: %s; to mend it: %s", p, p.Effect, p.Mend)
		}
	}
	r.res.More += copied.More
	return r.failed(ctx, "accounts and journal", err)
}

// copyQueue copies the queue. What it copies of a message that goes to an account
// meanwhile is in the journal, which comes after.
func (r *run) copyQueue(ctx context.Context) error {
	defer r.note("journal")
	if r.b.opts.Queue == nil {
		return nil
	}
	r.note("queue")
	dir := filepath.Join(r.b.opts.DataDir, "queue")
	if err := r.takeRoom(r.roomFor(dir)); err != nil {
		return err
	}
	copied, err := r.b.opts.Queue.CopyTo(ctx, filepath.Join(r.dest, DataDir, "queue"))
	r.res.Queued = copied.Messages
	return r.failed(ctx, "queue", err)
}

// roomFor returns how many bytes the copy of a directory takes. If there are
// links, what is below it takes none.
func (r *run) roomFor(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && r.links && path != dir {
			return fs.SkipDir // What can't be read is told of when it is copied.
		}
		if info, err := e.Info(); err == nil && e.Type().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}

// copyLogins copies auth.db. It comes after the accounts: of one that was removed
// meanwhile it says so, and no delivery in the journal is for an account that
// nobody knows.
func (r *run) copyLogins(ctx context.Context) error {
	r.note("logins")
	return r.copyDatabase(ctx, "auth.db", r.b.opts.Logins)
}

// copyDatabase copies a database that is one file of the data directory.
func (r *run) copyDatabase(ctx context.Context, name string, db copier) error {
	info, err := os.Stat(filepath.Join(r.b.opts.DataDir, name))
	if err == nil {
		err = r.takeRoom(info.Size())
	}
	if err == nil {
		err = atomicfile.Write(filepath.Join(r.dest, DataDir, name), filePerm, func(w io.Writer) error {
			_, err := db.WriteTo(ctx, w)
			return err
		})
	}
	return r.failed(ctx, name, err)
}

func (r *run) writeVersion(context.Context) error {
	text := fmt.Sprintf("mox %s\n%s %s/%s\n", r.b.opts.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return atomicfile.WriteFile(filepath.Join(r.dest, VersionName), []byte(text), filePerm)
}

// end says whether the backup is complete, also to who looks into it.
func (r *run) end(ctx context.Context) error {
	if r.res.Complete = len(r.res.Problems) == 0; r.res.Complete {
		if err := os.Remove(filepath.Join(r.dest, IncompleteName)); err != nil {
			return err
		}
		return atomicfile.SyncDir(r.dest)
	}
	text := fmt.Sprintf("This backup of %s is finished and incomplete.\n\n%s\n", r.res.Started.Format(time.RFC3339), strings.Join(r.res.Problems, "\n"))
	if r.res.More > 0 {
		text += fmt.Sprintf("and %d more\n", r.res.More)
	}
	return r.failed(ctx, "", r.markIncomplete(text))
}

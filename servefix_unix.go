//go:build unix

package main

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/system"
)

// Permissions of what the server has. The group of a directory is that of new files
// in it, so that what root adds can be read.
const (
	dirMode      = 0o750 | fs.ModeSetgid
	dirPermMax   = 0o750
	filePermMax  = 0o640
	filePermNeed = 0o600
)

// configNames are what the configuration directory may have, besides files that
// the configuration names and other files, which are left alone.
var configNames = []string{config.StaticName, config.DynamicName, "earlier", "dkim"}

// lostFound is in the root of file systems, and belongs to that.
const lostFound = "lost+found"

// fixer gives the configuration and the data directory to the user that serves: they
// may have been made, copied or restored by root. It changes nothing outside, follows
// no symbolic link, and is cautious: who wrote mox.conf may have had that user's
// rights only. What it can't change is logged.
type fixer struct {
	user serveUserID
	log  *slog.Logger

	root    *os.Root
	dir     string // Of root, for the log.
	changed int

	// links has files with several names: as many as were seen, of how many. A file
	// with a name elsewhere may be someone else's.
	links map[inode]*linked
}

type inode struct{ dev, ino uint64 }

type linked struct {
	names []string
	total uint64
}

// fixConfig corrects the configuration directory and the files in it that the
// configuration names, if the directory isn't right.
func (f *fixer) fixConfig(ctx context.Context, c *live.Config) {
	f.in(ctx, c.Dir(), func() error {
		if right, err := f.right("."); right || err != nil {
			return err
		}
		names := slices.Clone(configNames)
		for _, name := range pairNames(c.Current().Static) {
			names = append(names, f.below(configPath(c.Dir(), name)))
		}
		data := f.below(c.DataDir())
		if other, err := f.otherDirectory(append(slices.Clone(names), data)); err != nil {
			return err
		} else if other != "" {
			f.log.WarnContext(ctx, "owner and permissions of the configuration are not corrected", "problem", fmt.Sprintf(
				"%s has things that are not of mox, as %s: give the configuration a directory of its own, or run chown %d:%d %s yourself", f.dir, other, f.user.uid, f.user.gid, quoteArg(f.dir)))
			return nil
		}
		// Other than those in mox.conf, these don't say which directories are ours.
		for _, name := range c.Current().Dynamic.DKIMKeyFiles() {
			names = append(names, f.below(configPath(c.Dir(), name)))
		}
		f.fix(ctx, ".")
		for _, name := range names {
			if name != "" {
				f.tree(ctx, name)
			}
		}
		return nil
	})
}

// fixData corrects all of the data directory, if it or something directly in it
// isn't right.
func (f *fixer) fixData(ctx context.Context, dir string) {
	f.in(ctx, dir, func() error {
		entries, err := fs.ReadDir(f.root.FS(), ".")
		if err != nil {
			return err
		}
		right, err := f.right(".")
		ours := true
		for _, e := range entries {
			if e.Name() == lostFound {
				continue
			}
			ours = false
			if owned, oerr := f.owned(e.Name()); oerr == nil && !owned {
				right = false
			}
		}
		if right || err != nil {
			return err
		}
		for _, name := range []string{system.LockName, system.CIDKeyName} {
			info, err := f.root.Lstat(name)
			ours = ours || err == nil && info.Mode().IsRegular()
		}
		if !ours {
			f.log.WarnContext(ctx, "owner and permissions of the data directory are not corrected", "problem", fmt.Sprintf(
				"%s is not empty and has no data of mox: choose another DataDir, or run chown -R %d:%d %s yourself", f.dir, f.user.uid, f.user.gid, quoteArg(f.dir)))
			return nil
		}
		f.tree(ctx, ".")
		return nil
	})
}

// in calls fn with root open, and corrects files with several names after it.
func (f *fixer) in(ctx context.Context, dir string, fn func() error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.log.ErrorContext(ctx, "correcting permissions", "dir", dir, "err", err)
		return
	}
	defer root.Close()
	f.root, f.dir, f.changed, f.links = root, absolute(dir), 0, map[inode]*linked{}
	if err := fn(); err != nil {
		f.log.ErrorContext(ctx, "correcting permissions", "dir", f.dir, "err", err)
	}
	f.fixLinked(ctx)
	if f.changed > 0 {
		f.log.InfoContext(ctx, "owners and permissions corrected", "dir", f.dir, "changed", f.changed, "uid", f.user.uid, "gid", f.user.gid)
	}
}

// below returns a path relative to root, empty if it is not below that.
func (f *fixer) below(path string) string {
	rel, err := filepath.Rel(f.dir, absolute(path))
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return ""
	}
	return rel
}

// otherDirectory returns a directory in root that is not one of names or above one,
// empty if there is none. System directories and homes have some.
func (f *fixer) otherDirectory(names []string) (string, error) {
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		ours := func(name string) bool { return name == e.Name() || strings.HasPrefix(name, e.Name()+"/") }
		if e.IsDir() && e.Name() != lostFound && !slices.ContainsFunc(names, ours) {
			return e.Name(), nil
		}
	}
	return "", nil
}

// owned tells whether a file belongs to the user.
func (f *fixer) owned(name string) (bool, error) {
	info, err := f.root.Lstat(name)
	if err != nil {
		return false, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == f.user.uid, nil
}

// right tells whether a directory belongs to the user, and to nobody else. Stricter
// permissions than ours are right.
func (f *fixer) right(name string) (bool, error) {
	info, err := f.root.Lstat(name)
	if err != nil {
		return false, err
	}
	owned, err := f.owned(name)
	return owned && info.Mode().Perm()&^dirPermMax == 0, err
}

// tree corrects a file, or a directory with all in it.
func (f *fixer) tree(ctx context.Context, name string) {
	_ = fs.WalkDir(f.root.FS(), filepath.ToSlash(name), func(path string, _ fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && os.IsNotExist(err):
			return nil // Names in mox.conf need not be there.
		case err != nil:
			f.log.ErrorContext(ctx, "correcting permissions", "file", filepath.Join(f.dir, path), "err", err)
			return nil
		case filepath.Base(path) == lostFound:
			return fs.SkipDir
		}
		f.fix(ctx, path)
		return nil
	})
}

// fix corrects one file or directory. Links are left alone, and so is what the
// server doesn't make.
func (f *fixer) fix(ctx context.Context, name string) {
	info, err := f.root.Lstat(name)
	if err != nil {
		f.failed(ctx, name, err)
		return
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !info.IsDir() && !info.Mode().IsRegular():
		return
	case !info.IsDir() && st.Nlink > 1:
		id := inode{uint64(st.Dev), st.Ino} //nolint:unconvert // Types differ by system.
		if f.links[id] == nil {
			f.links[id] = &linked{total: uint64(st.Nlink)} //nolint:unconvert // Likewise.
		}
		f.links[id].names = append(f.links[id].names, name)
		return
	}
	f.set(ctx, name, info)
}

// fixLinked corrects files with several names, if all of these are in root.
func (f *fixer) fixLinked(ctx context.Context) {
	for _, l := range f.links {
		name := l.names[0]
		info, err := f.root.Lstat(name)
		if err != nil {
			f.failed(ctx, name, err)
			continue
		}
		owned, err := f.owned(name)
		switch {
		case err != nil:
			f.failed(ctx, name, err)
		case uint64(len(l.names)) == l.total:
			f.set(ctx, name, info)
		case !owned:
			f.failed(ctx, name, fmt.Errorf("the file has %d names, and only %d of them here", l.total, len(l.names)))
		}
	}
}

// set sets owner, group and permissions where they differ.
func (f *fixer) set(ctx context.Context, name string, info fs.FileInfo) {
	want := dirMode
	if !info.IsDir() {
		want = (info.Mode().Perm() | filePermNeed) & filePermMax // Nothing is allowed that wasn't, but to the owner.
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == f.user.uid && int(st.Gid) == f.user.gid && info.Mode()&(fs.ModePerm|fs.ModeSetgid|fs.ModeSetuid|fs.ModeSticky) == want {
		return
	}
	err := f.root.Lchown(name, f.user.uid, f.user.gid)
	if err == nil {
		err = f.root.Chmod(name, want) // After it: chown takes bits away.
	}
	if err != nil {
		f.failed(ctx, name, err)
		return
	}
	f.changed++
}

func (f *fixer) failed(ctx context.Context, name string, err error) {
	f.log.ErrorContext(ctx, "correcting permissions", "file", filepath.Join(f.dir, name), "err", err)
}

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/config"
)

// Limits of the directory of the configuration, so that what somebody puts there
// besides does not fill the disk.
const (
	configFileMax  = 16 << 20 // Bytes of a file. Larger ones are no configuration.
	configFilesMax = 10_000
)

// treatment is what becomes of an entry of the data directory.
type treatment int

// The treatments.
const (
	unknown treatment = iota // Copied, with a warning.
	ours                     // Copied by who knows it.
	plain                    // Copied.
	skipped                  // Means nothing elsewhere.
)

// dataEntries are the entries of a data directory, and what becomes of them.
var dataEntries = map[string]treatment{
	"accounts":            ours,
	"journal":             ours,
	"queue":               ours,
	"auth.db":             ours,
	policiesName:          ours,
	tlsResultsName:        ours,
	"receivedid.key":      plain,
	tracesName:            plain,
	"acme":                plain,
	"moved":               plain,
	"lastknownversion":    plain,
	"lost+found":          skipped,
	VersionName:           skipped, // Of a backup that somebody copied by hand.
	"ctl":                 skipped,
	"lock":                skipped,
	"tmp":                 skipped,
	lastName:              skipped,
	RestoreIncompleteName: skipped,
}

// copyConfig copies the directory of mox.conf, without the data directory if that
// is in it.
func (r *run) copyConfig(ctx context.Context) error {
	r.note("configuration")
	dir := r.b.opts.Config.Dir()
	data, err := os.Stat(r.b.opts.DataDir)
	if err != nil {
		return r.failed(ctx, "configuration", err)
	}
	files := 0
	t := &tree{run: r, perm: func(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() & 0o770 }, follow: true}
	t.skip = func(path string, info fs.FileInfo) bool {
		switch {
		case os.SameFile(info, data):
			return true
		case info.IsDir():
			return false
		case info.Size() > configFileMax:
			r.warn("%s has %d bytes, which is no configuration: left out", path, info.Size())
			return true
		}
		if files++; files == configFilesMax+1 {
			r.warn("%s has more than %d files: others are left out", dir, configFilesMax)
		}
		return files > configFilesMax
	}
	if err := r.failed(ctx, "configuration", t.copy(ctx, dir, filepath.Join(r.dest, ConfigDir))); err != nil {
		return err
	}
	for _, name := range []string{config.StaticName, config.DynamicName} {
		if _, err := os.Stat(filepath.Join(r.dest, ConfigDir, name)); err != nil {
			r.problem("%s is not there", filepath.Join(dir, name))
		}
	}
	r.warnOutside()
	return nil
}

// warnOutside warns of keys that the configuration names and that are elsewhere.
func (r *run) warnOutside() {
	dir, err := filepath.Abs(r.b.opts.Config.Dir())
	seen := map[string]bool{}
	current := r.b.opts.Config.Current()
	names := current.Dynamic.DKIMKeyFiles()
	for _, l := range current.Static.Listeners {
		if l.TLS == nil {
			continue
		}
		for _, pair := range l.TLS.KeyCerts {
			names = append(names, pair.KeyFile, pair.CertFile)
		}
	}
	for _, name := range names {
		path := filepath.FromSlash(name)
		if filepath.IsAbs(path) && err == nil {
			if rel, rerr := filepath.Rel(dir, path); rerr == nil {
				path = rel
			}
		}
		if name == "" || seen[name] || filepath.IsLocal(path) {
			continue
		}
		seen[name] = true
		r.warn("%s is outside of the directory of the configuration, and so not in the backup", name)
	}
}

// copyOthers copies what else is in the data directory. What nobody knows comes
// last, so that it takes no room from what is needed.
func (r *run) copyOthers(ctx context.Context) error {
	r.note("other files")
	entries, err := os.ReadDir(r.b.opts.DataDir)
	if err != nil {
		return r.failed(ctx, "data directory", err)
	}
	for _, want := range []treatment{plain, unknown} {
		for _, e := range entries {
			if dataEntries[e.Name()] != want || atomicfile.IsTemp(e.Name()) {
				continue
			}
			if want == unknown {
				r.warn("%s is not known, and copied as it is", filepath.Join(r.b.opts.DataDir, e.Name()))
			}
			t := &tree{run: r, perm: func(fs.FileInfo) fs.FileMode { return filePerm }}
			err := t.copy(ctx, filepath.Join(r.b.opts.DataDir, e.Name()), filepath.Join(r.dest, DataDir, e.Name()))
			if want == unknown && errors.Is(err, ErrRoom) {
				r.problem("%s: %v", e.Name(), err) // Better a backup without it than none.
				continue
			}
			if err := r.failed(ctx, e.Name(), err); err != nil {
				return err
			}
		}
	}
	return nil
}

// tree copies a file, or a directory with what is in it.
type tree struct {
	*run
	perm   func(fs.FileInfo) fs.FileMode
	skip   func(path string, info fs.FileInfo) bool // Nil: nothing.
	follow bool                                     // Symbolic links to files.
}

// copy copies src to dst, which may be there if it is a directory. What fails is a
// problem, and ends it only if all has to end.
func (t *tree) copy(ctx context.Context, src, dst string) error {
	return filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, rerr := filepath.Rel(src, path)
		if rerr != nil {
			return rerr
		}
		if err == nil {
			err = t.entry(path, filepath.Join(dst, rel), e)
		}
		switch {
		case errors.Is(err, fs.SkipDir):
			return err
		case errors.Is(err, fs.ErrNotExist):
			return nil // It was removed meanwhile.
		}
		return t.failed(ctx, path, err)
	})
}

// entry copies one file, or makes one directory.
func (t *tree) entry(src, dst string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	switch {
	case !utf8.ValidString(src):
		t.warn("%q has a name that is not UTF-8: left out", src)
		return skipEntry(e)
	case t.skip != nil && t.skip(src, info):
		return skipEntry(e)
	case e.IsDir():
		return atomicfile.MkdirAll(dst, dirPerm)
	case e.Type()&fs.ModeSymlink != 0:
		return t.link(src, dst)
	case !e.Type().IsRegular():
		t.warn("%s is neither a file nor a directory: left out", src)
		return nil
	case atomicfile.IsTemp(e.Name()):
		return nil
	}
	return t.file(src, dst, info)
}

// skipEntry leaves out an entry, with all that is in it.
func skipEntry(e fs.DirEntry) error {
	if e.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// link copies the file that a symbolic link leads to.
func (t *tree) link(src, dst string) error {
	info, err := os.Stat(src)
	switch {
	case err == nil && t.follow && info.Mode().IsRegular() && !t.skip(src, info):
		t.warn("%s is a symbolic link: copied is the file that it leads to", src)
		return t.file(src, dst, info)
	default:
		t.warn("%s is a symbolic link: left out", src)
		return nil
	}
}

// file copies one file, as it is now.
func (t *tree) file(src, dst string, info fs.FileInfo) error {
	if err := t.takeRoom(info.Size()); err != nil {
		return err
	}
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	return atomicfile.Write(dst, t.perm(info), func(w io.Writer) error {
		n, err := io.Copy(w, io.LimitReader(f, info.Size())) // It may be growing.
		if err == nil && n < info.Size() {
			err = fmt.Errorf("it got shorter: %w", io.ErrUnexpectedEOF)
		}
		return err
	})
}

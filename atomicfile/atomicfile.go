// Package atomicfile replaces files as a whole: after a crash or power cut at
// any instant the old content is there or the new, never a part of either, and
// once a function here returns nil the new one is on disk.
//
// It also has the two calls that make directory entries and whole file systems
// durable, since what they need differs between systems. It knows nothing of
// what the files hold. Package config/live writes the configuration with it,
// backup and database their copies.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempInfix stands in the names of files that are not yet complete, between
// the final name and a random number.
const tempInfix = ".tmp-"

// IsTemp tells whether name is one that a crash inside Write can leave behind.
// Such a file is never complete and may be removed.
func IsTemp(name string) bool {
	i := strings.LastIndex(name, tempInfix)
	if i < 0 {
		return false
	}
	random := name[i+len(tempInfix):]
	return random != "" && strings.Trim(random, "0123456789") == ""
}

// WriteFile makes path a file with this content and exactly these permissions,
// whatever the umask. A symbolic link at path is replaced, not followed.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Write makes path a file with what fill writes, and exactly the permissions
// perm. If fill returns an error, path stays as it is.
func Write(path string, perm fs.FileMode, fill func(w io.Writer) error) error {
	temp, err := writeTemp(path, perm, fill)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return SyncDir(filepath.Dir(path))
}

// writeTemp makes a complete and synced file beside path and returns its name.
func writeTemp(path string, perm fs.FileMode, fill func(w io.Writer) error) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempInfix+"*")
	if err != nil {
		return "", err
	}
	err = fill(f)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// SyncDir makes the entries of the directory at path durable. Windows offers no
// way to do that; there it does nothing.
func SyncDir(path string) error {
	if err := syncDir(path); err != nil {
		return fmt.Errorf("syncing directory %s: %w", path, err)
	}
	return nil
}

// MkdirAll makes the directory at path with all parents that are missing, and
// makes the entries of those it made durable.
func MkdirAll(path string, perm fs.FileMode) error {
	err := os.Mkdir(path, perm)
	switch {
	case err == nil:
		return SyncDir(filepath.Dir(path))
	case errors.Is(err, fs.ErrExist):
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("making directory %s: a file is there", path)
		}
		return err
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path:
		if err := MkdirAll(filepath.Dir(path), perm); err != nil {
			return err
		}
		return MkdirAll(path, perm)
	}
	return err
}

// FS is a file system that can be synced as a whole: see OpenFS.
type FS struct{ dir *os.File }

// OpenFS returns the file system that holds the directory dir. It fails with
// errors.ErrUnsupported where a sync of the whole does not report failures (all
// but Linux since 5.8): callers must then sync each file and directory.
//
// Failures are reported from the time of OpenFS on, so it must be opened before
// the first write that a Sync has to answer for, and kept open.
func OpenFS(dir string) (*FS, error) {
	if err := syncFSSupported(); err != nil {
		return nil, fmt.Errorf("syncing a whole file system: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return &FS{f}, nil
}

// Sync returns when all that was written to the file system before is on disk.
// After an error any of it may be lost, and a further Sync does not write it
// again.
func (s *FS) Sync() error {
	if err := syncFS(s.dir); err != nil {
		return fmt.Errorf("syncing file system of %s: %w", s.dir.Name(), err)
	}
	return nil
}

// Close ends the use of s.
func (s *FS) Close() error { return s.dir.Close() }

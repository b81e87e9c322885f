// Package database opens bstore files the right way: with bbolt settings under
// which a file does not get slower with age, and never a file of a newer
// version or of another kind, which bstore would "migrate" by dropping what it
// does not know.
//
// It is the only importer of bstore.Open and of bbolt. It knows no row types;
// the stores pass theirs in and own what is opened.
package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/mjl-/bstore"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/mjl-/mox/atomicfile"
)

// lockTimeout bounds the wait for another process that has the file open. It is
// long enough for a command that reads one row, and short enough for a person
// who waits to be told.
const lockTimeout = 5 * time.Second

// mapSize is the address space a file takes from the start, in bytes. While a
// file fits in, a slow reader never makes a writer wait for the map to grow. It
// is no memory: pages that were never read take none. With it bbolt grows the
// file by 16 MiB at a time, which are a hole until they are written.
const mapSize = 1 << 30

// filePerm are the permissions of a new file: the group may read, for backups.
const filePerm fs.FileMode = 0o640

var (
	// ErrForeign means the file was not made by this package, or is another
	// database. The caller must not use it in any way; an operator put it there.
	ErrForeign = errors.New("not a database of this kind")

	// ErrNewer means the file was last written by a newer version of the program,
	// whose rows this one may not know. An operator must start that version.
	ErrNewer = errors.New("database written by a newer version")

	// ErrOlder means the file needs an upgrade by its owner before it can be
	// opened.
	ErrOlder = errors.New("database needs an upgrade")

	// ErrLocked means another process still had the file open after five seconds.
	ErrLocked = errors.New("database in use by another process")

	// ErrDamaged means the file can't be what was last written to it. An operator
	// must restore it from a backup.
	ErrDamaged = errors.New("database damaged")
)

// Setup sets the options with which bbolt opens files. bstore passes none, so
// they can only be set for the whole process; Open calls Setup itself, and what
// it sets never changes.
//
// A free list that is not written makes each commit cost the same however many
// pages are free, for a scan of the file when it is opened. The lock timeout is
// here because bstore drops all other options when it is given one.
var Setup = sync.OnceFunc(func() {
	bolt.DefaultOptions = &bolt.Options{
		Timeout:         lockTimeout,
		FreelistType:    bolt.FreelistMapType,
		NoFreelistSync:  true,
		InitialMmapSize: initialMapSize(runtime.GOOS, math.MaxInt > math.MaxInt32),
	}
})

// initialMapSize returns mapSize where address space is plentiful. On Windows a
// map can't be larger than its file, which would grow to the size at once.
func initialMapSize(goos string, is64bit bool) int {
	if goos == "windows" || !is64bit {
		return 0
	}
	return mapSize
}

// identity says what a file is. It is kept beside the buckets of bstore, which
// looks only at those named after its types.
type identity struct {
	Kind    string `json:"kind"`    // Which database: "account", "queue", …
	Version int64  `json:"version"` // Schema number: counts changes that older versions can't read.
}

// The bucket and key of the identity.
const (
	identityBucket = "mox"
	identityKey    = "schema"
)

// Open opens the database at path, which must be of this kind and schema
// number, for rows of these types, and makes it if there is none. The caller
// closes it.
//
// There may be types in the file beside those given; bstore leaves them alone.
func Open(path string, kind string, schema int64, types ...any) (*bstore.DB, error) {
	Setup()
	want := identity{kind, schema}
	err := check(path, want)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path, want); err == nil {
			err = check(path, want)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", path, err)
	}
	// A deadline would make bstore pass options to bbolt that drop all of ours.
	ctx := context.Background() //nolint:forbidigo // Neither bbolt's open nor its commit can be stopped early.
	db, err := bstore.Open(ctx, path, &bstore.Options{MustExist: true, Perm: filePerm}, types...)
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", path, domainError(err))
	}
	return db, nil
}

// Schema returns the kind and schema number of the file at path, without
// regard to what this program can open.
func Schema(path string) (kind string, schema int64, err error) {
	id, err := identify(path)
	if err != nil {
		return "", 0, fmt.Errorf("looking at database %s: %w", path, err)
	}
	return id.Kind, id.Version, nil
}

// check fails if the file at path is not what the caller wants.
func check(path string, want identity) error {
	got, err := identify(path)
	switch {
	case err != nil:
		return err
	case got.Kind != want.Kind:
		return fmt.Errorf("%w: it is %q, not %q", ErrForeign, got.Kind, want.Kind)
	case got.Version > want.Version:
		return fmt.Errorf("%w: it has schema %d, this version knows up to %d", ErrNewer, got.Version, want.Version)
	case got.Version < want.Version:
		return fmt.Errorf("%w: from schema %d to %d", ErrOlder, got.Version, want.Version)
	}
	return nil
}

// identify reads the identity of the file at path and writes nothing. A file
// that it returns no error for can be opened.
func identify(path string) (id identity, err error) {
	err = view(path, func(tx *bolt.Tx) error {
		var damage error
		if err := walk(path, tx, func(err error) bool { damage = err; return false }); err != nil || damage != nil {
			return errors.Join(err, damage)
		}
		b := tx.Bucket([]byte(identityBucket))
		if b == nil {
			return fmt.Errorf("%w: it does not say what it is", ErrForeign)
		}
		if err := json.Unmarshal(b.Get([]byte(identityKey)), &id); err != nil {
			return fmt.Errorf("%w: %w", ErrForeign, err)
		}
		return nil
	})
	return id, err
}

// view runs fn in a read transaction on the file at path, opened read-only.
func view(path string, fn func(tx *bolt.Tx) error) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		// We never leave an empty file, so this one lost what it had.
		return fmt.Errorf("%w: not a file, or empty", ErrForeign)
	}
	db, err := bolt.Open(path, filePerm, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return domainError(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(func(tx *bolt.Tx) error {
		// Reading a page beyond the end of the file would kill the process.
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: %d bytes of %d are there", ErrDamaged, info.Size(), tx.Size())
		}
		return fn(tx)
	})
}

// domainError adds to an error of bbolt what it means for callers.
func domainError(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", ErrForeign, err)
	case errors.Is(err, bolterrors.ErrChecksum):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// create makes the file at path, complete and durable or not at all. It leaves
// a file that appeared there meanwhile as it is.
func create(path string, id identity) error {
	temp, err := tempName(path)
	if err != nil {
		return err
	}
	if err := fill(temp, id); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	// A link never replaces a file, as a rename would.
	err = os.Link(temp, path)
	switch {
	case err == nil, errors.Is(err, fs.ErrExist):
		err = os.Remove(temp)
	default:
		err = os.Rename(temp, path) // No hard links here.
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// tempName returns the name of a new empty file beside path, of the form that
// atomicfile.IsTemp knows.
func tempName(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return "", err
	}
	return f.Name(), errors.Join(f.Chmod(filePerm), f.Close())
}

// fill makes the file at path a database that holds only its identity.
func fill(path string, id identity) error {
	value, err := json.Marshal(id)
	if err != nil {
		return err
	}
	db, err := bolt.Open(path, filePerm, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte(identityBucket))
		if err != nil {
			return err
		}
		return b.Put([]byte(identityKey), value)
	})
	return errors.Join(err, db.Close())
}

// Check returns what is wrong with the pages of the file at path, at most
// problemsMax things. It needs the file not to be open for writing.
func Check(path string) (problems []error) {
	add := func(err error) bool {
		problems = append(problems, fmt.Errorf("checking database %s: %w", path, err))
		return len(problems) < problemsMax
	}
	err := view(path, func(tx *bolt.Tx) error {
		err := walk(path, tx, add)
		if err != nil || len(problems) > 0 {
			return err
		}
		for err := range tx.Check() {
			if len(problems) < problemsMax {
				add(err)
			}
		}
		if len(problems) > 0 {
			return nil
		}
		return checkIndices(tx, add)
	})
	if err != nil {
		add(err)
	}
	return problems
}

// problemsMax bounds what Check tells of one file. A damaged inner page makes
// every page below it a problem, and nobody reads the second hundred.
const problemsMax = 100

// CopyTo makes path a consistent copy of db, complete and on disk when it
// returns. Writers go on meanwhile, but the space they free is not used again
// until it is done.
func CopyTo(ctx context.Context, db *bstore.DB, path string) error {
	return atomicfile.Write(path, filePerm, func(w io.Writer) error {
		return db.Read(ctx, func(tx *bstore.Tx) error {
			_, err := tx.WriteTo(stopWriter{ctx, w})
			return err
		})
	})
}

// stopWriter writes until ctx ends.
type stopWriter struct {
	ctx context.Context
	w   io.Writer
}

func (s stopWriter) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}

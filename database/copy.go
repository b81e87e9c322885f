package database

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
)

// copySpare is what a copy leaves free on the disk it is made on, in bytes.
const copySpare = 64 << 20

// ErrNoRoom means that a disk has no room for a copy. Another directory may.
var ErrNoRoom = errors.New("not enough disk space for a copy")

// CheckRoom fails with ErrNoRoom unless dir has room for a copy of so many bytes.
func CheckRoom(dir string, size int64) error {
	free, err := atomicfile.Free(dir)
	if err != nil {
		return fmt.Errorf("asking for free disk space: %w", err)
	}
	if free < size+copySpare {
		return fmt.Errorf("%w: it needs %d bytes in %s, which has %d", ErrNoRoom, size+copySpare, dir, free)
	}
	return nil
}

// OpenCopy opens a copy of the file at path, made in the directory dir, as Open
// does. Nothing is changed beside path, which may be on a medium that can't be
// written to; nobody may have it open for writing. The caller calls remove when
// it is done, which closes the copy.
//
// What is wrong with its pages is in the error, which wraps ErrDamaged.
func OpenCopy(ctx context.Context, path, dir, kind string, schema int64, types ...any) (db *bstore.DB, remove func() error, err error) {
	if problems := Check(path); len(problems) > 0 {
		return nil, nil, errors.Join(problems...)
	}
	temp, err := CopyFile(ctx, path, dir)
	if err != nil {
		return nil, nil, err
	}
	db, err = Open(temp, kind, schema, types...)
	if err != nil {
		return nil, nil, errors.Join(err, os.Remove(temp))
	}
	return db, func() error { return errors.Join(db.Close(), os.Remove(temp)) }, nil
}

// DumpTo makes path a consistent copy of db, as CopyTo does, but one that is to be
// looked at and removed: it is not synced, which would keep others waiting.
func DumpTo(ctx context.Context, db *bstore.DB, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	err = db.Read(ctx, func(tx *bstore.Tx) error {
		_, err := tx.WriteTo(stopWriter{ctx, f})
		return err
	})
	return errors.Join(err, f.Close())
}

// CopyFile copies the file at path into the directory dir, under a new name that
// it returns. It is not synced: it is to be looked at, and removed.
func CopyFile(ctx context.Context, path, dir string) (temp string, err error) {
	src, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return "", err
	}
	if err := CheckRoom(dir, info.Size()); err != nil {
		return "", err
	}
	dst, err := os.CreateTemp(dir, "copy-*.db")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(stopWriter{ctx, dst}, src)
	if err := errors.Join(err, dst.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("copying %s: %w", path, err), os.Remove(dst.Name()))
	}
	return dst.Name(), nil
}

package journal

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Allocate reserves blocks without writing them. Where the file system can't,
// it writes zeros.
func (f diskFile) Allocate(size int64) error {
	return writeZeros(f, 0, size)
	err := retryInterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return writeZeros(f, 0, size)
	}
	return err
}

// Zero marks blocks as not written where the file system can, since that costs
// nothing; it drops what the page cache has of them.
func (f diskFile) Zero(from, to int64) error {
	if from >= to {
		return nil
	}
	return writeZeros(f, from, to)
	err := retryInterrupted(func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE, from, to-from)
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return writeZeros(f, from, to)
	}
	return err
}

// NextData asks the file system where it holds data: blocks that are allocated
// and were never written need not be read.
func (f diskFile) NextData(from int64) (int64, error) {
	at, err := unix.Seek(int(f.Fd()), from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return f.Size()
	case errors.Is(err, unix.EINVAL):
		return from, nil // Not known here.
	}
	return at, err
}

// Sync is fdatasync(2): appending to an allocated file changes no metadata that
// is needed to read it, so that there is nothing but data to write.
func (f diskFile) Sync() error {
	return retryInterrupted(func() error { return unix.Fdatasync(int(f.Fd())) })
}

func retryInterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

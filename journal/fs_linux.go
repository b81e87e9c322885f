package journal

import (
	"errors"

	"golang.org/x/sys/unix"
)

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

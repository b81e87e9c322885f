package atomicfile

import (
	"errors"

	"golang.org/x/sys/unix"
)

// exchange exchanges two files at once. The error is errors.ErrUnsupported if the
// system can't, and nothing has happened.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	return err
}

package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// syncFSMajor and syncFSMinor are the first Linux whose syncfs(2) reports that
// pages could not be written; before, it returned 0 all the same.
const (
	syncFSMajor = 5
	syncFSMinor = 8
)

// syncFSSupported returns errors.ErrUnsupported for a kernel before 5.8.
func syncFSSupported() error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	if release := unix.ByteSliceToString(u.Release[:]); !atLeast(release, syncFSMajor, syncFSMinor) {
		return fmt.Errorf("kernel %s: %w", release, errors.ErrUnsupported)
	}
	return nil
}

// atLeast compares the first two numbers of a release such as "6.1.0-18-amd64".
func atLeast(release string, major, minor int) bool {
	number := func(s string) int {
		digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
		n, err := strconv.Atoi(digits)
		if err != nil {
			return -1
		}
		return n
	}
	first, rest, _ := strings.Cut(release, ".")
	if n := number(first); n != major {
		return n > major
	}
	return number(rest) >= minor
}

func syncFS(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if syncErr = unix.Syncfs(int(fd)); syncErr != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, syncErr)
}

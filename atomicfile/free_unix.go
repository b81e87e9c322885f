//go:build !windows

package atomicfile

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Free returns the bytes that an unprivileged process can still write to the
// file system of path.
func Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("asking for free disk space: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // The types differ by system.
}

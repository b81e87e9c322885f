package atomicfile

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// Free returns the bytes that the user can still write to the disk of path.
func Free(path string) (int64, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, fmt.Errorf("asking for free disk space: %w", err)
	}
	var free, total, all uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, &total, &all); err != nil {
		return 0, fmt.Errorf("asking for free disk space: %w", err)
	}
	return int64(min(free, 1<<62)), nil
}

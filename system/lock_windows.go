package system

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockOffset is of the byte that is locked. Windows lets nobody read what is
// locked, and the process id is to be read.
const lockOffset = 1 << 20

// tryLock locks a file until it is closed, also by the end of the process: for
// this process alone, or shared with others that do so.
func tryLock(f *os.File, alone bool) error {
	at := windows.Overlapped{Offset: lockOffset}
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if alone {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}

// unlockFile gives a lock back. Windows does so when the file is closed, some time
// later.
func unlockFile(f *os.File) error {
	at := windows.Overlapped{Offset: lockOffset}
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &at)
}

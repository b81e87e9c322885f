package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// LockName is a file in the data directory. Who holds its lock owns the files
// there; the content is its process id, for people.
const LockName = "lock"

// RunningError means that another process uses the data directory.
type RunningError struct{ PID int } // 0 if unknown.

// Error names the process.
func (e *RunningError) Error() string {
	if e.PID == 0 {
		return "server is running"
	}
	return fmt.Sprintf("server is running: pid %d", e.PID)
}

// errLocked is what tryLock returns if another process has the lock.
var errLocked = errors.New("locked")

// Lock is a data directory locked for this process.
type Lock struct{ file *os.File }

// LockDataDir locks a data directory, which must exist. It doesn't wait: if
// another process has it, the error is a *RunningError. Each command that opens
// files in the directory itself must hold the lock.
func LockDataDir(dir string) (*Lock, error) {
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("locking data directory: %w", err)
	}
	err = tryLock(f, true)
	if errors.Is(err, errLocked) {
		return nil, errors.Join(&RunningError{readPID(path)}, f.Close())
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking data directory: %w", err), f.Close())
	}
	return &Lock{f}, nil
}

// Running returns a *RunningError if another process has the data directory. It
// makes no file, so that the user who then locks it can.
func Running(dir string) error {
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("looking at the lock of the data directory: %w", err)
	}
	if err := tryLock(f, true); errors.Is(err, errLocked) {
		return errors.Join(&RunningError{readPID(path)}, f.Close())
	} else if err != nil {
		return errors.Join(fmt.Errorf("looking at the lock of the data directory: %w", err), f.Close())
	}
	return errors.Join(unlockFile(f), f.Close())
}

// ShareDataDir locks a data directory for reading: no server starts meanwhile, and
// others can read too. If a process has the directory, the error is a
// *RunningError. Nothing is written, so that the directory may be on a medium that
// can't be; one without a lock file never had a server, and stays unlocked.
func ShareDataDir(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, LockName)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return func() error { return nil }, nil
	} else if err != nil {
		return nil, fmt.Errorf("locking data directory: %w", err)
	}
	err = tryLock(f, false)
	if errors.Is(err, errLocked) {
		return nil, errors.Join(&RunningError{readPID(path)}, f.Close())
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("locking data directory: %w", err), f.Close())
	}
	return func() error { return errors.Join(unlockFile(f), f.Close()) }, nil
}

// Unlock lets others have the directory. The file stays: to remove it would
// leave a process with a lock on no name.
func (l *Lock) Unlock() error {
	err := l.file.Truncate(0)
	return errors.Join(err, unlockFile(l.file), l.file.Close())
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readPID returns what another process wrote, 0 if it has not yet.
func readPID(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

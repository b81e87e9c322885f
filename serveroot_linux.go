package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ownProgram returns the path of the running program. It needs no permission for the
// directories where that is.
func ownProgram() (string, error) { return "/proc/self/exe", nil }

// noNewPrivileges takes from this thread, and the processes that it starts, the way to
// more privileges by running a program, as one with the setuid bit.
func noNewPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	return nil
}

// nameProcess gives the process a name for lists of processes: started by the path of
// ownProgram it has another.
func nameProcess() {
	// Without it all works.
	_ = os.WriteFile("/proc/self/comm", []byte("mox"), 0)
}

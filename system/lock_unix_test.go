//go:build unix

package system

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnlockWhileProcessIsMade unlocks while a process that is just being made has
// a copy of the descriptor.
func TestUnlockWhileProcessIsMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := LockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(l.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := LockDataDir(dir)
	if err != nil {
		t.Fatalf("after unlocking: %v", err)
	}
	if err := again.Unlock(); err != nil {
		t.Error(err)
	}
}

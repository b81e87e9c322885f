package system

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := LockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "lock"))
	if pid := strings.TrimSpace(string(text)); err != nil || pid != strconv.Itoa(os.Getpid()) {
		t.Errorf("file has %q, %v, want our pid", text, err)
	}
	for _, content := range []string{string(text), "", "x\n"} {
		if err := os.WriteFile(filepath.Join(dir, "lock"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LockDataDir(dir)
		if e, ok := errors.AsType[*RunningError](err); !ok || (e.PID == os.Getpid()) != (content == string(text)) || !strings.HasPrefix(e.Error(), "server is running") {
			t.Errorf("locked, file has %q: got %v", content, err)
		}
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := LockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Unlock(); err != nil {
		t.Error(err)
	}
	if _, err := LockDataDir(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}

// TestShareDataDir reads a data directory that nobody uses, together with others,
// and changes nothing in it.
func TestShareDataDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	share := func() func() error {
		t.Helper()
		unlock, err := ShareDataDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return unlock
	}
	if err := share()(); err != nil {
		t.Errorf("without lock file: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	l, err := LockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ShareDataDir(dir)
	if e, ok := errors.AsType[*RunningError](err); !ok || e.PID != os.Getpid() {
		t.Errorf("while it is used: got %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	one, other := share(), share()
	if _, err := LockDataDir(dir); err == nil {
		t.Error("a server starts while the directory is read")
	}
	if err := errors.Join(one(), other()); err != nil {
		t.Error(err)
	}
	if l, err = LockDataDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

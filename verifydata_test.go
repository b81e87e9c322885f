package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/system"
)

// TestVerifyData runs the command on what a server has left that was for trying
// things out: sound, damaged, mended, and in use.
func TestVerifyData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "local")
	if code, _, stderr := run(t, "localserve", "-dir", dir, "-initonly"); code != 0 {
		t.Fatalf("localserve: %s", stderr)
	}
	data := madeData(t, dir)
	if code, stdout, stderr := run(t, "verifydata", data); code != 0 || !strings.HasPrefix(stdout, "OK: data directory with 1 accounts") || stderr != "" {
		t.Fatalf("got %d, %q, %q", code, stdout, stderr)
	}
	stray := filepath.Join(data, "accounts", "mox", "msg", "x.eml")
	if err := errors.Join(os.WriteFile(stray, nil, 0o600), os.WriteFile(filepath.Join(data, "notes"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run(t, "verifydata", "-temp", t.TempDir(), data)
	if lines := strings.Split(stdout, "\n"); code != 1 || stderr != "" || len(lines) != 4 || lines[2] != "problems: 1, and warnings: 1" || !strings.Contains(stdout, "unknown file accounts/mox/msg/x.eml") {
		t.Errorf("damaged: got %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, _ = run(t, "verifydata", "-json", "-sizesonly", data)
	var last struct {
		Summary struct {
			OK       bool
			Errors   int64
			Warnings int64
		}
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || code != 1 || last.Summary.OK || last.Summary.Errors != 1 || last.Summary.Warnings != 1 {
		t.Errorf("as JSON: got %d, %q, %v", code, stdout, err)
	}
	code, stdout, stderr = run(t, "verifydata", "-fix", data)
	if code != 0 || !strings.Contains(stdout, "mended: accounts/mox/msg/x.eml: moved aside, to moved/") || !strings.Contains(stdout, "\nOK: ") {
		t.Errorf("mending: got %d, %q, %q", code, stdout, stderr)
	}

	l, err := system.LockDataDir(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verifydata", data}, {"verifydata", "-fix", data}} {
		code, stdout, stderr := run(t, args...)
		if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "mox: server is running: pid ") || !strings.Contains(stderr, "use verifydata without a directory") {
			t.Errorf("%v while it is used: got %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"verifydata", data, data}, {"verifydata", "-fix"}, {"verifydata", "-temp", data}} {
		if code, _, _ := run(t, args...); code != 2 {
			t.Errorf("%v: got %d", args, code)
		}
	}
	if code, _, stderr := run(t, "verifydata", t.TempDir()); code != 1 || !strings.Contains(stderr, "neither a backup nor a data directory") {
		t.Errorf("an empty directory: got %d, %q", code, stderr)
	}
}

// madeData returns the data directory below dir.
func madeData(t *testing.T, dir string) string {
	t.Helper()
	data, err := dataDir(filepath.Join(dir, "mox.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestVerifyDataRunning has a running server verify its data.
func TestVerifyDataRunning(t *testing.T) {
	t.Parallel()
	e := newCtlEnv(t, realSocket(t), ctlCalls)
	defer e.close()
	e.add(2)
	code, stdout, stderr := e.run(t, "", "verifydata")
	if code != 0 || !strings.HasPrefix(stdout, "warning: receivedid.key: ") || !strings.HasSuffix(stdout, "\nOK: server with 1 accounts, 0 files looked at, 1 warnings\n") || stderr != "" {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
}

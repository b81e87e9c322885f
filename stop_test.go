package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/system"
)

// TestStop stops a localserve that runs in a process of its own, also one that
// came after a crash.
func TestStop(t *testing.T) {
	t.Parallel()
	l := newLocal(t)
	config, data := filepath.Join(l.dir, "mox.conf"), filepath.Join(l.dir, "data")
	if out, err := program(t, "localserve", "-dir", l.dir, "-ip", l.ip, "-initonly").CombinedOutput(); err != nil {
		t.Fatalf("got %q, %v", out, err)
	}
	code, stdout, stderr := run(t, "-config", config, "stop")
	if want := "mox: no server is running for " + data + "\n"; code != exitError || stdout != "" || stderr != want {
		t.Errorf("before it runs: got %d, %q, %q, want %q", code, stdout, stderr, want)
	}

	l.start(t)
	if err := l.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = l.cmd.Wait() // Killed.
	if _, err := os.Lstat(filepath.Join(data, ctlName)); err != nil {
		t.Errorf("after a crash: %v, want the socket left", err)
	}
	code, _, stderr = run(t, "-config", config, "stop")
	if code != exitError || !strings.Contains(stderr, "no server is running") {
		t.Errorf("after a crash: got %d, %q", code, stderr)
	}

	l.start(t)
	code, stdout, stderr = run(t, "-config", config, "stop", "-json")
	if code != exitOK || stdout != `{"note":{"message":"stopping"}}`+"\n"+`{"result":{}}`+"\n" || stderr != "" {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
	lock, err := system.LockDataDir(data) // At once.
	if err != nil {
		t.Fatalf("after stop: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(data, ctlName)); err == nil {
		t.Error("the socket is still there")
	}
	if err := l.cmd.Wait(); err != nil {
		t.Errorf("process: got %v, stderr %q, want exit code 0", err, l.stderr.String())
	}
	log, err := os.ReadFile(filepath.Join(l.dir, "localserve.log"))
	if err != nil || !strings.Contains(string(log), `m="told to stop" pkg=admin`) {
		t.Errorf("log: %v\n%s", err, log)
	}
}

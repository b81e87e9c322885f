package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/backup"
)

// TestBackupCommands makes a backup of a localserve in a process of its own, kills
// that while it makes another, and goes on elsewhere with what the first has.
func TestBackupCommands(t *testing.T) {
	t.Parallel()
	l := newLocal(t)
	l.start(t, "-ip", l.ip)
	config, out := filepath.Join(l.dir, "mox.conf"), t.TempDir()
	first, second, third := filepath.Join(out, "first"), filepath.Join(out, "second"), filepath.Join(out, "third")
	for range 3 {
		send(t, l.address(localSMTP), "anyone@anywhere.example")
	}
	if got := l.imapMessages(t); got != "* 3 EXISTS" {
		t.Fatalf("got %s", got)
	}
	cmd := program(t, "-config", config, "backup", "first") // Where the command is, not the server.
	cmd.Dir = out
	text, err := cmd.CombinedOutput()
	if want := "complete: " + first + ": 1 account, 3 messages, 0 in the queue; "; err != nil || !strings.HasPrefix(string(text), want) || strings.Count(string(text), "\n") != 1 {
		t.Fatalf("got %q, %v", text, err)
	}

	cmd = program(t, "-config", config, "backup", "-verbose", second)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(stdout)
	for in.Scan() && in.Text() != "account mox" {
	}
	if err := l.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stdout)
	berr, _ := cmd.Wait(), l.cmd.Wait()
	if _, err := os.Stat(filepath.Join(second, backup.ManifestName)); (berr == nil) != (err == nil) {
		t.Errorf("the command ended with %v, and the manifest with %v", berr, err)
	}

	l.start(t)
	code, _, stderr := run(t, "-config", config, "backup", second)
	if code != exitError || stderr != "mox: destination of the backup: "+second+" is there already\n" {
		t.Errorf("over what was left: got %d, %q", code, stderr)
	}
	code, text2, stderr := run(t, "-config", config, "backup", "-json", third)
	var res backup.Result
	if err := json.Unmarshal([]byte(text2), &res); err != nil || code != exitOK || stderr != "" || !res.Complete || res.Messages != 3 {
		t.Errorf("after a crash: got %d, %s, %s, %v", code, text2, stderr, err)
	}
	code, _, stderr = run(t, "restore", first, filepath.Join(l.dir, "data"))
	if code != exitError || !strings.Contains(stderr, "is not empty") {
		t.Errorf("restoring over a server: got %d, %q", code, stderr)
	}
	code, _, stderr = run(t, "restore", "-account", "mox", first, filepath.Join(l.dir, "data"))
	if code != exitError || !strings.Contains(stderr, "server is running: pid ") {
		t.Errorf("restoring an account while a server runs: got %d, %q", code, stderr)
	}
	l.stop(t)
	restoreElsewhere(t, l, first)
}

// restoreElsewhere restores a backup of three messages and serves from there.
func restoreElsewhere(t *testing.T, l *local, from string) {
	t.Helper()
	r := &local{dir: filepath.Join(t.TempDir(), "restored"), ip: l.ip}
	data := filepath.Join(r.dir, "data")
	code, stdout, stderr := run(t, "restore", "-config", r.dir, from, data)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if last := lines[len(lines)-1]; code != exitOK || stderr != "" || !strings.HasPrefix(last, "restored: "+data+": 1 account, ") {
		t.Fatalf("got %d, %q, %q", code, stdout, stderr)
	}
	marker := filepath.Join(data, backup.RestoreIncompleteName)
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = run(t, "localserve", "-dir", r.dir)
	if code != exitError || !strings.Contains(stderr, backup.ErrRestoreIncomplete.Error()) {
		t.Errorf("serving what was not restored to the end: got %d, %q", code, stderr)
	}
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	send(t, r.address(localSMTP), "anyone@anywhere.example")
	if got := r.imapMessages(t); got != "* 4 EXISTS" {
		t.Errorf("restored: got %s", got)
	}
	r.stop(t)

	if err := os.RemoveAll(filepath.Join(data, "accounts", "mox")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = run(t, "restore", "-json", "-account", "mox", from, data)
	if code != exitOK || !strings.HasPrefix(stdout, `{"path":"`+data+`",`) || !strings.Contains(stderr, "delivery can't be applied, keeping it") {
		t.Errorf("one account: got %d, %q, %q", code, stdout, stderr)
	}
	r.start(t)
	if got := r.imapMessages(t); got != "* 3 EXISTS" {
		t.Errorf("one account: got %s", got)
	}
	r.stop(t)
}

// TestBackupCommandIncomplete makes a backup of a server that lacks a file.
func TestBackupCommandIncomplete(t *testing.T) {
	t.Parallel()
	e := newCtlEnv(t, realSocket(t), ctlCalls)
	defer e.close()
	if err := os.Remove(filepath.Join(e.dir, "domains.conf")); err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(e.outside, "backup")
	code, stdout, stderr := e.run(t, "", "backup", dest)
	if code != exitError || !strings.HasPrefix(stdout, "incomplete, 1 problem: "+dest) || stderr != "mox: warning: "+filepath.Join(e.dir, "domains.conf")+" is not there\n" {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
	code, _, stderr = run(t, "restore", dest, filepath.Join(e.outside, "data"))
	if want := "when the backup was made: " + filepath.Join(e.dir, "domains.conf") + " is not there\n"; code != exitError || !strings.Contains(stderr, want) ||
		!strings.HasSuffix(stderr, "mox: restoring: the backup is damaged or incomplete\n") {
		t.Errorf("restoring it: got %d, %q", code, stderr)
	}
	code, stdout, stderr = e.run(t, "", "backup", "-json", dest+"2")
	if code != exitError || !strings.Contains(stdout, `"complete":false`) || !strings.Contains(stderr, "is not there") {
		t.Errorf("-json: got %d, %q, %q", code, stdout, stderr)
	}
	if code, _, stderr := e.run(t, "", "backup", ""); code != exitUsage {
		t.Errorf("no directory: got %d, %q", code, stderr)
	}
	if code, _, stderr := run(t, "restore", "-account", "a", "-config", "x", "y", "z"); code != exitUsage {
		t.Errorf("an account with the configuration: got %d, %q", code, stderr)
	}
}

// TestProgress shows how notes look on a terminal, and elsewhere.
func TestProgress(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	notes := []admin.Note{
		{Message: "account mox"}, {Message: "messages", Done: 1000}, {Message: "odd \x1b[2Jname\n", Warning: true}, {Message: strings.Repeat("ü", 100), Done: 1, Total: 2},
	}
	for name, test := range map[string]struct {
		p              progress
		stdout, stderr string
	}{
		"a terminal": {progress{terminal: true}, "account mox\r\x1b[Kmessages: 1000\r\x1b[K" + strings.Repeat("ü", progressWidth) + "\r\x1b[K", "mox: warning: odd �[2Jname�\n"},
		"verbose":    {progress{verbose: true}, "account mox\nmessages: 1000\n" + strings.Repeat("ü", 100) + ": 1 of 2\n", "mox: warning: odd �[2Jname�\n"},
		"a file":     {progress{}, "", "mox: warning: odd �[2Jname�\n"},
	} {
		out.Reset()
		errs.Reset()
		test.p.inv = &invocation{stdout: &out, stderr: &errs}
		for _, n := range notes {
			test.p.note(n)
		}
		test.p.clear()
		if out.String() != test.stdout || errs.String() != test.stderr {
			t.Errorf("%s: got %q and %q", name, out.String(), errs.String())
		}
	}
	if p := (&invocation{stdout: &out}).progress(true, true); p.verbose || p.terminal {
		t.Errorf("JSON: got %+v", p)
	}
	if s := fmt.Sprint(count(1, "file"), count(2, "file"), megabytes(1234567)); s != "1 file2 files1.2 MB" {
		t.Errorf("got %s", s)
	}
}

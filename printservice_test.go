package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

func TestQuoteUnit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ path, unit, command string }{
		{"/usr/bin/mox", "/usr/bin/mox", "/usr/bin/mox"},
		{"/a b", `"/a b"`, `"/a b"`},
		{"/100%", "/100%%", "/100%%"},
		{"/$a", "/$a", "/$$a"},
		{`/a"b\c%`, `"/a\"b\\c%%"`, `"/a\"b\\c%%"`},
		{"/a;b", `"/a;b"`, `"/a;b"`},
	} {
		if got := quoteUnit(test.path); got != test.unit {
			t.Errorf("%s: got %s, want %s", test.path, got, test.unit)
		}
		if got := quoteCommand(test.path); got != test.command {
			t.Errorf("%s in a command: got %s, want %s", test.path, got, test.command)
		}
	}
}

// TestUnitCommands shows that the commands in the unit are ours.
func TestUnitCommands(t *testing.T) {
	t.Parallel()
	lines := regexp.MustCompile(`(?m)^Exec\w+=/mox -config /c/mox\.conf (.*)$`).FindAllStringSubmatch(formatUnit("/mox", "/w", "/c/mox.conf", "/d"), -1)
	if len(lines) != 2 {
		t.Fatalf("got commands %q", lines)
	}
	for _, m := range lines {
		if _, n := findCommand(strings.Fields(m[1])); n == 0 {
			t.Errorf("no command %q", m[1])
		}
	}
}

// TestPrintService has systemd look at the unit, with paths that need quoting.
func TestPrintService(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("skipped: systemd is for Linux")
	}
	dir := filepath.Join(t.TempDir(), `50% of "it"`)
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := prepareLocal(t.Context(), &invocation{}, dir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	code, unit, stderr := run(t, "-config", filepath.Join(dir, "mox.conf"), "config", "printservice")
	if !strings.Contains(stderr, "must be there before the unit is started") {
		t.Errorf("got %q, and there is no data directory", stderr)
	}
	if code != 0 || !strings.Contains(unit, "\nType=notify\n") || !strings.Contains(unit, `50%% of \"it\"/data`) || strings.Contains(unit, "{") {
		t.Fatalf("got %d, %s%s", code, unit, stderr)
	}
	path := filepath.Join(t.TempDir(), "mox.service")
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("needs systemd-analyze, see scripts/install-test-deps.sh: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", path).CombinedOutput()
	// It also looks at units that ours refers to, and at what the machine has.
	if err != nil || strings.Contains(string(out), "mox.service") {
		t.Errorf("got %v, %s", err, out)
	}
}

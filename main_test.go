package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files")

// asProgram makes the test binary run as the program, for tests that need a
// process.
const asProgram = "MOX_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// run runs the program in this process.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	inv := &invocation{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
	code = inv.main(t.Context(), args, func(string) string { return "" })
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none.conf")
	for _, test := range []struct {
		name           string
		args           string
		code           int
		stdout, stderr string // Begins of what is printed.
	}{
		{"no command", "", 2, "", "usage: mox serve"},
		{"an unknown command", "serv", 2, "", "usage: mox serve"},
		{"an incomplete command", "config", 2, "", "usage: mox config test\n       mox config describe-static\n"},
		{"an unknown second word", "config x", 2, "", "usage: mox config test\n"},
		{"too many arguments", "version x", 2, "", "usage: mox version\n"},
		{"too few arguments", "cid", 2, "", "usage: mox cid id\n"},
		{"an unknown flag", "localserve -x", 2, "", "mox: flag provided but not defined: -x\nusage: mox localserve "},
		{"an unknown global flag", "-x version", 2, "", "mox: flag provided but not defined: -x\nusage: mox version\n"},
		{"version", "version", 0, "mox ", ""},
		{"help", "help", 0, "usage: mox [-config mox.conf]", ""},
		{"help for one", "help config test", 0, "usage: mox config test\n\nCheck mox.conf and domains.conf.\n", ""},
		{"help for several", "help config", 0, "mox config test\n\tCheck mox.conf and domains.conf.\n", ""},
		{"help for nothing", "help x", 2, "", "mox: no such command: x\nusage: "},
		{"a help flag", "config test -h", 0, "usage: mox config test\n\nCheck", ""},
		{"a global help flag", "-help", 0, "usage: mox [-config mox.conf]", ""},
		{"describe-static", "config describe-static", 0, "# NOTE: This file is in sconf format.", ""},
		{"describe-domains", "config describe-domains", 0, "# NOTE: This file is in sconf format.", ""},
		{"a configuration that isn't there", "-config " + none + " config test", 1, "", "mox: reading configuration: "},
		{"the same for cid", "-config " + none + " cid x", 1, "", "mox: reading configuration: "},
		{"not an address", "localserve -dir " + none + " -ip x", 2, "", "mox: -ip: \"x\" is not an address\nusage: mox localserve "},
	} {
		code, stdout, stderr := run(t, strings.Fields(test.args)...)
		if code != test.code || !strings.HasPrefix(stdout, test.stdout) || !strings.HasPrefix(stderr, test.stderr) || test.stderr == "" && stderr != "" {
			t.Errorf("%s: got %d, stdout %q, stderr %q; want %d, %q, %q", test.name, code, stdout, stderr, test.code, test.stdout, test.stderr)
		}
	}
}

// TestGoldenHelp compares all help texts with docs/commands.txt, which is made
// from them.
func TestGoldenHelp(t *testing.T) {
	t.Parallel()
	_, got, _ := run(t, "help")
	for _, c := range commands {
		_, help, _ := run(t, append([]string{"help"}, strings.Fields(c.words)...)...)
		got += "\n\n" + help
	}
	const golden = "docs/commands.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, run `make gen`; got:\n%s", golden, got)
	}
}

func TestProfiles(t *testing.T) {
	// Not parallel: there is one CPU profile and one trace in a process.
	dir := t.TempDir()
	cpu, memory, trace := filepath.Join(dir, "cpu"), filepath.Join(dir, "memory"), filepath.Join(dir, "trace")
	if code, _, stderr := run(t, "-cpuprof", cpu, "-memprof", memory, "-trace", trace, "version"); code != 0 {
		t.Fatalf("got %d, %s", code, stderr)
	}
	for _, path := range []string{cpu, memory, trace} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: got %v, %v", path, info, err)
		}
	}
	for _, name := range []string{"-cpuprof", "-memprof", "-trace"} {
		if code, _, _ := run(t, name, filepath.Join(dir, "none", "x"), "version"); code != 1 {
			t.Errorf("%s to a place that isn't there: got exit code %d, want 1", name, code)
		}
	}
}

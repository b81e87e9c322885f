package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/queue"
)

// anyTime is a time as commands print it.
var anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// anyDay is a day as commands print it: at the beginning of lines, and in JSON.
var anyDay = regexp.MustCompile(`(?m)(^|"day":")\d{4}-\d\d-\d\d\b`)

// TestGoldenCommands runs the commands in testdata/commands.golden, lines that
// begin with "$ mox", with "< text" behind for standard input. What they print is
// below them.
func TestGoldenCommands(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("paths look different")
	}
	const golden = "testdata/commands.golden"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	e := newCtlEnv(t, realSocket(t), ctlCalls)
	defer e.close()
	e.add(3)
	e.addIncoming()
	e.attempt(t, "451 4.7.1 try again\r\nlater \x1b[2J"+strings.Repeat(", please", 20))
	var blocks []string
	for line := range strings.Lines(string(want)) {
		if command, ok := strings.CutPrefix(line, "$ mox "); ok {
			blocks = append(blocks, line+e.output(t, command))
		}
	}
	got := strings.Join(blocks, "\n")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != string(want) {
		t.Errorf("%s differs, run `make gen`; got:\n%s", golden, got)
	}
}

// output runs a command and returns what it prints, with what differs each time
// made the same.
func (e *ctlEnv) output(t *testing.T, line string) string {
	t.Helper()
	command, stdin, _ := strings.Cut(strings.TrimSpace(line), " < ")
	if stdin != "" {
		stdin += "\n"
	}
	args := strings.Fields(command)
	for i := range args {
		args[i] = strings.Trim(args[i], `"`)
	}
	code, stdout, stderr := e.run(t, stdin, args...)
	text := anyTime.ReplaceAllString(stdout+stderr, "2000-01-01T00:00:00Z")
	text = anyDay.ReplaceAllString(text, "${1}2000-01-01")
	text = strings.NewReplacer(e.dir, "DIR", "\r", "").Replace(text)
	if code != exitOK {
		text += fmt.Sprintf("exit %d\n", code)
	}
	return text
}

// attempt has the oldest message tried, and not delivered.
func (e *ctlEnv) attempt(t *testing.T, failure string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := e.queue.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var reports []queue.Report
	for _, m := range w.Messages {
		reports = append(reports, queue.Report{
			ID: m.ID, Retry: true, Next: time.Now().Add(time.Hour),
			Result: queue.Result{Start: time.Now(), Code: 451, Enhanced: "4.7.1", Error: failure, RemoteMTA: "mx.remote.example", RemoteIP: "192.0.2.1"},
		})
	}
	if err := e.queue.Finish(t.Context(), w, reports); err != nil {
		t.Fatal(err)
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "-"},
		{"as it is", "anna@example.org", "anna@example.org"},
		{"as long as can be", "1234567890123456", "1234567890123456"},
		{"longer", "12345678901234567", "123456789012345…"},
		{"characters count, not bytes", "äöüßäöüßäöüßäöüß", "äöüßäöüßäöüßäöüß"},
		{"one line", "a\r\nb\tc", "a  b c"},
		{"what drives a terminal", "\x1b[2J\u202e\u0085", "\ufffd[2J\ufffd "},
		{"not UTF-8", "\xff", "\ufffd"},
	} {
		if got := cell(test.text, 16); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

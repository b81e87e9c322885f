package trace

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// crashDir names the directory of the process that TestKilled kills.
const crashDir = "MOX_TRACE_CRASH_DIR"

// TestMain lets the test binary be that process.
func TestMain(m *testing.M) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	l, err := Open(Options{Dir: dir, KeepFor: time.Hour, SizeMax: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for id := int64(1); ; id++ { // Until it is killed.
		l.Append(Event{Kind: Attempted, Rcpts: []Rcpt{{QueueID: id}}, Text: strings.Repeat("x", 300)})
		if id%100 == 0 {
			l.Flush()
			fmt.Println(id)
		}
	}
}

// TestKilled kills a process that appends, with kill -9, again and again: what was
// written before is found, nothing is half, and the log says that something may be
// missing.
func TestKilled(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), exe, "-test.run=^$")
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		written := int64(0)
		for in := bufio.NewScanner(out); in.Scan(); {
			id, err := strconv.ParseInt(in.Text(), 10, 64)
			if err != nil {
				t.Fatalf("the process says %q", in.Text())
			}
			if written = id; written == int64(1+round)*700 { // What it writes meanwhile is cut anywhere.
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}
		l := open(t, dir, 1<<20)
		for id := written - 600; id <= written; id++ {
			f, err := l.Lookup(t.Context(), Query{ID: id})
			if err != nil || len(f.Events) != 1 || f.Events[0].Text != strings.Repeat("x", 300) {
				t.Fatalf("killed after %d: %d is %+v, %v", written, id, f.Events, err)
			}
			if id == written && (len(f.Gaps) == 0 || !f.Gaps[len(f.Gaps)-1].Missing.Restart) {
				t.Errorf("nothing says that the process died: %+v", f.Gaps)
			}
		}
		closeLog(t, l)
		if problems, err := Check(t.Context(), dir); len(problems) > 0 || err != nil {
			t.Errorf("check: %v, %v", problems, err)
		}
	}
}

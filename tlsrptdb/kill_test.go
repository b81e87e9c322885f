package tlsrptdb

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mjl-/mox/database"
)

// killEnv has the path for the process that is to be killed.
const killEnv = "MOX_TLSRPTDB_KILLED"

// TestMain is also what that process runs.
func TestMain(m *testing.M) {
	if path := os.Getenv(killEnv); path != "" {
		fmt.Println(storeMany(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// storeMany adds results until it is killed, and tells the number of each when it is
// stored.
func storeMany(path string) error {
	db, err := OpenResults(path)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := db.Add(context.Background(), []Results{failure(fmt.Sprintf("d%d.example", i%10), "").on(start)}); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// TestKill kills a process that adds results: each that it has told of is there, once.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tlsrptresult.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // This program.
	cmd.Env = append(os.Environ(), killEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const wanted = 50
	lines := bufio.NewScanner(out)
	stored := 0
	for lines.Scan() && lines.Text() == fmt.Sprint(stored) {
		if stored++; stored == wanted {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || stored < wanted {
		t.Fatalf("the process has stored %d and then %q, %v", stored, lines.Text(), err)
	}
	if problems := database.Check(path); len(problems) > 0 {
		t.Errorf("pages: %v", problems)
	}
	list, err := openPath(t, path).List(t.Context(), "")
	var sum int64
	for _, r := range list {
		sum += r.Policies[0].Summary.Failure
	}
	if err != nil || len(list) != 10 || sum < int64(stored) || sum > int64(stored)+1 {
		t.Errorf("got %d rows with %d sessions, want %d or one more: %v", len(list), sum, stored, err)
	}
}

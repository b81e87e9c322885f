package mtastsdb

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/mtasts"
)

// killEnv has the path for the process that is to be killed.
const killEnv = "MOX_MTASTSDB_KILLED"

// TestMain is also what that process runs.
func TestMain(m *testing.M) {
	if path := os.Getenv(killEnv); path != "" {
		fmt.Println(storeMany(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// storeMany stores policies until it is killed, and tells the number of each when it is
// stored.
func storeMany(path string) error {
	db, err := Open(path)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		e := held(mtasts.Enforce)
		e.Domain = fmt.Sprintf("d%d.example", i)
		if _, err := db.update(context.Background(), e.Domain, func(Entry) Entry { return e }); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// TestKill kills a process that stores policies: each that it has told of is there.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mtasts.db")
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
	entries, err := openPath(t, path).Entries(t.Context())
	if err != nil || len(entries) < stored || len(entries) > stored+1 {
		t.Errorf("got %d entries, want %d or one more: %v", len(entries), stored, err)
	}
}

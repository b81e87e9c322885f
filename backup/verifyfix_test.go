package backup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fix mends a data directory, and returns what was done, a line for each.
func fix(t *testing.T, dir string) (string, error) {
	t.Helper()
	var b strings.Builder
	err := Fix(t.Context(), verifyOptions(t, dir), func(a Action) { b.WriteString(a.String() + "\n") })
	return b.String(), err
}

// TestFix mends a data directory with several things wrong. What can't be mended
// stays, and is told of.
func TestFix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.fill()
	backup, _ := w.complete()
	w.stop()
	dir := w.data()
	if did, err := fix(t, dir); err != nil || did != "" {
		t.Errorf("nothing is wrong: did %s, %v", did, err)
	}
	removeAll("accounts", "b", "msg", "a", "7")(t, dir)
	change(flipMiddle, "accounts", "b", "msg", "a", "9")(t, dir)
	write("x", "accounts", "a", "msg", "a", "2")(t, dir)
	write("x", keyFileName)(t, dir)
	_, sum := problems(t, verifyOptions(t, dir))
	if sum.Errors != 4 {
		t.Errorf("before: %+v", sum)
	}
	did, err := fix(t, dir)
	for _, want := range []string{
		"mended: accounts/b/index.db: removed UID 4 from \"Inbox\", of which there is no file",
		"mended: accounts/a/msg/a/2: moved aside, to moved/",
		"mended: receivedid.key: moved aside, to moved/",
	} {
		if err != nil || !strings.Contains(did, want) {
			t.Errorf("did %s, %v, want %s", did, err, want)
		}
	}
	got, sum := problems(t, verifyOptions(t, dir))
	if sum.Errors != 1 || !strings.Contains(got, "accounts/b/msg/a/9: file of email 9 has") {
		t.Errorf("after: %+v: %s", sum, got)
	}
	if again, err := fix(t, dir); err != nil || again != "" {
		t.Errorf("again: %s, %v", again, err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, movedDirName, "*", "accounts", "*", "*")); err != nil || len(names) != 2 {
		t.Errorf("moved: %v, %v", names, err)
	}
	w.start()
	if texts, _ := w.inbox("b"); len(texts) != 4 {
		t.Errorf("inbox has %q", texts)
	}

	for _, path := range []string{backup, filepath.Join(backup, DataDir)} {
		before := stateOf(t, backup)
		if did, err := fix(t, path); !errors.Is(err, ErrFixBackup) || did != "" {
			t.Errorf("%s: did %s, %v", path, did, err)
		}
		wantState(t, backup, before)
	}
	must(t, os.WriteFile(filepath.Join(w.dir, "data", RestoreIncompleteName), nil, 0o600))
	if _, err := fix(t, w.data()); !errors.Is(err, ErrRestoreIncomplete) {
		t.Errorf("half restored: %v", err)
	}
}

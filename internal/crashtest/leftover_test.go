//go:build unix

package crashtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/queue"
)

// leftover is something that lies in the data directory when a System starts.
type leftover struct {
	path string // Below the data directory. A directory if it ends in a slash.
	want string // "gone", "reported" by the check of the queue, or "kept".
}

// contentName is a name as those of contents.
var contentName = strings.Repeat("0a", 16)

// leftovers are what processes that died may have left, and what others have put
// there: an administrator, a file system, a program for backups.
var leftovers = []leftover{
	{"queue/content/00/" + contentName, "gone"}, // Torn: its rows were never committed.
	{"queue/content/fe/" + contentName, "gone"},
	{"queue/content/01", "reported"}, // Where the first new content would go.
	{"queue/content/02/", "kept"},
	{"queue/content/03/" + contentName + "/", "reported"},
	{"queue/content/03/" + contentName + "/file", "reported"},
	{"queue/content/03/" + strings.ToUpper(contentName), "reported"}, // Not a name that we give.
	{"queue/content/ff", "reported"},
	{"queue/content/file", "reported"},
	{"queue/content/.tmp-123", "reported"},
	{"queue/content/lost+found/", "kept"},
	{"queue/content/lost+found/#123", "reported"},
	{"queue/content/04/README", "reported"},
	{"queue/index.db.tmp", "kept"},
	{"queue/file", "kept"},
	{"tmp/receive-123", "gone"},
	{"tmp/file", "kept"},
	{"journal/file", "kept"},
	{"accounts/alice/file", "kept"},
	{"accounts/file", "kept"},
	{"accounts/lost+found/", "kept"},
	{"journal/files/file", "kept"},
	{"journal/00000000000000000999.log", "kept"},
	{"auth.db.tmp", "kept"},
}

// plant puts a leftover there.
func (l leftover) plant(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, l.path)
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil && strings.HasSuffix(l.path, "/") {
		err = os.MkdirAll(path, 0o750)
	} else if err == nil {
		err = os.WriteFile(path, []byte("torn"), 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestLeftovers starts a System on what does not belong there: mail goes through,
// what is known to be of no use goes, and what is not known stays and is reported.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	for _, each := range append([][]leftover{leftovers}, slicesOf(leftovers)...) {
		name := "all"
		if len(each) == 1 {
			name = strings.ReplaceAll(each[0].path, "/", " ")
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := newSystem(t, dir)
			for _, left := range each {
				left.plant(t, dir)
			}
			for range 2 { // Also another time.
				problems := flow(t, l, dir)
				for _, left := range each {
					left.verify(t, dir, problems)
				}
			}
		})
	}
}

func slicesOf(list []leftover) (each [][]leftover) {
	for i := range list {
		each = append(each, list[i:i+1])
	}
	return each
}

// flow sees mail through a System, and returns what the check of its queue says.
func flow(t *testing.T, l *ledger, dir string) (problems []string) {
	t.Helper()
	r, err := l.mail.server.run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := mailer{r, l.note}
	found := newMailDump()
	err = m.probe(t.Context(), fmt.Sprintf("probe.%d", len(l.mail.letters)))
	if err == nil {
		err = m.drain(t.Context(), true)
	}
	err = errors.Join(err, r.stop())
	var out dump
	err = errors.Join(err, out.mail(t.Context(), r.System, found), r.Close())
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range l.mail.compare(found) {
		t.Error(problem)
	}
	return out.Problems
}

// verify checks what has become of a leftover.
func (l leftover) verify(t *testing.T, dir string, problems []string) {
	t.Helper()
	_, err := os.Lstat(filepath.Join(dir, l.path))
	if gone := errors.Is(err, os.ErrNotExist); gone != (l.want == "gone") {
		t.Errorf("%s: got %v, want that it is %s", l.path, err, l.want)
	}
	name := strings.TrimSuffix(strings.TrimPrefix(l.path, "queue/content/"), "/")
	reported := false
	for _, p := range problems {
		reported = reported || strings.Contains(p, " "+name+" ")
	}
	if reported != (l.want == "reported") {
		t.Errorf("%s: reported %v, want that it is %s: %q", l.path, reported, l.want, problems)
	}
}

// TestDamagedContents takes away and damages contents that messages need:
// those messages are held, and others go through.
func TestDamagedContents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(path string) error
	}{
		{"the file is missing", os.Remove},
		{"the file is torn", func(path string) error { return os.Truncate(path, 10) }},
		{"the file is empty", func(path string) error { return os.Truncate(path, 0) }},
		{"a directory is there", func(path string) error { return errors.Join(os.Remove(path), os.MkdirAll(path+"/x", 0o750)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := newSystem(t, dir)
			l.mail.sink.setDown(true)
			p := start(t, l, task{Dir: dir, Round: "1", System: &l.mail.server, Load: loadOne, Rcpts: []string{"one-ok@remote.example"}, Fault: queue.FaultCommitBefore, Nth: 2})
			p.wait(t)
			again, err := l.mail.server.run(t.Context(), nil)
			if err == nil {
				err = errors.Join(again.stop(), again.Close())
			}
			if err != nil {
				t.Fatal(err) // From then on the log has forgotten the message.
			}
			l.mail.sink.setDown(false)
			paths, err := filepath.Glob(filepath.Join(dir, "queue", "content", "*", "*"))
			if err != nil || len(paths) != 1 {
				t.Fatalf("contents are %q, %v", paths, err)
			}
			if err := tc.damage(paths[0]); err != nil {
				t.Fatal(err)
			}
			r, err := l.mail.server.run(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			m := mailer{r, l.note}
			if err := m.probe(t.Context(), "probe"); err != nil {
				t.Error(err)
			}
			if err := m.drain(t.Context(), true); !errors.Is(err, errHeld) {
				t.Errorf("got %v, want that messages are held", err)
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			held, err := r.Queue().List(t.Context(), queue.Filter{}, queue.Sort{})
			if err != nil || len(held) != 1 || held[0].State != queue.Held || held[0].MessageID != "<1.one@crash.example>" {
				t.Errorf("waiting: got %+v, %v", held, err)
			}
			if problems := r.Queue().Check(t.Context()); len(problems) == 0 {
				t.Error("the check of the queue says nothing")
			}
		})
	}
}

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/journal"
)

// TestRule7Unapplied: what was acknowledged and not yet applied, or applied and
// not committed, is applied at start, once.
func TestRule7Unapplied(t *testing.T) {
	t.Parallel()
	for _, point := range []string{FaultFilePlaced, FaultApplied, FaultFilesSynced, FaultCommitBefore, FaultCommitAfter} {
		t.Run(strings.ReplaceAll(point, ":", ""), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a", "b")
			want := [][]byte{testMessage(0, "x"), testMessage(1, "y"), testMessage(2, "z"), testMessage(3, "!")}
			w.deliver(want[0], "a", "b")
			w.wantInbox("a", want[0])
			w.wantInbox("b", want[0])
			reached, release := w.hold(point)
			w.deliver(want[1], "a", "b")
			<-reached
			if err := w.deliverFile(want[2], "a", "b"); err != nil {
				t.Fatal(err)
			}
			c := w.crashed()
			for range 2 {
				c.start()
				for _, name := range []string{"a", "b"} {
					c.wantInbox(name, want[:3]...)
				}
				check(t, c.d)
				c.stop()
			}
			release(nil)
			w.deliver(want[3], "a", "b")
			w.wantInbox("a", want...)
			w.wantInbox("b", want...)
		})
	}
}

// TestRule7FilesOfApplied: the commit may have outlived the file.
func TestRule7FilesOfApplied(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(path string) error
	}{
		{"missing", os.Remove},
		{"empty", func(path string) error { return os.Truncate(path, 0) }},
		{"cut", func(path string) error { return os.Truncate(path, 10) }},
		{"zeros of the right size", func(path string) error {
			fi, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, make([]byte, fi.Size()), 0o600)
		}},
		{"missing with its directory", func(path string) error { return os.RemoveAll(filepath.Dir(path)) }},
		{"torn while it was written again", func(path string) error {
			return errors.Join(os.Truncate(path, 1), os.WriteFile(path+".tmp-0", []byte("x"), 0o600))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a", "b")
			msg, large, alone := testMessage(0, "x"), testMessage(1, "y"), testMessage(2, "z")
			w.deliver(msg, "a", "b")
			w.deliver(alone, "a")
			if err := w.deliverFile(large, "a", "b"); err != nil {
				t.Fatal(err)
			}
			w.wantInbox("a", msg, alone, large)
			w.wantInbox("b", msg, large)
			var paths []string
			for i := range 3 {
				paths = append(paths, w.account("a").messagePath(w.email("a", i).ID))
			}
			w.stop()
			if entries := w.files("journal", "files"); len(entries) != 1 {
				t.Fatalf("journal has files %v", entries)
			}
			for _, path := range paths[:2] { // The third shares its inode with the journal's file.
				if err := tc.damage(path); err != nil {
					t.Fatal(err)
				}
			}
			w.start()
			w.wantInbox("a", msg, alone, large)
			w.wantInbox("b", msg, large)
		})
	}
}

// TestRule7OtherContent: a row that has a record's id and is of another content,
// as after an account was restored, keeps its file.
func TestRule7OtherContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	w.deliver(testMessage(0, "x"), "a")
	w.account("a").WaitDurable(t.Context())
	w.stop()
	saved := filepath.Join(t.TempDir(), "a")
	live := filepath.Join(w.dir, "accounts", "a")
	if err := os.CopyFS(saved, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.deliver(testMessage(1, "lost with the account"), "a")
	w.account("a").WaitDurable(t.Context())
	head := w.d.journal.Head()
	w.stop()
	if err := errors.Join(os.RemoveAll(live), os.CopyFS(live, os.DirFS(saved))); err != nil {
		t.Fatal(err)
	}
	if err := bumpAccount(t.Context(), live, func(row *accountRow) { row.Watermark = int64(head) }); err != nil {
		t.Fatal(err)
	}
	w.change = nil
	// As RestoreAccount leaves it; its ids come again.
	d := testDir(t, w.dir, nil)
	a, err := d.Account(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	a.lastID.Store(2)
	if _, err := appendTo(t, a, "Inbox", testMessage(2, "a new one"), AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.wantInbox("a", testMessage(0, "x"), testMessage(2, "a new one"))
}

// TestRule7Leftovers: files that no record and no row names are removed.
func TestRule7Leftovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	msg := testMessage(0, "x")
	reached, release := w.hold(FaultFilePlaced)
	w.deliver(msg, "a", "b") // Its shared file is there now.
	<-reached
	c := w.crashed()
	release(nil)
	if !strings.HasPrefix(strings.Join(c.files("journal", "files"), " "), "shared-") {
		t.Fatalf("journal has files %v", c.files("journal", "files"))
	}
	for _, path := range []string{"journal/files/0123456789abcdef0123456789abcdef", "journal/files/shared-99", "accounts/a/msg/a/99", "accounts/a/msg/a/99.tmp-1"} {
		path = filepath.Join(c.dir, path)
		err := os.MkdirAll(filepath.Dir(path), 0o750) // The first to place its file may have been b.
		if err := errors.Join(err, os.WriteFile(path, []byte("left"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	c.start()
	c.wantInbox("a", msg)
	c.wantInbox("b", msg)
	if names := c.files("journal", "files"); len(names) > 0 {
		t.Errorf("journal still has files %v", names)
	}
	if names := c.files("accounts", "a", "msg", "a"); len(names) != 1 {
		t.Errorf("account still has files %v", names)
	}
}

// TestRule7Sequence: the next record is above every watermark.
func TestRule7Sequence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	for i := range 3 {
		w.deliver(testMessage(i, "x"), "a")
	}
	w.restart()
	if head := w.d.journal.Head(); head != 3 {
		t.Errorf("head %d", head)
	}
	w.deliver(testMessage(3, "x"), "a")
	if n := len(w.inbox("a")); n != 4 {
		t.Errorf("%d messages", n)
	}
	if seq := w.account("a").watermarkOf(w.d.journal.ID()); seq != 4 || w.d.journal.Head() != 4 {
		t.Errorf("watermark %d, head %d", seq, w.d.journal.Head())
	}
}

// TestRule8Damaged: records that were durable and are damaged keep the store
// from opening, with the name of the segment.
func TestRule8Damaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	for i := range 5 {
		w.deliver(testMessage(i, "damage this"), "a")
	}
	w.stop()
	path := filepath.Join(w.dir, "journal", "00000001.log")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := strings.Index(string(data), "damage this")
	data[torn] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), Options{Dir: w.dir, Log: testLog(t), SegmentSize: 1 << 20})
	if !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), "00000001.log") {
		t.Errorf("got %v", err)
	}
	if err == nil {
		t.Error(d.Close())
	}

	// Damage in the last record is a torn tail.
	data[torn] ^= 1
	last := strings.LastIndex(string(data), "damage this")
	data[last] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	if n := len(w.inbox("a")); n != 5 {
		t.Errorf("%d messages: the last was applied before", n)
	}
}

// TestRule7SharedRetried: a failure to write the shared content passes.
func TestRule7SharedRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	block := filepath.Join(w.dir, "journal", "files", "shared-1")
	if err := os.MkdirAll(filepath.Join(block, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.deliver(testMessage(0, "x"), "a", "b")
	eventually(t, "applying fails", w.account("a").isFailing)
	if err := os.RemoveAll(block); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is applied", func() bool { return len(w.inbox("a")) == 1 && len(w.inbox("b")) == 1 })
}

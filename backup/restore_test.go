package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// TestRestore goes on with what a backup has, with a journal that has deliveries
// which were not applied.
func TestRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	must(t, w.deliver(message(1), "a"))
	texts, validity := w.inbox("a")
	if len(texts) != 1 {
		t.Fatalf("got %q", texts)
	}
	must(t, w.add("one", "x@remote.example", "b@example.org"))
	must(t, w.add("two", "y@remote.example"))
	release := make(chan struct{})
	w.faults.Arm(store.FaultApplied, func() error { <-release; return nil })
	must(t, w.deliver(message(2), "a"))
	dest, _ := w.complete()
	close(release)
	before := filesOf(t, dest)

	r, res := w.restored(dest)
	if res.Held != 2 || res.Accounts != 2 || res.Version != "v1.2.3" || res.Made.IsZero() || res.Files == 0 || res.Bytes == 0 {
		t.Errorf("got %+v", res)
	}
	texts, restored := r.inbox("a")
	if !slices.Equal(texts, []string{message(1), message(2)}) {
		t.Errorf("got %q", texts)
	}
	if restored <= validity {
		t.Errorf("UIDVALIDITY was %d and is %d", validity, restored)
	}
	if got := r.queued(); got != "b@example.org waiting, x@remote.example held, y@remote.example held" {
		t.Errorf("queue: %s", got)
	}
	must(t, r.deliver(message(3), "a"))
	if texts, _ := r.inbox("a"); len(texts) != 3 {
		t.Errorf("after another delivery: %q", texts)
	}
	if got := filesOf(t, filepath.Join(r.dir, "config")); len(got) != 2 || got["mox.conf"] != before["config/mox.conf"] {
		t.Errorf("configuration: %v", got)
	}
	if after := filesOf(t, dest); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("the backup was changed")
	}
}

// TestRestoreRefused shows what is not restored, and where. Nothing is made then.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	must(t, w.deliver(message(1), "a"))
	w.inbox("a")
	dest, _ := w.complete()
	full := t.TempDir()
	must(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o600))
	for name, tc := range map[string]struct {
		change func(o *RestoreOptions)
		want   string
	}{
		"over something":              {func(o *RestoreOptions) { o.DataDir = full }, "is not empty"},
		"over a server":               {func(o *RestoreOptions) { o.DataDir = w.data() }, "is not empty"},
		"over a file":                 {func(o *RestoreOptions) { o.DataDir = filepath.Join(full, "x") }, "x"},
		"over a configuration":        {func(o *RestoreOptions) { o.ConfigDir = filepath.Join(w.dir, "config") }, "is not empty"},
		"into the backup":             {func(o *RestoreOptions) { o.DataDir = filepath.Join(dest, "data", "new") }, "are in each other"},
		"configuration in the backup": {func(o *RestoreOptions) { o.ConfigDir = filepath.Join(dest, "new") }, "are in each other"},
		"no backup":                   {func(o *RestoreOptions) { o.Backup = full }, "neither a backup nor a data directory"},
		"a server's data":             {func(o *RestoreOptions) { o.Backup = w.dir }, "has no manifest"},
		"a server that runs": {func(o *RestoreOptions) {
			o.Lock = func(string) (func() error, error) { return nil, errors.New("server is running") }
		}, "server is running"},
	} {
		opts := restoreOptions(t, dest, filepath.Join(t.TempDir(), "data"))
		own := opts.DataDir
		tc.change(&opts)
		if _, err := Restore(t.Context(), opts); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if entries, err := os.ReadDir(own); len(entries) > 0 || err == nil && name != "a server that runs" {
			t.Errorf("%s: it was made: %v, %v", name, entries, err)
		}
	}
	if _, err := Restore(t.Context(), RestoreOptions{}); err == nil {
		t.Error("without options: got no error")
	}
}

// TestRestoreDamaged damages a backup. It is restored only if that is wished.
func TestRestoreDamaged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage func(dest string) error
		want   string
		texts  int // Of account a in spite of it.
	}{
		"a file is missing": {func(dest string) error {
			return os.Remove(filepath.Join(dest, "data", "accounts", "b", "msg", "a", "1"))
		}, "b/msg/a/1", 1},
		"a file is shorter":    {func(dest string) error { return truncate(filepath.Join(dest, "data", "receivedid.key"), 1) }, "receivedid.key: the file has 1 bytes", 1},
		"a bit":                {func(dest string) error { return flip(filepath.Join(dest, "data", "accounts", "b", "msg", "a", "1")) }, "b/msg/a/1: file of email 1 has 43 bytes and checksum", 1},
		"the manifest":         {func(dest string) error { return flip(filepath.Join(dest, ManifestName)) }, "manifest is damaged", 1},
		"no manifest":          {func(dest string) error { return os.Remove(filepath.Join(dest, ManifestName)) }, "was not finished", 1},
		"no queue":             {func(dest string) error { return os.RemoveAll(filepath.Join(dest, "data", "queue")) }, "queue", 1},
		"a queue that is none": {func(dest string) error { return truncateAll(filepath.Join(dest, "data", "queue")) }, "the queue can't be opened", 1},
		"an account's database": {func(dest string) error {
			return truncate(filepath.Join(dest, "data", "accounts", "b", "index.db"), 5000)
		}, "changing UIDVALIDITY in account \"b\"", 1},
		"no configuration": {func(dest string) error { return os.RemoveAll(filepath.Join(dest, "config")) }, "config/mox.conf", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) { o.Link = func(string, string) error { return errors.ErrUnsupported } }) // The damage is not the server's.
			for _, name := range accountNames {
				must(t, w.deliver(message(1), name))
				w.inbox(name)
			}
			dest, _ := w.complete()
			must(t, tc.damage(dest))
			opts := restoreOptions(t, dest, filepath.Join(t.TempDir(), "data"))
			if res, err := Restore(t.Context(), opts); !errors.Is(err, ErrRestore) || len(res.Problems) == 0 {
				t.Errorf("got %+v, %v", res, err)
			}
			opts.Force = true
			res, err := Restore(t.Context(), opts)
			if err != nil || !slices.ContainsFunc(res.Problems, func(p string) bool { return strings.Contains(p, tc.want) }) {
				t.Fatalf("in spite of it: got %+v, %v", res, err)
			}
			must(t, CheckRestored(opts.DataDir))
			d, err := store.Open(t.Context(), store.Options{Dir: opts.DataDir, Log: slog.New(slog.DiscardHandler)})
			must(t, err)
			r := &world{t: t, store: d}
			if texts, _ := r.inbox("a"); len(texts) != tc.texts {
				t.Errorf("got %q", texts)
			}
			must(t, d.Close())
		})
	}
}

// flip changes a bit in the middle of a file.
func flip(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, data, 0o600))
}

// truncateAll cuts all files of a directory to a few bytes.
func truncateAll(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type().IsRegular() {
			err = errors.Join(err, truncate(filepath.Join(dir, e.Name()), 5))
		}
	}
	return err
}

// TestRestoreBrokenOff ends restoring at any time. Nothing can be opened there
// then, and the next time all is there.
func TestRestoreBrokenOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	must(t, w.deliver(message(1), accountNames...))
	must(t, w.add("one", "x@remote.example"))
	w.inbox("a")
	w.inbox("b")
	dest, _ := w.complete()
	r := &world{t: t, dir: t.TempDir()}
	steps := []string{"copying data", "giving every mailbox", "holding", "copying configuration"}
	for _, step := range steps {
		ctx, cancel := context.WithCancel(t.Context())
		opts := restoreOptions(t, dest, r.data())
		opts.ConfigDir = filepath.Join(r.dir, "config")
		opts.Note = func(n Note) {
			if strings.HasPrefix(n.Message, step) {
				cancel()
			}
		}
		_, err := Restore(ctx, opts)
		cancel()
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "restore again") {
			t.Fatalf("%s: got %v", step, err)
		}
		if err := CheckRestored(r.data()); !errors.Is(err, ErrRestoreIncomplete) {
			t.Errorf("%s: got %v", step, err)
		}
		if _, err := RestoreAccount(t.Context(), opts, "a"); err == nil {
			t.Errorf("%s: an account was restored there", step)
		}
	}
	opts := restoreOptions(t, dest, r.data())
	opts.Free = func(string) (int64, error) { return roomSpare, nil }
	if _, err := Restore(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "not enough disk space") {
		t.Errorf("full disk: got %v", err)
	}
	opts = restoreOptions(t, dest, r.data())
	opts.ConfigDir = filepath.Join(r.dir, "config")
	res, err := Restore(t.Context(), opts)
	if err != nil || res.Held != 1 {
		t.Fatalf("at last: got %+v, %v", res, err)
	}
	must(t, CheckRestored(r.data()))
	verify(t, r.data())
	if _, err := Restore(t.Context(), opts); !errors.Is(err, ErrRestore) {
		t.Errorf("once more: got %v", err)
	}
}

// TestRestoreAccount restores an account that was removed, and nothing else.
func TestRestoreAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	must(t, w.deliver(message(1), accountNames...))
	_, validity := w.inbox("a")
	w.inbox("b")
	dest, _ := w.complete()
	must(t, w.deliver(message(2), "b"))
	w.inbox("b")
	a, err := w.store.Account(t.Context(), "a")
	must(t, err)
	id := a.ID()
	must(t, a.Close())
	must(t, w.logins.MarkRemoved(t.Context(), id, "a", time.Now()))
	must(t, w.store.Remove(t.Context(), "a", id))
	w.stop()

	opts := restoreOptions(t, dest, w.data())
	for name, want := range map[string]string{"b": "account exists", "c": "is not in the backup", "../a": "account names have"} {
		if _, err := RestoreAccount(t.Context(), opts, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("account %s: got %v", name, err)
		}
	}
	none := restoreOptions(t, dest, t.TempDir())
	if _, err := RestoreAccount(t.Context(), none, "a"); !errors.Is(err, ErrRestore) {
		t.Errorf("to what is no data directory: got %v", err)
	}
	must(t, truncate(filepath.Join(dest, "data", "receivedid.key"), 1)) // Of no account.
	res, err := RestoreAccount(t.Context(), opts, "a")
	if err != nil || res.Accounts != 1 {
		t.Fatalf("got %+v, %v", res, err)
	}
	logins, err := authdb.Open(w.data("auth.db"))
	must(t, err)
	if removed, err := logins.IsRemoved(t.Context(), id); removed || err != nil {
		t.Errorf("it is still removed: %v", err)
	}
	must(t, logins.Close())
	verify(t, w.data())
	w.start()
	texts, restored := w.inbox("a")
	if !slices.Equal(texts, []string{message(1)}) || restored <= validity {
		t.Errorf("got %q with UIDVALIDITY %d after %d", texts, restored, validity)
	}
	if texts, _ := w.inbox("b"); len(texts) != 2 {
		t.Errorf("the other account: got %q", texts)
	}
}

// TestKilled: what a backup is made of is not changed by it, so that a server that
// was killed meanwhile goes on, and makes the next.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, point := range []string{store.FaultBackup, queue.FaultBackup} {
		w := newWorld(t, nil)
		must(t, w.deliver(message(1), accountNames...))
		must(t, w.add("one", "x@remote.example"))
		w.inbox("a")
		w.inbox("b")
		killed := &world{t: t, dir: t.TempDir()}
		dest := filepath.Join(killed.dir, "backup")
		w.faults.Arm(point, func() error {
			return errors.Join(os.CopyFS(killed.data(), os.DirFS(w.data())), os.CopyFS(filepath.Join(killed.dir, "config"), os.DirFS(filepath.Join(w.dir, "config"))))
		})
		if _, err := w.run(dest); err != nil {
			t.Fatal(err)
		}
		w.faults.Disarm(point)
		verify(t, killed.data())
		killed.start()
		next, res := killed.complete()
		if res.Messages != 2 || res.Queued != 1 {
			t.Errorf("%s: got %+v", point, res)
		}
		killed.stop()
		verify(t, filepath.Join(next, "data"))
	}
}

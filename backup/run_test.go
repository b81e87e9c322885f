package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mjl-/mox/store"
)

// TestBackup looks at what is in a backup.
func TestBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	must(t, w.deliver(message(1), "a", "b"))
	must(t, w.deliver(message(2), "a"))
	must(t, w.add("queued", "x@remote.example", "b@example.org"))
	must(t, errors.Join(os.Mkdir(w.data("acme"), 0o700), os.WriteFile(w.data("acme", "account.key"), []byte("acme"), 0o600)))
	must(t, os.WriteFile(filepath.Join(w.dir, "config", "tls.key"), []byte("key"), 0o600))
	w.inbox("a") // Waits for the deliveries.
	w.inbox("b")
	dest, res := w.complete()
	if res.Path != dest || res.Accounts != 2 || res.Messages != 3 || res.Copied != 0 || res.Queued != 2 || res.Head == 0 || res.Warnings != 0 ||
		res.Started.After(res.Finished) {
		t.Errorf("got %+v, warnings %s", res, w.warnings())
	}
	files := filesOf(t, dest)
	for path, want := range map[string]string{
		"config/tls.key": "key", "data/acme/account.key": "acme", "data/receivedid.key": cidKey, "data/accounts/a/msg/a/1": message(1),
	} {
		if files[path] != want {
			t.Errorf("%s: got %q", path, files[path])
		}
	}
	if !strings.HasPrefix(files[VersionName], "mox v1.2.3\n") {
		t.Errorf("version: got %q", files[VersionName])
	}
	for _, path := range []string{IncompleteName, "data/lock", "data/ctl", "data/tmp", "data/" + lastName} {
		if _, ok := files[path]; ok {
			t.Errorf("%s is in the backup", path)
		}
	}
	if runtime.GOOS != "windows" {
		for path, perm := range map[string]os.FileMode{"": 0o750, "data": 0o750, "config/tls.key": 0o600, "data/auth.db": 0o640, ManifestName: 0o640} {
			if info, err := os.Stat(filepath.Join(dest, path)); err != nil || info.Mode().Perm() != perm {
				t.Errorf("%q: got %v, %v, want %v", path, info.Mode().Perm(), err, perm)
			}
		}
	}
	delete(files, ManifestName)
	wantManifest(t, dest, files, res)
	if n := w.metric("mox_backup_last_success_timestamp_seconds", ""); n != float64(res.Finished.Unix()) {
		t.Errorf("metric of the last success: %v", n)
	}
	verify(t, filepath.Join(dest, DataDir))
}

// wantManifest compares a manifest with the files that there are.
func wantManifest(t *testing.T, dest string, files map[string]string, res Result) {
	t.Helper()
	m, err := OpenManifest(dest)
	must(t, err)
	defer m.Close()
	kinds := map[Kind]int{}
	for {
		f, err := m.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		size, crc, err := checksum(filepath.Join(dest, f.Path), nil)
		if err != nil || size != f.Size || crc != f.CRC || int64(len(files[f.Path])) != size {
			t.Errorf("%+v: got %d, %v, %v", f, size, crc, err)
		}
		kinds[f.Kind]++
		delete(files, f.Path)
	}
	if len(files) > 0 {
		t.Errorf("not in the manifest: %v", files)
	}
	if tr := m.Trailer(); !tr.Complete || tr.Head != res.Head || tr.Files != res.Files || tr.Bytes != res.Bytes {
		t.Errorf("got %+v for %+v", tr, res)
	}
	if kinds[KindDatabase] != 5 || kinds[KindMessage] != 3 || kinds[KindConfig] != 3 || kinds[KindQueue] < 2 || kinds[KindJournal] < 1 || kinds[KindOther] < 3 {
		t.Errorf("kinds: %v", kinds)
	}
}

// TestBackupWhileBusy makes backups while mail comes in and goes, and is queued.
// All that was acknowledged before a backup began is in the server that is
// restored from it, once.
func TestBackupWhileBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var mu sync.Mutex
	acked, gone := map[string]bool{}, map[string]bool{}
	note := func(m map[string]bool, text string) {
		mu.Lock()
		defer mu.Unlock()
		m[text] = true
	}
	const rounds, each = 3, 150
	stop := make(chan struct{})
	tickets, done := make(chan struct{}, rounds*each), make(chan struct{}, rounds*each) // A slow disk shall not make it long.
	var wg sync.WaitGroup
	busy := func(fn func(i int) error) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-tickets:
				}
				if err := fn(i); err != nil {
					t.Error(err)
				}
				done <- struct{}{}
			}
		})
	}
	must(t, w.add("first", "first@remote.example")) // Whichever are quick below.
	note(acked, "first@remote.example")
	for g := range 3 {
		busy(func(i int) error {
			text := message(10_000*g + i)
			err := w.deliver(text, accountNames...)
			note(acked, text)
			if err == nil && g == 0 { // Then a client of account b removes one.
				text, err = w.expunge("b", store.UID(3*i+1))
				note(gone, text)
			}
			return err
		})
	}
	busy(func(i int) error {
		text := fmt.Sprintf("%d@remote.example", i)
		err := w.add(text, text)
		note(acked, text)
		return err
	})
	for range rounds {
		if t.Failed() {
			break
		}
		for range each {
			tickets <- struct{}{}
		}
		for range each / 3 {
			<-done
		}
		mu.Lock()
		before := make(map[string]bool, len(acked))
		for text := range acked {
			before[text] = true
		}
		mu.Unlock()
		dest, _ := w.complete()
		mu.Lock()
		expunged := make(map[string]bool, len(gone))
		for text := range gone {
			expunged[text] = true
		}
		mu.Unlock()
		r, res := w.restored(dest)
		checkRestored(t, r, before, expunged)
		if res.Held == 0 || res.Accounts != 2 {
			t.Errorf("restored: %+v", res)
		}
		r.stop()
		verify(t, r.data())
	}
	close(stop)
	wg.Wait()
}

// expunge removes a message from Inbox and returns its text. None is none.
func (w *world) expunge(name string, uid store.UID) (text string, err error) {
	a, err := w.store.Account(w.t.Context(), name)
	if err != nil {
		return "", err
	}
	defer a.Close()
	a.WaitDurable(w.t.Context())
	err = a.Update(w.t.Context(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil || uid >= mb.UIDNext {
			return err
		}
		m, err := tx.Message(mb.ID, uid)
		if errors.Is(err, store.ErrExpunged) {
			return nil
		} else if err != nil {
			return err
		}
		f, err := a.OpenMessage(m.EmailID)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(f)
		text = string(data)
		_, xerr := tx.Expunge(&mb, []store.UID{uid})
		return errors.Join(err, f.Close(), xerr)
	})
	return text, err
}

// checkRestored looks for what was acknowledged before a backup began. Account b
// may miss what was expunged since.
func checkRestored(t *testing.T, r *world, before, expunged map[string]bool) {
	t.Helper()
	for _, name := range accountNames {
		texts, _ := r.inbox(name)
		count := map[string]int{}
		for _, text := range texts {
			count[text]++
		}
		for text := range before {
			if n := count[text]; !strings.Contains(text, "@remote.example") && n != 1 && (n != 0 || name != "b" || !expunged[text]) {
				t.Errorf("account %s has %q %d times", name, text, n)
			}
		}
	}
	queued := r.queued()
	for text := range before {
		if strings.Contains(text, "@remote.example") && strings.Count(", "+queued+",", ", "+text+" held,") != 1 {
			t.Errorf("queue has not %q once: %.200s", text, queued)
		}
	}
}

// TestBackupRefused shows where no backup is made. What is there stays.
func TestBackupRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	must(t, os.Mkdir(filepath.Join(w.dir, "dir"), 0o700))
	must(t, os.WriteFile(filepath.Join(w.dir, "file"), nil, 0o600))
	must(t, os.Symlink("nowhere", filepath.Join(w.dir, "dangling")))
	must(t, os.Symlink(w.data("accounts"), filepath.Join(w.dir, "inside")))
	before := filesOf(t, filepath.Join(w.dir, "config"))
	for name, tc := range map[string]struct{ dest, want string }{
		"relative":                          {"backup", "not an absolute path"},
		"nothing":                           {"", "not an absolute path"},
		"a directory":                       {filepath.Join(w.dir, "dir"), "is there already"},
		"a file":                            {filepath.Join(w.dir, "file"), "is there already"},
		"a dangling link":                   {filepath.Join(w.dir, "dangling"), "is there already"},
		"below a file":                      {filepath.Join(w.dir, "file", "x"), "file"},
		"a parent that is not there":        {filepath.Join(w.dir, "mnt", "backup"), "is not there"},
		"in the data directory":             {w.data("backup"), "is inside the data directory"},
		"in it, through a link":             {filepath.Join(w.dir, "inside", "x"), "is inside the data directory"},
		"in it, through dots":               {w.dir + "/config/../data/x", "is inside the data directory"},
		"in the configuration":              {filepath.Join(w.dir, "config", "x"), "is inside the directory of the configuration"},
		"the data directory":                {w.data(), "is there already"},
		"what the data directory is inside": {w.dir, "is there already"},
	} {
		_, err := w.run(tc.dest)
		if !errors.Is(err, ErrDestination) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if after := filesOf(t, filepath.Join(w.dir, "config")); len(after) != len(before) {
		t.Errorf("left in config: %v", after)
	}
	if os.Geteuid() != 0 {
		must(t, os.Chmod(filepath.Join(w.dir, "dir"), 0o500))
		if _, err := w.run(filepath.Join(w.dir, "dir", "x")); !errors.Is(err, ErrDestination) || !strings.Contains(err.Error(), "must be allowed to write") {
			t.Errorf("no permission: got %v", err)
		}
	}
	if n := w.metric("mox_backup_total", "refused"); n < 13 {
		t.Errorf("%v were counted", n)
	}
	if w.backup.Last() != (Last{}) {
		t.Errorf("last: %+v", w.backup.Last())
	}
}

// TestBackupOne: there is one backup at a time, and one that is broken off can't
// be taken for a whole one. The next works.
func TestBackupOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	must(t, w.deliver(message(1), accountNames...))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reached, release := make(chan struct{}), make(chan struct{})
	w.faults.Arm(store.FaultBackup, func() error { close(reached); <-release; return nil })
	dest := filepath.Join(t.TempDir(), "backup")
	done := make(chan error)
	go func() {
		_, err := w.runContext(ctx, dest)
		done <- err
	}()
	<-reached
	if _, err := w.run(dest + "2"); !errors.Is(err, ErrRunning) {
		t.Errorf("a second one: got %v", err)
	}
	cancel()
	close(release)
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), dest+" is no backup") {
		t.Errorf("broken off: got %v", err)
	}
	w.faults.Disarm(store.FaultBackup)
	if _, err := os.Stat(filepath.Join(dest, IncompleteName)); err != nil {
		t.Error(err)
	}
	if _, err := OpenManifest(dest); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("manifest: got %v", err)
	}
	if l := w.backup.Last(); l.Path != dest || l.Complete || !l.Success.IsZero() || !strings.Contains(l.Error, "broken off") {
		t.Errorf("last: %+v", l)
	}
	if _, err := w.run(dest); !errors.Is(err, ErrDestination) {
		t.Errorf("over what it left: got %v", err)
	}
	_, res := w.complete()
	w.stop()
	verify(t, w.data())
	w.start()
	if l := w.backup.Last(); !l.Complete || !l.Success.Equal(res.Finished) || w.metric("mox_backup_last_success_timestamp_seconds", "") != float64(res.Finished.Unix()) {
		t.Errorf("after a restart: %+v", l)
	}
}

// TestBackupCopies: where the file system has no links, files are copied.
func TestBackupCopies(t *testing.T) {
	t.Parallel()
	for _, sync := range []error{syscall.EXDEV, syscall.EMLINK, syscall.EPERM} {
		w := newWorld(t, func(o *Options) { o.Link = func(string, string) error { return &os.LinkError{Op: "link", Err: sync} } })
		must(t, w.deliver(message(1), accountNames...))
		w.inbox("a")
		w.inbox("b")
		dest, res := w.complete()
		if res.Messages != 2 || res.Copied != 2 {
			t.Errorf("got %+v", res)
		}
		r, _ := w.restored(dest)
		if texts, _ := r.inbox("b"); !slices.Equal(texts, []string{message(1)}) {
			t.Errorf("got %q", texts)
		}
	}
}

// TestBackupRoom: no backup takes the room that mail needs.
func TestBackupRoom(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	free, asked := int64(1<<40), 0
	change := func(o *Options) {
		o.Free = func(string) (int64, error) {
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked > 1 {
				return free, nil
			}
			return 1 << 40, nil // Before it begins.
		}
		o.Link = func(string, string) error { return syscall.EXDEV }
	}
	w := newWorld(t, change)
	must(t, w.deliver(message(1), accountNames...))
	set := func(bytes int64, n int) {
		mu.Lock()
		defer mu.Unlock()
		free, asked = bytes, n
	}
	for _, asked := range []int{0, 1} { // While it runs, and before.
		set(roomSpare+1000, asked)
		dest := filepath.Join(t.TempDir(), "backup")
		res, err := w.run(dest)
		if !errors.Is(err, ErrRoom) || res.Complete || !strings.Contains(err.Error(), "is no backup") {
			t.Errorf("got %+v, %v", res, err)
		}
		if _, err := OpenManifest(dest); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("manifest: got %v", err)
		}
	}
	set(1<<40, 0)
	w.complete()
	if n := w.metric("mox_backup_total", "failed"); n != 2 {
		t.Errorf("%v were counted", n)
	}
}

// TestBackupIncomplete damages a server: what is whole is in the backup, which
// says what is not.
func TestBackupIncomplete(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage func(w *world) error
		want   string
	}{
		"a message that is not there":   {func(w *world) error { return os.Remove(w.data("accounts", "a", "msg", "a", "1")) }, "account a: file of email 1 is not there"},
		"a message that is a directory": {replaceByDir, "file of email 1"},
		"a message cut off":             {func(w *world) error { return truncate(w.data("accounts", "a", "msg", "a", "1"), 5) }, "data/accounts/a/msg/a/1 has 5 bytes"},
		"an account":                    {func(w *world) error { return truncate(w.data("accounts", "a", "index.db"), 5000) }, "account a: copied as it is"},
		"the configuration":             {func(w *world) error { return os.Remove(filepath.Join(w.dir, "config", "domains.conf")) }, "domains.conf is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			for _, name := range accountNames { // Not at once, or they share a file.
				must(t, w.deliver(message(1), name))
				w.inbox(name)
			}
			if name == "an account" { // Databases are not read again while they are open.
				w.stop()
				must(t, tc.damage(w))
				w.start()
			} else {
				must(t, tc.damage(w))
			}
			dest := filepath.Join(t.TempDir(), "backup")
			res, err := w.run(dest)
			if err != nil || res.Complete || len(res.Problems) != 1 || !strings.Contains(res.Problems[0], tc.want) {
				t.Errorf("got %+v, %v", res, err)
			}
			if !strings.Contains(w.warnings(), tc.want) || !strings.Contains(w.log.String(), `msg="backup is incomplete"`) {
				t.Errorf("warnings: %s\nlog: %s", w.warnings(), w.log)
			}
			files := filesOf(t, dest)
			if !strings.Contains(files[IncompleteName], "finished and incomplete") || !strings.Contains(files[IncompleteName], tc.want) {
				t.Errorf("%s: %s", IncompleteName, files[IncompleteName])
			}
			if files["data/accounts/b/msg/a/1"] != message(1) || files["data/auth.db"] == "" {
				t.Error("the rest is not there")
			}
			m, err := OpenManifest(dest)
			must(t, err)
			for err == nil {
				_, err = m.Next()
			}
			must(t, m.Close())
			if tr := m.Trailer(); !errors.Is(err, io.EOF) || tr.Complete || !slices.Equal(tr.Problems, res.Problems) {
				t.Errorf("manifest: %+v, %v", tr, err)
			}
			opts := restoreOptions(t, dest, filepath.Join(t.TempDir(), "data"))
			if _, err := Restore(t.Context(), opts); !errors.Is(err, ErrRestore) {
				t.Errorf("restoring: got %v", err)
			}
			opts.Force = true
			if res, err := Restore(t.Context(), opts); err != nil || len(res.Problems) == 0 {
				t.Errorf("restoring in spite of it: got %+v, %v", res, err)
			}
		})
	}
}

func truncate(path string, size int64) error {
	return errors.Join(os.Chmod(path, 0o600), os.Truncate(path, size))
}

func replaceByDir(w *world) error {
	path := w.data("accounts", "a", "msg", "a", "1")
	return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
}

// TestBackupUnknown: what nobody knows is copied, with a warning.
func TestBackupUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	must(t, w.deliver(message(1), "a"))
	w.inbox("a")
	conf := filepath.Join(w.dir, "config")
	for path, text := range map[string]string{
		w.data("notes.txt"): "notes", w.data("old", "x", "y"): "y", w.data("accounts", "a", "notes"): "notes", w.data("accounts", "gone", "x"): "x",
		w.data("accounts", "a", "msg", "a", "0"): "stray", w.data("accounts", "a", "msg", "readme"): "readme", w.data("accounts", "a", "msg", "b", "9000"): "later",
		w.data("auth.db.tmp-123"): "temporary", filepath.Join(conf, "earlier", "domains.conf.1"): "earlier", filepath.Join(w.dir, "outside.key"): "outside",
		w.data("tmp", "x"): "x",
	} {
		must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)))
	}
	must(t, os.Symlink(filepath.Join(w.dir, "outside.key"), filepath.Join(conf, "linked.key")))
	must(t, os.Symlink(w.dir, filepath.Join(conf, "loop")))
	must(t, os.Symlink(conf, w.data("linked")))
	large, err := os.Create(filepath.Join(conf, "core"))
	must(t, errors.Join(err, large.Truncate(configFileMax+1), large.Close()))
	dest, res := w.complete()
	warnings := w.warnings()
	for _, want := range []string{
		"/notes.txt is not known", "/old is not known", "unknown file notes is", "accounts/gone is no account", "unknown file msg/a/0 is", "unknown file msg/readme is",
		"linked.key is a symbolic link: copied", "loop is a symbolic link: left out", "data/linked is a symbolic link: left out", "core has 16777217 bytes",
		"data/linked is not known",
	} {
		if strings.Count(warnings, want) != 1 {
			t.Errorf("no warning %q", want)
		}
	}
	if res.Warnings != 11 {
		t.Errorf("%d warnings:\n%s", res.Warnings, warnings)
	}
	files := filesOf(t, dest)
	for path, want := range map[string]string{
		"data/notes.txt": "notes", "data/old/x/y": "y", "data/accounts/a/notes": "notes", "data/accounts/gone/x": "x", "data/accounts/a/msg/a/0": "stray",
		"data/accounts/a/msg/readme": "readme", "config/earlier/domains.conf.1": "earlier", "config/linked.key": "outside",
		"config/core": "", "data/auth.db.tmp-123": "", "data/accounts/a/msg/b/9000": "",
	} {
		if files[path] != want {
			t.Errorf("%s: got %q", path, files[path])
		}
	}
}

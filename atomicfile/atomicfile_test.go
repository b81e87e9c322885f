package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// contents returns the files of dir by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

func checkContents(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := contents(t, dir)
	for name, data := range want {
		if g, ok := got[name]; !ok || g != data {
			t.Errorf("%s: got %q (present %v), want %q", name, g, ok, data)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got files %v, want %v", got, want)
	}
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, tc := range []struct {
		name  string
		write func(path string) error
		err   error
		want  map[string]string
	}{
		{"a new file", func(p string) error { return WriteFile(p+"2", []byte("new"), 0o600) }, nil,
			map[string]string{"f": "old", "f2": "new"}},
		{"in place of another", func(p string) error { return WriteFile(p, []byte("new"), 0o600) }, nil,
			map[string]string{"f": "new"}},
		{"shorter than the other", func(p string) error { return WriteFile(p, nil, 0o600) }, nil,
			map[string]string{"f": ""}},
		{"a failure half way leaves the old one and nothing else", func(p string) error {
			return Write(p, 0o600, func(w io.Writer) error {
				if _, err := w.Write([]byte("ne")); err != nil {
					return err
				}
				return boom
			})
		}, boom, map[string]string{"f": "old"}},
		{"the directory is absent", func(p string) error {
			return WriteFile(filepath.Join(filepath.Dir(p), "no", "f"), nil, 0o600)
		}, fs.ErrNotExist, map[string]string{"f": "old"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tc.write(path); !errors.Is(err, tc.err) {
				t.Errorf("got error %v, want %v", err, tc.err)
			}
			checkContents(t, dir, tc.want)
		})
	}
}

func TestWriteFileOverDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "d", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "d"), nil, 0o600); err == nil {
		t.Error("no error for a directory at the path")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v, want only d", entries, err)
	}
}

// TestPermissions shows that neither the umask nor the old file decides them.
func TestPermissions(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits on windows")
	}
	path := filepath.Join(t.TempDir(), "f")
	for _, perm := range []fs.FileMode{0o666, 0o640, 0o600} {
		if err := WriteFile(path, nil, perm); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != perm {
			t.Errorf("got %v, want %v", info.Mode().Perm(), perm)
		}
	}
}

func TestIsTemp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var temp string
	err := Write(filepath.Join(dir, "mox.conf"), 0o600, func(io.Writer) error {
		for name := range contents(t, dir) {
			temp = name
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		temp: true, "mox.conf": false, "mox.conf.tmp-": false, "mox.conf.tmp-1x": false, ".tmp-12": true, "a.tmp-1.db": false,
	} {
		if IsTemp(name) != want {
			t.Errorf("IsTemp(%q) is %v", name, !want)
		}
	}
}

func TestMkdirAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		fails      bool
	}{
		{"one level", "a", false},
		{"there already", "a", false},
		{"two more levels", "a/b/c", false},
		{"a file is there", "file", true},
		{"a file is on the way", "file/a", true},
	} {
		path := filepath.Join(dir, filepath.FromSlash(tc.path))
		if err := MkdirAll(path, 0o700); (err != nil) != tc.fails {
			t.Errorf("%s: got error %v", tc.name, err)
		}
		if info, err := os.Stat(path); !tc.fails && (err != nil || !info.IsDir()) {
			t.Errorf("%s: no directory: %v", tc.name, err)
		}
	}
}

func TestSync(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := SyncDir(filepath.Join(dir, "absent")); err == nil && runtime.GOOS != "windows" {
		t.Error("no error for an absent directory")
	}
	s, err := OpenFS(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Sync(); err == nil {
		t.Error("no error from Sync after Close")
	}
	if _, err := OpenFS(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent directory: got %v", err)
	}
}

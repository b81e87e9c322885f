package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestReplaceFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		there string // In the file; "-" for no file.
		want  string
		err   error
	}{
		{"the content is as it was", "old", "new", nil},
		{"the content was changed", "edited", "edited", ErrChanged},
		{"the file is gone", "-", "-", os.ErrNotExist},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		if test.there != "-" {
			if err := os.WriteFile(path, []byte(test.there), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := ReplaceFile(path, []byte("old"), []byte("new"), 0o640); !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.err)
		}
		got, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			got = []byte("-")
		}
		if string(got) != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		if left, err := filepath.Glob(path + tempInfix + "*"); err != nil || len(left) > 0 {
			t.Errorf("%s: left are %v, %v", test.name, left, err)
		}
	}
}

// TestReplaceSame is for systems that can't exchange files.
func TestReplaceSame(t *testing.T) {
	t.Parallel()
	path, temp := filepath.Join(t.TempDir(), "f"), filepath.Join(t.TempDir(), "temp")
	for name, text := range map[string]string{path: "old", temp: "new"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := replaceSame(temp, path, []byte("other")); !errors.Is(err, ErrChanged) {
		t.Errorf("changed: got %v", err)
	}
	if err := replaceSame(temp, path, []byte("old")); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
		t.Errorf("got %q, %v", got, err)
	}
}

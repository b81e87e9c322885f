package database

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestSequence counts commits, with both meta pages whole and with one of them.
func TestSequence(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := Open(path, "indexed", 1, indexed{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var last uint64
	for i := range 5 {
		got, err := Sequence(file)
		if err != nil || i > 0 && got != last+1 {
			t.Errorf("after %d commits: got %d, %v, after %d", i, got, err, last)
		}
		last = got
		if err := db.Insert(t.Context(), &indexed{Name: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last, err = Sequence(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	pageSize := os.Getpagesize()
	for i, want := range []uint64{last, last - 1} { // They take turns.
		damaged := bytes.Clone(content)
		page := (int(last) + 1 + i) % 2
		damaged[page*pageSize+metaOffset+metaTxIDAt] ^= 0xff
		if got, err := Sequence(bytes.NewReader(damaged)); err != nil || got != want {
			t.Errorf("page %d damaged: got %d, %v, want %d", page, got, err, want)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "zeros": make([]byte, 1<<18), "short": content[:50]} {
		if got, err := Sequence(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: got %d", name, got)
		}
	}
}

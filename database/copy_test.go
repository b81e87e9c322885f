package database

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/bstore"
	bolt "go.etcd.io/bbolt"
)

// indexed has an index.
type indexed struct {
	ID   int64
	Name string `bstore:"index"`
}

// madeIndexed makes a database with some rows.
func madeIndexed(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := Open(path, "indexed", 1, indexed{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "", "b"} {
		if err := db.Insert(t.Context(), &indexed{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOpenCopy opens copies: the file itself and its directory may be read only,
// and stay as they are.
func TestOpenCopy(t *testing.T) {
	t.Parallel()
	path, temp := madeIndexed(t), t.TempDir()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db, remove, err := OpenCopy(t.Context(), path, temp, "indexed", 1, indexed{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Insert(t.Context(), &indexed{Name: "c"}); err != nil {
		t.Error(err)
	}
	if n, err := bstore.QueryDB[indexed](t.Context(), db).Count(); err != nil || n != 4 {
		t.Errorf("the copy has %d rows, %v", n, err)
	}
	dump := filepath.Join(temp, "dump")
	if err := DumpTo(t.Context(), db, dump); err != nil {
		t.Error(err)
	}
	if problems := Check(dump); len(problems) > 0 {
		t.Errorf("a copy of it: %v", problems)
	}
	if err := errors.Join(os.Remove(dump), remove()); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file was changed, or %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context //nolint:containedctx // A test case.
		kind string
		want error
	}{
		{"another kind", t.Context(), "other", ErrForeign},
		{"stopped", stopped, "indexed", context.Canceled},
	} {
		if _, _, err := OpenCopy(tc.ctx, path, temp, tc.kind, 1, indexed{}); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v", tc.name, err)
		}
	}
	if err := CheckRoom(temp, math.MaxInt64/2); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), temp) {
		t.Errorf("no room: got %v", err)
	}
	if err := os.Truncate(path, 9000); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenCopy(t.Context(), path, temp, "indexed", 1, indexed{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("truncated: got %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestCheckIndices finds an index that lacks a row.
func TestCheckIndices(t *testing.T) {
	t.Parallel()
	path := madeIndexed(t)
	if problems := Check(path); len(problems) > 0 {
		t.Fatalf("sound: %v", problems)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		index := tx.Bucket([]byte("indexed")).Bucket([]byte("index.Name"))
		k, _ := index.Cursor().First()
		return index.Delete(k)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	problems := Check(path)
	if len(problems) != 1 || !errors.Is(problems[0], ErrDamaged) || !strings.Contains(problems[0].Error(), "3 rows of type indexed have 2 entries in index.Name") {
		t.Errorf("got %v", problems)
	}
}

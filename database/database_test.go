package database

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/mjl-/bstore"
	bolt "go.etcd.io/bbolt"

	"github.com/mjl-/mox/atomicfile"
)

type row struct {
	ID   int64
	Text string `bstore:"index"`

	Filler []byte
}

// extra is a type that a later version might add.
type extra struct {
	ID int64
}

func open(t *testing.T, path string) *bstore.DB {
	t.Helper()
	db, err := Open(path, "test", 2, row{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func insert(t *testing.T, db *bstore.DB, n int) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *bstore.Tx) error {
		for i := range n {
			if err := tx.Insert(&row{Text: fmt.Sprintf("text %d", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, db *bstore.DB) int {
	t.Helper()
	n, err := bstore.QueryDB[row](t.Context(), db).Count()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// boltFile makes a plain bbolt file with the given buckets and one key in each.
func boltFile(t *testing.T, path string, buckets map[string]string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for name, value := range buckets {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			if err := b.Put([]byte(identityKey), []byte(value)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    error
	}{
		{"no file yet", func(*testing.T, string) {}, nil},
		{"our own", func(t *testing.T, path string) { open(t, path).Close() }, nil},
		{"an empty file", func(t *testing.T, path string) { writeFile(t, path, "") }, ErrForeign},
		{"a text file", func(t *testing.T, path string) { writeFile(t, path, "hello\n") }, ErrForeign},
		{"a large file of zeros", func(t *testing.T, path string) { writeFile(t, path, string(make([]byte, 1<<16))) }, ErrForeign},
		{"a directory", func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, ErrForeign},
		{"a bbolt file without buckets", func(t *testing.T, path string) { boltFile(t, path, nil) }, ErrForeign},
		{"a bbolt file of another program", func(t *testing.T, path string) {
			boltFile(t, path, map[string]string{"things": "{}"})
		}, ErrForeign},
		{"our bucket with something else in it", func(t *testing.T, path string) {
			boltFile(t, path, map[string]string{identityBucket: "\x00\x01"})
		}, ErrForeign},
		{"another kind", func(t *testing.T, path string) {
			boltFile(t, path, map[string]string{identityBucket: `{"kind":"queue","version":2}`})
		}, ErrForeign},
		{"a newer schema", func(t *testing.T, path string) {
			boltFile(t, path, map[string]string{identityBucket: `{"kind":"test","version":3}`})
		}, ErrNewer},
		{"an older schema", func(t *testing.T, path string) {
			boltFile(t, path, map[string]string{identityBucket: `{"kind":"test","version":1}`})
		}, ErrOlder},
		{"a file that lost its end", func(t *testing.T, path string) {
			open(t, path).Close()
			if err := os.Truncate(path, 3*int64(os.Getpagesize())); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		{"the directory is absent", func(t *testing.T, path string) { _ = os.Remove(filepath.Dir(path)) }, fs.ErrNotExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "dir")
			path := filepath.Join(dir, "test.db")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			tc.prepare(t, path)
			before, _ := os.ReadFile(path)
			db, err := Open(path, "test", 2, row{})
			if !errors.Is(err, tc.want) {
				t.Fatalf("got error %v, want %v", err, tc.want)
			}
			if err != nil {
				after, _ := os.ReadFile(path)
				if !slices.Equal(before, after) {
					t.Error("a refused file was changed")
				}
				return
			}
			insert(t, db, 1)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			kind, schema, err := Schema(path)
			if kind != "test" || schema != 2 || err != nil {
				t.Errorf("got kind %q, schema %d, error %v", kind, schema, err)
			}
			onlyFile(t, dir, "test.db")
		})
	}
}

func writeFile(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func onlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("got files %v, want only %s", entries, name)
	}
}

// TestOpenLeavesOtherTypes opens a file with fewer types than it has rows of.
func TestOpenLeavesOtherTypes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	for range 2 {
		db, err := Open(path, "test", 2, row{}, extra{})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Insert(t.Context(), &extra{}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := open(t, path).Close(); err != nil {
			t.Fatal(err)
		}
	}
	db, err := Open(path, "test", 2, row{}, extra{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n, err := bstore.QueryDB[extra](t.Context(), db).Count(); n != 2 || err != nil {
		t.Errorf("got %d rows and %v, want 2", n, err)
	}
}

// TestCreateTwice shows that making a file does not take the place of one that
// appeared meanwhile.
func TestCreateTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "test.db")
	db := open(t, path)
	insert(t, db, 3)
	if err := create(path, identity{"other", 9}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, open(t, path)); n != 3 {
		t.Errorf("got %d rows, want 3", n)
	}
	onlyFile(t, dir, "test.db")
}

// TestOpenLocked waits the real five seconds: file locks know no other clock.
func TestOpenLocked(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for the lock timeout")
	}
	path := filepath.Join(t.TempDir(), "test.db")
	open(t, path)
	start := time.Now()
	_, err := Open(path, "test", 2, row{})
	if !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > lockTimeout+2*time.Second {
		t.Errorf("waited %v", took)
	}
}

// TestOptionsReachBolt fails if bstore ever stops passing nil options: with a
// synced free list, a commit after a large delete writes a page number for
// every free page.
func TestOptionsReachBolt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	db := open(t, path)
	insert(t, db, 20_000)
	if _, err := bstore.QueryDB[row](t.Context(), db).Delete(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// The page number of the free list is all ones if there is none on disk. It is
	// in both meta pages, 48 bytes from their start.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []int{0, os.Getpagesize()} {
		if got := binary.NativeEndian.Uint64(data[page+48:]); got != math.MaxUint64 {
			t.Errorf("a free list is written, to page %d", got)
		}
	}
}

func TestInitialMapSize(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		goos string
		is64 bool
		want int
	}{
		{"linux", true, mapSize}, {"darwin", true, mapSize}, {"windows", true, 0}, {"linux", false, 0},
	} {
		if got := initialMapSize(tc.goos, tc.is64); got != tc.want {
			t.Errorf("%s, 64 bits %v: got %d, want %d", tc.goos, tc.is64, got, tc.want)
		}
	}
}

// TestDamage spoils one place of a file after another. Open and Check must tell,
// or the place is one that nothing reads; bbolt alone would end the process.
func TestDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	db := open(t, path)
	insert(t, db, 300)
	if err := db.Insert(t.Context(), &row{Text: "long", Filler: make([]byte, 20_000)}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if problems := Check(path); len(problems) != 0 {
		t.Errorf("fresh file: %v", problems)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var used int
	err = view(path, func(tx *bolt.Tx) error { used = int(tx.Size()) / os.Getpagesize(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	good = good[:used*os.Getpagesize()]
	rnd := rand.New(rand.NewPCG(1, 2))
	const rounds = 200
	told := 0
	for range rounds {
		data := slices.Clone(good)
		page := rnd.IntN(used-2) + 2
		at := page*os.Getpagesize() + rnd.IntN(min(64, 16<<rnd.IntN(9)))
		data[at] ^= byte(1 + rnd.IntN(255))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		problems := Check(path)
		if len(problems) > problemsMax {
			t.Errorf("byte %d: %d problems", at, len(problems))
		}
		// A file that Open refuses must have problems. Check looks further: at indices.
		if _, err := identify(path); errors.Is(err, ErrDamaged) && len(problems) == 0 {
			t.Errorf("byte %d: got %v and problems %v", at, err, problems)
		}
		if len(problems) > 0 {
			told++
		} else if db, err := bolt.Open(path, 0o600, nil); err != nil {
			t.Errorf("byte %d: bbolt refuses what we accept: %v", at, err)
		} else if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if told < rounds/4 {
		t.Errorf("only %d of %d told", told, rounds)
	}
	if problems := Check(path + "x"); len(problems) != 1 || !errors.Is(problems[0], fs.ErrNotExist) {
		t.Errorf("absent file: %v", problems)
	}
}

// TestCopyTo copies while a writer goes on, and while the context ends.
func TestCopyTo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "test.db"))
	insert(t, db, 500)
	to := filepath.Join(dir, "copy.db")
	if err := CopyTo(t.Context(), db, to); err != nil {
		t.Fatal(err)
	}
	insert(t, db, 1)
	if problems := Check(to); len(problems) > 0 {
		t.Error(problems)
	}
	if n := count(t, open(t, to)); n != 500 {
		t.Errorf("got %d rows, want 500", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := CopyTo(ctx, db, to+"2"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if _, err := (stopWriter{ctx, nil}).Write(nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled half way: got %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if atomicfile.IsTemp(e.Name()) {
			t.Errorf("%s was left", e.Name())
		}
	}
	if runtime.GOOS != "windows" {
		if info, err := os.Stat(to); err != nil || info.Mode().Perm() != filePerm {
			t.Errorf("copy: got %v, %v", info.Mode(), err)
		}
	}
}

package mtastsdb

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/mtasts"
)

func openPath(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		problems, err := db.Check(context.WithoutCancel(t.Context()))
		if err != nil || len(problems) > 0 {
			t.Errorf("check: %v, %v", problems, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func put(t *testing.T, db *DB, e Entry) {
	t.Helper()
	if _, err := db.update(t.Context(), e.Domain, func(Entry) Entry { return e }); err != nil {
		t.Fatal(err)
	}
}

// TestDB stores entries, and finds them in a copy of the file.
func TestDB(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openPath(t, filepath.Join(dir, "mtasts.db"))
	if e, err := db.Lookup(t.Context(), "a.example"); err != nil || fmt.Sprint(e) != fmt.Sprint(Entry{Domain: "a.example"}) {
		t.Errorf("got %+v, %v", e, err)
	}
	enforce, failing := held(mtasts.Enforce), failed(Entry{Domain: "b.example"}, "1", 0)
	put(t, db, failing)
	put(t, db, Entry{Domain: enforce.Domain, Failed: start})
	put(t, db, enforce)
	put(t, db, failed(Entry{Domain: "c.example"}, "1", 0))
	if err := db.removeIf(t.Context(), "c.example", func(Entry) bool { return true }); err != nil {
		t.Error(err)
	}
	if err := db.removeIf(t.Context(), "c.example", func(Entry) bool { return true }); err != nil {
		t.Error(err)
	}
	if err := db.removeIf(t.Context(), "b.example", func(e Entry) bool { return e.FailedID != "1" }); err != nil {
		t.Error(err)
	}

	var b bytes.Buffer
	n, err := db.WriteTo(t.Context(), &b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("copied %d of %d bytes, %v", n, b.Len(), err)
	}
	path := filepath.Join(dir, "copy.db")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := openPath(t, path).Entries(t.Context())
	if err != nil || len(entries) != 2 {
		t.Fatalf("got %+v, %v", entries, err)
	}
	got := entries[0]
	if got.Policy.Mode != mtasts.Enforce || got.Policy.MX[0].String() != "mx.a.example" || got.Policy.MaxAge != 48*time.Hour || !got.ValidUntil.Equal(at(48)) || got.RecordID != "1" {
		t.Errorf("got %+v", got)
	}
	if entries[1].Domain != "b.example" || entries[1].Failure != mtasts.FailureFetch {
		t.Errorf("got %+v", entries[1])
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Entry)
		want   string
	}{
		"a policy as it should be": {func(*Entry) {}, ""},
		"a name in upper case":     {func(e *Entry) { e.Domain = "A.example" }, "not the name of a domain"},
		"nothing":                  {func(e *Entry) { *e = Entry{Domain: "a.example"} }, "there is nothing in it"},
		"not a policy":             {func(e *Entry) { e.Text = "x" }, "line 1"},
		"another policy":           {func(e *Entry) { e.Policy.Mode = mtasts.None }, "does not say"},
		"another time":             {func(e *Entry) { e.ValidUntil = at(49) }, "end of its time"},
		"no id":                    {func(e *Entry) { e.RecordID = "" }, "it has no id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := Open(filepath.Join(t.TempDir(), "mtasts.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			e := held(mtasts.Enforce)
			test.change(&e)
			put(t, db, e)
			problems, err := db.Check(t.Context())
			if err != nil || (test.want == "") != (len(problems) == 0) || test.want != "" && !strings.Contains(problems[0].Error(), test.want) {
				t.Errorf("got %v, %v", problems, err)
			}
		})
	}
}

// TestClosed shows that a disk that fails is not taken for a domain without policy.
func TestClosed(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "mtasts.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, lookup := db.Lookup(t.Context(), "a.example")
	_, update := db.update(t.Context(), "a.example", func(e Entry) Entry { return e })
	_, entries := db.Entries(t.Context())
	_, check := db.Check(t.Context())
	_, write := db.WriteTo(t.Context(), &bytes.Buffer{})
	remove := db.removeIf(t.Context(), "a.example", func(Entry) bool { return true })
	for i, err := range []error{lookup, update, entries, check, write, remove} {
		if err == nil {
			t.Errorf("call %d: no error", i)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none", "mtasts.db")); err == nil {
		t.Error("opened a file in a directory that doesn't exist")
	}
}

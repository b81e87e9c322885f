package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamagedAccount: an account whose database can't be read keeps neither the
// others from their mail nor loses its own: its deliveries wait aside until a
// start finds it mended.
func TestDamagedAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	w.deliver(testMessage(0, "x"), "a", "b")
	w.wantInbox("a", testMessage(0, "x"))
	w.wantInbox("b", testMessage(0, "x"))
	_, release := w.hold(FaultApplied)
	w.deliver(testMessage(1, "y"), "a", "b")
	if err := w.deliverFile(testMessage(2, "z"), "a", "b"); err != nil {
		t.Fatal(err)
	}
	c := w.crashed()
	release(nil)
	c.broken = true

	index := filepath.Join(c.dir, "accounts", "a", indexFile)
	good, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(index, make([]byte, len(good)), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.start()
		c.wantInbox("b", testMessage(0, "x"), testMessage(1, "y"), testMessage(2, "z"))
		if _, err := c.d.Account(t.Context(), "a"); !errors.Is(err, errDamaged) {
			t.Errorf("opening the damaged account: %v", err)
		}
		if problems, err := c.d.Check(t.Context(), true); err != nil || len(problems) != 1 || problems[0].Account != "a" {
			t.Errorf("check found %v, %v", problems, err)
		}
		if n := len(c.files("journal", asideDir)); n != 4 {
			t.Errorf("%d files aside, want three records and a content", n)
		}
		c.stop()
	}
	if err := os.WriteFile(index, good, 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.wantInbox("a", testMessage(0, "x"), testMessage(1, "y"), testMessage(2, "z"))
	eventually(t, "nothing is aside", func() bool { return len(c.files("journal", asideDir)) == 0 })
}

// TestCopyDamaged: a backup has what there is of a damaged account, and says so.
func TestCopyDamaged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		harm     func(w *world, dir string)
		want     string
		accounts int
	}{
		{"a database that can't be opened", func(w *world, dir string) {
			must(w, os.Truncate(filepath.Join(dir, "accounts", "a", indexFile), 5000))
		}, "account a: copied as it is: ", 1},
		{"a message that is not there", func(w *world, dir string) {
			must(w, os.Remove(messageFile(w, dir, "a", 1)))
		}, "account a: file of email 3 is not there", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a", "b")
			w.deliver(testMessage(0, "x"), "a", "b")
			w.wantInbox("a", testMessage(0, "x"))
			w.wantInbox("b", testMessage(0, "x"))
			_, err := appendTo(t, w.account("a"), "Inbox", testMessage(1, "y"), AppendOptions{})
			must(w, err)
			w.stop()
			w.start()
			c := w.crashed()
			tc.harm(w, c.dir)
			c.broken = true
			d := testDir(t, c.dir, nil)
			dst := filepath.Join(t.TempDir(), "backup")
			res, err := d.CopyTo(t.Context(), dst, CopyOptions{})
			if err != nil || len(res.Problems) != 1 || !strings.Contains(res.Problems[0].String(), tc.want) || res.Accounts != tc.accounts {
				t.Errorf("got %+v, %v", res, err)
			}
			must(w, d.Close())
			file := messageFile(w, dst, "a", 0)
			if got, err := readFile(file); err != nil || got != string(testMessage(0, "x")) {
				t.Errorf("a message of the damaged account: %q, %v", got, err)
			}
			index := filepath.Join("accounts", "a", indexFile)
			was, _ := readFile(filepath.Join(c.dir, index))
			if got, err := readFile(filepath.Join(dst, index)); err != nil || tc.accounts == 1 && got != was {
				t.Errorf("the copy of its database has %d bytes, of %d, %v", len(got), len(was), err)
			}
			if err := BumpUIDValidity(t.Context(), dst); (err == nil) != (tc.accounts == 2) {
				t.Errorf("new UIDVALIDITY: %v", err)
			}
			r := &world{t: t, dir: dst, broken: true}
			r.start()
			r.wantInbox("b", testMessage(0, "x"))
			r.stop()
		})
	}
}

// TestHalfMadeAccount: what a crash leaves of an account that was being made is
// removed, and the name is free.
func TestHalfMadeAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	left := filepath.Join(w.dir, "accounts", newAccountPrefix+"123")
	if err := os.MkdirAll(filepath.Join(left, "msg"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	a, err := w.d.Create(t.Context(), "a", NewAccount{})
	if err != nil {
		t.Fatal(err)
	}
	w.open["a"] = a
	if _, err := w.d.Create(t.Context(), "a", NewAccount{}); !errors.Is(err, ErrAccountExists) {
		t.Errorf("making it again: %v", err)
	}
	if names := w.files("accounts"); len(names) != 1 || names[0] != "a" {
		t.Errorf("accounts has %v", names)
	}
}

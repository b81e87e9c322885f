package store

import (
	"errors"
	"os"
	"path/filepath"
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

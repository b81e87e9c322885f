package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestCopyEnds shows what ends a copy, and what does not.
func TestCopyEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	w.deliver(testMessage(0, "x"), "a")
	w.wantInbox("a", testMessage(0, "x"))
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		opts     CopyOptions
		want     error
		problems int
	}{
		"no room for the database": {CopyOptions{Room: func(int64) error { return boom }}, boom, 0},
		"no room for a message":    {CopyOptions{Link: func(string, string) error { return syscall.EXDEV }, Room: failAfter(1, boom)}, boom, 0},
		"no room for the journal":  {CopyOptions{Room: failAfter(1, boom)}, boom, 0},
		"the queue":                {CopyOptions{BeforeJournal: func() error { return boom }}, boom, 0},
		"a message":                {CopyOptions{Link: func(_, to string) error { return os.Mkdir(to, 0o700) }}, nil, 0},
		"a message, copied":        {CopyOptions{Link: func(_, to string) error { return errors.Join(os.WriteFile(to, nil, 0o600), boom) }}, nil, 1},
	} {
		res, err := w.d.CopyTo(t.Context(), filepath.Join(t.TempDir(), "copy"), tc.opts)
		if !errors.Is(err, tc.want) || len(res.Problems) != tc.problems {
			t.Errorf("%s: got %+v, %v", name, res, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := w.d.CopyTo(ctx, filepath.Join(t.TempDir(), "copy"), CopyOptions{Progress: func(string, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("context ended: got %v", err)
	}
}

// failAfter returns a Room that fails after n calls.
func failAfter(n int, err error) func(int64) error {
	return func(int64) error {
		if n--; n < 0 {
			return err
		}
		return nil
	}
}

// TestCopyBeingApplied: a file that a delivery has put in its place, and that has no
// row yet, is not taken for one that nobody knows.
func TestCopyBeingApplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	reached, release := make(chan struct{}), make(chan struct{})
	w.faults.Arm(FaultFilePlaced, func() error {
		reached <- struct{}{}
		<-release
		return nil
	})
	w.deliver(testMessage(0, "x"), "a")
	<-reached
	w.deliver(testMessage(1, "y"), "a") // Its id is given when the first is committed.
	release <- struct{}{}
	<-reached
	res, err := w.d.CopyTo(t.Context(), filepath.Join(t.TempDir(), "copy"), CopyOptions{})
	if err != nil || res.Messages != 1 || len(res.Problems) > 0 {
		t.Errorf("got %+v, %v", res, err)
	}
	w.faults.Disarm(FaultFilePlaced)
	close(release)
	w.wantInbox("a", testMessage(0, "x"), testMessage(1, "y"))
}

// TestSums reads the checksums of a copy.
func TestSums(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	w.deliver(testMessage(0, "x"), "a")
	w.wantInbox("a", testMessage(0, "x"))
	dst := filepath.Join(t.TempDir(), "copy")
	if _, err := w.d.CopyTo(t.Context(), dst, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSums(filepath.Join(dst, "accounts", "a"))
	if err != nil {
		t.Fatal(err)
	}
	crc, size, err := checksum(filepath.Join(dst, "accounts", "a", "msg", "a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Dir(t.Context(), "a"); err != nil || len(got) != 1 || got["1"] != (Sum{size, crc}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, name := range []string{"b", "!", "----------"} {
		if got, err := s.Dir(t.Context(), name); err != nil || len(got) != 0 {
			t.Errorf("directory %s: got %v, %v", name, got, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	none := t.TempDir()
	if _, err := OpenSums(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no account: got %v", err)
	}
	if entries, err := os.ReadDir(none); err != nil || len(entries) > 0 {
		t.Errorf("it was made: %v, %v", entries, err)
	}
}

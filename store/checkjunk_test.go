package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/junk"
)

// TestCopyJunk: a copy made while training is between its two commits waits for
// the second, and has both.
func TestCopyJunk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withJunk, "a", "b")
	a := w.account("a")
	appendMarked(t, a, junkMail(1, "viagra"), FlagJunk)
	trained(t, a)
	reached, release := w.hold(FaultTrainCounted)
	appendMarked(t, a, junkMail(2, "viagra"), FlagJunk)
	ended := make(chan error, 2)
	go func() { ended <- a.WaitTrained(context.WithoutCancel(t.Context())) }()
	<-reached
	c := &world{t: t, dir: t.TempDir(), change: w.change}
	go func() {
		res, err := w.d.CopyTo(context.WithoutCancel(t.Context()), c.dir, CopyOptions{})
		for _, p := range res.Problems {
			t.Error(p)
		}
		ended <- err
	}()
	release(nil)
	for range 2 {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	c.start()
	t.Cleanup(c.stop)
	b := c.account("a")
	if n := left(t, b); n != 0 {
		t.Errorf("%d rows are left in the copy", n)
	}
	if got := junkScore(t, b, "viagra").Trained; got != (junk.Count{Junk: 2}) {
		t.Errorf("copy was trained with %+v", got)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "accounts", "b", junkFile)); !os.IsNotExist(err) {
		t.Errorf("account without a filter: %v", err)
	}
}

// TestCopyJunkDamaged: a filter that can't be copied is left out, with a warning.
func TestCopyJunkDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withJunk, "a")
	path := w.account("a").junk.path()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	dst := t.TempDir()
	res, err := w.d.CopyTo(t.Context(), dst, CopyOptions{})
	if err != nil || len(res.Problems) != 1 || !res.Problems[0].Warning || !strings.Contains(res.Problems[0].Text, "junk filter is not copied") {
		t.Errorf("got %+v, %v", res, err)
	}
	if _, err := os.Stat(filepath.Join(dst, "accounts", "a", junkFile)); !os.IsNotExist(err) {
		t.Errorf("it is there: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyJunk looks at filters that are not what they should be.
func TestVerifyJunk(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, db *junkDB) error
		want  string
	}{
		{"nothing", func(t *testing.T, db *junkDB) error { return nil }, ""},
		{"a page that is none", func(t *testing.T, db *junkDB) error {
			return db.db.Update(t.Context(), &JunkPage{ID: 1, Data: make([]byte, 33)})
		}, "page 0 has 33 bytes"},
		{"another number of words", func(t *testing.T, db *junkDB) error {
			return db.db.Update(t.Context(), &junkRow{ID: 1, Words: 7, TrainedJunk: 2})
		}, "words, not 7"},
		{"another number of messages", func(t *testing.T, db *junkDB) error {
			return db.db.Insert(t.Context(), &Trained{EmailID: 100, NotJunk: true})
		}, "trained with 2 junk messages and 0 others, and names 2 and 1"},
		{"no row", func(t *testing.T, db *junkDB) error { return db.db.Delete(t.Context(), &junkRow{ID: 1}) }, "absent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, withJunk, "a")
			a := w.account("a")
			appendMarked(t, a, junkMail(1, "viagra"), FlagJunk)
			appendMarked(t, a, junkMail(2, "viagra"), FlagJunk)
			trained(t, a)
			if err := a.junk.use(t.Context(), func(db *junkDB) error { return test.spoil(t, db) }); err != nil {
				t.Fatal(err)
			}
			problems, err := a.Check(t.Context(), false)
			var live []Problem
			err2 := w.d.Verify(t.Context(), VerifyOptions{Temp: t.TempDir(), Report: func(p Problem) { live = append(live, p) }})
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			w.broken = true
			w.stop()
			offline := verify(t, w.dir, w.change)
			if test.want == "" {
				if len(problems) != 0 || len(live) != 0 || offline != "" {
					t.Errorf("got %v, %v, %s", problems, live, offline)
				}
				return
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Text, test.want) || len(live) != 1 || live[0].Text != problems[0].Text || !strings.Contains(offline, test.want) {
				t.Errorf("check: %v; live: %v; offline: %s; want %q", problems, live, offline, test.want)
			}
		})
	}
}

package live

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
)

// save replaces a file as editors do.
func save(t *testing.T, path, text string) {
	t.Helper()
	put(t, path+"~", text)
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}

// TestEditedMeanwhile saves the file in an editor while a change is being made.
func TestEditedMeanwhile(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	file := filepath.Join(filepath.Dir(path), "domains.conf")
	edit := dynamic + "\t# Mine.\n\tedited:\n\t\tDomain: example.org\n"
	runs := 0
	err := c.Update(t.Context(), func(d *config.Dynamic) error {
		if runs++; runs == 1 {
			save(t, file, edit)
		}
		return add("b")(d)
	})
	if err != nil || runs != 2 {
		t.Errorf("got %v after %d runs, want two", err, runs)
	}
	if got := c.Current().Accounts(); !reflect.DeepEqual(got, []string{"a", "b", "edited"}) {
		t.Errorf("got accounts %v", got)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != edit+"\tb:\n\t\tDomain: example.org\n" {
		t.Errorf("got %q, %v", text, err)
	}
	if got := c.Status(); got.Problem != "" {
		t.Errorf("got problem %q", got.Problem)
	}

	err = c.Update(t.Context(), func(d *config.Dynamic) error {
		runs++
		save(t, file, edit+strings.Repeat("#\n", runs))
		return add("c")(d)
	})
	if err == nil || !strings.HasPrefix(err.Error(), ErrEdited.Error()) || runs != 2+updateTries {
		t.Errorf("edited each time: got %v after %d runs", err, runs)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), edit) {
		t.Errorf("edited each time: got %q, %v", text, err)
	}
}

// TestReplacedIsKept edits a version that is older than one the program wrote:
// that one is kept.
func TestReplacedIsKept(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	file := filepath.Join(filepath.Dir(path), "domains.conf")
	if err := c.Update(t.Context(), add("b")); err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	save(t, file, dynamic+"# Edited.\n")
	if err := c.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := earlier(t, path)
	if len(kept) != 2 {
		t.Fatalf("got earlier versions %v", kept)
	}
	if text, err := os.ReadFile(kept[1]); err != nil || string(text) != string(ours) {
		t.Errorf("got %q, %v, want what was replaced", text, err)
	}
}

// TestWatchSteps changes files and looks at them as Watch does.
func TestWatchSteps(t *testing.T) {
	t.Parallel()
	path := write(t)
	dir := filepath.Dir(path)
	file := filepath.Join(dir, "domains.conf")
	cert, key := newPair(t, 1)
	newCert, newKey := newPair(t, 2)
	save(t, filepath.Join(dir, "a.crt"), cert)
	save(t, filepath.Join(dir, "a.key"), key)
	c, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.settle = 0
	var outcomes []string
	c.OnReload(func(o Outcome) {
		switch {
		case o.Err == nil:
			outcomes = append(outcomes, "good")
		case o.Known:
			outcomes = append(outcomes, "known")
		default:
			outcomes = append(outcomes, "bad")
		}
	})
	w := watch{config: c}
	const b = "\tb:\n\t\tDomain: example.org\n"
	for _, step := range []struct {
		name     string
		change   func()
		outcomes string // Of the looks after it, joined.
		accounts string
		problem  string // Part of it.
		serial   int64
	}{
		{"nothing", func() {}, "", "a", "", 1},
		{"saved as it is", func() { save(t, file, dynamic) }, "", "a", "", 1},
		{"an account more", func() { save(t, file, dynamic+b) }, "good", "a b", "", 1},
		{"half of a file", func() { save(t, file, dynamic+"\tb:\n\t\tDom") }, "bad", "a b", "domains.conf:8: missing colon", 1},
		{"half of it again", func() { save(t, file, dynamic+"\tb:\n\t\tDom") }, "known", "a b", "domains.conf:8: missing colon", 1},
		{"another mistake", func() { save(t, file, dynamic+"X: 1\n") }, "bad", "a b", "domains.conf:7: X: unknown setting", 1},
		{"the file is gone", func() {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}, "bad", "a b", "no such file", 1},
		{"what it was before the mistakes", func() { save(t, file, dynamic+b) }, "good", "a b", "", 1},
		{"a certificate without its key", func() { save(t, filepath.Join(dir, "a.crt"), newCert) }, "bad", "a b", "private key does not match", 1},
		{"an account less, meanwhile", func() { save(t, file, dynamic) }, "known", "a", "private key does not match", 1},
		{"its key", func() { save(t, filepath.Join(dir, "a.key"), newKey) }, "good", "a", "", 2},
		{"a change by the program", func() {
			if err := c.Update(t.Context(), add("c")); err != nil {
				t.Fatal(err)
			}
		}, "", "a c", "", 2},
	} {
		outcomes = nil
		step.change()
		for range 4 {
			w.step(t.Context())
		}
		s := c.Status()
		if got := strings.Join(outcomes, " "); got != step.outcomes || !strings.Contains(s.Problem, step.problem) || (s.Problem == "") != (step.problem == "") || (s.Problem == "") != s.Since.IsZero() {
			t.Errorf("%s: got outcomes %q and status %+v, want %q and problem %q", step.name, got, s, step.outcomes, step.problem)
		}
		if got := strings.Join(c.Current().Accounts(), " "); got != step.accounts || serial(c) != step.serial {
			t.Errorf("%s: got accounts %s and certificate %d, want %s and %d", step.name, got, serial(c), step.accounts, step.serial)
		}
	}
}

// TestWatch runs the loop.
func TestWatch(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	told := make(chan Outcome, 10)
	c.OnReload(func(o Outcome) { told <- o })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		c.Watch(ctx)
		close(done)
	}()
	save(t, filepath.Join(filepath.Dir(path), "domains.conf"), dynamic+"\tb:\n\t\tDomain: example.org\n")
	if o := <-told; o.Err != nil {
		t.Error(o.Err)
	}
	if got := c.Current().Accounts(); len(got) != 2 {
		t.Errorf("got accounts %v", got)
	}
	cancel()
	<-done
}

// TestSettled reads files of which it isn't known how old they are.
func TestSettled(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	c.settle = time.Millisecond
	file := filepath.Join(filepath.Dir(path), "domains.conf")
	put(t, file, dynamic+"# Edited.\n")
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(file, future, future); err != nil {
		t.Fatal(err)
	}
	if text, err := c.read(t.Context()); err != nil || !strings.HasSuffix(string(text), "# Edited.\n") {
		t.Errorf("of the future: got %q, %v", text, err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	c.settle = time.Hour
	if _, err := c.read(done); err == nil {
		t.Error("who has given up waits")
	}
}

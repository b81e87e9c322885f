package queue

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// damages are what can be wrong with the file of a content.
var damages = map[string]func(t *testing.T, path string){
	"missing": func(t *testing.T, path string) { errorless(t, os.Remove(path)) },
	"shorter": func(t *testing.T, path string) { errorless(t, os.Truncate(path, 3)) },
	"zeros":   func(t *testing.T, path string) { errorless(t, os.WriteFile(path, make([]byte, 7), 0o600)) },
}

func errorless(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contentFile returns the path of the content of a message.
func (w *world) contentFile(m Message) string {
	w.t.Helper()
	w.flush()
	c := contentRow{ID: m.ContentID}
	errorless(w.t, w.db.db.Get(w.t.Context(), &c))
	return w.db.contentPath(c.Name)
}

// TestTorn loses power when a message of the log has rows, and its file is not on
// disk: it is made again.
func TestTorn(t *testing.T) {
	t.Parallel()
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.add("content", "mjl@example.org", "a@remote.example")
			w.flush()
			added := w.add("content", "mjl@example.org", "b@remote.example", "c@remote.example")
			reached, release := w.hold(FaultFileSynced)
			done := make(chan error)
			go func() { done <- w.db.flush() }()
			reached()
			crashed := w.crashed()
			release()
			errorless(t, <-done)
			rel, err := filepath.Rel(w.dir, w.contentFile(added[0]))
			errorless(t, err)
			damage(t, filepath.Join(crashed.dir, rel))
			crashed.start() // Logs no error.
			if got := crashed.describe(); got != "a waiting 0, b waiting 0, c waiting 0" || crashed.files() != 2 {
				t.Errorf("got %s, %d files", got, crashed.files())
			}
			crashed.check()
			crashed.add("content", "mjl@example.org", "d@remote.example")
			crashed.restart()
			if got := crashed.describe(); got != "a waiting 0, b waiting 0, c waiting 0, d waiting 0" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestDamaged has the content of a message that was accepted damaged while the
// server is stopped: the message is held, and the operator told.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range damages {
		if name == "zeros" {
			continue // Only a check can find it.
		}
		for life, before := range map[string]func(w *world){
			"others came after it": func(w *world) { w.add("content", "mjl@example.org", "z@other.example") },
			"one was delivered":    func(w *world) { w.finish(w.next(), ok()) },
			"it was tried":         func(w *world) { w.next(); w.next() },
		} {
			t.Run(name+"/"+life, func(t *testing.T) {
				t.Parallel()
				w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
				w.start()
				added := w.add("content", "mjl@example.org", "a@remote.example", "b@other.example")
				before(w)
				path := w.contentFile(added[1])
				w.stop()
				damage(t, path)
				w.start()
				held := w.list(Filter{State: Held})
				if len(held) == 0 || !strings.Contains(rcpts(held), "b@other.example") || !strings.Contains(w.log.String(), "are held") {
					t.Fatalf("held is %s, logged %q", rcpts(held), w.log)
				}
				results := held[0].Results
				if why := results[len(results)-1].Error; !strings.HasPrefix(why, "content file ") {
					t.Errorf("got %q", why)
				}
				if problems := w.db.Check(t.Context()); len(problems) != 1 || !strings.Contains(problems[0].Error(), "content file ") {
					t.Errorf("check: got %v", problems)
				}
				w.mend(path, held)
			})
		}
	}
}

// mend puts a content back and has held messages delivered.
func (w *world) mend(path string, messages []Message) {
	w.t.Helper()
	errorless(w.t, os.WriteFile(path, []byte("content"), 0o600))
	for _, m := range messages {
		errorless(w.t, w.db.Release(w.t.Context(), []int64{m.ID}))
		if _, err := w.db.Reschedule(w.t.Context(), Filter{IDs: []int64{m.ID}}, func(Message) time.Time { return time.Now() }); err != nil {
			w.t.Error(err)
		}
	}
	for len(w.list(Filter{})) > 0 {
		w.finish(w.next(), ok())
	}
	w.check()
	w.stop()
}

// TestDamagedMeanwhile loses a content while the server runs: its messages are held
// when their turn comes, and others go on.
func TestDamagedMeanwhile(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	w.start()
	added := w.add("content", "mjl@example.org", "a@remote.example", "x@local.example")
	path := w.contentFile(added[0])
	errorless(t, os.Remove(path))
	w.add("content", "mjl@example.org", "z@other.example")
	work := w.next()
	if rcpts(work.Messages) != "z@other.example" {
		t.Fatalf("got %s", rcpts(work.Messages))
	}
	w.finish(work, ok())
	held := w.list(Filter{State: Held})
	if len(held) != 2 || held[0].Attempts != 0 || strings.Count(w.log.String(), "are held") != 2 {
		t.Errorf("held is %+v, logged %q", held, w.log)
	}
	w.mend(path, held)
}

// TestStrays removes contents without rows at start, and nothing else.
func TestStrays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example")
	w.stop()
	stray := strings.Repeat("0a", 16)
	kept := []string{"lost+found/file", "00/README", "file", "fe", "00/" + strings.ToUpper(stray), "02/" + stray + "/file"}
	for _, name := range append(kept, "00/"+stray, "ff/"+stray) {
		path := filepath.Join(w.dir, contentDir, name)
		errorless(t, os.MkdirAll(filepath.Dir(path), 0o700))
		errorless(t, os.WriteFile(path, nil, 0o600))
	}
	w.start()
	w.add("content", "mjl@example.org", "a@remote.example")
	if problems := w.db.Check(t.Context()); len(problems) != len(kept)+1 { // And the directory 02/stray.
		t.Errorf("got %v", problems)
	}
	for _, name := range kept {
		if _, err := os.Lstat(filepath.Join(w.dir, contentDir, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"00/" + stray, "ff/" + stray} {
		if _, err := os.Lstat(filepath.Join(w.dir, contentDir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want that it is gone", name, err)
		}
	}
	errorless(t, os.RemoveAll(filepath.Join(w.dir, contentDir, "02")))
	for _, name := range kept {
		errorless(t, os.RemoveAll(filepath.Join(w.dir, contentDir, name)))
	}
}

// TestContentDirectoryTaken has files where new contents are to go.
func TestContentDirectoryTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.stop()
	for _, name := range []string{"01", "02"} {
		errorless(t, os.WriteFile(filepath.Join(w.dir, contentDir, name), nil, 0o600))
	}
	w.start()
	w.add("content", "mjl@example.org", "a@remote.example")
	w.flush()
	if files, err := filepath.Glob(filepath.Join(w.dir, contentDir, "03", "*")); err != nil || len(files) != 1 {
		t.Errorf("the first directory that is free has %q, %v", files, err)
	}
	for _, name := range []string{"01", "02"} {
		errorless(t, os.Remove(filepath.Join(w.dir, contentDir, name)))
	}
}

// TestRepair has rows as a wrong clock or the end of a process leave them.
func TestRepair(t *testing.T) {
	t.Parallel()
	db := &DB{opts: Options{Schedule: DefaultSchedule()}}
	now := midnight
	year := 365 * 24 * time.Hour
	longest := now.Add(db.opts.Schedule.longest())
	broken := map[int64]string{7: "content file is missing"}
	for _, tc := range []struct {
		name      string
		row, want messageRow
	}{
		{"nothing to do", messageRow{M: Message{State: Waiting, Queued: now, NextAttempt: now}}, messageRow{M: Message{State: Waiting, Queued: now, NextAttempt: now}}},
		{"overdue", messageRow{M: Message{State: Waiting, NextAttempt: now.Add(-year)}}, messageRow{M: Message{State: Waiting, NextAttempt: now.Add(-year)}}},
		{
			"being delivered", messageRow{M: Message{State: Delivering, LeaseUntil: now, NextAttempt: now.Add(time.Hour)}},
			messageRow{M: Message{State: Waiting, NextAttempt: now.Add(time.Hour)}},
		},
		{"from the future", messageRow{M: Message{State: Waiting, Queued: now.Add(year), LastAttempt: now.Add(year)}}, messageRow{M: Message{State: Waiting, Queued: now, LastAttempt: now}}},
		{"due too late", messageRow{M: Message{State: Waiting, NextAttempt: now.Add(year)}}, messageRow{M: Message{State: Waiting, NextAttempt: longest}}},
		{"due as late as can be", messageRow{M: Message{State: Waiting, NextAttempt: longest}}, messageRow{M: Message{State: Waiting, NextAttempt: longest}}},
		{"due late by choice", messageRow{Chosen: true, M: Message{NextAttempt: now.Add(year)}}, messageRow{Chosen: true, M: Message{NextAttempt: now.Add(year)}}},
		{
			"broken", messageRow{M: Message{State: Waiting, ContentID: 7}},
			messageRow{M: Message{State: Held, ContentID: 7, HoldReason: HeldDamaged, Results: []Result{{Start: now, Error: "content file is missing"}}}},
		},
		{"broken and held", messageRow{M: Message{State: Held, ContentID: 7}}, messageRow{M: Message{State: Held, ContentID: 7}}},
	} {
		got := tc.row
		changed := db.repair(&got, broken, now)
		if !reflect.DeepEqual(got, tc.want) || changed == reflect.DeepEqual(tc.row, tc.want) {
			t.Errorf("%s: got %+v, changed %v; want %+v", tc.name, got, changed, tc.want)
		}
		if again := got; db.repair(&again, broken, now) || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: repaired again to %+v", tc.name, again)
		}
	}
}

// TestLeases restarts with deliveries running: all of them are tried again, the
// remote ones in their time.
func TestLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example", "x@local.example")
	w.next()
	w.next()
	w.restart()
	for _, m := range w.list(Filter{}) {
		remote := m.Domain == "remote.example"
		if m.State != Waiting || remote != (m.Attempts == 1) || remote != m.NextAttempt.After(time.Now().Add(time.Minute)) || remote != (len(m.Results) == 1) {
			t.Errorf("got %+v", m)
		}
	}
	work := w.next()
	if !work.Local || work.Messages[0].Attempts != 1 {
		t.Errorf("got %+v", work)
	}
	w.finish(work, ok())
}

package queue

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/journal"
)

// TestWays adds messages in each way that there is, and finds them again after a
// crash and after a restart.
func TestWays(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 20<<10)
	var many []string
	for i := range 2000 {
		many = append(many, fmt.Sprintf("r%d@remote.example", i))
	}
	for _, tc := range []struct {
		name    string
		content string
		to      []string
		files   int // At once: the log has the others.
		memory  int64
	}{
		{"small", "content", []string{"a@remote.example", "x@local.example"}, 0, 7},
		{"empty", "", []string{"a@remote.example"}, 0, 0},
		{"as large as goes into the log", large[:16<<10], []string{"a@remote.example"}, 0, 16 << 10},
		{"larger", large[:16<<10+1], []string{"a@remote.example"}, 1, 0},
		{"to more than go into the log", "content", many, 1, 0},
		{"no record has room", strings.Repeat("y", 16<<10), many[:300], 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) { o.InlineMax = 16 << 10 })
			added := w.add(tc.content, "mjl@example.org", tc.to...)
			if w.files() != tc.files || w.db.memory != tc.memory {
				t.Errorf("got %d files and %d bytes in memory, want %d and %d", w.files(), w.db.memory, tc.files, tc.memory)
			}
			w.check()
			crashed := w.crashed()
			crashed.start()
			w.restart()
			for _, each := range []*world{w, crashed} {
				each.check()
				got := each.list(Filter{})
				for i := range got {
					want := added[i]
					want.Prefix = nil
					got[i].Queued, want.Queued = got[i].Queued.UTC(), want.Queued.UTC()
					got[i].Since, want.Since = got[i].Since.UTC(), want.Since.UTC()
					got[i].NextAttempt, want.NextAttempt = got[i].NextAttempt.UTC(), want.NextAttempt.UTC()
					if !reflect.DeepEqual(got[i], want) {
						t.Fatalf("got %+v, want %+v", got[i], want)
					}
				}
				r, err := each.db.OpenContent(t.Context(), added[0].ID)
				errorless(t, err)
				var b bytes.Buffer
				_, err = b.ReadFrom(r)
				if err = errors.Join(err, r.Close()); err != nil || b.String() != "Received: from test\r\n"+tc.content || len(got) != len(added) {
					t.Errorf("got %d messages, content of %d bytes, %v", len(got), b.Len(), err)
				}
				if each.files() != 1 || each.db.memory != 0 || len(each.db.logged) != 0 {
					t.Errorf("after all: got %d files, %d bytes in memory, %d in the log", each.files(), each.db.memory, len(each.db.logged))
				}
			}
			if again := crashed.add("content", "mjl@example.org", "z@remote.example"); again[0].ID <= added[len(added)-1].ID || again[0].ContentID <= added[0].ContentID {
				t.Errorf("the next message got ids %d, %d again", again[0].ID, again[0].ContentID)
			}
		})
	}
}

// TestMemoryFull adds contents when there is no room for them in memory.
func TestMemoryFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.db.memory = memoryMax - 7
	w.add("content", "mjl@example.org", "x@local.example") // It is filed at once.
	w.db.mu.Lock()
	w.db.memory = memoryMax - 6
	w.db.mu.Unlock()
	c, err := w.db.NewContent(t.Context(), 7, strings.NewReader("content"))
	errorless(t, err)
	if c.data != nil || c.file == nil {
		t.Error("there was no room in memory, and it is there")
	}
	n := message(t, "mjl@example.org", "y@local.example")
	n.Content = c
	_, err = w.db.Add(t.Context(), n)
	errorless(t, err)
	w.flush()
	if w.files() != 2 {
		t.Errorf("got %d files", w.files())
	}
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	w.db.memory = 0
}

// TestSettled leaves messages alone: after a while they have rows and files, and the
// log has forgotten them.
func TestSettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "x@local.example")
	w.db.mu.Lock()
	w.db.logged[0].added = time.Now().Add(-fileAfter)
	w.db.settleTimer.Reset(0)
	w.db.mu.Unlock()
	left := 1
	for deadline := time.Now().Add(time.Minute); left > 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		w.db.mu.Lock()
		left = len(w.db.logged)
		w.db.mu.Unlock()
	}
	if left != 0 || w.files() != 1 {
		t.Errorf("got %d messages in the log, %d files", left, w.files())
	}
}

// TestOtherLog opens a queue whose log was taken away, or exchanged: what has rows is
// there, and the operator is told.
func TestOtherLog(t *testing.T) {
	t.Parallel()
	other := newWorld(t, nil)
	other.add("content", "mjl@example.org", "other@remote.example")
	exchanged := other.crashed().dir
	for name, change := range map[string]func(dir string) error{
		"taken away": func(dir string) error { return os.RemoveAll(dir) },
		"exchanged": func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(filepath.Join(exchanged, logDir))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
			w.start()
			w.add("content", "mjl@example.org", "a@remote.example")
			w.stop()
			errorless(t, change(filepath.Join(w.dir, logDir)))
			w.start()
			if got := rcpts(w.list(Filter{})); !strings.Contains(got, "a@remote.example") || strings.Contains(got, "other") != (name == "exchanged") || !strings.Contains(w.log.String(), "messages may be missing") {
				t.Errorf("got %s, logged %q", got, w.log)
			}
			w.check()
			w.restart()
			if n := strings.Count(w.log.String(), "messages may be missing"); n != 1 {
				t.Errorf("told %d times: %s", n, w.log)
			}
			w.stop()
		})
	}
}

// TestDamagedLog has a record that nobody wrote, and a log that can't be read: the
// queue is not opened, and checks say why.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, w *world){
		"another's record": func(t *testing.T, w *world) {
			_, err := w.db.journal.Append(t.Context(), journal.Record{Type: recordAdded, Data: [][]byte{[]byte("no")}, Value: &logged{}})
			errorless(t, err)
		},
		"another type": func(t *testing.T, w *world) {
			_, err := w.db.journal.Append(t.Context(), journal.Record{Type: 9, Data: [][]byte{[]byte("no")}, Value: &logged{}})
			errorless(t, err)
		},
		"a flipped byte": func(t *testing.T, w *world) {
			for range 2 {
				w.add("content", "mjl@example.org", "a@remote.example")
			}
			files, err := filepath.Glob(filepath.Join(w.dir, logDir, "*.log"))
			errorless(t, err)
			for _, name := range files {
				text, err := os.ReadFile(name)
				errorless(t, err)
				if at := bytes.Index(text, []byte("a@remote.example")); at > 0 {
					text[at] ^= 1
					errorless(t, os.WriteFile(name, text, 0o600))
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
			w.start()
			damage(t, w)
			crashed := w.crashed()
			if err := w.db.journal.Close(); err != nil { // It makes segments beside, also while the directory is removed.
				t.Error(err)
			}
			opts := w.db.opts
			opts.Dir, opts.Log = crashed.dir, slog.New(slog.DiscardHandler)
			if db, err := Open(t.Context(), opts); err == nil {
				t.Error("the queue was opened")
				errorless(t, db.Close())
			}
			if problems := CheckDir(t.Context(), opts); len(problems) == 0 {
				t.Error("the check finds nothing")
			}
		})
	}
}

// FuzzRecord parses records. What is taken can be written, and read again the same.
func FuzzRecord(f *testing.F) {
	l := &logged{rows: []messageRow{{ID: 1, M: Message{ID: 1, ContentID: 2, Key: strings.Repeat("0a", 16), Rcpt: "a@b.example", Queued: time.Unix(1, 0).UTC()}}}}
	h := recordHead{Content: contentRow{ID: 2, Name: "00/" + strings.Repeat("0a", 16), Size: 7}, Inline: true, Rows: l.bareRows(), Prefixes: []prefixRow{{1, []byte("a: b\r\n")}}}
	seed, err := h.appendHead(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(seed, "content"...))
	f.Add(seed)
	f.Add([]byte{5, '{', '}'})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, content, err := parseRecord(data)
		if err != nil {
			return
		}
		text, err := h.appendHead(nil)
		if err != nil {
			return // Texts that are not UTF-8 can't be in JSON, but in what it escapes.
		}
		again, same, err := parseRecord(append(text, content...))
		if err != nil || !bytes.Equal(same, content) || !reflect.DeepEqual(again.Rows, h.Rows) && len(h.Rows) == 0 {
			t.Errorf("read again: %v, %q, want %q", err, same, content)
		}
		text2, err := again.appendHead(nil)
		if err != nil || !bytes.Equal(text, text2) {
			t.Errorf("written again as %q, %v, want %q", text2, err, text)
		}
	})
}

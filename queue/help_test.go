package queue

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/smtp"
)

// world is a queue that a test opens, crashes and opens again.
type world struct {
	t      testing.TB
	dir    string
	change func(*Options)
	faults *fault.Set
	db     *DB
	log    *bytes.Buffer // Of errors; nil: an error fails the test.
}

// newWorld makes an empty queue. What is open at the end is checked and closed.
func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "queue"), change: change}
	w.start()
	t.Cleanup(func() {
		if w.db != nil {
			w.check()
			w.stop()
		}
	})
	return w
}

// start opens the queue.
func (w *world) start() {
	w.t.Helper()
	w.faults = fault.New()
	opts := Options{
		Dir: w.dir, Log: w.logger(), Faults: w.faults, Rand: rand.Reader, Schedule: DefaultSchedule(),
		Local: func(domain string) bool { return strings.HasPrefix(domain, "local") }, LogSize: 64 << 10,
	}
	if w.change != nil {
		w.change(&opts)
	}
	db, err := Open(w.t.Context(), opts)
	if err != nil {
		w.t.Fatalf("opening queue: %v", err)
	}
	w.db = db
}

// logger returns a logger whose errors fail the test, or go to w.log.
func (w *world) logger() *slog.Logger {
	var to io.Writer = failWriter{w.t}
	if w.log != nil {
		to = w.log
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelError}))
}

// failWriter fails a test with what is written to it.
type failWriter struct{ t testing.TB }

// Write fails the test.
func (f failWriter) Write(p []byte) (int, error) {
	f.t.Errorf("logged: %s", p)
	return len(p), nil
}

// stop closes the queue.
func (w *world) stop() {
	w.t.Helper()
	if err := w.db.Close(); err != nil {
		w.t.Errorf("closing queue: %v", err)
	}
	w.db = nil
}

// restart closes and opens.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

// check fails the test for invariants that do not hold.
func (w *world) check() {
	w.t.Helper()
	for _, err := range w.db.Check(context.Background()) {
		w.t.Errorf("check: %v", err)
	}
}

// crashed returns a world as a kill -9 would leave this one now.
func (w *world) crashed() *world {
	w.t.Helper()
	c := &world{t: w.t, dir: filepath.Join(w.t.TempDir(), "queue"), change: w.change, log: w.log}
	err := os.CopyFS(c.dir, os.DirFS(w.dir))
	for range 20 {
		if !errors.Is(err, os.ErrNotExist) {
			break
		}
		errorless(w.t, os.RemoveAll(c.dir)) // A file went meanwhile, as when a segment is made ready.
		err = os.CopyFS(c.dir, os.DirFS(w.dir))
	}
	errorless(w.t, err)
	w.t.Cleanup(func() {
		if c.db != nil {
			c.check()
			c.stop()
		}
	})
	return c
}

// path parses a path.
func path(t testing.TB, s string) smtp.Path {
	t.Helper()
	p, err := Path(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// message returns a New to recipients, without content.
func message(t testing.TB, from string, to ...string) New {
	t.Helper()
	n := New{Account: strings.Split(from, "@")[0], MailFrom: path(t, from), MessageID: "<1@example.org>", Subject: "test"}
	for _, rcpt := range to {
		n.To = append(n.To, NewRcpt{Path: path(t, rcpt), Prefix: []byte("Received: from test\r\n")})
	}
	return n
}

// tryAdd queues a message with a content.
func (w *world) tryAdd(content string, n New) ([]Message, error) {
	w.t.Helper()
	c, err := w.db.NewContent(context.Background(), int64(len(content)), strings.NewReader(content))
	if err != nil {
		return nil, err
	}
	n.Content = c
	messages, err := w.db.Add(context.Background(), n)
	if derr := c.Discard(); derr != nil {
		w.t.Errorf("discarding content: %v", derr)
	}
	return messages, err
}

// add queues a message from an address to others.
func (w *world) add(content, from string, to ...string) []Message {
	w.t.Helper()
	messages, err := w.tryAdd(content, message(w.t, from, to...))
	if err != nil {
		w.t.Fatalf("adding: %v", err)
	}
	return messages
}

// next returns the next work, which must be due.
func (w *world) next() *Work {
	w.t.Helper()
	work, err := w.db.Next(w.t.Context())
	if err != nil {
		w.t.Fatalf("next: %v", err)
	}
	return work
}

// finish ends work with the same report for each message.
func (w *world) finish(work *Work, r Report) {
	w.t.Helper()
	if err := w.db.Finish(context.Background(), work, reports(work, r)); err != nil {
		w.t.Fatalf("finish: %v", err)
	}
}

// reports makes a report for each message.
func reports(work *Work, r Report) []Report {
	var all []Report
	for _, m := range work.Messages {
		r.ID = m.ID
		all = append(all, r)
	}
	return all
}

// ok is the report of a delivery.
func ok() Report { return Report{Result: Result{OK: true, Code: 250, Took: 1}} }

// flush makes rows of all messages.
func (w *world) flush() {
	w.t.Helper()
	if err := w.db.flush(); err != nil {
		w.t.Fatalf("flush: %v", err)
	}
}

// list returns the messages a filter selects.
func (w *world) list(f Filter) []Message {
	w.t.Helper()
	messages, err := w.db.List(context.Background(), f, Sort{})
	if err != nil {
		w.t.Fatalf("list: %v", err)
	}
	return messages
}

// files returns how many content files there are.
func (w *world) files() int {
	w.t.Helper()
	all, err := filepath.Glob(filepath.Join(w.dir, contentDir, "*", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(all)
}

// rcpts describes messages by their recipients.
func rcpts(messages []Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, fmt.Sprint(m.Rcpt))
	}
	return strings.Join(all, " ")
}

// trustClock has the queue believe the clock of the computer.
func (w *world) trustClock() {
	c := &w.db.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubt, c.jumped = 0, time.Time{}
	c.start, c.base = time.Now(), c.read(time.Now())
}

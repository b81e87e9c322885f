package trace

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// open opens a log in dir that is closed with the test.
func open(t testing.TB, dir string, sizeMax int64) *Log {
	t.Helper()
	l, err := Open(Options{Dir: dir, KeepFor: 30 * 24 * time.Hour, SizeMax: sizeMax, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLog(t, l) })
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// texts returns the Text of events, or their kind.
func texts(events []Event) (list []string) {
	for _, e := range events {
		if e.Text == "" {
			e.Text = string(e.Kind)
		}
		list = append(list, e.Text)
	}
	return list
}

// checkFound checks what a query finds, by the texts of events.
func checkFound(t *testing.T, l *Log, q Query, want ...string) Found {
	t.Helper()
	f, err := l.Lookup(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(f.Events); !slices.Equal(got, want) {
		t.Errorf("%+v: got %q, want %q", q, got, want)
	}
	return f
}

func TestLookup(t *testing.T) {
	t.Parallel()
	l := open(t, filepath.Join(t.TempDir(), "trace"), 1<<20)
	start := time.Now().Add(-time.Hour)
	for i, e := range []Event{
		{
			Kind: Submitted, Text: "submitted", CID: 0x5f, MessageID: "<1@mox.example>", From: "Ann@mox.example", Account: "ann",
			Rcpts: []Rcpt{{"bob@other.example", 7}, {"eve@bücher.example", 8}}, Submission: &Submission{Header: "sales@mox.example"},
		},
		{Kind: Attempted, Text: "first", CID: 0x60, MessageID: "<1@mox.example>", From: "Ann@mox.example", Rcpts: []Rcpt{{"bob@other.example", 7}}},
		{Kind: Attempted, Text: "other", CID: 0x61, MessageID: "<1@mox.example>", From: "Ann@mox.example", Rcpts: []Rcpt{{"eve@bücher.example", 8}}},
		{Kind: Notified, Text: "told", MessageID: "<1@mox.example>", From: "Ann@mox.example", Rcpts: []Rcpt{{"bob@other.example", 7}}, Notice: &Notice{MessageID: "dsn@mox.example", QueueID: 9}},
		{Kind: Refused, Text: "refused", CID: 0x62, From: "bob@other.example", Rcpts: []Rcpt{{Address: "nobody@mox.example"}}},
		{Kind: Received, Text: "received", MessageID: "in@other.example", From: "", Rcpts: []Rcpt{{Address: "ann@mox.example"}}, Evidence: &Evidence{Header: "news@shop.example"}},
	} {
		e.Time = start.Add(time.Duration(i) * time.Minute)
		l.Append(e)
	}
	minute := func(i float64) time.Time { return start.Add(time.Duration(i * float64(time.Minute))) }
	for _, test := range []struct {
		name string
		q    Query
		want []string
	}{
		{"id of one recipient", Query{ID: 7}, []string{"submitted", "first", "told"}},
		{"id of the other", Query{ID: 8}, []string{"submitted", "other"}},
		{"id of the notification", Query{ID: 9}, []string{"told"}},
		{"id that is not there", Query{ID: 77}, nil},
		{"message-id with brackets", Query{MessageID: "<1@mox.example>"}, []string{"submitted", "first", "other", "told"}},
		{"message-id of the notification", Query{MessageID: "dsn@mox.example"}, []string{"told"}},
		{"message-id in another case is another", Query{MessageID: "IN@other.example"}, nil},
		{"sender and recipient", Query{Address: "BOB@Other.Example"}, []string{"submitted", "first", "told", "refused"}},
		{"address with U-labels", Query{Address: "eve@bücher.example"}, []string{"submitted", "other"}},
		{"author", Query{Address: "sales@mox.example"}, []string{"submitted"}},
		{"author of mail that came", Query{Address: "news@shop.example"}, []string{"received"}},
		{"part of an address", Query{Address: "ob@other.example"}, nil},
		{"connection", Query{CID: 0x62}, []string{"refused"}},
		{"any of two", Query{MessageID: "in@other.example", Address: "nobody@mox.example"}, []string{"refused", "received"}},
		{"nothing asked", Query{}, nil},
		{"null sender is nobody", Query{Address: ""}, nil},
		{"since", Query{ID: 7, Since: minute(0.5)}, []string{"first", "told"}},
		{"until", Query{ID: 7, Until: minute(1)}, []string{"submitted", "first"}},
		{"between", Query{ID: 7, Since: minute(1), Until: minute(2)}, []string{"first"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if f := checkFound(t, l, test.q, test.want...); f.More || len(f.Gaps) > 0 {
				t.Errorf("got more %v, gaps %v", f.More, f.Gaps)
			}
		})
	}
	if f := checkFound(t, l, Query{ID: 7, Max: 2}, "first", "told"); !f.More {
		t.Error("the newest two: nothing says that there are more")
	}
}

// TestNil shows that parts work without a log.
func TestNil(t *testing.T) {
	t.Parallel()
	var l *Log
	l.Append(Event{})
	l.Flush()
	f, err := l.Lookup(t.Context(), Query{ID: 1})
	if len(f.Events) != 0 || err != nil || l.Stats() != (Stats{}) || l.Close() != nil {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 5 {
		l := open(t, dir, 1<<20)
		l.Append(Event{Kind: Attempted, Text: fmt.Sprint(i), Rcpts: []Rcpt{{QueueID: 1}}})
		closeLog(t, l)
	}
	f := checkFound(t, open(t, dir, 1<<20), Query{ID: 1}, "0", "1", "2", "3", "4")
	if len(f.Gaps) > 0 {
		t.Errorf("gaps though each was closed: %v", f.Gaps)
	}
	if names := list(t, dir); !slices.Equal(names, []string{"mail-0000000001.log"}) {
		t.Errorf("files: %q", names)
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if names = append(names, e.Name()); !IsName(e.Name()) {
			t.Errorf("%s is not a name of a trace", e.Name())
		}
	}
	return names
}

// TestTornTail cuts a segment at each byte, as a crash does. What was whole stays, the
// rest is gone, and the next events are found too.
func TestTornTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, 1<<20)
	for i := range 3 {
		l.Append(Event{Kind: Attempted, Text: fmt.Sprint(i), Rcpts: []Rcpt{{Address: "bob@other.example", QueueID: 1}}})
	}
	closeLog(t, l)
	whole, err := os.ReadFile(filepath.Join(dir, "mail-0000000001.log"))
	if err != nil {
		t.Fatal(err)
	}
	cut := func(t *testing.T, n int, tail string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mail-0000000001.log"), slices.Concat(whole[:n], []byte(tail)), 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir, 1<<20)
		defer closeLog(t, l)
		l.Append(Event{Kind: Attempted, Text: "next", Rcpts: []Rcpt{{QueueID: 1}}})
		lines := bytes.Count(whole[:n], []byte("\n"))
		f := checkFound(t, l, Query{ID: 1}, append([]string{"0", "1", "2"}[:lines], "next")...)
		if told := slices.ContainsFunc(f.Gaps, func(e Event) bool { return e.Missing.Restart }); told != (lines > 0) {
			t.Errorf("cut at %d: says that the process died: %v, %+v", n, told, f.Gaps)
		}
		if problems, err := Check(t.Context(), dir); len(problems) > 0 || err != nil {
			t.Errorf("cut at %d: %v, %v", n, problems, err)
		}
	}
	for n := 0; n <= len(whole); n += 1 + len(whole)/50 {
		cut(t, n, "")
	}
	for n := range len(whole) + 1 {
		if n == 0 || whole[n-1] == '\n' {
			cut(t, n, "")
			cut(t, n, "\x00\x00\x00\n\x00\x00")
			cut(t, n, "ffffffff |01 {}\n")
		}
	}
}

// TestDamaged changes a byte in the middle: only that line is lost, and it is told.
func TestDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, 1<<20)
	for i := range 3 {
		l.Append(Event{Kind: Attempted, Text: fmt.Sprint(i), Rcpts: []Rcpt{{QueueID: 1}}})
	}
	closeLog(t, l)
	path := filepath.Join(dir, "mail-0000000001.log")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2]++
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	problems, err := Check(t.Context(), dir)
	if len(problems) != 1 || err != nil || !strings.Contains(problems[0].Error(), "damaged") {
		t.Errorf("check: %v, %v", problems, err)
	}
	l = open(t, dir, 1<<20)
	f := checkFound(t, l, Query{ID: 1}, "0", "2")
	if len(f.Gaps) != 1 || f.Gaps[0].Missing.Events != 1 {
		t.Errorf("gaps: %+v", f.Gaps)
	}
	closeLog(t, l)
	if problems, err := Check(t.Context(), dir); len(problems) > 0 || err != nil {
		t.Errorf("check of what was mended: %v, %v", problems, err)
	}
}

// TestSizeBound fills a log: it keeps to its size, what is newest stays, and what is
// refused before it is read does not push out the way of mail.
func TestSizeBound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const sizeMax = 1 << 20
	l := open(t, dir, sizeMax)
	l.Append(Event{Kind: Attempted, Text: "mail", Rcpts: []Rcpt{{QueueID: 1}}})
	refusals := 0
	for range 10 {
		for range 1000 {
			refusals++
			l.Append(Event{
				Kind: Refused, From: "spam@bad.example", Rcpts: []Rcpt{{Address: fmt.Sprintf("user%d@mox.example", refusals)}},
				Refusal: &Refusal{Stage: "rcpt", Reply: "550 5.1.1 no such address", Reason: "unknown-user", Text: strings.Repeat("x", 200)},
			})
		}
		l.write()
	}
	checkFound(t, l, Query{ID: 1}, "mail")
	checkFound(t, l, Query{Address: "user1@mox.example"})
	checkFound(t, l, Query{Address: fmt.Sprintf("user%d@mox.example", refusals)}, "refused")
	if s := l.Stats(); s.Bytes > sizeMax/refusedPart+segmentMin+writeBytes || s.Dropped > 0 || s.Events != int64(refusals)+1 {
		t.Errorf("got %+v", s)
	}
	var size int64
	names := list(t, dir)
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size != l.Stats().Bytes {
		t.Errorf("files %q have %d bytes, not %d", names, size, l.Stats().Bytes)
	}
	closeLog(t, l)
	if problems, err := Check(t.Context(), dir); len(problems) > 0 || err != nil {
		t.Errorf("check: %v, %v", problems, err)
	}
	l = open(t, dir, sizeMax) // By indexes.
	checkFound(t, l, Query{ID: 1}, "mail")
	checkFound(t, l, Query{Address: fmt.Sprintf("user%d@mox.example", refusals-100)}, "refused")
}

// TestAgeBound lets days pass: what is older than KeepFor is not found, and its file
// goes, though nothing else happens.
func TestAgeBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, dir, 1<<20)
		l.Append(Event{Kind: Attempted, Text: "old", Rcpts: []Rcpt{{QueueID: 1}}})
		time.Sleep(15 * 24 * time.Hour)
		l.Append(Event{Kind: Attempted, Text: "new", Rcpts: []Rcpt{{QueueID: 1}}})
		time.Sleep(time.Minute)
		checkFound(t, l, Query{ID: 1}, "old", "new")
		if names := list(t, dir); !slices.Equal(names, []string{"mail-0000000001.idx", "mail-0000000001.log", "mail-0000000002.log"}) {
			t.Errorf("files: %q", names)
		}
		time.Sleep(15 * 24 * time.Hour)
		checkFound(t, l, Query{ID: 1}, "new")
		time.Sleep(2 * time.Hour)
		if names := list(t, dir); !slices.Equal(names, []string{"mail-0000000002.log"}) {
			t.Errorf("files: %q", names)
		}
		time.Sleep(15 * 24 * time.Hour)
		checkFound(t, l, Query{ID: 1})
		if names := list(t, dir); len(names) > 0 {
			t.Errorf("files: %q", names)
		}
		l.Append(Event{Kind: Attempted, Text: "again", Rcpts: []Rcpt{{QueueID: 1}}})
		checkFound(t, l, Query{ID: 1}, "again")
		closeLog(t, l)
	})
}

// TestClockJumps shows that a clock that is far ahead for a moment costs one segment and
// not all.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), 1<<20)
	mail := l.series[mailSeries]
	for i := range 3 {
		l.Append(Event{Kind: Attempted, Text: fmt.Sprint(i), Rcpts: []Rcpt{{QueueID: 1}}})
		l.Flush()
		l.files.Lock()
		if err := mail.seal(); err != nil {
			t.Error(err)
		}
		l.files.Unlock()
	}
	for _, want := range [][]string{{"1", "2"}, {"2"}, nil, nil} {
		l.files.Lock()
		err := mail.expire(time.Now().Add(365 * 24 * time.Hour))
		l.files.Unlock()
		if err != nil {
			t.Error(err)
		}
		checkFound(t, l, Query{ID: 1}, want...)
	}
}

// TestFlood appends more than memory holds: Append does not wait, what is too much is
// counted, and the log says so.
func TestFlood(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), 64<<20)
	l.files.Lock() // As a disk that takes its time.
	for range pendingMax + 10 {
		l.Append(Event{Kind: Attempted, Rcpts: []Rcpt{{QueueID: 1}}})
	}
	l.files.Unlock()
	l.write()
	l.Append(Event{Kind: Attempted, Text: "after", Rcpts: []Rcpt{{QueueID: 2}}})
	f := checkFound(t, l, Query{ID: 2}, "after")
	if s := l.Stats(); s.Dropped < 10 || s.Dropped+s.Events < pendingMax+11 {
		t.Errorf("got %+v", s)
	}
	if len(f.Gaps) == 0 || f.Gaps[0].Missing.Events < 10 {
		t.Errorf("gaps: %+v", f.Gaps)
	}
}

// TestDiskFails lets a write fail: events are lost, and counted; the log goes on when
// the disk does.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "trace")
	l := open(t, dir, 1<<20)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.Append(Event{Kind: Attempted, Text: "lost", Rcpts: []Rcpt{{QueueID: 1}}})
	l.write()
	if s := l.Stats(); s.Dropped != 1 || s.Events != 0 {
		t.Errorf("got %+v", s)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.Append(Event{Kind: Attempted, Text: "kept", Rcpts: []Rcpt{{QueueID: 1}}})
	f := checkFound(t, l, Query{ID: 1}, "kept")
	if len(f.Gaps) != 1 || f.Gaps[0].Missing.Events != 1 {
		t.Errorf("gaps: %+v", f.Gaps)
	}
	l.files.Lock()
	if err := l.series[mailSeries].file.Close(); err != nil {
		t.Error(err)
	}
	l.files.Unlock()
	l.Append(Event{Kind: Attempted, Text: "lost", Rcpts: []Rcpt{{QueueID: 1}}})
	l.write()
	l.Append(Event{Kind: Attempted, Text: "kept too", Rcpts: []Rcpt{{QueueID: 1}}})
	checkFound(t, l, Query{ID: 1}, "kept", "kept too")
}

// TestConcurrent appends and looks up at the same time: what was appended before a
// Lookup is found by it.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, 4<<20)
	const each = 200
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range each {
				id := int64(1 + g*each + i)
				l.Append(Event{Kind: Attempted, Rcpts: []Rcpt{{QueueID: id}}, Text: strings.Repeat("x", 500)})
				if i%20 > 0 {
					continue
				}
				f, err := l.Lookup(context.WithoutCancel(t.Context()), Query{ID: id})
				if err != nil || len(f.Events) != 1 {
					t.Errorf("id %d: %d events, %v", id, len(f.Events), err)
				}
			}
		})
	}
	all.Wait()
	closeLog(t, l)
	if problems, err := Check(t.Context(), dir); len(problems) > 0 || err != nil {
		t.Errorf("check: %v, %v", problems, err)
	}
	l = open(t, dir, 4<<20)
	for id := range int64(8 * each) {
		if f, err := l.Lookup(t.Context(), Query{ID: id + 1}); err != nil || len(f.Events) != 1 {
			t.Errorf("id %d: %d events, %v", id+1, len(f.Events), err)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if l, err := Open(Options{Dir: t.TempDir(), SizeMax: 1, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Errorf("without a time: no error, %v", l.Close())
	}
}

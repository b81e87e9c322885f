package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// TestLife follows a message to three recipients from Add to its end.
func TestLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	added := w.add("content", "mjl@example.org", "a@remote.example", "x@local.example", "b@remote.example")
	if w.flush(); rcpts(added) != "a@remote.example x@local.example b@remote.example" || w.files() != 1 {
		t.Fatalf("got messages to %s, %d files", rcpts(added), w.files())
	}
	works := map[bool]*Work{}
	for range 2 {
		work := w.next()
		works[work.Local] = work
		for _, m := range work.Messages {
			if m.Attempts != 1 || m.State != Delivering || string(m.Prefix) != "Received: from test\r\n" || work.Fail != "" || m.LeaseUntil.IsZero() {
				t.Errorf("got %+v in work %+v", m, work)
			}
		}
		if data, err := os.ReadFile(work.File); err != nil || string(data) != "content" || work.Size != 7 {
			t.Errorf("got file %q of %d bytes, %v", data, work.Size, err)
		}
	}
	if rcpts(works[true].Messages) != "x@local.example" || rcpts(works[false].Messages) != "a@remote.example b@remote.example" {
		t.Errorf("got %v", works)
	}
	w.finish(works[true], ok())
	w.finish(works[false], Report{Retry: true, Next: time.Now(), Result: Result{Error: "busy"}, DialedIP: "192.0.2.1", DelayTold: true})
	again := w.next()
	m := again.Messages[0]
	if rcpts(again.Messages) != "a@remote.example b@remote.example" || m.Attempts != 2 || len(m.Results) != 2 || m.Results[0].Error != "busy" || m.DialedIP != "192.0.2.1" || !m.DelayTold {
		t.Errorf("got %+v", again)
	}
	r, err := w.db.OpenContent(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(data) != "Received: from test\r\ncontent" {
		t.Errorf("got content %q, %v", data, err)
	}
	w.finish(again, ok())
	if n := len(w.list(Filter{})); n != 0 || w.files() != 0 {
		t.Errorf("got %d messages, %d files", n, w.files())
	}
	for _, id := range []int64{m.ID, 1000} {
		_, err = w.db.Get(t.Context(), id)
		_, oerr := w.db.OpenContent(t.Context(), id)
		if !errors.Is(err, ErrNoMessage) || !errors.Is(oerr, ErrNoMessage) {
			t.Errorf("message %d that is gone: got %v, %v", id, err, oerr)
		}
	}
}

// TestAdd looks at each field of a message that is queued.
func TestAdd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	yes := true
	n := message(t, "møx@bücher.example", `"a b"@bücher.example`, "x@[192.0.2.1]")
	n.SMTPUTF8, n.EightBit, n.RequireTLS = true, true, &yes
	n.Subject = strings.Repeat("s", 300) + "\r\n"
	n.To[1].Prefix = []byte("X-Other: 1\r\n")
	added, err := w.tryAdd("content", n)
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	for i, want := range []Message{
		{Rcpt: `"a b"@bücher.example`, Domain: "xn--bcher-kva.example", Prefix: n.To[0].Prefix, Size: 28},
		{Rcpt: "x@[192.0.2.1]", Domain: "[192.0.2.1]", Prefix: n.To[1].Prefix, Size: 19},
	} {
		m, err := w.db.Get(t.Context(), added[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		if m.Rcpt != want.Rcpt || m.Domain != want.Domain || string(m.Prefix) != string(want.Prefix) || m.Size != want.Size {
			t.Errorf("got %+v, want %+v", m, want)
		}
		if m.Account != "møx" || m.MailFrom != "møx@bücher.example" || !m.SMTPUTF8 || !m.EightBit || m.RequireTLS == nil || !*m.RequireTLS ||
			m.MessageID != "<1@example.org>" || m.Subject != strings.Repeat("s", 200) || m.State != Waiting || !m.Queued.Equal(added[i].Queued) ||
			!m.NextAttempt.Equal(m.Queued) || m.Key != added[i].Key || len(m.Key) != 32 {
			t.Errorf("got %+v", m)
		}
	}
	if added[0].Key == added[1].Key || added[0].ContentID != added[1].ContentID {
		t.Errorf("got %+v", added)
	}
	for _, work := range []*Work{w.next(), w.next()} {
		w.finish(work, ok())
	}
}

func TestAddRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, tc := range []struct {
		name   string
		change func(*New)
	}{
		{"no recipients", func(n *New) { n.To = nil }},
		{"too many recipients", func(n *New) { n.To = make([]NewRcpt, RecipientsMax+1) }},
		{"a recipient without address", func(n *New) { n.To = []NewRcpt{{}} }},
		{"a prefix too large", func(n *New) { n.To[0].Prefix = make([]byte, PrefixMax+1) }},
	} {
		n := message(t, "mjl@example.org", "a@remote.example")
		tc.change(&n)
		if _, err := w.tryAdd("content", n); err == nil {
			t.Errorf("%s: got no error", tc.name)
		}
	}
	n := message(t, "mjl@example.org", "a@remote.example")
	if _, err := w.db.Add(t.Context(), n); err == nil {
		t.Error("without content: got no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.db.Add(ctx, n); !errors.Is(err, context.Canceled) {
		t.Errorf("context ended: got %v", err)
	}
	if n := w.files(); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestContent(t *testing.T) {
	t.Parallel()
	free := int64(1 << 40)
	w := newWorld(t, func(o *Options) { o.DiskFree = func() (int64, error) { return free, nil } })
	c, err := w.db.NewContent(t.Context(), 7, strings.NewReader("content and more"))
	if err != nil || c.Size() != 7 {
		t.Fatalf("got %+v, %v", c, err)
	}
	buf := make([]byte, 4)
	if _, err := c.ReadAt(buf, 3); err != nil || string(buf) != "tent" {
		t.Errorf("read %q, %v", buf, err)
	}
	if err := errors.Join(c.Discard(), c.Discard()); err != nil || w.files() != 0 {
		t.Errorf("discarding: %v, %d files", err, w.files())
	}
	n := message(t, "mjl@example.org", "a@remote.example")
	if n.Content = c; w.files() != 0 {
		t.Error("file is still there")
	}
	if _, err := w.db.Add(t.Context(), n); err == nil {
		t.Error("a discarded content was added")
	}
	if _, err := w.db.NewContent(t.Context(), 8, strings.NewReader("content")); !errors.Is(err, io.ErrUnexpectedEOF) || w.files() != 0 {
		t.Errorf("less than announced: got %v, %d files", err, w.files())
	}
	free = diskSpare + 6
	if _, err := w.db.NewContent(t.Context(), 7, strings.NewReader("content")); !errors.Is(err, ErrDiskFull) {
		t.Errorf("disk full: got %v", err)
	}
	if err := w.db.CheckRoom(6); err != nil {
		t.Errorf("room for 6 bytes: %v", err)
	}
	free = 1 << 40
	large := strings.Repeat("x", inlineMaxDefault+1)
	w.add(large, "mjl@example.org", "a@remote.example")
	if n.Content, err = w.db.NewContent(t.Context(), 7, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Add(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Add(t.Context(), n); err == nil {
		t.Error("a content was added twice")
	}
	w.flush()
	if err := n.Content.Discard(); err != nil || w.files() != 2 {
		t.Errorf("discarding what was added: %v, %d files", err, w.files())
	}
}

// TestContentDirs fills one directory, so that the next is used.
func TestContentDirs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.db.contents.left = 1
	w.db.contents.dir = contentDirs - 1
	for range 2 {
		w.add("content", "mjl@example.org", "a@remote.example")
	}
	w.flush()
	for _, dir := range []string{"ff", "00"} {
		if files, err := os.ReadDir(w.db.contentPath(dir)); err != nil || len(files) != 1 {
			t.Errorf("directory %s: got %v, %v", dir, files, err)
		}
	}
}

// TestHold holds messages, changes them meanwhile, and releases them.
func TestHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	n := message(t, "mjl@example.org", "a@remote.example", "b@remote.example")
	n.Hold = true
	held, err := w.tryAdd("content", n)
	if err != nil {
		t.Fatal(err)
	}
	w.add("content", "mjl@example.org", "c@remote.example")
	w.restart()
	work := w.next()
	if rcpts(work.Messages) != "c@remote.example" {
		t.Errorf("got %s", rcpts(work.Messages))
	}
	w.finish(work, ok())
	moved, err := w.db.Reschedule(t.Context(), Filter{State: Held}, func(m Message) time.Time { return m.NextAttempt.Add(-time.Hour) })
	if err != nil || len(moved) != 2 || moved[0].State != Held {
		t.Fatalf("got %+v, %v", moved, err)
	}
	for _, ids := range [][]int64{nil, {}, {held[0].ID, 1000}, {held[0].ID}} {
		if err := w.db.Release(t.Context(), ids); err != nil {
			t.Fatal(err)
		}
	}
	if got := rcpts(w.list(Filter{State: Held})); got != "b@remote.example" {
		t.Errorf("held is %s", got)
	}
	w.finish(w.next(), ok())
}

// TestReschedule moves messages, but not those being delivered.
func TestReschedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example", "x@local.example")
	works := []*Work{w.next(), w.next()}
	w.add("content", "mjl@example.org", "b@remote.example", "y@local.example")
	later := time.Now().Add(24 * time.Hour).Round(0)
	moved, err := w.db.Reschedule(t.Context(), Filter{}, func(Message) time.Time { return later })
	if err != nil || rcpts(moved) != "b@remote.example y@local.example" || !moved[0].NextAttempt.Equal(later) {
		t.Fatalf("got %s, %v", rcpts(moved), err)
	}
	for _, work := range works {
		w.finish(work, ok())
	}
	w.restart() // A time that a person chose is kept, though the schedule has no such waits.
	for _, m := range w.list(Filter{}) {
		if !m.NextAttempt.Equal(later) {
			t.Errorf("got %+v", m)
		}
	}
	if moved, err := w.db.Reschedule(t.Context(), Filter{}, func(Message) time.Time { return time.Time{} }); err != nil || len(moved) != 0 {
		t.Errorf("moved %s, %v", rcpts(moved), err)
	}
	if _, err := w.db.Reschedule(t.Context(), Filter{To: "b@remote.example"}, func(Message) time.Time { return time.Now() }); err != nil {
		t.Fatal(err)
	}
	work := w.next()
	if rcpts(work.Messages) != "b@remote.example" {
		t.Errorf("got %s", rcpts(work.Messages))
	}
	w.finish(work, ok())
}

// TestDrop drops messages in all states.
func TestDrop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.KeepRetired = func(string) time.Duration { return time.Hour } })
	w.add("content", "mjl@example.org", "a@remote.example", "x@local.example")
	works := []*Work{w.next(), w.next()}
	w.add("content", "mjl@example.org", "b@remote.example")
	n := message(t, "mjl@example.org", "held@remote.example")
	n.Hold = true
	if _, err := w.tryAdd("content", n); err != nil {
		t.Fatal(err)
	}
	dropped, err := w.db.Drop(t.Context(), Filter{})
	if err != nil || len(dropped) != 4 {
		t.Fatalf("got %s, %v", rcpts(dropped), err)
	}
	if got := rcpts(w.list(Filter{})); got != "x@local.example a@remote.example" || w.files() != 1 {
		t.Errorf("got %s, %d files", got, w.files())
	}
	for _, work := range works {
		r := Report{Retry: true, Next: time.Now(), Result: Result{Error: "busy"}}
		if work.Local {
			r = ok()
		}
		w.finish(work, r)
	}
	if n := len(w.list(Filter{})); n != 0 || w.files() != 0 {
		t.Errorf("got %d messages, %d files", n, w.files())
	}
	outcomes := map[string]Outcome{}
	for _, m := range w.list(Filter{State: Retired}) {
		outcomes[m.Rcpt] = m.Outcome
	}
	want := map[string]Outcome{"a@remote.example": Dropped, "x@local.example": Delivered, "b@remote.example": Dropped, "held@remote.example": Dropped}
	if fmt.Sprint(outcomes) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", outcomes, want)
	}
	if _, err := w.db.Drop(t.Context(), Filter{State: Retired}); !errors.Is(err, ErrFilter) {
		t.Errorf("dropping retired messages: %v", err)
	}
}

// TestFailNow makes messages fail in all states. They come at once, also if their
// destination may have no more deliveries, and after a restart.
func TestFailNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.DestinationMax, o.KeepRetired = 1, func(string) time.Duration { return time.Hour } })
	w.add("content", "mjl@example.org", "a@remote.example")
	running := w.next()
	w.add("content", "mjl@example.org", "b@remote.example", "c@remote.example")
	n := message(t, "mjl@example.org", "held@remote.example")
	n.Hold = true
	if _, err := w.tryAdd("content", n); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.FailNow(t.Context(), Filter{}, ""); err == nil {
		t.Error("failing without a reason: got no error")
	}
	failed, err := w.db.FailNow(t.Context(), Filter{}, "the administrator\r\nsaid so")
	if err != nil || len(failed) != 4 {
		t.Fatalf("got %s, %v", rcpts(failed), err)
	}
	work := w.next()
	if work.Fail != "the administrator  said so" || rcpts(work.Messages) != "b@remote.example c@remote.example" || work.Messages[0].Attempts != 0 {
		t.Errorf("got %+v", work)
	}
	// The sender could not be told: it is tried again.
	w.finish(work, Report{Retry: true, Next: time.Now(), Result: Result{Error: "disk"}})
	w.finish(running, Report{Retry: true, Next: time.Now().Add(time.Hour), Result: Result{Error: "busy"}})
	w.restart()
	for range 2 {
		work := w.next()
		if work.Fail == "" {
			t.Errorf("got %+v", work)
		}
		w.finish(work, Report{Result: Result{Error: work.Fail, Permanent: true}})
	}
	if got := rcpts(w.list(Filter{})); got != "a@remote.example" {
		t.Errorf("left is %s", got)
	}
	for _, m := range w.list(Filter{State: Retired}) {
		if m.Outcome != Failed || m.Attempts != 0 || !strings.HasPrefix(m.Results[len(m.Results)-1].Error, "the administrator") {
			t.Errorf("got %+v", m)
		}
	}
}

// TestResults has a message fail more often than results are kept.
func TestResults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example", "x@local.example")
	for i := range 2 * (ResultsMax + 3) {
		w.finish(w.next(), Report{Retry: true, Next: time.Now(), Result: Result{Start: time.Now(), Error: fmt.Sprint(i) + strings.Repeat("é", 1000)}})
	}
	for _, m := range w.list(Filter{}) {
		last := m.Results[len(m.Results)-1]
		if len(m.Results) != ResultsMax || m.Attempts != ResultsMax+3 || len(last.Error) > resultErrorMax || m.LastAttempt.IsZero() || !strings.HasPrefix(last.Error, "4") {
			t.Errorf("got %d results of %d attempts, the last %+v", len(m.Results), m.Attempts, last)
		}
	}
}

// TestFinish looks at what is refused, and at messages without report.
func TestFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example", "b@remote.example")
	w.add("content", "mjl@example.org", "x@local.example")
	for range 2 {
		work := w.next()
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // What came of it is kept all the same.
		r := ok()
		r.ID = work.Messages[0].ID
		if err := w.db.Finish(ctx, work, []Report{r}); err != nil {
			t.Fatal(err)
		}
		if err := w.db.Finish(ctx, work, nil); !errors.Is(err, ErrLease) {
			t.Errorf("finishing again: got %v", err)
		}
	}
	if err := w.db.Finish(t.Context(), &Work{}, nil); !errors.Is(err, ErrLease) {
		t.Errorf("work of nobody: got %v", err)
	}
	left := w.list(Filter{})
	if rcpts(left) != "b@remote.example" {
		t.Fatalf("left is %s", rcpts(left))
	}
	m := left[0]
	if wait := m.NextAttempt.Sub(m.LastAttempt); m.State != Waiting || m.Attempts != 1 || wait < 440*time.Second || wait > 460*time.Second || len(m.Results) != 1 {
		t.Errorf("without report: got %+v", m)
	}

	for _, change := range []func(){
		func() { w.add("content", "mjl@example.org", "y@local.example") },
		func() {
			if _, err := w.db.FailNow(t.Context(), Filter{To: "y@local.example"}, "reason"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		change()
		work := w.next()
		if err := w.db.Finish(t.Context(), work, nil); err != nil {
			t.Fatal(err)
		}
		m, err := w.db.Get(t.Context(), work.Messages[0].ID)
		if err != nil || m.State != Waiting || m.Attempts != 1 || m.NextAttempt.Before(time.Now().Add(50*time.Second)) {
			t.Errorf("without report, fail %q: got %+v, %v", work.Fail, m, err)
		}
	}
}

// TestHanded follows keys of hand-overs from the first attempt until they are
// confirmed.
func TestHanded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "list@local.example")
	unconfirmed := func(n int) string {
		keys, err := w.db.Unconfirmed(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(keys)
	}
	work := w.next()
	w.finish(work, Report{Retry: true, Next: time.Now(), Result: Result{Error: "one is over quota"}, Handed: []Handed{{"a", "k1"}, {"b", "k1"}}})
	if got := unconfirmed(10); got != "[]" {
		t.Errorf("the message is not retired: got %s", got)
	}
	w.restart()
	r := ok()
	r.Handed = []Handed{{"a", "k1"}, {"c", "k1"}}
	w.finish(w.next(), r)
	w.restart()
	for _, want := range []string{"[{a k1} {b k1}]", "[{c k1} {a k1}]", "[{b k1} {c k1}]"} {
		if got := unconfirmed(2); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := unconfirmed(10); got != "[{a k1} {b k1} {c k1}]" {
		t.Errorf("got %s", got)
	}
	for range 2 {
		if err := w.db.Confirmed(t.Context(), []Handed{{"a", "k1"}, {"c", "k1"}, {"c", "other"}}); err != nil {
			t.Fatal(err)
		}
		if got := unconfirmed(10); got != "[{b k1}]" {
			t.Errorf("got %s", got)
		}
	}
	if got := unconfirmed(0); got != "[]" {
		t.Errorf("got %s", got)
	}
}

// TestRetired keeps retired messages for the time their account asks for.
func TestRetired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.KeepRetired = func(account string) time.Duration {
			return map[string]time.Duration{"short": time.Hour, "long": 2 * time.Hour}[account]
		}
	})
	for _, from := range []string{"none@example.org", "short@example.org", "long@example.org"} {
		w.add("content", from, "a@remote.example")
		w.finish(w.next(), ok())
	}
	w.restart()
	for _, tc := range []struct {
		after time.Duration
		want  int
	}{{0, 2}, {time.Hour - time.Minute, 2}, {time.Hour + time.Minute, 1}, {2*time.Hour + time.Minute, 0}} {
		if err := w.db.Purge(t.Context(), time.Now().Add(tc.after)); err != nil {
			t.Fatal(err)
		}
		got := w.list(Filter{State: Retired})
		if len(got) != tc.want || len(w.list(Filter{})) != 0 {
			t.Errorf("after %s: got %d messages, want %d", tc.after, len(got), tc.want)
		}
		for _, m := range got {
			if one, err := w.db.Get(t.Context(), m.ID); err != nil || one.State != Retired || one.ID != m.ID || one.Outcome != Delivered || one.RetiredAt.IsZero() || one.MailFrom != m.MailFrom {
				t.Errorf("got %+v, %v", one, err)
			}
			if _, err := w.db.OpenContent(t.Context(), m.ID); !errors.Is(err, ErrNoMessage) {
				t.Errorf("content of a retired message: got %v", err)
			}
		}
	}
}

// TestStats looks at what is kept while messages go through all states.
func TestStats(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	events := map[string]int{}
	w := newWorld(t, func(o *Options) {
		o.Observe = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			events[e.Kind+" "+e.Account]++
		}
	})
	want := func(waiting, held, delivering, bytes int64, oldest time.Time) {
		t.Helper()
		s := w.db.Stats()
		if s.Messages[Waiting] != waiting || s.Messages[Held] != held || s.Messages[Delivering] != delivering || s.Bytes != bytes || !s.Oldest.Equal(oldest) {
			t.Errorf("got %+v, want %d %d %d, %d bytes, %s", s, waiting, held, delivering, bytes, oldest)
		}
	}
	want(0, 0, 0, 0, time.Time{})
	first := w.add("content", "mjl@example.org", "a@remote.example", "x@local.example")
	n := message(t, "mjl@example.org", "b@remote.example")
	n.Hold = true
	second, err := w.tryAdd("content", n)
	if err != nil {
		t.Fatal(err)
	}
	want(2, 1, 0, 84, first[0].Queued)
	w.restart()
	works := []*Work{w.next(), w.next()}
	want(0, 1, 2, 84, first[0].Queued)
	w.finish(works[0], Report{Retry: true, Next: time.Now().Add(time.Hour)})
	want(1, 1, 1, 84, first[0].Queued)
	w.finish(works[1], Report{Result: Result{Permanent: true}})
	want(1, 1, 0, 56, first[0].Queued)
	if _, err := w.db.Drop(t.Context(), Filter{State: Waiting}); err != nil {
		t.Fatal(err)
	}
	want(0, 1, 0, 28, second[0].Queued)
	w.restart()
	want(0, 1, 0, 28, second[0].Queued)
	if got := fmt.Sprint(events); got != "map[added mjl:3 delayed mjl:1 dropped mjl:1 failed mjl:1 retired mjl:2]" {
		t.Errorf("got %s", got)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	db := w.db
	w.add("content", "mjl@example.org", "a@remote.example")
	work := w.next()
	result := make(chan error)
	go func() {
		_, err := db.Next(t.Context())
		result <- err
	}()
	w.stop()
	ctx := t.Context()
	var n New
	errs := map[string]error{"Next that waited": <-result, "Close": db.Close(), "Finish": db.Finish(ctx, work, nil), "Confirmed": db.Confirmed(ctx, nil), "Purge": db.Purge(ctx, time.Now())}
	_, errs["Next"] = db.Next(ctx)
	_, errs["Add"] = db.Add(ctx, n)
	_, errs["NewContent"] = db.NewContent(ctx, 1, strings.NewReader("x"))
	_, errs["Get"] = db.Get(ctx, 1)
	_, errs["OpenContent"] = db.OpenContent(ctx, 1)
	_, errs["List"] = db.List(ctx, Filter{}, Sort{})
	_, errs["Drop"] = db.Drop(ctx, Filter{})
	_, errs["Unconfirmed"] = db.Unconfirmed(ctx, 1)
	_, errs["CopyTo"] = db.CopyTo(ctx, t.TempDir()+"/copy")
	errs["Release"] = db.Release(ctx, []int64{1})
	errs["Check"] = errors.Join(db.Check(ctx)...)
	for name, err := range errs {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if s := db.Stats(); !s.Oldest.IsZero() {
		t.Errorf("got %+v", s)
	}
	w.start()
	w.list(Filter{})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	whole := Options{Dir: t.TempDir(), Log: (&world{t: t}).logger(), Rand: strings.NewReader(strings.Repeat("x", 1000)), Schedule: DefaultSchedule(), Local: func(string) bool { return true }, LogSize: 16 << 10}
	for name, change := range map[string]func(*Options){
		"no directory":            func(o *Options) { o.Dir = "" },
		"no log":                  func(o *Options) { o.Log = nil },
		"no Rand":                 func(o *Options) { o.Rand = nil },
		"no Local":                func(o *Options) { o.Local = nil },
		"no schedule":             func(o *Options) { o.Schedule = Schedule{} },
		"less than no deliveries": func(o *Options) { o.LocalMax = -1 },
	} {
		opts := whole
		change(&opts)
		if _, err := Open(t.Context(), opts); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	db, err := Open(t.Context(), whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if db, err = Open(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	db.randMu.Lock() // The log makes segments beside.
	db.opts.Rand = iotest.ErrReader(io.EOF)
	db.randMu.Unlock()
	if _, err := db.NewContent(t.Context(), 1, strings.NewReader("x")); !errors.Is(err, io.EOF) {
		t.Errorf("no random bytes: got %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestHoldRunning holds messages, one of them while it is being delivered, and
// releases them.
func TestHoldRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example", "b@remote.example")
	work := w.next()
	held, err := w.db.Hold(t.Context(), Filter{})
	if err != nil || rcpts(held) != "a@remote.example b@remote.example" {
		t.Fatalf("got %s, %v", rcpts(held), err)
	}
	crashed := w.crashed()
	all := reports(work, Report{Retry: true})
	all[0] = Report{ID: all[0].ID, Result: Result{OK: true}}
	errorless(t, w.db.Finish(t.Context(), work, all))
	yes, no := true, false
	if got := rcpts(w.list(Filter{Held: &yes})); got != "b@remote.example" || len(w.list(Filter{Held: &no})) != 0 {
		t.Errorf("held are %s", got)
	}
	crashed.start() // Both attempts failed, as far as it is known.
	if got := rcpts(crashed.list(Filter{Held: &yes})); !strings.Contains(got, "a@") || !strings.Contains(got, "b@") {
		t.Errorf("after a crash held are %s", got)
	}
	before := w.list(Filter{})[0].NextAttempt
	if released, err := w.db.Unhold(t.Context(), Filter{}); err != nil || rcpts(released) != "b@remote.example" {
		t.Errorf("released %s, %v", rcpts(released), err)
	}
	if m := w.list(Filter{})[0]; m.State != Waiting || !m.NextAttempt.Equal(before) {
		t.Errorf("got %+v, want it waiting for %v", m, before)
	}
	if again, err := w.db.Unhold(t.Context(), Filter{}); err != nil || len(again) != 0 {
		t.Errorf("released again %s, %v", rcpts(again), err)
	}
}

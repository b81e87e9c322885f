package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/webhook"
)

// openQueue returns an empty queue, which is closed when the test ends.
func openQueue(t *testing.T) *queue.DB {
	t.Helper()
	q, err := queue.Open(t.Context(), queue.Options{
		LogSize: 1 << 20, Dir: filepath.Join(t.TempDir(), "queue"), Log: slog.New(slog.DiscardHandler), Rand: rand.Reader, Schedule: queue.DefaultSchedule(),
		Local: func(string) bool { return false },
		Webhook: func(_ string, e webhook.Event) (string, bool) {
			return "http://localhost/hook", e == webhook.EventIncoming
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil && !errors.Is(err, queue.ErrClosed) {
			t.Error(err)
		}
	})
	return q
}

// path parses a path, empty for the null sender.
func path(t *testing.T, s string) smtp.Path {
	t.Helper()
	p, err := queue.Path(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// add queues a message and returns its ids, one for each recipient.
func add(t *testing.T, q *queue.DB, account, from string, to ...string) (ids []int64) {
	t.Helper()
	const text = "Subject: Hello\r\n\r\nHello.\r\n"
	c, err := q.NewContent(t.Context(), int64(len(text)), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	n := queue.New{Account: account, MailFrom: path(t, from), Content: c, MessageID: "<1@example.org>", Subject: "Hello"}
	for _, s := range to {
		n.To = append(n.To, queue.NewRcpt{Path: path(t, s), Prefix: []byte("X-To: " + s + "\r\n")})
	}
	messages, err := q.Add(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// lease takes what is due now, as a delivery does.
func lease(t *testing.T, q *queue.DB) *queue.Work {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	w, err := q.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestQueueFilter lists with each field of a filter, and some together.
func TestQueueFilter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := openQueue(t)
		w := newWorld(t, q)
		first := add(t, q, "anna", "anna@example.org", "one@remote.example", "two@remote.example")
		time.Sleep(time.Hour)
		second := add(t, q, "bert", "bert@example.org", "one@bücher.example")
		bounce := add(t, q, "", "", "one@remote.example")
		all := slices.Concat(first, second, bounce)
		usual, other := "", "other"
		for _, test := range []struct {
			name   string
			filter QueueFilter
			want   []int64
		}{
			{"none", QueueFilter{}, all},
			{"ids", QueueFilter{IDs: []int64{first[1], bounce[0], 99}}, []int64{first[1], bounce[0]}},
			{"no ids", QueueFilter{IDs: []int64{}}, nil},
			{"an account", QueueFilter{Account: "anna"}, first},
			{"an account without messages", QueueFilter{Account: "carl"}, nil},
			{"a sender", QueueFilter{From: "bert@EXAMPLE.org"}, second},
			{"a sender's domain", QueueFilter{From: "@example.org"}, slices.Concat(first, second)},
			{"notifications", QueueFilter{From: "<>"}, bounce},
			{"a recipient", QueueFilter{To: "one@remote.example"}, []int64{first[0], bounce[0]}},
			{"a recipient's domain", QueueFilter{To: "@xn--bcher-kva.example"}, second},
			{"the domain as people write it", QueueFilter{To: "@Bücher.example"}, second},
			{"submitted in the last minutes", QueueFilter{Submitted: When{'>', -10 * time.Minute}}, slices.Concat(second, bounce)},
			{"submitted before", QueueFilter{Submitted: When{'<', -10 * time.Minute}}, first},
			{"due", QueueFilter{NextAttempt: When{'<', time.Nanosecond}}, all},
			{"next attempt later", QueueFilter{NextAttempt: When{'>', time.Minute}}, nil},
			{"the usual way", QueueFilter{Transport: &usual}, all},
			{"a transport", QueueFilter{Transport: &other}, nil},
			{"at most so many", QueueFilter{Max: 1}, first[:1]},
			{"several that hold", QueueFilter{Account: "anna", To: "@remote.example", Max: 5}, first},
			{"several that don't", QueueFilter{Account: "anna", From: "bert@example.org"}, nil},
		} {
			list, err := w.QueueList(t.Context(), QueueListRequest{Filter: test.filter, Sort: "queued", Asc: true})
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			var got []int64
			for _, m := range list.Messages {
				got = append(got, m.ID)
			}
			if !slices.Equal(got, test.want) || list.Messages == nil || list.More {
				t.Errorf("%s: got %v, more: %v, want %v", test.name, got, list.More, test.want)
			}
		}
		if s, err := w.Status(t.Context(), Nothing{}); err != nil || s.Queued != 4 {
			t.Errorf("status: got %d queued, %v, want 4", s.Queued, err)
		}
	})
}

// TestQueueRefused shows requests that are mistakes, of each operation.
func TestQueueRefused(t *testing.T) {
	t.Parallel()
	q := openQueue(t)
	w := newWorld(t, q)
	id := add(t, q, "anna", "anna@example.org", "one@remote.example")[0]
	for _, test := range []struct {
		name   string
		filter QueueFilter
		words  string
	}{
		{"not an address", QueueFilter{From: "anna"}, `"anna" is no address`},
		{"not a domain", QueueFilter{To: "@a b"}, `"@a b" is no address`},
		{"no domain", QueueFilter{To: "@"}, `"@" is no address`},
		{"notifications to somebody", QueueFilter{To: "<>"}, `"<>" is no address`},
		{"a maximum below zero", QueueFilter{Max: -1}, "at most -1"},
		{"too many ids", QueueFilter{IDs: slices.Repeat([]int64{1}, filterIDsMax+1)}, "more than 10000 ids"},
		{"not an id", QueueFilter{IDs: []int64{1, 0}}, "0 is not the id"},
	} {
		_, err := w.QueueList(t.Context(), QueueListRequest{Filter: test.filter})
		wantError(t, test.name+", list", err, User, test.words)
		_, err = w.QueueSchedule(t.Context(), QueueScheduleRequest{Filter: test.filter})
		wantError(t, test.name+", schedule", err, User, test.words)
		_, err = w.QueueFail(t.Context(), QueueRequest{test.filter})
		wantError(t, test.name+", fail", err, User, test.words)
		_, err = w.QueueDrop(t.Context(), QueueRequest{test.filter})
		wantError(t, test.name+", drop", err, User, test.words)
		_, err = w.QueueTransport(t.Context(), QueueTransportRequest{Filter: test.filter})
		wantError(t, test.name+", transport", err, User, test.words)
	}
	_, err := w.QueueList(t.Context(), QueueListRequest{Sort: "size"})
	wantError(t, "an order", err, User, `order by "size"`)
	_, err = w.QueueTransport(t.Context(), QueueTransportRequest{Transport: "relay"})
	wantError(t, "a transport", err, User, `no transport "relay"; none is configured`)
	_, err = w.QueueDump(t.Context(), QueueDumpRequest{id + 1})
	wantError(t, "a message that isn't there", err, NotFound, "no message 2 in the queue")
	_, err = w.QueueDump(t.Context(), QueueDumpRequest{0})
	wantError(t, "no message at all", err, NotFound, "no message 0 in the queue")
	many := QueueFilter{IDs: slices.Repeat([]int64{1}, filterIDsMax)}
	if _, err := w.QueueList(t.Context(), QueueListRequest{Filter: many}); err != nil {
		t.Errorf("as many ids as can be: %v", err)
	}
}

// TestNoQueue shows a server that sends nothing.
func TestNoQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	_, err := w.QueueList(t.Context(), QueueListRequest{})
	wantError(t, "list", err, Unavailable, "has no queue")
	_, err = w.QueueSchedule(t.Context(), QueueScheduleRequest{})
	wantError(t, "schedule", err, Unavailable, "has no queue")
	_, err = w.QueueFail(t.Context(), QueueRequest{})
	wantError(t, "fail", err, Unavailable, "has no queue")
	_, err = w.QueueDrop(t.Context(), QueueRequest{})
	wantError(t, "drop", err, Unavailable, "has no queue")
	_, err = w.QueueTransport(t.Context(), QueueTransportRequest{})
	wantError(t, "transport", err, Unavailable, "has no queue")
	_, err = w.QueueDump(t.Context(), QueueDumpRequest{})
	wantError(t, "dump", err, Unavailable, "has no queue")
	_, err = w.QueueRequireTLS(t.Context(), QueueRequireTLSRequest{})
	wantError(t, "require TLS", err, Unavailable, "has no queue")
	_, err = w.QueueHoldRuleList(t.Context(), Nothing{})
	wantError(t, "list hold rules", err, Unavailable, "has no queue")
	_, err = w.QueueHoldRuleAdd(t.Context(), QueueHoldRuleAddRequest{})
	wantError(t, "add hold rule", err, Unavailable, "has no queue")
	_, err = w.QueueHoldRuleRemove(t.Context(), QueueHoldRuleRemoveRequest{})
	wantError(t, "remove hold rule", err, Unavailable, "has no queue")
	_, err = w.QueueRetiredList(t.Context(), QueueRetiredListRequest{})
	wantError(t, "list retired", err, Unavailable, "has no queue")
	_, err = w.QueueRetiredGet(t.Context(), QueueRetiredGetRequest{})
	wantError(t, "get retired", err, Unavailable, "has no queue")
}

// TestQueueList shows all there is to know of a message, before and after an
// attempt.
func TestQueueList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := openQueue(t)
		w := newWorld(t, q)
		add(t, q, "anna", "anna@example.org", "one@bücher.example")
		list := func() string {
			t.Helper()
			l, err := w.QueueList(t.Context(), QueueListRequest{})
			text, jerr := json.Marshal(l)
			if err != nil || jerr != nil {
				t.Fatal(err, jerr)
			}
			return string(text)
		}
		const before = `{"messages":[{"id":1,"contentId":1,"state":"waiting","account":"anna","from":"anna@example.org","to":"one@bücher.example",` +
			`"domain":"xn--bcher-kva.example","messageId":"\u003c1@example.org\u003e","subject":"Hello","size":53,"queued":"2000-01-01T00:00:00Z",` +
			`"nextAttempt":"2000-01-01T00:00:00Z","delayTold":false,"attempts":0,"results":[],"transport":"","smtputf8":false,"eightBit":false,` +
			`"requireTls":null}],"more":false}`
		if got := list(); got != before {
			t.Errorf("got  %s\nwant %s", got, before)
		}
		work := lease(t, q)
		if got := list(); !strings.Contains(got, `"state":"delivering"`) {
			t.Errorf("during an attempt: got %s", got)
		}
		time.Sleep(3 * time.Second)
		err := q.Finish(t.Context(), work, []queue.Report{{
			ID: 1, Retry: true, Next: time.Now().Add(time.Minute), DelayTold: true, DialedIP: "192.0.2.1",
			Result: queue.Result{
				Start: time.Now().Add(-3 * time.Second), Took: 1500 * time.Millisecond, Code: 451, Enhanced: "4.7.1", Error: "451 4.7.1 later",
				RemoteMTA: "mx.example", RemoteIP: "192.0.2.1",
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		const after = `"nextAttempt":"2000-01-01T00:01:03Z","lastAttempt":"2000-01-01T00:00:00Z","delayTold":true,"attempts":1,` +
			`"results":[{"start":"2000-01-01T00:00:00Z","tookMs":1500,"ok":false,"permanent":false,"code":451,"enhanced":"4.7.1",` +
			`"error":"451 4.7.1 later","remoteMta":"mx.example","remoteIp":"192.0.2.1"}],"dialedIp":"192.0.2.1",`
		if got := list(); !strings.Contains(got, after) {
			t.Errorf("after an attempt: got %s\nwant in it %s", got, after)
		}
		l, err := w.QueueList(t.Context(), QueueListRequest{})
		if err != nil || l.Messages[0].LastError() != "451 4.7.1 later" || (QueueMessage{}).LastError() != "" {
			t.Errorf("last error: got %q, %v", l.Messages[0].LastError(), err)
		}
	})
}

// TestQueueListOrder shows the orders of lists, and how long they can be.
func TestQueueListOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := openQueue(t)
		w := newWorld(t, q)
		early := add(t, q, "anna", "anna@example.org", "one@remote.example")[0]
		time.Sleep(time.Second)
		late := add(t, q, "anna", "anna@example.org", "one@remote.example")[0]
		_, err := w.QueueSchedule(t.Context(), QueueScheduleRequest{Filter: QueueFilter{IDs: []int64{early}}, Delay: Duration(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			sort  string
			asc   bool
			first int64
		}{
			{"", false, early}, {"", true, late}, {"nextattempt", true, late}, {"queued", true, early}, {"queued", false, late},
		} {
			list, err := w.QueueList(t.Context(), QueueListRequest{Sort: test.sort, Asc: test.asc})
			if err != nil || len(list.Messages) != 2 || list.Messages[0].ID != test.first {
				t.Errorf("sort %q, asc %v: got %v, %v, want %d first", test.sort, test.asc, list.Messages, err, test.first)
			}
		}
		var to []string
		for i := range queueListMax - 1 {
			to = append(to, fmt.Sprintf("%d@remote.example", i))
		}
		ids := add(t, q, "bert", "bert@example.org", to[:10_000]...) // No message has more recipients.
		add(t, q, "bert", "bert@example.org", to[10_000:]...)
		list, err := w.QueueList(t.Context(), QueueListRequest{})
		if err != nil || len(list.Messages) != queueListMax || !list.More {
			t.Errorf("got %d messages, more: %v, %v, want %d and more", len(list.Messages), list.More, err, queueListMax)
		}
		if _, err := w.QueueDrop(t.Context(), QueueRequest{QueueFilter{IDs: ids[:1]}}); err != nil {
			t.Fatal(err)
		}
		list, err = w.QueueList(t.Context(), QueueListRequest{})
		if err != nil || len(list.Messages) != queueListMax || list.More {
			t.Errorf("one less: got %d messages, more: %v, %v, want %d and no more", len(list.Messages), list.More, err, queueListMax)
		}
	})
}

// TestQueueChanges schedules, fails and drops, and looks at what a delivery gets.
func TestQueueChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := openQueue(t)
		w := newWorld(t, q)
		ids := add(t, q, "anna", "anna@example.org", "one@a.example", "two@b.example", "three@c.example")
		schedule := func(name string, req QueueScheduleRequest, want time.Duration, changed ...int64) {
			t.Helper()
			got, err := w.QueueSchedule(t.Context(), req)
			if err != nil || got.Changed != len(changed) || !slices.Equal(got.IDs, changed) || got.IDs == nil {
				t.Errorf("%s: got %+v, %v, want %v", name, got, err, changed)
			}
			for _, id := range changed {
				m, err := q.Get(t.Context(), id)
				if next := time.Until(m.NextAttempt); err != nil || next != want {
					t.Errorf("%s: next attempt of %d in %v, %v, want %v", name, id, next, err, want)
				}
			}
		}
		schedule("from the next attempt", QueueScheduleRequest{Delay: Duration(time.Hour)}, time.Hour, ids...)
		schedule("again", QueueScheduleRequest{Filter: QueueFilter{IDs: ids[:1]}, Delay: Duration(time.Hour)}, 2*time.Hour, ids[0])
		schedule("less", QueueScheduleRequest{Filter: QueueFilter{IDs: ids[:1]}, Delay: Duration(-30 * time.Minute)}, 90*time.Minute, ids[0])
		schedule("from now", QueueScheduleRequest{FromNow: true, Delay: Duration(time.Minute)}, time.Minute, ids...)
		schedule("at once", QueueScheduleRequest{Filter: QueueFilter{To: "one@a.example"}, FromNow: true}, 0, ids[0])
		schedule("none", QueueScheduleRequest{Filter: QueueFilter{IDs: []int64{99}}}, 0)
		if got := lease(t, q); got.Messages[0].ID != ids[0] {
			t.Errorf("due is %d, want %d", got.Messages[0].ID, ids[0])
		}
		schedule("while it is being delivered", QueueScheduleRequest{Filter: QueueFilter{IDs: ids[:1]}, Delay: Duration(time.Hour)}, 0)

		got, err := w.QueueFail(t.Context(), QueueRequest{QueueFilter{IDs: ids[1:2]}})
		if work := lease(t, q); err != nil || !slices.Equal(got.IDs, ids[1:2]) || work.Messages[0].ID != ids[1] || work.Fail != failReason {
			t.Errorf("fail: got %+v, %v, and work to fail %d for %q", got, err, work.Messages[0].ID, work.Fail)
		}
		got, err = w.QueueDrop(t.Context(), QueueRequest{QueueFilter{IDs: ids[2:]}})
		if err != nil || got.Changed != 1 || !slices.Equal(got.IDs, ids[2:]) {
			t.Errorf("drop: got %+v, %v", got, err)
		}
		_, err = w.QueueDump(t.Context(), QueueDumpRequest{ids[2]})
		wantError(t, "dropped", err, NotFound, "no message 3 in the queue")
		for _, want := range []string{`change="messages rescheduled" messages=3`, `change="messages failed" messages=1`, `change="messages dropped" messages=1`} {
			if !strings.Contains(w.log.String(), `m="queue changed" pkg=admin `+want) {
				t.Errorf("log has no %s:\n%s", want, w.log)
			}
		}
	})
}

func TestQueueDump(t *testing.T) {
	t.Parallel()
	q := openQueue(t)
	w := newWorld(t, q)
	ids := add(t, q, "anna", "anna@example.org", "one@a.example", "two@b.example")
	for id, want := range map[int64]string{
		ids[0]: "X-To: one@a.example\r\nSubject: Hello\r\n\r\nHello.\r\n",
		ids[1]: "X-To: two@b.example\r\nSubject: Hello\r\n\r\nHello.\r\n",
	} {
		content, err := w.QueueDump(t.Context(), QueueDumpRequest{id})
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(content)
		if err != nil || string(text) != want || content.Size != int64(len(want)) || content.Close() != nil {
			t.Errorf("message %d: got %q, size %d, %v, want %q", id, text, content.Size, err, want)
		}
	}
}

func TestQueueClosed(t *testing.T) {
	t.Parallel()
	q := openQueue(t)
	w := newWorld(t, q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := w.QueueList(t.Context(), QueueListRequest{})
	wantError(t, "list", err, Unavailable, "closed")
	_, err = w.QueueDrop(t.Context(), QueueRequest{})
	wantError(t, "drop", err, Unavailable, "closed")
	_, err = w.QueueDump(t.Context(), QueueDumpRequest{1})
	wantError(t, "dump", err, Unavailable, "closed")
}

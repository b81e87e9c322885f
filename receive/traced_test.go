package receive

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/trace"
)

// tracing makes e keep traces, and returns what reads them, a line for each step of a
// message.
func (e *env) tracing() func(id string) []string {
	e.t.Helper()
	l, err := trace.Open(trace.Options{Dir: e.t.TempDir(), KeepFor: time.Hour, SizeMax: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := l.Close(); err != nil {
			e.t.Error(err)
		}
	})
	e.opts.Trace = l
	return func(id string) (lines []string) {
		e.t.Helper()
		found, err := l.Lookup(e.t.Context(), trace.Query{MessageID: id})
		if err != nil {
			e.t.Fatal(err)
		}
		for _, step := range found.Events {
			lines = append(lines, stepText(step))
		}
		return lines
	}
}

func stepText(e trace.Event) string {
	var to []string
	for _, r := range e.Rcpts {
		text := r.Address
		if r.QueueID != 0 {
			text += fmt.Sprintf(" (%d)", r.QueueID)
		}
		to = append(to, text)
	}
	text := fmt.Sprintf("%s <%s> %s", e.Kind, e.From, strings.Join(to, ", "))
	if v := e.Verdict; v != nil {
		text += fmt.Sprintf(": %s %s, account %q, mailbox %q, delivered %v", v.Action, v.Reason, e.Account, v.Mailbox, v.Delivered)
	}
	if r := e.Refusal; r != nil {
		text += fmt.Sprintf(": %s, %s", r.Reason, r.Reply)
	}
	if n := e.Notice; n != nil {
		text += fmt.Sprintf(": %s to %s, as %d", n.Action, n.To, n.QueueID)
	}
	return text
}

// TestTraced checks what is traced of a message for recipients of whom not all get it.
func TestTraced(t *testing.T) {
	t.Parallel()
	const content = "From: x@elsewhere.example\r\nMessage-ID: <1@elsewhere.example>\r\nSubject: =?utf-8?q?=C3=BC?=\r\n\r\nhello\r\n"
	for _, test := range []struct {
		name string
		to   []string
		full string // An account without room.
		want []string
	}{
		{"one", []string{"alice@example.org"}, "", []string{
			"received <a@b.example> alice@example.org",
			`judged <a@b.example> alice@example.org: accept no-bad-signals, account "alice", mailbox "Inbox", delivered true`,
		}},
		{"an alias", []string{"list@example.org"}, "", []string{
			"received <a@b.example> list@example.org",
			`judged <a@b.example> list@example.org: accept no-bad-signals, account "alice", mailbox "Inbox", delivered true`,
			`judged <a@b.example> list@example.org: accept no-bad-signals, account "bob", mailbox "Inbox", delivered true`,
		}},
		{"an alias with a member without room", []string{"list@example.org"}, "alice", []string{
			"received <a@b.example> list@example.org",
			`judged <a@b.example> list@example.org: accept no-bad-signals, account "alice", mailbox "", delivered false`,
			`judged <a@b.example> list@example.org: accept no-bad-signals, account "bob", mailbox "Inbox", delivered true`,
		}},
		{"one that refuses, one without room, one that takes it", []string{"alice@example.org", "members@example.org", "bob@example.org"}, "alice", []string{
			"received <a@b.example> alice@example.org, members@example.org, bob@example.org",
			`judged <a@b.example> alice@example.org: accept no-bad-signals, account "alice", mailbox "", delivered false`,
			`judged <a@b.example> bob@example.org: accept no-bad-signals, account "bob", mailbox "Inbox", delivered true`,
			`judged <a@b.example> alice@example.org: defer over-quota, account "", mailbox "", delivered false`,
			`judged <a@b.example> members@example.org: refuse members-only, account "", mailbox "", delivered false`,
			"notified <a@b.example> members@example.org: failed to a@b.example, as 2",
			"queued <a@b.example> alice@example.org (3)",
		}},
		{"all refuse", []string{"members@example.org"}, "", []string{
			"received <a@b.example> members@example.org: members-only, 550 5.7.2 only members may send to this address",
			`judged <a@b.example> members@example.org: refuse members-only, account "", mailbox "", delivered false`,
		}},
	} {
		e := withQueue(t)
		steps := e.tracing()
		e.quota[test.full] = 1
		_ = e.send(e.begin("a@b.example"), content, test.to...) // Its error is among the steps.
		if got := steps("1@elsewhere.example"); !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s", test.name, strings.Join(got, "\n"))
		}
	}
}

// TestTracedEnvelope checks what is said of where a message comes from.
func TestTracedEnvelope(t *testing.T) {
	t.Parallel()
	e := withQueue(t)
	e.tracing()
	content := "From: x@elsewhere.example\r\nSubject: " + strings.Repeat("long ", 200) + "\r\nAuthentication-Results: mx.example.org; spf=pass\r\n\r\nhello\r\n"
	if err := e.send(e.begin(""), content, "alice@example.org"); err != nil {
		t.Fatal(err)
	}
	found, err := e.opts.Trace.Lookup(t.Context(), trace.Query{CID: 255})
	if err != nil || len(found.Events) != 2 {
		t.Fatalf("got %+v, %v", found, err)
	}
	got := found.Events[0]
	if p := got.Peer; *p != (trace.Peer{IP: "192.0.2.1", LocalIP: "2001:db8::25", Hello: "client.example", Protocol: "ESMTP"}) {
		t.Errorf("peer: got %+v", p)
	}
	if ev := got.Evidence; ev.Header != "x@elsewhere.example" || ev.Forged != 1 || len(got.Subject) > 310 || got.Size != int64(len(content)) || got.From != "" {
		t.Errorf("got %+v, %+v", got, ev)
	}
}

// TestTracedHandOver checks what is traced of messages of the queue.
func TestTracedHandOver(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.quota["bob"] = 1
	steps := e.tracing()
	h := e.handover("alice@example.org", "From: <alice@example.org>\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n", "alice@example.org 1", "bob@example.org 2", "unknown@example.org 3")
	h.Account = "alice"
	for i := range h.To {
		h.To[i].ID = int64(40 + i)
	}
	results := e.HandOver(t.Context(), h)
	want := []string{
		`judged <alice@example.org> alice@example.org (40): accept local-user, account "alice", mailbox "Inbox", delivered true`,
		`judged <alice@example.org> bob@example.org (41): accept local-user, account "bob", mailbox "", delivered false`,
	}
	if got := steps("1@example.org"); !slices.Equal(got, want) || results[2].Err == nil {
		t.Errorf("got\n%s, %v", strings.Join(got, "\n"), results[2].Err)
	}
}

// TestTracedRule checks what is said of the ruleset that matches.
func TestTracedRule(t *testing.T) {
	t.Parallel()
	j := judgement{verdict: screen.Verdict{Action: screen.Defer, Code: 451, Enhanced: "4.7.0", Text: "no"}, rule: &screen.RuleMatch{Index: 2, Comment: "news"}}
	if got := tracedVerdict(&j); got.Rule != "ruleset 3 (news)" || got.Reply != "451 4.7.0 no" || got.Action != "defer" {
		t.Errorf("got %+v", got)
	}
}

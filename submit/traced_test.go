package submit

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/trace"
)

// openTrace returns a log that is closed with the test.
func openTrace(t *testing.T) *trace.Log {
	t.Helper()
	l, err := trace.Open(trace.Options{Dir: t.TempDir(), KeepFor: time.Hour, SizeMax: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestTraced checks what is traced of messages that are queued, and of those that are
// not.
func TestTraced(t *testing.T) {
	t.Parallel()
	l := openTrace(t)
	e := newEnv(t, func(o *Options) {
		c, _ := signed(t, o.Config(), config.Selector{})
		o.Config, o.Trace = func() *config.Config { return c }, l
	})
	tx := e.begin("alice", "alice@example.org")
	tx.NotBefore = time.Now().Add(time.Hour)
	queued, err := e.send(tx, "From: <alice@example.org>\nTLS-Required: No\nSubject: hi\n\nhi\n", "x@b.example", "y@b.example")
	if err != nil {
		t.Fatal(err)
	}
	found, err := l.Lookup(t.Context(), trace.Query{ID: queued[1].ID})
	if err != nil || len(found.Events) != 1 {
		t.Fatalf("got %+v, %v", found.Events, err)
	}
	got, sub := found.Events[0], found.Events[0].Submission
	rcpts := []trace.Rcpt{{Address: "x@b.example", QueueID: queued[0].ID}, {Address: "y@b.example", QueueID: queued[1].ID}}
	if got.Kind != trace.Submitted || got.Account != "alice" || got.CID != 255 || !slices.Equal(got.Rcpts, rcpts) || got.Subject != "hi" || got.MessageID != strings.Trim(queued[0].MessageID, "<>") {
		t.Errorf("got %+v", got)
	}
	if *got.Peer != (trace.Peer{IP: "192.0.2.77", Protocol: "ESMTPSA"}) {
		t.Errorf("peer: got %+v", got.Peer)
	}
	var signatures []string
	for _, s := range sub.Signatures {
		signatures = append(signatures, fmt.Sprint(s.Domain, " ", s.Selector))
	}
	if strings.Join(signatures, ", ") != "example.org a, example.org b" || sub.Signatures[0].Algorithm == "" || sub.Header != "alice@example.org" ||
		!sub.NotBefore.Equal(tx.NotBefore) || sub.RequireTLS == nil || *sub.RequireTLS || sub.Held || sub.SignError != "" {
		t.Errorf("got %+v", sub)
	}

	if _, err := e.send(e.begin("alice", "alice@example.org"), "From: <bob@example.org>\nMessage-ID: <no@example.org>\n\nhi\n", "x@b.example"); err == nil {
		t.Fatal("sent as somebody else")
	}
	found, err = l.Lookup(t.Context(), trace.Query{Address: "bob@example.org"})
	if err != nil || len(found.Events) != 1 {
		t.Fatalf("got %+v, %v", found.Events, err)
	}
	if got := found.Events[0]; got.Kind != trace.Refused || got.Account != "alice" || got.Refusal.Stage != "data" || got.Refusal.Reason != Result(err) && !strings.HasPrefix(got.Refusal.Reply, "550 ") || len(got.Rcpts) != 1 {
		t.Errorf("got %+v, %+v", got, got.Refusal)
	}
}

// TestTracedUnsigned checks what is said of a message that can't be signed, and of one
// that is held.
func TestTracedUnsigned(t *testing.T) {
	t.Parallel()
	l := openTrace(t)
	headers := []string{"From"}
	for i := range queue.PrefixMax / 100 {
		headers = append(headers, fmt.Sprintf("X-%d-%s", i, strings.Repeat("x", 100)))
	}
	e := newEnv(t, func(o *Options) {
		c, _ := signed(t, o.Config(), config.Selector{Headers: headers})
		o.Config, o.Trace = func() *config.Config { return c }, l
	})
	rule, _, err := e.queue.AddHoldRule(t.Context(), queue.HoldRule{RecipientDomain: "b.example"})
	if err != nil {
		t.Fatal(err)
	}
	queued, err := e.send(e.begin("alice", ""), whole, "x@b.example")
	if err != nil {
		t.Fatal(err)
	}
	found, err := l.Lookup(t.Context(), trace.Query{ID: queued[0].ID})
	if err != nil || len(found.Events) != 1 {
		t.Fatalf("got %+v, %v", found.Events, err)
	}
	if sub := found.Events[0].Submission; sub.SignError == "" || sub.Signatures != nil || !sub.Held || sub.HoldRule != rule.ID {
		t.Errorf("got %+v", sub)
	}
}

func TestTracedRefusal(t *testing.T) {
	t.Parallel()
	if got := *TracedRefusal("mail", errors.New("disk on fire")); got != (trace.Refusal{Stage: "mail", Reason: "error", Text: "disk on fire"}) {
		t.Errorf("got %+v", got)
	}
	if got := *TracedRefusal("rcpt", refuse(ErrRecipient, 550, "1.1", "no such address")); got.Reply != "550 5.1.1 no such address" || got.Reason != Result(ErrRecipient) {
		t.Errorf("got %+v", got)
	}
}

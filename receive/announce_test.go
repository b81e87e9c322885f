package receive

import (
	"fmt"
	"maps"
	"testing"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// announced returns how many messages webhooks of accounts are to be told of.
func (e *env) announced() string {
	e.t.Helper()
	text := ""
	for _, name := range []string{"alice", "bob"} {
		a, err := e.store.Account(e.t.Context(), name)
		if err != nil {
			e.t.Fatal(err)
		}
		a.WaitDurable(e.t.Context())
		list, err := a.Arrivals(e.t.Context(), 100)
		if err != nil {
			e.t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			e.t.Fatal(err)
		}
		if len(list) > 0 {
			text += fmt.Sprintf("%s %d ", name, len(list))
		}
	}
	return text
}

// withWebhooks gives accounts webhooks.
func (e *env) withWebhooks(accounts map[string]config.Account) {
	e.t.Helper()
	c := *e.opts.Config()
	c.Dynamic.Accounts = maps.Clone(c.Dynamic.Accounts)
	for name, hooks := range accounts {
		a := c.Dynamic.Accounts[name]
		a.IncomingWebhook, a.OutgoingWebhook = hooks.IncomingWebhook, hooks.OutgoingWebhook
		c.Dynamic.Accounts[name] = a
	}
	e.Receiver.opts.Config = func() *config.Config { return &c }
}

// TestAnnounce says which messages a webhook is told of.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	const letter = "From: x@elsewhere.example\r\nSubject: hi\r\n\r\nhello\r\n"
	for _, test := range []struct {
		name    string
		deliver func(e *env) error
		want    string
	}{
		{"to an account with a webhook", func(e *env) error { return e.send(e.begin("x@elsewhere.example"), letter, "alice@example.org") }, "alice 1 "},
		{"to one without", func(e *env) error { return e.send(e.begin("x@elsewhere.example"), letter, "bob@example.org") }, ""},
		{"to an alias of both", func(e *env) error { return e.send(e.begin("x@elsewhere.example"), letter, "list@example.org") }, "alice 1 "},
		{"of an account here", func(e *env) error {
			if got := e.handOver(e.handover("bob@example.org", letter, "alice@example.org 1", "bob@example.org 2")); got != "ok alice, ok bob" {
				return fmt.Errorf("handed over: %s", got)
			}
			return nil
		}, "alice 1 "},
		{"a notification of our own", func(e *env) error {
			_, err := e.Notify(e.t.Context(), Notice{Key: "k", Account: "alice", To: path(e.t, "alice@example.org"), Content: []byte(letter)})
			return err
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, nil)
			e.withWebhooks(map[string]config.Account{"alice": {IncomingWebhook: &config.IncomingWebhook{URL: "http://localhost/in"}}})
			if err := test.deliver(e); err != nil {
				t.Fatal(err)
			}
			if got := e.announced(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestAnnounceRejects: nobody is told of what was refused, though it is kept.
func TestAnnounceRejects(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.withWebhooks(map[string]config.Account{"alice": {IncomingWebhook: &config.IncomingWebhook{URL: "http://localhost/in"}}})
	for _, test := range []struct {
		name   string
		to     store.Recipient
		answer queue.AnswerEvent
		want   bool
	}{
		{"taken", store.Recipient{}, "", true},
		{"refused", store.Recipient{Reject: true}, "", false},
		{"an answer, and nobody else is told of it", store.Recipient{}, queue.AnswerFailed, true},
	} {
		if e.announce(&test.to, "alice", test.answer); test.to.Announce != test.want {
			t.Errorf("%s: got %v", test.name, test.to.Announce)
		}
	}
}

// TestAnnounceAnswers: the webhook for messages sent is told of a notification in place
// of the one for messages that come in, if it wants to know.
func TestAnnounceAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		outgoing *config.OutgoingWebhook
		want     string
	}{
		{"there is one for messages sent", &config.OutgoingWebhook{URL: "http://localhost/out"}, ""},
		{"it wants to know", &config.OutgoingWebhook{URL: "http://localhost/out", Events: []string{"failed"}}, ""},
		{"it does not", &config.OutgoingWebhook{URL: "http://localhost/out", Events: []string{"delivered"}}, "alice 1 "},
		{"there is none", nil, "alice 1 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := answersEnv(t, "")
			e.withWebhooks(map[string]config.Account{"alice": {IncomingWebhook: &config.IncomingWebhook{URL: "http://localhost/in"}, OutgoingWebhook: test.outgoing}})
			if err := e.send(e.from("out.remote.example", ""), bounce(t, nil), "alice@example.org"); err != nil {
				t.Fatal(err)
			}
			if got := e.announced(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

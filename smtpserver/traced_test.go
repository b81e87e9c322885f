package smtpserver

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/trace"
)

// tracing opens a log for a server, and returns what reads refusals in it, a line for
// each.
func tracing(t *testing.T) (l *trace.Log, refusals func(address string) []string) {
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
	return l, func(address string) (lines []string) {
		t.Helper()
		found, err := l.Lookup(t.Context(), trace.Query{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found.Events {
			if e.Kind != trace.Refused || e.CID == 0 || e.Peer == nil || e.Peer.Hello == "" {
				t.Errorf("got %+v", e)
				continue
			}
			lines = append(lines, fmt.Sprintf("%s %s %d: %s, %s", e.Refusal.Stage, e.Account, len(e.Rcpts), e.Refusal.Reason, e.Refusal.Reply))
		}
		return lines
	}
}

// TestTracedRefusals has senders, recipients and messages refused before there is
// anything to judge.
func TestTracedRefusals(t *testing.T) {
	t.Parallel()
	l, refusals := tracing(t)
	e := newEnv(t, settings{sizeMax: 1000, hurried: true, exempt: true, change: func(o *Options) { o.Trace = l }})
	for i, lines := range []string{
		"RCPT TO:<nobody@example.org>",
		"RCPT TO:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n\nbare\r\n.",
		"RCPT TO:<alice@example.org>\r\nBDAT 5 LAST\r\nbare\n",
		"RCPT TO:<alice@example.org>\r\nDATA\r\n" + strings.Repeat("long ", 300) + "\r\n.",
	} {
		c := newClient(t, e.dial(""))
		c.want("220 ")
		c.send("EHLO client.example\r\n")
		c.want("250 ")
		c.send(fmt.Sprintf("MAIL FROM:<from%d@b.example>\r\n", i))
		c.want("250 ")
		c.send(lines + "\r\n")
		for { // To the refusal.
			if line, err := c.r.ReadString('\n'); err != nil || line[0] >= '4' {
				break
			}
		}
		c.conn.Close()
	}
	e.close()
	for i, want := range []string{
		"rcpt  1: unknown-user, 550 5.1.1 no such address",
		"data  2: , 500 5.5.2 a CR or LF alone is not a line end, and could be used for SMTP smuggling",
		"data  1: , 500 5.5.2 a CR or LF alone is not a line end, and could be used for SMTP smuggling",
		"data  1: , 552 5.3.4 message is larger than 1000 bytes",
	} {
		if got := refusals(fmt.Sprintf("from%d@b.example", i)); !slices.Equal(got, []string{want}) {
			t.Errorf("%d: got %q, want %q", i, got, want)
		}
	}
}

// TestTracedUser shows that refusals to users name them.
func TestTracedUser(t *testing.T) {
	t.Parallel()
	l, refusals := tracing(t)
	e := newEnv(t, settings{submission: true, plainLogin: true, change: func(o *Options) { o.Trace = l }})
	c := newClient(t, e.dial(""))
	c.want("220 ")
	c.login("alice")
	c.send("MAIL FROM:<bob@example.org>\r\n")
	c.want("550 ")
	c.send("MAIL FROM:<alice@example.org>\r\n")
	c.want("250 ")
	c.send("RCPT TO:<nobody@example.org>\r\n")
	c.want("550 ")
	c.conn.Close()
	e.close()
	for address, want := range map[string]string{"bob@example.org": "mail alice 0: ", "nobody@example.org": "rcpt alice 1: "} {
		if got := refusals(address); len(got) != 1 || !strings.HasPrefix(got[0], want) || !strings.Contains(got[0], ", 550 5.") {
			t.Errorf("%s: got %q", address, got)
		}
	}
}

// TestTracedRefusalsBounded shows that a connection that guesses addresses has no more
// than its share.
func TestTracedRefusalsBounded(t *testing.T) {
	t.Parallel()
	l, refusals := tracing(t)
	e := newEnv(t, settings{hurried: true, exempt: true, change: func(o *Options) { o.Trace = l }})
	c := newClient(t, e.dial(""))
	c.want("220 ")
	c.send("EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n")
	c.want("250 ")
	c.want("250 ")
	for i := range refusalsMax + 20 {
		c.send(fmt.Sprintf("RCPT TO:<nobody%d@example.org>\r\n", i))
		c.want("550 ")
	}
	c.conn.Close()
	e.close()
	if got := refusals("a@b.example"); len(got) != refusalsMax {
		t.Errorf("%d refusals are traced", len(got))
	}
}

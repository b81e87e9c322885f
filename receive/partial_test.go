package receive

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
)

// TestPartial checks what becomes of recipients that don't all get a message.
func TestPartial(t *testing.T) {
	t.Parallel()
	const content = "From: x@elsewhere.example\r\nMessage-ID: <1@elsewhere.example>\r\nSubject: =?utf-8?q?=C3=BC?=\r\n\r\nhello\r\n"
	for _, tc := range []struct {
		name, from, want string
		to               []string
		full             string // An account without room.
		count            [3]int
		queued           string // Sender and recipient of what is in the queue.
	}{
		{"one that refuses", "a@b.example", "ok", []string{"members@example.org", "bob@example.org"}, "", [3]int{0, 1, 0}, "<> a@b.example"},
		{"one that refuses, from one of ours", "alice@example.org", "ok", []string{"members@example.org", "bob@example.org"}, "", [3]int{0, 1, 0}, "<> alice@example.org"},
		{"one without room", "a@b.example", "ok", []string{"alice+x@example.org", "bob@example.org"}, "alice", [3]int{0, 1, 0}, "<a@b.example> alice+x@example.org"},
		{"one without room, twice", "a@b.example", "ok", []string{"alice+x@example.org", "alice+y@example.org", "bob@example.org"}, "alice", [3]int{0, 1, 0}, "<a@b.example> alice+x@example.org"},
		{"two without room", "a@b.example", "ok", []string{"alice@example.org", "alice.too@example.org", "bob@example.org"}, "alice", [3]int{0, 1, 0}, "<a@b.example> alice@example.org, <a@b.example> alice.too@example.org"},
		{"an alias of which all are without room", "a@b.example", "ok", []string{"bob@example.org", "self@example.org"}, "alice", [3]int{0, 1, 0}, "<a@b.example> self@example.org"},
		{"one that refuses, and one without room", "a@b.example", "ok", []string{"alice@example.org", "members@example.org", "bob@example.org"}, "alice", [3]int{0, 1, 0}, "<> a@b.example, <a@b.example> alice@example.org"},
		{"one that refuses, and only one without room", "a@b.example", "451 4.0.0", []string{"alice@example.org", "members@example.org"}, "alice", [3]int{}, ""},
		{"all without room", "a@b.example", "452 4.2.2", []string{"alice@example.org", "self@example.org"}, "alice", [3]int{}, ""},
		{"one without room, in two spellings", "a@b.example", "452 4.2.2", []string{"alice@example.org", "alice+x@example.org"}, "alice", [3]int{}, ""},
		{"all refuse", "a@b.example", "550 5.7.2", []string{"members@example.org", "members+x@example.org"}, "", [3]int{}, ""},
		{"none", "a@b.example", "ok", []string{"alice@example.org", "bob@example.org"}, "", [3]int{1, 1, 0}, ""},
		{"a member without room", "a@b.example", "ok", []string{"list@example.org"}, "alice", [3]int{0, 1, 0}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := withQueue(t)
			e.quota[tc.full] = 1
			err := e.send(e.begin(tc.from), content, tc.to...)
			if got := outcome(err); got != tc.want {
				t.Errorf("got %v", err)
			}
			if got := e.count(); got != tc.count {
				t.Errorf("accounts have %d", got)
			}
			list, contents := e.inQueue()
			var got []string
			for i, m := range list {
				got = append(got, fmt.Sprintf("<%s> %s", m.MailFrom, m.Rcpt))
				if m.State != queue.Waiting || m.Account != "" {
					t.Errorf("%s is %s, of account %q", m.Rcpt, m.State, m.Account)
				}
				body, ok := strings.CutPrefix(contents[i], string(m.Prefix))
				if m.MailFrom != "" && (!ok || body != content || !strings.HasPrefix(contents[i], "Received: from client.example") || m.MessageID != "<1@elsewhere.example>" || m.Subject != "ü") {
					t.Errorf("%s: message %+v, content %q", m.Rcpt, m, contents[i])
				}
			}
			if strings.Join(got, ", ") != tc.queued {
				t.Errorf("queue has %q", got)
			}
		})
	}
}

// TestPartialNotification reads what the sender is told.
func TestPartialNotification(t *testing.T) {
	t.Parallel()
	e := withQueue(t)
	const header = "From: x@elsewhere.example\r\nMessage-ID: <1@elsewhere.example>\r\n\r\n"
	if err := e.send(e.begin("sender@b.example"), header+"hello\r\n", "bob@example.org", "Members+x@example.org", "members@example.org"); err != nil {
		t.Fatal(err)
	}
	list, contents := e.inQueue()
	if len(list) != 1 || list[0].Rcpt != "sender@b.example" || list[0].SMTPUTF8 {
		t.Fatalf("queue has %+v", list)
	}
	r := strings.NewReader(contents[0])
	p, err := message.Parse(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	n, err := dsn.Parse(r, &p)
	if err != nil {
		t.Fatal(err)
	}
	if n.ReportingMTA != "mx.example.org" || n.ReceivedFromMTA != "client.example" || n.Original.Get("Message-ID") != "<1@elsewhere.example>" || len(n.Recipients) != 2 {
		t.Errorf("got %+v", n)
	}
	for i, want := range []string{"Members+x@example.org", "members@example.org"} {
		s := n.Recipients[i]
		if s.Final.Text != want || s.Action != dsn.Failed || s.Code != "5.7.2" || s.Diagnostic != "550 5.7.2 only members may send to this address" {
			t.Errorf("recipient %d: %+v", i, s)
		}
		// A known mistake is to write one in the place of the other.
		if text := "\r\n    " + want + "\r\n    550 5.7.2 only members may send to this address\r\n"; !strings.Contains(contents[0], text) {
			t.Errorf("text for people in %q", contents[0])
		}
	}
	h := message.NewHeader([]byte(contents[0]))
	if from := h.Get("From"); !strings.Contains(from, "<postmaster@example.org>") || h.Get("References") != "<1@elsewhere.example>" || "<"+strings.Trim(h.Get("Message-ID"), "<>")+">" != list[0].MessageID {
		t.Errorf("header %q", h.Raw())
	}
	if log := e.log.String(); !strings.Contains(log, `msg="message not delivered to one of its recipients" pkg=receive cid=ff rcptto=Members+x@example.org reply=550 reason=members-only`) {
		t.Errorf("log %s", log)
	}

	// Of a notification nobody is told.
	e = withQueue(t)
	tx := e.begin("a@b.example")
	for _, to := range []string{"bob@example.org", "members@example.org"} {
		rcpt, err := e.Resolve(t.Context(), tx, path(t, to))
		if err != nil {
			t.Fatal(err)
		}
		tx.Rcpts = append(tx.Rcpts, rcpt)
	}
	tx.MailFrom = e.begin("").MailFrom
	if err := e.send(tx, header); err != nil || e.count() != [3]int{0, 1, 0} {
		t.Errorf("from the null sender: %v, %d", err, e.count())
	}
	if list, _ := e.inQueue(); len(list) != 0 {
		t.Errorf("queue has %+v", list)
	}

	e = withQueue(t)
	tx = e.begin("jürgen@b.example")
	tx.SMTPUTF8 = true
	if err := e.send(tx, header, "bob@example.org", "members@example.org"); err != nil {
		t.Fatal(err)
	}
	if list, contents := e.inQueue(); len(list) != 1 || !list[0].SMTPUTF8 || !strings.Contains(contents[0], "<jürgen@b.example>") {
		t.Errorf("an internationalised sender: %+v", list)
	}
}

// TestPartialAuthor: an alias of its author alone needs no copy, and is none of
// those that have the message.
func TestPartialAuthor(t *testing.T) {
	t.Parallel()
	e := withQueue(t)
	if err := e.send(e.begin("a@b.example"), "From: alice@example.org\r\n\r\n", "self@example.org"); err != nil {
		t.Error(err)
	}
	const two = "From: carol@example.org, alice@example.org\r\n\r\n"
	e.quota["bob"] = 1
	if err := e.send(e.begin("a@b.example"), two, "self@example.org", "bob@example.org"); outcome(err) != "452 4.2.2" {
		t.Errorf("got %v", err)
	}
	if list, _ := e.inQueue(); len(list) != 0 || e.count() != [3]int{} {
		t.Errorf("queue has %+v, accounts %d", list, e.count())
	}
}

// TestPartialRate: who sends too much is deferred with all, since the queue has
// no limits.
func TestPartialRate(t *testing.T) {
	t.Parallel()
	e := withQueue(t)
	tx := e.begin("a@b.example")
	for range 2 {
		e.rates.over(time.Now(), "alice", tx.Peer.IP, 1)
	}
	e.rates.accounts["alice"].bytes.Add(time.Now(), tx.Peer.IP, 3e9)
	if err := e.send(tx, "A: b\r\n\r\n", "bob@example.org", "alice@example.org"); outcome(err) != "452 4.2.2" || e.count() != [3]int{} {
		t.Errorf("got %v, %d", err, e.count())
	}
	if list, _ := e.inQueue(); len(list) != 0 {
		t.Errorf("queue has %+v", list)
	}
}

// TestPartialFails: what is queued for others goes with the delivery, and the
// delivery with it.
func TestPartialFails(t *testing.T) {
	t.Parallel()
	failure := errors.New("broken")
	const content = "A: b\r\n\r\n"
	for _, tc := range []struct {
		name   string
		before func(e *env)
		want   [3]int
		held   int
	}{
		{"the store fails", func(e *env) {
			if err := e.remove("carol"); err != nil {
				e.t.Error(err)
			}
		}, [3]int{}, 0},
		{"the notification can't be queued", func(e *env) {
			e.queueFaults.Arm(queue.FaultContentWritten, func() error { return failure })
		}, [3]int{}, 0},
		{"the copy can't be queued", func(e *env) {
			e.queueFaults.ArmNth(queue.FaultContentWritten, 2, func() error { return failure })
		}, [3]int{}, 0},
		{"they can't be released", func(e *env) {
			// Before: a notification, dropped since there was no room for alice; another, and a copy.
			e.queueFaults.ArmNth(queue.FaultCommitBefore, 5, func() error { return failure })
		}, [3]int{0, 1, 0}, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := withQueue(t)
			tx := e.begin("a@b.example")
			for _, to := range []string{"bob@example.org", "members@example.org", "alice@example.org", "x@all.example"} {
				rcpt, err := e.Resolve(t.Context(), tx, path(t, to))
				if err != nil {
					t.Fatal(err)
				}
				tx.Rcpts = append(tx.Rcpts, rcpt)
			}
			e.quota["alice"] = 1
			tc.before(e)
			if err := e.send(tx, content); err == nil {
				t.Error("no error")
			}
			if got := [3]int{len(e.mailbox("alice", "Inbox")), len(e.mailbox("bob", "Inbox")), 0}; got != tc.want {
				t.Errorf("accounts have %d", got)
			}
			if tc.held < 0 {
				return // The queue can't be asked any more.
			}
			if list, _ := e.inQueue(); len(list) != tc.held {
				t.Errorf("queue has %+v", list)
			}
		})
	}
}

// TestPostponed follows a copy for a full account through the queue.
func TestPostponed(t *testing.T) {
	t.Parallel()
	e := withQueue(t)
	e.quota["alice"] = 1
	const content = "From: x@elsewhere.example\r\n\r\nhello\r\n"
	if err := e.send(e.begin("a@b.example"), content, "bob@example.org", "alice@example.org"); err != nil {
		t.Fatal(err)
	}
	w, err := e.opts.Queue.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := w.Messages[0]
	from, err := queue.Path(m.MailFrom)
	if err != nil || !w.Local {
		t.Fatalf("got %+v, %v", w, err)
	}
	h := Handover{MailFrom: from, File: w.File, Size: w.Size, Prefix: m.Prefix, To: []HandoverRcpt{{Path: path(t, m.Rcpt), Key: m.Key}}}
	if got := e.handOver(h); got != "452 4.2.2" {
		t.Errorf("without room: %s", got)
	}
	e.quota["alice"] = 0
	if got := e.handOver(h); got != "ok alice" {
		t.Errorf("with room: %s", got)
	}
	got := e.mailbox("alice", "Inbox")
	if len(got) != 1 || got[0].content != content || !strings.HasPrefix(got[0].prefix, "Return-Path: <a@b.example>\r\nDelivered-To: alice@example.org\r\nReceived: from client.example") {
		t.Errorf("got %+v", got)
	}
	if err := e.opts.Queue.Finish(t.Context(), w, []queue.Report{{ID: m.ID, Result: queue.Result{OK: true}}}); err != nil {
		t.Error(err)
	}
}

// TestPartialRequireTLS checks that what is made of a message that requires TLS, or says
// that it needs none, is the same. What is required goes before.
func TestPartialRequireTLS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		require bool
		header  string
		want    string
	}{
		{"required", true, "", "true"},
		{"not required", false, "TLS-Required: No\r\n", "false"},
		{"both", true, "TLS-Required: No\r\n", "true"},
		{"neither", false, "TLS-Required: Yes\r\n", "unset"},
	} {
		t.Run(test.name, func(t *testing.T) { testPartialRequireTLS(t, test.require, test.header, test.want) })
	}
}

func testPartialRequireTLS(t *testing.T, require bool, header, want string) {
	t.Helper()
	e := withQueue(t)
	e.quota["alice"] = 1
	tx := e.begin("sender@b.example")
	tx.RequireTLS = require
	for _, rcpt := range []string{"members@example.org", "alice@example.org"} {
		r, err := e.Resolve(t.Context(), tx, path(t, rcpt))
		if err != nil {
			t.Fatal(err)
		}
		tx.Rcpts = append(tx.Rcpts, r)
	}
	if err := e.send(tx, header+"From: x@elsewhere.example\r\n\r\nhello\r\n", "bob@example.org"); err != nil {
		t.Fatal(err)
	}
	list, _ := e.inQueue()
	if len(list) != 2 {
		t.Fatalf("queue has %+v", list)
	}
	for _, m := range list {
		got := "unset"
		if m.RequireTLS != nil {
			got = strconv.FormatBool(*m.RequireTLS)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", m.Rcpt, got, want)
		}
	}
}

package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

// asking returns a message of alice with a value of NOTIFY for each recipient.
func asking(to map[string]smtp.Notify) queue.New {
	var names []string
	for rcpt := range to {
		names = append(names, rcpt)
	}
	slices.Sort(names)
	n := newMessage(names...)
	n.DSN = smtp.MailDSN{Return: "FULL", EnvelopeID: "id 1"}
	for i, rcpt := range names {
		n.To[i].DSN = smtp.RcptDSN{Notify: to[rcpt], Original: "rfc822;" + strings.ToUpper(rcpt)}
	}
	return n
}

// TestRelayed sends to a server that doesn't know DSN. Who wants to know of success
// is told that we know no more.
func TestRelayed(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{})
		e.send(asking(map[string]smtp.Notify{
			"all@other.example": "SUCCESS,FAILURE,DELAY", "failure@other.example": "FAILURE", "never@other.example": "NEVER", "nothing@other.example": "", "two@other.example": "SUCCESS",
		}))
		e.settle(time.Second)
		e.wantNotices("relayed 2.0.0 all@other.example", "relayed 2.0.0 two@other.example")
		list := e.inbox("alice")
		if len(list) != 1 {
			e.Fatalf("got %d messages, want one about both recipients", len(list))
		}
		r := parseNotice(e.T, list[0])
		s := r.Recipients[0]
		if r.EnvelopeID != "id 1" || r.ReportingMTA != "mx.example.org" || r.Original.Get("Message-Id") != "<1@example.org>" || strings.Contains(list[0], "Hello,") {
			e.Errorf("got %+v\n%s", r, list[0])
		}
		if s.Original.Text != "ALL@OTHER.EXAMPLE" || s.RemoteMTA != "mx.other.example" || s.Diagnostic != "250 2.0.0 taken as 1234" || s.LastTry.IsZero() || !s.RetryUntil.IsZero() {
			e.Errorf("got %+v", s)
		}
		if got := p.mails(); len(got) != 1 || strings.Trim(got[0].params, "|") != "" || e.left() != 0 {
			e.Errorf("got %+v, %d left", got, e.left())
		}
		e.wantLog("sender notified", "action=relayed", "account=alice")
		if got := e.counter("mox_queue_notification_total", "action=relayed", "result=ok"); got != 1 {
			e.Errorf("got %v notifications counted", got)
		}
		// The account forgets the key, soon.
		e.settle(confirmInterval + time.Second)
		if keys, err := e.queue.Unconfirmed(e.Context(), 10); err != nil || len(keys) != 0 {
			e.Errorf("got keys %v, %v", keys, err)
		}
	})
}

// TestPassedOn sends to a server that knows DSN. It is told what the sender wants
// to know, and tells him itself.
func TestPassedOn(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{extensions: "DSN"})
		e.send(asking(map[string]smtp.Notify{"one@other.example": "SUCCESS,FAILURE,DELAY", "two@other.example": ""}))
		e.settle(time.Second)
		e.wantNotices()
		want := "RET=FULL ENVID=id+201|NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;ONE@OTHER.EXAMPLE|ORCPT=rfc822;TWO@OTHER.EXAMPLE"
		if got := p.mails(); len(got) != 1 || got[0].params != want {
			e.Errorf("got %+v, want %s", got, want)
		}
		e.send(newMessage("one@other.example"))
		e.settle(time.Second)
		if got := p.mails(); len(got) != 2 || got[1].params != "|" {
			e.Errorf("got %+v for a message that asks for nothing", got)
		}
	})
}

// TestDelivered hands over to accounts of ours, and to a list that has members.
func TestDelivered(t *testing.T) {
	run(t, func(e *env) {
		e.send(asking(map[string]smtp.Notify{"bob@example.org": "SUCCESS", "list@example.org": "SUCCESS,FAILURE", "älice@example.org": "NEVER", "nobody@example.org": "SUCCESS"}))
		e.settleHandovers()
		e.settle(time.Second)
		e.wantNotices("delivered 2.0.0 bob@example.org", "expanded 2.0.0 list@example.org")
		if got := e.inbox("bob"); len(got) != 1 || e.left() != 0 {
			e.Errorf("bob has %q, %d left", got, e.left())
		}
		for _, content := range e.inbox("alice") {
			if r := parseNotice(e.T, content); r != nil && (r.Recipients[0].RemoteMTA != "" || r.Recipients[0].Diagnostic != "" || !strings.Contains(content, "Subject: Delivered: greetings\r\n")) {
				e.Errorf("got %+v\n%s", r, content)
			}
		}
	})
}

// TestListOfOne checks that an alias of one address is that address for its senders:
// RFC 3461, section 5.2.7.4.
func TestListOfOne(t *testing.T) {
	run(t, func(e *env) {
		e.send(asking(map[string]smtp.Notify{"private@example.org": "SUCCESS"}))
		e.settle(2 * time.Second)
		e.wantNotices("delivered 2.0.0 private@example.org")
		for _, content := range e.inbox("alice") {
			if strings.Contains(content, "bob") {
				e.Errorf("the address behind an alias was told:\n%s", content)
			}
		}
	})
}

// TestNever checks that nobody is told of a failure who doesn't want to be.
func TestNever(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{answers: map[string][]string{"RCPT": {"550 5.1.1 no"}}})
		e.send(asking(map[string]smtp.Notify{"never@other.example": "NEVER", "success@other.example": "SUCCESS,DELAY", "yes@other.example": "FAILURE"}))
		e.settle(time.Hour)
		e.wantNotices("failed 5.1.1 yes@other.example")
		e.wantLog("level=INFO", "result=failed", "rcptto=never@other.example")
	})
}

// TestDelayOnly checks that the notification of a delay promises no other.
func TestDelayOnly(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{answers: map[string][]string{"": {"421 busy"}}})
		e.send(asking(map[string]smtp.Notify{"one@other.example": "DELAY"}))
		e.settle(24 * time.Hour)
		e.wantNotices("delayed 4.0.0 one@other.example")
		if text := e.inbox("alice")[0]; !strings.Contains(text, "If that fails too, you won't be told, as you have asked for.\r\n") || strings.Contains(text, "Hello,") {
			e.Errorf("got\n%s", text)
		}
	})
}

// TestSuccessToldOnce has the process die after a sender was told, before the queue
// has noted that, and then before he was told.
func TestSuccessToldOnce(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprintf("told %v", told), func(t *testing.T) {
			run(t, func(e *env) {
				e.stop()
				p := e.oneHost(&peer{})
				e.send(asking(map[string]smtp.Notify{"one@other.example": "SUCCESS"}))
				w, err := e.queue.Next(e.Context())
				check(e.T, err)
				e.deliver(e.Context(), w)
				list, err := e.queue.Notices(e.Context(), 0, 10)
				check(e.T, err)
				if len(list) != 1 || e.left() != 0 || p.summary() == "" {
					e.Fatalf("got notices %+v, %d left", list, e.left())
				}
				if told {
					n := list[0]
					if !e.tellSuccess(e.Context(), n) {
						e.Fatal("could not be told")
					}
					// As if that had not been written.
					check(e.T, restoreNotice(e, n))
				}
				e.serve()
				e.settle(time.Second)
				e.wantNotices("relayed 2.0.0 one@other.example")
				if list, err := e.queue.Notices(e.Context(), 0, 10); err != nil || len(list) != 0 {
					e.Errorf("got notices %+v, %v", list, err)
				}
			})
		})
	}
}

// restoreNotice has the queue forget that a notice was told.
func restoreNotice(e *env, n queue.Notice) error {
	keys, err := e.queue.Unconfirmed(e.Context(), 10)
	if err != nil || len(keys) != 1 {
		return fmt.Errorf("got keys %v, %w", keys, err)
	}
	check(e.T, e.queue.Confirmed(e.Context(), keys)) // The account still has it.
	e.send(newMessage("two@other.example"))
	w, err := e.queue.Next(e.Context())
	if err != nil {
		return err
	}
	return e.queue.Finish(e.Context(), w, []queue.Report{{ID: w.Messages[0].ID, Result: queue.Result{OK: true}, Notice: &n}})
}

// TestSuccessToldLater has an account that can't take the notice for a while, which
// neither keeps others from theirs nor makes another attempt.
func TestSuccessToldLater(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{})
		e.full.Store(true)
		for range 3 {
			e.send(asking(map[string]smtp.Notify{"one@other.example": "SUCCESS"}))
		}
		e.settle(time.Minute)
		e.wantNotices()
		if len(p.mails()) != 3 || e.left() != 0 {
			e.Errorf("the server has %d messages, %d are left", len(p.mails()), e.left())
		}
		e.wantLog("level=ERROR", "notifying sender", "action=relayed")
		e.full.Store(false)
		e.settle(tellAgainAfter)
		e.wantNotices("relayed 2.0.0 one@other.example", "relayed 2.0.0 one@other.example", "relayed 2.0.0 one@other.example")
	})
}

// TestSuccessGivenUp has an account that never takes the notice.
func TestSuccessGivenUp(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{})
		e.full.Store(true)
		e.send(asking(map[string]smtp.Notify{"one@other.example": "SUCCESS"}))
		e.settle(tellGiveUpAfter - tellAgainAfter)
		if list, err := e.queue.Notices(e.Context(), 0, 10); err != nil || len(list) != 1 {
			e.Errorf("got notices %+v, %v", list, err)
		}
		e.settle(2 * tellAgainAfter)
		if list, err := e.queue.Notices(e.Context(), 0, 10); err != nil || len(list) != 0 {
			e.Errorf("got notices %+v, %v", list, err)
		}
		if got := e.counter("mox_queue_notification_total", "action=relayed", "result=error"); got != 1 {
			e.Errorf("got %v counted", got)
		}
	})
}

// TestManySuccesses tells of more than are taken at a time.
func TestManySuccesses(t *testing.T) {
	run(t, func(e *env) {
		const n = tellMax + 5
		for range n {
			e.send(asking(map[string]smtp.Notify{"bob@example.org": "SUCCESS"}))
		}
		e.settle(10 * time.Second)
		if got := e.notices("alice"); len(got) != n || len(e.inbox("bob")) != n {
			e.Errorf("got %d notifications of %d deliveries", len(got), len(e.inbox("bob")))
		}
	})
}

// TestSuccessOfSenders checks that each sender of a Work is told of its own.
func TestSuccessOfSenders(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	defer e.close()
	e.send(asking(map[string]smtp.Notify{"a@other.example": "SUCCESS", "b@other.example": "SUCCESS", "c@other.example": "SUCCESS"}))
	w, err := e.queue.Next(t.Context())
	check(t, err)
	w.Messages[1].MailFrom = "alice+1@example.org"
	d := &delivery{sender: e.Sender, work: w, log: e.Sender.log}
	reports := make([]queue.Report, 3)
	var list []success
	for i := range w.Messages {
		list = append(list, success{index: i, rcpt: &w.Messages[i], action: dsn.Relayed})
	}
	d.succeed(t.Context(), reports, list)
	if a, b := reports[0].Notice, reports[1].Notice; a == nil || b == nil || reports[2].Notice != nil ||
		a.To != "alice@example.org" || b.To != "alice+1@example.org" || len(parseNotice(t, string(a.Content)).Recipients) != 2 {
		t.Errorf("got %+v, %+v", a, b)
	}

	// Without its file nothing can be told, and the message is delivered all the same.
	w.Data, w.File = nil, "/nonexistent"
	d.succeed(t.Context(), reports, list[:1])
	e.wantLog("composing notification of success", "no such file")
	check(t, e.queue.Finish(t.Context(), w, nil))
}

// TestReports has reports of ours that fail: the postmaster has that among what he
// has seen, and nobody is told of a delay.
func TestReports(t *testing.T) {
	for _, kind := range []string{"tls", "dmarc"} {
		t.Run(kind, func(t *testing.T) {
			run(t, func(e *env) {
				e.oneHost(&peer{answers: map[string][]string{"RCPT": {"450 4.2.1 later"}}})
				n := newMessage("reports@other.example")
				n.Report = kind
				e.send(n)
				n.Account = ""
				e.send(n)
				e.settle(24 * time.Hour)
				list, unseen := e.mailbox("mox", "Postmaster")
				if len(list) != 2 || unseen != 0 {
					e.Fatalf("got %d messages, %d of them not seen", len(list), unseen)
				}
				if s := parseNotice(e.T, list[0]).Recipients[0]; s.Action != dsn.Failed || s.Code != "4.2.1" || s.Final.Text != "reports@other.example" {
					e.Errorf("got %+v", s)
				}
				for _, account := range []string{"alice", "bob", "mox"} {
					if got := e.inbox(account); len(got) != 0 {
						e.Errorf("%s has got %q", account, got)
					}
				}
				e.settle(2 * confirmInterval)
				if keys, err := e.queue.Unconfirmed(e.Context(), 10); err != nil || len(keys) != 0 || e.left() != 0 {
					e.Errorf("got keys %v, %v, %d left", keys, err, e.left())
				}
			})
		})
	}
}

// TestReturn has what a notification returns of a message, as RET and its size say.
func TestReturn(t *testing.T) {
	t.Parallel()
	yes := true
	large := testContent + strings.Repeat("0123456789\r\n", fullMax/12)
	for _, test := range []struct {
		name    string
		ret     string
		tls     *bool
		content string
		answer  string
		want    string // Type of the part.
	}{
		{"not asked for", "", nil, testContent, "550 5.1.1 no", "text/rfc822-headers"},
		{"its header", "HDRS", nil, testContent, "550 5.1.1 no", "text/rfc822-headers"},
		{"all of it", "FULL", nil, testContent, "550 5.1.1 no", "message/rfc822"},
		{"all of it, with 8 bits", "FULL", nil, testContent + "grüße\r\n", "550 5.1.1 no", "message/rfc822"},
		{"all of it, with bytes of no charset", "FULL", nil, testContent + "gr\xfc\xdfe\r\n", "550 5.1.1 no", "message/rfc822"},
		{"all of it, and it is too large", "FULL", nil, large, "550 5.1.1 no", "text/rfc822-headers"},
		{"all of it, that only TLS may see", "FULL", &yes, testContent, "550 5.1.1 no", "text/rfc822-headers"},
		{"all of it, that is only delayed", "FULL", nil, testContent, "450 4.2.1 later", "text/rfc822-headers"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				e.oneHost(&peer{answers: map[string][]string{"RCPT": {test.answer}}})
				n := newMessage("one@other.example")
				n.DSN.Return, n.RequireTLS = test.ret, test.tls
				e.sendContent(n, test.content)
				e.settle(3 * time.Hour)
				list := e.inbox("alice")
				if len(list) != 1 {
					e.Fatalf("got %d messages", len(list))
				}
				if !strings.Contains(list[0], "\r\nContent-Type: "+test.want+"\r\n") {
					e.Errorf("want %s, got\n%s", test.want, list[0][:min(len(list[0]), 5000)])
				}
				full := strings.Contains(list[0], "Received: by test\r\n"+test.content+"\r\n--=_")
				if want := test.want == "message/rfc822"; full != want || strings.Contains(list[0], "Hello,") != want {
					e.Errorf("got all of it %v, want %v", full, want)
				}
			})
		})
	}
}

// TestStrangerIsToldByTLS checks that a notification about a message that requires
// TLS requires it too, and gets there though the server knows nothing of that: RFC
// 8689, section 5.
func TestStrangerIsToldByTLS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, extensions string
		want             string
	}{
		{"a server with REQUIRETLS that nothing tells how to verify", "STARTTLS,REQUIRETLS", "|"}, // Section 2 forbids it there.
		{"a server with TLS", "STARTTLS", "|"},
		{"a server without TLS that announces it nevertheless", "REQUIRETLS", "|"},
		{"a server without anything", "", "|"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cert := certificate(t)
			run(t, func(e *env) {
				p := e.oneHost(&peer{extensions: test.extensions, cert: cert})
				n, yes := newMessage("one@other.example"), true
				n.Account, n.MailFrom, n.RequireTLS = "", mustPath("stranger@other.example"), &yes
				e.send(n) // It fails: nothing tells how to verify the server.
				e.settle(time.Minute)
				if got := p.mails(); len(got) != 1 || got[0].to != "stranger@other.example" || got[0].params != test.want || strings.Contains(got[0].data, "Hello,") {
					e.Errorf("got %+v, want parameters %q", got, test.want)
				}
			})
		})
	}
}

// TestSuccessUTF8 checks that who sends internationalised mail is told in kind.
func TestSuccessUTF8(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{extensions: "SMTPUTF8,8BITMIME"})
		n := asking(map[string]smtp.Notify{"ünü@other.example": "SUCCESS"})
		n.To[0].DSN.Original, n.SMTPUTF8 = `utf-8;\x{FC}n\x{FC}@other.example`, true
		e.send(n)
		e.settle(time.Second)
		list := e.inbox("alice")
		if len(list) != 1 || !strings.Contains(list[0], "Content-Type: message/global-delivery-status\r\n") ||
			!strings.Contains(list[0], "Original-Recipient: utf-8; ünü@other.example\r\nFinal-Recipient: utf-8; ünü@other.example\r\n") {
			e.Errorf("got %q", list)
		}
	})
}

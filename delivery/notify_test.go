package delivery

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/trace"
)

var update = flag.Bool("update", false, "write golden files")

// TestNoticeText compares what people read with files.
func TestNoticeText(t *testing.T) {
	t.Parallel()
	refused := &failure{code: 550, enhanced: "5.1.1", text: "mx.other.example refused it", reply: "550 5.1.1 no such user\nsee https://other.example/", permanent: true}
	silent := &failure{enhanced: "4.4.1", text: "no connection with mx.other.example could be made", elsewhere: true}
	m := queue.Message{Rcpt: "jürgen@bücher.example", MailFrom: "alice@example.org", Subject: "greetings", MessageID: "<1@example.org>", Queued: testQueued, Attempts: 1}
	old := m
	old.Attempts, old.Subject, old.MessageID = 7, "", ""
	for _, test := range []struct {
		name    string
		m       queue.Message
		after   time.Duration
		failure *failure
	}{
		{"refused", m, 0, refused},
		{"given-up", old, 4 * time.Hour, silent},
		{"delayed", queue.Message{Rcpt: "one@other.example", MailFrom: "alice@example.org", Subject: "greetings", Queued: testQueued, Attempts: 3}, 45 * time.Minute, silent},
		{"delayed-nearly-over", queue.Message{Rcpt: "one@other.example", MailFrom: "alice@example.org", Subject: "greetings", Queued: testQueued, Attempts: 6}, 2*time.Hour + 30*time.Minute, silent},
	} {
		at := testQueued.Add(test.after)
		v := decide(&test.m, try{start: at, end: at, failure: test.failure}, testSchedule, 0)
		if v.notice == "" {
			t.Errorf("%s: nobody is told", test.name)
			continue
		}
		checkGolden(t, test.name+".txt", noticeSubject(v.notice, test.m.Subject)+"\n\n"+noticeText(&test.m, v))
	}
}

func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		check(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestStatusFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		action         dsn.Action
		status, want   string
		subject, title string
	}{
		{dsn.Failed, "5.1.1", "5.1.1", "greetings", "Not delivered: greetings"},
		{dsn.Failed, "4.2.1", "4.2.1", "", "Your message could not be delivered"},
		{dsn.Delayed, "4.2.1", "4.2.1", "greetings", "Delayed: greetings"},
		{dsn.Delayed, "5.7.1", "4.7.1", "", "Your message is delayed"},
	} {
		got := statusFor(verdict{notice: test.action, failure: &failure{enhanced: test.status}})
		if title := noticeSubject(test.action, test.subject); got != test.want || title != test.title {
			t.Errorf("%s %s: got %q, %q, want %q, %q", test.action, test.status, got, title, test.want, test.title)
		}
	}
}

func TestRoughly(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 minutes", time.Second: "1 minutes", 119 * time.Minute: "119 minutes", 2 * time.Hour: "2 hours", 26*time.Hour + 40*time.Minute: "27 hours",
		47 * time.Hour: "47 hours", 4*24*time.Hour + time.Hour: "4 days", 108 * time.Hour: "5 days",
	} {
		if got := roughly(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}

// TestNoticeFields checks what programs read.
func TestNoticeFields(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{answers: map[string][]string{"RCPT": {"550-5.1.1 no such user\n550 5.1.1 really"}}})
		queued := time.Now()
		e.send(newMessage("one@other.example"))
		e.wait()
		list := e.inbox("alice")
		if len(list) != 1 {
			e.Fatalf("got %d messages", len(list))
		}
		for _, field := range []string{
			"From: \"Mail Delivery\" <postmaster@mx.example.org>\r\n", "To: <alice@example.org>\r\n", "Subject: Not delivered: greetings\r\n",
			"In-Reply-To: <1@example.org>\r\n", "Auto-Submitted: auto-replied\r\n",
		} {
			if !strings.Contains(list[0], field) {
				e.Errorf("no %q in\n%s", field, list[0])
			}
		}
		r := parseNotice(e.T, list[0])
		if len(r.Recipients) != 1 {
			e.Fatalf("got %+v", r)
		}
		s := r.Recipients[0]
		if r.ReportingMTA != "mx.example.org" || !r.Arrival.Equal(queued) || r.EnvelopeID != "" {
			e.Errorf("got %+v", r)
		}
		if s.Action != dsn.Failed || s.Code != "5.1.1" || s.RemoteMTA != "mx.other.example" || s.DiagnosticType != "smtp" ||
			s.Diagnostic != "550 5.1.1 no such user really" || !s.LastTry.Equal(queued) || s.Final.Text != "one@other.example" || !s.RetryUntil.IsZero() {
			e.Errorf("got %+v", s)
		}
		// The header of the original is there, with what we put in front, and nothing more.
		if got := r.Original.Get("Received") + "|" + r.Original.Get("Message-Id"); got != "by test|<1@example.org>" {
			e.Errorf("got original %q", got)
		}
		if strings.Contains(list[0], "Hello,") {
			e.Errorf("the body was returned:\n%s", list[0])
		}
		e.wantLog("sender notified", "action=failed", "account=alice")
		if got := e.counter("mox_queue_notification_total", "action=failed", "result=ok"); got != 1 {
			e.Errorf("got %v notifications counted", got)
		}
	})
}

// TestLifetime lets a message go through all attempts to a server that never
// answers. Its sender is told of the delay once, and of the end once, and what was
// said is what happens.
func TestLifetime(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{answers: map[string][]string{"": {"421 busy"}}})
		queued := time.Now()
		list := e.send(newMessage("one@other.example"))
		e.settle(30 * time.Minute)
		e.wantNotices()
		e.settle(45 * time.Minute)
		e.wantNotices("delayed 4.0.0 one@other.example")
		m := e.get(list[0].ID)
		if !m.DelayTold {
			e.Errorf("the queue doesn't know that the sender was told: %+v", m)
		}
		s := parseNotice(e.T, e.inbox("alice")[0]).Recipients[0]
		if want := queued.Add(testSchedule.GiveUpAfter); !s.RetryUntil.Equal(want) {
			e.Errorf("got retry until %s, want %s", s.RetryUntil, want)
		}
		time.Sleep(time.Until(s.RetryUntil.Add(-time.Second)))
		e.wait()
		if e.left() != 1 {
			e.Errorf("given up before the time that was said")
		}
		e.wantNotices("delayed 4.0.0 one@other.example")
		e.settle(2 * time.Second)
		if e.left() != 0 {
			e.Errorf("not given up at the time that was said")
		}
		e.wantNotices("delayed 4.0.0 one@other.example", "failed 4.0.0 one@other.example")
		e.settle(24 * time.Hour)
		e.wantNotices("delayed 4.0.0 one@other.example", "failed 4.0.0 one@other.example")
	})
}

// TestNullSenderIsNotTold checks that nobody gets a notification about one.
func TestNullSenderIsNotTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ account, to string }{
		{"", "one@other.example"}, {"alice", "one@other.example"}, {"", "gone@example.org"}, {"alice", "gone@example.org"},
	} {
		t.Run(fmt.Sprintf("account %q to %s", test.account, test.to), func(t *testing.T) {
			run(t, func(e *env) {
				e.oneHost(&peer{answers: map[string][]string{"RCPT": {"550 5.1.1 no"}}})
				n := newMessage(test.to)
				n.Account, n.MailFrom = test.account, mustPath("")
				e.send(n)
				e.settle(time.Hour)
				if e.left() != 0 {
					e.Errorf("%d messages are left", e.left())
				}
				for _, account := range []string{"alice", "bob", "mox"} {
					if got := e.inbox(account); len(got) != 0 {
						e.Errorf("%s has got %q", account, got)
					}
				}
				e.wantLog("level=WARN", "result=failed")
			})
		})
	}
}

// TestStrangerIsTold checks that a sender that is not ours gets its notification
// as a message from the null sender, with UTF-8 only if its address needs that.
func TestStrangerIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		from string
		utf8 bool
	}{
		{"stranger@other.example", false}, {"ünü@other.example", true},
	} {
		t.Run(test.from, func(t *testing.T) {
			run(t, func(e *env) {
				p := e.oneHost(&peer{extensions: "SMTPUTF8,8BITMIME", answers: map[string][]string{"RCPT gone": {"550 5.1.1 no"}}})
				n := newMessage("gone@other.example")
				n.Account, n.MailFrom, n.SMTPUTF8 = "", mustPath(test.from), true
				e.send(n)
				e.settle(time.Minute)
				if got, want := p.summary(), ": "+test.from; got != want {
					e.Fatalf("got %q, want %q", got, want)
				}
				r := parseNotice(e.T, p.mails()[0].data)
				if r == nil || r.Recipients[0].Final.Text != "gone@other.example" || e.left() != 0 {
					e.Errorf("got %+v, %d left", r, e.left())
				}
				if ascii := strings.IndexFunc(p.mails()[0].data, func(r rune) bool { return r > 127 }) < 0; ascii == test.utf8 {
					e.Errorf("got UTF-8 %v, want %v:\n%s", !ascii, test.utf8, p.mails()[0].data)
				}
			})
		})
	}
}

// TestToldOnce checks that a process that dies between the notification and its
// record does not tell again, though there is another attempt, with another
// result.
func TestToldOnce(t *testing.T) {
	run(t, func(e *env) {
		e.stop()
		e.oneHost(&peer{})
		e.send(newMessage("one@other.example", "two@other.example"))
		w, err := e.queue.Next(e.Context())
		check(e.T, err)
		for i, f := range []*failure{{enhanced: "5.1.1", text: "no"}, {enhanced: "5.7.1", text: "never"}} {
			f.permanent = true
			for k := range w.Messages {
				m := &w.Messages[k]
				m.Attempts = int64(i + 1)
				_, err := e.notify(e.Context(), w, m, decide(m, try{start: time.Now(), end: time.Now(), failure: f}, testSchedule, 0), new(trace.Notice))
				check(e.T, err)
			}
		}
		e.wantNotices("failed 5.1.1 one@other.example", "failed 5.1.1 two@other.example")
		check(e.T, e.queue.Finish(e.Context(), w, nil))
	})
}

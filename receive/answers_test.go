package receive

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
)

// answersEnv is an env with a queue, from which alice has sent one message to
// bob@remote.example, that mx.remote.example took: from alice+id@ if so wanted. The DNS
// has SPF records for hosts of remote.example and evil.example.
func answersEnv(t *testing.T, fromID string) *env {
	t.Helper()
	faults := fault.New()
	db, err := queue.Open(t.Context(), queue.Options{
		LogSize: 1 << 20, Dir: filepath.Join(t.TempDir(), "queue"), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Rand: rand.Reader, Faults: faults,
		Schedule: queue.DefaultSchedule(), Local: func(domain string) bool { return strings.HasSuffix(domain, "example.org") },
		KeepRetired: func(string) time.Duration { return time.Hour },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		failed := db.Err() != nil
		if err := db.Close(); err != nil && !failed {
			t.Error(err)
		}
	})
	r, err := dnstest.New("", "remote.example", "evil.example")
	if err == nil {
		err = r.Set("out.remote.example TXT \"v=spf1 ip4:192.0.2.0/24 -all\"\nout.evil.example TXT \"v=spf1 ip4:192.0.2.0/24 -all\"")
	}
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, func(o *Options) { o.Queue, o.Resolver = db, r })
	e.queueFaults = faults
	e.sent(fromID, "bob@remote.example")
	return e
}

// sent sends a message of alice to another server, and delivers it.
func (e *env) sent(fromID, to string) {
	e.t.Helper()
	const content = "From: alice@example.org\r\nMessage-ID: <sent@example.org>\r\n\r\nhello\r\n"
	c, err := e.opts.Queue.NewContent(e.t.Context(), int64(len(content)), strings.NewReader(content))
	if err != nil {
		e.t.Fatal(err)
	}
	n := queue.New{Account: "alice", MailFrom: path(e.t, "alice@example.org"), Content: c, MessageID: "<sent@example.org>", To: []queue.NewRcpt{{Path: path(e.t, to)}}}
	if fromID != "" {
		n.To[0].FromID, n.To[0].MailFrom = fromID, path(e.t, "alice+"+fromID+"@example.org")
	}
	if _, err := e.opts.Queue.Add(e.t.Context(), n); err != nil {
		e.t.Fatal(err)
	}
	w, err := e.opts.Queue.Next(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	err = e.opts.Queue.Finish(e.t.Context(), w, []queue.Report{{ID: w.Messages[0].ID, Result: queue.Result{OK: true, Code: 250, RemoteMTA: "mx.remote.example"}}})
	if err != nil {
		e.t.Fatal(err)
	}
}

// answered describes what is known of the message with an id: what answers say, "?" in
// front of what is only claimed, and whether its recipient is suppressed.
func (e *env) answered(id int64) string {
	e.t.Helper()
	m, err := e.opts.Queue.Get(e.t.Context(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	var words []string
	for _, r := range m.Results {
		switch {
		case r.Claimed:
			words = append(words, "?"+string(r.Answer)+" "+r.Enhanced)
		case r.Answer != "":
			words = append(words, string(r.Answer)+" "+r.Enhanced)
		}
	}
	if list, err := e.opts.Queue.Suppressions(e.t.Context(), ""); err != nil {
		e.t.Fatal(err)
	} else if len(list) > 0 {
		words = append(words, "suppressed")
	}
	return strings.Join(words, ", ")
}

// bounce returns a notification about the message that alice has sent.
func bounce(t *testing.T, change func(m *dsn.Message)) string {
	t.Helper()
	m := &dsn.Message{
		From: path(t, "mailer-daemon@out.remote.example"), To: path(t, "alice@example.org"), MessageID: "b@out.remote.example", Subject: "returned", Date: time.Unix(1e9, 0), Text: "sorry\n",
		ReportingMTA: domain(t, "out.remote.example"),
		Recipients:   []dsn.Recipient{{Final: path(t, "bob@remote.example"), Action: dsn.Failed, Status: "5.1.1", Diagnostic: "550 5.1.1 no such user"}},
		Original:     []byte("From: alice@example.org\r\nMessage-ID: <sent@example.org>\r\n\r\n"),
	}
	if change != nil {
		change(m)
	}
	b, err := m.Compose(false)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// from returns a transaction of a host, with the null sender or another.
func (e *env) from(host, sender string) *Transaction {
	tx := e.begin(sender)
	tx.Peer.Hello.Name.Domain = domain(e.t, host)
	return tx
}

// TestAnswers says which messages that come in change what is known of the one sent.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const reply = "From: bob@remote.example\r\nSubject: away\r\n\r\nI am on holiday.\r\n"
	two := func(m *dsn.Message) {
		m.Recipients = append(m.Recipients, dsn.Recipient{Final: path(t, "carol@remote.example"), Action: dsn.Failed, Status: "5.1.1"})
	}
	delayed := func(m *dsn.Message) { m.Recipients[0].Action, m.Recipients[0].Status = dsn.Delayed, "4.4.1" }
	for _, tc := range []struct {
		name, fromID, host, sender, to, content string
		want                                    string
		count                                   int // Of alice.
	}{
		{"a notification of where it went", "", "out.remote.example", "", "alice@example.org", bounce(t, nil), "failed 5.1.1, suppressed", 1},
		{"of a delay", "", "out.remote.example", "", "alice@example.org", bounce(t, delayed), "delayed 4.4.1", 1},
		{"of a stranger", "", "out.evil.example", "", "alice@example.org", bounce(t, nil), "?failed 5.1.1", 1},
		{"of who is not verified", "", "other.remote.example", "", "alice@example.org", bounce(t, nil), "?failed 5.1.1", 1},
		{"with a sender", "", "out.remote.example", "x@out.remote.example", "alice@example.org", bounce(t, nil), "", 1},
		{"about two recipients", "", "out.remote.example", "", "alice@example.org", bounce(t, two), "", 1},
		{"to somebody else", "", "out.remote.example", "", "bob@example.org", bounce(t, nil), "", 0},
		{"about another message", "", "out.remote.example", "", "alice@example.org", bounce(t, func(m *dsn.Message) { m.Original = []byte("Message-ID: <other@example.org>\r\n\r\n") }), "", 1},
		{"about nothing", "", "out.remote.example", "", "alice@example.org", bounce(t, func(m *dsn.Message) { m.Original = nil }), "", 1},
		{"no notification", "", "out.remote.example", "", "alice@example.org", reply, "", 1},
		{"to an alias of which alice is a member", "", "out.remote.example", "", "list@example.org", bounce(t, nil), "failed 5.1.1, suppressed", 1},

		{"to the id, of a stranger", "id", "out.evil.example", "", "alice+ID@example.org", bounce(t, nil), "failed 5.1.1, suppressed", 1},
		{"to the id, with a sender", "id", "out.evil.example", "x@out.evil.example", "alice+id@example.org", bounce(t, nil), "failed 5.1.1, suppressed", 1},
		{"to the id, about nothing", "id", "out.evil.example", "", "alice+id@example.org", bounce(t, func(m *dsn.Message) { m.Original = nil }), "failed 5.1.1, suppressed", 1},
		{"to the id, about two recipients", "id", "out.remote.example", "", "alice+id@example.org", bounce(t, two), "unrecognized ", 1},
		{"to the id, no notification", "id", "out.remote.example", "bob@remote.example", "alice+id@example.org", reply, "unrecognized ", 1},
		{"to another id", "id", "out.remote.example", "bob@remote.example", "alice+other@example.org", reply, "", 1},
		{"to the id behind another separator", "id", "out.remote.example", "bob@remote.example", "alice--id@example.org", reply, "", 1},
		{"to the id of somebody else", "id", "out.remote.example", "bob@remote.example", "bob+id@example.org", reply, "", 0},
		{"to an alias with the id", "id", "out.remote.example", "", "list+id@example.org", bounce(t, nil), "failed 5.1.1, suppressed", 1},
		{"refused", "id", "out.remote.example", "", "members+id@example.org", bounce(t, nil), "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := answersEnv(t, tc.fromID)
			for i, want := range []int{tc.count, 2 * tc.count} {
				err := e.send(e.from(tc.host, tc.sender), tc.content, tc.to)
				if (err == nil) != (tc.name != "refused") {
					t.Errorf("got %v", err)
				}
				if got := e.answered(1); got != tc.want {
					t.Errorf("time %d: known is %q, want %q\n%s", i+1, got, tc.want, e.log)
				}
				if got := e.count(); got[0] != want {
					t.Errorf("time %d: accounts have %d", i+1, got)
				}
			}
		})
	}
}

// TestAnswersTwoIDs has one message for two ids of an account.
func TestAnswersTwoIDs(t *testing.T) {
	t.Parallel()
	e := answersEnv(t, "one")
	e.sent("two", "carol@remote.example")
	if err := e.send(e.from("out.remote.example", "bob@out.remote.example"), "Subject: away\r\n\r\naway\r\n", "alice+one@example.org", "alice+two@example.org"); err != nil {
		t.Fatal(err)
	}
	if one, two := e.answered(1), e.answered(2); one != "unrecognized " || two != "unrecognized " {
		t.Errorf("known are %q and %q", one, two)
	}
	if got := e.count(); got[0] != 1 {
		t.Errorf("accounts have %d", got)
	}
}

// TestAnswersHere has users of ours answer: only to an id, and once.
func TestAnswersHere(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, from, to, want string }{
		{"a reply to the id", "bob@example.org", "alice+id@example.org 1", "unrecognized "},
		{"a notification to the id", "", "alice+id@example.org 1", "failed 5.1.1, suppressed"},
		{"a notification to the address", "", "alice@example.org 1", ""},
	} {
		for _, inMemory := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in memory: %v", tc.name, inMemory), func(t *testing.T) {
				t.Parallel()
				e := answersEnv(t, "id")
				content := "From: bob@example.org\r\n\r\nhello\r\n"
				if tc.from == "" {
					content = bounce(t, nil)
				}
				h := e.handover(tc.from, content, tc.to)
				h.Account = "bob"
				if inMemory {
					h.Data, h.File = []byte(content), ""
				}
				for range 2 {
					if got := e.handOver(h); got != "ok alice" {
						t.Errorf("got %s", got)
					}
					if got := e.answered(1); got != tc.want {
						t.Errorf("known is %q, want %q", got, tc.want)
					}
				}
			})
		}
	}
}

// TestAnswersRefused has an account that is full: what an answer says is known, and
// counts once when it comes again and is taken.
func TestAnswersRefused(t *testing.T) {
	t.Parallel()
	e := answersEnv(t, "id")
	for i, full := range []bool{true, true, false} {
		if e.quota["alice"] = 0; full {
			e.quota["alice"] = 1
		}
		err := e.send(e.from("out.remote.example", ""), bounce(t, nil), "alice+id@example.org")
		if got := outcome(err); (got == "452 4.2.2") != full {
			t.Errorf("time %d: got %v", i+1, err)
		}
		if got := e.answered(1); got != "failed 5.1.1, suppressed" {
			t.Errorf("time %d: known is %q", i+1, got)
		}
	}
	if got := e.count(); got[0] != 1 {
		t.Errorf("accounts have %d", got)
	}
}

// TestAnswersFail checks that a message is not taken when what it says can't be noted.
func TestAnswersFail(t *testing.T) {
	t.Parallel()
	e := answersEnv(t, "id")
	e.queueFaults.Arm(queue.FaultCommitBefore, func() error { return errors.New("disk is on fire") })
	err := e.send(e.from("out.remote.example", ""), bounce(t, nil), "alice+id@example.org")
	if !errors.Is(err, queue.ErrFailed) {
		t.Errorf("got %v", err)
	}
	if got := e.count(); got[0] != 0 {
		t.Errorf("accounts have %d", got)
	}
}

// TestAnswersBefore shows that what an answer says is on disk before the message is:
// whoever dies in between gets it again.
func TestAnswersBefore(t *testing.T) {
	t.Parallel()
	e := answersEnv(t, "id")
	if got := e.answered(1); got != "" { // And all has its row.
		t.Fatalf("known is %q", got)
	}
	var before []int
	e.queueFaults.Arm(queue.FaultCommitAfter, func() error { before = append(before, e.count()[0]); return nil })
	for range 2 {
		if err := e.send(e.from("out.remote.example", ""), bounce(t, nil), "alice+id@example.org"); err != nil {
			t.Fatal(err)
		}
	}
	if len(before) != 1 || before[0] != 0 || e.count()[0] != 2 {
		t.Errorf("when it was noted the account had %d, now %d", before, e.count())
	}
}

// TestAnswerOf says what notifications are taken for.
func TestAnswerOf(t *testing.T) {
	t.Parallel()
	one := dsn.Status{Final: dsn.Address{Type: "rfc822", Text: "bob@remote.example"}, Action: dsn.Failed, Code: "5.1.1", Diagnostic: "550 5.1.1 no", DiagnosticType: "smtp", RemoteMTA: "mx.remote.example"}
	original := message.NewHeader([]byte("Message-ID: <1@example.org>\r\n\r\n"))
	with := func(change func(s *dsn.Status)) *dsn.Report {
		s := one
		change(&s)
		return &dsn.Report{Recipients: []dsn.Status{s}, Original: original, ReportingMTA: "out.remote.example"}
	}
	for _, tc := range []struct {
		name   string
		report *dsn.Report
		event  queue.AnswerEvent
		rcpts  string
		id     bool // It is one for itself, without an id of the account.
	}{
		{"none", nil, queue.AnswerUnrecognized, "", false},
		{"failed", with(func(*dsn.Status) {}), queue.AnswerFailed, "bob@remote.example", true},
		{"delayed", with(func(s *dsn.Status) { s.Action = dsn.Delayed }), queue.AnswerDelayed, "bob@remote.example", true},
		{"delivered", with(func(s *dsn.Status) { s.Action = dsn.Delivered }), queue.AnswerDelivered, "bob@remote.example", true},
		{"relayed", with(func(s *dsn.Status) { s.Action = dsn.Relayed }), queue.AnswerRelayed, "bob@remote.example", true},
		{"expanded", with(func(s *dsn.Status) { s.Action = dsn.Expanded }), queue.AnswerExpanded, "bob@remote.example", true},
		{"says nothing", with(func(s *dsn.Status) { s.Action = "" }), queue.AnswerUnrecognized, "", false},
		{"original recipient too", with(func(s *dsn.Status) { s.Original.Text = "robert@remote.example" }), queue.AnswerFailed, "bob@remote.example robert@remote.example", true},
		{"only the original recipient", with(func(s *dsn.Status) { s.Original, s.Final = s.Final, dsn.Address{} }), queue.AnswerFailed, "bob@remote.example", true},
		{"two", &dsn.Report{Recipients: []dsn.Status{one, one}, Original: original}, queue.AnswerUnrecognized, "", false},
		{"without original", &dsn.Report{Recipients: []dsn.Status{one}}, queue.AnswerFailed, "bob@remote.example", false},
		{"with its envelope id", &dsn.Report{Recipients: []dsn.Status{one}, EnvelopeID: "x"}, queue.AnswerFailed, "bob@remote.example", true},
	} {
		for _, known := range []bool{false, true} {
			a, ok := answerOf(tc.report, known)
			if ok != (known || tc.id) || a.Event != tc.event || strings.Join(a.Rcpts, " ") != tc.rcpts {
				t.Errorf("%s, known: %v: got %+v, %v", tc.name, known, a, ok)
			}
			if a.Event == queue.AnswerFailed && (a.Code != 550 || a.Enhanced != "5.1.1" || a.RemoteMTA != "mx.remote.example") {
				t.Errorf("%s: got %+v", tc.name, a)
			}
		}
	}
}

func TestDiagnosis(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status, kind, diagnostic string
		code                     int64
		enhanced                 string
	}{
		{"5.1.1", "smtp", "550 5.1.1 no such user", 550, "5.1.1"},
		{"5.0.0", "smtp", "550 5.1.1 no such user", 550, "5.1.1"},
		{"5.0.0", "smtp", "550-5.1.1 no such user", 550, "5.1.1"},
		{"", "smtp", "550 5.1.1", 550, "5.1.1"},
		{"5.0.0", "smtp", "550 4.1.1 odd", 550, "5.0.0"},
		{"4.0.0", "smtp", "550 5.1.1 odd", 550, "4.0.0"},
		{"5.7.1", "smtp", "550 5.1.1 odd", 550, "5.7.1"},
		{"5.0.0", "smtp", "550 no such user", 550, "5.0.0"},
		{"5.0.0", "", "550 no such user", 550, "5.0.0"},
		{"5.0.0", "smtp", "no such user", 0, "5.0.0"},
		{"5.0.0", "smtp", "999 5.1.1 x", 0, "5.0.0"},
		{"5.0.0", "smtp", "5501 5.1.1 x", 0, "5.0.0"},
		{"5.0.0", "x-unix", "550 5.1.1 x", 0, "5.0.0"},
		{"", "", "", 0, ""},
	} {
		code, enhanced := diagnosis(dsn.Status{Code: tc.status, DiagnosticType: tc.kind, Diagnostic: tc.diagnostic})
		if code != tc.code || enhanced != tc.enhanced {
			t.Errorf("%s %s %q: got %d %s, want %d %s", tc.status, tc.kind, tc.diagnostic, code, enhanced, tc.code, tc.enhanced)
		}
	}
}

// FuzzAnswer checks that whatever comes in, what is looked up is what a message that
// was sent can have.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a.example\r\n" +
		"Original-Envelope-Id: e\r\n\r\nFinal-Recipient: rfc822; bob@remote.example\r\nAction: failed\r\nStatus: 5.0.0\r\nDiagnostic-Code: smtp; 550 5.1.1 no\r\n\r\n" +
		"--x\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <1@example.org>\r\n\r\n--x--\r\n"))
	f.Add([]byte("Subject: x\r\n\r\nx"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r := bytes.NewReader(content)
		p, _ := message.Parse(r, r.Size())
		report, err := dsn.Parse(r, &p)
		if err != nil {
			report = nil
		}
		a, ok := answerOf(report, false)
		if _, always := answerOf(report, true); !always {
			t.Error("not an answer, though it came to an id")
		}
		if !ok {
			return
		}
		if len(report.Recipients) != 1 || len(a.Rcpts) == 0 || a.MessageID == "" && a.EnvelopeID == "" || a.Event == queue.AnswerUnrecognized {
			t.Errorf("answer %+v", a)
		}
		if a.MessageID != "" && (!strings.HasPrefix(a.MessageID, "<") || !strings.HasSuffix(a.MessageID, ">") || strings.ContainsAny(a.MessageID, " \r\n\t")) {
			t.Errorf("Message-ID %q", a.MessageID)
		}
		if a.Code != 0 && (a.Code < 200 || a.Code > 599) {
			t.Errorf("code %d", a.Code)
		}
	})
}

// TestAnswersVerified makes sure that what vouches for an answer is the host, not what
// the message says.
func TestAnswersVerified(t *testing.T) {
	t.Parallel()
	e := answersEnv(t, "")
	tx := e.from("out.evil.example", "")
	content := bounce(t, nil)
	if !strings.Contains(content, "out.remote.example") {
		t.Fatal("the notification does not say that it is of remote.example")
	}
	if err := e.send(tx, content, "alice@example.org"); err != nil {
		t.Fatal(err)
	}
	if got := e.answered(1); got != "?failed 5.1.1" {
		t.Errorf("known is %q", got)
	}
	if !strings.Contains(e.log.String(), "claimed=true") {
		t.Errorf("log: %s", e.log)
	}
}

package interop

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// TestPostfix has a server of ours and a Postfix exchange mail, with MX records
// from a name server, ports 25, and whatever mail has that is out of the ordinary.
func TestPostfix(t *testing.T) { inNetwork(t, testPostfix) }

func testPostfix(t *testing.T, dir string) {
	e := &exchange{newWorld(t, dir, nil), newPostfix(t, dir)}
	w, p := e.world, e.postfix
	e.testDown(t)
	t.Run("peers", func(t *testing.T) {
		t.Run("sent", e.testSent)
		t.Run("sent to several", e.testSentToSeveral)
		t.Run("not sent", e.testNotSent)
		t.Run("not yet sent", e.testNotYetSent)
		t.Run("in another's name", e.testForged)
		t.Run("received", e.testReceived)
		t.Run("from sendmail", e.testSendmail)
		t.Run("refused", e.testRefused)
		t.Run("bounced later", e.testBouncedLater)
		t.Run("notified", e.testNotified)
	})
	if n := w.count(t, "alice", "early"); n != 0 {
		t.Errorf("alice has %d messages about the one that was delayed", n)
	}
	if got := p.messages(t, "early@postfix.test", ""); len(got) != 1 {
		t.Errorf("Postfix has %d messages, want the one that was delayed once", len(got))
	}
	if n := w.count(t, "bob", "Subject: mail in-early"); n != 1 {
		t.Errorf("bob has %d messages, want the one that was delayed once", n)
	}
}

// testDown has each of the two down when the other one sends to it. The server of
// ours is started again with the message in its queue.
func (e *exchange) testDown(t *testing.T) {
	const to = "early@postfix.test"
	msg := newMail(address("alice"), "early", "Hello.\r\n")
	e.submit(t, "alice", gosmtp.MailOptions{}, msg, to)
	if r := e.waiting(t, to, 1); r.Permanent || r.Enhanced != "4.4.1" {
		t.Errorf("with Postfix down: got %+v, want 4.4.1", r)
	}
	e.stop(t)
	e.postfix.start(t)
	in := newMail("odd@postfix.test", "in-early", oddBody)
	e.postfix.relay(t, "odd@postfix.test", gosmtp.MailOptions{}, in, address("bob"))
	if !eventually(func() bool { return strings.Contains(e.postfix.log(), "status=deferred (connect to mox.test") }) {
		t.Errorf("Postfix did not try to send:\n%s", e.postfix.log())
	}
	e.serve(t, nil)
	e.retry(t, to)
	e.postfix.wantWhole(t, to, "early", msg)
	e.gone(t, to)
	command(t, nil, sbin(t, "postqueue"), "-c", filepath.Join(e.postfix.dir, "etc"), "-f")
	if got := e.received(t, "bob", "Subject: mail in-early"); !strings.HasSuffix(got, in) {
		t.Errorf("got %q, want %q at its end", short(got), short(in))
	}
}

// exchange is a world with a Postfix.
type exchange struct {
	*world
	postfix *postfix
}

// wantWhole wants Postfix to have a message once, byte for byte, and returns what
// is before it.
func (p *postfix) wantWhole(t *testing.T, rcpt, id, msg string) string {
	t.Helper()
	got := p.received(t, rcpt, "Message-ID: <"+id+"@")
	before, ok := strings.CutSuffix(got, msg)
	if !ok {
		t.Errorf("%s: got %q, want %q at its end", rcpt, short(got), short(msg))
	}
	return before
}

func short(s string) string { return s[:min(len(s), 3000)] }

// oddBody has what is easily broken: dots, a From at the begin of a line, lines as
// long as they may be, and spaces at the end.
var oddBody = ".\r\n..\r\n.dots\r\n\r\nFrom here\r\n>From there\r\n" + strings.Repeat("x", 998) + "\r\n" + strings.Repeat(".", 998) + "\r\nspace \r\ntab\t\r\n\r\n\r\n"

// largeBody has 5 MB.
var largeBody = strings.Repeat(".34567890123456789012345678901234567890123456789012345678901234567890123456789\r\n", 64_000)

// testSent sends to all kinds of domains, and all kinds of mail.
func (e *exchange) testSent(t *testing.T) {
	t.Parallel()
	const none, starttls = "with ESMTP id", "with ESMTPS id"
	for _, test := range []struct {
		name string
		to   string
		opts gosmtp.MailOptions
		body string
		with string // In Postfix's Received field.
		tls  string // In our log.
	}{
		{"mx", "mx@postfix.test", gosmtp.MailOptions{}, oddBody, starttls, "unverified"},
		{"alias", "alias@alias.test", gosmtp.MailOptions{}, oddBody, starttls, "unverified"},
		{"deadfirst", "deadfirst@several.test", gosmtp.MailOptions{}, oddBody, starttls, "unverified"},
		{"aonly", "aonly@aonly.test", gosmtp.MailOptions{}, oddBody, starttls, "unverified"},
		{"plain", "plain@plain.test", gosmtp.MailOptions{}, oddBody, none, "none"},
		{"brokentls", "brokentls@brokentls.test", gosmtp.MailOptions{}, oddBody, none, "none"},
		{"eightbit", "eightbit@postfix.test", gosmtp.MailOptions{Body: gosmtp.Body8BitMIME}, "grüße\r\n" + oddBody, starttls, "unverified"},
		{"utf8", "empfänger@postfix.test", gosmtp.MailOptions{Body: gosmtp.Body8BitMIME, UTF8: true}, "grüße\r\n", "with UTF8SMTPS id", "unverified"},
		{"large", "large@postfix.test", gosmtp.MailOptions{}, largeBody, starttls, "unverified"},
		{"empty", "empty@postfix.test", gosmtp.MailOptions{}, "", starttls, "unverified"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			msg := newMail(address("alice"), test.name, test.body)
			e.submit(t, "alice", test.opts, msg, test.to)
			before := e.postfix.wantWhole(t, test.to, test.name, msg)
			e.gone(t, test.to)
			if got := e.postfix.messages(t, test.to, ""); len(got) != 1 {
				t.Errorf("Postfix has %d messages", len(got))
			}
			if !strings.Contains(before, test.with) || !strings.HasPrefix(before, "Return-Path: <alice@mox.test>\r\n") {
				t.Errorf("got %q before the message, want %q there", before, test.with)
			}
			if test.tls == "unverified" && !strings.Contains(before, "(using TLSv1.3 with cipher") {
				t.Errorf("got %q before the message, want TLS 1.3", before)
			}
			delivered := regexp.MustCompile(`m=delivery .*result=delivered .*rcptto=` + regexp.QuoteMeta(test.to) + ` .* tls=` + test.tls + ` `)
			fallback := regexp.MustCompile(`m="tls failed, trying without" .*host=mx\.` + test.name + `\.test `)
			if got := fallback.MatchString(e.log(t)); got != (test.name == "brokentls") {
				t.Errorf("got a fallback to plain text: %v", got)
			}
			if !test.opts.UTF8 && len(delivered.FindAllString(e.log(t), -1)) != 1 {
				t.Errorf("no line in the log for %s", delivered)
			}
		})
	}
}

// testSentToSeveral sends a message to several recipients at one domain, which go
// in one transaction, and to one at another.
func (e *exchange) testSentToSeveral(t *testing.T) {
	t.Parallel()
	to := []string{"several1@postfix.test", "several2@postfix.test", "several3@postfix.test", "several4@plain.test"}
	msg := newMail(address("alice"), "several", oddBody)
	e.submit(t, "alice", gosmtp.MailOptions{}, msg, to...)
	id := regexp.MustCompile(`by mx\.postfix\.test \(Postfix\) with ESMTPS? id (\S+)`)
	var ids []string
	for _, rcpt := range to {
		m := id.FindStringSubmatch(e.postfix.wantWhole(t, rcpt, "several", msg))
		if m == nil {
			t.Fatal("no Received field of Postfix")
		}
		ids = append(ids, strings.TrimRight(m[1], ";"))
	}
	if ids[0] != ids[1] || ids[0] != ids[2] || ids[0] == ids[3] {
		t.Errorf("got transactions %q, want one for each domain", ids)
	}
	for _, rcpt := range to {
		e.gone(t, rcpt)
	}
	if got := e.postfix.messages(t, "", "Message-ID: <several@"); len(got) != len(to) {
		t.Errorf("Postfix has %d messages for %d recipients", len(got), len(to))
	}
}

// report is a notification as testdata/dsn_report.py has it.
type report struct {
	From, To, AutoSubmitted, ReportType, StatusType, Text string
	Message                                               map[string]string
	Recipients                                            []map[string]string
	OriginalType, OriginalMessageID                       string
	Defects                                               []string
}

func readReport(t *testing.T, msg string) (r report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var errs strings.Builder
	cmd := exec.CommandContext(ctx, tool(t, "python3"), "-B", filepath.Join("testdata", "dsn_report.py"))
	cmd.Stdin, cmd.Stderr = strings.NewReader(msg), &errs
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		t.Fatalf("notification: %v\n%s\n%s", err, &errs, msg)
	}
	return r
}

// wantFailed wants a user to be told once that a message could not be delivered.
func (w *world) wantFailed(t *testing.T, user, id, rcpt, status string) report {
	t.Helper()
	msg := w.received(t, user, rcpt)
	if !strings.HasPrefix(msg, "Return-Path: <>\r\n") {
		t.Errorf("got %q, want an empty Return-Path", short(msg))
	}
	r := readReport(t, msg)
	if len(r.Recipients) != 1 || len(r.Defects) != 0 || r.ReportType != "delivery-status" || !strings.HasPrefix(r.AutoSubmitted, "auto-replied") {
		t.Fatalf("got %+v\n%s", r, msg)
	}
	to := r.Recipients[0]
	if !strings.HasSuffix(to["final-recipient"], "; "+rcpt) || to["action"] != "failed" || to["status"] != status {
		t.Errorf("got %v, want failed, %s, for %s", to, status, rcpt)
	}
	if !strings.Contains(r.To, address(user)) || r.OriginalMessageID != "<"+id+"@client.example>" || !strings.Contains(r.Text, rcpt) {
		t.Errorf("got %+v, want it to be for %s and about %s", r, user, id)
	}
	return r
}

// testNotSent sends what can't be delivered. The sender is told.
func (e *exchange) testNotSent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		to     string
		status string
		remote string // Who said so. Empty: nobody, we know.
	}{
		{"unknown", "unknown@strict.test", "5.1.1", "mx.postfix.test"},
		{"nullmx", "nullmx@null.test", "5.1.10", ""},
		{"nodomain", "nodomain@missing.test", "5.1.2", ""},
		{"nohost", "nohost@nohost.test", "5.4.4", ""},
		{"noaddress", "noaddress@empty.test", "5.4.4", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e.submit(t, "alice", gosmtp.MailOptions{}, newMail(address("alice"), test.name, "Hello.\r\n"), test.to)
			e.gone(t, test.to)
			to := e.wantFailed(t, "alice", test.name, test.to, test.status).Recipients[0]
			if mta, _, _ := strings.Cut(strings.TrimPrefix(to["remote-mta"], "dns; "), " ("); mta != test.remote {
				t.Errorf("got Remote-MTA %q, want %q", mta, test.remote)
			}
			if got := to["diagnostic-code"]; test.remote != "" && !(strings.HasPrefix(got, "smtp; 550 5.1.1 ") && strings.Contains(got, test.to)) {
				t.Errorf("got Diagnostic-Code %q", got)
			}
		})
	}
}

// testNotYetSent sends to a domain that the name server refuses to say anything
// about. That is no reason to give up.
func (e *exchange) testNotYetSent(t *testing.T) {
	t.Parallel()
	const to = "anyone@elsewhere.example"
	e.submit(t, "alice", gosmtp.MailOptions{}, newMail(address("alice"), "refusedname", "Hello.\r\n"), to)
	if r := e.waiting(t, to, 1); r.Permanent || r.Enhanced != "4.4.3" {
		t.Errorf("got %+v, want 4.4.3", r)
	}
	if n := e.count(t, "alice", to); n != 0 {
		t.Errorf("alice got %d notifications", n)
	}
}

// testForged submits in the name of somebody else. Postfix hears nothing of it.
func (e *exchange) testForged(t *testing.T) {
	t.Parallel()
	const to = "forged@postfix.test"
	for _, test := range []struct{ name, from, header string }{
		{"sender of another account", address("bob"), address("alice")},
		{"sender elsewhere", "alice@postfix.test", address("alice")},
		{"From of another account", address("alice"), address("bob")},
	} {
		err := e.submitFrom(t, "alice", test.from, gosmtp.MailOptions{}, newMail(test.header, "forged", "Hello.\r\n"), to)
		if smtpErr, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || smtpErr.Code != 550 {
			t.Errorf("%s: got %v, want 550", test.name, err)
		}
	}
	if list := e.queued(t, to); len(list) > 0 || len(e.postfix.messages(t, to, "")) > 0 {
		t.Errorf("got %+v", list)
	}
}

// relay gives Postfix a message to send on.
func (p *postfix) relay(t *testing.T, from string, opts gosmtp.MailOptions, msg string, to ...string) {
	t.Helper()
	c, err := gosmtp.Dial(postfixIP + ":25")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := send(c, from, opts, msg, to...); err != nil {
		t.Fatal(err)
	}
}

// testReceived has Postfix send mail to us.
func (e *exchange) testReceived(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		from string
		opts gosmtp.MailOptions
		body string
		to   []string
		with string
	}{
		{"in-odd", "odd@postfix.test", gosmtp.MailOptions{}, oddBody, []string{"bob"}, "with ESMTPS"},
		{"in-several", "odd@postfix.test", gosmtp.MailOptions{}, oddBody, users, "with ESMTPS"},
		{"in-eightbit", "odd@postfix.test", gosmtp.MailOptions{Body: gosmtp.Body8BitMIME}, "grüße\r\n", []string{"bob"}, "with ESMTPS"},
		{"in-utf8", "jürgen@postfix.test", gosmtp.MailOptions{Body: gosmtp.Body8BitMIME, UTF8: true}, "grüße\r\n", []string{"bob"}, "with UTF8SMTPS"},
		{"in-large", "odd@postfix.test", gosmtp.MailOptions{}, largeBody, []string{"bob"}, "with ESMTPS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var to []string
			for _, user := range test.to {
				to = append(to, address(user))
			}
			msg := newMail(test.from, test.name, test.body)
			e.postfix.relay(t, test.from, test.opts, msg, to...)
			for _, user := range test.to {
				got := e.received(t, user, "Subject: mail "+test.name)
				before, ok := strings.CutSuffix(got, msg)
				if !ok {
					t.Errorf("got %q, want %q at its end", short(got), short(msg))
				}
				if !strings.HasPrefix(before, "Return-Path: <"+test.from+">\r\nDelivered-To: "+address(user)+"\r\n") || !strings.Contains(before, test.with) {
					t.Errorf("got %q before the message, want %q", before, test.with)
				}
			}
		})
	}
}

// testSendmail has a program on Postfix's host send mail to us.
func (e *exchange) testSendmail(t *testing.T) {
	t.Parallel()
	msg := newMail("cron@postfix.test", "in-sendmail", "Hello.\r\n")
	args := []string{"-C", filepath.Join(e.postfix.dir, "etc"), "-i", "-f", "cron@postfix.test", address("bob")}
	command(t, []byte(strings.ReplaceAll(msg, "\r\n", "\n")), sbin(t, "sendmail"), args...)
	got := e.received(t, "bob", "Subject: mail in-sendmail")
	if !strings.HasSuffix(got, "\r\n\r\nHello.\r\n") || !strings.HasPrefix(got, "Return-Path: <cron@postfix.test>\r\n") {
		t.Errorf("got %q", got)
	}
}

// testRefused has Postfix send to a user that we don't have. Postfix tells its
// sender what we say.
func (e *exchange) testRefused(t *testing.T) {
	t.Parallel()
	msg := newMail("teller@postfix.test", "in-refused", "Hello.\r\n")
	e.postfix.relay(t, "teller@postfix.test", gosmtp.MailOptions{}, msg, "missing@mox.test", address("bob"))
	r := readReport(t, e.postfix.received(t, "teller@postfix.test", "missing@mox.test"))
	if len(r.Recipients) != 1 || r.Recipients[0]["status"] != "5.1.1" || r.Recipients[0]["action"] != "failed" ||
		r.Recipients[0]["final-recipient"] != "rfc822; missing@mox.test" || !strings.HasPrefix(r.Recipients[0]["diagnostic-code"], "smtp; 550 5.1.1 ") {
		t.Errorf("got %+v", r)
	}
	e.received(t, "bob", "Subject: mail in-refused")
}

// testBouncedLater sends what Postfix takes first, and then can't deliver. Its
// notification comes to the sender, and is not answered.
func (e *exchange) testBouncedLater(t *testing.T) {
	t.Parallel()
	const to = "bounces@strict.test"
	e.submit(t, "bob", gosmtp.MailOptions{}, newMail(address("bob"), "later", "Hello.\r\n"), to)
	e.gone(t, to)
	msg := e.received(t, "bob", "nobody@gone.test")
	if !strings.HasPrefix(msg, "Return-Path: <>\r\nDelivered-To: bob@mox.test\r\n") {
		t.Errorf("got %q", short(msg))
	}
	r := readReport(t, msg)
	if len(r.Recipients) != 1 || r.Recipients[0]["action"] != "failed" || r.OriginalMessageID != "<later@client.example>" {
		t.Errorf("got %+v", r)
	}
	if !slices.Contains([]string{"5.4.4", "5.1.2"}, r.Recipients[0]["status"]) {
		t.Errorf("got status %q", r.Recipients[0]["status"])
	}
	if n := e.count(t, "bob", "MAILER-DAEMON"); n != 1 {
		t.Errorf("bob has %d notifications", n)
	}
}

package submit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

// whole is a message that lacks nothing.
const whole = "From: alice@example.org\nDate: Fri, 02 Jan 2026 03:04:05 +0000\nMessage-ID: <1@example.org>\n\nhi\n"

// checkError compares an error with the begin of the text wanted, empty for none,
// and with its cause.
func checkError(t *testing.T, what string, err error, want string, cause error) {
	t.Helper()
	switch {
	case want == "":
		if err != nil {
			t.Errorf("%s: got %v, want no error", what, err)
		}
	case err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, cause):
		t.Errorf("%s: got %v, want %s because of %v", what, err, want, cause)
	}
}

func TestSender(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	all := newEnv(t, func(o *Options) { o.CatchAllAccount = "mox" })
	for _, tc := range []struct {
		name          string
		env           *env
		account, from string
		want          string
		cause         error
	}{
		{"an address of the account", e, "alice", "alice@example.org", "", nil},
		{"with a separator", e, "alice", "Alice+shop@example.org", "", nil},
		{"the null sender", e, "alice", "", "", nil},
		{"under a catchall", e, "bob", "any@all.example", "", nil},
		{"an alias that may be used", e, "alice", "team@example.org", "", nil},
		{"an alias that may not", e, "alice", "list@example.org", "550 5.7.1 your account may not send from this address: \"list@example.org\"", ErrSender},
		{"another's address", e, "alice", "bob@example.org", "550 5.7.1", ErrSender},
		{"another domain", e, "alice", "alice@other.example", "550 5.7.1", ErrSender},
		{"an address literal", e, "alice", "alice@[192.0.2.1]", "550 5.7.1", ErrSender},
		{"a disabled domain", e, "alice", "x@disabled.example", "451 4.3.0", ErrDisabled},
		{"the account that may be anybody", all, "mox", "any@other.example", "", nil},
		{"another beside it", all, "alice", "any@other.example", "550 5.7.1", ErrSender},
	} {
		checkError(t, tc.name, tc.env.Sender(t.Context(), tc.env.begin(tc.account, tc.from)), tc.want, tc.cause)
	}
	e.free = 0
	err := e.Sender(t.Context(), e.begin("alice", "alice@example.org"))
	checkError(t, "no room", err, "452 4.3.1 not enough room now", ErrRoom)
	if _, err := e.send(e.begin("nobody", ""), whole, "x@b.example"); err == nil || Result(err) != "noroom" {
		t.Errorf("no room for one without account: got %v", err)
	}
}

func TestRecipient(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	all := newEnv(t, func(o *Options) { o.CatchAllAccount = "mox" })
	for _, tc := range []struct {
		name string
		env  *env
		to   string
		want string
	}{
		{"an address of ours", e, "bob+x@example.org", ""},
		{"an alias", e, "list@example.org", ""},
		{"under a catchall", e, "any@all.example", ""},
		{"one that doesn't exist", e, "nobody@example.org", "550 5.1.1 no such address"},
		{"postmaster without domain", e, "postmaster", ""},
		{"postmaster of the host", e, "postmaster@mx.example.org", ""},
		{"another at the host", e, "bob@mx.example.org", "550 5.1.1 no such address"},
		{"one that refuses", e, "gone@example.org", "550 5.1.1 moved away"},
		{"in a disabled domain", e, "x@disabled.example", "450 4.2.1 no mail is taken for this domain now"},
		{"elsewhere", e, "x@other.example", ""},
		{"elsewhere, a name that isn't whole", e, "x@sales", "554 5.1.2 the domain of the address is not a whole name"},
		{"an address literal", e, "x@[192.0.2.1]", ""},
		{"anything, if all is taken", all, "nobody@example.org", ""},
		{"anywhere, if all is taken", all, "x@sales", ""},
		{"one that refuses, if all is taken", all, "gone@example.org", "550 5.1.1 moved away"},
	} {
		err := tc.env.Recipient(t.Context(), tc.env.begin("alice", ""), path(t, tc.to))
		checkError(t, tc.name, err, tc.want, ErrRecipient)
	}
}

// TestQueued looks at all that is handed to the queue.
func TestQueued(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	tx := e.begin("alice", "alice+x@example.org")
	tx.Peer.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	tx.NotBefore, tx.Hold = time.Now().Add(time.Hour).Truncate(time.Second), smtp.Hold{For: time.Hour}
	queued, err := e.send(tx, "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\nFrom: Alice <alice@example.org>\nBcc: secret@b.example\nTo: us\n\nhi\n.\n", "bob@example.org")
	if err != nil {
		t.Fatal(err)
	}
	if len(queued) != 1 {
		t.Fatalf("got %d messages, want 1", len(queued))
	}
	m := queued[0]
	want := queue.Message{
		ID: m.ID, ContentID: m.ContentID, Key: m.Key, State: queue.Waiting, Queued: m.Queued, Since: m.NextAttempt, FutureRelease: "for;3600", NextAttempt: m.NextAttempt,
		Account: "alice", MailFrom: "alice+x@example.org", Rcpt: "bob@example.org", Domain: "example.org",
		MessageID: "<AAAAAAAAAAAAAAAAAAAAAA@mx.example.org>", Subject: "grüße", Size: m.Size, Prefix: m.Prefix,
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v, want %+v", m, want)
	}
	if !m.NextAttempt.Equal(tx.NotBefore) {
		t.Errorf("first attempt at %v, want %v", m.NextAttempt, tx.NotBefore)
	}
	text := e.queued(m)
	prefix, content, _ := strings.Cut(text, "Date: ")
	wantPrefix := "Authentication-Results: mx.example.org; auth=pass\n smtp.mailfrom=alice+x@example.org\n" +
		"Received: from mx.example.org by mx.example.org with ESMTPSA\n (TLS1.3 TLS_AES_128_GCM_SHA256) id " + e.opts.CIDKey.Seal(255) + "\n for <bob@example.org>; "
	if !strings.HasPrefix(prefix, wantPrefix) || strings.Contains(text, "192.0.2.77") {
		t.Errorf("got prefix %q, want %q and a date", prefix, wantPrefix)
	}
	_, content, _ = strings.Cut(content, "\n")
	wantContent := "Message-ID: <AAAAAAAAAAAAAAAAAAAAAA@mx.example.org>\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\nFrom: Alice <alice@example.org>\nTo: us\n\nhi\n.\n"
	if content != wantContent {
		t.Errorf("got content %q, want %q", content, wantContent)
	}
	for _, field := range []string{`msg="message submitted"`, "account=alice", "remote=192.0.2.77", "cid=ff", "rcptto=bob@example.org"} {
		if !strings.Contains(e.log.String(), field) {
			t.Errorf("the log has no %s: %s", field, e.log)
		}
	}
}

// beforeDate is the end of a Received field that names no recipient: the ";" is
// there all the same.
var beforeDate = regexp.MustCompile(`with ESMTPSA\r\n id [-_A-Za-z0-9]{22}; [A-Z][a-z]{2}, [0-9: A-Za-z]+ [-+][0-9]{4}\r\n$`)

// TestFields looks at single things in what is queued.
func TestFields(t *testing.T) {
	t.Parallel()
	yes := true
	for _, tc := range []struct {
		name    string
		from    string
		content string
		change  func(*Transaction)
		check   func(m queue.Message) bool
		has     []string // Parts of the text.
		hasNot  []string
		to      []string
	}{
		{name: "several recipients", from: "alice@example.org", content: whole, to: []string{"bob@example.org", "x@b.example", "bob@example.org"},
			hasNot: []string{"for <", "b.example"},
			check:  func(m queue.Message) bool { return beforeDate.Match(m.Prefix) }},
		{name: "the null sender", content: whole, has: []string{"Authentication-Results: mx.example.org; auth=pass\nReceived: "}, hasNot: []string{"smtp.mailfrom"}},
		{name: "postmaster", from: "alice@example.org", content: whole, to: []string{"postmaster"},
			check: func(m queue.Message) bool {
				return m.Rcpt == "postmaster@mx.example.org" && m.Domain == "mx.example.org"
			}},
		{name: "plain text", from: "alice@example.org", content: whole, hasNot: []string{"(TLS"},
			check: func(m queue.Message) bool {
				return !m.EightBit && !m.SMTPUTF8 && m.RequireTLS == nil && m.MessageID == "<1@example.org>"
			}},
		{name: "8 bits in the body", from: "alice@example.org", content: whole + "é\n",
			check: func(m queue.Message) bool { return m.EightBit && !m.SMTPUTF8 }},
		{name: "UTF-8 in the header", from: "alice@example.org", content: "Subject: é\n" + whole, has: []string{"with UTF8SMTPSA\n id"},
			check: func(m queue.Message) bool { return m.EightBit && m.SMTPUTF8 && m.Subject == "é" }},
		{name: "another charset in the header", from: "alice@example.org", content: "Subject: \xe9\n" + whole, has: []string{"with ESMTPSA\n id"},
			check: func(m queue.Message) bool { return m.EightBit && !m.SMTPUTF8 }},
		{name: "UTF-8 only in what is removed", from: "alice@example.org", content: "Bcc: é\n" + whole,
			check: func(m queue.Message) bool { return !m.EightBit && !m.SMTPUTF8 }},
		{name: "SMTPUTF8 that isn't needed", from: "alice@example.org", content: whole, change: func(tx *Transaction) { tx.SMTPUTF8 = true },
			check: func(m queue.Message) bool { return !m.SMTPUTF8 }},
		{name: "a recipient that needs SMTPUTF8", from: "alice@example.org", content: whole, to: []string{"é@b.example"}, has: []string{"for <é@b.example>; "},
			check: func(m queue.Message) bool { return m.SMTPUTF8 && !m.EightBit }},
		{name: "a sender that needs SMTPUTF8", from: "jürgen@bücher.example", content: whole, has: []string{"smtp.mailfrom=jürgen@bücher.example"},
			check: func(m queue.Message) bool { return m.SMTPUTF8 }},
		{name: "a domain beyond ASCII", from: "alice@example.org", content: whole, to: []string{"x@bücher.test"}, has: []string{"for <x@xn--bcher-kva.test>;"},
			check: func(m queue.Message) bool {
				return !m.SMTPUTF8 && m.Rcpt == "x@bücher.test" && m.Domain == "xn--bcher-kva.test"
			}},
		{name: "TLS is not required", from: "alice@example.org", content: "TLS-Required: No\n" + whole,
			check: func(m queue.Message) bool { return m.RequireTLS != nil && !*m.RequireTLS }},
		{name: "TLS is not required and required", from: "alice@example.org", content: "TLS-Required: No\n" + whole, change: func(tx *Transaction) { tx.RequireTLS = &yes },
			check: func(m queue.Message) bool { return m.RequireTLS != nil && *m.RequireTLS }},
		{name: "what webhooks are told", from: "alice@example.org", content: "X-Mox-Extra-Order: 17\n" + whole, has: []string{"X-Mox-Extra-Order: 17\n"},
			check: func(m queue.Message) bool { return len(m.Extra) == 1 && m.Extra["Order"] == "17" }},
		{name: "a sender that is another", from: "alice@example.org", content: "Sender: bob@example.org\n" + whole, hasNot: []string{"Sender"}},
		{name: "a sender that isn't one", from: "alice@example.org", content: "Sender: x\nSender: y\n" + whole, hasNot: []string{"Sender"}},
		{name: "a sender of the account", from: "alice@example.org", content: "Sender: alice+x@example.org\n" + whole, has: []string{"Sender: alice+x@example.org\n"}},
		{name: "Return-Path", from: "alice@example.org", content: "Return-Path: <alice@example.org>\n" + whole, hasNot: []string{"Return-Path"}},
		{name: "a date that can't be read", from: "alice@example.org", content: strings.Replace(whole, "Fri, 02 Jan 2026 03:04:05 +0000", "yesterday", 1), has: []string{"Date: yesterday\n"}, hasNot: []string{"Date: F"}},
		{name: "no body", from: "alice@example.org", content: "From: alice@example.org\n", has: []string{"\nFrom: alice@example.org\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, nil)
			tx := e.begin("alice", tc.from)
			if tc.change != nil {
				tc.change(tx)
			}
			if tc.to == nil {
				tc.to = []string{"x@b.test"}
			}
			queued, err := e.send(tx, tc.content, tc.to...)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{true: 2, false: 1}[len(tc.to) > 1]; len(queued) != want {
				t.Errorf("got %d messages, want %d", len(queued), want)
			}
			for _, m := range queued {
				text := e.queued(m)
				if tc.check != nil && !tc.check(m) {
					t.Errorf("got %+v", m)
				}
				for _, part := range tc.has {
					if !strings.Contains(text, part) {
						t.Errorf("got %q, which doesn't have %q", text, part)
					}
				}
				for _, part := range tc.hasNot {
					if strings.Contains(text, part) {
						t.Errorf("got %q, which has %q", text, part)
					}
				}
				if string(m.Prefix) != string(queued[0].Prefix) || m.ContentID != queued[0].ContentID {
					t.Errorf("recipients don't share prefix and content: %+v, %+v", m, queued[0])
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	pedantic := newEnv(t, func(o *Options) { o.Pedantic = true })
	e := newEnv(t, nil)
	for _, tc := range []struct {
		name    string
		env     *env
		content string
		want    string
		cause   error
	}{
		{"no From", e, "To: x\n\nhi\n", "554 5.6.0 message needs one From header field, not 0", ErrMessage},
		{"From another account", e, "From: bob@example.org\n\nhi\n", "550 5.7.1 your account may not send from this address: \"bob@example.org\"", ErrSender},
		{"From a disabled domain", e, "From: x@disabled.example\n\nhi\n", "451 4.3.0 no mail is sent from this domain now: \"x@disabled.example\"", ErrDisabled},
		{"two From", e, "From: alice@example.org\nFrom: bob@example.org\n\nhi\n", "554 5.6.0", ErrMessage},
		{"no header", e, "hi\n", "554 5.6.0 message has no header", ErrMessage},
		{"nothing", e, "", "554 5.6.0 message has no header", ErrMessage},
		{"in circles", e, strings.Repeat("Received: x\n", 101) + whole, "550 5.4.6 message is going in circles", ErrMessage},
		{"a large header", e, strings.Repeat("X: "+long(1000)+"\n", 1100) + whole, "552 5.3.4 header is larger than 1048576 bytes", ErrMessage},
		{"Return-Path, pedantic", pedantic, "Return-Path: <>\n" + whole, "554 5.6.0 Return-Path header field is for servers to write", ErrMessage},
		{"a sender that is another, pedantic", pedantic, "Sender: bob@example.org\n" + whole, "550 5.7.1 your account may not send from this address: \"bob@example.org\"", ErrSender},
		{"a sender that isn't one, pedantic", pedantic, "Sender: x, y\n" + whole, "554 5.6.0 Sender header field needs one address", ErrMessage},
		{"a long line, pedantic", pedantic, "X: " + long(996) + "\n" + whole, "554 5.6.0 header field \"X\" has a line of more than 998 bytes", ErrMessage},
	} {
		_, err := tc.env.send(tc.env.begin("alice", "alice@example.org"), tc.content, "x@b.example")
		checkError(t, tc.name, err, tc.want, tc.cause)
	}
	_, err := e.send(e.begin("alice", "alice@example.org"), whole)
	checkError(t, "no recipients", err, "554 5.5.1 no valid recipients", ErrRecipient)
	if n := e.count() + pedantic.count(); n != 0 {
		t.Errorf("%d messages are in the queue, want none", n)
	}
	if got := e.counted(); got["badmessage"] != 6 || got["ok"] != 0 {
		t.Errorf("counted %v, want 6 bad messages", got)
	}
	if !strings.Contains(e.log.String(), `msg="message refused"`) || !strings.Contains(e.log.String(), "reason=badfrom") {
		t.Errorf("got log %s", e.log)
	}
}

// TestTrouble has the queue fail in ways that are not the user's fault.
func TestTrouble(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	tx := e.begin("bob", "")
	tx.Rcpts = []smtp.Path{path(t, "x@b.example")}
	content := strings.NewReader("From: bob@example.org\r\n\r\n")
	submit := func(size int64) error {
		_, err := e.Submit(t.Context(), tx, content, size)
		return err
	}
	e.free = 0
	for range 20 { // More than bob may send: failures don't count.
		checkError(t, "no room", submit(content.Size()), "452 4.3.1 not enough room now", ErrRoom)
	}
	e.free = 1 << 40
	if err := submit(content.Size() + 1); err == nil || Result(err) != "error" {
		t.Errorf("content that is too short: got %v, want trouble of ours", err)
	}
	tx.Peer.Account = "nobody"
	e.opts.CatchAllAccount = "nobody"
	if err := submit(content.Size()); err == nil || Result(err) != "error" {
		t.Errorf("an account that isn't there: got %v, want trouble of ours", err)
	}
	tx.Peer.Account = "bob"
	if err := submit(content.Size()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Submit(ctx, tx, content, content.Size()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if err := e.queue.Close(); err != nil {
		t.Fatal(err)
	}
	checkError(t, "a closed queue", submit(content.Size()), "451 4.3.2 shutting down, please try again later", ErrRoom)
}

// TestSpecials tries the names that fail, in localserve.
func TestSpecials(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(o *Options) { o.Specials, o.CatchAllAccount, o.Unlimited = true, "mox", true })
	for _, tc := range []struct{ name, from, to, want string }{
		{"nothing special", "a@b.example", "x@b.example", ""},
		{"at MAIL", "mailfrom452@b.example", "x@b.example", "452 4.0.0 as the recipient asks for"},
		{"at RCPT", "a@b.example", "rcpttopermerror@b.example", "550 5.0.0 as the recipient asks for"},
		{"at the end of the message", "a@b.example", "temperror@b.example", "451 4.0.0 as the recipient asks for"},
		{"in the queue", "a@b.example", "queuepermerror@b.example", ""},
		{"a sender that is only special as a recipient", "temperror@b.example", "x@b.example", ""},
	} {
		before := e.count()
		_, err := e.send(e.begin("mox", tc.from), whole, tc.to)
		checkError(t, tc.name, err, tc.want, ErrSpecial)
		if got := e.count() - before; (got == 1) != (tc.want == "") {
			t.Errorf("%s: %d messages queued", tc.name, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Recipient(ctx, e.begin("mox", ""), path(t, "rcpttotimeout@b.example")); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for nobody: got %v", err)
	}
	plain := newEnv(t, nil)
	if _, err := plain.send(plain.begin("alice", ""), whole, "rcpttotemperror@b.example"); err != nil {
		t.Errorf("outside of localserve: got %v", err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{Registerer: prometheus.NewRegistry()}); err == nil {
		t.Error("got a Submitter without options")
	}
	e := newEnv(t, nil)
	opts := e.opts
	if _, err := New(opts); err == nil {
		t.Error("registered metrics twice")
	}
	got := e.counted()
	for _, name := range Results() {
		if n, ok := got[name]; !ok || n != 0 {
			t.Errorf("result %s is counted as %v from the start, %v", name, n, ok)
		}
	}
}

// TestFutureLimit refuses messages with a time of release when there are too many,
// at MAIL and again when the message is there; others are taken.
func TestFutureLimit(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(o *Options) { o.Unlimited = true })
	const want = "552 5.7.16 your account has as many messages waiting for their release as it may have: 5000"
	send := func(hold time.Duration, n int) error {
		tx := e.begin("alice", "alice@example.org")
		if hold > 0 {
			tx.NotBefore = time.Now().Add(hold)
		}
		if err := e.Sender(t.Context(), tx); err != nil {
			return err
		}
		var to []string
		for i := range n {
			to = append(to, fmt.Sprintf("%d@b.example", i))
		}
		queued, err := e.send(tx, whole, to...)
		if err == nil && (queued[0].FutureRelease != "") != (hold > 0) {
			t.Errorf("got %+v", queued[0])
		}
		return err
	}
	if err := send(time.Hour, queue.FutureMax-1); err != nil {
		t.Fatal(err)
	}
	checkError(t, "one recipient too many", send(time.Hour, 2), want, ErrFutureLimit)
	checkError(t, "as many as may be", send(time.Hour, 1), "", nil)
	checkError(t, "one message more", e.Sender(t.Context(), &Transaction{Peer: e.begin("alice", "").Peer, NotBefore: time.Now().Add(time.Hour)}), want, ErrFutureLimit)
	checkError(t, "without a time", send(0, 1), "", nil)
	e.restart()
	checkError(t, "after a restart", send(time.Hour, 1), want, ErrFutureLimit)
}

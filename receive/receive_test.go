package receive

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// outcome is "ok", or the codes of a refusal.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*smtp.Error](err); ok {
		return fmt.Sprintf("%d %s", e.Code, e.Enhanced)
	}
	return err.Error()
}

func TestResolve(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	catch := newEnv(t, func(o *Options) { o.CatchAllAccount = "mox" })
	for _, tc := range []struct{ name, to, want, places, catch string }{
		{"an address", "alice@example.org", "ok", "alice:Inbox:alice@example.org", ""},
		{"an address with its mailbox", "alice.too@example.org", "ok", "alice:Too:alice.too@example.org", ""},
		{"upper case", "ALICE@EXAMPLE.ORG", "ok", "alice:Inbox:alice@example.org", ""},
		{"upper case where it matters", "bob@case.example", "550 5.1.1", "", "mox::bob@case.example"},
		{"a separator", "alice+shop@example.org", "ok", "alice:Inbox:alice@example.org", ""},
		{"another separator", "alice--a+b@example.org", "ok", "alice:Inbox:alice@example.org", ""},
		{"characters beyond ASCII", "Jürgen@bücher.example", "ok", "alice:Inbox:jürgen@bücher.example", ""},
		{"an alias", "list@example.org", "ok", "alice:Inbox:alice@example.org bob:Inbox:bob@example.org", ""},
		{"an alias of addresses that refuse", "nobody@example.org", "550 5.1.1", "", ""},
		{"a catch-all", "Any.One@all.example", "ok", "carol:All:any.one@all.example", ""},
		{"postmaster", "postmaster", "ok", "mox:Postmaster:postmaster@mx.example.org", ""},
		{"postmaster of the host", "Postmaster@mx.example.org", "ok", "mox:Postmaster:postmaster@mx.example.org", ""},
		{"postmaster of a domain", "postmaster@example.org", "ok", "mox:Postmaster:postmaster@example.org", ""},
		{"an unknown user", "nobody.here@example.org", "550 5.1.1", "", "mox::nobody.here@example.org"},
		{"an unknown domain", "Alice@elsewhere.example", "550 5.1.1", "", "mox::Alice@elsewhere.example"},
		{"an address literal", "alice@[192.0.2.1]", "550 5.1.1", "", "mox::alice@[192.0.2.1]"},
		{"a disabled domain", "x@disabled.example", "450 4.2.1", "", ""},
		{"an address that refuses", "gone@example.org", "550 5.1.1", "", ""},
		{"an address that defers", "later@example.org", "451 4.3.0", "", ""},
	} {
		if tc.catch == "" {
			tc.catch = tc.places
		}
		for name, c := range map[string]struct {
			e            *env
			want, places string
		}{"": {e, tc.want, tc.places}, ", with a catch-all account": {catch, tc.want, tc.catch}} {
			if c.places != "" {
				c.want = "ok"
			}
			r, err := c.e.Resolve(t.Context(), c.e.begin("a@b.example"), path(t, tc.to))
			var places []string
			for _, p := range r.places {
				places = append(places, p.account+":"+p.mailbox+":"+p.deliveredTo)
			}
			if got := strings.Join(places, " "); outcome(err) != c.want || got != c.places {
				t.Errorf("%s%s: got %v, %s", tc.name, name, err, got)
			}
		}
	}
}

func TestNullSender(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	err := e.send(e.begin(""), "Subject: failed\r\n\r\n", "alice@example.org")
	if err != nil {
		t.Error(err)
	}
	if err := e.send(e.begin(""), "Subject: failed\r\n\r\n", "alice@example.org", "bob@example.org"); outcome(err) != "452 4.5.3" {
		t.Errorf("two recipients: %v", err)
	}
	if m := e.mailbox("alice", "Inbox"); len(m) != 1 || !strings.HasPrefix(m[0].prefix, "Return-Path: <>\r\n") {
		t.Errorf("got %+v", m)
	}
}

// TestPrefix checks the fields in front of a message, and what the store is told.
func TestPrefix(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	const content = "Subject: x\r\n\r\nbody\r\n"
	if err := e.send(e.begin("sender@client.example"), content, "Alice+x@example.org"); err != nil {
		t.Fatal(err)
	}
	m := e.mailbox("alice", "Inbox")
	want := `^Return-Path: <sender@client\.example>\r\n` +
		`Delivered-To: alice@example\.org\r\n` +
		`X-Mox-Reason: no-bad-signals; nothing speaks against it\r\n` +
		`Received: from client\.example \(\[192\.0\.2\.1\]\) by mx\.example\.org \(\[IPv6:2001:db8::25\]\) with ESMTP id [-\w]{22} for <Alice\+x@example\.org>; \w+, \d\d \w+ \d{4} \d\d:\d\d:\d\d [-+]\d{4}\r\n$`
	if len(m) != 1 || !regexp.MustCompile(want).MatchString(strings.ReplaceAll(m[0].prefix, "\r\n ", " ")) || m[0].content != content {
		t.Fatalf("got %+v", m)
	}
	f := m[0].email
	if f.Facts.RemoteIP != "192.0.2.1" || f.Facts.EHLO != "client.example" || f.Facts.MailFrom != "sender@client.example" || f.Facts.RcptTo != "Alice+x@example.org" || f.Facts.Reason != "no-bad-signals" || f.Facts.CID != 255 {
		t.Errorf("facts %+v", f.Facts)
	}
	if log := e.log.String(); !strings.Contains(log, `msg="message delivered" pkg=receive cid=ff mailfrom=sender@client.example rcptto=Alice+x@example.org`) {
		t.Errorf("log %s", log)
	}
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	utf8 := "Subject: ü\r\n\r\n"
	for _, tc := range []struct {
		name    string
		change  func(*Transaction)
		content string
		want    string
	}{
		{"HELO", func(tx *Transaction) { tx.Peer.Extended = false }, "A: b\r\n\r\n", "with SMTP id"},
		{"EHLO", func(tx *Transaction) {}, "A: b\r\n\r\n", "with ESMTP id"},
		{"SMTPUTF8 that is not needed", func(tx *Transaction) { tx.SMTPUTF8 = true }, "A: b\r\n\r\nü", "with ESMTP id"},
		{"SMTPUTF8 for the header", func(tx *Transaction) { tx.SMTPUTF8 = true }, utf8, "with UTF8SMTP id"},
		{"8 bits in the header without SMTPUTF8", func(tx *Transaction) {}, utf8, "with ESMTP id"},
		{"SMTPUTF8 for the sender", func(tx *Transaction) { tx.SMTPUTF8, tx.MailFrom = true, path(t, "ü@bücher.example") }, "A: b\r\n\r\n", "<ü@bücher.example>"},
		{"a name that is none", func(tx *Transaction) { tx.Peer.Hello = smtp.Hello{Text: "my_host(x"} }, "A: b\r\n\r\n", "from [192.0.2.1] ([192.0.2.1]) by"},
	} {
		tx := e.begin("a@b.example")
		tc.change(tx)
		if err := e.send(tx, tc.content, "bob@example.org"); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		m := e.mailbox("bob", "Inbox")
		if p := strings.ReplaceAll(m[len(m)-1].prefix, "\r\n ", " "); !strings.Contains(p, tc.want) {
			t.Errorf("%s: got %q", tc.name, p)
		}
	}
}

// TestManyRecipients checks that each place gets one copy of one content.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	const author = "From: Alice <ALICE+work@example.org>\r\n\r\nhello\r\n"
	const other = "From: x@elsewhere.example\r\n\r\nhello\r\n"
	for _, tc := range []struct {
		name, content   string
		to              []string
		alice, bob, too int
		want            string
	}{
		{"two accounts", other, []string{"alice@example.org", "bob@example.org"}, 1, 1, 0, "ok"},
		{"one address twice", other, []string{"alice@example.org", "Alice@Example.org"}, 1, 0, 0, "ok"},
		{"one address with separators", other, []string{"alice+a@example.org", "alice+b@example.org"}, 1, 0, 0, "ok"},
		{"two addresses of an account", other, []string{"alice@example.org", "alice.too@example.org"}, 1, 0, 1, "ok"},
		{"an alias", other, []string{"list@example.org"}, 1, 1, 0, "ok"},
		{"an alias and a member", other, []string{"list@example.org", "bob@example.org"}, 1, 1, 0, "ok"},
		{"a member and an alias", other, []string{"alice@example.org", "list@example.org"}, 1, 1, 0, "ok"},
		{"an alias twice", other, []string{"list@example.org", "list@example.org"}, 1, 1, 0, "ok"},
		{"an alias from a member", author, []string{"list@example.org"}, 0, 1, 0, "ok"},
		{"an alias from a member, to itself too", author, []string{"list@example.org", "alice@example.org"}, 1, 1, 0, "ok"},
		{"an alias for members from a member", author, []string{"members@example.org"}, 0, 1, 0, "ok"},
		{"an alias for members from elsewhere", other, []string{"members@example.org"}, 0, 0, 0, "550 5.7.2"},
		{"one that refuses and one that doesn't", other, []string{"members@example.org", "bob@example.org"}, 0, 0, 0, "550 5.7.2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, nil)
			if err := e.send(e.begin("a@b.example"), tc.content, tc.to...); outcome(err) != tc.want {
				t.Fatalf("got %v", err)
			}
			alice, bob, too := e.mailbox("alice", "Inbox"), e.mailbox("bob", "Inbox"), e.mailbox("alice", "Too")
			if len(alice) != tc.alice || len(bob) != tc.bob || len(too) != tc.too {
				t.Errorf("alice %d, bob %d, too %d", len(alice), len(bob), len(too))
			}
			for _, m := range alice {
				if m.content != tc.content || !strings.Contains(m.prefix, "Delivered-To: alice@example.org\r\n") || len(tc.to) > 1 && strings.Contains(m.prefix, " for ") {
					t.Errorf("got %+v", m)
				}
			}
		})
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	hops := func(n int) string { return strings.Repeat("Received: from x by y; z\r\n", n) }
	for _, tc := range []struct{ name, content, want string }{
		{"100 hops", hops(100) + "\r\n", "ok"},
		{"101 hops", hops(101) + "\r\n", "550 5.4.6"},
		{"101 hops in the body", hops(1) + "\r\n" + hops(100), "ok"},
		{"a header of 1 MiB", "A: " + strings.Repeat("x", 1<<20-7) + "\r\n\r\nbody", "ok"},
		{"a header of 1 MiB and a byte", "A: " + strings.Repeat("x", 1<<20-6) + "\r\n\r\nbody", "552 5.3.4"},
		{"a large message without blank line", "A: b\r\n" + strings.Repeat("\tx\r\n", 1<<19), "552 5.3.4"},
		{"nothing", "", "ok"},
		{"only a body", "hello\r\nworld\r\n", "ok"},
		{"only a large body", strings.Repeat("hello\r\n", 1<<18), "ok"},
		{"a fold first", " x\r\nA: b\r\n\r\n", "ok"},
		{"an empty header", "\r\nbody\r\n", "ok"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, nil)
			if err := e.send(e.begin("a@b.example"), tc.content, "alice@example.org"); outcome(err) != tc.want {
				t.Fatalf("got %v", err)
			}
			m := e.mailbox("alice", "Inbox")
			if tc.want != "ok" {
				if len(m) != 0 {
					t.Error("delivered")
				}
				return
			}
			if len(m) != 1 || m[0].content != tc.content {
				t.Fatalf("%d messages", len(m))
			}
			// What was sent begins where it should, whoever reads it.
			_, ok := strings.CutSuffix(m[0].prefix, "\r\n\r\n")
			if fenced := tc.content == "" || strings.HasPrefix(tc.content, "hello") || strings.HasPrefix(tc.content, " x"); ok != fenced {
				t.Errorf("prefix %q", m[0].prefix)
			}
		})
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.quota["alice"] = 10000
	body := "A: b\r\n\r\n" + strings.Repeat("x", 12000)
	tx := e.begin("a@b.example")
	tx.Size = 10000
	if _, err := e.Resolve(t.Context(), tx, path(t, "alice@example.org")); err != nil {
		t.Errorf("room for what was announced: %v", err)
	}
	tx.Size = 10001
	if _, err := e.Resolve(t.Context(), tx, path(t, "alice@example.org")); outcome(err) != "452 4.2.2" {
		t.Errorf("no room for what was announced: %v", err)
	}
	if _, err := e.Resolve(t.Context(), tx, path(t, "list@example.org")); err != nil {
		t.Errorf("a list with room for one: %v", err)
	}
	if err := e.send(e.begin("a@b.example"), body, "alice@example.org", "bob@example.org"); outcome(err) != "452 4.2.2" {
		t.Errorf("no room for what came: %v", err)
	}
	if n := len(e.mailbox("bob", "Inbox")); n != 0 {
		t.Errorf("bob has %d messages", n)
	}
	if err := e.send(e.begin("a@b.example"), body, "list@example.org"); err != nil {
		t.Errorf("a list of which one has no room: %v", err)
	}
	if a, b := len(e.mailbox("alice", "Inbox")), len(e.mailbox("bob", "Inbox")); a != 0 || b != 1 {
		t.Errorf("alice has %d, bob %d", a, b)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	r := newRates()
	now := time.Unix(1_800_000_000, 0)
	peer := netip.MustParseAddr("192.0.2.1")
	for i := range 500 {
		if r.over(now, "alice", peer, 1000) {
			t.Fatalf("message %d is too much", i+1)
		}
	}
	if !r.over(now, "alice", peer, 1000) || r.over(now, "bob", peer, 1000) || r.over(now.Add(time.Minute), "alice", peer, 1000) {
		t.Error("the 501st message of a minute, and those beside it")
	}
	if r.over(now, "carol", peer, 1e9) || !r.over(now, "carol", peer, 1) {
		t.Error("a gigabyte in a minute")
	}
	if r.over(now, "alice", netip.Addr{}, 1e12) {
		t.Error("the queue is limited")
	}
}

// TestRateRefuses uses up a day's share, so that no minute's end comes between.
func TestRateRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	tx := e.begin("a@b.example")
	for range 30 {
		e.rates.over(time.Now(), "alice", tx.Peer.IP, 1e8)
	}
	e.rates.accounts["alice"].bytes.Add(time.Now(), tx.Peer.IP, 3e9)
	const content = "A: b\r\n\r\n"
	if err := e.send(tx, content, "alice@example.org"); outcome(err) != "452 4.2.2" {
		t.Errorf("over the rate: %v", err)
	}
	if err := e.send(e.begin("a@b.example"), content, "bob@example.org"); err != nil {
		t.Errorf("to another account: %v", err)
	}
	tx = e.begin("a@b.example")
	tx.Peer.Exempt = true
	if err := e.send(tx, content, "alice@example.org"); err != nil {
		t.Errorf("exempt: %v", err)
	}
}

// TestCombine checks the one reply for recipients that were refused.
func TestCombine(t *testing.T) {
	t.Parallel()
	tx := &Transaction{}
	for _, to := range []string{"a@b.example", "b@b.example", "postmaster"} {
		tx.Rcpts = append(tx.Rcpts, Recipient{Path: path(t, to)})
	}
	no := func(code int, text string) screen.Verdict {
		return screen.Verdict{Code: code, Enhanced: smtp.Enhanced(code, "0.0"), Text: text}
	}
	yes := screen.Verdict{Action: screen.Accept}
	for _, tc := range []struct {
		name     string
		verdicts []screen.Verdict
		want     string
	}{
		{"the same for all", []screen.Verdict{no(550, "no"), no(550, "no"), no(550, "no")}, "550 5.0.0 no"},
		{"one of several", []screen.Verdict{yes, no(550, "no"), yes}, "550 5.0.0 no"},
		{"two for good", []screen.Verdict{no(550, "no"), no(552, "never"), yes}, "554 5.0.0 <a@b.example>: 550 5.0.0 no\n<b@b.example>: 552 5.0.0 never"},
		{"one for now", []screen.Verdict{no(550, "no"), yes, no(452, "later")}, "451 4.0.0 <a@b.example>: 550 5.0.0 no\n<postmaster>: 452 4.0.0 later"},
	} {
		d := &delivery{t: tx, verdicts: tc.verdicts}
		if e := d.combine(); fmt.Sprintf("%d %s %s", e.Code, e.Enhanced, e.Text) != tc.want {
			t.Errorf("%s: got %q", tc.name, e)
		}
	}
}

func TestLarge(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	for _, size := range []int{store.InlineMax - 1, store.InlineMax, store.InlineMax + 1, 3 * store.InlineMax} {
		for _, announced := range []int64{-1, 10, int64(size), 1 << 60} {
			content := "Subject: " + fmt.Sprint(size) + "\r\n\r\n"
			content += strings.Repeat("y", size-len(content))
			tx := e.begin("a@b.example")
			tx.Size = announced
			if announced > 1<<50 {
				tx.Size = -1
			}
			if err := e.send(tx, content, "alice@example.org", "bob@example.org"); err != nil {
				t.Fatal(err)
			}
			for _, account := range []string{"alice", "bob"} {
				m := e.mailbox(account, "Inbox")
				if got := m[len(m)-1]; got.content != content {
					t.Errorf("%s: size %d, announced %d: got %d bytes", account, size, announced, len(got.content))
				}
			}
		}
	}
}

func TestSpool(t *testing.T) {
	t.Parallel()
	dir, memory := t.TempDir(), &atomic.Int64{}
	s := &Spool{dir: dir, memory: memory, hint: 1 << 40}
	s.Write(make([]byte, 10))
	if cap(s.buf) > spoolFirst {
		t.Errorf("%d bytes for 10 of an announced terabyte", cap(s.buf))
	}
	exact := &Spool{dir: dir, memory: memory, hint: 10240}
	for range 10 {
		exact.Write(make([]byte, 1024))
	}
	if cap(exact.buf) != 10240 {
		t.Errorf("room for %d bytes of an announced message of 10240", cap(exact.buf))
	}
	gone := &Spool{dir: dir + "/none", memory: memory, hint: -1}
	if _, err := gone.Write(make([]byte, spoolMemoryMax+1)); err == nil {
		t.Error("no error without a directory")
	}
	held := memory.Load()
	if held != int64(cap(s.buf)+cap(exact.buf)) {
		t.Errorf("%d bytes are counted", held)
	}
	// Without memory left a small message goes to a file too.
	memory.Store(spoolMemoryAllMax)
	full := &Spool{dir: dir, memory: memory, hint: -1}
	if _, err := full.Write([]byte("hello")); err != nil || full.file == nil {
		t.Errorf("got %v", err)
	}
	if b, err := full.head(10); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
	memory.Store(held)
	for _, s := range []*Spool{s, exact, gone, full} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := memory.Load(); n != 0 {
		t.Errorf("%d bytes are counted at the end", n)
	}
}

func TestSpecials(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		localpart smtp.Localpart
		want      special
	}{
		{"temperror", special{stageData, 451, 0}},
		{"anything-temperror", special{stageData, 451, 0}},
		{"PermError", special{stageData, 550, 0}},
		{"timeout", special{stageData, 451, time.Hour}},
		{"x452", special{stageData, 452, 0}},
		{"599", special{stageData, 599, 0}},
		{"mailfrom550", special{stageMail, 550, 0}},
		{"mailfromtimeout", special{stageMail, 451, time.Hour}},
		{"rcptto-421", special{stageRcpt, 421, 0}},
		{"queuepermerror", special{stageQueue, 550, 0}},
		{"250", special{}},
		{"x1452", special{}},
		{"x45", special{}},
		{"600", special{}},
		{"", special{}},
		{"queue", special{}},
		{"temperror1", special{}},
		{"alice", special{}},
	} {
		if got, ok := parseSpecial(tc.localpart); got != tc.want || ok != (tc.want != special{}) {
			t.Errorf("%s: got %+v, %v", tc.localpart, got, ok)
		}
	}
}

func TestSpecialRecipients(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(o *Options) { o.Specials, o.CatchAllAccount = true, "mox" })
	for _, tc := range []struct{ name, from, to, mail, rcpt, data string }{
		{"an ordinary one", "a@b.example", "x@y.example", "ok", "ok", "ok"},
		{"at the end", "a@b.example", "temperror@y.example", "ok", "ok", "451 4.0.0"},
		{"at RCPT", "a@b.example", "rcptto552@y.example", "ok", "552 5.0.0", ""},
		{"at MAIL", "mailfrom554@b.example", "x@y.example", "554 5.0.0", "", ""},
		{"later, from the queue", "a@b.example", "queuepermerror@y.example", "ok", "ok", "ok"},
		{"a sender is not a recipient", "temperror@b.example", "x@y.example", "ok", "ok", "ok"},
	} {
		tx := e.begin(tc.from)
		if err := e.Sender(t.Context(), tx); outcome(err) != tc.mail {
			t.Errorf("%s: MAIL: %v", tc.name, err)
		}
		if tc.mail != "ok" {
			continue
		}
		_, err := e.Resolve(t.Context(), tx, path(t, tc.to))
		if outcome(err) != tc.rcpt {
			t.Errorf("%s: RCPT: %v", tc.name, err)
		}
		if tc.rcpt != "ok" {
			continue
		}
		if err := e.send(tx, "A: b\r\n\r\n", tc.to); outcome(err) != tc.data {
			t.Errorf("%s: DATA: %v", tc.name, err)
		}
	}
	if n := len(e.mailbox("mox", "Inbox")); n != 3 {
		t.Errorf("%d messages", n)
	}
	plain := newEnv(t, nil)
	if err := plain.Sender(t.Context(), plain.begin("mailfrom554@b.example")); err != nil {
		t.Errorf("without the option: %v", err)
	}
}

// TestRoom checks the limit on copies.
func TestRoom(t *testing.T) {
	t.Parallel()
	many := Recipient{places: make([]place, placesMax-1)}
	again := Recipient{places: many.places, again: true}
	one := Recipient{places: make([]place, 1)}
	tx := &Transaction{Rcpts: []Recipient{many, again}}
	if err := tx.room(one); err != nil {
		t.Errorf("as many as allowed: %v", err)
	}
	tx.Rcpts = append(tx.Rcpts, one)
	if err := tx.room(one); outcome(err) != "452 4.5.3" {
		t.Errorf("one more: %v", err)
	}
	if err := tx.room(again); err != nil {
		t.Errorf("one that is there already: %v", err)
	}
	if err := (&Transaction{}).room(Recipient{places: make([]place, placesMax+1)}); err != nil {
		t.Errorf("the first: %v", err)
	}
}

// TestSpecialTimeout runs in a bubble, where an hour takes no time.
func TestSpecialTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s, _ := parseSpecial("timeout")
		if err := s.fail(t.Context()); outcome(err) != "451 4.0.0" || time.Since(start) != time.Hour {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestMetricsAndOptions(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	e := newEnv(t, func(o *Options) { o.Registerer = reg })
	if err := e.send(e.begin("a@b.example"), "A: b\r\n\r\n", "alice@example.org", "bob@example.org"); err != nil {
		t.Fatal(err)
	}
	_ = e.send(e.begin("a@b.example"), "A: b\r\n\r\n", "unknown@example.org")
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "mox_smtpserver_delivery_total" {
		t.Fatalf("got %v, %v", families, err)
	}
	var got []string
	for _, m := range families[0].GetMetric() {
		got = append(got, fmt.Sprintf("%s=%g", m.GetLabel()[0].GetValue()+"/"+m.GetLabel()[1].GetValue(), m.GetCounter().GetValue()))
	}
	if want := "/error=0 no-bad-signals/accept=2 unknown-user/refuse=1"; strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no options are enough")
	}
	o := e.opts
	if _, err := New(o); err == nil {
		t.Error("metrics registered twice")
	}
}

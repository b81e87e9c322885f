package receive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

const (
	ofAlice   = "From: Alice <alice@example.org>\r\nSubject: x\r\n\r\nhello\r\n"
	ofForeign = "From: x@elsewhere.example\r\n\r\nhello\r\n"
)

// TestHandOver checks what comes of recipients, and who has the message then.
func TestHandOver(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, content string
		to            []string
		want          string
		count         [3]int
	}{
		{"an address", ofAlice, []string{"bob@example.org 1"}, "ok bob", [3]int{0, 1, 0}},
		{"one's own address", ofAlice, []string{"alice+x@example.org 1"}, "ok alice", [3]int{1, 0, 0}},
		{"two addresses", ofAlice, []string{"bob@example.org 1", "alice@example.org 2"}, "ok bob, ok alice", [3]int{1, 1, 0}},
		{"one address in two spellings", ofAlice, []string{"bob@example.org 1", "BOB+x@example.org 2"}, "ok bob, ok", [3]int{0, 1, 0}},
		{"an alias, of which the author is a member", ofAlice, []string{"list@example.org 1"}, "ok bob", [3]int{0, 1, 0}},
		{"an alias", ofForeign, []string{"list@example.org 1"}, "ok alice bob", [3]int{1, 1, 0}},
		{"an alias and a member", ofForeign, []string{"list@example.org 1", "bob@example.org 2"}, "ok alice, ok bob", [3]int{1, 1, 0}},
		{"an alias twice", ofForeign, []string{"list@example.org 1", "list@example.org 2"}, "ok alice bob, ok", [3]int{1, 1, 0}},
		{"an alias for members", ofAlice, []string{"members@example.org 1"}, "ok bob", [3]int{0, 1, 0}},
		{"an alias for members, from elsewhere, and an address", ofForeign, []string{"members@example.org 1", "bob@example.org 2"}, "550 5.7.2, ok bob", [3]int{0, 1, 0}},
		{"an unknown address, and one that isn't", ofAlice, []string{"unknown@example.org 1", "bob@example.org 2"}, "550 5.1.1, ok bob", [3]int{0, 1, 0}},
		{"a disabled domain", ofAlice, []string{"x@disabled.example 1"}, "450 4.2.1", [3]int{}},
		{"an address that refuses, twice", ofAlice, []string{"gone@example.org 1", "gone@example.org 2"}, "550 5.1.1, 550 5.1.1", [3]int{}},
		{"a domain that is not ours any more", ofAlice, []string{"x@elsewhere.example 1"}, `handing over to "x@elsewhere.example": not a domain of ours any more`, [3]int{}},
		{"100 hops", strings.Repeat("Received: x\r\n", 99) + "\r\n", []string{"bob@example.org 1"}, "ok bob", [3]int{0, 1, 0}},
		{"101 hops", strings.Repeat("Received: x\r\n", 100) + "\r\n", []string{"bob@example.org 1"}, "550 5.4.6", [3]int{}},
		{"a large header", "A: b\r\n" + strings.Repeat("\tx\r\n", HeaderSizeMax/4), []string{"bob@example.org 1", "list@example.org 2"}, "552 5.3.4, 552 5.3.4", [3]int{}},
		{"nothing", "", []string{"bob@example.org 1"}, "ok bob", [3]int{0, 1, 0}},
		{"a large message", ofAlice + strings.Repeat("x\r\n", 1<<20), []string{"bob@example.org 1"}, "ok bob", [3]int{0, 1, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, nil)
			h := e.handover("alice@example.org", tc.content, tc.to...)
			if got := e.handOver(h); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if got := e.count(); got != tc.count {
				t.Errorf("accounts have %d, want %d", got, tc.count)
			}
			if got := e.handOver(h); got != tc.want {
				t.Errorf("again: got %q, want %q", got, tc.want)
			}
			if got := e.count(); got != tc.count {
				t.Errorf("again: accounts have %d, want %d", got, tc.count)
			}
			for _, m := range e.mailbox("bob", "Inbox") {
				if m.content != tc.content {
					t.Errorf("got %.300q, want %.300q", m.content, tc.content)
				}
			}
		})
	}
}

// TestExpanded checks which recipients count as lists: those that more than one
// address stands behind, whoever of them gets a copy.
func TestExpanded(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	to := map[string]bool{
		"bob@example.org 1": false, "list@example.org 2": true, "LIST@example.org 3": true, "members@example.org 4": true, "self@example.org 5": false, "unknown@example.org 6": false,
	}
	for rcpt, want := range to {
		for range 2 { // Whether it is delivered or was before.
			if got := e.HandOver(t.Context(), e.handover("alice@example.org", ofAlice, rcpt))[0].Expanded; got != want {
				t.Errorf("%s: got %v", rcpt, got)
			}
		}
	}
}

// TestHandOverPrefix checks the fields in front of a copy, and what the store is told.
func TestHandOverPrefix(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	const received = "Received: by x; now\r\n"
	for _, tc := range []struct {
		name, from, content, want string
		utf8                      bool
	}{
		{"a message", "alice@example.org", ofAlice, "Return-Path: <alice@example.org>\r\nDelivered-To: bob@example.org\r\n" + received, false},
		{"a notification", "", ofAlice, "Return-Path: <>\r\nDelivered-To: bob@example.org\r\n" + received, false},
		{"without SMTPUTF8", "alice@bücher.example", ofAlice, "Return-Path: <alice@xn--bcher-kva.example>\r\nDelivered-To: bob@example.org\r\n" + received, false},
		{"with SMTPUTF8", "jürgen@bücher.example", ofAlice, "Return-Path: <jürgen@bücher.example>\r\nDelivered-To: bob@example.org\r\n" + received, true},
		{"a body alone", "alice@example.org", "hello", "Return-Path: <alice@example.org>\r\nDelivered-To: bob@example.org\r\n" + received + "\r\n", false},
	} {
		h := e.handover(tc.from, tc.content, "Bob+x@example.org "+tc.name)
		h.SMTPUTF8 = tc.utf8
		if got := e.handOver(h); got != "ok bob" {
			t.Fatalf("%s: got %s", tc.name, got)
		}
		list := e.mailbox("bob", "Inbox")
		m := list[len(list)-1]
		if m.prefix != tc.want {
			t.Errorf("%s: got %q", tc.name, m.prefix)
		}
		f := m.email.Facts
		if f.MailFrom != tc.from || f.RcptTo != "Bob+x@example.org" || f.SMTPUTF8 != tc.utf8 || f.CID != 255 || f.RemoteIP != "" || f.Reason != "no-bad-signals" {
			t.Errorf("%s: facts %+v", tc.name, f)
		}
	}
	h := e.handover("alice@example.org", ofAlice, "bob@example.org large")
	h.Prefix = make([]byte, store.PrefixMax)
	if got := e.handOver(h); got != "552 5.3.4" {
		t.Errorf("a prefix without room for ours: %s", got)
	}
	h = e.handover("alice@example.org", ofAlice, "bob@example.org short")
	h.Size++
	if res := e.HandOver(t.Context(), h); res[0].Err == nil {
		t.Error("a content that is shorter than it was is taken")
	}
	h.Size -= 2
	if res := e.HandOver(t.Context(), h); res[0].Err == nil {
		t.Error("a content that is longer than it was is taken")
	}
	if err := os.Remove(h.File); err != nil {
		t.Fatal(err)
	}
	if res := e.HandOver(t.Context(), h); !errors.Is(res[0].Err, os.ErrNotExist) {
		t.Errorf("a content that is gone: %v", res[0].Err)
	}
	if names, err := filepath.Glob(filepath.Join(e.dir, "journal", "files", "*")); err != nil || len(names) != 5 {
		t.Errorf("the journal has files %v, %v", names, err)
	}
}

// TestHandOverOnce hands a message over in other ways than the first time.
func TestHandOverOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	ctx := t.Context()
	h := e.handover("x@elsewhere.example", ofForeign, "bob@example.org 1", "BOB@example.org 2", "list@example.org 3")
	first := e.HandOver(ctx, h)
	want := func(when, got, want string, count [3]int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
		if got := e.count(); got != count {
			t.Errorf("%s: accounts have %d, want %d", when, got, count)
		}
	}
	want("at first", fmt.Sprint(first[0].Err, first[1].Err, first[2].Err, len(first[2].Keys)), "<nil> <nil> <nil> 1", [3]int{1, 1, 0})
	h.To[0], h.To[1] = h.To[1], h.To[0]
	want("in another order", e.handOver(h), "ok, ok bob, ok alice", [3]int{1, 1, 0})

	// What bob had in the name of the list he had by his own address.
	if err := e.Confirm(ctx, append(first[0].Keys, queue.Handed{Account: "no-such", Key: "x"}, queue.Handed{Account: "alice", Key: "unknown"})); err != nil {
		t.Error(err)
	}
	if err := e.Confirm(ctx, nil); err != nil {
		t.Error(err)
	}
	h.To = h.To[2:]
	want("the list alone", e.handOver(h), "ok alice bob", [3]int{1, 2, 0})
	want("and again", e.handOver(h), "ok alice bob", [3]int{1, 2, 0})
	other := e.handover("x@elsewhere.example", ofForeign, "bob@example.org 1")
	want("the key of a row that was confirmed", e.handOver(other), "ok bob", [3]int{1, 3, 0})
	if err := e.Confirm(ctx, []queue.Handed{{Account: "a/b", Key: "x"}}); err != nil {
		t.Errorf("an account that can't be: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.Confirm(ctx, first[2].Keys); err == nil {
		t.Error("confirmed though it was cancelled")
	}
}

// TestHandOverQuota checks that a full account refuses for now, but not what it
// has already.
func TestHandOverQuota(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	body := ofForeign + strings.Repeat("x", 10000)
	e.quota["alice"] = int64(len(body)) + 50
	h := e.handover("x@elsewhere.example", body, "alice@example.org 1", "bob@example.org 2")
	if got := e.handOver(h); got != "452 4.2.2, ok bob" || e.count() != [3]int{0, 1, 0} {
		t.Errorf("without room: %s, %d", got, e.count())
	}
	list := e.handover("x@elsewhere.example", body, "list@example.org 3")
	if got := e.handOver(list); got != "ok bob" || e.count() != [3]int{0, 2, 0} {
		t.Errorf("a list of which one has no room: %s, %d", got, e.count())
	}
	e.quota["alice"] += 200
	if got := e.handOver(h); got != "ok alice, ok bob" || e.count() != [3]int{1, 2, 0} {
		t.Errorf("with room: %s, %d", got, e.count())
	}
	if got := e.handOver(h); got != "ok alice, ok bob" || e.count() != [3]int{1, 2, 0} {
		t.Errorf("full with it: %s, %d", got, e.count())
	}

	// Two copies of which the account has room for one.
	e.quota["bob"] = 3*int64(len(body)) + 1000
	two := e.handover("x@elsewhere.example", body, "bob@example.org 4", "bob@case.example 5")
	two.To[1].Path.Localpart = "Bob"
	if got := e.handOver(two); got != "ok bob, 452 4.2.2" || e.count() != [3]int{1, 3, 0} {
		t.Errorf("room for one of two: %s, %d", got, e.count())
	}
	e.quota["bob"] = 1
	e.quota["alice"] = 1
	if got := e.handOver(e.handover("x@elsewhere.example", body, "list@example.org 6")); got != "452 4.2.2" {
		t.Errorf("a list of which none has room: %s", got)
	}
}

// TestHandOverTrouble: while an account can't store the message it is not handed
// over, and then it is once.
func TestHandOverTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		e.faults.Arm(store.FaultFilePlaced, func() error { return syscall.EIO })
		h := e.handover("alice@example.org", ofAlice, "bob@example.org 1")
		for range 3 {
			res := e.HandOver(t.Context(), h)
			if _, ok := errors.AsType[*smtp.Error](res[0].Err); ok || res[0].Err == nil || len(res[0].Keys) > 0 {
				t.Errorf("got %v, %v", res[0].Err, res[0].Keys)
			}
		}
		if _, err := e.Notify(t.Context(), Notice{Key: "n", Account: "bob", Content: []byte(ofAlice)}); err == nil {
			t.Error("a notice was stored")
		}
		e.faults.Disarm(store.FaultFilePlaced)
		time.Sleep(time.Minute)
		if got := e.handOver(h); got != "ok bob" || e.count() != [3]int{0, 2, 0} {
			t.Errorf("got %s, %d", got, e.count())
		}
		if keys, err := e.Notify(t.Context(), Notice{Key: "n", Account: "bob", Content: []byte(ofAlice)}); err != nil || len(keys) != 1 || e.count() != [3]int{0, 2, 0} {
			t.Errorf("got %v, %v, %d", keys, err, e.count())
		}
	})
}

// TestHandOverMemberGone: of an alias those get the message that can.
func TestHandOverMemberGone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	if err := e.remove("alice"); err != nil {
		t.Fatal(err)
	}
	res := e.HandOver(t.Context(), e.handover("x@elsewhere.example", ofForeign, "list@example.org 1", "bob@example.org 2", "alice@example.org 3"))
	if !errors.Is(res[2].Err, store.ErrNoAccount) || res[1].Err != nil || res[0].Err != nil {
		t.Errorf("got %+v", res)
	}
	res = e.HandOver(t.Context(), e.handover("x@elsewhere.example", ofForeign, "list@example.org 4"))
	if !errors.Is(res[0].Err, store.ErrNoAccount) || len(res[0].Keys) != 1 || res[0].Keys[0].Account != "bob" {
		t.Errorf("got %+v", res)
	}
	if n := len(e.mailbox("bob", "Inbox")); n != 2 {
		t.Errorf("bob has %d messages", n)
	}
}

// TestHandOverFull: without room on disk the queue can try again.
func TestHandOverFull(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("x: %w", store.ErrDiskFull), "452 4.3.1"},
		{fmt.Errorf("x: %w", store.ErrBusy), "452 4.3.1"},
		{store.ErrClosed, store.ErrClosed.Error()},
	} {
		if err := troubleFor(tc.err); outcome(err) != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%v: got %v", tc.err, err)
		}
	}
}

// TestHandOverParallel hands many messages over at once.
func TestHandOverParallel(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	var all sync.WaitGroup
	for i := range 40 {
		h := e.handover("x@elsewhere.example", ofForeign, fmt.Sprint("list@example.org ", i))
		all.Go(func() {
			if res := e.HandOver(t.Context(), h); res[0].Err != nil || len(res[0].Keys) != 2 {
				t.Errorf("got %+v", res)
			}
		})
	}
	all.Wait()
	if got := e.count(); got != [3]int{40, 40, 0} {
		t.Errorf("accounts have %d", got)
	}
}

// TestHandOverSpecials: they fail after the others got the message.
func TestHandOverSpecials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, func(o *Options) { o.Specials, o.CatchAllAccount = true, "mox" })
		start := time.Now()
		h := e.handover("alice@example.org", ofAlice, "queuepermerror@y.example 1", "x@y.example 2", "queue452@y.example 3", "queue@[192.0.2.1] 4", "permerror@y.example 5")
		if got := e.handOver(h); got != "550 5.0.0, ok mox, 452 4.0.0, ok mox, ok mox" || time.Since(start) >= time.Hour {
			t.Errorf("got %s after %v", got, time.Since(start))
		}
		slow := e.handover("alice@example.org", ofAlice, "queuetimeout@y.example 6", "queue-timeout@y.example 7", "queue550@y.example 8")
		start = time.Now()
		if got := e.handOver(slow); got != "451 4.0.0, 451 4.0.0, 550 5.0.0" || time.Since(start) != time.Hour {
			t.Errorf("got %s after %v", got, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if res := e.HandOver(ctx, slow); !errors.Is(res[0].Err, context.Canceled) {
			t.Errorf("cancelled: got %+v", res)
		}
		if n := len(e.mailbox("mox", "Inbox")); n != 3 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestBatches divides copies so that each part fits into a record.
func TestBatches(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name                string
		copies, prefix      int
		batches, last, skip int
	}{
		{"none", 0, 10, 0, 0, 0},
		{"as many as fit", batchPlacesMax, 10, 1, batchPlacesMax, 0},
		{"one more", batchPlacesMax + 1, 10, 2, 1, 0},
		{"large prefixes", 17, store.PrefixMax, 2, 1, 0},
		{"too large ones", 3, store.PrefixMax + 1, 0, 0, 0},
		{"some that are done", 10, 10, 1, 7, 3},
	} {
		h := &handing{}
		for i := range tc.copies {
			h.copies = append(h.copies, &handCopy{prefix: make([]byte, tc.prefix), done: i < tc.skip})
		}
		got := h.batches()
		if len(got) != tc.batches || len(got) > 0 && len(got[len(got)-1]) != tc.last {
			t.Errorf("%s: %d batches", tc.name, len(got))
		}
	}
}

// TestNotify checks where notices go, and that each is there once.
func TestNotify(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.quota["alice"] = 1
	content := "From: postmaster@mx.example.org\r\nSubject: failed\r\n\r\nbody\r\n"
	n := Notice{CID: 255, Key: "k:failed:1", Account: "alice", To: path(t, "jürgen@bücher.example"), Content: []byte(content), UTF8: true}
	for range 2 {
		keys, err := e.Notify(t.Context(), n)
		if err != nil || len(keys) != 1 || keys[0] != (queue.Handed{Account: "alice", Key: n.Key}) {
			t.Fatalf("got %v, %v", keys, err)
		}
	}
	m := e.mailbox("alice", "Inbox")
	if len(m) != 1 || m[0].content != content || m[0].prefix != "Return-Path: <>\r\nDelivered-To: jürgen@bücher.example\r\n" || m[0].email.Facts.MailFrom != "" || m[0].email.Facts.RcptTo != "jürgen@bücher.example" {
		t.Fatalf("got %+v", m)
	}

	large := strings.Repeat("x", store.InlineMax+1)
	n = Notice{Key: "k:failed:2", Account: "no-such", To: path(t, "x@example.org"), Content: []byte(large)}
	for range 2 {
		keys, err := e.Notify(t.Context(), n)
		if err != nil || len(keys) != 1 || keys[0] != (queue.Handed{Account: "mox", Key: n.Key}) {
			t.Fatalf("account is gone: got %v, %v", keys, err)
		}
	}
	if m := e.mailbox("mox", "Postmaster"); len(m) != 1 || m[0].content != large {
		t.Errorf("postmaster has %d", len(m))
	}
	if err := e.Confirm(t.Context(), []queue.Handed{{Account: "mox", Key: n.Key}}); err != nil {
		t.Error(err)
	}
	if err := e.remove("mox"); err != nil {
		t.Fatal(err)
	}
	if keys, err := e.Notify(t.Context(), n); !errors.Is(err, store.ErrNoAccount) || keys != nil {
		t.Errorf("the postmaster is gone too: got %v, %v", keys, err)
	}
}

// TestNoticesByKind checks where notices go by what they are about, and that only
// trouble is left to read.
func TestNoticesByKind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		about   About
		account string
		want    queue.Handed
		mailbox string
		seen    bool
	}{
		{"trouble", AboutTrouble, "alice", queue.Handed{Account: "alice", Key: "k"}, "Inbox", false},
		{"trouble of an account that is gone", AboutTrouble, "no-such", queue.Handed{Account: "mox", Key: "k"}, "Postmaster", false},
		{"success", AboutSuccess, "alice", queue.Handed{Account: "alice", Key: "k"}, "Inbox", false},
		{"success of an account that is gone", AboutSuccess, "no-such", queue.Handed{}, "", false},
		{"a report", AboutReport, "alice", queue.Handed{Account: "mox", Key: "k"}, "Postmaster", true},
		{"a report of nobody", AboutReport, "", queue.Handed{Account: "mox", Key: "k"}, "Postmaster", true},
	} {
		e := newEnv(t, nil)
		for range 2 {
			keys, err := e.Notify(t.Context(), Notice{Key: "k", About: test.about, Account: test.account, To: path(t, "x@example.org"), Content: []byte("Subject: x\r\n\r\n")})
			if err != nil || test.mailbox == "" && len(keys) != 0 || test.mailbox != "" && (len(keys) != 1 || keys[0] != test.want) {
				t.Fatalf("%s: got %v, %v", test.name, keys, err)
			}
		}
		if got, want := e.count() != [3]int{}, test.mailbox == "Inbox"; got != want {
			t.Errorf("%s: got %v in the accounts of users", test.name, e.count())
		}
		if test.mailbox == "" {
			continue
		}
		if m := e.mailbox(test.want.Account, test.mailbox); len(m) != 1 || (m[0].flags&store.FlagSeen != 0) != test.seen {
			t.Errorf("%s: got %+v", test.name, m)
		}
	}
}

// remove removes an account with its data.
func (e *env) remove(name string) error {
	a, err := e.store.Account(e.t.Context(), name)
	if err != nil {
		return err
	}
	id := a.ID()
	if err := a.Close(); err != nil {
		return err
	}
	return errors.Join(e.store.Remove(e.t.Context(), name, id), e.store.EraseRemoved(e.t.Context(), id))
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mjl-/mox/journal"
)

// announced delivers a message that somebody is to be told of.
func (w *world) announced(content []byte, names ...string) {
	w.t.Helper()
	dl := Delivery{Content: w.d.ContentBytes(content), Analysis: analysis(w.t, content), Received: time.Now()}
	for _, name := range names {
		dl.To = append(dl.To, Recipient{Account: w.account(name), Announce: true})
	}
	if err := w.d.Deliver(w.t.Context(), dl); err != nil {
		w.t.Fatal(err)
	}
}

// arrivals returns the ids and subjects of what an account is to be told of.
func (w *world) arrivals(name string, n int) (text string, ids []int64) {
	w.t.Helper()
	a := w.account(name)
	a.WaitDurable(w.t.Context())
	list, err := a.Arrivals(w.t.Context(), n)
	if err != nil {
		w.t.Fatal(err)
	}
	var subjects []string
	for _, r := range list {
		subjects = append(subjects, r.Subject)
		ids = append(ids, r.EmailID)
	}
	return strings.Join(subjects, ", "), ids
}

// letter is a message with a subject.
func letter(subject string) []byte {
	return fmt.Appendf(nil, "Message-ID: <%s@example.org>\r\nSubject: %s\r\n\r\nhello\r\n", subject, subject)
}

// TestArrivals follows messages that somebody is to be told of, from the delivery to
// when that is noted.
func TestArrivals(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	w := newWorld(t, func(o *Options) {
		o.Arrived = func(account string) {
			if account == "a" {
				calls.Add(1)
			}
		}
	}, "a", "b")
	want := func(step, subjects string) []int64 {
		t.Helper()
		got, ids := w.arrivals("a", 10)
		if got != subjects {
			t.Errorf("%s: got %q, want %q", step, got, subjects)
		}
		return ids
	}
	w.deliver(letter("quiet"), "a")
	want("of a message like others", "")
	if calls.Load() != 0 {
		t.Error("told of a message that nobody is to be told of")
	}
	w.announced(letter("one"), "a")
	w.announced(letter("two"), "a", "b")
	want("of two", "one, two")
	if calls.Load() == 0 {
		t.Error("not told of messages")
	}
	if got, _ := w.arrivals("a", 1); got != "one" {
		t.Errorf("the oldest alone: got %q", got)
	}
	w.restart()
	ids := want("after a restart", "one, two")
	for range 2 { // Once more does nothing.
		if err := w.account("a").ForgetArrivals(t.Context(), ids[:1]); err != nil {
			t.Fatal(err)
		}
	}
	want("one is noted", "two")
	if got, _ := w.arrivals("b", 10); got != "two" {
		t.Errorf("another account: got %q", got)
	}
	box, err := mailboxOf(t, w.account("a"), ids[1])
	if err != nil || box.Name != "Inbox" {
		t.Errorf("it is in %q, %v", box.Name, err)
	}

	expunge(t, w.account("a"), 1, 2, 3)
	want("what was to be told is expunged", "")
	if _, err := mailboxOf(t, w.account("a"), ids[1]); !errors.Is(err, ErrExpunged) {
		t.Errorf("mailbox of what was expunged: %v", err)
	}
}

// mailboxOf returns the mailbox of an Email.
func mailboxOf(t *testing.T, a *Account, id int64) (box Mailbox, err error) {
	t.Helper()
	err = a.View(t.Context(), func(tx *Tx) error {
		box, err = tx.MailboxOf(id)
		return err
	})
	return box, err
}

// TestArrivalsAfterKill: what was durable in the journal alone is told of after a
// restart, and a record of before knows of no such thing.
func TestArrivalsAfterKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	reached, release := w.hold(FaultApplied)
	w.announced(letter("one"), "a")
	<-reached
	c := w.crashed()
	release(nil)
	c.start()
	if got, _ := c.arrivals("a", 10); got != "one" {
		t.Errorf("got %q", got)
	}
}

// TestRecordVersions reads records of the version before.
func TestRecordVersions(t *testing.T) {
	t.Parallel()
	r := &record{inline: []byte("x"), size: 1, received: time.Unix(1, 0), rcpts: []recordRcpt{{account: "a", reject: true, announce: true}, {account: "b"}}}
	data := bytes.Join(r.encode(), nil)
	for _, test := range []struct {
		name     string
		data     []byte
		announce bool
		err      error
	}{
		{"of this version", data, true, nil},
		{"of version 1", firstVersion(t, r), false, nil},
		{"of a later version", append([]byte{recordVersion + 1}, data[1:]...), false, errRecord},
		{"of version 0", append([]byte{0}, data[1:]...), false, errRecord},
	} {
		got, err := decodeRecord(&journal.Entry{Type: recordDelivery, Data: test.data})
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v", test.name, err)
			continue
		}
		if err == nil && (len(got.rcpts) != 2 || got.rcpts[0].announce != test.announce || !got.rcpts[0].reject || got.rcpts[1].announce) {
			t.Errorf("%s: got %+v", test.name, got.rcpts)
		}
	}
}

// firstVersion encodes a record as version 1 did: without the last byte of each
// recipient.
func firstVersion(t *testing.T, r *record) []byte {
	t.Helper()
	bare := &record{inline: r.inline, size: r.size, received: r.received}
	data := bytes.Join(bare.encode(), nil)
	data[0] = 1
	data = data[:len(data)-1] // The number of recipients.
	e := enc(data)
	e.uint(uint64(len(r.rcpts)))
	for i := range r.rcpts {
		var one enc
		r.rcpts[i].encode(&one)
		e = append(e, one[:len(one)-1]...)
	}
	return e
}

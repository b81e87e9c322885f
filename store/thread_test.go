package store

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestThreads delivers messages one by one; the letters of rules are those of the
// specification.
func TestThreads(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	type step struct {
		name    string
		header  string
		box     string        // "" is Inbox.
		at      time.Duration // After now.
		parent  int           // Place in the list, from 1; 0 for a thread of its own.
		missing bool
	}
	const hello, re = "Subject: hello\r\n", "Subject: Re: hello\r\n"
	dsn := "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n"
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"a: the same Message-ID", []step{
			{"first", "Message-ID: <a@x>\r\n" + hello, "", 0, 0, false},
			{"again, in other case and with another subject", "Message-ID: <A@X>\r\nSubject: other\r\n", "", 0, 1, true},
		}},
		{"b: references", []step{
			{"first", "Message-ID: <a@x>\r\n" + hello, "", 0, 0, false},
			{"reply", "Message-ID: <b@x>\r\nReferences: <a@x>\r\n" + re, "", 0, 1, false},
			{"reply to the reply, last reference first", "Message-ID: <c@x>\r\nReferences: <a@x> <b@x>\r\n" + re, "", 0, 2, false},
			{"the nearest is unknown", "References: <a@x> <b@x> <unknown@x>\r\n" + re, "", 0, 2, true},
			{"in another mailbox", "References: <b@x>\r\n" + re, "Other", 0, 2, false},
			{"In-Reply-To alone", "In-Reply-To: <b@x>\r\n" + re, "", 0, 2, false},
			{"In-Reply-To counts only without References", "In-Reply-To: <b@x>\r\nReferences: <unknown@x>\r\n" + re, "", 0, 0, true},
			{"another subject begins a thread", "References: <b@x>\r\nSubject: Re: else\r\n", "", 0, 0, true},
			{"the nearest has another subject", "Message-ID: <d@x>\r\nReferences: <a@x>\r\nSubject: else\r\n", "", 0, 0, true},
			{"so one before it is taken", "References: <b@x> <d@x>\r\n" + re, "", 0, 2, true},
			{"a DSN has any subject", "References: <b@x>\r\nSubject: failure\r\n" + dsn, "", 0, 2, false},
			{"a reference to itself", "Message-ID: <self@x>\r\nReferences: <self@x>\r\n" + re, "", 0, 0, true},
		}},
		{"c: the subject of a reply", []step{
			{"first", "Message-ID: <a@x>\r\n" + hello, "", 0, 0, false},
			{"reply", re, "", time.Hour, 1, true},
			{"the newest is taken", "Subject: Fwd: hello\r\n", "", 2 * time.Hour, 2, true},
			{"no reply", hello, "", 3 * time.Hour, 0, false},
			{"another mailbox", re, "Other", time.Hour, 0, false},
			{"an empty base subject", "Subject: Re:\r\n", "", 3 * time.Hour, 0, false},
			{"references that are unknown", "References: <unknown@x>\r\n" + re, "", 3 * time.Hour, 0, true},
		}},
		{"c: the time of the reply", []step{
			{"first", hello, "", 0, 0, false},
			{"four weeks later", re, "", 28 * day, 1, true},
			{"too late for any", re, "", 57 * day, 0, false},
			{"a day earlier", re, "", -day, 1, true},
			{"earlier still", re, "", -3 * day, 0, false},
		}},
		{"d: alone", []step{
			{"no header", "", "", 0, 0, false},
			{"no header again", "", "", 0, 0, false},
			{"a subject", hello, "", 0, 0, false},
			{"the same subject", hello, "", 0, 0, false},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a")
			a := w.account("a")
			var emails []Email
			for i, s := range tc.steps {
				msg := fmt.Appendf(nil, "%s\r\nbody %d\r\n", s.header, i)
				dl := Delivery{Content: w.d.ContentBytes(msg), Analysis: analysis(t, msg), Received: now.Add(s.at), To: []Recipient{{Account: a, Mailbox: s.box}}}
				if err := w.d.Deliver(t.Context(), dl); err != nil {
					t.Fatal(err)
				}
				e := newest(t, a)
				emails = append(emails, e)
				want := Email{ThreadID: e.ID}
				if s.parent > 0 {
					p := emails[s.parent-1]
					want = Email{ThreadID: p.ThreadID, Ancestors: append([]int64{p.ID}, p.Ancestors...)}
				}
				if e.ThreadID != want.ThreadID || !slices.Equal(e.Ancestors, want.Ancestors) || e.MissingLink != s.missing {
					t.Errorf("%s: thread %d, ancestors %v, missing %v; want %d, %v, %v",
						s.name, e.ThreadID, e.Ancestors, e.MissingLink, want.ThreadID, want.Ancestors, s.missing)
				}
			}
		})
	}
}

// newest returns the Email with the highest id.
func newest(t testing.TB, a *Account) (e Email) {
	t.Helper()
	a.WaitDurable(t.Context())
	id := a.lastID.Load()
	err := a.View(t.Context(), func(tx *Tx) error {
		for ; id > 0; id-- {
			var err error
			if e, err = tx.Email(id); err == nil {
				return nil
			}
		}
		return ErrExpunged
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestThreadLimits: a long chain and a message with very many references cost
// what fifty do.
func TestThreadLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	var refs strings.Builder
	for i := range 120 {
		w.deliver(fmt.Appendf(nil, "Message-ID: <%d@x>\r\nReferences:%s\r\nSubject: Re: x\r\n\r\n", i, refs.String()), "a")
		fmt.Fprintf(&refs, "\r\n <%d@x>", i)
	}
	first := w.email("a", 0)
	e := newest(t, a)
	if len(e.Ancestors) != ancestorsMax || e.ThreadID != first.ThreadID {
		t.Errorf("%d ancestors, thread %d, want %d", len(e.Ancestors), e.ThreadID, first.ThreadID)
	}
	// The one that is known is not among the last 50.
	var many strings.Builder
	many.WriteString(" <0@x>")
	for i := range referencesMax {
		fmt.Fprintf(&many, "\r\n <unknown%d@x>", i)
	}
	msg := []byte("References:" + many.String() + "\r\nSubject: Re: x\r\n\r\n")
	if n := len(analysis(t, msg).References); n != referencesMax {
		t.Errorf("%d references", n)
	}
	w.deliver(msg, "a")
	if e := newest(t, a); e.ThreadID != e.ID || !e.MissingLink {
		t.Errorf("got %+v", e)
	}
	for i := range 1 + candidatesMax { // The same id, and the one with the right subject is far behind.
		w.deliver(fmt.Appendf(nil, "Message-ID: <same@x>\r\nSubject: %d\r\n\r\n", i), "a")
	}
	w.deliver([]byte("References: <same@x>\r\nSubject: none of them\r\n\r\n"), "a")
	if e := newest(t, a); e.ThreadID != e.ID {
		t.Errorf("got %+v", e)
	}
	if !bytes.Contains([]byte(w.inbox("a")[0]), []byte("Message-ID: <0@x>")) {
		t.Error("first message has changed")
	}
}

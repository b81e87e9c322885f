package imapserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mjl-/mox/store"
)

// fakeIndex answers as it is told, and keeps what it was asked.
type fakeIndex struct {
	mu     sync.Mutex
	answer TextCandidates
	ok     bool
	asked  []TextQuery
}

func (f *fakeIndex) Candidates(_ context.Context, account string, q TextQuery) (TextCandidates, bool) {
	if account != "mox" {
		return TextCandidates{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, q)
	return f.answer, f.ok
}

// set makes it answer, and forget what it was asked.
func (f *fakeIndex) set(answer TextCandidates, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer, f.ok, f.asked = answer, ok, nil
}

// questions returns what it was asked.
func (f *fakeIndex) questions() []TextQuery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// searchClient returns a client of a server with an index and messages, with Inbox
// selected, and the ids of the messages' Emails.
func searchClient(t *testing.T, index TextIndex, messages int) (*client, []int64) {
	e := newEnv(t, map[string]string{"inbox": fmt.Sprint(messages)})
	e.server.opts.TextIndex = index
	addr := e.listen()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	c := newClient(t, nc)
	c.line()
	c.ok("LOGIN mox %s", password)
	c.ok("SELECT INBOX")
	var ids []int64
	for _, line := range c.ok("FETCH 1:* (EMAILID)") {
		var seq int
		var id int64
		if _, err := fmt.Sscanf(line, "%d FETCH (EMAILID (M%d))", &seq, &id); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		ids = append(ids, id)
	}
	return c, ids
}

// TestTextIndex checks what a search makes of the answers of an index.
func TestTextIndex(t *testing.T) {
	t.Parallel()
	index := &fakeIndex{}
	c, ids := searchClient(t, index, 5)
	for _, tc := range []struct {
		name, keys string
		named      []int // Messages.
		through    int   // Message up to which the index knows them.
		ok         bool
		want       string
	}{
		{"it does not know", "BODY body", nil, 5, false, " 1 2 3 4 5"},
		{"it names some, of which the text is in two", `OR BODY "body 2" BODY "body 4"`, []int{1, 2, 4}, 5, true, " 2 4"},
		{"it names none", "BODY body", nil, 5, true, ""},
		{"newer ones are read", "BODY body", []int{1}, 3, true, " 1 4 5"},
		{"in the header too", "TEXT sender", []int{2, 3}, 5, true, " 2 3"},
		{"not", "NOT BODY body", []int{2, 3}, 5, true, " 1 4 5"},
		{"with others", "BODY body 1:2 FROM sender", []int{2, 3}, 5, true, " 2"},
	} {
		answer := TextCandidates{Through: ids[tc.through-1]}
		for _, n := range tc.named {
			answer.EmailIDs = append(answer.EmailIDs, ids[n-1])
		}
		index.set(answer, tc.ok)
		if got := c.ok("SEARCH %s", tc.keys); !slices.Equal(got, []string{"SEARCH" + tc.want}) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
		if q := index.questions()[0]; q.Header != strings.HasPrefix(tc.keys, "TEXT") || string(q.Text) != strings.ToUpper(string(q.Text)) {
			t.Errorf("%s: asked for %q, header %v", tc.name, q.Text, q.Header)
		}
	}
	index.set(TextCandidates{}, true)
	if c.ok(`SEARCH BODY ""`); index.questions() != nil {
		t.Error("it was asked for the empty text")
	}
}

// TestScan checks that several workers find all in order, and that an error, a panic and
// the end of the session end them all.
func TestScan(t *testing.T) {
	t.Parallel()
	const messages = 3*filesBatch + 1
	e := newEnv(t, map[string]string{"inbox": fmt.Sprint(messages)})
	t.Cleanup(e.stop)
	e.server.scans = make(chan struct{}, 3)
	a, err := e.store.Account(t.Context(), "mox")
	if err != nil {
		t.Fatal(err)
	}
	w := a.Watch()
	t.Cleanup(func() {
		w.Close()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	var mb store.Mailbox
	err = a.View(t.Context(), func(tx *store.Tx) (err error) {
		mb, err = tx.Mailbox("Inbox")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	view, err := w.Select(t.Context(), mb.ID)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{server: e.server, account: a, sel: &selection{view: view}}
	r := &searcher{s: s, sel: s.sel}
	var forks atomic.Int64
	matcherOf := func(match func(c *candidate) (bool, error)) matcher {
		m := matcher{cost: costFile, match: match}
		m.fork = func() matcher { forks.Add(1); return matcher{cost: costFile, match: match} }
		return m
	}

	found, err := r.scan(t.Context(), matcherOf(func(c *candidate) (bool, error) { return c.entry.UID%2 == 1, nil }), view.UIDs())
	if err != nil || len(found) != (messages+1)/2 || !slices.IsSorted(found) || forks.Load() != 3 {
		t.Errorf("found %d, sorted %v, %d workers, %v", len(found), slices.IsSorted(found), forks.Load(), err)
	}
	if found, err = r.scan(t.Context(), matcherOf(nil), nil); err != nil || len(found) != 0 {
		t.Errorf("of none found %d, %v", len(found), err)
	}
	broken := errors.New("broken")
	_, err = r.scan(t.Context(), matcherOf(func(c *candidate) (bool, error) {
		if c.entry.UID == 5 {
			return false, broken
		}
		return true, nil
	}), view.UIDs())
	if !errors.Is(err, broken) {
		t.Errorf("failing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = r.scan(ctx, matcherOf(func(*candidate) (bool, error) { cancel(); return false, nil }), view.UIDs())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	func() {
		defer func() {
			if v := recover(); v != "odd" {
				t.Errorf("recovered %v", v)
			}
		}()
		_, _ = r.scan(t.Context(), matcherOf(func(*candidate) (bool, error) { panic("odd") }), view.UIDs())
	}()
	if len(e.server.scans) != 0 {
		t.Errorf("%d slots are still taken", len(e.server.scans))
	}
}

// TestSearchHeaderInFile has fields that rows don't have, so that files are read, and
// columns that are read around.
func TestSearchHeaderInFile(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 300)
	e := newEnv(t, nil)
	e.appendMessage("Inbox", "Received: from a by b\r\nX-Long: "+long+" needle\r\nMessage-ID: <1@b>\r\nSubject: s\r\n\r\n")
	e.appendMessage("Inbox", "X-Long: short\r\nReferences: "+strings.Repeat("<x@y> ", 2000)+"<1@b>\r\nSubject: other\r\n\r\n")
	e.start()
	defer e.stop()
	c := newClient(t, e.dialLogin())
	c.ok("SELECT INBOX")
	for keys, want := range map[string]string{
		"HEADER Received FROM":   "SEARCH 1",
		"HEADER Received \"\"":   "SEARCH 1",
		"HEADER X-Long needle":   "SEARCH 1",
		"HEADER X-Long short":    "SEARCH 2",
		"HEADER X-Long \"\"":     "SEARCH 1 2",
		"HEADER References 1@b":  "SEARCH 2",
		"HEADER Message-ID \"\"": "SEARCH 1",
		"HEADER X=Odd \"\"":      "SEARCH",
		"NOT HEADER X-Long long": "SEARCH 2",
	} {
		if got := c.ok("SEARCH %s", keys); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q", keys, got, want)
		}
	}
	// References are too long to be kept: threads are made of those in the file.
	if got := c.ok("THREAD REFERENCES UTF-8 ALL"); !slices.Equal(got, []string{"THREAD (1 2)"}) {
		t.Errorf("got %q", got)
	}
}

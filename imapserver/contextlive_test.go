package imapserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// updates returns those responses that tell of changed results.
func updates(lines []string) (list []string) {
	for _, line := range lines {
		if strings.HasPrefix(line, "ESEARCH") {
			_, rest, _ := strings.Cut(line, ") ")
			list = append(list, rest)
		}
	}
	return list
}

func wantUpdates(t *testing.T, name string, lines []string, want ...string) {
	t.Helper()
	if got := updates(lines); !slices.Equal(got, want) {
		t.Errorf("%s: got %q", name, got)
	}
}

// TestContextAge: messages get old, which is looked at now and then.
func TestContextAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, map[string]string{"inbox": "2"})
		defer e.stop()
		e.start()
		c := newClient(t, e.dialLogin())
		c.ok("SELECT INBOX")
		wantUpdates(t, "at first", c.ok("UID SEARCH RETURN (UPDATE ALL) YOUNGER 200"), "UID ALL 1:2")
		wantUpdates(t, "at first", c.ok("UID SEARCH RETURN (UPDATE COUNT) OR OLDER 200 FLAGGED"), "UID COUNT 0")
		time.Sleep(100 * time.Second)
		c.ok("APPEND INBOX {4+}\r\na: b")
		time.Sleep(90 * time.Second)
		wantUpdates(t, "too soon", c.ok("NOOP"))
		time.Sleep(11 * time.Second)
		wantUpdates(t, "looked at a moment ago", c.ok("NOOP"))
		time.Sleep(liveEvery)
		wantUpdates(t, "older", c.ok("NOOP"), "UID REMOVEFROM (0 1:2)", "UID ADDTO (0 1:2)")
		wantUpdates(t, "again", c.ok("NOOP"))
		time.Sleep(300 * time.Second)
		wantUpdates(t, "a new one has got old, too", c.ok("NOOP"), "UID REMOVEFROM (0 3)", "UID ADDTO (0 3)")
	})
}

// TestContextThread: a thread grows.
func TestContextThread(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "2"})
	defer e.stop()
	e.start()
	c := newClient(t, e.dialLogin())
	c.ok("SELECT INBOX")
	id := strings.TrimSuffix(strings.TrimPrefix(c.ok("FETCH 1 THREADID")[0], "1 FETCH (THREADID ("), "))")
	wantUpdates(t, "at first", c.ok("UID SEARCH RETURN (UPDATE ALL) THREADID %s", id), "UID ALL 1")
	reply := "Subject: Re: message 1\r\nMessage-ID: <r@example.org>\r\nIn-Reply-To: <m1@example.org>\r\n\r\n"
	wantUpdates(t, "an answer", c.ok("APPEND INBOX {%d+}\r\n%s", len(reply), reply), "UID ADDTO (0 3)")
}

// TestContextMemory: results beyond what a session may hold are not kept, and those
// that grow beyond it are kept no longer; the first search is, whatever it needs.
func TestContextMemory(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "5"})
	defer e.stop()
	s, got := quietSession(t, e)
	account, err := e.store.Account(t.Context(), "mox")
	if err != nil {
		t.Fatal(err)
	}
	defer account.Close()
	s.account, s.watch = account, account.Watch()
	defer s.watch.Close()
	if err := s.open(t.Context(), selectRequest{name: "INBOX"}, false); err != nil {
		t.Fatal(err)
	}
	if err := s.out.Flush(); err != nil {
		t.Fatal(err)
	}
	by := imap.SortProgram{{Key: "SUBJECT"}, {Key: "SIZE"}}
	for _, tc := range []struct {
		name   string
		budget int
		kept   bool
	}{
		{"enough", 5 * (itemBytes + 2*itemKeyBytes + len("message n")), true},
		{"one byte too few", 5*(itemBytes+2*itemKeyBytes+len("message n")) - 1, false},
	} {
		results, err := s.searcher().sortedResults(t.Context(), s.sel.uids(), by, tc.budget)
		if err != nil {
			t.Fatal(err)
		}
		if kept := results != nil; kept != tc.kept || kept && results.bytes() != tc.budget {
			t.Errorf("%s: kept %v", tc.name, kept)
		}
	}
	large := largeResults{contextBytesMax/2 + 1}
	for n := range 3 {
		s.sel.contexts = append(s.sel.contexts, &searchContext{tag: fmt.Sprint("c", n), results: large})
	}
	s.boundContexts()
	if len(s.sel.contexts) != 1 || s.sel.contexts[0].tag != "c0" {
		t.Errorf("%d are left", len(s.sel.contexts))
	}
	s.sel.contexts[0].results = largeResults{contextBytesMax + 1}
	s.boundContexts()
	if len(s.sel.contexts) != 1 {
		t.Error("the first is not kept")
	}
	if err := s.keepUpdated(t.Context(), &searching{opts: imap.SearchOptions{Return: imap.ReturnUpdate}, search: s.searcher()}, s.sel.uids()); err != nil {
		t.Fatal(err)
	}
	if err := s.out.Flush(); err != nil {
		t.Fatal(err)
	}
	_ = s.raw.Close() // Ends the reader.
	<-got.done
	var refused []string
	for _, line := range got.all {
		if strings.Contains(line, "NOUPDATE") {
			refused = append(refused, line[strings.IndexByte(line, '"'):])
		}
	}
	const text = `"] too many results are kept up to date`
	if want := []string{`"c2` + text, `"c1` + text, `"a1` + text}; !slices.Equal(refused, want) {
		t.Errorf("refused %q", refused)
	}
}

// largeResults need a number of bytes and hold nothing.
type largeResults struct{ size int }

func (largeResults) has(store.UID) bool                                 { return false }
func (largeResults) put(context.Context, []store.UID) ([]placed, error) { return nil, nil }
func (largeResults) take([]store.UID) []placed                          { return nil }
func (r largeResults) bytes() int                                       { return r.size }

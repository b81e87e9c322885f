package imapserver

import (
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// TestMultiSearchDeleted: a mailbox that is deleted after the mailboxes were listed is
// left out, and the others are searched.
func TestMultiSearchDeleted(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "2"})
	defer e.stop()
	s, got := quietSession(t, e)
	s.beginProgress(time.Now())
	account, err := e.store.Account(t.Context(), "mox")
	if err != nil {
		t.Fatal(err)
	}
	defer account.Close()
	s.account, s.watch = account, account.Watch()
	defer s.watch.Close()
	opts := imap.SearchOptions{Extended: true, Return: imap.ReturnCount}
	m := &multiSearch{s: s, searching: searching{opts: opts, key: imap.SearchKey{Key: "ALL"}}}
	if err := m.resolve(t.Context(), []imap.MailboxFilter{{Kind: imap.FilterPersonal}}); err != nil {
		t.Fatal(err)
	}
	gone := store.Mailbox{ID: 1 << 40, Name: "gone", Total: 5}
	m.boxes = append([]store.Mailbox{gone}, m.boxes...)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.out.Flush(); err != nil {
		t.Fatal(err)
	}
	_ = s.raw.Close() // Ends the reader.
	<-got.done
	if len(got.all) != 1 || !strings.HasPrefix(got.all[0], `* ESEARCH (TAG "a1" MAILBOX INBOX `) || !strings.HasSuffix(got.all[0], "UID COUNT 2") {
		t.Errorf("got %q", got.all)
	}
}

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/bstore"
)

// fix returns what Fix does in a directory, a line for each change.
func fix(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := Fix(t.Context(), Options{Dir: dir}, FixOptions{Moved: filepath.Join(dir, "moved", "now"), Report: func(place, text string) {
		b.WriteString(place + ": " + text + "\n")
	}})
	if err != nil {
		t.Errorf("mending: %v", err)
	}
	return b.String()
}

// rows changes rows of an account that nobody has open.
func rows(change func(b *bstore.Tx) error) func(w *world, dir string) {
	return func(w *world, dir string) {
		db, err := openDatabase(filepath.Join(dir, "accounts", "b"))
		must(w, err)
		must(w, errors.Join(db.Write(w.t.Context(), change), db.Close()))
	}
}

// changeRow changes one row, found by its key.
func changeRow[T any](row T, fn func(*T)) func(w *world, dir string) {
	return rows(func(b *bstore.Tx) error {
		row := row
		if err := b.Get(&row); err != nil {
			return err
		}
		fn(&row)
		return b.Update(&row)
	})
}

// insertRow inserts one row.
func insertRow[T any](row T) func(w *world, dir string) {
	return rows(func(b *bstore.Tx) error {
		row := row
		return b.Insert(&row)
	})
}

// fixCases are things wrong with account b, which has messages 2 (email 1, also in
// the journal), 4 (email 3) and 6 (email 5, a reply to 3) in Inbox, mailbox 1.
var fixCases = []struct {
	name  string
	harm  func(w *world, dir string)
	found string // In what Verify says.
	did   string // In what Fix says; "" if it can't mend that.
}{
	{"nothing", func(*world, string) {}, "", ""},
	{"counts", changeRow(Mailbox{ID: 1}, func(mb *Mailbox) { mb.Unseen, mb.Size = 7, 7 }), "says 3 messages, 0 deleted, 7 unseen, 7 bytes", `mailbox "Inbox" said 3 messages`},
	{"the first unseen", changeRow(Mailbox{ID: 1}, func(mb *Mailbox) { mb.UnseenFrom = 3 }), "is unseen, the first should be at 3", `mailbox "Inbox" said`},
	{"UIDNEXT", changeRow(Mailbox{ID: 1}, func(mb *Mailbox) { mb.UIDNext = 2 }), "UIDNEXT is 2", "UIDNEXT 2"},
	{"the modseq of a mailbox", changeRow(Mailbox{ID: 1}, func(mb *Mailbox) { mb.ModSeq = mb.CreateSeq }), "mailbox at", `mailbox "Inbox" said`},
	{"the modseq of the account", changeRow(accountRow{ID: 1}, func(r *accountRow) { r.ModSeq = 1 }), "account at 1", "modseq was 1"},
	{"the last id", rows(func(b *bstore.Tx) error {
		row := accountRow{ID: 1}
		if err := b.Get(&row); err != nil {
			return err
		}
		row.LastID, row.Lowest = 3, 4
		return b.Update(&row)
	}), "the last id is 3", "the last id was 3"},
	{"disk usage", changeRow(accountRow{ID: 1}, func(r *accountRow) { r.Size = 1 }), "account says 1 bytes", "the account said 1 bytes"},
	{"the last UIDVALIDITY", changeRow(accountRow{ID: 1}, func(r *accountRow) { r.UIDValidity = 1 }), "the last given is 1", "the last UIDVALIDITY was 1"},
	{"no UIDVALIDITY", changeRow(Mailbox{ID: 1}, func(mb *Mailbox) { mb.UIDValidity = 0 }), "has UIDVALIDITY 0", "had UIDVALIDITY 0"},
	{"the sizes of an email", changeRow(Email{ID: 3}, func(e *Email) { e.Size = 7 }), "email 3 has size 7", "email 3 said size 7"},
	{"the size of a message", changeRow(Message{ID: 4}, func(m *Message) { m.Size = 7 }), "its messages say 7", "its messages 7"},
	{"when a message was made", changeRow(Message{ID: 4}, func(m *Message) { m.CreateSeq = 0 }), "created at 0", "was created at 0"},
	{"a message elsewhere", changeRow(Message{ID: 4}, func(m *Message) { m.MailboxID = 99 }), "mailbox 99 that does not exist", "is UID 4 in Inbox"},
	{"what an email is found by", changeRow(Email{ID: 3}, func(e *Email) { e.MessageKey = 7 }), "is not found by its Message-ID", "is found by its Message-ID"},
	{"its own ancestor", changeRow(Email{ID: 5}, func(e *Email) { e.Ancestors = []int64{5, 3} }), "is its own ancestor", "has got its place anew"},
	{"another thread", changeRow(Email{ID: 3}, func(e *Email) { e.ThreadID = 1 }), "email 3 with 0 ancestors is in thread 1", "email 3 in thread 1"},
	{"another tree", changeRow(Structure{EmailID: 3}, func(s *Structure) { s.Tree[len(s.Tree)-1] ^= 1 }), "email 3", "structure of email 3 was derived"},
	{"another envelope", changeRow(Structure{EmailID: 3}, func(s *Structure) { s.Envelope[5] ^= 1 }), "the envelope kept of email 3", "structure of email 3 was derived"},
	{"no structure", rows(func(b *bstore.Tx) error { return b.Delete(&Structure{EmailID: 3}) }), "email 3 has no structure", "structure of email 3 was derived"},
	{"a structure of nothing", rows(func(b *bstore.Tx) error { return b.Insert(&Structure{EmailID: 99}) }), "structure 99 has no email", "removed structure 99"},
	{"an email in no mailbox", rows(func(b *bstore.Tx) error { return b.Delete(&Message{ID: 4}) }), "email 3 is in no mailbox", "is erased at the next start"},
	{"to be erased", rows(func(b *bstore.Tx) error { return b.Insert(&Erase{EmailID: 3}) }), "in a mailbox and to be erased", "is not erased any more"},
	{"messages of nothing", rows(func(b *bstore.Tx) error { return b.Delete(&Email{ID: 3}) }), "refer to email 3 that is not there", `removed UID 2 from "Inbox"`},
	{"there and expunged", rows(func(b *bstore.Tx) error {
		return b.Insert(&Expunged{MailboxID: 1, UID: 2, ModSeq: 3})
	}), "is there and expunged", "was there and expunged"},
	{"a reputation of no key", insertRow(Reputation{Key: "x", Junk: 1}), "reputations, row 1: its key is none", `forgot the reputation "x"`},
	{"a reputation of no mailbox", insertRow(Reputation{Key: "0000000000000063/01/v/x", Junk: 1}), "its mailbox is not there", "forgot the reputation"},
	{"a reputation of nothing", insertRow(Reputation{Key: "0000000000000001/01/v/x"}), "impossible counts", "forgot the reputation"},
	{"a reputation that can't be read", insertRow(Reputation{Key: "0000000000000001/01/v/x", Junk: 1, Recent: []byte{0x80}}), "its messages can't be read", "forgot the reputation"},
	{"a reputation in no order", insertRow(Reputation{Key: "0000000000000001/01/v/x", Junk: 2, Recent: packLearned([]learned{{2, 2, true, 0}, {1, 1, true, 0}})}), "its messages are not in order", "forgot the reputation"},
	{"a reputation with too much", insertRow(Reputation{Key: "0000000000000001/01/v/x", Junk: 99, Recent: packLearned(make([]learned, 13))}), "more messages than it may", "forgot the reputation"},
	{"an annotation of nothing", insertRow(Annotation{MailboxID: 99, Name: "/private/x"}), "its mailbox is not there", "removed annotation"},
	{"an annotation of no name", insertRow(Annotation{Name: "/Private/x"}), "its name can't be", "removed annotation"},
	{"when an annotation was made", insertRow(Annotation{Name: "/private/x", CreateSeq: 1}), "modseq beyond that of the account", "had modseq 0, and has 1"},
	{"the modseq of an annotation", insertRow(Annotation{Name: "/private/x", ModSeq: 1 << 40}), "modseq beyond that of the account", "modseq was"},
	{"a reject of nothing", insertRow(Reject{EmailID: 99}), "reject of email 99: it is not there", "email 99 is no reject any more"},
	{"a reject of another", insertRow(Reject{EmailID: 3}), "reject of email 3: it is another message", "email 3 is no reject any more"},
	{"a reject that is not found", changeRow(Email{ID: 3}, func(e *Email) { e.Reject = true }), "email 3 is a reject that is not found", "email 3 was a reject"},
	{"a reject of another size", rows(func(b *bstore.Tx) error {
		e := Email{ID: 3}
		err := b.Get(&e)
		e.Reject = true
		return errors.Join(err, b.Update(&e), b.Insert(&Reject{EmailID: 3, Size: 1}))
	}), "it is another message", "is found by its Message-ID and size again"},
	{"the sums of rejects", changeRow(accountRow{ID: 1}, func(r *accountRow) { r.Rejects, r.RejectSize = 2, 3 }), "account says 2 rejects of 3 bytes", "the account said 2 rejects of 3 bytes"},
	{"no Inbox", changeRow(Mailbox{ID: 1}, func(mb *Mailbox) { mb.Name = "Other" }), "no Inbox", "made Inbox"},
	{"no file", func(w *world, dir string) { must(w, os.Remove(messageFile(w, dir, "b", 1))) }, "email 3: no such file", `removed UID 2 from "Inbox", of which there is no file`},
	{"a shorter file", func(w *world, dir string) { must(w, os.Truncate(messageFile(w, dir, "b", 1), 50)) }, "file of email 3 has 50 bytes", "is taken to be that of 50 bytes"},
	{"a file without row", func(w *world, dir string) {
		must(w, os.WriteFile(filepath.Join(filepath.Dir(messageFile(w, dir, "b", 1)), "4"), []byte("x"), 0o600))
	}, "file accounts/b/msg/a/4 has no email", "moved aside, to moved/now/accounts/b/msg/a/4"},
	{"a file that nobody knows", func(w *world, dir string) {
		must(w, os.WriteFile(filepath.Join(filepath.Dir(messageFile(w, dir, "b", 1)), "x.eml"), []byte("x"), 0o600))
	}, "unknown file accounts/b/msg/a/x.eml", "moved aside, to moved/now/accounts/b/msg/a/x.eml"},

	{"a flipped bit", func(w *world, dir string) { flip(w, messageFile(w, dir, "b", 1)) }, "and checksum", ""},
	{"another account", func(w *world, dir string) {
		data, err := os.ReadFile(filepath.Join(dir, "accounts", "a", indexFile))
		must(w, err)
		must(w, os.WriteFile(filepath.Join(dir, "accounts", "b", indexFile), data, 0o600))
	}, `the database is that of account "a"`, ""},
	{"a damaged database", func(w *world, dir string) {
		must(w, os.Truncate(filepath.Join(dir, "accounts", "b", indexFile), 9000))
	}, "can't be read", ""},
}

// TestFix mends one thing each: it is found, mended, and nothing is left to mend.
func TestFix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	w.deliver(testMessage(0, "x"), "a", "b")
	w.wantInbox("a", testMessage(0, "x"))
	w.wantInbox("b", testMessage(0, "x"))
	var last []byte
	for i := range 2 {
		last = fmt.Appendf(nil, "Message-ID: <fix%d@example.org>\r\nReferences: <fix0@example.org>\r\nSubject: mended\r\n\r\nText %d.\r\n", i, i)
		_, err := appendTo(t, w.account("b"), "Inbox", last, AppendOptions{})
		must(w, err)
	}
	if e := w.email("b", 2); e.ID != 5 || e.ThreadID != 3 {
		t.Fatalf("the reply is %d in thread %d", e.ID, e.ThreadID)
	}
	good := w.crashed().dir
	for _, tc := range fixCases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, dir := &world{t: t, dir: w.dir, d: w.d, open: w.open}, t.TempDir()
			must(c, os.CopyFS(dir, os.DirFS(good)))
			tc.harm(c, dir)
			before := verify(t, dir, nil)
			if !strings.Contains(before, tc.found) || (tc.found == "") != (before == "") {
				t.Fatalf("found %q, want %q", before, tc.found)
			}
			did := fix(t, dir)
			if !strings.Contains(did, tc.did) || (tc.did == "") != (did == "") {
				t.Errorf("did %q, want %q", did, tc.did)
			}
			after := verify(t, dir, nil)
			if want := tc.found != "" && tc.did == ""; (after != "") != want {
				t.Errorf("found afterwards: %s", after)
			}
			if again := fix(t, dir); again != "" {
				t.Errorf("did at the second time: %s", again)
			}
			if tc.did == "" && tc.found != "" {
				return
			}
			d := testDir(t, dir, nil) // A server can go on with it.
			check(t, d)
			must(c, d.Close())
		})
	}
}

// TestFixKeeps: what is known of a message that has to be removed is kept.
func TestFixKeeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	_, err := appendTo(t, w.account("a"), "Inbox", testMessage(1, "x"), AppendOptions{Flags: FlagFlagged})
	must(w, err)
	c := w.crashed()
	must(c, os.Remove(messageFile(w, c.dir, "a", 0)))
	fix(t, c.dir)
	text, err := readFile(filepath.Join(c.dir, "moved", "now", "accounts", "a", "removed.jsonl"))
	for _, want := range []string{`"mailbox":"Inbox","uid":1,"flags":["\\Flagged"]`, `"messageID":"1@example.org"`} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("got %s, %v, want %s", text, err, want)
		}
	}
	c.start()
	if got := c.inbox("a"); len(got) != 0 {
		t.Errorf("inbox has %q", got)
	}
}

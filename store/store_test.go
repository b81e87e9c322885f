package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/internal/fault"
)

// testLog writes to the test's output.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// testDir opens a Dir with small segments in dir.
func testDir(t testing.TB, dir string, change func(*Options)) *Dir {
	t.Helper()
	opts := Options{Dir: dir, Log: testLog(t), Faults: fault.New(), SegmentSize: 1 << 20}
	if change != nil {
		change(&opts)
	}
	d, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// testAccount makes a Dir with one account and closes both at the end, after
// checking them.
func testAccount(t testing.TB, change func(*Options)) (*Dir, *Account) {
	t.Helper()
	d := testDir(t, t.TempDir(), change)
	a, err := d.Create(t.Context(), "mjl", NewAccount{Mailboxes: []NewMailbox{{"Sent", UseSent}, {"Trash", UseTrash}, {"Archive", UseArchive}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		check(t, d)
		if err := errors.Join(a.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	return d, a
}

// check fails the test for each problem.
func check(t testing.TB, d *Dir) {
	t.Helper()
	problems, err := d.Check(context.WithoutCancel(t.Context()), true)
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// testMessage returns a message with a number in its Message-ID.
func testMessage(n int, body string) []byte {
	return fmt.Appendf(nil, "From: <a@example.org>\r\nMessage-ID: <%d@example.org>\r\nSubject: subject %d\r\n\r\n%s\r\n", n, n, body)
}

// deliver delivers to accounts.
func deliver(t testing.TB, d *Dir, content []byte, mailbox string, to ...*Account) error {
	t.Helper()
	an, err := Analyze(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	dl := Delivery{Content: d.ContentBytes(content), Analysis: an, Received: time.Now()}
	for i, a := range to {
		dl.To = append(dl.To, Recipient{Account: a, Mailbox: mailbox, Prefix: fmt.Appendf(nil, "Delivered-To: <%d@example.org>\r\n", i)})
	}
	return d.Deliver(context.WithoutCancel(t.Context()), dl)
}

// appendTo stages and appends a message.
func appendTo(t testing.TB, a *Account, mailbox string, content []byte, opts AppendOptions) (Message, error) {
	t.Helper()
	s, err := a.Stage(t.Context(), int64(len(content)), bytes.NewReader(content))
	if err != nil {
		return Message{}, err
	}
	var m Message
	err = a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox(mailbox)
		if err != nil {
			return err
		}
		m, err = tx.Append(&mb, s, opts)
		return err
	})
	if err := s.Discard(); err != nil {
		t.Error(err)
	}
	return m, err
}

// contents returns prefix and file of all messages of a mailbox, in order.
func contents(t testing.TB, a *Account, mailbox string) []string {
	t.Helper()
	a.WaitDurable(t.Context())
	var list []string
	err := a.View(t.Context(), func(tx *Tx) error {
		list = nil
		mb, err := tx.Mailbox(mailbox)
		if err != nil {
			return err
		}
		uids, err := tx.uids(mb.ID)
		if err != nil {
			return err
		}
		for _, uid := range uids {
			m, err := tx.Message(mb.ID, uid)
			if err != nil {
				return err
			}
			e, err := tx.Email(m.EmailID)
			if err != nil {
				return err
			}
			f, err := a.OpenMessage(e.ID)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			list = append(list, string(e.Prefix)+string(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestDeliverAndReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := testDir(t, dir, nil)
	var accounts []*Account
	for _, name := range []string{"a", "b"} {
		a, err := d.Create(t.Context(), name, NewAccount{})
		if err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, a)
	}
	for i := range 50 {
		if err := deliver(t, d, testMessage(i, strings.Repeat("text ", i)), "", accounts...); err != nil {
			t.Fatal(err)
		}
	}
	for i, a := range accounts {
		got := contents(t, a, "inbox")
		if len(got) != 50 {
			t.Fatalf("account %s has %d messages", a.Name(), len(got))
		}
		for n, s := range got {
			if want := fmt.Sprintf("Delivered-To: <%d@example.org>\r\n%s", i, testMessage(n, strings.Repeat("text ", n))); s != want {
				t.Fatalf("account %s message %d: got %q, want %q", a.Name(), n, s, want)
			}
		}
	}
	check(t, d)
	for _, a := range accounts {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir + "/journal/files"); err != nil || len(left) > 0 {
		t.Errorf("journal has files %v left, error %v", left, err)
	}

	d = testDir(t, dir, nil)
	a, err := d.Account(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, a, "Inbox"); len(got) != 50 {
		t.Errorf("after restart %d messages", len(got))
	}
	check(t, d)
	if err := errors.Join(a.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestAppendCopyMoveExpunge(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, nil)
	for i := range 5 {
		m, err := appendTo(t, a, "Inbox", testMessage(i, "x"), AppendOptions{Flags: FlagSeen, Keywords: []string{"work"}})
		if err != nil {
			t.Fatal(err)
		}
		if m.UID != UID(i+1) {
			t.Fatalf("got UID %d", m.UID)
		}
	}
	var copied, moved Copied
	var removed []UID
	err := a.Update(t.Context(), func(tx *Tx) error {
		src, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		dst, err := tx.Mailbox("Archive")
		if err != nil {
			return err
		}
		if copied, err = tx.Copy(&src, &dst, []UID{1, 3, 9}); err != nil {
			return err
		}
		if moved, err = tx.Move(&src, &dst, []UID{2}); err != nil {
			return err
		}
		removed, err = tx.Expunge(&src, []UID{1, 2, 4})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(copied.Src, copied.Dst, moved.Src, moved.Dst, removed); got != "[1 3] [1 2] [2] [3] [1 4]" {
		t.Errorf("got %s", got)
	}
	if n := len(contents(t, a, "Archive")); n != 3 {
		t.Errorf("archive has %d messages", n)
	}
	if n := len(contents(t, a, "Inbox")); n != 2 {
		t.Errorf("inbox has %d messages", n)
	}
}

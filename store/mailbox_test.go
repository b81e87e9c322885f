package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// FuzzMailboxName: what passes stays as it is, and can be a delivery's mailbox.
func FuzzMailboxName(f *testing.F) {
	for _, s := range []string{"inbox", "a/b", "e\u0301", "#x", "a\x00", "\xff", "İnbox", "ınbox"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := CheckMailboxName(name)
		if err != nil {
			return
		}
		again, err := CheckMailboxName(got)
		if err != nil || again != got || got == "" || len(got) > mailboxNameMax || strings.ContainsRune(got, 0) {
			t.Errorf("%q became %q, then %q, %v", name, got, again, err)
		}
	})
}

// names returns the mailboxes as IMAP lists them: name and role.
func names(t testing.TB, a *Account) (list []string) {
	t.Helper()
	err := a.View(t.Context(), func(tx *Tx) error {
		boxes, err := tx.Mailboxes()
		for _, mb := range boxes {
			list = append(list, mb.Name+mb.Use.String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestMailboxes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	for _, step := range []struct {
		name string
		do   func(tx *Tx) error
		err  error
		want string
	}{
		{"create with parents", func(tx *Tx) error {
			made, err := tx.CreateMailbox("a/b/c", UseSent)
			if err == nil && (len(made) != 3 || made[2].Name != "a/b/c" || made[2].Use != UseSent) {
				err = fmt.Errorf("made %+v", made)
			}
			return err
		}, nil, `Inbox a a/b a/b/c\Sent`},
		{"create again", func(tx *Tx) error { _, err := tx.CreateMailbox("a/b", UseNone); return err }, ErrMailboxExists, `Inbox a a/b a/b/c\Sent`},
		{"create another inbox", func(tx *Tx) error { _, err := tx.CreateMailbox("INBOX", UseNone); return err }, ErrMailboxExists, `Inbox a a/b a/b/c\Sent`},
		{"a role is taken from who has it", func(tx *Tx) error { _, err := tx.CreateMailbox("s", UseSent); return err }, nil, `Inbox a a/b a/b/c s\Sent`},
		{"and given up", func(tx *Tx) error {
			mb, err := tx.Mailbox("s")
			if err != nil {
				return err
			}
			return tx.SetSpecialUse(&mb, UseNone)
		}, nil, `Inbox a a/b a/b/c s`},
		{"delete one with children", func(tx *Tx) error { return tx.DeleteMailbox("a/b") }, ErrHasChildren, `Inbox a a/b a/b/c s`},
		{"delete Inbox", func(tx *Tx) error { return tx.DeleteMailbox("inbox") }, ErrInbox, `Inbox a a/b a/b/c s`},
		{"delete what is not there", func(tx *Tx) error { return tx.DeleteMailbox("x") }, ErrNoMailbox, `Inbox a a/b a/b/c s`},
		{"delete by a name that can't be", func(tx *Tx) error { return tx.DeleteMailbox("#x") }, ErrNoMailbox, `Inbox a a/b a/b/c s`},
		{"rename with children, making parents", func(tx *Tx) error { return tx.RenameMailbox("a/b", "x/y") }, nil, `Inbox a s x x/y x/y/c`},
		{"rename below itself", func(tx *Tx) error { return tx.RenameMailbox("x", "x/y/z") }, ErrMailboxName, `Inbox a s x x/y x/y/c`},
		{"rename to one that is there", func(tx *Tx) error { return tx.RenameMailbox("x", "a") }, ErrMailboxExists, `Inbox a s x x/y x/y/c`},
		{"rename too long", func(tx *Tx) error { return tx.RenameMailbox("x", strings.Repeat("z", mailboxNameMax-2)) }, ErrMailboxName, `Inbox a s x x/y x/y/c`},
		{"rename Inbox", func(tx *Tx) error { return tx.RenameMailbox("Inbox", "old/in") }, nil, `Inbox a old old/in s x x/y x/y/c`},
		{"delete and create in one", func(tx *Tx) error {
			if err := tx.DeleteMailbox("x/y/c"); err != nil {
				return err
			}
			_, err := tx.CreateMailbox("x/y/c", UseDrafts)
			return err
		}, nil, `Inbox a old old/in s x x/y x/y/c\Drafts`},
		{"swap two names in one", func(tx *Tx) error {
			return errors.Join(tx.RenameMailbox("a", "tmp"), tx.RenameMailbox("s", "a"), tx.RenameMailbox("tmp", "s"))
		}, nil, `Inbox a old old/in s x x/y x/y/c\Drafts`},
	} {
		if err := a.Update(t.Context(), step.do); !errors.Is(err, step.err) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.err)
		}
		if got := strings.Join(names(t, a), " "); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
}

// TestMailboxUIDValidity: a name that is used again has a new one, and clients
// that knew the old mailbox are told that it is gone.
func TestMailboxUIDValidity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	watch := a.Watch()
	defer watch.Close()
	watch.Follow(NewFilter([]Rule{{Scope: ScopeAll, Events: EventNames | EventMessages}}))
	var last uint32
	for range 3 {
		err := a.Update(t.Context(), func(tx *Tx) error {
			made, err := tx.CreateMailbox("x", UseNone)
			if err != nil {
				return err
			}
			// MUST 9051 2.3.1.1 #1: a mailbox that has the name of an earlier one has another UIDVALIDITY, so UIDs stay unique
			if made[0].UIDValidity <= last {
				t.Errorf("UIDVALIDITY %d after %d", made[0].UIDValidity, last)
			}
			last = made[0].UIDValidity
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := appendTo(t, a, "x", testMessage(0, "x"), AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := a.Update(t.Context(), func(tx *Tx) error { return tx.DeleteMailbox("x") }); err != nil {
			t.Fatal(err)
		}
		if news := watch.News(); len(news.Names) != 1 || news.Names[0].Name != "x" || len(news.Mailboxes) > 0 {
			t.Errorf("got %+v", news)
		}
	}
	eventually(t, "its files are erased", func() bool { return len(w.files("accounts", "a", "msg", "a")) == 0 })
	if used := a.Usage().Size; used != 0 {
		t.Errorf("%d bytes are used", used)
	}
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	for _, step := range []struct {
		name string
		do   func(tx *Tx) error
		err  error
		want string
	}{
		{"new mailboxes are subscribed", func(tx *Tx) error { _, err := tx.CreateMailbox("a/b", UseNone); return err }, nil, "[Inbox a a/b]"},
		{"a mailbox need not be there", func(tx *Tx) error { return tx.Subscribe("none") }, nil, "[Inbox a a/b none]"},
		{"twice", func(tx *Tx) error { return tx.Subscribe("inbox") }, nil, "[Inbox a a/b none]"},
		{"a name that can't be", func(tx *Tx) error { return tx.Subscribe("a//b") }, ErrMailboxName, "[Inbox a a/b none]"},
		{"unsubscribe", func(tx *Tx) error { return tx.Unsubscribe("a") }, nil, "[Inbox a/b none]"},
		{"unsubscribe again, of a mailbox", func(tx *Tx) error { return tx.Unsubscribe("a") }, nil, "[Inbox a/b none]"},
		{"unsubscribe what is not there", func(tx *Tx) error { return tx.Unsubscribe("x") }, ErrNotSubscribed, "[Inbox a/b none]"},
		{"it stays when the mailbox goes", func(tx *Tx) error { return tx.DeleteMailbox("a/b") }, nil, "[Inbox a/b none]"},
		{"and stays with its name in a rename", func(tx *Tx) error { return tx.RenameMailbox("a", "c") }, nil, "[Inbox a/b c none]"},
	} {
		if err := a.Update(t.Context(), step.do); !errors.Is(err, step.err) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.err)
		}
		err := a.View(t.Context(), func(tx *Tx) error {
			got, err := tx.Subscriptions()
			if fmt.Sprint(got) != step.want {
				t.Errorf("%s: got %v, want %s", step.name, got, step.want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestKeywords: the first of a mailbox are bits, more are kept by name, and there
// is a limit; copies get those of their mailbox.
func TestKeywords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	err := a.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.CreateMailbox("copies", UseNone)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	kw := func(from, to int) (list []string) {
		for i := from; i < to; i++ {
			list = append(list, fmt.Sprintf("kw%03d", i))
		}
		return list
	}
	watch, sel := selectInbox(t, a)
	wants := [][]string{kw(0, 60), kw(45, 55), kw(51, 53), kw(51, 52), kw(52, 53), nil}
	for _, kws := range wants {
		if _, err := appendTo(t, a, "Inbox", testMessage(0, "x"), AppendOptions{Keywords: kws}); err != nil {
			t.Fatal(err)
		}
	}
	watch.Take(TakeAll)
	inboxKeywords := func(when string, want [][]string) {
		t.Helper()
		rows := map[UID][]string{}
		err := a.View(t.Context(), func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			if err != nil {
				return err
			}
			uids, err := tx.uids(mb.ID)
			for _, uid := range uids {
				m, err := tx.Message(mb.ID, uid)
				if err != nil {
					return err
				}
				rows[uid] = keywordsOf(mb.Keywords, m.Bits, m.More)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		for i, e := range sel.Entries(sel.UIDs(), nil) {
			if got := sel.Keywords(e); !slices.Equal(got, want[i]) || !slices.Equal(rows[e.UID], want[i]) {
				t.Errorf("%s: UID %d has %v, row %v, want %v", when, e.UID, got, rows[e.UID], want[i])
			}
		}
	}
	inboxKeywords("at first", wants)

	change := func(op FlagOp, kws []string, uids ...UID) error {
		return a.Update(t.Context(), func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			if err != nil {
				return err
			}
			_, err = tx.SetFlags(&mb, uids, FlagChange{Op: op, Keywords: kws})
			return err
		})
	}
	if err := errors.Join(change(FlagsRemove, kw(10, 60), 1), change(FlagsAdd, kw(55, 57), 2), change(FlagsReplace, nil, 3, 5)); err != nil {
		t.Error(err)
	}
	watch.Take(TakeAll)
	wants = [][]string{kw(0, 10), slices.Concat(kw(45, 55), kw(55, 57)), nil, kw(51, 52), nil, nil}
	inboxKeywords("after changes", wants)

	err = a.Update(t.Context(), func(tx *Tx) error {
		src, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		dst, err := tx.Mailbox("copies")
		if err != nil {
			return err
		}
		_, err = tx.Copy(&src, &dst, []UID{2})
		if want := wants[1]; err == nil && !slices.Equal(dst.Keywords, want) {
			t.Errorf("copies list %v, want %v", dst.Keywords, want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := change(FlagsAdd, kw(60, KeywordsMax), 6); err != nil {
		t.Error(err)
	}
	if err := change(FlagsAdd, []string{"one-more"}, 6); !errors.Is(err, ErrKeyword) {
		t.Errorf("a keyword too many: got %v", err)
	}
	// A delivery is not refused for it.
	msg := testMessage(1, "x")
	dl := Delivery{Content: w.d.ContentBytes(msg), Analysis: analysis(t, msg), To: []Recipient{{Account: a, Keywords: []string{"one-more"}, Flags: FlagFlagged}}}
	if err := w.d.Deliver(t.Context(), dl); err != nil {
		t.Fatal(err)
	}
	a.WaitDurable(t.Context())
	watch.Take(TakeAll)
	if e := sel.Entries([]UID{7}, nil); len(e) != 1 || e[0].Flags() != FlagFlagged || len(sel.Keywords(e[0])) > 0 {
		t.Errorf("delivered: %+v", e)
	}
	watch.Close()
	w.restart()
	a = w.account("a")
	_, sel = selectInbox(t, a)
	inboxKeywords("after a restart", append(wants[:5:5], kw(60, KeywordsMax), nil))
}

// TestUnchangedSince: a message whose flags stay the same keeps its ModSeq, and
// one that changed since is left alone.
func TestUnchangedSince(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	for i := range 3 {
		if _, err := appendTo(t, a, "Inbox", testMessage(i, "x"), AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set := func(since int64, flags Flags, uids ...UID) (res FlagResult, modSeq int64) {
		t.Helper()
		err := a.Update(t.Context(), func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			if err != nil {
				return err
			}
			res, err = tx.SetFlags(&mb, uids, FlagChange{Op: FlagsReplace, Flags: flags, UnchangedSince: since})
			modSeq = mb.ModSeq
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return res, modSeq
	}
	_, at := set(0, 0, 1)
	res, now := set(0, FlagSeen, 2)
	if now <= at || res.Entries[0].ModSeq != now || !res.Changed[0] {
		t.Errorf("got %+v, modseq %d to %d", res, at, now)
	}
	if again, modSeq := set(0, FlagSeen, 2); modSeq != now || again.Changed[0] || again.Entries[0].ModSeq != now {
		t.Errorf("the same again: got %+v, modseq %d", again, modSeq)
	}
	res, _ = set(at, FlagFlagged, 1, 2, 3, 9)
	if len(res.Entries) != 2 || res.Entries[0].UID != 1 || res.Entries[1].UID != 3 || !slices.Equal(res.Modified, []UID{2}) {
		t.Errorf("got %+v", res)
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	f := NewFilter([]Rule{
		{Scope: ScopeNamed, Names: []string{"INBOX", "a/b", "*", "bad//name"}, Events: EventMessages},
		{Scope: ScopeSubtree, Names: []string{"tree", "inbox/x"}, Events: EventFlags},
		{Scope: ScopeSubtreeOne, Names: []string{"tree/one"}, Events: EventNames},
		{Scope: ScopeSubscribed, Events: EventSubscriptions},
		{Scope: ScopeNamed, Names: []string{"tree"}, Events: EventAnnotations},
	})
	for _, tc := range []struct {
		name       string
		subscribed bool
		want       Events
	}{
		{"Inbox", false, EventMessages},
		{"a/b", true, EventMessages | EventSubscriptions},
		{"a", false, 0},
		{"a/b/c", false, 0},
		{"star", false, 0},
		{"tree", false, EventFlags | EventAnnotations},
		{"tree/x/y", false, EventFlags},
		{"treehouse", false, 0},
		{"tree/one", false, EventFlags | EventNames},
		{"tree/one/x", false, EventFlags | EventNames},
		{"tree/one/x/y", false, EventFlags},
		{"Inbox/x/y", false, EventFlags},
		{"elsewhere", true, EventSubscriptions},
	} {
		if got := f.Wants(tc.name, tc.subscribed); got != tc.want {
			t.Errorf("%s: got %b, want %b", tc.name, got, tc.want)
		}
	}
	if got := NewFilter([]Rule{{Scope: ScopeAll, Events: EventNames}}).Wants("x/y", false); got != EventNames {
		t.Errorf("all: got %b", got)
	}
}

// newsText renders news, as "name", "old>new", "mailbox:total/unseen" and
// "mailbox!annotation".
func newsText(news News) string {
	var words []string
	for _, n := range news.Names {
		word := n.Name
		if n.OldName != "" {
			word = n.OldName + ">" + word
		}
		words = append(words, word)
	}
	for _, m := range news.Mailboxes {
		kinds := map[Events]string{EventMessages: "m", EventFlags: "f", EventMessages | EventFlags: "mf"}
		words = append(words, fmt.Sprintf("%s:%d/%d%s", m.Mailbox.Name, m.Mailbox.Total, m.Mailbox.Unseen, kinds[m.Events]))
	}
	for _, a := range news.Annotations {
		name := ""
		if a.Mailbox != nil {
			name = a.Mailbox.Name
		}
		words = append(words, name+"!"+a.Name)
	}
	if news.Lost {
		words = append(words, "lost")
	}
	return strings.Join(words, " ")
}

// follower is a session that follows, and others that do things.
type follower struct {
	t *testing.T
	w *world
	a *Account
	f *Watch
}

func newFollower(t *testing.T, rules ...Rule) *follower {
	w := newWorld(t, nil, "a")
	f := &follower{t: t, w: w, a: w.account("a")}
	f.f = f.a.Watch()
	t.Cleanup(f.f.Close)
	f.f.Follow(NewFilter(rules))
	return f
}

// do changes something as another session, or as the follower if own.
func (f *follower) do(fn func(tx *Tx) error) { f.doAs(nil, fn) }

func (f *follower) doAs(w *Watch, fn func(tx *Tx) error) {
	f.t.Helper()
	if err := f.a.UpdateFrom(f.t.Context(), w, fn); err != nil {
		f.t.Fatal(err)
	}
}

func create(name string) func(tx *Tx) error {
	return func(tx *Tx) error { _, err := tx.CreateMailbox(name, UseNone); return err }
}

// flagAll changes the flags of all messages of a mailbox.
func flagAll(name string, op FlagOp) func(tx *Tx) error {
	return inBox(name, func(tx *Tx, mb *Mailbox, uids []UID) error {
		_, err := tx.SetFlags(mb, uids, FlagChange{Op: op, Flags: FlagSeen})
		return err
	})
}

func expungeAll(name string) func(tx *Tx) error {
	return inBox(name, func(tx *Tx, mb *Mailbox, uids []UID) error { _, err := tx.Expunge(mb, uids); return err })
}

func inBox(name string, fn func(tx *Tx, mb *Mailbox, uids []UID) error) func(tx *Tx) error {
	return func(tx *Tx) error {
		mb, err := tx.Mailbox(name)
		if err != nil {
			return err
		}
		uids, err := tx.uids(mb.ID)
		if err != nil {
			return err
		}
		return fn(tx, &mb, uids)
	}
}

func TestNews(t *testing.T) {
	t.Parallel()
	const every = EventMessages | EventFlags | EventNames | EventSubscriptions | EventAnnotations | EventServer
	f := newFollower(t, Rule{Scope: ScopeAll, Events: every})
	add := func(name string) {
		t.Helper()
		if _, err := appendTo(t, f.a, name, testMessage(0, "x"), AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"nothing", func() {}, ""},
		{"a new mailbox: its name, and its UIDVALIDITY", func() { f.do(create("x")) }, "x x:0/0mf"},
		{"one below it, which is a change of the one above too", func() { f.do(create("x/y")) }, "x/y x x/y:0/0mf"},
		{"messages that come, several as one", func() { add("x"); add("x") }, "x:2/2m"},
		{"flags", func() { f.do(flagAll("x", FlagsAdd)) }, "x:2/0f"},
		{"flags that stay the same", func() { f.do(flagAll("x", FlagsAdd)) }, ""},
		{"all in one, with the numbers of the end", func() { f.do(flagAll("x", FlagsRemove)); add("x"); f.do(expungeAll("x")) }, "x:0/0mf"},
		{"a rename, with what is below", func() { f.do(func(tx *Tx) error { return tx.RenameMailbox("x", "z") }) }, "x>z z/y z:0/0mf z/y:0/0mf"},
		{
			"messages and a rename: the name is that of now",
			func() { add("z/y"); f.do(func(tx *Tx) error { return tx.RenameMailbox("z/y", "q") }) }, "z/y>q q:1/1mf",
		},
		{"messages of a mailbox that is deleted then", func() { add("q"); f.do(func(tx *Tx) error { return tx.DeleteMailbox("q") }) }, "q"},
		{"a subscription", func() { f.do(func(tx *Tx) error { return tx.Unsubscribe("q") }) }, "q"},
		{"the same again", func() { f.do(func(tx *Tx) error { return tx.Subscribe("z") }) }, ""},
		{"a delivery", func() { f.w.deliver(testMessage(0, "x"), "a"); f.w.wantInbox("a", testMessage(0, "x")) }, "Inbox:1/1m"},
		{
			"annotations, each once", func() {
				for _, value := range []string{"1", "2", "-"} {
					f.do(func(tx *Tx) error { return annotate(tx, "z", "/private/comment", value) })
				}
				f.do(func(tx *Tx) error { return annotate(tx, "", "/private/comment", "x") })
			}, "z!/private/comment !/private/comment",
		},
		{
			"an annotation and a rename",
			func() {
				f.do(func(tx *Tx) error { return annotate(tx, "z", "/private/comment", "x") })
				f.do(func(tx *Tx) error { return tx.RenameMailbox("z", "w") })
			}, "z>w w:0/0mf w!/private/comment",
		},
		{
			"what it does itself", func() {
				f.doAs(f.f, create("own"))
				f.doAs(f.f, func(tx *Tx) error { return annotate(tx, "own", "/private/comment", "x") })
				f.doAs(f.f, flagAll("Inbox", FlagsAdd))
				f.doAs(f.f, func(tx *Tx) error { return tx.DeleteMailbox("own") })
			}, "",
		},
		{"what it does itself after others", func() { f.do(flagAll("Inbox", FlagsRemove)); f.doAs(f.f, expungeAll("Inbox")) }, "Inbox:0/0f"},
		{"Inbox that is renamed", func() { add("Inbox"); f.do(func(tx *Tx) error { return tx.RenameMailbox("Inbox", "old") }) }, "old Inbox:0/0m old:1/1mf"},
	} {
		step.do()
		if got := newsText(f.f.News()); got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
		if got := newsText(f.f.News()); got != "" {
			t.Errorf("%s: told again: %q", step.name, got)
		}
	}
}

// TestNewsWanted: what a filter does not ask for wakes nobody.
func TestNewsWanted(t *testing.T) {
	t.Parallel()
	f := newFollower(t, Rule{Scope: ScopeSubscribed, Events: EventMessages}, Rule{Scope: ScopeNamed, Names: []string{"x", "y"}, Events: EventNames})
	signalled := func() bool {
		select {
		case <-f.f.Signal():
			return true
		default:
			return false
		}
	}
	selected, err := f.f.Select(t.Context(), boxNamed(t, f.a, "Inbox").ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"a name that is asked for", func() { f.do(create("x")) }, "x"},
		{"another", func() { f.do(create("z")) }, ""},
		{"it gets a name that is", func() { f.do(func(tx *Tx) error { return tx.RenameMailbox("z", "y") }) }, "z>y"},
		{"and loses it", func() { f.do(func(tx *Tx) error { return tx.RenameMailbox("y", "z") }) }, "y>z"},
		{"flags only", func() { f.do(flagAll("x", FlagsAdd)) }, ""},
		{"not subscribed any more", func() {
			f.do(func(tx *Tx) error { return tx.Unsubscribe("x") })
			if _, err := appendTo(t, f.a, "x", testMessage(0, "x"), AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"subscribed again", func() {
			f.do(func(tx *Tx) error { return tx.Subscribe("x") })
			f.do(expungeAll("x"))
		}, "x:0/0m"},
	} {
		step.do()
		if got := signalled(); got != (step.want != "") {
			t.Errorf("%s: signalled %v", step.name, got)
		}
		if got := newsText(f.f.News()); got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
	}
	// The selected mailbox is not among them.
	if _, err := appendTo(t, f.a, "Inbox", testMessage(0, "x"), AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := newsText(f.f.News()); got != "" || len(f.f.Take(TakeAll)) != 1 || len(selected.UIDs()) != 1 {
		t.Errorf("of the selected mailbox: %q, knows %v", got, selected.UIDs())
	}
	if !signalled() {
		t.Error("no signal for the selected mailbox")
	}
	f.f.Follow(nil)
	f.do(create("y"))
	if got := newsText(f.f.News()); got != "" || signalled() {
		t.Errorf("after the end: %q", got)
	}
}

// TestNewsLost: who does not listen is told that, and holds no more than a bound. It
// can begin anew.
func TestNewsLost(t *testing.T) {
	t.Parallel()
	all := Rule{Scope: ScopeAll, Events: EventSubscriptions}
	f := newFollower(t, all)
	subscribe := func(from, to int) {
		f.do(func(tx *Tx) error {
			for i := from; i < to; i++ {
				if err := tx.Subscribe(fmt.Sprintf("s%d", i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	subscribe(0, newsMax)
	if news := f.f.News(); news.Lost || len(news.Names) != newsMax {
		t.Errorf("as much as can be: lost %v, %d names", news.Lost, len(news.Names))
	}
	subscribe(newsMax, 2*newsMax+1)
	subscribe(3*newsMax, 3*newsMax+1)
	if n := f.f.follow.pending(); n != 0 {
		t.Errorf("%d are kept", n)
	}
	if got := newsText(f.f.News()); got != "lost" {
		t.Errorf("one more: got %q", got)
	}
	f.do(create("x"))
	if got := newsText(f.f.News()); got != "" {
		t.Errorf("later: got %q", got)
	}
	f.f.Follow(NewFilter([]Rule{all}))
	subscribe(4*newsMax, 4*newsMax+1)
	if got := newsText(f.f.News()); got != "s4000" {
		t.Errorf("begun anew: got %q", got)
	}
	// After a commit of which nobody knows whether it was done, all is to be looked
	// at.
	f.w.faults.ArmNth(FaultCommitAfter, 1, func() error { return errors.New("boom") })
	if err := f.a.Update(t.Context(), create("y")); err == nil {
		t.Error("commit did not fail")
	}
	if got := newsText(f.f.News()); got != "lost" {
		t.Errorf("after a failed commit: got %q", got)
	}
	if _, ok := f.a.hub.subscribed["y"]; !ok {
		t.Error("what is subscribed to was not read again")
	}
}

// TestName: what LIST tells of a name is looked up for that alone.
func TestName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	err := a.Update(t.Context(), func(tx *Tx) error {
		for _, name := range []string{"a/b", "a.c", "a0"} {
			if _, err := tx.CreateMailbox(name, UseNone); err != nil {
				return err
			}
		}
		return errors.Join(tx.Unsubscribe("a0"), tx.Subscribe("none/x"))
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a": "true true true", "a/b": "true true false", "a0": "true false false", "none": "false false false",
		"none/x": "false true false", "Inbox": "true true false", "a//b": "false false false",
	} {
		err := a.View(context.Background(), func(tx *Tx) error {
			n, err := tx.Name(name)
			if got := fmt.Sprint(n.Mailbox != nil, n.Subscribed, n.Children); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

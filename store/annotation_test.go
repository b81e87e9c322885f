package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestAnnotationNames(t *testing.T) {
	t.Parallel()
	long := "/private/" + strings.Repeat("x", annotationNameMax-len("/private/"))
	for _, tc := range []struct {
		name, what string
		want       string // As it is kept, "" if it can't be a name.
		parent     bool   // It can be what others are below.
	}{
		{"a private one", "/private/comment", "/private/comment", true},
		{"a shared one, in another case", "/Shared/Comment", "/shared/comment", true},
		{"a scope alone", "/private", "", true},
		{"vendor alone", "/private/vendor", "", true},
		{"a vendor alone", "/shared/vendor/cmu", "", true},
		{"an entry of a vendor", "/shared/vendor/cmu/x", "/shared/vendor/cmu/x", true},
		{"more components", "/shared/VENDOR/cmu/x/y", "/shared/vendor/cmu/x/y", true},
		{"another scope", "/public/comment", "", false},
		{"no slash at the begin", "private/comment", "", false},
		{"a slash at the end", "/private/comment/", "", false},
		{"an empty component", "/private//comment", "", false},
		{"a wildcard", "/private/c*", "", false},
		{"another", "/private/c%", "", false},
		{"not ASCII", "/private/é", "", false},
		{"a control character", "/private/\x01", "", false},
		{"a space", "/private/a b", "/private/a b", true},
		{"as long as can be", long, long, true},
		{"longer", long + "x", "", false},
		{"as deep as can be", "/private" + strings.Repeat("/x", annotationDepthMax-1), "/private" + strings.Repeat("/x", annotationDepthMax-1), true},
		{"deeper", "/private" + strings.Repeat("/x", annotationDepthMax), "", false},
		{"nothing", "", "", false},
	} {
		got, err := CheckAnnotationName(tc.what)
		if got != tc.want || (err == nil) != (tc.want != "") || err != nil && !errors.Is(err, ErrAnnotationName) {
			t.Errorf("%s: got %q, %v", tc.name, got, err)
		}
		if _, err := CheckAnnotationParent(tc.what); (err == nil) != tc.parent {
			t.Errorf("%s, as parent: got %v", tc.name, err)
		}
	}
}

// FuzzAnnotationName: what passes stays as it is, and can be a key.
func FuzzAnnotationName(f *testing.F) {
	for _, s := range []string{"/private/comment", "/SHARED/vendor/a/b", "/private//x", "/shared/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := CheckAnnotationName(name)
		if err != nil {
			return
		}
		again, err := CheckAnnotationName(got)
		if err != nil || again != got || !strings.EqualFold(got, name) || len(got) > annotationNameMax || strings.ContainsRune(got, 0) {
			t.Errorf("%q became %q, then %q, %v", name, got, again, err)
		}
		if _, err := CheckAnnotationParent(got); err != nil {
			t.Errorf("%q has none below it: %v", got, err)
		}
	})
}

// TestUseAnnotation: the role of a mailbox is an annotation, and can be set by it.
func TestUseAnnotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	watch := a.Watch()
	defer watch.Close()
	watch.Follow(NewFilter([]Rule{{Scope: ScopeAll, Events: EventAnnotations | EventServer}}))
	for _, step := range []struct {
		name string
		do   func(tx *Tx) error
		err  error
		told string
		want string
	}{
		{"made with one", func(tx *Tx) error {
			_, err := tx.CreateMailbox("b", UseSent)
			return err
		}, nil, "b:/private/specialuse", `b:/private/specialuse=\Sent`},
		{"beside others", func(tx *Tx) error { return annotate(tx, "b", "/shared/comment", "x", "/private/comment", "y") }, nil,
			"b:/shared/comment b:/private/comment", `b:/private/comment=y b:/private/specialuse=\Sent b:/shared/comment=x`},
		{"removed", func(tx *Tx) error {
			return annotate(tx, "b", "/private/SpecialUse", "-", "/shared/comment", "-", "/private/comment", "-")
		}, nil, "b:/private/specialuse b:/shared/comment b:/private/comment", ``},
		{"set, and taken from another", func(tx *Tx) error {
			if _, err := tx.CreateMailbox("c", UseTrash); err != nil {
				return err
			}
			return annotate(tx, "b", "/private/specialuse", `\trash`)
		}, nil, "c:/private/specialuse b:/private/specialuse", `b:/private/specialuse=\Trash`},
		{"the same again", func(tx *Tx) error { return annotate(tx, "b", "/private/specialuse", `\Trash`) }, nil, "", `b:/private/specialuse=\Trash`},
		{"unknown", func(tx *Tx) error { return annotate(tx, "b", "/private/specialuse", `\All`) }, ErrSpecialUse, "", `b:/private/specialuse=\Trash`},
		{"two", func(tx *Tx) error { return annotate(tx, "b", "/private/specialuse", `\Sent \Trash`) }, ErrSpecialUse, "", `b:/private/specialuse=\Trash`},
		{"of Inbox", func(tx *Tx) error { return annotate(tx, "Inbox", "/private/specialuse", `\Sent`) }, ErrSpecialUse, "", `b:/private/specialuse=\Trash`},
		{"of the account it means nothing", func(tx *Tx) error { return annotate(tx, "", "/private/specialuse", `x`) }, nil, ":/private/specialuse",
			`:/private/specialuse=x b:/private/specialuse=\Trash`},
	} {
		if err := a.Update(t.Context(), step.do); !errors.Is(err, step.err) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.err)
		}
		if got := annotations(t, a); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
		if got := annotationsTold(t, watch); got != step.told {
			t.Errorf("%s: told of %q, want %q", step.name, got, step.told)
		}
	}
	for name, want := range map[string]string{"b": `\Trash true`, "c": " false"} {
		err := a.View(t.Context(), func(tx *Tx) error {
			mb, err := tx.Mailbox(name)
			if err != nil {
				return err
			}
			value, ok, err := tx.Annotation(mb.ID, "/Private/specialuse")
			if got := fmt.Sprintf("%s %v", value, ok); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// annotations returns all annotations, as mailbox:name=value.
func annotations(t testing.TB, a *Account) string {
	t.Helper()
	var all []string
	err := a.View(t.Context(), func(tx *Tx) error {
		boxes, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for _, mb := range slices.Concat([]Mailbox{{}}, boxes) {
			list, err := tx.Annotations(mb.ID)
			if err != nil {
				return err
			}
			for _, a := range list {
				all = append(all, fmt.Sprintf("%s:%s=%s", mb.Name, a.Name, a.Value))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// annotate changes annotations of a mailbox, or of the account if name is "". A value
// "-" removes.
func annotate(tx *Tx, mailbox string, pairs ...string) error {
	var mb Mailbox
	if mailbox != "" {
		var err error
		if mb, err = tx.Mailbox(mailbox); err != nil {
			return err
		}
	}
	var changes []AnnotationChange
	for i := 0; i < len(pairs); i += 2 {
		c := AnnotationChange{pairs[i], []byte(pairs[i+1])}
		if pairs[i+1] == "-" {
			c.Value = nil
		}
		changes = append(changes, c)
	}
	return tx.SetAnnotations(mb.ID, changes)
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	own, other := a.Watch(), a.Watch()
	defer own.Close()
	defer other.Close()
	for _, o := range []*Watch{own, other} {
		o.Follow(NewFilter([]Rule{{Scope: ScopeAll, Events: EventAnnotations | EventServer}}))
	}
	for _, step := range []struct {
		name string
		do   func(tx *Tx) error
		err  error
		told string // What other sessions are told of annotations.
		want string
	}{
		{"of the account", func(tx *Tx) error { return annotate(tx, "", "/shared/comment", "x") }, nil, ":/shared/comment", ":/shared/comment=x"},
		{"of a mailbox, in another case", func(tx *Tx) error { return annotate(tx, "inbox", "/Private/Comment", "y", "/private/b", "") }, nil,
			"Inbox:/private/comment Inbox:/private/b", ":/shared/comment=x Inbox:/private/b= Inbox:/private/comment=y"},
		{"the same again is no change", func(tx *Tx) error { return annotate(tx, "Inbox", "/private/comment", "y") }, nil,
			"", ":/shared/comment=x Inbox:/private/b= Inbox:/private/comment=y"},
		{"all or none", func(tx *Tx) error { return annotate(tx, "Inbox", "/private/comment", "z", "/private", "z") }, ErrAnnotationName,
			"", ":/shared/comment=x Inbox:/private/b= Inbox:/private/comment=y"},
		{"the last of two counts", func(tx *Tx) error { return annotate(tx, "Inbox", "/private/b", "1", "/PRIVATE/b", "2") }, nil,
			"Inbox:/private/b", ":/shared/comment=x Inbox:/private/b=2 Inbox:/private/comment=y"},
		{"removed", func(tx *Tx) error { return annotate(tx, "Inbox", "/private/b", "-", "/private/c", "-") }, nil,
			"Inbox:/private/b", ":/shared/comment=x Inbox:/private/comment=y"},
		{"of no mailbox", func(tx *Tx) error { return tx.SetAnnotations(99, []AnnotationChange{{"/private/b", nil}}) }, ErrNoMailbox,
			"", ":/shared/comment=x Inbox:/private/comment=y"},
		{"Inbox renamed: they are copied", func(tx *Tx) error { return tx.RenameMailbox("Inbox", "n") }, nil,
			"n:/private/comment", ":/shared/comment=x Inbox:/private/comment=y n:/private/comment=y"},
		{"renamed: they stay with the mailbox", func(tx *Tx) error { return tx.RenameMailbox("n", "m") }, nil,
			"", ":/shared/comment=x Inbox:/private/comment=y m:/private/comment=y"},
		{"deleted and made again", func(tx *Tx) error {
			if err := tx.DeleteMailbox("m"); err != nil {
				return err
			}
			_, err := tx.CreateMailbox("m", UseNone)
			return err
		}, nil, "", ":/shared/comment=x Inbox:/private/comment=y"},
	} {
		before := modSeqOf(t, a)
		if err := a.UpdateFrom(t.Context(), own, step.do); !errors.Is(err, step.err) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.err)
		}
		if got := annotations(t, a); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
		told := annotationsTold(t, other)
		if told != step.told {
			t.Errorf("%s: others are told of %q, want %q", step.name, told, step.told)
		}
		if told != "" && modSeqOf(t, a) != before+1 {
			t.Errorf("%s: modseq %d after %d", step.name, modSeqOf(t, a), before)
		}
		if got := annotationsTold(t, own); got != "" {
			t.Errorf("%s: who did it is told of %q", step.name, got)
		}
	}
	w.restart()
	if got := annotations(t, w.account("a")); got != ":/shared/comment=x Inbox:/private/comment=y" {
		t.Errorf("after a restart: got %s", got)
	}
}

func modSeqOf(t testing.TB, a *Account) (modSeq int64) {
	t.Helper()
	if err := a.View(t.Context(), func(tx *Tx) error { modSeq = tx.ModSeq(); return nil }); err != nil {
		t.Fatal(err)
	}
	return modSeq
}

func annotationsTold(t testing.TB, w *Watch) string {
	t.Helper()
	var told []string
	for _, a := range w.News().Annotations {
		name := ""
		if a.Mailbox != nil {
			name = a.Mailbox.Name
		}
		told = append(told, name+":"+a.Name)
	}
	return strings.Join(told, " ")
}

// TestAnnotationModSeq: who looks at a mailbox's ModSeq sees that it has changed.
func TestAnnotationModSeq(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	watch := a.Watch()
	defer watch.Close()
	sel, err := watch.Select(t.Context(), boxNamed(t, a, "Inbox").ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Update(t.Context(), func(tx *Tx) error { return annotate(tx, "Inbox", "/private/comment", "x") }); err != nil {
		t.Fatal(err)
	}
	watch.Take(TakeAll)
	mb := boxNamed(t, a, "Inbox")
	if now := modSeqOf(t, a); mb.ModSeq != now || sel.HighestModSeq() != now {
		t.Errorf("mailbox has modseq %d, the session %d, the account %d", mb.ModSeq, sel.HighestModSeq(), now)
	}
}

func boxNamed(t testing.TB, a *Account, name string) (mb Mailbox) {
	t.Helper()
	err := a.View(t.Context(), func(tx *Tx) (err error) {
		mb, err = tx.Mailbox(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mb
}

func TestAnnotationLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	set := func(mailbox string, pairs ...string) error {
		return a.Update(t.Context(), func(tx *Tx) error { return annotate(tx, mailbox, pairs...) })
	}
	var pairs []string
	for i := range annotationsMax {
		pairs = append(pairs, fmt.Sprintf("/private/%d", i), "x")
	}
	if err := set("", pairs...); err != nil {
		t.Fatalf("as many as can be: %v", err)
	}
	if err := set("Inbox", "/private/comment", "x"); !errors.Is(err, ErrTooManyAnnotations) {
		t.Errorf("one more: got %v", err)
	}
	if err := set("", "/private/0", "y"); err != nil {
		t.Errorf("another value: %v", err)
	}
	if err := a.Update(t.Context(), func(tx *Tx) error { return tx.RenameMailbox("Inbox", "n") }); err != nil {
		t.Errorf("renaming Inbox, which has none: %v", err)
	}
	for i := 1; i < len(pairs); i += 2 {
		pairs[i] = "-"
	}
	const name = "/private/comment"
	most := strings.Repeat("x", annotationBytesMax-len(name))
	if err := errors.Join(set("", pairs...), set("Inbox", name, most)); err != nil {
		t.Fatalf("as large as can be: %v", err)
	}
	var size *AnnotationSizeError
	if err := set("Inbox", name, most+"x"); !errors.As(err, &size) || size.Max != int64(len(most)) {
		t.Errorf("larger by a byte: got %v, %+v", err, size)
	}
	if err := set("", "/private/x", ""); !errors.As(err, &size) || size.Max != 0 {
		t.Errorf("another: got %v, %+v", err, size)
	}
	if err := a.Update(t.Context(), func(tx *Tx) error { return tx.RenameMailbox("Inbox", "m") }); !errors.As(err, &size) {
		t.Errorf("renaming Inbox: got %v", err)
	}
	if err := errors.Join(set("Inbox", name, most[1:]), set("Inbox", name, "-")); err != nil {
		t.Errorf("smaller, and gone: %v", err)
	}
	if got := annotations(t, a); got != "" {
		t.Errorf("got %s", got)
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/imap"
)

// subjects is a column of subjects; those with "secret" are not known.
func subjects(distinct bool) ColumnSpec {
	return ColumnSpec{Name: fmt.Sprint("subjects ", distinct), Distinct: distinct, Text: func(b []byte, s *Structure) ([]byte, bool) {
		text, _ := imap.EnvelopeString(s.Envelope, imap.EnvelopeSubject)
		return append(b, text...), !strings.Contains(text, "secret")
	}}
}

// appendSubjects adds a message for each subject to Inbox.
func appendSubjects(t testing.TB, a *Account, subjects ...string) {
	t.Helper()
	var staged []*Staged
	for _, subject := range subjects {
		content := "Subject: " + subject + "\r\n\r\n"
		s, err := a.Stage(t.Context(), int64(len(content)), strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		staged = append(staged, s)
	}
	err := a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		for _, s := range staged {
			if err == nil {
				_, err = tx.Append(&mb, s, AppendOptions{})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// columnInbox returns a selection of Inbox.
func columnInbox(t testing.TB, a *Account) *Selection {
	t.Helper()
	var mb Mailbox
	err := a.View(t.Context(), func(tx *Tx) (err error) {
		mb, err = tx.Mailbox("Inbox")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w := a.Watch()
	t.Cleanup(w.Close)
	sel, err := w.Select(t.Context(), mb.ID)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

// columnTexts returns the texts of UIDs as "?" where they are not known.
func columnTexts(c *Column, uids ...UID) (texts []string) {
	next := 0
	for _, uid := range uids {
		number, place, ok := c.Text(uid, next)
		next = place + 1
		if ok {
			texts = append(texts, string(c.Bytes(number)))
		} else {
			texts = append(texts, "?")
		}
	}
	return texts
}

func TestColumn(t *testing.T) {
	t.Parallel()
	for _, distinct := range []bool{false, true} {
		t.Run(fmt.Sprint("distinct ", distinct), func(t *testing.T) {
			t.Parallel()
			a := newWorld(t, nil, "u").open["u"]
			sel := columnInbox(t, a)
			spec := subjects(distinct)
			if c, missing := sel.ColumnSoFar(spec); missing != 0 || c.Texts() != 1 {
				t.Errorf("empty: %d missing, %d texts", missing, c.Texts())
			}
			appendSubjects(t, a, "b", "a", "secret", "b")
			if _, missing := sel.ColumnSoFar(spec); missing != 4 {
				t.Errorf("%d missing, want 4", missing)
			}
			var told []int
			c, err := sel.Column(t.Context(), spec, func(done, goal int) { told = append(told, done, goal) })
			if err != nil {
				t.Fatal(err)
			}
			if got, want := columnTexts(c, 1, 2, 3, 4, 9), []string{"b", "a", "?", "b", "?"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if !slices.Equal(told, []int{4, 4}) {
				t.Errorf("progress %v", told)
			}
			if want := map[bool]int{false: 3, true: 5}[distinct]; c.Texts() != want {
				t.Errorf("%d texts, want %d", c.Texts(), want)
			}
			appendSubjects(t, a, "c", "0")
			longer, err := sel.Column(t.Context(), spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := columnTexts(longer, 4, 2, 6, 5), []string{"b", "a", "0", "c"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if got := columnTexts(c, 4, 5); !slices.Equal(got, []string{"b", "?"}) {
				t.Errorf("the older version changed: %q", got)
			}
			checkRanks(t, longer)
			checkRanks(t, c)
		})
	}
}

// checkRanks checks that ranks are in the order of the texts.
func checkRanks(t *testing.T, c *Column) {
	t.Helper()
	ranks := c.Ranks()
	for i := range ranks {
		for k := range ranks {
			if less := string(c.Bytes(uint32(i))) < string(c.Bytes(uint32(k))); less != (ranks[i] < ranks[k]) {
				t.Errorf("%q has rank %d, %q has %d", c.Bytes(uint32(i)), ranks[i], c.Bytes(uint32(k)), ranks[k])
			}
		}
	}
}

func TestColumnEnds(t *testing.T) {
	t.Parallel()
	a := newWorld(t, nil, "u").open["u"]
	sel := columnInbox(t, a)
	appendSubjects(t, a, "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sel.Column(ctx, subjects(false), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	broken := errors.New("broken")
	calls := 0
	spec := ColumnSpec{Name: "broken", Text: func(b []byte, _ *Structure) ([]byte, bool) {
		if calls++; calls == 2 {
			panic(broken) // As what reads mail may do.
		}
		return append(b, "x"...), true
	}}
	func() {
		defer func() {
			if v := recover(); v != broken { //nolint:errorlint // It is the same value.
				t.Errorf("recovered %v", v)
			}
		}()
		_, _ = sel.Column(t.Context(), spec, nil)
	}()
	c, err := sel.Column(t.Context(), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := columnTexts(c, 1, 2); !slices.Equal(got, []string{"x", "x"}) {
		t.Errorf("after a failure: %q", got)
	}
}

func TestColumnCache(t *testing.T) {
	t.Parallel()
	a := newWorld(t, nil, "u").open["u"]
	sel := columnInbox(t, a)
	cc := &a.dir.columns
	fill := func(name string, size int64) *sharedColumn {
		sc := cc.column(sel.r, ColumnSpec{Name: name})
		cc.resize(sc, size)
		return sc
	}
	first, second := fill("first", columnsMax/2), fill("second", columnsMax/2)
	fill("first", columnsMax/2) // It was used again.
	third := fill("third", columnsMax/4)
	if second.element != nil || first.element == nil || third.element == nil || cc.total != columnsMax/2+columnsMax/4 {
		t.Errorf("the one used longest ago is not dropped: %d bytes", cc.total)
	}
	cc.resize(second, columnsMax) // Who filled it goes on.
	if cc.total != columnsMax/2+columnsMax/4 {
		t.Errorf("a column that was dropped counts: %d bytes", cc.total)
	}
	third.at = third.at.Add(-2 * columnIdle)
	if fill("first", columnsMax/2); third.element != nil || cc.used.Len() != 1 {
		t.Errorf("a column that nobody uses is kept, %d are", cc.used.Len())
	}
	cc.forget(sel.r)
	if cc.total != 0 || cc.used.Len() != 0 || len(sel.r.columns) != 0 {
		t.Errorf("%d bytes are left", cc.total)
	}
}

// TestColumnAnew checks that a column that has mostly messages that are gone is made
// anew, and one that is too large not at all.
func TestColumnAnew(t *testing.T) {
	t.Parallel()
	r := &array{uids: []UID{1000, 1001}}
	sc := &sharedColumn{array: r, spec: subjects(false), cache: &columnCache{}, filling: make(chan struct{}, 1), numbers: map[uint64]uint32{}}
	c := sc.empty()
	for uid := range UID(600) {
		sc.add(&c, uid, fmt.Appendf(nil, "text %d", uid%300), true)
	}
	if c.Texts() != 301 || len(c.Ranks()) != 301 {
		t.Errorf("%d texts", c.Texts())
	}
	if !sc.stale(&c, r.newest()) {
		t.Error("a column of messages that are gone is kept")
	}
	r.uids = slices.Collect(func(yield func(UID) bool) {
		for uid := range UID(600) {
			if !yield(uid) {
				return
			}
		}
	})
	if sc.stale(&c, r.newest()) {
		t.Error("a column of messages that are there is not kept")
	}
	sc.tooLarge = true
	if err := sc.fill(t.Context(), nil, nil); !errors.Is(err, ErrColumnSize) {
		t.Errorf("too large: %v", err)
	}
}

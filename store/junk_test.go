package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/message"
)

// withJunk gives all accounts a junk filter.
func withJunk(o *Options) {
	o.JunkParams = func(string) (junk.Params, bool) { return testJunkParams, true }
}

var testJunkParams = junk.Params{Grams: junk.OneGrams, IgnoreWords: 0.1, RareWords: 0}

// junkMail returns a message with some words.
func junkMail(n int, words string) []byte {
	return fmt.Appendf(nil, "From: <sender@example.org>\r\nMessage-ID: <%d@example.org>\r\n\r\n%s\r\n", n, words)
}

// mark changes the flags of a message in Inbox.
func mark(t testing.TB, a *Account, m Message, f Flags) {
	t.Helper()
	err := a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err == nil {
			_, err = tx.SetFlags(&mb, []UID{m.UID}, FlagChange{Op: FlagsReplace, Flags: f})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// appendMarked appends a message that is marked.
func appendMarked(t testing.TB, a *Account, content []byte, f Flags) Message {
	t.Helper()
	m, err := appendTo(t, a, "Inbox", content, AppendOptions{Flags: f})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// trained waits for the trainer, and returns what the filter was trained with.
func trained(t testing.TB, a *Account) junk.Count {
	t.Helper()
	if err := a.WaitTrained(t.Context()); err != nil {
		t.Fatal(err)
	}
	return junkScore(t, a, "anything").Trained
}

// junkScore returns the score of a message with some words.
func junkScore(t testing.TB, a *Account, words string) junk.Score {
	t.Helper()
	content := junkMail(0, words)
	part, err := message.Parse(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.JunkScore(t.Context(), junk.Source{Content: bytes.NewReader(content), Part: &part})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// counts returns in how many messages a word was.
func wordCount(t testing.TB, a *Account, word string) junk.Count {
	t.Helper()
	for _, w := range junkScore(t, a, word).Words {
		if w.Text == word {
			return w.Count
		}
	}
	return junk.Count{}
}

// left returns how many Training rows there are.
func left(t testing.TB, a *Account) (n int) {
	t.Helper()
	err := a.View(t.Context(), func(tx *Tx) (err error) {
		n, err = bstore.QueryTx[Training](tx.b).Count()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTraining follows one message through its flags.
func TestTraining(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, withJunk)
	for i := range 2 {
		appendMarked(t, a, junkMail(i, "viagra meeting"), FlagJunk)
		appendMarked(t, a, junkMail(10+i, "meeting"), FlagNotJunk)
	}
	m := appendMarked(t, a, junkMail(20, "viagra"), 0)
	for _, step := range []struct {
		name    string
		flags   Flags
		trained junk.Count
		viagra  junk.Count
	}{
		{"unmarked", 0, junk.Count{Junk: 2, NotJunk: 2}, junk.Count{Junk: 2}},
		{"junk", FlagJunk, junk.Count{Junk: 3, NotJunk: 2}, junk.Count{Junk: 3}},
		{"junk again", FlagJunk, junk.Count{Junk: 3, NotJunk: 2}, junk.Count{Junk: 3}},
		{"both undo it", FlagJunk | FlagNotJunk, junk.Count{Junk: 2, NotJunk: 2}, junk.Count{Junk: 2}},
		{"not junk", FlagNotJunk, junk.Count{Junk: 2, NotJunk: 3}, junk.Count{Junk: 2, NotJunk: 1}},
		{"junk after all", FlagJunk, junk.Count{Junk: 3, NotJunk: 2}, junk.Count{Junk: 3}},
		{"unmarked again", 0, junk.Count{Junk: 2, NotJunk: 2}, junk.Count{Junk: 2}},
	} {
		mark(t, a, m, step.flags)
		if got := trained(t, a); got != step.trained {
			t.Errorf("%s: trained with %+v, want %+v", step.name, got, step.trained)
		}
		if got := wordCount(t, a, "viagra"); got != step.viagra {
			t.Errorf("%s: word was in %+v, want %+v", step.name, got, step.viagra)
		}
		if n := left(t, a); n != 0 {
			t.Errorf("%s: %d rows are left", step.name, n)
		}
	}
	if s := junkScore(t, a, "viagra"); s.Probability < 0.9 || s.Significant {
		t.Errorf("got %+v, want junk, and not significant", s)
	}
}

// TestTrainingErased: what was learned from a message that is gone stays, whatever
// its flags were meant to be.
func TestTrainingErased(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, withJunk)
	appendMarked(t, a, junkMail(1, "viagra"), FlagJunk)
	m := appendMarked(t, a, junkMail(2, "viagra"), FlagJunk)
	want := junk.Count{Junk: 2}
	if got := trained(t, a); got != want {
		t.Fatalf("trained with %+v", got)
	}
	if err := os.Remove(a.messagePath(m.EmailID)); err != nil {
		t.Fatal(err)
	}
	mark(t, a, m, FlagNotJunk)
	if err := a.Update(t.Context(), func(tx *Tx) error { return tx.train(1<<40, 1, FlagJunk) }); err != nil {
		t.Fatal(err)
	}
	if got := trained(t, a); got != want || wordCount(t, a, "viagra") != want || left(t, a) != 0 {
		t.Errorf("trained with %+v, word %+v, %d rows left", got, wordCount(t, a, "viagra"), left(t, a))
	}
	if err := os.WriteFile(a.messagePath(m.EmailID), junkMail(2, "viagra"), 0o600); err != nil { // For the check at the end.
		t.Fatal(err)
	}
}

// TestTrainingCrash kills between the two commits: the words are counted once.
func TestTrainingCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withJunk, "a")
	a := w.account("a")
	appendMarked(t, a, junkMail(1, "viagra"), FlagJunk)
	appendMarked(t, a, junkMail(2, "viagra"), FlagJunk)
	if got := trained(t, a); got != (junk.Count{Junk: 2}) {
		t.Fatalf("trained with %+v", got)
	}
	reached, release := w.hold(FaultTrainCounted)
	m := appendMarked(t, a, junkMail(3, "viagra"), FlagJunk)
	ended := make(chan error, 1)
	go func() { ended <- a.WaitTrained(context.WithoutCancel(t.Context())) }()
	<-reached
	c := w.crashed()
	release(nil)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	c.start()
	b := c.account("a")
	if n := left(t, b); n != 1 {
		t.Fatalf("the crash left %d rows, want 1", n)
	}
	if got := trained(t, b); got != (junk.Count{Junk: 3}) || wordCount(t, b, "viagra") != got || left(t, b) != 0 {
		t.Errorf("after the crash: trained with %+v, word in %+v, %d rows left", got, wordCount(t, b, "viagra"), left(t, b))
	}
	mark(t, b, m, 0)
	if got := trained(t, b); got != (junk.Count{Junk: 2}) {
		t.Errorf("undone: trained with %+v", got)
	}
}

// TestTrainingFails: a failure between the commits is tried again, and nothing is
// counted twice.
func TestTrainingFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withJunk, "a")
	a := w.account("a")
	appendMarked(t, a, junkMail(1, "viagra"), FlagJunk)
	broken := errors.New("broken")
	w.faults.ArmNth(FaultTrainCounted, 1, func() error { return broken })
	if err := a.WaitTrained(t.Context()); !errors.Is(err, broken) && err != nil {
		t.Fatal(err) // The trainer may have been there before.
	}
	if got := trained(t, a); got != (junk.Count{Junk: 1}) || left(t, a) != 0 {
		t.Errorf("trained with %+v, %d rows left", got, left(t, a))
	}
}

// TestRetrain makes the filter anew while it is used, and dies before it takes its
// place.
func TestRetrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withJunk, "a")
	a := w.account("a")
	for i := range 5 {
		appendMarked(t, a, junkMail(i, "viagra"), FlagJunk)
		appendMarked(t, a, junkMail(10+i, "meeting"), FlagNotJunk)
	}
	appendMarked(t, a, junkMail(20, "both"), FlagJunk|FlagNotJunk)
	gone := appendMarked(t, a, junkMail(21, "viagra"), FlagJunk)
	if got := trained(t, a); got != (junk.Count{Junk: 6, NotJunk: 5}) {
		t.Fatalf("trained with %+v", got)
	}
	err := a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err == nil {
			_, err = tx.Expunge(&mb, []UID{gone.UID})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := trained(t, a); got != (junk.Count{Junk: 6, NotJunk: 5}) {
		t.Errorf("after erasing: trained with %+v", got)
	}

	reached, release := w.hold(FaultTrainBuilt)
	type result struct {
		res Retrained
		err error
	}
	ended := make(chan result, 1)
	var steps []int64
	go func() {
		res, err := a.Retrain(context.WithoutCancel(t.Context()), func(done, total int64) { steps = append(steps, done, total) })
		ended <- result{res, err}
	}()
	<-reached
	if got := junkScore(t, a, "viagra").Trained; got != (junk.Count{Junk: 6, NotJunk: 5}) {
		t.Errorf("while it is made: trained with %+v", got)
	}
	c := w.crashed()
	release(nil)
	if r := <-ended; r.err != nil || r.res.Junk != 5 || r.res.NotJunk != 5 {
		t.Errorf("got %+v", r)
	}
	// The one that was expunged may still be waiting to be erased.
	if n := len(steps); n < 2 || steps[n-2] < 11 || steps[n-2] > 12 || steps[n-1] != steps[n-2] {
		t.Errorf("progress: %v", steps)
	}
	if got := trained(t, a); got != (junk.Count{Junk: 5, NotJunk: 5}) {
		t.Errorf("made anew: trained with %+v", got)
	}
	c.start()
	b := c.account("a")
	if got := trained(t, b); got != (junk.Count{Junk: 6, NotJunk: 5}) {
		t.Errorf("after the crash: trained with %+v", got)
	}
	if _, err := b.Retrain(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if got := trained(t, b); got != (junk.Count{Junk: 5, NotJunk: 5}) {
		t.Errorf("made anew after the crash: trained with %+v", got)
	}
}

// TestRetrainRefused: without a filter there is nothing to make, and who does not
// wait any more is not waited for.
func TestRetrainRefused(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, nil)
	if _, err := a.Retrain(t.Context(), nil); !errors.Is(err, ErrNoJunkFilter) {
		t.Errorf("got error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Retrain(ctx, nil); err == nil {
		t.Error("got no error for an ended context")
	}
	appendMarked(t, a, junkMail(1, "viagra"), FlagJunk)
	if err := a.WaitTrained(t.Context()); err != nil || left(t, a) != 0 {
		t.Errorf("got %v, %d rows left: nobody will want them", err, left(t, a))
	}
	if _, err := os.Stat(a.junk.path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a filter was made: %v", err)
	}
}

// TestJunkDamaged: a filter that can't be used is set aside and made again, while
// scores say that they mean nothing.
func TestJunkDamaged(t *testing.T) {
	t.Parallel()
	whole := func(t *testing.T, path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, path string) error
		aside bool
	}{
		{"missing", func(t *testing.T, path string) error { return os.Remove(path) }, false},
		{"not a database", func(t *testing.T, path string) error { return os.WriteFile(path, []byte("x"), 0o600) }, true},
		{"empty", func(t *testing.T, path string) error { return os.WriteFile(path, nil, 0o600) }, true},
		{"cut", func(t *testing.T, path string) error { return os.WriteFile(path, whole(t, path)[:9000], 0o600) }, true},
		{"another database", func(t *testing.T, path string) error {
			return os.WriteFile(path, whole(t, filepath.Join(filepath.Dir(path), indexFile)), 0o600)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) {
				withJunk(o)
				o.Log = slog.New(slog.DiscardHandler)
			}, "a")
			for i := range 60 {
				appendMarked(t, w.account("a"), junkMail(i, "meeting"), FlagNotJunk)
			}
			if got := trained(t, w.account("a")); got != (junk.Count{NotJunk: 60}) {
				t.Fatalf("trained with %+v", got)
			}
			if !junkScore(t, w.account("a"), "meeting").Significant {
				t.Error("not significant before")
			}
			path := w.account("a").junk.path()
			w.stop()
			if err := test.spoil(t, path); err != nil {
				t.Fatal(err)
			}
			w.start()
			if s := junkScore(t, w.account("a"), "meeting"); s.Significant && s.Trained.NotJunk != 60 {
				t.Errorf("before it is made again: %+v", s)
			}
			if got := trained(t, w.account("a")); got != (junk.Count{NotJunk: 60}) {
				t.Errorf("made again: trained with %+v", got)
			}
			if !junkScore(t, w.account("a"), "meeting").Significant {
				t.Error("not significant after it was made again")
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), junkDamaged)); (err == nil) != test.aside {
				t.Errorf("set aside: %v, want %v", err, test.aside)
			}
		})
	}
}

// TestJunkPagesDamaged: rows that can't be are found when they are used.
func TestJunkPagesDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		withJunk(o)
		o.Log = slog.New(slog.DiscardHandler)
	}, "a")
	a := w.account("a")
	for i := range 3 {
		appendMarked(t, a, junkMail(i, "viagra"), FlagJunk)
	}
	trained(t, a)
	err := a.junk.use(t.Context(), func(db *junkDB) error {
		return db.db.Update(t.Context(), &JunkPage{ID: 1, Data: make([]byte, 33)})
	})
	if err != nil {
		t.Fatal(err)
	}
	appendMarked(t, a, junkMail(4, "viagra"), FlagJunk)
	if got := trained(t, a); got != (junk.Count{Junk: 4}) || wordCount(t, a, "viagra") != got {
		t.Errorf("made again: trained with %+v, word in %+v", got, wordCount(t, a, "viagra"))
	}
}

// TestJunkGrams: with other words in the configuration the filter is made again,
// when it is next used.
func TestJunkGrams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withJunk, "a")
	for i := range 3 {
		appendMarked(t, w.account("a"), junkMail(i, "cheap viagra"), FlagJunk)
	}
	trained(t, w.account("a"))
	w.stop()
	w.change = func(o *Options) {
		o.JunkParams = func(string) (junk.Params, bool) { return junk.Params{Grams: junk.TwoGrams}, true }
	}
	w.start()
	a := w.account("a")
	if n := wordCount(t, a, "viagra"); n.Junk != 3 {
		t.Errorf("before it is made again: %+v", n)
	}
	if got := trained(t, a); got != (junk.Count{Junk: 3}) {
		t.Errorf("made again: trained with %+v", got)
	}
	if s := junkScore(t, a, "cheap viagra"); len(s.Words) == 0 || !strings.Contains(fmt.Sprint(s.Words), "cheap viagra") {
		t.Errorf("made again: %+v", s.Words)
	}
}

// TestTrainBatches: more rows than fit into one transaction.
func TestTrainBatches(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, withJunk)
	var uids []UID
	for i := range 251 {
		uids = append(uids, appendMarked(t, a, junkMail(i, "viagra"), 0).UID)
	}
	err := a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err == nil {
			_, err = tx.SetFlags(&mb, uids, FlagChange{Op: FlagsAdd, Flags: FlagJunk})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := trained(t, a); got != (junk.Count{Junk: 251}) || wordCount(t, a, "viagra") != got || left(t, a) != 0 {
		t.Errorf("trained with %+v, word in %+v, %d rows left", got, wordCount(t, a, "viagra"), left(t, a))
	}
}

// TestTrainingIsNotPutOff: who goes on marking messages is not waited for.
func TestTrainingIsNotPutOff(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, withJunk)
	appendMarked(t, a, junkMail(1, "viagra"), FlagJunk)
	eventually(t, "the message is trained", func() bool {
		a.trainSoon()
		return left(t, a) == 0
	})
}

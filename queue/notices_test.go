package queue

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/bstore"
)

// noticeReports reports that all messages of work were delivered, with a notice for
// the sender of the first.
func noticeReports(work *Work) []Report {
	list := reports(work, ok())
	m := work.Messages[0]
	list[0].Notice = &Notice{Key: m.Key + ":success", Account: m.Account, To: m.MailFrom, Action: "relayed", Content: []byte("notice")}
	return list
}

// notices returns what is to be told, by the key.
func (w *world) notices() []Notice {
	w.t.Helper()
	list, err := w.db.Notices(w.t.Context(), 0, 100)
	errorless(w.t, err)
	return list
}

// TestNotices follows a notice from the report to its confirmation, over restarts.
func TestNotices(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"a@remote.example", "a@local.example"} {
		w := newWorld(t, nil)
		queued := w.add("content", "mjl@example.org", to)[0]
		work := w.next()
		errorless(t, w.db.Finish(t.Context(), work, noticeReports(work)))
		w.restart()
		list := w.notices()
		if len(list) != 1 || list[0].Key != queued.Key+":success" || list[0].Account != "mjl" || list[0].To != "mjl@example.org" ||
			!bytes.Equal(list[0].Content, []byte("notice")) || time.Since(list[0].Added) > time.Hour {
			t.Fatalf("%s: got %+v", to, list)
		}
		if more, err := w.db.Notices(t.Context(), list[0].ID, 100); err != nil || len(more) != 0 {
			t.Errorf("%s: got %+v, %v behind the last", to, more, err)
		}
		keys := []Handed{{"mjl", list[0].Key}}
		for range 2 { // Who forgets it again does no harm.
			errorless(t, w.db.Told(t.Context(), list[0].ID, keys))
		}
		w.restart()
		if got, err := w.db.Unconfirmed(t.Context(), 10); len(w.notices()) != 0 || err != nil || !slices.Equal(got, keys) {
			t.Errorf("%s: got keys %v, %v, and notices %+v", to, got, err, w.notices())
		}
	}
}

// TestNoticeOfDelivery checks that there is no notice about what is not delivered
// after all.
func TestNoticeOfDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example")
	work := w.next()
	list := noticeReports(work)
	list[0].Retry, list[0].Next = true, time.Now().Add(time.Hour)
	errorless(t, w.db.Finish(t.Context(), work, list))
	if got := w.notices(); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestNoticesBounded checks that an account that takes nothing does not fill the
// disk with notices.
func TestNoticesBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	fill := func(n int) {
		errorless(t, w.db.commit(&change{rows: n, run: func(tx *tx) error {
			for range n {
				if err := tx.keepNotice(Notice{Key: "k", Account: "mjl", To: "mjl@example.org", Content: []byte("x")}); err != nil {
					return err
				}
			}
			return nil
		}}))
	}
	count := func() (n int) {
		n, err := bstore.QueryDB[noticeRow](t.Context(), w.db.db).Count()
		errorless(t, err)
		return n
	}
	// Inserted without asking for their number, which takes long for so many at once.
	errorless(t, w.db.commit(&change{rows: noticesMax, run: func(tx *tx) error {
		for range noticesMax - 1 {
			row := noticeRow{N: Notice{Key: "k", Account: "mjl", To: "mjl@example.org", Content: []byte("x"), Added: tx.now}}
			if err := tx.insert(&row); err != nil {
				return err
			}
		}
		return nil
	}}))
	fill(1)
	w.db.log = (&world{t: t, log: &bytes.Buffer{}}).logger() // What is left out is logged as an error.
	fill(1)
	if n := count(); n != noticesMax {
		t.Errorf("got %d notices, want %d", n, noticesMax)
	}
	w.check()

	w.add("content", "mjl@example.org", "a@remote.example")
	work := w.next()
	large := noticeReports(work)
	errorless(t, w.db.Told(t.Context(), 1, nil))
	large[0].Notice.Content = []byte(strings.Repeat("x", NoticeSizeMax+1))
	errorless(t, w.db.Finish(t.Context(), work, large))
	if n := count(); n != noticesMax-1 {
		t.Errorf("got %d notices with one that is too large", n)
	}
}

// TestNoticesAreChecked checks that one that could not be told is found.
func TestNoticesAreChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	errorless(t, w.db.commit(&change{rows: 1, run: func(tx *tx) error { return tx.insert(&noticeRow{N: Notice{Key: "k"}}) }}))
	if problems := w.db.Check(t.Context()); len(problems) != 1 || !strings.Contains(problems[0].Error(), "notice 1 is not whole") {
		t.Errorf("got %v", problems)
	}
	errorless(t, w.db.Told(t.Context(), 1, nil))
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mjl-/bstore"
)

// amounts returns what an account says of its rejects, and how many messages
// are in the mailbox for them.
func (w *world) amounts() (sums amounts, messages int) {
	w.t.Helper()
	w.do(func(tx *Tx) error {
		sums = amounts{tx.row.Rejects, tx.row.RejectSize}
		mb, err := tx.Mailbox("Rejects")
		if errors.Is(err, ErrNoMailbox) {
			return nil
		}
		messages = int(mb.Total)
		return err
	})
	return sums, messages
}

// refuse delivers a reject.
func (w *world) refuse(n int, received time.Time) error {
	w.t.Helper()
	dl := w.learnedMail(n, ann(), Recipient{Mailbox: "Rejects", Destined: "Inbox", Reject: true})
	dl.Received = received
	err := w.d.Deliver(w.t.Context(), dl)
	w.account("a").WaitDurable(w.t.Context())
	return err
}

// wantRejects waits for a number of rejects.
func (w *world) wantRejects(what string, want int) {
	w.t.Helper()
	eventually(w.t, what, func() bool {
		sums, messages := w.amounts()
		return sums.count == int64(want) && messages == want
	})
}

// TestReject stores a message that was refused once, and lets it go when it is
// accepted.
func TestReject(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelRules, "a")
	content := testMessage(1, "x")
	has := func(id string, content []byte) bool {
		t.Helper()
		ok, err := w.account("a").HasReject(t.Context(), id, bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if has("1@example.org", content) {
		t.Error("it is there before")
	}
	now := time.Now()
	must(w, w.refuse(1, now))
	must(w, w.refuse(1, now))
	w.restart()
	must(w, w.refuse(1, now))
	w.wantRejects("one of three is there", 1)
	if !has("1@example.org", nil) || !has("", content) || has("2@example.org", nil) || has("", content[1:]) {
		t.Error("it is not found by its id or content, or another is")
	}
	w.do(func(tx *Tx) error {
		mb, err := tx.Mailbox("Rejects")
		if err != nil {
			return err
		}
		m, err := tx.Message(mb.ID, 1)
		if m.Flags() != FlagSeen {
			t.Errorf("it has flags %v", m.Flags().Names())
		}
		return err
	})
	w.give(1, ann(), Recipient{})
	w.wantRejects("it went when it was accepted", 0)
	if has("1@example.org", content) {
		t.Error("it is found when it is gone")
	}
	if got := w.inbox("a"); len(got) != 1 {
		t.Errorf("Inbox has %d messages", len(got))
	}
	if got := w.history("Inbox", ann()); got != "" {
		t.Errorf("history %q of what nobody has marked", got)
	}
}

// TestRejectsGo: those that are old go, and the oldest of too many; unless they are
// to stay.
func TestRejectsGo(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep %v", keep), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) { o.JunkRules = func(string) JunkRules { return JunkRules{KeepRejects: keep} } }, "a")
			now := time.Now()
			must(w, w.refuse(0, now.Add(-rejectAge-time.Minute)))
			must(w, w.refuse(1, now.Add(-rejectAge+time.Hour)))
			must(w, w.refuse(2, now))
			left := 2
			if keep {
				left = 3
			}
			w.wantRejects("the old one is gone, or stays", left)
			// Many need not be made: it is the number that counts, in order of age.
			w.do(func(tx *Tx) error {
				tx.row.Rejects, tx.row.RejectSize = rejectsMax+2, 0
				list, err := tx.staleRejects(now)
				if err != nil {
					return err
				}
				if keep == (len(list) > 0) || !keep && (len(list) != 2 || list[0].Expires > list[1].Expires) {
					t.Errorf("of too many go %+v", list)
				}
				tx.row.Rejects, tx.row.RejectSize = 2, rejectsSizeMax+1
				if list, err = tx.staleRejects(now); keep == (len(list) == 1) {
					t.Errorf("of too large ones go %+v", list)
				}
				return err
			})
			w.give(2, ann(), Recipient{})
			w.wantRejects("what was accepted went", left-1)
		})
	}
}

// TestManyRejectsGo: they go in parts.
func TestManyRejectsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	w.do(func(tx *Tx) error { _, err := tx.CreateMailbox("Rejects", UseNone); return err })
	for i := range rejectsAtOnce + 20 {
		must(w, w.refuse(i, time.Now().Add(-rejectAge-time.Minute)))
	}
	w.wantRejects("all are gone", 0)
}

// TestRejectTaken: a reject that the user takes elsewhere is one no more.
func TestRejectTaken(t *testing.T) {
	t.Parallel()
	for _, copies := range []bool{false, true} {
		t.Run(fmt.Sprintf("copies %v", copies), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelRules, "a")
			must(w, w.refuse(1, time.Now()))
			before := w.account("a").size
			w.move("Rejects", 1, "Inbox", copies)
			if sums, _ := w.amounts(); sums != (amounts{}) {
				t.Errorf("sums %+v", sums)
			}
			if used := w.account("a").Usage().Size; used == before || used != sizeOf(t, w.account("a")) {
				t.Errorf("used %d, before %d", used, before)
			}
			if got := w.history("Inbox", ann()); got != "+" {
				t.Errorf("history %q", got)
			}
			must(w, w.refuse(1, time.Now())) // It may come again.
			w.wantRejectCount(1)
		})
	}
}

func (w *world) wantRejectCount(want int64) {
	w.t.Helper()
	if sums, _ := w.amounts(); sums.count != want {
		w.t.Errorf("%d rejects, want %d", sums.count, want)
	}
}

// TestRejectRemoved: a reject can be expunged, or go with its mailbox.
func TestRejectRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	must(w, w.refuse(1, time.Now()))
	must(w, w.refuse(2, time.Now()))
	w.do(func(tx *Tx) error {
		mb, err := tx.Mailbox("Rejects")
		if err == nil {
			_, err = tx.Expunge(&mb, []UID{1})
		}
		return err
	})
	w.wantRejects("one is left", 1)
	w.do(func(tx *Tx) error { return tx.DeleteMailbox("Rejects") })
	w.wantRejects("none is left", 0)
	must(w, w.refuse(1, time.Now()))
	w.wantRejects("it is there again", 1)
}

// TestRejectQuota: rejects take no room from other mail, and none that is not there.
func TestRejectQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.QuotaSize = func(string) int64 { return 350 } }, "a")
	size := int64(len(testMessage(1, "x")))
	for i := range int(350 / size) {
		must(w, w.refuse(i, time.Now()))
	}
	if used := w.account("a").Usage().Size; used != 0 {
		t.Errorf("rejects use %d bytes", used)
	}
	var re *RecipientError
	if err := w.refuse(9, time.Now()); !errors.Is(err, ErrOverQuota) || !errors.As(err, &re) || re.Index != 0 {
		t.Errorf("a reject too many: %v", err)
	}
	for i := range int(350 / size) {
		w.give(20+i, ann(), Recipient{})
	}
	dl := w.learnedMail(30, ann(), Recipient{})
	if err := w.d.Deliver(t.Context(), dl); !errors.Is(err, ErrOverQuota) {
		t.Errorf("over quota: %v", err)
	}
	if _, err := appendTo(t, w.account("a"), "Inbox", testMessage(31, "x"), AppendOptions{}); !errors.Is(err, ErrOverQuota) {
		t.Errorf("over quota: %v", err)
	}
}

// TestRejectCrash: a reject in the journal comes once, whatever dies; and what was
// accepted after it, before the crash, lets it go.
func TestRejectCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	must(w, w.refuse(1, time.Now()))
	reached, release := w.hold(FaultCommitBefore)
	dl := w.learnedMail(1, ann(), Recipient{Mailbox: "Rejects", Reject: true})
	must(w, w.d.Deliver(t.Context(), dl))
	<-reached
	dl = w.learnedMail(1, ann(), Recipient{})
	must(w, w.d.Deliver(t.Context(), dl))
	c := w.crashed()
	release(nil)
	c.start()
	c.wantRejects("it is gone", 0)
	if got := c.inbox("a"); len(got) != 1 {
		t.Errorf("Inbox has %d messages", len(got))
	}
	w.wantRejects("it is gone", 0)
}

// TestRejectWithoutMailbox: one for a mailbox that is not there counts for none.
func TestRejectWithoutMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	dl := w.learnedMail(1, ann(), Recipient{Mailbox: "Rejects", Destined: "Lists", Reject: true})
	must(w, w.d.Deliver(t.Context(), dl))
	w.wantRejects("it is there", 1)
	w.do(func(tx *Tx) error {
		if _, err := tx.Mailbox("Lists"); !errors.Is(err, ErrNoMailbox) {
			t.Errorf("its mailbox was made: %v", err)
		}
		e, err := bstore.QueryTx[Email](tx.b).Get()
		if e.DestinedID != 0 || !e.Reject {
			t.Errorf("got %+v", e)
		}
		return err
	})
}

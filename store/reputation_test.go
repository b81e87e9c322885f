package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/screen"
)

// TestReputationChange marks and unmarks at random, and compares a row with all
// that was marked: it has the newest of them without a gap, and all of them as long
// as not more were unmarked than the slack.
func TestReputationChange(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: run with -model.seed=%d", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	const most, looked = 12, 2
	short := 0
	for round := range 300 {
		var r Reputation
		truth, removed := map[int64]learned{}, 0
		classes := map[int64]Class{}
		for step := range 200 {
			id := 1 + rng.Int64N(int64(3+round%60))
			l := learned{emailID: id, received: id * 7919 % 50, localpart: uint32(id)}
			is := Class(rng.IntN(3))
			if round%2 == 0 && step > 150 {
				is = Unclassified
				for other, o := range truth { // The newest.
					if n, ok := truth[l.emailID]; !ok || compareLearned(o, n) > 0 {
						l = o
						id = other
					}
				}
			}
			if err := r.learn(l, classes[id], is, most); err != nil {
				t.Fatal(err)
			}
			if classes[id] != Unclassified && is == Unclassified {
				removed++
			}
			classes[id] = is
			delete(truth, id)
			if is != Unclassified {
				l.junk = is == ClassJunk
				truth[id] = l
			}
			var all []learned
			for _, l := range truth {
				all = append(all, l)
			}
			slices.SortFunc(all, compareLearned)
			got, err := unpackLearned(r.Recent)
			if err != nil || len(got) > min(most, len(all)) || !slices.Equal(got, all[len(all)-len(got):]) {
				t.Fatalf("round %d, step %d: got %v, %v, want the end of %v", round, step, got, err, all)
			}
			if junk, notJunk := sums(all); r.Junk != junk || r.NotJunk != notJunk {
				t.Fatalf("round %d, step %d: got sums %d and %d, want %d and %d", round, step, r.Junk, r.NotJunk, junk, notJunk)
			}
			if len(got) < min(looked, len(all)) {
				short++
				if removed <= most-looked {
					t.Fatalf("round %d, step %d: %d of %d are there, after %d were unmarked", round, step, len(got), len(all), removed)
				}
			}
			if _, wrong := wrongReputation(&Reputation{Key: "0000000000000001/01/v/x", Recent: r.Recent, Floor: r.Floor, FloorID: r.FloorID, Junk: r.Junk, NotJunk: r.NotJunk}); wrong != "" && len(all) > 0 {
				t.Fatalf("round %d, step %d: %s", round, step, wrong)
			}
		}
	}
	if short == 0 {
		t.Error("the bound made no difference at all")
	}
}

// learn changes a row.
func (r *Reputation) learn(l learned, was, is Class, most int) error {
	list, err := unpackLearned(r.Recent)
	if err == nil {
		r.Recent = packLearned(r.change(list, l, was, is, most))
	}
	return err
}

// TestReputationForgotten: a message that was marked before its row was forgotten
// does not make sums less than what is there.
func TestReputationForgotten(t *testing.T) {
	t.Parallel()
	r := Reputation{}
	for i, is := range []Class{ClassJunk, Unclassified} {
		if err := r.learn(learned{emailID: 1, received: 1}, ClassNotJunk, is, 12); err != nil || r.NotJunk != 0 || r.Junk != int64(1-i) && r.Junk != 1 {
			t.Errorf("step %d: got %+v, %v", i, r, err)
		}
	}
	r = Reputation{}
	if err := errors.Join(r.learn(learned{emailID: 2, received: 2}, Unclassified, ClassJunk, 12), r.learn(learned{emailID: 1, received: 1}, ClassJunk, Unclassified, 12)); err != nil || r.Junk != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// FuzzUnpackLearned: what can be unpacked packs to the same length at most, and
// unpacks again.
func FuzzUnpackLearned(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(packLearned([]learned{{1, -1, true, 0}, {1 << 40, 1 << 33, false, 1<<32 - 1}}))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := unpackLearned(b)
		if err != nil {
			return
		}
		packed := packLearned(list)
		again, err := unpackLearned(packed)
		if err != nil || len(packed) > len(b) || !slices.Equal(again, list) {
			t.Errorf("%v packs to %x, and that to %v, %v", list, packed, again, err)
		}
	})
}

func TestReputationKey(t *testing.T) {
	t.Parallel()
	for _, k := range []screen.Key{
		{Kind: screen.FromAddress, Validated: true, Value: "a/b@example.org"}, {Kind: screen.Net3, Value: "2001:db8::/32"}, {Kind: screen.FromOrg, Value: "example.org"},
	} {
		id, got, err := parseReputationKey(reputationKey(1<<40, k))
		if id != 1<<40 || got != k || err != nil {
			t.Errorf("%v: got %d, %v, %v", k, id, got, err)
		}
	}
	for _, s := range []string{"", "1/01/v/x", "0000000000000001/01/v/", "0000000000000001/00/v/x", "0000000000000001/11/v/x", "0000000000000001/01/x/x", "000000000000000g/01/v/x"} {
		if id, k, err := parseReputationKey(s); err == nil {
			t.Errorf("%q: got %d, %v", s, id, k)
		}
	}
}

// learnedMail returns facts of a sender, and a delivery from it.
func (w *world) learnedMail(n int, f Facts, to Recipient) Delivery {
	w.t.Helper()
	content := testMessage(n, "x")
	to.Account = w.account("a")
	return Delivery{Content: w.d.ContentBytes(content), Analysis: analysis(w.t, content), Received: time.Now(), Facts: f, To: []Recipient{to}}
}

// give delivers a message from a sender, and waits until it is there.
func (w *world) give(n int, f Facts, to Recipient) {
	w.t.Helper()
	if err := w.d.Deliver(w.t.Context(), w.learnedMail(n, f, to)); err != nil {
		w.t.Fatal(err)
	}
	w.account("a").WaitDurable(w.t.Context())
}

// history returns what is known of a sender's address, as "+-" for not junk and junk
// in the order of receipt.
func (w *world) history(mailbox string, f Facts) string {
	w.t.Helper()
	keys := f.Sender().Keys()
	h, err := w.account("a").Histories(w.t.Context(), mailbox, keys)
	if err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	for _, c := range slices.Backward(h[keys[0]].Recent) {
		b.WriteByte("+-"[map[bool]int{true: 1}[c.Junk]])
	}
	return b.String()
}

// ann is a sender.
func ann() Facts {
	return Facts{
		RemoteIP: "192.0.2.1", EHLO: "mx.example", MailFrom: "b+1@bücher.example", HelloDomain: "mx.example", HelloVerified: true, MailFromVerified: true,
		From: "ann@lists.example", FromOrg: "example", Validation: int(screen.ValidationDMARC), DKIM: []string{"lists.example", "forwarder.example"},
	}
}

// TestHistories counts what it costs to look a sender up: as many gets for a sender
// of much mail in a large mailbox as for one in an empty one, and never a scan.
func TestHistories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a := w.account("a")
	f := ann()
	keys := f.Sender().Keys()
	if len(keys) != 11 {
		t.Fatalf("%d keys: %v", len(keys), keys)
	}
	once := func() (screen.Histories, bstore.Stats) {
		t.Helper()
		before := a.db.Stats()
		h, err := a.Histories(t.Context(), "", keys)
		if err != nil {
			t.Fatal(err)
		}
		return h, a.db.Stats().Sub(before)
	}
	// What others do meanwhile, as the trainer, counts too: the least is what it costs.
	cost := func() (screen.Histories, bstore.Stats) {
		if err := a.WaitTrained(t.Context()); err != nil {
			t.Fatal(err)
		}
		h, least := once()
		for range 20 {
			if _, again := once(); again.Get+again.Queries < least.Get+least.Queries {
				least = again
			}
		}
		return h, least
	}
	h, empty := cost()
	if len(h) != 0 {
		t.Errorf("nobody is known, got %v", h)
	}
	for i := range 100 {
		w.give(i, f, Recipient{Flags: []Flags{FlagNotJunk, FlagJunk}[i%2]})
		w.give(1000+i, Facts{From: fmt.Sprintf("x%d@other.example", i)}, Recipient{Flags: FlagJunk})
	}
	h, full := cost()
	for _, k := range keys {
		if got := h[k]; len(got.Recent) != screen.KeepMax(k.Kind) || got.Junk != 50 || got.NotJunk != 50 {
			t.Errorf("%v: got %d messages, %d junk, %d not", k, len(got.Recent), got.Junk, got.NotJunk)
		}
	}
	if full != empty {
		t.Errorf("of an unknown sender it costs %+v, of a known one %+v", empty, full)
	}
	if full.PlanTableScan+full.PlanIndexScan+full.PlanPKScan > 0 || full.Records.Cursor > 0 || full.Records.Get > 20 {
		t.Errorf("it costs %+v", full)
	}

	unverified := f
	unverified.Validation = 0
	h, err := a.Histories(t.Context(), "Inbox", unverified.Sender().Keys())
	if k := (screen.Key{Kind: screen.FromAddress, Validated: true, Value: f.From}); err != nil || len(h[k].Recent) != 2 {
		t.Errorf("the history of verified mail is not shown: %v, %v", h[k], err)
	}
	if h, err := a.Histories(t.Context(), "Nowhere", keys); err != nil || len(h) != 0 {
		t.Errorf("a mailbox that is not there: %v, %v", h, err)
	}
}

// TestForget: old reputations go, and those of a mailbox with it.
func TestForget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	a, f := w.account("a"), ann()
	w.give(1, f, Recipient{Mailbox: "Lists", Flags: FlagNotJunk})
	w.give(2, f, Recipient{Mailbox: "Other", Flags: FlagNotJunk})
	old := screen.Key{Kind: screen.FromAddress, Validated: true, Value: f.From}
	err := a.Update(t.Context(), func(tx *Tx) error {
		tx.touch()
		r := Reputation{Key: reputationKey(tx.newBoxID(t, "Other"), old)}
		if err := tx.b.Get(&r); err != nil {
			return err
		}
		r.Changed = day(time.Now().Add(-reputationAge)) - 1
		return errors.Join(tx.b.Update(&r), tx.DeleteMailbox("Lists"))
	})
	if err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		t.Helper()
		err := a.View(t.Context(), func(tx *Tx) (err error) {
			n, err = bstore.QueryTx[Reputation](tx.b).Count()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, "reputations of the deleted mailbox are gone", func() bool { return count() == 11 })
	w.restart() // Maintenance begins with it.
	a = w.account("a")
	eventually(t, "the old reputation is gone", func() bool { return count() == 10 })
	if got := w.history("Other", f); got != "" {
		t.Errorf("got %q", got)
	}
	// Unmarking what is forgotten is nothing.
	err = a.Update(t.Context(), func(tx *Tx) error {
		mb, err := tx.Mailbox("Other")
		if err == nil {
			_, err = tx.SetFlags(&mb, []UID{1}, FlagChange{Op: FlagsReplace})
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// newBoxID returns the id of a mailbox.
func (tx *Tx) newBoxID(t testing.TB, name string) int64 {
	t.Helper()
	mb, err := tx.Mailbox(name)
	if err != nil {
		t.Error(err)
	}
	return mb.ID
}

// TestTooManyReputations: those that have not changed for the longest go first.
func TestTooManyReputations(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, nil)
	today := day(time.Now())
	err := a.Update(context.Background(), func(tx *Tx) error {
		tx.touch()
		for i := range 5 {
			k := screen.Key{Kind: screen.FromAddress, Value: fmt.Sprint("x", i)}
			if err := tx.b.Insert(&Reputation{Key: reputationKey(1, k), Changed: today - int64(i), Junk: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{a: a, ctx: t.Context()}
	for excess, want := range map[int]int{-1: 0, 0: 0, 2: 2, 9: 5} {
		keys, err := w.staleReputations(time.Now(), excess)
		if err != nil || len(keys) != want || want > 0 && !strings.HasSuffix(keys[0], "/x4") {
			t.Errorf("%d too many: got %q, %v", excess, keys, err)
		}
	}
	if keys, err := w.staleReputations(time.Now().Add(reputationAge+12*time.Hour), 0); err != nil || len(keys) < 4 {
		t.Errorf("after three years: got %q, %v", keys, err)
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mjl-/mox/journal"
)

// TestRule14CopyWhileBusy: a copy made while mail flows has every delivery that
// was acknowledged before it was begun, once, and is consistent.
func TestRule14CopyWhileBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.SegmentSize = 64 << 10 }, "a", "b", "c")
	names := []string{"a", "b", "c"}
	var mu sync.Mutex
	acked := map[string][]string{} // Message by account.
	expunged := map[string]bool{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				msg := testMessage(1000*g+i, strings.Repeat("x", rng.IntN(3000)))
				to := names[:1+rng.IntN(3)]
				var err error
				if rng.IntN(4) == 0 {
					err = w.deliverFile(msg, to...)
				} else {
					err = deliver(t, w.d, msg, "", accountsOf(w, to)...)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, name := range to {
					acked[name] = append(acked[name], string(msg))
				}
				mu.Unlock()
			}
		})
	}
	wg.Go(func() { // Changes in account c.
		for uid := UID(1); ; uid++ {
			select {
			case <-stop:
				return
			default:
			}
			w.account("c").WaitDurable(t.Context())
			if uid%3 > 0 {
				if err := setFlags(w.account("c"), FlagSeen, uid); err != nil {
					t.Error(err)
				}
				continue
			}
			if msg, ok := readUID(t, w.account("c"), uid); ok {
				mu.Lock()
				expunged[msg] = true
				mu.Unlock()
				expunge(t, w.account("c"), uid)
			}
		}
	})
	for i := range 3 {
		eventually(t, "some more is delivered", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked["a"]) > 30*(i+1) })
		mu.Lock()
		before := map[string][]string{}
		for name, list := range acked {
			before[name] = slices.Clone(list)
		}
		mu.Unlock()
		dst := filepath.Join(t.TempDir(), "copy")
		res, err := w.d.CopyTo(t.Context(), dst, CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		gone := maps.Clone(expunged)
		mu.Unlock()
		if res.Accounts != 3 || res.Head == 0 {
			t.Errorf("copied %+v", res)
		}
		compareCopy(t, dst, before, gone)
	}
	close(stop)
	wg.Wait()
}

func accountsOf(w *world, names []string) (list []*Account) {
	for _, name := range names {
		list = append(list, w.open[name])
	}
	return list
}

// readUID returns the content of a message of Inbox, if it is there.
func readUID(t testing.TB, a *Account, uid UID) (content string, ok bool) {
	t.Helper()
	all := map[UID]string{}
	err := a.View(context.WithoutCancel(t.Context()), func(tx *Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		m, err := tx.Message(mb.ID, uid)
		if errors.Is(err, ErrExpunged) {
			return nil
		} else if err != nil {
			return err
		}
		data, err := readFile(a.messagePath(m.EmailID))
		all[uid] = data
		return err
	})
	if err != nil {
		t.Error(err)
	}
	content, ok = all[uid]
	return content, ok
}

// compareCopy opens a copy and looks for what it must have.
func compareCopy(t *testing.T, dst string, want map[string][]string, gone map[string]bool) {
	t.Helper()
	if r, err := journal.Verify(t.Context(), filepath.Join(dst, "journal"), nil); err != nil || len(r.Problems) > 0 || r.Torn {
		t.Errorf("journal of the copy: %+v, %v", r, err)
	}
	if err := BumpUIDValidity(t.Context(), dst); err != nil {
		t.Fatal(err)
	}
	c := &world{t: t, dir: dst}
	c.start()
	for name, list := range want {
		count := map[string]int{}
		for _, s := range c.inbox(name) {
			if i := strings.Index(s, "From: "); i >= 0 {
				count[s[i:]]++
			}
		}
		for _, msg := range list {
			if n := count[msg]; n != 1 && !(n == 0 && name == "c" && gone[msg]) {
				t.Errorf("copy of account %s has %.60q %d times", name, msg, n)
			}
		}
	}
	check(t, c.d)
	c.stop()
}

// TestRule14UIDValidity: in a restored copy every mailbox has a new one, above
// those that the original may have given since.
func TestRule14UIDValidity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	w.deliver(testMessage(0, "x"), "a")
	dst := filepath.Join(t.TempDir(), "copy")
	if _, err := w.d.CopyTo(t.Context(), dst, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.d.CopyTo(t.Context(), dst, CopyOptions{}); err == nil {
		t.Error("a copy was overwritten")
	}
	validities := func(a *Account) (list []uint32, modSeq int64) {
		t.Helper()
		err := a.View(t.Context(), func(tx *Tx) error {
			boxes, err := tx.Mailboxes()
			for _, mb := range boxes {
				list = append(list, mb.UIDValidity)
			}
			modSeq = tx.ModSeq()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return list, modSeq
	}
	err := w.account("a").Update(t.Context(), func(tx *Tx) error {
		for i := range 5 {
			if _, err := tx.CreateMailbox(fmt.Sprint("later", i), UseNone); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	given, _ := validities(w.account("a"))
	for range 3 {
		if err := BumpUIDValidity(t.Context(), dst); err != nil {
			t.Fatal(err)
		}
		c := &world{t: t, dir: dst}
		c.start()
		c.wantInbox("a", testMessage(0, "x"))
		got, _ := validities(c.account("a"))
		// MUST 9051 2.3.1.1 #3,6: UIDs of a restored backup can differ, and so UIDVALIDITY is greater
		for _, v := range got {
			if last := slices.Max(given); v <= last {
				t.Errorf("UIDVALIDITY %d is given after %d", v, last)
			}
		}
		given = append(given, got...)
		check(t, c.d)
		c.stop()
	}
}

// TestRule14RestoreAccount: one account of a backup joins another journal, with
// the deliveries that were pending in the backup's.
func TestRule14RestoreAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	inline, large := testMessage(0, "x"), testMessage(1, "y")
	w.deliver(inline, "a", "b")
	w.wantInbox("a", inline)
	reached, release := w.hold(FaultApplied)
	pending := testMessage(2, "z")
	if err := w.deliverFile(large, "a", "b"); err != nil {
		t.Fatal(err)
	}
	w.deliver(pending, "a", "b")
	<-reached
	backup := filepath.Join(t.TempDir(), "backup")
	for _, name := range []string{"a", "b"} {
		path := filepath.Join(w.dir, "journal", "failed", fmt.Sprintf("1-%s-777", w.account(name).ID()))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(path)
	}
	if _, err := w.d.CopyTo(t.Context(), backup, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	release(nil)

	other := newWorld(t, nil, "b")
	for i := range 20 {
		other.deliver(testMessage(10+i, "other"), "b")
	}
	if err := other.d.RestoreAccount(t.Context(), backup, "b"); !errors.Is(err, ErrAccountExists) {
		t.Errorf("restoring over an account: got %v", err)
	}
	if err := other.d.RestoreAccount(t.Context(), backup, "none"); err == nil {
		t.Error("an account that is not in the backup was restored")
	}
	if err := other.d.RestoreAccount(t.Context(), backup, "a"); err != nil {
		t.Fatal(err)
	}
	other.wantInbox("a", inline, large, pending)
	if other.account("a").ID() != w.account("a").ID() {
		t.Error("it has another id")
	}
	if seq := other.account("a").watermarkOf(other.d.journal.ID()); seq != other.d.journal.Head() {
		t.Errorf("watermark %d, head %d", seq, other.d.journal.Head())
	}
	if names := other.files("journal", "failed"); len(names) != 1 || names[0] != "1-"+other.account("a").ID()+"-777" || other.account("a").lastID.Load() < 777 {
		t.Errorf("failed has %v, last id is %d", names, other.account("a").lastID.Load())
	}
	if err := os.RemoveAll(filepath.Join(other.dir, "journal", "failed")); err != nil {
		t.Error(err)
	}
	last := testMessage(3, "after")
	other.deliver(last, "a", "b")
	other.wantInbox("a", inline, large, pending, last)
	other.restart()
	other.wantInbox("a", inline, large, pending, last)
	if n := len(other.inbox("b")); n != 21 {
		t.Errorf("account b has %d messages", n)
	}
	if names := other.files("tmp"); len(names) > 0 {
		t.Errorf("left in tmp: %v", names)
	}
	w.wantInbox("a", inline, large, pending)
	w.wantInbox("b", inline, large, pending)
}

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRule11Bare: a record that alone fails three times is stored bare in Inbox,
// those before and after it as they are.
func TestRule11Bare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a")
		a := w.account("a")
		reached, release := w.hold(FaultCommitBefore)
		before, poison, after := testMessage(0, "x"), testMessage(1, "y"), testMessage(2, "z")
		w.deliver(before, "a")
		<-reached
		dl := Delivery{Content: w.d.ContentBytes(poison), Analysis: analysis(t, poison), Received: time.Now(), To: []Recipient{{Account: a, Mailbox: "Lists/go", Keywords: []string{"work"}, Flags: FlagSeen}}}
		if err := w.d.Deliver(t.Context(), dl); err != nil {
			t.Fatal(err)
		}
		w.deliver(after, "a")
		// Whatever is first in a batch fails, until it was bare: three tries of the batch
		// of two and of its first.
		var tries atomic.Int32
		w.faults.Arm(FaultApplied, func() error {
			if tries.Add(1) <= 6 {
				return errors.New("poison")
			}
			return nil
		})
		release(nil)
		eventually(t, "all is applied", func() bool { return len(a.pendingItems()) == 0 })
		w.wantInbox("a", before, poison, after)
		err := a.View(t.Context(), func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			if err != nil {
				return err
			}
			m, err := tx.Message(mb.ID, 2)
			if m.Bits != 0 {
				t.Errorf("bare message has bits %x", m.Bits)
			}
			if _, err := tx.Mailbox("Lists/go"); !errors.Is(err, ErrNoMailbox) {
				t.Errorf("its mailbox: %v", err)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if names := w.files("journal", "failed"); len(names) > 0 {
			t.Errorf("failed has %v", names)
		}
	})
}

// TestRule11Failed: if that fails too the record is kept for an administrator,
// and the account goes on. Its ids are not given again.
func TestRule11Failed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"inline", "file", "inline for two"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var events atomic.Int32
				w := newWorld(t, func(o *Options) {
					o.Observe = func(e Event) {
						if e.Kind == "poison" {
							events.Add(1)
						}
					}
				}, "a", "b")
				a := w.account("a")
				boom := errors.New("boom")
				w.faults.Arm(FaultApplied, func() error { return boom })
				poison, after := testMessage(0, "x"), testMessage(1, "y")
				kept := 1
				switch kind {
				case "file":
					if err := w.deliverFile(poison, "a"); err != nil {
						t.Fatal(err)
					}
				case "inline":
					w.deliver(poison, "a")
				default:
					w.deliver(poison, "a", "b")
					kept = 2
				}
				ids := a.lastID.Load()
				eventually(t, "it is kept", func() bool { return int(events.Load()) == kept && len(a.pendingItems()) == 0 })
				w.faults.Disarm(FaultApplied)
				w.deliver(after, "a")
				w.wantInbox("a", after)
				used := a.Usage().Size
				if used != sizeOf(t, a) {
					t.Errorf("%d bytes are reserved", used-sizeOf(t, a))
				}
				names := w.files("journal", "failed")
				if len(names) < kept || !strings.HasPrefix(names[0], "1-") {
					t.Errorf("failed has %v", names)
				}
				problems, err := w.d.Check(t.Context(), true)
				if err != nil || len(problems) != kept || !strings.Contains(problems[0].String(), "could not be applied") {
					t.Errorf("check found %v, %v", problems, err)
				}
				// Without the account's row the name tells the ids.
				w.restart()
				if last := w.account("a").lastID.Load(); last < ids {
					t.Errorf("last id %d, the failed record had %d", last, ids)
				}
				for _, name := range names {
					data, err := os.ReadFile(filepath.Join(w.dir, "journal", "failed", name))
					if err != nil || kind == "file" && strings.HasSuffix(name, ".content") && string(data) != string(poison) {
						t.Errorf("%s has %q, %v", name, data, err)
					}
					if err := os.Remove(filepath.Join(w.dir, "journal", "failed", name)); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestRule11DiskErrors: an error of the disk is nobody's poison.
func TestRule11DiskErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "a")
		mend := w.stick("a")
		var want [][]byte
		for i := range 3 {
			want = append(want, testMessage(i, "x"))
			w.deliver(want[i], "a")
		}
		time.Sleep(10 * time.Minute)
		mend()
		time.Sleep(time.Minute)
		w.wantInbox("a", want...)
		if names := w.files("journal", "failed"); len(names) > 0 {
			t.Errorf("failed has %v", names)
		}
		if fmt.Sprint(w.account("a").isFailing()) != "false" {
			t.Error("still failing")
		}
	})
}

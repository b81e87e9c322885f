package store

import (
	"errors"
	"testing"
)

// TestQuotaMessages: the number of messages in all mailboxes has a limit, with what
// is accepted and not there yet.
func TestQuotaMessages(t *testing.T) {
	t.Parallel()
	const most = 4
	w := newWorld(t, func(o *Options) { o.QuotaMessages = func(string) int64 { return most } }, "a")
	a := w.account("a")
	usage := func(name string, want int64) {
		t.Helper()
		if u := w.account("a").Usage(); u.Messages != want || u.MessagesMax != most || u.SizeMax != 0 {
			t.Errorf("%s: usage is %+v, want %d messages", name, u, want)
		}
	}
	reached, release := w.hold(FaultApplied)
	w.deliver(testMessage(1, "x"), "a")
	<-reached
	if err := deliver(t, w.d, testMessage(2, "x"), "", a, a, a, a); !errors.Is(err, ErrOverQuota) {
		t.Errorf("one more than there may be, with one on its way: got %v", err)
	}
	if err := deliver(t, w.d, testMessage(2, "x"), "", a, a); err != nil {
		t.Fatal(err)
	}
	release(nil)
	a.WaitDurable(t.Context())
	usage("delivered", 3)

	change := func(name string, want error, fn func(tx *Tx, in *Mailbox) error) {
		t.Helper()
		err := w.account("a").Update(t.Context(), func(tx *Tx) error {
			in, err := tx.Mailbox("Inbox")
			if err != nil {
				return err
			}
			return fn(tx, &in)
		})
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	transfer := func(do func(tx *Tx, src, dst *Mailbox, uids []UID) (Copied, error), uids ...UID) func(tx *Tx, in *Mailbox) error {
		return func(tx *Tx, in *Mailbox) error {
			to, err := tx.Mailbox("b")
			if err != nil {
				return err
			}
			_, err = do(tx, in, &to, uids)
			return err
		}
	}
	change("creating", nil, func(tx *Tx, _ *Mailbox) error { _, err := tx.CreateMailbox("b", UseNone); return err })
	change("copying two", ErrOverQuota, transfer((*Tx).Copy, 1, 2))
	change("copying one", nil, transfer((*Tx).Copy, 1))
	usage("copied", 4)
	change("copying another", ErrOverQuota, transfer((*Tx).Copy, 2))
	change("moving two", nil, transfer((*Tx).Move, 1, 2))
	usage("moved", 4)
	if err := a.CheckQuota(1); !errors.Is(err, ErrOverQuota) {
		t.Errorf("checking: got %v", err)
	}
	if _, err := appendTo(t, a, "Inbox", testMessage(3, "x"), AppendOptions{}); !errors.Is(err, ErrOverQuota) {
		t.Errorf("appending: got %v", err)
	}
	w.restart()
	usage("after a restart", 4)
	change("failing after something was removed", errNothing, func(tx *Tx, in *Mailbox) error {
		_, err := tx.Expunge(in, []UID{3})
		return errors.Join(err, errNothing)
	})
	usage("failed", 4)
	change("deleting a mailbox", nil, func(tx *Tx, _ *Mailbox) error { return tx.DeleteMailbox("b") })
	usage("deleted", 1)
	change("expunging", nil, func(tx *Tx, in *Mailbox) error { _, err := tx.Expunge(in, []UID{3}); return err })
	usage("expunged", 0)
	a = w.account("a")
	for i := range most {
		if _, err := appendTo(t, a, "Inbox", testMessage(10+i, "x"), AppendOptions{}); err != nil {
			t.Errorf("appending: %v", err)
		}
	}
	if err := deliver(t, w.d, testMessage(20, "x"), "", a); !errors.Is(err, ErrOverQuota) {
		t.Errorf("delivering to a full account: got %v", err)
	}
	usage("full", 4)
}

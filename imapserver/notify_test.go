package imapserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/store"
)

// update changes the account mox.
func (e *env) update(fn func(tx *store.Tx) error) {
	e.t.Helper()
	a, err := e.store.Account(e.t.Context(), "mox")
	if err != nil {
		e.t.Fatal(err)
	}
	defer a.Close()
	if err := a.Update(e.t.Context(), fn); err != nil {
		e.t.Fatal(err)
	}
}

// subscribe subscribes to n new names in one commit.
func (e *env) subscribe(prefix string, n int) {
	e.t.Helper()
	e.update(func(tx *store.Tx) error {
		for i := range n {
			if err := tx.Subscribe(fmt.Sprintf("%s%d", prefix, i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestNotifySlow: nobody waits for a client that does not read. One that reads again
// is told that it missed something; one that never does is cut.
func TestNotifySlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		defer e.stop()
		e.start()
		slow, dead := newClient(t, e.dialLogin()), newClient(t, e.dialLogin())
		for _, c := range []*client{slow, dead} {
			c.ok("NOTIFY SET (personal (SubscriptionChange))")
		}
		begin := time.Now()
		e.subscribe("first", 1)
		synctest.Wait() // Both sessions write, and nobody reads.
		e.subscribe("more", 1001)
		if waited := time.Since(begin); waited > time.Second {
			t.Errorf("others waited %v", waited)
		}
		if got := slow.line(); got != `* LIST (\NonExistent \HasNoChildren \Subscribed) "/" first0` {
			t.Errorf("got %q", got)
		}
		// MUST 5465 5.8: a client that can't be told all is told so, and nothing after it
		if got := slow.line(); !strings.HasPrefix(got, "* OK [NOTIFICATIONOVERFLOW] ") {
			t.Errorf("got %q", got)
		}
		e.subscribe("later", 1)
		if got := slow.ok("NOOP"); len(got) > 0 {
			t.Errorf("after the overflow: %q", got)
		}
		time.Sleep(writeMax + byeMax + time.Second)
		if _, err := dead.br.ReadString('\n'); err == nil {
			t.Error("a client that does not read was not cut")
		}
		if err := errors.Join(slow.nc.Close(), dead.nc.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestNotifyDelayedOverflow: who never lets sequence numbers shift gets too much to
// wait for.
func TestNotifyDelayedOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, map[string]string{"inbox": "2"})
		defer e.stop()
		e.start()
		do := func(fn func(tx *store.Tx, inbox, archive *store.Mailbox, uids []store.UID) error) {
			t.Helper()
			e.update(func(tx *store.Tx) error {
				inbox, err := tx.Mailbox("Inbox")
				if err != nil {
					return err
				}
				archive, err := tx.Mailbox("Archive")
				if err != nil {
					return err
				}
				uids := make([]store.UID, inbox.UIDNext-1)
				for i := range uids {
					uids[i] = store.UID(i + 1)
				}
				return fn(tx, &inbox, &archive, uids)
			})
		}
		for range 10 { // 2 messages become 2048.
			do(func(tx *store.Tx, inbox, archive *store.Mailbox, uids []store.UID) error {
				copied, err := tx.Copy(inbox, archive, uids)
				if err == nil {
					_, err = tx.Move(archive, inbox, copied.Dst)
				}
				return err
			})
		}
		c := newClient(t, e.dialLogin())
		defer c.nc.Close()
		c.ok("SELECT INBOX")
		c.ok("NOTIFY SET (selected-delayed (MessageNew MessageExpunge))")
		expunge := func(from, to int) {
			t.Helper()
			do(func(tx *store.Tx, inbox, _ *store.Mailbox, uids []store.UID) error {
				_, err := tx.Expunge(inbox, uids[from:to])
				return err
			})
		}
		expunge(0, delayedMax)
		if got := c.ok("NOOP"); len(got) != delayedMax {
			t.Fatalf("told of %d removals", len(got))
		}
		expunge(delayedMax, 2*delayedMax+1)
		if got := c.line(); !strings.HasPrefix(got, "* OK [NOTIFICATIONOVERFLOW] ") {
			t.Errorf("got %q", got)
		}
		if got := c.ok("NOOP"); len(got) > 0 {
			t.Errorf("after the overflow: %q", got)
		}
		if got := c.ok("NOTIFY SET (selected (MessageNew MessageExpunge))"); len(got) != delayedMax+1 {
			t.Errorf("begun anew: told of %d removals", len(got))
		}
	})
}

// TestConnWake: a wake ends the wait that it is for, now or later, and no other read.
func TestConnWake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		c := newConn(server, &sync.Pool{})
		c.readMax = time.Minute
		begin := time.Now()
		read := func() (string, error) {
			var p [10]byte
			n, err := c.Read(p[:])
			return string(p[:n]), err
		}
		later := func(d time.Duration, fn func()) { time.AfterFunc(d, fn) }
		write := func(s string) func() {
			return func() {
				if _, err := client.Write([]byte(s)); err != nil {
					t.Error(err)
				}
			}
		}

		later(time.Second, c.wake)
		later(2*time.Second, write("a"))
		if got, err := read(); got != "a" || err != nil {
			t.Errorf("a read that does not wait: %q, %v", got, err)
		}
		c.waiting.Store(true)
		if _, err := read(); !errors.Is(err, errWake) {
			t.Errorf("a wait that was woken before: %v", err)
		}
		later(time.Second, c.wake)
		if _, err := read(); !errors.Is(err, errWake) {
			t.Errorf("a wait: %v", err)
		}
		later(time.Second, write("b"))
		if got, err := read(); got != "b" || err != nil {
			t.Errorf("a wait that nobody wakes: %q, %v", got, err)
		}
		c.waiting.Store(false)
		later(time.Second, func() { _ = server.SetReadDeadline(time.Unix(1, 0)) }) // A wake that is late.
		later(2*time.Second, write("c"))
		if got, err := read(); got != "c" || err != nil {
			t.Errorf("a late wake: %q, %v", got, err)
		}
		c.waiting.Store(true)
		began := time.Since(begin)
		for i := 1; i < 6; i++ {
			later(10*time.Second, c.wake)
			if _, err := read(); !errors.Is(err, errWake) {
				t.Errorf("wake %d: %v", i, err)
			}
		}
		if _, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin)-began != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin)-began)
		}
		later(time.Second, func() { c.interrupt(errEnded) })
		if _, err := read(); !errors.Is(err, errEnded) {
			t.Errorf("interrupted: %v", err)
		}
		c.wake()
		if _, err := read(); !errors.Is(err, errEnded) {
			t.Errorf("interrupted, and woken: %v", err)
		}
	})
}

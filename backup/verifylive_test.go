package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/queue"
)

// live returns what verifying the running server finds.
func (w *world) live() []string {
	w.t.Helper()
	var list []string
	opts := VerifyOptions{Version: "v1.2.3", Workers: 1}
	if _, err := w.backup.Verify(w.t.Context(), opts, func(p Problem) { list = append(list, p.String()) }); err != nil {
		w.t.Errorf("verifying: %v", err)
	}
	return list
}

// TestVerifyRunning verifies several times while mail comes in, is read and
// removed, and goes out.
func TestVerifyRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.fill()
	var users sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for n := range 2 {
		users.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := errors.Join(w.deliver(message(1000*n+i), "a", "b"), w.add(message(i), "x@remote.example", fmt.Sprintf("y%d@example.org", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Go(func() { // What is due is retired.
		for ctx.Err() == nil {
			work, err := w.queue.Next(ctx)
			if err != nil {
				return
			}
			var reports []queue.Report
			for _, m := range work.Messages {
				reports = append(reports, queue.Report{ID: m.ID, Result: queue.Result{OK: true}, Handed: []queue.Handed{{Account: "a", Key: m.Key}}})
			}
			if err := w.queue.Finish(context.WithoutCancel(ctx), work, reports); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 4 {
		for _, p := range w.live() {
			t.Errorf("round %d: %s", i, p)
		}
	}
	cancel()
	users.Wait()
	if left, err := os.ReadDir(w.data("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}

// TestVerifyRunningFinds: damage is found while the server runs.
func TestVerifyRunningFinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.fill()
	if list := w.live(); len(list) > 0 {
		t.Fatalf("found %q", list)
	}
	flip := change(flipMiddle, "accounts", "b", "msg", "a", "7")
	flip(t, w.data())
	write("x", "receivedid.key")(t, w.data())
	list := w.live()
	if len(list) != 2 {
		t.Errorf("found %q", list)
	}
	flip(t, w.data())

	w.stop()
	var text string
	text, sum := problems(t, verifyOptions(t, w.data()))
	if sum.Errors != 1 {
		t.Errorf("when it has stopped: %s", text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	if _, err := Verify(ctx, verifyOptions(t, w.data()), func(Problem) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no time: got %v", err)
	}
}

// TestVerifyHandovers: a key that the queue does not know stays for ever in an
// account, and is told of.
func TestVerifyHandovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.fill()
	known, err := w.queue.List(t.Context(), queue.Filter{}, queue.Sort{})
	must(t, err)
	for _, key := range []string{known[0].Key, known[0].Key + ":failed", "0123456789abcdef0123456789abcdef"} {
		must(t, w.hand(key, "b"))
	}
	want := "warning: accounts/b/index.db: the queue does not know the hand-over with key 0123456789abcdef0123456789abcdef; the row stays, and takes a little room"
	if list := w.live(); len(list) != 1 || list[0] != want {
		t.Errorf("live: found %q", list)
	}
	w.stop()
	if got, _ := problems(t, verifyOptions(t, w.data())); got != want {
		t.Errorf("stopped: found %q", got)
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// verifyLive returns what Verify says of an open directory.
func (w *world) verifyLive() []Problem {
	w.t.Helper()
	var problems []Problem
	err := w.d.Verify(context.WithoutCancel(w.t.Context()), VerifyOptions{
		Content: true, Temp: w.t.TempDir(), Workers: 2, Report: func(p Problem) { problems = append(problems, p) },
	})
	if err != nil {
		w.t.Error(err)
	}
	return problems
}

// TestVerifyLive: mail that comes and goes meanwhile is no problem, a file that is
// not as it was is one.
func TestVerifyLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	var users sync.WaitGroup
	stop := make(chan struct{})
	for n := range 3 {
		users.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				msg := testMessage(n*100_000+i, "x")
				if err := deliver(t, w.d, msg, "", w.open["a"], w.open["b"]); err != nil {
					t.Error(err)
				}
				if _, err := appendTo(t, w.open["b"], "Inbox", msg, AppendOptions{}); err != nil {
					t.Error(err)
				}
				expunge(t, w.open["b"], UID(i+1))
			}
		})
	}
	for i := range 5 {
		for _, p := range w.verifyLive() {
			t.Errorf("round %d: %v", i, p)
		}
	}
	close(stop)
	users.Wait()
	path := w.account("a").messagePath(w.email("a", 0).ID)
	flip(w, path)
	problems := w.verifyLive()
	if want := fmt.Sprintf("accounts/a/msg/a/%d", w.email("a", 0).ID); len(problems) != 1 || problems[0].File != want {
		t.Errorf("flipped: got %v, want one of %s", problems, want)
	}
	flip(w, path)
	if err := os.WriteFile(path+"x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if problems := w.verifyLive(); len(problems) != 1 || problems[0].Text != "unknown file "+w.d.relative(path+"x") {
		t.Errorf("stray: got %v", problems)
	}
	if err := os.Remove(path + "x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.d.Verify(ctx, VerifyOptions{Report: func(Problem) {}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

package imapserver

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// quietSession returns a session that serve does not run, and the lines that its
// client gets.
func quietSession(t *testing.T, e *env) (*session, *lines) {
	t.Helper()
	near, far := net.Pipe()
	s := newSession(e.server, far, e.listener, netip.Addr{})
	s.cancel, s.tag = func() {}, "a1"
	got := &lines{done: make(chan struct{})}
	go func() {
		defer close(got.done)
		for sc := bufio.NewScanner(near); sc.Scan(); {
			got.all = append(got.all, sc.Text())
		}
	}()
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
		<-got.done
	})
	return s, got
}

// lines are what a client got. They may be looked at when all are waiting.
type lines struct {
	all  []string
	done chan struct{}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	type step struct {
		after      time.Duration
		done, goal int
		quiet      bool
		write      string // Sent before, by the command itself.
	}
	const second = time.Second
	for _, tc := range []struct {
		name  string
		off   []string
		steps []step
		want  []string
	}{
		{"a short command tells nothing", nil, []step{{10*second - 1, 5, 10, false, ""}}, nil},
		{"one that takes 10 seconds tells", nil, []step{{10 * second, 5, 10, false, ""}}, []string{`("a1" 5 10)`}},
		{"not more often than each 10 seconds", nil, []step{
			{11 * second, 5, 10, false, ""}, {9 * second, 6, 10, false, ""}, {1 * second, 7, 10, false, ""},
		}, []string{`("a1" 5 10)`, `("a1" 7 10)`}},
		{"progress does not fall", nil, []step{{10 * second, 5, 10, false, ""}, {10 * second, 3, 10, false, ""}}, []string{`("a1" 5 10)`, `("a1" 5 10)`}},
		{"and stays below the goal", nil, []step{{10 * second, 10, 10, false, ""}, {10 * second, 12, 10, false, ""}}, []string{`("a1" 9 10)`, `("a1" 9 10)`}},
		{"nobody knows the goal", nil, []step{{10 * second, 10, 0, false, ""}}, []string{`("a1" 10 NIL)`}},
		{"switched off", []string{"INPROGRESS"}, []step{{10 * second, 5, 10, false, ""}}, nil},
		{"what answers need not tell", nil, []step{
			{10 * second, 5, 10, true, "* 1 FETCH ()"}, {10 * second, 6, 10, true, "* 2 FETCH ()"}, {10 * second, 7, 10, true, ""},
		}, []string{"* 1 FETCH ()", "* 2 FETCH ()", `("a1" 7 10)`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, nil)
				defer e.stop()
				s, got := quietSession(t, e)
				s.off = tc.off
				s.beginProgress(time.Now())
				for _, step := range tc.steps {
					time.Sleep(step.after)
					if step.write != "" {
						s.out.Raw(step.write).CRLF()
						if err := s.out.Flush(); err != nil {
							t.Fatal(err)
						}
					}
					if step.quiet {
						s.progressQuiet(step.done, step.goal)
					} else {
						s.progress(step.done, step.goal)
					}
				}
				synctest.Wait()
				// MUST 9585 4: progress never falls and stays below the goal.
				var want []string
				for _, w := range tc.want {
					if strings.HasPrefix(w, "(") {
						w = "* OK [INPROGRESS " + w + "] still working"
					}
					want = append(want, w)
				}
				if !slices.Equal(got.all, want) {
					t.Fatalf("got %q, want %q", got.all, want)
				}
			})
		})
	}
}

// TestProgressGone cancels a command whose client is gone.
func TestProgressGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		defer e.stop()
		s, _ := quietSession(t, e)
		ctx, cancel := context.WithCancel(t.Context())
		s.cancel = cancel
		s.beginProgress(time.Now())
		_ = s.raw.Close()
		time.Sleep(progressEvery)
		s.progress(1, 2)
		if ctx.Err() == nil || s.lost == nil {
			t.Fatalf("context: %v, lost: %v", ctx.Err(), s.lost)
		}
	})
}

//go:build unix

package crashtest

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

var (
	rounds    = flag.Int("crash.rounds", 20, "random kills, and random power cuts")
	crashSeed = flag.Uint64("crash.seed", 0, "seed of the random kills and power cuts; 0 takes a new one")
)

// faultWait bounds the wait for a fault point to be reached.
const faultWait = time.Minute

// seedOf returns the seed and says how to use it again.
func seedOf(t *testing.T) uint64 {
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: run with -crash.seed=%d", seed, seed)
	return seed
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
}

// process is a running child.
type process struct {
	cmd     *exec.Cmd
	ledger  *ledger
	ready   chan struct{} // Closed when its store is open.
	reached chan struct{} // Closed when it holds at its fault point.
	ended   chan struct{} // Closed when all that it told is in the ledger.
	err     error         // Of reading, set before ended.
}

// start runs a child whose facts go to the ledger.
func start(t *testing.T, l *ledger, tk task) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env, err := json.Marshal(tk)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		cmd: exec.Command(exe, "-test.run=^$"), ledger: l,
		ready: make(chan struct{}), reached: make(chan struct{}), ended: make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(env))
	p.cmd.Stdout, p.cmd.Stderr = t.Output(), t.Output()
	p.cmd.ExtraFiles = []*os.File{w}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() {
		defer close(p.ended)
		defer r.Close()
		p.err = readFacts(r, func(f fact) {
			switch f.Op {
			case opReady:
				close(p.ready)
			case opReached:
				close(p.reached)
			}
			l.note(f)
		})
	}()
	return p
}

// until waits for the first of the channels, and fails if the child ends before.
func (p *process) until(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-p.ended:
		_ = p.cmd.Wait()
		t.Fatalf("child ended before %s: %s", what, strings.Join(p.ledger.problems, "\n"))
	case <-time.After(faultWait):
		t.Errorf("%s did not happen", what)
		p.kill(t)
		t.FailNow()
	}
}

// kill ends the child with SIGKILL, and waits for what it told.
func (p *process) kill(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Kill()
	p.wait(t)
}

// wait waits until the child is gone.
func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(faultWait):
		_ = p.cmd.Process.Kill()
		t.Error("child was not killed at its fault point")
		<-p.ended
	}
	_ = p.cmd.Wait()
	if p.err != nil {
		t.Errorf("reading facts: %v", p.err)
	}
}

// verify compares what is left with the ledger.
func verify(t *testing.T, l *ledger, dir, when string) {
	t.Helper()
	problems, err := inspectAll(t, l, dir)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if len(problems) > 0 {
		t.Fatalf("%s: %s", when, strings.Join(problems, "\n"))
	}
}

// inspectAll returns what is wrong with what is left, of the store alone or of a
// System.
func inspectAll(t *testing.T, l *ledger, dir string) ([]string, error) {
	t.Helper()
	if l.mail == nil {
		d, err := inspect(t.Context(), dir, testLog(t))
		if err != nil {
			return nil, err
		}
		return l.compare(d), nil
	}
	d, m, err := inspectSystem(t.Context(), l.mail, dir)
	if err != nil {
		return nil, err
	}
	return append(l.compare(d), l.mail.compare(m)...), nil
}

// verifyConfirmed checks that accounts keep nothing for the queue in the end.
func verifyConfirmed(t *testing.T, l *ledger) {
	t.Helper()
	if err := confirmed(t.Context(), l.mail); err != nil {
		t.Errorf("after the last start: %v", err)
	}
	t.Logf("%d messages sent, %d times one more than once at another server", len(l.mail.letters), l.mail.twice)
}

// newStore makes a store in dir and its ledger.
func newStore(t *testing.T, dir string) *ledger {
	t.Helper()
	if err := makeStore(t.Context(), dir, testLog(t)); err != nil {
		t.Fatal(err)
	}
	return newLedger(accountNames...)
}

// TestKillAtRandom kills a store under load again and again, each time with all
// that was before.
func TestKillAtRandom(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	l := newSystem(t, dir)
	for i := range *rounds {
		p := start(t, l, task{Dir: dir, Round: fmt.Sprint(i), Seed: rng.Uint64(), Retry: l.retries(), System: &l.mail.server})
		p.until(t, "the store is open", p.ready)
		time.Sleep(time.Duration(20+rng.IntN(200)) * time.Millisecond)
		p.kill(t)
		verify(t, l, dir, fmt.Sprintf("round %d", i))
	}
	t.Logf("%d contents", len(l.contents))
	verifyConfirmed(t, l)
}

// removalPoints are those of removing an account.
func removalPoints() []string {
	return []string{store.FaultRemoveShut, store.FaultRemoveMoved, store.FaultRemoveErase}
}

// faultPoints are all but those of removing an account, which have a test of
// their own.
func faultPoints() []string {
	all := slices.Concat(journal.Points(), store.Points(), queue.Points(), queue.LogPoints())
	return slices.DeleteFunc(all, func(point string) bool { return slices.Contains(removalPoints(), point) })
}

// newFor makes what has a point: a store, or a System for those of the queue.
func newFor(t *testing.T, point, dir string) *ledger {
	t.Helper()
	if slices.Contains(slices.Concat(queue.Points(), queue.LogPoints()), point) {
		return newSystem(t, dir)
	}
	return newStore(t, dir)
}

// task completes a task with what is to be run.
func (l *ledger) task(tk task) task {
	tk.Retry = l.retries()
	if l.mail == nil {
		return tk
	}
	if tk.System = &l.mail.server; tk.Quiet {
		tk.Load = loadNone
	} else if tk.Load == "" {
		tk.Load = loadMail
	}
	return tk
}

// nthOf returns which hit of a point to take: the rare ones come soon.
func nthOf(point string, rng *rand.Rand) int {
	for _, rare := range []string{"open", "segment", "removed", "backup", "training", "junk filter"} {
		if strings.Contains(point, rare) {
			return 1
		}
	}
	return 1 + rng.IntN(30)
}

// TestKillAtFaultPoints kills a store, or a System, at each named point, which has a history,
// and again at the same point in the start that follows.
func TestKillAtFaultPoints(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	for i, point := range faultPoints() {
		t.Run(strings.ReplaceAll(point, ":", ""), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			dir := t.TempDir()
			l := newFor(t, point, dir)
			p := start(t, l, l.task(task{Dir: dir, Round: "before", Seed: rng.Uint64()}))
			p.until(t, "the store is open", p.ready)
			time.Sleep(50 * time.Millisecond)
			p.kill(t)
			for round := range 2 {
				p = start(t, l, l.task(task{Dir: dir, Round: fmt.Sprint(round), Seed: rng.Uint64(), Fault: point, Nth: nthOf(point, rng)}))
				p.wait(t)
			}
			verify(t, l, dir, "after kills at "+point)
			if l.mail != nil {
				verifyConfirmed(t, l)
			}
		})
	}
}

// TestSentAndNotRecorded ends a System when another server has taken a message and
// the queue has not recorded that: the message is sent again, once.
func TestSentAndNotRecorded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := newSystem(t, dir)
	l.mail.patient = true
	p := start(t, l, task{
		Dir: dir, Round: "only", Fault: queue.FaultCommitBefore, Nth: 2, // The attempt was recorded.
		System: &l.mail.server, Load: loadOne, Rcpts: []string{"one-ok@remote.example"},
	})
	p.wait(t)
	if n := len(l.mail.sink.messages("one-ok@remote.example")); n != 1 {
		t.Fatalf("before the restart the sink has %d", n)
	}
	verify(t, l, dir, "after the kill")
	if l.mail.twice != 1 {
		t.Errorf("%d messages are twice at the sink, want 1", l.mail.twice)
	}
}
